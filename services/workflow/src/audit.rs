//! The audit trail: who did what, each entry chained to the one before by hash.
//!
//! An entry is a line of JSON whose last member is `hash`: SHA-256, in hexadecimal digits, of the line's text before
//! `,"hash":`. `previous` is the hash of the entry before, 64 zeros in the first. So anybody can verify an export with what
//! every machine has; that the end was not cut off, by comparing the last hash with one that was written down elsewhere.

use std::sync::Arc;

use selvedge_store::{Error as StoreError, Read, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Engine;
use crate::record;

/// Entries of one page of an export.
pub const AUDIT_PAGE_MAX: usize = 1000;
/// As much of somebody's own text as an entry repeats.
const TEXT_CHARS_MAX: usize = 4096;
const PREFIX: &str = "audit/";
const HEAD: &str = "audit-head";
const FIRST_PREVIOUS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const BEFORE_HASH: &str = ",\"hash\":\"";

/// One entry, as it is exported. `hash` stays last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counted from 1, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What happened: `ApprovalDecided`, `StopExecution`, …
    pub kind: String,
    /// Who did it, as they were known.
    pub actor: String,
    /// What it was done to: an ARN or a name.
    pub subject: String,
    /// More of it.
    pub details: Value,
    /// The hash of the entry before.
    pub previous: String,
    /// Of all of the above.
    pub hash: String,
}

/// Where a trail stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last entry's number; 0 of an empty trail.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: FIRST_PREVIOUS.into() }
    }
}

/// A trail that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("line {0} is no entry")]
    NoEntry(u64),
    #[error("entry {found} stands where {expected} belongs: entries are missing, or were added")]
    Gap {
        /// The number that belongs there.
        expected: u64,
        /// The one that stands there.
        found: u64,
    },
    #[error("entry {0} does not follow the one before it: one of the two was changed")]
    Chain(u64),
    #[error("entry {0} was changed: its hash is another")]
    Changed(u64),
    #[error("the trail ends with entry {found}, and {expected} was written down: its end was cut off")]
    Cut {
        /// The number that was written down.
        expected: u64,
        /// The last one there is.
        found: u64,
    },
    #[error("entry {0} is not the one whose hash was written down")]
    Other(u64),
}

/// Verifies an export line by line.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    head: Head,
    line: u64,
    anchor: Option<Head>,
}

impl Verifier {
    /// One that expects to meet an entry that was written down before.
    pub fn with_anchor(anchor: Option<Head>) -> Self {
        Self { anchor, ..Self::default() }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When it is not the entry that follows.
    pub fn line(&mut self, text: &str) -> Result<(), Broken> {
        self.line += 1;
        let text = text.trim_end_matches(['\n', '\r']);
        let entry: Entry = serde_json::from_str(text).map_err(|_| Broken::NoEntry(self.line))?;
        if entry.seq != self.head.seq + 1 {
            return Err(Broken::Gap { expected: self.head.seq + 1, found: entry.seq });
        }
        if entry.previous != self.head.hash {
            return Err(Broken::Chain(entry.seq));
        }
        let (before, _) = text.rsplit_once(BEFORE_HASH).ok_or(Broken::NoEntry(self.line))?;
        if hash(before) != entry.hash {
            return Err(Broken::Changed(entry.seq));
        }
        if let Some(anchor) = self.anchor.as_ref().filter(|anchor| anchor.seq == entry.seq)
            && anchor.hash != entry.hash
        {
            return Err(Broken::Other(entry.seq));
        }
        self.head = Head { seq: entry.seq, hash: entry.hash };
        Ok(())
    }

    /// Where the trail ends.
    ///
    /// # Errors
    /// When that is before what was written down.
    pub fn end(self) -> Result<Head, Broken> {
        match self.anchor {
            Some(anchor) if anchor.seq > self.head.seq => {
                Err(Broken::Cut { expected: anchor.seq, found: self.head.seq })
            }
            _ => Ok(self.head),
        }
    }
}

/// SHA-256, in hexadecimal digits.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(seq: u64) -> String {
    format!("{PREFIX}{seq:020}")
}

/// What an entry tells.
#[derive(Clone, Debug)]
pub(crate) struct Act<'a> {
    pub(crate) at_ms: i64,
    pub(crate) kind: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) details: Value,
}

/// What somebody does, for the entry that is written with it.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) kind: String,
    pub(crate) actor: String,
    pub(crate) subject: String,
    pub(crate) details: Value,
}

impl Deed {
    /// Appends its entry in the transaction of what it tells.
    pub(crate) fn append(&self, tx: &mut dyn Transaction, at_ms: i64) -> Result<(), StoreError> {
        let Self { kind, actor, subject, details } = self;
        append(tx, &Act { at_ms, kind, actor, subject, details: details.clone() })
    }
}

