//! The simplest thing that could be right: what each resource may be, given what clients were told.
//!
//! An acknowledged write leaves one possibility. A write whose outcome nobody was told adds one. Looking at the
//! resource leaves the one seen. Whatever else is seen is a lost write, or one out of nowhere.

use crate::intent::{Intent, Subject};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that clients may rely on.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// For each resource ever written: the specs it may have, `None` for its absence.
    possible: BTreeMap<Subject, Vec<Option<Value>>>,
}

/// A resource is not what it must be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{subject} is {seen:?}, but what was acknowledged leaves only {possible:?}")]
pub struct Lost {
    /// The resource.
    pub subject: Subject,
    /// What it was found to be.
    pub seen: Option<Value>,
    /// What it may be.
    pub possible: Vec<Option<Value>>,
}

impl Reference {
    /// The control plane answered that it has done it.
    pub fn acknowledge(&mut self, intent: &Intent) {
        self.possible.insert(intent.subject.clone(), vec![intent.wish.clone()]);
    }

    /// It may have happened or not.
    pub fn doubt(&mut self, intent: &Intent) {
        let possible = self.possible.entry(intent.subject.clone()).or_insert_with(|| vec![None]);
        if !possible.contains(&intent.wish) {
            possible.push(intent.wish.clone());
        }
    }

    /// The control plane answered a read with `seen`.
    ///
    /// # Errors
    /// [`Lost`] when that cannot be.
    pub fn observe(&mut self, subject: &Subject, seen: Option<&Value>) -> Result<(), Lost> {
        let possible = self.possible.entry(subject.clone()).or_insert_with(|| vec![None]);
        let seen = seen.cloned();
        if !possible.contains(&seen) {
            return Err(Lost { subject: subject.clone(), seen, possible: possible.clone() });
        }
        *possible = vec![seen];
        Ok(())
    }

    /// Every resource that was ever written, in a fixed order.
    pub fn subjects(&self) -> Vec<Subject> {
        self.possible.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_what_may_be_seen() {
        let [create, ..] = &Intent::first_mesh()[..] else { unreachable!("the first mesh has calls") };
        let (subject, spec) = (&create.subject, create.wish.as_ref());
        let mut reference = Reference::default();
        assert!(reference.observe(subject, spec).is_err(), "out of nowhere");
        assert!(reference.observe(subject, None).is_ok());
        reference.doubt(create);
        assert!(reference.clone().observe(subject, None).is_ok());
        assert!(reference.observe(subject, spec).is_ok());
        assert!(reference.observe(subject, None).is_err(), "seen once, it is there");
        reference.acknowledge(create);
        assert!(reference.observe(subject, None).is_err(), "lost");
        assert_eq!(reference.subjects(), [subject.clone()]);
    }
}
