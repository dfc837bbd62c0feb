//! A version of the demo's service: answers every request with its own name, and counts.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Names the version in an answer.
pub(super) const VERSION_HEADER: &str = "x-version";

/// A running version; it stops when dropped.
#[derive(Debug)]
pub(super) struct App {
    pub(super) address: SocketAddr,
    received: Arc<AtomicU64>,
    server: AbortHandle,
}

impl App {
    /// Starts a version on a port that the system picks.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub(super) async fn start(version: &'static str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let received = Arc::new(AtomicU64::new(0));
        let server = tokio::spawn(serve(listener, version, Arc::clone(&received))).abort_handle();
        Ok(Self { address, received, server })
    }

    /// Requests answered so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, version: &'static str, received: Arc<AtomicU64>) {
    // Owns the connections, so that they end with the server.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let received = Arc::clone(&received);
        let service = service_fn(move |request: Request<Incoming>| {
            received.fetch_add(1, Ordering::Relaxed);
            let body = format!("{{\"version\":\"{version}\",\"path\":\"{}\"}}\n", request.uri().path());
            let response = Response::builder()
                .header("content-type", "application/json")
                .header(VERSION_HEADER, version)
                .body(Full::new(Bytes::from(body)))
                .expect("fixed headers are valid");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}
