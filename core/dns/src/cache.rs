//! Others' answers, for as long as they hold, and longer when their owners cannot be asked.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record, RecordType};

use crate::answer::Answer;

/// Answers that are remembered; beyond, the oldest are forgotten.
pub const ANSWERS_MAX: usize = 10_000;
/// Records of an answer that is remembered.
pub const RECORDS_MAX: usize = 64;
/// The longest that an answer holds, whatever it says.
pub const TTL_MAX: Duration = Duration::from_secs(3600);
/// The longest that the absence of one holds. (RFC 2308 section 5 suggests one to three hours at most.)
pub const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(300);
/// The longest that an answer is given though it does not hold any more, because its owner cannot be asked. (RFC 8767.)
pub const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Seconds for which such an answer holds. (RFC 8767 section 4.)
const STALE_TTL: u32 = 30;
/// The shortest that anything holds, so that an answer that never holds is not asked for each time.
const TTL_MIN: Duration = Duration::from_secs(1);

type Key = (String, RecordType);

/// The memory of answers.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    /// In the order in which they came; an entry that came again stands here more than once.
    order: VecDeque<(Key, u64)>,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    since: Instant,
    until: Instant,
    number: u64,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq)]
pub enum Remembered {
    Fresh(Answer),
    /// It does not hold any more; to be given only when nobody can be asked.
    Stale(Answer),
    Nothing,
}

impl Cache {
    pub fn get(&self, now: Instant, name: &str, kind: RecordType) -> Remembered {
        let Some(entry) = self.entries.get(&(name.to_owned(), kind)) else { return Remembered::Nothing };
        if now < entry.until {
            let age = now.saturating_duration_since(entry.since).as_secs();
            let most = entry.until.saturating_duration_since(now).as_secs().max(1);
            return Remembered::Fresh(
                entry.with_ttl(|ttl| u64::from(ttl).saturating_sub(age).clamp(1, most)),
            );
        }
        let is_over = now >= entry.until + STALE_MAX;
        if is_over { Remembered::Nothing } else { Remembered::Stale(entry.with_ttl(|_| STALE_TTL.into())) }
    }

    /// Remembers an answer, if it is one to remember.
    pub fn put(&mut self, now: Instant, name: &str, kind: RecordType, answer: &Answer) {
        let Some(ttl) = ttl(answer) else { return };
        if answer.answers.len() + answer.authorities.len() > RECORDS_MAX {
            return;
        }
        let key = (name.to_owned(), kind);
        self.count += 1;
        let entry = Entry { answer: answer.clone(), since: now, until: now + ttl, number: self.count };
        self.entries.insert(key.clone(), entry);
        self.order.push_back((key, self.count));
        // Entries that came again leave their first places behind; twice as many places is enough.
        while self.entries.len() > ANSWERS_MAX || self.order.len() > 2 * ANSWERS_MAX {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&oldest);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn with_ttl(&self, change: impl Fn(u32) -> u64) -> Answer {
        let mut answer = self.answer.clone();
        for record in answer.answers.iter_mut().chain(&mut answer.authorities) {
            record.ttl = u32::try_from(change(record.ttl)).unwrap_or(u32::MAX);
        }
        answer
    }
}

/// How long an answer holds; `None` for one that is not remembered.
fn ttl(answer: &Answer) -> Option<Duration> {
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    let least = |records: &[Record]| records.iter().map(|record| record.ttl).min();
    let is_negative = answer.answers.is_empty() || answer.code == ResponseCode::NXDomain;
    match answer.code {
        // The least of the SOA's own time and what it says. (RFC 2308 section 5.)
        ResponseCode::NoError | ResponseCode::NXDomain if is_negative => {
            let soa = answer.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            })?;
            Some(seconds(soa).clamp(TTL_MIN, NEGATIVE_TTL_MAX))
        }
        ResponseCode::NoError => Some(seconds(least(&answer.answers)?).clamp(TTL_MIN, TTL_MAX)),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some moment")]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::{A, SOA};

    fn address(ttl: u32) -> Answer {
        let data = RData::A(A([192, 0, 2, 1].into()));
        let answers = vec![Record::from_rdata(Name::root(), ttl, data)];
        Answer { answers, ..Answer::of_code(ResponseCode::NoError) }
    }

    fn absence(ttl: u32, minimum: u32) -> Answer {
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, minimum);
        let authorities = vec![Record::from_rdata(Name::root(), ttl, RData::SOA(soa))];
        Answer { authorities, ..Answer::of_code(ResponseCode::NXDomain) }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_ages_and_outlives_itself_only_as_stale() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(now, "x", RecordType::A, &address(100));
        assert_eq!(cache.get(now + seconds(40), "x", RecordType::A), Remembered::Fresh(address(60)));
        assert_eq!(cache.get(now + seconds(100), "x", RecordType::A), Remembered::Stale(address(30)));
        let over = now + seconds(100) + STALE_MAX;
        assert_eq!(cache.get(over, "x", RecordType::A), Remembered::Nothing);
        assert_eq!(cache.get(now, "x", RecordType::AAAA), Remembered::Nothing);
    }

    #[test]
    fn times_are_bounded_and_failures_are_not_remembered() {
        let now = Instant::now();
        for (answer, holds) in [
            (address(0), Some(seconds(1))),
            (address(u32::MAX), Some(TTL_MAX)),
            (absence(60, 10), Some(seconds(10))),
            (absence(60, u32::MAX), Some(seconds(60))),
            (absence(u32::MAX, u32::MAX), Some(NEGATIVE_TTL_MAX)),
            (Answer::of_code(ResponseCode::NXDomain), None),
            (Answer::of_code(ResponseCode::NoError), None),
            (Answer::of_code(ResponseCode::ServFail), None),
        ] {
            let mut cache = Cache::default();
            cache.put(now, "x", RecordType::A, &answer);
            let Some(holds) = holds else {
                assert!(cache.is_empty(), "{answer:?}");
                continue;
            };
            let just = now + holds - Duration::from_millis(1);
            assert!(matches!(cache.get(just, "x", RecordType::A), Remembered::Fresh(_)), "{answer:?}");
            assert!(matches!(cache.get(now + holds, "x", RecordType::A), Remembered::Stale(_)), "{answer:?}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_go() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..3 * ANSWERS_MAX {
            cache.put(now, &format!("{n}"), RecordType::A, &address(9));
            cache.put(now, "again", RecordType::A, &address(9));
        }
        assert!(cache.len() <= ANSWERS_MAX && cache.order.len() <= 2 * ANSWERS_MAX);
        assert_eq!(cache.get(now, "0", RecordType::A), Remembered::Nothing);
        assert_ne!(cache.get(now, "again", RecordType::A), Remembered::Nothing);
    }
}
