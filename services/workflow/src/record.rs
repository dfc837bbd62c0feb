//! What is stored: documents by key, JSON each.
//!
//! | key | document |
//! |---|---|
//! | `machine/N` | [`Machine`] |
//! | `revision/N/R` | [`Revision`]: a definition that was in force; executions and versions go on referring to it |
//! | `definition/N/R/0000` | a part of a long definition of that revision |
//! | `version/N/00…7` | [`Version`] |
//! | `alias/N/A` | [`Alias`] |
//! | `activity/N` | [`Activity`] |
//! | `execution/N/E` | [`ExecutionRecord`]; of a map run's child, `N` is the machine's name and the label, with a colon |
//! | `map-run/R` | [`MapRunRecord`] |
//! | `map-run-of/N/E/T/R` | the id of a map run of this execution |
//! | `child/R/I` | [`Summary`] of a map run's child; `I` counts down |
//! | `started/N/T/E` | [`Summary`]; `T` counts down, so that the newest is first |
//! | `dead/T/I` | [`Letter`](crate::dead::Letter) of an execution that failed at `T` |
//! | `dead-loose/T/I` | the same of what left nothing else behind |
//! | `redrive-run/R` | [`Run`](crate::redrive::Run): many executions, driven on at a rate |
//! | `live/N/E` | nothing: this execution has to be taken up after a restart |
//! | `checkpoint/N/E/00…0` | a part of the execution itself |
//! | `history/N/E/00…1` | events, from the one of that id on; those of the first step are in the record, where they are few |
//! | `late/N/E/00…7` | the ids of tasks that ended unanswered in the step with that last event |

pub(crate) mod history;
mod revision;

use selvedge_asl::Status;
use sha2::{Digest as _, Sha256};

use crate::engine::Start;
use crate::map_run::Counts;
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
    /// The first version was made with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_published: bool,
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
    /// The definition stands beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_in_parts: bool,
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
    /// As it was given; null where it was not.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) encryption: Value,
}

/// An execution as `DescribeExecution` tells of it. What is absent takes no room: one is written with each start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecutionRecord {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) machine_arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias_arn: Option<String>,
    pub(crate) revision: String,
    pub(crate) status: Status,
    pub(crate) started_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_ms: Option<i64>,
    pub(crate) input: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) redrive_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redriven_ms: Option<i64>,
    /// The id of the last event.
    pub(crate) last_event: u64,
    /// Client tokens of redrives, and when they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) redrive_tokens: Vec<(String, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_header: Option<String>,
    /// Redrives from a chosen state: what somebody changed, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) edits: Vec<Edit>,
    /// Which child of which map run it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) child: Option<ChildOf>,
    /// The state that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed_state: Option<String>,
    /// How many executions wait for it, one for the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) depth: u64,
    /// The events of its first step, where they are few: a document less to be written.
    #[serde(default, skip_serializing_if = "history::First::is_empty")]
    pub(crate) first_events: history::First,
}

/// A redrive from a chosen state with an input that somebody wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Edit {
    /// Which redrive it was.
    pub(crate) redrive_count: u64,
    pub(crate) at_ms: i64,
    /// Who wrote the input.
    #[serde(default)]
    pub(crate) by: String,
    pub(crate) state: String,
    pub(crate) input: String,
}

/// A child's place in its map run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChildOf {
    /// The run's id.
    pub(crate) run: String,
    pub(crate) run_arn: String,
    /// Counted from 0, in the order of the items.
    pub(crate) index: u64,
    /// How many items it was given.
    pub(crate) items: u64,
    /// How often the run had been driven on when the child was started.
    pub(crate) round: u64,
}

/// How a map run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunStatus {
    Running,
    Succeeded,
    Failed,
    Aborted,
}

