//! The words of `lighttpd.conf`. What `=` and a letter are depends on where they stand, so the tokenizer knows whether it
//! is inside parentheses or behind `$`.

use crate::diagnostic::Diagnostic;
use crate::place::Place;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The end of a line, or of several.
    EndOfLine,
    /// The end of the file.
    End,
    /// A directive or a variable.
    Name(String),
    Text(String),
    Integer(String),
    Include,
    IncludeShell,
    Global,
    Else,
    /// `$`.
    Dollar,
    /// `HTTP`, `SERVER`, `REQUEST_HEADER`.
    Object(String),
    /// `=`.
    Assign,
    /// `+=`.
    Append,
    /// `:=`.
    ForceAssign,
    Plus,
    Comma,
    /// `=>`.
    Arrow,
    LeftParenthesis,
    RightParenthesis,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `==` and its siblings.
    Compare(&'static str),
}

impl Kind {
    /// For a person.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::EndOfLine => "the end of the line".into(),
            Self::End => "the end of the file".into(),
            Self::Name(name) | Self::Object(name) | Self::Integer(name) => format!("'{name}'"),
            Self::Text(text) => {
                let short: String = text.chars().take(32).collect();
                format!("\"{short}\"")
            }
            Self::Include => "'include'".into(),
            Self::IncludeShell => "'include_shell'".into(),
            Self::Global => "'global'".into(),
            Self::Else => "'else'".into(),
            Self::Dollar => "'$'".into(),
            Self::Assign => "'='".into(),
            Self::Append => "'+='".into(),
            Self::ForceAssign => "':='".into(),
            Self::Plus => "'+'".into(),
            Self::Comma => "','".into(),
            Self::Arrow => "'=>'".into(),
            Self::LeftParenthesis => "'('".into(),
            Self::RightParenthesis => "')'".into(),
            Self::LeftBrace => "'{'".into(),
            Self::RightBrace => "'}'".into(),
            Self::LeftBracket => "'['".into(),
            Self::RightBracket => "']'".into(),
            Self::Compare(operator) => format!("'{operator}'"),
        }
    }
}

/// Reads words one by one.
pub(super) struct Tokenizer<'a> {
    text: &'a str,
    file: u32,
    offset: usize,
    parentheses: usize,
    /// Behind `$`, until the operator.
    in_condition: bool,
    simulate_end_of_line: bool,
    /// `elif` and its siblings are words, since 1.4.74.
    with_elif: bool,
    pending: Option<Token>,
}

impl<'a> Tokenizer<'a> {
    pub(super) fn new(text: &'a str, file: u32, with_elif: bool) -> Self {
        Self {
            text,
            file,
            offset: 0,
            parentheses: 0,
            in_condition: false,
            simulate_end_of_line: false,
            with_elif,
            pending: None,
        }
    }

    /// The next word.
    ///
    /// # Errors
    /// When what follows is none.
    pub(super) fn next(&mut self) -> Result<Token, Diagnostic> {
        if let Some(token) = self.pending.take() {
            return Ok(token);
        }
        if std::mem::take(&mut self.simulate_end_of_line) {
            return Ok(self.token(Kind::EndOfLine, self.offset));
        }
        loop {
            let start = self.offset;
            let rest = &self.text.as_bytes()[start..];
            let Some(&byte) = rest.first() else { return Ok(self.token(Kind::End, start)) };
            let kind = match byte {
                b' ' | b'\t' => {
                    self.offset += 1;
                    continue;
                }
                b'\n' | b'\r' => {
                    self.skip_lines();
                    if self.parentheses > 0 {
                        continue;
                    }
                    return Ok(self.token(Kind::EndOfLine, start));
                }
                b'#' => {
                    self.skip_comment();
                    continue;
                }
                0xc2 if rest.get(1) == Some(&0xa0) => {
                    self.offset += 2;
                    continue;
                }
                b',' => {
                    self.offset += 1;
                    if self.parentheses == 0 {
                        continue;
                    }
                    Kind::Comma
                }
                b'"' => Kind::Text(self.string()?),
                b'=' => self.equals(rest)?,
                b'!' => self.exclamation(rest)?,
                b'(' => {
                    self.parentheses += 1;
                    self.one(Kind::LeftParenthesis)
                }
                b')' => {
                    let Some(fewer) = self.parentheses.checked_sub(1) else {
                        return Err(self.wrong(start, "a parenthesis is closed that was not opened"));
                    };
                    self.parentheses = fewer;
                    self.one(Kind::RightParenthesis)
                }
                b'$' => {
                    self.in_condition = true;
                    self.one(Kind::Dollar)
                }
                b'+' if rest.get(1) == Some(&b'=') => self.two(Kind::Append),
                b'+' => self.one(Kind::Plus),
                b':' if rest.get(1) == Some(&b'=') => self.two(Kind::ForceAssign),
                b':' => return Err(self.wrong(start, "unexpected character ':'")),
                b'{' => self.one(Kind::LeftBrace),
                b'}' => {
                    self.close_brace();
                    Kind::RightBrace
                }
                b'[' => self.one(Kind::LeftBracket),
                b']' => self.one(Kind::RightBracket),
                0 => return Err(self.wrong(start, "stray NUL")),
                _ => self.word(rest)?,
            };
            return Ok(self.token(kind, start));
        }
    }

