//! JSONPath as the States Language has it.
//!
//! The dialect is older than RFC 9535 and differs from it in what users notice: names may hold dashes and any letter
//! (`$.error-info`), `[(@.length-1)]` is an index, filters know `in`, `=~` and a few more operators, and what a path answers
//! depends on whether it is *definite* – whether it can name at most one place. A definite path answers the value there, and
//! fails when there is none; any other answers an array, which may be empty.
//!
//! Source: the Amazon States Language, "Paths" and "Reference Paths"; error texts as the service words them.

mod error;
mod evaluate;
mod filter;
mod parse;
mod place;

pub use error::PathError;

use std::fmt;

use serde_json::Value;

use crate::Scope;
use filter::Filter;

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 8 * 1024;
/// The most steps in a path.
pub const PATH_STEPS_MAX: usize = 256;
/// The most values that one evaluation looks at: what keeps `$..*..*` over a large value bounded.
pub const VISITS_MAX: usize = 1_000_000;
/// The most bytes that what an indefinite path finds has as JSON.
pub const FOUND_BYTES_MAX: usize = 8 << 20;

/// A parsed path.
///
/// ```
/// use selvedge_query::{Path, Scope};
/// let path = Path::parse("$.orders[?(@.total > 10)].id").unwrap();
/// let input = serde_json::json!({"orders": [{"id": 1, "total": 5}, {"id": 2, "total": 50}]});
/// let scope = Scope { input: &input, context: &serde_json::Value::Null, variables: &() };
/// assert_eq!(path.evaluate(&scope).unwrap(), serde_json::json!([2]));
/// ```
#[derive(Clone, Debug)]
pub struct Path {
    text: Box<str>,
    root: Root,
    steps: Vec<Step>,
}

/// What a path starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// `$`
    Input,
    /// `$$`
    Context,
    /// `$name`
    Variable(Box<str>),
}

#[derive(Clone, Debug)]
enum Step {
    /// `.name`, `['name']`, `['a','b']`
    Names(Vec<Box<str>>),
    /// `[0]`, `[-1]`, `[0,2]`
    Indices(Vec<i64>),
    /// `[1:3]`
    Slice(Option<i64>, Option<i64>),
    /// `.*`, `[*]`
    All,
    /// `..`, applied before the next step
    Descend,
    /// `[?(…)]`
    Filter(Box<Filter>),
    /// `[(@.length-1)]`: the distance from the end
    FromEnd(i64),
    /// `.length()` and its siblings, at the end of a path
    Function(Function),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Length,
    Min,
    Max,
    Sum,
    Average,
    Keys,
}

impl Path {
    /// Parses a path that begins with `$`.
    ///
    /// # Errors
    /// [`PathError::Syntax`] with the place, [`PathError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        parse::path(text)
    }

    /// Parses a *reference path*: one that names exactly one place, without `@ , : ?` and wildcards.
    ///
    /// # Errors
    /// As [`Path::parse`], and [`PathError::NotReference`].
    pub fn parse_reference(text: &str) -> Result<Self, PathError> {
        let path = Self::parse(text)?;
        match path.is_reference() {
            true => Ok(path),
            false => Err(PathError::NotReference(text.into())),
        }
    }

    /// What it starts from.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The path is `$`, `$$` or a bare variable.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// It names at most one place.
    pub fn is_definite(&self) -> bool {
        self.steps.iter().all(Step::is_definite)
    }

    /// It names exactly one place, by names and indices alone.
    pub fn is_reference(&self) -> bool {
        self.steps.iter().all(|step| match step {
            Step::Names(names) => names.len() == 1,
            Step::Indices(indices) => indices.len() == 1 && indices[0] >= 0,
            _ => false,
        })
    }

    /// The value that it selects.
    ///
    /// # Errors
    /// [`PathError::NoResults`] and its siblings for a definite path without a value there; [`PathError::TooMuch`].
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, PathError> {
        let start = match &self.root {
            Root::Input => scope.input,
            Root::Context => scope.context,
            Root::Variable(name) => {
                scope.variables.variable(name).ok_or_else(|| PathError::NoVariable(name.clone()))?
            }
        };
        self.select(start)
    }

    /// The value that it selects when it starts from `start`, whatever its root says.
    ///
    /// # Errors
    /// As [`Path::evaluate`].
    pub fn select(&self, start: &Value) -> Result<Value, PathError> {
        self.select_within(start, &mut evaluate::Visits::default())
    }

    /// The same as a part of a search that has looked at so many values.
    fn select_within(&self, start: &Value, visits: &mut evaluate::Visits) -> Result<Value, PathError> {
        evaluate::select(&self.steps, start, visits)
    }

    /// Puts `value` at the place that this reference path names below `target`: missing objects are made, an index must
    /// exist. The root itself is replaced by an empty path.
    ///
    /// # Errors
    /// [`PathError::CannotPlace`] when something else than an object or array stands in the way; `target` is then
    /// unchanged.
    pub fn place(&self, target: &mut Value, value: Value) -> Result<(), PathError> {
        place::place(&self.steps, target, value)
    }
}

