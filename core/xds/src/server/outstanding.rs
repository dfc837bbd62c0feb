//! A response, and what its answer will mean.

use std::sync::Arc;

use crate::Encoded;

/// What one response carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) resources: Vec<Arc<Encoded>>,
    /// Names that are told to be gone (delta form only).
    pub(super) removed: Vec<Arc<str>>,
    /// What is not in `resources` is gone too: state of the world, of listeners and clusters.
    pub(super) whole: bool,
}

/// A response that was sent and not answered.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: String,
    pub(super) revision: u64,
    pub(super) batch: Batch,
}
