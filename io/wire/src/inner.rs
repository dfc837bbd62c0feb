//! An exchange between two rooms of one thread: heads, bytes and trailers each way, and no socket between.
//!
//! ```text
//! Caller  say · end · leave            ──▶ poll_content · trailers · poll_gone   Callee, a Channel
//!         head · take · trailers       ◀── respond · poll_send · end · reset
//! ```
//! What either side may run ahead is bounded. The caller polls whoever has the other end, as a part of its own task: it is
//! not woken for what it has done itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use selvedge_http::fields::Fields;
use selvedge_http::head::ResponseHead;

use crate::channel::{ChannelError, Content};

/// Bytes of a request, and of an answer, that wait for the other side to take them.
pub const BYTES_WAITING_MAX: usize = 64 * 1024;

/// One side's words, on their way to the other.
#[derive(Debug, Default)]
struct Way {
    bytes: BytesMut,
    ended: bool,
    trailers: Option<Fields>,
}

#[derive(Debug, Default)]
struct Shared {
    request: Way,
    answer: Way,
    head: Option<ResponseHead>,
    /// The caller wants no answer any more, or cannot go on with its request.
    left: bool,
    /// The callee gave the exchange up.
    reset: Option<Reason>,
    /// Whoever waits at the callee's end.
    waiting: Option<Waker>,
}

impl Shared {
    /// Wakes whoever waits at the other end, unless that is the caller's own task.
    fn wake(&mut self, cx: Option<&Context<'_>>) {
        let own = |waker: &Waker| cx.is_some_and(|cx| waker.will_wake(cx.waker()));
        if let Some(waker) = self.waiting.take()
            && !own(&waker)
        {
            waker.wake();
        }
    }
}

/// The end of whoever asks.
#[derive(Debug)]
pub struct Caller(Rc<RefCell<Shared>>);

/// The end of whoever answers.
#[derive(Debug)]
pub struct Callee {
    shared: Rc<RefCell<Shared>>,
    /// What was taken of the request and not used yet.
    current: BytesMut,
    trailers: Option<Fields>,
    /// The request has been read to its end.
    read: bool,
    answered: bool,
    ended: bool,
}

/// Both ends of an exchange; `has_more` says whether anything follows the request's head: a body, or what goes through the tunnel
/// that it asks for.
pub fn pair(has_more: bool) -> (Caller, Callee) {
    let shared = Rc::new(RefCell::new(Shared::default()));
    shared.borrow_mut().request.ended = !has_more;
    let callee = Callee {
        shared: Rc::clone(&shared),
        current: BytesMut::new(),
        trailers: None,
        read: !has_more,
        answered: false,
        ended: false,
    };
    (Caller(shared), callee)
}

impl Caller {
    /// Bytes of the request that may be said now.
    pub fn room(&self) -> usize {
        BYTES_WAITING_MAX.saturating_sub(self.0.borrow().request.bytes.len())
    }

    /// Says a part of the request's body.
    pub fn say(&self, cx: &Context<'_>, bytes: &[u8]) {
        let mut shared = self.0.borrow_mut();
        shared.request.bytes.extend_from_slice(bytes);
        shared.wake(Some(cx));
    }

    /// Ends the request's body.
    pub fn end(&self, cx: &Context<'_>, trailers: Option<Fields>) {
        let mut shared = self.0.borrow_mut();
        shared.request.ended = true;
        shared.request.trailers = trailers;
        shared.wake(Some(cx));
    }

    /// Wants nothing more; the other end is to notice when it is polled next.
    pub fn leave(&self) {
        let mut shared = self.0.borrow_mut();
        shared.left = true;
        shared.wake(None);
    }

    /// The head of the answer, once.
    pub fn head(&self) -> Option<ResponseHead> {
        self.0.borrow_mut().head.take()
    }

