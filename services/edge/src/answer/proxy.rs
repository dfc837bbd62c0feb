//! HTTP backends: the request as it is passed on, the answer as it comes back.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use selvedge_http::chunked;
use selvedge_http::encode;
use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::hop;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{self, Upgrade};
use selvedge_http::scan::Scanner;
use selvedge_site::directive::{Host, Named, ProxyHeader, Text};
use selvedge_wire::stream::{self, Address, Stream};
use tokio::io::AsyncWriteExt as _;

use super::backend::{self, End, Held, Pipe, Reader, Wrap};
use super::gateway::CONNECT_TIMEOUT;
use super::scgi;
use super::tunnel::Tunnel;
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
    AsAuthority(&'a str),
}

/// Whether the request asks for another protocol, and the backend may be asked for it.
pub(crate) fn wants_upgrade(x: &Exchange<'_>) -> bool {
    x.conf.proxy.header.upgrade
        && !x.conf.proxy.header.force_http10
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
    mut opened: Opened,
    mut held: Held,
    service: Option<Service<'_>>,
) -> Response {
    let upgrade = wants_upgrade(x);
    let input = match x.gathered.take() {
        Some(gathered) => Input::Gathered(gathered),
        None if !upgrade && x.facts.framing.has_body() => Input::Streamed(x.facts.framing),
        None => Input::Gathered(Gathered::Memory(Vec::new())),
    };
    let out = request(x, host, input.framing(), upgrade, service);
    let address = opened.address.clone();
    let (mut reader, mut head, facts) = loop {
        let failed = match attempt(x, host, opened.stream, &out, &input, held).await {
            Ok(answered) => break answered,
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
                return refused;
            }
            tracing::warn!(%error, %address, "a backend's answer cannot be passed on");
            return Response::status(if error.kind() == io::ErrorKind::TimedOut { 504 } else { 502 });
        }
        let timeout = match host.connect_timeout {
            0 => CONNECT_TIMEOUT,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        match stream::connect(&address, timeout).await {
            Ok(stream) => opened = Opened { stream, address: address.clone(), pooled: false },
            Err(error) => {
                tracing::warn!(%error, %address, "a backend closed, and cannot be reached again");
                return Response::status(503);
            }
        }
        held = failed.held;
    };
    if head.status == 101 {
        // Nothing of the client's was passed on before the backend agreed.
        let Some((stream, early)) = reader.take_stream().filter(|_| upgrade) else {
            return Response::status(502);
        };
        hop::strip_response(&mut head.fields, true);
        let mut response = Response { head, from_backend: true, ..Response::default() };
        let held = std::mem::take(&mut reader.held);
        response.body = Body::Tunnel(Box::new(Tunnel { stream, early, frames: None, _held: held }));
        return response;
    }
    // Where a backend has answered before the end of a body, nobody knows when the connection is free.
    if !facts.close && !matches!(facts.framing, Framing::UntilClose) && !reader.feeds() {
        reader.held.pool = Some((std::rc::Rc::clone(x.worker), address));
    }
    hop::strip_response(&mut head.fields, false);
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
        response.body = Body::Stream(Box::new(reader), Some(0));
        return response;
    }
    let mut response = backend::finish(x, head, reader, length).await;
    // What the client sends after asking for another protocol was meant for that one.
    response.close |= upgrade;
    response
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
) -> Result<(Reader, ResponseHead, parse::ResponseFacts), Failed> {
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
            match upload::upload(x, &stream, wrap).await {
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
    let reader = Reader::new(Pipe::Stream(stream), Wrap::None, host.read_timeout, held);
    let mut reader = match uploaded {
        Some(uploaded) => reader.after(uploaded),
        None => reader,
    };
    let mut head = ResponseHead::default();
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

/// The request's head, as the backend gets it.
fn request(
    x: &Exchange<'_>,
    host: &Host,
    framing: Framing,
    upgrade: bool,
    service: Option<Service<'_>>,
) -> Vec<u8> {
    let conf = &x.conf.proxy;
    let mut head = RequestHead::default();
    head.copy_from(x.head);
    let path = remapped(&x.target.text, &conf.header.map_urlpath, Way::Out);
    head.set_path(&path);
    if let Some(service) = service {
        // The mesh believes what its edge says of the client, and nothing that the client said itself.
        match service {
            Service::AsAuthority(name) => head.set_authority(name),
            Service::InHeader(name) => head.fields.set(SERVICE_HEADER, name.as_bytes()),
        }
        head.fields.remove(HeaderId::XForwardedFor);
        head.fields.remove_named("forwarded");
    } else if conf.replace_http_host && !host.label.is_empty() {
        head.set_authority(&host.label);
    } else {
        let authority =
            remapped_host(x.head.authority().unwrap_or_default(), &conf.header.map_host_request, x);
        head.set_authority(&authority);
    }
    let keeps = upgrade.then(|| x.header("upgrade").unwrap_or("websocket").to_owned());
    hop::strip_request(&mut head.fields, false);
    head.fields.remove_named("proxy");
    head.fields.remove_named("set-cookie");
    head.fields.remove(HeaderId::ContentLength);
    if let Some(protocol) = keeps {
        head.fields.append_id(HeaderId::Connection, b"upgrade");
        head.fields.append_id(HeaderId::Upgrade, protocol.as_bytes());
    }
    forwarding(x, &mut head);
    // The client has been told to send its body, or is.
    head.fields.remove_named("expect");
    if let Framing::Length(length) = framing {
        head.fields.append_id(HeaderId::ContentLength, itoa::Buffer::new().format(length).as_bytes());
    }
    let mut out = Vec::with_capacity(1024);
    encode::request(&head, framing, &mut out);
    if conf.header.force_http10
        && let Some(at) = memchr::memmem::find(&out, b" HTTP/1.1\r\n")
    {
        out[at + 8] = b'0';
    }
    out
}

/// What tells the backend who asks.
fn forwarding(x: &Exchange<'_>, head: &mut RequestHead) {
    let fields = &mut head.fields;
    let peer = x.peer.remote.ip().to_canonical();
    let parts = &x.conf.proxy.forwarded;
    if parts.by || parts.for_client || parts.host || parts.proto || parts.remote_user {
        let mut element = String::new();
        let mut push = |name: &str, value: String| {
            if !element.is_empty() {
                element.push(';');
            }
            let _ = write!(element, "{name}={value}");
        };
        if parts.for_client {
            push("for", node(peer));
        }
        if parts.by {
            push("by", format!("\"{}\"", x.peer.local));
        }
        if parts.proto {
            push("proto", x.scheme().to_owned());
        }
        if parts.host {
            push("host", quoted(x.head.authority().unwrap_or_default()));
        }
        if let Some(user) = x.user.as_ref().filter(|_| parts.remote_user) {
            push("remote_user", quoted(&user.name));
        }
        let mut value = fields.named("forwarded").map(<[u8]>::to_vec).unwrap_or_default();
        if value.is_empty() {
            // What those before us said in the older header.
            value = forwarded_list(fields.all(HeaderId::XForwardedFor)).into_bytes();
        }
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(element.as_bytes());
        fields.set("forwarded", &value);
    }
    let mut list: Vec<u8> = Vec::new();
    for value in fields.all(HeaderId::XForwardedFor) {
        list.extend_from_slice(value);
        list.extend_from_slice(b", ");
    }
    let client = if x.conf.mesh.service.is_some() { x.remote } else { peer };
    list.extend_from_slice(client.to_string().as_bytes());
    fields.set_id(HeaderId::XForwardedFor, &list);
    let authority = x.head.authority().unwrap_or_default();
    fields.set("x-host", authority.as_bytes());
    fields.set_id(HeaderId::XForwardedHost, authority.as_bytes());
    fields.set_id(HeaderId::XForwardedProto, x.scheme().as_bytes());
}

/// The addresses of `X-Forwarded-For` as elements of `Forwarded`.
fn forwarded_list<'a>(values: impl Iterator<Item = &'a [u8]>) -> String {
    let mut list = String::new();
    for value in values {
        for one in String::from_utf8_lossy(value).split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let separator = if list.is_empty() { "" } else { ", " };
            let _ =
                match one.contains(':') && !one.starts_with('[') && one.parse::<std::net::Ipv6Addr>().is_ok()
                {
                    true => write!(list, "{separator}for=\"[{one}]\""),
                    false => write!(list, "{separator}for={}", quoted(one)),
                };
        }
    }
    list
}

