//! The machines that executions are of, and what each allows.

use serde_json::{Value, json};

pub(super) const PREFIX: &str = "arn:aws:states:us-east-1:123456789012";
pub(super) const ACTIVITY: &str = "arn:aws:states:us-east-1:123456789012:activity:work";
/// How many children a map run of `maps` has.
pub(super) const ITEMS: u64 = 3;

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing but transitions.
    Pure,
    /// Five seconds beside two hours.
    Waits,
    /// An activity, retried.
    Works,
    /// A function, retried.
    Calls,
    /// A function that hands a token out.
    Tokens,
    /// An execution of `Waits` that is waited for.
    Parent,
    /// Children of a distributed Map state.
    Maps,
}

pub(super) const KINDS: [Kind; 7] =
    [Kind::Pure, Kind::Waits, Kind::Works, Kind::Calls, Kind::Tokens, Kind::Parent, Kind::Maps];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Waits => "waits",
            Self::Works => "works",
            Self::Calls => "calls",
            Self::Tokens => "tokens",
            Self::Parent => "parent",
            Self::Maps => "maps",
        }
    }

    pub(super) fn arn(self) -> String {
        format!("{PREFIX}:stateMachine:{}", self.name())
    }

    /// How often its task may be scheduled: once, and as often as it is retried.
    pub(super) fn tries_max(self) -> usize {
        match self {
            Self::Works | Self::Calls => 3,
            Self::Tokens => 2,
            Self::Parent => 1,
            Self::Pure | Self::Waits | Self::Maps => 0,
        }
    }

    pub(super) fn definition(self) -> Value {
        let pass = || json!({ "Type": "Pass", "End": true });
        let wait = |seconds: u64| json!({ "Type": "Wait", "Seconds": seconds, "End": true });
        let task = |resource: &str, timeout: u64, retries: u64, parameters: Value| {
            let mut task = json!({
                "Type": "Task", "Resource": resource, "TimeoutSeconds": timeout, "End": true,
                "Retry": [{ "ErrorEquals": ["States.ALL"], "MaxAttempts": retries, "IntervalSeconds": 2 }],
                "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "GivenUp" }],
            });
            if !parameters.is_null() {
                task["Parameters"] = parameters;
            }
            json!({ "StartAt": "T", "States": { "T": task, "GivenUp": pass() } })
        };
        match self {
            Self::Pure => {
                json!({ "StartAt": "M", "States": { "M": { "Type": "Map", "ItemsPath": "$.items", "End": true,
                "ItemProcessor": { "StartAt": "I", "States": { "I": pass() } } } } })
            }
            Self::Waits => {
                json!({ "StartAt": "P", "States": { "P": { "Type": "Parallel", "End": true, "Branches": [
                { "StartAt": "A", "States": { "A": wait(5) } },
                { "StartAt": "B", "States": { "B": wait(7200) } } ] } } })
            }
            Self::Works => task(ACTIVITY, 600, 2, Value::Null),
            Self::Calls => task("arn:aws:lambda:us-east-1:123456789012:function:f", 300, 2, Value::Null),
            Self::Tokens => task(
                "arn:aws:states:::lambda:invoke.waitForTaskToken",
                900,
                1,
                json!({ "FunctionName": "f", "Payload": { "token.$": "$$.Task.Token", "n.$": "$.n" } }),
            ),
            Self::Parent => json!({ "StartAt": "C", "States": { "C": { "Type": "Task", "End": true,
                "Resource": "arn:aws:states:::states:startExecution.sync:2",
                "Parameters": { "StateMachineArn": Self::Waits.arn(), "Input": {} } } } }),
            Self::Maps => {
                json!({ "StartAt": "D", "States": { "D": { "Type": "Map", "ItemsPath": "$.items", "End": true,
                "Label": "d", "MaxConcurrency": 2, "ItemProcessor": {
                    "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                    "StartAt": "W", "States": { "W": wait(5) } } } } })
            }
        }
    }
}
