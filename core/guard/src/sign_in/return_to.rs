//! Where a person goes after signing in: where they wanted to go, and never to another site.

/// The longest target that is remembered; a longer one is replaced by `/`.
pub const RETURN_BYTES_MAX: usize = 2048;

/// A path and query of the same origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// The target of a request, if a browser cannot read it as another site's address; `/` otherwise.
    ///
    /// A browser takes `//host`, `/\host` and what is left of them once it has dropped tabs and line ends for another host.
    pub fn new(target: &str) -> Self {
        let is_plain = target.len() <= RETURN_BYTES_MAX
            && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && target.starts_with('/')
            && !target.starts_with("//");
        Self(if is_plain { target.to_owned() } else { "/".to_owned() })
    }

    /// For a `Location` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_return_leads_to_another_site() {
        for target in [
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\r\n/evil.example",
            "",
            "evil",
            "?x",
            "/é",
            "/a b",
        ] {
            assert_eq!(ReturnTo::new(target).as_str(), "/", "{target:?}");
        }
        assert_eq!(ReturnTo::new(&format!("/{}", "a".repeat(RETURN_BYTES_MAX))).as_str(), "/");
        for target in ["/", "/orders/7?x=//y&z=https://a", "/a//b"] {
            assert_eq!(ReturnTo::new(target).as_str(), target);
        }
    }
}
