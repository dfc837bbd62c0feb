//! One request and its response, with everything that is needed to serve them.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use selvedge_http::encode;
use selvedge_http::grpc;
use selvedge_http::hop;
use selvedge_http::known::HeaderId;
use selvedge_http::parse::{RequestFacts, Upgrade};
use selvedge_http::refusal;
use selvedge_http::sanitize::{self, Detection, Origin};
use selvedge_telemetry::{Flag, HttpStats, Sharded, details};
use selvedge_traffic::compiled::Matched;
use selvedge_traffic::hash::{self, Ends as HashEnds, Hashed};
use selvedge_traffic::rate_limit::LocalLimiter;
use selvedge_traffic::{Action, DetectBy, Metadata, RouteUpgrades, SplitBy, weights};
use selvedge_upstream::random;
use selvedge_wire::channel::{Channel, ChannelError};
use selvedge_wire::deadline::Deadline;
use selvedge_wire::proxy_protocol::Ends;
use selvedge_wire::tls::Facts;
use tokio::time::Instant;

use super::beside::{self, ForService};
use super::certificate;
use super::coding::{Coder, Stage};
use super::edit::OfRoute;
use super::filter::{Filter, FilterId, Kept};
use super::limits::{Expired, Limits};
use super::record::Log;
use super::reply::Reply;
use super::view::Request;
use crate::serve::compile::{HttpManager, Routes};
use crate::serve::worker::{Heads, Worker};
use crate::tracing::ActiveTrace;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client, as PROXY protocol may tell it.
    pub(crate) remote: SocketAddr,
    /// The other end of the socket.
    pub(crate) direct: SocketAddr,
    /// The socket's own address.
    pub(crate) local: SocketAddr,
    /// Where an intercepted connection wanted to go.
    pub(crate) original_dst: Option<SocketAddr>,
    /// A web server beside us is at the other end: it says by a header which service it means.
    pub(crate) by_socket: bool,
    pub(crate) connection_id: u64,
    pub(crate) chain: Rc<str>,
    /// What filters keep for the connection.
    pub(crate) kept: RefCell<Vec<(FilterId, Rc<LocalLimiter>)>>,
    /// What the client's handshake settled, who it is among others; `None` of a plain connection.
    pub(crate) tls: Option<Rc<Facts>>,
    /// The server that a TLS client asked for, even where its connection is passed on as it is.
    pub(crate) server_name: Option<Box<str>>,
}

impl Peer {
    /// Both ends of the client's connection, as the next hop may be told them.
    pub(crate) fn ends(&self) -> Ends {
        Ends { source: self.remote, destination: self.original_dst.unwrap_or(self.local) }
    }
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Another request may follow.
    Keep,
    /// It closes in order.
    Close,
    /// It breaks off: the client must see that something is missing.
    Cut,
}

/// Why a request ends early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With an answer of our own.
    Reply(Reply),
    /// The client went away.
    Gone,
    /// The response had begun and cannot be completed.
    Cut,
}

/// What interrupts a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Gone,
    Expired(Expired),
}

/// A request under way.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) manager: &'a Arc<HttpManager>,
    pub(crate) routes: &'a Routes,
    pub(crate) peer: &'a Peer,
    pub(crate) channel: &'a mut Channel,
    pub(crate) heads: &'a mut Heads,
    pub(crate) deadline: &'a mut Deadline,
    pub(crate) facts: RequestFacts,
    pub(crate) limits: Limits,
    pub(crate) log: Log<'a>,
    /// Whom the request comes from, as trusted proxies may tell it.
    pub(crate) client: SocketAddr,
    /// It comes from a client that counts as inside.
    pub(crate) internal: bool,
    /// The route, once it has been looked for.
    pub(super) matched: Option<Matched<'a>>,
    /// The filters that the request passes, known with its route.
    pub(super) chain: &'a [Arc<Filter>],
    /// The place of the weighted cluster that was picked.
    pub(super) share: Option<usize>,
    /// The request's hash, where that place was picked by it.
    pub(super) hashed: Option<Hashed>,
    /// The header edits of the route.
    pub(super) edits: &'a OfRoute,
    /// A filter changed what the route was found by.
    pub(super) rerouted: bool,
    /// What filters tell each other.
    pub(super) metadata: Metadata,
    /// What filters keep from the request for its response.
    pub(super) kept: Vec<(FilterId, Kept)>,
    pub(crate) extra: Extra,
    /// The request counts as traced, whether or not its spans are kept.
    pub(crate) traced: bool,
    /// Its span, if spans are made.
    pub(crate) trace: Option<ActiveTrace>,
    /// The response under way has a body.
    pub(super) response_has_body: bool,
    /// Bytes of another protocol follow the response's head.
    pub(crate) channel_stays_open: bool,
    /// What that body passes through.
    pub(super) coder: Option<Box<Coder>>,
    /// The virtual service that a web server beside us, or the edge around us, asked for.
    pub(crate) service: Option<Arc<str>>,
    active: ActiveRequest,
}

