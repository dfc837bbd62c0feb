//! Services that filters ask: over gRPC and over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use selvedge_traffic::{Cluster, HttpProtocol};
use tokio::net::{TcpListener, TcpStream};

use crate::mesh::cluster;

/// Serves until the test ends.
pub(crate) struct Service {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

type Answering = dyn Fn(&str, &[u8]) -> Option<Vec<u8>> + Send + Sync;

impl Service {
    /// Answers gRPC calls: path and message to message; `None` never answers.
    pub(crate) fn grpc(answer: impl Fn(&str, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let answer: Arc<Answering> = Arc::new(answer);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&answer)));
            }
        });
        Self { address, _runtime: runtime }
    }

    pub(crate) fn cluster(&self, name: &str) -> Cluster {
        Cluster { protocol: HttpProtocol::Http2, ..cluster(name, &[self.address]) }
    }
}

async fn connection(stream: TcpStream, answer: Arc<Answering>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let mut bytes = BytesMut::new();
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            reply(respond, answer(&path, bytes.get(5..).unwrap_or_default())).await;
        });
    }
}

async fn reply(mut respond: h2::server::SendResponse<Bytes>, message: Option<Vec<u8>>) {
    let Some(message) = message else { return std::future::pending().await };
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(mut send) = respond.send_response(head, false) else { return };
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    let _ = send.send_data(frame.into(), false);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let _ = send.send_trailers(trailers);
}

/// A field of a protobuf message that holds bytes.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend_from_slice(bytes);
    out
}

/// A field of a protobuf message that holds a number.
pub(crate) fn number(field: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}
