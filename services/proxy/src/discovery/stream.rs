//! A discovery stream: gRPC over HTTP/2, messages as bytes.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use hyper_util::rt::TokioIo;
use selvedge_wire::tls::{Trust, TrustedStream};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::frames::{self, Frames};
use crate::bootstrap::XdsEndpoint;

/// A connection is up within this, or the control plane counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A half-open connection is found out by pings.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// No response is larger: what a control plane sends to one proxy.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// Requests that wait for the network; a session never has more than a few.
const REQUESTS_MAX: usize = 1024;

type Opening = Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>>;
type Calling = Pin<Box<dyn Future<Output = io::Result<TokioIo<TrustedStream>>> + Send>>;
type Answering = Pin<Box<dyn Future<Output = Result<Frames<tonic::body::Body>, Status>> + Send>>;

/// A link to a discovery service in whichever state it is.
pub(super) enum Link {
    Closed,
    Connecting {
        opening: Opening,
        method: &'static str,
    },
    /// Requests flow; the answer to the call itself is outstanding.
    Calling {
        requests: Option<mpsc::Sender<Bytes>>,
        call: Answering,
    },
    Open {
        requests: Option<mpsc::Sender<Bytes>>,
        responses: Box<Frames<tonic::body::Body>>,
    },
}

/// What happened on a link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Requests may be sent.
    Connected,
    Response(Bytes),
    Closed(String),
}

impl Link {
    /// Begins to connect, to call a method.
    pub(super) fn connect(endpoint: &XdsEndpoint, method: &'static str) -> Self {
        let (uri, endpoint) = (endpoint.uri(), endpoint.clone());
        let opening: Opening = Box::pin(async move {
            let channel = Endpoint::from_shared(uri)?
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            match endpoint {
                XdsEndpoint::Tcp { host, port, tls: Some(trust) } => {
                    channel.connect_with_connector(Caller { host, port, trust }).await
                }
                _ => channel.connect().await,
            }
        });
        Self::Connecting { opening, method }
    }

    /// Sends a request; a link that takes no more is broken and says so at [`Link::event`].
    pub(super) fn send(&mut self, request: Bytes) {
        let sent = match self {
            Self::Calling { requests: Some(requests), .. } | Self::Open { requests: Some(requests), .. } => {
                requests.try_send(request).is_ok()
            }
            // After `finish` nothing is said any more.
            Self::Calling { requests: None, .. } | Self::Open { requests: None, .. } => true,
            Self::Closed | Self::Connecting { .. } => false,
        };
        if !sent {
            *self = Self::Closed;
        }
    }

    /// Takes leave in an orderly way: the stream's request side ends, which tells the control plane that this proxy is
    /// going and has not merely lost its connection.
    pub(super) fn finish(&mut self) {
        match self {
            Self::Calling { requests, .. } | Self::Open { requests, .. } => *requests = None,
            Self::Closed | Self::Connecting { .. } => *self = Self::Closed,
        }
    }

    /// Waits for something to happen; may be dropped and called again without loss. A closed link stays silent.
    pub(super) async fn event(&mut self) -> LinkEvent {
        let closed = loop {
            match self {
                Self::Closed => std::future::pending().await,
                Self::Connecting { opening, method } => match opening.as_mut().await {
                    Ok(channel) => {
                        let (requests, queued) = mpsc::channel(REQUESTS_MAX);
                        let call = call(channel, method, queued);
                        *self = Self::Calling { requests: Some(requests), call };
                        return LinkEvent::Connected;
                    }
                    Err(error) => break text(&error),
                },
                Self::Calling { requests, call } => match call.as_mut().await {
                    Ok(responses) => {
                        let responses = Box::new(responses);
                        *self = Self::Open { requests: requests.take(), responses };
                    }
                    Err(status) => break refused(&status),
                },
                Self::Open { responses, .. } => match responses.next().await {
                    Ok(Some(message)) => return LinkEvent::Response(message),
                    Ok(None) => break "the service ended the stream".to_owned(),
                    Err(status) => break refused(&status),
                },
            }
        };
        *self = Self::Closed;
        LinkEvent::Closed(closed)
    }
}

/// Calls the control plane by TLS.
struct Caller {
    host: String,
    port: u16,
    trust: Trust,
}

impl Service<Uri> for Caller {
    type Response = TokioIo<TrustedStream>;
    type Error = io::Error;
    type Future = Calling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Calling {
        let (host, port, trust) = (self.host.clone(), self.port, self.trust.clone());
        Box::pin(async move { trust.call(&host, port).await.map(TokioIo::new) })
    }
}

fn call(mut channel: Channel, method: &'static str, requests: mpsc::Receiver<Bytes>) -> Answering {
    Box::pin(async move {
        let broken = |error: tonic::transport::Error| Status::unavailable(text(&error));
        poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
        // The channel knows scheme and authority.
        let mut request = http::Request::new(frames::requests(requests));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(method);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        Frames::new(channel.call(request).await.map_err(broken)?, RESPONSE_BYTES_MAX)
    })
}

/// An answer that ended the stream, in the words that operators of Envoy look for: the code tells a node that does not
/// exist (3) from one that may not connect (7, 8, 16) and from a control plane that is away (14).
fn refused(status: &Status) -> String {
    let mut said = format!("gRPC config stream closed: {}, {}", i32::from(status.code()), status.message());
    // What the connection met, such as a certificate that is missed, is behind it.
    if let Some(cause) = status.source() {
        let cause = text(cause);
        if !said.ends_with(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

/// An error with its causes: a transport's own text says little.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_stream_is_told_by_code_as_envoy_tells_it() {
        let status = Status::invalid_argument("virtual node v of mesh m does not exist");
        let told = refused(&status);
        assert_eq!(told, "gRPC config stream closed: 3, virtual node v of mesh m does not exist");
    }
}
