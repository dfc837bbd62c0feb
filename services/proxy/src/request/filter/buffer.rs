//! Holds a request until it has arrived as a whole.

use selvedge_http::framing::Framing;
use selvedge_http::known::HeaderId;
use selvedge_traffic::RouteFilter;
use selvedge_traffic::filter::{self, BufferRoute};

use super::gather::{gather, too_long};
use crate::request::body::{Gathered, RequestBody};
use crate::request::exchange::{Ended, Exchange};

#[derive(Debug)]
pub(crate) struct Buffer {
    /// `None`: not here.
    bytes_max: Option<usize>,
}

impl Buffer {
    pub(super) fn new(config: &filter::Buffer) -> Self {
        Self { bytes_max: Some(config.request_bytes_max as usize) }
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let own = configs.iter().find_map(|config| match config {
            RouteFilter::Buffer(BufferRoute::Disabled) => Some(Self { bytes_max: None }),
            RouteFilter::Buffer(BufferRoute::Buffer(config)) => Some(Self::new(config)),
            _ => None,
        });
        own.unwrap_or(Self { bytes_max: self.bytes_max })
    }

    pub(super) async fn request(&self, x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
        let Some(bytes_max) = self.bytes_max else { return Ok(()) };
        if x.facts.framing == Framing::None {
            return Ok(());
        }
        match gather(x, body, bytes_max).await? {
            Gathered::TooLong => Err(too_long(x)),
            Gathered::Whole => {
                // Its length is known: the upstream need not read chunks.
                if x.facts.framing == Framing::Chunked && x.channel.trailers().is_none() {
                    x.facts.framing = Framing::Length(body.received);
                    let length = itoa::Buffer::new().format(body.received).to_owned();
                    x.heads.request.fields.set_id(HeaderId::ContentLength, length.as_bytes());
                }
                Ok(())
            }
        }
    }
}
