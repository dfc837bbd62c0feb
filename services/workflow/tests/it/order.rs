//! What the audit trail tells of a denial is durable before the execution hears of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_store::memory::Memory;
use selvedge_store::{
    Abort, Change, Committed, Document, Error, Read, Revision, Store, Subscription, Transaction, Wake,
};
use selvedge_workflow::{Settings, api};
use serde_json::json;

use crate::world::{Around, Server};

/// A store that remembers what was written, in the order of the commits.
#[derive(Default)]
struct Recorder {
    store: Memory,
    written: Mutex<Vec<(String, Bytes)>>,
}

struct Recorded<'a> {
    tx: &'a mut dyn Transaction,
    written: &'a mut Vec<(String, Bytes)>,
}

impl Store for Recorder {
    fn transact(
        &self,
        f: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Committed, Error> {
        let mut all = self.written.lock().unwrap();
        let mut own = Vec::new();
        let done = self.store.transact(&mut |tx| {
            own.clear();
            f(&mut Recorded { tx, written: &mut own })
        });
        if done.is_ok() {
            all.append(&mut own);
        }
        done
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

impl Read for Recorded<'_> {
    fn revision(&self) -> Revision {
        self.tx.revision()
    }

    fn get(&self, key: &str) -> Result<Option<Document>, Error> {
        self.tx.get(key)
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Document>, Error> {
        self.tx.scan(prefix, after, limit)
    }
}

impl Transaction for Recorded<'_> {
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), Error> {
        self.written.push((key.to_owned(), value.clone()));
        self.tx.put(key, value)
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        self.tx.delete(key)
    }
}

#[test]
fn a_denial_is_in_the_trail_before_its_execution_hears_of_it() {
    const COUNT: usize = 50;
    let (store, around) = (Arc::new(Recorder::default()), Around::new(3));
    let shared: Arc<dyn Store> = Arc::<Recorder>::clone(&store);
    let server = Server::over(shared, &around, Settings::default()).unwrap();
    let definition = json!({ "StartAt": "P", "States": { "P": { "Type": "Task", "End": true,
        "Resource": "arn:selvedge:states:::policy:evaluate",
        "Parameters": { "Identity": { "sub": "eve" }, "Action": "a", "Resource": "r", "Policy": { "Rules": [] } } } } });
    let machine = json!({ "name": "guards", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    let machine = server.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone();
    let started: Vec<String> = (0..COUNT)
        .map(|number| {
            let input = json!({ "stateMachineArn": machine, "name": format!("e{number}") });
            let started = server.call("StartExecution", input).unwrap();
            started["executionArn"].as_str().unwrap().to_owned()
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    for arn in &started {
        let status =
            || server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap()["status"].clone();
        while status() != "FAILED" {
            assert!(Instant::now() < deadline, "{arn} is {}", status());
            std::thread::yield_now();
        }
    }
    let written = store.written.lock().unwrap();
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    for arn in &started {
        let quoted = format!("\"{arn}\"");
        let of = |room: &str, word: &str| {
            let is_it = |(key, value): &(String, Bytes)| {
                key.starts_with(room) && text(value).contains(word) && text(value).contains(&quoted)
            };
            written.iter().position(is_it).unwrap_or_else(|| panic!("{arn} has no {word} below {room}"))
        };
        assert!(
            of("audit/", "PolicyDenied") < of("execution/", "Policy.Denied"),
            "{arn} has heard of it first"
        );
    }
    drop(written);
    let request =
        api::Request { method: "GET", path: "audit", query: "", content_type: "", body: b"", actor: "" };
    let trail = text(&api::handle(&server.engine, &request).body.into());
    assert_eq!(trail.lines().filter(|line| line.contains("PolicyDenied")).count(), COUNT, "each once");
}
