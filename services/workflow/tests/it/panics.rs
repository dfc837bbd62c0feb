//! A step that panics in the timer's thread: the others have their time-outs, and it goes on itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use selvedge_store::memory::Memory;
use selvedge_store::{
    Abort, Change, Committed, Error, Read, Revision, Store, Subscription, Transaction, Wake,
};
use selvedge_workflow::Settings;
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server, history};

/// A store that panics once in the transaction of a time-out.
struct Trap {
    store: Memory,
    is_set: AtomicBool,
}

impl Store for Trap {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        let is_timer = std::thread::current().name() == Some("workflow-timer");
        assert!(!(is_timer && self.is_set.swap(false, Ordering::SeqCst)), "the trap of this test");
        self.store.transact(f)
    }

    fn snapshot(&self) -> Result<Box<dyn Read + '_>, Error> {
        self.store.snapshot()
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, Error> {
        self.store.changes(after, limit)
    }

    fn subscribe(&self, wake: Wake) -> Subscription {
        self.store.subscribe(wake)
    }
}

fn until_succeeded(server: &Server, arn: &Value) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
        if found["status"] == "SUCCEEDED" {
            return;
        }
        assert!(Instant::now() < deadline, "{found}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_time_out_that_panics_is_counted_and_done_again_and_the_others_have_theirs() {
    let (store, around) =
        (Arc::new(Trap { store: Memory::new(), is_set: AtomicBool::new(false) }), Around::new(3));
    let server = Server::over(Arc::<Trap>::clone(&store), &around, Settings::default()).unwrap();
    let definition =
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 60, "End": true } } });
    let machine = json!({ "name": "waits", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    server.call("CreateStateMachine", machine).unwrap();
    let start = |name: &str| {
        let input = json!({ "stateMachineArn": format!("{PREFIX}:stateMachine:waits"), "name": name });
        server.call("StartExecution", input).unwrap()["executionArn"].clone()
    };
    let arns = [start("a"), start("b"), start("c")];
    store.is_set.store(true, Ordering::SeqCst);
    around.now_ms.fetch_add(60_000, Ordering::SeqCst);
    server.engine.clock_was_set();
    for arn in &arns {
        until_succeeded(&server, arn);
        assert_eq!(history(&server, arn.as_str().unwrap()).len(), 4);
    }
    assert_eq!(server.engine.timer_panics(), 1);
    // The thread is there still.
    let later = start("d");
    around.now_ms.fetch_add(60_000, Ordering::SeqCst);
    server.engine.clock_was_set();
    until_succeeded(&server, &later);
}
