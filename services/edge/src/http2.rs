//! A client's HTTP/2 connection: many requests at once, each a task of its own if it has to wait.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use selvedge_http::authority;
use selvedge_http::framing::{self, Framing};
use selvedge_http::head::RequestHead;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{RequestError, RequestFacts, Upgrade};
use selvedge_http::scan::HEADERS_MAX;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::h2::{self, Accepted, Http2Stream};
use selvedge_wire::io::Io;
use selvedge_wire::parking::Place;
use tokio::time::Instant;

use crate::connection::linger;
use crate::ready::Content;
use crate::request::{self, After, Exchange, Peer};
use crate::scoreboard::Seat;
use crate::worker::Worker;

/// A stream that its client resets within this time, before there was an answer, was premature.
const PREMATURE: Duration = Duration::from_secs(1);
/// From so many streams on, a connection ends when half of them were premature (CVE-2023-44487).
const PREMATURE_OF_STREAMS: u64 = 200;
/// Streams that may come to nothing on one connection, and one more each second.
const UNSERVED_MAX: u64 = 100;
/// How long the announcement of an end may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, and never kept")]
enum Next {
    Stream(Accepted),
    Abuse,
    /// The codec goes no further; it has said why.
    Broken,
    Panicked,
    Over,
}

struct Connection {
    server: h2::Server,
    since: Instant,
    accepted: u32,
    streams: Rc<Streams>,
    idle: Deadline,
    announced: bool,
    /// When the requests that have come together were there.
    turn: Option<Instant>,
    /// Bytes that have come and are counted.
    counted: u64,
    worker: Rc<Worker>,
    place: Place,
    seat: Seat,
}

/// What the streams of one connection came to.
#[derive(Default)]
struct Streams {
    open: Cell<u64>,
    closed: Cell<u64>,
    premature: Cell<u64>,
    /// Serving one of them panicked.
    panicked: Cell<bool>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, io: Io, (place, seat): (Place, Seat)) {
    let idle = Duration::from_secs(10);
    let tunnels = worker.site().offers_tunnels;
    let Ok(Ok(server)) =
        tokio::time::timeout(idle, h2::serve(io, tunnels, h2::Http2Settings::default())).await
    else {
        return;
    };
    let mut connection = Connection {
        server,
        since: Instant::now(),
        accepted: 0,
        streams: Rc::default(),
        idle: Deadline::default(),
        announced: false,
        turn: None,
        counted: 0,
        worker,
        place,
        seat,
    };
    loop {
        match poll_fn(|cx| connection.poll_next(cx)).await {
            Next::Stream(accepted) => connection.spawn(&peer, accepted),
            Next::Abuse => {
                connection.worker.shared.stats.floods.add(1);
                return connection.say(::h2::Reason::ENHANCE_YOUR_CALM).await;
            }
            Next::Panicked => return connection.say(::h2::Reason::INTERNAL_ERROR).await,
            Next::Broken => return connection.part().await,
            Next::Over => return,
        }
    }
}

impl Connection {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.place.park(cx);
        let streams = &self.streams;
        if streams.premature.get() * 2 >= streams.closed.get().max(PREMATURE_OF_STREAMS) {
            return Poll::Ready(Next::Abuse);
        }
        if self.streams.panicked.get() {
            return Poll::Ready(Next::Panicked);
        }
        if self.worker.is_draining() {
            self.announce();
        }
        loop {
            match self.server.poll_accept(cx) {
                Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Next::Stream(accepted)),
                Poll::Ready(Some(Err(error))) if error.is_io() => return Poll::Ready(Next::Over),
                Poll::Ready(Some(Err(error))) => {
                    let flooded = error.reason() == Some(::h2::Reason::ENHANCE_YOUR_CALM);
                    self.worker.shared.stats.floods.add(u64::from(flooded));
                    return Poll::Ready(Next::Broken);
                }
                Poll::Ready(None) => return Poll::Ready(Next::Over),
                Poll::Pending => {}
            }
            let come = self.server.bytes_read();
            self.worker.counts().received.add(come - std::mem::replace(&mut self.counted, come));
            let unserved =
                self.server.opened().wrapping_sub(self.accepted).cast_signed().max(0).cast_unsigned();
            if self.server.flood().is_some()
                || u64::from(unserved) > UNSERVED_MAX + self.since.elapsed().as_secs()
            {
                return Poll::Ready(Next::Abuse);
            }
            if self.streams.open.get() > 0 {
                self.idle.set(None);
            } else if self.idle.at().is_none() {
                let keep = self.worker.site().program.base().directives.server.max_keep_alive_idle;
                let now = Instant::now();
                self.seat.has_no_streams(now);
                self.idle.set(Some(now + Duration::from_secs(u64::from(keep.max(1)))));
            }
            if self.idle.poll(cx).is_pending() {
                self.turn = None;
                return Poll::Pending;
            }
            if self.announced {
                return Poll::Ready(Next::Over);
            }
            self.announce();
        }
    }

    fn announce(&mut self) {
        if !std::mem::replace(&mut self.announced, true) {
            self.server.graceful_shutdown();
            self.idle.set(None);
        }
    }

    /// Tells the client why this is the end, if it listens, and is done with it.
    async fn say(mut self, reason: ::h2::Reason) {
        self.server.abrupt_shutdown(reason);
        let farewell = poll_fn(|cx| self.server.poll_closed(cx));
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.part().await;
    }

    /// Lets what has been said arrive.
    async fn part(mut self) {
        if let Some(mut io) = self.server.into_io() {
            linger(&mut io, &mut self.idle).await;
        }
    }

    fn spawn(&mut self, peer: &Rc<Peer>, mut accepted: Accepted) {
        self.idle.set(None);
        self.accepted = self.accepted.wrapping_add(1);
        let mut head = self.worker.lease_head();
        accepted.take_head(&mut head);
        let upgrade = accepted.upgrade;
        if upgrade == Upgrade::None && self.is_answered(peer, &head, &mut accepted.stream) {
            self.streams.closed.set(self.streams.closed.get() + 1);
            return self.worker.give_back_head(head);
        }
        let stream = accepted.stream;
        let (worker, peer, streams) = (Rc::clone(&self.worker), Rc::clone(peer), Rc::clone(&self.streams));
        streams.open.set(streams.open.get() + 1);
        self.seat.has_streams();
        let number = self.accepted;
        let open = Open { streams: Rc::clone(&self.streams), worker: Rc::clone(&self.worker) };
        let mut served = Box::pin(async move {
            let begun = Instant::now();
            let taken_back = one(&worker, &peer, head, upgrade, stream, number).await;
            let premature = taken_back && begun.elapsed() <= PREMATURE;
            streams.premature.set(streams.premature.get() + u64::from(premature));
            drop(open);
        });
        // Most answers are there at once; only one that is waited for becomes a task, which is polled anew and waits then. A
        // panic is the stream's here as it is in a task: whoever is left of it has taken note.
        let mut cx = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| served.as_mut().poll(&mut cx)));
        if matches!(polled, Ok(Poll::Pending)) {
            tokio::task::spawn_local(served);
        }
    }
}

