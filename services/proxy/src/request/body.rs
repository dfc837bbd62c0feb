//! A request's body on its way up, kept for another try as long as it is small enough.

use std::task::{Context, Poll, ready};

use selvedge_http::framing::Framing;
use selvedge_wire::channel::{Channel, ChannelError, Content};

use super::coding::{Coder, PIECE_BYTES_MAX, Stage, Undecodable};

/// The longest body that can be sent again: Envoy's default buffer limit of a connection.
pub(crate) const REPLAY_BYTES_MAX: usize = 1024 * 1024;

/// Room made for a body on the strength of what its head announces; a stranger may announce anything.
const ANNOUNCED_BYTES_MAX: usize = 64 * 1024;

/// Where a request's body stands, over all tries.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// What has come so far, if it may be needed again.
    kept: Option<Vec<u8>>,
    /// Bytes that the head announces, as far as room is made for them at once.
    announced: usize,
    /// How much of `kept` the try under way has sent.
    at: usize,
    /// The client has sent everything.
    whole: bool,
    ended: bool,
    sent: bool,
    /// Bytes that came from the client.
    pub(crate) received: u64,
    /// Not everything that came is kept: no other try.
    exceeded: bool,
    outgrown: bool,
    may_retry: bool,
    /// What follows is no body: the stream is not ended.
    stays_open: bool,
    /// What it passes through before anybody else sees it.
    coder: Option<Box<Coder>>,
}

/// What came of gathering a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    Whole,
    /// There is more than may be kept; what was kept is no more than that.
    TooLong,
}

impl Broken {
    /// Whether the source said something that is wrong, and can be told so.
    pub(crate) fn is_fault(&self) -> bool {
        match self {
            Self::Source(error) => error.is_protocol(),
            Self::Coding(_) => true,
            Self::Sink => false,
        }
    }
}

/// Which side ended a transfer.
#[derive(Debug)]
pub(crate) enum Broken {
    Source(ChannelError),
    Sink,
    /// The content is not coded as it says.
    Coding(Undecodable),
}

