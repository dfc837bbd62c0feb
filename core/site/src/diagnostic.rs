//! What is wrong with a configuration, and where.

use std::fmt::Write as _;

use crate::place::{Place, Sources};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the server starts all the same.
    pub severity: Severity,
    /// For a person, in lighttpd's words where it has some.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it stands; `None` when it is about the configuration as a whole.
    pub place: Option<Place>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The server starts.
    Warning,
    /// It does not.
    Error,
}

impl Diagnostic {
    pub(crate) fn error(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), hint: None, place: place.into() }
    }

    /// What is wrong with a configuration as a whole.
    pub fn about(message: impl Into<String>) -> Self {
        Self::error(None, message)
    }

    /// What is odd about it, though the server starts.
    pub fn warns(message: impl Into<String>) -> Self {
        Self::warning(None, message)
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn hinted(self, hint: impl Into<String>) -> Self {
        self.with_hint(hint)
    }

    /// The same, about what stands at `place`.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    pub(crate) fn warning(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, message: message.into(), hint: None, place: place.into() }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The finding with its line and a caret under its column.
    pub fn shown(&self, sources: &Sources) -> String {
        let kind = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut out = format!("{kind}: {}\n", self.message);
        if let Some(place) = self.place {
            let _ = writeln!(out, "  --> {}", sources.shown(place));
            let (line, column) = sources.line_and_column(place);
            if let Some(text) =
                sources.source(place).and_then(|source| source.text.lines().nth(line.saturating_sub(1)))
            {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                let caret: String = text
                    .chars()
                    .take(column.saturating_sub(1))
                    .map(|character| if character == '\t' { '\t' } else { ' ' })
                    .collect();
                let _ = writeln!(out, "{margin} |\n{number} | {text}\n{margin} | {caret}^");
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "  = hint: {hint}");
        }
        out
    }
}

/// Whether any of `found` keeps the server from starting.
pub fn has_errors(found: &[Diagnostic]) -> bool {
    found.iter().any(|one| one.severity == Severity::Error)
}

/// The word of `known` that `typed` may have been meant to be.
pub(crate) fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (typed.chars().count() / 3).max(1);
    known
        .map(|word| (distance(typed, word), word))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many characters have to be added, taken away or exchanged; two that changed places are one.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let first: Vec<usize> = (0..=right.len()).collect();
    let (mut before, mut row) = (first.clone(), first);
    for (index, one) in left.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, other) in right.iter().enumerate() {
            let mut least =
                (row[column] + usize::from(one != other)).min(row[column + 1] + 1).min(next[column] + 1);
            if index > 0 && column > 0 && *one == right[column - 1] && left[index - 1] == *other {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_guessed_and_a_stranger_is_not() {
        let known = ["server.port", "server.bind", "url.redirect"];
        assert_eq!(did_you_mean("server.prot", known.into_iter()), Some("server.port"));
        assert_eq!(did_you_mean("url.redirct", known.into_iter()), Some("url.redirect"));
        assert_eq!(did_you_mean("magnet", known.into_iter()), None);
        assert_eq!(did_you_mean("oicd", ["jwt", "oidc"].into_iter()), Some("oidc"));
    }

    #[test]
    fn a_finding_shows_its_line_with_a_caret() {
        let mut sources = Sources::default();
        let file = sources.add("a.conf", "x = 1\n\ty = z\n".into());
        let found = Diagnostic::error(Place { file, offset: 11 }, "no z").with_hint("try 1");
        assert_eq!(
            found.shown(&sources),
            "error: no z\n  --> a.conf:2:6\n  |\n2 | \ty = z\n  | \t    ^\n  = hint: try 1\n"
        );
    }
}
