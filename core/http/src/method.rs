//! Request methods: the ones Envoy's HTTP/1 codec accepts, by name.

/// The methods that an HTTP/1 request may carry; any other is refused with 400 as Envoy does
/// (`allow_custom_methods` is off).
const KNOWN: &[&str] = &[
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "M-SEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// The method's own name out of the table, if it is one that the codec accepts. Methods are case-sensitive (RFC 9110 §9.1).
pub fn known(method: &[u8]) -> Option<&'static str> {
    match method {
        b"GET" => Some("GET"),
        b"POST" => Some("POST"),
        _ => KNOWN.iter().copied().find(|name| name.as_bytes() == method),
    }
}

/// Whether sending the request twice means the same as sending it once (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_in_upper_case() {
        for (method, expected) in
            [("GET", true), ("TRACE", true), ("M-SEARCH", true), ("get", false), ("FOO", false), ("", false)]
        {
            assert_eq!(known(method.as_bytes()).is_some(), expected, "{method}");
        }
        assert!(is_idempotent("PUT") && !is_idempotent("POST"));
    }
}
