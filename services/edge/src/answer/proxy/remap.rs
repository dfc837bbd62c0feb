//! Paths, hosts and cookies that have another name behind us: `proxy.header`'s maps, both ways.

use std::borrow::Cow;

use selvedge_http::head::ResponseHead;
use selvedge_site::directive::{Named, ProxyHeader, Text};

use crate::request::Exchange;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    Back,
}

/// A path with the first prefix that fits changed.
pub(super) fn remapped<'a>(path: &'a str, map: &Named<Text>, way: Way) -> Cow<'a, str> {
    for (ours, theirs) in map.iter() {
        let (from, to) = if way == Way::Out { (ours, theirs) } else { (theirs, ours) };
        if let Some(rest) = path.strip_prefix(&**from).filter(|_| !from.is_empty() || way == Way::Out) {
            return Cow::Owned(format!("{to}{rest}"));
        }
    }
    Cow::Borrowed(path)
}

/// A host that the map knows changed.
pub(super) fn remapped_host<'a>(host: &'a str, map: &'a Named<Text>, x: &'a Exchange<'_>) -> Cow<'a, str> {
    for (from, to) in map.iter() {
        if **from == *"-" || from.eq_ignore_ascii_case(host) {
            return Cow::Borrowed(if **to == *"-" { x.head.authority().unwrap_or(host) } else { to });
        }
    }
    Cow::Borrowed(host)
}

/// Places that the answer names are named as the client knows them.
pub(in crate::answer) fn remap_response(x: &Exchange<'_>, head: &mut ResponseHead) {
    let header = &x.conf.proxy.header;
    let hosts = if header.map_host_response.is_empty() { None } else { Some(&header.map_host_response) };
    if header.map_urlpath.is_empty() && hosts.is_none() && !header.https_remap {
        return;
    }
    for name in ["location", "content-location"] {
        let Some(value) = head.fields.named(name).and_then(|value| std::str::from_utf8(value).ok()) else {
            continue;
        };
        let value = remapped_url(x, header, value);
        head.fields.set(name, value.as_bytes());
    }
    let cookies: Vec<String> = head
        .fields
        .all_named("set-cookie")
        .map(|cookie| String::from_utf8_lossy(cookie).into_owned())
        .collect();
    if !cookies.is_empty() {
        head.fields.remove_named("set-cookie");
        for cookie in cookies {
            head.fields.append(b"set-cookie", remapped_cookie(x, header, &cookie).as_bytes());
        }
    }
}

fn remapped_url(x: &Exchange<'_>, header: &ProxyHeader, url: &str) -> String {
    let Some((scheme, authority, path)) = selvedge_http::authority::split_absolute(url) else {
        return remapped(url, &header.map_urlpath, Way::Back).into_owned();
    };
    let host = remapped_host(authority, &header.map_host_response, x);
    let scheme = if header.https_remap && x.https { "https" } else { scheme };
    format!("{scheme}://{host}{}", remapped(path, &header.map_urlpath, Way::Back))
}

fn remapped_cookie(x: &Exchange<'_>, header: &ProxyHeader, cookie: &str) -> String {
    let parts = cookie.split(';').map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "path" => format!("{name}={}", remapped(value, &header.map_urlpath, Way::Back)),
            "domain" => format!("{name}={}", remapped_host(value, &header.map_host_response, x)),
            _ => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_change_both_ways() {
        let map: Named<Text> =
            [("/rewrite/all", "/cgi.pl?"), ("/a", "")].map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(remapped("/rewrite/all/x%3A", &map, Way::Out), "/cgi.pl?/x%3A");
        assert_eq!(remapped("/cgi.pl?/x", &map, Way::Back), "/rewrite/all/x");
        assert_eq!(remapped("/a/b", &map, Way::Out), "/b");
        assert_eq!(remapped("/c", &map, Way::Back), "/c");
    }
}
