//! Going on after a failure.

use selvedge_asl::{Failure, Status};
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
fn the_context_tells_when() {
    let definition = machine(json!({
        "S": {"Type": "Task", "Resource": TASK, "Next": "T"},
        "T": {"Type": "Pass", "Parameters": {"n.$": "$$.Execution.RedriveCount", "at.$": "$$.Execution.RedriveTime"}, "End": true},
    }));
    let mut world = World::new(&definition, &json!({})).answer("S", Answer::Error("E", "")).run();
    world.now_ms += 5_000;
    assert!(world.with(|execution, at| execution.handle_redrive(at)));
    world.settle();
    assert_eq!(world.output(), json!({"n": 1, "at": "2023-11-14T22:13:25.000Z"}));
    let never = machine(
        json!({"S": {"Type": "Pass", "Parameters": {"at.$": "$$.Execution.RedriveTime"}, "End": true}}),
    );
    assert_eq!(
        World::new(&never, &json!({})).run().execution.status(),
        Status::Failed,
        "there is none before"
    );
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

#[test]
fn a_map_run_is_driven_on_under_its_arn() {
    let definition = machine(json!({"S": {"Type": "Map", "End": true, "ItemsPath": "$",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}}}));
    let mut world = World::new(&definition, &json!([1, 2])).answer("S", Answer::Error("E", "c")).run();
    assert_eq!(world.failure(), ("E".to_owned(), "c".to_owned()));
    assert!(world.execution.pending_map_runs(&world.definition).is_empty(), "it is over");
    assert!(world.with(|execution, at| execution.handle_redrive(at)));
    let [again] = &world.execution.pending_map_runs(&world.definition)[..] else { panic!("one goes on") };
    assert_eq!(again.redrive_count, 1);
    world.settle();
    assert_eq!(world.output(), json!([1, 2]));
    let types = world.types();
    assert_eq!(types.iter().filter(|kind| *kind == "MapRunStarted").count(), 1);
    let [.., redriven, run] = &types[..types.len() - 4] else { panic!("{types:?}") };
    assert_eq!((&**redriven, &**run), ("ExecutionRedriven", "MapRunRedriven"));
}

#[test]
fn a_map_run_ends_with_its_execution() {
    let definition = machine(json!({"S": {"Type": "Map", "End": true, "ItemsPath": "$",
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}}}));
    let mut world = World::new(&definition, &json!([1]));
    world.with(|execution, at| execution.handle_start(at));
    let [run] = &world.execution.pending_map_runs(&world.definition)[..] else { panic!("one is under way") };
    let run = run.id;
    world.with(|execution, at| execution.handle_stop(Failure::default(), at));
    let commands: Vec<_> = std::iter::from_fn(|| world.execution.poll_command()).collect();
    assert!(commands.contains(&selvedge_asl::Command::Cancel(run)), "{commands:?}");
    assert!(world.execution.pending_map_runs(&world.definition).is_empty());
}

#[test]
fn it_goes_on_from_a_chosen_state_with_another_input() {
    let definition = machine(json!({
        "S": {"Type": "Pass", "Assign": {"kept": 7}, "Next": "T"},
        "T": {"Type": "Task", "Resource": TASK, "Next": "U"},
        "U": {"Type": "Pass", "Parameters": {"in.$": "$", "kept.$": "$kept"}, "End": true},
    }));
    let mut world = World::new(&definition, &json!(1)).answer("T", Answer::Error("E", "")).run();
    let from = |world: &mut World, state: &str| {
        world.with(|execution, at| execution.handle_redrive_from(state, json!({"n": 2}), at))
    };
    assert!(!from(&mut world, "none"), "there is no such state");
    assert_eq!(world.execution.status(), Status::Failed);
    assert!(from(&mut world, "U"));
    world.settle();
    assert_eq!(world.output(), json!({"in": {"n": 2}, "kept": 7}));
    assert!(!from(&mut world, "U"), "it has succeeded");
    let ids: Vec<u64> = world.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
}

#[test]
fn the_state_that_failed_is_told_as_deep_as_it_was() {
    let task =
        json!({"StartAt": "Deep", "States": {"Deep": {"Type": "Task", "Resource": TASK, "End": true}}});
    let well = json!({"StartAt": "Well", "States": {"Well": {"Type": "Pass", "End": true}}});
    let definition = machine(json!({"S": {"Type": "Parallel", "End": true, "Branches": [well, task]}}));
    let mut world = World::new(&definition, &json!(1)).answer("Deep", Answer::Error("E", "")).run();
    assert_eq!(world.execution.failed_state(), Some("Deep"));
    assert!(world.with(|execution, at| execution.handle_redrive(at)));
    world.settle();
    assert_eq!(world.execution.failed_state(), None, "it has succeeded");
}

#[test]
fn a_checkpoint_is_of_its_definition_alone() {
    let states = |name: &str| {
        machine(
            json!({"S": {"Type": "Pass", "Next": name}, name: {"Type": "Task", "Resource": TASK, "End": true}}),
        )
    };
    let world = World::new(&states("T"), &json!(1)).answer("T", Answer::Silence).run();
    assert!(world.execution.fits(&world.definition));
    assert!(!world.execution.fits(&World::new(&states("U"), &json!(1)).definition), "there is no state T");
}

#[test]
fn an_output_that_is_refused_was_never_told() {
    let definition = machine(json!({"S": {"Type": "Pass", "End": true}}));
    let mut world = World::new(&definition, &json!(1));
    let refused = world.with(|execution, at| {
        execution.handle_start(at);
        execution.refuse_output(Failure::new("Unfit", "why"))
    });
    assert!(refused);
    assert_eq!(world.failure(), ("Unfit".to_owned(), "why".to_owned()));
    assert_eq!(world.execution.output(), None);
    assert!(!world.with(|execution, _| execution.refuse_output(Failure::new("Unfit", ""))), "once");
}
