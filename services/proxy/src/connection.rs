//! What an HTTP connection counts for while it lasts.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use selvedge_telemetry::Gauge;
use selvedge_wire::channel::Channel;
use selvedge_wire::deadline::Deadline;
use selvedge_wire::io::Io;

use crate::serve::compile::HttpManager;
use crate::serve::worker::{Place, Worker};

/// Who waits for a client's first words.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// What comes before there is a manager.
    Opening {
        inbound: bool,
        limit: Option<Duration>,
    },
    Manager(&'a HttpManager),
}

/// Waits for what a client says first. `None` if it says nothing for as long as a connection may be idle, or until its
/// manager's configuration has gone for long enough or a drain has no more time for newcomers: who has asked for nothing
/// loses nothing.
pub(crate) async fn first_words<F: Future>(
    worker: &Worker,
    place: &Place,
    asked: Asked<'_>,
    words: F,
) -> Option<F::Output> {
    let mut words = pin!(words);
    let mut deadline = Deadline::default();
    let (inbound, idle) = match asked {
        Asked::Opening { inbound, limit } => (inbound, limit),
        Asked::Manager(manager) => (manager.inbound, manager.idle_timeout),
    };
    deadline.set(idle.map(|idle| tokio::time::Instant::now() + idle));
    poll_fn(|cx| {
        if let Poll::Ready(said) = words.as_mut().poll(cx) {
            return Poll::Ready(Some(said));
        }
        place.park(cx);
        let cut = matches!(asked, Asked::Manager(manager) if manager.is_cut());
        if cut || worker.drain_state(inbound).is_closed(Instant::now()) {
            return Poll::Ready(None);
        }
        deadline.poll(cx).map(|()| None)
    })
    .await
}

/// How long bytes are still read after the last response, so that closing does not reset it away (Envoy's
/// `delayed_close_timeout`).
pub(crate) const DELAYED_CLOSE: Duration = Duration::from_secs(1);
/// How many: whoever sends more has not listened.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;

/// Says that nothing more will come, and hears the client out for a moment.
pub(crate) async fn linger(io: &mut Io, deadline: &mut Deadline) {
    if poll_fn(|cx| io.poll_shutdown(cx)).await.is_err() {
        return;
    }
    deadline.set(Some(tokio::time::Instant::now() + DELAYED_CLOSE));
    let until = io.bytes_read + DISCARDED_BYTES_MAX;
    poll_fn(|cx| {
        while io.bytes_read < until {
            let unread = io.unread().len();
            io.consume(unread);
            match io.poll_fill(cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return deadline.poll(cx),
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// A connection's place in the statistics of its manager; dropping it is the connection's end.
pub(crate) struct HttpConnectionStats {
    manager: Arc<HttpManager>,
    http2: bool,
    since: Instant,
    counted: (u64, u64),
    local: bool,
}

impl HttpConnectionStats {
    pub(crate) fn http1(manager: &Arc<HttpManager>) -> Self {
        Self::new(manager, false)
    }

    pub(crate) fn http2(manager: &Arc<HttpManager>) -> Self {
        Self::new(manager, true)
    }

    fn new(manager: &Arc<HttpManager>, http2: bool) -> Self {
        let stats = &manager.stats;
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        if http2 { &stats.downstream_cx_http2_total } else { &stats.downstream_cx_http1_total }.inc();
        let connection = Self {
            manager: Arc::clone(manager),
            http2,
            since: Instant::now(),
            counted: (0, 0),
            local: false,
        };
        connection.active().inc();
        connection
    }

    fn active(&self) -> &Gauge {
        if self.http2 {
            &self.manager.stats.downstream_cx_http2_active
        } else {
            &self.manager.stats.downstream_cx_http1_active
        }
    }

    /// Counts the bytes that passed since the last time.
    pub(crate) fn passed(&mut self, channel: &Channel) {
        if let Channel::Http1(http) = channel {
            let (read, written) = (http.io.bytes_read, http.io.bytes_written);
            self.manager.stats.downstream_cx_rx_bytes_total.add(read - self.counted.0);
            self.manager.stats.downstream_cx_tx_bytes_total.add(written - self.counted.1);
            if let Some(extension) = self.manager.extension.as_ref().filter(|_| self.manager.inbound) {
                extension.sidecar().processed_bytes.add(read + written - self.counted.0 - self.counted.1);
            }
            self.counted = (read, written);
        }
    }

    /// This side ends the connection.
    pub(crate) fn closed_locally(&mut self) {
        self.local = true;
    }
}

impl Drop for HttpConnectionStats {
    fn drop(&mut self) {
        self.active().dec();
        let stats = &self.manager.stats;
        stats.downstream_cx_active.dec();
        stats.downstream_cx_destroy.inc();
        if self.local { &stats.downstream_cx_destroy_local } else { &stats.downstream_cx_destroy_remote }
            .inc();
        stats.downstream_cx_length_ms.record(self.since.elapsed().as_millis() as u64);
    }
}