fn node(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    Back,
}

/// A path with the first prefix that fits changed.
fn remapped(path: &str, map: &Named<Text>, way: Way) -> String {
    for (ours, theirs) in map.iter() {
        let (from, to) = if way == Way::Out { (ours, theirs) } else { (theirs, ours) };
        if let Some(rest) = path.strip_prefix(&**from).filter(|_| !from.is_empty() || way == Way::Out) {
            return format!("{to}{rest}");
        }
    }
    path.to_owned()
}

fn remapped_host(host: &str, map: &Named<Text>, x: &Exchange<'_>) -> String {
    for (from, to) in map.iter() {
        if **from == *"-" || from.eq_ignore_ascii_case(host) {
            return if **to == *"-" { x.head.authority().unwrap_or(host).to_owned() } else { to.to_string() };
        }
    }
    host.to_owned()
}

/// Places that the answer names are named as the client knows them.
fn remap_response(x: &Exchange<'_>, head: &mut ResponseHead) {
    let header = &x.conf.proxy.header;
    let hosts = if header.map_host_response.is_empty() { None } else { Some(&header.map_host_response) };
    if header.map_urlpath.is_empty() && hosts.is_none() && !header.https_remap {
        return;
    }
    for name in ["location", "content-location"] {
        let Some(value) = head.fields.named(name).and_then(|value| std::str::from_utf8(value).ok()) else {
            continue;
        };
        let value = remapped_url(x, header, value);
        head.fields.set(name, value.as_bytes());
    }
    let cookies: Vec<String> = head
        .fields
        .all_named("set-cookie")
        .map(|cookie| String::from_utf8_lossy(cookie).into_owned())
        .collect();
    if !cookies.is_empty() {
        head.fields.remove_named("set-cookie");
        for cookie in cookies {
            head.fields.append(b"set-cookie", remapped_cookie(x, header, &cookie).as_bytes());
        }
    }
}

