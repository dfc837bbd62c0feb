//! The host and port of a request target (RFC 3986 §3.2).

/// Whether `authority` can stand in `Host` or `:authority`: the characters that Envoy's codec admits, among them
/// nothing that would end a header line or a URI. Empty is allowed (RFC 9112 §3.2).
pub fn is_valid(authority: &[u8]) -> bool {
    authority.iter().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'['
                    | b']'
                    | b'@'
            )
    })
}

/// The authority without its port. Brackets of an IPv6 address stay.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon)
            if !authority[colon..].contains(']')
                && authority[colon + 1..].bytes().all(|b| b.is_ascii_digit()) =>
        {
            &authority[..colon]
        }
        _ => authority,
    }
}

/// The port of an authority that names one.
pub fn port(authority: &str) -> Option<u16> {
    let host = without_port(authority);
    authority.get(host.len() + 1..)?.parse().ok()
}

/// Takes an absolute-form target apart: scheme, authority without user information, and path, which may be empty and
/// then means `/`. `None` if it is no `http` or `https` URI.
pub fn split_absolute(target: &str) -> Option<(&'static str, &str, &str)> {
    let (scheme, rest) = match target.split_once("://")? {
        (scheme, rest) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
        (scheme, rest) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if authority.is_empty() {
        return None;
    }
    Some((scheme, authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (authority, host, expected) in [
            ("a.b", "a.b", None),
            ("a.b:80", "a.b", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:8080", "[::1]", Some(8080)),
            ("a:b", "a:b", None),
            ("a:99999", "a", None),
            ("", "", None),
        ] {
            assert_eq!((without_port(authority), port(authority)), (host, expected), "{authority}");
        }
    }

    #[test]
    fn absolute_targets() {
        for (target, expected) in [
            ("http://b.c/e?x", Some(("http", "b.c", "/e?x"))),
            ("HTTPS://u:p@h:1/e", Some(("https", "h:1", "/e"))),
            ("http://h", Some(("http", "h", ""))),
            ("http://h?x=1", Some(("http", "h", "?x=1"))),
            ("http:///e", None),
            ("ftp://h/e", None),
            ("/e", None),
        ] {
            assert_eq!(split_absolute(target), expected, "{target}");
        }
    }

    #[test]
    fn only_the_characters_of_an_authority() {
        for (authority, expected) in [
            ("a", true),
            ("", true),
            ("[::1]:1", true),
            ("a b", false),
            ("a/b", false),
            ("a\"", false),
            ("é", false),
        ] {
            assert_eq!(is_valid(authority.as_bytes()), expected, "{authority}");
        }
    }
}
