//! Task tokens in time, and across restarts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_store::memory::Memory;
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server, history};

fn works(server: &Server, task: Value) -> Value {
    server.call("CreateActivity", json!({ "name": "work" })).unwrap();
    let definition = json!({ "StartAt": "T", "States": { "T": task } });
    let machine = json!({ "name": "works", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    server.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone()
}

fn activity() -> String {
    format!("{PREFIX}:activity:work")
}

#[test]
fn an_answer_after_its_time_is_refused_before_the_timer_has_looked() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let server = Server::start(&store, &around).unwrap();
    let task = json!({ "Type": "Task", "Resource": activity(), "TimeoutSeconds": 60, "HeartbeatSeconds": 30, "End": true });
    let machine = works(&server, task);
    for operation in ["SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"] {
        let started = server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
        let token = server.take(&activity())["taskToken"].clone();
        // The timer sleeps for a second at a time, and nobody tells it that the clock has gone on.
        around.now_ms.fetch_add(30_000, Ordering::SeqCst);
        let mut answer = json!({ "taskToken": token });
        if operation == "SendTaskSuccess" {
            answer["output"] = "1".into();
        }
        let refused = server.call(operation, answer).expect_err(operation);
        assert_eq!(refused, "TaskTimedOut", "{operation}");
        let events = history(&server, started["executionArn"].as_str().unwrap());
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds[kinds.len() - 2..],
            ["ActivityTimedOut", "ExecutionFailed"],
            "{operation}: {kinds:?}"
        );
    }
}
