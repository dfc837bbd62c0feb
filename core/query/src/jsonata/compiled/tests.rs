//! A program beside the library: the same value, wherever it has one.

mod differential;
mod generate;

use serde_json::{Value, json};

use super::super::{Bounds, Expression, ExpressionError, Names};
use super::GaveUp;

/// What the library says, and what the program says where there is one.
type Outcomes = (Result<Option<Value>, ExpressionError>, Option<Result<Option<Value>, GaveUp>>);

fn both(expression: &Expression, input: &Value, variables: &Value, bounds: Bounds) -> Outcomes {
    let states = [("input", input)];
    let names = Names { states: &states, variables: variables.as_object().unwrap() };
    let program = expression.program.as_ref().map(|program| program.evaluate(None, &names, 1000, bounds));
    (expression.evaluate_by_library(None, &names, 1000, 7, bounds), program)
}

/// The value that the program alone has.
fn alone(text: &str, input: &Value) -> Option<Value> {
    let expression = Expression::parse(text).unwrap();
    let (library, program) = both(&expression, input, &json!({}), Bounds::default());
    let found = program.unwrap_or_else(|| panic!("{text}: not compiled"));
    let found = found.unwrap_or_else(|_| panic!("{text}: gave up, where the library has {library:?}"));
    assert_eq!(Ok(&found), library.as_ref(), "{text}");
    found
}

#[test]
fn what_state_machines_say_needs_no_library() {
    let input = json!({
        "order": { "id": "a-1", "total": 12.5, "paid": true, "note": null },
        "lines": [{ "name": "x", "price": 3, "quantity": 2, "tags": ["a", "b"] }, { "name": "y", "price": 30, "quantity": 1 }],
        "one": [{ "v": 1 }], "empty": [], "nested": [[1, 2], [3]],
    });
    for (text, expected) in [
        ("$sum($states.input.lines.(price * quantity))", json!(36)),
        ("$states.input.lines[price > 20].name", json!("y")),
        ("$states.input.lines[0].name", json!("x")),
        ("$states.input.lines[-1].name & '!'", json!("y!")),
        ("$states.input.lines.name", json!(["x", "y"])),
        ("$states.input.lines.tags", json!(["a", "b"])),
        ("$states.input.one.v", json!(1)),
        ("$states.input.one[].v", json!([1])),
        ("$states.input.order.paid and $count($states.input.lines) = 2", json!(true)),
        ("$states.input.order.total >= 10 ? 'large' : 'small'", json!("large")),
        (
            "$states.input.lines.{ 'n': name, 'cost': price * quantity }",
            json!([{ "n": "x", "cost": 6 }, { "n": "y", "cost": 30 }]),
        ),
        (
            "$merge([$states.input.order, { 'id': 'b' }])",
            json!({ "id": "b", "total": 12.5, "paid": true, "note": null }),
        ),
        (
            "$map($states.input.lines, function($l, $i) { { 'at': $i, 'name': $l.name } })",
            json!([{ "at": 0, "name": "x" }, { "at": 1, "name": "y" }]),
        ),
        ("$filter($states.input.lines, function($l) { $l.price > 5 }).name", json!("y")),
        ("$reduce($states.input.lines.price, function($a, $b) { $a + $b }, 1)", json!(34)),
        (
            "( $t := $states.input.order.total; $r := $round($t * 2); { 'total': $r, 'text': $string($r) } )",
            json!({ "total": 25, "text": "25" }),
        ),
        ("$states.input.lines.price ~> $sum()", json!(33)),
        ("$exists($states.input.order.nothing) or $not($states.input.order.paid)", json!(false)),
        ("$uppercase($states.input.order.id) & $now()", json!("A-11970-01-01T00:00:01.000Z")),
        ("$join($split($states.input.order.id, '-'), '+')", json!("a+1")),
        ("[1..3].($ * 2)", json!([2, 4, 6])),
        ("'a' in $states.input.lines.tags", json!(true)),
        ("$string($states.input.lines[0])", json!(r#"{"name":"x","price":3,"quantity":2,"tags":["a","b"]}"#)),
        ("$states.input.nothing ?? 'default'", json!("default")),
        ("$states.input", input.clone()),
    ] {
        // Where an array begins a path, only the library knows the way.
        if text.starts_with('[') {
            assert!(Expression::parse(text).unwrap().program.is_none(), "{text}");
            continue;
        }
        assert_eq!(alone(text, &input), Some(expected), "{text}");
    }
    assert_eq!(alone("$states.input.empty.x", &input), None);
    assert_eq!(alone("$states.input.nothing.x[0]", &input), None);
}

#[test]
fn errors_and_bounds_are_left_to_the_library() {
    let input = json!({ "text": "x", "list": [1, 2, 3], "big": "x".repeat(1000) });
    let deep = "( $a := 0; ".to_owned() + &"$a := [[$a]]; ".repeat(100) + "$a )";
    for text in [
        "$states.input.text + 1",
        "$states.input.text < 1",
        "$states.input.list < 1",
        "-$states.input.text",
        "1 / 0",
        "$sum($states.input.text)",
        "$uppercase(1)",
        "$nobody & 'x'",
        "{ 'a': 1, $lowercase('A'): 2 }",
        "{ $states.input.list: 2 }",
        "$single([1, 2], function($x) { true })",
        "$merge([1])",
        "[1..1000000000]",
        "$map([1..100000], function($x) { [$map([1..100], function($y) { $x & $y })] })",
        "$reduce([1..30], function($s, $i) { $s & $s }, $states.input.big)",
        &deep,
    ] {
        let expression = Expression::parse(text).unwrap();
        let names = Names { states: &[("input", &input)], variables: &() };
        let program = expression.program.as_ref().unwrap_or_else(|| panic!("{text}: not compiled"));
        let found = program.evaluate(None, &names, 0, Bounds::default());
        assert_eq!(found, Err(GaveUp), "{text}");
    }
}

#[test]
fn each_bound_ends_a_program() {
    let input = json!({ "list": (0..100).collect::<Vec<i32>>() });
    let expression = Expression::parse("$states.input.list.($ + 1)").unwrap();
    let names = Names { states: &[("input", &input)], variables: &() };
    let program = expression.program.as_ref().unwrap();
    let with = |bounds| program.evaluate(None, &names, 0, bounds);
    assert!(with(Bounds::default()).is_ok());
    assert_eq!(with(Bounds { time_ms: 0, ..Bounds::default() }), Err(GaveUp));
    assert_eq!(with(Bounds { depth: 3, ..Bounds::default() }), Err(GaveUp));
    assert_eq!(with(Bounds { sequence: 99, ..Bounds::default() }), Err(GaveUp));
    // What a constructor nests, and what an expression nests.
    let nested = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    assert!(Expression::parse(&nested).unwrap().program.is_none());
}
