//! Header lists → heads, by the rules of RFC 9113 §8: what breaks them is a malformed message, and its stream is reset.

use crate::fields::Fields;
use crate::h2::ENTRY_BYTES;
use crate::head::{RequestHead, ResponseHead, Version};
use crate::known::HeaderId;
use crate::parse::Upgrade;

/// Why a header list is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the header list is malformed: {0}")]
    Malformed(&'static str),
    /// It has more bytes than were announced.
    #[error("the header list is too long")]
    TooLong,
    /// It has many times more: no mistake, but few bytes made into many.
    #[error("the header list is a bomb")]
    Bomb,
}

/// How many times longer than allowed a list may be and still be a mistake.
const BOMB_TIMES: usize = 8;

/// Which pseudo headers have come.
#[derive(Clone, Copy, Debug, Default)]
struct Pseudo {
    method: bool,
    scheme: bool,
    path: bool,
    authority: bool,
    protocol: bool,
}

/// What all lists have in common: their order, their size, and what their fields may be.
#[derive(Debug)]
struct Rules {
    bytes: usize,
    bytes_max: usize,
    lines: usize,
    regular: bool,
    crumbs: u32,
    fault: Option<Fault>,
}

impl Rules {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max, lines: 0, regular: false, crumbs: 0, fault: None }
    }

    fn refuse(&mut self, why: &'static str) {
        self.fault.get_or_insert(Fault::Malformed(why));
    }

    /// Whether there is room for a line, and no fault so far.
    fn admit(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.bytes += name.len() + value.len() + ENTRY_BYTES;
        self.lines += 1;
        if self.bytes > self.bytes_max {
            // A malformed list that is too long as well is too long.
            let is_bomb = self.bytes / BOMB_TIMES > self.bytes_max;
            self.fault = Some(if is_bomb { Fault::Bomb } else { Fault::TooLong });
        }
        self.fault.is_none()
    }

    /// Adds a field that is no pseudo header.
    fn field(&mut self, fields: &mut Fields, id: HeaderId, name: &[u8], value: &[u8]) {
        self.regular = true;
        if !value.iter().all(|byte| VALUE[usize::from(*byte)]) {
            return self.refuse("a value");
        }
        match id {
            HeaderId::Other => {
                if !is_name(name) {
                    return self.refuse("a name");
                }
                self.crumbs += u32::from(name == b"cookie");
                fields.push(id, name, value);
            }
            HeaderId::Connection
            | HeaderId::KeepAlive
            | HeaderId::ProxyConnection
            | HeaderId::TransferEncoding
            | HeaderId::Upgrade => self.refuse("a field of the connection"),
            HeaderId::Te if value != b"trailers" => self.refuse("te"),
            id => fields.push(id, name, value),
        }
    }

    /// The crumbs of a cookie become one again, since HTTP/1 has no crumbs (RFC 9113 §8.2.3).
    fn finish(&self, fields: &mut Fields) -> Result<(), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.crumbs > 1 {
            let whole = fields.all_named("cookie").collect::<Vec<_>>().join(&b"; "[..]);
            fields.set("cookie", &whole);
        }
        Ok(())
    }
}

/// A request that is being read.
#[derive(Debug)]
pub struct Request<'a> {
    head: &'a mut RequestHead,
    rules: Rules,
    seen: Pseudo,
    websocket: bool,
}

impl<'a> Request<'a> {
    /// Into `head`, which is emptied; of so many bytes at most.
    pub fn new(head: &'a mut RequestHead, bytes_max: usize) -> Self {
        head.clear();
        head.version = Version::Http2;
        Self { head, rules: Rules::new(bytes_max), seen: Pseudo::default(), websocket: false }
    }

