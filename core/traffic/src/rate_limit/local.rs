//! A limiter of one process: a bucket for all, and buckets for descriptors.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Bucket, Descriptor, TokenBucket};
use crate::filter::LocalDescriptor;

/// The limiter of one filter, shared by all workers or owned by one connection.
#[derive(Debug)]
pub struct LocalLimiter {
    default: Option<Arc<Bucket>>,
    exact: HashMap<Descriptor, Arc<Bucket>>,
    wildcards: Vec<Wildcard>,
    always_default: bool,
}

/// What a limiter says of a request.
#[derive(Clone, Debug)]
pub struct LimitVerdict {
    pub allowed: bool,
    /// The bucket that decided, or that stands for the decision in headers.
    pub bucket: Option<Arc<Bucket>>,
}

impl LocalLimiter {
    /// `dynamic_max` bounds the buckets of each wildcard descriptor.
    pub fn new(
        default: Option<TokenBucket>,
        descriptors: &[LocalDescriptor],
        dynamic_max: usize,
        always_default: bool,
        now: Duration,
    ) -> Self {
        let (mut exact, mut wildcards) = (HashMap::new(), Vec::new());
        for one in descriptors {
            if one.entries.iter().any(|(_, value)| value.is_empty()) {
                wildcards.push(Wildcard {
                    entries: one.entries.clone(),
                    bucket: one.bucket,
                    max: dynamic_max.max(1),
                    known: Mutex::default(),
                });
            } else {
                let descriptor = Descriptor { entries: one.entries.clone() };
                exact.insert(descriptor, Arc::new(Bucket::new(one.bucket, now)));
            }
        }
        let default = default.map(|config| Arc::new(Bucket::new(config, now)));
        Self { default, exact, wildcards, always_default }
    }

    /// Takes a token from each bucket that a descriptor of the request has, the slowest first, and from the bucket for all
    /// as configured; the first that is empty decides.
    pub fn judge(&self, descriptors: &[Descriptor], now: Duration) -> LimitVerdict {
        let mut matched: Vec<Arc<Bucket>> =
            descriptors.iter().filter_map(|descriptor| self.bucket(descriptor, now)).collect();
        matched.sort_by(|a, b| a.config().rate().total_cmp(&b.config().rate()));
        for bucket in &matched {
            if !bucket.take(1, now) {
                return LimitVerdict { allowed: false, bucket: Some(Arc::clone(bucket)) };
            }
        }
        let first = matched.into_iter().next();
        let default = self.default.as_ref().filter(|_| first.is_none() || self.always_default);
        match default {
            Some(default) if !default.take(1, now) => {
                LimitVerdict { allowed: false, bucket: Some(Arc::clone(default)) }
            }
            default => LimitVerdict { allowed: true, bucket: first.or_else(|| default.cloned()) },
        }
    }

    fn bucket(&self, descriptor: &Descriptor, now: Duration) -> Option<Arc<Bucket>> {
        if let Some(bucket) = self.exact.get(descriptor) {
            return Some(Arc::clone(bucket));
        }
        self.wildcards.iter().find(|wildcard| wildcard.takes(descriptor)).map(|one| one.of(descriptor, now))
    }
}

/// A descriptor some of whose values are left open: a bucket for each combination that comes, the one that was not asked
/// for longest makes room.
#[derive(Debug)]
struct Wildcard {
    entries: Vec<(String, String)>,
    bucket: TokenBucket,
    max: usize,
    // A std mutex: held for a look-up, never while waiting.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    buckets: HashMap<Descriptor, (u64, Arc<Bucket>)>,
    /// By the turn at which each was last asked for.
    turns: BTreeMap<u64, Descriptor>,
    turn: u64,
}

impl Wildcard {
    fn takes(&self, descriptor: &Descriptor) -> bool {
        self.entries.len() == descriptor.entries.len()
            && self
                .entries
                .iter()
                .zip(&descriptor.entries)
                .all(|((key, value), own)| *key == own.0 && (value.is_empty() || *value == own.1))
    }

