//! Bytes of an HTTP/1 head → [`RequestHead`] and [`ResponseHead`], with what the first look must settle: where the body
//! ends, whether the connection survives, what the peer asks of the connection.
//!
//! `httparse` knows the grammar of a line; which messages are acceptable is decided here.

use std::mem::MaybeUninit;

use crate::authority;
use crate::chunked::ChunkError;
use crate::fields::{Fields, Repeated, Span};
use crate::framing::{self, Framing, FramingError};
use crate::head::{RequestHead, ResponseHead, Version};
use crate::known::HeaderId;
use crate::method;
use crate::scan::{
    self, Extent, HEADERS_MAX, REQUEST_HEAD_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX, Scan, Scanner,
};

/// What is known of a request once its head is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    pub framing: Framing,
    /// The client wants the connection closed after the response.
    pub close: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// What the client wants to turn the connection into.
    pub upgrade: Upgrade,
}

/// A protocol change that a message asks for or agrees to (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    #[default]
    None,
    WebSocket,
    /// A tunnel to the authority that the request names (`CONNECT`, RFC 9110 §9.3.6).
    Connect,
    /// HTTP/2 in the clear: ignored, as RFC 9113 allows and Envoy does.
    H2c,
    Other,
}

impl Upgrade {
    /// Whether bytes of another protocol follow once the wish is granted: whatever the client has sent by then is not its
    /// next request.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::WebSocket | Self::Connect)
    }
}

/// What is known of a response once its head is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    pub framing: Framing,
    /// The connection cannot carry another request.
    pub close: bool,
}

