//! The answers to requests that are not served, with the words Envoy 1.40 uses: status, response details, body, and
//! whether the flag `DPE` (downstream protocol error) is set.

use crate::framing::FramingError;
use crate::head::RequestHead;
use crate::parse::{RequestError, Upgrade};
use crate::path::{self, PathError};
use crate::reason;

/// A local answer to a request that goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    /// Empty for the refusals that Envoy sends without a body.
    pub body: &'static str,
    /// Whether the bytes themselves were wrong: flag `DPE`.
    pub protocol_error: bool,
    /// Whether the connection ends with the answer.
    pub close: bool,
}

impl Refusal {
    const fn request(status: u16, details: &'static str, close: bool) -> Self {
        Self { status, details, body: "", protocol_error: false, close }
    }
}

impl RequestError {
    /// What the client is told.
    pub fn refusal(&self) -> Refusal {
        let (status, details) = match self {
            Self::HeadTooLarge => (431, "http1.headers_too_large"),
            Self::TooManyHeaders => (431, "http1.too_many_headers"),
            Self::Version => (426, "low_version"),
            Self::InvalidCharacters => (400, "http1.invalid_characters"),
            Self::InvalidAuthority => (400, "http.invalid_authority"),
            Self::DuplicateHost => (400, "http1.duplicate_host"),
            Self::Framing(FramingError::LengthAndChunked) => {
                (400, "http1.content_length_and_chunked_not_allowed")
            }
            Self::Framing(FramingError::UnknownTransferEncoding) => (501, "http1.invalid_transfer_encoding"),
            Self::BareLineFeed
            | Self::Malformed(_)
            | Self::UnknownMethod
            | Self::Chunk(_)
            | Self::Framing(_) => (400, "http1.codec_error"),
        };
        Refusal { status, details, body: reason::phrase(status), protocol_error: true, close: true }
    }
}

/// What the connection manager admits, from its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Admission {
    pub normalize_path: bool,
    pub merge_slashes: bool,
}

/// Judges a request that is well-formed, and brings its path into the form in which it is routed.
///
/// # Errors
/// The first reason against it, in Envoy's order: no host, no absolute path, a path that has no normal form.
pub fn admit(head: &mut RequestHead, admission: Admission) -> Result<(), Refusal> {
    if head.authority_bytes().is_none() {
        return Err(Refusal::request(400, "missing_host_header", true));
    }
    if head.method() == "CONNECT" {
        return Ok(());
    }
    let path = head.path();
    if !path.starts_with('/') {
        return Err(Refusal::request(404, "absolute_path_rejected", false));
    }
    match path::normalize(path, admission.normalize_path, admission.merge_slashes) {
        Ok(None) => {}
        Ok(Some(normal)) => head.set_path(&normal),
        Err(PathError) => return Err(Refusal::request(400, "path_normalization_failed", true)),
    }
    Ok(())
}

/// Judges a wish to change the protocol; `taken` is what the route, or else the connection manager, says about it. Envoy
/// judges once the route is known, so that the log can name it.
///
/// # Errors
/// 403 for an upgrade that is not enabled. HTTP/2 in the clear is not refused but ignored.
pub fn admit_upgrade(upgrade: Upgrade, taken: bool) -> Result<(), Refusal> {
    match upgrade {
        Upgrade::WebSocket | Upgrade::Connect if !taken => Err(Refusal::request(403, "upgrade_failed", true)),
        Upgrade::Other => Err(Refusal::request(403, "upgrade_failed", true)),
        _ => Ok(()),
    }
}
