//! What a program prints, line by line, each line with the program's name before it.

use std::io::Write as _;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A line that is longer than this is broken.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Stdout,
    Stderr,
}

/// Passes lines on until the program closes its end.
pub(super) async fn pass(name: String, mut from: impl AsyncRead + Unpin, to: To) {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for byte in &buffer[..read] {
            if *byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                print(&name, &line, to);
                line.clear();
            }
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
    }
    if !line.is_empty() {
        print(&name, &line, to);
    }
}

fn print(name: &str, line: &[u8], to: To) {
    let whole = [name.as_bytes(), b" | ", line, b"\n"].concat();
    // Whoever started it may not listen; the program goes on all the same.
    let _ = match to {
        To::Stdout => std::io::stdout().lock().write_all(&whole),
        To::Stderr => std::io::stderr().lock().write_all(&whole),
    };
}
