//! The header list of one message: one arena of bytes and a list of offsets into it.
//!
//! Parsing costs one copy of the head and no allocation per header; an edit appends to the arena and changes an offset. A
//! `Fields` is cleared and used again for the next message.

use crate::known::HeaderId;

/// A piece of a [`Fields`] arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The piece that starts at `start` and is `len` bytes long. Arenas are bounded far below 4 GiB by the head limits.
    pub(crate) fn new(start: usize, len: usize) -> Self {
        Self { start: start as u32, len: len as u32 }
    }

    /// Whether the piece has no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// A field that may come once came several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeated;

/// One header: its name (lower case) and its value, both in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Which of the names we know, for comparisons of one byte.
    pub id: HeaderId,
    name: Span,
    value: Span,
}

/// Header fields in the order in which they came, names in lower case as Envoy passes them on.
#[derive(Debug, Default)]
pub struct Fields {
    arena: Vec<u8>,
    list: Vec<Field>,
}

/// Takes down fields of a head while the parser that finds them still borrows the arena.
#[derive(Debug)]
pub(crate) struct Noting<'a>(&'a mut Vec<Field>);

impl Noting<'_> {
    /// Notes a field, which is one as soon as [`Fields::settle`] has looked at its name.
    pub(crate) fn push(&mut self, name: Span, value: Span) {
        self.0.push(Field { id: HeaderId::Other, name, value });
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        Self { arena: self.arena.clone(), list: self.list.clone() }
    }

    /// Into the memory that is there: a head is copied for each attempt.
    fn clone_from(&mut self, source: &Self) {
        self.arena.clone_from(&source.arena);
        self.list.clone_from(&source.list);
    }
}

impl Fields {
    /// Empties the list, keeps its memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.list.clear();
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of memory held, whether used or not; for pools that give up large buffers.
    pub fn capacity_bytes(&self) -> usize {
        self.arena.capacity() + self.list.capacity() * size_of::<Field>()
    }