/// A request head that is not served. The client's fault, each one; the connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("a head of more than {REQUEST_HEAD_BYTES_MAX} bytes")]
    HeadTooLarge,
    #[error("more than {HEADERS_MAX} header fields")]
    TooManyHeaders,
    #[error("a line ended by LF alone")]
    BareLineFeed,
    #[error("no HTTP request: {0}")]
    Malformed(&'static str),
    #[error("a method that is not known")]
    UnknownMethod,
    #[error("a control character in a header value")]
    InvalidCharacters,
    #[error("an HTTP version other than 1.1")]
    Version,
    #[error("a host that no authority can be")]
    InvalidAuthority,
    #[error("more than one host")]
    DuplicateHost,
    #[error("{0}")]
    Framing(#[from] FramingError),
    #[error("{0}")]
    Chunk(#[from] ChunkError),
}

/// A response head that cannot be passed on. The upstream's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("a head of more than {RESPONSE_HEAD_BYTES_MAX} bytes")]
    HeadTooLarge,
    #[error("more than {HEADERS_MAX} header fields")]
    TooManyHeaders,
    #[error("no HTTP response: {0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Framing(#[from] FramingError),
    #[error("{0}")]
    Chunk(#[from] ChunkError),
}

/// Which requests a server takes, where servers differ: what a mesh's proxy refuses as Envoy does, an edge may serve as web
/// servers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// HTTP/1.0 is served.
    pub http10: bool,
    /// A target may hold bytes outside of ASCII; they are escaped.
    pub utf8_target: bool,
    /// The authority of an absolute target and `Host` must not differ; else the former wins.
    pub one_authority: bool,
    /// Empty lines that may precede a request.
    pub empty_lines_max: usize,
    /// The longest head, at most [`REQUEST_HEAD_BYTES_MAX`].
    pub head_bytes_max: usize,
}

impl Dialect {
    /// As Envoy's codec.
    pub const ENVOY: Self = Self {
        http10: false,
        utf8_target: false,
        one_authority: false,
        empty_lines_max: usize::MAX,
        head_bytes_max: REQUEST_HEAD_BYTES_MAX,
    };
    /// As lighttpd.
    pub const WEB: Self = Self {
        http10: true,
        utf8_target: true,
        one_authority: true,
        empty_lines_max: 1,
        head_bytes_max: 8 * 1024,
    };
}

impl Default for Dialect {
    fn default() -> Self {
        Self::ENVOY
    }
}

/// Reads a request head once it is whole: its length in bytes and what it settles. `None` asks for more bytes.
///
/// `bytes` starts at the same place in every call for one head.
///
/// # Errors
/// See [`RequestError`]; as early as the bytes at hand allow.
pub fn request(
    scanner: &mut Scanner,
    bytes: &[u8],
    head: &mut RequestHead,
    dialect: Dialect,
) -> Result<Option<(usize, RequestFacts)>, RequestError> {
    match scanner.scan(bytes) {
        Scan::Complete(extent) if extent.end - extent.start > dialect.head_bytes_max => {
            Err(RequestError::HeadTooLarge)
        }
        Scan::Complete(extent) if extent.start / 2 > dialect.empty_lines_max => {
            Err(RequestError::Malformed("empty line"))
        }
        Scan::Complete(extent) => {
            request_head(bytes, extent, head, dialect).map(|facts| Some((extent.end, facts)))
        }
        Scan::BareLineFeed => Err(RequestError::BareLineFeed),
        Scan::Partial if bytes.len() > dialect.head_bytes_max => Err(RequestError::HeadTooLarge),
        Scan::Partial if empty_lines(bytes) > dialect.empty_lines_max => {
            Err(RequestError::Malformed("empty line"))
        }
        Scan::Partial if !could_be_request(bytes) => Err(RequestError::Malformed("method")),
        Scan::Partial => Ok(None),
    }
}

/// Reads a response head once it is whole; `method` is that of the request it answers.
///
/// # Errors
/// See [`ResponseError`].
pub fn response(
    scanner: &mut Scanner,
    bytes: &[u8],
    method: &str,
    head: &mut ResponseHead,
) -> Result<Option<(usize, ResponseFacts)>, ResponseError> {
    match scanner.scan(bytes) {
        Scan::Complete(extent) if extent.end > RESPONSE_HEAD_BYTES_MAX => Err(ResponseError::HeadTooLarge),
        Scan::Complete(extent) => {
            response_head(bytes, extent, method, head).map(|facts| Some((extent.end, facts)))
        }
        Scan::BareLineFeed => Err(ResponseError::Malformed("a line ended by LF alone")),
        Scan::Partial if bytes.len() > RESPONSE_HEAD_BYTES_MAX => Err(ResponseError::HeadTooLarge),
        Scan::Partial if !could_be_response(bytes) => Err(ResponseError::Malformed("version")),
        Scan::Partial => Ok(None),
    }
}

fn empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count() / 2
}

/// Whether the first bytes can begin a request: no answer should wait for the rest of a TLS handshake.
fn could_be_request(bytes: &[u8]) -> bool {
    const METHOD_BYTES_MAX: usize = 16;
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    let line = &bytes[start..];
    let method = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    method <= METHOD_BYTES_MAX && line[..method].iter().all(|b| b.is_ascii_uppercase() || *b == b'-')
}

fn could_be_response(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    bytes[start..].iter().zip(b"HTTP/1.").all(|(a, b)| a == b)
}

/// The head is copied once into the arena; everything else is an offset into that copy.
fn copy_head(bytes: &[u8], extent: Extent, fields: &mut Fields) {
    let arena = fields.arena_mut();
    arena.extend_from_slice(&bytes[extent.start..extent.end]);
    if extent.folded {
        scan::unfold(arena);
    }
}

fn place_of(arena: &[u8], part: &[u8]) -> Span {
    // Both are slices of one allocation: the parser only ever returns parts of what it was given.
    Span::new(part.as_ptr() as usize - arena.as_ptr() as usize, part.len())
}

