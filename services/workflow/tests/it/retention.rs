//! What ended long ago leaves, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn start(server: &Server, machine: &str, name: &str, input: &Value) -> Value {
    let input = json!({ "stateMachineArn": format!("{PREFIX}:stateMachine:{machine}"), "name": name, "input": input.to_string() });
    let started = server.call("StartExecution", input).unwrap();
    json!({ "executionArn": started["executionArn"] })
}

#[test]
fn executions_leave_with_everything_below_them() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(3));
    let server = Server::start(&store, &around).unwrap();
    let end = json!({ "Type": "Pass", "End": true });
    let machines = [
        ("pure", json!({ "StartAt": "P", "States": { "P": end } })),
        (
            "waits",
            json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 90_000_000, "End": true } } }),
        ),
        (
            "maps",
            json!({ "StartAt": "D", "States": { "D": { "Type": "Map", "End": true, "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "I", "States": { "I": end } } } } }),
        ),
    ];
    for (name, definition) in machines {
        let input = json!({ "name": name, "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
        server.call("CreateStateMachine", input).unwrap();
    }
    let documents = || -> Vec<String> {
        store.snapshot().unwrap().scan_all("").unwrap().into_iter().map(|found| found.key).collect()
    };
    let before = documents();
    start(&server, "pure", "old", &json!({}));
    let mapped = start(&server, "maps", "old", &json!([1, 2, 3]));
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.call("DescribeExecution", mapped.clone()).unwrap()["status"] == "RUNNING" {
        assert!(Instant::now() < deadline, "the map run never ends");
        std::thread::yield_now();
    }
    let waits = start(&server, "waits", "old", &json!({}));
    around.now_ms.fetch_add(60 * DAY_MS, Ordering::SeqCst);
    let young = start(&server, "pure", "young", &json!({}));
    assert_eq!(server.engine.sweep(), Ok(0), "nothing is old");
    around.now_ms.fetch_add(31 * DAY_MS, Ordering::SeqCst);
    assert_eq!(server.engine.sweep(), Ok(2));
    assert_eq!(server.call("DescribeExecution", mapped), Err("ExecutionDoesNotExist".to_owned()));
    for kept in [young, waits] {
        assert!(server.call("DescribeExecution", kept).is_ok());
    }
    let left: Vec<String> = documents()
        .into_iter()
        .filter(|key| !before.contains(key) && !key.contains("/young") && !key.contains("waits"))
        .filter(|key| !key.starts_with("revision/"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
