//! The workflow role: state machines, their executions, activities and task tokens, on the Step Functions API.
//!
//! [`Engine`] runs executions and makes them durable; [`operations`] is the API over it. The language itself is
//! `core/asl`, which decides; this room stores what it decided, in one transaction a step, and only then does what it asks.

pub mod arn;
mod engine;
pub mod operations;
mod record;
mod settings;
mod surroundings;

pub use engine::{Engine, LIVE_MAX, OpenError};
pub use operations::{Context, Outcome, Performed, Refused};
pub use settings::Settings;
pub use surroundings::{Surroundings, System};