impl Connection {
    /// Answers with what is ready, where nothing else is to be done and the answer can leave as a whole; whether it was.
    fn is_answered(&mut self, peer: &Peer, head: &RequestHead, stream: &mut Http2Stream) -> bool {
        // What else [`judge`] looks at is settled by the key of an answer that is kept.
        if head.fields.len() > HEADERS_MAX || !stream.is_read() {
            return false;
        }
        let worker = &self.worker;
        let site = worker.site();
        let begun = *self.turn.get_or_insert_with(Instant::now);
        let facts = RequestFacts::default();
        let Some(ready) = worker.shelf.borrow_mut().find(&site, peer, head, &facts, begun) else {
            return false;
        };
        let Content::Memory(content) = &ready.content else { return false };
        if !ready.alone {
            return false;
        }
        let date = worker.date_at(begun.into_std());
        // A stream that is gone is for whoever serves it at length to tell.
        if !matches!(stream.respond_whole(content, |out| ready.form.write_block(&date, out)), Ok(true)) {
            return false;
        }
        let took = begun.elapsed();
        worker.counts().request(200, content.len() as u64, took);
        site.routes.request(ready.conf.0.route, 200, content.len() as u64, took);
        true
    }
}

/// A stream's place in the count of open ones.
struct Open {
    streams: Rc<Streams>,
    worker: Rc<Worker>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get().saturating_sub(1));
        streams.closed.set(streams.closed.get() + 1);
        // Whatever it was that a request met, the one after it on this connection shall not.
        if std::thread::panicking() {
            streams.panicked.set(true);
            self.worker.shared.stats.panics.add(1);
            tracing::error!("serving a stream panicked");
        }
    }
}

/// Serves one stream; whether its client took it back before there was an answer.
async fn one(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    mut head: Box<RequestHead>,
    upgrade: Upgrade,
    stream: Http2Stream,
    number: u32,
) -> bool {
    let (framing, refused) = match judge(&mut head, stream.is_read() || upgrade.is_tunnel()) {
        Ok(framing) => (framing, None),
        Err(error) => (Framing::None, Some(error)),
    };
    let mut channel = Channel::Http2(Box::new(stream));
    let mut deadline = Deadline::default();
    let facts = RequestFacts { framing, upgrade, ..RequestFacts::default() };
    let site = worker.site();
    let mut exchange = Exchange::new(worker, peer, &mut channel, &mut deadline, &mut head, facts, site);
    exchange.connection_requests = number;
    let seat = worker.scoreboard.stream(peer.remote);
    exchange.slot = Some(Rc::clone(&seat));
    if exchange.is_on_stream() {
        // As the client said it, for who writes that down.
        exchange.method_original = Some("CONNECT".to_owned());
    }
    let cut = Box::pin(request::serve(&mut exchange, refused)).await == After::Cut;
    if cut {
        channel.reset(::h2::Reason::INTERNAL_ERROR);
    }
    worker.give_back_head(head);
    cut
}

/// What the codec lets through and nobody behind us should see; how the body is framed if that is HTTP/1.
fn judge(head: &mut RequestHead, ended: bool) -> Result<Framing, RequestError> {
    if head.fields.len() > HEADERS_MAX {
        return Err(RequestError::TooManyHeaders);
    }
    if selvedge_http::method::known(head.method().as_bytes()).is_none() {
        return Err(RequestError::UnknownMethod);
    }
    if head.authority().is_some_and(|authority| !authority::is_valid(authority.as_bytes())) {
        return Err(RequestError::InvalidAuthority);
    }
    if !head.path().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(RequestError::Malformed("target"));
    }
    let length = framing::length(&head.fields)?;
    Ok(match length {
        _ if ended => Framing::None,
        Some(length) if length > 0 => Framing::Length(length),
        _ => {
            head.fields.remove(HeaderId::ContentLength);
            Framing::Chunked
        }
    })
}
