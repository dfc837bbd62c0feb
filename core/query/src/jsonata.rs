//! JSONata, by a library, behind bounds of our own.
//!
//! The States Language adds functions (`$partition`, `$range`, `$hash`, `$random`, `$uuid`, `$parse`) and takes one away
//! (`$eval`). The library can be interrupted between the steps of an expression, not inside a built-in function, so what a
//! single built-in could blow up is held by a check around it: see [`guard`]. What most state machines say is compiled into a
//! program of our own that needs no copies, and is handed to the library where that gives up: see [`compiled`].

mod compiled;
mod function;
mod guard;
#[cfg(test)]
mod suite;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorOptions};
use jsonata_core::parser::{self, ParserError};
use jsonata_core::value::JValue;
use serde_json::Value;

use crate::{Entropy, Variables};
use compiled::Program;
use guard::Uses;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
/// The time that one evaluation may take, in milliseconds.
pub const TIME_MAX: u64 = 100;
/// How deep an evaluation nests.
pub const DEPTH_MAX: usize = 1000;
/// The longest sequence that an expression makes.
pub const SEQUENCE_MAX: usize = 100_000;
/// The largest text that an expression makes, and the largest result as JSON, in bytes.
pub const BYTES_MAX: usize = 4 << 20;

/// A parsed expression.
///
/// ```
/// use selvedge_query::{Bounds, Expression, Names};
/// let expression = Expression::parse("$sum($states.input.orders.total)").unwrap();
/// let input = serde_json::json!({"orders": [{"total": 1}, {"total": 2}]});
/// let names = Names { states: &[("input", &input)], variables: &() };
/// let sum = expression.evaluate(&names, 0, &mut || 0, Bounds::default()).unwrap();
/// assert_eq!(sum, Some(serde_json::json!(3)));
/// ```
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    tree: AstNode,
    uses: Uses,
    /// Where the library is seldom needed.
    program: Option<Arc<Program>>,
}

/// What an expression sees.
pub struct Names<'a> {
    /// The members of `$states`.
    pub states: &'a [(&'a str, &'a Value)],
    /// `$name`.
    pub variables: &'a dyn Variables,
}

/// What one evaluation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Milliseconds.
    pub time_ms: u64,
    /// Levels.
    pub depth: usize,
    /// Items of one sequence.
    pub sequence: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { time_ms: TIME_MAX, depth: DEPTH_MAX, sequence: SEQUENCE_MAX }
    }
}

/// Why an expression was not understood, or has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It does not parse, or uses what the States Language does not offer.
    #[error("{0}")]
    Syntax(String),
    /// It failed, or went past a bound.
    #[error("{0}")]
    Failed(String),
}

