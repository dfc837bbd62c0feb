//! The time-outs of one request, as moments.

use std::time::Duration;

use tokio::time::Instant;

use selvedge_traffic::timeout::Timeouts;

use crate::patience::Patience;

/// Which time-out has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The route's, over all tries.
    Global,
    PerTry,
    /// The try has made no progress.
    PerTryIdle,
    /// The cluster's bound of a stream, from the moment the try has its connection.
    UpstreamStream,
    /// The whole stream's, from its first byte.
    Stream,
    /// Nothing has moved.
    Idle,
    /// The client has not sent its whole request.
    Request,
}

/// The clocks of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    started: Instant,
    /// The whole request has arrived: the route's clock starts.
    whole: Option<Instant>,
    /// The try under way has got its connection.
    connected: Option<Instant>,
    moved: Instant,
    global: Option<Duration>,
    per_try: Option<Duration>,
    per_try_idle: Option<Duration>,
    upstream_stream: Option<Duration>,
    stream: Option<Duration>,
    idle: Option<Duration>,
    request: Option<Duration>,
    /// The least rate of the body, in bytes a second, and what has come of it.
    rate: Option<u32>,
    grace: Duration,
    received: u64,
    /// The client takes nothing since then, and may for so long.
    stalled: Option<Instant>,
    stall: Option<Duration>,
}

impl Limits {
    /// The clocks before a route is known.
    pub(crate) fn new(
        now: Instant,
        idle: Option<Duration>,
        request: Option<Duration>,
        stream: Option<Duration>,
    ) -> Self {
        Self {
            started: now,
            whole: None,
            connected: None,
            moved: now,
            global: None,
            per_try: None,
            per_try_idle: None,
            upstream_stream: None,
            stream: stream.filter(|duration| !duration.is_zero()),
            idle,
            request: request.filter(|timeout| !timeout.is_zero()),
            rate: None,
            grace: Duration::ZERO,
            received: 0,
            stalled: None,
            stall: None,
        }
    }

    /// Asks of the client what is asked of strangers.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.rate = patience.body_rate.filter(|rate| *rate > 0);
        (self.grace, self.stall) = (patience.body_grace, patience.write_stall);
    }

    /// The body may take its time from here on.
    pub(crate) fn set_patient(&mut self) {
        self.rate = None;
    }

    /// So much of the body has come.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.received = bytes;
    }

    /// The client takes nothing (`true`), or does again. Whether that is news.
    pub(crate) fn stalled(&mut self, stalled: bool, now: impl FnOnce() -> Instant) -> bool {
        let news = self.stall.is_some() && stalled != self.stalled.is_some();
        if news {
            self.stalled = stalled.then(now);
        }
        news
    }

    /// Takes the route's time-outs.
    pub(crate) fn set_route(&mut self, timeouts: &Timeouts) {
        self.global = timeouts.global;
        self.per_try = timeouts.per_try;
        self.per_try_idle = timeouts.per_try_idle;
        self.stream = timeouts.stream;
        if let Some(idle) = timeouts.idle {
            self.idle = Some(idle).filter(|idle| !idle.is_zero());
        }
    }

    /// Takes the cluster's bound of a stream.
    pub(crate) fn set_cluster(&mut self, stream_duration_max: Option<Duration>) {
        self.upstream_stream = stream_duration_max.filter(|duration| !duration.is_zero());
    }

    /// From here on there are none but idleness: the connection changed its protocol.
    pub(crate) fn set_opaque(&mut self) {
        (self.global, self.per_try, self.request) = (None, None, None);
        // What remains bounds the stream as a whole, whatever it carries.
        self.per_try_idle = None;
        (self.rate, self.stall) = (None, None);
    }

    /// The whole request has arrived.
    pub(crate) fn request_arrived(&mut self, now: Instant) {
        self.whole.get_or_insert(now);
    }

    pub(crate) fn whole_at(&self) -> Option<Instant> {
        self.whole
    }

    /// A try begins to wait for its connection (`None`), or has got it.
    pub(crate) fn connected(&mut self, at: Option<Instant>) {
        self.connected = at;
    }

    /// Bytes have moved.
    pub(crate) fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// The response's head has come: the try has met its bound.
    pub(crate) fn answered(&mut self) {
        self.per_try = None;
    }

    /// The earliest of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.each(None, |earliest, at, _| Some(earliest.map_or(at, |earliest: Instant| earliest.min(at))))
    }

    /// What has passed, if anything.
    pub(crate) fn expired(&self, now: Instant) -> Option<Expired> {
        self.each(None, |first, at, which| first.or_else(|| (at <= now).then_some(which)))
    }

    /// Folds over the clocks that run, in the order in which they are heard where several have passed. A request asks twice,
    /// and most clocks do not run: nothing is gathered for them.
    fn each<T: Copy>(&self, begin: T, mut fold: impl FnMut(T, Instant, Expired) -> T) -> T {
        let mut folded = begin;
        let mut clock = |since: Option<Instant>, timeout: Option<Duration>, which| {
            if let (Some(since), Some(timeout)) = (since, timeout)
                && let Some(at) = since.checked_add(timeout)
            {
                folded = fold(folded, at, which);
            }
        };
        let incomplete = self.whole.is_none().then_some(self.started);
        clock(incomplete, self.request, Expired::Request);
        clock(incomplete, self.rate.map(|rate| self.paid_for(rate)), Expired::Request);
        clock(self.stalled, self.stall, Expired::Idle);
        clock(self.whole, self.global, Expired::Global);
        if self.per_try.is_some() {
            let since = self.connected.zip(self.whole).map(|(connected, whole)| connected.max(whole));
            clock(since, self.per_try, Expired::PerTry);
        }
        if self.per_try_idle.is_some() {
            clock(self.connected.map(|since| since.max(self.moved)), self.per_try_idle, Expired::PerTryIdle);
        }
        clock(self.connected, self.upstream_stream, Expired::UpstreamStream);
        clock(Some(self.started), self.stream, Expired::Stream);
        clock(Some(self.moved), self.idle, Expired::Idle);
        folded
    }
}

