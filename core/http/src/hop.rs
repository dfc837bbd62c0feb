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

/// Removes the fields that a request's `Connection` names, and their names from it. To be called before a field is set that
/// is to arrive: a client that names it there would have it taken off again by [`strip_request`].
pub fn strip_named(fields: &mut Fields) {
    if tokens(fields).all(is_listed) {
        return;
    }
    let named = named(fields);
    let kept = tokens(fields)
        .filter(|token| !token.is_empty() && is_listed(token))
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    fields.retain(|id, name, _| is_end_to_end(id) || !named.iter().any(|n| n == name));
    match kept.is_empty() {
        true => drop(fields.remove(HeaderId::Connection)),
        false => fields.set_id(HeaderId::Connection, &kept),
    }
}

fn strip(fields: &mut Fields, keep_upgrade: bool) {
    if fields.iter_ids().all(|(id, _, _)| !is_hop(id, keep_upgrade)) {
        return;
    }
    let named = named(fields);
    fields.retain(|id, name, _| {
        !is_hop(id, keep_upgrade)
            && (named.is_empty() || is_end_to_end(id) || !named.iter().any(|n| n == name))
    });
}

/// The names, in lower case, of fields that `Connection` says are for this connection alone.
fn named(fields: &Fields) -> Vec<Vec<u8>> {
    tokens(fields).filter(|token| !is_listed(token)).map(<[u8]>::to_ascii_lowercase).collect()
}

fn tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.all(HeaderId::Connection).flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii)
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

    #[test]
    fn what_is_set_after_the_named_fields_are_gone_stays() {
        for (connection, left) in [
            ("X-User, close", Some("close")),
            ("x-user", None),
            ("upgrade, x-forwarded-for,x-user", Some("upgrade")),
            ("keep-alive", Some("keep-alive")),
        ] {
            let mut fields = Fields::default();
            for (name, value) in [("connection", connection), ("x-user", "me"), ("x-forwarded-for", "1")] {
                fields.append(name.as_bytes(), value.as_bytes());
            }
            strip_named(&mut fields);
            assert_eq!(fields.named("x-user").is_some(), connection == "keep-alive", "{connection}");
            assert_eq!(fields.get_str(HeaderId::Connection), left, "{connection}");
            fields.set("x-user", b"you");
            strip_request(&mut fields, false);
            assert_eq!(fields.named("x-user"), Some(&b"you"[..]), "{connection}");
            assert_eq!(fields.named("x-forwarded-for"), Some(&b"1"[..]), "{connection}");
        }
    }
}