impl Expression {
    /// Parses an expression without its braces.
    ///
    /// # Errors
    /// [`ExpressionError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::Syntax(format!(
                "the expression has more than {EXPRESSION_BYTES_MAX} bytes"
            )));
        }
        let mut tree = parser::parse(text).map_err(|error| ExpressionError::Syntax(worded(&error)))?;
        guard::insert(&mut tree)?;
        let uses = Uses::of(&mut tree);
        let program = Program::compile(&tree, &uses).map(Arc::new);
        Ok(Self { text: text.into(), tree, uses, program })
    }

    /// The names that it reads and does not bind itself, without their `$`; `states` is not among them.
    pub fn free_names(&self) -> impl Iterator<Item = Box<str>> + '_ {
        self.uses.free_names().cloned()
    }

    /// Its value, or none where it selects nothing; `now_ms` is the time that `$now` and `$millis` tell, in milliseconds since
    /// 1970. Only what it reads is made into the library's values.
    ///
    /// # Errors
    /// [`ExpressionError::Failed`].
    pub fn evaluate(
        &self,
        names: &Names<'_>,
        now_ms: i64,
        entropy: &mut dyn Entropy,
        bounds: Bounds,
    ) -> Result<Option<Value>, ExpressionError> {
        self.evaluate_over(None, names, now_ms, entropy, bounds)
    }

    /// The same, with something that `$` is: the States Language has nothing there.
    fn evaluate_over(
        &self,
        input: Option<&Value>,
        names: &Names<'_>,
        now_ms: i64,
        entropy: &mut dyn Entropy,
        bounds: Bounds,
    ) -> Result<Option<Value>, ExpressionError> {
        let seed = entropy.draw();
        if let Some(program) = &self.program
            && let Ok(found) = program.evaluate(input, names, now_ms, bounds)
        {
            return Ok(found);
        }
        self.evaluate_by_library(input, names, now_ms, seed, bounds)
    }

    fn evaluate_by_library(
        &self,
        input: Option<&Value>,
        names: &Names<'_>,
        now_ms: i64,
        seed: u64,
        bounds: Bounds,
    ) -> Result<Option<Value>, ExpressionError> {
        let input = input.map_or(JValue::Undefined, value::from_json);
        let mut context = Context::new();
        let members = names.states.iter().filter(|(member, _)| self.uses.reads_member(member));
        let states = members.map(|(member, value)| ((*member).to_owned(), value::from_json(value)));
        context.bind("states".to_owned(), JValue::object(states.collect()));
        for name in &self.uses.reads {
            if let Some(value) = names.variables.variable(name) {
                context.bind(name.to_string(), value::from_json(value));
            }
        }
        let options = EvaluatorOptions {
            timeout_ms: Some(bounds.time_ms),
            max_stack_depth: Some(bounds.depth),
            max_sequence_length: Some(bounds.sequence),
            cancel: None,
        };
        let mut evaluator = Evaluator::with_options(context, options);
        function::register(&mut evaluator, &self.uses, now_ms, seed);
        let failed =
            |error: jsonata_core::evaluator::EvaluatorError| ExpressionError::Failed(error.to_string());
        // A defect of the library's is the end of an expression, not of the thread that times out everybody's waits.
        let evaluated = catch_unwind(AssertUnwindSafe(|| evaluator.evaluate(&self.tree, &input)));
        let found = evaluated.map_err(|_| {
            ExpressionError::Failed("JSONata's evaluator broke off: this is a defect of Selvedge's".into())
        })?;
        value::json(&found.map_err(failed)?)
    }
}

/// The library's words, with JSONata's code also where it leaves that out.
fn worded(error: &ParserError) -> String {
    match error {
        ParserError::UnclosedComment => format!("S0106: {error}"),
        error => error.to_string(),
    }
}

