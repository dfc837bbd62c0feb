//! What a gateway program says (RFC 3875 §6): fields, an empty line, a body. FastCGI and SCGI responders say the same.

use crate::fields::Fields;
use crate::head::ResponseHead;

/// The longest head of a gateway program's response.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields in it.
const FIELDS_MAX: usize = 200;

/// Where the head of a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// More bytes are needed.
    Partial,
    /// The head is so long, its empty line included. What follows is the body.
    Complete(usize),
    /// The bytes are no head: the program speaks the body at once.
    None,
}

/// A response that cannot be passed on: 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CgiError {
    #[error("a head of more than {HEAD_BYTES_MAX} bytes")]
    TooLarge,
    #[error("more than {FIELDS_MAX} fields")]
    TooMany,
    #[error("a status that is no number of three digits")]
    Status,
    #[error("a field that no message can carry")]
    Field,
    #[error("a length that is no number, or two of them")]
    Length,
}

/// What the head of a response says besides its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgiFacts {
    /// The program named the status itself.
    pub status_given: bool,
    /// The body's length, where the program says it.
    pub length: Option<u64>,
}

/// Looks for the end of a head. Lines end with LF or CRLF. `whole` says that nothing follows `bytes`.
///
/// # Errors
/// [`CgiError::TooLarge`].
pub fn find_head(bytes: &[u8], whole: bool) -> Result<Head, CgiError> {
    let mut line = 0;
    let mut first = true;
    while let Some(at) = memchr::memchr(b'\n', &bytes[line..]) {
        let text = bytes[line..line + at].strip_suffix(b"\r").unwrap_or_else(|| &bytes[line..line + at]);
        line += at + 1;
        if text.is_empty() {
            return Ok(if first { Head::None } else { Head::Complete(line) });
        }
        // A status line may come first; every other line of a head has a colon.
        if first && !text.starts_with(b"HTTP/") && memchr::memchr(b':', text).is_none() {
            return Ok(Head::None);
        }
        first = false;
        if line > HEAD_BYTES_MAX {
            return Err(CgiError::TooLarge);
        }
    }
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(CgiError::TooLarge);
    }
    Ok(match whole {
        true => Head::None,
        false => Head::Partial,
    })
}

/// Reads a head that [`find_head`] found. Without a status it is 200, or 302 where there is a `Location`.
///
/// Fields that frame the message on its next way are not passed on: the edge frames its messages itself.
///
/// # Errors
/// See [`CgiError`].
pub fn read_head(bytes: &[u8], head: &mut ResponseHead) -> Result<CgiFacts, CgiError> {
    head.clear();
    let mut facts = CgiFacts::default();
    let mut status = None;
    let mut lines =
        bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).peekable();
    if let Some(rest) = lines.peek().and_then(|line| line.strip_prefix(b"HTTP/")) {
        let mut words = rest.split(|byte| *byte == b' ');
        let version_known = matches!(words.next(), Some([b'1', b'.', _] | [b'2', b'.', _] | [b'3', b'.', _]));
        status = Some(words.next().filter(|_| version_known).and_then(three_digits).ok_or(CgiError::Status)?);
        lines.next();
    }
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line).filter(|colon| *colon > 0) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            let digits = value.get(..3).filter(|_| value.get(3).is_none_or(|byte| !byte.is_ascii_digit()));
            status = Some(digits.and_then(three_digits).ok_or(CgiError::Status)?);
            continue;
        }
        if !is_token(name) || !is_value(value) {
            return Err(CgiError::Field);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
            let length = length.and_then(|text| text.parse().ok()).ok_or(CgiError::Length)?;
            if facts.length.replace(length).is_some_and(|before| before != length) {
                return Err(CgiError::Length);
            }
            continue;
        }
        let framing: &[&[u8]] =
            &[b"transfer-encoding", b"connection", b"keep-alive", b"trailer", b"http2-settings"];
        if framing.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            continue;
        }
        if head.fields.len() >= FIELDS_MAX {
            return Err(CgiError::TooMany);
        }
        head.fields.append(name, value);
    }
    facts.status_given = status.is_some();
    let redirects = head.fields.get(crate::known::HeaderId::Location).is_some();
    head.status = status.unwrap_or(if redirects { 302 } else { 200 });
    Ok(facts)
}

fn three_digits(text: &[u8]) -> Option<u16> {
    match text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => None,
    }
}

fn is_token(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f)
}

/// The name under which a header field reaches a program: `HTTP_` and capitals, whatever is neither letter nor digit as an
/// underscore. `Content-Type` keeps its own name; `Proxy` has none, since programs would take it for their proxy's address.
pub fn variable_of_header(name: &str) -> Option<String> {
    match name {
        "content-type" => Some("CONTENT_TYPE".to_owned()),
        // The length is what was counted, not what was said.
        "proxy" | "content-length" => None,
        _ => Some(format!("HTTP_{}", variable(name))),
    }
}

/// A name in the form of an environment variable.
pub fn variable(name: &str) -> String {
    let upper =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_uppercase()) } else { '_' };
    name.bytes().map(upper).collect()
}

