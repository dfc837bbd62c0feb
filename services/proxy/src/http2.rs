//! A client's HTTP/2 connection: many requests at once, each a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use selvedge_http::authority;
use selvedge_http::framing::{self, Framing};
use selvedge_http::h2::frames::kind;
use selvedge_http::h2::meter::Flood;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{RequestError, RequestFacts};
use selvedge_http::refusal::Refusal;
use selvedge_http::scan::HEADERS_MAX;
use selvedge_telemetry::ServerStats;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::h2::{self, Accepted};
use selvedge_wire::io::Io;
use tokio::time::Instant;

use crate::connection::{Asked, HttpConnectionStats, first_words, linger};
use crate::request::{self, After, Exchange, Peer, Reply};
use crate::serve::compile::HttpManager;
use crate::serve::worker::{Heads, Place, Worker};

/// A stream that its client resets within this time, before there was an answer, was premature (Envoy's
/// `premature_reset_min_stream_lifetime_seconds`).
const PREMATURE: Duration = Duration::from_secs(1);
/// From so many streams on, a connection ends when half of them were premature (Envoy's
/// `premature_reset_total_stream_count`). The codec's own guard counts only streams that were reset before they were
/// accepted, and here they are accepted at once (rapid reset, CVE-2023-44487).
const PREMATURE_OF_STREAMS: u64 = 500;
/// Streams that may come to nothing on one connection, and one more each second: their headers were too many for the
/// codec, which answers those itself.
const UNSERVED_MAX: u64 = 250;
/// How long the announcement of an end may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, manager: Arc<HttpManager>, peer: Rc<Peer>, io: Io) {
    let _stats = HttpConnectionStats::http2(&manager);
    let place = worker.place();
    let opening = h2::serve(io, manager.config.extended_connect, manager.config.http2);
    let server = match first_words(&worker, &place, Asked::Manager(&manager), opening).await {
        Some(Ok(server)) => server,
        Some(Err(_)) => return manager.stats.downstream_cx_protocol_error.inc(),
        None => return,
    };
    let mut connection = Connection {
        server,
        since: Instant::now(),
        accepted: 0,
        streams: Rc::default(),
        idle: Deadline::default(),
        age: Deadline::default(),
        announced: false,
        worker,
        manager,
        place,
    };
    loop {
        match poll_fn(|cx| connection.poll_next(cx)).await {
            Next::Stream(accepted) => {
                connection.spawn(&peer, accepted);
                if connection.worker.sends_away(connection.manager.inbound) {
                    connection.announce();
                }
            }
            Next::Abuse => {
                connection.manager.stats.downstream_rq_too_many_premature_resets.inc();
                return connection.send_away().await;
            }
            Next::Flood(flood) => {
                connection.manager.stats.downstream_cx_protocol_error.inc();
                count(flood, connection.manager.registry.server());
                return connection.send_away().await;
            }
            Next::Overflow => {
                connection.manager.stats.downstream_cx_protocol_error.inc();
                connection.manager.registry.server().http2_header_overflow.inc();
                return connection.send_away().await;
            }
            Next::Panicked => return connection.say(::h2::Reason::INTERNAL_ERROR).await,
            Next::Broken => return connection.part().await,
            Next::Over => return,
        }
    }
}

/// Counts a flood under Envoy's name for it, where it has one.
fn count(flood: Flood, stats: &ServerStats) {
    match flood {
        // Each would have been answered.
        Flood::Ping | Flood::Settings => &stats.http2_outbound_control_flood,
        Flood::Priority => &stats.http2_inbound_priority_frames_flood,
        Flood::WindowUpdate => &stats.http2_inbound_window_update_frames_flood,
        Flood::Empty => &stats.http2_inbound_empty_frames_flood,
        Flood::Reset => &stats.http2_rx_reset_flood,
        Flood::Unknown | Flood::Headers => &stats.http2_inbound_unknown_frames_flood,
        Flood::MadeReset | Flood::Refused => &stats.http2_tx_reset_flood,
    }
    .inc();
}

#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, and never kept")]
enum Next {
    Stream(Accepted),
    Abuse,
    Flood(Flood),
    /// The codec has answered too many requests itself: their headers were more than it takes.
    Overflow,
    /// It has been told why.
    Broken,
    Panicked,
    Over,
}