impl Step {
    fn is_definite(&self) -> bool {
        match self {
            Self::Names(names) => names.len() == 1,
            Self::Indices(indices) => indices.len() == 1,
            Self::FromEnd(_) | Self::Function(_) => true,
            Self::Slice(..) | Self::All | Self::Descend | Self::Filter(_) => false,
        }
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// As it was written.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store() -> Value {
        json!({
            "store": {
                "book": [
                    {"category": "reference", "author": "Rees", "price": 8.95},
                    {"category": "fiction", "author": "Waugh", "price": 12.99, "tags": ["a", "b"]},
                    {"category": "fiction", "author": "Melville", "price": 8.99, "isbn": "0-553-21311-3"},
                ],
                "bicycle": {"color": "red", "price": 19.95},
            },
            "error-info": {"Cause": "x"}, "foo": {"b-c": 1}, "123abc": 2, "&Ж中": {"x": 3}, "dot.ted": 4, "\u{10346}": 5,
        })
    }

    #[track_caller]
    fn check(path: &str, expected: &Value) {
        let parsed = Path::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(
            &parsed.select(&store()).unwrap_or_else(|error| panic!("{path}: {error}")),
            expected,
            "{path}"
        );
    }

    #[test]
    fn definite_paths_answer_the_value() {
        for (path, expected) in [
            ("$.store.bicycle.color", json!("red")),
            ("$['store']['bicycle']['color']", json!("red")),
            ("$.store.book[0].author", json!("Rees")),
            ("$.store.book[-1].author", json!("Melville")),
            ("$.store.book[(@.length-1)].author", json!("Melville")),
            ("$.error-info.Cause", json!("x")),
            ("$.foo.b-c", json!(1)),
            ("$.123abc", json!(2)),
            ("$.&Ж中.x", json!(3)),
            ("$.dot\\.ted", json!(4)),
            ("$['dot.ted']", json!(4)),
            ("$.\\uD800\\uDF46", json!(5)),
            ("$.store.book.length()", json!(3)),
        ] {
            check(path, &expected);
        }
    }

    #[test]
    fn indefinite_paths_answer_an_array() {
        for (path, expected) in [
            ("$.store.book[*].author", json!(["Rees", "Waugh", "Melville"])),
            ("$.store.book[0,2].author", json!(["Rees", "Melville"])),
            ("$.store.book[1:].author", json!(["Waugh", "Melville"])),
            ("$.store.book[:2].author", json!(["Rees", "Waugh"])),
            ("$.store.book[-1:].author", json!(["Melville"])),
            ("$.store.book[5:].author", json!([])),
            ("$.store.book[?(@.isbn)].author", json!(["Melville"])),
            ("$.store.book[?(@.price < 10)].author", json!(["Rees", "Melville"])),
            ("$.store.book[?(@.price < 10 && @.category == 'fiction')].author", json!(["Melville"])),
            ("$.store.book[?(!(@.price < 10))].author", json!(["Waugh"])),
            ("$.store.book[?(@.author =~ /.*me/i)].author", json!([])),
            ("$.store.book[?(@.author =~ /mel.*/i)].author", json!(["Melville"])),
            ("$.store.book[?(@.author in ['Rees', 'Waugh'])].price", json!([8.95, 12.99])),
            ("$.store.book[?(@.price > $.store.book[0].price)].author", json!(["Waugh", "Melville"])),
            ("$.store.book[?(@.tags size 2)].author", json!(["Waugh"])),
            ("$..price", json!([8.95, 12.99, 8.99, 19.95])),
            ("$.store.*.color", json!(["red"])),
            ("$..book[0].author", json!(["Rees"])),
            ("$..book[0].price", json!([8.95])),
            ("$.store.book[*].tags[0]", json!("a")),
            ("$.store.bicycle['color','price']", json!({"color": "red", "price": 19.95})),
            ("$.nothing[*]", json!([])),
        ] {
            check(path, &expected);
        }
    }