    /// Takes a line.
    pub fn line(&mut self, id: HeaderId, name: &[u8], value: &[u8]) {
        if !self.rules.admit(name, value) {
            return;
        }
        if name.first() != Some(&b':') {
            return self.rules.field(&mut self.head.fields, id, name, value);
        }
        if self.rules.regular {
            return self.rules.refuse("a pseudo header behind a field");
        }
        let head = &mut *self.head;
        let (seen, fine) = match name {
            b":method" => {
                head.method = head.fields.store(value);
                (
                    &mut self.seen.method,
                    !value.is_empty() && value.iter().all(|byte| TOKEN[usize::from(*byte)]),
                )
            }
            b":scheme" => {
                head.scheme = head.fields.store(value);
                let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                (&mut self.seen.scheme, !value.is_empty() && value.iter().all(is_fine))
            }
            b":path" => {
                // A target has no fragment; who sends one means what is before it.
                let path = memchr::memchr(b'#', value).map_or(value, |at| &value[..at]);
                head.path = head.fields.store(path);
                let begins = path.first() == Some(&b'/') || path == b"*";
                (&mut self.seen.path, begins && path.iter().all(u8::is_ascii_graphic))
            }
            b":authority" => {
                head.authority = (!value.is_empty()).then(|| head.fields.store(value));
                (&mut self.seen.authority, value.iter().all(u8::is_ascii_graphic))
            }
            b":protocol" => {
                self.websocket = value.eq_ignore_ascii_case(b"websocket");
                (&mut self.seen.protocol, !value.is_empty())
            }
            _ => return self.rules.refuse("an unknown pseudo header"),
        };
        if !fine || std::mem::replace(seen, true) {
            self.rules.refuse("a pseudo header");
        }
    }

    /// The list is whole: what the request wants its stream to become. With `extended_connect` that may be another protocol
    /// (RFC 8441), and the wish for a WebSocket becomes what it is by HTTP/1, so that what follows need not know of two ways.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn finish(self, extended_connect: bool) -> Result<Upgrade, Fault> {
        let Self { head, rules, seen, websocket } = self;
        rules.finish(&mut head.fields)?;
        head.list_bytes = rules.bytes - rules.lines * ENTRY_BYTES;
        let connect = head.method() == "CONNECT";
        let lacks = match (connect, seen.protocol) {
            _ if !seen.method => Some("no method"),
            (false, true) => Some("a protocol without CONNECT"),
            (true, true) if !extended_connect => Some("a protocol that nobody offered"),
            (true, false) if seen.scheme || seen.path || head.authority.is_none() => Some("CONNECT"),
            (true, false) => None,
            _ if !seen.scheme || !seen.path => Some("no scheme or path"),
            _ => None,
        };
        if let Some(why) = lacks {
            return Err(Fault::Malformed(why));
        }
        if let Some(host) = head.fields.get(HeaderId::Host) {
            if !host.is_ascii() {
                return Err(Fault::Malformed("host"));
            }
            if head.authority.is_none() && !host.is_empty() {
                let host = host.to_vec();
                head.authority = Some(head.fields.store(&host));
            }
            head.fields.remove(HeaderId::Host);
        }
        Ok(match (connect, seen.protocol) {
            (false, _) => Upgrade::None,
            (true, false) => Upgrade::Connect,
            (true, true) if !websocket => Upgrade::Other,
            (true, true) => {
                head.set_method("GET");
                head.fields.set_id(HeaderId::Upgrade, b"websocket");
                head.fields.set_id(HeaderId::Connection, b"upgrade");
                Upgrade::WebSocket
            }
        })
    }
}

/// A response that is being read.
#[derive(Debug)]
pub struct Response<'a> {
    head: &'a mut ResponseHead,
    rules: Rules,
}

impl<'a> Response<'a> {
    /// Into `head`, which is emptied; of so many bytes at most.
    pub fn new(head: &'a mut ResponseHead, bytes_max: usize) -> Self {
        head.clear();
        head.version = Version::Http2;
        Self { head, rules: Rules::new(bytes_max) }
    }

