//! The workflow role: state machines, their executions, activities and task tokens, on the Step Functions API.
//!
//! [`Engine`] runs executions and makes them durable; [`operations`] is the API over it. The language itself is
//! `core/asl`, which decides; this room stores what it decided, in one transaction a step, and only then does what it asks.

pub mod api;
pub mod arn;
pub mod audit;
mod dataset;
mod dead;
mod engine;
mod extension;
mod log;
mod map_run;
pub mod objects;
pub mod operations;
mod record;
mod redrive;
pub mod schedule;
mod schema;
mod settings;
mod surroundings;
mod tasks;
mod traces;

pub use dataset::{ITEM_BYTES_MAX, MANIFEST_FILES_MAX};
pub use dead::{LETTERS_PAGE_MAX, LOOSE_MAX};
pub use engine::{
    CAUSE_CHARACTERS_MAX, Drive, Engine, LIVE_MAX, LIVE_OF_MACHINE_MAX, NESTED_MAX, OpenError,
    REVISIONS_SPARE_MAX, SHARDS, Shard, Sharing,
};
pub use extension::{EXTENDED_HISTORY_EVENTS_MAX, EXTENDED_PAYLOAD_BYTES_MAX};
pub use log::LOG_FILES_MAX;
pub use map_run::{CHILDREN_AT_ONCE_MAX, MAP_RUNS_MAX};
pub use operations::{Context, Outcome, Performed, Refused};
pub use redrive::{EDITS_MAX, RUNS_AT_ONCE_MAX, RUNS_MAX, RedriveError};
pub use schema::SCHEMA_BYTES_MAX;
pub use selvedge_store::{SECRETS_KEY_BYTES, Vault, VaultError};
pub use settings::Settings;
pub use surroundings::{Surroundings, System};
pub use tasks::{CALLS_OF_MACHINE_MAX, Calls, FunctionCall, Functions};
pub use traces::{EVENTS_MAX, SPANS_OF_EXECUTION_MAX, Traces};
