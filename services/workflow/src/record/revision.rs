//! Revisions in the store. A definition may be as long as a document, and is written into one as a text, so a long one stands
//! beside its revision, in parts.

use bytes::Bytes;
use selvedge_store::{Error as StoreError, Read, Transaction, VALUE_BYTES_MAX};

use super::{Revision, decode, encode, key};

/// The longest definition within the revision's own document: each of its bytes may take six.
const INLINE_BYTES_MAX: usize = VALUE_BYTES_MAX / 8;
const PART_BYTES: usize = VALUE_BYTES_MAX / 2;

impl Revision {
    /// The revision `id` of a machine, if it is there.
    pub(crate) fn read(view: &dyn Read, machine: &str, id: &str) -> Result<Option<Self>, StoreError> {
        let Some(found) = view.get(&key::revision(machine, id))? else { return Ok(None) };
        let mut revision: Self = decode(&found)?;
        if revision.is_in_parts {
            let parts = view.scan_all(&key::definitions(machine, id))?;
            let text: Vec<u8> = parts.iter().flat_map(|part| part.value.iter().copied()).collect();
            revision.definition = String::from_utf8(text)
                .map_err(|error| StoreError::Corrupt(format!("the definition of {}: {error}", found.key)))?;
        }
        Ok(Some(revision))
    }

    /// The same, where something refers to it.
    pub(crate) fn known(view: &dyn Read, machine: &str, id: &str) -> Result<Self, StoreError> {
        let found = Self::read(view, machine, id)?;
        found.ok_or_else(|| StoreError::Corrupt(format!("revision {id} of {machine} is gone")))
    }

    /// Writes it.
    pub(crate) fn write(&self, tx: &mut dyn Transaction, machine: &str) -> Result<(), StoreError> {
        if self.definition.len() <= INLINE_BYTES_MAX {
            return tx.put(&key::revision(machine, &self.id), encode(self));
        }
        let head = Self { definition: String::new(), is_in_parts: true, ..self.clone() };
        tx.put(&key::revision(machine, &self.id), encode(&head))?;
        for (number, part) in self.definition.as_bytes().chunks(PART_BYTES).enumerate() {
            tx.put(&key::definition(machine, &self.id, number), Bytes::copy_from_slice(part))?;
        }
        Ok(())
    }
}
