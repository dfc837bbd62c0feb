//! The form of a path in which it is matched and passed on: Envoy's `normalize_path` (RFC 3986 §6.2.2) and
//! `merge_slashes`, both as Envoy 1.40 was seen to do them.

use std::borrow::Cow;

/// A path that has no normal form: it carries a fragment, or an escaped NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path without a normal form")]
pub struct PathError;

/// The normal form of `path` (query included, which stays as it is), or `None` if it is in that form already.
///
/// Dot segments are resolved, also `%2e`; a backslash is a slash; escaped unreserved characters are decoded, other
/// escapes stay as they are; characters that no path may hold are escaped.
///
/// # Errors
/// A fragment is refused in any case; `%00` when `normalize` is on.
pub fn normalize(path: &str, normalize: bool, merge_slashes: bool) -> Result<Option<String>, PathError> {
    if memchr::memchr(b'#', path.as_bytes()).is_some() {
        return Err(PathError);
    }
    let (only, query) = path.split_at(memchr::memchr(b'?', path.as_bytes()).unwrap_or(path.len()));
    let mut normal = Cow::Borrowed(only);
    if normalize && !is_plain(only) {
        let resolved = resolve(only)?;
        if resolved != only {
            normal = Cow::Owned(resolved);
        }
    }
    if merge_slashes && normal.contains("//") {
        normal = Cow::Owned(merge(&normal));
    }
    Ok(match normal {
        Cow::Borrowed(_) => None,
        Cow::Owned(mut owned) => {
            owned.push_str(query);
            Some(owned)
        }
    })
}

/// Whether resolving cannot change anything; nearly every path.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut previous = 0;
    for &byte in bytes {
        match byte {
            b'%' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => return false,
            b'.' if previous == b'/' => return false,
            _ => {}
        }
        previous = byte;
    }
    true
}

fn resolve(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len() + 8);
    let slashed = path.replace('\\', "/");
    let mut segments = slashed.split('/').peekable();
    segments.next();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            Some(1) => {
                if last {
                    out.push('/');
                }
            }
            Some(2) => {
                out.truncate(out.rfind('/').unwrap_or(0));
                if last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                push_segment(segment, &mut out)?;
            }
        }
    }
    Ok(out)
}

/// 1 for `.`, 2 for `..`, each dot also as `%2e`.
fn dots(segment: &str) -> Option<u8> {
    let mut rest = segment.as_bytes();
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] => rest,
            [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
        if count > 2 {
            return None;
        }
    }
    (count > 0).then_some(count)
}

fn push_segment(segment: &str, out: &mut String) -> Result<(), PathError> {
    let bytes = segment.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => match escaped(&bytes[at..]) {
                Some(0) => return Err(PathError),
                Some(byte) if is_unreserved(byte) => {
                    if byte.is_ascii_hexdigit() {
                        keep_bare_percent(out, bytes.get(at + 3));
                    }
                    out.push(char::from(byte));
                    at += 2;
                }
                _ => out.push('%'),
            },
            byte @ (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}') => {
                out.push_str(&format!("%{byte:02X}"));
            }
            byte => out.push(char::from(byte)),
        }
        at += 1;
    }
    Ok(())
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Escapes a bare percent sign that a hexadecimal digit, about to be added and followed by `next`, would turn into an
/// escape where the path had none: whoever reads the path after us must not find dots that were not looked at here.
fn keep_bare_percent(out: &mut String, next: Option<&u8>) {
    let behind = match out.as_bytes() {
        [.., b'%'] if next.is_some_and(u8::is_ascii_hexdigit) => out.len(),
        [.., b'%', digit] if digit.is_ascii_hexdigit() => out.len() - 1,
        _ => return,
    };
    out.insert_str(behind, "25");
}

fn escaped(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    Some((digit(1)? << 4 | digit(2)?) as u8)
}

