//! The meaning of HTTP messages, without a socket: what the bytes of a head say, where its body ends, what
//! a proxy must change before it passes a message on, and what it answers when the bytes say nothing lawful.
//!
//! HTTP/1 is parsed and written here whole ([`head`], [`framing`], [`chunked`], [`encode`]); HTTP/2 arrives as
//! header lists and is turned into the same [`head::RequestHead`] and [`head::ResponseHead`], so that everything after
//! the codec knows one shape.

pub mod authority;
pub mod cache;
pub mod cgi;
pub mod chunked;
pub mod conditional;
pub mod date;
pub mod encode;
pub mod fastcgi;
pub mod fields;
pub mod framing;
pub mod grpc;
pub mod h2;
pub mod head;
pub mod hop;
pub mod known;
pub mod method;
pub mod negotiate;
pub mod parse;
pub mod path;
pub mod range;
pub mod reason;
pub mod refusal;
pub mod request_id;
pub mod sanitize;
pub mod scan;
pub mod scgi;
pub mod target;
pub mod trace_context;
pub mod websocket;
