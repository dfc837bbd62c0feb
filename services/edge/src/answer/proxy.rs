//! HTTP backends: the request as it is passed on, the answer as it comes back.

mod onward;
mod remap;

pub(super) use onward::head_to_mesh;
pub(super) use remap::remap_response;

use std::io;
use std::time::Duration;

use selvedge_http::chunked;
use selvedge_http::framing::Framing;
use selvedge_http::head::ResponseHead;
use selvedge_http::hop;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{self, Upgrade};
use selvedge_http::scan::Scanner;
use selvedge_site::directive::Host;
use selvedge_wire::stream::{self, Address, Stream};
use tokio::io::AsyncWriteExt as _;

use super::backend::{self, End, Held, Pipe, Reader, Wrap};
use super::gateway::CONNECT_TIMEOUT;
use super::handshake;
use super::scgi;
use super::tunnel::{Far, Tunnel};
use crate::request::body::Gathered;
use crate::request::body::upload::{self, Broken};
use crate::request::response::Source as _;
use crate::request::{Body, Exchange, Response};

/// Interim answers that a backend may send before the one that counts.
const INTERIM_MAX: usize = 16;

/// The header that names a virtual service to the data plane beside us.
const SERVICE_HEADER: &str = "x-selvedge-service";

/// How the data plane of the mesh is told which virtual service is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service<'a> {
    InHeader(&'a str),
    /// The head says nothing of it.
    BesideHead,
    AsAuthority(&'a str),
}

/// Whether the request asks for another protocol, and whoever answers it may be asked for it. What the mesh lets through is the
/// mesh's to say.
pub(crate) fn wants_upgrade(x: &Exchange<'_>) -> bool {
    let header = &x.conf.proxy.header;
    let to_mesh = x.conf.mesh.service.as_ref().is_some_and(|name| !name.is_empty());
    (to_mesh || header.upgrade && !header.force_http10)
        && matches!(x.facts.upgrade, Upgrade::WebSocket | Upgrade::Other)
        && !x.facts.framing.has_body()
}

/// A connection to a backend.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) address: Address,
    /// It has carried a request before, and may have been closed just now.
    pub(crate) pooled: bool,
}

/// Passes a request on by a connection that is open. One that was kept and turns out to be dead is replaced, once, where that
/// cannot do anything twice.
pub(crate) async fn respond(
    x: &mut Exchange<'_>,
    host: &Host,
    opened: Opened,
    held: Held,
    service: Option<Service<'_>>,
) -> Response {
    let upgrade = wants_upgrade(x);
    let input = match x.gathered.take() {
        Some(gathered) => Input::Gathered(gathered),
        None if !upgrade && x.facts.framing.has_body() => Input::Streamed(x.facts.framing),
        None => Input::Gathered(Gathered::Memory(Vec::new())),
    };
    let mut out = x.worker.buffers.scratch();
    onward::request(x, host, input.framing(), upgrade, service, &mut out);
    let answered = answered(x, host, opened, &out, &input, held).await;
    x.worker.buffers.give_back(out);
    let (mut reader, mut head, facts, address) = match answered {
        Ok(answered) => answered,
        Err(response) => return response,
    };
    if head.status == 101 {
        // Nothing of the client's was passed on before the backend agreed.
        let Some((stream, early)) = reader.take_stream().filter(|_| upgrade) else {
            return Response::status(502);
        };
        hop::strip_response(&mut head.fields, true);
        if !handshake::agrees(x, &head, service.is_some()) {
            tracing::warn!(%address, "a backend agreed to another protocol than it was asked for");
            return Response::status(502);
        }
        if service.is_some() {
            handshake::complete(x, &mut head);
        }
        let mut response = Response { head, from_backend: true, ..Response::default() };
        let held = std::mem::take(&mut reader.held);
        response.body =
            Body::Tunnel(Box::new(Tunnel { far: Far::Stream(stream), early, frames: None, _held: held }));
        return response;
    }
    // Where a backend has answered before the end of a body, nobody knows when the connection is free.
    if !facts.close && !matches!(facts.framing, Framing::UntilClose) && !reader.feeds() {
        reader.held.pool = Some((std::rc::Rc::clone(x.worker), address));
    }
    hop::strip_response(&mut head.fields, false);
    // HEAD's answer has no body, and says the length that GET's would have, if the backend knows it (RFC 9110 9.3.2).
    let of_get = (x.head.method() == "HEAD")
        .then(|| head.fields.get_str(HeaderId::ContentLength).and_then(|n| n.parse().ok()));
    head.fields.remove(HeaderId::ContentLength);
    if let Some(folders) = host.x_sendfile.then_some(&*host.x_sendfile_docroot)
        && let Some(response) = super::sendfile::requested(x, &mut head, folders)
    {
        return response;
    }
    remap_response(x, &mut head);
    let length = match facts.framing {
        Framing::Length(length) => Some(length),
        Framing::None => Some(0),
        Framing::Chunked => {
            reader.end = End::Chunked(chunked::Decoder::default());
            None
        }
        Framing::UntilClose => None,
    };
    if length == Some(0) {
        reader.end = End::Length(0);
        let mut response = Response { head, from_backend: true, close: upgrade, ..Response::default() };
        response.body = Body::Backend(reader, of_get.unwrap_or(Some(0)));
        return response;
    }
    let mut response = backend::finish(x, head, reader, length).await;
    // What the client sends after asking for another protocol was meant for that one.
    response.close |= upgrade;
    response
}

/// An answer's head, what follows of it, and where it came from.
type Answered = (Box<Reader>, ResponseHead, parse::ResponseFacts, Address);

