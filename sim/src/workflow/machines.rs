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
    /// A function whose failure ends it, until somebody drives it on.
    Fails,
    /// People decide.
    Approves,
    /// A value that is kept as a blob while it waits.
    Large,
    /// Nothing but transitions, and nothing is kept of it.
    Quick,
}

/// What is stored.
pub(super) const KINDS: [Kind; 10] = [
    Kind::Pure,
    Kind::Waits,
    Kind::Works,
    Kind::Calls,
    Kind::Tokens,
    Kind::Parent,
    Kind::Maps,
    Kind::Fails,
    Kind::Approves,
    Kind::Large,
];
/// What is not.
pub(super) const QUICK: Kind = Kind::Quick;
/// What `pure` takes from a schedule.
pub(super) const SMALL_INPUT: &str = r#"{"items":[1],"n":0}"#;
/// Items of `large`'s value, which has more bytes than a payload of the original may have.
const LARGE_ITEMS: usize = 600;
const LARGE_ITEM_BYTES: usize = 450;
/// One in so many of those that would be large is, because that costs what hundreds of others do.
const LARGE_ONE_IN: u64 = 3;

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
            Self::Fails => "fails",
            Self::Approves => "approves",
            Self::Large => "large",
            Self::Quick => "quick",
        }
    }

    /// What the execution of that number is of.
    pub(super) fn of(number: u64) -> Self {
        let count = KINDS.len() as u64;
        match KINDS[usize::try_from(number % count).unwrap_or(0)] {
            Self::Large if !(number / count).is_multiple_of(LARGE_ONE_IN) => Self::Waits,
            kind => kind,
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
            // And once more whenever it is driven on.
            Self::Parent | Self::Fails | Self::Approves => 1,
            Self::Pure | Self::Waits | Self::Maps | Self::Large | Self::Quick => 0,
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
            Self::Fails => {
                json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "End": true, "TimeoutSeconds": 300,
                "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f" } } })
            }
            Self::Approves => task(
                "arn:selvedge:states:::approval:request",
                7200,
                0,
                json!({ "Title": "May it?", "Groups": ["deciders"] }),
            ),
            Self::Large => json!({ "StartAt": "L", "States": {
                "L": { "Type": "Pass", "Next": "A",
                    "Result": (0..LARGE_ITEMS).map(large_item).collect::<Vec<_>>() },
                "A": { "Type": "Wait", "Seconds": 5, "Next": "S" },
                "S": { "Type": "Pass", "End": true, "Parameters": {
                    "count.$": "States.ArrayLength($)", "last.$": format!("$[{}]", LARGE_ITEMS - 1) } } } }),
            Self::Quick => {
                json!({ "StartAt": "M", "States": { "M": { "Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.done",
                "End": true, "ItemProcessor": { "StartAt": "I", "States": { "I": pass() } } } } })
            }
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

fn large_item(index: usize) -> String {
    format!("{index:0LARGE_ITEM_BYTES$}")
}

/// What `large` makes of its value.
pub(super) fn large_output() -> Value {
    json!({ "count": LARGE_ITEMS, "last": large_item(LARGE_ITEMS - 1) })
}
