//! Task tokens in time, and across restarts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_store::Store as _;
use selvedge_store::memory::{Fault, Memory, Point};
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

fn send(server: &Server, token: &Value, output: &str) -> Result<Value, String> {
    server.call("SendTaskSuccess", json!({ "taskToken": token, "output": output }))
}

/// Results that came after their tasks had ended.
fn late_results(store: &Memory) -> Vec<Value> {
    let found = store.snapshot().unwrap().scan_all("dead-loose/").unwrap();
    found.iter().map(|found| serde_json::from_slice(&found.value).unwrap()).collect()
}

#[test]
fn what_became_of_a_tokens_task_is_known_after_a_restart() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let mut server = Server::start(&store, &around).unwrap();
    let machine =
        works(&server, json!({ "Type": "Task", "Resource": activity(), "TimeoutSeconds": 60, "End": true }));
    let start = |server: &Server| {
        let started = server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
        (started["executionArn"].clone(), server.take(&activity())["taskToken"].clone())
    };
    let (_, answered) = start(&server);
    send(&server, &answered, "1").unwrap();
    let (timed_out_execution, timed_out) = start(&server);
    around.now_ms.fetch_add(60_000, Ordering::SeqCst);
    assert_eq!(send(&server, &timed_out, "no JSON"), Err("InvalidOutput".to_owned()));
    let heartbeat = server.call("SendTaskHeartbeat", json!({ "taskToken": timed_out }));
    assert_eq!(heartbeat, Err("TaskTimedOut".to_owned()));
    let (stopped_execution, stopped) = start(&server);
    server.call("StopExecution", json!({ "executionArn": stopped_execution })).unwrap();
    let (_, open) = start(&server);
    for life in 0..2 {
        drop(server);
        server = Server::start(&store, &around).unwrap();
        // Used up: nobody's work is lost.
        assert_eq!(send(&server, &answered, "2"), Err("TaskTimedOut".to_owned()), "life {life}");
        assert_eq!(send(&server, &timed_out, "3"), Err("TaskTimedOut".to_owned()), "life {life}");
        assert_eq!(send(&server, &stopped, "4"), Err("TaskTimedOut".to_owned()), "life {life}");
        assert_eq!(send(&server, &json!("A".repeat(64)), "5"), Err("InvalidToken".to_owned()), "life {life}");
        let kept = late_results(&store);
        let kept: Vec<_> = kept.iter().map(|letter| (&letter["execution"], &letter["payload"])).collect();
        assert_eq!(kept.len(), 2, "each late result is kept once: {kept:?}");
        assert!(kept.contains(&(&timed_out_execution, &json!("3"))), "{kept:?}");
        assert!(kept.contains(&(&stopped_execution, &json!("4"))), "{kept:?}");
    }
    send(&server, &open, "6").unwrap();
    assert_eq!(send(&server, &open, "7"), Err("TaskTimedOut".to_owned()));
}

#[test]
fn a_late_result_that_cannot_be_kept_is_asked_for_again() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let server = Server::start(&store, &around).unwrap();
    let machine =
        works(&server, json!({ "Type": "Task", "Resource": activity(), "TimeoutSeconds": 60, "End": true }));
    server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
    let token = server.take(&activity())["taskToken"].clone();
    around.now_ms.fetch_add(60_000, Ordering::SeqCst);
    assert!(server.call("SendTaskHeartbeat", json!({ "taskToken": token })).is_err(), "it is late");
    store.fail_with(Some(Box::new(|point| (point == Point::Transact).then_some(Fault::Unavailable))));
    assert_eq!(send(&server, &token, "1"), Err("ServiceUnavailable".to_owned()));
    store.fail_with(None);
    assert_eq!(send(&server, &token, "1"), Err("TaskTimedOut".to_owned()));
    assert_eq!(late_results(&store).len(), 1);
}
