//! What an operator asks a running edge, over a socket in the file system: to read its configuration again, to hand its sockets
//! to a successor.
//!
//! ```text
//! curl --unix-socket /run/selvedge/edge.sock -X POST http://edge/reload      200, or 422 and what is wrong at which place
//! curl --unix-socket /run/selvedge/edge.sock http://edge/healthz             200
//! curl --unix-socket /run/selvedge/edge.sock http://edge/certificates        200: how it stands with those that an authority issues
//! curl --unix-socket /run/selvedge/edge.sock http://edge/mesh                200, or 503: whether the mesh knows its routes, and why not
//! ```

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use selvedge_wire::handover;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::standing::Standing;
use crate::worker::Shared;

/// The longest head of a question.
pub(crate) const HEAD_BYTES_MAX: usize = 4096;
/// Whoever has not asked by then is not heard.
const PATIENCE: Duration = Duration::from_secs(5);
/// The word with which a successor asks for sockets, in place of a request.
pub(crate) const SUCCEED: &str = "SUCCEED";

/// What can be asked.
const KNOWN: &str = "known here: POST /reload, GET /healthz, GET /certificates, GET /mesh\n";

/// What was asked.
#[derive(Debug)]
pub(crate) enum Asked {
    Reload(UnixStream),
    /// The successor's end of the connection.
    Succeed(StdStream),
}

/// Binds the socket. Only this user, and root, can speak to it.
///
/// # Errors
/// The system's.
pub(crate) fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let listener = handover::listen(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits for a question that is not answered at once.
pub(crate) async fn next(listener: Option<&UnixListener>, shared: &Shared) -> Asked {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others leave.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if let Ok(Ok(Some(asked))) = tokio::time::timeout(PATIENCE, hear(stream, shared)).await {
            return asked;
        }
    }
}

async fn hear(mut stream: UnixStream, shared: &Shared) -> io::Result<Option<Asked>> {
    let mut head = Vec::with_capacity(512);
    let line = loop {
        if head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"SUCCEED\n") {
            break String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default())
                .into_owned();
        }
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [SUCCEED] => {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            Ok(Some(Asked::Succeed(stream)))
        }
        ["POST", "/reload", ..] => Ok(Some(Asked::Reload(stream))),
        ["GET", "/healthz", ..] => {
            answer(stream, "200 OK", "ok\n").await;
            Ok(None)
        }
        ["GET", "/mesh", ..] => {
            match shared.standing.as_deref().map(Standing::told) {
                Some((true, text)) => answer(stream, "200 OK", &text).await,
                Some((false, text)) => answer(stream, "503 Service Unavailable", &text).await,
                None => answer(stream, "404 Not Found", "this edge is no gateway of a mesh\n").await,
            }
            Ok(None)
        }
        ["GET", "/certificates", ..] => {
            match shared.acme.load_full() {
                Some(acme) => answer(stream, "200 OK", &acme.progress().told()).await,
                None => {
                    answer(stream, "404 Not Found", "no authority issues certificates for this edge\n").await
                }
            }
            Ok(None)
        }
        [_, "/reload" | "/healthz" | "/mesh" | "/certificates", ..] => {
            answer(stream, "405 Method Not Allowed", KNOWN).await;
            Ok(None)
        }
        _ => {
            answer(stream, "404 Not Found", KNOWN).await;
            Ok(None)
        }
    }
}

/// Answers and closes.
pub(crate) async fn answer(mut stream: UnixStream, status: &str, body: &str) {
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = tokio::time::timeout(PATIENCE, stream.write_all(text.as_bytes())).await;
}
