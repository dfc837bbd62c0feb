//! The PROXY protocol: a word is read the same however it arrives, and says again what it said.

use selvedge_wire::proxy_protocol::{Parsed, WORD_BYTES_MAX, encode, parse};

pub(super) fn word(bytes: &[u8]) {
    let whole = parse(bytes);
    // What is decided early stays decided.
    for len in 0..bytes.len().min(64) {
        match parse(&bytes[..len]) {
            Ok(Parsed::Undecided) => {}
            early => assert_eq!(early, whole, "{len} of {bytes:02x?}"),
        }
    }
    let Ok(Parsed::Word { version, ends, len }) = whole else { return };
    assert!(len <= bytes.len() && len <= WORD_BYTES_MAX);
    let again = encode(version, ends);
    let Ok(Parsed::Word { ends: read, .. }) = parse(&again) else { panic!("{again:02x?}") };
    let canonical = |end: std::net::SocketAddr| (end.ip().to_canonical(), end.port());
    let both =
        |ends: selvedge_wire::proxy_protocol::Ends| (canonical(ends.source), canonical(ends.destination));
    assert_eq!(read.map(both), ends.map(both));
}
