//! Which requests one answer is for.

use crate::fields::Fields;

use super::control::split;

/// Fields that a `Vary` may name.
pub const VARY_MAX: usize = 8;
/// The longest key.
pub const KEY_BYTES_MAX: usize = 8 * 1024;

/// Scheme, authority, path and query: an answer for one is for no other. All of it is compared, and not a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

/// The fields that an answer depends on, and what the request had in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant(Vec<(Box<str>, Option<Vec<u8>>)>);

impl Key {
    /// The authority is compared without regard to case. `None` when it would be longer than [`KEY_BYTES_MAX`].
    pub fn new(scheme: &str, authority: &str, target: &str) -> Option<Self> {
        let len = scheme.len() + authority.len() + target.len() + 3;
        (len <= KEY_BYTES_MAX)
            .then(|| Self(format!("{scheme}://{}{target}", authority.to_ascii_lowercase()).into()))
    }

    /// The key of what an answer for this one names: by a path, or by a URL of the same origin. None for what is another origin's:
    /// nobody forgets another's answers.
    pub fn of_same_origin(&self, reference: &str) -> Option<Self> {
        let origin_len = self.0.find("://")? + 3;
        let path_at = origin_len + self.0[origin_len..].find('/')?;
        let (origin, target) = self.0.split_at(path_at);
        let reference = reference.trim().split('#').next().unwrap_or_default();
        let join = |path: &str| {
            Some(Self(format!("{origin}{path}").into())).filter(|key| key.0.len() <= KEY_BYTES_MAX)
        };
        if reference.is_empty() || reference.starts_with("//") {
            return None;
        }
        if reference.starts_with('/') {
            return join(reference);
        }
        if let Some((scheme, rest)) = reference.split_once("://") {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let same = format!("{scheme}://{authority}").eq_ignore_ascii_case(origin);
            return same
                .then(|| join(&if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }))
                .flatten();
        }
        // Beside what was asked for; whatever climbs or names a scheme is left alone.
        let path = target.split('?').next().unwrap_or_default();
        let folder = &path[..=path.rfind('/')?];
        let plain = !reference.contains(':') && !reference.split('/').any(|part| matches!(part, "." | ".."));
        let beside = if reference.starts_with('?') {
            format!("{path}{reference}")
        } else {
            format!("{folder}{reference}")
        };
        plain.then(|| join(&beside)).flatten()
    }

    /// As it is written in a purge.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Variant {
    /// Of a request, by the `Vary` of its answer. `None` for `*`, and for more names than [`VARY_MAX`].
    pub fn of(request: &Fields, answer: &Fields) -> Option<Self> {
        let mut names: Vec<Box<str>> = Vec::new();
        for value in answer.all_named("vary") {
            for name in split(value) {
                let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
                if name == "*" {
                    return None;
                }
                if !name.is_empty() && !names.iter().any(|known| **known == *name) {
                    names.push(name.into());
                }
            }
        }
        names.sort_unstable();
        let joined = |name: Box<str>| {
            let value = joined(request, &name);
            (name, value)
        };
        (names.len() <= VARY_MAX).then(|| Self(names.into_iter().map(joined).collect()))
    }

    /// Whether a request has the same in all of those fields.
    pub fn fits(&self, request: &Fields) -> bool {
        self.0.iter().all(|(name, value)| joined(request, name) == *value)
    }
}

/// All values of a field, as one (RFC 9110 §5.3).
fn joined(fields: &Fields, name: &str) -> Option<Vec<u8>> {
    let mut values = fields.all_named(name).map(<[u8]>::trim_ascii);
    let first = values.next()?.to_vec();
    Some(values.fold(first, |mut all, value| {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
        all
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        pairs.iter().for_each(|(name, value)| fields.append(name.as_bytes(), value.as_bytes()));
        fields
    }

    #[test]
    fn scheme_host_and_query_are_part_of_it() {
        let key = |scheme, host, target| Key::new(scheme, host, target).expect("it is short");
        let one = key("https", "a.example", "/x?y");
        assert_eq!(one, key("https", "A.Example", "/x?y"));
        for other in [
            key("http", "a.example", "/x?y"),
            key("https", "b.example", "/x?y"),
            key("https", "a.example:8443", "/x?y"),
            key("https", "a.example", "/x"),
            key("https", "a.example", "/X?y"),
            key("https", "a.example", "/x?y&"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(Key::new("https", "a", &"/".repeat(KEY_BYTES_MAX)), None);
    }

    #[test]
    fn an_answer_speaks_of_its_own_origin() {
        let key = Key::new("http", "a.example:8080", "/x/y?z").expect("it is short");
        for (reference, expected) in [
            ("/q?r#s", Some("http://a.example:8080/q?r")),
            ("HTTP://A.example:8080/q", Some("http://a.example:8080/q")),
            ("http://a.example:8080", Some("http://a.example:8080/")),
            ("http://a.example:8080?q", Some("http://a.example:8080/?q")),
            ("q", Some("http://a.example:8080/x/q")),
            ("?q", Some("http://a.example:8080/x/y?q")),
            ("http://a.example/q", None),
            ("https://a.example:8080/q", None),
            ("http://a.example:8080@evil/q", None),
            ("//a.example:8080/q", None),
            ("../q", None),
            ("urn:q", None),
            ("", None),
        ] {
            assert_eq!(key.of_same_origin(reference).as_ref().map(Key::as_str), expected, "{reference}");
        }
        assert_eq!(key.of_same_origin(&"/".repeat(KEY_BYTES_MAX)), None);
    }

    #[test]
    fn fields_that_vary_tell_requests_apart() {
        let answer = fields(&[("vary", "Accept-Encoding, x-b"), ("vary", "accept-encoding")]);
        let of = |pairs| Variant::of(&fields(pairs), &answer).expect("it does not vary by everything");
        let gzip = of(&[("accept-encoding", "gzip"), ("x-c", "1")]);
        assert!(gzip.fits(&fields(&[("accept-encoding", " gzip ")])));
        assert!(!gzip.fits(&fields(&[("accept-encoding", "br")])));
        assert!(!gzip.fits(&fields(&[("accept-encoding", "gzip"), ("x-b", "")])), "empty is not absent");
        let two = of(&[("x-b", "1"), ("x-b", "2")]);
        assert!(two.fits(&fields(&[("x-b", "1, 2")])) && !two.fits(&fields(&[("x-b", "1")])));
        assert_eq!(Variant::of(&fields(&[]), &fields(&[("vary", "a, *")])), None);
        let many = (0..=VARY_MAX).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(Variant::of(&fields(&[]), &fields(&[("vary", &many)])), None);
    }
}
