//! The first bytes of a connection.

use selvedge_wire::tls::hello::{HELLO_BYTES_MAX, Inspected, inspect};

use crate::cut;

/// A hello: however it is cut it reads the same, once something is decided it stays so, and something always is.
pub(super) fn hello(bytes: &[u8]) {
    let (piece, bytes) = cut(bytes);
    let mut arrived = 0;
    let mut decided = Inspected::Undecided;
    while arrived < bytes.len() && decided == Inspected::Undecided {
        arrived = (arrived + piece).min(bytes.len());
        decided = inspect(&bytes[..arrived]);
    }
    match &decided {
        Inspected::Undecided => assert!(bytes.len() <= HELLO_BYTES_MAX, "nobody is listened to for ever"),
        // The same bytes and more say the same, unless they came when nobody listened any more.
        Inspected::Tls(_) => assert_eq!(inspect(bytes), decided),
        Inspected::Plain if arrived <= HELLO_BYTES_MAX => assert_eq!(inspect(bytes), Inspected::Plain),
        Inspected::Plain => {}
    }
    if let Inspected::Tls(hello) = decided
        && let Some(name) = hello.server_name
    {
        assert!(!name.is_empty() && name.len() <= 255);
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{name}");
    }
}