    /// What has come of the answer's body.
    pub fn take(&self, cx: &Context<'_>) -> Option<Bytes> {
        let mut shared = self.0.borrow_mut();
        if shared.answer.bytes.is_empty() {
            return None;
        }
        let bytes = shared.answer.bytes.split().freeze();
        shared.wake(Some(cx));
        Some(bytes)
    }

    /// The whole body of the answer, where it has come and no trailers follow it.
    pub fn whole(&self, cx: &Context<'_>) -> Option<Bytes> {
        let shared = self.0.borrow();
        let whole = shared.answer.ended && shared.answer.trailers.is_none();
        drop(shared);
        whole.then(|| self.take(cx).unwrap_or_default())
    }

    /// Whether there is something to take, or the answer has come whole.
    pub fn has_word(&self) -> bool {
        let shared = self.0.borrow();
        shared.answer.ended || !shared.answer.bytes.is_empty()
    }

    /// Whether the answer has come whole.
    pub fn is_whole(&self) -> bool {
        let shared = self.0.borrow();
        shared.answer.ended && shared.answer.bytes.is_empty()
    }

    /// Why there will be no more of it.
    pub fn broken(&self) -> Option<Reason> {
        self.0.borrow().reset
    }

    /// What follows the answer's body.
    pub fn trailers(&self) -> Option<Fields> {
        self.0.borrow_mut().answer.trailers.take()
    }
}

impl Callee {
    pub(crate) fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Content, ChannelError>> {
        if !self.current.is_empty() {
            return Poll::Ready(Ok(Content::Bytes));
        }
        if self.read {
            return Poll::Ready(Ok(Content::End));
        }
        let mut shared = self.shared.borrow_mut();
        if !shared.request.bytes.is_empty() {
            self.current = shared.request.bytes.split();
            return Poll::Ready(Ok(Content::Bytes));
        }
        if shared.request.ended {
            self.trailers = shared.request.trailers.take();
            self.read = true;
            return Poll::Ready(Ok(Content::End));
        }
        if shared.left {
            return Poll::Ready(Err(ChannelError::Closed));
        }
        shared.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.current
    }

    pub(crate) fn consume(&mut self, len: usize) {
        let len = len.min(self.current.len());
        let _ = self.current.split_to(len);
    }

    pub(crate) fn is_last(&self) -> bool {
        let shared = self.shared.borrow();
        self.read
            || shared.request.ended && shared.request.bytes.is_empty() && shared.request.trailers.is_none()
    }

    pub(crate) fn is_read(&self) -> bool {
        self.current.is_empty() && (self.read || self.is_last())
    }

    pub(crate) fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    /// Answers with a head; with `end` nothing follows it.
    ///
    /// # Errors
    /// When there was one before.
    pub fn respond(&mut self, head: &ResponseHead, end: bool) -> Result<(), ChannelError> {
        if std::mem::replace(&mut self.answered, true) {
            return Err(ChannelError::Protocol("a second response"));
        }
        let mut shared = self.shared.borrow_mut();
        shared.head = Some(head.clone());
        shared.answer.ended = end;
        self.ended = end;
        Ok(())
    }

    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        content: &[u8],
        last: bool,
    ) -> Poll<Result<usize, ChannelError>> {
        if !self.answered || self.ended {
            return Poll::Ready(Err(ChannelError::Protocol("bytes outside of a body")));
        }
        let mut shared = self.shared.borrow_mut();
        if shared.left {
            return Poll::Ready(Err(ChannelError::Closed));
        }
        let room = BYTES_WAITING_MAX.saturating_sub(shared.answer.bytes.len());
        if room == 0 && !content.is_empty() {
            shared.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = content.len().min(room);
        shared.answer.bytes.extend_from_slice(&content[..taken]);
        if last && taken == content.len() {
            self.ended = true;
            shared.answer.ended = true;
        }
        Poll::Ready(Ok(taken))
    }

    pub(crate) fn end(&mut self, trailers: Option<&Fields>) {
        if !std::mem::replace(&mut self.ended, true) {
            let mut shared = self.shared.borrow_mut();
            shared.answer.ended = true;
            shared.answer.trailers = trailers.cloned();
        }
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.borrow_mut();
        if shared.left {
            return Poll::Ready(());
        }
        shared.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        if !std::mem::replace(&mut self.ended, true) {
            self.shared.borrow_mut().reset = Some(reason);
        }
    }
}

