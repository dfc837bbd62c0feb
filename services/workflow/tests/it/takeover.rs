//! Two workers over one store: the later one has the executions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use selvedge_store::sqlite::{Options, Workload};
use selvedge_workflow::Settings;
use serde_json::json;

use crate::world::{Around, PREFIX, Server, history};

#[test]
fn a_worker_that_was_paused_writes_nothing_after_another_took_over() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let paused = Server::start(&store, &around).unwrap();
    paused.call("CreateActivity", json!({ "name": "work" })).unwrap();
    let definition = json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "End": true,
        "Resource": format!("{PREFIX}:activity:work") } } });
    let machine = json!({ "name": "works", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    let machine = paused.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].clone();
    let started = paused.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e" })).unwrap();
    let arn = started["executionArn"].as_str().unwrap();
    let task = paused.take(&format!("{PREFIX}:activity:work"));
    let answer = |output: &str| json!({ "taskToken": task["taskToken"], "output": output });

    // It stops for a minute; another worker takes over and ends the task.
    let other = Server::start(&store, &around).unwrap();
    other.call("SendTaskSuccess", answer("\"other\"")).unwrap();

    // It comes back and knows nothing of that: what it does is refused, and recorded nowhere.
    assert_eq!(paused.call("SendTaskSuccess", answer("\"paused\"")), Err("ServiceUnavailable".to_owned()));
    paused.call("StopExecution", json!({ "executionArn": arn })).unwrap();
    let refused = paused.call("StartExecution", json!({ "stateMachineArn": machine, "name": "late" }));
    assert_eq!(refused, Err("ServiceUnavailable".to_owned()));
    // Nor does anything else of it reach the store: machines, tags, activities.
    let before = store.snapshot().unwrap().scan_all("").unwrap();
    let writes = [
        (
            "CreateStateMachine",
            json!({ "name": "other", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() }),
        ),
        ("DeleteStateMachine", json!({ "stateMachineArn": machine })),
        ("TagResource", json!({ "resourceArn": machine, "tags": [{ "key": "a", "value": "b" }] })),
        ("CreateActivity", json!({ "name": "more" })),
    ];
    for (operation, input) in writes {
        assert_eq!(paused.call(operation, input), Err("ServiceUnavailable".to_owned()), "{operation}");
    }
    assert_eq!(store.snapshot().unwrap().scan_all("").unwrap(), before);
    let found = other.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
    assert_eq!((&found["status"], &found["output"]), (&json!("SUCCEEDED"), &json!("\"other\"")));
    let events = history(&other, arn);
    assert_eq!(events.iter().filter(|event| event["type"] == "ActivitySucceeded").count(), 1);
}

#[test]
fn of_two_workers_over_one_sqlite_file_the_later_one_has_all_that_was_acknowledged() {
    let (folder, around) = (tempfile::tempdir().unwrap(), Around::new(1));
    let store: Arc<dyn selvedge_store::Store> =
        Arc::new(Options { workload: Workload::Log, ..Options::default() }.open(folder.path()).unwrap());
    let worker = || Server::over(Arc::clone(&store), &around, Settings::default()).unwrap();
    let first = worker();
    let definition =
        json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 3600, "End": true } } });
    let machine = json!({ "name": "waits", "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    first.call("CreateStateMachine", machine).unwrap();
    let machine = format!("{PREFIX}:stateMachine:waits");
    let start = |server: &Server, name: String| {
        server.call("StartExecution", json!({ "stateMachineArn": machine, "name": name }))
    };
    // Clients go on at the first one while the second takes over: it refuses from some moment on, and for ever.
    let acknowledged = AtomicUsize::new(0);
    let (second, kept) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut kept = Vec::new();
            // No longer than a page of what is listed.
            for number in 0..900 {
                match start(&first, format!("e{number}")) {
                    Ok(started) => kept.push(started["executionArn"].clone()),
                    Err(code) => {
                        assert_eq!(code, "ServiceUnavailable");
                        break;
                    }
                }
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            kept
        });
        while acknowledged.load(Ordering::SeqCst) < 20 && !client.is_finished() {
            std::thread::yield_now();
        }
        let second = worker();
        (second, client.join().unwrap())
    });
    assert!(kept.len() >= 20);
    assert_eq!(
        start(&first, "again".to_owned()),
        Err("ServiceUnavailable".to_owned()),
        "it never writes again"
    );
    start(&second, "own".to_owned()).unwrap();
    let listed =
        second.call("ListExecutions", json!({ "stateMachineArn": machine, "maxResults": 1000 })).unwrap();
    assert_eq!(
        listed["executions"].as_array().unwrap().len(),
        kept.len() + 1,
        "what was refused is not there"
    );
    // Those that began at the first one go on at the second, and nothing of the first is in them.
    around.now_ms.fetch_add(3_600_000, Ordering::SeqCst);
    first.engine.clock_was_set();
    second.engine.clock_was_set();
    for arn in &kept {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while second.call("DescribeExecution", json!({ "executionArn": arn })).unwrap()["status"]
            != "SUCCEEDED"
        {
            assert!(std::time::Instant::now() < deadline, "{arn} does not go on");
            std::thread::yield_now();
        }
        let events = history(&second, arn.as_str().unwrap());
        let ids: Vec<u64> = events.iter().map(|event| event["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [1, 2, 3, 4], "{events:#?}");
    }
}
