//! What each state makes of its input.

use serde_json::{Value, json};

use crate::world::{Answer, START_MS, World, machine};

const TASK: &str = "arn:aws:states:::sqs:sendMessage";

#[track_caller]
fn check(state: Value, input: &Value, expected: &Value) {
    let world = World::new(&machine(json!({ "S": state })), input).run();
    assert_eq!(&world.output(), expected);
}

#[test]
fn pass_shapes_data_in_the_pipelines_order() {
    let input = json!({"a": {"b": 1}, "keep": true});
    check(json!({"Type": "Pass", "End": true}), &input, &input);
    check(json!({"Type": "Pass", "Result": [1], "End": true}), &input, &json!([1]));
    check(
        json!({"Type": "Pass", "Result": [1], "ResultPath": "$.x.y", "End": true}),
        &input,
        &json!({"a": {"b": 1}, "keep": true, "x": {"y": [1]}}),
    );
    check(json!({"Type": "Pass", "InputPath": "$.a", "End": true}), &input, &json!({"b": 1}));
    check(json!({"Type": "Pass", "InputPath": null, "End": true}), &input, &json!({}));
    check(json!({"Type": "Pass", "OutputPath": "$.a.b", "End": true}), &input, &json!(1));
    check(json!({"Type": "Pass", "OutputPath": null, "End": true}), &input, &json!({}));
    check(json!({"Type": "Pass", "ResultPath": null, "Result": 1, "End": true}), &input, &input);
    // The result is put into the raw input, not into what InputPath chose.
    check(
        json!({"Type": "Pass", "InputPath": "$.a", "Parameters": {"c.$": "$.b"}, "ResultPath": "$.p", "End": true}),
        &input,
        &json!({"a": {"b": 1}, "keep": true, "p": {"c": 1}}),
    );
}

#[test]
fn the_context_object_tells_where_one_is() {
    check(
        json!({"Type": "Pass", "Parameters": {"id.$": "$$.Execution.Id", "name.$": "$$.State.Name", "at.$": "$$.Execution.StartTime",
            "in.$": "$$.Execution.Input", "m.$": "$$.StateMachine.Name", "n.$": "$$.Execution.RedriveCount"}, "End": true}),
        &json!({"x": 1}),
        &json!({"id": "arn:aws:states:us-east-1:000000000000:execution:M:e", "name": "S", "at": "2023-11-14T22:13:20.000Z",
            "in": {"x": 1}, "m": "M", "n": 0}),
    );
}

#[test]
fn task_sends_parameters_and_selects_from_its_result() {
    let state = json!({"Type": "Task", "Resource": TASK, "Parameters": {"q.$": "$.queue"}, "ResultSelector": {"id.$": "$.MessageId"},
        "ResultPath": "$.sent", "End": true});
    let world = World::new(&machine(json!({"S": state})), &json!({"queue": "u"}))
        .answer("S", Answer::Output(json!({"MessageId": "7", "More": 1})))
        .run();
    assert_eq!(world.requests[0].parameters, json!({"q": "u"}));
    assert_eq!(world.output(), json!({"queue": "u", "sent": {"id": "7"}}));
    assert!(world.requests[0].token.is_none());
}

#[test]
fn a_token_is_long_and_never_the_same() {
    let task = json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"t.$": "$$.Task.Token"}, "ResultPath": null, "Next": "T"});
    let mut last = task.clone();
    last["Next"] = Value::Null;
    last.as_object_mut().unwrap().remove("Next");
    last["End"] = json!(true);
    let world = World::new(&machine(json!({"S": task, "T": last})), &json!({})).run();
    let tokens: Vec<&str> =
        world.requests.iter().map(|request| request.parameters["t"].as_str().unwrap()).collect();
    assert_eq!(tokens[0].len(), 64);
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(world.requests[0].token.as_deref(), Some(tokens[0]));
}

#[test]
fn choice_takes_the_first_rule_that_holds() {
    let states = |default: Option<&str>| {
        let mut choice = json!({"Type": "Choice", "Choices": [
            {"Variable": "$.n", "NumericGreaterThan": 10, "Next": "Big"},
            {"And": [{"Variable": "$.n", "NumericGreaterThan": 1}, {"Not": {"Variable": "$.s", "IsPresent": true}}], "Next": "Small"},
        ]});
        if let Some(default) = default {
            choice["Default"] = json!(default);
        }
        let pass = |name: &str| json!({"Type": "Pass", "Result": name, "End": true});
        json!({"S": choice, "Big": pass("big"), "Small": pass("small"), "Other": pass("other")})
    };
    let run = |input: Value| World::new(&machine(states(Some("Other"))), &input).run().output();
    assert_eq!(run(json!({"n": 11})), json!("big"));
    assert_eq!(run(json!({"n": 2})), json!("small"));
    assert_eq!(run(json!({"n": 2, "s": 1})), json!("other"));
    assert_eq!(run(json!({"n": "text"})), json!("other"));
}

