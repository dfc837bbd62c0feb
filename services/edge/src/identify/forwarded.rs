//! The client behind trusted hops, and headers that nobody else may say.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use selvedge_site::directive::{Forwarder, Text};

use crate::request::{Exchange, User};

/// What begins so is said by data planes of a mesh to one another. From a client it is a lie, too.
const PREFIXES: [&str; 2] = ["x-selvedge-", "x-envoy-"];

/// Hops that are looked at; a longer list is believed no further.
const HOPS_MAX: usize = 64;

/// Headers by which hops of ours, and of others, say who a client is. From a client they are lies.
const IDENTITIES: [&str; 5] = [
    "x-forwarded-client-cert",
    "x-selvedge-identity",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-data",
    "x-amzn-oidc-accesstoken",
];

/// Finds out who the client is, once for a request.
pub(crate) fn forwarded(x: &mut Exchange<'_>) {
    if std::mem::replace(&mut x.forwarded, true) {
        return;
    }
    // Judged by who is connected: nothing that the request says can make its own words believed.
    if x.resolve().is_break() {
        return;
    }
    let conf = Arc::clone(&x.conf.0);
    let extforward = &conf.directives.extforward;
    let trusted = extforward.forwarder.trusts(x.peer.remote.ip().to_canonical());
    let fields = x.head.fields.len();
    let headers = extforward.forwarder.configured.then_some(&*extforward.headers);
    cleanse(x, trusted, headers);
    if !trusted {
        x.settled = x.head.fields.len() == fields;
        return;
    }
    for name in extforward.headers.iter() {
        let name = name.to_ascii_lowercase();
        let values: Vec<String> =
            x.head.fields.all_named(&name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        if values.is_empty() {
            continue;
        }
        let list = values.join(",");
        let is_plain = name != "forwarded";
        let hops = if is_plain { plain(&list) } else { elements(&list) };
        apply(x, &extforward.forwarder, &hops, extforward.params.host, is_plain);
        if extforward.params.remote_user
            && let Some(name) = hops.last().and_then(|hop| hop.user.clone())
        {
            x.user = Some(User { name, method: "Forwarded" });
        }
        break;
    }
}

/// Takes away what only a trusted hop may say, and names that programs could not tell from those of trusted hops.
/// `headers` are those by which trusted hops say who a client is, where hops are named.
fn cleanse(x: &mut Exchange<'_>, trusted: bool, headers: Option<&[Text]>) {
    // A program reads whatever is neither letter nor digit as an underscore.
    let odd = |char: char| !char.is_ascii_alphanumeric() && char != '-';
    let is_identity =
        |name: &str| IDENTITIES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let is_twin = |name: &str| {
        name.contains(odd) && {
            let name = name.replace(odd, "-");
            name.starts_with("x-forwarded-") || is_identity(&name)
        }
    };
    x.head.fields.retain(|_, name, _| {
        // Where hops are named, everybody else's word on the way is worth nothing.
        if !trusted && headers.is_some_and(|headers| is_of_the_way(name, headers)) {
            return false;
        }
        // All else that is looked for begins so, and most of what comes does not.
        if !matches!(name.first(), Some(b'x' | b'f')) {
            return true;
        }
        let name = std::str::from_utf8(name).unwrap_or_default();
        !(is_twin(name) || !trusted && is_identity(name))
    });
}

/// Whether a header tells of the way that a request has come.
fn is_of_the_way(name: &[u8], headers: &[Text]) -> bool {
    name == b"forwarded"
        || name == b"x-real-ip"
        || name.starts_with(b"x-forwarded-")
        || headers.iter().any(|header| header.as_bytes().eq_ignore_ascii_case(name))
}

/// What one hop says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    client: Option<SocketAddr>,
    proto: Option<String>,
    host: Option<String>,
    user: Option<String>,
}

fn apply(x: &mut Exchange<'_>, forwarder: &Forwarder, hops: &[Hop], takes_host: bool, plain: bool) {
    let mut chosen = None;
    for hop in hops.iter().rev().take(HOPS_MAX) {
        // What is no address ends the chain: nobody vouches for what stands before it.
        let Some(client) = hop.client else { break };
        chosen = Some((hop, client));
        if !forwarder.trusts(client.ip()) {
            break;
        }
    }
    let Some((hop, client)) = chosen else { return };
    x.remote = client.ip().to_canonical();
    if client.port() != 0 {
        x.remote_port = client.port();
    }
    let last = |proto: &str| proto.rsplit(',').next().unwrap_or_default().trim().to_ascii_lowercase();
    let proto = if plain { x.header("x-forwarded-proto").map(last) } else { hop.proto.clone() };
    match proto.as_deref() {
        Some("https") => x.https = true,
        Some("http") => x.https = false,
        _ => {}
    }
    if let Some(host) = hop.host.as_ref().filter(|_| takes_host) {
        x.head.set_authority(host);
    }
}

fn plain(list: &str) -> Vec<Hop> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| Hop { client: node(item), ..Hop::default() })
        .collect()
}

/// RFC 7239. A list that is not well-formed is believed as far as it is, from the right.
fn elements(list: &str) -> Vec<Hop> {
    let element = |element: &str| {
        let mut hop = Hop::default();
        for pair in split(element, ';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let Some(value) = unquoted(value.trim()) else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop.client = node(&value),
                "proto" => hop.proto = Some(value.to_ascii_lowercase()),
                "host" => {
                    hop.host = selvedge_http::authority::is_valid(value.as_bytes()).then_some(value);
                }
                "remote_user" => hop.user = Some(value),
                _ => {}
            }
        }
        hop
    };
    split(list, ',').into_iter().map(element).collect()
}

/// Splits outside of quotation marks.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            char if char == at && !quoted => {
                parts.push(&text[start..index]);
                start = index + char.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquoted(text: &str) -> Option<String> {
    let Some(inside) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let inside = inside.strip_suffix('"')?;
    let (mut out, mut escaped) = (String::with_capacity(inside.len()), false);
    for char in inside.chars() {
        if char == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(char);
            escaped = false;
        }
    }
    Some(out)
}

/// `1.2.3.4`, `1.2.3.4:80`, `[::1]:80`, `::1`.
fn node(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(hops: &[Hop]) -> Vec<Option<String>> {
        hops.iter().map(|hop| hop.client.map(|client| client.ip().to_string())).collect()
    }

    #[test]
    fn lists_are_read_whatever_they_hold() {
        let some = |text: &str| Some(text.to_owned());
        for (list, expected) in [
            ("1.2.3.4", vec![some("1.2.3.4")]),
            ("1.2.3.4, ::1,[::2]:80", vec![some("1.2.3.4"), some("::1"), some("::2")]),
            ("unknown, 1.2.3.4", vec![None, some("1.2.3.4")]),
            ("", vec![]),
            (",,", vec![]),
        ] {
            assert_eq!(clients(&plain(list)), expected, "{list}");
        }
        for (list, expected) in [
            ("for=1.2.3.4, for=\"[::1]:4711\";proto=https", vec![some("1.2.3.4"), some("::1")]),
            ("for=\"1.2.3.4, for=5.6.7.8", vec![None]),
            ("for=\"a\\\"b\", for=1.2.3.4", vec![None, some("1.2.3.4")]),
            ("by=1.1.1.1;FOR=2.2.2.2", vec![some("2.2.2.2")]),
            ("for=;;=;\"", vec![None]),
            ("for=_hidden", vec![None]),
        ] {
            assert_eq!(clients(&elements(list)), expected, "{list}");
        }
    }
}
