//! The socket in front of the API: HTTP/1.1 and HTTP/2 on one port, gRPC to the discovery service, the rest to [`Api::handle`].
//!
//! Everything that a stranger can make grow is bounded here: connections, header bytes and count, streams, body bytes, and the time
//! that each may take.

mod authority;
mod listener;
mod tls;

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT, HOST, HeaderValue, ORIGIN};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use selvedge_aws::BODY_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;

use crate::api::{Answer, Api, Channel};
use authority::Mended;
use listener::Accepted;
pub use listener::{Listener, UnixSocket, listen};
pub use tls::{TLS_HANDSHAKE_TIMEOUT, Tls, TlsError};

/// Connections at a time. Each sidecar keeps one, and clients of the API come and go.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections that the kernel holds until they are accepted; it may be set to hold fewer. All sidecars of a mesh come back at once.
pub const BACKLOG: u32 = 4096;
/// Calls of the API that may be in the store at a time; more wait their turn.
pub const CALLS_MAX: usize = 64;
/// Calls that may wait their turn; more are told to come back.
pub const CALLS_WAITING_MAX: usize = 1024;
/// Calls that may wait for something to happen, such as an activity's next task; more are told to come back.
pub const POLLS_MAX: usize = 8192;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Bytes that the head of a request may have.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests at a time on one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 256;
/// How long the head of a request may take to arrive, counted from the end of the request before.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the body of a request may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a body that is too long which are still read, and thrown away, before the refusal: a client that writes its
/// whole body before it reads would otherwise meet a reset and never see the answer.
pub const EXCESS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long that may take.
pub const EXCESS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
pub const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long an accept that failed for want of resources is not tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The server of its listening sockets.
pub struct Server {
    api: Arc<Api>,
    grpc: Option<Routes>,
    connections: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    waiting: Semaphore,
    polls: Semaphore,
}

impl Server {
    /// A server of that API; requests of content type `application/grpc` go to `grpc`, where there is one.
    pub fn new(api: Arc<Api>, grpc: Option<Routes>) -> Self {
        Self {
            api,
            grpc,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            waiting: Semaphore::new(CALLS_WAITING_MAX),
            polls: Semaphore::new(POLLS_MAX),
        }
    }

    /// Serves until `drain` turns true, then lets what is in flight finish for at most `deadline`.
    ///
    /// The listener is closed as soon as the drain begins, so that nobody waits in its queue.
    pub async fn run(self, listener: TcpListener, drain: watch::Receiver<bool>, deadline: Duration) {
        Arc::new(self).run_on(Listener::Tcp(listener), drain, deadline).await;
    }

