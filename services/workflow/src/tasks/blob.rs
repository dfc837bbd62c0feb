//! Large values, kept once by the hash of their contents and passed by reference.
//!
//! A reference is `{"$ref": "blob:sha256:HEX", "size": N, "type": "application/json"}`. It is kept in parts below
//! `blob/HEX/`; the first part's key is written last, so that what can be found is whole.

use std::sync::Arc;

use bytes::Bytes;
use selvedge_asl::Failure;
use selvedge_store::{Error as StoreError, Store, Transaction, VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Call, unfit};
use crate::Engine;
use crate::record;

/// The largest value that is kept.
pub(crate) const BLOB_BYTES_MAX: usize = 32 * 1024 * 1024;
const PART_BYTES_MAX: usize = VALUE_BYTES_MAX - 4096;
const SCHEME: &str = "blob:sha256:";

/// What is known of a kept value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) hash: String,
    pub(crate) size: usize,
    pub(crate) content_type: String,
    parts: usize,
    /// Nobody put it here: it is an execution's, and goes with the last that uses it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_spilled: bool,
}

/// A value cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("a kept value has at most {BLOB_BYTES_MAX} bytes")]
    TooLarge,
    #[error("there is no kept value {0}")]
    Unknown(String),
    #[error("'{0}' is no reference: it begins with {SCHEME} and goes on with 64 digits")]
    NoReference(String),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

pub(crate) fn head_key(hash: &str) -> String {
    format!("blob/{hash}")
}

fn part_key(hash: &str, part: usize) -> String {
    format!("blob-part/{hash}/{part:04}")
}

impl Blob {
    /// As it is passed.
    pub(crate) fn reference(&self) -> Value {
        json!({ "$ref": format!("{SCHEME}{}", self.hash), "size": self.size, "type": self.content_type })
    }
}

/// Keeps a value. The same contents again are kept once.
pub(crate) fn put(store: &dyn Store, contents: &[u8], content_type: &str) -> Result<Blob, BlobError> {
    keep(store, contents, content_type, false)
}

/// Keeps a value for executions.
pub(crate) fn put_spilled(store: &dyn Store, contents: &[u8], content_type: &str) -> Result<Blob, BlobError> {
    keep(store, contents, content_type, true)
}

/// An execution's input: what is kept, where it is a reference and nothing else.
pub(crate) fn input(store: &dyn Store, text: &str) -> Result<String, StoreError> {
    const REFERENCE_BYTES_MAX: usize = 512;
    if text.len() > REFERENCE_BYTES_MAX || !text.contains(SCHEME) {
        return Ok(text.to_owned());
    }
    let reference = serde_json::from_str(text).ok().filter(is_reference);
    let Some(Ok(hash)) = reference.as_ref().map(hash_of) else { return Ok(text.to_owned()) };
    match get(store, hash) {
        Ok((_, contents)) => Ok(String::from_utf8_lossy(&contents).into_owned()),
        Err(BlobError::Store(error)) => Err(error),
        // It is a value like any other.
        Err(_) => Ok(text.to_owned()),
    }
}

/// Deletes a value.
pub(crate) fn delete(tx: &mut dyn Transaction, blob: &Blob) -> Result<(), StoreError> {
    tx.delete(&head_key(&blob.hash))?;
    (0..blob.parts).try_for_each(|part| tx.delete(&part_key(&blob.hash, part)).map(drop))
}

fn keep(store: &dyn Store, contents: &[u8], content_type: &str, is_spilled: bool) -> Result<Blob, BlobError> {
    if contents.len() > BLOB_BYTES_MAX {
        return Err(BlobError::TooLarge);
    }
    let hash: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(found) = store.snapshot()?.get(&head_key(&hash))? {
        let mut blob: Blob = record::decode(&found)?;
        if blob.is_spilled && !is_spilled {
            // From here on it is somebody's own.
            blob.is_spilled = false;
            store.transact(&mut |tx| Ok(tx.put(&head_key(&blob.hash), record::encode(&blob))?))?;
        }
        return Ok(blob);
    }
    let parts: Vec<&[u8]> = contents.chunks(PART_BYTES_MAX).collect();
    let (size, content_type) = (contents.len(), content_type.to_owned());
    let blob = Blob { hash, size, content_type, parts: parts.len(), is_spilled };
    // A transaction takes a few parts at a time.
    for (group, chunk) in parts.chunks(8).enumerate() {
        store.transact(&mut |tx| {
            for (index, part) in chunk.iter().enumerate() {
                tx.put(&part_key(&blob.hash, group * 8 + index), Bytes::copy_from_slice(part))?;
            }
            Ok(())
        })?;
    }
    store.transact(&mut |tx| Ok(tx.put(&head_key(&blob.hash), record::encode(&blob))?))?;
    Ok(blob)
}

/// The hash in a reference, which is a text or an object with `$ref`.
pub(crate) fn hash_of(reference: &Value) -> Result<&str, BlobError> {
    let text = reference.as_str().or_else(|| reference.get("$ref").and_then(Value::as_str));
    let invalid = || BlobError::NoReference(text.unwrap_or_default().chars().take(100).collect());
    let hash = text.and_then(|text| text.strip_prefix(SCHEME)).ok_or_else(invalid)?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_hash { Ok(hash) } else { Err(invalid()) }
}

