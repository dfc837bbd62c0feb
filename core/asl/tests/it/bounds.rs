//! How deep and how large what a state makes may be, and how long that may take.

use selvedge_asl::{Execution, Options, PAYLOAD_DEPTH_MAX};
use selvedge_query::Stopwatch;
use serde_json::{Value, json};

use crate::world::{Answer, World, machine};

const TASK: &str = "arn:aws:states:::sqs:sendMessage";
/// A debug build on a busy machine; without a bound it is hours, or all memory.
const SOON_MS: u64 = 120_000;

/// So many arrays around a number.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |value, _| json!([value]))
}

/// What a machine of this one state fails with; the world reads the execution back after each step.
fn failed(state: Value, input: &Value) -> (String, String) {
    World::new(&machine(json!({ "S": state })), input).run().failure()
}

#[test]
fn what_nests_as_deep_as_it_may_is_read_back_wherever_it_is_kept() {
    let most = deep(PAYLOAD_DEPTH_MAX);
    let inner = json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 1, "End": true } } });
    let other = json!({ "StartAt": "V", "States": { "V": { "Type": "Wait", "Seconds": 2, "End": true } } });
    // As a wait's input, a task's parameters, a branch's, an item with its context, a variable, a distributed Map state's item.
    let kept = [
        json!({ "Type": "Wait", "Seconds": 1, "End": true }),
        json!({ "Type": "Task", "Resource": TASK, "End": true }),
        json!({ "Type": "Parallel", "Branches": [inner, other], "OutputPath": "$[0]", "End": true }),
        json!({ "Type": "Map", "ItemProcessor": inner, "End": true }),
        json!({ "Type": "Pass", "Assign": { "kept.$": "$" }, "End": true }),
        json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input %}", "End": true }),
        json!({ "Type": "Map", "Label": "M", "End": true, "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "W", "States": inner["States"] } }),
    ];
    for state in kept {
        let shown = state.to_string();
        let world = World::new(&machine(json!({ "S": state })), &most).run();
        // Two results of branches in an array are one level too many: that is an error, and no checkpoint that nobody reads.
        if shown.contains("Parallel") {
            let (error, cause) = world.failure();
            assert_eq!(error, "States.DataLimitExceeded", "{cause}");
        } else {
            assert_eq!(world.output(), most, "{shown}");
        }
    }
}

#[test]
fn what_nests_deeper_is_refused_where_it_comes_in_and_fails_where_it_is_made() {
    let over = deep(PAYLOAD_DEPTH_MAX + 1);
    let one = World::new(&machine(json!({ "S": { "Type": "Succeed" } })), &json!(1));
    let refused = Execution::new(one.execution.identity().clone(), Options::default(), &over.to_string());
    assert!(refused.unwrap_err().to_string().contains("100 levels"));
    let most = deep(PAYLOAD_DEPTH_MAX);
    let made = [
        json!({ "Type": "Pass", "Parameters": { "more.$": "$" }, "End": true }),
        json!({ "Type": "Pass", "Assign": { "more.$": "States.Array($)" }, "End": true }),
        json!({ "Type": "Pass", "Result": 1, "ResultPath": format!("$.a{}", ".b".repeat(PAYLOAD_DEPTH_MAX)), "InputPath": null, "End": true }),
        json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% [[$states.input]] ~> $map(function($x) { {'x': $x} }) %}", "End": true }),
        json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $reduce([1..400], function($a, $x) { {'a': $a} }, 0) %}", "End": true }),
        json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Assign": { "x": "{% $reduce([1..400], function($a, $x) { {'a': $a} }, 0) %}" }, "End": true }),
        json!({ "Type": "Task", "Resource": TASK, "Parameters": { "more.$": "$" }, "End": true }),
        json!({ "Type": "Parallel", "Parameters": { "more.$": "$" }, "End": true, "Branches": [
            { "StartAt": "I", "States": { "I": { "Type": "Succeed" } } }] }),
        json!({ "Type": "Map", "ItemsPath": "$", "ItemSelector": { "more.$": "$" }, "End": true, "ItemProcessor":
            { "StartAt": "I", "States": { "I": { "Type": "Succeed" } } } }),
    ];
    for state in made {
        // What is put at a path stands in an object.
        let is_placed = state.get("ResultPath").is_some();
        let (error, cause) = failed(state.clone(), if is_placed { &Value::Null } else { &most });
        // An input that is no object has no place for a result.
        let expected = if is_placed {
            ["States.ResultPathMatchFailure", "States.DataLimitExceeded"]
        } else {
            ["States.DataLimitExceeded"; 2]
        };
        assert!(expected.contains(&error.as_str()), "{state}: {error} {cause}");
        assert!(!cause.is_empty() && cause.contains("'S'"), "{cause}");
    }
    let answered =
        World::new(&machine(json!({ "S": { "Type": "Task", "Resource": TASK, "End": true } })), &json!({}))
            .answer("S", Answer::Output(over))
            .run();
    assert_eq!(answered.failure().0, "States.DataLimitExceeded");
}

