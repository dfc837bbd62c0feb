//! Branches below a state.

use serde_json::{Value, json};

use crate::world::{Answer, World, machine};

const TASK: &str = "arn:aws:states:::lambda:invoke";

fn branch(name: &str, state: Value) -> Value {
    let mut states = serde_json::Map::new();
    states.insert(name.to_owned(), state);
    json!({"StartAt": name, "States": states})
}

#[test]
fn parallel_gathers_in_order() {
    let definition =
        machine(json!({"S": {"Type": "Parallel", "End": true, "ResultPath": "$.r", "Branches": [
            branch("A", json!({"Type": "Wait", "Seconds": 5, "End": true})),
            branch("B", json!({"Type": "Pass", "Result": "b", "End": true})),
        ]}}));
    assert_eq!(
        World::new(&definition, &json!({"x": 1})).run().output(),
        json!({"x": 1, "r": [{"x": 1}, "b"]})
    );
}

#[test]
fn one_branch_that_fails_ends_the_others() {
    let definition = |more: Value| {
        let mut state = json!({"Type": "Parallel", "End": true, "Branches": [
            branch("A", json!({"Type": "Task", "Resource": TASK, "End": true})),
            branch("B", json!({"Type": "Task", "Resource": TASK, "End": true})),
        ]});
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        machine(json!({"S": state, "Caught": {"Type": "Pass", "End": true}}))
    };
    let world = |more: Value| {
        World::new(&definition(more), &json!({}))
            .answer("A", Answer::Silence)
            .answer("B", Answer::Error("E", "c"))
    };
    let failed = machine(json!({"S": definition(json!({}))["States"]["S"]}));
    let failed = World::new(&failed, &json!({}))
        .answer("A", Answer::Silence)
        .answer("B", Answer::Error("E", "c"))
        .run();
    assert_eq!(failed.failure(), ("E".into(), "c".into()));
    assert_eq!(failed.cancelled, [failed.requests[0].id]);
    assert_eq!(
        failed.types().iter().rev().take(3).rev().cloned().collect::<Vec<_>>(),
        ["TaskStateAborted", "ParallelStateFailed", "ExecutionFailed"]
    );
    let caught = world(json!({"Catch": [{"ErrorEquals": ["E"], "Next": "Caught"}]})).run();
    assert_eq!(caught.output(), json!({"Error": "E", "Cause": "c"}));
}

#[test]
fn a_parallel_state_is_tried_anew_as_a_whole() {
    let definition = machine(
        json!({"S": {"Type": "Parallel", "End": true, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 1}],
        "Branches": [branch("A", json!({"Type": "Task", "Resource": TASK, "End": true}))]}}),
    );
    let world = World::new(&definition, &json!(1)).answer("A", Answer::Error("E", "")).run();
    assert_eq!(world.output(), json!([1]));
    assert_eq!(world.requests.len(), 2);
}