    /// Takes a line.
    pub fn line(&mut self, id: HeaderId, name: &[u8], value: &[u8]) {
        if !self.rules.admit(name, value) {
            return;
        }
        if name.first() != Some(&b':') {
            return self.rules.field(&mut self.head.fields, id, name, value);
        }
        if name != b":status" || self.rules.regular || self.head.status != 0 {
            return self.rules.refuse("a pseudo header");
        }
        match value {
            [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                let digit = |byte: &u8| u16::from(byte - b'0');
                self.head.status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
            }
            _ => self.rules.refuse("a status"),
        }
    }

    /// The list is whole.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn finish(self) -> Result<(), Fault> {
        self.rules.finish(&mut self.head.fields)?;
        match self.head.status {
            0 => Err(Fault::Malformed("no status")),
            // HTTP/2 has no such change of protocol (RFC 9113 §8.6).
            101 => Err(Fault::Malformed("101")),
            _ => Ok(()),
        }
    }
}

/// Trailers that are being read.
#[derive(Debug)]
pub struct Trailers {
    fields: Fields,
    rules: Rules,
}

impl Trailers {
    /// Of so many bytes at most.
    pub fn new(bytes_max: usize) -> Self {
        Self { fields: Fields::default(), rules: Rules::new(bytes_max) }
    }

    /// Takes a line.
    pub fn line(&mut self, id: HeaderId, name: &[u8], value: &[u8]) {
        if self.rules.admit(name, value) {
            if name.first() == Some(&b':') {
                return self.rules.refuse("a pseudo header in trailers");
            }
            self.rules.field(&mut self.fields, id, name, value);
        }
    }

    /// The list is whole.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn finish(mut self) -> Result<Fields, Fault> {
        self.rules.finish(&mut self.fields)?;
        Ok(self.fields)
    }
}

/// Whether a name can be one in HTTP/2: a token without capitals.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| TOKEN[usize::from(*byte)] && !byte.is_ascii_uppercase())
}

/// Bytes of a token (RFC 9110 §5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = !matches!(
            byte as u8,
            b'"' | b'('
                | b')'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'<'
                | b'='
                | b'>'
                | b'?'
                | b'@'
                | b'['
                | b'\\'
                | b']'
                | b'{'
                | b'}'
        );
        byte += 1;
    }
    table
};