impl RequestBody {
    pub(crate) fn new(framing: Framing) -> Self {
        let has_body = framing.has_body();
        let announced = match framing {
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX).min(ANNOUNCED_BYTES_MAX),
            _ => 0,
        };
        Self {
            kept: None,
            announced,
            at: 0,
            whole: !has_body,
            ended: false,
            sent: false,
            received: 0,
            exceeded: has_body,
            outgrown: false,
            may_retry: false,
            stays_open: false,
            coder: None,
        }
    }

    /// Adds a stage to those that the body passes; what is kept already passes it at once.
    ///
    /// # Errors
    /// When that cannot be coded.
    pub(crate) fn recode(&mut self, stage: Stage) -> Result<(), Undecodable> {
        let coder = self.coder.get_or_insert_default();
        coder.add(stage);
        let Some(kept) = &mut self.kept else { return Ok(()) };
        coder.push(&std::mem::take(kept))?;
        if self.whole {
            coder.finish(None)?;
        }
        kept.extend_from_slice(coder.made());
        let made = coder.made().len();
        coder.consume(made);
        Ok(())
    }

    /// Waits for bytes as they are after coding.
    fn poll_content(&mut self, cx: &mut Context<'_>, from: &mut Channel) -> Poll<Result<Content, Broken>> {
        let Some(coder) = &mut self.coder else { return from.poll_content(cx).map_err(Broken::Source) };
        loop {
            if !coder.made().is_empty() {
                return Poll::Ready(Ok(Content::Bytes));
            }
            if coder.is_finished() {
                return Poll::Ready(Ok(Content::End));
            }
            match ready!(from.poll_content(cx)).map_err(Broken::Source)? {
                Content::End => coder.finish(None).map_err(Broken::Coding)?,
                Content::Bytes => {
                    let length = from.content().len().min(PIECE_BYTES_MAX);
                    let pushed = coder.push(&from.content()[..length]);
                    from.consume(length);
                    self.received += length as u64;
                    pushed.map_err(Broken::Coding)?;
                }
            }
        }
    }

    /// The bytes at hand.
    fn content<'b>(&'b self, from: &'b Channel) -> &'b [u8] {
        self.coder.as_ref().map_or_else(|| from.content(), |coder| coder.made())
    }

    /// Marks bytes as used.
    fn consume(&mut self, from: &mut Channel, len: usize) {
        match &mut self.coder {
            Some(coder) => coder.consume(len),
            None => {
                from.consume(len);
                self.received += len as u64;
            }
        }
    }

    /// The request wants a tunnel: what follows its head is not its body.
    pub(crate) fn stay_open(&mut self) {
        self.stays_open = true;
    }

    /// There may be another try: what comes is kept.
    pub(crate) fn keep_for_retry(&mut self) {
        self.may_retry = true;
        if self.received == 0 && !self.whole {
            (self.kept, self.exceeded) = (Some(Vec::new()), false);
        }
    }

    /// What has come so far, if all of it is kept.
    pub(crate) fn kept(&self) -> Option<&[u8]> {
        if self.exceeded { None } else { Some(self.kept.as_deref().unwrap_or_default()) }
    }

    /// Whether the client has sent everything.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether the try under way has sent everything.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether anything of the body was read and is not kept.
    pub(crate) fn can_replay(&self) -> bool {
        !self.exceeded || self.received == 0
    }

    /// Whether the body outgrew the buffer: asked once, it forgets.
    pub(crate) fn take_outgrown(&mut self) -> bool {
        std::mem::take(&mut self.outgrown)
    }

    /// Starts over, for the next try.
    pub(crate) fn rewind(&mut self) {
        (self.at, self.ended, self.sent) = (0, false, false);
    }

    /// Reads ahead while there is nobody to send to yet: a client that has sent its whole request starts the route's
    /// clock, and one that goes away gives up its place in the queue. Stays pending when all that may be kept is read.
    pub(crate) fn poll_ahead(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Channel,
    ) -> Poll<Result<(), Broken>> {
        match ready!(self.poll_gather(cx, from, REPLAY_BYTES_MAX))? {
            Gathered::Whole => Poll::Ready(Ok(())),
            Gathered::TooLong => Poll::Pending,
        }
    }

    /// Reads and keeps the body until it is whole or the next bytes would make it longer than `bytes_max`.
    pub(crate) fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Channel,
        bytes_max: usize,
    ) -> Poll<Result<Gathered, Broken>> {
        if self.kept.is_none() && self.received == 0 {
            // Not for another try, but what is kept from the first byte on is good for one.
            (self.kept, self.exceeded) = (Some(Vec::new()), false);
        }
        if self.kept.is_none() {
            return Poll::Ready(Ok(Gathered::TooLong));
        }
        while !self.whole {
            if ready!(self.poll_content(cx, from))? == Content::End {
                self.whole = true;
                break;
            }
            if !self.keep(from, bytes_max) {
                return Poll::Ready(Ok(Gathered::TooLong));
            }
        }
        Poll::Ready(Ok(Gathered::Whole))
    }

    /// Keeps the bytes at hand, if it is to be kept and is no longer than that then.
    fn keep(&mut self, from: &mut Channel, bytes_max: usize) -> bool {
        let Some(mut kept) = self.kept.take() else { return false };
        let content = self.content(from);
        let (available, fits) = (content.len(), kept.len() + content.len() <= bytes_max);
        if fits {
            keep(&mut kept, content, self.announced);
            self.consume(from, available);
        }
        self.kept = Some(kept);
        fits
    }

    /// Sends on what there is, until all of it has been sent.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Channel,
        to: &mut Channel,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if let Some(kept) = self.kept.as_ref().filter(|kept| self.at < kept.len()) {
                self.at += ready!(to.poll_send(cx, &kept[self.at..], false)).map_err(sink)?;
                continue;
            }
            if self.whole {
                if !self.ended && !self.stays_open {
                    to.end(from.trailers()).map_err(sink)?;
                    self.ended = true;
                }
                ready!(to.poll_flush(cx)).map_err(sink)?;
                self.sent = true;
                return Poll::Ready(Ok(()));
            }
            let content = match self.poll_content(cx, from) {
                Poll::Ready(content) => content?,
                // What is queued need not wait for what is to come.
                Poll::Pending => {
                    let _ = to.poll_flush(cx).map_err(sink)?;
                    return Poll::Pending;
                }
            };
            if content == Content::End {
                self.whole = true;
                continue;
            }
            if self.keep(from, REPLAY_BYTES_MAX) {
                continue;
            }
            if self.kept.take().is_some() {
                (self.exceeded, self.outgrown) = (true, self.may_retry);
            }
            match &mut self.coder {
                Some(coder) => {
                    let sent = ready!(to.poll_send(cx, coder.made(), false)).map_err(sink)?;
                    coder.consume(sent);
                }
                None => {
                    let last = from.is_last();
                    let sent = ready!(to.poll_send_from(cx, from, last)).map_err(sink)?;
                    self.received += sent as u64;
                }
            }
        }
    }
}

/// Keeps what has come; with the first bytes it makes room for all that is `announced`, so that they are copied once.
fn keep(kept: &mut Vec<u8>, bytes: &[u8], announced: usize) {
    if kept.capacity() == 0 {
        kept.reserve(announced.max(bytes.len()));
    }
    kept.extend_from_slice(bytes);
}

pub(crate) fn sink(_: ChannelError) -> Broken {
    Broken::Sink
}

/// Sends a response's body on, with its trailers, until all of it has left; `sent` counts its bytes. `stalled` tells
/// whether it is the receiver who is waited for.
pub(crate) fn poll_relay(
    cx: &mut Context<'_>,
    from: &mut Channel,
    to: &mut Channel,
    ended: &mut bool,
    sent: &mut u64,
    stalled: &mut bool,
) -> Poll<Result<(), Broken>> {
    *stalled = false;
    while !*ended {
        let content = match from.poll_content(cx) {
            Poll::Ready(Ok(content)) => content,
            Poll::Ready(Err(error)) => {
                // The client learns what there was, and that something is missing.
                let _ = to.poll_flush(cx).map_err(sink)?;
                return Poll::Ready(Err(Broken::Source(error)));
            }
            Poll::Pending => {
                *stalled = to.poll_flush(cx).map_err(sink)?.is_pending();
                return Poll::Pending;
            }
        };
        match content {
            Content::End => {
                to.end(from.trailers()).map_err(sink)?;
                *ended = true;
            }
            Content::Bytes => {
                let last = from.is_last() && from.trailers().is_none();
                let Poll::Ready(taken) = to.poll_send_from(cx, from, last) else {
                    *stalled = true;
                    return Poll::Pending;
                };
                *sent += taken.map_err(sink)? as u64;
            }
        }
    }
    let flushed = to.poll_flush(cx).map_err(sink);
    *stalled = flushed.is_pending();
    flushed
}
