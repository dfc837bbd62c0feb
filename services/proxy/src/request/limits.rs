//! The time-outs of one request, as moments.

use std::time::Duration;

use tokio::time::Instant;

use selvedge_traffic::timeout::Timeouts;

/// Which time-out has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The route's, over all tries.
    Global,
    PerTry,
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
    idle: Option<Duration>,
    request: Option<Duration>,
}

impl Limits {
    /// The clocks before a route is known.
    pub(crate) fn new(now: Instant, idle: Option<Duration>, request: Option<Duration>) -> Self {
        Self {
            started: now,
            whole: None,
            connected: None,
            moved: now,
            global: None,
            per_try: None,
            idle,
            request: request.filter(|timeout| !timeout.is_zero()),
        }
    }

    /// Takes the route's time-outs.
    pub(crate) fn set_route(&mut self, timeouts: &Timeouts) {
        self.global = timeouts.global;
        self.per_try = timeouts.per_try;
        if let Some(idle) = timeouts.idle {
            self.idle = Some(idle).filter(|idle| !idle.is_zero());
        }
    }

    /// From here on there are none but idleness: the connection changed its protocol.
    pub(crate) fn set_opaque(&mut self) {
        (self.global, self.per_try, self.request) = (None, None, None);
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

    /// The earliest of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.all().into_iter().flatten().map(|(at, _)| at).min()
    }

    /// What has passed, if anything.
    pub(crate) fn expired(&self, now: Instant) -> Option<Expired> {
        self.all().into_iter().flatten().find(|(at, _)| *at <= now).map(|(_, which)| which)
    }

    fn all(&self) -> [Option<(Instant, Expired)>; 4] {
        let at = |since: Option<Instant>, timeout: Option<Duration>, which| {
            Some((since?.checked_add(timeout?)?, which))
        };
        let try_since = self.connected.zip(self.whole).map(|(connected, whole)| connected.max(whole));
        let incomplete = self.whole.is_none().then_some(self.started);
        [
            at(incomplete, self.request, Expired::Request),
            at(self.whole, self.global, Expired::Global),
            at(try_since, self.per_try, Expired::PerTry),
            at(Some(self.moved), self.idle, Expired::Idle),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_starts_with_its_event() {
        let start = Instant::now();
        let s = Duration::from_secs;
        let mut limits = Limits::new(start, Some(s(300)), Some(s(20)));
        limits.set_route(&Timeouts { global: Some(s(15)), per_try: Some(s(2)), idle: None });
        assert_eq!(limits.next(), Some(start + s(20)), "the request is incomplete");
        limits.connected(Some(start));
        limits.request_arrived(start + s(10));
        assert_eq!(limits.next(), Some(start + s(12)), "the try counts from the whole request");
        assert_eq!(limits.expired(start + s(11)), None);
        assert_eq!(limits.expired(start + s(12)), Some(Expired::PerTry));
        limits.connected(None);
        assert_eq!(limits.next(), Some(start + s(25)), "between tries the route's clock alone");
        assert_eq!(limits.expired(start + s(25)), Some(Expired::Global));
        limits.set_opaque();
        limits.moved(start + s(100));
        assert_eq!(limits.next(), Some(start + s(400)));
    }
}