    /// Gives a word back: it comes again.
    pub(super) fn give_back(&mut self, token: Token) {
        self.pending = Some(token);
    }

    fn token(&self, kind: Kind, at: usize) -> Token {
        Token { kind, place: self.place(at) }
    }

    fn place(&self, at: usize) -> Place {
        Place { file: self.file, offset: u32::try_from(at).unwrap_or(u32::MAX) }
    }

    fn wrong(&self, at: usize, message: &str) -> Diagnostic {
        Diagnostic::error(self.place(at), message)
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.offset += 1;
        kind
    }

    fn two(&mut self, kind: Kind) -> Kind {
        self.offset += 2;
        kind
    }

    fn skip_comment(&mut self) {
        let rest = &self.text.as_bytes()[self.offset..];
        self.offset += rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(rest.len());
    }

    fn skip_lines(&mut self) {
        while let Some(byte) = self.text.as_bytes().get(self.offset) {
            match byte {
                b'\r' | b'\n' | b'\t' | b' ' => self.offset += 1,
                b'#' => self.skip_comment(),
                _ => break,
            }
        }
    }

    /// Behind a brace a line ends, whatever follows.
    fn close_brace(&mut self) {
        self.offset += 1;
        while let Some(byte) = self.text.as_bytes().get(self.offset) {
            match byte {
                b'\r' | b'\n' => return,
                b'#' => return self.skip_comment(),
                b' ' | b'\t' => self.offset += 1,
                _ => {
                    self.simulate_end_of_line = true;
                    return;
                }
            }
        }
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        let start = self.offset;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                None | Some(0) => {
                    return Err(self.wrong(start, "missing closing quote"));
                }
                Some(b'"') => break,
                Some(b'\\') if bytes.get(at + 1) == Some(&b'"') => at += 2,
                Some(_) => at += 1,
            }
        }
        self.offset = at + 1;
        Ok(self.text[start + 1..at].replace("\\\"", "\""))
    }

    fn equals(&mut self, rest: &[u8]) -> Result<Kind, Diagnostic> {
        if self.parentheses > 0 {
            return match rest.get(1) {
                Some(b'>') => Ok(self.two(Kind::Arrow)),
                _ => Err(self.wrong(self.offset, "use => for assignments in arrays")),
            };
        }
        if self.in_condition {
            let operator = match rest.get(1) {
                Some(b'=') => "==",
                Some(b'~') => "=~",
                Some(b'^') => "=^",
                Some(b'$') => "=$",
                _ => return Err(self.wrong(self.offset, "only == =~ =^ =$ are allowed in the condition")),
            };
            self.in_condition = false;
            return Ok(self.two(Kind::Compare(operator)));
        }
        Ok(self.one(Kind::Assign))
    }

    fn exclamation(&mut self, rest: &[u8]) -> Result<Kind, Diagnostic> {
        if !self.in_condition {
            return Err(self.wrong(self.offset, "unexpected exclamation-marks: !"));
        }
        let operator = match rest.get(1) {
            Some(b'=') => "!=",
            Some(b'~') => "!~",
            _ => return Err(self.wrong(self.offset, "only !~ and != are allowed in the condition")),
        };
        self.in_condition = false;
        Ok(self.two(Kind::Compare(operator)))
    }

    fn word(&mut self, rest: &[u8]) -> Result<Kind, Diagnostic> {
        let start = self.offset;
        let take = |fits: fn(&u8) -> bool| rest.iter().position(|byte| !fits(byte)).unwrap_or(rest.len());
        if self.in_condition {
            let len = take(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
            if len == 0 || len == rest.len() {
                return Err(self.wrong(start, "invalid character in condition"));
            }
            self.offset += len;
            return Ok(Kind::Object(self.text[start..start + len].to_owned()));
        }
        if rest[0].is_ascii_digit() {
            let len = take(u8::is_ascii_digit);
            self.offset += len;
            return Ok(Kind::Integer(self.text[start..start + len].to_owned()));
        }
        let len = take(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if len == 0 || len == rest.len() {
            return Err(self.wrong(start, "invalid character in variable name"));
        }
        self.offset += len;
        Ok(match &self.text[start..start + len] {
            "include" => Kind::Include,
            "include_shell" => Kind::IncludeShell,
            "global" => Kind::Global,
            "else" => Kind::Else,
            // `elif` is `else` and a condition; a condition follows a name otherwise nowhere.
            "elif" | "elsif" | "elseif" if self.with_elif && self.is_followed_by_dollar() => Kind::Else,
            name => Kind::Name(name.to_owned()),
        })
    }

    fn is_followed_by_dollar(&self) -> bool {
        self.text[self.offset..].trim_start_matches([' ', '\t']).starts_with('$')
    }
}
