//! How often the nonces of digest sign-in have been used: each count of a nonce is taken once (RFC 7616 §3.4, §5.5).

use std::collections::BTreeMap;

/// How long a nonce is good for, in milliseconds.
pub const NONCE_MS_MAX: u64 = 600_000;
/// How far ahead of ours the clock of another replica may be, in milliseconds.
pub const NONCE_AHEAD_MS_MAX: u64 = 5_000;
/// Nonces that are remembered. Beyond it the oldest are, and everything older counts as used.
pub const NONCES_MAX: usize = 16_384;
/// How far behind the highest count a request may come: browsers have many requests on the way at once, in any order.
pub const COUNTS_BEHIND_MAX: u32 = 127;

/// A nonce: the millisecond in which it was made, since 1970, and a number that tells those of one millisecond apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce {
    pub made_ms: u64,
    pub number: u64,
}

/// The nonces that somebody has shown a right digest with. Nobody without a password makes it grow.
#[derive(Debug)]
pub struct Nonces {
    known: BTreeMap<Nonce, Counts>,
    /// What is not known and not above it may have been used.
    floor: Nonce,
}

/// Which counts of a nonce have been taken: the highest, and as bits those behind it.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    /// Bit n stands for `highest - n`.
    taken: u128,
}

impl Nonces {
    /// What was made before `now_ms` may have been used with a process before this one.
    pub fn new(now_ms: u64) -> Self {
        Self { known: BTreeMap::new(), floor: Nonce { made_ms: now_ms, number: 0 } }
    }

    /// Takes a count of a nonce that is ours; says whether that is its first use. Without a count (`None`: clients of RFC 2069)
    /// the nonce is used up.
    pub fn take(&mut self, nonce: Nonce, count: Option<u32>, now_ms: u64) -> bool {
        let is_over = |nonce: Nonce| now_ms.saturating_sub(nonce.made_ms) > NONCE_MS_MAX;
        if is_over(nonce) || nonce.made_ms > now_ms.saturating_add(NONCE_AHEAD_MS_MAX) {
            return false;
        }
        if let Some(counts) = self.known.get_mut(&nonce) {
            return count.is_some_and(|count| counts.take(count));
        }
        if nonce < self.floor {
            return false;
        }
        while self.known.first_key_value().is_some_and(|(eldest, _)| is_over(*eldest)) {
            self.known.pop_first();
        }
        self.known.insert(nonce, Counts::new(count));
        if self.known.len() > NONCES_MAX
            && let Some((eldest, _)) = self.known.pop_first()
        {
            self.floor = Nonce { number: eldest.number.saturating_add(1), ..eldest };
        }
        true
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Counts {
    fn new(count: Option<u32>) -> Self {
        match count {
            Some(count) => Self { highest: count, taken: 1 },
            None => Self { highest: u32::MAX, taken: u128::MAX },
        }
    }

    fn take(&mut self, count: u32) -> bool {
        if let Some(ahead) = count.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            self.taken = self.taken.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let bit = if behind <= COUNTS_BEHIND_MAX { 1_u128 << behind } else { return false };
        let fresh = self.taken & bit == 0;
        self.taken |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn nonce(made_ms: u64) -> Nonce {
        Nonce { made_ms, number: 7 }
    }

    #[test]
    fn each_count_is_taken_once_and_in_any_order_that_a_browser_has() {
        let mut nonces = Nonces::new(NOW);
        let mut take = |count| nonces.take(nonce(NOW), Some(count), NOW);
        assert_eq!([2, 1, 3, 3, 2, 1].map(&mut take), [true, true, true, false, false, false]);
        assert!(take(3 + COUNTS_BEHIND_MAX + 1));
        assert_eq!([3, 4, 4, 0].map(&mut take), [false, true, false, false], "too far behind is used");
        assert_eq!([u32::MAX, u32::MAX, u32::MAX - 1, 5].map(&mut take), [true, false, true, false]);
    }

    #[test]
    fn each_nonce_is_counted_by_itself() {
        let mut nonces = Nonces::new(NOW);
        let other = Nonce { number: 8, ..nonce(NOW) };
        assert!(nonces.take(nonce(NOW), Some(1), NOW) && nonces.take(other, Some(1), NOW));
        assert!(!nonces.take(nonce(NOW), Some(1), NOW) && nonces.take(nonce(NOW), Some(2), NOW));
    }

    #[test]
    fn without_a_count_a_nonce_is_used_up_at_once() {
        let mut nonces = Nonces::new(NOW);
        assert!(nonces.take(nonce(NOW), None, NOW) && !nonces.take(nonce(NOW), None, NOW));
        assert!(!nonces.take(nonce(NOW), Some(1), NOW));
        assert!(nonces.take(nonce(NOW + 1), Some(1), NOW + 1) && !nonces.take(nonce(NOW + 1), None, NOW + 1));
    }

    #[test]
    fn a_nonce_grows_old_and_none_is_older_than_the_process() {
        let mut nonces = Nonces::new(NOW);
        assert!(!nonces.take(nonce(NOW - 1), Some(1), NOW), "it may have been used before");
        assert!(nonces.take(nonce(NOW), Some(1), NOW + NONCE_MS_MAX));
        assert!(!nonces.take(nonce(NOW), Some(2), NOW + NONCE_MS_MAX + 1));
        assert!(nonces.take(nonce(NOW + NONCE_AHEAD_MS_MAX), Some(1), NOW), "another's clock");
        assert!(!nonces.take(nonce(NOW + NONCE_AHEAD_MS_MAX + 1), Some(1), NOW));
        assert!(nonces.take(nonce(NOW + 2 * NONCE_MS_MAX), Some(1), NOW + 2 * NONCE_MS_MAX));
        assert_eq!(nonces.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn no_number_of_them_makes_it_grow_and_what_is_forgotten_counts_as_used() {
        let mut nonces = Nonces::new(NOW);
        let made = |number: u64| Nonce { made_ms: NOW, number };
        for number in 0..NONCES_MAX as u64 + 10 {
            assert!(nonces.take(made(number), Some(1), NOW), "{number}");
        }
        assert_eq!(nonces.len(), NONCES_MAX);
        for number in 0..NONCES_MAX as u64 + 10 {
            assert!(!nonces.take(made(number), Some(1), NOW), "{number}");
        }
        assert!(!nonces.take(made(9), Some(2), NOW) && nonces.take(made(10), Some(2), NOW));
    }
}
