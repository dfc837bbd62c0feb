//! The head of a request and of a response, as every protocol version delivers it.

use crate::fields::{Fields, Span};

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// As an access log prints it (`%PROTOCOL%`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Method, target and fields of a request. `Host` is not among the fields: it is the authority.
///
/// All text stands in the arena of the fields; setting a part appends there.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub fields: Fields,
    pub version: Version,
    /// Bytes of the names and values that came, before compression; of HTTP/2 alone, whose heads have no bytes of their own.
    pub list_bytes: usize,
    pub(crate) method: Span,
    pub(crate) path: Span,
    pub(crate) authority: Option<Span>,
    pub(crate) scheme: Span,
}

impl RequestHead {
    /// Empties the head, keeps its memory.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.version = Version::default();
        self.list_bytes = 0;
        self.method = Span::default();
        self.path = Span::default();
        self.authority = None;
        self.scheme = Span::default();
    }

    /// The method, in the case in which it came.
    pub fn method(&self) -> &str {
        // Asked many times in a request's life: what most requests have is compared, not validated as text.
        match self.fields.bytes(self.method) {
            b"GET" => "GET",
            b"POST" => "POST",
            b"PUT" => "PUT",
            b"HEAD" => "HEAD",
            b"DELETE" => "DELETE",
            b"CONNECT" => "CONNECT",
            _ => self.text(self.method),
        }
    }

    /// Path and query; empty for CONNECT.
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// Path and query as bytes, for who copies them.
    pub fn path_bytes(&self) -> &[u8] {
        self.fields.bytes(self.path)
    }

    /// The authority as bytes, for who copies it.
    pub fn authority_bytes(&self) -> Option<&[u8]> {
        self.authority.map(|span| self.fields.bytes(span))
    }

    /// The path without its query.
    pub fn path_only(&self) -> &str {
        let path = self.path();
        path.split_once('?').map_or(path, |(before, _)| before)
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.path().split_once('?').map(|(_, query)| query)
    }

    /// `Host` or `:authority`; `None` when the request named none.
    pub fn authority(&self) -> Option<&str> {
        self.authority.map(|span| self.text(span))
    }

    /// `http` or `https`, as the request said it; empty if it did not.
    pub fn scheme(&self) -> &str {
        match self.fields.bytes(self.scheme) {
            b"" => "",
            b"http" => "http",
            b"https" => "https",
            _ => self.text(self.scheme),
        }
    }

    pub fn set_method(&mut self, method: &str) {
        self.method = self.fields.store(method.as_bytes());
    }

    pub fn set_path(&mut self, path: &str) {
        self.path = self.fields.store(path.as_bytes());
    }

    pub fn set_authority(&mut self, authority: &str) {
        self.authority = Some(self.fields.store(authority.as_bytes()));
    }

    pub fn set_scheme(&mut self, scheme: &str) {
        self.scheme = self.fields.store(scheme.as_bytes());
    }

    /// Copies what may be changed for an attempt, so that the next attempt starts from the request as it was.
    pub fn copy_from(&mut self, other: &Self) {
        self.fields.clone_from(&other.fields);
        self.version = other.version;
        self.list_bytes = other.list_bytes;
        self.method = other.method;
        self.path = other.path;
        self.authority = other.authority;
        self.scheme = other.scheme;
    }

    fn text(&self, span: Span) -> &str {
        // The parser admits only ASCII in these parts, and the setters take text.
        std::str::from_utf8(self.fields.bytes(span)).unwrap_or_default()
    }
}

/// Status and fields of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub fields: Fields,
    pub version: Version,
    /// 100–999.
    pub status: u16,
}

impl ResponseHead {
    /// Empties the head, keeps its memory.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.version = Version::default();
        self.status = 0;
    }
}
