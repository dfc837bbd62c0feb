//! Step Functions' API: from a call to its output.

mod activity;
mod alias;
mod encryption;
pub(crate) mod execution;
pub(crate) mod failure;
mod history;
mod list;
pub(crate) mod machine;
mod map_run;
mod name;
mod redrive;
pub(crate) mod sync;
mod tag;
mod task;
mod test_state;
mod validate;
mod version;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use selvedge_aws::error::UNKNOWN_OPERATION;
use selvedge_aws::operations::stepfunctions::{STATE_MACHINE_TYPE_NOT_SUPPORTED, VALIDATION_EXCEPTION};
use selvedge_aws::{ApiError, Call};
use selvedge_model::{Strictness, Value};
use selvedge_store::{Error as StoreError, Transaction};
use sha2::{Digest as _, Sha256};

use crate::Engine;
use crate::arn::{Arn, Resource};
use crate::audit::Deed;
use failure::Failed;
pub(crate) use sync::BEHIND_MAX;

/// What a call happens in.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The region that the caller's signature names, if any.
    pub region: Option<String>,
    /// Who calls, as far as it is known: the name of the key that signed.
    pub actor: Option<String>,
}

/// An operation that did not happen: what the caller is told, and what the log is.
#[derive(Debug)]
pub struct Refused {
    /// For the caller.
    pub error: ApiError,
    /// The store's failure, if it was that.
    pub cause: Option<StoreError>,
}

/// What became of a call.
pub type Outcome = Result<Value, Refused>;

/// A call's outcome, at once or when there is one.
pub enum Performed {
    /// There it is.
    Now(Outcome),
    /// A long poll, or an execution that somebody waits for.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

/// What the operations share.
pub(crate) struct Scope<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) context: &'a Context,
    pub(crate) call: &'a Call,
}

/// Performs an operation. May block on the store.
pub fn perform(engine: &Arc<Engine>, context: &Context, call: &Call) -> Performed {
    if let Err(found) = call.check(Strictness::Strict) {
        let error = VALIDATION_EXCEPTION.because(found.to_string());
        return Performed::Now(Err(Refused { error, cause: None }));
    }
    let scope = Scope { engine, context, call };
    match call.operation.name {
        "GetActivityTask" => activity::take(&scope),
        "StartSyncExecution" => sync::start(&scope),
        "TestState" => test_state::test(&scope),
        _ => Performed::Now(dispatch(&scope).map_err(Refused::from)),
    }
}

fn dispatch(scope: &Scope<'_>) -> Result<Value, Failed> {
    match scope.call.operation.name {
        "CreateStateMachine" => machine::create(scope),
        "UpdateStateMachine" => machine::update(scope),
        "DescribeStateMachine" => machine::describe(scope),
        "DescribeStateMachineForExecution" => machine::describe_for_execution(scope),
        "DeleteStateMachine" => machine::delete(scope),
        "ListStateMachines" => machine::list(scope),
        "ValidateStateMachineDefinition" => validate::validate(scope),
        "PublishStateMachineVersion" => version::publish(scope),
        "ListStateMachineVersions" => version::list(scope),
        "DeleteStateMachineVersion" => version::delete(scope),
        "CreateStateMachineAlias" => alias::create(scope),
        "UpdateStateMachineAlias" => alias::update(scope),
        "DescribeStateMachineAlias" => alias::describe(scope),
        "ListStateMachineAliases" => alias::list(scope),
        "DeleteStateMachineAlias" => alias::delete(scope),
        "StartExecution" => execution::start(scope),
        "StopExecution" => execution::stop(scope),
        "DescribeExecution" => execution::describe(scope),
        "ListExecutions" => execution::list(scope),
        "RedriveExecution" => redrive::redrive(scope),
        "GetExecutionHistory" => history::get(scope),
        "DescribeMapRun" => map_run::describe(scope),
        "ListMapRuns" => map_run::list(scope),
        "UpdateMapRun" => map_run::update(scope),
        "CreateActivity" => activity::create(scope),
        "DescribeActivity" => activity::describe(scope),
        "ListActivities" => activity::list(scope),
        "DeleteActivity" => activity::delete(scope),
        "SendTaskSuccess" => task::succeed(scope),
        "SendTaskFailure" => task::fail(scope),
        "SendTaskHeartbeat" => task::beat(scope),
        "TagResource" => tag::tag(scope),
        "UntagResource" => tag::untag(scope),
        "ListTagsForResource" => tag::list(scope),
        name => Err(UNKNOWN_OPERATION.because(format!("{name} is not performed here yet")).into()),
    }
}

impl Scope<'_> {
    /// A text member; empty when absent.
    pub(crate) fn text(&self, member: &str) -> &str {
        self.call.text(member).unwrap_or_default()
    }

    pub(crate) fn flag(&self, member: &str) -> Option<bool> {
        self.call.input.get(member).and_then(Value::as_bool)
    }

    pub(crate) fn number(&self, member: &str) -> Option<u64> {
        self.call.input.get(member).and_then(Value::as_u64)
    }

    pub(crate) fn value(&self, member: &str) -> Value {
        self.call.input.get(member).cloned().unwrap_or_default()
    }

    /// The ARN in a member.
    pub(crate) fn arn(&self, member: &str) -> Result<Arn, Failed> {
        Ok(Arn::parse(self.text(member))?)
    }

    /// An ARN in the caller's region.
    pub(crate) fn arn_of(&self, resource: Resource) -> Arn {
        let settings = &self.engine.settings;
        let region = self.context.region.as_deref().unwrap_or(&settings.region);
        Arn {
            partition: "aws".into(),
            region: region.into(),
            account: settings.account.as_str().into(),
            resource,
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.engine.now_ms()
    }

    /// What this call does, for the audit trail: what it is done to, and what was given, but for what may be long or secret.
    pub(crate) fn deed(&self, subject: &str) -> Deed {
        let mut details = serde_json::Map::new();
        for member in ["name", "error", "cause", "roleArn", "type", "revisionId", "tagKeys"] {
            if let Some(value) = self.call.input.get(member) {
                details.insert(member.into(), value.clone());
            }
        }
        if let Some(definition) = self.call.text("definition") {
            let hash: String = Sha256::digest(definition).iter().map(|byte| format!("{byte:02x}")).collect();
            details.insert("definitionSha256".into(), hash.into());
        }
        Deed {
            kind: self.call.operation.name.to_owned(),
            actor: self.context.actor.clone().unwrap_or_default(),
            subject: subject.to_owned(),
            details: Value::Object(details),
        }
    }

    /// Writes the audit trail's entry of this call, in the transaction of what it changes.
    pub(crate) fn note(&self, tx: &mut dyn Transaction, subject: &str) -> Result<(), StoreError> {
        self.deed(subject).append(tx, self.now_ms())
    }
}

/// Seconds since the epoch, as the API's timestamps are.
pub(crate) fn seconds(ms: i64) -> Value {
    Value::from(ms as f64 / 1000.0)
}

pub(crate) fn not_for_this_type() -> Failed {
    STATE_MACHINE_TYPE_NOT_SUPPORTED
        .because("This operation is not supported by this type of state machine")
        .into()
}
