//! Retry, Catch, time-outs.

use selvedge_asl::{Failure, Status, TaskOutcome};
use serde_json::{Value, json};

use crate::world::{Answer, START_MS, World, machine};

const TASK: &str = "arn:aws:states:::lambda:invoke";

fn task(more: Value) -> Value {
    let mut task = json!({"Type": "Task", "Resource": TASK, "End": true});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    machine(json!({"S": task, "Caught": {"Type": "Pass", "End": true}}))
}

#[test]
fn retries_wait_longer_each_time_and_then_give_up() {
    let definition = machine(json!({"S": {"Type": "Task", "Resource": TASK, "End": true,
        "Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 2, "MaxAttempts": 2, "BackoffRate": 3}]}}));
    let mut world = World::new(&definition, &json!({}));
    for _ in 0..3 {
        world = world.answer("S", Answer::Error("E", "c"));
    }
    let world = world.run();
    assert_eq!(world.failure(), ("E".into(), "c".into()));
    assert_eq!(world.now_ms - START_MS, 8_000);
    assert_eq!(world.requests.iter().map(|request| request.retry_count).collect::<Vec<_>>(), [0, 1, 2]);
    let types = world.types();
    assert_eq!(types.iter().filter(|name| *name == "TaskScheduled").count(), 3);
    assert_eq!(types.iter().filter(|name| *name == "TaskStateEntered").count(), 1);
}

#[test]
fn the_first_retrier_that_matches_decides_even_when_it_is_used_up() {
    let definition = machine(json!({"S": {"Type": "Task", "Resource": TASK, "End": true, "Retry": [
        {"ErrorEquals": ["E"], "MaxAttempts": 0}, {"ErrorEquals": ["States.ALL"], "MaxAttempts": 5}]}}));
    let world = World::new(&definition, &json!({})).answer("S", Answer::Error("E", "")).run();
    assert_eq!(world.failure().0, "E");
    assert_eq!(world.requests.len(), 1);
}

#[test]
fn a_catcher_hands_the_error_on() {
    let catch = |more: Value| {
        let mut catcher = json!({"ErrorEquals": ["States.ALL"], "Next": "Caught"});
        catcher.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        World::new(&task(json!({"Catch": [catcher]})), &json!({"in": 1}))
            .answer("S", Answer::Error("E", "c"))
            .run()
    };
    assert_eq!(catch(json!({})).output(), json!({"Error": "E", "Cause": "c"}));
    assert_eq!(
        catch(json!({"ResultPath": "$.error"})).output(),
        json!({"in": 1, "error": {"Error": "E", "Cause": "c"}})
    );
    assert_eq!(catch(json!({"ResultPath": null})).output(), json!({"in": 1}));
    // A caught error still leaves its state.
    assert_eq!(
        catch(json!({})).history(),
        [
            "1<0 ExecutionStarted",
            "2<0 TaskStateEntered",
            "3<2 TaskScheduled",
            "4<3 TaskStarted",
            "5<4 TaskFailed",
            "6<5 TaskStateExited",
            "7<6 PassStateEntered",
            "8<7 PassStateExited",
            "9<8 ExecutionSucceeded",
        ]
    );
}

#[test]
fn what_the_machine_got_wrong_is_not_caught() {
    let definition = machine(
        json!({"S": {"Type": "Task", "Resource": TASK, "Parameters": {"x.$": "$.missing"}, "End": true,
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C"}]}, "C": {"Type": "Succeed"}}),
    );
    assert_eq!(World::new(&definition, &json!({})).run().failure().0, "States.Runtime");
}

#[test]
fn a_task_that_takes_too_long_times_out_from_its_start() {
    let definition =
        task(json!({"TimeoutSeconds": 5, "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Caught"}]}));
    let world = World::new(&definition, &json!({})).answer("S", Answer::Started).run();
    assert_eq!(world.output()["Error"], json!("States.Timeout"));
    assert_eq!(world.now_ms - START_MS, 5_000);
    assert!(world.types().contains(&"TaskTimedOut".to_owned()));
    assert_eq!(world.cancelled, [world.requests[0].id]);
    // Nobody takes the task: its time does not run.
    let mut waiting = World::new(&definition, &json!({})).answer("S", Answer::Silence).run();
    assert_eq!(waiting.execution.status(), Status::Running);
    let id = waiting.requests[0].id;
    let output = json!(1);
    assert!(waiting.with(|execution, at| execution.handle_task(id, TaskOutcome::Succeeded { output }, at)));
    let output = json!(2);
    assert!(
        !waiting.with(|execution, at| execution.handle_task(id, TaskOutcome::Succeeded { output }, at)),
        "answered twice"
    );
}

#[test]
fn heartbeats_keep_a_task_alive() {
    let definition = machine(
        json!({"S": {"Type": "Task", "Resource": "arn:aws:states:us-east-1:1:activity:a", "HeartbeatSeconds": 2, "End": true}}),
    );
    let mut world = World::new(&definition, &json!({})).answer("S", Answer::Silence).run();
    let id = world.requests[0].id;
    world.with(|execution, at| {
        execution.handle_task(id, TaskOutcome::Started { worker: Some("w".into()) }, at)
    });
    for _ in 0..3 {
        world.now_ms += 1_900;
        world.with(|execution, at| execution.handle_timeout(at));
        assert!(world.with(|execution, at| execution.handle_task(id, TaskOutcome::Heartbeat, at)));
    }
    world.settle();
    assert_eq!(world.failure().0, "States.HeartbeatTimeout");
    assert_eq!(world.now_ms - START_MS, 3 * 1_900 + 2_000);
    assert!(world.types().contains(&"ActivityTimedOut".to_owned()));
}

#[test]
fn who_can_send_no_heartbeat_misses_none() {
    for (resource, expected) in [
        ("arn:aws:states:::lambda:invoke", "States.Timeout"),
        ("arn:aws:lambda:us-east-1:123456789012:function:f", "States.Timeout"),
        ("arn:aws:states:::lambda:invoke.waitForTaskToken", "States.HeartbeatTimeout"),
        ("arn:aws:states:::ecs:runTask.sync", "States.HeartbeatTimeout"),
        ("arn:aws:states:us-east-1:123456789012:activity:a", "States.HeartbeatTimeout"),
    ] {
        let definition = machine(
            json!({"S": {"Type": "Task", "Resource": resource, "TimeoutSeconds": 9, "HeartbeatSeconds": 3, "End": true}}),
        );
        let world = World::new(&definition, &json!({})).answer("S", Answer::Started).run();
        assert_eq!(world.failure().0, expected, "{resource}");
    }
}

#[test]
fn an_execution_has_a_time_of_its_own() {
    let mut definition = machine(json!({"S": {"Type": "Wait", "Seconds": 100, "End": true}}));
    definition["TimeoutSeconds"] = json!(7);
    let world = World::new(&definition, &json!({})).run();
    assert_eq!(world.execution.status(), Status::TimedOut);
    assert_eq!(world.now_ms - START_MS, 7_000);
    assert_eq!(world.history().last().unwrap(), "3<0 ExecutionTimedOut");
}

#[test]
fn stopping_ends_everything_and_nothing_follows() {
    let definition = machine(json!({"S": {"Type": "Task", "Resource": TASK, "End": true}}));
    let mut world = World::new(&definition, &json!({})).answer("S", Answer::Silence).run();
    world.with(|execution, at| execution.handle_stop(Failure::new("Stop", "why"), at));
    world.settle();
    assert_eq!(world.execution.status(), Status::Aborted);
    assert_eq!(world.cancelled, [world.requests[0].id]);
    let id = world.requests[0].id;
    assert!(!world.with(|execution, at| execution.handle_task(id, TaskOutcome::Heartbeat, at)));
    world.settle();
    assert_eq!(world.types().last().unwrap(), "ExecutionAborted");
}

#[test]
fn a_handler_that_cannot_be_computed_is_an_event_too() {
    let definition = machine(json!({
        "S": {"Type": "Task", "QueryLanguage": "JSONata", "Resource": TASK, "End": true,
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput.nothing %}", "Next": "C"}]},
        "C": {"Type": "Succeed"},
    }));
    let world = World::new(&definition, &json!({})).answer("S", Answer::Error("E", "c")).run();
    assert_eq!(world.failure().0, "States.QueryEvaluationError");
    assert_eq!(
        world.types().iter().rev().take(3).rev().collect::<Vec<_>>(),
        ["TaskFailed", "EvaluationFailed", "ExecutionFailed"]
    );
}

#[test]
fn a_time_out_that_is_found_is_one_that_could_be_written() {
    for (field, found) in [("TimeoutSecondsPath", json!(0)), ("HeartbeatSecondsPath", json!(-1))] {
        let definition = machine(json!({"S": {"Type": "Task", "Resource": TASK, field: "$.s", "End": true}}));
        let (error, cause) = World::new(&definition, &json!({"s": found})).run().failure();
        assert_eq!(error, "States.Runtime");
        assert!(cause.contains(&format!("'{field}' needs an integer from 1 to 99999999")), "{cause}");
    }
    let computed = |seconds: &str| {
        machine(
            json!({"S": {"Type": "Task", "QueryLanguage": "JSONata", "Resource": TASK, "TimeoutSeconds": seconds, "End": true}}),
        )
    };
    let (error, cause) = World::new(&computed("{% 0 %}"), &json!({})).run().failure();
    assert_eq!(error, "States.QueryEvaluationError");
    assert!(cause.contains("'TimeoutSeconds' needs an integer from 1"), "{cause}");
    // A double without a fraction is a whole number.
    let world =
        World::new(&computed("{% $states.input.s %}"), &json!({"s": 5.0})).answer("S", Answer::Started).run();
    assert_eq!(world.now_ms - START_MS, 5_000);
}
