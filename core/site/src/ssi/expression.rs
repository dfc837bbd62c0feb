//! Expressions of `if` and `elif`: `$REMOTE_USER = 'anna' && !($x > 3)`.
//!
//! Words that follow each other are one text with blanks between them. Comparisons are of texts, byte by byte; a text holds
//! when there is something in it. `&&` and `||` have the same rank and are taken from left to right.

/// How deep parentheses and `!` may stand in each other.
pub const DEPTH_MAX: usize = 16;

/// Whether the expression holds; `None` where it is none. `lookup` knows the variables; one that is not there is blank.
pub fn holds<'v>(expression: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> Option<bool> {
    let mut parser = Parser { tokens: tokens(expression, lookup)?.into_iter().peekable(), depth: 0 };
    let value = parser.chain()?;
    parser.tokens.next().is_none().then(|| value.holds())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    And,
    Or,
    Not,
    Open,
    Close,
    Compare(Comparison),
    Text(String),
}

#[derive(Debug)]
enum Value {
    Bool(bool),
    Text(String),
}

impl Value {
    fn holds(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Text(text) => !text.is_empty(),
        }
    }

    fn compared(&self, comparison: Comparison, other: &Self) -> bool {
        let ordering = match (self, other) {
            (Self::Text(left), Self::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
            (left, right) => left.holds().cmp(&right.holds()),
        };
        match comparison {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Unequal => ordering.is_ne(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
        }
    }
}

fn tokens<'v>(expression: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> Option<Vec<Token>> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Unequal};
    const SIGNS: [(&str, Token); 11] = [
        ("&&", Token::And),
        ("||", Token::Or),
        ("!=", Token::Compare(Unequal)),
        (">=", Token::Compare(GreaterOrEqual)),
        ("<=", Token::Compare(LessOrEqual)),
        ("=", Token::Compare(Equal)),
        (">", Token::Compare(Greater)),
        ("<", Token::Compare(Less)),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    let mut found = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, len) = match first {
            '\'' => {
                let text = rest[1..].split_once('\'')?.0;
                (Token::Text(text.to_owned()), text.len() + 2)
            }
            '$' => {
                let (name, len) = variable(rest)?;
                (Token::Text(lookup(name).unwrap_or_default().to_owned()), len)
            }
            '&' | '|' | '=' | '!' | '<' | '>' | '(' | ')' => {
                let (sign, token) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign))?;
                (token.clone(), sign.len())
            }
            _ => {
                let is_end = |one: char| one.is_whitespace() || "()'=!<>&|".contains(one);
                let len = rest.find(is_end).unwrap_or(rest.len());
                (Token::Text(rest[..len].to_owned()), len)
            }
        };
        found.push(token);
        rest = rest[len..].trim_start();
    }
    Some(found)
}

/// The name in `$name` or `${name}`, and how long all of it is.
fn variable(text: &str) -> Option<(&str, usize)> {
    if let Some(inner) = text.strip_prefix("${") {
        let name = inner.split_once('}')?.0;
        return Some((name, name.len() + 3));
    }
    let name = &text[1..];
    let fits =
        |(at, one): (usize, char)| one.is_ascii_alphabetic() || one == '_' || at > 0 && one.is_ascii_digit();
    let len = name.char_indices().take_while(|one| fits(*one)).count();
    Some((&name[..len], len + 1))
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    /// `operand`, perhaps compared, `&&` or `||`, and so on.
    fn chain(&mut self) -> Option<Value> {
        let mut value = self.comparison()?;
        loop {
            let both = match self.tokens.peek() {
                Some(Token::And) => true,
                Some(Token::Or) => false,
                _ => return Some(value),
            };
            self.tokens.next();
            let other = self.comparison()?;
            value = Value::Bool(match both {
                true => value.holds() && other.holds(),
                false => value.holds() || other.holds(),
            });
        }
    }

    fn comparison(&mut self) -> Option<Value> {
        let enclosed = self.tokens.peek() == Some(&Token::Open);
        let left = self.operand()?;
        let Some(Token::Compare(comparison)) = self.tokens.peek().cloned() else { return Some(left) };
        // What is in parentheses is true or false, and compared with nothing.
        if enclosed {
            return None;
        }
        self.tokens.next();
        let right = self.operand()?;
        Some(Value::Bool(left.compared(comparison, &right)))
    }

    fn operand(&mut self) -> Option<Value> {
        match self.tokens.peek() {
            Some(Token::Open) => {
                self.tokens.next();
                let value = self.deeper(Self::chain)?;
                (self.tokens.next()? == Token::Close).then(|| Value::Bool(value.holds()))
            }
            Some(Token::Not) => {
                self.tokens.next();
                let value = self.deeper(Self::operand)?;
                Some(Value::Bool(!value.holds()))
            }
            _ => {
                let mut whole = String::new();
                while let Some(Token::Text(text)) =
                    self.tokens.next_if(|token| matches!(token, Token::Text(_)))
                {
                    if !whole.is_empty() && !text.is_empty() {
                        whole.push(' ');
                    }
                    whole.push_str(&text);
                }
                Some(Value::Text(whole))
            }
        }
    }

    fn deeper(&mut self, inner: fn(&mut Self) -> Option<Value>) -> Option<Value> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let lookup = |name: &str| match name {
            "x" => Some("one"),
            "two" => Some("a b"),
            "n1" => Some("1"),
            _ => None,
        };
        for (expression, expected) in [
            ("", Some(false)),
            ("0", Some(true)),
            ("$x", Some(true)),
            ("$nope", Some(false)),
            ("!$nope", Some(true)),
            ("$x = one", Some(true)),
            ("${x} = one", Some(true)),
            ("$n1=1", Some(true)),
            ("one != $x", Some(false)),
            ("abc < abd", Some(true)),
            ("abc >= abd", Some(false)),
            ("10 > 9", Some(false)),
            ("'a b' = a b", Some(true)),
            ("$two = 'a b'", Some(true)),
            ("$x = one && $nope", Some(false)),
            ("$x = one || $nope", Some(true)),
            ("$nope || $x && $nope", Some(false)),
            ("($x = two || $x = one) && 1", Some(true)),
            ("!($x = one)", Some(false)),
            ("!$x = one", Some(false)),
            ("((", None),
            ("(a) = b", None),
            ("a & b", None),
            ("'a", None),
            ("a = b = c", None),
            ("a)", None),
            ("${x", None),
        ] {
            assert_eq!(holds(expression, lookup), expected, "{expression}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(holds(&nested(DEPTH_MAX), |_| None), Some(true));
        assert_eq!(holds(&nested(DEPTH_MAX + 1), |_| None), None);
        assert_eq!(holds(&"!".repeat(100_000), |_| None), None);
    }
}
