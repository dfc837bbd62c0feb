//! A kept answer as bytes: what is the same each time it is sent is written once, and the date when a second has passed.

use std::cell::RefCell;
use std::io::IoSlice;

use bytes::Bytes;
use selvedge_http::date::DATE_BYTES;
use selvedge_http::encode;
use selvedge_http::h2;
use selvedge_http::head::ResponseHead;
use selvedge_http::known::HeaderId;

use super::Content;

/// Content up to this length stands behind its head in one piece, which costs a copy and saves the kernel the search for a second.
pub(crate) const JOINED_BYTES_MAX: usize = 4 * 1024;

const DATE_NAME: &[u8] = b"Date: ";

/// An answer of status 200, in the words of HTTP/1.1 and of HTTP/2.
pub(crate) struct Form {
    http1: RefCell<Http1>,
    /// The header block, up to where `Date` stands.
    block: Box<[u8]>,
}

struct Http1 {
    /// The head of an answer after which the connection goes on, then the content if it is short.
    bytes: Vec<u8>,
    /// Where the text of `Date` begins.
    date_at: usize,
    head_len: usize,
}

impl Form {
    /// Of a head that has all its fields but `Date` and `Connection`, and says the length of `content`. `Date` stands before what
    /// `tag` adds: the name of the server.
    pub(super) fn new(head: &ResponseHead, tag: Option<&str>, content: &Content) -> Self {
        let mut bytes = Vec::with_capacity(512);
        encode::web_response(head, &mut bytes);
        bytes.truncate(bytes.len().saturating_sub(2));
        bytes.extend_from_slice(DATE_NAME);
        let date_at = bytes.len();
        bytes.extend_from_slice(&[b' '; DATE_BYTES]);
        bytes.extend_from_slice(b"\r\n");
        let mut block = Vec::with_capacity(256);
        h2::encode::response(head, &mut block);
        if let Some(tag) = tag {
            for part in [b"Server: ", tag.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
            h2::encode::known(HeaderId::Server, tag.as_bytes(), &mut block);
        }
        bytes.extend_from_slice(b"\r\n");
        let head_len = bytes.len();
        if let Content::Memory(content) = content
            && content.len() <= JOINED_BYTES_MAX
        {
            bytes.extend_from_slice(content);
        }
        Self { http1: RefCell::new(Http1 { bytes, date_at, head_len }), block: block.into() }
    }

    /// Writes the head of an HTTP/1 answer.
    pub(crate) fn write_head(&self, keep: bool, date: &[u8; DATE_BYTES], out: &mut Vec<u8>) {
        let Http1 { bytes, date_at, head_len } = &*self.http1.borrow();
        let field_at = date_at - DATE_NAME.len();
        out.extend_from_slice(&bytes[..field_at]);
        if !keep {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(DATE_NAME);
        out.extend_from_slice(date);
        out.extend_from_slice(&bytes[date_at + DATE_BYTES..*head_len]);
    }

    /// Shows the HTTP/1 answer after which the connection goes on to `send`, in pieces of which the head is the beginning of the
    /// first one, and how long the head is. `content` is what the form was made with.
    pub(crate) fn send<T>(
        &self,
        date: &[u8; DATE_BYTES],
        content: &Bytes,
        send: impl FnOnce(&[IoSlice<'_>], usize) -> T,
    ) -> T {
        let Http1 { bytes, date_at, head_len } = &mut *self.http1.borrow_mut();
        bytes[*date_at..*date_at + DATE_BYTES].copy_from_slice(date);
        match bytes.len() - *head_len == content.len() {
            true => send(&[IoSlice::new(bytes)], *head_len),
            false => send(&[IoSlice::new(bytes), IoSlice::new(content)], *head_len),
        }
    }

    /// Writes the header block of an HTTP/2 answer.
    pub(crate) fn write_block(&self, date: &[u8; DATE_BYTES], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.block);
        h2::encode::known(HeaderId::Date, date, out);
    }

    /// Bytes of content that it holds a second time.
    pub(super) fn joined_bytes(&self) -> usize {
        let http1 = self.http1.borrow();
        http1.bytes.len() - http1.head_len
    }
}
