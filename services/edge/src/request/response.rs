//! An answer on its way out.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use selvedge_http::fields::Fields;
use selvedge_http::head::ResponseHead;
use selvedge_http::known::HeaderId;
use selvedge_wire::channel::Channel;

use crate::answer::backend::Reader;
use crate::answer::tunnel::Tunnel;

/// Status, fields, body, and where they come from.
#[derive(Default)]
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
    /// A program behind us made it: its errors are its own.
    pub(crate) from_backend: bool,
    /// The connection ends with it.
    pub(crate) close: bool,
    /// Not an answer, but another target to look at.
    pub(crate) turn: Option<String>,
    /// It is the file that the path leads to, whole; not yet dressed.
    pub(crate) is_file: bool,
    /// When the file was last written, for conditions.
    pub(crate) modified: Option<u64>,
}

/// What follows the head.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    None,
    Bytes(Bytes),
    File(FileBody),
    /// So many bytes as come; the length, if it is known.
    Stream(Box<dyn Source>, Option<u64>),
    /// The same of a program behind us, whose bytes are sent on from where they lie.
    Backend(Box<Reader>, Option<u64>),
    /// The protocol changes: bytes go both ways.
    Tunnel(Box<Tunnel>),
}

/// Bytes that come from somewhere else.
pub(crate) trait Source {
    /// The next bytes, never empty; `None` at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// What follows the body; asked for once it is over.
    fn trailers(&mut self) -> Option<Fields> {
        None
    }

    /// Whether the request's body goes on beside the answer.
    fn feeds(&self) -> bool {
        false
    }

    /// Passes on what the client sends meanwhile; ready when that is over.
    ///
    /// # Errors
    /// When the client's body is broken or too long: the answer then breaks off.
    fn poll_feed(&mut self, _: &mut Context<'_>, _: &mut Channel) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Parts of a file, and what stands between them.
pub(crate) struct FileBody {
    pub(crate) file: Rc<File>,
    pub(crate) pieces: VecDeque<Piece>,
}

/// A part of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    Range { offset: u64, len: u64 },
}

impl FileBody {
    /// A whole file of `len` bytes.
    pub(crate) fn whole(file: File, len: u64) -> Self {
        Self { file: Rc::new(file), pieces: VecDeque::from([Piece::Range { offset: 0, len }]) }
    }

    pub(crate) fn length(&self) -> u64 {
        let of = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Range { len, .. } => *len,
        };
        self.pieces.iter().map(of).sum()
    }
}

impl Body {
    /// The length, if it is known before the end.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(file) => Some(file.length()),
            Self::Stream(_, length) | Self::Backend(_, length) => *length,
            Self::Tunnel(_) => None,
        }
    }

    /// A program's answer as a stream like any other, for who changes or keeps it.
    pub(crate) fn into_stream(self) -> Self {
        match self {
            Self::Backend(reader, length) => Self::Stream(reader, length),
            other => other,
        }
    }
}

impl Response {
    /// A status without more. An error gets its page before it is sent.
    pub(crate) fn status(status: u16) -> Self {
        Self { head: ResponseHead { status, ..ResponseHead::default() }, ..Self::default() }
    }

    /// With a body of a type.
    pub(crate) fn with(status: u16, media_type: &str, body: impl Into<Bytes>) -> Self {
        let mut response = Self::status(status);
        response.head.fields.append_id(HeaderId::ContentType, media_type.as_bytes());
        response.body = Body::Bytes(body.into());
        response
    }

    /// Sends the client to another address.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        let mut response = Self::status(status);
        response.head.fields.append_id(HeaderId::Location, location.as_bytes());
        response
    }

    /// Another target instead of an answer.
    pub(crate) fn turn(target: String) -> Self {
        Self { turn: Some(target), ..Self::default() }
    }

    /// Ends the connection.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// With one more field.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.head.fields.append(name.as_bytes(), value.as_bytes());
        self
    }

    /// An error of ours that says nothing yet.
    pub(crate) fn is_bare_error(&self) -> bool {
        self.head.status >= 400 && !self.from_backend && matches!(self.body, Body::None)
    }
}
