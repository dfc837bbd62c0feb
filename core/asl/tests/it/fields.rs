//! What is written in a field and is no value of it: each is told, with its place, and none is taken for nothing.

use selvedge_asl::{MachineType, Severity, parse, parse_as};
use serde_json::{Value, json};

use crate::world::machine;

#[track_caller]
fn check(state: &Value, expected: &[&str]) {
    let (_, diagnostics) = parse(&machine(json!({ "S": state })).to_string());
    let found: Vec<&str> = diagnostics
        .iter()
        .map(|found| found.location.strip_prefix("/States/S").unwrap_or(&found.location))
        .collect();
    assert_eq!(found, expected, "{state}\n{diagnostics:#?}");
}

#[test]
fn null_is_no_path_where_something_must_be_found() {
    for state in [
        json!({ "Type": "Wait", "SecondsPath": null, "End": true }),
        json!({ "Type": "Wait", "TimestampPath": null, "End": true }),
        json!({ "Type": "Task", "Resource": "arn:aws:states:::a:b", "TimeoutSecondsPath": null, "End": true }),
        json!({ "Type": "Task", "Resource": "arn:aws:states:::a:b", "HeartbeatSecondsPath": null, "End": true }),
    ] {
        let field = state.as_object().unwrap().keys().find(|name| name.ends_with("Path")).unwrap().clone();
        check(&state, &[&format!("/{field}")]);
    }
    for field in
        ["ItemsPath", "MaxConcurrencyPath", "ToleratedFailureCountPath", "ToleratedFailurePercentagePath"]
    {
        let mut state = map(json!({}));
        state[field] = Value::Null;
        check(&state, &[&format!("/{field}")]);
    }
    // Where nothing may be chosen, null says so.
    for field in ["InputPath", "OutputPath", "ResultPath"] {
        let mut state = json!({ "Type": "Pass", "End": true });
        state[field] = Value::Null;
        check(&state, &[]);
    }
}