fn remapped_url(x: &Exchange<'_>, header: &ProxyHeader, url: &str) -> String {
    let Some((scheme, authority, path)) = selvedge_http::authority::split_absolute(url) else {
        return remapped(url, &header.map_urlpath, Way::Back);
    };
    let host = remapped_host(authority, &header.map_host_response, x);
    let scheme = if header.https_remap && x.https { "https" } else { scheme };
    format!("{scheme}://{host}{}", remapped(path, &header.map_urlpath, Way::Back))
}

fn remapped_cookie(x: &Exchange<'_>, header: &ProxyHeader, cookie: &str) -> String {
    let parts = cookie.split(';').map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "path" => format!("{name}={}", remapped(value, &header.map_urlpath, Way::Back)),
            "domain" => format!("{name}={}", remapped_host(value, &header.map_host_response, x)),
            _ => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_change_both_ways() {
        let map: Named<Text> =
            [("/rewrite/all", "/cgi.pl?"), ("/a", "")].map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(remapped("/rewrite/all/x%3A", &map, Way::Out), "/cgi.pl?/x%3A");
        assert_eq!(remapped("/cgi.pl?/x", &map, Way::Back), "/rewrite/all/x");
        assert_eq!(remapped("/a/b", &map, Way::Out), "/b");
        assert_eq!(remapped("/c", &map, Way::Back), "/c");
        assert_eq!(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
    }

    #[test]
    fn those_before_us_are_told_of_in_the_newer_header() {
        let list = |values: &[&str]| forwarded_list(values.iter().map(|value| value.as_bytes()));
        assert_eq!(list(&["9.9.9.9, 1.1.1.1", "::1"]), "for=\"9.9.9.9\", for=\"1.1.1.1\", for=\"[::1]\"");
        assert_eq!(list(&["a\";host=evil"]), "for=\"a\\\";host=evil\"");
        assert_eq!(list(&[]), "");
    }
}
