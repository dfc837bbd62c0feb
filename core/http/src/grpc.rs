//! What HTTP means to gRPC: its content type, and the status that stands for an HTTP error.

use crate::fields::Fields;
use crate::known::HeaderId;

/// Whether a message carries gRPC, as Envoy judges it: `application/grpc`, alone or followed by `+…`.
pub fn is_grpc(fields: &Fields) -> bool {
    const PREFIX: &[u8] = b"application/grpc";
    fields.get(HeaderId::ContentType).is_some_and(|value| {
        value.starts_with(PREFIX) && matches!(value.get(PREFIX.len()), None | Some(b'+'))
    })
}

/// The gRPC status of a local reply that would have had this HTTP status (Envoy's `httpToGrpcStatus`).
pub fn status_of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Whether a status is its sender's fault, and not the caller's: what Envoy marks as an error in spans.
pub fn is_fault(status: u32) -> bool {
    // Unknown, deadline exceeded, resource exhausted, unimplemented, internal, unavailable, data loss.
    matches!(status, 2 | 4 | 8 | 12..=15)
}

/// Writes a `grpc-message`: percent-encoded outside of printable ASCII (gRPC over HTTP/2, `Status-Message`).
pub fn encode_message(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", false),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let mut fields = Fields::default();
            fields.append(b"content-type", value.as_bytes());
            assert_eq!(is_grpc(&fields), expected, "{value}");
        }
        assert!(!is_grpc(&Fields::default()));
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encode_message("no healthy upstream"), "no healthy upstream");
        assert_eq!(encode_message("50%\né"), "50%25%0A%C3%A9");
    }
}
