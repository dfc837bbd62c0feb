//! Pages with server-side includes, as lighttpd's mod_ssi has them: text with statements such as
//! `<!--#echo var="DATE_GMT" -->` in it.
//!
//! - [`pieces`] cuts a page into text and [`Statement`]s; what is no statement is text.
//! - [`expression::holds`] judges the expression of an `if`.
//! - [`Branches`] knows which of the branches around a place is the one that counts.
//!
//! Whoever serves a page opens the files and runs the commands.

mod branch;
pub mod expression;
mod statement;

use std::borrow::Cow;

pub use branch::Branches;
pub use statement::{Place, Statement};

/// The longest statement, in bytes, its marks included.
pub const STATEMENT_BYTES_MAX: usize = 8192;

const OPENING: &[u8] = b"<!--#";
const CLOSING: &[u8] = b"-->";

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Sent as it is.
    Text(&'a [u8]),
    Statement(Statement<'a>),
    /// A statement that says nothing that can be done; the text is what is wrong with it. Nothing of it is sent.
    Invalid(String),
    /// A statement beyond [`STATEMENT_BYTES_MAX`]: nothing of it is sent.
    TooLong,
}

/// Cuts a page into its pieces, in order.
pub fn pieces(page: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = page;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = memchr::memmem::find(rest, OPENING) else {
            return Some(Piece::Text(std::mem::take(&mut rest)));
        };
        if at > 0 {
            let (text, behind) = rest.split_at(at);
            rest = behind;
            return Some(Piece::Text(text));
        }
        // What never ends is no statement.
        let Some(len) = length(rest) else { return Some(Piece::Text(std::mem::take(&mut rest))) };
        let (whole, behind) = rest.split_at(len);
        rest = behind;
        Some(if len > STATEMENT_BYTES_MAX { Piece::TooLong } else { statement::read(whole) })
    })
}

/// How long the statement is with which the text begins. Its end does not count within quotes.
fn length(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut at = OPENING.len();
    while at < text.len() {
        match (quote, text[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, b'-') if text[at..].starts_with(CLOSING) => return Some(at + CLOSING.len()),
            _ => {}
        }
        at += 1;
    }
    None
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(page: &str) -> Vec<String> {
        let one = |piece: Piece<'_>| match piece {
            Piece::Text(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            Piece::Statement(statement) => format!("{statement:?}"),
            Piece::Invalid(_) => "invalid".to_owned(),
            Piece::TooLong => "too long".to_owned(),
        };
        pieces(page.as_bytes()).map(one).collect()
    }

    #[test]
    fn a_page_is_text_and_statements() {
        for (page, expected) in [
            ("", vec![]),
            ("a <b> <!-- c -->", vec![r#""a <b> <!-- c -->""#]),
            (r#"a<!--#echo var="X" -->b"#, vec![r#""a""#, r#"Echo("X")"#, r#""b""#]),
            (r#"<!--#echo var="-->" -->"#, vec![r#"Echo("-->")"#]),
            (r#"<!--#echo var="a\"b"-->!"#, vec![r#"Echo("a\\\"b")"#, r#""!""#]),
            ("<!--#if expr='a' --><!--#endif -->", vec![r#"If("a")"#, "EndIf"]),
            // What is not written as a statement is, is text.
            ("<!--# echo -->", vec![r#""<!--# echo -->""#]),
            ("<!--#echo var = \"X\" -->", vec![r#""<!--#echo var = \"X\" -->""#]),
            ("<!--#echo var=\"X\" ", vec![r#""<!--#echo var=\"X\" ""#]),
            // What is, and says nothing, is nothing.
            ("<!--#shout var=\"X\" -->", vec!["invalid"]),
            ("<!--#comment any = thing -->", vec!["Comment"]),
        ] {
            assert_eq!(shown(page), expected, "{page}");
        }
    }

    #[test]
    fn a_statement_is_only_so_long() {
        let fill = |len: usize| {
            let around = r#"<!--#echo var="" -->"#.len();
            format!(r#"<!--#echo var="{}" -->!"#, "x".repeat(len - around))
        };
        assert_eq!(shown(&fill(STATEMENT_BYTES_MAX)).len(), 2);
        assert_eq!(shown(&fill(STATEMENT_BYTES_MAX + 1)), ["too long", r#""!""#]);
    }
}
