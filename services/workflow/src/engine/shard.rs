//! Shards: executions by name, so that several workers have some each.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::LiveKey;

/// How many shards there are. It is part of what is stored: a store's executions keep theirs.
pub const SHARDS: u16 = 64;

/// One of [`SHARDS`] parts of all executions. An execution is in the one that its machine's name and its own say, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The one of that number, below [`SHARDS`].
    pub fn new(number: u16) -> Option<Self> {
        (number < SHARDS).then_some(Self(number))
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// Where an execution is, by the names of its machine and its own.
    pub fn of(machine: &str, name: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update((machine.len() as u64).to_be_bytes());
        digest.update(machine.as_bytes());
        digest.update(name.as_bytes());
        let digest = digest.finalize();
        Self(u16::from_be_bytes([digest[0], digest[1]]) % SHARDS)
    }

    pub(super) fn of_key(key: &LiveKey) -> Self {
        Self::of(&key.machine, &key.name)
    }

    /// The name of its lease.
    pub(super) fn lease(self) -> String {
        format!("shard/{}", self.0)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_spread_and_stay_where_they_are() {
        let mut counts = [0; SHARDS as usize];
        for number in 0..6400 {
            counts[usize::from(Shard::of("m", &format!("e{number}")).0)] += 1;
        }
        assert!(counts.iter().all(|count| (50..170).contains(count)), "{counts:?}");
        assert_ne!(Shard::of("ab", "c"), Shard::of("a", "bc"));
        // What is stored depends on it: another number would be another worker's.
        assert_eq!((Shard::of("m", "e0"), Shard::of("waits", "e1")), (Shard(40), Shard(61)));
        assert_eq!((Shard::new(SHARDS), Shard::all().count()), (None, SHARDS as usize));
    }
}
