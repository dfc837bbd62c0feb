//! What bodies pass through on their way: bytes in, other bytes out.

mod decode;
mod encode;

use std::task::{Context, Poll, ready};

use selvedge_http::fields::Fields;
use selvedge_wire::channel::{Channel, Content};

use super::body::{Broken, sink};
use super::grpc_web;

pub(crate) use decode::{Decoder, Limits};
pub(crate) use encode::Encoder;

/// Bytes of a body that are taken at a time: the most that one turn of a worker is held up by.
pub(crate) const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are not what they were said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error("the content is not coded as it says")]
    Malformed,
    #[error("the content grows beyond what is sensible")]
    TooMuch,
    #[error("the content is no base64")]
    Base64,
    #[error("the content ends in the middle of base64")]
    Base64Length,
}

/// The stages of one body, in the order in which it passes them.
#[derive(Debug, Default)]
pub(crate) struct Coder {
    stages: Vec<Stage>,
    /// What came out of the last.
    made: Vec<u8>,
    /// How much of that has been sent.
    sent: usize,
    finished: bool,
    /// Something was put in since the last flush.
    dirty: bool,
    /// A stage has put the trailers into the body.
    took_trailers: bool,
}

/// One thing that is done to a body.
#[derive(Debug)]
pub(crate) enum Stage {
    Encode(Encoder),
    Decode(Decoder),
    /// The text of a gRPC-Web request.
    WebRequest(grpc_web::Untext),
    /// A gRPC response for a browser.
    WebResponse(grpc_web::Respond),
}

impl Stage {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        match self {
            Self::Encode(encoder) => encoder.push(bytes, out),
            Self::Decode(decoder) => return decoder.push(bytes, out),
            Self::WebRequest(text) => return text.push(bytes, out),
            Self::WebResponse(respond) => respond.push(bytes, out),
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Self::Encode(encoder) = self {
            encoder.flush(out);
        }
    }

    /// The body is whole; whether the trailers went into it.
    fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) -> Result<bool, Undecodable> {
        match self {
            Self::Encode(encoder) => encoder.finish(out),
            Self::Decode(decoder) => decoder.finish(out)?,
            Self::WebRequest(text) => text.finish()?,
            Self::WebResponse(respond) => return Ok(respond.finish(trailers, out)),
        }
        Ok(false)
    }
}

impl Coder {
    /// Adds a stage behind the others.
    pub(crate) fn add(&mut self, stage: Stage) {
        self.stages.push(stage);
    }

    /// Passes a whole body through at once; of one that cannot be coded, what can.
    pub(crate) fn all(mut self, body: &[u8]) -> Vec<u8> {
        let _ = self.push(body);
        let _ = self.finish(None);
        self.made
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Undecodable> {
        self.dirty = true;
        through(&mut self.stages, bytes, &mut self.made)
    }

    /// What was put in can be read at the other end.
    fn flush(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        for at in 0..self.stages.len() {
            let mut out = Vec::new();
            self.stages[at].flush(&mut out);
            // Encoders take whatever comes.
            let _ = through(&mut self.stages[at + 1..], &out, &mut self.made);
        }
    }

    pub(crate) fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), Undecodable> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        for at in 0..self.stages.len() {
            let mut out = Vec::new();
            self.took_trailers |= self.stages[at].finish(trailers, &mut out)?;
            through(&mut self.stages[at + 1..], &out, &mut self.made)?;
        }
        Ok(())
    }

    /// Whether the end has been put in.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// What has been made and not yet been taken.
    pub(crate) fn made(&self) -> &[u8] {
        &self.made[self.sent..]
    }

    /// Takes bytes that were made.
    pub(crate) fn consume(&mut self, len: usize) {
        self.sent += len;
        if self.sent == self.made.len() {
            self.made.clear();
            self.sent = 0;
        }
    }

    /// Sends what has been made.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Channel,
        sent: &mut u64,
    ) -> Poll<Result<(), Broken>> {
        while !self.made().is_empty() {
            let count = ready!(to.poll_send(cx, self.made(), false)).map_err(sink)?;
            self.consume(count);
            *sent += count as u64;
        }
        Poll::Ready(Ok(()))
    }
}

fn through(stages: &mut [Stage], bytes: &[u8], made: &mut Vec<u8>) -> Result<(), Undecodable> {
    match stages {
        _ if bytes.is_empty() => Ok(()),
        [] => {
            made.extend_from_slice(bytes);
            Ok(())
        }
        [only] => only.push(bytes, made),
        [first, rest @ ..] => {
            let mut out = Vec::new();
            first.push(bytes, &mut out)?;
            through(rest, &out, made)
        }
    }
}

/// Sends a response's body on, through its coder, with its trailers, until all of it has left. `sent` counts what leaves,
/// and `stalled` tells whether it is the receiver who is waited for.
pub(crate) fn poll_relay(
    cx: &mut Context<'_>,
    coder: &mut Coder,
    from: &mut Channel,
    to: &mut Channel,
    ended: &mut bool,
    sent: &mut u64,
    stalled: &mut bool,
) -> Poll<Result<(), Broken>> {
    *stalled = false;
    while !*ended {
        if coder.poll_drain(cx, to, sent)?.is_pending() {
            *stalled = true;
            return Poll::Pending;
        }
        if coder.finished {
            to.end(from.trailers().filter(|_| !coder.took_trailers)).map_err(sink)?;
            *ended = true;
            break;
        }
        let coded = match from.poll_content(cx) {
            Poll::Ready(Err(error)) => {
                let _ = to.poll_flush(cx).map_err(sink)?;
                return Poll::Ready(Err(Broken::Source(error)));
            }
            Poll::Ready(Ok(Content::End)) => coder.finish(from.trailers()),
            Poll::Ready(Ok(Content::Bytes)) => {
                let length = from.content().len().min(PIECE_BYTES_MAX);
                let pushed = coder.push(&from.content()[..length]);
                from.consume(length);
                pushed
            }
            // The upstream pauses: the client gets what there is.
            Poll::Pending if coder.dirty => {
                coder.flush();
                Ok(())
            }
            Poll::Pending => {
                *stalled = to.poll_flush(cx).map_err(sink)?.is_pending();
                return Poll::Pending;
            }
        };
        if let Err(undecodable) = coded {
            return Poll::Ready(Err(Broken::Coding(undecodable)));
        }
    }
    let flushed = to.poll_flush(cx).map_err(sink);
    *stalled = flushed.is_pending();
    flushed
}
