//! JSON lines: one item a line.

use std::io::{BufRead, BufReader, Read};

use super::{Dataset, DatasetError, ITEM_BYTES_MAX, Item};

pub(super) struct Lines {
    bytes: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

impl Lines {
    pub(super) fn new(bytes: Box<dyn Read + Send>) -> Self {
        Self { bytes: BufReader::with_capacity(1 << 16, bytes), number: 0 }
    }
}

impl Dataset for Lines {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.number += 1;
            let most = ITEM_BYTES_MAX as u64 + 1;
            if self.bytes.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let number = self.number;
            if line.len() > ITEM_BYTES_MAX {
                let message = format!("line {number} has more than {ITEM_BYTES_MAX} bytes");
                return Err(DatasetError::Content(message));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return match serde_json::from_slice(&line) {
                Ok(value) => Ok(Some(Item::plain(value))),
                Err(error) => Err(DatasetError::Content(format!("line {number} is no JSON: {error}"))),
            };
        }
    }
}
