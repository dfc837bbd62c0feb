//! Bounds that take many calls to come to, and what is done otherwise than by the original on purpose.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use selvedge_workflow::Settings;
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const ROLE: &str = "arn:aws:iam::123456789012:role/r";

fn server() -> (Arc<Memory>, Arc<Around>, Server) {
    let (store, around) = (Arc::new(Memory::new()), Around::new(11));
    let server = Server::start(&store, &around).unwrap();
    (store, around, server)
}

fn definition(state: &Value) -> String {
    json!({ "StartAt": "S", "States": { "S": state } }).to_string()
}

fn create(server: &Server, name: &str, state: &Value) -> Result<Value, String> {
    server
        .call("CreateStateMachine", json!({ "name": name, "roleArn": ROLE, "definition": definition(state) }))
}

fn pass() -> Value {
    json!({ "Type": "Pass", "End": true })
}

fn start(server: &Server, machine: &str) -> Value {
    let machine = format!("{PREFIX}:stateMachine:{machine}");
    let started = server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
    json!({ "executionArn": started["executionArn"] })
}

/// Documents that are there, whatever is in them.
fn fill(store: &Memory, prefix: &str, count: usize) {
    for first in (0..count).step_by(4000) {
        let filled = store.transact(&mut |tx| {
            for number in first..count.min(first + 4000) {
                tx.put(&format!("{prefix}{number:07}"), "{}".into())?;
            }
            Ok(())
        });
        filled.unwrap();
    }
}

#[test]
fn as_many_machines_and_activities_as_there_may_be() {
    let (store, _, server) = server();
    create(&server, "there", &pass()).unwrap();
    server.call("CreateActivity", json!({ "name": "there" })).unwrap();
    fill(&store, "machine/", 99_998);
    fill(&store, "activity/", 9_998);
    create(&server, "last", &pass()).unwrap();
    server.call("CreateActivity", json!({ "name": "last" })).unwrap();
    assert_eq!(create(&server, "more", &pass()), Err("StateMachineLimitExceeded".to_owned()));
    let refused = server.call("CreateActivity", json!({ "name": "more" }));
    assert_eq!(refused, Err("ActivityLimitExceeded".to_owned()));
    // What is there is found again, and one that leaves makes room.
    create(&server, "there", &pass()).unwrap();
    server.call("CreateActivity", json!({ "name": "there" })).unwrap();
    server
        .call("DeleteStateMachine", json!({ "stateMachineArn": format!("{PREFIX}:stateMachine:last") }))
        .unwrap();
    create(&server, "more", &pass()).unwrap();
}

#[test]
fn as_many_versions_and_aliases_as_there_may_be() {
    let (_, _, server) = server();
    let machine = create(&server, "versions", &pass()).unwrap()["stateMachineArn"].clone();
    let publish = |number: usize| {
        let state = json!({ "Type": "Pass", "Result": number, "End": true });
        let input = json!({ "stateMachineArn": machine, "definition": definition(&state), "publish": true });
        server.call("UpdateStateMachine", input)
    };
    for number in 0..1000 {
        publish(number).unwrap();
    }
    assert_eq!(publish(1000), Err("ServiceQuotaExceededException".to_owned()));
    let state = json!({ "Type": "Pass", "Result": 1000, "End": true });
    server
        .call("UpdateStateMachine", json!({ "stateMachineArn": machine, "definition": definition(&state) }))
        .unwrap();
    let refused = server.call("PublishStateMachineVersion", json!({ "stateMachineArn": machine }));
    assert_eq!(refused, Err("ServiceQuotaExceededException".to_owned()));
    let alias = |number: usize| {
        let version = format!("{}:1", machine.as_str().unwrap());
        let routing = json!([{ "stateMachineVersionArn": version, "weight": 100 }]);
        server.call(
            "CreateStateMachineAlias",
            json!({ "name": format!("a{number}"), "routingConfiguration": routing }),
        )
    };
    for number in 0..100 {
        alias(number).unwrap();
    }
    assert_eq!(alias(100), Err("ServiceQuotaExceededException".to_owned()));
    alias(99).unwrap();
}

#[test]
fn as_many_workers_as_may_wait() {
    let (_, _, server) = server();
    server.call("CreateActivity", json!({ "name": "busy" })).unwrap();
    let asked = json!({ "activityArn": format!("{PREFIX}:activity:busy") });
    let refused = server.many("GetActivityTask", &asked, 1001);
    assert_eq!(refused, ["ActivityWorkerLimitExceeded"]);
}