    fn of(&self, descriptor: &Descriptor, now: Duration) -> Arc<Bucket> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        known.turn += 1;
        let turn = known.turn;
        if let Some((last, bucket)) = known.buckets.get_mut(descriptor) {
            let bucket = Arc::clone(bucket);
            known.turns.remove(&std::mem::replace(last, turn));
            known.turns.insert(turn, descriptor.clone());
            return bucket;
        }
        if known.buckets.len() >= self.max
            && let Some((_, oldest)) = known.turns.pop_first()
        {
            known.buckets.remove(&oldest);
        }
        let bucket = Arc::new(Bucket::new(self.bucket, now));
        known.buckets.insert(descriptor.clone(), (turn, Arc::clone(&bucket)));
        known.turns.insert(turn, descriptor.clone());
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn tokens(tokens_max: u32) -> TokenBucket {
        TokenBucket { tokens_max, tokens_per_fill: tokens_max, fill_interval: Duration::from_secs(3600) }
    }

    fn entries(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn is(pairs: &[(&str, &str)]) -> Descriptor {
        Descriptor { entries: entries(pairs) }
    }

    fn limiter(always: bool, dynamic_max: usize) -> LocalLimiter {
        let descriptors = [
            LocalDescriptor { entries: entries(&[("user", "a")]), bucket: tokens(1) },
            LocalDescriptor { entries: entries(&[("user", "")]), bucket: tokens(2) },
        ];
        LocalLimiter::new(Some(tokens(4)), &descriptors, dynamic_max, always, NOW)
    }

    fn allowed(limiter: &LocalLimiter, pairs: &[(&str, &str)], times: usize) -> usize {
        (0..times).filter(|_| limiter.judge(&[is(pairs)], NOW).allowed).count()
    }

    #[test]
    fn an_exact_descriptor_comes_before_a_wildcard_and_others_share_the_default() {
        let limiter = limiter(false, 20);
        assert_eq!(allowed(&limiter, &[("user", "a")], 5), 1);
        assert_eq!(allowed(&limiter, &[("user", "b")], 5), 2);
        assert_eq!(allowed(&limiter, &[("user", "c")], 5), 2);
        assert_eq!(allowed(&limiter, &[("path", "x")], 9), 4);
        assert_eq!(allowed(&limiter, &[("user", "b"), ("path", "x")], 9), 0, "the default is used up");
    }

    #[test]
    fn the_default_is_taken_from_always_unless_told_otherwise() {
        let limiter = limiter(true, 20);
        assert_eq!(allowed(&limiter, &[("user", "b")], 2), 2);
        assert_eq!(allowed(&limiter, &[("user", "c")], 2), 2);
        assert_eq!(allowed(&limiter, &[("user", "d")], 2), 0, "four requests used up what is for all");
    }

    #[test]
    fn what_strangers_name_is_bounded_and_the_longest_unasked_makes_room() {
        let limiter = limiter(false, 2);
        for user in ["b", "c", "b", "d"] {
            limiter.judge(&[is(&[("user", user)])], NOW);
        }
        let known = limiter.wildcards[0].known.lock().unwrap();
        assert_eq!((known.buckets.len(), known.turns.len()), (2, 2));
        assert!(known.buckets.contains_key(&is(&[("user", "b")])));
        assert!(known.buckets.contains_key(&is(&[("user", "d")])));
    }

    #[test]
    fn of_several_buckets_the_slowest_decides_first() {
        let descriptors = [
            LocalDescriptor { entries: entries(&[("a", "1")]), bucket: tokens(9) },
            LocalDescriptor { entries: entries(&[("b", "1")]), bucket: tokens(2) },
        ];
        let limiter = LocalLimiter::new(None, &descriptors, 20, true, NOW);
        let both = [is(&[("a", "1")]), is(&[("b", "1")])];
        assert!(limiter.judge(&both, NOW).allowed && limiter.judge(&both, NOW).allowed);
        let verdict = limiter.judge(&both, NOW);
        assert!(!verdict.allowed);
        assert_eq!(verdict.bucket.map(|bucket| bucket.config().tokens_max), Some(2));
    }
}
