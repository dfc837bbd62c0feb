//! An application that speaks HTTP/2, and a client that does: tunnels, and gRPC.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

/// A running application: it takes tunnels and sends back what comes through them, and answers gRPC with the message it
/// was sent.
pub(crate) struct H2App {
    pub(crate) address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl H2App {
    /// `extended`: it says that it takes WebSockets on streams.
    pub(crate) fn start(extended: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    if extended {
                        builder.enable_connect_protocol();
                    }
                    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serve(request, respond));
                    }
                });
            }
        });
        Self { address, _runtime: runtime }
    }
}

async fn serve(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) -> Option<()> {
    let grpc = request.headers().get("content-type").is_some_and(|value| value == "application/grpc");
    let tunnel = request.method() == http::Method::CONNECT;
    let refuse = request.uri().path().ends_with("/refuse");
    let trailers_only = request.uri().path() == "/s/TrailersOnly";
    let told = request.headers().get("te").map(|te| te.to_str().unwrap_or_default().to_owned());
    let mut body = request.into_body();
    if refuse || !tunnel && !grpc {
        let refused = Response::builder().status(if refuse { 403 } else { 404 }).body(()).ok()?;
        let mut stream = respond.send_response(refused, false).ok()?;
        return stream.send_data(Bytes::from_static(b"no"), true).ok();
    }
    if trailers_only {
        let head = Response::builder().header("content-type", "application/grpc");
        let head = head.header("grpc-status", "5").header("grpc-message", "none").body(()).ok()?;
        respond.send_response(head, true).ok()?;
        return Some(());
    }
    let mut head = Response::builder();
    if grpc {
        head = head.header("content-type", "application/grpc").header("x-te", told.unwrap_or_default());
    }
    let mut stream = respond.send_response(head.body(()).ok()?, false).ok()?;
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        stream.send_data(data, false).ok()?;
    }
    if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        trailers.insert("x-trailer", http::HeaderValue::from_static("yes"));
        stream.send_trailers(trailers).ok()
    } else {
        stream.send_data(Bytes::new(), true).ok()
    }
}

/// What came of a stream: the status, whether it said it would change its protocol, and what came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: Option<u16>,
    pub(crate) names: Vec<String>,
    pub(crate) body: String,
}

/// Opens a stream, sends `payload` at once, and reads as many bytes back, or until the end.
pub(crate) fn ask(address: SocketAddr, request: Request<()>, payload: &'static str) -> Answered {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asking = async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let (client, mut connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        // What the server takes has come once it has answered a ping.
        let mut pings = connection.ping_pong().expect("pings");
        tokio::spawn(connection);
        pings.ping(h2::Ping::opaque()).await.expect("an answer");
        let mut client = client.ready().await.expect("open");
        let (response, mut stream) = client.send_request(request, false).expect("a request");
        let _ = stream.send_data(Bytes::from_static(payload.as_bytes()), false);
        let Ok(response) = response.await else {
            return Answered { status: None, names: Vec::new(), body: String::new() };
        };
        let own = ["date", "server", "x-envoy-upstream-service-time", "x-request-id"];
        let mut names: Vec<String> = response
            .headers()
            .keys()
            .map(|name| name.to_string())
            .filter(|name| !own.contains(&name.as_str()))
            .collect();
        names.sort();
        let status = Some(response.status().as_u16());
        let (mut body, mut content) = (String::new(), response.into_body());
        while body.len() < payload.len() {
            match content.data().await {
                Some(Ok(data)) => {
                    let _ = content.flow_control().release_capacity(data.len());
                    body.push_str(&String::from_utf8_lossy(&data));
                }
                _ => break,
            }
        }
        let _ = stream.send_data(Bytes::new(), true);
        Answered { status, names, body }
    };
    let bounded = async { tokio::time::timeout(std::time::Duration::from_secs(20), asking).await };
    runtime.block_on(bounded).expect("an answer in time")
}
