//! The answers that are kept, within bounds, and who is fetching what.
//!
//! ```text
//! find ──▶ Fresh                      send it
//!      ──▶ Renew   (first to see it)  send it, and ask the origin in the background
//!      ──▶ Lead    (first to miss)    ask the origin; the others wait for what comes
//!      ──▶ Follow                     wait until the leader is done, then find again
//!      ──▶ Pass                       lately it could not be kept: nobody waits for anybody
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Key, Standing, Stored};
use crate::fields::Fields;

/// Answers of one key, by the fields that they depend on.
pub const VARIANTS_MAX: usize = 16;
/// Keys that are kept, or being fetched.
pub const KEYS_MAX: usize = 65_536;
/// For how long nobody waits for an answer that could not be kept; in seconds.
const PASS_SECONDS: u64 = 10;

/// One fetch. Whoever holds it says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a request finds.
#[derive(Clone, Debug)]
pub enum Found {
    /// It may be sent as it is.
    Fresh(Arc<Stored>),
    /// It may be sent, and this request is the one that renews it. Without a ticket another one does.
    Renew(Arc<Stored>, Option<Ticket>),
    /// This request asks the origin, by what is kept if there is something.
    Lead(Option<Arc<Stored>>, Ticket),
    /// Another one is asking.
    Follow(Ticket),
    /// It goes to the origin by itself.
    Pass,
}

/// Answers by key. The one that was not asked for longest makes room.
#[derive(Debug)]
pub struct Table {
    bytes_max: usize,
    bytes: usize,
    entries: BTreeMap<Key, Entry>,
    /// When each key was last asked for, the longest ago first.
    by_use: BTreeMap<u64, Key>,
    turn: u64,
}

#[derive(Debug, Default)]
struct Entry {
    variants: Vec<Arc<Stored>>,
    used: u64,
    fetching: Option<Ticket>,
    pass_until: u64,
}

