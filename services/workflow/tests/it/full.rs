//! A store that takes nothing for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_store::memory::{Fault, Memory, Point};
use selvedge_workflow::{Drive, Settings};
use serde_json::json;

use crate::world::{Around, PREFIX, Server, history};

#[test]
fn what_is_due_while_the_store_is_full_is_tried_once_a_second_and_goes_on_when_it_is_not() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let settings = Settings { drive: Drive::Steps, ..Settings::default() };
    let server = Server::start_with(&store, &around, settings).unwrap();
    let definition =
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 60, "End": true } } });
    let machine = json!({ "name": "waits", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    server.call("CreateStateMachine", machine).unwrap();
    let machine = format!("{PREFIX}:stateMachine:waits");
    let started = server.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e" })).unwrap();
    let tried = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&tried);
    store.fail_with(Some(Box::new(move |point| {
        (point == Point::Transact).then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            Fault::Full
        })
    })));
    let now_ms = around.now_ms.fetch_add(60_000, Ordering::SeqCst) + 60_000;
    for second in 0..100 {
        around.now_ms.store(now_ms + second * 1000, Ordering::SeqCst);
        server.engine.handle_timeout();
        let next_ms = server.engine.next_timeout().expect("it is tried again");
        assert!(next_ms > now_ms + second * 1000, "not at once");
    }
    assert_eq!(tried.load(Ordering::SeqCst), 100);
    let refused = server.told("StartExecution", json!({ "stateMachineArn": machine, "name": "other" }));
    assert!(refused.is_err(), "nothing is acknowledged that is not stored");
    store.fail_with(None);
    around.now_ms.fetch_add(1000, Ordering::SeqCst);
    server.engine.handle_timeout();
    let arn = started["executionArn"].as_str().unwrap();
    let found = server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
    assert_eq!(found["status"], "SUCCEEDED", "{found}");
    assert_eq!(history(&server, arn).len(), 4);
    assert_eq!(server.engine.next_timeout(), None, "nothing is left over");
    let other = server.call("DescribeExecution", json!({ "executionArn": arn.replace(":e", ":other") }));
    assert!(other.is_err());
}
