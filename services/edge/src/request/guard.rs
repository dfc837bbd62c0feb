//! What no request may be, whatever is configured.

use std::ops::ControlFlow;

use selvedge_http::framing::FramingError;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{RequestError, Upgrade};
use selvedge_site::RequestFacts;

use super::Flow;
use super::exchange::Exchange;
use super::host;
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
    let (Some(wanted), Some(tls)) = (asked_of_clients(&x.conf), &x.peer.tls) else {
        return ControlFlow::Continue(());
    };
    let facts = RequestFacts {
        socket: Some(&x.peer.socket),
        scheme: Some("https"),
        host: Some(tls.server_name.as_deref().unwrap_or_default()),
        ..RequestFacts::default()
    };
    let made = x.site.program.resolve(&facts);
    match made.is_ok_and(|made| asked_of_clients(&made.directives) == Some(wanted)) {
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
    // HTTP/2 and HTTP/3 name it by `:authority`, or by `host` (RFC 9113 §8.3.1).
    if head.version != Version::Http10 && authority.is_none_or(<[u8]>::is_empty) {
        return bad(400);
    }
    if authority.is_some_and(|authority| !host::is_plausible(authority)) {
        return bad(400);
    }
    let as_it_is_known = match head.authority() {
        Some(authority) if !authority.is_empty() => {
            host::known_as(authority, &x.conf.global.http_parseopts, x.https)
        }
        _ => Ok(None),
    };
    let Ok(as_it_is_known) = as_it_is_known else { return bad(400) };
    if method == "CONNECT" {
        // A protocol that nobody here speaks (RFC 9220 §3).
        let unknown = x.facts.upgrade == Upgrade::Other && head.version == Version::Http2;
        return bad(if unknown { 501 } else { 405 });
    }
    let options = &x.conf.global.http_parseopts;
    // A request that was turned into another has left its body behind.
    let is_as_it_came = x.method_original.is_none();
    if is_as_it_came
        && matches!(method, "GET" | "HEAD")
        && x.facts.framing.has_body()
        && !options.method_get_body
    {
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
    if let Some(host) = as_it_is_known {
        x.head.set_authority(&host);
    }
    ControlFlow::Continue(())
}
