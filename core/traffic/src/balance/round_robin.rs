//! Rotation, weighted by earliest deadline first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Candidate, weight};

/// Positions in a rotation. Weights whose sum (after division by their greatest common divisor) is larger are scaled
/// down to it, so that the memory for a rotation stays below 64 KiB; no share then falls below one turn.
pub const ROTATION_MAX: u64 = 16_384;

/// How finely slow start divides a weight.
const WARMTH_STEPS: f64 = 100.0;

/// A fixed rotation through the hosts, shared by all workers.
///
/// Envoy keeps a heap of deadlines for unequal weights. The order in which such a heap gives the hosts out repeats
/// after the sum of the weights, so one period is laid down beforehand and picking is one atomic addition.
#[derive(Debug)]
pub struct RoundRobin {
    rotation: Vec<u32>,
    next: AtomicUsize,
}

impl RoundRobin {
    /// Lays down the rotation of `list` (positions in `hosts`); it starts where `seed` says.
    pub fn new(hosts: &[Candidate], list: Vec<usize>, seed: u64) -> Self {
        let cold = list.iter().any(|index| hosts[*index].warmth < 1.0);
        // Hosts in slow start have fractions of their weights.
        let fine = |host: &Candidate| (f64::from(weight(host)) * host.warmth * WARMTH_STEPS).max(1.0) as u32;
        let weight = |index: &usize| if cold { fine(&hosts[*index]) } else { weight(&hosts[*index]) };
        let weights: Vec<u32> = list.iter().map(weight).collect();
        let turns = turns(&weights);
        let rotation: Vec<u32> = period(&turns).map(|position| list[position] as u32).collect();
        let start = seed.checked_rem(rotation.len() as u64).unwrap_or(0);
        Self { next: AtomicUsize::new(start as usize), rotation }
    }

    pub fn pick(&self) -> Option<usize> {
        let turn = self.next.fetch_add(1, Relaxed).checked_rem(self.rotation.len())?;
        self.rotation.get(turn).map(|host| *host as usize)
    }
}

/// How many turns of a period each weight gets.
fn turns(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u64::from(*weight))).max(1);
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight) / divisor).sum();
    let scaled = |weight: u64| if sum > ROTATION_MAX { (weight * ROTATION_MAX / sum).max(1) } else { weight };
    weights.iter().map(|weight| scaled(u64::from(*weight) / divisor)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One period of earliest-deadline-first scheduling: who has waited `1/weight` longest is next, ties in list order.
fn period(turns: &[u64]) -> impl Iterator<Item = usize> + '_ {
    let mut heap: BinaryHeap<Reverse<Deadline>> = BinaryHeap::with_capacity(turns.len());
    heap.extend(
        (0..turns.len()).map(|position| Reverse(Deadline { turn: 1, weight: turns[position], position })),
    );
    (0..turns.iter().sum()).map_while(move |_| {
        let Reverse(deadline) = heap.pop()?;
        heap.push(Reverse(Deadline { turn: deadline.turn + 1, ..deadline }));
        Some(deadline.position)
    })
}

/// The moment `turn / weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline {
    turn: u64,
    weight: u64,
    position: usize,
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.turn * other.weight).cmp(&(other.turn * self.weight)).then(self.position.cmp(&other.position))
    }
}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hosts;
    use super::*;

    fn sequence(weights: &[u32], seed: u64, draws: usize) -> Vec<usize> {
        let rotation = RoundRobin::new(&hosts(weights), (0..weights.len()).collect(), seed);
        (0..draws).filter_map(|_| rotation.pick()).collect()
    }

    #[test]
    fn the_rotation_is_smooth() {
        for (weights, seed, expected) in [
            (&[1, 1, 1][..], 0, &[0, 1, 2, 0][..]),
            (&[1, 1, 1], 2, &[2, 0, 1, 2]),
            (&[100, 100], 0, &[0, 1, 0]),
            (&[2, 1], 0, &[0, 0, 1, 0, 0, 1]),
            (&[1, 3], 0, &[1, 1, 0, 1, 1, 1, 0, 1]),
            (&[0, 1], 0, &[0, 1]),
            (&[], 0, &[]),
        ] {
            assert_eq!(sequence(weights, seed, expected.len()), expected, "{weights:?} from {seed}");
        }
    }

    #[test]
    fn a_period_holds_exactly_the_weights() {
        let sequence = sequence(&[5, 1, 14], 13, 20);
        let count = |host: usize| sequence.iter().filter(|picked| **picked == host).count();
        assert_eq!([count(0), count(1), count(2)], [5, 1, 14]);
    }

    #[test]
    fn a_cold_host_has_its_fraction_of_the_turns() {
        let mut hosts = hosts(&[1, 1]);
        hosts[1].warmth = 0.25;
        let rotation = RoundRobin::new(&hosts, vec![0, 1], 0);
        let picked: Vec<usize> = (0..100).filter_map(|_| rotation.pick()).collect();
        assert_eq!(picked.iter().filter(|host| **host == 1).count(), 20, "a quarter of the other's");
    }

    #[test]
    fn huge_weights_do_not_make_a_huge_rotation() {
        let rotation = RoundRobin::new(&hosts(&[u32::MAX, u32::MAX - 1, 1]), vec![0, 1, 2], 0);
        assert!(rotation.rotation.len() as u64 <= ROTATION_MAX + 3);
        assert!(rotation.rotation.contains(&2), "the smallest still has a turn");
    }
}
