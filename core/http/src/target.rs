//! The target of a request in the one form in which an edge matches it, opens it and passes it on.
//!
//! A target is brought into this form once, before anything looks at it, so that a rule and the file system cannot see
//! different paths. The choices are those of lighttpd's `server.http-parseopts`.

/// What is made equal, and what is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Escapes of unreserved characters are undone, characters that no URL may hold are escaped. Without it the target stays
    /// as it came, and only the path that is matched is decoded.
    pub normalize: bool,
    /// All escapes are undone but those of characters that no URL may hold, or that would part it elsewhere.
    pub required: bool,
    /// Control characters, escaped or not, are refused.
    pub reject_controls: bool,
    /// Bytes that are not UTF-8 are refused.
    pub reject_invalid_utf8: bool,
    pub slash: Slash,
    pub dot_segments: DotSegments,
    /// A backslash is a slash.
    pub backslash: bool,
    /// An escaped space of the query becomes a plus sign.
    pub query_space_plus: bool,
}

/// What becomes of an escaped slash in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slash {
    Keep,
    Decode,
    Reject,
}

/// What becomes of `.`, `..` and empty segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotSegments {
    Keep,
    Remove,
    Reject,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            normalize: true,
            required: false,
            reject_controls: true,
            reject_invalid_utf8: true,
            slash: Slash::Decode,
            dot_segments: DotSegments::Remove,
            backslash: false,
            query_space_plus: false,
        }
    }
}

/// A target that is refused. The client's fault: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("a control character in the target")]
    Control,
    #[error("bytes in the path that are not UTF-8")]
    Encoding,
    #[error("an escaped slash in the path")]
    Slash,
    #[error("dot segments in the path")]
    DotSegments,
    #[error("a path that does not begin with a slash")]
    Relative,
}

/// A target in its normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Path and query as they are passed on, escaped.
    pub text: String,
    /// Where the query begins, behind its question mark.
    pub query_at: Option<usize>,
    /// The path that is matched and opened: decoded, without dot segments and doubled slashes.
    pub path: String,
}

impl Target {
    /// The query without its question mark; empty if there is none.
    pub fn query(&self) -> &str {
        self.query_at.map_or("", |at| &self.text[at..])
    }
}

/// Brings a target, in origin form or `*`, into its normal form. A fragment is cut off.
///
/// # Errors
/// See [`TargetError`].
pub fn normalize(raw: &str, options: Options) -> Result<Target, TargetError> {
    let raw = &raw[..raw.find('#').unwrap_or(raw.len())];
    if raw == "*" {
        return Ok(Target { text: "*".to_owned(), query_at: None, path: "*".to_owned() });
    }
    if !raw.starts_with('/') {
        return Err(TargetError::Relative);
    }
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (raw, None),
    };
    if is_plain(path, query.unwrap_or_default()) {
        let query_at = query.map(|_| path.len() + 1);
        return Ok(Target { text: raw.to_owned(), query_at, path: path.to_owned() });
    }
    let mut text = if options.normalize { escape(path, Part::Path, options)? } else { path.to_owned() };
    if options.dot_segments != DotSegments::Keep {
        let simple = simplify(&text);
        if simple != text && options.dot_segments == DotSegments::Reject && has_dots(&text) {
            return Err(TargetError::DotSegments);
        }
        text = simple;
    }
    let path = decode(&text, options)?;
    let mut query_at = None;
    if let Some(query) = query {
        text.push('?');
        query_at = Some(text.len());
        match options.normalize {
            true => text.push_str(&escape(query, Part::Query, options)?),
            false => text.push_str(query),
        }
    }
    Ok(Target { text, query_at, path })
}

/// Whether nothing about a target can change; nearly every one.
fn is_plain(path: &str, query: &str) -> bool {
    let mut previous = 0;
    for byte in path.bytes() {
        let fine = match byte {
            b'/' => previous != b'/',
            b'.' => previous != b'/',
            _ => byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,;=:@".contains(&byte),
        };
        if !fine {
            return false;
        }
        previous = byte;
    }
    query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Query,
}

fn escape(text: &str, part: Part, options: Options) -> Result<String, TargetError> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(bytes.len() + 16);
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match (byte, escaped(&bytes[at..])) {
            (b'%', Some(value)) => {
                at += 3;
                push_escaped(value, part, options, &mut out)?;
            }
            (b'%', None) => {
                at += 1;
                out.push_str("%25");
            }
            _ => {
                at += 1;
                match byte {
                    b'\\' if part == Part::Path && options.backslash => out.push('/'),
                    0..=0x1f | 0x7f if options.reject_controls => return Err(TargetError::Control),
                    _ if must_be_escaped(byte) => push_percent(byte, &mut out),
                    _ => out.push(char::from(byte)),
                }
            }
        }
    }
    Ok(out)
}

