//! Consistent hashing on a ring, entry for entry as Envoy lays it.

use xxhash_rust::xxh64::xxh64;

use super::murmur::murmur2;
use super::{Candidate, Share};
use crate::RingHashFunction;

/// No ring is larger, whatever the configuration says (Envoy's own bound).
pub const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;

/// Hashes of `key_0`, `key_1`, … for each host, sorted; as many for each as its weight earns.
#[derive(Debug)]
pub struct RingHash {
    ring: Vec<(u64, u32)>,
}

impl RingHash {
    pub fn new(
        hosts: &[Candidate],
        shares: &[Share],
        size_min: u64,
        size_max: u64,
        function: RingHashFunction,
    ) -> Self {
        let size_max = size_max.clamp(1, RING_SIZE_MAX);
        let size_min = size_min.min(size_max);
        let hash = |text: &[u8]| match function {
            RingHashFunction::XxHash => xxh64(text, 0),
            RingHashFunction::Murmur2 => murmur2(text),
        };
        let share_min = shares.iter().map(|one| one.share).fold(1.0, f64::min);
        // The smallest share gets a whole number of entries, so that the others come out near their weights.
        let scale = ((share_min * size_min as f64).ceil() / share_min).min(size_max as f64);
        let mut ring = Vec::with_capacity(scale.ceil() as usize);
        let (mut laid, mut due) = (0.0, 0.0);
        let mut text = String::new();
        for Share { host, share } in shares {
            due += scale * share;
            let mut entry = 0_u64;
            while laid < due {
                text.clear();
                text.extend([hosts[*host].key.as_str(), "_", &entry.to_string()]);
                ring.push((hash(text.as_bytes()), *host as u32));
                entry += 1;
                laid += 1.0;
            }
        }
        ring.sort_unstable();
        Self { ring }
    }

    /// The first entry at or after the hash, around the ring; each further draw moves one entry on.
    pub fn pick(&self, hash: u64, draw: u32) -> Option<usize> {
        let first = self.ring.partition_point(|(entry, _)| *entry < hash);
        let position = (first.checked_rem(self.ring.len())? + draw as usize) % self.ring.len();
        self.ring.get(position).map(|(_, host)| *host as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hosts;
    use super::*;

    #[test]
    fn a_ring_has_the_size_that_weights_and_bounds_ask_for() {
        for (weights, min, max, size) in [
            (&[1, 1, 1][..], 1024, 8_388_608, 1026),
            (&[1, 1], 1024, 8_388_608, 1024),
            (&[1, 2], 4, 1024, 6),
            (&[1, 1, 1], 10, 7, 7),
            (&[], 1024, 8_388_608, 0),
        ] {
            let hosts = hosts(weights);
            let shares = super::super::locality::shares(&hosts, &(0..weights.len()).collect::<Vec<_>>(), &[]);
            let ring = RingHash::new(&hosts, &shares, min, max, RingHashFunction::XxHash).ring;
            assert_eq!(ring.len(), size, "{weights:?} {min} {max}");
        }
    }

    #[test]
    fn the_entry_at_or_after_the_hash_is_taken_and_the_ring_closes() {
        let ring = RingHash { ring: vec![(10, 0), (20, 1), (30, 2)] };
        for (hash, attempt, picked) in
            [(0, 0, 0), (10, 0, 0), (11, 0, 1), (30, 0, 2), (31, 0, 0), (31, 1, 1), (11, 2, 0), (11, 4, 2)]
        {
            assert_eq!(ring.pick(hash, attempt), Some(picked), "{hash} {attempt}");
        }
    }

    #[test]
    fn entries_are_hashes_of_key_and_number() {
        let whole = [Share { host: 0, share: 1.0 }];
        let ring = RingHash::new(&hosts(&[1]), &whole, 2, 2, RingHashFunction::XxHash);
        let mut expected = [xxh64(b"10.0.0.0:80_0", 0), xxh64(b"10.0.0.0:80_1", 0)];
        expected.sort_unstable();
        assert_eq!(ring.ring.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(), expected);
    }
}