/// Bytes of a value: no control characters but the tab.
static VALUE: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = byte == 0x09;
        byte += 1;
    }
    table[0x7f] = false;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[(&str, &str)] =
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

    fn request(lines: &[(&str, &str)], extended: bool) -> Result<(RequestHead, Upgrade), Fault> {
        let mut head = RequestHead::default();
        let mut request = Request::new(&mut head, 1000);
        for (name, value) in lines {
            request.line(HeaderId::of(name.as_bytes()), name.as_bytes(), value.as_bytes());
        }
        let upgrade = request.finish(extended)?;
        Ok((head, upgrade))
    }

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [GET, more].concat()
    }

    #[test]
    fn a_request_is_what_its_lines_say() {
        let more = [("x", "1"), ("cookie", "a=1"), ("te", "trailers"), ("cookie", "b=2"), ("host", "other")];
        let (head, upgrade) = request(&with(&more), false).unwrap();
        assert_eq!((head.method(), head.scheme(), head.path()), ("GET", "http", "/"));
        assert_eq!((head.authority(), upgrade, head.version), (Some("h"), Upgrade::None, Version::Http2));
        let fields: Vec<_> = head.fields.iter().map(|(name, value)| (name, value.to_vec())).collect();
        let expected = [("x", b"1".to_vec()), ("te", b"trailers".to_vec()), ("cookie", b"a=1; b=2".to_vec())];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_host_stands_in_for_an_authority() {
        let lines = [&GET[..3], &[("host", "h:1")]].concat();
        assert_eq!(request(&lines, false).unwrap().0.authority(), Some("h:1"));
        let none = request(&[&GET[..3], &[(":authority", "")]].concat(), false).unwrap();
        assert_eq!(none.0.authority(), None);
    }

    #[test]
    fn what_breaks_the_rules_is_no_request() {
        let rows: &[&[(&str, &str)]] = &[
            &[],
            &GET[1..],
            &[GET[0], GET[1]],
            &[GET[0], GET[2]],
            &with(&[(":path", "/b")]),
            &with(&[(":method", "GET")]),
            &with(&[(":status", "200")]),
            &with(&[(":protocol", "websocket")]),
            &with(&[(":unknown", "1")]),
            &[GET[0], GET[1], ("x", "1"), GET[2]],
            &[(":method", "G T"), GET[1], GET[2]],
            &[GET[0], GET[1], (":path", "")],
            &[GET[0], GET[1], (":path", "x")],
            &[GET[0], GET[1], (":path", "/ x")],
            &[GET[0], (":scheme", "http://x/?"), GET[2]],
            &[(":method", "CONNECT"), GET[1], GET[2], GET[3]],
            &[(":method", "CONNECT")],
            &with(&[("connection", "close")]),
            &with(&[("te", "gzip")]),
            &with(&[("X", "1")]),
            &with(&[("", "1")]),
            &with(&[("x", "a\nb")]),
            &with(&[("host", "\u{e9}")]),
        ];
        for row in rows {
            assert!(matches!(request(row, false), Err(Fault::Malformed(_))), "{row:?}");
        }
    }

    #[test]
    fn a_stream_becomes_another_protocol_where_that_was_offered() {
        let wish = [(":method", "CONNECT"), (":protocol", "websocket"), GET[1], (":path", "/c"), GET[3]];
        let (head, upgrade) = request(&wish, true).unwrap();
        assert_eq!((upgrade, head.method(), head.path()), (Upgrade::WebSocket, "GET", "/c"));
        assert_eq!(head.fields.get(HeaderId::Upgrade), Some(&b"websocket"[..]));
        assert!(request(&wish, false).is_err());
        let other = [wish[0], (":protocol", "other"), wish[2], wish[3], wish[4]];
        assert_eq!(request(&other, true).unwrap().1, Upgrade::Other);
        assert_eq!(request(&[wish[0], GET[3]], false).unwrap().1, Upgrade::Connect);
    }

    #[test]
    fn a_list_has_its_size() {
        let long = "x".repeat(900);
        assert_eq!(request(&[GET, &[("a", &long)]].concat(), false).err(), Some(Fault::TooLong));
        let bad = [&[("", "")], GET, &[("a", &*long)]].concat();
        assert_eq!(request(&bad, false).err(), Some(Fault::TooLong));
        let many = [GET, &[("a", &*long); 10]].concat();
        assert_eq!(request(&many, false).err(), Some(Fault::Bomb));
    }

    #[test]
    fn a_response_has_one_status_of_three_digits() {
        let read = |lines: &[(&str, &str)]| {
            let mut head = ResponseHead::default();
            let mut response = Response::new(&mut head, 1000);
            for (name, value) in lines {
                response.line(HeaderId::of(name.as_bytes()), name.as_bytes(), value.as_bytes());
            }
            response.finish().map(|()| head.status).ok()
        };
        assert_eq!(read(&[(":status", "204"), ("x", "1")]), Some(204));
        for wrong in ["", "20", "2000", "abc", "099", "101"] {
            assert_eq!(read(&[(":status", wrong)]), None, "{wrong}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[(":status", "200"), (":status", "200")]), None);
        assert_eq!(read(&[("x", "1"), (":status", "200")]), None);
        assert_eq!(read(&[(":status", "200"), ("transfer-encoding", "chunked")]), None);
    }

    #[test]
    fn trailers_are_fields_alone() {
        let read = |name: &str, value: &str| {
            let mut trailers = Trailers::new(100);
            trailers.line(HeaderId::of(name.as_bytes()), name.as_bytes(), value.as_bytes());
            trailers.finish().map(|fields| fields.len())
        };
        assert_eq!(read("x", "1"), Ok(1));
        assert!(read(":path", "/").is_err() && read("connection", "x").is_err());
        assert_eq!(read("x", &"1".repeat(100)), Err(Fault::TooLong));
    }
}
