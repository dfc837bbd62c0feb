//! What a program behind us answers, read and turned into a response.
//!
//! CGI, FastCGI and SCGI programs speak the same head ([`selvedge_http::cgi`]); what differs is how their bytes are
//! wrapped. HTTP backends speak HTTP/1.1.

mod reader;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use selvedge_http::cgi::{self, Head};
use selvedge_http::head::ResponseHead;
use selvedge_wire::channel::Channel;

pub(super) use self::reader::is_taken_back;
pub(crate) use self::reader::{End, Held, Pipe, Reader, Wrap};
use crate::request::response::Source;
use crate::request::{Body, Exchange, Response};

/// Bytes of an answer that are held back so that its length can be said.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024;

/// What a program may do besides answering.
#[derive(Clone, Copy, Default)]
pub(crate) struct Powers<'a> {
    /// It may name a file to be sent, beneath these folders; anywhere if there are none.
    pub(crate) x_sendfile: Option<&'a [selvedge_site::directive::Text]>,
    /// Its local redirects are followed here.
    pub(crate) local_redir: bool,
    /// Whether it ended without a word is told by this status.
    pub(crate) silent: u16,
}

/// Reads a gateway program's head and makes a response of it.
pub(crate) async fn gateway_response(
    x: &mut Exchange<'_>,
    mut reader: Box<Reader>,
    powers: Powers<'_>,
) -> Response {
    let mut head = ResponseHead::default();
    let facts = match read_head(&mut reader, x.channel, &mut head).await {
        Ok(facts) => facts,
        Err(Refused::Silent) => return Response::status(powers.silent),
        Err(Refused::Malformed(error)) => {
            tracing::warn!(%error, path = x.path(), "a program's answer cannot be passed on");
            return Response::status(502);
        }
        Err(Refused::Io(error)) => {
            tracing::warn!(%error, path = x.path(), "a program did not answer");
            return Response::status(if error.kind() == io::ErrorKind::TimedOut { 504 } else { 502 });
        }
    };
    if powers.local_redir && !facts.status_given && head.fields.len() == 1 && head.status == 302 {
        let location = head.fields.get_str(selvedge_http::known::HeaderId::Location).unwrap_or_default();
        let same = location.split(['?', '#']).next() == Some(x.path());
        if location.starts_with('/') && !location.starts_with("//") && !same {
            x.turn_after_script();
            return Response::turn(location.to_owned());
        }
    }
    if let Some(folders) = powers.x_sendfile
        && let Some(response) = super::sendfile::requested(x, &mut head, folders)
    {
        return response;
    }
    super::sendfile::strip(&mut head);
    finish(x, head, reader, facts.length).await
}

/// A head with the body that follows it.
pub(crate) async fn finish(
    x: &Exchange<'_>,
    head: ResponseHead,
    mut reader: Box<Reader>,
    length: Option<u64>,
) -> Response {
    let mut response = Response { head, from_backend: true, ..Response::default() };
    let bodiless = response.head.status == 204 || response.head.status == 304 || response.head.status < 200;
    if bodiless {
        reader.finish();
        return response;
    }
    if let Some(length) = length {
        reader.end = End::Length(length);
        response.body = Body::Backend(reader, Some(length));
        return response;
    }
    // What a backend says before it has heard everything may be what the client waits for.
    let streams = x.conf.server.stream_response_body != 0
        || reader.feeds()
        || response.head.fields.get_str(selvedge_http::known::HeaderId::ContentType).is_some_and(|kind| {
            kind.starts_with("text/event-stream") || kind.starts_with("application/grpc")
        });
    if streams {
        response.body = Body::Backend(reader, None);
        return response;
    }
    // A short answer is waited for, so that its length can be said.
    let mut held = BytesMut::new();
    let whole = loop {
        match poll_fn(|cx| reader.poll_piece(cx)).await {
            Ok(false) => break true,
            Ok(true) => {
                let piece = reader.piece();
                held.extend_from_slice(piece);
                let len = piece.len();
                reader.used(len);
            }
            Err(error) => {
                tracing::warn!(%error, path = x.path(), "a program's answer broke off");
                return Response::status(502);
            }
        }
        if held.len() >= HELD_BYTES_MAX {
            break false;
        }
    };
    response.body = match whole {
        // How long it would have been is not known where a program leaves it out.
        true if held.is_empty() && x.head.method() == "HEAD" => Body::Backend(reader, None),
        true => Body::Bytes(held.freeze()),
        false => Body::Stream(Box::new(Joined { first: Some(held.freeze()), rest: reader }), None),
    };
    response
}

/// What was held back, and what follows.
struct Joined {
    first: Option<Bytes>,
    rest: Box<Reader>,
}

impl Source for Joined {
    fn feeds(&self) -> bool {
        self.rest.feeds()
    }

    fn poll_feed(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> Poll<io::Result<()>> {
        self.rest.poll_feed(cx, channel)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Ok(Some(first))),
            None => self.rest.poll_next(cx),
        }
    }
}

pub(crate) enum Refused {
    Silent,
    Malformed(cgi::CgiError),
    Io(io::Error),
}

/// Reads the head of a gateway program's answer; what follows it stays in the reader.
pub(crate) async fn read_head(
    reader: &mut Reader,
    channel: &mut Channel,
    head: &mut ResponseHead,
) -> Result<cgi::CgiFacts, Refused> {
    loop {
        let found = cgi::find_head(reader.content(), reader.is_ended()).map_err(Refused::Malformed)?;
        match found {
            Head::Complete(len) => {
                let facts = cgi::read_head(&reader.content()[..len], head).map_err(Refused::Malformed)?;
                reader.consume(len);
                return Ok(facts);
            }
            Head::None if reader.content().is_empty() => return Err(Refused::Silent),
            Head::None => {
                head.clear();
                head.status = 200;
                return Ok(cgi::CgiFacts::default());
            }
            Head::Partial if reader.is_ended() => return Err(Refused::Silent),
            Head::Partial => {
                reader.more(channel).await.map_err(Refused::Io)?;
            }
        }
    }
}
