//! A call of the proxy's own through one of its clusters: small messages, one answer, a time-out.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use selvedge_http::framing::Framing;
use selvedge_http::head::{RequestHead, ResponseHead};
use selvedge_http::known::HeaderId;
use selvedge_traffic::HttpProtocol;
use selvedge_upstream::pool::{AcquireError, Protocol, StreamFailure, UpstreamStream, Wish};
use selvedge_upstream::{Cluster, Host, Outcome, PickContext, Priority};
use selvedge_wire::channel::{ChannelError, Content};

use crate::serve::worker::Worker;

/// The longest answer that is taken from a service.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What is called, and with what.
pub(super) struct Call<'a> {
    pub(super) cluster: &'a str,
    pub(super) head: RequestHead,
    pub(super) body: Vec<u8>,
    /// HTTP/2, whatever the cluster speaks otherwise.
    pub(super) grpc: bool,
    pub(super) timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
    /// gRPC's, from the trailers or, without a message, from the head.
    grpc_status: Option<u32>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFailure {
    #[error("there is no such cluster")]
    NoCluster,
    #[error("the cluster has no healthy host")]
    NoHost,
    #[error("no connection")]
    Acquire(#[from] AcquireError),
    #[error("no response")]
    Stream(#[from] StreamFailure),
    #[error("the exchange broke off")]
    Channel(#[from] ChannelError),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("gRPC status {0:?}")]
    Grpc(Option<u32>),
}

impl Answer {
    /// The message of a gRPC answer.
    pub(super) fn message(&self) -> Result<&[u8], CallFailure> {
        if self.head.status != 200 || self.grpc_status != Some(0) {
            return Err(CallFailure::Grpc(self.grpc_status));
        }
        // Not compressed, length, message.
        match self.body.split_at_checked(5) {
            Some(([0, length @ ..], message))
                if usize::try_from(u32::from_be_bytes([length[0], length[1], length[2], length[3]]))
                    == Ok(message.len()) =>
            {
                Ok(message)
            }
            _ => Err(CallFailure::Grpc(None)),
        }
    }
}

/// The head and the body of a gRPC call.
pub(super) fn grpc(authority: &str, path: &str, message: &[u8]) -> (RequestHead, Vec<u8>) {
    let mut head = request("POST", authority, path);
    head.fields.append(b"content-type", b"application/grpc");
    head.fields.append(b"te", b"trailers");
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(message);
    (head, body)
}

/// A head of the proxy's own.
pub(super) fn request(method: &str, authority: &str, path: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(method);
    head.set_scheme("http");
    head.set_authority(authority);
    head.set_path(path);
    head
}

/// Calls. A call that died on a kept-alive connection before anything came back is made once more.
pub(super) async fn call(worker: &Rc<Worker>, call: Call<'_>) -> Result<Answer, CallFailure> {
    let cluster = worker.clusters.get(call.cluster).ok_or(CallFailure::NoCluster)?;
    let timeout = call.timeout;
    match tokio::time::timeout(timeout, exchange(worker, &cluster, &call)).await {
        Ok(answered) => answered,
        Err(_) => {
            cluster.stats.upstream_rq_timeout.inc();
            Err(CallFailure::Timeout(timeout))
        }
    }
}

async fn exchange(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    call: &Call<'_>,
) -> Result<Answer, CallFailure> {
    let Ok(picked) = cluster.pick(&PickContext::default()) else {
        cluster.stats.upstream_cx_none_healthy.inc();
        return Err(CallFailure::NoHost);
    };
    let protocol = match cluster.config.protocol {
        _ if call.grpc => Protocol::Http2,
        HttpProtocol::Http2 => Protocol::Http2,
        HttpProtocol::Http1 | HttpProtocol::Downstream => Protocol::Http1,
    };
    let (host, mut leave) = (picked.host, picked.leave);
    let mut fresh = false;
    loop {
        let wish = Wish { fresh, ..Wish::new(Priority::Default) };
        let mut stream = worker.pools.acquire(cluster, &host, protocol, wish).await?;
        let failure = match once(&mut stream, cluster, &host, call).await {
            Ok(answer) => {
                leave.ended(answer.head.status < 500);
                stream.finish(true);
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        let stale = matches!(
            failure,
            CallFailure::Stream(StreamFailure::Closed { started: false } | StreamFailure::Unprocessed)
        );
        if fresh || !stale || !stream.is_reused() {
            host.report(Outcome::ConnectFailed);
            leave.ended(false);
            return Err(failure);
        }
        stream.closed_by_peer();
        fresh = true;
    }
}

async fn once(
    stream: &mut UpstreamStream,
    cluster: &Cluster,
    host: &Host,
    call: &Call<'_>,
) -> Result<Answer, CallFailure> {
    let framing = match call.body.len() {
        0 => Framing::None,
        _ if call.grpc => Framing::Chunked,
        len => Framing::Length(len as u64),
    };
    stream.send_head(&call.head, framing)?;
    let mut head = ResponseHead::default();
    let (mut sent, mut ended) = (0, false);
    poll_fn(|cx| {
        while !ended {
            let rest = &call.body[sent..];
            if rest.is_empty() {
                if stream.channel.end(None).is_err() {
                    break;
                }
                ended = true;
            } else {
                match stream.channel.poll_send(cx, rest, true) {
                    Poll::Ready(Ok(len)) => {
                        sent += len;
                        ended = sent == call.body.len() && stream.protocol() == Protocol::Http2;
                    }
                    // There may be an answer all the same.
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                }
            }
        }
        let _ = stream.channel.poll_flush(cx);
        stream.poll_head(cx, call.head.method(), &mut head)
    })
    .await?;
    host.report(Outcome::Status(head.status));
    cluster.stats.rq.record(head.status);
    cluster.stats.external.record(head.status);
    if head.status >= 500 { &host.stats.rq_error } else { &host.stats.rq_success }.inc();
    let mut body = Vec::new();
    while poll_fn(|cx| stream.channel.poll_content(cx)).await? == Content::Bytes {
        let bytes = stream.channel.content();
        if body.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(CallFailure::TooLong);
        }
        body.extend_from_slice(bytes);
        let len = bytes.len();
        stream.channel.consume(len);
    }
    let status = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
    let of_trailers = stream.channel.trailers().and_then(|fields| fields.get(HeaderId::GrpcStatus));
    let grpc_status = of_trailers.or_else(|| head.fields.get(HeaderId::GrpcStatus)).and_then(status);
    Ok(Answer { head, body, grpc_status })
}
