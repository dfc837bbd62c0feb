//! What is wrong with a file that is no TOML, for whoever writes it.

use std::ops::Range;

/// A message about a part of the text, and what to do.
pub(super) fn told(text: &str, span: Option<Range<usize>>, message: &str) -> (String, Option<String>) {
    let plain = message.replace('\n', ", ");
    let Some(span) = span else { return (plain, None) };
    let part = text.get(span.clone()).unwrap_or_default();
    if plain.starts_with("duplicate key") {
        let key = part.trim();
        let is_header = line_of(text, span.start).trim_start().starts_with('[');
        let what = if is_header { format!("[{key}]") } else { key.to_owned() };
        let first = first_line(text, span.start, key, is_header);
        let hint = match first {
            Some(line) => format!("it stands in line {line} already: put both together"),
            None => "put both together".to_owned(),
        };
        return (format!("{what} stands twice"), Some(hint));
    }
    if plain.contains("must be quoted") {
        let rest = text.get(span.start..).unwrap_or_default();
        let value = rest.split(['\n', ',', '}', ']', '#']).next().unwrap_or_default().trim();
        return ("text stands in quotation marks".to_owned(), Some(format!("did you mean \"{value}\"?")));
    }
    if plain.starts_with("invalid basic string") && plain.contains("expected `\"`") {
        return (plain, Some("the text is not closed: put \" at its end".to_owned()));
    }
    (plain, None)
}

/// The line that a place is in.
fn line_of(text: &str, offset: usize) -> &str {
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// The last line before a place that begins with the same key, or is the same header.
fn first_line(text: &str, offset: usize, key: &str, is_header: bool) -> Option<usize> {
    let begins = |line: &str| match is_header {
        true => {
            line.trim().trim_matches(['[', ']']).trim()
                == line_of(text, offset).trim().trim_matches(['[', ']']).trim()
        }
        false => line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')),
    };
    let before = &text[..text[..offset].rfind('\n').map_or(0, |newline| newline + 1)];
    before.lines().enumerate().filter(|(_, line)| begins(line)).last().map(|(number, _)| number + 1)
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn what_is_no_toml_is_told_with_what_to_do() {
        for (text, place, message, hint) in [
            ("[limits]\nbody = \"1MiB\"\nbody = \"2MiB\"\n", "3:1", "body stands twice", "in line 2 already"),
            ("[limits]\n[log]\n[limits]\n", "3:2", "[limits] stands twice", "in line 1 already"),
            ("[limits]\nkeep_alive = 10s # always\n", "2:14", "quotation marks", "did you mean \"10s\"?"),
            ("[edge]\nname = shop\n", "2:8", "quotation marks", "did you mean \"shop\"?"),
            ("[edge]\nname = \"shop\n", "2:13", "invalid basic string", "put \" at its end"),
        ] {
            let (found, sources) = parse("edge.toml", text).expect_err(text);
            let shown: String = found.iter().map(|one| one.shown(&sources)).collect();
            assert!(shown.contains(&format!("edge.toml:{place}\n")), "{shown}");
            assert!(shown.contains(message) && shown.contains(hint), "{shown}");
        }
    }
}
