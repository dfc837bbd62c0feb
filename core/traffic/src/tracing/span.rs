//! A finished span, on its way to a collector.

use std::borrow::Cow;

/// The side of a call that a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Server,
    Client,
}

/// What happened to one request, or to one try of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub trace_id: u128,
    pub span_id: u64,
    /// 0 if there is none.
    pub parent_id: u64,
    /// The parent is another process's.
    pub remote_parent: bool,
    /// This span and its client's have one id (Zipkin).
    pub shared: bool,
    /// A try of the request that the parent tells of.
    pub upstream: bool,
    pub kind: SpanKind,
    pub name: String,
    /// `:authority`.
    pub host: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub tags: Vec<(Cow<'static, str>, String)>,
    pub error: bool,
    /// `tracestate` as it came.
    pub trace_state: String,
}

impl Span {
    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
