//! Intrinsic functions: `States.Format('{} of {}', $.a, $.b)`.
//!
//! Source: the Amazon States Language, "Intrinsic Functions", and its developer guide for the bounds.

mod array;
mod encode;
mod number;
mod parse;
mod text;

pub(crate) use encode::digest;

use serde_json::Value;

use crate::budget::Allowance;
use crate::{Budget, Entropy, Failure, Path, Scope, entropy};

/// How deep function calls nest in one field.
pub const INTRINSIC_NESTING_MAX: usize = 10;

/// A parsed call.
#[derive(Clone, Debug)]
pub struct Intrinsic {
    text: Box<str>,
    call: Call,
}

#[derive(Clone, Debug)]
struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug)]
enum Argument {
    Constant(Value),
    Path(Path),
    Call(Call),
}

/// Why a call was not understood, or refused its arguments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrinsicError {
    /// It is no call.
    #[error("{message} at character {at}")]
    Syntax {
        /// Counted from 0, in bytes.
        at: usize,
        /// What was expected there.
        message: String,
    },
    /// Calls are nested more than [`INTRINSIC_NESTING_MAX`] levels deep.
    #[error("intrinsic functions are nested more than {INTRINSIC_NESTING_MAX} levels deep")]
    TooDeep,
    /// The function cannot do it with these arguments.
    #[error("{function}: {message}")]
    Refused {
        /// `States.…`
        function: &'static str,
        /// Why.
        message: String,
    },
}

macro_rules! functions {
    ($($name:ident($fewest:literal..=$most:expr) => $run:path;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(clippy::upper_case_acronyms, reason = "the functions have the language's names")]
        enum Function { $($name,)* }

        impl Function {
            fn by_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("States.", stringify!($name)),)* }
            }

            /// How many arguments it takes.
            fn arity(self) -> std::ops::RangeInclusive<usize> {
                match self { $(Self::$name => $fewest..=$most,)* }
            }

            fn run(self, arguments: Vec<Value>, entropy: &mut dyn Entropy) -> Result<Value, String> {
                match self { $(Self::$name => $run(arguments, entropy),)* }
            }
        }
    };
}

/// A call with no upper bound of its own is bounded by the length of its text.
const MANY: usize = usize::MAX;

functions! {
    Format(1..=MANY) => text::format;
    StringToJson(1..=1) => text::string_to_json;
    JsonToString(1..=1) => text::json_to_string;
    StringSplit(2..=2) => text::split;
    Array(0..=MANY) => array::array;
    ArrayPartition(2..=2) => array::partition;
    ArrayContains(2..=2) => array::contains;
    ArrayRange(3..=3) => array::range;
    ArrayGetItem(2..=2) => array::item;
    ArrayLength(1..=1) => array::length;
    ArrayUnique(1..=1) => array::unique;
    Base64Encode(1..=1) => encode::base64_encode;
    Base64Decode(1..=1) => encode::base64_decode;
    Hash(2..=2) => encode::hash;
    JsonMerge(3..=3) => encode::merge;
    MathRandom(2..=3) => number::random;
    MathAdd(2..=2) => number::add;
    UUID(0..=0) => uuid;
}

fn uuid(_: Vec<Value>, entropy: &mut dyn Entropy) -> Result<Value, String> {
    Ok(Value::String(entropy::uuid(entropy)))
}

impl Intrinsic {
    /// Parses a call.
    ///
    /// # Errors
    /// [`IntrinsicError::Syntax`] with the place, [`IntrinsicError::TooDeep`].
    pub fn parse(text: &str) -> Result<Self, IntrinsicError> {
        Ok(Self { text: text.into(), call: parse::call(text)? })
    }

