//! The least busy of a few.

use super::{Candidate, weight};

/// Draws per pick are bounded by this, whatever the configuration says.
pub const CHOICE_COUNT_MAX: u32 = 100;

/// A few uniform draws, of which the host with the fewest requests in flight is taken; a tie keeps the first.
///
/// Where weights differ, requests in flight count relative to the weight. (Envoy schedules unequal weights by deadlines
/// that shrink with the requests in flight; the shares agree, single picks do not.)
#[derive(Debug)]
pub struct LeastRequest {
    /// Position and weight.
    list: Vec<(usize, u32)>,
    choice_count: u32,
}

impl LeastRequest {
    pub fn new(hosts: &[Candidate], list: Vec<usize>, choice_count: u32) -> Self {
        let list = list.into_iter().map(|index| (index, weight(&hosts[index]))).collect();
        Self { list, choice_count: choice_count.clamp(1, CHOICE_COUNT_MAX) }
    }

    pub fn pick(&self, active: impl Fn(usize) -> u32, mut random: impl FnMut() -> u64) -> Option<usize> {
        let mut draw = || {
            let position = random().checked_rem(self.list.len() as u64)?;
            let (host, weight) = *self.list.get(position as usize)?;
            Some((host, u64::from(active(host)) + 1, u64::from(weight)))
        };
        let mut best = draw()?;
        for _ in 1..self.choice_count {
            let next = draw()?;
            if next.1 * best.2 < best.1 * next.2 {
                best = next;
            }
        }
        Some(best.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hosts;
    use super::*;

    #[test]
    fn the_less_busy_of_two_draws_is_taken() {
        for (weights, active, draws, picked) in [
            (&[1, 1, 1], [5, 2, 0], [0, 1], 1),
            (&[1, 1, 1], [5, 2, 0], [1, 0], 1),
            (&[1, 1, 1], [3, 3, 0], [0, 1], 0),
            (&[1, 1, 1], [3, 3, 0], [1, 0], 1),
            (&[1, 1, 1], [9, 9, 0], [0, 0], 0),
            (&[1, 10, 1], [3, 10, 0], [0, 1], 1),
        ] {
            let least = LeastRequest::new(&hosts(weights), vec![0, 1, 2], 2);
            let mut draws = draws.into_iter();
            let picked_host = least.pick(|host| active[host], || draws.next().expect("two draws suffice"));
            assert_eq!(picked_host, Some(picked), "{weights:?} {active:?}");
        }
    }
}
