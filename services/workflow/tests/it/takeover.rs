//! Two workers over one store: the later one has the executions.

use std::sync::Arc;

use selvedge_store::Store as _;
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
    // Nor does anything else of it reach the store: machines, tags, activities.
    let before = store.snapshot().unwrap().scan_all("").unwrap();
    let writes = [
        (
            "CreateStateMachine",
            json!({ "name": "other", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() }),
        ),
        ("DeleteStateMachine", json!({ "stateMachineArn": machine })),
        ("TagResource", json!({ "resourceArn": machine, "tags": [{ "key": "a", "value": "b" }] })),
        ("CreateActivity", json!({ "name": "more" })),
    ];
    for (operation, input) in writes {
        assert_eq!(paused.call(operation, input), Err("ServiceUnavailable".to_owned()), "{operation}");
    }
    assert_eq!(store.snapshot().unwrap().scan_all("").unwrap(), before);
    let found = other.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
    assert_eq!((&found["status"], &found["output"]), (&json!("SUCCEEDED"), &json!("\"other\"")));
    let events = history(&other, arn);
    assert_eq!(events.iter().filter(|event| event["type"] == "ActivitySucceeded").count(), 1);
}
