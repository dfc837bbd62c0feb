//! The accounting of HTTP/2 frames.

use selvedge_http::h2::frames::{Frame, Frames};
use selvedge_http::h2::meter::{Meter, Side};

use crate::cut;

fn seen(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let (mut frames, mut all) = (Frames::after(2), Vec::new());
    bytes.chunks(piece).for_each(|part| frames.feed(part, |frame| all.push(frame)));
    all
}

/// However they are cut, the same frames are seen and the same flood.
pub(super) fn frames(bytes: &[u8]) {
    let (piece, bytes) = cut(bytes);
    assert_eq!(seen(bytes, piece), seen(bytes, bytes.len().max(1)));
    for side in [Side::Client, Side::Server] {
        let (mut one, mut other) = (Meter::new(side, 0), Meter::new(side, 0));
        let at_once = one.received(bytes, 0);
        let mut cut = None;
        bytes.chunks(piece).for_each(|part| cut = other.received(part, 0));
        assert_eq!(cut, at_once);
        assert_eq!(one.opened(), other.opened());
        one.sent(bytes);
    }
}
