//! A message's bytes, part by part, for whoever must see what the generated types leave out.

/// The content of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A text, a message, or several numbers.
    Bytes(&'a [u8]),
}

/// The parts of a message in the order in which they came: a field's number and its content. Ends where the bytes make
/// no sense.
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = (u32, Content<'_>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || part(&mut rest))
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<(u32, Content<'a>)> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok()?;
    let content = match key & 7 {
        0 => Content::Varint(varint(rest)?),
        1 => Content::Fixed64(u64::from_le_bytes(*take(rest)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            *rest = after;
            Content::Bytes(content)
        }
        5 => Content::Fixed32(u32::from_le_bytes(*take(rest)?)),
        _ => return None,
    };
    Some((number, content))
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}

pub(crate) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl<'a> Content<'a> {
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The content of the last part of a number: what counts of a field that is not repeated.
pub(crate) fn last(bytes: &[u8], number: u32) -> Option<Content<'_>> {
    parts(bytes).filter(|(found, _)| *found == number).map(|(_, content)| content).last()
}

/// The same of a text.
pub(crate) fn text(bytes: &[u8], number: u32) -> &str {
    let content = last(bytes, number).and_then(Content::bytes).unwrap_or_default();
    std::str::from_utf8(content).unwrap_or_default()
}

/// What an `Any` holds: the name of the message behind the last slash of its URL, and the message.
pub(crate) fn any(bytes: &[u8]) -> (&str, &[u8]) {
    let name = text(bytes, 1).rsplit('/').next().unwrap_or_default();
    (name, last(bytes, 2).and_then(Content::bytes).unwrap_or_default())
}
