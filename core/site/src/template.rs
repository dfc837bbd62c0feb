//! Texts with holes: the right-hand sides of `url.redirect`, `url.rewrite-*`.
//!
//! `$1` is a group of the rule's own expression, `%1` one of the enclosing condition's; `${url.path}` and its siblings are
//! parts of the request, and `${esc:…}` and its siblings say how what is put in is written.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::facts::without_port;
use crate::pattern::Groups;

/// The longest text that a template may make: a rule whose result is longer fails.
pub const EXPANDED_BYTES_MAX: usize = 64 * 1024;

/// A text with holes. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Arc<[Piece]>,
    text: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Hole { what: What, encoding: Encoding },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// `$N`.
    Rule(usize),
    /// `%N`.
    Condition(usize),
    Scheme,
    Authority,
    AuthorityNoPort,
    Port,
    Path,
    Query,
    /// The query, after `?` or `&` as the text so far asks for.
    QuerySet,
}

/// How what is put into a hole is written. As in lighttpd, several may be named, and the first of this order is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Encoding {
    none: bool,
    all: bool,
    /// No double encoding: `%XX` stays.
    nde: bool,
    /// As `nde`, and slashes stay.
    psnde: bool,
    lower: bool,
    upper: bool,
    to_base64: bool,
    from_base64: bool,
}

/// What holes are filled with.
#[derive(Clone, Copy, Default)]
pub struct Parts<'a> {
    /// The text that the rule's expression was held to, and its groups.
    pub rule: Option<(&'a str, &'a Groups)>,
    /// The text that the condition's expression was held to, and its groups.
    pub condition: Option<(&'a str, &'a Groups)>,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority.
    pub authority: &'a str,
    /// The port of the listener.
    pub port: u16,
    /// The path as it was sent, perhaps with a query.
    pub path: &'a str,
    /// The query, without `?`; `None` when the request has none.
    pub query: Option<&'a str>,
}

/// What a template makes is longer than [`EXPANDED_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text that the rule makes is longer than {EXPANDED_BYTES_MAX} bytes")]
pub struct TooLong;

impl Template {
    /// Reads a template. Whatever cannot be read ends the text, as it does for lighttpd.
    pub fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '%']) {
            literal.push_str(&rest[..at]);
            let sigil = rest.as_bytes()[at];
            let after = &rest[at + 1..];
            match after.bytes().next() {
                Some(b'{') => {
                    let Some((piece, taken)) = hole(&after[1..], sigil) else {
                        rest = "";
                        break;
                    };
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                    }
                    pieces.extend(piece);
                    rest = &after[1 + taken..];
                }
                Some(digit @ b'0'..=b'9') => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                    }
                    let number = usize::from(digit - b'0');
                    pieces.push(Piece::Hole {
                        what: What::group(sigil, number),
                        encoding: Encoding::default(),
                    });
                    rest = &after[1..];
                }
                Some(other) if other == sigil => {
                    literal.push(char::from(sigil));
                    rest = &after[1..];
                }
                _ => {
                    literal.push(char::from(sigil));
                    rest = after;
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Self { pieces: pieces.into(), text: text.into() }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is blank: a rule with a blank right-hand side matches and changes nothing.
    pub fn is_blank(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it asks for groups of the enclosing condition.
    pub fn asks_condition(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Hole { what: What::Condition(_), .. }))
    }

    /// The text with its holes filled.
    ///
    /// # Errors
    /// When it grows beyond [`EXPANDED_BYTES_MAX`].
    pub fn expand(&self, parts: &Parts<'_>) -> Result<String, TooLong> {
        let mut out = String::new();
        for piece in &*self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Hole { what: What::QuerySet, encoding } => {
                    if let Some(query) = parts.query {
                        match (out.contains('?'), query.is_empty()) {
                            (true, true) => {}
                            (true, false) => out.push('&'),
                            (false, _) => out.push('?'),
                        }
                        encoding.write(&mut out, query);
                    }
                }
                Piece::Hole { what: What::Port, .. } => out.push_str(&parts.port.to_string()),
                Piece::Hole { what, encoding } => encoding.write(&mut out, what.of(parts)),
            }
            if out.len() > EXPANDED_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(out)
    }
}

/// Reads what follows `${` or `%{`; answers the hole, if it is one that is known, and how much was read.
fn hole(text: &str, sigil: u8) -> Option<(Option<Piece>, usize)> {
    let end = text.find('}')?;
    let mut inside = &text[..end];
    let mut encoding = Encoding::default();
    while let Some((word, rest)) = inside.split_once(':') {
        match word {
            "esc" | "escape" => encoding.all = true,
            "escnde" => encoding.nde = true,
            "escpsnde" => encoding.psnde = true,
            "noesc" | "noescape" => encoding.none = true,
            "tolower" => encoding.lower = true,
            "toupper" => encoding.upper = true,
            "encb64u" => encoding.to_base64 = true,
            "decb64u" => encoding.from_base64 = true,
            _ => {}
        }
        inside = rest;
    }
    let what = match inside {
        "url.scheme" => Some(What::Scheme),
        "url.authority" => Some(What::Authority),
        "url.authority.noport" => Some(What::AuthorityNoPort),
        "url.port" => Some(What::Port),
        "url.path" => Some(What::Path),
        "url.query" => Some(What::Query),
        "qsa" => Some(What::QuerySet),
        number => {
            let digits: String = number
                .trim_start_matches(|character: char| !character.is_ascii_digit())
                .chars()
                .take_while(char::is_ascii_digit)
                .take(2)
                .collect();
            if encoding == Encoding::default() {
                encoding.psnde = true;
            }
            digits.parse().ok().map(|number| What::group(sigil, number))
        }
    };
    Some((what.map(|what| Piece::Hole { what, encoding }), end + 1))
}

