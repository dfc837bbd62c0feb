//! Going on after a failure.

use selvedge_asl::Status;
use serde_json::json;

use crate::world::{Answer, World, machine};

const TASK: &str = "arn:aws:states:::lambda:invoke";

#[test]
fn it_goes_on_from_the_state_that_failed() {
    let definition = machine(json!({
        "S": {"Type": "Task", "Resource": TASK, "Next": "T"},
        "T": {"Type": "Task", "Resource": TASK, "End": true},
    }));
    let mut world = World::new(&definition, &json!(1)).answer("T", Answer::Error("E", "")).run();
    assert_eq!(world.execution.status(), Status::Failed);
    assert!(world.with(|execution, at| execution.handle_redrive(at)));
    world.settle();
    assert_eq!(world.output(), json!(1));
    let states: Vec<&str> = world.requests.iter().map(|request| &*request.state).collect();
    assert_eq!(states, ["S", "T", "T"]);
    assert!(world.types().contains(&"ExecutionRedriven".to_owned()));
    assert_eq!(world.execution.redrive_count(), 1);
    assert!(!world.with(|execution, at| execution.handle_redrive(at)), "it has succeeded");
}

#[test]
fn what_succeeded_beside_it_is_not_run_again() {
    let branch = |name: &str| {
        let mut states = serde_json::Map::new();
        states.insert(name.into(), json!({"Type": "Task", "Resource": TASK, "End": true}));
        json!({"StartAt": name, "States": states})
    };
    let parallel = machine(
        json!({"S": {"Type": "Parallel", "End": true, "Branches": [branch("A"), branch("B"), branch("C")]}}),
    );
    let mut world = World::new(&parallel, &json!(1))
        .answer("B", Answer::Error("E", ""))
        .answer("C", Answer::Silence)
        .run();
    assert!(world.with(|execution, at| execution.handle_redrive(at)));
    world.settle();
    assert_eq!(world.output(), json!([1, 1, 1]));
    let states: Vec<&str> = world.requests.iter().map(|request| &*request.state).collect();
    assert_eq!(states.iter().filter(|state| **state == "A").count(), 1);
    assert_eq!(states.iter().filter(|state| **state == "B").count(), 2);

    let map = machine(
        json!({"S": {"Type": "Map", "End": true, "MaxConcurrency": 1, "ItemProcessor": branch("I")}}),
    );
    let mut world = World::new(&map, &json!([1, 2, 3]))
        .answer("I", Answer::Output(json!("one")))
        .answer("I", Answer::Error("E", ""))
        .run();
    assert!(world.with(|execution, at| execution.handle_redrive(at)));
    world.settle();
    assert_eq!(world.output(), json!(["one", 2, 3]));
    assert_eq!(world.requests.len(), 4);
}