fn request_head(
    bytes: &[u8],
    extent: Extent,
    head: &mut RequestHead,
    dialect: Dialect,
) -> Result<RequestFacts, RequestError> {
    head.clear();
    if dialect.one_authority && extent.folded && has_folded_framing(&bytes[extent.start..extent.end]) {
        return Err(RequestError::Malformed(
            "a folded line that says where the request ends or whom it is for",
        ));
    }
    copy_head(bytes, extent, &mut head.fields);
    if dialect.utf8_target {
        escape_target(head.fields.arena_mut());
    }
    let (arena, mut noting) = head.fields.noting();
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(arena, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(RequestError::Malformed("head")),
        Err(error) => return Err(request_fault(error, arena)),
    }
    let version = match parsed.version {
        Some(1) => Version::Http11,
        Some(0) if dialect.http10 => Version::Http10,
        _ => return Err(RequestError::Version),
    };
    let (Some(name), Some(target)) = (parsed.method, parsed.path) else {
        return Err(RequestError::Malformed("request line"));
    };
    if method::known(name.as_bytes()).is_none() {
        return Err(RequestError::UnknownMethod);
    }
    let whole = target;
    let target = Target::of(name, target)?;
    // Who sends user information means to show another host than the one that is asked (RFC 9110 §4.2.4).
    if dialect.one_authority
        && let Some(authority) = target.authority.filter(|_| target.scheme.is_some())
        && whole.split_once("://").is_some_and(|(_, rest)| !rest.starts_with(authority))
    {
        return Err(RequestError::InvalidAuthority);
    }
    let place = |text: &str| place_of(arena, text.as_bytes());
    let (method, path) = (place(name), place(target.path));
    let absolute = target.authority.map(place);
    let scheme = target.scheme;
    for header in parsed.headers.iter() {
        noting.push(place_of(arena, header.name.as_bytes()), place_of(arena, header.value));
    }
    head.fields.settle();
    head.version = version;
    (head.method, head.path) = (method, path);
    if path.is_empty() && scheme.is_some() {
        head.set_path("/");
    }
    let host = head.fields.take(HeaderId::Host).map_err(|Repeated| RequestError::DuplicateHost)?;
    head.authority = absolute.or(host);
    if dialect.one_authority
        && let (Some(absolute), Some(host)) = (absolute, host)
        && !head.fields.bytes(absolute).eq_ignore_ascii_case(head.fields.bytes(host))
    {
        return Err(RequestError::DuplicateHost);
    }
    if head.authority.is_some_and(|span| !authority::is_valid(head.fields.bytes(span))) {
        return Err(RequestError::InvalidAuthority);
    }
    if let Some(scheme) = scheme {
        head.set_scheme(scheme);
    }
    request_facts(head)
}

/// Whether a line goes on on the next one that another reader, who ends it there, would read in another way.
fn has_folded_framing(head: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] = [b"host:", b"content-length:", b"transfer-encoding:", b"connection:"];
    let mut matters = false;
    head.split(|byte| *byte == b'\n').any(|line| {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return matters;
        }
        matters = NAMES
            .iter()
            .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        false
    })
}

/// Escapes the bytes of the request line that are not ASCII.
fn escape_target(head: &mut Vec<u8>) {
    let line = memchr::memchr(b'\r', head).unwrap_or(head.len());
    if head[..line].is_ascii() {
        return;
    }
    let mut escaped = Vec::with_capacity(head.len() + 64);
    for &byte in &head[..line] {
        match byte.is_ascii() {
            true => escaped.push(byte),
            false => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                escaped.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    escaped.extend_from_slice(&head[line..]);
    *head = escaped;
}

struct Target<'a> {
    scheme: Option<&'static str>,
    authority: Option<&'a str>,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// The four forms of RFC 9112 §3.2. Every part is a slice of `target`.
    fn of(method: &str, target: &'a str) -> Result<Self, RequestError> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestError::Malformed("target"));
        }
        if method == "CONNECT" {
            return Ok(Self { scheme: None, authority: Some(target), path: &target[..0] });
        }
        if target.starts_with('/') || target == "*" {
            return Ok(Self { scheme: None, authority: None, path: target });
        }
        let (scheme, authority, path) =
            authority::split_absolute(target).ok_or(RequestError::Malformed("target"))?;
        Ok(Self { scheme: Some(scheme), authority: Some(authority), path })
    }
}