/// Tries, and tries again where that cannot do anything twice.
async fn answered(
    x: &mut Exchange<'_>,
    host: &Host,
    mut opened: Opened,
    out: &[u8],
    input: &Input,
    mut held: Held,
) -> Result<Answered, Response> {
    let address = opened.address.clone();
    loop {
        let failed = match attempt(x, host, opened.stream, out, input, held).await {
            Ok((reader, head, facts)) => return Ok((reader, head, facts, address)),
            Err(failed) => failed,
        };
        let again = opened.pooled
            && match failed.reached {
                Reached::Nothing => true,
                // Nothing was answered, and asked twice it is asked once (RFC 9110 §9.2.2).
                Reached::Request => is_idempotent(x.head.method()),
                Reached::Answer => false,
            };
        if !again {
            let Failed { error, refused, .. } = failed;
            if let Some(refused) = refused {
                return Err(refused);
            }
            if error.kind() == io::ErrorKind::ConnectionAborted {
                // By the client, and nobody hears what is answered.
                return Err(Response::status(502));
            }
            tracing::warn!(%error, %address, "a backend's answer cannot be passed on");
            return Err(Response::status(if error.kind() == io::ErrorKind::TimedOut { 504 } else { 502 }));
        }
        let timeout = match host.connect_timeout {
            0 => CONNECT_TIMEOUT,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        match stream::connect(&address, timeout).await {
            Ok(stream) => opened = Opened { stream, address: address.clone(), pooled: false },
            Err(error) => {
                tracing::warn!(%error, %address, "a backend closed, and cannot be reached again");
                return Err(Response::status(503));
            }
        }
        held = failed.held;
    }
}

/// How far a request came that failed.
enum Reached {
    Nothing,
    Request,
    Answer,
}

struct Failed {
    error: io::Error,
    reached: Reached,
    held: Held,
    /// It is the client that failed, and this is what it is told.
    refused: Option<Response>,
}

/// The body of a request on its way to a backend.
enum Input {
    Gathered(Gathered),
    /// It goes on as it comes.
    Streamed(Framing),
}

impl Input {
    fn framing(&self) -> Framing {
        match self {
            Self::Gathered(gathered) => match gathered.length() {
                0 => Framing::None,
                length => Framing::Length(length),
            },
            Self::Streamed(framing) => *framing,
        }
    }
}

/// One try on one connection.
async fn attempt(
    x: &mut Exchange<'_>,
    host: &Host,
    mut stream: Stream,
    out: &[u8],
    input: &Input,
    held: Held,
) -> Result<(Box<Reader>, ResponseHead, parse::ResponseFacts), Failed> {
    let failed = |error, reached, held| Failed { error, reached, held, refused: None };
    let first = match stream.write(out).await {
        Ok(written) => written,
        Err(error) => return Err(failed(error, Reached::Nothing, held)),
    };
    if let Err(error) = stream.write_all(&out[first..]).await {
        return Err(failed(error, Reached::Request, held));
    }
    let sent = match input {
        Input::Gathered(Gathered::Memory(bytes)) => stream.write_all(bytes).await.map(|()| None),
        Input::Gathered(Gathered::File { file, length }) => {
            scgi::copy(file, *length, &mut stream).await.map(|()| None)
        }
        Input::Streamed(framing) => {
            let wrap = match framing {
                Framing::Chunked => upload::Wrap::Chunked,
                _ => upload::Wrap::None,
            };
            // Boxed: what has a body that goes on as it comes is long enough for that.
            match Box::pin(upload::upload(x, &stream, wrap)).await {
                Ok(uploaded) => Ok(Some(uploaded)),
                // What has been passed on is not there a second time.
                Err(Broken::Backend(error)) => return Err(failed(error, Reached::Answer, held)),
                Err(Broken::Client(response)) => {
                    let refused = Some(response);
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Err(Failed { error, reached: Reached::Answer, held, refused });
                }
            }
        }
    };
    let uploaded = match sent {
        Ok(uploaded) => uploaded,
        Err(error) => return Err(failed(error, Reached::Request, held)),
    };
    let reader = Reader::new(&x.worker.buffers, Pipe::Stream(stream), Wrap::None, host.read_timeout, held);
    let mut reader = match uploaded {
        Some(uploaded) => reader.after(uploaded),
        None => reader,
    };
    let mut head = ResponseHead { fields: x.worker.lease_fields(), ..ResponseHead::default() };
    match read_head(x, &mut reader, &mut head).await {
        Ok(facts) => Ok((reader, head, facts)),
        Err(error) => {
            let closed = matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            );
            let again = closed && reader.content().is_empty() && matches!(input, Input::Gathered(_));
            let reached = match again {
                true => Reached::Request,
                false => Reached::Answer,
            };
            Err(failed(error, reached, std::mem::take(&mut reader.held)))
        }
    }
}

fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
}

async fn read_head(
    x: &mut Exchange<'_>,
    reader: &mut Reader,
    head: &mut ResponseHead,
) -> io::Result<parse::ResponseFacts> {
    let invalid = |error: parse::ResponseError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut scanner = Scanner::default();
    let mut interim = 0;
    loop {
        if !reader.content().is_empty()
            && let Some((len, facts)) =
                parse::response(&mut scanner, reader.content(), x.head.method(), head).map_err(invalid)?
        {
            reader.consume(len);
            if head.status >= 200 || head.status == 101 {
                return Ok(facts);
            }
            scanner = Scanner::default();
            interim += 1;
            if interim > INTERIM_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "interim answers without end"));
            }
            continue;
        }
        if !reader.more(x.channel).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
