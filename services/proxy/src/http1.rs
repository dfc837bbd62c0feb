//! A client's HTTP/1 connection: request after request, until one side has had enough.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use selvedge_http::parse::{RequestError, RequestFacts};
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::drain::DrainState;
use selvedge_wire::h1::{Http1, ReadError};
use selvedge_wire::io::Io;
use tokio::time::Instant;

use crate::connection::{DELAYED_CLOSE, HttpConnectionStats, linger};
use crate::request::{self, After, Exchange, Peer, Reply};
use crate::serve::compile::HttpManager;
use crate::serve::worker::{Heads, Place, Worker};

/// What the wait for a request brought.
enum Next {
    Begun,
    Over,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, manager: Arc<HttpManager>, peer: Rc<Peer>, io: Box<Io>) {
    let mut stats = HttpConnectionStats::http1(&manager);
    let place = worker.place();
    let mut connection = Connection {
        channel: Channel::Http1(Box::new(Http1::new(*io))),
        deadline: Deadline::default(),
        closing: false,
        since: Instant::now(),
        requests: 0,
        worker,
        manager,
        peer,
        place,
    };
    loop {
        if matches!(connection.next().await, Next::Over) {
            break;
        }
        let mut heads = connection.worker.lease_heads();
        let after = connection.one(&mut heads).await;
        connection.worker.give_back_heads(heads);
        stats.passed(&connection.channel);
        match after {
            After::Keep => {}
            After::Close => {
                stats.closed_locally();
                if let Channel::Http1(http) = &mut connection.channel {
                    Box::pin(linger(&mut http.io, &mut connection.deadline)).await;
                }
                break;
            }
            After::Cut => break,
        }
    }
    stats.passed(&connection.channel);
}

struct Connection {
    channel: Channel,
    deadline: Deadline,
    /// The connection was idle for too long, or its listener has changed: the next response says that it closes.
    closing: bool,
    since: Instant,
    /// Requests that were read.
    requests: u32,
    worker: Rc<Worker>,
    manager: Arc<HttpManager>,
    peer: Rc<Peer>,
    place: Place,
}

impl Connection {
    /// Waits for the first byte of a request. An idle connection holds nothing but its socket here.
    async fn next(&mut self) -> Next {
        let Channel::Http1(http) = &mut self.channel else { return Next::Over };
        if http.has_begun() {
            return Next::Begun;
        }
        let (worker, manager, deadline) = (&self.worker, &self.manager, &mut self.deadline);
        let mut over_at = manager.idle_timeout.map(|idle| Instant::now() + idle);
        // A connection that has lasted long enough ends with its next response, or without one.
        let aged_at = manager.connection_duration_max().map(|most| self.since + most);
        let mut aging = aged_at.is_some_and(|aged| over_at.is_none_or(|over| aged < over));
        if aging && !self.closing {
            over_at = aged_at;
        }
        deadline.set(over_at);
        poll_fn(|cx| {
            match http.io.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Over),
                Poll::Ready(Ok(_)) => return Poll::Ready(Next::Begun),
                Poll::Pending => {}
            }
            self.place.park(cx);
            if let DrainState::Draining { accept_until, .. } = worker.drain_state(manager.inbound) {
                // Until then the next request may be under way; after, whoever still sends one has not listened.
                let until = Instant::from_std(accept_until);
                if over_at.is_none_or(|at| until < at) {
                    over_at = Some(until);
                    deadline.set(over_at);
                }
            }
            if !self.closing
                && let Some(cut_at) = manager.cut_at()
            {
                // Another configuration took this one's place: its connections move over.
                self.closing = true;
                over_at = Some((Instant::now() + manager.drain_timeout).min(cut_at.into()));
                deadline.set(over_at);
            }
            while deadline.poll(cx).is_ready() {
                if self.closing || worker.is_draining(manager.inbound) {
                    return Poll::Ready(Next::Over);
                }
                if std::mem::take(&mut aging) {
                    manager.stats.downstream_cx_max_duration_reached.inc();
                } else {
                    manager.stats.downstream_cx_idle_timeout.inc();
                }
                self.closing = true;
                over_at = Some(Instant::now() + manager.drain_timeout + DELAYED_CLOSE);
                deadline.set(over_at);
            }
            Poll::Pending
        })
        .await
    }

    /// Reads one request and serves it.
    async fn one(&mut self, heads: &mut Heads) -> After {
        let read = self.read_head(heads).await;
        let (mut facts, refused) = match read {
            Ok(Some(facts)) => (facts, None),
            Ok(None) => return After::Cut,
            Err(reply) => {
                heads.request.clear();
                (RequestFacts::default(), Some(reply))
            }
        };
        self.requests = self.requests.saturating_add(1);
        facts.close |= self.closing || self.is_spent();
        let routes = self.manager.routes.load_full();
        // Boxed for as long as the request lasts, so that an idle connection does not carry its room.
        let mut served = Box::pin(async {
            let mut exchange = Exchange::new(
                &self.worker,
                &self.manager,
                &routes,
                &self.peer,
                &mut self.channel,
                heads,
                &mut self.deadline,
                facts,
            );
            request::serve(&mut exchange, refused).await
        });
        let place = &self.place;
        poll_fn(|cx| {
            let polled = served.as_mut().poll(cx);
            if polled.is_pending() {
                // To look whether there is still time, when the configuration has gone.
                place.park(cx);
            }
            polled
        })
        .await
    }

    /// Whether this request is the connection's last: it has lasted long enough, or carried enough.
    fn is_spent(&self) -> bool {
        let stats = &self.manager.stats;
        if self.manager.requests_per_connection_max().is_some_and(|most| self.requests >= most) {
            stats.downstream_cx_max_requests_reached.inc();
            return true;
        }
        let aged = self.manager.connection_duration_max().is_some_and(|most| self.since.elapsed() >= most);
        if aged {
            stats.downstream_cx_max_duration_reached.inc();
        }
        aged
    }

    /// Reads a head within its time. `None` if the client went away.
    async fn read_head(&mut self, heads: &mut Heads) -> Result<Option<RequestFacts>, Box<Reply>> {
        let Channel::Http1(http) = &mut self.channel else { return Ok(None) };
        let (deadline, timeout) = (&mut self.deadline, self.manager.headers_timeout);
        let mut armed = false;
        let (place, manager) = (&self.place, &self.manager);
        let read = poll_fn(|cx| match http.poll_request(cx, &mut heads.request) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending if manager.is_cut() => Poll::Ready(Some(Ok(None))),
            Poll::Pending => {
                place.park(cx);
                if !armed {
                    armed = true;
                    deadline.set(timeout.map(|timeout| Instant::now() + timeout));
                }
                deadline.poll(cx).map(|()| None)
            }
        })
        .await;
        match read {
            Some(Ok(facts)) => Ok(facts),
            Some(Err(ReadError::Protocol(error))) => Err(self.refuse(error)),
            Some(Err(ReadError::Io(_) | ReadError::Closed { .. })) => Ok(None),
            None => {
                self.manager.stats.downstream_rq_header_timeout.inc();
                Err(Box::new(Reply::header_timeout()))
            }
        }
    }

    fn refuse(&self, error: RequestError) -> Box<Reply> {
        self.manager.stats.downstream_cx_protocol_error.inc();
        Box::new(Reply::refusal(error.refusal()))
    }
}
