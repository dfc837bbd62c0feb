//! The accounting of HTTP/2 frames.

use selvedge_http::h2::frames::{Frame, Frames};
use selvedge_http::h2::meter::{Meter, Side};

use crate::cut;

fn seen(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let (mut frames, mut all) = (Frames::after(2), Vec::new());
    bytes.chunks(piece).for_each(|part| frames.feed(part, |frame| all.push(frame)));
    all
}

/// However they are cut, the same frames are seen; and an account takes any of them, both ways.
pub(super) fn frames(bytes: &[u8]) {
    let (piece, bytes) = cut(bytes);
    let all = seen(bytes, piece);
    assert_eq!(all, seen(bytes, bytes.len().max(1)));
    for side in [Side::Client, Side::Server] {
        let mut meter = Meter::new(side);
        for frame in &all {
            let flood = meter.received(frame);
            assert!(flood.is_none() || meter.received(frame) == flood, "a flood is one for good");
            meter.sent(frame);
        }
    }
}
