//! Where a head ends. One pass over the line ends, before anything is parsed, answers three questions at once: is the
//! head complete, is every line ended by CRLF, is a value folded over several lines.

/// The longest request head, request line and final empty line included: Envoy's `max_request_headers_kb`, 60 KiB.
pub const REQUEST_HEAD_BYTES_MAX: usize = 60 * 1024;
/// The longest response head that an upstream may send: Envoy's limit for HTTP/1 upstreams, 80 KiB.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 80 * 1024;
/// The most header fields in one head, Envoy's `max_headers_count`.
pub const HEADERS_MAX: usize = 100;

/// What is known of a head that may not have arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// More bytes are needed.
    Partial,
    /// The head ends before this offset.
    Complete(Extent),
    /// A line ends with LF alone. Envoy takes it; two readers that disagree about line ends is how requests are
    /// smuggled, so it is refused here.
    BareLineFeed,
}

/// The place of a complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where the first line starts: empty lines before it are skipped (RFC 9112 §2.2).
    pub start: usize,
    /// Just behind the final empty line.
    pub end: usize,
    /// Whether some line is the continuation of the line before (obs-fold, RFC 9112 §5.2).
    pub folded: bool,
}

/// Looks for the end of a head. Keeps its place between calls, so a head that comes byte by byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    start: usize,
    line: usize,
    seen: usize,
    folded: bool,
}

impl Scanner {
    /// Looks at what has arrived so far; `bytes` always starts at the same place.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        while let Some(at) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let feed = self.seen + at;
            if feed == 0 || bytes[feed - 1] != b'\r' {
                return Scan::BareLineFeed;
            }
            let empty = feed - 1 == self.line;
            let first = self.line == self.start;
            if !empty && !first && matches!(bytes[self.line], b' ' | b'\t') {
                self.folded = true;
            }
            self.line = feed + 1;
            self.seen = feed + 1;
            if empty {
                if !first {
                    return Scan::Complete(Extent { start: self.start, end: feed + 1, folded: self.folded });
                }
                self.start = feed + 1;
            }
        }
        self.seen = bytes.len();
        Scan::Partial
    }
}

/// Takes the line ends out of folded values, as Envoy does: the blanks that begin the next line stay.
pub(crate) fn unfold(head: &mut Vec<u8>) {
    let mut kept = 0;
    let mut at = 0;
    while at < head.len() {
        let fold = head[at..].starts_with(b"\r\n") && matches!(head.get(at + 2), Some(b' ' | b'\t'));
        if fold {
            at += 2;
        } else {
            head[kept] = head[at];
            (kept, at) = (kept + 1, at + 1);
        }
    }
    head.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Scan {
        Scanner::default().scan(bytes)
    }

    #[test]
    fn finds_the_end_of_a_head() {
        let rows: &[(&[u8], Scan)] = &[
            (b"", Scan::Partial),
            (b"GET / HTTP/1.1\r\n", Scan::Partial),
            (b"GET / HTTP/1.1\r\n\r\nrest", Scan::Complete(Extent { start: 0, end: 18, folded: false })),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Scan::Complete(Extent { start: 4, end: 22, folded: false })),
            (b"G\r\na: b\r\n c\r\n\r\n", Scan::Complete(Extent { start: 0, end: 15, folded: true })),
            (b"G\r\na: b\nc: d\r\n\r\n", Scan::BareLineFeed),
            (b"\nG\r\n\r\n", Scan::BareLineFeed),
        ];
        for (bytes, expected) in rows {
            assert_eq!(whole(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn every_split_finds_the_same_end() {
        let bytes = b"\r\nGET / HTTP/1.1\r\nhost: a\r\nb: c\r\n\td\r\n\r\nbody\r\n\r\n";
        let expected = whole(bytes);
        assert!(matches!(expected, Scan::Complete(_)));
        for cut in 0..bytes.len() {
            let mut scanner = Scanner::default();
            let found = match scanner.scan(&bytes[..cut]) {
                Scan::Partial => scanner.scan(bytes),
                found => found,
            };
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