#[test]
fn a_token_of_an_execution_that_has_left() {
    let (_, around, server) = server();
    server.call("CreateActivity", json!({ "name": "work" })).unwrap();
    let activity = format!("{PREFIX}:activity:work");
    create(&server, "works", &json!({ "Type": "Task", "Resource": activity, "End": true })).unwrap();
    start(&server, "works");
    let token = server.take(&activity)["taskToken"].clone();
    server.call("SendTaskSuccess", json!({ "taskToken": token, "output": "1" })).unwrap();
    around.now_ms.fetch_add(91 * DAY_MS, Ordering::SeqCst);
    assert_eq!(server.engine.sweep(), Ok(1));
    for (operation, more) in
        [("SendTaskSuccess", Some("1")), ("SendTaskFailure", None), ("SendTaskHeartbeat", None)]
    {
        let mut input = json!({ "taskToken": token });
        if let Some(output) = more {
            input["output"] = output.into();
        }
        assert_eq!(server.call(operation, input), Err("TaskDoesNotExist".to_owned()), "{operation}");
    }
}

#[test]
fn executions_outlive_their_machine() {
    let (_, around, server) = server();
    let state = json!({ "Type": "Wait", "Seconds": 3600, "End": true });
    let machine = create(&server, "leaves", &state).unwrap()["stateMachineArn"].clone();
    let execution = start(&server, "leaves");
    server.call("DeleteStateMachine", json!({ "stateMachineArn": machine })).unwrap();
    assert_eq!(server.call("DescribeExecution", execution.clone()).unwrap()["status"], "RUNNING");
    around.now_ms.fetch_add(3_600_000, Ordering::SeqCst);
    server.engine.clock_was_set();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.call("DescribeExecution", execution.clone()).unwrap()["status"] != "SUCCEEDED" {
        assert!(std::time::Instant::now() < deadline, "it never ends");
        std::thread::yield_now();
    }
}

#[test]
fn a_redrive_after_a_month() {
    let (_, around, server) = server();
    create(&server, "fails", &json!({ "Type": "Fail", "Error": "E" })).unwrap();
    let execution = start(&server, "fails");
    around.now_ms.fetch_add(30 * DAY_MS, Ordering::SeqCst);
    server.call("RedriveExecution", execution.clone()).unwrap();
    assert_eq!(server.call("DescribeExecution", execution).unwrap()["redriveCount"], 1);
}

#[test]
fn a_page_is_gone_on_with_after_days() {
    let (_, around, server) = server();
    for name in ["a", "b"] {
        create(&server, name, &pass()).unwrap();
    }
    let first = server.call("ListStateMachines", json!({ "maxResults": 1 })).unwrap();
    around.now_ms.fetch_add(3 * DAY_MS, Ordering::SeqCst);
    let second = server.call("ListStateMachines", json!({ "nextToken": first["nextToken"] })).unwrap();
    assert_eq!(second["stateMachines"][0]["name"], "b");
}

#[test]
fn a_call_brings_no_more_in_the_extended_mode() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(11));
    let server =
        Server::start_with(&store, &around, Settings { is_extended: true, ..Settings::default() }).unwrap();
    create(&server, "large", &pass()).unwrap();
    let machine = format!("{PREFIX}:stateMachine:large");
    let input = json!("x".repeat(262_144)).to_string();
    let refused = server.call("StartExecution", json!({ "stateMachineArn": machine, "input": input }));
    assert_eq!(refused, Err("ValidationException".to_owned()));
}

#[test]
fn making_a_machine_again_is_judged_by_how_it_was_made() {
    let (_, _, server) = server();
    let made = |more: Value| {
        let mut input = json!({ "name": "again", "roleArn": ROLE, "definition": definition(&pass()) });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.call("CreateStateMachine", input)
    };
    let first = made(json!({})).unwrap();
    server
        .call("PublishStateMachineVersion", json!({ "stateMachineArn": first["stateMachineArn"] }))
        .unwrap();
    // A version that came later is another request's; roles and tags do not count.
    assert_eq!(
        made(json!({ "roleArn": format!("{ROLE}2"), "tags": [{ "key": "a", "value": "b" }] })),
        Ok(first)
    );
    assert_eq!(made(json!({ "publish": true })), Err("StateMachineAlreadyExists".to_owned()));
    let published = |name: &str, description: &str| {
        let input = json!({ "name": name, "roleArn": ROLE, "definition": definition(&pass()), "publish": true, "versionDescription": description });
        server.call("CreateStateMachine", input)
    };
    let first = published("with", "one").unwrap();
    assert_eq!(published("with", "one"), Ok(first));
    assert_eq!(published("with", "two"), Err("StateMachineAlreadyExists".to_owned()));
}
