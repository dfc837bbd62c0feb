//! How many frames that cost their sender nothing a peer may send: floods of PING, SETTINGS, PRIORITY and the like make
//! work without being any.
//!
//! Each kind has a budget. It is spent frame by frame, and given back by what an honest peer does – streams, content –
//! and by time, so that a connection may live for ever with its pings. A peer that has spent one is sent away.

use super::frames::{Frame, flag, kind};

/// Frames of one kind beyond what useful traffic accounts for.
pub const FRAMES_MAX: u16 = 500;
/// Streams that a peer may make us reset by breaking the protocol on them ("MadeYouReset", CVE-2025-8671), beyond what
/// time gives back.
pub const MADE_RESETS_MAX: u16 = 250;
/// What each second gives back.
pub const FRAMES_PER_SECOND: u16 = 50;
/// Responses, interim ones and trailers that may follow one request.
const HEADERS_PER_REQUEST: u16 = 18;

/// A kind of flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    Ping,
    Settings,
    Priority,
    WindowUpdate,
    /// HEADERS, CONTINUATION and DATA without content that end nothing.
    Empty,
    /// RST_STREAM beyond the streams that there were.
    Reset,
    /// Types that RFC 9113 does not know, or that mean nothing here.
    Unknown,
    /// Faults that made us reset a stream each.
    MadeReset,
    /// Streams beyond the limit, each of which we refused.
    Refused,
    /// From an upstream: headers without end.
    Headers,
}

const KINDS: usize = Flood::Headers as usize + 1;

/// Which end of the connection the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// The account of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    peer: Side,
    account: Account,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    spent: [u16; KINDS],
    second: u64,
    last_kind: u8,
    /// The newest stream, and how many there were.
    newest: u32,
    opened: u32,
    flood: Option<Flood>,
}

impl Meter {
    pub fn new(peer: Side) -> Self {
        Self { peer, account: Account::default() }
    }

    /// It is the second `now` of any clock that only goes forward.
    pub fn pass(&mut self, now: u64) {
        self.account.refill(now);
    }

    /// Takes a frame that came; the flood that it completes.
    pub fn received(&mut self, frame: &Frame) -> Option<Flood> {
        self.account.received(frame, self.peer);
        self.account.flood
    }

    /// Takes a frame that leaves.
    pub fn sent(&mut self, frame: &Frame) -> Option<Flood> {
        self.account.sent(frame, self.peer);
        self.account.flood
    }

    /// The flood that there was.
    pub fn flood(&self) -> Option<Flood> {
        self.account.flood
    }

    /// Streams that the peer has opened.
    pub fn opened(&self) -> u32 {
        self.account.opened
    }

    /// The type of the frame that came last.
    pub fn last_kind(&self) -> u8 {
        self.account.last_kind
    }
}

impl Account {
    fn received(&mut self, frame: &Frame, peer: Side) {
        self.last_kind = frame.kind;
        match frame.kind {
            kind::DATA if frame.len > 0 => self.useful(),
            kind::DATA if frame.has(flag::END_STREAM) => {}
            kind::DATA => self.spend(Flood::Empty),
            kind::HEADERS => {
                if frame.len == 0 && !frame.has(flag::END_HEADERS) {
                    self.spend(Flood::Empty);
                }
                match peer {
                    // Otherwise trailers.
                    Side::Client if frame.stream > self.newest => {
                        (self.newest, self.opened) = (frame.stream, self.opened.wrapping_add(1));
                        self.stream();
                    }
                    Side::Client => {}
                    Side::Server => self.spend(Flood::Headers),
                }
            }
            kind::CONTINUATION if frame.len == 0 => self.spend(Flood::Empty),
            kind::CONTINUATION => {}
            kind::PRIORITY => self.spend(Flood::Priority),
            kind::RST_STREAM => self.spend(Flood::Reset),
            kind::SETTINGS => self.spend(Flood::Settings),
            kind::PING => self.spend(Flood::Ping),
            kind::WINDOW_UPDATE => self.spend(Flood::WindowUpdate),
            _ => self.spend(Flood::Unknown),
        }
    }

    fn sent(&mut self, frame: &Frame, peer: Side) {
        const PROTOCOL_ERROR: u32 = 1;
        const FLOW_CONTROL_ERROR: u32 = 3;
        const STREAM_CLOSED: u32 = 5;
        const FRAME_SIZE_ERROR: u32 = 6;
        const REFUSED_STREAM: u32 = 7;
        match (frame.kind, frame.code) {
            (kind::DATA, _) if frame.len > 0 => self.useful(),
            (kind::HEADERS, _) if peer == Side::Server => {
                self.stream();
                self.give_back(Flood::Headers, HEADERS_PER_REQUEST);
            }
            (
                kind::RST_STREAM,
                Some(PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR),
            ) => self.spend(Flood::MadeReset),
            (kind::RST_STREAM, Some(REFUSED_STREAM)) => self.spend(Flood::Refused),
            _ => {}
        }
    }

    /// A frame with content moved, either way: who reads it answers with windows, and measures the way with pings.
    fn useful(&mut self) {
        self.give_back(Flood::WindowUpdate, 4);
        self.give_back(Flood::Ping, 2);
        self.give_back(Flood::Settings, 1);
    }

    /// A stream began.
    fn stream(&mut self) {
        self.give_back(Flood::WindowUpdate, 4);
        self.give_back(Flood::Priority, 4);
        self.give_back(Flood::Reset, 1);
        self.give_back(Flood::Ping, 1);
    }

