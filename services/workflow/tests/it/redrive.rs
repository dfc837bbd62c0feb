//! Many redrives, over a restart in their midst.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use selvedge_store::memory::Memory;
use selvedge_store::{
    Abort, Change, Committed, Error, Read, Revision, Store, Subscription, Transaction, Wake,
};
use selvedge_workflow::{Settings, api};
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server, history};

fn own(server: &Server, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request =
        api::Request { method, path, query: "", content_type: "", body: body.as_bytes(), actor: "ada" };
    let reply = api::handle(&server.engine, &request);
    assert!(reply.status < 300, "{path}: {}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

/// Looks until the run says so.
fn until(server: &Server, run: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = own(server, "GET", &format!("redrives/{run}"), &Value::Null);
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{found}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_that_is_cut_off_goes_on_after_a_restart_and_drives_nothing_on_twice() {
    const COUNT: u64 = 30;
    let (store, around) = (Arc::new(Memory::new()), Around::new(5));
    let server = Server::start(&store, &around).unwrap();
    let definition = json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": "Bad" } } });
    let machine = json!({ "name": "fails", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    let machine = server.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone();
    for name in 0..COUNT {
        let input = json!({ "stateMachineArn": machine, "name": format!("e{name}") });
        server.call("StartExecution", input).unwrap();
    }
    around.now_ms.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let run = own(&server, "POST", "redrives", &json!({ "machine": "fails", "rate": 100 }));
    let run = run["id"].as_str().unwrap().to_owned();
    until(&server, &run, |found| found["redriven"].as_u64() >= Some(3));
    drop(server);

    let server = Server::start(&store, &around).unwrap();
    let cut = own(&server, "GET", &format!("redrives/{run}"), &Value::Null);
    assert!(cut["redriven"].as_u64() < Some(COUNT), "it was over before it was cut off: {cut}");
    let done = until(&server, &run, |found| found["status"] == "DONE");
    // At the most the one that was under way goes uncounted.
    assert!(done["redriven"].as_u64() >= Some(COUNT - 1), "{done}");
    assert_eq!(done["refused"], 0, "{done}");
    for name in 0..COUNT {
        let arn = format!("{PREFIX}:execution:fails:e{name}");
        let events = history(&server, &arn);
        let redriven = events.iter().filter(|event| event["type"] == "ExecutionRedriven").count();
        assert_eq!(redriven, 1, "{arn}: what failed anew is not driven on anew");
    }
}

#[test]
fn of_many_who_drive_an_execution_on_at_a_time_one_does() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(6));
    let server = Server::start(&store, &around).unwrap();
    let definition = json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": "Bad" } } });
    let machine = json!({ "name": "fails", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    let machine = server.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone();
    let started = server.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e" })).unwrap();
    let arn = started["executionArn"].as_str().unwrap();
    let mut redriven = 0;
    for _ in 0..50 {
        let gate = Barrier::new(4);
        redriven += std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        server.call("RedriveExecution", json!({ "executionArn": arn })).is_ok()
                    })
                })
                .collect();
            clients.into_iter().map(|client| usize::from(client.join().unwrap())).sum::<usize>()
        });
    }
    // Whoever was told so has driven it on, and each time is in the history and in the trail once.
    let events = history(&server, arn);
    let ids: Vec<u64> = events.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=events.len() as u64).collect::<Vec<_>>());
    let count = events.iter().filter(|event| event["type"] == "ExecutionRedriven").count();
    let found = server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
    assert_eq!((count, &found["redriveCount"]), (redriven, &json!(redriven)));
    let request =
        api::Request { method: "GET", path: "audit", query: "", content_type: "", body: b"", actor: "ada" };
    let trail = String::from_utf8(api::handle(&server.engine, &request).body).unwrap();
    assert_eq!(trail.lines().filter(|line| line.contains("\"RedriveExecution\"")).count(), redriven);
    assert!(redriven >= 50, "{redriven}");
}

/// A store whose transactions of the thread `first` wait until they are let go.
struct Gate {
    store: Memory,
    arrived: Barrier,
    go: Barrier,
}

impl Store for Gate {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        if std::thread::current().name() == Some("first") {
            self.arrived.wait();
            self.go.wait();
        }
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

#[test]
fn of_two_redrives_at_a_time_one_happens_and_the_other_is_told_of_it() {
    let store = Arc::new(Gate { store: Memory::new(), arrived: Barrier::new(2), go: Barrier::new(2) });
    let around = Around::new(7);
    let server = Server::over(Arc::<Gate>::clone(&store), &around, Settings::default()).unwrap();
    let definition = json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": "Bad" } } });
    let machine = json!({ "name": "fails", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    let machine = server.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone();
    let arn = server.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e" })).unwrap()
        ["executionArn"]
        .clone();
    std::thread::scope(|scope| {
        let first = std::thread::Builder::new().name("first".into());
        let redrive = || server.told("RedriveExecution", json!({ "executionArn": arn }));
        let first = first.spawn_scoped(scope, redrive).unwrap();
        store.arrived.wait();
        let (code, message) = redrive().expect_err("the first is under way");
        assert_eq!(code, "ExecutionNotRedrivable");
        assert!(message.contains("is being redriven by another call"), "{message}");
        store.go.wait();
        first.join().unwrap().unwrap();
    });
    let redriven = history(&server, arn.as_str().unwrap());
    let redriven = redriven.iter().filter(|event| event["type"] == "ExecutionRedriven").count();
    assert_eq!(redriven, 1);
}
