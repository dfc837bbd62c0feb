//! Large values of executions, kept as blobs.
//!
//! A checkpoint, an event or a record has a reference where a value is larger than [`SPILL_BYTES`]. In a checkpoint the places
//! are told beside it, so that nothing that a user writes can be taken for one. The same contents are kept once; who uses them is
//! told below `blob-user/HASH/`, and what was kept for executions alone goes with the last of them.

use selvedge_asl::{Event, PAYLOAD_BYTES_MAX};
use selvedge_store::{Error as StoreError, Store, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{self, ExecutionRecord};
use crate::tasks::blob::{self, BlobError};

/// What is larger is kept as a blob: the original's bound of a payload.
pub(crate) const SPILL_BYTES: usize = PAYLOAD_BYTES_MAX;
const CONTENT_TYPE: &str = "application/json";

/// A checkpoint whose large values are elsewhere. `spilled` comes first, which tells it from one that is whole.
#[derive(Serialize, Deserialize)]
struct Deflated {
    /// Where each belongs, and its hash; what was taken out first is put back last.
    spilled: Vec<(String, String)>,
    execution: Value,
}

/// What a step keeps elsewhere.
#[derive(Default)]
pub(crate) struct Spilled {
    /// The hashes.
    pub(crate) hashes: Vec<String>,
}

fn store_error(error: BlobError) -> StoreError {
    match error {
        BlobError::Store(error) => error,
        other => StoreError::Corrupt(format!("a large value cannot be kept: {other}")),
    }
}

impl Spilled {
    fn keep(&mut self, store: &dyn Store, contents: &[u8]) -> Result<blob::Blob, StoreError> {
        let kept = blob::put_spilled(store, contents, CONTENT_TYPE).map_err(store_error)?;
        if !self.hashes.contains(&kept.hash) {
            self.hashes.push(kept.hash.clone());
        }
        Ok(kept)
    }

    /// A reference instead of a large text.
    pub(crate) fn text(&mut self, store: &dyn Store, text: &mut String) -> Result<(), StoreError> {
        if text.len() > SPILL_BYTES {
            *text = self.keep(store, text.as_bytes())?.reference().to_string();
        }
        Ok(())
    }

    /// References instead of an event's large texts.
    pub(crate) fn event(&mut self, store: &dyn Store, event: Event) -> Result<Event, StoreError> {
        let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("an event: {error}"));
        let mut shown = serde_json::to_value(&event).map_err(corrupt)?;
        let before = self.hashes.len();
        let mut is_changed = false;
        self.texts(store, &mut shown, &mut is_changed)?;
        if !is_changed && before == self.hashes.len() {
            return Ok(event);
        }
        serde_json::from_value(shown).map_err(corrupt)
    }

    fn texts(
        &mut self,
        store: &dyn Store,
        value: &mut Value,
        is_changed: &mut bool,
    ) -> Result<(), StoreError> {
        match value {
            Value::String(text) if text.len() > SPILL_BYTES => {
                *is_changed = true;
                self.text(store, text)
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.texts(store, item, is_changed)),
            Value::Object(members) => {
                members.values_mut().try_for_each(|member| self.texts(store, member, is_changed))
            }
            _ => Ok(()),
        }
    }

    /// A checkpoint with references.
    pub(crate) fn checkpoint(&mut self, store: &dyn Store, text: &[u8]) -> Result<Vec<u8>, StoreError> {
        let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("a checkpoint: {error}"));
        let mut execution: Value = serde_json::from_slice(text).map_err(corrupt)?;
        let mut spilled = Vec::new();
        if let Value::Object(members) = &mut execution {
            for (name, member) in members {
                self.large(store, member, &format!("/{}", escaped(name)), &mut spilled)?;
            }
        }
        serde_json::to_vec(&Deflated { spilled, execution }).map_err(corrupt)
    }

    /// Takes the smallest values out that are too large, and those that are too large without them; what is left, in bytes.
    fn large(
        &mut self,
        store: &dyn Store,
        value: &mut Value,
        at: &str,
        spilled: &mut Vec<(String, String)>,
    ) -> Result<usize, StoreError> {
        let left = match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                let mut sum = 2;
                for (index, item) in items.iter_mut().enumerate() {
                    sum += self.large(store, item, &format!("{at}/{index}"), spilled)? + 1;
                }
                sum
            }
            Value::Object(members) => {
                let mut sum = 2;
                for (name, member) in members {
                    sum += self.large(store, member, &format!("{at}/{}", escaped(name)), spilled)?
                        + name.len()
                        + 4;
                }
                sum
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        };
        if left <= SPILL_BYTES {
            return Ok(left);
        }
        let kept = self.keep(store, value.to_string().as_bytes())?;
        spilled.push((at.to_owned(), kept.hash));
        *value = Value::Null;
        Ok(4)
    }

    /// Who uses what, in the transaction of the step. A blob that has just gone with its last user makes the step not happen.
    pub(crate) fn write(
        &self,
        tx: &mut dyn Transaction,
        machine: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        for hash in &self.hashes {
            if tx.get(&blob::head_key(hash))?.is_none() {
                return Err(StoreError::Unavailable(format!("the kept value {hash} has just gone")));
            }
            tx.put(&format!("{}{hash}", prefix(machine, name)), bytes::Bytes::new())?;
            tx.put(&user(hash, machine, name), bytes::Bytes::new())?;
        }
        Ok(())
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What an execution uses.
pub(crate) fn prefix(machine: &str, name: &str) -> String {
    format!("spilled/{machine}/{name}/")
}

fn user(hash: &str, machine: &str, name: &str) -> String {
    format!("blob-user/{hash}/{machine}/{name}")
}

/// A checkpoint as it was, whole.
pub(crate) fn inflate(store: &dyn Store, text: &[u8]) -> Result<Vec<u8>, StoreError> {
    if !text.starts_with(b"{\"spilled\":") {
        return Ok(text.to_vec());
    }
    let corrupt = |what: String| StoreError::Corrupt(format!("a checkpoint: {what}"));
    let deflated: Deflated = serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))?;
    let mut execution = deflated.execution;
    for (at, hash) in deflated.spilled.iter().rev() {
        let (_, contents) = blob::get(store, hash).map_err(store_error)?;
        let place = execution.pointer_mut(at).ok_or_else(|| corrupt(format!("there is no {at}")))?;
        *place = serde_json::from_slice(&contents).map_err(|error| corrupt(error.to_string()))?;
    }
    serde_json::to_vec(&execution).map_err(|error| corrupt(error.to_string()))
}