/// A kept value.
pub(crate) fn get(store: &dyn Store, hash: &str) -> Result<(Blob, Vec<u8>), BlobError> {
    let view = store.snapshot()?;
    let found = view.get(&head_key(hash))?.ok_or_else(|| BlobError::Unknown(hash.to_owned()))?;
    let blob: Blob = record::decode(&found)?;
    let mut contents = Vec::with_capacity(blob.size);
    for part in 0..blob.parts {
        let found = view.get(&part_key(hash, part))?;
        let found = found.ok_or_else(|| StoreError::Corrupt(format!("part {part} of {hash} is gone")))?;
        contents.extend_from_slice(&found.value);
    }
    Ok((blob, contents))
}

/// Whether a value is a reference and nothing else.
pub(crate) fn is_reference(value: &Value) -> bool {
    let of_ours = |members: &Map<String, Value>| {
        members.keys().all(|name| matches!(name.as_str(), "$ref" | "size" | "type"))
    };
    value.as_object().is_some_and(of_ours) && hash_of(value).is_ok()
}

/// `blob:put` with `Value`, `blob:get` with `Ref`.
pub(super) async fn perform(engine: &Arc<Engine>, action: &str, call: &Call) -> Result<Value, Failure> {
    let (own, parameters, is_put) = (Arc::clone(engine), call.parameters().clone(), action == "put");
    let machine = call.identity.machine_name.clone();
    let done = engine
        .aside(move || {
            if is_put {
                let value = parameters.get("Value").ok_or_else(|| unfit("Value is required"))?;
                let blob =
                    put(&*own.store, value.to_string().as_bytes(), "application/json").map_err(failed)?;
                return Ok(blob.reference());
            }
            let reference = parameters.get("Ref").ok_or_else(|| unfit("Ref is required"))?;
            let (blob, contents) = get(&*own.store, hash_of(reference).map_err(failed)?).map_err(failed)?;
            // The execution judges what it is given by what its machine had when it began.
            let extension = own.extension(&machine).map_err(|error| failed(error.into()))?;
            if contents.len() > own.options(&extension).payload_bytes {
                let cause = format!(
                    "the kept value {} has {} bytes, more than a state's payload may have",
                    blob.hash, blob.size
                );
                return Err(Failure::new("States.DataLimitExceeded", cause));
            }
            Ok(value_of(&contents))
        })
        .await;
    done.unwrap_or_else(|_| Err(Failure::new("States.TaskFailed", "the server is ending")))
}

/// JSON, or else text.
pub(crate) fn value_of(contents: &[u8]) -> Value {
    serde_json::from_slice(contents).unwrap_or_else(|_| String::from_utf8_lossy(contents).into_owned().into())
}

pub(super) fn failed(error: BlobError) -> Failure {
    let name = match error {
        BlobError::TooLarge => "Blob.TooLarge",
        BlobError::Unknown(_) => "Blob.NotFound",
        BlobError::NoReference(_) => "Blob.InvalidReference",
        BlobError::Store(_) => "Blob.StoreFailed",
    };
    Failure::new(name, error.to_string())
}

#[cfg(test)]
mod tests {
    use selvedge_store::memory::Memory;

    use super::*;

    #[test]
    fn the_same_contents_are_kept_once_and_come_back_whole() {
        let store = Memory::new();
        let large: Vec<u8> = (0..3 * VALUE_BYTES_MAX).map(|at| (at % 251) as u8).collect();
        let blob = put(&store, &large, "application/octet-stream").unwrap();
        let before = store.snapshot().unwrap().revision();
        assert_eq!(put(&store, &large, "text/plain").unwrap(), blob);
        assert_eq!(store.snapshot().unwrap().revision(), before, "nothing is written twice");
        let reference = blob.reference();
        assert!(is_reference(&reference));
        assert_eq!(get(&store, hash_of(&reference).unwrap()).unwrap().1, large);
        let empty = put(&store, b"", "text/plain").unwrap();
        assert_eq!(get(&store, &empty.hash).unwrap().1, b"");
    }

    #[test]
    fn what_is_no_reference_finds_nothing() {
        let store = Memory::new();
        for text in
            ["", "blob:sha256:", "blob:sha256:../../x", "sha256:00", &format!("{SCHEME}{}", "G".repeat(64))]
        {
            assert!(matches!(hash_of(&json!(text)), Err(BlobError::NoReference(_))), "{text}");
        }
        let unknown = json!({ "$ref": format!("{SCHEME}{}", "0".repeat(64)) });
        assert!(matches!(get(&store, hash_of(&unknown).unwrap()), Err(BlobError::Unknown(_))));
        assert!(!is_reference(&json!({ "$ref": format!("{SCHEME}{}", "0".repeat(64)), "more": 1 })));
        assert!(matches!(put(&store, &vec![0; BLOB_BYTES_MAX + 1], "x"), Err(BlobError::TooLarge)));
    }
}
