//! Leases: a registration that lasts as long as its holder says so.
//!
//! Whoever takes an instance over gets a higher epoch, and from then on the word of the one before counts for nothing: a
//! process that was cut off and comes back cannot keep alive, change or take away what is another's by now.

use serde::{Deserialize, Serialize};

/// How long a registration lasts without a word from its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub epoch: u64,
    /// Milliseconds that it lasts from each renewal.
    pub ttl_millis: u64,
    /// Milliseconds since the epoch.
    pub renewed_at: u64,
}

/// The shortest and the longest lease, in milliseconds.
pub const TTL_MILLIS: std::ops::RangeInclusive<u64> = 2_000..=300_000;

/// Why a holder's word does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    #[error("the lease has ended; register again")]
    Ended,
    #[error("epoch {held} was followed by epoch {current}: another holds the instance")]
    Stale { held: u64, current: u64 },
}

impl Lease {
    /// The lease after a word from the holder of that epoch.
    ///
    /// # Errors
    /// When another holds it.
    pub fn renewed(&self, epoch: u64, now_millis: u64) -> Result<Self, Fenced> {
        if epoch != self.epoch {
            return Err(Fenced::Stale { held: epoch, current: self.epoch });
        }
        // A clock that was set back shortens nothing.
        Ok(Self { renewed_at: now_millis.max(self.renewed_at), ..self.clone() })
    }

    /// The lease of the next holder.
    pub fn follow(previous: Option<u64>, ttl_millis: u64, now_millis: u64) -> Self {
        // The time is a number that no holder had before, even where nothing is known of those before.
        Self { epoch: now_millis.max(previous.unwrap_or(0) + 1), ttl_millis, renewed_at: now_millis }
    }

    /// When it ends unless it is renewed. `up_since`: when the registry could first be told; nobody is held to account
    /// for the time before.
    pub fn ends_at(&self, up_since: u64) -> u64 {
        self.renewed_at.max(up_since).saturating_add(self.ttl_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_former_holder_counts_for_nothing() {
        let first = Lease::follow(None, 10_000, 1_000);
        assert_eq!(first.renewed(1_000, 5_000).expect("its own").renewed_at, 5_000);
        let second = Lease::follow(Some(first.epoch), 10_000, 500);
        assert_eq!(second.epoch, 1_001, "though the clock was set back");
        for stale in [1_000, 1_002] {
            assert_eq!(second.renewed(stale, 600), Err(Fenced::Stale { held: stale, current: 1_001 }));
        }
        assert!(second.renewed(1_001, 600).is_ok());
        assert_eq!(Lease::follow(None, 10_000, 30_000).epoch, 30_000, "nothing is known of the others");
    }

    #[test]
    fn a_registry_that_was_away_gives_everybody_time() {
        let lease = Lease::follow(None, 10_000, 1_000);
        assert_eq!(lease.ends_at(0), 11_000);
        assert_eq!(lease.ends_at(500_000), 510_000);
        assert_eq!(
            lease.renewed(1_000, 500).expect("its own").renewed_at,
            1_000,
            "a clock that was set back"
        );
    }
}