/// Appends an entry in the transaction of what it tells.
pub(crate) fn append(tx: &mut dyn Transaction, act: &Act<'_>) -> Result<(), StoreError> {
    let head: Head = match tx.get(HEAD)? {
        Some(found) => record::decode(&found)?,
        None => Head::default(),
    };
    let short = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    let mut entry = Entry {
        seq: head.seq + 1,
        at_ms: act.at_ms,
        kind: act.kind.to_owned(),
        actor: short(act.actor),
        subject: short(act.subject),
        details: act.details.clone(),
        previous: head.hash,
        hash: String::new(),
    };
    let text = String::from_utf8_lossy(&record::encode(&entry)).into_owned();
    let before = text.rsplit_once(BEFORE_HASH).map_or(text.as_str(), |(before, _)| before);
    entry.hash = hash(before);
    tx.put(&key(entry.seq), record::encode(&entry))?;
    tx.put(HEAD, record::encode(&Head { seq: entry.seq, hash: entry.hash }))
}

/// Appends an entry about what has happened already. A failure is logged: what happened has happened.
pub(crate) fn note(engine: &Engine, kind: &str, actor: &str, subject: &str, details: Value) {
    let act = Act { at_ms: engine.now_ms(), kind, actor, subject, details };
    if let Err(error) = engine.store.transact(&mut |tx| Ok(append(tx, &act)?)) {
        tracing::error!(kind, actor, subject, %error, "an entry of the audit trail could not be stored");
    }
}

/// The same, from where nothing may block. What is told once this is done is in the trail: a crash loses both or neither, and a
/// call that is made again after it has another entry.
pub(crate) async fn note_first(
    engine: &Arc<Engine>,
    kind: &'static str,
    actor: &str,
    subject: &str,
    details: Value,
) {
    let (own, actor, subject) = (Arc::clone(engine), actor.to_owned(), subject.to_owned());
    let (told, heard) = tokio::sync::oneshot::channel();
    engine.behind(move || {
        note(&own, kind, &actor, &subject, details);
        // Nobody listens any more where the call was given up.
        let _ = told.send(());
    });
    // It fails when the server ends, before anything is told.
    let _ = heard.await;
}

/// Entries after a number, as lines.
pub(crate) fn export(view: &dyn Read, after: u64, limit: usize) -> Result<Vec<String>, StoreError> {
    let found = view.scan(PREFIX, Some(&key(after)), limit.min(AUDIT_PAGE_MAX))?;
    Ok(found.iter().map(|found| String::from_utf8_lossy(&found.value).into_owned()).collect())
}

/// Where the trail stands.
pub(crate) fn head(view: &dyn Read) -> Result<Head, StoreError> {
    view.get(HEAD)?.as_ref().map_or_else(|| Ok(Head::default()), record::decode)
}

#[cfg(test)]
mod tests {
    use selvedge_store::Store as _;
    use selvedge_store::memory::Memory;
    use serde_json::json;

    use super::*;

    fn trail(count: i64) -> Vec<String> {
        let store = Memory::new();
        for at_ms in 0..count {
            let details = json!({ "n": at_ms, "text": "a \"quoted\",\"hash\":\" text" });
            let act = Act { at_ms, kind: "Test", actor: "ada", subject: "s", details };
            store.transact(&mut |tx| Ok(append(tx, &act)?)).unwrap();
        }
        let view = store.snapshot().unwrap();
        assert_eq!(head(&*view).unwrap().seq, u64::try_from(count).unwrap());
        export(&*view, 0, 1000).unwrap()
    }

    fn verify(lines: &[String], anchor: Option<Head>) -> Result<Head, Broken> {
        let mut verifier = Verifier::with_anchor(anchor);
        for line in lines {
            verifier.line(line)?;
        }
        verifier.end()
    }

    #[test]
    fn a_trail_as_it_was_written_is_whole() {
        let lines = trail(5);
        let head = verify(&lines, None).unwrap();
        assert_eq!(head.seq, 5);
        assert_eq!(verify(&lines, Some(head.clone())), Ok(head));
        assert_eq!(verify(&[], None), Ok(Head::default()));
    }

    #[test]
    fn a_changed_removed_added_or_cut_entry_is_found() {
        let lines = trail(5);
        let head = verify(&lines, None).unwrap();
        let mut changed = lines.clone();
        changed[2] = changed[2].replace("\"ada\"", "\"bob\"");
        assert_eq!(verify(&changed, None), Err(Broken::Changed(3)));
        let mut removed = lines.clone();
        removed.remove(1);
        assert_eq!(verify(&removed, None), Err(Broken::Gap { expected: 2, found: 3 }));
        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        assert!(verify(&swapped, None).is_err());
        assert_eq!(verify(&lines[..3], Some(head.clone())), Err(Broken::Cut { expected: 5, found: 3 }));
        // Written anew from the third on, with hashes that fit: what was written down tells.
        let mut rewritten = lines[..2].to_vec();
        let mut previous = serde_json::from_str::<Entry>(&lines[1]).unwrap().hash;
        for line in &lines[2..] {
            let mut entry: Entry = serde_json::from_str(line).unwrap();
            entry.actor = "mallory".into();
            entry.previous = previous;
            let text = serde_json::to_string(&entry).unwrap();
            entry.hash = hash(text.rsplit_once(BEFORE_HASH).unwrap().0);
            previous = entry.hash.clone();
            rewritten.push(serde_json::to_string(&entry).unwrap());
        }
        assert!(verify(&rewritten, None).is_ok());
        assert_eq!(verify(&rewritten, Some(head)), Err(Broken::Other(5)));
        assert_eq!(verify(&["{}".into()], None), Err(Broken::NoEntry(1)));
    }
}
