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

#[test]
fn revisions_leave_that_no_machine_no_version_and_no_execution_refers_to() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(4));
    let server = Server::start(&store, &around).unwrap();
    let definition = |seconds: usize| {
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": seconds, "End": true } } })
            .to_string()
    };
    let role = "arn:aws:iam::123456789012:role/r";
    let created = json!({ "name": "waits", "roleArn": role, "definition": definition(100_000) });
    let machine = server.call("CreateStateMachine", created).unwrap()["stateMachineArn"].clone();
    let update = |seconds: usize, publish: bool| {
        let input =
            json!({ "stateMachineArn": machine, "definition": definition(seconds), "publish": publish });
        server.call("UpdateStateMachine", input).unwrap();
    };
    let revisions = || store.snapshot().unwrap().scan_all("revision/waits/").unwrap().len();
    let first = start(&server, "waits", "first", &json!({}));
    update(100_001, true);
    for number in 2..=selvedge_workflow::REVISIONS_SPARE_MAX {
        update(100_000 + number, false);
    }
    let sweep_twice = || (server.engine.sweep().unwrap(), server.engine.sweep().unwrap());
    sweep_twice();
    let many = selvedge_workflow::REVISIONS_SPARE_MAX + 1;
    assert_eq!(revisions(), many, "as many as may be there are");
    update(200_000, false);
    update(200_001, false);
    server.engine.sweep().unwrap();
    assert_eq!(revisions(), many + 2, "one look is not enough");
    // One is in force once more before the second look.
    update(100_050, false);
    update(200_001, false);
    server.engine.sweep().unwrap();
    assert_eq!(
        revisions(),
        4,
        "the first execution's, the version's, the current one, and the one that was written again"
    );
    for kept in [&first, &start(&server, "waits", "second", &json!({}))] {
        let found = server.call("DescribeStateMachineForExecution", kept.clone()).unwrap();
        assert!(found["definition"].as_str().unwrap().contains("Wait"));
    }
    let version = json!({ "stateMachineArn": format!("{}:1", machine.as_str().unwrap()) });
    let found = server.call("DescribeStateMachine", version).unwrap();
    assert!(found["definition"].as_str().unwrap().contains("100001"));
    // The execution goes on by its own after a restart.
    drop(server);
    let server = Server::start(&store, &around).unwrap();
    let stopped = server.call("StopExecution", first.clone());
    assert!(stopped.is_ok(), "{stopped:?}");
    assert_eq!(server.call("DescribeExecution", first).unwrap()["status"], "ABORTED");
}
