//! The location that a redirection names.

use crate::Redirect;
use crate::matching::RequestView;

impl Redirect {
    /// The `Location` of the answer.
    ///
    /// A port that belonged to the old scheme (80 for http, 443 for https) is dropped where the scheme changes; every
    /// other port stays unless the redirection sets host or port. A new path that brings a query keeps its own. `rewritten`
    /// is the target that [`Redirect::path_rewrite`] made.
    pub fn location(&self, request: &impl RequestView, rewritten: Option<&str>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or_else(|| request.scheme());
        let mut location = String::with_capacity(request.path().len() + request.authority().len() + 16);
        location.extend([scheme, "://"]);
        location.push_str(self.host.as_deref().unwrap_or_else(|| self.kept_host(request, scheme)));
        if let Some(port) = self.port {
            location.extend([":", &port.to_string()]);
        }
        if let Some(rewritten) = rewritten {
            let bare = rewritten.split_once('?').map_or(rewritten, |(path, _)| path);
            location.push_str(if self.strip_query { bare } else { rewritten });
            return location;
        }
        let (path, query) = request.path().split_once('?').unwrap_or_else(|| (request.path(), ""));
        let keep_query = !self.strip_query && !query.is_empty();
        match self.path.as_deref() {
            Some(new_path) if new_path.contains('?') || !keep_query => location.push_str(new_path),
            Some(new_path) => location.extend([new_path, "?", query]),
            None if keep_query => location.extend([path, "?", query]),
            None => location.push_str(path),
        }
        location
    }

    fn kept_host<'a>(&self, request: &'a impl RequestView, scheme: &str) -> &'a str {
        let authority = request.authority();
        let Some((host, port)) = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
            return authority;
        };
        let changed = scheme != request.scheme();
        let of_old_scheme = matches!((request.scheme(), port), ("http", "80") | ("https", "443"));
        if self.port.is_some() || (changed && of_old_scheme) { host } else { authority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::PlainRequest;

    /// The rows were sent to Envoy 1.40, the IPv6 one excepted.
    #[test]
    fn locations_are_envoys() {
        let redirect = Redirect { status: 301, ..Redirect::default() };
        let https = Redirect { scheme: Some("https".into()), ..redirect.clone() };
        let port =
            Redirect { path: Some("/n".into()), port: Some(99), strip_query: true, ..redirect.clone() };
        let host = Redirect { host: Some("hh".into()), ..redirect.clone() };
        let query = Redirect { path: Some("/n?z=1".into()), ..redirect };
        for (redirect, authority, path, location) in [
            (&https, "h.x:80", "/same?b=1", "https://h.x/same?b=1"),
            (&https, "h.x:8080", "/same?b=1", "https://h.x:8080/same?b=1"),
            (&https, "[::1]", "/", "https://[::1]/"),
            (&port, "127.0.0.1:18990", "/p?b=1", "http://127.0.0.1:99/n"),
            (&host, "h.x:80", "/z?b=1", "http://hh/z?b=1"),
            (&query, "h.x:1", "/q?b=1", "http://h.x:1/n?z=1"),
        ] {
            assert_eq!(redirect.location(&PlainRequest::new("GET", authority, path), None), location);
        }
    }
}
