//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016): a hot key does not drown its host.

use super::Share;
use super::mersenne::MersenneTwister;

/// The shares of the hosts of one ring or table.
#[derive(Debug)]
pub struct Bounds {
    shares: Vec<Share>,
}

impl Bounds {
    pub fn new(shares: Vec<Share>) -> Self {
        Self { shares }
    }

    /// The host that `hash` found, or if it has `percent` of the average load already the first, in an order that the hash
    /// alone decides, that has not; if all have, the one least above.
    pub fn settle(
        &self,
        found: usize,
        hash: u64,
        percent: u32,
        active: impl Fn(usize) -> u32,
        active_all: u64,
    ) -> usize {
        let slots_all = ((active_all + 1) * u64::from(percent)).div_ceil(100);
        let load = |host: usize, share: f64| {
            let slots = (slots_all as f64 * share).ceil().max(1.0);
            f64::from(active(host)) / slots
        };
        let share = self.shares.iter().find(|one| one.host == found).map_or(1.0, |one| one.share);
        let mut least = (found, load(found, share));
        if least.1 <= 1.0 {
            return found;
        }
        let mut order: Vec<usize> = (0..self.shares.len()).collect();
        // Envoy seeds with the hash's lower half.
        let mut random = MersenneTwister::new(hash as u32);
        for at in 0..order.len() {
            let step = random.below((order.len() - at) as u32) as usize;
            order.swap(at, at + step);
            let Share { host, share } = self.shares[order[at]];
            if host == found {
                continue;
            }
            let load = load(host, share);
            if load <= 1.0 {
                return host;
            }
            if load < least.1 {
                least = (host, load);
            }
        }
        least.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(hosts: usize) -> Bounds {
        let share = 1.0 / hosts as f64;
        Bounds::new((0..hosts).map(|host| Share { host, share }).collect())
    }

    #[test]
    fn a_host_with_room_keeps_its_key() {
        assert_eq!(bounds(4).settle(2, 99, 150, |_| 0, 0), 2);
        assert_eq!(bounds(4).settle(2, 99, 100, |_| 5, 20), 2, "exactly the average, and one more to come");
    }

    #[test]
    fn a_full_host_gives_the_key_to_one_that_the_hash_decides() {
        let active = |host: usize| if host == 2 { 9 } else { 1 };
        let one = bounds(4).settle(2, 99, 120, active, 12);
        assert_ne!(one, 2);
        assert_eq!(one, bounds(4).settle(2, 99, 120, active, 12), "always the same");
        let all: std::collections::HashSet<usize> =
            (0..50).map(|hash| bounds(4).settle(2, hash, 120, active, 12)).collect();
        assert_eq!(all.len(), 3, "other keys go elsewhere: {all:?}");
    }

    #[test]
    fn where_all_are_full_the_least_full_takes_it() {
        let active = |host: usize| [90, 80, 70, 75][host];
        assert_eq!(bounds(4).settle(0, 7, 100, active, 0), 2);
    }
}