/// A map run as `DescribeMapRun` tells of it. While it is under way its counts are in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MapRunRecord {
    pub(crate) arn: String,
    pub(crate) id: String,
    pub(crate) execution_arn: String,
    /// The children's machine.
    pub(crate) machine_arn: String,
    /// The machine and the name of the execution that it belongs to.
    pub(crate) parent: (String, String),
    pub(crate) status: RunStatus,
    pub(crate) started_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    pub(crate) max_concurrency: u64,
    pub(crate) tolerated_count: Option<u64>,
    pub(crate) tolerated_percentage: Option<f64>,
    pub(crate) express: bool,
    pub(crate) redrive_count: u64,
    pub(crate) redriven_ms: Option<i64>,
    pub(crate) items: Counts,
    pub(crate) executions: Counts,
    /// How many children it has had.
    pub(crate) children: u64,
    /// What it failed with: error and cause.
    pub(crate) failure: Option<(Option<String>, Option<String>)>,
}

/// An execution as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) machine_arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias_arn: Option<String>,
    pub(crate) status: Status,
    pub(crate) started_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) redrive_count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redriven_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The machine in its keys, where it is a map run's child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) child: Option<ChildOf>,
}

impl Revision {
    /// Two equal definitions with equal settings are one revision. `settings` are logging, tracing, encryption.
    pub(crate) fn new(definition: &str, role_arn: &str, settings: [&Value; 3], now_ms: i64) -> Self {
        let [logging, tracing, encryption] = settings;
        let parts =
            [definition, role_arn, &logging.to_string(), &tracing.to_string(), &encryption.to_string()];
        Self {
            id: fingerprint(&parts),
            definition: definition.to_owned(),
            role_arn: role_arn.to_owned(),
            updated_ms: now_ms,
            logging: logging.clone(),
            tracing: tracing.clone(),
            encryption: encryption.clone(),
            is_in_parts: false,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// 128 bits of a digest of `parts`, written as a UUID is.
pub(crate) fn fingerprint(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let hex: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl ExecutionRecord {
    /// An execution that begins.
    pub(crate) fn new(start: Start, now_ms: i64) -> Self {
        Self {
            arn: start.identity.arn.to_string(),
            name: start.name,
            machine: start.machine,
            machine_arn: start.identity.machine_arn.to_string(),
            version_arn: start.version_arn,
            alias_arn: start.alias_arn,
            revision: start.revision.id.clone(),
            status: Status::Running,
            started_ms: now_ms,
            ended_ms: None,
            input: start.input,
            output: None,
            error: None,
            cause: None,
            redrive_count: 0,
            redriven_ms: None,
            last_event: 0,
            redrive_tokens: Vec::new(),
            trace_header: start.trace_header,
            edits: Vec::new(),
            child: start.child,
            failed_state: None,
            depth: start.depth,
            first_events: history::First::default(),
        }
    }

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
            machine: self.child.as_ref().map(|_| self.machine.clone()),
            child: self.child.clone(),
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

    pub(crate) fn definitions(machine: &str, id: &str) -> String {
        format!("definition/{machine}/{id}/")
    }

    pub(crate) fn definition(machine: &str, id: &str, part: usize) -> String {
        format!("definition/{machine}/{id}/{part:04}")
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

    pub(crate) fn map_run(id: &str) -> String {
        format!("map-run/{id}")
    }

    pub(crate) fn map_runs_of(machine: &str, execution: &str) -> String {
        format!("map-run-of/{machine}/{execution}/")
    }

    /// The newest first.
    pub(crate) fn map_run_of(machine: &str, execution: &str, started_ms: i64, id: &str) -> String {
        format!("map-run-of/{machine}/{execution}/{:020}/{id}", i64::MAX - started_ms)
    }

    pub(crate) fn children(run: &str) -> String {
        format!("child/{run}/")
    }

    /// The last one first.
    pub(crate) fn child(run: &str, index: u64) -> String {
        format!("child/{run}/{:020}", u64::MAX - index)
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

    pub(crate) fn lates(machine: &str, name: &str) -> String {
        format!("late/{machine}/{name}/")
    }

    pub(crate) fn late(machine: &str, name: &str, last_event: u64) -> String {
        format!("late/{machine}/{name}/{last_event:020}")
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