/// As it was written.
impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(text: &str) -> Result<Option<Value>, ExpressionError> {
        let input = json!({"name": "Foo", "list": [1, 2, 3], "big": "x".repeat(1000), "n": 2.5});
        let (context, variables) = (json!({"State": {"Name": "S"}}), json!({"who": "me", "x": 1}));
        let states = [("input", &input), ("context", &context)];
        let names = Names { states: &states, variables: variables.as_object().unwrap() };
        Expression::parse(text)?.evaluate(&names, 1_000, &mut || 7, Bounds::default())
    }

    #[test]
    fn names_and_values() {
        for (text, expected) in [
            ("$states.input.name & ' by ' & $who", json!("Foo by me")),
            ("$sum($states.input.list)", json!(6)),
            ("$keys($states)", json!(["input", "context"])),
            ("$states.*.State.Name", json!("S")),
            ("$states.input.name & $states.context.State.Name", json!("FooS")),
            ("$states.input.list.(%.name)", json!(["Foo", "Foo", "Foo"])),
            ("$states.input.name.%.%.context.State.Name", json!("S")),
            ("( $s := $states; $s.context.State.Name )", json!("S")),
            ("$lookup($states, 'input').n", json!(2.5)),
            // It reads the outer one before it has its own.
            ("( $x := $x + 1; $x )", json!(2)),
            ("$states.input.n * 2", json!(5)),
            ("$states.input.n", json!(2.5)),
            ("[$states.input.list[$ > 1]]", json!([2, 3])),
            ("{'a': $states.input.list[0]}", json!({"a": 1})),
            ("$partition([1..5], 2)", json!([[1, 2], [3, 4], [5]])),
            ("$range(0, 10, 5)", json!([0, 5, 10])),
            ("$hash('', 'MD5')", json!("d41d8cd98f00b204e9800998ecf8427e")),
            ("$parse('{\"a\": [1]}')", json!({"a": [1]})),
            ("$uuid() != $uuid()", json!(true)),
            ("$random(3) = $random(3)", json!(true)),
            ("$millis()", json!(1000)),
            ("$now()", json!("1970-01-01T00:00:01.000Z")),
            ("$pad('x', -3, '-')", json!("--x")),
            ("$formatInteger(1999, 'I')", json!("MCMXCIX")),
            ("12 ~> $formatInteger('w')", json!("twelve")),
            ("[1, 4].$formatInteger('i')", json!(["i", "iv"])),
            ("[$states.input.n - 0.5..4]", json!([2, 3, 4])),
            ("$substring($states.input.name, $states.input.n - 1.5)", json!("oo")),
            ("$substring('hello', 9e18)", json!("")),
            ("$substring('hello', 1, 9e18)", json!("ello")),
            ("$substring('hello', -9e18, 9e18)", json!("hello")),
            ("$substring('hello', -3, 9223372036854775807)", json!("llo")),
            ("'hello' ~> $substring(9e18, 9e18)", json!("")),
            ("'hello' ~> $substring(-2)", json!("lo")),
            ("['hello', 'world'].$substring($, 1, 1e300)", json!(["ello", "orld"])),
            ("$join(['a', 'b'], ',')", json!("a,b")),
            ("$map([1, 'a'], $string)", json!(["1", "a"])),
            ("[1, 2] ~> $map($string)", json!(["1", "2"])),
            ("'a-b' ~> $replace('-', '+')", json!("a+b")),
        ] {
            assert_eq!(run(text).unwrap_or_else(|error| panic!("{text}: {error}")), Some(expected), "{text}");
        }
        assert_eq!(run("$states.input.nothing").unwrap(), None);
    }

    #[test]
    fn what_would_blow_up_ends() {
        for text in [
            "$pad('x', 2000000000)",
            "$formatInteger(9e15, 'I')",
            "9e15 ~> $formatInteger('i')",
            "[9e15].$formatInteger('I')",
            "[-9223372036854775808..9223372036854775807]",
            "[-1e300..1e300]",
            "( $f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f($states.input.big, 40) )",
            "( $f := function($n) { $f($n + 1) + 1 }; $f(0) )",
            "( $f := function($n) { $f($n + 1) }; $f(0) )",
            "[1..1000000000]",
            "$join([1..100000].($states.input.big))",
            "$string([1..100000].($states.input.big))",
            "[1..100000].($states.input.big)",
            "$map([[1..100000].($states.input.big), 1], $string)",
            "( $s := $string; $s([1..100000].($states.input.big)) )",
            "$replace($states.input.big, 'x', $pad('y', 100000))",
            "$range(0, 1000000000, 1)",
            "[1..100000].($states.input.big) ~> $string()",
            "[1..100000].($states.input.big) ~> $join()",
            "$states.input.big ~> $replace('x', $pad('y', 100000))",
            // What is made so would be walked by recursion.
            "$reduce([1..3000], function($a, $x) { [[$a]] }, 0)",
            "$string($reduce([1..3000], function($a, $x) { [[$a]] }, 0))",
        ] {
            assert!(matches!(run(text), Err(ExpressionError::Failed(_))), "{text}");
        }
    }

    #[test]
    fn huge_numbers_break_nothing_off() {
        let huge =
            ["9e18", "-9e18", "1e300", "-1e300", "9223372036854775807", "2147483648", "-2147483649", "0.5"];
        let calls = [
            "$substring('hello', N, M)",
            "$split('a,b', ',', N)",
            "$match('aa', /a/, N)",
            "$replace('aa', 'a', 'b', N)",
            "$round(N, M)",
            "$round(2.5, N)",
            "$power(N, M)",
            "$sqrt(N)",
            "$formatNumber(N, '#,##0.00')",
            "$formatBase(N, 36)",
            "$formatBase(10, N)",
            "$formatInteger(N, 'w')",
            "$formatInteger(N, 'I')",
            "$formatInteger(N, 'A')",
            "$formatInteger(N, '#,##0')",
            "$fromMillis(N)",
            "$fromMillis(N, '[Y]-[M01]-[D01]', '+0000')",
            "$toMillis($string(N))",
            "$number($string(N))",
            "[N..M]",
            "[1, 2, 3][N]",
            "[1, 2, 3][[N, M]]",
            "N % M",
            "N * M - N",
            "$sum([N, M])",
            "$average([N, M])",
            "$range(N, M, N)",
            "$partition([1, 2], N)",
            "$pad('x', N)",
            "$random(N)",
            "$floor(N) & $ceil(M)",
            "$string(N)",
            "$shuffle([1, N])",
            "$zip([N], [M])",
            "$sort([N, M, 1])",
        ];
        let mut broken = Vec::new();
        for call in calls {
            for n in huge {
                for m in huge {
                    let text = call.replace('N', &format!("({n})")).replace('M', &format!("({m})"));
                    // The picture of a date has the letters as well.
                    let text = text.replace(&format!("[({m})01]"), "[M01]");
                    match run(&text) {
                        Err(error) if error.to_string().contains("broke off") => broken.push(text),
                        _ => {}
                    }
                }
            }
        }
        assert!(broken.is_empty(), "{}: {broken:#?}", broken.len());
    }

    #[test]
    fn a_defect_of_the_library_ends_the_expression_alone() {
        // Passed on as a value, the function is given what nobody has looked at: it overflows, where that is looked for.
        let found = run("( $f := $substring; $f('hello', 9e18, 9e18) )");
        if cfg!(debug_assertions) {
            let error = found.unwrap_err();
            assert!(error.to_string().contains("broke off"), "{error}");
        }
    }

    #[test]
    fn free_names_are_those_that_nobody_binds() {
        let expression =
            Expression::parse("( $a := $b; function($c) { $c + $a + $states.input.x + $ + $d } )").unwrap();
        let names: Vec<String> = expression.free_names().map(String::from).collect();
        assert_eq!(names, ["b", "d"]);
        let of = |text: &str| Expression::parse(text).unwrap().uses.members;
        let only = |member: &str| Some([member.into()].into_iter().collect());
        assert_eq!(
            of("$sum($states.input.lines.(price * quantity)) + $states.input.x[$ > 1][0]"),
            only("input")
        );
        assert_eq!(of("$map($states.result, function($r) { $r.x })"), only("result"));
        for all in
            ["$states", "$states.*", "$states[0].input", "$states.input.x.%.%.context", "$keys($states)"]
        {
            assert_eq!(of(all), None, "{all}");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        for text in ["$eval('1')", "( $e := $eval; $e('1') )", "1 +", "$pad.x ~> $eval", "(((("] {
            let outcome = run(text);
            assert!(outcome.is_err(), "{text}: {outcome:?}");
        }
        let deep = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
        assert!(run(&deep).is_err());
    }

    #[test]
    fn a_function_is_no_value() {
        assert!(matches!(run("function($x) { $x }"), Err(ExpressionError::Failed(_))));
        assert!(matches!(run("{'f': $sum}"), Err(ExpressionError::Failed(_))));
    }
}
