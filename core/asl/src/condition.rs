//! Conditions of Choice rules in JSONPath mode: 39 operators, of which 32 are these families in five comparisons.

use std::cmp::Ordering;

use selvedge_query::{Budget, Path, PathError, Scope};
use serde_json::Value;

use crate::time::parse_timestamp;

/// How deep `And`, `Or` and `Not` nest.
pub(crate) const NESTING_MAX: usize = 64;

/// One condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// All hold.
    And(Vec<Self>),
    /// One holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A comparison.
    Test {
        /// `Variable`
        variable: Path,
        /// The operator with its operand.
        operator: Operator,
    },
}

/// An operator with its operand.
#[derive(Clone, Debug)]
pub enum Operator {
    /// `StringLessThan` and its siblings.
    Compare(Type, Comparison, Operand),
    /// `StringMatches`: `*` stands for anything.
    Matches(Box<[Piece]>),
    /// `IsPresent` and its siblings; what the answer must be.
    Is(Trait, bool),
}

/// What both sides must be; anything else makes the comparison false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Texts by their code points.
    String,
    /// Numbers.
    Numeric,
    /// true and false.
    Boolean,
    /// RFC 3339.
    Timestamp,
}

/// Which order holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `Equals`
    Equals,
    /// `LessThan`
    LessThan,
    /// `GreaterThan`
    GreaterThan,
    /// `LessThanEquals`
    LessThanEquals,
    /// `GreaterThanEquals`
    GreaterThanEquals,
}

/// The right side.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Written in the definition.
    Constant(Value),
    /// The operators that end in `Path`.
    Path(Path),
}

/// What `Is…` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// `IsNull`
    Null,
    /// `IsPresent`
    Present,
    /// `IsNumeric`
    Numeric,
    /// `IsString`
    String,
    /// `IsBoolean`
    Boolean,
    /// `IsTimestamp`
    Timestamp,
}

/// A piece of a `StringMatches` pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(Box<str>),
    /// `*`
    Anything,
}

