//! What the decisions of this crate see of a request.

/// A borrowed view of a request's head. Reading it allocates nothing.
///
/// `:authority`, `:method`, `:path` and `:scheme` have methods of their own; conditions on headers of these names (and
/// on `host`) are answered from them.
pub trait RequestView {
    fn method(&self) -> &str;

    /// The request target as it will be routed, with its query string.
    fn path(&self) -> &str;

    /// `:authority` or `Host`; empty if there is none.
    fn authority(&self) -> &str;

    /// `http` or `https`.
    fn scheme(&self) -> &str;

    /// Calls `test` with each line of the header `name` (lower case) until it answers true, and returns its last
    /// answer; `None` if the request has no such header.
    fn any_value(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> Option<bool>;

    /// The first line of the header `name` (lower case), if it is text.
    fn first_value(&self, name: &str) -> Option<&str>;
}

impl<T: RequestView> RequestView for &T {
    fn method(&self) -> &str {
        (**self).method()
    }

    fn path(&self) -> &str {
        (**self).path()
    }

    fn authority(&self) -> &str {
        (**self).authority()
    }

    fn scheme(&self) -> &str {
        (**self).scheme()
    }

    fn any_value(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        (**self).any_value(name, test)
    }

    fn first_value(&self, name: &str) -> Option<&str> {
        (**self).first_value(name)
    }
}

/// A request target taken apart, once for all routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Without query and fragment: what paths are matched on.
    pub path: &'a str,
    /// Without its question mark; `None` if there is no question mark.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub fn parse(target: &'a str) -> Self {
        let target = target.split_once('#').map_or(target, |(target, _)| target);
        match target.split_once('?') {
            Some((path, query)) => Self { path, query: Some(query) },
            None => Self { path: target, query: None },
        }
    }

    /// The first value of a query parameter, undecoded; `Some("")` for one without a value.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    }
}

/// A request as plain data: what `explain` is asked about, and what tests send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainRequest {
    pub method: String,
    pub path: String,
    pub authority: String,
    pub scheme: String,
    /// Names in lower case; a name may stand several times.
    pub headers: Vec<(String, String)>,
}

impl PlainRequest {
    /// A request for `http://authority/path`.
    pub fn new(method: &str, authority: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            authority: authority.to_owned(),
            scheme: "http".to_owned(),
            headers: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }
}

impl RequestView for PlainRequest {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn authority(&self) -> &str {
        &self.authority
    }

    fn scheme(&self) -> &str {
        &self.scheme
    }

    fn any_value(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        let mut lines = self.headers.iter().filter(|(key, _)| key == name).peekable();
        lines.peek()?;
        Some(lines.any(|(_, value)| test(value.as_bytes())))
    }

    fn first_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart() {
        for (target, path, query) in [
            ("/a", "/a", None),
            ("/a?", "/a", Some("")),
            ("/a?b=1?c", "/a", Some("b=1?c")),
            ("/a?b#c", "/a", Some("b")),
            ("/a#b?c", "/a", None),
            ("*", "*", None),
        ] {
            assert_eq!(Target::parse(target), Target { path, query }, "{target}");
        }
    }

    #[test]
    fn the_first_value_of_a_parameter_counts_and_stays_encoded() {
        for (target, value) in [
            ("/", None),
            ("/?k", Some("")),
            ("/?k=", Some("")),
            ("/?a&k=1&k=2", Some("1")),
            ("/?k=a%20b", Some("a%20b")),
            ("/?%6b=1", None),
            ("/?kk=1", None),
            ("/?k=1=2", Some("1=2")),
        ] {
            assert_eq!(Target::parse(target).parameter("k"), value, "{target}");
        }
    }
}
