//! Who is at work: one replica at a time, and a late one cannot write.
//!
//! A lease has an end and a number. Whoever takes it raises the number; whoever writes under it checks that the number is
//! still theirs. So a replica that slept beyond its lease's end finds that its work counts for nothing.

use std::time::Duration;

use bytes::Bytes;
use selvedge_store::{Read, Store, Transaction, WriteError};
use serde_json::{Value, json};

/// How long a lease lasts: an order takes seconds, a slow authority minutes.
pub const LEASE: Duration = Duration::from_secs(600);

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    key: String,
    number: u64,
}

/// Who holds it, when it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) until: u64,
}

impl Lease {
    /// Takes the lease on a certificate until `now` + [`LEASE`].
    pub(crate) fn take(
        store: &dyn Store,
        name: &str,
        now: u64,
    ) -> Result<Result<Self, Held>, selvedge_store::Error> {
        let key = format!("acme/lease/{name}");
        let taken = store.write(|tx| {
            let (number, until) = state(tx, &key)?;
            if until > now {
                return Err(WriteError::Refused(Held { until }));
            }
            let number = number + 1;
            tx.put(&key, document(number, now + LEASE.as_secs()))?;
            Ok(Self { key: key.clone(), number })
        });
        match taken {
            Ok((lease, _)) => Ok(Ok(lease)),
            Err(WriteError::Refused(held)) => Ok(Err(held)),
            Err(WriteError::Store(error)) => Err(error),
        }
    }

    /// Whether it is still ours, inside a transaction that writes on its strength.
    pub(crate) fn holds(&self, tx: &dyn Transaction) -> Result<bool, selvedge_store::Error> {
        let (number, until) = state(tx, &self.key)?;
        Ok(number == self.number && until > 0)
    }

    /// Gives it back, inside the transaction that ends the work. The number stays.
    pub(crate) fn release(&self, tx: &mut dyn Transaction) -> Result<(), selvedge_store::Error> {
        tx.put(&self.key, document(self.number, 0))
    }
}

fn document(number: u64, until: u64) -> Bytes {
    json!({"number": number, "until": until}).to_string().into_bytes().into()
}

fn state<R: Read + ?Sized>(read: &R, key: &str) -> Result<(u64, u64), selvedge_store::Error> {
    let Some(document) = read.get(key)? else { return Ok((0, 0)) };
    let value: Value = serde_json::from_slice(&document.value).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    Ok((number("number"), number("until")))
}

#[cfg(test)]
mod tests {
    use selvedge_store::memory::Memory;

    use super::*;

    fn end(store: &dyn Store, lease: &Lease) -> bool {
        let ended = store.write(|tx| {
            if !lease.holds(tx)? {
                return Err(WriteError::Refused(()));
            }
            lease.release(tx)?;
            Ok(())
        });
        ended.is_ok()
    }

    #[test]
    fn one_holds_it_and_a_late_one_writes_nothing() {
        let store = Memory::new();
        let take = |now| Lease::take(&store, "c", now).expect("the store is there");
        let first = take(100).expect("it is free");
        assert_eq!(take(101), Err(Held { until: 100 + LEASE.as_secs() }));
        let second = take(100 + LEASE.as_secs()).expect("the first one's time is over");
        assert!(!end(&store, &first), "the first one slept too long");
        assert!(end(&store, &second));
        assert!(!end(&store, &second), "what was given back is not held");
        assert!(take(101).is_ok(), "given back before its end");
    }
}
