//! What an execution says that found no value where a path points.

use serde_json::{Value, json};

use crate::world::{World, machine};

/// Runs a state on `{"other":1}`; gives what follows the words that every cause begins with.
fn told(state: Value) -> String {
    let mut state = state;
    if state["Type"] != "Choice" && state["Type"] != "Fail" {
        state["End"] = json!(true);
    }
    let states = json!({"S": state, "E": {"Type": "Succeed"}});
    let definition = match state["Type"] == "Choice" {
        true => machine(states),
        false => machine(json!({"S": states["S"]})),
    };
    let (error, cause) = World::new(&definition, &json!({"other": 1})).run().failure();
    assert_eq!(error, "States.Runtime", "{cause}");
    let begin = "An error occurred while executing the state 'S' (entered at the event id #2). ";
    cause.strip_prefix(begin).unwrap_or_else(|| panic!("{cause}")).to_owned()
}

#[test]
fn a_template_names_path_field_and_value() {
    let pass = |parameters: Value| told(json!({"Type": "Pass", "Parameters": parameters}));
    assert_eq!(
        pass(json!({"v.$": "$.nope.deep"})),
        r#"The JSONPath '$.nope.deep' specified for the field 'v.$' could not be found in the input '{"other":1}'"#
    );
    // The key alone would not tell which of two.
    assert_eq!(
        pass(json!({"a": {"v.$": "$.other"}, "b": [{"v.$": "$.nope"}]})),
        r#"The JSONPath '$.nope' specified for the field 'v.$' could not be found in the input '{"other":1}' (the field is 'Parameters/b/0/v.$')"#
    );
    assert_eq!(
        pass(json!({"v.$": "States.Format('{}', States.Format('{}', $.nope))"})),
        r#"The function 'States.Format('{}', States.Format('{}', $.nope))' had the following error: The JsonPath argument for the field '$.nope' could not be found in the input '{"other":1}'"#
    );
    assert_eq!(
        pass(json!({"v.$": "States.ArrayLength($.other)"})).split(" had ").next(),
        Some("The function 'States.ArrayLength($.other)'")
    );
    assert_eq!(
        pass(json!({"v.$": "$$.Execution.Nothing"})),
        "The JSONPath '$$.Execution.Nothing' specified for the field 'v.$' could not be found in the context object"
    );
    assert_eq!(
        pass(json!({"v.$": "$nobody.x"})),
        "The JSONPath '$nobody.x' specified for the field 'v.$' could not be found: the variable '$nobody' has not been assigned"
    );
    let selected = told(json!({"Type": "Pass", "Result": {"r": 2}, "Assign": {"v.$": "$.gone"}}));
    assert!(
        selected.contains("for the field 'v.$' could not be found in the input '{\"r\":2}'"),
        "{selected}"
    );
}

#[test]
fn a_path_names_its_field() {
    for (state, expected) in [
        (
            json!({"Type": "Pass", "InputPath": "$.nope"}),
            "Invalid path '$.nope' : No results for path: $['nope'] (the field is 'InputPath')",
        ),
        (
            json!({"Type": "Pass", "OutputPath": "$.a.b"}),
            "Invalid path '$.a.b' : Missing property in path $['a'] (the field is 'OutputPath')",
        ),
        (
            json!({"Type": "Wait", "SecondsPath": "$.nope"}),
            "The SecondsPath parameter does not reference an input value: $.nope",
        ),
        (
            json!({"Type": "Wait", "TimestampPath": "$.nope"}),
            "The TimestampPath parameter does not reference an input value: $.nope",
        ),
        (
            json!({"Type": "Wait", "TimestampPath": "$.other"}),
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: $.other == 1",
        ),
        (
            json!({"Type": "Wait", "SecondsPath": "$"}),
            r#"The SecondsPath parameter cannot be parsed as a long value: $ == {"other":1}"#,
        ),
        (
            json!({"Type": "Choice", "Choices": [{"Variable": "$.nope", "BooleanEquals": true, "Next": "E"}]}),
            "Invalid path '$.nope': The choice state's condition path references an invalid value.",
        ),
        (
            json!({"Type": "Fail", "ErrorPath": "$.nope"}),
            r#"The JSONPath '$.nope' specified for the field 'ErrorPath' could not be found in the input '{"other":1}'"#,
        ),
        (
            json!({"Type": "Map", "ItemsPath": "$.nope", "ItemProcessor": {
                "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}}),
            r#"The JSONPath '$.nope' specified for the field 'ItemsPath' could not be found in the input '{"other":1}'"#,
        ),
    ] {
        assert_eq!(told(state), expected);
    }
}
