//! The least busy of a few, or of all.

use super::{Candidate, weight};

/// Draws per pick are bounded by this, whatever the configuration says.
pub const CHOICE_COUNT_MAX: u32 = 100;

/// Draws among unequal hosts before the least busy of those drawn is taken.
const WEIGHTED_DRAWS_MAX: u32 = 32;

/// Equal weights: a few uniform draws, of which the host with the fewest requests in flight is taken, and a tie keeps the
/// first; or all hosts are looked at, and a tie is drawn.
///
/// Unequal weights: a host's share is `weight / (active + 1)^bias`. Envoy keeps a heap of deadlines for that; here a host
/// is drawn by its weight and kept with the probability `1 / (active + 1)^bias`, which gives the same shares and needs no
/// lock. Single picks differ.
#[derive(Debug)]
pub struct LeastRequest {
    list: Vec<usize>,
    choice: Choosing,
}

#[derive(Debug)]
enum Choosing {
    Few(u32),
    All,
    /// Running sums of the weights.
    ByWeight {
        sums: Vec<f64>,
        bias: f64,
    },
}

impl LeastRequest {
    pub fn new(hosts: &[Candidate], list: Vec<usize>, choice_count: u32, bias: f64, full_scan: bool) -> Self {
        let share = |index: &usize| f64::from(weight(&hosts[*index])) * hosts[*index].warmth;
        let equal = list.windows(2).all(|pair| share(&pair[0]) == share(&pair[1]));
        let choice = if !equal {
            let sums = list.iter().scan(0.0, |sum, index| {
                *sum += share(index);
                Some(*sum)
            });
            Choosing::ByWeight { sums: sums.collect(), bias: bias.max(0.0) }
        } else if full_scan {
            Choosing::All
        } else {
            Choosing::Few(choice_count.clamp(1, CHOICE_COUNT_MAX))
        };
        Self { list, choice }
    }

    pub fn pick(&self, active: impl Fn(usize) -> u32, random: impl FnMut() -> u64) -> Option<usize> {
        match &self.choice {
            Choosing::Few(count) => self.least_of_few(*count, active, random),
            Choosing::All => self.least_of_all(active, random),
            Choosing::ByWeight { sums, bias } => self.by_weight(sums, *bias, active, random),
        }
    }

    fn least_of_few(
        &self,
        count: u32,
        active: impl Fn(usize) -> u32,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let mut draw = || {
            let position = random().checked_rem(self.list.len() as u64)?;
            let host = *self.list.get(position as usize)?;
            Some((host, active(host)))
        };
        let mut best = draw()?;
        for _ in 1..count {
            let next = draw()?;
            if next.1 < best.1 {
                best = next;
            }
        }
        Some(best.0)
    }

    /// Each of the hosts with the fewest requests is as likely as the others.
    fn least_of_all(&self, active: impl Fn(usize) -> u32, mut random: impl FnMut() -> u64) -> Option<usize> {
        let mut best: Option<(usize, u32)> = None;
        let mut ties = 0_u64;
        for host in &self.list {
            let busy = active(*host);
            match best {
                Some((_, least)) if busy > least => {}
                Some((_, least)) if busy == least => {
                    ties += 1;
                    if random().is_multiple_of(ties) {
                        best = Some((*host, busy));
                    }
                }
                _ => (best, ties) = (Some((*host, busy)), 1),
            }
        }
        best.map(|(host, _)| host)
    }

    fn by_weight(
        &self,
        sums: &[f64],
        bias: f64,
        active: impl Fn(usize) -> u32,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let total = *sums.last()?;
        let mut best: Option<(usize, u32)> = None;
        for _ in 0..WEIGHTED_DRAWS_MAX {
            let point = fraction(random()) * total;
            let position = sums.partition_point(|sum| *sum <= point).min(self.list.len() - 1);
            let host = self.list[position];
            let busy = active(host);
            let kept = if busy == 0 || bias == 0.0 { 1.0 } else { (f64::from(busy) + 1.0).powf(-bias) };
            if kept >= 1.0 || fraction(random()) < kept {
                return Some(host);
            }
            if best.is_none_or(|(_, least)| busy < least) {
                best = Some((host, busy));
            }
        }
        best.map(|(host, _)| host)
    }
}

/// A number in `[0, 1)`.
fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::hosts;
    use super::*;

    fn numbers() -> impl FnMut() -> u64 {
        let mut number = 0_u64;
        move || {
            number += 1;
            xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0)
        }
    }

    #[test]
    fn the_less_busy_of_two_draws_is_taken() {
        for (active, draws, picked) in [
            ([5, 2, 0], [0, 1], 1),
            ([5, 2, 0], [1, 0], 1),
            ([3, 3, 0], [0, 1], 0),
            ([3, 3, 0], [1, 0], 1),
            ([9, 9, 0], [0, 0], 0),
        ] {
            let least = LeastRequest::new(&hosts(&[1, 1, 1]), vec![0, 1, 2], 2, 1.0, false);
            let mut draws = draws.into_iter();
            let picked_host = least.pick(|host| active[host], || draws.next().expect("two draws suffice"));
            assert_eq!(picked_host, Some(picked), "{active:?}");
        }
    }

    #[test]
    fn a_full_scan_finds_the_least_busy_and_draws_among_equals() {
        let least = LeastRequest::new(&hosts(&[1; 5]), vec![0, 1, 2, 3, 4], 2, 1.0, true);
        let mut random = numbers();
        assert_eq!(least.pick(|host| [4, 3, 0, 2, 1][host], &mut random), Some(2));
        let mut counts = [0; 5];
        for _ in 0..3_000 {
            counts[least.pick(|host| [1, 0, 0, 7, 0][host], &mut random).expect("hosts")] += 1;
        }
        assert!([1, 2, 4].iter().all(|host| (900..1_100).contains(&counts[*host])), "{counts:?}");
        assert_eq!([counts[0], counts[3]], [0, 0]);
    }

    #[test]
    fn unequal_hosts_share_by_weight_and_load() {
        for (weights, active, bias, shares) in [
            (&[1, 3], [0, 0], 1.0, [0.25, 0.75]),
            (&[1, 3], [0, 2], 1.0, [0.5, 0.5]),
            (&[1, 3], [0, 2], 0.0, [0.25, 0.75]),
            (&[1, 3], [0, 2], 2.0, [0.75, 0.25]),
        ] {
            let least = LeastRequest::new(&hosts(weights), vec![0, 1], 2, bias, false);
            let mut random = numbers();
            let draws = 20_000;
            let first =
                (0..draws).filter(|_| least.pick(|host| active[host], &mut random) == Some(0)).count();
            let share = first as f64 / f64::from(draws);
            assert!((share - shares[0]).abs() < 0.015, "{weights:?} {active:?} {bias}: {share}");
        }
    }

    #[test]
    fn busy_hosts_alone_are_no_dead_end() {
        let least = LeastRequest::new(&hosts(&[1, 2]), vec![0, 1], 2, 1.0, false);
        let mut random = numbers();
        assert!((0..1_000).all(|_| least.pick(|_| u32::MAX - 1, &mut random).is_some()));
        assert_eq!(LeastRequest::new(&[], Vec::new(), 2, 1.0, false).pick(|_| 0, || 3), None);
    }
}