#[test]
fn another_kind_of_value_is_told_of() {
    let pass = |field: &str, value: Value| {
        let mut state = json!({ "Type": "Pass", "End": true });
        state[field] = value;
        state
    };
    for field in ["Comment", "InputPath", "OutputPath", "ResultPath", "Assign", "QueryLanguage"] {
        check(&pass(field, json!(5)), &[&format!("/{field}")]);
    }
    // A template is an object: a bare path would be passed on as a text.
    for field in ["Parameters", "ResultSelector", "Credentials"] {
        for value in [json!("$.a"), json!([]), Value::Null] {
            let mut state = json!({ "Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true });
            state[field] = value;
            check(&state, &[&format!("/{field}")]);
        }
    }
    check(&map(json!({ "ItemSelector": "$.a" })), &["/ItemSelector"]);
    check(&json!({ "Type": 5, "End": true }), &["/Type"]);
    check(&json!({ "Type": "Pass", "Next": 5 }), &["/Next"]);
    check(&json!({ "Type": "Pass", "End": "true" }), &["/End"]);
    check(&json!({ "Type": "Task", "Resource": 5, "End": true }), &["/Resource"]);
    check(&json!({ "Type": "Wait", "Seconds": "5", "End": true }), &["/Seconds"]);
    check(&json!({ "Type": "Wait", "Timestamp": 5, "End": true }), &["/Timestamp"]);
    check(&json!({ "Type": "Fail", "Error": 5 }), &["/Error"]);
    check(&json!({ "Type": "Parallel", "Branches": {}, "End": true }), &["/Branches"]);
    let choice = |rule: Value| json!({ "Type": "Choice", "Choices": [rule], "Default": "S" });
    check(&choice(json!({ "Variable": "$.a", "IsNull": true, "Next": 5 })), &["/Choices/0/Next"]);
    check(&choice(json!({ "Variable": 5, "IsNull": true, "Next": "S" })), &["/Choices/0/Variable"]);
    check(&choice(json!({ "And": {}, "Next": "S" })), &["/Choices/0/And"]);
    check(&choice(json!({ "Not": [], "Next": "S" })), &["/Choices/0/Not"]);
    check(&choice(json!([])), &["/Choices/0"]);
    let task = |field: &str, value: Value| {
        let mut state = json!({ "Type": "Task", "Resource": "arn:aws:states:::a:b", "End": true });
        state[field] = value;
        state
    };
    check(&task("Retry", json!({})), &["/Retry"]);
    check(&task("Retry", json!([{ "ErrorEquals": "E" }])), &["/Retry/0/ErrorEquals"]);
    check(&task("Retry", json!([{ "ErrorEquals": ["E"], "MaxAttempts": -1 }])), &["/Retry/0/MaxAttempts"]);
    check(&task("Catch", json!([{ "ErrorEquals": ["E"], "Next": 5 }])), &["/Catch/0/Next"]);
    check(&task("Catch", json!([{ "ErrorEquals": ["E"] }])), &["/Catch/0"]);
}

/// A distributed Map state with more fields.
fn map(more: Value) -> Value {
    let mut state = json!({ "Type": "Map", "End": true, "ItemProcessor": {
        "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
        "StartAt": "I", "States": { "I": { "Type": "Succeed" } } } });
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state
}

#[test]
fn a_map_states_configurations_are_looked_at_with_the_definition() {
    let reader = |config: Value| {
        map(json!({ "ItemReader": { "Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": config,
            "Parameters": { "Bucket": "b", "Key": "k" } } }))
    };
    for config in [
        json!({ "InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a"], "CSVDelimiter": "PIPE", "MaxItems": 5 }),
        json!({ "InputType": "JSON", "ItemsPointer": "/data/0", "MaxItemsPath": "$.most" }),
        json!({ "InputType": "JSONL" }),
        json!({ "InputType": "PARQUET" }),
        json!({ "InputType": "MANIFEST", "ManifestType": "S3_INVENTORY" }),
        json!({ "InputType": "CSV", "ManifestType": "ATHENA_DATA" }),
    ] {
        check(&reader(config), &[]);
    }
    for (config, place) in [
        (json!({}), ""),
        (json!({ "InputType": "XML" }), "/InputType"),
        (json!({ "InputType": 5 }), "/InputType"),
        (json!({ "InputType": "CSV", "CSVHeaderLocation": "LAST_ROW" }), "/CSVHeaderLocation"),
        (json!({ "InputType": "CSV", "CSVHeaderLocation": "GIVEN" }), ""),
        (json!({ "InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": [] }), "/CSVHeaders"),
        (json!({ "InputType": "CSV", "CSVDelimiter": ";" }), "/CSVDelimiter"),
        (json!({ "InputType": "JSON", "ItemsPointer": "data" }), "/ItemsPointer"),
        (json!({ "InputType": "JSON", "MaxItems": 0 }), "/MaxItems"),
        (json!({ "InputType": "JSON", "MaxItems": 1, "MaxItemsPath": "$.most" }), "/MaxItemsPath"),
        (json!({ "InputType": "JSON", "Transformation": "FLATTEN" }), "/Transformation"),
        (json!({ "ManifestType": "INVENTORY" }), "/ManifestType"),
        (json!({ "InputType": "JSON", "Nothing": 1 }), "/Nothing"),
    ] {
        check(&reader(config), &[&format!("/ItemReader/ReaderConfig{place}")]);
    }
    let resource = |resource: Value, more: Value| {
        let mut reader = json!({ "Resource": resource, "Parameters": { "Bucket": "b" } });
        reader.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        map(json!({ "ItemReader": reader }))
    };
    let list = json!("arn:aws:states:::s3:listObjectsV2");
    check(&resource(list.clone(), json!({})), &[]);
    check(&resource(list.clone(), json!({ "ReaderConfig": { "MaxItems": 3 } })), &[]);
    check(
        &resource(
            list,
            json!({ "ReaderConfig": { "Transformation": "LOAD_AND_FLATTEN", "InputType": "JSON" } }),
        ),
        &[],
    );
    check(&resource(json!("arn:aws:states:::s3:getObject"), json!({})), &["/ItemReader"]);
    check(&resource(json!("arn:aws:states:::sqs:receiveMessage"), json!({})), &["/ItemReader/Resource"]);
    check(&resource(json!(5), json!({})), &["/ItemReader/Resource"]);

    let batcher = |batcher: Value| map(json!({ "ItemBatcher": batcher }));
    check(&batcher(json!({ "MaxItemsPerBatch": 5, "BatchInput": { "a.$": "$.a" } })), &[]);
    check(&batcher(json!({ "MaxInputBytesPerBatchPath": "$.bytes" })), &[]);
    for (config, place) in [
        (json!({}), ""),
        (json!({ "BatchInput": {} }), ""),
        (json!({ "MaxItemsPerBatch": 0 }), "/MaxItemsPerBatch"),
        (json!({ "MaxInputBytesPerBatch": 262_145 }), "/MaxInputBytesPerBatch"),
        (json!({ "MaxItemsPerBatch": 5, "MaxItemsPerBatchPath": "$.n" }), "/MaxItemsPerBatchPath"),
        (json!({ "MaxItemsPerBatch": 5, "Most": 1 }), "/Most"),
    ] {
        check(&batcher(config), &[&format!("/ItemBatcher{place}")]);
    }

    let writer = |writer: Value| map(json!({ "ResultWriter": writer }));
    let (put, parameters) = (json!("arn:aws:states:::s3:putObject"), json!({ "Bucket": "b" }));
    check(&writer(json!({ "Resource": put, "Parameters": parameters })), &[]);
    check(&writer(json!({ "WriterConfig": { "Transformation": "COMPACT", "OutputType": "JSONL" } })), &[]);
    for (config, place) in [
        (json!({}), ""),
        (json!({ "Resource": put }), ""),
        (json!({ "Parameters": parameters, "WriterConfig": {} }), ""),
        (json!({ "Resource": "arn:aws:states:::s3:getObject", "Parameters": parameters }), "/Resource"),
        (json!({ "WriterConfig": { "Transformation": "SQUASH" } }), "/WriterConfig/Transformation"),
        (json!({ "WriterConfig": { "OutputType": "CSV" } }), "/WriterConfig/OutputType"),
        (json!({ "WriterConfig": { "Nothing": 1 } }), "/WriterConfig/Nothing"),
    ] {
        check(&writer(config), &[&format!("/ResultWriter{place}")]);
    }
}

#[test]
fn a_map_states_configurations_may_be_computed_in_json_ata() {
    let computed = "{% $states.input.x %}";
    check(
        &map(json!({ "QueryLanguage": "JSONata", "ToleratedFailurePercentage": computed,
            "ItemReader": { "Resource": "arn:aws:states:::s3:getObject", "Arguments": { "Bucket": "b", "Key": computed },
                "ReaderConfig": { "InputType": computed, "MaxItems": computed, "CSVHeaders": computed, "ItemsPointer": computed } },
            "ItemBatcher": { "MaxItemsPerBatch": computed, "BatchInput": computed },
            "ResultWriter": { "Resource": "arn:aws:states:::s3:putObject", "Arguments": { "Bucket": computed } } })),
        &[],
    );
    check(
        &map(json!({ "QueryLanguage": "JSONata", "ItemBatcher": { "MaxItemsPerBatchPath": "$.n" } })),
        &["/ItemBatcher/MaxItemsPerBatchPath"],
    );
}

#[test]
fn where_items_run_is_looked_at() {
    let processor = |config: Value| {
        json!({ "Type": "Map", "End": true, "ItemProcessor": { "ProcessorConfig": config,
            "StartAt": "I", "States": { "I": { "Type": "Succeed" } } } })
    };
    check(&processor(json!({})), &[]);
    check(&processor(json!({ "Mode": "INLINE" })), &[]);
    for (config, place) in [
        (json!(5), ""),
        (json!({ "Mode": "DISTRIBUTED" }), ""),
        (json!({ "Mode": "APART" }), "/Mode"),
        (json!({ "Mode": 5 }), "/Mode"),
        (json!({ "Mode": "DISTRIBUTED", "ExecutionType": "FAST" }), "/ExecutionType"),
        (json!({ "Mode": "INLINE", "Speed": 1 }), "/Speed"),
    ] {
        check(&processor(config), &[&format!("/ItemProcessor/ProcessorConfig{place}")]);
    }
    // What only executions of their own have.
    for field in ["Label", "ItemReader", "ItemBatcher", "ResultWriter"] {
        let mut state = processor(json!({ "Mode": "INLINE" }));
        state[field] = json!("x");
        check(&state, &[&format!("/{field}")]);
    }
}

#[test]
fn an_express_execution_waits_for_nobody_and_has_no_children() {
    let task = |resource: &str| json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "Resource": resource, "End": true } } });
    let check = |kind: MachineType, definition: &Value, expected: &[(&str, &str)]| {
        let (_, diagnostics) = parse_as(kind, &definition.to_string());
        let found: Vec<(&str, bool)> = diagnostics
            .iter()
            .zip(expected)
            .map(|(found, (_, message))| (&*found.location, found.message.contains(message)))
            .collect();
        let wanted: Vec<(&str, bool)> = expected.iter().map(|(location, _)| (*location, true)).collect();
        assert_eq!((found, diagnostics.len()), (wanted, expected.len()), "{definition} {diagnostics:#?}");
    };
    let waiting = [
        ("arn:aws:states:::states:startExecution.sync", "does not support '.sync' service integration"),
        ("arn:aws:states:::states:startExecution.sync:2", "does not support '.sync' service integration"),
        ("arn:aws:states:::sqs:sendMessage.waitForTaskToken", "does not support '.waitForTaskToken' service"),
        ("arn:aws:states:us-east-1:123456789012:activity:a", "does not support 'activity' service"),
    ];
    for (resource, message) in waiting {
        check(MachineType::Standard, &task(resource), &[]);
        check(MachineType::Express, &task(resource), &[("/States/T/Resource", message)]);
        // Within its branches as well, at their place; and in children that are express executions of a standard machine.
        let parallel =
            machine(json!({ "S": { "Type": "Parallel", "Branches": [task(resource)], "End": true } }));
        check(MachineType::Express, &parallel, &[("/States/S/Branches/0/States/T/Resource", message)]);
        for (kind, is_refused) in [("STANDARD", false), ("EXPRESS", true)] {
            let mut processor = task(resource);
            processor["ProcessorConfig"] = json!({ "Mode": "DISTRIBUTED", "ExecutionType": kind });
            let map = machine(json!({ "S": { "Type": "Map", "ItemProcessor": processor, "End": true } }));
            let place = [("/States/S/ItemProcessor/States/T/Resource", message)];
            check(MachineType::Standard, &map, if is_refused { &place } else { &[] });
        }
    }
    check(MachineType::Express, &task("arn:aws:states:::sqs:sendMessage"), &[]);
    let apart = machine(json!({ "S": map(json!({})) }));
    let place = "/States/S/ItemProcessor/ProcessorConfig/Mode";
    check(MachineType::Express, &apart, &[(place, "does not support the mode 'DISTRIBUTED'")]);
}