    /// The same for one of several listening sockets, which share the server's limits.
    pub async fn run_on(
        self: Arc<Self>,
        listener: Listener,
        mut drain: watch::Receiver<bool>,
        deadline: Duration,
    ) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = is_true(&mut drain) => break,
                Some(_) = connections.join_next() => {}
                (accepted, permit) = self.accept(&listener) => {
                    let (server, drain) = (Arc::clone(&self), drain.clone());
                    let (peer, channel) = (accepted.peer(), accepted.channel());
                    match accepted {
                        Accepted::Tcp(stream) => connections.spawn(server.serve(stream, (peer, channel), permit, drain)),
                        Accepted::Unix(stream) => {
                            connections.spawn(server.serve(Mended::new(stream), (peer, channel), permit, drain))
                        }
                        Accepted::Tls(stream, tls) => connections.spawn(async move {
                            match tls.accept(stream).await {
                                Ok(stream) => server.serve(stream, (peer, channel), permit, drain).await,
                                Err(error) => tracing::debug!(%error, "no handshake"),
                            }
                        }),
                    };
                }
            }
        }
        drop(listener);
        let finish = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, finish).await.is_err() {
            tracing::warn!(left = connections.len(), "connections were still open at the deadline");
            connections.abort_all();
        }
    }

    /// The next connection. Waits while there are as many as there may be.
    async fn accept(&self, listener: &Listener) -> (Accepted, OwnedSemaphorePermit) {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok(accepted) => return (accepted, permit),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Self>,
        stream: S,
        (peer, channel): (Option<TcpConnectInfo>, Channel),
        _permit: OwnedSemaphorePermit,
        mut drain: watch::Receiver<bool>,
    ) {
        let service = service_fn(|mut request: Request<Incoming>| {
            // The discovery service wants to know where a sidecar is.
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            request.extensions_mut().insert(channel);
            Arc::clone(&self).answer(request)
        });
        let builder = builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = is_true(&mut drain) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if is_grpc(&request)
            && let Some(routes) = &self.grpc
        {
            return TowerToHyperService::new(routes.clone()).call(request).await;
        }
        Ok(self.answer_api(request).await.map(|bytes| Body::new(Full::new(bytes))))
    }

    async fn answer_api(&self, request: Request<Incoming>) -> Response<Bytes> {
        let (head, mut body) = request.into_parts();
        // RFC 9112, section 3.2.
        if head.version == Version::HTTP_11 && head.headers.get_all(HOST).iter().count() != 1 {
            return refuse(
                StatusCode::BAD_REQUEST,
                "BadRequestException",
                "exactly one Host header is needed",
            );
        }
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            // Who asks beforehand is told beforehand.
            if !head.headers.contains_key(EXPECT) {
                pass_over(&mut body).await;
            }
            return too_large();
        }
        let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(&mut body, BODY_BYTES_MAX).collect())
            .await
        {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                pass_over(&mut body).await;
                return too_large();
            }
            Ok(Err(_)) => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "BadRequestException",
                    "the body did not arrive whole",
                );
            }
            Err(_) => {
                return refuse(
                    StatusCode::REQUEST_TIMEOUT,
                    "RequestTimeoutException",
                    "the body did not arrive in time",
                );
            }
        };
        let Ok(waiting) = self.waiting.try_acquire() else {
            let message = "too many requests are waiting; try again";
            return refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message);
        };
        let turn = Arc::clone(&self.calls).acquire_owned().await;
        drop(waiting);
        let api = Arc::clone(&self.api);
        let request = Request::from_parts(head, body);
        let is_alone = self.calls.available_permits() + 1 == CALLS_MAX;
        let call = move || {
            // A call goes on when its caller hangs up, and keeps its place for as long.
            let _turn = turn;
            api.begin(&request)
        };
        let answer = if is_alone && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
            // Nobody to share a thread, or a commit, with: the thread that read the request goes on with it, and its other work
            // is taken over. Two threads fewer have to be woken between a request and its answer.
            tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(call))).ok()
        } else {
            let answered = tokio::task::spawn_blocking(call).await;
            answered.inspect_err(|error| tracing::error!(%error, "a call did not come back")).ok()
        };
        match answer {
            Some(Answer::Now(response)) => response,
            Some(Answer::Later(response)) => self.wait(response).await,
            None => refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerErrorException",
                "the request failed for a reason that is in the server's log",
            ),
        }
    }

    /// Waits for an answer that takes its time. It holds nobody else's turn.
    async fn wait(&self, response: impl Future<Output = Response<Bytes>>) -> Response<Bytes> {
        let Ok(_place) = self.polls.try_acquire() else {
            let message = "too many requests are waiting for something to happen; try again";
            return refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message);
        };
        response.await
    }
}

/// Reads what is left of a body and keeps nothing of it.
async fn pass_over(body: &mut Incoming) {
    let pass = async {
        let mut left = EXCESS_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(1, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Whether it came to its end or not, the answer is the same.
    let _ = tokio::time::timeout(EXCESS_TIMEOUT, pass).await;
}

fn too_large() -> Response<Bytes> {
    let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
    refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", &message)
}

/// An AWS-shaped error from before the request reached the API.
fn refuse(status: StatusCode, code: &'static str, message: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "__type": code, "message": message });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-amzn-errortype", HeaderValue::from_static(code));
    response
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let head_bytes_max = u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    let (interval, timeout) = KEEP_ALIVE;
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(head_bytes_max)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout);
    builder
}

/// A request for the discovery service. A web page's is none: it says its origin, and goes where that is refused.
fn is_grpc(request: &Request<Incoming>) -> bool {
    if request.version() != Version::HTTP_2 || request.headers().contains_key(ORIGIN) {
        return false;
    }
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
}

/// Waits until the flag is up, or whoever could raise it is gone.
async fn is_true(flag: &mut watch::Receiver<bool>) {
    // The error means that the sender was dropped, which ends the server too.
    let _ = flag.wait_for(|is_up| *is_up).await;
}
