//! Two workers over one store: the later one has the executions.

use std::sync::Arc;

use selvedge_store::memory::Memory;
use serde_json::json;

use crate::world::{Around, PREFIX, Server, history};

#[test]
fn a_worker_that_was_paused_writes_nothing_after_another_took_over() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let paused = Server::start(&store, &around).unwrap();
    paused.call("CreateActivity", json!({ "name": "work" })).unwrap();
    let definition = json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "End": true,
        "Resource": format!("{PREFIX}:activity:work") } } });
    let machine = json!({ "name": "works", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    let machine = paused.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone();
    let started = paused.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e" })).unwrap();
    let arn = started["executionArn"].as_str().unwrap();
    let task = paused.take(&format!("{PREFIX}:activity:work"));
    let answer = |output: &str| json!({ "taskToken": task["taskToken"], "output": output });

    // It stops for a minute; another worker takes over and ends the task.
    let other = Server::start(&store, &around).unwrap();
    other.call("SendTaskSuccess", answer("\"other\"")).unwrap();

    // It comes back and knows nothing of that: what it does is refused, and recorded nowhere.
    assert_eq!(paused.call("SendTaskSuccess", answer("\"paused\"")), Err("ServiceUnavailable".to_owned()));
    paused.call("StopExecution", json!({ "executionArn": arn })).unwrap();
    let refused = paused.call("StartExecution", json!({ "stateMachineArn": machine, "name": "late" }));
    assert_eq!(refused, Err("ServiceUnavailable".to_owned()));
    let found = other.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
    assert_eq!((&found["status"], &found["output"]), (&json!("SUCCEEDED"), &json!("\"other\"")));
    let events = history(&other, arn);
    assert_eq!(events.iter().filter(|event| event["type"] == "ActivitySucceeded").count(), 1);
}
