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
            "UNREACHABLE_STATE /States/L",
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
    ] {
        assert_eq!(findings(&machine(states.clone())), [expected], "{states}");
    }
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
