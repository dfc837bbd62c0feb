//! Hosts that requests name: which are names at all, and the one form in which rules, programs and backends see them.

use std::net::{Ipv4Addr, Ipv6Addr};

use selvedge_site::directive::ParseOptions;

/// A host that is none, or a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoHost;

/// The form in which a host is known, if it came in another: in lower case, without a dot at the end, addresses in their
/// shortest form, without the scheme's own port.
///
/// # Errors
/// [`NoHost`], by `host-strict` and `host-normalize` of `server.http-parseopts`; our own form asks for neither.
pub(super) fn known_as(
    authority: &str,
    options: &ParseOptions,
    https: bool,
) -> Result<Option<String>, NoHost> {
    if !options.host_strict && !options.host_normalize {
        return Ok(None);
    }
    let (host, port) = parted(authority);
    let host = match options.host_strict && !host.starts_with('[') {
        true => host.strip_suffix('.').unwrap_or(host),
        false => host,
    };
    if options.host_strict && !host.starts_with('[') && !is_name(host) {
        return Err(NoHost);
    }
    if !options.host_normalize {
        return Ok(changed(authority, host, port));
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(NoHost)?),
    };
    let port = port.filter(|port| *port != if https { 443 } else { 80 }).map(|port| port.to_string());
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inside.parse().map_err(|_| NoHost)?;
        return Ok(changed(authority, &format!("[{address}]"), port.as_deref()));
    }
    if host.starts_with(|first: char| first.is_ascii_digit())
        && let Ok(address) = host.parse::<Ipv4Addr>()
    {
        return Ok(changed(authority, &address.to_string(), port.as_deref()));
    }
    Ok(changed(authority, host, port.as_deref()))
}

/// Host and port put together in lower case; nothing where that is what came.
fn changed(before: &str, host: &str, port: Option<&str>) -> Option<String> {
    let length = host.len() + port.map_or(0, |port| port.len() + 1);
    if length == before.len()
        && before.starts_with(host)
        && !host.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        return None;
    }
    let host = host.to_ascii_lowercase();
    Some(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

fn parted(authority: &str) -> (&str, Option<&str>) {
    let from = if authority.starts_with('[') { authority.find(']').unwrap_or(0) } else { 0 };
    match authority[from..].find(':') {
        Some(colon) => (&authority[..from + colon], Some(&authority[from + colon + 1..])),
        None => (authority, None),
    }
}

/// Labels of letters, digits and hyphens, none of which begins with a hyphen; what ends in a number is an IPv4 address.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let mut labels = host.split('.');
    let last = labels.next_back().unwrap_or_default();
    is_label(last)
        && labels.clone().all(is_label)
        && (!is_number(last) || labels.clone().count() == 3 && labels.all(is_number))
}

/// A name, an IPv4 address or a bracketed IPv6 address, perhaps with a port; nothing that could be read as a path or as user
/// information.
pub(super) fn is_plausible(authority: &[u8]) -> bool {
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
    use super::*;

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
        ] {
            assert_eq!(is_plausible(host.as_bytes()), expected, "{host}");
        }
    }
    #[test]
    fn hosts_have_one_form() {
        let options = ParseOptions::default();
        for (host, https, expected) in [
            ("a.example", false, Ok(None)),
            ("A.Example", false, Ok(Some("a.example"))),
            ("a.example.", false, Ok(Some("a.example"))),
            ("a.example.:8080", false, Ok(Some("a.example:8080"))),
            ("a.example:80", false, Ok(Some("a.example"))),
            ("a.example:80", true, Ok(None)),
            ("a.example:443", true, Ok(Some("a.example"))),
            ("a.example:", false, Ok(Some("a.example"))),
            ("a.example:080", false, Ok(Some("a.example"))),
            ("127.0.0.1:8080", false, Ok(None)),
            ("[::1]", false, Ok(None)),
            ("[0:0::1]:80", false, Ok(Some("[::1]"))),
            ("[0:0::1]:81", false, Ok(Some("[::1]:81"))),
            ("3com.example", false, Ok(None)),
            ("a_b", false, Err(())),
            ("-a", false, Err(())),
            ("a.-b", false, Err(())),
            ("127.1", false, Err(())),
            ("0x7f.1", false, Err(())),
            ("1.2.3.4.5", false, Err(())),
            ("a:0", false, Err(())),
            ("a:99999", false, Err(())),
            ("[::1::2]", false, Err(())),
        ] {
            let found = known_as(host, &options, https).map_err(|NoHost| ());
            assert_eq!(found, expected.map(|known| known.map(str::to_owned)), "{host}");
        }
        let lax = ParseOptions { host_strict: false, host_normalize: false, ..options };
        assert_eq!(known_as("A_b:80", &lax, false), Ok(None));
    }
}
