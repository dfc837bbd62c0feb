//! One statement: `<!--#name attribute=value attribute=value -->`.

use std::borrow::Cow;

use super::{CLOSING, OPENING, Piece, text};

/// Which file a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Beside the page.
    File(Cow<'a, str>),
    /// By its path on the server, relative to the page's.
    Virtual(Cow<'a, str>),
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// The value of a variable.
    Echo(Cow<'a, str>),
    Include(Place<'a>),
    /// The size of a file.
    FileSize(Place<'a>),
    /// When a file was last written.
    LastModified(Place<'a>),
    /// How times are written from here on, and whether sizes are.
    Config {
        /// In the words of strftime.
        time: Option<Cow<'a, str>>,
        /// `4 kB` instead of `4096`.
        abbreviated: Option<bool>,
    },
    /// All variables with their values.
    PrintEnvironment,
    Set {
        variable: Cow<'a, str>,
        value: Cow<'a, str>,
    },
    /// What a command prints.
    Execute(Cow<'a, str>),
    If(Cow<'a, str>),
    ElseIf(Cow<'a, str>),
    Else,
    EndIf,
    Comment,
}

/// Attributes of a statement: two at most.
type Attributes<'a> = smallvec::SmallVec<[(&'a [u8], &'a [u8]); 2]>;

/// Reads a statement with its marks. What is not written as one is text.
pub(super) fn read(whole: &[u8]) -> Piece<'_> {
    let inner = &whole[OPENING.len()..whole.len() - CLOSING.len()];
    let (name, rest) = word(inner);
    if name == b"comment" && rest.first().is_none_or(u8::is_ascii_whitespace) {
        return Piece::Statement(Statement::Comment);
    }
    let Some(attributes) = attributes(rest).filter(|_| !name.is_empty()) else { return Piece::Text(whole) };
    match meaning(name, &attributes) {
        Ok(statement) => Piece::Statement(statement),
        Err(problem) => Piece::Invalid(format!("{}: {problem}", text(name))),
    }
}

/// The letters with which the text begins, and what follows them.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let len = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    bytes.split_at(len)
}

fn attributes(mut rest: &[u8]) -> Option<Attributes<'_>> {
    let mut found = Attributes::new();
    loop {
        let trimmed = rest.trim_ascii_start();
        if trimmed.is_empty() {
            return Some(found);
        }
        if trimmed.len() == rest.len() || found.len() == found.inline_size() {
            return None;
        }
        let (name, behind) = word(trimmed);
        let value = behind.strip_prefix(b"=").filter(|_| !name.is_empty())?;
        let (value, behind) = match value.first() {
            Some(quote @ (b'"' | b'\'')) => {
                let len = until(&value[1..], |byte| byte == *quote)?;
                (&value[1..=len], value.get(len + 2..)?)
            }
            _ => {
                let len = until(value, |byte| byte.is_ascii_whitespace()).unwrap_or(value.len());
                value.split_at(len)
            }
        };
        found.push((name, value));
        rest = behind;
    }
}

/// Where the first such byte stands that no backslash is before.
fn until(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            byte if is_end(*byte) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn meaning<'a>(name: &'a [u8], attributes: &Attributes<'a>) -> Result<Statement<'a>, String> {
    let known: &[&str] = match name {
        b"echo" => &["var", "encoding"],
        b"include" | b"fsize" | b"flastmod" => &["file", "virtual"],
        b"config" => &["timefmt", "sizefmt"],
        b"set" => &["var", "value"],
        b"exec" => &["cmd"],
        b"if" | b"elif" => &["expr"],
        b"printenv" | b"else" | b"endif" => &[],
        _ => return Err("there is no such statement".to_owned()),
    };
    if let Some((unknown, _)) =
        attributes.iter().find(|(name, _)| !known.iter().any(|one| one.as_bytes() == *name))
    {
        return Err(format!("the attribute {} is not known", text(unknown)));
    }
    let value = |wanted: &str| {
        let found = attributes.iter().find(|(name, _)| *name == wanted.as_bytes());
        found.map(|(_, value)| text(value))
    };
    let needed = |wanted: &str| value(wanted).ok_or_else(|| format!("{wanted} is missing"));
    Ok(match name {
        b"echo" => Statement::Echo(needed("var")?),
        b"include" => Statement::Include(place(value("file"), value("virtual"))?),
        b"fsize" => Statement::FileSize(place(value("file"), value("virtual"))?),
        b"flastmod" => Statement::LastModified(place(value("file"), value("virtual"))?),
        b"config" => Statement::Config {
            time: value("timefmt"),
            abbreviated: match value("sizefmt").as_deref() {
                None => None,
                Some("abbrev") => Some(true),
                Some("bytes") => Some(false),
                Some(other) => return Err(format!("sizefmt is abbrev or bytes, not {other}")),
            },
        },
        b"set" => Statement::Set { variable: needed("var")?, value: needed("value")? },
        b"exec" => Statement::Execute(needed("cmd")?),
        b"if" => Statement::If(needed("expr")?),
        b"elif" => Statement::ElseIf(needed("expr")?),
        b"else" => Statement::Else,
        b"endif" => Statement::EndIf,
        _ => Statement::PrintEnvironment,
    })
}

fn place<'a>(file: Option<Cow<'a, str>>, path: Option<Cow<'a, str>>) -> Result<Place<'a>, String> {
    match (file, path) {
        (Some(file), None) => Ok(Place::File(file)),
        (None, Some(path)) => Ok(Place::Virtual(path)),
        (None, None) => Err("file or virtual is missing".to_owned()),
        (Some(_), Some(_)) => Err("it is either file or virtual".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statements_say() {
        let statement = |text: &str| read(format!("<!--#{text} -->").leak().as_bytes());
        let says = |text: &str| match statement(text) {
            Piece::Statement(statement) => format!("{statement:?}"),
            Piece::Invalid(problem) => problem,
            Piece::Text(_) => "text".to_owned(),
            Piece::TooLong => unreachable!("short"),
        };
        for (text, expected) in [
            ("include file=a.txt", r#"Include(File("a.txt"))"#),
            ("include virtual='/a b'", r#"Include(Virtual("/a b"))"#),
            ("include", "include: file or virtual is missing"),
            ("include file=a virtual=b", "include: it is either file or virtual"),
            ("set var=a value=b", r#"Set { variable: "a", value: "b" }"#),
            ("set var=a", "set: value is missing"),
            ("config sizefmt=big", "config: sizefmt is abbrev or bytes, not big"),
            ("config timefmt=%Y sizefmt=abbrev", r#"Config { time: Some("%Y"), abbreviated: Some(true) }"#),
            ("exec cgi=/x", "exec: the attribute cgi is not known"),
            ("echo var=a encoding=url", r#"Echo("a")"#),
            ("echo var=a encoding=url var=b", "text"),
            ("echo var=\"a\"encoding=url", "text"),
            ("ECHO var=a", "ECHO: there is no such statement"),
            ("printenv", "PrintEnvironment"),
        ] {
            assert_eq!(says(text), expected, "{text}");
        }
    }
}
