//! The elements of an array, or the members of an object, out of a JSON text of any length.
//!
//! The text is walked byte by byte as far as where an element begins and ends; the element alone is parsed.

use std::io::{BufRead, BufReader, Read};

use super::{Dataset, DatasetError, ITEM_BYTES_MAX, Item};

/// How deep the text nests on the way to an element.
const DEPTH_MAX: usize = 128;

pub(super) struct Elements {
    scanner: Scanner,
    kind: Kind,
    is_first: bool,
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Object,
}

impl Elements {
    /// The elements of the array or object at `pointer` (RFC 6901), or of the whole text.
    pub(super) fn open(bytes: Box<dyn Read + Send>, pointer: Option<&str>) -> Result<Self, DatasetError> {
        let mut scanner = Scanner { bytes: BufReader::with_capacity(1 << 16, bytes), offset: 0 };
        for token in pointer.unwrap_or_default().split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            if !scanner.descend(&token)? {
                let pointer = pointer.unwrap_or_default();
                return Err(DatasetError::Content(format!(
                    "there is nothing at the ItemsPointer '{pointer}'"
                )));
            }
        }
        let kind = match scanner.significant()? {
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => {
                let message = "an array or an object of items is expected";
                return Err(DatasetError::Content(message.to_owned()));
            }
        };
        Ok(Self { scanner, kind, is_first: true, is_over: false })
    }
}

impl Dataset for Elements {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        if self.is_over {
            return Ok(None);
        }
        let close = if self.kind == Kind::Array { b']' } else { b'}' };
        if !self.scanner.goes_on(close, std::mem::take(&mut self.is_first))? {
            self.is_over = true;
            return Ok(None);
        }
        let key = match self.kind {
            Kind::Array => None,
            Kind::Object => Some(self.scanner.key()?.into()),
        };
        let mut text = Vec::new();
        self.scanner.value(Some(&mut text))?;
        let value = serde_json::from_slice(&text).map_err(|error| self.scanner.broken(&error.to_string()))?;
        Ok(Some(Item { key, value }))
    }
}

struct Scanner {
    bytes: BufReader<Box<dyn Read + Send>>,
    offset: u64,
}

impl Scanner {
    fn broken(&self, what: &str) -> DatasetError {
        DatasetError::Content(format!("the data set is no JSON, near byte {}: {what}", self.offset))
    }

    fn peek(&mut self) -> Result<Option<u8>, DatasetError> {
        Ok(self.bytes.fill_buf()?.first().copied())
    }

    fn take(&mut self) -> Result<u8, DatasetError> {
        let byte = self.peek()?.ok_or_else(|| self.broken("it ends in the middle"))?;
        self.bytes.consume(1);
        self.offset += 1;
        Ok(byte)
    }

    /// The next byte that is no white space.
    fn significant(&mut self) -> Result<u8, DatasetError> {
        loop {
            let byte = self.take()?;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(byte);
            }
        }
    }

    fn skip_space(&mut self) -> Result<(), DatasetError> {
        while matches!(self.peek()?, Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.take()?;
        }
        Ok(())
    }

    /// Whether one more element comes before `close`.
    fn goes_on(&mut self, close: u8, is_first: bool) -> Result<bool, DatasetError> {
        self.skip_space()?;
        if self.peek()? == Some(close) {
            self.take()?;
            return Ok(false);
        }
        if !is_first {
            match self.take()? {
                b',' => self.skip_space()?,
                _ => return Err(self.broken("a comma is expected")),
            }
        }
        Ok(true)
    }

    /// A member's name, up to and with its colon.
    fn key(&mut self) -> Result<String, DatasetError> {
        let mut text = Vec::new();
        self.value(Some(&mut text))?;
        let key: String = serde_json::from_slice(&text).map_err(|error| self.broken(&error.to_string()))?;
        match self.significant()? {
            b':' => Ok(key),
            _ => Err(self.broken("a colon is expected")),
        }
    }

    /// Goes to the element or member of that name. False when there is none.
    fn descend(&mut self, token: &str) -> Result<bool, DatasetError> {
        let close = match self.significant()? {
            b'{' => b'}',
            b'[' => b']',
            _ => return Ok(false),
        };
        let wanted: Option<usize> = token.parse().ok();
        let mut index = 0;
        while self.goes_on(close, index == 0)? {
            let is_it = if close == b'}' { self.key()? == token } else { wanted == Some(index) };
            if is_it {
                return Ok(true);
            }
            self.value(None)?;
            index += 1;
        }
        Ok(false)
    }

    /// One value's bytes, kept or passed over.
    fn value(&mut self, mut kept: Option<&mut Vec<u8>>) -> Result<(), DatasetError> {
        self.skip_space()?;
        let (mut depth, mut in_text, mut is_escaped, mut length) = (0_usize, false, false, 0_usize);
        loop {
            let Some(byte) = self.peek()? else {
                return if depth == 0 && !in_text && length > 0 {
                    Ok(())
                } else {
                    Err(self.broken("it ends in the middle"))
                };
            };
            let ends_scalar = matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\r' | b'\n');
            if depth == 0 && !in_text && ends_scalar {
                return if length > 0 { Ok(()) } else { Err(self.broken("a value is expected")) };
            }
            self.take()?;
            length += 1;
            if let Some(kept) = &mut kept {
                if length > ITEM_BYTES_MAX {
                    let message = format!("an item has more than {ITEM_BYTES_MAX} bytes");
                    return Err(DatasetError::Content(message));
                }
                kept.push(byte);
            }
            if in_text {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' => is_escaped = true,
                    b'"' => in_text = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_text = true,
                    b'[' | b'{' => {
                        depth += 1;
                        if depth > DEPTH_MAX {
                            return Err(self.broken("it nests too deep"));
                        }
                    }
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
            }
            let is_whole = depth == 0 && !in_text && matches!(byte, b'"' | b']' | b'}');
            if is_whole {
                return Ok(());
            }
        }
    }
}
