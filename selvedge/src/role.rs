//! The roles: what `up`, `serve` and the demo start.

pub(crate) mod address;
pub(crate) mod control;
pub(crate) mod dns;
pub(crate) mod logging;
pub(crate) mod signal;
pub(crate) mod workflow;