/// The request's fields as variables. Two names that would be one variable (`x-forwarded-for`, `x_forwarded_for` and
/// `x.forwarded.for`) are told apart by leaving out those without the hyphens: a client must not speak for a trusted hop.
pub fn header_variables(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<(String, Vec<u8>)> = Vec::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        if value.is_empty() || has_twin(fields, name) {
            continue;
        }
        let Some(variable) = variable_of_header(name) else { continue };
        match out.iter_mut().find(|(known, _)| *known == variable) {
            Some((_, joined)) => {
                // Cookies are a list of their own kind (RFC 9113 §8.2.3).
                joined.extend_from_slice(if name == "cookie" { b"; " } else { b", " });
                joined.extend_from_slice(value);
            }
            None => out.push((variable, value.to_vec())),
        }
    }
    out
}

/// Whether another field has the plain spelling of a name.
fn has_twin(fields: &Fields, name: &str) -> bool {
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain(name) {
        return false;
    }
    fields.iter().any(|(other, _)| is_plain(other) && is_same_variable(other, name))
}

/// Whether two headers reach a program as one variable: `x-user`, `X_User` and `x.user` do.
pub fn is_same_variable(one: &str, other: &str) -> bool {
    let upper = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' };
    one.len() == other.len() && one.bytes().map(upper).eq(other.bytes().map(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_end_at_an_empty_line_of_either_kind() {
        for (bytes, whole, expected) in [
            (&b"Status: 200\r\n\r\nbody"[..], false, Head::Complete(15)),
            (b"Status: 200\n\nbody", false, Head::Complete(13)),
            (b"Location: /x\r\n\n\n", false, Head::Complete(15)),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", false, Head::Complete(25)),
            (b"Status: 2", false, Head::Partial),
            (b"Status: 200\n", false, Head::Partial),
            (b"found here\n", false, Head::None),
            (b"found", true, Head::None),
            (b"\nbody", false, Head::None),
        ] {
            assert_eq!(find_head(bytes, whole), Ok(expected), "{:?}", String::from_utf8_lossy(bytes));
        }
        let long = [b"a: ".as_slice(), &[b'x'; HEAD_BYTES_MAX]].concat();
        assert_eq!(find_head(&long, false), Err(CgiError::TooLarge));
    }

    #[test]
    fn statuses() {
        let mut head = ResponseHead::default();
        for (bytes, expected) in [
            (&b"Status: 404\n\n"[..], Ok((404, true))),
            (b"Status: 200 FooBar\r\n\r\n", Ok((200, true))),
            (b"A: b\n\n", Ok((200, false))),
            (b"Location: /x\n\n", Ok((302, false))),
            (b"HTTP/1.0 201 Created\n\n", Ok((201, true))),
            (b"Status: 30 FooBar\r\n\r\n", Err(CgiError::Status)),
            (b"Status: 3000\n\n", Err(CgiError::Status)),
            (b"HTTP/9.9 200\n\n", Err(CgiError::Status)),
            (b"A\x01: b\n\n", Err(CgiError::Field)),
            (b"A: b\rX: y\n\n", Err(CgiError::Field)),
            (b"Content-Length: 1\nContent-Length: 2\n\n", Err(CgiError::Length)),
            (b"Content-Length: x\n\n", Err(CgiError::Length)),
        ] {
            let read = read_head(bytes, &mut head).map(|facts| (head.status, facts.status_given));
            assert_eq!(read, expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_program_does_not_frame_the_edges_messages() {
        let mut head = ResponseHead::default();
        let facts =
            read_head(b"Transfer-Encoding: chunked\nConnection: x\nContent-Length: 3\nX: y\n\n", &mut head);
        assert_eq!(facts, Ok(CgiFacts { status_given: false, length: Some(3) }));
        assert_eq!(head.fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn spellings_of_one_variable() {
        for (one, other, same) in [
            ("x-user", "X_User", true),
            ("x.user", "x-user", true),
            ("x-user", "x-user", true),
            ("xx-user", "x-user", false),
            ("x-user", "x-usex", false),
            ("xauser", "x-user", false),
        ] {
            assert_eq!(is_same_variable(one, other), same, "{one} {other}");
            assert_eq!(variable(one) == variable(other), same, "{one} {other}");
        }
    }

    #[test]
    fn header_names_as_variables() {
        let mut fields = Fields::default();
        for (name, value) in [
            ("X-Forwarded-For", "1.1.1.1"),
            ("X_Forwarded_For", "9.9.9.9"),
            ("Content-Type", "t"),
            ("Proxy", "http://evil"),
            ("Xx-Yy123", "foo"),
            ("X_Lone", "kept"),
            ("A", "1"),
            ("A", "2"),
        ] {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        let listed = header_variables(&fields);
        let listed: Vec<(&str, &str)> =
            listed.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect();
        assert_eq!(
            listed,
            [
                ("HTTP_X_FORWARDED_FOR", "1.1.1.1"),
                ("CONTENT_TYPE", "t"),
                ("HTTP_XX_YY123", "foo"),
                ("HTTP_X_LONE", "kept"),
                ("HTTP_A", "1, 2"),
            ]
        );
    }
}
