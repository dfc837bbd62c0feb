//! Task states: scheduled, started, answered, or out of time.

use selvedge_query::Entropy;
use serde_json::Value;

use super::begin::Begun;
use super::branch::{BranchId, Phase, TaskRun};
use super::command::{Command, TaskId, TaskOutcome, TaskRequest};
use super::evaluate::{Seen, Unevaluated};
use super::event::{Detail, Failure, Patience, TaskName};
use super::{At, Execution, later};
use crate::{Resource, TaskState};

const SECONDS_MAX: u64 = 99_999_999;

/// 256 bits of chance.
pub(super) fn token(entropy: &mut dyn Entropy) -> String {
    (0..4).map(|_| format!("{:016x}", entropy.draw())).collect()
}

impl Execution {
    pub(super) fn begin_task(
        &mut self,
        id: BranchId,
        task: &TaskState,
        at: &mut At<'_>,
    ) -> Result<Begun, Unevaluated> {
        // What it evaluates is no event: the next one schedules the task.
        let expected = TaskId(self.last_event + 1);
        let token = task.resource.has_token().then(|| match &self.tokens {
            Some(tokens) => tokens.token(expected, &self.branches[&id].state, at.entropy),
            None => token(at.entropy),
        });
        let seen = Seen { token: token.as_deref(), ..Seen::default() };
        let (parameters, patience, role_arn) = self.evaluate(id, seen, at, |evaluation| {
            let input = evaluation.effective_input()?;
            let mut seconds = |field, number: &Option<_>| {
                number
                    .as_ref()
                    .map(|number| evaluation.number(field, number, &input, 1..=SECONDS_MAX))
                    .transpose()
            };
            let patience = Patience {
                timeout: seconds("TimeoutSeconds", &task.timeout)?,
                heartbeat: seconds("HeartbeatSeconds", &task.heartbeat)?,
            };
            let credentials = task
                .credentials
                .as_ref()
                .map(|payload| evaluation.payload("Credentials", payload, &input))
                .transpose()?;
            let role_arn =
                credentials.as_ref().and_then(|found| found.get("RoleArn")).and_then(Value::as_str);
            let role_arn = role_arn.map(Box::<str>::from);
            let parameters = evaluation.arguments(&input)?;
            // An integration without parameters is called with none; a function or activity gets the input.
            let parameters = parameters.unwrap_or(input);
            Ok::<_, Unevaluated>((parameters, patience, role_arn))
        })?;
        let text = parameters.to_string();
        if let Some(failure) = self.oversized_as(id, &parameters, text.len()) {
            return Err(failure.into());
        }
        let detail = match &task.resource {
            Resource::Lambda(resource) => {
                Detail::LambdaFunctionScheduled { resource: resource.clone(), input: text, patience }
            }
            Resource::Activity(resource) => {
                Detail::ActivityScheduled { resource: resource.clone(), input: text, patience }
            }
            Resource::Service { .. } => Detail::TaskScheduled {
                task: name(&task.resource),
                region: self.identity.region.clone(),
                parameters: text,
                patience,
                role_arn: role_arn.clone(),
            },
        };
        let task_id = TaskId(self.record(id, at.now_ms, detail));
        debug_assert!(
            token.is_none() || task_id == expected,
            "a token names the event that schedules its task"
        );
        let run = self.branches.get_mut(&id).expect("it begins its task");
        let request = TaskRequest {
            id: task_id,
            state: run.state.clone(),
            resource: task.resource.clone(),
            parameters,
            patience,
            token,
            role_arn,
            retry_count: run.retry_count,
        };
        self.commands.push_back(Command::Schedule(Box::new(request.clone())));
        run.phase = Phase::Task(Box::new(TaskRun {
            id: task_id,
            request,
            is_started: false,
            is_submitted: false,
            timeout_ms: None,
            heartbeat_ms: None,
        }));
        Ok(Begun::Pending)
    }

    /// Every task that is under way: after a restart, what has to be asked for or called once more; and whether somebody else
    /// has it: a worker took it, or the call that hands out its token was answered.
    pub fn pending_tasks(&self) -> impl Iterator<Item = (&TaskRequest, bool)> {
        self.branches.values().filter_map(|run| match &run.phase {
            Phase::Task(task) => {
                let is_handed_over = match &task.request.resource {
                    Resource::Service { .. } => task.is_submitted,
                    _ => task.is_started,
                };
                Some((&task.request, is_handed_over))
            }
            _ => None,
        })
    }