impl Condition {
    /// Whether it holds.
    ///
    /// # Errors
    /// When a path selects nothing, except for `IsPresent`; past `budget`.
    pub fn holds(&self, scope: &Scope<'_>, budget: &Budget) -> Result<bool, (String, PathError)> {
        match self {
            Self::And(parts) => {
                for part in parts {
                    if !part.holds(scope, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(parts) => {
                for part in parts {
                    if part.holds(scope, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(part) => Ok(!part.holds(scope, budget)?),
            Self::Test { variable, operator } => {
                budget.check().map_err(|_| (variable.to_string(), PathError::TooMuch))?;
                operator.holds(variable, scope)
            }
        }
    }

    /// Whether a path of it begins with `$$`.
    pub(crate) fn uses_context(&self) -> bool {
        let is_context = |path: &Path| *path.root() == selvedge_query::Root::Context;
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::uses_context),
            Self::Not(part) => part.uses_context(),
            Self::Test { variable, operator } => {
                is_context(variable)
                    || matches!(operator, Operator::Compare(_, _, Operand::Path(path)) if is_context(path))
            }
        }
    }
}

impl Operator {
    /// The operator called `name`, with its operand.
    pub(crate) fn parse(name: &str, operand: &Value) -> Option<Result<Self, String>> {
        if name == "StringMatches" {
            let pattern = operand.as_str().map(|text| Self::Matches(pieces(text)));
            return Some(pattern.ok_or_else(|| "a text is expected".into()));
        }
        let what = match name {
            "IsNull" => Some(Trait::Null),
            "IsPresent" => Some(Trait::Present),
            "IsNumeric" => Some(Trait::Numeric),
            "IsString" => Some(Trait::String),
            "IsBoolean" => Some(Trait::Boolean),
            "IsTimestamp" => Some(Trait::Timestamp),
            _ => None,
        };
        if let Some(what) = what {
            return Some(
                operand
                    .as_bool()
                    .map(|answer| Self::Is(what, answer))
                    .ok_or_else(|| "true or false is expected".into()),
            );
        }
        let (rest, is_path) = name.strip_suffix("Path").map_or((name, false), |rest| (rest, true));
        let types = [
            ("String", Type::String),
            ("Numeric", Type::Numeric),
            ("Boolean", Type::Boolean),
            ("Timestamp", Type::Timestamp),
        ];
        let (kind, rest) =
            types.iter().find_map(|(prefix, kind)| Some((*kind, rest.strip_prefix(prefix)?)))?;
        let comparison = match rest {
            "Equals" => Comparison::Equals,
            "LessThan" if kind != Type::Boolean => Comparison::LessThan,
            "GreaterThan" if kind != Type::Boolean => Comparison::GreaterThan,
            "LessThanEquals" if kind != Type::Boolean => Comparison::LessThanEquals,
            "GreaterThanEquals" if kind != Type::Boolean => Comparison::GreaterThanEquals,
            _ => return None,
        };
        Some(Self::operand(kind, is_path, operand).map(|operand| Self::Compare(kind, comparison, operand)))
    }

    fn operand(kind: Type, is_path: bool, value: &Value) -> Result<Operand, String> {
        if is_path {
            let text = value.as_str().ok_or("a path is expected")?;
            return Path::parse(text).map(Operand::Path).map_err(|error| error.to_string());
        }
        let (fits, expected) = match kind {
            Type::String => (value.is_string(), "a text"),
            Type::Numeric => (value.is_number(), "a number"),
            Type::Boolean => (value.is_boolean(), "true or false"),
            Type::Timestamp => (value.as_str().and_then(parse_timestamp).is_some(), "a timestamp"),
        };
        if fits { Ok(Operand::Constant(value.clone())) } else { Err(format!("{expected} is expected")) }
    }

    fn holds(&self, variable: &Path, scope: &Scope<'_>) -> Result<bool, (String, PathError)> {
        let select = |path: &Path| path.evaluate(scope).map_err(|error| (path.to_string(), error));
        match self {
            Self::Is(Trait::Present, answer) => match variable.evaluate(scope) {
                Err(error @ PathError::TooMuch) => Err((variable.to_string(), error)),
                found => Ok(found.is_ok() == *answer),
            },
            Self::Is(what, answer) => Ok(what.holds(&select(variable)?) == *answer),
            Self::Matches(pattern) => {
                let value = select(variable)?;
                Ok(value.as_str().is_some_and(|text| matches(pattern, text)))
            }
            Self::Compare(kind, comparison, operand) => {
                let left = select(variable)?;
                let order = match operand {
                    Operand::Constant(right) => kind.order(&left, right),
                    Operand::Path(path) => kind.order(&left, &select(path)?),
                };
                Ok(order.is_some_and(|order| comparison.holds(order)))
            }
        }
    }
}

impl Type {
    fn order(self, left: &Value, right: &Value) -> Option<Ordering> {
        match self {
            Self::String => Some(left.as_str()?.cmp(right.as_str()?)),
            Self::Numeric => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
            },
            Self::Boolean => Some(left.as_bool()?.cmp(&right.as_bool()?)),
            Self::Timestamp => Some(parse_timestamp(left.as_str()?)?.cmp(&parse_timestamp(right.as_str()?)?)),
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order.is_eq(),
            Self::LessThan => order.is_lt(),
            Self::GreaterThan => order.is_gt(),
            Self::LessThanEquals => order.is_le(),
            Self::GreaterThanEquals => order.is_ge(),
        }
    }
}

impl Trait {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Present => true,
            Self::Numeric => value.is_number(),
            Self::String => value.is_string(),
            Self::Boolean => value.is_boolean(),
            Self::Timestamp => value.as_str().and_then(parse_timestamp).is_some(),
        }
    }
}

fn pieces(pattern: &str) -> Box<[Piece]> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            '*' => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                }
                if pieces.last() != Some(&Piece::Anything) {
                    pieces.push(Piece::Anything);
                }
            }
            c => text.push(c),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    pieces.into()
}

