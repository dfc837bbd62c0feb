//! Resources that were rejected, kept so that somebody can see why.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use selvedge_xds::Encoded;

/// No more than this many are remembered of a kind; the names come from the control plane.
const FAILURES_MAX: usize = 1024;
/// What was rejected is kept itself unless it is longer.
const REJECTED_BYTES_MAX: usize = 64 * 1024;

/// Why the latest version of a resource is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub details: String,
    pub at: Instant,
    /// What was rejected; `None` where that is something that is in force, or is too long to be kept.
    pub rejected: Option<Rejected>,
}

/// A version of a resource that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub type_url: &'static str,
    pub value: Bytes,
}

impl Rejected {
    /// A copy of its own: what came is part of a longer message.
    pub(super) fn of(encoded: &Encoded) -> Option<Self> {
        (encoded.value.len() <= REJECTED_BYTES_MAX)
            .then(|| Self { type_url: encoded.type_url(), value: Bytes::copy_from_slice(&encoded.value) })
    }
}

/// Failures by the name of the resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(BTreeMap<String, Failure>);

impl Failures {
    pub(super) fn add(&mut self, name: &str, details: &str, rejected: Option<Rejected>, at: Instant) {
        if self.0.len() < FAILURES_MAX || self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Failure { details: details.to_owned(), at, rejected });
        }
    }

    /// A version was accepted, or the resource is gone.
    pub(super) fn clear(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| stays(name));
    }

    pub(super) fn to_vec(&self) -> Vec<(String, Failure)> {
        self.0.iter().map(|(name, failure)| (name.clone(), failure.clone())).collect()
    }
}