fn push_escaped(value: u8, part: Part, options: Options, out: &mut String) -> Result<(), TargetError> {
    match value {
        0..=0x1f | 0x7f if options.reject_controls => return Err(TargetError::Control),
        b'/' if part == Part::Path => match options.slash {
            Slash::Keep => out.push_str("%2F"),
            Slash::Decode => out.push('/'),
            Slash::Reject => return Err(TargetError::Slash),
        },
        b'\\' if part == Part::Path && options.backslash => out.push('/'),
        b' ' if part == Part::Query && options.query_space_plus => out.push('+'),
        _ if is_unreserved(value) || options.required && parts_nothing(value, part) => {
            out.push(char::from(value));
        }
        _ => push_percent(value, out),
    }
    Ok(())
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a character may stand in a part of a URL without meaning that another begins there.
fn parts_nothing(byte: u8, part: Part) -> bool {
    let parts: &[u8] = match part {
        Part::Path => b"/?",
        Part::Query => b"&=;+",
    };
    !must_be_escaped(byte) && !b"#%[]".contains(&byte) && !parts.contains(&byte)
}

fn must_be_escaped(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn push_percent(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn escaped(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    Some((digit(1)? << 4 | digit(2)?) as u8)
}

/// The path with its escapes undone, once, and without dot segments.
fn decode(text: &str, options: Options) -> Result<String, TargetError> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], escaped(&bytes[at..])) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    // Never a NUL: the file system would see a shorter path than the rules.
    if out.iter().any(|byte| *byte == 0 || options.reject_controls && (*byte < b' ' || *byte == 0x7f)) {
        return Err(TargetError::Control);
    }
    let path = match String::from_utf8(out) {
        Ok(path) => path,
        Err(_) if options.reject_invalid_utf8 => return Err(TargetError::Encoding),
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(simplify(&path))
}

fn has_dots(path: &str) -> bool {
    path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Takes out empty, `.` and `..` segments; nothing climbs above the root.
pub fn simplify(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    out
}

/// Escapes a decoded path for a `Location` or a link, slashes excepted.
pub fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 8);
    for byte in path.bytes() {
        if is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_percent(byte, &mut out);
        }
    }
    out
}

/// Undoes escapes; what is no escape stays. For values of a query and of `X-Sendfile`.
pub fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let value = (bytes[at] == b'%').then(|| escaped(&bytes[at..])).flatten();
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &str) -> Result<(String, String, String), TargetError> {
        normalize(raw, Options::default()).map(|t| (t.text.clone(), t.path.clone(), t.query().to_owned()))
    }

    #[test]
    fn one_form_for_matching_opening_and_passing_on() {
        for (raw, text, path, query) in [
            ("/", "/", "/", ""),
            ("/a/b?c=d", "/a/b?c=d", "/a/b", "c=d"),
            ("/a?", "/a?", "/a", ""),
            ("/%31k.html", "/1k.html", "/1k.html", ""),
            ("//1k.html", "/1k.html", "/1k.html", ""),
            ("/a/../1k.html", "/1k.html", "/1k.html", ""),
            ("/a/%2e%2E/1k.html", "/1k.html", "/1k.html", ""),
            ("/a/..%2f..%2fetc/passwd", "/etc/passwd", "/etc/passwd", ""),
            ("/../../etc", "/etc", "/etc", ""),
            ("/a/./b/.", "/a/b/", "/a/b/", ""),
            ("/a/..", "/", "/", ""),
            ("/...", "/...", "/...", ""),
            (
                "/some+test%3axxx%20with%20space",
                "/some+test%3Axxx%20with%20space",
                "/some+test:xxx with space",
                "",
            ),
            ("/~test%20ä_?foo", "/~test%20%C3%A4_?foo", "/~test ä_", "foo"),
            ("/%", "/%25", "/%", ""),
            ("/%252e%252e/x", "/%252e%252e/x", "/%2e%2e/x", ""),
            ("/a#b", "/a", "/a", ""),
            ("/a?b#c", "/a?b", "/a", "b"),
            ("/a?x=\"%41", "/a?x=%22A", "/a", "x=%22A"),
            ("/a;b=c/../d", "/d", "/d", ""),
            ("*", "*", "*", ""),
        ] {
            let expected = Ok((text.to_owned(), path.to_owned(), query.to_owned()));
            assert_eq!(of(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (raw, error) in [
            ("/a%00", TargetError::Control),
            ("/a?x=%00", TargetError::Control),
            ("/a%0d%0ab", TargetError::Control),
            ("/%7f", TargetError::Control),
            ("/%c0%ae%c0%ae/x", TargetError::Encoding),
            ("/%ff", TargetError::Encoding),
            ("a", TargetError::Relative),
            ("", TargetError::Relative),
        ] {
            assert_eq!(of(raw), Err(error), "{raw}");
        }
        let strict =
            Options { slash: Slash::Reject, dot_segments: DotSegments::Reject, ..Options::default() };
        assert_eq!(normalize("/a%2fb", strict), Err(TargetError::Slash));
        assert_eq!(normalize("/a/../b", strict), Err(TargetError::DotSegments));
        let raw = Options { normalize: false, reject_controls: false, ..Options::default() };
        assert_eq!(normalize("/a%00", raw), Err(TargetError::Control), "a NUL is refused in any case");
    }

    #[test]
    fn a_normal_form_is_its_own() {
        for raw in ["/a/%2e%2e/b//c?d=%41", "/%%32e", "/\\..\\x", "/%E4%BD%A0/{}?^", "/%2f%2f..//"] {
            let once = normalize(raw, Options::default()).unwrap();
            let twice = normalize(&once.text, Options::default()).unwrap();
            assert_eq!((&twice.text, &twice.path), (&once.text, &once.path), "{raw}");
        }
    }

    #[test]
    fn backslashes_where_asked() {
        let options = Options { backslash: true, ..Options::default() };
        assert_eq!(normalize("/a\\..\\b%5cc", options).unwrap().path, "/b/c");
    }
}