fn request_facts(head: &RequestHead) -> Result<RequestFacts, RequestError> {
    let mut facts = RequestFacts { framing: framing::of_request(&head.fields)?, ..RequestFacts::default() };
    let mut asks_upgrade = false;
    let mut keep = false;
    let mut upgrade = Upgrade::None;
    for (id, _, value) in head.fields.iter_ids() {
        match id {
            HeaderId::Connection | HeaderId::ProxyConnection => {
                facts.close |= has_token(value, b"close");
                keep |= has_token(value, b"keep-alive");
                asks_upgrade |= has_token(value, b"upgrade");
            }
            HeaderId::Expect => facts.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            HeaderId::Upgrade => {
                upgrade = match value {
                    v if v.eq_ignore_ascii_case(b"websocket") => Upgrade::WebSocket,
                    v if v.eq_ignore_ascii_case(b"h2c") => Upgrade::H2c,
                    _ => Upgrade::Other,
                }
            }
            _ => {}
        }
    }
    if head.version == Version::Http10 {
        // Chunks are of HTTP/1.1, and so is `100 Continue`.
        if facts.framing == Framing::Chunked {
            return Err(FramingError::UnknownTransferEncoding.into());
        }
        facts.close |= !keep;
        facts.expects_continue = false;
    }
    if head.method() == "CONNECT" {
        // Nothing but the tunnel could follow.
        facts.close = true;
        facts.upgrade = Upgrade::Connect;
        // A CONNECT has no content, and one that says otherwise means to hide a request in it (RFC 9110 §9.3.6).
        if facts.framing.has_body() {
            return Err(RequestError::Malformed("a CONNECT with content"));
        }
    } else if asks_upgrade {
        facts.upgrade = upgrade;
    }
    facts.expects_continue &= facts.framing.has_body();
    Ok(facts)
}

fn request_fault(error: httparse::Error, head: &[u8]) -> RequestError {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => RequestError::TooManyHeaders,
        Error::Version => {
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            let mut parts = line.split(|b| *b == b' ').skip(2);
            match (parts.next(), parts.next()) {
                (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
                    if major.is_ascii_digit() && minor.is_ascii_digit() =>
                {
                    RequestError::Version
                }
                _ => RequestError::Malformed("version"),
            }
        }
        Error::HeaderValue => RequestError::InvalidCharacters,
        Error::HeaderName => RequestError::Malformed("header name"),
        Error::NewLine => RequestError::Malformed("line end"),
        Error::Token => RequestError::Malformed("request line"),
        Error::Status => RequestError::Malformed("status"),
    }
}

fn response_head(
    bytes: &[u8],
    extent: Extent,
    method: &str,
    head: &mut ResponseHead,
) -> Result<ResponseFacts, ResponseError> {
    head.clear();
    copy_head(bytes, extent, &mut head.fields);
    let (arena, mut noting) = head.fields.noting();
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, arena, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(ResponseError::Malformed("head")),
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooManyHeaders),
        Err(_) => return Err(ResponseError::Malformed("head")),
    }
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let status = parsed.code.filter(|code| *code >= 100).ok_or(ResponseError::Malformed("status"))?;
    for header in parsed.headers.iter() {
        noting.push(place_of(arena, header.name.as_bytes()), place_of(arena, header.value));
    }
    head.fields.settle();
    (head.version, head.status) = (version, status);
    let (mut close, mut keep) = (false, false);
    for value in head.fields.all(HeaderId::Connection) {
        close |= has_token(value, b"close");
        keep |= has_token(value, b"keep-alive");
    }
    let framing = framing::of_response(&head.fields, status, method, version)?;
    close |= framing == Framing::UntilClose || method == "CONNECT" || (version == Version::Http10 && !keep);
    Ok(ResponseFacts { framing, close })
}

/// Whether a comma-separated list holds `token`, in any case.
pub fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|entry| entry.trim_ascii().eq_ignore_ascii_case(token))
}