#[test]
fn what_looks_like_something_to_compute_and_is_none_is_a_warning() {
    let warnings = |state: Value| -> Vec<String> {
        let (definition, diagnostics) = parse(&machine(json!({ "S": state })).to_string());
        assert!(definition.is_some(), "a warning keeps nobody from making the machine: {diagnostics:#?}");
        assert!(
            diagnostics
                .iter()
                .all(|found| found.severity == Severity::Warning && found.code.name() == "NO_DOLLAR")
        );
        diagnostics.into_iter().map(|found| found.location).collect()
    };
    let found = warnings(json!({ "Type": "Pass", "End": true, "Parameters": {
        "a": "$.a", "b": { "c/d": "$$.Execution.Name" }, "e": ["$[0]", { "f": "States.UUID()" }],
        // These are computed, are no paths, or are read as paths by whoever gets them.
        "g.$": "$.g", "h": "$5", "i": "States. and more", "j": "in $.k", "ItemsPath": "$.l" } }));
    assert_eq!(
        found,
        ["/a", "/b/c~1d", "/e/0", "/e/1/f"].map(|place| format!("/States/S/Parameters{place}"))
    );
    let found = warnings(json!({ "Type": "Pass", "QueryLanguage": "JSONata", "End": true, "Output": {
        "a": " {% 1 %}", "b": ["{% 2 %} "], "c.$": "$.c", "d": "{% 3 %}", "e": "$.e" } }));
    assert_eq!(found, ["/a", "/b/0", "/c.$"].map(|place| format!("/States/S/Output{place}")));
    assert_eq!(
        warnings(json!({ "Type": "Pass", "QueryLanguage": "JSONata", "End": true, "Output": "{% 1 %} " })),
        ["/States/S/Output"]
    );
}
