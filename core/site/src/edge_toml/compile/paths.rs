//! Hosts and paths as they are matched.

use crate::directive::Text;
use crate::pattern::Pattern;
use crate::route::{HostMatch, PathMatch};

pub(super) fn host_match(text: &str) -> Option<HostMatch> {
    let lower = text.to_ascii_lowercase();
    let plain = |name: &str| !name.is_empty() && !name.contains(['*', '/', ' ', '@']) && !name.contains("..");
    match lower.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') && plain(suffix) => Some(HostMatch::Suffix(suffix.into())),
        Some(_) => None,
        None if lower.starts_with('[') => Some(HostMatch::Exact(lower.into())),
        None => (plain(&lower) && !lower.contains(':')).then(|| HostMatch::Exact(lower.into())),
    }
}

/// What a path is held to, the names of its variables, and the expression that finds them.
pub(super) type PathRule = (PathMatch, Vec<Text>, Option<Pattern>);

/// `/a`, `/a/*`, `/a/{id}/b`, `/a/{rest*}`.
pub(super) fn path_match(text: &str) -> Result<PathRule, String> {
    if !text.starts_with('/') {
        return Err("a path begins with /".into());
    }
    if !text.contains('{') {
        return match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => Ok((PathMatch::Prefix(prefix.into()), Vec::new(), None)),
            None if !text.contains('*') => Ok((PathMatch::Exact(text.into()), Vec::new(), None)),
            _ => Err("a * stands at the end of a path; {name} stands for a part of it".into()),
        };
    }
    let mut expression = String::from("^");
    let mut variables: Vec<Text> = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err("a { of a path is not closed".into());
        };
        let (name, all) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
        let word = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_');
        if name.is_empty() || !word(name) {
            return Err(format!("{{{name}}}: a variable's name has letters, digits and _"));
        }
        if variables.iter().any(|variable| **variable == *name) {
            return Err(format!("{{{name}}} stands twice in the path"));
        }
        if before.contains('*') {
            return Err("a * stands at the end of a path".into());
        }
        expression.push_str(&escaped(before));
        expression.push_str(if all { "(.*)" } else { "([^/]+)" });
        variables.push(name.into());
        rest = after;
    }
    match rest.strip_suffix('*') {
        Some(prefix) => expression.push_str(&escaped(prefix)),
        None => {
            expression.push_str(&escaped(rest));
            expression.push('$');
        }
    }
    let pattern = Pattern::new(&expression).map_err(|error| error.to_string())?;
    Ok((PathMatch::Pattern(pattern.clone()), variables, Some(pattern)))
}

/// Text as an expression that matches it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_alphanumeric() && !matches!(character, '/' | '-' | '_') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
