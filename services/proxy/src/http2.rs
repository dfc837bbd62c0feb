//! A client's HTTP/2 connection: many requests at once, each a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use selvedge_http::framing::{self, Framing};
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{RequestError, RequestFacts};
use selvedge_http::refusal::Refusal;
use selvedge_http::scan::HEADERS_MAX;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::h2::{self, Http2Stream};
use selvedge_wire::io::Io;
use tokio::time::Instant;

use crate::connection::HttpConnectionStats;
use crate::request::{self, After, Exchange, Peer, Reply};
use crate::serve::compile::HttpManager;
use crate::serve::worker::Worker;

type Accepted = (http::Request<::h2::RecvStream>, ::h2::server::SendResponse<bytes::Bytes>);

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, manager: Arc<HttpManager>, peer: Rc<Peer>, io: Io) {
    let _stats = HttpConnectionStats::http2(&manager);
    let Ok(mut server) = h2::serve(io).await else {
        manager.stats.downstream_cx_protocol_error.inc();
        return;
    };
    let place = worker.place();
    let streams = Rc::new(Cell::new(0usize));
    let mut idle = Deadline::default();
    let mut announced = false;
    loop {
        let accepted = poll_fn(|cx| {
            place.park(cx);
            if !announced && (worker.is_draining() || manager.is_retired()) {
                announced = true;
                server.graceful_shutdown();
            }
            if let Poll::Ready(accepted) = server.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
            if announced {
                return Poll::Pending;
            }
            match manager.idle_timeout {
                Some(timeout) if streams.get() == 0 => {
                    if idle.at().is_none() {
                        idle.set(Some(Instant::now() + timeout));
                    }
                }
                _ => idle.set(None),
            }
            if idle.poll(cx).is_ready() {
                manager.stats.downstream_cx_idle_timeout.inc();
                announced = true;
                server.graceful_shutdown();
                return server.poll_accept(cx);
            }
            Poll::Pending
        })
        .await;
        match accepted {
            Some(Ok(accepted)) => {
                let count = StreamCount::new(&streams);
                idle.set(None);
                let (worker, manager, peer) = (Rc::clone(&worker), Arc::clone(&manager), Rc::clone(&peer));
                tokio::task::spawn_local(async move {
                    one(&worker, &manager, &peer, accepted).await;
                    drop(count);
                });
            }
            Some(Err(error)) => {
                if !error.is_io() && !error.is_remote() {
                    manager.stats.downstream_cx_protocol_error.inc();
                }
                return;
            }
            None => return,
        }
    }
}

/// A stream's place in the count of open ones.
struct StreamCount(Rc<Cell<usize>>);

impl StreamCount {
    fn new(streams: &Rc<Cell<usize>>) -> Self {
        streams.set(streams.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves one stream.
async fn one(worker: &Rc<Worker>, manager: &Arc<HttpManager>, peer: &Peer, (request, respond): Accepted) {
    let mut heads = worker.lease_heads();
    h2::request_head(&request, &mut heads.request);
    let receive = request.into_body();
    let fields = &heads.request.fields;
    let framing = match fields.get(HeaderId::ContentLength).map(framing::decimal) {
        _ if receive.is_end_stream() => Framing::None,
        Some(Some(length)) if length > 0 => Framing::Length(length),
        _ => Framing::Chunked,
    };
    let refused = (fields.len() > HEADERS_MAX).then(|| {
        let refusal = RequestError::TooManyHeaders.refusal();
        Reply::refusal(Refusal { details: "http2.too_many_headers", ..refusal })
    });
    let mut channel = Channel::Http2(Box::new(Http2Stream::server(receive, respond)));
    let mut deadline = Deadline::default();
    let facts = RequestFacts { framing, ..RequestFacts::default() };
    let routes = manager.routes.load_full();
    let exchange =
        Exchange::new(worker, manager, &routes, peer, &mut channel, &mut heads, &mut deadline, facts);
    if request::serve(exchange, refused).await == After::Cut {
        channel.reset(::h2::Reason::INTERNAL_ERROR);
    }
    worker.give_back_heads(heads);
}
