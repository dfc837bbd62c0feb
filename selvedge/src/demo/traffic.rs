//! The demo's caller: requests through its own sidecar, as an application makes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::app::VERSION_HEADER;

/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests under way at a time.
const CONNECTIONS: u32 = 4;

/// What was seen of the answers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Answers by version, in the order of the demo's versions.
    pub(super) versions: [AtomicU64; 2],
    pub(super) failed: AtomicU64,
}

/// A caller of one virtual service.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The egress port of the caller's sidecar.
    pub(super) egress: SocketAddr,
    /// The virtual service's name.
    pub(super) host: &'static str,
    pub(super) versions: [&'static str; 2],
    pub(super) seen: Arc<Seen>,
}

impl Caller {
    /// Sends `count` requests as fast as they are answered.
    pub(super) async fn send(&self, count: u64) {
        let left = Arc::new(AtomicU64::new(count));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (caller, left) = (self.clone(), Arc::clone(&left));
            tasks.spawn(async move {
                let mut connection = None;
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    caller.request(&mut connection).await;
                }
            });
        }
        tasks.join_all().await;
    }

    /// Sends `rate` requests a second until dropped.
    pub(super) async fn run(&self, rate: u32) {
        let pause = Duration::from_secs(1) * CONNECTIONS / rate.max(1);
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let caller = self.clone();
            tasks.spawn(async move {
                let mut connection = None;
                let mut tick = interval(pause);
                tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
                loop {
                    tick.tick().await;
                    caller.request(&mut connection).await;
                }
            });
        }
        tasks.join_all().await;
    }

    /// One request; its outcome is counted. The connection is kept while it works.
    async fn request(&self, connection: &mut Option<SendRequest<Empty<Bytes>>>) {
        let version = timeout(PATIENCE, self.exchange(connection)).await.ok().flatten();
        match version.and_then(|version| self.versions.iter().position(|known| *known == version)) {
            Some(index) => self.seen.versions[index].fetch_add(1, Ordering::Relaxed),
            None => {
                *connection = None;
                self.seen.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// The version that answered; `None` for any other answer and any failure.
    async fn exchange(&self, kept: &mut Option<SendRequest<Empty<Bytes>>>) -> Option<String> {
        let mut sender = match kept.take() {
            Some(mut sender) => match sender.ready().await {
                Ok(()) => sender,
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let request = Request::get("/").header(header::HOST, self.host).body(Empty::new()).ok()?;
        let response = sender.send_request(request).await.ok()?;
        let version =
            response.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        response.into_body().collect().await.ok()?;
        *kept = Some(sender);
        version
    }

    async fn connect(&self) -> Option<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.egress).await.ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        // Ends when the sender is dropped or the sidecar closes.
        tokio::spawn(connection);
        Some(sender)
    }
}

impl Seen {
    pub(super) fn versions(&self) -> [u64; 2] {
        [0, 1].map(|index: usize| self.versions[index].load(Ordering::Relaxed))
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Starts counting anew.
    pub(super) fn reset(&self) {
        self.versions.iter().chain([&self.failed]).for_each(|count| count.store(0, Ordering::Relaxed));
    }
}