    /// The fields as (name, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.list.iter().map(|f| (self.name_of(f), self.bytes(f.value)))
    }

    /// The fields with their ids, in order. Names as bytes: who only compares or copies need not pay for text.
    pub fn iter_ids(&self) -> impl Iterator<Item = (HeaderId, &[u8], &[u8])> {
        self.list.iter().map(|f| (f.id, self.bytes(f.name), self.bytes(f.value)))
    }

    /// The first value of a known name.
    pub fn get(&self, id: HeaderId) -> Option<&[u8]> {
        self.list.iter().find(|f| f.id == id).map(|f| self.bytes(f.value))
    }

    /// The first value of a known name as text, if it is text.
    pub fn get_str(&self, id: HeaderId) -> Option<&str> {
        self.get(id).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether a known name is there.
    pub fn contains(&self, id: HeaderId) -> bool {
        self.list.iter().any(|f| f.id == id)
    }

    /// All values of a known name, in order.
    pub fn all(&self, id: HeaderId) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.list.iter().filter(move |f| f.id == id).map(|f| self.bytes(f.value))
    }

    /// All values of any name (lower case), in order.
    pub fn all_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let id = HeaderId::of(name.as_bytes());
        self.list
            .iter()
            .filter(move |f| f.id == id && (id != HeaderId::Other || self.bytes(f.name) == name.as_bytes()))
            .map(|f| self.bytes(f.value))
    }

    /// The first value of any name (lower case).
    pub fn named(&self, name: &str) -> Option<&[u8]> {
        // Lengths differ as a rule: nothing is hashed to find out.
        let is_it = |f: &&Field| f.name.len as usize == name.len() && self.bytes(f.name) == name.as_bytes();
        self.list.iter().find(is_it).map(|f| self.bytes(f.value))
    }

    /// Adds a field at the end. The name is lowered.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(name);
        self.arena[start..].make_ascii_lowercase();
        let id = HeaderId::of(&self.arena[start..]);
        let name = Span::new(start, name.len());
        let value = self.store(value);
        self.list.push(Field { id, name, value });
    }

    /// Adds a field at the end whose name is in lower case and has this id.
    pub(crate) fn push(&mut self, id: HeaderId, name: &[u8], value: &[u8]) {
        let (name, value) = (self.store(name), self.store(value));
        self.list.push(Field { id, name, value });
    }

    /// Adds a field with a known name at the end.
    pub fn append_id(&mut self, id: HeaderId, value: &[u8]) {
        debug_assert_ne!(id, HeaderId::Other);
        let name = self.store(id.name().as_bytes());
        let value = self.store(value);
        self.list.push(Field { id, name, value });
    }

    /// Makes `value` the only value of a known name: in the place of the first one, or at the end.
    pub fn set_id(&mut self, id: HeaderId, value: &[u8]) {
        let value_span = self.store(value);
        match self.list.iter().position(|f| f.id == id) {
            Some(first) => {
                self.list[first].value = value_span;
                let mut index = 0;
                self.list.retain(|f| {
                    index += 1;
                    index - 1 <= first || f.id != id
                });
            }
            None => {
                let name = self.store(id.name().as_bytes());
                self.list.push(Field { id, name, value: value_span });
            }
        }
    }

    /// Makes `value` the only value of any name (lower case).
    pub fn set(&mut self, name: &str, value: &[u8]) {
        match HeaderId::of(name.as_bytes()) {
            HeaderId::Other => {
                if self.named(name).is_some() {
                    self.remove_named(name);
                }
                self.append(name.as_bytes(), value);
            }
            id => self.set_id(id, value),
        }
    }

    /// Removes every field of a known name; says whether there was one.
    pub fn remove(&mut self, id: HeaderId) -> bool {
        let before = self.list.len();
        self.list.retain(|f| f.id != id);
        self.list.len() != before
    }

    /// Removes every field of any name (lower case).
    pub fn remove_named(&mut self, name: &str) {
        let arena = &self.arena;
        self.list.retain(|f| &arena[f.name.range()] != name.as_bytes());
    }

    /// Keeps the fields for which `keep` says yes.
    pub fn retain(&mut self, mut keep: impl FnMut(HeaderId, &[u8], &[u8]) -> bool) {
        let arena = &self.arena;
        self.list.retain(|f| keep(f.id, &arena[f.name.range()], &arena[f.value.range()]));
    }

    /// The bytes of a piece of this arena.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.range()]
    }

    /// Puts bytes into the arena that belong to the message but are no header: a path, a method.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(start, bytes.len())
    }

    /// The arena itself, for the parser that fills it in one copy.
    pub(crate) fn arena_mut(&mut self) -> &mut Vec<u8> {
        &mut self.arena
    }

    /// The arena, and where fields are noted whose bytes stand in it.
    pub(crate) fn noting(&mut self) -> (&[u8], Noting<'_>) {
        (&self.arena, Noting(&mut self.list))
    }

    /// Lowers the names of the fields that were noted, in place, and finds their ids.
    pub(crate) fn settle(&mut self) {
        for field in &mut self.list {
            let name = &mut self.arena[field.name.range()];
            name.make_ascii_lowercase();
            field.id = HeaderId::of(name);
        }
    }

    /// Takes the only field of a known name off the list: its value. `Err` if there are several.
    pub(crate) fn take(&mut self, id: HeaderId) -> Result<Option<Span>, Repeated> {
        let Some(first) = self.list.iter().position(|f| f.id == id) else { return Ok(None) };
        if self.list[first + 1..].iter().any(|f| f.id == id) {
            return Err(Repeated);
        }
        Ok(Some(self.list.remove(first).value))
    }

    /// Writes all fields as lines. What still stands as it came is copied in one go.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut index = 0;
        while let Some(field) = self.list.get(index) {
            index += 1;
            let Some(mut end) = self.line_end(field) else {
                for part in [self.bytes(field.name), b": ", self.bytes(field.value), b"\r\n"] {
                    out.extend_from_slice(part);
                }
                continue;
            };
            while let Some(next) = self.list.get(index)
                && next.name.start as usize == end
                && let Some(after) = self.line_end(next)
            {
                end = after;
                index += 1;
            }
            out.extend_from_slice(&self.arena[field.name.start as usize..end]);
        }
    }

    /// Where the line of a field ends, if it stands in the arena as one: `name: value`, CR, LF.
    fn line_end(&self, field: &Field) -> Option<usize> {
        let (name_end, value) = (field.name.range().end, field.value.range());
        let as_line = name_end + 2 == value.start
            && self.arena[name_end..value.start] == *b": "
            && self.arena.get(value.end..value.end + 2) == Some(b"\r\n");
        as_line.then_some(value.end + 2)
    }

    fn name_of(&self, field: &Field) -> &str {
        // Names are tokens: the parser admits nothing but ASCII, and `append` is given ASCII.
        std::str::from_utf8(self.bytes(field.name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(fields: &Fields) -> Vec<(String, String)> {
        fields.iter().map(|(n, v)| (n.to_owned(), String::from_utf8_lossy(v).into_owned())).collect()
    }

    fn of(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn names_are_lowered_and_order_is_kept() {
        let fields = of(&[("X-B", "1"), ("Content-Type", "t"), ("x-b", "2")]);
        assert_eq!(
            listed(&fields),
            [("x-b", "1"), ("content-type", "t"), ("x-b", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert_eq!(fields.get(HeaderId::ContentType), Some(&b"t"[..]));
        assert_eq!(fields.all_named("x-b").collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn setting_leaves_one_value_in_the_first_place() {
        let mut fields = of(&[("date", "1"), ("a", "b"), ("date", "2")]);
        fields.set_id(HeaderId::Date, b"3");
        assert_eq!(listed(&fields), [("date", "3"), ("a", "b")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        fields.set("a", b"c");
        fields.set("server", b"s");
        assert_eq!(
            listed(&fields),
            [("date", "3"), ("a", "c"), ("server", "s")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        let mut copy = of(&[("of", "before")]);
        copy.clone_from(&fields);
        assert_eq!(listed(&copy), listed(&fields));
        assert!(fields.remove(HeaderId::Date));
        assert!(!fields.remove(HeaderId::Date));
        fields.remove_named("a");
        assert_eq!(fields.len(), 1);
    }
}
