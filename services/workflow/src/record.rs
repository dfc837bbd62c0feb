//! What is stored: documents by key, JSON each.
//!
//! | key | document |
//! |---|---|
//! | `machine/N` | [`Machine`] |
//! | `revision/N/R` | [`Revision`]: a definition that was in force; executions and versions go on referring to it |
//! | `version/N/00…7` | [`Version`] |
//! | `alias/N/A` | [`Alias`] |
//! | `activity/N` | [`Activity`] |
//! | `execution/N/E` | [`ExecutionRecord`] |
//! | `started/N/T/E` | [`Summary`]; `T` counts down, so that the newest is first |
//! | `live/N/E` | nothing: this execution has to be taken up after a restart |
//! | `checkpoint/N/E/00…0` | a part of the execution itself |
//! | `history/N/E/00…1` | events, from the one of that id on |

use selvedge_asl::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A state machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) express: bool,
    pub(crate) created_ms: i64,
    /// The current revision.
    pub(crate) revision: String,
    pub(crate) tags: Vec<(String, String)>,
    /// The last version's number.
    pub(crate) last_version: u64,
}

/// A definition with its role and settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Revision {
    pub(crate) id: String,
    pub(crate) definition: String,
    pub(crate) role_arn: String,
    pub(crate) updated_ms: i64,
    /// As they were given; absent where they were not.
    pub(crate) logging: Value,
    pub(crate) tracing: Value,
    pub(crate) encryption: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) arn: String,
    pub(crate) revision: String,
    pub(crate) description: Option<String>,
    pub(crate) created_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alias {
    pub(crate) arn: String,
    pub(crate) description: Option<String>,
    /// A version's ARN and its share; they sum up to 100.
    pub(crate) routing: Vec<(String, u64)>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Activity {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) created_ms: i64,
    pub(crate) tags: Vec<(String, String)>,
}

/// An execution as `DescribeExecution` tells of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecutionRecord {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) machine_arn: String,
    pub(crate) version_arn: Option<String>,
    pub(crate) alias_arn: Option<String>,
    pub(crate) revision: String,
    pub(crate) status: Status,
    pub(crate) started_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) input: String,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) redrive_count: u64,
    pub(crate) redriven_ms: Option<i64>,
    /// The id of the last event.
    pub(crate) last_event: u64,
    /// Client tokens of redrives, and when they came.
    pub(crate) redrive_tokens: Vec<(String, i64)>,
    pub(crate) trace_header: Option<String>,
}

/// An execution as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) machine_arn: String,
    pub(crate) version_arn: Option<String>,
    pub(crate) alias_arn: Option<String>,
    pub(crate) status: Status,
    pub(crate) started_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) redrive_count: u64,
    pub(crate) redriven_ms: Option<i64>,
    pub(crate) error: Option<String>,
}

impl ExecutionRecord {
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            arn: self.arn.clone(),
            name: self.name.clone(),
            machine_arn: self.machine_arn.clone(),
            version_arn: self.version_arn.clone(),
            alias_arn: self.alias_arn.clone(),
            status: self.status,
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            redrive_count: self.redrive_count,
            redriven_ms: self.redriven_ms,
            error: self.error.clone(),
        }
    }
}

/// Keys.
pub(crate) mod key {
    pub(crate) fn machine(name: &str) -> String {
        format!("machine/{name}")
    }

    pub(crate) fn revision(machine: &str, id: &str) -> String {
        format!("revision/{machine}/{id}")
    }

    pub(crate) fn version(machine: &str, number: u64) -> String {
        format!("version/{machine}/{number:020}")
    }

    pub(crate) fn alias(machine: &str, name: &str) -> String {
        format!("alias/{machine}/{name}")
    }

    pub(crate) fn activity(name: &str) -> String {
        format!("activity/{name}")
    }

    pub(crate) fn execution(machine: &str, name: &str) -> String {
        format!("execution/{machine}/{name}")
    }

    /// The newest first.
    pub(crate) fn started(machine: &str, started_ms: i64, name: &str) -> String {
        format!("started/{machine}/{:020}/{name}", i64::MAX - started_ms)
    }

    pub(crate) fn live(machine: &str, name: &str) -> String {
        format!("live/{machine}/{name}")
    }

    pub(crate) fn checkpoints(machine: &str, name: &str) -> String {
        format!("checkpoint/{machine}/{name}/")
    }

    pub(crate) fn checkpoint(machine: &str, name: &str, part: usize) -> String {
        format!("checkpoint/{machine}/{name}/{part:04}")
    }

    pub(crate) fn histories(machine: &str, name: &str) -> String {
        format!("history/{machine}/{name}/")
    }

    pub(crate) fn history(machine: &str, name: &str, first: u64) -> String {
        format!("history/{machine}/{name}/{first:020}")
    }
}

/// As the API prints it.
pub(crate) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Running => "RUNNING",
        Status::Succeeded => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::TimedOut => "TIMED_OUT",
        Status::Aborted => "ABORTED",
    }
}

/// A document's text.
pub(crate) fn encode(document: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec(document).expect("documents are plain data").into()
}

/// A document from its text.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(
    found: &selvedge_store::Document,
) -> Result<T, selvedge_store::Error> {
    serde_json::from_slice(&found.value)
        .map_err(|error| selvedge_store::Error::Corrupt(format!("{}: {error}", found.key)))
}