/// Each text is taken where it first occurs: linear in the text's length for each piece.
fn matches(pattern: &[Piece], text: &str) -> bool {
    let mut rest = text;
    let mut floating = false;
    for (index, piece) in pattern.iter().enumerate() {
        let Piece::Text(wanted) = piece else {
            floating = true;
            continue;
        };
        let is_last = index + 1 == pattern.len();
        rest = match (floating, is_last) {
            (false, _) => match rest.strip_prefix(&**wanted) {
                Some(rest) => rest,
                None => return false,
            },
            (true, true) => return rest.ends_with(&**wanted),
            (true, false) => match rest.find(&**wanted) {
                Some(at) => &rest[at + wanted.len()..],
                None => return false,
            },
        };
        floating = false;
    }
    floating || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("log-*.txt", "log-1.txt", true),
            ("log-*.txt", "log-1.txt.gz", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
        ] {
            assert_eq!(matches(&pieces(pattern), text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn there_are_39_operators() {
        let mut count = 0;
        for kind in ["String", "Numeric", "Boolean", "Timestamp"] {
            for comparison in ["Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals"] {
                for (suffix, operand) in [
                    ("Path", json!("$.x")),
                    (
                        "",
                        match kind {
                            "String" => json!("a"),
                            "Numeric" => json!(1),
                            "Boolean" => json!(true),
                            _ => json!("2016-03-14T01:59:00Z"),
                        },
                    ),
                ] {
                    count += usize::from(matches!(
                        Operator::parse(&format!("{kind}{comparison}{suffix}"), &operand),
                        Some(Ok(_))
                    ));
                }
            }
        }
        for name in ["IsNull", "IsPresent", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"] {
            count += usize::from(matches!(Operator::parse(name, &json!(true)), Some(Ok(_))));
        }
        count += usize::from(matches!(Operator::parse("StringMatches", &json!("*")), Some(Ok(_))));
        assert_eq!(count, 39);
    }

    #[test]
    fn another_type_is_false_and_a_missing_value_an_error() {
        let input = json!({"n": 1, "s": "b", "t": "2016-03-14T01:59:00Z"});
        let scope = Scope { input: &input, context: &Value::Null, variables: &() };
        let check = |path: &str, name: &str, operand: Value| {
            let operator = Operator::parse(name, &operand).unwrap().unwrap();
            Condition::Test { variable: Path::parse(path).unwrap(), operator }
                .holds(&scope, &Budget::start(1 << 20))
        };
        assert_eq!(check("$.n", "StringEquals", json!("1")), Ok(false));
        assert_eq!(check("$.s", "StringGreaterThan", json!("a")), Ok(true));
        assert_eq!(check("$.n", "NumericEqualsPath", json!("$.n")), Ok(true));
        assert_eq!(check("$.t", "TimestampLessThan", json!("2016-03-14T02:59:00+01:00")), Ok(false));
        assert_eq!(check("$.x", "IsPresent", json!(false)), Ok(true));
        assert!(check("$.x", "IsNull", json!(true)).is_err());
    }

    /// Every operator, with every answer that it can have.
    #[test]
    fn each_operator_holds_where_it_should_and_nowhere_else() {
        let mut seen = std::collections::BTreeSet::new();
        let mut check = |value: Option<&Value>, name: &str, operand: &Value, expected: bool| {
            let mut input = json!({ "right": operand });
            if let Some(value) = value {
                input["left"] = value.clone();
            }
            let scope = Scope { input: &input, context: &Value::Null, variables: &() };
            let written = if name.ends_with("Path") { json!("$.right") } else { operand.clone() };
            let operator = Operator::parse(name, &written).unwrap().unwrap();
            let test = Condition::Test { variable: Path::parse("$.left").unwrap(), operator };
            let held = test.holds(&scope, &Budget::start(1 << 20));
            assert_eq!(held, Ok(expected), "{value:?} {name} {operand}");
            seen.insert(name.to_owned());
        };
        // Three values of a kind in their order, the middle one in two ways, and one of another kind.
        let kinds = [
            ("String", [json!("A"), json!("a"), json!("a"), json!("b")], json!(1)),
            ("Numeric", [json!(-1), json!(2), json!(2.0), json!(10)], json!("2")),
            ("Boolean", [json!(false), json!(true), json!(true), Value::Null], json!("true")),
            (
                "Timestamp",
                [
                    json!("2016-03-14T01:59:00Z"),
                    json!("2016-03-14T02:00:00Z"),
                    json!("2016-03-14T03:00:00+01:00"),
                    json!("2016-03-14T01:00:01-01:30"),
                ],
                json!("2016-03-14"),
            ),
        ];
        for (kind, [less, same, as_well, more], other) in kinds {
            for suffix in ["", "Path"] {
                for (comparison, holds) in [
                    ("Equals", [false, true, false]),
                    ("LessThan", [true, false, false]),
                    ("GreaterThan", [false, false, true]),
                    ("LessThanEquals", [true, true, false]),
                    ("GreaterThanEquals", [false, true, true]),
                ] {
                    let name = format!("{kind}{comparison}{suffix}");
                    if kind == "Boolean" && comparison != "Equals" {
                        assert!(Operator::parse(&name, &json!(true)).is_none(), "{name}");
                        continue;
                    }
                    check(Some(&less), &name, &same, holds[0]);
                    check(Some(&as_well), &name, &same, holds[1]);
                    if kind != "Boolean" {
                        check(Some(&more), &name, &same, holds[2]);
                    }
                    check(Some(&other), &name, &same, false);
                    check(Some(&Value::Null), &name, &same, false);
                    if suffix == "Path" {
                        check(Some(&same), &name, &other, false);
                    }
                }
            }
        }
        check(Some(&json!("log-1.txt")), "StringMatches", &json!("log-*.txt"), true);
        check(Some(&json!("log-1.gz")), "StringMatches", &json!("log-*.txt"), false);
        check(Some(&json!(1)), "StringMatches", &json!("*"), false);
        let values = [
            Value::Null,
            json!(1.5),
            json!("x"),
            json!(false),
            json!("2016-03-14T01:59:00Z"),
            json!([]),
            json!({}),
        ];
        for (name, holds) in [
            ("IsPresent", [true; 7]),
            ("IsNull", [true, false, false, false, false, false, false]),
            ("IsNumeric", [false, true, false, false, false, false, false]),
            ("IsString", [false, false, true, false, true, false, false]),
            ("IsBoolean", [false, false, false, true, false, false, false]),
            ("IsTimestamp", [false, false, false, false, true, false, false]),
        ] {
            for (value, holds) in values.iter().zip(holds) {
                check(Some(value), name, &json!(true), holds);
                check(Some(value), name, &json!(false), !holds);
            }
        }
        check(None, "IsPresent", &json!(true), false);
        check(None, "IsPresent", &json!(false), true);
        assert_eq!(seen.len(), 39, "{seen:?}");
    }
}