impl Limits {
    /// How long the bytes that have come may have taken.
    fn paid_for(&self, rate: u32) -> Duration {
        self.grace + Duration::from_secs(self.received / u64::from(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_starts_with_its_event() {
        let start = Instant::now();
        let s = Duration::from_secs;
        let mut limits = Limits::new(start, Some(s(300)), Some(s(20)), None);
        limits.set_route(&Timeouts { global: Some(s(15)), per_try: Some(s(2)), ..Timeouts::default() });
        assert_eq!(limits.next(), Some(start + s(20)), "the request is incomplete");
        limits.connected(Some(start));
        limits.request_arrived(start + s(10));
        assert_eq!(limits.next(), Some(start + s(12)), "the try counts from the whole request");
        assert_eq!(limits.expired(start + s(11)), None);
        assert_eq!(limits.expired(start + s(12)), Some(Expired::PerTry));
        limits.connected(None);
        assert_eq!(limits.next(), Some(start + s(25)), "between tries the route's clock alone");
        assert_eq!(limits.expired(start + s(25)), Some(Expired::Global));
        limits.stalled(true, || start + s(16));
        assert_eq!(limits.next(), Some(start + s(25)), "nobody minds a slow reader");
        let mut bounded = limits;
        bounded.set_cluster(Some(s(30)));
        bounded.connected(Some(start + s(20)));
        bounded.set_route(&Timeouts { per_try_idle: Some(s(4)), stream: Some(s(60)), ..Timeouts::default() });
        bounded.moved(start + s(40));
        assert_eq!(bounded.expired(start + s(44)), Some(Expired::PerTryIdle));
        bounded.moved(start + s(59));
        assert_eq!(bounded.expired(start + s(50)), Some(Expired::UpstreamStream));
        bounded.set_cluster(None);
        assert_eq!(bounded.expired(start + s(60)), Some(Expired::Stream));
        limits.set_opaque();
        limits.moved(start + s(100));
        assert_eq!(limits.next(), Some(start + s(400)));
    }

    #[test]
    fn strangers_must_keep_going() {
        let start = Instant::now();
        let s = Duration::from_secs;
        let mut limits = Limits::new(start, Some(s(300)), None, None);
        limits.set_patience(Patience::with_strangers());
        assert_eq!(limits.expired(start + s(9)), None);
        assert_eq!(limits.expired(start + s(10)), Some(Expired::Request));
        limits.received(500 * 60);
        limits.moved(start + s(60));
        assert_eq!(limits.expired(start + s(69)), None, "a minute's worth has come");
        assert_eq!(limits.expired(start + s(70)), Some(Expired::Request));
        limits.request_arrived(start + s(70));
        assert_eq!(limits.expired(start + s(71)), None);
        assert!(limits.stalled(true, || start + s(80)));
        assert!(!limits.stalled(true, || start + s(90)));
        assert_eq!(limits.expired(start + s(109)), None);
        assert_eq!(limits.expired(start + s(110)), Some(Expired::Idle));
        assert!(limits.stalled(false, || start + s(109)));
        assert_eq!(limits.expired(start + s(111)), None);
    }
}