fn merge(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !out.ends_with('/') {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row was seen on Envoy 1.40 with both options on.
    #[test]
    fn normal_forms() {
        let rows: &[(&str, &str)] = &[
            ("/", "/"),
            ("/e/\"<>^`{|}~", "/e/%22%3C%3E%5E%60%7B%7C%7D~"),
            ("/e/%41%7e%2d%5f%2E%25%3f%23%20%5c%2f%c3%A9", "/e/A~-_.%25%3f%23%20%5c%2f%c3%A9"),
            ("/e/[]@!$&'()*+,;=:", "/e/[]@!$&'()*+,;=:"),
            ("/e/%2e%2e/e/x", "/e/x"),
            ("/e/%2e/x", "/e/x"),
            ("/e/.%2e/e", "/e"),
            ("/e/x/..", "/e/"),
            ("/e/x/.", "/e/x/"),
            ("/e/..", "/"),
            ("/../../e", "/e"),
            ("/e//x?a//b/../c", "/e/x?a//b/../c"),
            ("/e\\x\\..\\y", "/e/y"),
            ("/..\\x", "/x"),
            ("/e/...", "/e/..."),
            ("/a/../..//e", "/e"),
            ("/e/a/..//b", "/e/b"),
            ("/e/a//..//b", "/e/a/b"),
            ("/e/%", "/e/%"),
            ("/e/%4", "/e/%4"),
            ("/%zz", "/%zz"),
            ("/e/%C3%a9%2", "/e/%C3%a9%2"),
            ("/a//b/../c%2e%2e/%2Fd", "/a/c../%2Fd"),
            ("/a/%%32e%%32e/b", "/a/%252e%252e/b"),
            ("/a/%2%65%2%65/b", "/a/%252e%252e/b"),
            ("/a/%%32%65/b", "/a/%252e/b"),
            ("/%%%32e/x", "/%%252e/x"),
            ("/a/%25%32%65/b", "/a/%252e/b"),
            ("/a/%4%31", "/a/%2541"),
            ("/a/%%32z", "/a/%2z"),
            ("/a/%%7a", "/a/%z"),
        ];
        for (path, expected) in rows {
            let normal =
                normalize(path, true, true).map(|changed| changed.unwrap_or_else(|| (*path).to_owned()));
            assert_eq!(normal.as_deref(), Ok(*expected), "{path}");
        }
    }

    /// Whoever normalises again, as upstreams do, must find nothing new: dots that appear only then were never routed by.
    #[test]
    fn a_normal_form_is_its_own() {
        for path in ["/a/%%32e%%32e/b", "/a/%2%65%2%65/b", "/a/%%32%65/b", "/%%%32e/x", "/a/%25%32%65/b"] {
            let once = normalize(path, true, true).unwrap().unwrap_or_else(|| path.to_owned());
            assert_eq!(normalize(&once, true, true), Ok(None), "{path} became {once}");
        }
    }

    #[test]
    fn paths_without_a_normal_form() {
        assert_eq!(normalize("/d#f", false, false), Err(PathError));
        assert_eq!(normalize("/e?x#y", true, true), Err(PathError));
        assert_eq!(normalize("/e/%00", true, true), Err(PathError));
    }

    #[test]
    fn each_option_does_its_part_alone() {
        assert_eq!(normalize("/a/../b//c", false, false), Ok(None));
        assert_eq!(normalize("/a/../b//c", true, false), Ok(Some("/b//c".to_owned())));
        assert_eq!(normalize("/a/../b//c", false, true), Ok(Some("/a/../b/c".to_owned())));
    }

    #[test]
    fn a_normal_form_is_its_own_normal_form() {
        for path in ["/a/./b/../c//d", "/%41%2e%2e/..%2fx", "/..//..", "//", "/a/%7b{", "/."] {
            let once = normalize(path, true, true).map(|n| n.unwrap_or_else(|| path.to_owned()));
            let once = once.unwrap_or_default();
            assert_eq!(normalize(&once, true, true), Ok(None), "{path} -> {once}");
        }
    }
}