struct Connection {
    server: h2::Server,
    since: Instant,
    /// Streams that came through the codec.
    accepted: u32,
    streams: Rc<Streams>,
    /// Runs while no stream is open.
    idle: Deadline,
    /// Runs where the connection may last only so long.
    age: Deadline,
    /// The client has been told that the connection ends.
    announced: bool,
    worker: Rc<Worker>,
    manager: Arc<HttpManager>,
    place: Place,
}

impl Connection {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.place.park(cx);
        if self.streams.are_abuse() {
            return Poll::Ready(Next::Abuse);
        }
        if self.streams.panicked.get() {
            return Poll::Ready(Next::Panicked);
        }
        if self.manager.is_cut() {
            return Poll::Ready(Next::Over);
        }
        if self.worker.is_draining(self.manager.inbound) || self.manager.is_retired() || self.is_spent(cx) {
            self.announce();
        }
        loop {
            match self.server.poll_accept(cx) {
                Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Next::Stream(accepted)),
                Poll::Ready(Some(Err(error))) => {
                    self.broken(&error);
                    return Poll::Ready(if error.is_io() { Next::Over } else { Next::Broken });
                }
                Poll::Ready(None) => return Poll::Ready(Next::Over),
                Poll::Pending => {}
            }
            if let Some(flood) = self.server.flood() {
                return Poll::Ready(Next::Flood(flood));
            }
            if self.unserved() > UNSERVED_MAX + self.since.elapsed().as_secs() {
                return Poll::Ready(Next::Overflow);
            }
            if self.streams.open.get() > 0 {
                self.idle.set(None);
            } else if self.idle.at().is_none() {
                // A client that is gone without a word, or does not mean to go, never answers the announcement.
                let limit =
                    if self.announced { Some(self.manager.drain_timeout) } else { self.manager.idle_timeout };
                self.idle.set(limit.map(|limit| Instant::now() + limit));
            }
            if self.idle.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.announced {
                return Poll::Ready(Next::Over);
            }
            self.manager.stats.downstream_cx_idle_timeout.inc();
            self.announce();
        }
    }

    /// Whether the connection has lasted long enough, or carried enough.
    fn is_spent(&mut self, cx: &mut Context<'_>) -> bool {
        if self.announced {
            return false;
        }
        let stats = &self.manager.stats;
        if self.manager.requests_per_connection_max().is_some_and(|most| self.accepted >= most) {
            stats.downstream_cx_max_requests_reached.inc();
            return true;
        }
        let Some(most) = self.manager.connection_duration_max() else { return false };
        if self.age.at().is_none() {
            self.age.set(Some(self.since + most));
        }
        let aged = self.age.poll(cx).is_ready();
        if aged {
            stats.downstream_cx_max_duration_reached.inc();
        }
        aged
    }

    /// Tells the client that the connection ends, once.
    fn announce(&mut self) {
        if !self.announced {
            self.announced = true;
            self.server.graceful_shutdown();
            self.idle.set(None);
        }
    }

    /// Streams that never came through the codec: it has answered or reset them itself.
    fn unserved(&self) -> u64 {
        u64::from(self.server.opened().wrapping_sub(self.accepted).cast_signed().max(0).cast_unsigned())
    }

    /// Counts the end of a connection that the codec would not go on with.
    fn broken(&self, error: &h2::Error) {
        match error {
            h2::Error::Io(_) => return,
            h2::Error::Silent => return self.manager.registry.server().http2_keepalive_timeout.inc(),
            h2::Error::Protocol(_) => {}
        }
        let stats = &self.manager.stats;
        stats.downstream_cx_protocol_error.inc();
        if error.reason() == Some(::h2::Reason::ENHANCE_YOUR_CALM) {
            let server = self.manager.registry.server();
            match self.server.last_kind() {
                kind::HEADERS | kind::CONTINUATION => &server.http2_header_overflow,
                kind::DATA => &server.http2_inbound_empty_frames_flood,
                _ => &server.http2_rx_reset_flood,
            }
            .inc();
        }
    }

    /// Tells the client why, if it listens, and is done with it.
    async fn send_away(self) {
        self.say(::h2::Reason::ENHANCE_YOUR_CALM).await;
    }

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

    fn spawn(&mut self, peer: &Rc<Peer>, accepted: Accepted) {
        self.idle.set(None);
        self.accepted = self.accepted.wrapping_add(1);
        let open = OpenStream { streams: Rc::clone(&self.streams), manager: Arc::clone(&self.manager) };
        self.streams.open.set(self.streams.open.get() + 1);
        let (worker, manager, peer) = (Rc::clone(&self.worker), Arc::clone(&self.manager), Rc::clone(peer));
        tokio::task::spawn_local(async move {
            let begin = Instant::now();
            // Boxed: a task moves its future when it begins and when it ends, and this one is large.
            let taken_back = Box::pin(one(&worker, &manager, &peer, accepted)).await;
            let premature = &open.streams.premature;
            premature.set(premature.get() + u64::from(taken_back && begin.elapsed() <= PREMATURE));
            drop(open);
        });
    }
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

