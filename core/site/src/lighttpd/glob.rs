//! Patterns of file names, as `include` has them: `*`, `?`, `[a-z]`, `[!a]`, `{one,two}`.

/// How many patterns braces may make.
const ALTERNATIVES_MAX: usize = 256;

/// The patterns without braces that a pattern with braces stands for.
pub fn without_braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        match braces(&pattern) {
            Some((before, alternatives, after)) if open.len() + done.len() < ALTERNATIVES_MAX => {
                open.extend(alternatives.iter().rev().map(|inside| format!("{before}{inside}{after}")));
            }
            _ => done.push(pattern),
        }
    }
    done
}

/// The first pair of braces: what stands before, the alternatives, what stands behind.
fn braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let open = pattern.find('{')?;
    let (mut depth, mut start, mut alternatives) = (0, open + 1, Vec::new());
    for (at, character) in pattern.char_indices().skip_while(|(at, _)| *at < open) {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => {
                alternatives.push(&pattern[start..at]);
                return Some((&pattern[..open], alternatives, &pattern[at + 1..]));
            }
            '}' => depth -= 1,
            ',' if depth == 1 => {
                alternatives.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Whether a name fits a pattern without braces and slashes. A leading dot fits only a dot.
pub fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    // Where the last star was, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match one(&pattern[at.min(pattern.len())..], name[in_name]) {
            Some(0) => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(taken) => {
                at += taken;
                in_name += 1;
            }
            None => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, in_name) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at.min(pattern.len())..].iter().all(|character| *character == '*')
}

/// How much of the pattern takes the character: 0 for a star, `None` when nothing does.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['*', ..] => Some(0),
        ['?', ..] => Some(1),
        ['[', rest @ ..] => {
            let not = matches!(rest.first(), Some('!' | '^'));
            let start = usize::from(not);
            // A bracket that closes at once is meant as a character.
            let Some(close) =
                rest.iter().skip(start + 1).position(|one| *one == ']').map(|at| at + start + 1)
            else {
                return (character == '[').then_some(1);
            };
            let set = &rest[start..close];
            let mut inside = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    inside |= (set[at]..=set[at + 2]).contains(&character);
                    at += 3;
                } else {
                    inside |= set[at] == character;
                    at += 1;
                }
            }
            (inside != not).then_some(close + 2)
        }
        ['\\', escaped, ..] => (*escaped == character).then_some(2),
        [plain, ..] => (*plain == character).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        let rows = [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.conf.bak", false),
            ("*", "", true),
            ("1?-*", "10-a", true),
            ("1?-*", "1-a", false),
            ("[0-9][!a]*", "1b", true),
            ("[0-9][!a]*", "1a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[", "[", true),
            ("[]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a", "ab", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn braces_stand_for_alternatives() {
        assert_eq!(without_braces("/a/{b,c{1,2}}.x"), ["/a/b.x", "/a/c1.x", "/a/c2.x"]);
        assert_eq!(without_braces("/a{b"), ["/a{b"]);
        assert!(without_braces(&"{a,b}".repeat(20)).len() <= ALTERNATIVES_MAX + 2);
    }
}
