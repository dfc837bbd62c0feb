//! What no request may be, whatever is configured.

use std::ops::ControlFlow;

use selvedge_http::framing::FramingError;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::RequestError;
use selvedge_site::RequestFacts;

use super::Flow;
use super::exchange::Exchange;
use super::page;
use super::response::Response;
use crate::site::asked_of_clients;

/// The answer to a head that was not understood. Nothing that it says is believed, least of all its length.
pub(super) fn refuse(x: &mut Exchange<'_>, error: RequestError) -> Response {
    let status = match error {
        RequestError::HeadTooLarge | RequestError::TooManyHeaders => 431,
        RequestError::UnknownMethod => 501,
        // HTTP/1.0 has no transfer codings at all.
        RequestError::Framing(FramingError::UnknownTransferEncoding) if x.head.version != Version::Http10 => {
            501
        }
        RequestError::Version => 505,
        _ => 400,
    };
    x.worker.shared.stats.refused.add(1);
    let mut response = Response::status(status).closing();
    page::fill(x, &mut response);
    response
}

/// A host that asks for certificates is reached by its own handshake alone: under another name nobody was asked (RFC 9110
/// §7.4).
pub(super) fn misdirected(x: &mut Exchange<'_>) -> Flow {
    let (Some(wanted), Some(tls)) = (asked_of_clients(&x.conf.ssl), &x.peer.tls) else {
        return ControlFlow::Continue(());
    };
    let facts = RequestFacts {
        socket: Some(&x.peer.socket),
        scheme: Some("https"),
        host: Some(tls.server_name.as_deref().unwrap_or_default()),
        ..RequestFacts::default()
    };
    let made = x.site.program.resolve(&facts);
    match made.is_ok_and(|made| asked_of_clients(&made.directives.ssl) == Some(wanted)) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(Response::status(421)),
    }
}

/// Judges a head that was understood.
pub(super) fn check(x: &mut Exchange<'_>) -> Flow {
    let bad = |status: u16| ControlFlow::Break(Response::status(status).closing());
    let head = &x.head;
    let method = head.method();
    let authority = head.authority_bytes();
    if head.version == Version::Http11 && authority.is_none_or(<[u8]>::is_empty) {
        return bad(400);
    }
    if authority.is_some_and(|authority| !is_strict_host(authority)) {
        return bad(400);
    }
    if method == "CONNECT" {
        return bad(405);
    }
    let options = &x.conf.global.http_parseopts;
    if matches!(method, "GET" | "HEAD") && x.facts.framing.has_body() && !options.method_get_body {
        return bad(400);
    }
    if head.path_bytes() == b"*" && method != "OPTIONS" {
        return bad(400);
    }
    // One of each: two readers could take different ones.
    for id in [HeaderId::ContentType, HeaderId::Expect] {
        if head.fields.all(id).count() > 1 {
            return bad(400);
        }
    }
    let limit = u64::from(x.conf.server.max_request_size) * 1024;
    if let selvedge_http::framing::Framing::Length(length) = x.facts.framing
        && limit > 0
        && length > limit
    {
        return bad(413);
    }
    ControlFlow::Continue(())
}

/// A name, an IPv4 address or a bracketed IPv6 address, perhaps with a port; nothing that could be read as a path or as user
/// information.
fn is_strict_host(authority: &[u8]) -> bool {
    if authority.is_empty() {
        return true;
    }
    let (host_fine, rest) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (inside, rest) = (&rest[..end], &rest[end + 1..]);
            (inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')), rest)
        }
        None => {
            let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
            (is_strict_name(&authority[..end]), &authority[end..])
        }
    };
    let port_fine = match rest {
        [] => true,
        [b':', port @ ..] => port.is_empty() || is_port(port),
        _ => false,
    };
    host_fine && port_fine
}

fn is_port(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
}

/// Letters, digits, hyphens and underscores, and dots that stand behind one of those.
fn is_strict_name(name: &[u8]) -> bool {
    let mut previous = b'.';
    !name.is_empty()
        && name.iter().all(|byte| {
            let before = std::mem::replace(&mut previous, *byte);
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || *byte == b'.' && before != b'.'
        })
}

#[cfg(test)]
mod tests {
    use super::is_strict_host;

    #[test]
    fn hosts() {
        for (host, expected) in [
            ("a.example", true),
            ("a.example.", true),
            ("a_b-c:80", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("", true),
            ("a/b", false),
            ("a@b", false),
            ("a,b", false),
            ("a b", false),
            ("a:b", false),
            (":80", false),
            ("..", false),
            (".a", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[g]", false),
            ("a:123456", false),
            ("a:65535", true),
            ("a:65536", false),
            ("[::1]:99999", false),
            ("a:", true),
            ("[::1]:", true),
            ("a..b", false),
            ("a.b..", false),
        ] {
            assert_eq!(is_strict_host(host.as_bytes()), expected, "{host}");
        }
    }
}