    pub(super) fn task(&mut self, task: TaskId, outcome: TaskOutcome, at: &mut At<'_>) -> bool {
        let found =
            self.branches.iter().find(|(_, run)| matches!(&run.phase, Phase::Task(run) if run.id == task));
        let Some((&id, _)) = found else { return false };
        match outcome {
            TaskOutcome::Started { worker } => self.start_task(id, worker, at),
            TaskOutcome::Heartbeat => self.beat(id, at.now_ms),
            TaskOutcome::Submitted { output } => {
                self.start_task(id, None, at);
                // A call that was made again after a restart has been answered before.
                let is_new = match self.branches.get_mut(&id).map(|run| &mut run.phase) {
                    Some(Phase::Task(task)) => !std::mem::replace(&mut task.is_submitted, true),
                    _ => false,
                };
                if is_new && let Resource::Service { .. } = self.resource(id) {
                    let task = name(self.resource(id));
                    self.record(id, at.now_ms, Detail::TaskSubmitted { task, output: output.to_string() });
                }
            }
            TaskOutcome::Succeeded { output } => {
                self.start_task(id, None, at);
                let text = output.to_string();
                if let Some(failure) = self.oversized_as(id, &output, text.len()) {
                    self.record_failure(id, failure.clone(), at);
                    self.fail(id, failure, at);
                    return true;
                }
                let detail = match self.resource(id) {
                    Resource::Lambda(_) => Detail::LambdaFunctionSucceeded { output: text },
                    Resource::Activity(_) => Detail::ActivitySucceeded { output: text },
                    service => Detail::TaskSucceeded { task: name(service), output: text },
                };
                self.record(id, at.now_ms, detail);
                self.phase(id, Phase::Work);
                self.finish(id, output, at);
            }
            TaskOutcome::Failed(failure) => {
                self.start_task(id, None, at);
                self.record_failure(id, failure.clone(), at);
                self.fail(id, failure, at);
            }
        }
        true
    }

    fn resource(&self, id: BranchId) -> &Resource {
        match &self.branches[&id].phase {
            Phase::Task(task) => &task.request.resource,
            _ => unreachable!("the branch has a task"),
        }
    }

    fn record_failure(&mut self, id: BranchId, failure: Failure, at: &At<'_>) {
        let detail = match self.resource(id) {
            Resource::Lambda(_) => Detail::LambdaFunctionFailed(failure),
            Resource::Activity(_) => Detail::ActivityFailed(failure),
            service => Detail::TaskFailed { task: name(service), failure },
        };
        self.record(id, at.now_ms, detail);
    }

    /// The time of a task counts from its start.
    fn start_task(&mut self, id: BranchId, worker: Option<String>, at: &At<'_>) {
        let Some(Phase::Task(task)) = self.branches.get_mut(&id).map(|run| &mut run.phase) else { return };
        if std::mem::replace(&mut task.is_started, true) {
            return;
        }
        task.timeout_ms = task.request.patience.timeout.map(|seconds| later(at.now_ms, seconds));
        // Where nobody can send a heartbeat, none is missed.
        let heartbeat = task.request.patience.heartbeat.filter(|_| task.request.resource.has_heartbeat());
        task.heartbeat_ms = heartbeat.map(|seconds| later(at.now_ms, seconds));
        let detail = match &task.request.resource {
            Resource::Lambda(_) => Detail::LambdaFunctionStarted,
            Resource::Activity(_) => Detail::ActivityStarted { worker },
            service => Detail::TaskStarted(name(service)),
        };
        self.record(id, at.now_ms, detail);
    }

    fn beat(&mut self, id: BranchId, now_ms: i64) {
        if let Some(Phase::Task(task)) = self.branches.get_mut(&id).map(|run| &mut run.phase) {
            task.heartbeat_ms = task.request.patience.heartbeat.map(|seconds| later(now_ms, seconds));
        }
    }

    /// A task took too long, or its worker has not been heard of for too long.
    pub(super) fn task_elapsed(&mut self, id: BranchId, at: &mut At<'_>) {
        let Phase::Task(task) = &self.branches[&id].phase else { return };
        let is_timeout = task.timeout_ms.is_some_and(|due| due <= at.now_ms);
        let error = if is_timeout { "States.Timeout" } else { "States.HeartbeatTimeout" };
        let failure = Failure { error: Some(error.to_owned()), cause: None };
        self.commands.push_back(Command::Cancel(task.id));
        let detail = match &task.request.resource {
            Resource::Lambda(_) => Detail::LambdaFunctionTimedOut(failure.clone()),
            Resource::Activity(_) => Detail::ActivityTimedOut(failure.clone()),
            service => Detail::TaskTimedOut { task: name(service), failure: failure.clone() },
        };
        self.record(id, at.now_ms, detail);
        self.fail(id, failure, at);
    }
}

fn name(resource: &Resource) -> TaskName {
    let resource_type = match resource {
        Resource::Lambda(_) => "lambda".into(),
        Resource::Activity(_) => "activity".into(),
        Resource::Service { service, .. } => service.clone(),
    };
    TaskName { resource_type, resource: resource.name().into() }
}