#[test]
fn a_choice_without_a_way_out_fails() {
    let states = json!({"S": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "E"}]},
        "E": {"Type": "Succeed"}});
    let (error, cause) = World::new(&machine(states.clone()), &json!({"n": 2})).run().failure();
    assert_eq!(error, "States.Runtime");
    assert!(cause.starts_with("An error occurred while executing the state 'S' (entered at the event id #2). Failed to transition"), "{cause}");
    let (error, cause) = World::new(&machine(states), &json!({})).run().failure();
    assert_eq!(error, "States.Runtime");
    assert!(
        cause.ends_with("Invalid path '$.n': The choice state's condition path references an invalid value."),
        "{cause}"
    );
}

#[test]
fn wait_waits_until_its_time() {
    let wait = |until: Value, input: Value| {
        let mut state = until;
        state["Type"] = json!("Wait");
        state["End"] = json!(true);
        let world = World::new(&machine(json!({"S": state})), &input).run();
        assert_eq!(world.output(), input);
        world.now_ms - START_MS
    };
    assert_eq!(wait(json!({"Seconds": 0}), json!({})), 0);
    assert_eq!(wait(json!({"Seconds": 10}), json!({})), 10_000);
    assert_eq!(wait(json!({"SecondsPath": "$.s"}), json!({"s": 3})), 3_000);
    assert_eq!(wait(json!({"Timestamp": "2023-11-14T22:13:25Z"}), json!({})), 5_000);
    assert_eq!(wait(json!({"Timestamp": "2001-01-01T00:00:00Z"}), json!({})), 0);
    assert_eq!(wait(json!({"TimestampPath": "$.t"}), json!({"t": "2023-11-14T22:13:20.250Z"})), 250);
}

#[test]
fn a_wait_with_a_wrong_value_fails() {
    for (field, path, input) in
        [("SecondsPath", "$.s", json!({"s": -1})), ("TimestampPath", "$.t", json!({"t": "soon"}))]
    {
        let mut state = json!({"Type": "Wait", "End": true});
        state[field] = json!(path);
        assert_eq!(World::new(&machine(json!({"S": state})), &input).run().failure().0, "States.Runtime");
    }
}

#[test]
fn fail_ends_with_what_it_says() {
    let fail = |fields: Value, input: Value| {
        let mut state = fields;
        state["Type"] = json!("Fail");
        World::new(&machine(json!({"S": state})), &input).run().failure()
    };
    assert_eq!(fail(json!({"Error": "E", "Cause": "c"}), json!({})), ("E".into(), "c".into()));
    assert_eq!(fail(json!({}), json!({})), (String::new(), String::new()));
    assert_eq!(
        fail(
            json!({"ErrorPath": "$.e", "CausePath": "States.Format('why: {}', $.w)"}),
            json!({"e": "X", "w": 1})
        ),
        ("X".into(), "why: 1".into())
    );
}

#[test]
fn variables_are_visible_from_the_next_state_on() {
    let states = json!({
        "S": {"Type": "Pass", "Assign": {"x.$": "$.n", "y": 2}, "Next": "Swap"},
        "Swap": {"Type": "Pass", "Assign": {"x.$": "$y", "y.$": "$x"}, "Next": "T"},
        "T": {"Type": "Pass", "Parameters": {"x.$": "$x", "y.$": "$y"}, "End": true},
    });
    assert_eq!(World::new(&machine(states), &json!({"n": 1})).run().output(), json!({"x": 2, "y": 1}));
}

