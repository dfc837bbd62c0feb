//! Schedules: each tick starts one, within its window, whoever sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_aws::operations::{find_in, scheduler};
use selvedge_aws::{Call, Protocol};
use selvedge_store::memory::Memory;
use selvedge_workflow::{Context, Drive, Settings, schedule};
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, START_MS, Server};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

fn stepped(store: &Arc<Memory>, around: &Arc<Around>) -> Server {
    let settings = Settings { drive: Drive::Steps, ..Settings::default() };
    Server::start_with(store, around, settings).unwrap()
}

fn machine(server: &Server) -> String {
    let definition = json!({ "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } });
    let machine = json!({ "name": "m", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    server.call("CreateStateMachine", machine).unwrap();
    format!("{PREFIX}:stateMachine:m")
}

fn create(server: &Server, name: &str, machine: &str, window: Value) {
    let input = json!({ "Name": name, "ScheduleExpression": "rate(1 hours)", "FlexibleTimeWindow": window,
        "Target": { "Arn": machine, "RoleArn": "arn:aws:iam::123456789012:role/r" } });
    let Value::Object(input) = input else { panic!("an object") };
    let operation = find_in(&scheduler::SERVICE, "CreateSchedule").unwrap();
    let call = Call { service: &scheduler::SERVICE, operation, input, protocol: Protocol::RestJson1 };
    let made = schedule::perform(&server.engine, &Context::default(), &call);
    made.map_err(|refused| refused.error.message).unwrap();
}

/// When the executions of a schedule started, the first one first.
fn started(server: &Server, machine: &str, schedule: &str) -> Vec<i64> {
    let listed =
        server.call("ListExecutions", json!({ "stateMachineArn": machine, "maxResults": 1000 })).unwrap();
    let listed = listed["executions"].as_array().unwrap().clone();
    let own = listed.iter().filter(|one| one["name"].as_str().unwrap().starts_with(schedule));
    let mut at: Vec<i64> =
        own.map(|one| (one["startDate"].as_f64().unwrap() * 1000.0).round() as i64).collect();
    at.sort_unstable();
    at
}

#[test]
fn a_flexible_window_spreads_ticks_and_each_starts_one() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let mut server = stepped(&store, &around);
    let machine = machine(&server);
    create(&server, "strict", &machine, json!({ "Mode": "OFF" }));
    create(&server, "loose", &machine, json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": 30 }));
    for minute in 0..12 * 60 {
        around.now_ms.store(START_MS + minute * MINUTE_MS, Ordering::SeqCst);
        if minute % 50 == 0 {
            drop(server);
            server = stepped(&store, &around);
        }
        server.engine.handle_timeout();
    }
    let strict = started(&server, &machine, "strict");
    assert_eq!(strict, (0..12).map(|hour| START_MS + hour * HOUR_MS).collect::<Vec<_>>());
    let loose = started(&server, &machine, "loose");
    assert!((11..=12).contains(&loose.len()), "one a tick: {loose:?}");
    let mut offsets = BTreeSet::new();
    for (hour, at) in (0..).zip(&loose) {
        let offset = at - START_MS - hour * HOUR_MS;
        // It is looked at once a minute here.
        assert!((0..31 * MINUTE_MS).contains(&offset), "tick {hour} is {offset} ms late");
        offsets.insert(offset);
    }
    assert!(offsets.len() > 4, "they are spread: {offsets:?}");
}

#[test]
fn a_tick_that_two_workers_see_starts_one_execution() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let first = stepped(&store, &around);
    let machine = machine(&first);
    create(&first, "s", &machine, json!({ "Mode": "OFF" }));
    first.engine.handle_timeout();
    let second = stepped(&store, &around);
    for hour in 1..=10 {
        around.now_ms.store(START_MS + hour * HOUR_MS, Ordering::SeqCst);
        // Now the one that was superseded comes first, now the other.
        let in_turn = if hour % 2 == 0 { [&first, &second] } else { [&second, &first] };
        in_turn.iter().for_each(|server| server.engine.handle_timeout());
        assert_eq!(started(&second, &machine, "s").len() as i64, hour + 1, "hour {hour}");
    }
    // The tick's execution was started, and its worker died before it wrote that down: the next one finds it.
    let died = stepped(&store, &around);
    drop(second);
    around.now_ms.fetch_add(HOUR_MS, Ordering::SeqCst);
    let mut writes = 0;
    store.fail_with(Some(Box::new(move |point| {
        if point != selvedge_store::memory::Point::Transact {
            return None;
        }
        writes += 1;
        (writes > 1).then_some(selvedge_store::memory::Fault::Unavailable)
    })));
    died.engine.handle_timeout();
    store.fail_with(None);
    drop(died);
    let next = stepped(&store, &around);
    assert_eq!(started(&next, &machine, "s").len(), 12, "it was started");
    next.engine.handle_timeout();
    assert_eq!(started(&next, &machine, "s").len(), 12, "and is not started once more");
}
