//! Executions in a world that answers by a script.

mod absent;
mod bounds;
mod fields;
mod handlers;
mod histories;
mod parallel_and_map;
mod properties;
mod redrive;
mod states;
mod validation;
mod world;