#[test]
fn variables_have_bounds_and_a_scope_and_a_catcher_assigns_instead_of_its_state() {
    let kept = |bytes: usize| json!({"S": {"Type": "Pass", "Assign": {"x": "x".repeat(bytes)}, "Next": "T"}, "T": {"Type": "Pass", "Result": 1, "End": true}});
    let run = |states: Value| World::new(&machine(states), &json!({})).run();
    // Two bytes are quotes.
    assert_eq!(run(kept(selvedge_asl::VARIABLE_BYTES_MAX - 2)).output(), json!(1));
    assert_eq!(run(kept(selvedge_asl::VARIABLE_BYTES_MAX - 1)).failure().0, "States.DataLimitExceeded");
    // A quarter of a mebibyte each: all together have a bound as well, and it is the last one that is too much.
    let most = selvedge_asl::VARIABLES_BYTES_MAX / selvedge_asl::VARIABLE_BYTES_MAX;
    let mut states = serde_json::Map::new();
    let name = |index: usize| if index == 0 { "S".to_owned() } else { format!("S{index}") };
    for index in 0..=most {
        let assign = json!({ format!("x{index}.$"): "$.text" });
        states.insert(name(index), json!({"Type": "Pass", "Assign": assign, "Next": name(index + 1)}));
    }
    states.insert(name(most + 1), json!({"Type": "Succeed"}));
    let input = json!({"text": "y".repeat(selvedge_asl::VARIABLE_BYTES_MAX - 20)});
    let mut world = World::new(&machine(states.into()), &input);
    // What is read back after each step would take its time; where it takes longer than a turn, it goes on at once.
    world.with(|execution, at| execution.handle_start(at));
    while world.execution.next_timeout().is_some() {
        world.with(|execution, at| execution.handle_timeout(at));
    }
    assert_eq!(world.failure().0, "States.DataLimitExceeded");
    assert_eq!(world.execution.failed_state(), Some(&*name(most)));
    // Where a catcher takes an error, the state's own Assign is not computed.
    let caught = json!({
        "S": {"Type": "Task", "Resource": TASK, "Assign": {"own.$": "$.nothing"}, "End": true,
            "Catch": [{"ErrorEquals": ["E"], "Assign": {"why.$": "$.Error"}, "ResultPath": null, "Next": "C"}]},
        "C": {"Type": "Pass", "Parameters": {"why.$": "$why"}, "End": true},
    });
    let world = World::new(&machine(caught), &json!({})).answer("S", Answer::Error("E", "c")).run();
    assert_eq!(world.output(), json!({"why": "E"}));
}

#[test]
fn json_ata_states() {
    let states = json!({
        "S": {"QueryLanguage": "JSONata", "Type": "Task", "Resource": TASK,
            "Arguments": {"sum": "{% $sum($states.input.list) %}"},
            "Assign": {"total": "{% $states.result.sum %}"},
            "Output": {"got": "{% $states.result.sum + 1 %}", "name": "{% $states.context.State.Name %}"}, "Next": "C"},
        "C": {"QueryLanguage": "JSONata", "Type": "Choice", "Default": "No",
            "Choices": [{"Condition": "{% $total > 5 %}", "Next": "W", "Output": "{% $total %}"}]},
        "W": {"QueryLanguage": "JSONata", "Type": "Wait", "Seconds": "{% $states.input %}", "End": true},
        "No": {"Type": "Fail"},
    });
    let world = World::new(&machine(states), &json!({"list": [1, 2, 3]})).run();
    assert_eq!(world.requests[0].parameters, json!({"sum": 6}));
    assert_eq!(world.output(), json!(6));
    assert_eq!(world.now_ms - START_MS, 6_000);
}

#[test]
fn an_expression_without_a_value_is_an_error_that_can_be_caught() {
    let states = |catch: Value| {
        json!({
            "S": {"QueryLanguage": "JSONata", "Type": "Task", "Resource": TASK, "Output": "{% $states.result.nothing %}",
                "Catch": catch, "End": true},
            "Caught": {"QueryLanguage": "JSONata", "Type": "Pass", "Output": "{% $states.input.Error %}", "End": true},
        })
    };
    let caught = json!([{"ErrorEquals": ["States.QueryEvaluationError"], "Next": "Caught"}]);
    let world = World::new(&machine(states(caught)), &json!({})).run();
    assert_eq!(world.output(), json!("States.QueryEvaluationError"));
    assert!(world.types().contains(&"EvaluationFailed".to_owned()));
}

#[test]
fn a_result_that_is_too_large_is_an_error_of_its_own_state() {
    let states = json!({"S": {"Type": "Task", "Resource": TASK, "End": true}});
    let world = World::new(&machine(states), &json!({}))
        .answer("S", Answer::Output(json!("x".repeat(262_144))))
        .run();
    assert_eq!(world.failure().0, "States.DataLimitExceeded");
}

#[test]
fn a_loop_without_end_ends_at_the_histories_limit() {
    let states = json!({"S": {"Type": "Pass", "Next": "T"}, "T": {"Type": "Choice", "Default": "S",
        "Choices": [{"Variable": "$.stop", "IsPresent": true, "Next": "E"}]}, "E": {"Type": "Succeed"}});
    let world = World::new(&machine(states), &json!({})).run();
    assert_eq!(world.failure().0, "States.Runtime");
    assert_eq!(world.events.len(), 25_000);
}

#[test]
fn an_expression_that_fails_is_told_with_its_place_in_the_field() {
    for (output, place) in [
        (json!("{% $states.input.none %}"), "'Output'"),
        (json!({"a": {"b": [1, "{% $states.input.none %}"]}}), "'Output/a/b[1]'"),
    ] {
        let state = json!({"Type": "Pass", "QueryLanguage": "JSONata", "Output": output, "End": true});
        let (error, cause) = World::new(&machine(json!({"S": state})), &json!({})).run().failure();
        assert_eq!(error, "States.QueryEvaluationError");
        assert!(cause.contains(&format!("specified for the field {place} returned nothing")), "{cause}");
    }
}
