//! Express executions: run in memory, awaited or not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use selvedge_asl::{At, Command, Execution, Failure, MapRunOutcome, Resource, Status, TaskId, TaskOutcome};
use selvedge_model::Value;
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};

use super::{Failed, Outcome, Performed, Refused, Scope, execution, not_for_this_type, seconds};
use crate::Engine;
use crate::dead::Letter;
use crate::engine::{Express, LiveKey, Start, bounded};
use crate::record::status_name;
use crate::tasks::Call;

/// Express executions that nobody waits for, at a time.
pub(crate) const BEHIND_MAX: usize = 10_000;
/// How long an express execution may take.
const TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Starts an express execution and answers when it has ended.
pub(super) fn start(scope: &Scope<'_>) -> Performed {
    let prepared = execution::prepare(scope).and_then(|(start, express)| {
        if !express {
            return Err(not_for_this_type());
        }
        let mut express = scope.engine.run_express(&start).map_err(execution::not_started)?;
        log(scope.engine, &mut express);
        Ok((start, express))
    });
    match prepared {
        Err(failed) => Performed::Now(Err(Refused::from(failed))),
        Ok((start, express)) => {
            let engine = Arc::clone(scope.engine);
            let with_data = scope.text("includedData") != "METADATA_ONLY";
            if express.execution.status() != Status::Running {
                return Performed::Now(Ok(shown(&start, &express.execution, with_data)));
            }
            Performed::Later(Box::pin(async move {
                let ended = run(&engine, &start.machine, &start.name, express).await;
                Outcome::Ok(shown(&start, &ended, with_data))
            }))
        }
    }
}

/// Starts an express execution that nobody waits for.
pub(super) fn run_behind(engine: &Arc<Engine>, start: Start) -> Result<(), Failed> {
    let mut express = engine.run_express(&start).map_err(execution::not_started)?;
    if express.execution.status() != Status::Running {
        log(engine, &mut express);
        keep_failed(engine, &start, &express.execution);
        return Ok(());
    }
    let Ok(place) = Arc::clone(&engine.unawaited).try_acquire_owned() else {
        return Err(execution::not_started(crate::engine::StartError::Full));
    };
    let own = Arc::clone(engine);
    engine.runtime.spawn(async move {
        let _place = place;
        let ended = run(&own, &start.machine, &start.name, express).await;
        let kept = {
            let there = Arc::clone(&own);
            own.aside(move || keep_failed(&there, &start, &ended)).await
        };
        // It fails when the server ends, and there is nobody to tell.
        drop(kept);
    });
    Ok(())
}

/// An express execution that failed while nobody waited is in the dead-letter log: nothing else would be left of it.
fn keep_failed(engine: &Engine, start: &Start, ended: &Execution) {
    if ended.status() != Status::Succeeded {
        engine.keep_letter(&Letter::of_express(start, ended));
    }
}

/// Logs what has happened since the last time, as its machine's `loggingConfiguration` asks for, and records it for its trace.
fn log(engine: &Engine, express: &mut Express) {
    express.extension.check_output(&mut express.execution);
    let mut events = Vec::new();
    while let Some(event) = express.execution.poll_event() {
        if let Some(recorder) = &mut express.recorder {
            recorder.take(&event);
        }
        if express.plan.is_some() {
            events.push(event);
        }
    }
    if express.execution.status() != Status::Running
        && let Some(recorder) = express.recorder.take()
    {
        engine.add_spans(recorder.into_spans());
    }
    if let Some(plan) = &express.plan {
        let arn = express.execution.identity().arn.to_string();
        engine.log_express(plan, &plan.lines(&arn, 0, &events));
    }
}

