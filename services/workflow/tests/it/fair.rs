//! What one machine does, others do not suffer from: recursion, and calls that stand still.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use selvedge_asl::Failure;
use selvedge_store::memory::Memory;
use selvedge_workflow::{
    CALLS_OF_MACHINE_MAX, CAUSE_CHARACTERS_MAX, Calls, FunctionCall, Functions, NESTED_MAX, Settings,
};
use serde_json::{Value, json};

use crate::world::{Around, PREFIX, Server};

/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn create(server: &Server, name: &str, state: Value) -> String {
    let definition = json!({ "StartAt": "T", "States": { "T": state } });
    let machine = json!({ "name": name, "roleArn": "arn:aws:iam::123456789012:role/r", "definition": definition.to_string() });
    server.call("CreateStateMachine", machine).unwrap()["stateMachineArn"].as_str().unwrap().to_owned()
}

fn start(server: &Server, machine: &str) -> String {
    let started = server.call("StartExecution", json!({ "stateMachineArn": machine })).unwrap();
    started["executionArn"].as_str().unwrap().to_owned()
}

fn ended(server: &Server, arn: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = server.call("DescribeExecution", json!({ "executionArn": arn })).unwrap();
        if found["status"] != "RUNNING" {
            return found;
        }
        assert!(Instant::now() < deadline, "{arn} never ends");
        std::thread::yield_now();
    }
}

#[test]
fn a_machine_that_starts_itself_and_waits_comes_to_an_end() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let server = Server::start(&store, &around).unwrap();
    let machine = format!("{PREFIX}:stateMachine:ouroboros");
    let itself = json!({ "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": true,
        "Parameters": { "StateMachineArn": machine } });
    create(&server, "ouroboros", itself);
    let found = ended(&server, &start(&server, &machine));
    assert_eq!((&found["status"], &found["error"]), (&json!("FAILED"), &json!("States.TaskFailed")));
    let listed =
        server.call("ListExecutions", json!({ "stateMachineArn": machine, "maxResults": 1000 })).unwrap();
    let listed = listed["executions"].as_array().unwrap();
    assert_eq!(listed.len() as u64, NESTED_MAX + 1);
    let cause = found["cause"].as_str().unwrap();
    assert!(cause.chars().count() <= CAUSE_CHARACTERS_MAX, "each quotes the one below: {}", cause.len());
    let deepest = listed.iter().map(|one| ended(&server, one["executionArn"].as_str().unwrap()));
    let refused =
        deepest.filter(|one| one["error"] == "StepFunctions.ExecutionLimitExceededException").count();
    assert_eq!(refused, 1, "the deepest says why");
}

/// Functions of which one never answers.
struct Stuck {
    under_way: AtomicUsize,
}

impl Functions for Stuck {
    fn call(&self, call: FunctionCall) -> Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>> {
        if call.function == "stuck" {
            self.under_way.fetch_add(1, Ordering::SeqCst);
            return Box::pin(std::future::pending());
        }
        Box::pin(async { Ok(json!("done")) })
    }
}

#[test]
fn calls_of_one_machine_that_stand_still_leave_places_for_others() {
    let (store, around) = (Arc::new(Memory::new()), Around::new(1));
    let functions = Arc::new(Stuck { under_way: AtomicUsize::new(0) });
    let there: Arc<dyn Functions> = Arc::<Stuck>::clone(&functions);
    let calls = Calls { functions: Some(there), ..Calls::default() };
    let server = Server::start_with(&store, &around, Settings { calls, ..Settings::default() }).unwrap();
    let of = |function: &str| {
        json!({ "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true,
            "Parameters": { "FunctionName": function, "Payload": {} } })
    };
    let (greedy, modest) = (create(&server, "greedy", of("stuck")), create(&server, "modest", of("quick")));
    for _ in 0..CALLS_OF_MACHINE_MAX + 100 {
        start(&server, &greedy);
    }
    let deadline = Instant::now() + PATIENCE;
    while functions.under_way.load(Ordering::SeqCst) < CALLS_OF_MACHINE_MAX {
        assert!(Instant::now() < deadline, "its calls are made");
        std::thread::yield_now();
    }
    assert_eq!(ended(&server, &start(&server, &modest))["status"], "SUCCEEDED");
    assert_eq!(
        functions.under_way.load(Ordering::SeqCst),
        CALLS_OF_MACHINE_MAX,
        "and no more than its share"
    );
}
