//! The Amazon States Language.
//!
//! - [`Definition`]: a state machine as written, and [`parse`], which finds everything that is wrong with it at once, each
//!   with its place.
//! - [`Execution`]: one run of a machine, without clock, chance or I/O. Inputs are [`Execution::handle_start`] and its
//!   siblings; outputs are polled: [`Execution::poll_event`] for the history and [`Execution::poll_command`] for what the
//!   world has to do. It is a value that can be stored and read back: a checkpoint.
//!
//! Source: the Amazon States Language specification and its developer guide; where the two differ from what the service
//! was seen to do, the latter holds.

mod condition;
mod diagnostic;
mod execution;
mod json;
mod payload;
mod resource;
mod retry;
mod syntax;
mod time;

pub use condition::Condition;
pub use diagnostic::{Code, Diagnostic, Severity};
pub use execution::{
    At, Command, Detail, EXTENDED_VARIABLES_BYTES_MAX, Event, Execution, Failure, HISTORY_EVENTS_MAX,
    Identity, ItemSource, MapRunOutcome, MapRunRequest, Options, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX,
    Patience, QUOTED_BYTES_MAX, RUN_TIME_MAX, Selection, StateType, Status, TRANSITIONS_MAX, TaskId,
    TaskName, TaskOutcome, TaskRequest, TokenSource, Trial, Tried, VARIABLE_BYTES_MAX, VARIABLES_BYTES_MAX,
    Verdict, parse_payload,
};
pub use json::{JSON_DEPTH_MAX, JsonError, Places};
pub use payload::Payload;
pub use resource::{Pattern, Resource};
pub use retry::{Catcher, Jitter, Retrier};
pub use selvedge_query::Entropy;
pub use syntax::{
    Branch, ChoiceRule, ChoiceTest, DEFINITION_BYTES_MAX, Definition, DistributedMap, FailText, Flow, Kind,
    MachineType, MapState, NAME_CHARACTERS_MAX, Number, QueryLanguage, ScopeId, State, TaskState, Until,
    parse, parse_as,
};
pub use time::{Timestamp, format_timestamp, parse_timestamp};
