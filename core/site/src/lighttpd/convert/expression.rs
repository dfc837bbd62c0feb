//! Expressions that are put together from others.

/// Text as an expression that finds it.
pub(super) fn literal(text: &str) -> String {
    let special = |one: char| !one.is_alphanumeric() && !matches!(one, '/' | '-' | '_');
    text.chars().flat_map(|one| special(one).then_some('\\').into_iter().chain([one])).collect()
}

/// An expression on a path as part of one on a path with its query: its groups have no numbers, and an end is that of the path. `None`
/// where it counts on its groups.
pub(super) fn on_path(expression: &str) -> Option<String> {
    let mut out = String::new();
    let mut in_class = false;
    let mut characters = expression.chars().peekable();
    while let Some(one) = characters.next() {
        match one {
            '\\' => {
                let next = characters.next()?;
                if next.is_ascii_digit() && next != '0' || matches!(next, 'g' | 'k') {
                    return None;
                }
                out.extend(['\\', next]);
            }
            '[' => {
                in_class = true;
                out.push('[');
                // A bracket at the beginning of a class is one of its characters.
                if characters.peek() == Some(&'^') {
                    out.extend(characters.next());
                }
                if characters.peek() == Some(&']') {
                    characters.next();
                    out.push_str("\\]");
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '(' if !in_class && characters.peek() != Some(&'?') => out.push_str("(?:"),
            '$' if !in_class => out.push_str(r"(?=\?|$)"),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Whether an expression finds something in every host, and its first group, if it has one, is the whole of it, perhaps without a port.
pub(super) fn is_any_host(expression: &str) -> bool {
    let inner = expression.strip_prefix('^').unwrap_or(expression);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let inner = [r"(:.*)?", r"(:\d+)?", r"(?::\d+)?", r"(:[0-9]+)?", r"(?::[0-9]+)?"]
        .into_iter()
        .find_map(|port| inner.strip_suffix(port))
        .unwrap_or(inner);
    let inner = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    matches!(inner, "" | ".*" | ".+" | ".*?" | ".+?" | "[^:]+" | "[^:]*" | "[^:/]+")
}

/// Whether an expression looks at what follows the path.
pub(super) fn asks_query(expression: &str) -> bool {
    expression.contains(r"\?") || expression.contains("[?")
}

/// Whether what an expression finds begins at the beginning, by whichever of its ways.
pub(super) fn is_anchored(expression: &str) -> bool {
    expression.starts_with('^') && !expression.contains('|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lose_their_numbers_and_an_end_is_that_of_the_path() {
        for (expression, expected) in [
            ("^/(a|b)$", Some(r"^/(?:a|b)(?=\?|$)")),
            (r"\.(php|pl)$", Some(r"\.(?:php|pl)(?=\?|$)")),
            (r"[()$]x\(", Some(r"[()$]x\(")),
            ("[]$(]", Some(r"[\]$(]")),
            ("(?i)a", Some("(?i)a")),
            (r"(a)\1", None),
        ] {
            assert_eq!(on_path(expression).as_deref(), expected, "{expression}");
        }
    }

    #[test]
    fn expressions_for_every_host_are_known() {
        for expression in
            [".*", "(.*)", "^(.*)$", "^([^:]+)", r"^([^:]+)(:\d+)?$", "^([^:]+)(:.*)?$", "^.+$", "^", ""]
        {
            assert!(is_any_host(expression), "{expression}");
        }
        for expression in ["^www\\.(.*)$", "example", "^(?:www|shop)", "^(.*):8080$"] {
            assert!(!is_any_host(expression), "{expression}");
        }
    }
}