impl Table {
    /// Keeps at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, entries: BTreeMap::new(), by_use: BTreeMap::new(), turn: 0 }
    }

    /// Looks for an answer at `now`.
    pub fn find(&mut self, key: &Key, request: &Fields, now: u64) -> Found {
        self.turn += 1;
        let turn = self.turn;
        if !self.entries.contains_key(key) {
            if self.entries.len() >= KEYS_MAX && !self.drop_oldest(None) {
                return Found::Pass;
            }
            self.entries.insert(key.clone(), Entry::default());
        }
        let Some(entry) = self.entries.get_mut(key) else { return Found::Pass };
        self.by_use.remove(&entry.used);
        entry.used = turn;
        self.by_use.insert(turn, key.clone());
        let kept = entry.variants.iter().find(|stored| stored.variant.fits(request)).cloned();
        let standing = kept.as_ref().map(|stored| stored.standing(now));
        match (kept, standing) {
            (Some(stored), Some(Standing::Fresh)) => Found::Fresh(stored),
            (Some(stored), Some(Standing::StaleWhileRevalidate)) => {
                let ticket = entry.fetching.is_none().then_some(Ticket(turn));
                entry.fetching = entry.fetching.or(ticket);
                Found::Renew(stored, ticket)
            }
            (kept, _) => match entry.fetching {
                Some(ticket) => Found::Follow(ticket),
                None if entry.pass_until > now => Found::Pass,
                None => {
                    entry.fetching = Some(Ticket(turn));
                    Found::Lead(kept, Ticket(turn))
                }
            },
        }
    }

    /// A fetch brought an answer that may be kept: it takes the place of the one for the same requests.
    pub fn put(&mut self, key: &Key, ticket: Ticket, request: &Fields, stored: Stored) -> Arc<Stored> {
        let stored = Arc::new(stored);
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.fetching == Some(ticket)) else {
            // Purged, or pushed out, in the meantime: whoever fetched it may send it, and nobody keeps it.
            return stored;
        };
        entry.fetching = None;
        entry.pass_until = 0;
        let mut freed = 0;
        entry.variants.retain(|kept| {
            let replaced = kept.variant.fits(request);
            freed += usize::from(replaced) * kept.bytes();
            !replaced
        });
        if entry.variants.len() >= VARIANTS_MAX {
            freed += entry.variants.remove(0).bytes();
        }
        self.bytes -= freed;
        if stored.bytes() > self.bytes_max {
            return stored;
        }
        self.bytes += stored.bytes();
        entry.variants.push(Arc::clone(&stored));
        while self.bytes > self.bytes_max && self.drop_oldest(Some(key)) {}
        stored
    }

    /// A fetch ended without something to keep: the origin failed, or forbade it. Those who waited go by themselves.
    pub fn fail(&mut self, key: &Key, ticket: Ticket, now: u64) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.fetching == Some(ticket)) {
            entry.fetching = None;
            entry.pass_until = now + PASS_SECONDS;
        }
    }

    /// Forgets the answers of one key, and does not keep what is being fetched for it.
    pub fn purge(&mut self, key: &Key) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.by_use.remove(&entry.used);
        self.bytes -= entry.variants.iter().map(|stored| stored.bytes()).sum::<usize>();
        !entry.variants.is_empty()
    }

    /// Forgets the answers of all keys that begin with a text such as `https://a.example/assets/`; how many had some.
    pub fn purge_prefix(&mut self, prefix: &str) -> usize {
        let keys: Vec<Key> =
            self.entries.keys().filter(|key| key.as_str().starts_with(prefix)).cloned().collect();
        keys.iter().filter(|key| self.purge(key)).count()
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Answers that are kept.
    pub fn len(&self) -> usize {
        self.entries.values().map(|entry| entry.variants.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the key that was not asked for longest, unless somebody is fetching it or it is `but`.
    fn drop_oldest(&mut self, but: Option<&Key>) -> bool {
        let is_idle = |key: &&Key| {
            Some(*key) != but && self.entries.get(key).is_some_and(|entry| entry.fetching.is_none())
        };
        let Some(key) = self.by_use.values().find(is_idle).cloned() else { return false };
        self.purge(&key);
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::Times;
    use crate::head::{RequestHead, ResponseHead};

    fn key(target: &str) -> Key {
        Key::new("https", "a.example", target).expect("it is short")
    }

    fn stored(control: &str, request: &Fields, size: usize, now: u64) -> Stored {
        let mut asked = RequestHead::default();
        request.iter().for_each(|(name, value)| asked.fields.append(name.as_bytes(), value));
        asked.set_method("GET");
        let mut said = ResponseHead { status: 200, ..ResponseHead::default() };
        said.fields.append(b"cache-control", control.as_bytes());
        said.fields.append(b"vary", b"accept-encoding");
        let mut stored =
            Stored::new(&asked, &said, Times { asked: now, answered: now }).expect("it may be kept");
        stored.body = Bytes::from(vec![0; size]);
        stored
    }

    fn accepts(coding: &str) -> Fields {
        let mut fields = Fields::default();
        fields.append(b"accept-encoding", coding.as_bytes());
        fields
    }

    fn lead(table: &mut Table, key: &Key, request: &Fields, now: u64) -> Ticket {
        match table.find(key, request, now) {
            Found::Lead(_, ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_asks_and_the_others_wait() {
        let mut table = Table::new(1 << 20);
        let (key, request) = (key("/"), accepts("gzip"));
        let ticket = lead(&mut table, &key, &request, 0);
        assert!(matches!(table.find(&key, &request, 0), Found::Follow(same) if same == ticket));
        table.put(&key, ticket, &request, stored("max-age=10, stale-while-revalidate=10", &request, 9, 0));
        assert!(matches!(table.find(&key, &request, 9), Found::Fresh(_)));
        let Found::Renew(_, Some(renews)) = table.find(&key, &request, 10) else { panic!("it is stale") };
        assert!(matches!(table.find(&key, &request, 11), Found::Renew(_, None)), "one renews it");
        table.put(&key, renews, &request, stored("max-age=10", &request, 9, 11));
        assert!(matches!(table.find(&key, &request, 20), Found::Fresh(_)));
        assert!(matches!(table.find(&key, &request, 21), Found::Lead(Some(_), _)));
        assert_eq!(table.len(), 1, "the same requests, the same place");
    }

    #[test]
    fn nobody_waits_for_what_cannot_be_kept() {
        let mut table = Table::new(1 << 20);
        let (key, request) = (key("/"), accepts("gzip"));
        let ticket = lead(&mut table, &key, &request, 100);
        table.fail(&key, ticket, 100);
        assert!(matches!(table.find(&key, &request, 105), Found::Pass));
        assert!(matches!(table.find(&key, &request, 110), Found::Lead(None, _)));
    }

    #[test]
    fn variants_stand_beside_each_other_within_bounds() {
        let mut table = Table::new(1 << 20);
        let key = key("/");
        for number in 0..VARIANTS_MAX + 3 {
            let request = accepts(&number.to_string());
            let ticket = lead(&mut table, &key, &request, 0);
            table.put(&key, ticket, &request, stored("max-age=10", &request, 9, 0));
        }
        assert_eq!(table.len(), VARIANTS_MAX);
        assert!(matches!(table.find(&key, &accepts("0"), 1), Found::Lead(None, _)), "the oldest made room");
        let newest = accepts(&(VARIANTS_MAX + 2).to_string());
        assert!(matches!(table.find(&key, &newest, 1), Found::Fresh(_)));
    }

    #[test]
    fn what_was_not_asked_for_longest_makes_room() {
        let request = accepts("gzip");
        let mut table = Table::new(10 * (1_000 + stored("max-age=10", &request, 0, 0).bytes()));
        for number in 0..100 {
            let own = key(&format!("/{number}"));
            let ticket = lead(&mut table, &own, &request, 0);
            table.put(&own, ticket, &request, stored("max-age=10", &request, 1_000, 0));
            assert!(table.bytes() <= table.bytes_max);
            assert!(
                matches!(table.find(&key("/0"), &request, 1), Found::Fresh(_)),
                "{number}: it is asked for"
            );
        }
        assert_eq!(table.len(), 10);
        let large = key("/large");
        let ticket = lead(&mut table, &large, &request, 0);
        let size = table.bytes_max;
        table.put(&large, ticket, &request, stored("max-age=10", &request, size, 0));
        assert_eq!(table.len(), 10, "what is larger than all the room is not kept");
    }

    #[test]
    fn a_purge_forgets_and_what_was_under_way_is_not_kept() {
        let mut table = Table::new(1 << 20);
        let request = accepts("gzip");
        for target in ["/a/1", "/a/2", "/b"] {
            let ticket = lead(&mut table, &key(target), &request, 0);
            table.put(&key(target), ticket, &request, stored("max-age=10", &request, 9, 0));
        }
        assert_eq!(table.purge_prefix("https://a.example/a/"), 2);
        assert!(table.purge(&key("/b")) && !table.purge(&key("/b")));
        assert_eq!((table.len(), table.bytes()), (0, 0));
        let ticket = lead(&mut table, &key("/a/1"), &request, 0);
        table.purge(&key("/a/1"));
        table.put(&key("/a/1"), ticket, &request, stored("max-age=10", &request, 9, 0));
        assert!(table.is_empty(), "it was fetched before the purge");
    }
}
