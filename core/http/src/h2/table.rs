//! The header tables of RFC 7541: the static one, which is everybody's, and the one that a peer fills as it goes.

use std::collections::VecDeque;

use crate::known::HeaderId;

/// Entries of appendix A, from index 1.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// What an entry counts for beside its bytes (RFC 7541 §4.1).
pub const ENTRY_BYTES: usize = 32;
/// The largest table that we let a peer fill: the size that every connection begins with.
pub const TABLE_BYTES_MAX: usize = 4096;
/// The arena is put together again when it would grow beyond this.
const ARENA_BYTES_MAX: usize = 3 * TABLE_BYTES_MAX;

/// The peer's table; the newest entry comes first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    /// The bytes of all entries, the oldest first, and before them of some that are gone.
    arena: Vec<u8>,
    size: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: HeaderId,
    at: u32,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    fn len(self) -> usize {
        (self.name_len + self.value_len) as usize
    }
}

/// A name and a value of one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) id: HeaderId,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), arena: Vec::new(), size: 0, max: TABLE_BYTES_MAX }
    }
}

impl Table {
    /// The line with an index of RFC 7541 §2.3.3.
    pub(super) fn get(&self, index: usize) -> Option<Line<'_>> {
        if let Some((name, value)) = STATIC.get(index.checked_sub(1)?) {
            let name = name.as_bytes();
            return Some(Line { id: HeaderId::of(name), name, value: value.as_bytes() });
        }
        let entry = self.entries.get(index - 1 - STATIC.len())?;
        let bytes = self.arena.get(entry.at as usize..)?.get(..entry.len())?;
        let (name, value) = bytes.split_at(entry.name_len as usize);
        Some(Line { id: entry.id, name, value })
    }

    /// Adds a line; one that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, id: HeaderId, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY_BYTES;
        self.shrink(self.max.saturating_sub(size));
        if size > self.max {
            return;
        }
        if self.arena.len() + name.len() + value.len() > ARENA_BYTES_MAX {
            self.compact();
        }
        // Both are far below 4 GiB, being no larger than the table.
        let entry = Entry {
            id,
            at: self.arena.len() as u32,
            name_len: name.len() as u32,
            value_len: value.len() as u32,
        };
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(value);
        self.entries.push_front(entry);
        self.size += size;
    }

    /// Sets how large the table may be; whether that is no more than was allowed.
    pub(super) fn resize(&mut self, max: usize) -> bool {
        if max > TABLE_BYTES_MAX {
            return false;
        }
        self.max = max;
        self.shrink(max);
        true
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.len() + ENTRY_BYTES;
        }
    }

    fn compact(&mut self) {
        let begin = self.entries.back().map_or(self.arena.len() as u32, |oldest| oldest.at);
        self.arena.drain(..begin as usize);
        for entry in &mut self.entries {
            entry.at -= begin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_count_from_the_newest_behind_the_static_ones() {
        let mut table = Table::default();
        table.insert(HeaderId::Other, b"a", b"1");
        table.insert(HeaderId::Server, b"server", b"2");
        let line = |index| table.get(index).map(|line| (line.id, line.name, line.value));
        assert_eq!(line(0), None);
        assert_eq!(line(2), Some((HeaderId::Other, &b":method"[..], &b"GET"[..])));
        assert_eq!(line(61), Some((HeaderId::Other, &b"www-authenticate"[..], &b""[..])));
        assert_eq!(line(62), Some((HeaderId::Server, &b"server"[..], &b"2"[..])));
        assert_eq!(line(63), Some((HeaderId::Other, &b"a"[..], &b"1"[..])));
        assert_eq!(line(64), None);
    }

    #[test]
    fn a_long_life_keeps_the_newest_and_little_memory() {
        let mut table = Table::default();
        for nth in 0..10_000u32 {
            let value = nth.to_string().repeat(1 + nth as usize % 50);
            table.insert(HeaderId::Other, b"name", value.as_bytes());
            assert!(table.size <= TABLE_BYTES_MAX);
            assert_eq!(table.get(62).map(|line| line.value), Some(value.as_bytes()));
            for index in 62..62 + table.entries.len() {
                assert_eq!(table.get(index).map(|line| line.name), Some(&b"name"[..]));
            }
        }
        assert!(table.arena.capacity() <= 2 * ARENA_BYTES_MAX);
    }

    #[test]
    fn what_does_not_fit_empties_the_table() {
        let mut table = Table::default();
        table.insert(HeaderId::Other, b"a", b"1");
        table.insert(HeaderId::Other, b"a", &[b'x'; TABLE_BYTES_MAX]);
        assert_eq!(table.get(62), None);
        table.insert(HeaderId::Other, b"a", b"1");
        assert!(table.resize(0) && table.get(62).is_none());
        assert!(!table.resize(TABLE_BYTES_MAX + 1));
    }
}