/// Runs to the end: waits are waited for, calls are made as those of other executions are, without being stored.
pub(crate) async fn run(engine: &Arc<Engine>, machine: &str, name: &str, express: Express) -> Execution {
    let mut express = express;
    let definition = Arc::clone(&express.definition);
    let identity = express.execution.identity().clone();
    let deadline_ms = engine.now_ms() + i64::try_from(TIME_MAX.as_millis()).unwrap_or(i64::MAX);
    let step = |execution: &mut Execution, f: &mut dyn FnMut(&mut Execution, &mut At<'_>)| {
        let mut draw = || engine.surroundings.draw();
        let now_ms = engine.now_ms();
        f(execution, &mut At { definition: &definition, now_ms, entropy: &mut draw });
    };
    // Dropped with this: what it still calls is of no use any more.
    let mut calls: JoinSet<(TaskId, TaskOutcome)> = JoinSet::new();
    let mut under_way: HashMap<TaskId, AbortHandle> = HashMap::new();
    while express.execution.status() == Status::Running {
        log(engine, &mut express);
        if let Some(command) = express.execution.poll_command() {
            match command {
                Command::Schedule(request) => {
                    let id = request.id;
                    let call = Call::new(*request, identity.clone(), machine, name, express.trace);
                    let (engine, key) = (Arc::clone(engine), LiveKey::new(machine, name));
                    let call = calls.spawn(async move { (id, outcome(&engine, key, call).await) });
                    under_way.insert(id, call);
                    step(&mut express.execution, &mut |execution, at| {
                        execution.handle_task(id, TaskOutcome::Started { worker: None }, at);
                    });
                }
                Command::Cancel(id) => {
                    if let Some(call) = under_way.remove(&id) {
                        call.abort();
                    }
                }
                Command::RunMap(request) => {
                    let failure =
                        Failure::new("States.Runtime", "An express execution has no distributed Map states.");
                    step(&mut express.execution, &mut |execution, at| {
                        execution.handle_map_run(request.id, MapRunOutcome::Failed(failure.clone()), at);
                    });
                }
            }
            continue;
        }
        let now_ms = engine.now_ms();
        if now_ms >= deadline_ms {
            let failure = Failure::new("States.Timeout", "An express execution takes at most five minutes.");
            step(&mut express.execution, &mut |execution, at| execution.handle_stop(failure.clone(), at));
            break;
        }
        let due_ms = express.execution.next_timeout().unwrap_or(deadline_ms).min(deadline_ms);
        let sleep = Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0));
        tokio::select! {
            Some(done) = calls.join_next(), if !calls.is_empty() => {
                if let Ok((id, outcome)) = done {
                    under_way.remove(&id);
                    step(&mut express.execution, &mut |execution, at| {
                        execution.handle_task(id, outcome.clone(), at);
                    });
                }
            }
            () = tokio::time::sleep(sleep), if due_ms > now_ms => {
                step(&mut express.execution, &mut |execution, at| execution.handle_timeout(at));
            }
            else => step(&mut express.execution, &mut |execution, at| execution.handle_timeout(at)),
        }
    }
    log(engine, &mut express);
    express.execution
}

/// Makes a call that is stored nowhere.
pub(super) async fn outcome(engine: &Arc<Engine>, key: LiveKey, call: Call) -> TaskOutcome {
    let is_child = matches!(&call.request.resource, Resource::Service { service, action, .. }
        if &**service == "states" && &**action == "startExecution");
    let done = if is_child {
        let own = Arc::clone(engine);
        let started = engine.aside(move || own.start_child_of_express(&key, &call.request, call.trace)).await;
        started.unwrap_or_else(|_| Err(Failure::new("States.TaskFailed", "the server is ending")))
    } else {
        engine.perform_in_turn(&call).await
    };
    match done {
        Ok(output) => TaskOutcome::Succeeded { output },
        Err(failure) => bounded(TaskOutcome::Failed(failure)),
    }
}

/// Each hundred milliseconds that has begun, and one at least.
fn billed_ms(took_ms: i64) -> i64 {
    took_ms.max(1).saturating_add(99) / 100 * 100
}

fn shown(start: &Start, execution: &Execution, with_data: bool) -> Value {
    let ended_ms = execution.ended_ms().unwrap_or_else(|| execution.started_ms());
    let took_ms = ended_ms - execution.started_ms();
    let status = match execution.status() {
        // There is no such status for these.
        Status::Aborted => "TIMED_OUT",
        status => status_name(status),
    };
    let mut output = json!({
        "executionArn": start.identity.arn,
        "stateMachineArn": start.identity.machine_arn,
        "name": start.name,
        "startDate": seconds(execution.started_ms()),
        "stopDate": seconds(ended_ms),
        "status": status,
        "billingDetails": { "billedMemoryUsedInMB": 64, "billedDurationInMilliseconds": billed_ms(took_ms) },
    });
    if let Some(failure) = execution.failure() {
        for (member, text) in [("error", &failure.error), ("cause", &failure.cause)] {
            if let Some(text) = text {
                output[member] = text.as_str().into();
            }
        }
    }
    if with_data {
        output["input"] = start.input.as_str().into();
        output["inputDetails"] = json!({ "included": true });
        if let Some(text) = execution.output() {
            output["output"] = text.into();
            output["outputDetails"] = json!({ "included": true });
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hundred_milliseconds_that_has_begun_is_told() {
        for (took, billed) in [(0, 100), (1, 100), (100, 100), (101, 200), (1999, 2000)] {
            assert_eq!(billed_ms(took), billed, "{took}");
        }
    }
}
