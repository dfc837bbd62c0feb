//! Express executions: run in memory, awaited or not.

use std::sync::Arc;
use std::time::Duration;

use selvedge_asl::{At, Command, Execution, Failure, Status, TaskOutcome};
use selvedge_model::Value;
use serde_json::json;

use super::{Failed, Outcome, Performed, Refused, Scope, execution, not_for_this_type, seconds};
use crate::Engine;
use crate::engine::{Express, Start};
use crate::record::status_name;

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
        let express = scope.engine.run_express(&start).map_err(execution::not_started)?;
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
                let ended = run(&engine, express).await;
                Outcome::Ok(shown(&start, &ended, with_data))
            }))
        }
    }
}

/// Starts an express execution that nobody waits for.
pub(super) fn run_behind(scope: &Scope<'_>, start: Start) -> Result<(), Failed> {
    let express = scope.engine.run_express(&start).map_err(execution::not_started)?;
    if express.execution.status() != Status::Running {
        return Ok(());
    }
    let Ok(place) = Arc::clone(&scope.engine.behind).try_acquire_owned() else {
        return Err(execution::not_started(crate::engine::StartError::Full));
    };
    let engine = Arc::clone(scope.engine);
    scope.engine.runtime.spawn(async move {
        let _place = place;
        run(&engine, express).await
    });
    Ok(())
}

/// Runs to the end: waits are waited for, calls are refused as the engine refuses them.
pub(crate) async fn run(engine: &Engine, express: Express) -> Execution {
    let Express { mut execution, definition } = express;
    let deadline_ms = engine.now_ms() + i64::try_from(TIME_MAX.as_millis()).unwrap_or(i64::MAX);
    let step = |execution: &mut Execution, f: &mut dyn FnMut(&mut Execution, &mut At<'_>)| {
        let mut draw = || engine.surroundings.draw();
        let now_ms = engine.now_ms();
        f(execution, &mut At { definition: &definition, now_ms, entropy: &mut draw });
    };
    while execution.status() == Status::Running {
        while execution.poll_event().is_some() {}
        if let Some(command) = execution.poll_command() {
            if let Command::Schedule(request) = command {
                let failure = Failure::new(
                    "States.TaskFailed",
                    format!("The resource '{}' is not offered here yet.", request.resource.name()),
                );
                step(&mut execution, &mut |execution, at| {
                    execution.handle_task(request.id, TaskOutcome::Failed(failure.clone()), at);
                });
            }
            continue;
        }
        let now_ms = engine.now_ms();
        if now_ms >= deadline_ms {
            let failure = Failure::new("States.Timeout", "An express execution takes at most five minutes.");
            step(&mut execution, &mut |execution, at| execution.handle_stop(failure.clone(), at));
            break;
        }
        let due_ms = execution.next_timeout().unwrap_or(deadline_ms).min(deadline_ms);
        if due_ms > now_ms {
            tokio::time::sleep(Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0))).await;
        }
        step(&mut execution, &mut |execution, at| execution.handle_timeout(at));
    }
    execution
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
        "billingDetails": { "billedMemoryUsedInMB": 64, "billedDurationInMilliseconds": (took_ms / 100 + 1) * 100 },
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
