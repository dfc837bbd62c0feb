//! Bodies that are unpacked on their way, within bounds.

use std::sync::Arc;

use selvedge_http::fields::Fields;
use selvedge_http::framing::Framing;
use selvedge_http::known::HeaderId;
use selvedge_telemetry::{FilterStats, Owner};
use selvedge_traffic::filter;
use selvedge_traffic::filter::Unpack;

use super::Scope;
use crate::request::attempt::undecodable;
use crate::request::body::RequestBody;
use crate::request::coding::{Decoder, Limits, Stage};
use crate::request::exchange::{Ended, Exchange};

const NAMES: &[&str] = &["decompressed", "not_decompressed"];
const DECOMPRESSED: usize = 0;
const NOT_DECOMPRESSED: usize = 1;
/// The longest request that is unpacked: whoever sends more has made it to be unpacked.
pub(crate) const REQUEST_UNPACKED_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Decompressor {
    config: Arc<filter::Decompressor>,
    requests: FilterStats,
    responses: FilterStats,
}

impl Decompressor {
    pub(super) fn new(config: &filter::Decompressor, scope: Scope<'_>) -> Self {
        let word = match config.coding {
            filter::PackedBy::Brotli => "brotli",
            coding => coding.word(),
        };
        let count = |direction: &str| {
            let owner = Owner::Http(scope.stat_prefix.to_owned());
            let part = format!("decompressor.{word}.{word}.{direction}.");
            scope.telemetry.registry.filter(owner, &part, NAMES)
        };
        Self { config: Arc::new(config.clone()), requests: count("request"), responses: count("response") }
    }

    pub(super) fn shared(&self) -> Self {
        let (requests, responses) = (self.requests.clone(), self.responses.clone());
        Self { config: Arc::clone(&self.config), requests, responses }
    }

    pub(super) fn request(&self, x: &mut Exchange<'_>, body: &mut RequestBody) -> Result<(), Ended> {
        let word = self.config.coding.word();
        let fields = &mut x.heads.request.fields;
        if self.config.responses.is_some() && self.config.advertise {
            advertise(fields, word);
        }
        let Some(unpack) = self.config.requests else { return Ok(()) };
        if !x.facts.framing.has_body() {
            return Ok(());
        }
        let bytes_max = Some(REQUEST_UNPACKED_BYTES_MAX);
        let Some(decoder) = self.decoder(fields, unpack, bytes_max) else {
            self.requests.inc(NOT_DECOMPRESSED);
            return Ok(());
        };
        self.requests.inc(DECOMPRESSED);
        unmark(fields);
        x.facts.framing = Framing::Chunked;
        body.recode(Stage::Decode(decoder)).map_err(|error| Ended::Reply(undecodable(error)))
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        let Some(unpack) = self.config.responses else { return };
        if !x.response_has_body {
            return;
        }
        let fields = &mut x.heads.response.fields;
        let Some(decoder) = self.decoder(fields, unpack, None) else {
            return self.responses.inc(NOT_DECOMPRESSED);
        };
        self.responses.inc(DECOMPRESSED);
        unmark(fields);
        x.recode(Stage::Decode(decoder));
    }

    /// A decoder, if the content is packed once, as this filter unpacks it.
    fn decoder(&self, fields: &Fields, unpack: Unpack, bytes_max: Option<u64>) -> Option<Decoder> {
        let coding = fields.named("content-encoding")?;
        let word = self.config.coding.word();
        if !coding.trim_ascii().eq_ignore_ascii_case(word.as_bytes()) {
            return None;
        }
        let forbids =
            |control: &[u8]| control.to_ascii_lowercase().windows(12).any(|at| at == b"no-transform");
        if !unpack.ignore_no_transform && fields.all_named("cache-control").any(forbids) {
            return None;
        }
        let limits = Limits { ratio_max: self.config.coding.ratio_max(), bytes_max };
        Decoder::new(self.config.coding, limits)
    }
}

/// The content is packed no more, and its length is not known.
fn unmark(fields: &mut Fields) {
    fields.remove_named("content-encoding");
    fields.remove(HeaderId::ContentLength);
}

/// Tells the upstream that the coding is accepted, behind whatever else is.
fn advertise(fields: &mut Fields, word: &str) {
    let names = |one: &[u8]| {
        let name = one.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
    };
    let lines = fields.all_named("accept-encoding").flat_map(|line| line.split(|byte| *byte == b','));
    let others = lines.map(<[u8]>::trim_ascii).filter(|one| !one.is_empty() && !names(one));
    let joined = others.chain([word.as_bytes()]).collect::<Vec<_>>().join(&b","[..]);
    fields.set("accept-encoding", &joined);
}
