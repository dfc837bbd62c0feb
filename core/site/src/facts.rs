//! What a program is asked about: what is known of a request at the moment.

use std::borrow::Cow;
use std::net::IpAddr;

/// What is known of a request. A field that is `None` is not known yet: conditions on it, and everything that depends on
/// them, do not hold and neither do their `else` blocks. At the end of a TLS client hello, only `socket`, `remote`,
/// `scheme` and `host` (the server name) are known.
#[derive(Clone, Copy, Default)]
pub struct RequestFacts<'a> {
    /// The [`crate::Listener::token`] of where the connection came in.
    pub socket: Option<&'a str>,
    /// Who asks, after trusted forwarding headers were believed.
    pub remote: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: Option<&'a str>,
    /// The authority, lower-case, with the port as it was sent.
    pub host: Option<&'a str>,
    /// The method.
    pub method: Option<&'a str>,
    /// The path, decoded and normalised. After a rewrite: the new one, and the program is asked again.
    pub path: Option<&'a str>,
    /// What follows `?`, without it; empty text when nothing does.
    pub query: Option<&'a str>,
    /// The request's headers.
    pub headers: Option<&'a dyn Headers>,
}

/// The host of an authority.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// The name in an authority: without a port, and without the dot at the end that only says that the name is whole.
pub(crate) fn host_name(host: &str) -> &str {
    let name = without_port(host);
    name.strip_suffix('.').unwrap_or(name)
}

/// A request's headers, wherever they are kept.
pub trait Headers {
    /// The value under `name`, in any case; several values joined with `, `.
    fn header(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Names and values in a list, for tests and for `explain`.
impl Headers for [(&str, &str)] {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values =
            self.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let first = values.next()?;
        Some(values.fold(Cow::Borrowed(first), |joined, value| Cow::Owned(format!("{joined}, {value}"))))
    }
}

impl<const N: usize> Headers for [(&str, &str); N] {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.as_slice().header(name)
    }
}
