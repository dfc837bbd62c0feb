//! Apache's format of access logs, as mod_accesslog reads it.

use std::sync::Arc;

use super::Text;
use super::reading::{Reading, text};
use crate::value::Value;

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Its pieces, in order.
    pub pieces: Arc<[Piece]>,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Literal(Text),
    /// `%X`, `%{argument}X`.
    Field {
        /// The letter.
        letter: char,
        /// What stands in braces.
        argument: Option<Text>,
        /// `%>s`, `%<s`: of the final or the original request.
        last: bool,
    },
}

/// How what is unusual in a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// `\xHH`.
    Default,
    /// As in a JSON text.
    Json,
}

/// lighttpd's usual line.
pub const DEFAULT: &str = "%h %V %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"";

/// The letters that are known.
const LETTERS: &str = "hltursbieafoBCDTUVXqvmnpPHIOkR%AS";

impl Default for Format {
    fn default() -> Self {
        Self { pieces: parse(DEFAULT).unwrap_or_default().into() }
    }
}

impl Format {
    /// Reads a format.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text).map(|pieces| Self { pieces: pieces.into() })
    }

    /// A line that is a JSON object.
    pub fn json() -> Self {
        Self { pieces: parse(JSON).unwrap_or_default().into() }
    }
}

/// The usual fields as JSON: what is counted as numbers, all else as texts.
const JSON: &str = "{\"time\":\"%{%Y-%m-%dT%H:%M:%S%z}t\",\"client\":\"%h\",\"user\":\"%u\",\"route\":\"%{route}n\",\"method\":\"%m\",\
    \"host\":\"%V\",\"path\":\"%U\",\"query\":\"%q\",\"protocol\":\"%H\",\"status\":%>s,\"received\":%I,\"bytes\":%b,\
    \"microseconds\":%D,\"trace\":\"%{trace}n\",\"referer\":\"%{Referer}i\",\"agent\":\"%{User-Agent}i\",\
    \"tls\":\"%{tls-version}n\",\"cipher\":\"%{tls-cipher}n\",\"group\":\"%{tls-group}n\",\"name\":\"%{tls-name}n\",\"alpn\":\"%{tls-alpn}n\"}";

pub(super) fn format(value: &Value, reading: &mut Reading<'_>) -> Result<Format, String> {
    let text = text(value, reading)?;
    if text.is_empty() {
        return Ok(Format::default());
    }
    if text.contains("\\t") || text.contains("\\n") {
        let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
        return parse(&unescaped).map(|pieces| Format { pieces: pieces.into() });
    }
    parse(&text).map(|pieces| Format { pieces: pieces.into() })
}

pub(super) fn escaping(value: &Value, reading: &mut Reading<'_>) -> Result<Escaping, String> {
    Ok(if *text(value, reading)? == *"json" { Escaping::Json } else { Escaping::Default })
}

/// # Errors
/// What is wrong with the format.
fn parse(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let mut last = false;
        let mut argument = None;
        let letter = loop {
            let Some(character) = rest.chars().next() else {
                return Err(format!("parsing accesslog-definition failed: {text}: it ends behind a %"));
            };
            rest = &rest[character.len_utf8()..];
            match character {
                '>' => last = true,
                '<' => last = false,
                '{' => {
                    let Some((inside, after)) = rest.split_once('}') else {
                        return Err(format!(
                            "parsing accesslog-definition failed: {text}: a brace is not closed"
                        ));
                    };
                    argument = Some(Text::from(inside));
                    rest = after;
                }
                letter if LETTERS.contains(letter) => break letter,
                other => {
                    return Err(format!(
                        "parsing accesslog-definition failed: {text}: %{other} is not known"
                    ));
                }
            }
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Field { letter, argument, last });
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_into_pieces() {
        let field = |letter, argument: Option<&str>, last| Piece::Field {
            letter,
            argument: argument.map(Into::into),
            last,
        };
        let expected = vec![
            field('h', None, false),
            Piece::Literal(" 100% \"".into()),
            field('i', Some("User-Agent"), false),
            Piece::Literal("\" ".into()),
            field('s', None, true),
        ];
        assert_eq!(parse("%h 100%% \"%{User-Agent}i\" %>s"), Ok(expected));
        for wrong in ["%", "%{a", "%y", "%{a}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Format::default().pieces.len(), 18);
    }
}
