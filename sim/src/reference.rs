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
    subjects: BTreeMap<Subject, Entry>,
    /// For each wish that may have been granted: how often its subject had been written by then.
    granted: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// The specs that it may have, `None` for its absence.
    possible: Vec<Option<Value>>,
    /// How many writes have, or may have, happened.
    writes: u64,
    /// The token of the last one.
    writer: String,
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

// === impl Reference ===

impl Reference {
    /// The control plane answered that the wish identified by `token` is granted.
    ///
    /// A repeated wish may be answered from memory: it was granted earlier, and another's write came after it.
    pub fn acknowledge(&mut self, intent: &Intent, token: &str) {
        if self.is_alone(intent, token) {
            self.write(intent, token);
            self.entry(&intent.subject).possible = vec![intent.wish.clone()];
        } else {
            self.doubt(intent, token);
        }
    }

    /// It may have happened or not.
    pub fn doubt(&mut self, intent: &Intent, token: &str) {
        self.write(intent, token);
        let possible = &mut self.entry(&intent.subject).possible;
        if !possible.contains(&intent.wish) {
            possible.push(intent.wish.clone());
        }
    }

    /// Whether no other wish came between the first time this one may have been granted and today.
    fn is_alone(&self, intent: &Intent, token: &str) -> bool {
        let writes = self.subjects.get(&intent.subject).map_or(0, |entry| entry.writes);
        self.granted.get(token).is_none_or(|&then| then == writes)
    }

    /// Counts a write, unless it repeats the last one.
    fn write(&mut self, intent: &Intent, token: &str) {
        let entry = self.entry(&intent.subject);
        if entry.writer != token {
            token.clone_into(&mut entry.writer);
            entry.writes += 1;
        }
        let writes = entry.writes;
        self.granted.entry(token.to_owned()).or_insert(writes);
    }

    /// The control plane answered a read with `seen`.
    ///
    /// # Errors
    /// [`Lost`] when that cannot be.
    pub fn observe(&mut self, subject: &Subject, seen: Option<&Value>) -> Result<(), Box<Lost>> {
        let entry = self.entry(subject);
        let seen = seen.cloned();
        if !entry.possible.contains(&seen) {
            let possible = entry.possible.clone();
            return Err(Box::new(Lost { subject: subject.clone(), seen, possible }));
        }
        entry.possible = vec![seen];
        Ok(())
    }

    /// Every resource that was ever written, in a fixed order.
    pub fn subjects(&self) -> Vec<Subject> {
        self.subjects.keys().cloned().collect()
    }

    fn entry(&mut self, subject: &Subject) -> &mut Entry {
        self.subjects.entry(subject.clone()).or_insert_with(|| Entry {
            possible: vec![None],
            writes: 0,
            writer: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Verb;
    use serde_json::json;

    fn write(verb: Verb, spec: Value) -> Intent {
        Intent::new(verb, Subject::node("web"), spec)
    }

    #[test]
    fn what_was_told_is_what_may_be_seen() {
        let create = write(Verb::Create, json!({}));
        let (subject, spec) = (&create.subject, create.wish.as_ref());
        let mut reference = Reference::default();
        assert!(reference.observe(subject, spec).is_err(), "out of nowhere");
        assert!(reference.observe(subject, None).is_ok());
        reference.doubt(&create, "a");
        assert!(reference.clone().observe(subject, None).is_ok());
        assert!(reference.observe(subject, spec).is_ok());
        assert!(reference.observe(subject, None).is_err(), "seen once, it is there");
        reference.acknowledge(&create, "a");
        assert!(reference.observe(subject, None).is_err(), "lost");
        assert_eq!(reference.subjects().as_slice(), std::slice::from_ref(subject));
    }

    #[test]
    fn a_repeat_may_be_answered_from_memory() {
        let one = write(Verb::Update, json!({"one": 1}));
        let two = write(Verb::Update, json!({"two": 2}));
        let mut reference = Reference::default();
        reference.doubt(&one, "a");
        reference.acknowledge(&two, "b");
        reference.acknowledge(&one, "a");
        for seen in [&one, &two] {
            assert!(reference.clone().observe(&one.subject, seen.wish.as_ref()).is_ok());
        }
        let mut reference = Reference::default();
        reference.doubt(&one, "a");
        reference.acknowledge(&one, "a");
        assert!(reference.observe(&one.subject, None).is_err(), "nothing came between");
    }
}
