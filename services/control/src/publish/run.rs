//! The publisher on a thread of its own, driven by real time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use selvedge_store::Store;
use selvedge_translate::Diagnostic;
use selvedge_xds::server::{Form, Scope};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{End, Feed, FeedEvent, Output, Publisher, Report, Settings, StreamId, registry};
use crate::api::Channel;
use crate::rate_limit::RateLimiter;
use crate::status::{ConnectedProxy, Rejection, Sessions};

/// Inputs that may wait for the publisher; more wait at their streams.
const INPUTS_MAX: usize = 4096;

/// Bytes of streams' messages that may wait for the publisher; more wait at their streams. Room for a whole fleet's first
/// requests, and for several of the largest.
const INPUT_BYTES_MAX: usize = 64 << 20;

/// Messages that may wait for one stream: a response a type, and as many again. Who takes none is cut off.
const OUTPUTS_MAX: usize = 8;

/// A way to the publisher; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    /// Bytes that may still join the inputs.
    room: Arc<Semaphore>,
    streams: Arc<AtomicU64>,
    loaded: Arc<AtomicBool>,
    rate_limiter: RateLimiter,
}

/// What is to be sent on a stream.
#[derive(Debug)]
pub enum ToStream {
    Message(Bytes),
    End(End),
}

enum Input {
    Connected {
        id: StreamId,
        peer: IpAddr,
        channel: Channel,
        form: Form,
        scope: Scope,
        to: mpsc::Sender<ToStream>,
    },
    Message {
        id: StreamId,
        message: Bytes,
        room: OwnedSemaphorePermit,
    },
    Disconnected {
        id: StreamId,
        orderly: bool,
    },
    Drain,
    Report {
        mesh: String,
        answer: oneshot::Sender<Report>,
    },
    Stop,
}

/// A running publisher.
pub struct Running {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Starts the publisher over a store.
///
/// # Errors
/// When no thread can be had.
pub fn start(store: Arc<dyn Store>, settings: Settings) -> std::io::Result<Running> {
    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let handle = Handle::new(inputs);
    let (loaded, rate_limiter) = (handle.loaded.clone(), handle.rate_limiter());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("publisher".to_owned()).spawn(move || {
        let driver = Driver {
            store,
            feed: Feed::with_vault(settings.vault.clone()),
            publisher: Publisher::new(settings),
            senders: HashMap::new(),
            loaded,
            rate_limiter,
        };
        runtime.block_on(driver.run(received));
    })?;
    Ok(Running { handle, thread: Some(thread) })
}

impl Running {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the thread, after what it is doing.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its queue may be full; it drains it and comes to the end.
            while let Err(mpsc::error::TrySendError::Full(_)) = self.handle.inputs.try_send(Input::Stop) {
                std::thread::yield_now();
            }
            if thread.join().is_err() {
                tracing::error!("the publisher panicked");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Handle {
    fn new(inputs: mpsc::Sender<Input>) -> Self {
        let room = Arc::new(Semaphore::new(INPUT_BYTES_MAX));
        let rate_limiter = RateLimiter::default();
        Self { inputs, room, streams: Arc::default(), loaded: Arc::default(), rate_limiter }
    }

    /// The counters of the rate-limit service, which has the limits of all meshes.
    pub fn rate_limiter(&self) -> RateLimiter {
        self.rate_limiter.clone()
    }

    /// Whether the store has been read.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Opens a stream; what is to be sent on it. `None` when the publisher is gone.
    pub async fn connect(
        &self,
        peer: IpAddr,
        channel: Channel,
        form: Form,
        scope: Scope,
    ) -> Option<(StreamId, mpsc::Receiver<ToStream>)> {
        let id = self.streams.fetch_add(1, Ordering::Relaxed);
        let (to, messages) = mpsc::channel(OUTPUTS_MAX);
        self.inputs.send(Input::Connected { id, peer, channel, form, scope, to }).await.ok()?;
        Some((id, messages))
    }

    /// Passes on a message that came on a stream; false when the publisher is gone.
    pub async fn message(&self, id: StreamId, message: Bytes) -> bool {
        let bytes = u32::try_from(message.len().min(INPUT_BYTES_MAX)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else { return false };
        self.inputs.send(Input::Message { id, message, room }).await.is_ok()
    }

    /// Tells that a stream is over. `orderly`: the proxy closed it.
    pub async fn disconnect(&self, id: StreamId, orderly: bool) {
        // Nobody needs to know when the publisher is gone.
        let _ = self.inputs.send(Input::Disconnected { id, orderly }).await;
    }

    /// This replica is about to end its streams itself: their endpoints stay as they are.
    pub async fn drain(&self) {
        // Nobody needs to know when the publisher is gone.
        let _ = self.inputs.send(Input::Drain).await;
    }

    /// What is known of a mesh's proxies; blocks the calling thread. Nothing when the publisher is gone.
    pub fn report(&self, mesh: &str) -> Report {
        let (answer, result) = oneshot::channel();
        let input = Input::Report { mesh: mesh.to_owned(), answer };
        if self.inputs.blocking_send(input).is_err() {
            return Report::default();
        }
        result.blocking_recv().unwrap_or_default()
    }
}

impl Sessions for Handle {
    fn connected(&self, mesh: &str) -> Vec<ConnectedProxy> {
        self.report(mesh).connected
    }

    fn rejections(&self, mesh: &str) -> Vec<Rejection> {
        self.report(mesh).rejections
    }

    fn diagnostics(&self, mesh: &str) -> Vec<Diagnostic> {
        self.report(mesh).diagnostics
    }
}

struct Driver {
    store: Arc<dyn Store>,
    feed: Feed,
    publisher: Publisher,
    senders: HashMap<StreamId, mpsc::Sender<ToStream>>,
    loaded: Arc<AtomicBool>,
    rate_limiter: RateLimiter,
}

impl Driver {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let woken = Arc::new(Notify::new());
        let subscription = self.store.subscribe({
            let woken = woken.clone();
            Box::new(move |_| woken.notify_one())
        });
        loop {
            self.catch_up(Instant::now());
            let wake_at = self.next_timeout().map(tokio::time::Instant::from_std);
            let sleep = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = inputs.recv() => match input {
                    None | Some(Input::Stop) => break,
                    Some(input) => self.handle(input),
                },
                () = woken.notified() => self.feed.handle_wake(Instant::now()),
                () = sleep => {}
            }
        }
        drop(subscription);
    }

    fn handle(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Connected { id, peer, channel, form, scope, to } => {
                self.senders.insert(id, to);
                self.publisher.handle_connected(now, id, peer, form, scope);
                if channel == Channel::Private {
                    self.publisher.handle_confided(id);
                }
            }
            Input::Message { id, message, room } => {
                self.publisher.handle_message(now, id, &message);
                drop(room);
            }
            Input::Disconnected { id, orderly } => {
                self.senders.remove(&id);
                self.publisher.handle_disconnected(now, id, orderly);
            }
            Input::Report { mesh, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.publisher.report(now, &mesh));
            }
            Input::Drain => self.publisher.handle_drain(),
            Input::Stop => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.feed.next_timeout(), self.publisher.next_timeout()].into_iter().flatten().min()
    }