    /// Its value, within `budget`.
    ///
    /// # Errors
    /// [`Failure::Path`] when an argument's path selects nothing, [`Failure::Intrinsic`] when a function refuses,
    /// [`Failure::Overspent`] past the budget.
    pub fn evaluate(
        &self,
        scope: &Scope<'_>,
        entropy: &mut dyn Entropy,
        budget: &Budget,
    ) -> Result<Value, Failure> {
        self.evaluate_within(scope, entropy, &mut budget.field())
    }

    /// The same as a part of a field that may have so much more.
    pub(crate) fn evaluate_within(
        &self,
        scope: &Scope<'_>,
        entropy: &mut dyn Entropy,
        allowance: &mut Allowance<'_>,
    ) -> Result<Value, Failure> {
        let value = evaluate(&self.call, scope, entropy, allowance)?;
        allowance.charge(&value)?;
        Ok(value)
    }

    /// Calls `f` for every path among the arguments.
    pub fn for_each_path<'i>(&'i self, f: &mut dyn FnMut(&'i Path)) {
        fn walk<'i>(call: &'i Call, f: &mut dyn FnMut(&'i Path)) {
            for argument in &call.arguments {
                match argument {
                    Argument::Constant(_) => {}
                    Argument::Path(path) => f(path),
                    Argument::Call(call) => walk(call, f),
                }
            }
        }
        walk(&self.call, f);
    }
}