/// What the router adds to a response.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// `set-cookie` lines, for a response of the upstream's.
    pub(crate) cookies: Vec<String>,
    /// `x-envoy-attempt-count`, if there was a try.
    pub(crate) attempt_count: bool,
}

/// A place in `downstream_rq_active`, given back however the request ends.
struct ActiveRequest(Arc<Sharded<HttpStats>>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.downstream_rq_active.dec();
    }
}

impl<'a> Exchange<'a> {
    #[expect(clippy::too_many_arguments, reason = "one for each thing that a request needs")]
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        manager: &'a Arc<HttpManager>,
        routes: &'a Routes,
        peer: &'a Peer,
        channel: &'a mut Channel,
        heads: &'a mut Heads,
        deadline: &'a mut Deadline,
        facts: RequestFacts,
    ) -> Self {
        let now = Instant::now();
        manager.stats.downstream_rq_active.inc();
        Self {
            worker,
            manager,
            routes,
            peer,
            channel,
            heads,
            deadline,
            facts,
            limits: Limits::new(
                now,
                manager.stream_idle_timeout,
                manager.config.request_timeout,
                manager.config.stream_duration_max,
            ),
            log: Log::new(now, SystemTime::now()),
            client: peer.remote,
            internal: false,
            matched: None,
            chain: &[],
            share: None,
            hashed: None,
            edits: OfRoute::none(),
            rerouted: false,
            metadata: Metadata::default(),
            kept: Vec::new(),
            extra: Extra::default(),
            traced: false,
            trace: None,
            response_has_body: false,
            channel_stays_open: false,
            coder: None,
            service: None,
            active: ActiveRequest(Arc::clone(&manager.stats)),
        }
    }

    pub(crate) fn is_http1(&self) -> bool {
        matches!(self.channel, Channel::Http1(_))
    }

    /// Counts the request.
    pub(super) fn begin(&mut self) {
        let stats = &self.active.0;
        stats.downstream_rq_total.inc();
        match self.channel {
            Channel::Http1(_) => stats.downstream_rq_http1_total.inc(),
            Channel::Http2(_) | Channel::Inner(_) | Channel::Over => stats.downstream_rq_http2_total.inc(),
        }
        let patience = self.worker.patience;
        if patience.body_rate.is_some() || patience.write_stall.is_some() {
            self.limits.set_patience(patience);
            if grpc::is_grpc(&self.heads.request.fields) {
                // A stream of messages has no rate.
                self.limits.set_patient();
            }
        }
        // What follows an upgrade belongs to the request: it has no end before the connection's.
        if self.channel.is_read() && !self.facts.upgrade.is_tunnel() {
            self.request_arrived(self.log.started);
        }
    }

    /// Brings the request into the form in which it is routed, or refuses it.
    pub(super) async fn admit(&mut self) -> Result<(), Ended> {
        let head = &mut self.heads.request;
        // Whoever names the service beside the head has put the head in order.
        if self.peer.by_socket && self.service.is_none() {
            self.service = beside::take_service(head);
            beside::forget_earlier_hops(&mut head.fields);
        }
        if let Err(refused) = refusal::admit(head, self.manager.admission) {
            let stats = &self.manager.stats;
            match refused.details {
                details::ABSOLUTE_PATH_REJECTED => stats.downstream_rq_non_relative_path.inc(),
                details::PATH_NORMALIZATION_FAILED => stats.downstream_rq_failed_path_normalization.inc(),
                _ => {}
            }
            return Err(Ended::Reply(Reply::refusal(refused)));
        }
        let expects = self.facts.expects_continue && self.manager.config.proxy_100_continue;
        hop::strip_request(&mut head.fields, self.facts.upgrade == Upgrade::WebSocket);
        if expects {
            head.fields.append_id(HeaderId::Expect, b"100-continue");
        }
        let config = &self.manager.config;
        let believed = &config.client_address;
        let is_trusted = |address: IpAddr| match believed.detection.as_ref().map(|detection| &detection.by) {
            Some(DetectBy::Proxies(blocks)) => blocks.iter().any(|block| block.contains(address)),
            _ => false,
        };
        let origin = Origin {
            peer: ip(self.peer.remote),
            use_remote_address: config.use_remote_address,
            node_address: self.worker.node_address,
            tls: self.peer.tls.is_some(),
            trusted_hops: believed.trusted_hops,
            skip_append: believed.skip_append,
            detection: match believed.detection.as_ref().map(|detection| &detection.by) {
                None => Detection::Hops(believed.trusted_hops),
                Some(DetectBy::Hops(hops)) => Detection::Hops(*hops),
                Some(DetectBy::Proxies(_)) => Detection::Proxies(&is_trusted),
            },
            append_detected: believed.detection.as_ref().is_some_and(|detection| detection.append),
            is_internal: &|address| believed.is_internal(address),
            keep_request_id: believed.keep_request_id,
        };
        let told = certificate::taken(head, self.manager.config.client_certificate.forwarding);
        let random = || u128::from(random::next()) << 64 | u128::from(random::next());
        let client = sanitize::request(head, &origin, random);
        self.internal = client.internal;
        if let Some(address) = client.address {
            self.client = SocketAddr::new(address, 0);
        }
        certificate::tell(head, told, &self.manager.config.client_certificate, self.peer.tls.as_deref());
        if head.scheme().is_empty() {
            // A request by HTTP/1 names no scheme; the last proxy before us may have.
            let of_peer = head.fields.get(HeaderId::XForwardedProto);
            let https = of_peer.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
            head.set_scheme(if https { "https" } else { "http" });
        }
        if self.facts.expects_continue
            && !expects
            && let Channel::Http1(http) = self.channel
        {
            http.queue(|out| out.extend_from_slice(encode::CONTINUE));
            poll_fn(|cx| http.poll_flush(cx)).await.map_err(|_| Ended::Gone)?;
            self.manager.stats.response(100);
            self.manager.listener_stats.response(100);
        }
        Ok(())
    }

    /// Refuses an upgrade that is not enabled; the log names where the request would have gone.
    pub(super) fn admit_upgrade(&mut self) -> Result<(), Ended> {
        let upgrade = self.facts.upgrade;
        if upgrade == Upgrade::None {
            return Ok(());
        }
        let matched = self.look_up();
        if matched.is_none() && upgrade == Upgrade::Connect {
            return Ok(());
        }
        let of_route = match matched.map(|matched| &matched.route.action) {
            Some(Action::Forward(forward)) => forward.upgrades,
            _ => RouteUpgrades::default(),
        };
        let config = &self.manager.config;
        let taken = match upgrade {
            Upgrade::WebSocket => of_route.websocket.unwrap_or(config.websocket),
            Upgrade::Connect => of_route.connect.unwrap_or(config.connect),
            _ => false,
        };
        let Err(refused) = refusal::admit_upgrade(upgrade, taken) else { return Ok(()) };
        self.manager.stats.downstream_rq_ws_on_non_ws_route.inc();
        if let Some(matched) = matched {
            self.log.route = Some(matched.route);
            if let Action::Forward(forward) = &matched.route.action {
                self.log.cluster = weights::pick(&forward.clusters, random::next())
                    .and_then(|weighted| self.worker.clusters.get(&weighted.name));
            }
        }
        Err(Ended::Reply(Reply::refusal(refused)))
    }

    fn look_up(&self) -> Option<Matched<'a>> {
        let request = Request(&self.heads.request);
        match &self.service {
            Some(service) => self.routes.compiled.find(&ForService(request, service)).ok(),
            None => self.routes.compiled.find(&request).ok(),
        }
    }

    /// Finds the route, its cluster and its filters. Filters pass judgement on requests without a route, too.
    pub(super) fn find_route(&mut self) {
        let routes = self.routes;
        let matched = self.look_up();
        self.log.route = matched.map(|matched| matched.route);
        self.log.virtual_host = matched.map(|matched| matched.virtual_host.name.as_str());
        self.share = match matched.map(|matched| &matched.route.action) {
            Some(Action::Forward(forward)) => {
                let request = Request(&self.heads.request);
                if forward.split_by == SplitBy::Hash {
                    let ends = HashEnds { remote: self.client, local: self.peer.ends().destination };
                    self.hashed = Some(hash::hash(&forward.hash, &request, ends));
                }
                let hash = self.hashed.as_ref().and_then(|hashed| hashed.hash);
                let number = forward.split_by.number(&request, hash, random::next());
                weights::place(&forward.clusters, number)
            }
            _ => None,
        };
        self.chain = routes.chains.of(matched.as_ref(), self.share);
        self.matched = matched;
    }

    /// Notes for the log where the request would go, should a filter answer it.
    pub(super) fn note_cluster(&mut self) {
        let picked = match self.log.route.map(|route| &route.action) {
            Some(Action::Forward(forward)) => self.share.and_then(|share| forward.clusters.get(share)),
            _ => None,
        };
        self.log.cluster = picked.and_then(|cluster| self.worker.clusters.get(&cluster.name));
    }

    /// Ends a request without a route.
    pub(super) fn routed(&self) -> Result<Matched<'a>, Ended> {
        self.manager.stats.rq_total.inc();
        self.matched.ok_or_else(|| {
            self.manager.stats.no_route.inc();
            Ended::Reply(Reply::no_route())
        })
    }

    /// The whole request has arrived.
    pub(super) fn request_arrived(&mut self, now: Instant) {
        self.limits.request_arrived(now);
        self.log.request_received = Some(now - self.log.started);
    }

    /// So much of the request's body has come.
    pub(super) fn note_received(&mut self, bytes: u64) {
        self.log.bytes_received = bytes;
        self.limits.received(bytes);
    }

    /// Whether the connection ends with this response. It does so too when a wish for another protocol is not granted:
    /// what the client has sent in advance must not be read as its next request.
    pub(super) fn closes(&self) -> bool {
        self.facts.close
            || self.facts.upgrade.is_tunnel()
            || self.worker.sends_away(self.manager.inbound)
            || self.manager.is_retired()
            || !self.channel.is_read()
    }

    /// Adds a stage to those that the response's body passes.
    pub(super) fn recode(&mut self, stage: Stage) {
        self.coder.get_or_insert_default().add(stage);
    }

    /// Passes an interim response on.
    pub(super) fn inform(&mut self) -> Result<(), ChannelError> {
        let head = &mut self.heads.response;
        hop::strip_response(&mut head.fields, false);
        self.manager.stats.response(head.status);
        self.manager.listener_stats.response(head.status);
        self.channel.inform(head)
    }

    /// Sets the timer to what passes first.
    pub(super) fn arm(&mut self) {
        self.deadline.set(self.limits.next());
    }

    /// Ready when a time-out has passed, or when the client is gone.
    pub(super) fn poll_interrupt(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        if self.is_cut() {
            return Poll::Ready(Interrupt::Gone);
        }
        let listens = self.channel.is_read() || self.facts.upgrade.is_tunnel();
        if listens && self.channel.poll_gone(cx).is_ready() {
            return Poll::Ready(Interrupt::Gone);
        }
        loop {
            ready!(self.deadline.poll(cx));
            if let Some(expired) = self.limits.expired(Instant::now()) {
                return Poll::Ready(Interrupt::Expired(expired));
            }
            self.arm();
        }
    }

    /// Waits for `future` unless interrupted.
    pub(crate) async fn unless_interrupted<F: Future>(&mut self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = pin!(future);
        self.arm();
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_interrupt(cx).map(Err),
        })
        .await
    }

    /// What an interruption means to a request without a response; a try's own time-out is not judged here.
    pub(super) fn interrupted(&mut self, interrupt: Interrupt) -> Ended {
        let stats = &self.manager.stats;
        let expired = match interrupt {
            Interrupt::Gone => return Ended::Gone,
            Interrupt::Expired(expired) => expired,
        };
        Ended::Reply(match expired {
            Expired::Global => Reply::response_timeout(),
            Expired::PerTry => Reply::per_try_timeout(),
            Expired::PerTryIdle => Reply::per_try_idle_timeout(),
            Expired::UpstreamStream => Reply::upstream_stream_duration(self.limits.whole_at().is_some()),
            Expired::Stream => {
                stats.downstream_rq_max_duration_reached.inc();
                Reply::stream_duration(self.limits.whole_at().is_some())
            }
            Expired::Idle => {
                stats.downstream_rq_idle_timeout.inc();
                Reply::idle(self.limits.whole_at().is_some())
            }
            Expired::Request => {
                stats.downstream_rq_timeout.inc();
                Reply::request_timeout()
            }
        })
    }

    /// Whether the connection's time is over, because its configuration has gone. Who asks within the process has none, but
    /// for a tunnel, which is one.
    pub(crate) fn is_cut(&self) -> bool {
        let is_connection = !matches!(self.channel, Channel::Inner(_)) || self.facts.upgrade.is_tunnel();
        is_connection && self.manager.is_cut()
    }

    /// The client went away, or is sent away.
    pub(crate) fn note_gone(&mut self) {
        self.log.flags.set(Flag::DownstreamConnectionTermination);
        self.log.details =
            if self.is_cut() { details::CONFIGURATION_GONE } else { details::DOWNSTREAM_REMOTE_DISCONNECT }
                .into();
    }

    /// The client went away.
    pub(super) fn gone(&mut self) -> After {
        self.note_gone();
        self.manager.stats.downstream_rq_rx_reset.inc();
        After::Cut
    }
}

/// The address as the client would write it: an IPv4 client of an IPv6 socket has an IPv4 address.
fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}
