//! Which callbacks have been used: none is taken twice.

use std::collections::{BTreeSet, VecDeque};

/// Callbacks that are remembered; beyond it the oldest are forgotten, and the provider alone refuses their codes.
pub const USED_MAX: usize = 16_384;

/// States of sign-ins that are over, for as long as their cookies would be taken.
#[derive(Debug, Default)]
pub struct Used {
    in_order: VecDeque<(u64, String)>,
    known: BTreeSet<String>,
}

impl Used {
    /// Takes a state, until a moment at which it is refused anyway; says whether it had not been taken before.
    pub fn take(&mut self, state: &str, now: u64, until: u64) -> bool {
        while self.in_order.front().is_some_and(|(until, _)| *until < now) || self.in_order.len() >= USED_MAX
        {
            if let Some((_, oldest)) = self.in_order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        let fresh = self.known.insert(state.to_owned());
        if fresh {
            self.in_order.push_back((until, state.to_owned()));
        }
        fresh
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_forgotten_in_time() {
        let mut used = Used::default();
        assert!(used.take("a", 10, 20) && !used.take("a", 15, 20) && used.take("b", 15, 25));
        assert!(used.take("c", 21, 40));
        assert_eq!(used.len(), 2, "a's cookie is refused by its age");
    }

    #[test]
    fn no_number_of_them_makes_it_grow() {
        let mut used = Used::default();
        for number in 0..USED_MAX + 10 {
            assert!(used.take(&number.to_string(), 0, 600));
        }
        assert_eq!(used.len(), USED_MAX);
    }
}
