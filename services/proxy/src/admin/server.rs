//! The HTTP server of the admin endpoint.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot, watch};

use super::query::Query;
use super::reply::{Body, Reply};
use super::{Subject, command, host};

/// More connections than this wait until one ends.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must have come within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The share of a core that the admin thread has beside a worker: a tenth, of what both want.
const NICENESS: i32 = 10;
/// No connection lives longer, idle or not.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);

/// What keeps the admin endpoint from starting.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the admin endpoint cannot listen on {0}")]
    Bind(SocketAddr, #[source] io::Error),
    #[error("the admin thread cannot be started")]
    Thread(#[source] io::Error),
}

/// A running admin endpoint; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    pub address: SocketAddr,
    /// For a successor.
    pub(crate) socket: TcpListener,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens – at a predecessor's socket, if there is one – and serves on a thread of its own, while not `paused`.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread not be started.
    pub fn start(
        subject: Subject,
        inherited: Option<TcpListener>,
        paused: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let wanted = subject.bootstrap.admin;
        let bind = |error| Error::Bind(wanted, error);
        let listener = match inherited {
            Some(listener) => listener,
            None => TcpListener::bind(wanted).map_err(bind)?,
        };
        let copy = listener.try_clone().map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                give_way();
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, subject, paused) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(Error::Thread)?;
        Ok(Self { address, socket: copy, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic on the admin thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Lets every other thread run before the calling one: whoever reads statistics is in no hurry, and workers that share its
/// core are.
fn give_way() {
    // `None` is the calling thread to Linux. A system that forbids it loses nothing but this.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the admin thread keeps its priority");
    }
}

async fn serve(listener: TcpListener, subject: Subject, mut paused: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "failed to serve the admin endpoint");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let subject = Arc::new(subject);
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        // Whoever paused it has gone with the sender: it goes on.
        let _ = paused.wait_for(|paused| !paused).await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Ok(()) = paused.changed() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "failed to accept an admin connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let subject = Arc::clone(&subject);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&subject, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // How an admin client leaves is its own affair.
            let _ = tokio::time::timeout(CONNECTION_AGE_MAX, connection).await;
            drop(place);
        });
    }
}

fn answer(subject: &Subject, request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let name = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let reply = if host::is_trusted(name) {
        let uri = request.uri();
        let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let query = Query::parse(uri.query().unwrap_or_default()).accepting(accept.unwrap_or_default());
        command::run(subject, request.method(), uri.path(), &query)
    } else {
        Reply::status(StatusCode::FORBIDDEN, "the Host header must be localhost or an address\n")
    };
    let body = match reply.body {
        _ if request.method() == Method::HEAD => Empty::new().boxed(),
        Body::Whole(text) => Full::from(text).boxed(),
        // Each piece is made when the client has room for it.
        Body::Pieces(pieces) => {
            let frames = pieces.map(|piece| Ok(Frame::data(Bytes::from(piece))));
            StreamBody::new(tokio_stream::iter(frames)).boxed()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    let fixed = header::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed(reply.content_type));
    headers.insert(header::CACHE_CONTROL, fixed("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::SERVER, fixed("selvedge"));
    response
}