#[test]
fn tens_of_thousands_of_fields_make_no_more_than_one() {
    let text = "x".repeat(100_000);
    let fields = |value: &str, count: usize| -> Value {
        (0..count)
            .map(|index| (format!("f{index}.$"), value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let expressions =
        |value: &str, count: usize| -> Value { (0..count).map(|_| Value::from(value)).collect() };
    let many = |call: &str, count: usize| format!("States.{call}({}$.t)", "$.t,".repeat(count));
    let nested =
        (0..9).fold("States.JsonToString($.q)".to_owned(), |call, _| format!("States.JsonToString({call})"));
    let input = json!({ "t": text, "q": "\"".repeat(20_000), "list": vec![1; 3000] });
    let pass = |parameters: Value| json!({ "Type": "Pass", "Parameters": parameters, "End": true });
    let jsonata =
        |output: Value| json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Output": output, "End": true });
    let zeros = vec!["0"; 2000].join(",");
    for (what, state, expected) in [
        ("copies of a text", pass(fields("$.t", 10_000)), "States.DataLimitExceeded"),
        ("arguments", pass(json!({ "x.$": many("Array", 20_000) })), "States.DataLimitExceeded"),
        ("escapes in escapes", pass(json!({ "x.$": nested })), "States.DataLimitExceeded"),
        (
            "as many expressions",
            jsonata(expressions("{% $states.input.t %}", 10_000)),
            "States.DataLimitExceeded",
        ),
        (
            "expressions that take their time",
            jsonata(expressions("{% $sum($map([1..20000], function($x) { $x * 2 })) %}", 1000)),
            "States.QueryEvaluationError",
        ),
        ("an item many times over", pass(json!({ "x.$": format!("$.list[{zeros}][{zeros}]") })), ""),
        ("items of items", pass(json!({ "x.$": format!("$[?(@)]..[{zeros}]") })), ""),
        ("a wide union", pass(json!({ "x.$": format!("$['t','t']..['t'][{zeros}]") })), ""),
        ("a search for each item", pass(json!({ "x.$": "$.list[?($..*..* size 3)]" })), "States.Runtime"),
        ("a set with a set", pass(json!({ "x.$": "$.list[?($.list subsetof $.list)]" })), "States.Runtime"),
        (
            "a delimiter for each letter",
            pass(json!({ "x.$": "States.ArrayLength(States.StringSplit($.t, $.q))" })),
            "",
        ),
    ] {
        let begun = Stopwatch::start();
        let world = World::new(&machine(json!({ "S": state })), &input).run();
        assert!(!begun.is_past(SOON_MS), "{what}");
        if !expected.is_empty() {
            let (error, cause) = world.failure();
            assert_eq!(error, expected, "{what}: {cause}");
            assert!(cause.contains("'S'") && cause.len() < 10_000, "{what}: {cause}");
        }
    }
}

#[test]
fn a_thousand_rules_are_tried_within_the_time_of_a_state() {
    let rules = |rule: Value| -> Value {
        let choices: Vec<Value> = (0..1000).map(|_| rule.clone()).collect();
        json!({ "StartAt": "S", "States": { "S": { "Type": "Choice", "Choices": choices, "Default": "D" }, "D": { "Type": "Succeed" } } })
    };
    let spins =
        json!({ "Condition": "{% $sum($map([1..20000], function($x) { $x * 2 })) = 1 %}", "Next": "D" });
    let mut of_expressions = rules(spins);
    of_expressions["QueryLanguage"] = "JSONata".into();
    let of_paths = rules(json!({ "Variable": "$..*..*.x", "IsPresent": false, "Next": "D" }));
    // `IsPresent` of a search that was given up says neither yes nor no.
    let input =
        json!({ "wide": (0..300).map(|index| json!({ "n": [index, index, index] })).collect::<Vec<_>>() });
    for (definition, expected) in
        [(of_expressions, "States.QueryEvaluationError"), (of_paths, "States.Runtime")]
    {
        let begun = Stopwatch::start();
        let world = World::new(&definition, &input).run();
        assert!(!begun.is_past(SOON_MS), "{expected}");
        // Where all rules are quick enough, the last word is another.
        if world.execution.failure().is_some() {
            assert_eq!(world.failure().0, expected);
        }
    }
}
