//! Several workers over one store, each with shards of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use selvedge_workflow::{Drive, Settings, Shard, Sharing};
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server, history};

const TERM_MS: i64 = 10_000;

fn worker(store: &Arc<Memory>, around: &Arc<Around>, holder: &str) -> Server {
    let sharing = Sharing { holder: holder.to_owned(), term_ms: TERM_MS };
    let settings = Settings { drive: Drive::Steps, sharing: Some(sharing), ..Settings::default() };
    Server::start_with(store, around, settings).expect("it starts")
}

/// Names of executions of `waits` that are in one of these shards.
fn names_in(shards: &[Shard]) -> impl Iterator<Item = String> {
    (0..).map(|number| format!("e{number}")).filter(|name| shards.contains(&Shard::of("waits", name)))
}

fn start(server: &Server, name: &str) -> Result<Value, String> {
    let input = json!({ "stateMachineArn": format!("{PREFIX}:stateMachine:waits"), "name": name });
    server.call("StartExecution", input).map(|started| started["executionArn"].clone())
}

fn status(server: &Server, arn: &Value) -> Value {
    server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap()["status"].clone()
}

fn pass(around: &Around, ms: i64, servers: &[&Server]) {
    around.now_ms.fetch_add(ms, Ordering::SeqCst);
    servers.iter().for_each(|server| server.engine.handle_timeout());
}

#[test]
fn two_workers_have_shards_of_one_store_and_one_goes_on_for_the_other_when_its_term_is_over() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let (one, other) = (worker(&store, &around, "one"), worker(&store, &around, "other"));
    let (low, high): (Vec<Shard>, Vec<Shard>) =
        Shard::all().partition(|shard| *shard < Shard::new(32).unwrap());
    assert_eq!(one.engine.claim(low.clone()).unwrap(), low);
    assert_eq!(other.engine.claim(Shard::all()).unwrap(), high, "the others are held");
    let definition =
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 60, "End": true } } });
    let machine = json!({ "name": "waits", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    one.call("CreateStateMachine", machine).unwrap();

    // Each starts what is its own, and refuses what is not, whole.
    let (mut of_one, mut of_other) = (names_in(&low), names_in(&high));
    let (of_one, late, of_other) = (of_one.next().unwrap(), of_one.next().unwrap(), of_other.next().unwrap());
    let before = store.snapshot().unwrap().revision();
    assert_eq!(start(&one, &of_other), Err("ServiceUnavailable".to_owned()));
    assert_eq!(store.snapshot().unwrap().revision(), before);
    let (first, second) = (start(&one, &of_one).unwrap(), start(&other, &of_other).unwrap());

    // Both go on, and each renews what it has.
    for _ in 0..3 {
        pass(&around, TERM_MS / 2, &[&one, &other]);
        assert_eq!((one.engine.renew().unwrap(), other.engine.renew().unwrap()), (vec![], vec![]));
    }
    // One stops for longer than its term. The other claims what it had, and brings its execution to its end.
    pass(&around, TERM_MS - 1, &[]);
    other.engine.renew().unwrap();
    assert_eq!(other.engine.claim(low.clone()).unwrap(), [], "its term is not over");
    pass(&around, 1, &[]);
    assert_eq!(other.engine.claim(low.clone()).unwrap(), low);
    pass(&around, 60_000, &[&other]);
    assert_eq!((status(&other, &first), status(&other, &second)), (json!("SUCCEEDED"), json!("SUCCEEDED")));

    // It comes back and knows nothing of that: nothing that it does in those shards is written.
    let events = history(&other, first.as_str().unwrap());
    let before = store.snapshot().unwrap().revision();
    one.engine.handle_timeout();
    assert_eq!(start(&one, &late), Err("ServiceUnavailable".to_owned()));
    assert_eq!(store.snapshot().unwrap().revision(), before);
    assert_eq!(history(&other, first.as_str().unwrap()), events);
    // What it does not look into it loses when it is to be renewed; then nothing is due there.
    let lost = one.engine.renew().unwrap();
    assert!(!lost.is_empty() && lost.iter().all(|shard| low.contains(shard)), "{lost:?}");
    assert_eq!(one.engine.shards(), []);
    one.engine.handle_timeout();
    assert_eq!(one.engine.next_timeout(), None);

    // What is given back may be claimed at once, and goes on there.
    let mut names = names_in(&high).filter(|name| *name != of_other);
    let (name, shard) = names.next().map(|name| (name.clone(), Shard::of("waits", &name))).unwrap();
    let third = start(&other, &name).unwrap();
    other.engine.release(shard).unwrap();
    let next = names_in(&[shard]).find(|next| *next != name && *next != of_other).unwrap();
    assert_eq!(start(&other, &next), Err("ServiceUnavailable".to_owned()));
    assert_eq!(one.engine.claim([shard]).unwrap(), [shard]);
    pass(&around, 60_000, &[&other, &one]);
    assert_eq!(status(&one, &third), "SUCCEEDED");
    assert_eq!(history(&one, third.as_str().unwrap()).len(), 4, "once");
}

#[test]
fn a_worker_that_takes_the_whole_store_over_ends_those_that_share_it() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(2));
    let sharing = worker(&store, &around, "one");
    sharing.engine.claim(Shard::all()).unwrap();
    let definition =
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 60, "End": true } } });
    let machine = json!({ "name": "waits", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    sharing.call("CreateStateMachine", machine).unwrap();
    let arn = start(&sharing, "e").unwrap();
    let settings = Settings { drive: Drive::Steps, ..Settings::default() };
    let whole = Server::start_with(&store, &around, settings).unwrap();
    assert_eq!(start(&sharing, "late"), Err("ServiceUnavailable".to_owned()));
    pass(&around, 60_000, &[&sharing, &whole]);
    assert_eq!(status(&whole, &arn), "SUCCEEDED");
    assert_eq!(history(&whole, arn.as_str().unwrap()).len(), 4);
}