/// Whoever drops its end before its answer is whole has given it up.
impl Drop for Callee {
    fn drop(&mut self) {
        self.reset(Reason::INTERNAL_ERROR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn heads_bytes_and_trailers_go_both_ways() {
        let (caller, mut callee) = pair(true);
        let mut cx = context();
        assert!(callee.poll_content(&mut cx).is_pending());
        caller.say(&cx, b"hello");
        assert!(matches!(callee.poll_content(&mut cx), Poll::Ready(Ok(Content::Bytes))));
        callee.consume(2);
        assert_eq!(callee.content(), b"llo");
        callee.consume(3);
        let mut fields = Fields::default();
        fields.append(b"x-sum", b"1");
        caller.end(&cx, Some(fields.clone()));
        assert!(!callee.is_read());
        assert!(matches!(callee.poll_content(&mut cx), Poll::Ready(Ok(Content::End))));
        assert!(callee.is_read() && callee.trailers().is_some());
        assert!(caller.head().is_none());
        callee.respond(&ResponseHead { status: 201, ..ResponseHead::default() }, false).unwrap();
        assert_eq!(caller.head().map(|head| head.status), Some(201));
        assert!(callee.respond(&ResponseHead::default(), false).is_err());
        assert!(matches!(callee.poll_send(&mut cx, b"world", false), Poll::Ready(Ok(5))));
        callee.end(Some(&fields));
        assert!(!caller.is_whole());
        assert_eq!(caller.take(&cx).as_deref(), Some(&b"world"[..]));
        assert!(caller.is_whole() && caller.take(&cx).is_none());
        assert_eq!(
            caller.trailers().and_then(|fields| fields.named("x-sum").map(<[u8]>::to_vec)),
            Some(b"1".into())
        );
        drop(callee);
        assert_eq!(caller.broken(), None);
    }

    #[test]
    fn nobody_runs_ahead_beyond_the_bound() {
        let (caller, mut callee) = pair(false);
        let mut cx = context();
        callee.respond(&ResponseHead { status: 200, ..ResponseHead::default() }, false).unwrap();
        let part = vec![0; BYTES_WAITING_MAX - 1];
        assert!(
            matches!(callee.poll_send(&mut cx, &part, false), Poll::Ready(Ok(taken)) if taken == part.len())
        );
        assert!(matches!(callee.poll_send(&mut cx, b"ab", true), Poll::Ready(Ok(1))));
        assert!(callee.poll_send(&mut cx, b"b", true).is_pending());
        assert!(!caller.is_whole());
        caller.take(&cx);
        assert!(matches!(callee.poll_send(&mut cx, b"b", true), Poll::Ready(Ok(1))));
        caller.take(&cx);
        assert!(caller.is_whole());
        let (caller, _callee) = pair(true);
        caller.say(&cx, &part);
        assert_eq!(caller.room(), 1);
    }

    #[test]
    fn either_side_notices_that_the_other_is_gone() {
        let (caller, mut callee) = pair(true);
        let mut cx = context();
        assert!(callee.poll_gone(&mut cx).is_pending());
        caller.leave();
        assert!(callee.poll_gone(&mut cx).is_ready());
        assert!(matches!(callee.poll_content(&mut cx), Poll::Ready(Err(ChannelError::Closed))));
        let (caller, mut callee) = pair(false);
        callee.respond(&ResponseHead { status: 200, ..ResponseHead::default() }, false).unwrap();
        drop(callee);
        assert_eq!((caller.is_whole(), caller.broken()), (false, Some(Reason::INTERNAL_ERROR)));
    }
}
