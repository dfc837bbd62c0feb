//! Google's Maglev table, filled as Envoy fills it.

use xxhash_rust::xxh64::xxh64;

use super::{Candidate, Share};

/// The size of a table that names none.
pub const TABLE_SIZE_DEFAULT: u64 = 65_537;
/// No table is larger (Envoy's own bound).
pub const TABLE_SIZE_MAX: u64 = 5_000_011;

/// A table of a prime size in which each host holds its share of places.
#[derive(Debug)]
pub struct Maglev {
    table: Vec<u32>,
}

struct Filler {
    host: u32,
    offset: u64,
    skip: u64,
    share: f64,
    due: f64,
    next: u64,
}

impl Maglev {
    /// Fills the table; a size that is no prime in `[2, TABLE_SIZE_MAX]` is replaced by the default.
    pub fn new(hosts: &[Candidate], shares: &[Share], table_size: u64) -> Self {
        let size = if is_usable(table_size) { table_size } else { TABLE_SIZE_DEFAULT };
        let mut sorted: Vec<Share> = shares.to_vec();
        sorted.sort_by(|a, b| hosts[a.host].key.cmp(&hosts[b.host].key));
        let filler = |Share { host: index, share }: Share| {
            let key = hosts[index].key.as_bytes();
            Filler {
                host: index as u32,
                offset: xxh64(key, 0) % size,
                skip: xxh64(key, 1) % (size - 1) + 1,
                share,
                due: 0.0,
                next: 0,
            }
        };
        let fillers: Vec<Filler> = sorted.into_iter().map(filler).collect();
        Self { table: if fillers.is_empty() { Vec::new() } else { fill(fillers, size) } }
    }

    /// The place that the hash falls on; each further draw looks elsewhere.
    pub fn pick(&self, hash: u64, draw: u32) -> Option<usize> {
        let hash = if draw > 0 { hash ^ (u64::MAX - u64::from(draw) + 1) } else { hash };
        let place = hash.checked_rem(self.table.len() as u64)?;
        self.table.get(place as usize).map(|host| *host as usize)
    }
}

/// Hosts take turns in claiming the next free place of their own permutation; a lighter host skips turns.
fn fill(mut fillers: Vec<Filler>, size: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let mut table = vec![FREE; size as usize];
    let share_max = fillers.iter().map(|filler| filler.share).fold(0.0, f64::max);
    let mut free = size;
    for turn in 1_u64.. {
        for filler in &mut fillers {
            if (turn as f64) * filler.share < filler.due {
                continue;
            }
            filler.due += share_max;
            let place = loop {
                let place = ((filler.offset + filler.skip * filler.next) % size) as usize;
                filler.next += 1;
                if table[place] == FREE {
                    break place;
                }
            };
            table[place] = filler.host;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
    table
}

/// Whether a table may have this size: a prime number up to [`TABLE_SIZE_MAX`].
pub fn is_usable(size: u64) -> bool {
    (2..=TABLE_SIZE_MAX).contains(&size)
        && (2..).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n))
}

#[cfg(test)]
mod tests {
    use super::super::locality::shares;
    use super::super::tests::hosts;
    use super::*;

    fn table(weights: &[u32], list: &[usize], size: u64) -> Maglev {
        let hosts = hosts(weights);
        Maglev::new(&hosts, &shares(&hosts, list, &[]), size)
    }

    #[test]
    fn shares_of_the_table_are_the_weights() {
        for (weights, expected) in [(&[1, 1][..], [126, 125]), (&[1, 3], [63, 188])] {
            let table = table(weights, &[0, 1], 251).table;
            for (host, share) in expected.into_iter().enumerate() {
                let places = table.iter().filter(|place| **place as usize == host).count();
                assert!(places.abs_diff(share) <= 1, "{weights:?}: host {host} holds {places}");
            }
        }
    }

    #[test]
    fn a_lost_host_moves_few_keys_of_the_others() {
        let all = table(&[1; 10], &(0..10).collect::<Vec<_>>(), TABLE_SIZE_DEFAULT);
        let fewer = table(&[1; 10], &(0..9).collect::<Vec<_>>(), TABLE_SIZE_DEFAULT);
        let moved = (0..10_000)
            .filter(|hash| all.pick(*hash, 0) != Some(9) && all.pick(*hash, 0) != fewer.pick(*hash, 0));
        assert!(moved.count() < 1_000);
    }

    #[test]
    fn the_order_of_the_hosts_does_not_matter() {
        let (one, other) = (table(&[1, 2, 3], &[0, 1, 2], 251), table(&[1, 2, 3], &[2, 0, 1], 251));
        assert_eq!(one.table, other.table);
    }

    #[test]
    fn a_retry_looks_elsewhere() {
        let table = table(&[1; 7], &[0, 1, 2, 3, 4, 5, 6], 251);
        assert_eq!(table.pick(5, 1), table.pick(5 ^ u64::MAX, 0));
    }

    #[test]
    fn a_size_that_is_no_prime_is_not_used() {
        assert!(is_usable(65_537) && is_usable(251) && is_usable(TABLE_SIZE_MAX));
        assert!(!is_usable(0) && !is_usable(1) && !is_usable(65_536) && !is_usable(u64::MAX));
    }
}
