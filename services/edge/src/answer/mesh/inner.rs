//! A request that the data plane serves within this thread: no socket, no second reading of what has been read.
//!
//! The worker's task polls the data plane's part as its own. Whatever one of them runs ahead of the other is bounded
//! ([`selvedge_wire::inner::BYTES_WAITING_MAX`]).

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use selvedge_http::fields::Fields;
use selvedge_http::framing::{self, Framing};
use selvedge_http::head::ResponseHead;
use selvedge_http::hop;
use selvedge_http::parse::{RequestFacts, Upgrade};
use selvedge_wire::channel::{Channel, Content};
use selvedge_wire::inner::{self, Caller};

use crate::answer::backend::Held;
use crate::answer::tunnel::{Far, Tunnel};
use crate::answer::{handshake, proxy};
use crate::data_plane::{DataPlane, Work};
use crate::request::response::Source;
use crate::request::{Body, Exchange, Response, body};

/// Asks the data plane; `None` if it cannot be asked this way. With `upgrade` a tunnel is asked for, and what the client says
/// waits until it stands.
pub(super) async fn ask(
    x: &mut Exchange<'_>,
    plane: &dyn DataPlane,
    service: &Arc<str>,
    upgrade: bool,
) -> Option<Response> {
    // Whoever had to see the whole body before has it in a file.
    if x.gathered.as_ref().is_some_and(|gathered| gathered.length() > 0) {
        return None;
    }
    let framing = if x.gathered.is_some() { Framing::None } else { x.facts.framing };
    let (caller, callee) = inner::pair(framing.has_body() || upgrade);
    let mut head = proxy::head_to_mesh(x, framing, upgrade);
    let upgraded = if upgrade { x.facts.upgrade } else { Upgrade::None };
    let facts = RequestFacts { framing, upgrade: upgraded, ..RequestFacts::default() };
    let work = plane.serve(service, &mut head, facts, callee);
    x.worker.give_back_head(head);
    let work = work?;
    let limit = body::limit(x);
    let fed = !framing.has_body();
    let mut asked = Asked { work: Some(work), caller, fed, passed: 0, limit };
    if x.facts.expects_continue && !fed {
        body::say_continue(x);
    }
    let channel = &mut *x.channel;
    let answered = poll_fn(|cx| {
        asked.turn(cx, channel)?;
        if let Some(head) = asked.caller.head() {
            return Poll::Ready(Ok(head));
        }
        if asked.work.is_none() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        // A client of HTTP/1 may have closed its half and still wait for the answer.
        if asked.fed
            && let Channel::Http2(stream) = &mut *channel
            && stream.poll_gone(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Pending
    });
    Some(match answered.await {
        Ok(head) if head.status == 101 => tunnel(x, head, asked),
        Ok(head) => {
            let mut response = response(x, head, asked);
            // What the client sends after asking for another protocol was meant for that one.
            response.close |= upgrade;
            response
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Response::status(413).closing(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Response::status(400).closing(),
        Err(error) => {
            tracing::warn!(%error, path = x.path(), "the data plane gave no answer");
            Response::status(502).closing()
        }
    })
}

fn tunnel(x: &Exchange<'_>, mut head: ResponseHead, asked: Asked) -> Response {
    hop::strip_response(&mut head.fields, true);
    if !handshake::agrees(x, &head, true) {
        tracing::warn!(path = x.path(), "a service agreed to another protocol than it was asked for");
        return Response::status(502);
    }
    handshake::complete(x, &mut head);
    let far = Far::Mesh(Box::new(asked));
    let tunnel = Tunnel { far, early: Bytes::new(), frames: None, _held: Held::default() };
    Response { head, from_backend: true, body: Body::Tunnel(Box::new(tunnel)), ..Response::default() }
}

fn response(x: &mut Exchange<'_>, mut head: ResponseHead, asked: Asked) -> Response {
    if asked.fed {
        x.facts.framing = Framing::None;
    }
    hop::strip_response(&mut head.fields, false);
    let length = framing::length(&head.fields).unwrap_or(None);
    proxy::remap_response(x, &mut head);
    let mut response = Response { head, from_backend: true, ..Response::default() };
    let cx = Context::from_waker(Waker::noop());
    if asked.caller.is_whole() && asked.caller.whole(&cx).is_some() {
        // Nothing follows the head, and HTTP/2 says so with it: to gRPC that is another answer.
        response.body =
            if x.head.method() == "HEAD" { Body::Stream(Box::new(asked), length) } else { Body::None };
        return response;
    }
    if asked.work.is_none() && asked.fed && x.head.method() != "HEAD" {
        // It is there as a whole: what was taken is all, where nothing follows it.
        if let Some(bytes) = asked.caller.whole(&cx)
            && length.is_none_or(|length| length == bytes.len() as u64)
        {
            response.body = Body::Bytes(bytes);
            return response;
        }
    }
    response.body = Body::Stream(Box::new(asked), length);
    response
}

/// A request under way in the data plane.
pub(crate) struct Asked {
    /// `None` once it is over.
    work: Option<Work>,
    caller: Caller,
    /// The request has been passed on to its end.
    fed: bool,
    passed: u64,
    limit: u64,
}

impl Asked {
    /// Moves what can be moved.
    ///
    /// # Errors
    /// `FileTooLarge` or `InvalidData` for a body that cannot go on.
    fn turn(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> io::Result<()> {
        loop {
            if !self.fed {
                self.feed(cx, channel)?;
            }
            let room = self.caller.room();
            self.work(cx);
            if self.fed || self.work.is_none() || self.caller.room() <= room {
                return Ok(());
            }
        }
    }

    fn work(&mut self, cx: &mut Context<'_>) {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(cx).is_ready()
        {
            self.work = None;
        }
    }

    /// Says a part of what goes through a tunnel; how much of it there was room for.
    pub(crate) fn poll_say(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.caller.room() == 0 {
            self.work(cx);
        }
        if self.work.is_none() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match bytes.len().min(self.caller.room()) {
            0 => Poll::Pending,
            len => {
                self.caller.say(cx, &bytes[..len]);
                // It goes on at once, even while the client does not take what comes back.
                self.work(cx);
                Poll::Ready(Ok(len))
            }
        }
    }

    /// The client says nothing more through its tunnel.
    pub(crate) fn fall_silent(&mut self, cx: &mut Context<'_>) {
        self.caller.end(cx, None);
        self.work(cx);
    }

    /// Says what the client has said, as far as there is room.
    fn feed(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> io::Result<()> {
        if let Channel::Http1(http) = channel
            && !http.is_flushed()
        {
            // `100 Continue`, if it is not out yet.
            let _ = http.poll_flush(cx);
        }
        loop {
            let room = self.caller.room();
            if room == 0 {
                return Ok(());
            }
            match channel.poll_content(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) if error.is_protocol() => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Poll::Ready(Err(_)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(Content::End)) => {
                    self.fed = true;
                    self.caller.end(cx, channel.trailers().cloned());
                    return Ok(());
                }
                Poll::Ready(Ok(Content::Bytes)) => {
                    let content = channel.content();
                    let len = content.len().min(room);
                    self.passed += len as u64;
                    if self.passed > self.limit {
                        return Err(io::ErrorKind::FileTooLarge.into());
                    }
                    self.caller.say(cx, &content[..len]);
                    channel.consume(len);
                }
            }
        }
    }
}

impl Source for Asked {
    fn feeds(&self) -> bool {
        !self.fed
    }

    fn poll_feed(&mut self, cx: &mut Context<'_>, channel: &mut Channel) -> Poll<io::Result<()>> {
        self.turn(cx, channel)?;
        if self.fed || self.work.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if let Some(bytes) = self.caller.take(cx) {
                return Poll::Ready(Ok(Some(bytes)));
            }
            if self.caller.is_whole() {
                return Poll::Ready(Ok(None));
            }
            if self.work.is_none() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.work(cx);
            if self.work.is_some() && !self.caller.has_word() {
                return Poll::Pending;
            }
        }
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.caller.trailers()
    }
}

/// Whoever is not heard to the end is told, and writes down what there was.
impl Drop for Asked {
    fn drop(&mut self) {
        if self.work.is_some() && !std::thread::panicking() {
            self.caller.leave();
            self.work(&mut Context::from_waker(Waker::noop()));
        }
    }
}
