//! Which parts of a body a client asks for (RFC 9110 §14), and how they are written when they are several.
//!
//! Where the standard leaves a choice it is lighttpd's: parts that lie within 80 bytes of each other become one, invalid
//! parts among valid ones are passed over, and whatever follows the tenth part is.

use std::fmt::Write as _;

/// The most parts that one request may ask for; further ones are not looked at.
pub const PARTS_MAX: usize = 10;
/// Parts nearer than this are sent as one: the head of a further part would be longer than the gap.
const GAP_BYTES: u64 = 80;
/// What stands between the parts of a `multipart/byteranges` body.
pub const BOUNDARY: &str = "fkj49sn38dcn3";
/// The media type of a body in parts.
pub const MULTIPART: &str = "multipart/byteranges; boundary=fkj49sn38dcn3";

/// First and last byte, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    pub last: u64,
}

impl Part {
    /// How many bytes; never 0.
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of `Content-Range`.
    pub fn content_range(self, complete: u64) -> String {
        format!("bytes {}-{}/{complete}", self.first, self.last)
    }
}

/// What a `Range` field asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// A unit that is not known, or an empty body: the whole body is the answer.
    Whole,
    /// At least one part, in the order in which they were asked for.
    Parts(Vec<Part>),
    /// No part of it lies in the body: 416.
    Unsatisfiable,
}

/// Reads the value of a `Range` field for a body of `complete` bytes.
pub fn parse(value: &str, complete: u64) -> Range {
    let Some(unit) = value.get(..6) else { return Range::Whole };
    if complete == 0 || !unit.eq_ignore_ascii_case("bytes=") {
        return Range::Whole;
    }
    let mut parts: Vec<Part> =
        value[6..].split(',').filter_map(|part| one(part.trim(), complete)).take(PARTS_MAX).collect();
    coalesce(&mut parts);
    if parts.is_empty() { Range::Unsatisfiable } else { Range::Parts(parts) }
}

fn one(text: &str, complete: u64) -> Option<Part> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim_end(), last.trim_start());
    if first.is_empty() {
        let length = number(last)?;
        return (length > 0).then(|| Part { first: complete.saturating_sub(length), last: complete - 1 });
    }
    let first = number(first).filter(|first| *first < complete)?;
    let last = if last.is_empty() { complete - 1 } else { number(last)?.min(complete - 1) };
    (first <= last).then_some(Part { first, last })
}

/// Digits, and nothing but digits; what is longer than any file is the end of it.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn coalesce(parts: &mut Vec<Part>) {
    let mut at = 0;
    while at < parts.len() {
        let near = (at + 1..parts.len()).find(|other| {
            let (a, b) = (parts[at], parts[*other]);
            let (low, high) = if a.first <= b.first { (a, b) } else { (b, a) };
            low.last.saturating_add(GAP_BYTES) >= high.first
        });
        match near {
            None => at += 1,
            Some(other) => {
                let other = parts.remove(other);
                parts[at] =
                    Part { first: parts[at].first.min(other.first), last: parts[at].last.max(other.last) };
                // The larger part may now reach one that was passed.
                at = 0;
            }
        }
    }
}

/// What precedes a part of a body in parts; `first` tells whether it is the first one.
pub fn part_head(part: Part, complete: u64, media_type: Option<&str>, first: bool) -> String {
    let mut head = String::with_capacity(128);
    if !first {
        head.push_str("\r\n");
    }
    let _ = write!(head, "--{BOUNDARY}\r\n");
    if let Some(media_type) = media_type {
        let _ = write!(head, "Content-Type: {media_type}\r\n");
    }
    let _ = write!(head, "Content-Range: {}\r\n\r\n", part.content_range(complete));
    head
}

/// What follows the last part.
pub fn end() -> String {
    format!("\r\n--{BOUNDARY}--\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pairs: &[(u64, u64)]) -> Range {
        Range::Parts(pairs.iter().map(|&(first, last)| Part { first, last }).collect())
    }

    #[test]
    fn what_is_asked_for() {
        for (value, complete, expected) in [
            ("bytes=0-3", 6, parts(&[(0, 3)])),
            ("bytes=-3", 6, parts(&[(3, 5)])),
            ("bytes=3-", 6, parts(&[(3, 5)])),
            ("bytes=0-", 6, parts(&[(0, 5)])),
            ("bytes=0-99", 6, parts(&[(0, 5)])),
            ("bytes=-99", 6, parts(&[(0, 5)])),
            ("Bytes=1-1", 6, parts(&[(1, 1)])),
            ("bytes=0-1,3-4", 6, parts(&[(0, 4)])),
            ("bytes=0-1,97-98", 100, parts(&[(0, 1), (97, 98)])),
            ("bytes=97-98,0-1", 100, parts(&[(97, 98), (0, 1)])),
            ("bytes=0-0,x,500-600,900-", 1000, parts(&[(0, 0), (500, 600), (900, 999)])),
            ("bytes=0-0,990-, 400-500,100-450,600-", 1000, parts(&[(0, 0), (600, 999), (100, 500)])),
            ("bytes=0--", 6, Range::Unsatisfiable),
            ("bytes=-2-3", 6, Range::Unsatisfiable),
            ("bytes=-0", 6, Range::Unsatisfiable),
            ("bytes=25-", 6, Range::Unsatisfiable),
            ("bytes=3-2", 6, Range::Unsatisfiable),
            ("bytes=", 6, Range::Unsatisfiable),
            ("bytes=18446744073709551616-", 6, Range::Unsatisfiable),
            ("lines=0-1", 6, Range::Whole),
            ("0", 6, Range::Whole),
            ("bytes=0-1", 0, Range::Whole),
        ] {
            assert_eq!(parse(value, complete), expected, "{value} of {complete}");
        }
    }

    #[test]
    fn ten_thousand_parts_are_ten() {
        let many: Vec<String> = (0..10_000).map(|n| format!("{}-{}", n * 1000, n * 1000)).collect();
        let Range::Parts(parts) = parse(&format!("bytes={}", many.join(",")), 1 << 40) else { panic!() };
        assert_eq!(parts.len(), PARTS_MAX);
    }

    #[test]
    fn a_body_in_parts() {
        let part = Part { first: 0, last: 1 };
        assert_eq!(
            part_head(part, 100, Some("text/plain"), true) + "12" + &end(),
            "--fkj49sn38dcn3\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/100\r\n\r\n12\r\n--fkj49sn38dcn3--\r\n"
        );
    }
}
