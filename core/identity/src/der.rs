//! As much of DER (X.690) as an encrypted key is made of.

/// One element: a tag, a length, a content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let from = length.iter().take_while(|byte| **byte == 0).count();
            // A length of a length: eight bytes at most.
            out.push(0x80 | u8::try_from(length.len() - from).unwrap_or(0x08));
            out.extend_from_slice(&length[from..]);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// A number as short as it can be: a zero stands in front only where its first bit would say that it is negative.
pub(crate) fn integer(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let from = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let mut content = bytes[from..].to_vec();
    if content[0] & 0x80 != 0 {
        content.insert(0, 0);
    }
    tlv(INTEGER, &content)
}

pub(crate) const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// Takes elements from the front. Nothing is read beyond the end.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next element, if it has that tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..0x80 => (usize::from(*first), rest),
            _ => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                if digits.is_empty() || digits.len() > 4 {
                    return None;
                }
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*found == tag).then_some(content)
    }

    pub(crate) fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_not() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let element = tlv(4, &content);
            assert_eq!(Reader::new(&element).take(4), Some(content.as_slice()), "{length}");
            assert_eq!(Reader::new(&element).take(2), None);
            assert_eq!(Reader::new(&element[..element.len() - 1]).take(4), None);
        }
        for (number, bytes) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (100_000, &[2, 3, 1, 0x86, 0xa0]),
            (u32::MAX, &[2, 5, 0, 255, 255, 255, 255]),
        ] {
            assert_eq!(integer(number), bytes, "{number}");
        }
        for bytes in [&b""[..], &[4], &[4, 0x80], &[4, 0x85, 0, 0, 0, 0, 0], &[4, 0xff, 1]] {
            assert_eq!(Reader::new(bytes).take(4), None, "{bytes:?}");
        }
    }
}
