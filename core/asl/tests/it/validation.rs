//! What is wrong with a definition, all at once, each with its place.

use selvedge_asl::{Severity, parse};
use serde_json::{Value, json};

use crate::world::machine;

/// The findings as `CODE location`.
fn findings(definition: &Value) -> Vec<String> {
    let (parsed, diagnostics) = parse(&serde_json::to_string_pretty(definition).unwrap());
    assert_eq!(parsed.is_some(), diagnostics.iter().all(|found| found.severity == Severity::Warning));
    diagnostics.iter().map(|found| format!("{} {}", found.code.name(), found.location)).collect()
}

#[test]
fn each_fault_has_its_place() {
    for (states, expected) in [
        (json!({"S": {"Type": "Pass"}}), "SCHEMA_VALIDATION_FAILED /States/S"),
        (json!({"S": {"Type": "Pass", "Next": "X"}}), "MISSING_TRANSITION_TARGET /States/S/Next"),
        (
            json!({"S": {"Type": "Pass", "End": true}, "L": {"Type": "Pass", "End": true}}),
            "MISSING_TRANSITION_TARGET /States/L",
        ),
        (json!({"S": {"Type": "Nothing"}}), "SCHEMA_VALIDATION_FAILED /States/S/Type"),
        (json!({"S": {"Type": "Pass", "End": true, "Foo": 1}}), "SCHEMA_VALIDATION_FAILED /States/S/Foo"),
        (
            json!({"S": {"Type": "Pass", "End": true, "InputPath": "x"}}),
            "INVALID_JSON_PATH /States/S/InputPath",
        ),
        (
            json!({"S": {"Type": "Pass", "End": true, "ResultPath": "$$.x"}}),
            "SCHEMA_VALIDATION_FAILED /States/S/ResultPath",
        ),
        (
            json!({"S": {"Type": "Pass", "End": true, "ResultPath": "$..x"}}),
            "INVALID_JSON_PATH /States/S/ResultPath",
        ),
        (
            json!({"S": {"Type": "Pass", "End": true, "Parameters": {"a": {"b.$": "bad"}}}}),
            "INVALID_JSON_PATH /States/S/Parameters/a/b.$",
        ),
        (
            json!({"S": {"Type": "Pass", "End": true, "Output": 1}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Output",
        ),
        (
            json!({"S": {"Type": "Pass", "End": true, "QueryLanguage": "JSONata", "InputPath": "$"}}),
            "SCHEMA_VALIDATION_FAILED /States/S/InputPath",
        ),
        (
            json!({"S": {"Type": "Pass", "End": true, "QueryLanguage": "JSONata", "Output": {"a": ["{% 1 + %}"]}}}),
            "INVALID_JSONATA_EXPRESSION /States/S/Output/a/0",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "nothing", "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Resource",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "TimeoutSeconds": 5, "HeartbeatSeconds": 5, "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/HeartbeatSeconds",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true, "Retry": [{"ErrorEquals": ["States.ALL", "E"]}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Retry/0/ErrorEquals",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true, "Retry": [{"ErrorEquals": ["E"], "BackoffRate": 0.5}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Retry/0/BackoffRate",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true, "Catch": [{"ErrorEquals": ["E"], "Next": "X"}]}}),
            "MISSING_TRANSITION_TARGET /States/S/Catch/0/Next",
        ),
        (
            json!({"S": {"Type": "Wait", "Seconds": 1, "Timestamp": "2020-01-01T00:00:00Z", "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S",
        ),
        (
            json!({"S": {"Type": "Wait", "Timestamp": "tomorrow", "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Timestamp",
        ),
        (
            json!({"S": {"Type": "Choice", "Choices": [{"Variable": "$.a", "Next": "S"}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Choices/0",
        ),
        (
            json!({"S": {"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": "1", "Next": "S"}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Choices/0/NumericEquals",
        ),
        (json!({"S": {"Type": "Choice", "Choices": []}}), "SCHEMA_VALIDATION_FAILED /States/S/Choices"),
        (
            json!({"S": {"Type": "Parallel", "Branches": [], "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Branches",
        ),
        (
            json!({"S": {"Type": "Parallel", "Branches": [{"StartAt": "S", "States": {"S": {"Type": "Succeed"}}}], "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Branches/0/States/S",
        ),
        (json!({"S": {"Type": "Map", "End": true}}), "SCHEMA_VALIDATION_FAILED /States/S"),
        (
            json!({"S": {"Type": "Pass", "Assign": {"states": 1}, "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Assign/states",
        ),
        (
            json!({"S": {"Type": "Fail", "Error": "a", "ErrorPath": "$.a"}}),
            "SCHEMA_VALIDATION_FAILED /States/S/ErrorPath",
        ),
        (
            json!({"S": {"Type": "Fail", "Cause": "a", "CausePath": "$.a"}}),
            "SCHEMA_VALIDATION_FAILED /States/S/CausePath",
        ),
        (json!({"S": {"Type": "Succeed", "Assign": {"a": 1}}}), "SCHEMA_VALIDATION_FAILED /States/S/Assign"),
        (json!({"S": {"Type": "Fail", "InputPath": "$"}}), "SCHEMA_VALIDATION_FAILED /States/S/InputPath"),
        (
            json!({"S": {"Type": "Pass", "Assign": {"a.b": 1}, "End": true}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Assign/a.b",
        ),
        (
            json!({"S": {"Type": "Pass", "Parameters": {"a": 1, "a.$": "$.x"}, "End": true}}),
            "INVALID_JSON_PATH /States/S/Parameters/a.$",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true,
                "Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 5, "MaxDelaySeconds": 5}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Retry/0/MaxDelaySeconds",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true,
                "Retry": [{"ErrorEquals": ["E"], "JitterStrategy": "HALF"}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Retry/0/JitterStrategy",
        ),
        (
            json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true,
                "Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Retry/0/ErrorEquals",
        ),
        (
            json!({"S": {"Type": "Choice", "Default": "S", "Choices": [{"And": [{"Variable": "$.a", "IsNull": true, "Next": "S"}], "Next": "S"}]}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Choices/0/And/0/Next",
        ),
        (
            json!({"S": {"Type": "Map", "Label": "a:b", "End": true, "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
                "StartAt": "I", "States": {"I": {"Type": "Succeed"}}}}}),
            "SCHEMA_VALIDATION_FAILED /States/S/Label",
        ),
    ] {
        assert_eq!(findings(&machine(states.clone())), [expected], "{states}");
    }
    let long = "n".repeat(81);
    let named = json!({"StartAt": long, "States": {long.clone(): {"Type": "Succeed"}}});
    assert_eq!(findings(&named), [format!("SCHEMA_VALIDATION_FAILED /States/{long}")]);
}

#[test]
fn transitions_are_told_of_in_the_services_words() {
    let definition = json!({"StartAt": "pass1", "States": {
        "pass1": {"Type": "Pass", "Next": "pass3"}, "pass2": {"Type": "Pass", "Next": "pass1"}}});
    let told: Vec<String> = parse(&definition.to_string()).1.iter().map(ToString::to_string).collect();
    assert_eq!(
        told.join(", "),
        "MISSING_TRANSITION_TARGET: Missing 'Next' target: pass3 at /States/pass1/Next, \
        MISSING_TRANSITION_TARGET: State \"pass2\" is not reachable. at /States/pass2"
    );
    let message = |definition: Value| parse(&definition.to_string()).1[0].message.clone();
    assert_eq!(
        message(json!({"StartAt": "X", "States": {"S": {"Type": "Succeed"}}})),
        "Missing 'StartAt' target: X"
    );
    let choice = json!({"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": true, "Next": "S"}], "Default": "X"});
    assert_eq!(message(machine(json!({"S": choice}))), "Missing 'Default' target: X");
}

#[test]
fn a_machine_in_json_ata_has_no_state_in_json_path_and_one_in_json_path_has_both_at_any_depth() {
    let within = |inner: Value| json!({"S": {"Type": "Map", "QueryLanguage": "JSONata", "Items": [1], "End": true, "ItemProcessor": {"StartAt": "I", "States": {"I": inner}}}});
    let of = |language: Option<&str>, states: Value| {
        let mut definition = machine(states);
        if let Some(language) = language {
            definition["QueryLanguage"] = language.into();
        }
        findings(&definition)
    };
    let json_path = json!({"Type": "Pass", "QueryLanguage": "JSONPath", "InputPath": "$", "End": true});
    for top in [None, Some("JSONPath")] {
        assert!(of(top, within(json_path.clone())).is_empty(), "{top:?}");
        // The machine's language is what is spoken where nothing is said.
        assert!(
            of(top, within(json!({"Type": "Pass", "InputPath": "$", "End": true}))).is_empty(),
            "{top:?}"
        );
        assert_eq!(
            of(top, within(json!({"Type": "Pass", "Output": 1, "End": true}))),
            ["SCHEMA_VALIDATION_FAILED /States/S/ItemProcessor/States/I/Output"]
        );
    }
    for states in [json!({"S": json_path}), within(json_path)] {
        let found = of(Some("JSONata"), states);
        assert!(found.iter().any(|found| found.ends_with("/QueryLanguage")), "{found:?}");
    }
    assert!(of(Some("JSONata"), within(json!({"Type": "Pass", "Output": 1, "End": true}))).is_empty());
}

#[test]
fn an_inner_scope_assigns_no_variable_of_an_outer_one() {
    let assigns = json!({"Type": "Pass", "Assign": {"x": 1}, "End": true});
    let branch = json!({"StartAt": "I", "States": {"I": assigns}});
    let states = |kind: Value| {
        let mut within = kind;
        within["Next"] = "E".into();
        json!({"S": {"Type": "Pass", "Assign": {"x": 0}, "Next": "W"}, "W": within, "E": {"Type": "Succeed"}})
    };
    assert_eq!(
        findings(&machine(states(json!({"Type": "Parallel", "Branches": [branch]})))),
        ["SCHEMA_VALIDATION_FAILED /States/W/Branches/0/States/I/Assign/x"]
    );
    assert_eq!(
        findings(&machine(states(json!({"Type": "Map", "ItemProcessor": branch})))),
        ["SCHEMA_VALIDATION_FAILED /States/W/ItemProcessor/States/I/Assign/x"]
    );
    // Siblings do not see each other, and an execution of its own sees nothing.
    let other = json!({"StartAt": "J", "States": {"J": assigns}});
    assert!(
        findings(&machine(json!({"S": {"Type": "Parallel", "Branches": [branch, other], "End": true}})))
            .is_empty()
    );
    let mut apart = branch;
    apart["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    assert!(findings(&machine(states(json!({"Type": "Map", "ItemProcessor": apart})))).is_empty());
}

#[test]
fn everything_is_told_at_once() {
    let definition = json!({"StartAt": "X", "Version": "2.0", "States": {"S": {"Type": "Pass", "Foo": 1}, "T": {"Type": "Wait"}}});
    let found = findings(&definition);
    for expected in ["/StartAt", "/Version", "/States/S/Foo", "/States/T"] {
        assert!(found.iter().any(|found| found.ends_with(expected)), "{expected}: {found:?}");
    }
    assert_eq!(findings(&json!({}))[0], "SCHEMA_VALIDATION_FAILED /");
    assert_eq!(parse("{}").1[0].message, "These fields are required: [States, StartAt]");
}

#[test]
fn a_place_is_a_line_and_a_column() {
    let text = "{\n \"StartAt\": \"S\",\n \"States\": {\n  \"S\": {\"Type\": \"Pass\", \"Next\": \"Nowhere\"}\n }\n}";
    assert_eq!(parse(text).1[0].place, (4, 33));
    assert_eq!(parse("{\"StartAt\": \"S\",}").1[0].code.name(), "INVALID_JSON_DESCRIPTION");
    assert_eq!(parse("{\"a\": 1, \"a\": 2}").1[0].place, (1, 10));
}

#[test]
fn hostile_definitions_are_refused_in_time() {
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(parse(&deep).0.is_none());
    let mut nested = json!({"StartAt": "X", "States": {"X": {"Type": "Succeed"}}});
    for level in 0..60 {
        let name = format!("P{level}");
        let mut states = serde_json::Map::new();
        states.insert(name.clone(), json!({"Type": "Parallel", "Branches": [nested], "End": true}));
        nested = json!({"StartAt": name, "States": states});
    }
    let (parsed, diagnostics) = parse(&nested.to_string());
    assert!(
        parsed.is_none() && diagnostics.iter().any(|found| found.message.contains("nested")),
        "{diagnostics:?}"
    );
    let huge = json!({"StartAt": "S", "States": {"S": {"Type": "Pass", "Comment": "x".repeat(1 << 20), "End": true}}});
    assert!(parse(&huge.to_string()).1[0].message.contains("bytes"));
    let many: serde_json::Map<String, Value> =
        (0..5000).map(|index| (format!("S{index}"), json!({"Type": "X"}))).collect();
    assert_eq!(parse(&json!({"StartAt": "S0", "States": many}).to_string()).1.len(), 1000);
}

#[test]
fn variables_that_a_state_reads_are_known() {
    let definition = machine(json!({
        "S": {"Type": "Pass", "Assign": {"a": 1}, "Next": "T"},
        "T": {"Type": "Pass", "Parameters": {"x.$": "$a.b", "y.$": "States.Format('{}', $c)"}, "Next": "U"},
        "U": {"QueryLanguage": "JSONata", "Type": "Pass", "Output": "{% $a + $states.input.z %}", "End": true},
    }));
    let (parsed, _) = parse(&definition.to_string());
    let references = parsed.unwrap().variable_references;
    assert_eq!(references["T"], ["a".into(), "c".into()]);
    assert_eq!(references["U"], ["a".into()]);
    assert!(!references.contains_key("S"));
}
