//! Header fields that concern one connection only and must not be passed on (RFC 9110 §7.6.1).

use crate::fields::Fields;
use crate::known::HeaderId;

/// Removes the hop-by-hop fields of a request, and those that its `Connection` names. `te: trailers` survives, for gRPC.
/// With `keep_upgrade`, `Upgrade` and `Connection` stay as they came.
pub fn strip_request(fields: &mut Fields, keep_upgrade: bool) {
    strip(fields, keep_upgrade);
    if !fields.iter_ids().any(|(id, _, _)| matches!(id, HeaderId::Te | HeaderId::Expect)) {
        return;
    }
    let te_trailers = fields.all(HeaderId::Te).any(|value| crate::parse::has_token(value, b"trailers"));
    if te_trailers {
        fields.set_id(HeaderId::Te, b"trailers");
    } else {
        fields.remove(HeaderId::Te);
    }
    fields.remove(HeaderId::Expect);
}

/// Removes the hop-by-hop fields of a response.
pub fn strip_response(fields: &mut Fields, keep_upgrade: bool) {
    strip(fields, keep_upgrade);
}

fn strip(fields: &mut Fields, keep_upgrade: bool) {
    if fields.iter_ids().all(|(id, _, _)| !is_hop(id, keep_upgrade)) {
        return;
    }
    let mut named: Vec<Vec<u8>> = Vec::new();
    for value in fields.all(HeaderId::Connection) {
        for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if !is_listed(token) {
                named.push(token.to_ascii_lowercase());
            }
        }
    }
    fields.retain(|id, name, _| {
        !is_hop(id, keep_upgrade)
            && (named.is_empty() || is_end_to_end(id) || !named.iter().any(|n| n == name))
    });
}

/// Tokens that name no field worth removing.
fn is_listed(token: &[u8]) -> bool {
    token.is_empty()
        || [&b"close"[..], b"keep-alive", b"upgrade", b"te"]
            .iter()
            .any(|known| token.eq_ignore_ascii_case(known))
}

fn is_hop(id: HeaderId, keep_upgrade: bool) -> bool {
    match id {
        HeaderId::KeepAlive
        | HeaderId::ProxyConnection
        | HeaderId::TransferEncoding
        | HeaderId::Http2Settings => true,
        HeaderId::Connection | HeaderId::Upgrade => !keep_upgrade,
        _ => false,
    }
}

/// Fields that a peer may not make us drop by naming them: they frame the message or say where it came from.
fn is_end_to_end(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::ContentLength
            | HeaderId::Te
            | HeaderId::XForwardedFor
            | HeaderId::XForwardedHost
            | HeaderId::XForwardedProto
            | HeaderId::XForwardedClientCert
    )
}

#[cfg(test)]
#[expect(clippy::type_complexity, reason = "rows of a table")]
mod tests {
    use super::*;

    #[test]
    fn connection_fields_stay_behind() {
        let rows: &[(&[(&str, &str)], &[&str])] = &[
            (&[("accept", "x")], &["accept"]),
            (&[("connection", "te, X-Foo"), ("te", "trailers"), ("x-foo", "b"), ("a", "b")], &["te", "a"]),
            (&[("te", "gzip")], &[]),
            (
                &[
                    ("keep-alive", "1"),
                    ("proxy-connection", "x"),
                    ("upgrade", "h2c"),
                    ("http2-settings", "x"),
                ],
                &[],
            ),
            (
                &[
                    ("connection", "content-length, x-forwarded-for"),
                    ("content-length", "3"),
                    ("x-forwarded-for", "1"),
                ],
                &["content-length", "x-forwarded-for"],
            ),
            (&[("transfer-encoding", "chunked"), ("expect", "100-continue")], &[]),
        ];
        for (pairs, expected) in rows {
            let mut fields = Fields::default();
            for (name, value) in *pairs {
                fields.append(name.as_bytes(), value.as_bytes());
            }
            strip_request(&mut fields, false);
            assert_eq!(fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), *expected);
        }
    }
}
