//! Header blocks of RFC 7541, read line by line.

use super::huffman;
use super::table::{Line, Table};
use crate::known::HeaderId;

/// The block does not follow RFC 7541: neither side knows any more what the other's table holds, and the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header block is malformed")]
pub struct Malformed;

/// The reading side of one connection.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    /// A text that came in the Huffman code.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Reads a whole block and shows each line as (id, name, value); pseudo headers are lines like others.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn decode(
        &mut self,
        block: &[u8],
        mut seen: impl FnMut(HeaderId, &[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut rest = block;
        let mut begun = false;
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let line = self.table.get(index).ok_or(Malformed)?;
                seen(line.id, line.name, line.value);
            } else if first & 0xe0 == 0x20 {
                let max = integer(&mut rest, 5)?;
                // Only before the first line (RFC 7541 §4.2).
                if begun || !self.table.resize(max) {
                    return Err(Malformed);
                }
                continue;
            } else {
                let keeps = first & 0x40 != 0;
                self.literal(&mut rest, keeps, &mut seen)?;
            }
            begun = true;
        }
        Ok(())
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        keeps: bool,
        seen: &mut impl FnMut(HeaderId, &[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let index = integer(rest, if keeps { 6 } else { 4 })?;
        let (id, name) = if index == 0 {
            let name = text(rest, &mut self.name)?;
            (HeaderId::of(name), name)
        } else {
            let Line { id, name, .. } = self.table.get(index).ok_or(Malformed)?;
            // Its entry may make room for this one.
            self.name.clear();
            self.name.extend_from_slice(name);
            (id, &*self.name)
        };
        let value = text(rest, &mut self.value)?;
        seen(id, name, value);
        if keeps {
            self.table.insert(id, name, value);
        }
        Ok(())
    }
}

/// An integer with a prefix of so many bits (RFC 7541 §5.1), up to what no honest block needs.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    const VALUE_MAX: usize = 1 << 24;
    let (first, mut bytes) = rest.split_first().ok_or(Malformed)?;
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, behind) = bytes.split_first().ok_or(Malformed)?;
            bytes = behind;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if value > VALUE_MAX || shift > 28 {
                return Err(Malformed);
            }
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = bytes;
    Ok(value)
}

/// A text (RFC 7541 §5.2): where it lies, or in `room` if it is coded.
fn text<'block: 'a, 'a>(rest: &mut &'block [u8], room: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let coded = rest.first().ok_or(Malformed)? & 0x80 != 0;
    let len = integer(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    if !coded {
        return Ok(bytes);
    }
    room.clear();
    huffman::decode(bytes, room).map_err(|_| Malformed)?;
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut lines = Vec::new();
        decoder.decode(block, |id, name, value| {
            assert_eq!(id, HeaderId::of(name));
            lines.push((
                String::from_utf8_lossy(name).into_owned(),
                String::from_utf8_lossy(value).into_owned(),
            ));
        })?;
        Ok(lines)
    }

    fn lines(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn three_requests_on_one_connection() {
        // RFC 7541, appendix C.4.
        let mut decoder = Decoder::default();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let common =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(read(&mut decoder, first), Ok(lines(&common)));
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let more = [&common[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(read(&mut decoder, second), Ok(lines(&more)));
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let other = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(read(&mut decoder, third), Ok(lines(&other)));
    }

    #[test]
    fn a_name_may_come_from_the_entry_that_makes_room() {
        let mut decoder = Decoder::default();
        let long = "x".repeat(4000);
        let mut block = b"\x40\x01n\x7f".to_vec();
        block.extend([0xa1, 0x1e]);
        block.extend(long.as_bytes());
        assert_eq!(read(&mut decoder, &block), Ok(lines(&[("n", &long)])));
        // Index 62 with another long value: the entry that named it is evicted.
        let mut block = b"\x7e\x7f\xa1\x1e".to_vec();
        block.extend(long.as_bytes());
        assert_eq!(read(&mut decoder, &block), Ok(lines(&[("n", &long)])));
        assert_eq!(read(&mut decoder, b"\xbe"), Ok(lines(&[("n", &long)])));
    }

    #[test]
    fn blocks_that_are_none() {
        let rows: &[(&str, &[u8])] = &[
            ("index 0", b"\x80"),
            ("an index beyond the tables", b"\xbe"),
            ("an index without end", b"\xff\xff\xff\xff\xff\xff\x7f"),
            ("a name beyond the tables", b"\x7e\x01a"),
            ("a text that is cut off", b"\x40\x05na"),
            ("a value that is missing", b"\x40\x01n"),
            ("a code that is none", b"\x40\x81\xff\x01v"),
            ("a table that is too large", b"\x3f\xe2\x1f"),
            ("a table's size behind a line", b"\x82\x20"),
        ];
        for (what, block) in rows {
            assert_eq!(read(&mut Decoder::default(), block), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn every_cut_of_a_block_is_refused_or_whole() {
        let block =
            b"\x82\x86\x44\x04/abc\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x00\x01a\x01b";
        for cut in 0..block.len() {
            if let Ok(some) = read(&mut Decoder::default(), &block[..cut]) {
                assert!(some.len() < 5);
            }
        }
        assert_eq!(read(&mut Decoder::default(), block).map(|some| some.len()), Ok(5));
    }
}