#[test]
fn map_runs_each_item() {
    let definition = |more: Value| {
        let mut state = json!({"Type": "Map", "End": true, "ItemsPath": "$.list",
            "ItemProcessor": branch("I", json!({"Type": "Task", "Resource": TASK, "End": true}))});
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        machine(json!({"S": state}))
    };
    let input = json!({"list": ["a", "b", "c"], "k": 9});
    assert_eq!(World::new(&definition(json!({})), &input).run().output(), json!(["a", "b", "c"]));
    let selector =
        json!({"ItemSelector": {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index", "k.$": "$.k"}});
    assert_eq!(
        World::new(&definition(selector), &input).run().output()[1],
        json!({"v": "b", "i": 1, "k": 9})
    );
    assert_eq!(World::new(&definition(json!({})), &json!({"list": []})).run().output(), json!([]));
    let (error, cause) = World::new(&definition(json!({})), &json!({"list": 1})).run().failure();
    assert_eq!(error, "States.Runtime");
    assert!(cause.contains("must point to array"), "{cause}");
    // No more than so many at once.
    let mut world = World::new(&definition(json!({"MaxConcurrency": 2})), &input);
    for _ in 0..3 {
        world = world.answer("I", Answer::Silence);
    }
    assert_eq!(world.run().requests.len(), 2);
}

#[test]
fn failures_are_tolerated_up_to_their_number() {
    let definition = |count: u64| {
        machine(json!({"S": {"Type": "Map", "End": true, "ToleratedFailureCount": count, "MaxConcurrency": 1,
            "ItemProcessor": branch("I", json!({"Type": "Task", "Resource": TASK, "End": true}))}}))
    };
    let world = |count: u64| {
        World::new(&definition(count), &json!([1, 2, 3]))
            .answer("I", Answer::Error("E", "c"))
            .answer("I", Answer::Output(json!("two")))
            .run()
    };
    assert_eq!(world(1).output(), json!([{"Error": "E", "Cause": "c"}, "two", 3]));
    assert_eq!(world(0).failure().0, "States.ExceedToleratedFailureThreshold");
}

#[test]
fn a_share_of_a_hundred_need_not_be_whole() {
    let run = |language: &str, field: &str, value: Value, failing: usize| {
        let definition = machine(
            json!({"S": {"Type": "Map", "QueryLanguage": language, "End": true, "MaxConcurrency": 1, field: value,
            "ItemProcessor": branch("I", json!({"Type": "Task", "Resource": TASK, "End": true}))}}),
        );
        let mut definition = definition;
        if language == "JSONata" {
            definition["States"]["S"]["Items"] = "{% $states.input.items %}".into();
        } else {
            definition["States"]["S"]["ItemsPath"] = "$.items".into();
        }
        let input = json!({"items": vec![1; 1000], "share": 0.25});
        let mut world = World::new(&definition, &input);
        for _ in 0..failing {
            world = world.answer("I", Answer::Error("E", "c"));
        }
        world.run().execution.failure().and_then(|failure| failure.error.clone())
    };
    let exceeded = Some("States.ExceedToleratedFailureThreshold".to_owned());
    for (language, field, value) in [
        ("JSONPath", "ToleratedFailurePercentage", json!(0.25)),
        ("JSONPath", "ToleratedFailurePercentagePath", json!("$.share")),
        ("JSONata", "ToleratedFailurePercentage", json!("{% $states.input.share %}")),
    ] {
        assert_eq!(run(language, field, value.clone(), 2), None, "{field} {value}");
        assert_eq!(run(language, field, value, 3), exceeded, "{field}");
    }
    let wrong = run("JSONPath", "ToleratedFailurePercentagePath", json!("$.items"), 0);
    assert_eq!(wrong.as_deref(), Some("States.Runtime"));
}

#[test]
fn branches_read_outer_variables_and_keep_their_own() {
    let definition = machine(json!({
        "S": {"Type": "Pass", "Assign": {"outer": 1}, "Next": "P"},
        "P": {"Type": "Parallel", "Next": "T", "Branches": [
            {"StartAt": "A", "States": {"A": {"Type": "Pass", "Assign": {"inner.$": "$outer"}, "Next": "A2"},
                "A2": {"Type": "Pass", "Parameters": {"i.$": "$inner"}, "End": true}}},
        ]},
        "T": {"Type": "Pass", "Parameters": {"got.$": "$", "inner.$": "$inner"}, "End": true},
    }));
    let (error, cause) = World::new(&definition, &json!({})).run().failure();
    assert_eq!(error, "States.Runtime");
    assert!(cause.contains("'$inner' has not been assigned"), "{cause}");
}

#[test]
fn a_distributed_map_is_the_worlds_work() {
    let definition = machine(
        json!({"S": {"Type": "Map", "End": true, "Label": "L", "MaxConcurrency": 7, "ToleratedFailurePercentage": 5,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}, "StartAt": "I", "States": {"I": {"Type": "Succeed"}}},
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "JSON"}, "Parameters": {"Bucket": "b", "Key.$": "$.key"}}}}),
    );
    let world = World::new(&definition, &json!({"key": "k"})).run();
    assert_eq!(world.output(), json!({"Bucket": "b", "Key": "k"}));
    assert_eq!(
        world.types(),
        [
            "ExecutionStarted",
            "MapStateEntered",
            "MapStateStarted",
            "MapRunStarted",
            "MapRunSucceeded",
            "MapStateSucceeded",
            "MapStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[test]
fn json_ata_maps_over_an_object() {
    let definition = machine(
        json!({"S": {"QueryLanguage": "JSONata", "Type": "Map", "End": true, "Items": {"a": 1, "b": 2},
        "ItemSelector": {"key": "{% $states.context.Map.Item.Key %}", "value": "{% $states.context.Map.Item.Value %}"},
        "ItemProcessor": branch("I", json!({"Type": "Succeed"}))}}),
    );
    assert_eq!(
        World::new(&definition, &json!({})).run().output(),
        json!([{"key": "a", "value": 1}, {"key": "b", "value": 2}])
    );
}
