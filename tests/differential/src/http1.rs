//! Just enough HTTP/1.1, read from the outside: both ends of the test speak it by hand, so that no library mends what
//! a proxy got wrong.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest head that either end reads.
const HEAD_LEN_MAX: usize = 256 * 1024;
/// Longest body that either end reads.
const BODY_LEN_MAX: usize = 256 * 1024 * 1024;
/// How long either end waits for the next byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Headers in the order in which they came; names in lower case.
pub type Headers = Vec<(String, String)>;

/// The first line and the headers of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub first_line: String,
    pub headers: Headers,
}

/// What follows a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Headers,
    /// Whether it ended as its framing says it must.
    pub complete: bool,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A connection with the bytes that were read ahead.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    buffer: BytesMut,
}

// === impl Head ===

impl Head {
    /// Reads a head from its bytes, the empty line included or not.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let first_line = lines.next().unwrap_or_default().to_owned();
        Self { first_line, headers: lines.filter_map(parse_header).collect() }
    }

    /// The first value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.first_line.split(' ').nth(1)?.parse().ok()
    }

    /// How a response to `method` ends.
    pub fn response_framing(&self, method: &str) -> Framing {
        let status = self.status().unwrap_or_default();
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Framing::Length(0);
        }
        self.framing().unwrap_or(Framing::UntilClose)
    }

    /// How a request ends.
    pub fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    fn framing(&self) -> Option<Framing> {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Some(Framing::Chunked);
        }
        self.header("content-length")?.trim().parse().ok().map(Framing::Length)
    }
}

fn parse_header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

// === impl Connection ===

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Sends `bytes` as they are.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("failed to write")
    }

    /// Ends the sending half.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn finish(&mut self) -> Result<()> {
        self.stream.shutdown().await.context("failed to shut down the sending half")
    }

    /// The next head; `None` when the other end closed before its first byte.
    ///
    /// # Errors
    /// When it is cut short, longer than `HEAD_LEN_MAX`, or does not come in time.
    pub async fn read_head(&mut self) -> Result<Option<Head>> {
        loop {
            if let Some(end) = end_of_head(&self.buffer) {
                let bytes = self.buffer.split_to(end);
                return Ok(Some(Head::parse(&bytes)));
            }
            ensure!(self.buffer.len() < HEAD_LEN_MAX, "the head is longer than {HEAD_LEN_MAX} bytes");
            if !self.fill().await? {
                ensure!(
                    self.buffer.is_empty(),
                    "closed within a head: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
                return Ok(None);
            }
        }
    }

    /// The body that follows a head. One that is cut short is returned as incomplete.
    ///
    /// # Errors
    /// When it is too long, does not come in time, or its chunks are malformed.
    pub async fn read_body(&mut self, framing: Framing) -> Result<Body> {
        match framing {
            Framing::Length(length) => {
                let complete = self.fill_to(length).await?;
                let length = length.min(self.buffer.len());
                Ok(Body { bytes: self.buffer.split_to(length).to_vec(), trailers: Vec::new(), complete })
            }
            Framing::Chunked => self.read_chunks().await,
            Framing::UntilClose => {
                self.fill_to(BODY_LEN_MAX).await?;
                Ok(Body { bytes: self.buffer.split().to_vec(), trailers: Vec::new(), complete: true })
            }
        }
    }

    /// Whatever comes until the other end closes, or until `quiet` has passed without a byte. The flag says whether it
    /// closed.
    pub async fn read_until_quiet(&mut self, quiet: Duration) -> (Vec<u8>, bool) {
        loop {
            match timeout(quiet, self.fill()).await {
                Err(_) => return (self.buffer.split().to_vec(), false),
                Ok(Ok(true)) => {}
                // A reset ends the connection as a close does.
                Ok(Ok(false) | Err(_)) => return (self.buffer.split().to_vec(), true),
            }
        }
    }

    /// Exactly `length` bytes, or fewer when the other end closed.
    ///
    /// # Errors
    /// When they do not come in time.
    pub async fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        self.fill_to(length).await?;
        let length = length.min(self.buffer.len());
        Ok(self.buffer.split_to(length).to_vec())
    }

    async fn read_chunks(&mut self) -> Result<Body> {
        let mut body = Body::default();
        loop {
            let Some(line) = self.read_line().await? else { return Ok(body) };
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length =
                usize::from_str_radix(digits, 16).with_context(|| format!("no chunk length: {line:?}"))?;
            ensure!(
                body.bytes.len() + length <= BODY_LEN_MAX,
                "the body is longer than {BODY_LEN_MAX} bytes"
            );
            if length == 0 {
                break;
            }
            if !self.fill_to(length + 2).await? {
                body.bytes.extend_from_slice(&self.buffer.split());
                return Ok(body);
            }
            body.bytes.extend_from_slice(&self.buffer.split_to(length));
            self.buffer.advance(2);
        }
        while let Some(line) = self.read_line().await? {
            if line.is_empty() {
                body.complete = true;
                break;
            }
            body.trailers.extend(parse_header(&line));
        }
        Ok(body)
    }

    async fn read_line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            ensure!(self.buffer.len() < HEAD_LEN_MAX, "the line is longer than {HEAD_LEN_MAX} bytes");
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads until `length` bytes stand in the buffer; `false` when the other end closed before.
    async fn fill_to(&mut self, length: usize) -> Result<bool> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn fill(&mut self) -> Result<bool> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => Ok(read.context("failed to read")? > 0),
            Err(_) => bail!("no byte for {PATIENCE:?}"),
        }
    }
}

/// Where the empty line ends, after CRLF or bare LF.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut line_is_empty = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if line_is_empty => return Some(index + 1),
            b'\n' => line_is_empty = true,
            b'\r' => {}
            _ => line_is_empty = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (Head, Body) {
        let (mut far, near) = tokio::io::duplex(1024);
        far.write_all(bytes).await.unwrap();
        drop(far);
        let mut connection = Connection::new(near);
        let head = connection.read_head().await.unwrap().unwrap();
        let body = connection.read_body(head.response_framing("GET")).await.unwrap();
        (head, body)
    }

    #[tokio::test]
    async fn a_body_ends_as_its_framing_says() {
        let rows: &[(&[u8], &[u8], bool)] = &[
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc", b"ab", true),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", b"ab", false),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nt: v\r\n\r\n", b"abc", true),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", b"ab", false),
            (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", true),
            (b"HTTP/1.1 204 No Content\r\n\r\nabc", b"", true),
        ];
        for (bytes, expected, complete) in rows {
            let (_, body) = read(bytes).await;
            assert_eq!(
                (body.bytes.as_slice(), body.complete),
                (*expected, *complete),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[tokio::test]
    async fn a_head_is_read_with_its_headers_and_trailers() {
        let (head, body) =
            read(b"HTTP/1.1 503 No\nX-A: 1\nTransfer-Encoding: chunked\n\n0\r\nT: v\r\n\r\n").await;
        assert_eq!(head.status(), Some(503));
        assert_eq!(head.header("x-a"), Some("1"));
        assert_eq!(body.trailers, [("t".to_owned(), "v".to_owned())]);
    }
}