/// A record's text as it was: what was kept elsewhere for executions is read, anything else is as it is.
pub(crate) fn whole(store: &dyn Store, text: &str) -> Result<String, StoreError> {
    const REFERENCE_BYTES_MAX: usize = 512;
    if text.len() > REFERENCE_BYTES_MAX || !text.contains("blob:sha256:") {
        return Ok(text.to_owned());
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Ok(text.to_owned()) };
    if !blob::is_reference(&value) {
        return Ok(text.to_owned());
    }
    let Ok(hash) = blob::hash_of(&value) else { return Ok(text.to_owned()) };
    match blob::get(store, hash) {
        Ok((kept, contents)) if kept.is_spilled => Ok(String::from_utf8_lossy(&contents).into_owned()),
        Ok(_) | Err(BlobError::Unknown(_)) => Ok(text.to_owned()),
        Err(error) => Err(store_error(error)),
    }
}

/// Forgets what an execution used; a value that nobody else uses goes.
pub(crate) fn release(
    tx: &mut dyn Transaction,
    machine: &str,
    name: &str,
    hash: &str,
) -> Result<(), StoreError> {
    tx.delete(&format!("{}{hash}", prefix(machine, name)))?;
    tx.delete(&user(hash, machine, name))?;
    if !tx.scan(&format!("blob-user/{hash}/"), None, 1)?.is_empty() {
        return Ok(());
    }
    if let Some(found) = tx.get(&blob::head_key(hash))? {
        let kept: blob::Blob = record::decode(&found)?;
        if kept.is_spilled {
            blob::delete(tx, &kept)?;
        }
    }
    Ok(())
}

/// A record with references instead of its large texts.
pub(crate) fn record(
    spilled: &mut Spilled,
    store: &dyn Store,
    record: &mut ExecutionRecord,
) -> Result<(), StoreError> {
    spilled.text(store, &mut record.input)?;
    if let Some(output) = &mut record.output {
        spilled.text(store, output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use selvedge_store::memory::Memory;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_whatever_is_in_it() {
        let store = Memory::new();
        let large = "x".repeat(SPILL_BYTES + 1);
        let many: Vec<Value> = (0..40_000).map(|n| json!({ "n": n })).collect();
        let execution = json!({
            "identity": {}, "input_text": large, "input": { "a/b~c": { "large": large, "small": 1 } },
            "branches": { "0": { "input": many, "more": [many, large] } },
            // Nothing that a user writes is taken for a reference.
            "forged": { "spilled": [["/identity", "0"]], "$ref": "blob:sha256:0" },
        });
        let text = serde_json::to_vec(&execution).unwrap();
        let mut spilled = Spilled::default();
        let deflated = spilled.checkpoint(&store, &text).unwrap();
        assert!(deflated.len() < 2000, "{}", deflated.len());
        assert_eq!(spilled.hashes.len(), 2, "each contents once");
        let whole: Value = serde_json::from_slice(&inflate(&store, &deflated).unwrap()).unwrap();
        assert!(whole == execution);
        assert_eq!(inflate(&store, b"{\"identity\":{}}").unwrap(), b"{\"identity\":{}}");
    }

    #[test]
    fn what_nobody_uses_goes_unless_somebody_put_it() {
        let store = Memory::new();
        let mut spilled = Spilled::default();
        let (mut one, mut own) = ("1".repeat(SPILL_BYTES + 1), "2".repeat(SPILL_BYTES + 1));
        blob::put(&store, own.as_bytes(), "application/json").unwrap();
        spilled.text(&store, &mut one).unwrap();
        spilled.text(&store, &mut own).unwrap();
        for name in ["a", "b"] {
            store.transact(&mut |tx| Ok(spilled.write(tx, "m", name)?)).unwrap();
        }
        assert_eq!(whole(&store, &one).unwrap().len(), SPILL_BYTES + 1);
        assert_eq!(whole(&store, &own).unwrap(), own, "what somebody put is passed by reference");
        let release_all = |name: &str| {
            for hash in &spilled.hashes {
                store.transact(&mut |tx| Ok(release(tx, "m", name, hash)?)).unwrap();
            }
        };
        release_all("a");
        assert!(spilled.hashes.iter().all(|hash| blob::get(&store, hash).is_ok()), "b uses it");
        release_all("b");
        assert!(matches!(blob::get(&store, &spilled.hashes[0]), Err(BlobError::Unknown(_))));
        assert!(blob::get(&store, &spilled.hashes[1]).is_ok());
        let left = store.snapshot().unwrap().scan_all("").unwrap();
        assert!(left.iter().all(|found| found.key.contains(&spilled.hashes[1])), "{left:?}");
    }
}