// === impl What ===

impl What {
    fn group(sigil: u8, number: usize) -> Self {
        if sigil == b'$' { Self::Rule(number) } else { Self::Condition(number) }
    }

    fn of<'a>(self, parts: &Parts<'a>) -> &'a str {
        match self {
            Self::Rule(number) => parts.rule.map_or("", |(text, groups)| groups.get(text, number)),
            Self::Condition(number) => parts.condition.map_or("", |(text, groups)| groups.get(text, number)),
            Self::Scheme => parts.scheme,
            Self::Authority => parts.authority,
            Self::AuthorityNoPort => without_port(parts.authority),
            Self::Path => parts.path.split_once('?').map_or(parts.path, |(path, _)| path),
            Self::Query => parts.query.unwrap_or(""),
            Self::Port | Self::QuerySet => "",
        }
    }
}

// === impl Encoding ===

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Encoding {
    fn write(self, out: &mut String, text: &str) {
        if text.is_empty() {
            return;
        }
        let cased;
        let text = if self.lower {
            cased = text.to_ascii_lowercase();
            cased.as_str()
        } else if self.upper {
            cased = text.to_ascii_uppercase();
            cased.as_str()
        } else {
            text
        };
        if self.none || !(self.all || self.nde || self.psnde || self.to_base64 || self.from_base64) {
            out.push_str(text);
        } else if self.all {
            percent(out, text, |_| false, false);
        } else if self.nde {
            percent(out, text, |_| false, true);
        } else if self.psnde {
            percent(out, text, |byte| byte == b'/', true);
        } else if self.to_base64 {
            BASE64.encode_string(text, out);
        } else if let Some(decoded) = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())
        {
            out.push_str(&decoded);
        }
    }
}

/// Writes `text` with everything encoded but unreserved characters, those that `spared` names and, when asked, `%XX`.
fn percent(out: &mut String, text: &str, spared: fn(u8) -> bool, keep_encoded: bool) {
    let bytes = text.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let encoded = keep_encoded
            && byte == b'%'
            && bytes.get(index + 1..index + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if encoded || unreserved || spared(byte) {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    #[test]
    fn holes_are_filled_as_lighttpd_fills_them() {
        let rule = Pattern::new("^/(a)/([^?]*)").expect("valid");
        let subject = "/a/b c/%41?x=1";
        let rule_groups = rule.groups(subject).expect("quick").expect("matches");
        let condition = Pattern::new("^(.*)\\.example$").expect("valid");
        let condition_groups = condition.groups("www.example").expect("quick").expect("matches");
        let parts = Parts {
            rule: Some((subject, &rule_groups)),
            condition: Some(("www.example", &condition_groups)),
            scheme: "https",
            authority: "www.example:8443",
            port: 8443,
            path: subject,
            query: Some("x=1"),
        };
        let rows = [
            ("/to/$1/$2", "/to/a/b c/%41"),
            ("https://%1.test/", "https://www.test/"),
            ("${url.scheme}://${url.authority.noport}${url.path}${qsa}", "https://www.example/a/b c/%41?x=1"),
            ("${url.authority}:${url.port}", "www.example:8443:8443"),
            ("/?y=2${qsa}", "/?y=2&x=1"),
            ("/$2?${url.query}", "/b c/%41?x=1"),
            ("/${2}", "/b%20c/%41"),
            ("/${escnde:2}", "/b%20c%2F%41"),
            ("/${esc:2}", "/b%20c%2F%2541"),
            ("/${noesc:2}", "/b c/%41"),
            ("/${toupper:noesc:2}", "/B C/%41"),
            ("/${encb64u:1}/${decb64u:1}", "/YQ/"),
            ("100%% $$1 %a", "100% $1 %a"),
            ("/$9/%9/${19}", "///"),
            ("/a${1", "/a"),
            ("$", "$"),
            ("/\u{e9}$1", "/\u{e9}a"),
        ];
        for (template, expected) in rows {
            assert_eq!(Template::parse(template).expand(&parts).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn a_text_that_grows_without_end_is_refused() {
        let pattern = Pattern::new("(.*)").expect("valid");
        let subject = "a".repeat(8192);
        let groups = pattern.groups(&subject).expect("quick").expect("matches");
        let parts = Parts { rule: Some((&subject, &groups)), ..Parts::default() };
        assert_eq!(Template::parse(&"$1".repeat(9)).expand(&parts), Err(TooLong));
        assert!(Template::parse(&"$1".repeat(8)).expand(&parts).is_ok());
    }
}
