//! Where the body of an HTTP/1 message ends (RFC 9112 §6), decided so that no two readers can disagree: whatever could
//! be read two ways is refused.

use crate::fields::Fields;
use crate::head::Version;
use crate::known::HeaderId;

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// So many bytes; never 0.
    Length(u64),
    /// Chunks, closed by an empty one.
    Chunked,
    /// All bytes until the peer closes; responses only.
    UntilClose,
}

impl Framing {
    /// Whether any body byte can follow.
    pub fn has_body(self) -> bool {
        self != Self::None
    }
}

/// A delimitation that must not be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("both content-length and transfer-encoding")]
    LengthAndChunked,
    #[error("a transfer-encoding other than chunked")]
    UnknownTransferEncoding,
    #[error("a content-length that is repeated or not a number")]
    BadLength,
    #[error("transfer-encoding in a message that has no body")]
    TransferEncodingNotAllowed,
}

/// The framing of a request.
///
/// # Errors
/// See [`FramingError`]; each one makes the connection unusable.
pub fn of_request(fields: &Fields) -> Result<Framing, FramingError> {
    let declared = declared(fields)?;
    Ok(declared.unwrap_or(Framing::None))
}

/// The framing of a response with `status` to a request with `method`.
///
/// # Errors
/// See [`FramingError`].
pub fn of_response(
    fields: &Fields,
    status: u16,
    method: &str,
    version: Version,
) -> Result<Framing, FramingError> {
    let bodiless = status < 200 || status == 204;
    if bodiless && fields.contains(HeaderId::TransferEncoding) {
        return Err(FramingError::TransferEncodingNotAllowed);
    }
    if bodiless {
        return Ok(Framing::None);
    }
    if method == "CONNECT" && status / 100 == 2 {
        // What follows is the tunnel, whatever the head says (RFC 9110 §9.3.6).
        return Ok(Framing::None);
    }
    if status == 304 || method == "HEAD" {
        // There is no body, but the length that another answer would have is passed on: it must be one.
        length(fields)?;
        return Ok(Framing::None);
    }
    match declared(fields)? {
        Some(Framing::Chunked) if version == Version::Http10 => Err(FramingError::UnknownTransferEncoding),
        Some(framing) => Ok(framing),
        None => Ok(Framing::UntilClose),
    }
}

fn declared(fields: &Fields) -> Result<Option<Framing>, FramingError> {
    let mut length = None;
    let (mut chunked, mut unknown) = (false, false);
    for (id, _, value) in fields.iter_ids() {
        match id {
            HeaderId::ContentLength => {
                let value = decimal(value).ok_or(FramingError::BadLength)?;
                if length.is_some() {
                    return Err(FramingError::BadLength);
                }
                length = Some(value);
            }
            HeaderId::TransferEncoding => {
                unknown |= chunked || !value.eq_ignore_ascii_case(b"chunked");
                chunked = true;
            }
            _ => {}
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(FramingError::LengthAndChunked),
        _ if unknown => Err(FramingError::UnknownTransferEncoding),
        (None, true) => Ok(Some(Framing::Chunked)),
        (Some(0), false) => Ok(Some(Framing::None)),
        (Some(length), false) => Ok(Some(Framing::Length(length))),
        (None, false) => Ok(None),
    }
}

/// The length that the fields of an HTTP/2 message announce. There it frames nothing, but it does as soon as the message
/// goes on by HTTP/1: two lengths would be two readings.
///
/// # Errors
/// [`FramingError::BadLength`].
pub fn length(fields: &Fields) -> Result<Option<u64>, FramingError> {
    let mut lengths = fields.all(HeaderId::ContentLength);
    let Some(first) = lengths.next() else { return Ok(None) };
    match (decimal(first), lengths.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(FramingError::BadLength),
    }
}

/// A number written in decimal digits alone: no sign, no space, at most what a `u64` holds.
pub fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, &byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
#[expect(clippy::type_complexity, reason = "rows of a table")]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn request_framing() {
        use FramingError::*;
        let rows: &[(&[(&str, &str)], Result<Framing, FramingError>)] = &[
            (&[], Ok(Framing::None)),
            (&[("content-length", "0")], Ok(Framing::None)),
            (&[("content-length", "12")], Ok(Framing::Length(12))),
            (&[("transfer-encoding", "Chunked")], Ok(Framing::Chunked)),
            (&[("content-length", "1"), ("content-length", "1")], Err(BadLength)),
            (&[("content-length", "1"), ("content-length", "2")], Err(BadLength)),
            (&[("content-length", "1, 1")], Err(BadLength)),
            (&[("content-length", "+5")], Err(BadLength)),
            (&[("content-length", "-5")], Err(BadLength)),
            (&[("content-length", "5 ")], Err(BadLength)),
            (&[("content-length", "0x5")], Err(BadLength)),
            (&[("content-length", "")], Err(BadLength)),
            (&[("content-length", "18446744073709551616")], Err(BadLength)),
            (&[("content-length", "3"), ("transfer-encoding", "chunked")], Err(LengthAndChunked)),
            (&[("transfer-encoding", "xchunked")], Err(UnknownTransferEncoding)),
            (&[("transfer-encoding", "gzip, chunked")], Err(UnknownTransferEncoding)),
            (
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Err(UnknownTransferEncoding),
            ),
            (&[("transfer-encoding", "")], Err(UnknownTransferEncoding)),
        ];
        for (pairs, expected) in rows {
            assert_eq!(of_request(&fields(pairs)), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn response_framing() {
        let length: &[(&str, &str)] = &[("content-length", "3")];
        let chunked: &[(&str, &str)] = &[("transfer-encoding", "chunked")];
        let rows: &[(&[(&str, &str)], u16, &str, Version, Result<Framing, FramingError>)] = &[
            (&[], 200, "GET", Version::Http11, Ok(Framing::UntilClose)),
            (length, 200, "GET", Version::Http11, Ok(Framing::Length(3))),
            (length, 200, "HEAD", Version::Http11, Ok(Framing::None)),
            (chunked, 200, "HEAD", Version::Http11, Ok(Framing::None)),
            (&[], 200, "CONNECT", Version::Http11, Ok(Framing::None)),
            (chunked, 200, "CONNECT", Version::Http11, Ok(Framing::None)),
            (length, 403, "CONNECT", Version::Http11, Ok(Framing::Length(3))),
            (length, 304, "GET", Version::Http11, Ok(Framing::None)),
            (
                &[("content-length", "3"), ("content-length", "4")],
                200,
                "HEAD",
                Version::Http11,
                Err(FramingError::BadLength),
            ),
            (&[("content-length", "x")], 304, "GET", Version::Http11, Err(FramingError::BadLength)),
            (&[], 204, "GET", Version::Http11, Ok(Framing::None)),
            (chunked, 204, "GET", Version::Http11, Err(FramingError::TransferEncodingNotAllowed)),
            (&[], 101, "GET", Version::Http11, Ok(Framing::None)),
            (chunked, 200, "GET", Version::Http11, Ok(Framing::Chunked)),
            (chunked, 200, "GET", Version::Http10, Err(FramingError::UnknownTransferEncoding)),
        ];
        for (pairs, status, method, version, expected) in rows {
            assert_eq!(
                of_response(&fields(pairs), *status, method, *version),
                *expected,
                "{pairs:?} {status} {method}"
            );
        }
    }
}