    /// Does all that is due.
    fn catch_up(&mut self, now: Instant) {
        if self.feed.next_timeout().is_none_or(|at| at <= now) {
            match self.feed.poll(now, &*self.store) {
                Ok(events) => {
                    for event in events {
                        self.take_limits(&event);
                        self.publisher.handle_feed(now, event);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the store could not be read; what is known stays in force")
                }
            }
            self.loaded.store(self.publisher.is_loaded(), Ordering::Release);
        }
        if self.publisher.next_timeout().is_some_and(|at| at <= now) {
            self.publisher.handle_timeout(now);
        }
        let writes = self.publisher.poll_write(now);
        match registry::write(&*self.store, &writes) {
            Ok(refused) => {
                for place in refused {
                    tracing::info!(
                        mesh = place.mesh,
                        node = place.node,
                        address = %place.spot,
                        "the endpoint is held by a later session; this one's word does not count"
                    );
                    self.publisher.handle_refusal(now, &place);
                }
            }
            Err(error) => tracing::warn!(%error, "endpoints could not be written; tried again soon"),
        }
        self.transmit(now);
    }

    /// Passes a mesh's limits on to those who count.
    fn take_limits(&self, event: &FeedEvent) {
        if let FeedEvent::Mesh { name, snapshot, .. } = event {
            let limits = snapshot.as_ref().map(selvedge_translate::policy::limits);
            self.rate_limiter.set(name, limits.unwrap_or_default());
        }
    }

    fn transmit(&mut self, now: Instant) {
        while let Some(output) = self.publisher.poll_output() {
            match output {
                Output::Send { stream, message } => {
                    let sent = self.senders.get(&stream).map(|to| to.try_send(ToStream::Message(message)));
                    if let Some(Err(error)) = sent {
                        tracing::debug!(stream, %error, "a stream takes no messages");
                        self.senders.remove(&stream);
                        self.publisher.handle_disconnected(now, stream, false);
                    }
                }
                Output::End { stream, end } => {
                    if let Some(to) = self.senders.remove(&stream) {
                        // A stream that takes nothing ends by its sender's being dropped.
                        let _ = to.try_send(ToStream::End(end));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether a message joins the inputs at once.
    async fn joins(handle: &Handle, message: &Bytes) -> bool {
        tokio::time::timeout(Duration::ZERO, handle.message(0, message.clone())).await.is_ok()
    }

    #[tokio::test]
    async fn messages_wait_at_their_streams_when_their_bytes_are_too_many() {
        let (inputs, mut received) = mpsc::channel(INPUTS_MAX);
        let handle = Handle::new(inputs);
        let message = Bytes::from(vec![0; INPUT_BYTES_MAX / 4]);
        for _ in 0..4 {
            assert!(joins(&handle, &message).await);
        }
        assert!(!joins(&handle, &message).await);
        assert!(joins(&handle, &Bytes::new()).await, "nothing takes no room");
        drop(received.recv().await);
        assert!(joins(&handle, &message).await);
    }
}
