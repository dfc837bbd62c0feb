//! What a proxy asks for of one kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Fault, NAME_BYTES_MAX, SUBSCRIBED_NAMES_MAX};

/// The name that stands for all.
const WILDCARD: &str = "*";

/// A change to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// All names as they are to be (state of the world).
    Set(Vec<String>),
    /// Additions and removals (delta); versions that the proxy already has.
    Edit { subscribe: Vec<String>, unsubscribe: Vec<String>, initial_versions: Vec<(String, String)> },
}

/// The names that are subscribed to.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    wildcard: bool,
    /// The wildcard was meant by naming nothing; the first explicit name ends that.
    legacy: bool,
    names: BTreeSet<Arc<str>>,
}

impl Subscription {
    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard || self.legacy
    }

    pub(super) fn covers(&self, name: &str) -> bool {
        self.is_wildcard() || self.names.contains(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// A subscription of a kind whose wildcard may be meant by naming nothing, before any name was given.
    pub(super) fn introduce(&mut self, nothing_named: bool, wildcard_kind: bool) {
        self.legacy = nothing_named && wildcard_kind;
    }

    /// Replaces all names; those that are new.
    pub(super) fn set(&mut self, names: Vec<String>) -> Result<Vec<Arc<str>>, Fault> {
        if names.len() > SUBSCRIBED_NAMES_MAX {
            return Err(Fault::TooManyNames);
        }
        check_lengths(&names)?;
        if names.is_empty() && self.legacy {
            return Ok(Vec::new());
        }
        self.legacy = false;
        self.wildcard = names.iter().any(|name| name == WILDCARD);
        let names: BTreeSet<Arc<str>> =
            names.iter().filter(|name| *name != WILDCARD).map(|name| Arc::from(name.as_str())).collect();
        let added = names.difference(&self.names).cloned().collect();
        self.names = names;
        Ok(added)
    }

    /// Adds names; those that must be answered, which is all of them.
    pub(super) fn add(&mut self, names: Vec<String>) -> Result<Vec<Arc<str>>, Fault> {
        check_lengths(&names)?;
        if !names.is_empty() {
            self.legacy = false;
        }
        let mut added = Vec::new();
        for name in names {
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            let name: Arc<str> = name.into();
            self.names.insert(name.clone());
            added.push(name);
        }
        if self.names.len() > SUBSCRIBED_NAMES_MAX {
            return Err(Fault::TooManyNames);
        }
        Ok(added)
    }

    /// Takes a name away; the wildcard may still cover it.
    pub(super) fn remove(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = false;
            self.legacy = false;
        } else {
            self.names.remove(name);
        }
    }
}

fn check_lengths(names: &[String]) -> Result<(), Fault> {
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX) { Err(Fault::NameTooLong) } else { Ok(()) }
}
