//! Histories, event by event, with what each follows.

use serde_json::json;

use crate::world::{World, machine};

#[test]
fn the_first_entry_follows_nothing() {
    let world = World::new(&machine(json!({"S": {"Type": "Pass", "End": true}})), &json!({})).run();
    assert_eq!(
        world.history(),
        ["1<0 ExecutionStarted", "2<0 PassStateEntered", "3<2 PassStateExited", "4<3 ExecutionSucceeded"]
    );
}

#[test]
fn an_items_success_is_a_leaf() {
    let definition =
        machine(json!({"S": {"Type": "Map", "End": true, "MaxConcurrency": 1, "ItemProcessor": {
        "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}}}));
    let world = World::new(&definition, &json!([1, 2])).run();
    assert_eq!(
        world.history(),
        [
            "1<0 ExecutionStarted",
            "2<0 MapStateEntered",
            "3<2 MapStateStarted",
            "4<3 MapIterationStarted",
            "5<4 PassStateEntered",
            "6<5 PassStateExited",
            "7<6 MapIterationSucceeded",
            "8<6 MapIterationStarted",
            "9<8 PassStateEntered",
            "10<9 PassStateExited",
            "11<10 MapIterationSucceeded",
            "12<10 MapStateSucceeded",
            "13<10 MapStateExited",
            "14<13 ExecutionSucceeded",
        ]
    );
}

#[test]
fn fail_has_no_exit() {
    let world = World::new(&machine(json!({"S": {"Type": "Fail"}})), &json!({})).run();
    assert_eq!(world.history(), ["1<0 ExecutionStarted", "2<0 FailStateEntered", "3<2 ExecutionFailed"]);
    assert_eq!(world.events[2].detail.details(true), Some(("executionFailedEventDetails".into(), json!({}))));
}

#[test]
fn details_have_the_services_names() {
    let definition = machine(
        json!({"S": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "TimeoutSeconds": 9, "HeartbeatSeconds": 3, "Parameters": {"a": 1}, "Assign": {"v": 1}, "End": true}}),
    );
    let world = World::new(&definition, &json!({"x": [1, 2]})).run();
    let details = |index: usize, with_data: bool| world.events[index].detail.details(with_data).unwrap();
    assert_eq!(
        details(1, true),
        (
            "stateEnteredEventDetails".into(),
            json!({"name": "S", "input": "{\"x\":[1,2]}", "inputDetails": {"truncated": false}})
        )
    );
    assert_eq!(details(1, false), ("stateEnteredEventDetails".into(), json!({"name": "S"})));
    assert_eq!(
        details(2, true),
        (
            "taskScheduledEventDetails".into(),
            json!({"resourceType": "sqs", "resource": "sendMessage.waitForTaskToken", "region": "us-east-1",
                "parameters": "{\"a\":1}", "timeoutInSeconds": 9, "heartbeatInSeconds": 3})
        )
    );
    assert_eq!(details(5, true).1["assignedVariables"], json!({"v": "1"}));
}