    #[test]
    fn a_definite_path_without_a_value_says_where() {
        for (path, text) in [
            ("$.x", "No results for path: $['x']"),
            ("$.store.x", "No results for path: $['store']['x']"),
            ("$.x.y", "Missing property in path $['x']"),
            ("$.store.book[7]", "No results for path: $['store']['book'][7]"),
        ] {
            let error = Path::parse(path).unwrap().select(&store()).unwrap_err();
            assert_eq!(error.to_string(), text, "{path}");
        }
        let error = Path::parse("$.foo.b-c.z").unwrap().select(&store()).unwrap_err();
        assert!(
            error.to_string().contains("$['foo']['b-c']") && error.to_string().contains("number"),
            "{error}"
        );
    }

    #[test]
    fn reference_paths_name_one_place() {
        for good in ["$.a.b", "$['a'][0]", "$", "$$.Map.Item.Value", "$v.x", r"$.foo\@bar.baz\[\[.\?pretty"] {
            assert!(Path::parse_reference(good).is_ok(), "{good}");
        }
        for bad in ["$.a[*]", "$..a", "$.a[0:1]", "$.a[?(@.b)]", "$.a[0,1]", "$.a.length()", "$.a[-1]"] {
            assert!(matches!(Path::parse_reference(bad), Err(PathError::NotReference(_))), "{bad}");
        }
    }

    #[test]
    fn what_does_not_parse_says_where() {
        for bad in
            ["", "a", "$.", "$.a[", "$.a[?(@.b]", "$['a", "$.a b", "$.a[x]", "$.a..", "$.a[?(@.b ~ 1)]"]
        {
            assert!(matches!(Path::parse(bad), Err(PathError::Syntax { .. })), "{bad}");
        }
        let long = format!("$.{}", "a".repeat(PATH_BYTES_MAX));
        assert!(matches!(Path::parse(&long), Err(PathError::TooLong)));
        let deep = format!("$[?({}@.a{})]", "(".repeat(1000), ")".repeat(1000));
        assert!(matches!(Path::parse(&deep), Err(PathError::Syntax { .. })));
    }

    #[test]
    fn placing_makes_the_objects_that_are_missing() {
        let place = |path: &str, target: Value| {
            let mut target = target;
            Path::parse_reference(path).unwrap().place(&mut target, json!(1)).map(|()| target)
        };
        assert_eq!(place("$", json!({"a": 0})), Ok(json!(1)));
        assert_eq!(place("$.a.b", json!({"c": 2})), Ok(json!({"c": 2, "a": {"b": 1}})));
        assert_eq!(place("$.a[1].b", json!({"a": [0, {"b": 9}]})), Ok(json!({"a": [0, {"b": 1}]})));
        assert!(matches!(place("$.a[2]", json!({"a": [0]})), Err(PathError::CannotPlace { .. })));
        assert!(matches!(place("$.a.b", json!({"a": "text"})), Err(PathError::CannotPlace { .. })));
        assert!(matches!(place("$.a", json!("text")), Err(PathError::CannotPlace { .. })));
    }

    #[test]
    fn a_search_that_explodes_ends() {
        let mut value = json!(1);
        for _ in 0..100 {
            value = json!([value, 1, 2, 3]);
        }
        let error = Path::parse("$..*..*..*..*").unwrap().select(&value).unwrap_err();
        assert_eq!(error, PathError::TooMuch);
    }
}