impl Streams {
    /// Whether at least half of the streams were premature; a young connection is judged as if all to come were good.
    fn are_abuse(&self) -> bool {
        self.premature.get() * 2 >= self.closed.get().max(PREMATURE_OF_STREAMS)
    }
}

/// A stream's place in the count of open ones.
struct OpenStream {
    streams: Rc<Streams>,
    manager: Arc<HttpManager>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get().saturating_sub(1));
        self.streams.closed.set(self.streams.closed.get() + 1);
        if std::thread::panicking() {
            // The runtime catches it: the connection ends, the worker goes on.
            self.streams.panicked.set(true);
            self.manager.registry.server().envoy_bug_failures.inc();
            tracing::error!("serving a stream panicked");
        }
    }
}

/// Serves one stream; whether its client took it back before there was an answer.
async fn one(worker: &Rc<Worker>, manager: &Arc<HttpManager>, peer: &Peer, mut accepted: Accepted) -> bool {
    let mut heads = worker.lease_heads();
    accepted.take_head(&mut heads.request);
    let Accepted { stream, upgrade, .. } = accepted;
    let (framing, refused) = match judge(&mut heads, stream.is_read() || upgrade.is_tunnel()) {
        Ok(framing) => (framing, None),
        Err(refusal) => (Framing::None, Some(Box::new(Reply::refusal(refusal)))),
    };
    let mut channel = Channel::Http2(Box::new(stream));
    let mut deadline = worker.lease_deadline();
    let facts = RequestFacts { framing, upgrade, ..RequestFacts::default() };
    let routes = manager.routes.load_full();
    let cut = {
        let mut exchange =
            Exchange::new(worker, manager, &routes, peer, &mut channel, &mut heads, &mut deadline, facts);
        request::serve(&mut exchange, refused).await == After::Cut
    };
    if cut {
        channel.reset(::h2::Reason::INTERNAL_ERROR);
    }
    let answered = heads.response.status >= 200;
    worker.give_back_heads(heads);
    worker.give_back_deadline(deadline);
    cut && !answered
}

/// What the codec lets through and nobody behind us should see; how the body is framed if that is HTTP/1.
fn judge(heads: &mut Heads, ended: bool) -> Result<Framing, Refusal> {
    let head = &mut heads.request;
    if head.fields.len() > HEADERS_MAX {
        let refusal = RequestError::TooManyHeaders.refusal();
        return Err(Refusal { details: "http2.too_many_headers", ..refusal });
    }
    if head.authority().is_some_and(|authority| !authority::is_valid(authority.as_bytes())) {
        return Err(RequestError::InvalidAuthority.refusal());
    }
    if !head.path().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(RequestError::Malformed("target").refusal());
    }
    let length = framing::length(&head.fields).map_err(|error| RequestError::from(error).refusal())?;
    Ok(match length {
        _ if ended => Framing::None,
        Some(length) if length > 0 => Framing::Length(length),
        _ => {
            // Nothing, and perhaps trailers: by HTTP/1 that is a chunked body, and chunks tolerate no length.
            head.fields.remove(HeaderId::ContentLength);
            Framing::Chunked
        }
    })
}