    fn spend(&mut self, flood: Flood) {
        let spent = &mut self.spent[flood as usize];
        *spent += 1;
        let max = if flood == Flood::MadeReset { MADE_RESETS_MAX } else { FRAMES_MAX };
        if *spent > max {
            *spent = max;
            self.flood.get_or_insert(flood);
        }
    }

    fn give_back(&mut self, flood: Flood, frames: u16) {
        let spent = &mut self.spent[flood as usize];
        *spent = spent.saturating_sub(frames);
    }

    fn refill(&mut self, now: u64) {
        if now > self.second {
            let seconds = u16::try_from(now - self.second).unwrap_or(u16::MAX);
            self.second = now;
            for spent in &mut self.spent {
                *spent = spent.saturating_sub(seconds.saturating_mul(FRAMES_PER_SECOND));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Frames;
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A meter that is given bytes.
    struct Fed(Meter);

    impl Fed {
        fn received(&mut self, bytes: &[u8], now: u64) -> Option<Flood> {
            self.0.pass(now);
            Frames::default().feed(bytes, |frame| {
                self.0.received(&frame);
            });
            self.0.flood()
        }

        fn sent(&mut self, bytes: &[u8]) -> Option<Flood> {
            Frames::default().feed(bytes, |frame| {
                self.0.sent(&frame);
            });
            self.0.flood()
        }
    }

    fn clients() -> Fed {
        Fed(Meter::new(Side::Client))
    }

    /// After how many repetitions of `bytes` the peer is sent away.
    fn ends_after(meter: &mut Fed, bytes: &[u8]) -> Option<(usize, Flood)> {
        (1..=2000).find_map(|count| meter.received(bytes, 0).map(|flood| (count, flood)))
    }

    #[test]
    fn each_kind_of_nothing_ends_within_a_thousand_frames() {
        let rows: &[(&[u8], Flood)] = &[
            (&frame(kind::PING, 0, &[0; 8]), Flood::Ping),
            (&frame(kind::PING, flag::ACK, &[0; 8]), Flood::Ping),
            (&frame(kind::SETTINGS, 0, &[]), Flood::Settings),
            (&frame(kind::SETTINGS, flag::ACK, &[]), Flood::Settings),
            (&frame(kind::PRIORITY, 0, &[0; 5]), Flood::Priority),
            (&frame(kind::WINDOW_UPDATE, 0, &[0, 0, 0, 1]), Flood::WindowUpdate),
            (&frame(kind::DATA, 0, &[]), Flood::Empty),
            (&frame(kind::DATA, flag::PADDED, &[3, 0, 0, 0]), Flood::Empty),
            (&frame(kind::CONTINUATION, 0, &[]), Flood::Empty),
            (&frame(kind::RST_STREAM, 0, &[0, 0, 0, 8]), Flood::Reset),
            (&frame(kind::GOAWAY, 0, &[0; 8]), Flood::Unknown),
            (&frame(kind::PUSH_PROMISE, 0, &[0; 8]), Flood::Unknown),
            (&frame(0xbe, 0, b"anything"), Flood::Unknown),
        ];
        for (bytes, flood) in rows {
            let ended = ends_after(&mut clients(), bytes);
            assert_eq!(ended, Some((usize::from(FRAMES_MAX) + 1, *flood)));
        }
    }

    #[test]
    fn time_gives_back_what_a_long_life_spends() {
        let mut meter = clients();
        for second in 0..10_000 {
            for _ in 0..FRAMES_PER_SECOND {
                assert_eq!(meter.received(&frame(kind::PING, 0, &[0; 8]), second), None, "second {second}");
            }
        }
    }

    #[test]
    fn whoever_reads_may_open_windows() {
        let mut meter = clients();
        for _ in 0..10_000 {
            assert_eq!(meter.sent(&frame(kind::DATA, 0, b"x")), None);
            assert_eq!(meter.received(&frame(kind::WINDOW_UPDATE, 0, &[0, 0, 0, 1]).repeat(2), 0), None);
            assert_eq!(meter.received(&frame(kind::PING, 0, &[0; 8]), 0), None);
        }
    }

    #[test]
    fn faults_that_we_answer_with_resets_are_counted() {
        let mut meter = clients();
        let fault = frame(kind::RST_STREAM, 0, &[0, 0, 0, 1]);
        let given_up = frame(kind::RST_STREAM, 0, &[0, 0, 0, 8]);
        for _ in 0..MADE_RESETS_MAX {
            assert_eq!(meter.sent(&fault), None);
            assert_eq!(meter.sent(&given_up), None);
        }
        assert_eq!(meter.sent(&fault), Some(Flood::MadeReset));
        assert_eq!(meter.received(&[], 0), Some(Flood::MadeReset), "it stays so");
    }

    #[test]
    fn an_upstream_answers_each_request_with_a_few_heads() {
        let mut meter = Fed(Meter::new(Side::Server));
        let headers = frame(kind::HEADERS, flag::END_HEADERS, &[0x88]);
        for _ in 0..1000 {
            assert_eq!(meter.sent(&headers), None);
            assert_eq!(meter.received(&headers.repeat(3), 0), None);
        }
        assert_eq!(ends_after(&mut meter, &headers).map(|(_, flood)| flood), Some(Flood::Headers));
    }
}