/// As it was written.
impl std::fmt::Display for Intrinsic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The arguments of one call are bounded together: what a function makes of them is a few times as much at the most.
fn evaluate(
    call: &Call,
    scope: &Scope<'_>,
    entropy: &mut dyn Entropy,
    of_field: &Allowance<'_>,
) -> Result<Value, Failure> {
    let mut allowance = of_field.afresh();
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in &call.arguments {
        let value = match argument {
            Argument::Constant(value) => {
                arguments.push(value.clone());
                continue;
            }
            Argument::Path(path) => {
                path.evaluate(scope).map_err(|error| Failure::Path { path: path.to_string(), error })?
            }
            Argument::Call(call) => evaluate(call, scope, entropy, of_field)?,
        };
        allowance.charge(&value)?;
        arguments.push(value);
    }
    let function = call.function;
    let refused = |message| IntrinsicError::Refused { function: function.name(), message };
    Ok(function.run(arguments, entropy).map_err(refused)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(text: &str) -> Result<Value, Failure> {
        let input = json!({
            "name": "Foo", "list": [1, 2, 3, 4, 5], "o1": {"a": {"x": 1}, "b": 1}, "o2": {"a": {"y": 2}, "c": 3},
            "text": "{\"k\": [1, 2]}", "null": null, "stray": r"a\b", "big": "x".repeat(10_001),
        });
        let scope = Scope { input: &input, context: &Value::Null, variables: &() };
        Intrinsic::parse(text).map_err(Failure::from)?.evaluate(&scope, &mut || 7, &Budget::start(1 << 20))
    }

    #[test]
    fn each_function_does_what_the_language_says() {
        for (text, expected) in [
            ("States.Format('Hello, {} {}.', $.name, 3)", json!("Hello, Foo 3.")),
            (r"States.Format('\{{}\} it\'s \\', $.list)", json!(r"{[1,2,3,4,5]} it's \")),
            ("States.StringToJson($.text)", json!({"k": [1, 2]})),
            ("States.JsonToString($.o1)", json!("{\"a\":{\"x\":1},\"b\":1}")),
            ("States.Array('Foo', 2020, $.o2.c, null, true)", json!(["Foo", 2020, 3, null, true])),
            ("States.Array()", json!([])),
            ("States.ArrayPartition($.list, 2)", json!([[1, 2], [3, 4], [5]])),
            ("States.ArrayContains($.list, 3)", json!(true)),
            ("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9])),
            ("States.ArrayRange(3, 1, -1)", json!([3, 2, 1])),
            (
                "States.ArrayRange(-9000000000000000000, 9000000000000000000, 9000000000000000000)",
                json!([-9000000000000000000i64, 0, 9000000000000000000i64]),
            ),
            ("States.ArrayGetItem($.list, 4)", json!(5)),
            ("States.ArrayLength($.list)", json!(5)),
            ("States.ArrayUnique(States.Array(1, 1, 2, 'a', 'a'))", json!([1, 2, "a"])),
            ("States.Base64Encode('Data to encode')", json!("RGF0YSB0byBlbmNvZGU=")),
            ("States.Base64Decode('RGVjb2RlZCBkYXRh')", json!("Decoded data")),
            ("States.Hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7")),
            ("States.Hash('', 'MD5')", json!("d41d8cd98f00b204e9800998ecf8427e")),
            ("States.JsonMerge($.o1, $.o2, false)", json!({"a": {"y": 2}, "b": 1, "c": 3})),
            ("States.MathAdd(111, -1)", json!(110)),
            ("States.MathAdd(1.5, 1)", json!(3)),
            ("States.StringSplit('1,2+3,4', ',+')", json!(["1", "2", "3", "4"])),
            ("States.StringSplit('a,,b', ',')", json!(["a", "b"])),
            ("States.UUID()", json!("00000000-0000-4007-8000-000000000007")),
        ] {
            assert_eq!(run(text).unwrap_or_else(|error| panic!("{text}: {error}")), expected, "{text}");
        }
    }

    #[test]
    fn a_seed_reproduces_a_random_number() {
        let drawn = run("States.MathRandom(1, 1000, 42)").unwrap();
        assert_eq!(drawn, run("States.MathRandom(1, 1000, 42)").unwrap());
        assert!((1..1000).contains(&drawn.as_i64().unwrap()));
        assert!(run("States.MathRandom(1, 1000)").is_ok());
    }

    #[test]
    fn what_a_function_cannot_do_it_refuses() {
        for text in [
            "States.ArrayRange(0, 1001, 1)",
            "States.ArrayRange(0, 5, 0)",
            "States.ArrayGetItem($.list, 5)",
            "States.ArrayGetItem($.list, -1)",
            "States.ArrayPartition($.list, 0)",
            "States.ArrayLength('text')",
            "States.Base64Encode($.big)",
            "States.Base64Decode('***')",
            "States.Hash('x', 'CRC')",
            "States.JsonMerge($.o1, $.o2, true)",
            "States.JsonMerge($.o1, 1, false)",
            "States.StringToJson('{')",
            "States.Format('{} {}', 1)",
            // A backslash that takes no meaning away, in a template that is no literal.
            "States.Format($.stray)",
            "States.Format('{}', 1, 2)",
            "States.MathRandom(5, 5)",
            "States.StringSplit(1, 2)",
        ] {
            assert!(
                matches!(run(text), Err(Failure::Intrinsic(IntrinsicError::Refused { .. }))),
                "{text}: {:?}",
                run(text)
            );
        }
        assert!(matches!(run("States.Format('{}', $.nothing)"), Err(Failure::Path { .. })));
    }

    #[test]
    fn what_is_no_call_says_where() {
        for text in [
            "",
            "States",
            "States.Nothing()",
            "States.Format(",
            "States.Format('a",
            "States.Format('a',)",
            "States.UUID(1)",
            "States.UUID() x",
            "States.Format('a' 'b')",
            "Format('a')",
            r"States.Format('\x')",
            "States.MathAdd(1)",
        ] {
            assert!(matches!(Intrinsic::parse(text), Err(IntrinsicError::Syntax { .. })), "{text}");
        }
        let nested = |levels: usize| format!("{}1{}", "States.Array(".repeat(levels), ")".repeat(levels));
        assert!(Intrinsic::parse(&nested(INTRINSIC_NESTING_MAX)).is_ok());
        assert_eq!(
            Intrinsic::parse(&nested(INTRINSIC_NESTING_MAX + 1)).unwrap_err(),
            IntrinsicError::TooDeep
        );
    }
}
