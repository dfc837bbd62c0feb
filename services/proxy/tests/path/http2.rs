//! HTTP/2 on either side, and gRPC across.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use selvedge_traffic::{Cluster, Forward, HttpProtocol, RetryOn, RetryPolicy};
use tokio::net::{TcpListener, TcpStream};

use crate::mesh::{Mesh, cluster, forward, http as connection_manager, route};
use crate::upstream::Upstream;

type Client = h2::client::SendRequest<Bytes>;

async fn connect(address: SocketAddr) -> Client {
    let (client, connection) =
        h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// What a client got.
#[derive(Debug)]
struct Answer {
    response: Response<()>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

async fn ask(client: &Client, request: Request<()>, body: &[u8], trailers: bool) -> Answer {
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut send) = client.send_request(request, body.is_empty() && !trailers).unwrap();
    let body = body.to_vec();
    let sending = tokio::spawn(async move {
        let mut rest = Bytes::from(body);
        while !rest.is_empty() {
            send.reserve_capacity(rest.len());
            let granted = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
            let part = rest.split_to(granted.min(rest.len()));
            send.send_data(part, rest.is_empty() && !trailers).unwrap();
        }
        if trailers {
            let mut map = HeaderMap::new();
            map.insert("x-end", "1".parse().unwrap());
            send.send_trailers(map).unwrap();
        }
        send
    });
    let (parts, mut receive) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(data) = receive.data().await {
        let data = data.unwrap();
        receive.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    let trailers = receive.trailers().await.unwrap();
    let _ = sending.await;
    Answer { response: Response::from_parts(parts, ()), body, trailers }
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://h{path}")).body(()).unwrap()
}

fn grpc(path: &str) -> Request<()> {
    Request::post(format!("http://h{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// An HTTP/2 upstream that echoes bodies, with trailers. Runs on the calling runtime.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut nth = 0;
                while let Some(Ok((request, respond))) = connection.accept().await {
                    nth += 1;
                    tokio::spawn(echo(request, respond, nth));
                }
            });
        }
    });
    address
}

async fn echo(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>, nth: u32) {
    let path = request.uri().path().to_owned();
    if path.contains("refused") && nth == 1 {
        return respond.send_reset(h2::Reason::REFUSED_STREAM);
    }
    if path.contains("reset") {
        return respond.send_reset(h2::Reason::INTERNAL_ERROR);
    }
    if path.contains("unavailable") {
        let response =
            Response::builder().header("content-type", "application/grpc").header("grpc-status", "14");
        let _ = respond.send_response(response.body(()).unwrap(), true);
        return;
    }
    let mut response = Response::builder().header("content-type", "application/grpc");
    for name in ["te", "host", "connection", "x-forwarded-proto"] {
        if let Some(value) = request.headers().get(name) {
            response = response.header(format!("saw-{name}"), value);
        }
    }
    let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        let mut rest = data;
        while !rest.is_empty() {
            send.reserve_capacity(rest.len());
            let Some(Ok(granted)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else { return };
            send.send_data(rest.split_to(granted.min(rest.len())), false).unwrap();
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    if let Ok(Some(from_client)) = body.trailers().await {
        trailers.extend(from_client);
    }
    send.send_trailers(trailers).unwrap();
}

fn speaking_http2(name: &str, address: SocketAddr) -> Cluster {
    Cluster { protocol: HttpProtocol::Http2, ..cluster(name, &[address]) }
}

fn mesh(forward: Forward, cluster: Cluster) -> Mesh {
    Mesh::http(connection_manager(vec![route("/", forward)]), vec![cluster])
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_reach_http1_hosts() {
    let host = Upstream::start();
    let mesh = tokio::task::block_in_place(|| mesh(forward("up"), cluster("up", &[host.address])));
    let client = connect(mesh.address).await;
    let answer = ask(&client, get("/e?x=1"), b"", false).await;
    assert_eq!(answer.response.status(), 200);
    let seen = String::from_utf8(answer.body).unwrap();
    assert!(seen.starts_with("GET /e?x=1 HTTP/1.1\r\nhost: h\r\n"), "{seen}");
    assert!(answer.response.headers().get("connection").is_none());
    assert_eq!(answer.response.headers()["server"], "envoy");
    let body = vec![b'x'; 300_000];
    let answer = ask(&client, Request::post("http://h/e").body(()).unwrap(), &body, false).await;
    assert!(answer.body.ends_with(&body));
    let many = (0..40).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { ask(&client, get("/e"), b"", false).await.response.status() })
    });
    for asked in many.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 200);
    }
    let answer = ask(&client, get("/e/large"), b"", false).await;
    assert_eq!(answer.body.len(), 3_000_000);
    tokio::task::block_in_place(|| {
        mesh.await_stat("http.in.downstream_rq_http2_total", 43);
        mesh.await_stat("http.in.downstream_rq_active", 0);
        assert!(mesh.log(43)[0].starts_with("200 - via_upstream GET /e?x=1 HTTP/2 "));
        drop(mesh);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_with_its_trailers() {
    let address = upstream().await;
    let mesh = tokio::task::block_in_place(|| mesh(forward("up"), speaking_http2("up", address)));
    let client = connect(mesh.address).await;
    for size in [0usize, 5, 1_000_000] {
        let body = vec![b'g'; size];
        let answer = ask(&client, grpc("/s/m"), &body, true).await;
        assert_eq!(answer.response.status(), 200);
        assert!(answer.body == body, "{size}");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-end"]),
            (&"0".parse().unwrap(), &"1".parse().unwrap())
        );
        assert_eq!(answer.response.headers()["saw-te"], "trailers");
    }
    tokio::task::block_in_place(|| {
        assert_eq!(mesh.stat("cluster.up.upstream_cx_http2_total"), 1);
        mesh.await_stat("cluster.up.upstream_rq_200", 3);
        mesh.await_stat("cluster.up.upstream_rq_active", 0);
        drop(mesh);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_are_answered_in_grpc() {
    let mesh = tokio::task::block_in_place(|| mesh(forward("up"), cluster("up", &[])));
    let client = connect(mesh.address).await;
    let answer = ask(&client, grpc("/s/m"), b"", false).await;
    let headers = answer.response.headers();
    assert_eq!((answer.response.status().as_u16(), &headers["grpc-status"]), (200, &"14".parse().unwrap()));
    assert_eq!(headers["grpc-message"], "no healthy upstream");
    tokio::task::block_in_place(|| drop(mesh));
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_and_statuses_of_http2_hosts_are_retried() {
    let address = upstream().await;
    let on = RetryOn::REFUSED_STREAM.with(RetryOn::GRPC_UNAVAILABLE);
    let retry = RetryPolicy { on, retries_max: 2, ..RetryPolicy::default() };
    let retrying = Forward { retry: Some(retry.into()), ..forward("up") };
    let mesh = tokio::task::block_in_place(|| mesh(retrying, speaking_http2("up", address)));
    let client = connect(mesh.address).await;
    assert_eq!(ask(&client, grpc("/refused"), b"", true).await.response.status(), 200);
    let answer = ask(&client, grpc("/unavailable"), b"", true).await;
    assert_eq!(answer.response.headers()["grpc-status"], "14");
    let answer = ask(&client, get("/reset"), b"", false).await;
    assert_eq!(answer.response.status(), 503);
    let log = tokio::task::block_in_place(|| mesh.log(3));
    assert!(
        log[0].starts_with("200 - via_upstream POST /refused HTTP/2 ") && log[0].ends_with(" 2"),
        "{log:?}"
    );
    assert!(
        log[1].starts_with("200 URX via_upstream POST /unavailable HTTP/2 ") && log[1].ends_with(" 3"),
        "{log:?}"
    );
    assert!(
        log[2].starts_with("503 UR upstream_reset_before_response_started{remote_reset} GET /reset"),
        "{log:?}"
    );
    tokio::task::block_in_place(|| drop(mesh));
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_clients_reach_http2_hosts() {
    let address = upstream().await;
    let mesh = tokio::task::block_in_place(|| mesh(forward("up"), speaking_http2("up", address)));
    tokio::task::block_in_place(|| {
        let mut client = mesh.connect();
        for size in [1usize, 200_000] {
            let body = "b".repeat(size);
            let answer =
                client.ask(&format!("POST /e HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{body}"));
            assert_eq!((answer.status, answer.body.len()), (200, size));
            assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
            assert_eq!(answer.header("saw-x-forwarded-proto"), Some("http"));
        }
        drop(mesh);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_speak_http2_broke_the_protocol() {
    let host = Upstream::start();
    let mesh = tokio::task::block_in_place(|| mesh(forward("up"), speaking_http2("up", host.address)));
    tokio::task::block_in_place(|| {
        assert_eq!(mesh.get("/garbage").status, 502);
        assert!(mesh.log(1)[0].starts_with("502 UPE upstream_reset_before_response_started{protocol_error}"));
        drop(mesh);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_says_goaway_and_finishes_what_is_in_flight() {
    let host = Upstream::start();
    let mut mesh = tokio::task::block_in_place(|| mesh(forward("up"), cluster("up", &[host.address])));
    let client = connect(mesh.address).await;
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { ask(&client, get("/slow"), b"", false).await.response.status() })
    };
    tokio::task::block_in_place(|| mesh.await_stat("cluster.up.upstream_rq_active", 1));
    let (now, ms) = (std::time::Instant::now(), std::time::Duration::from_millis);
    mesh.drain.send_replace(selvedge_wire::drain::DrainState::begin(now, ms(50), ms(10_000)).into());
    assert_eq!(slow.await.unwrap(), 200);
    mesh.serving.ended().await;
    assert!(now.elapsed() < ms(5000));
    assert!(client.ready().await.is_err(), "the connection is gone");
    tokio::task::block_in_place(|| drop(mesh));
}

/// An HTTP/2 upstream whose first connection goes away as soon as a request is under way, having looked at none.
async fn leaving() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        // Preface, then frames until HEADERS (type 1).
        let is_asked = |bytes: &[u8]| {
            let mut at = 24;
            while let Some(header) = bytes.get(at..at + 9) {
                if header[3] == 1 {
                    return true;
                }
                at += 9 + usize::from(header[1]) * 256 + usize::from(header[2]);
            }
            false
        };
        // SETTINGS, empty.
        tokio::io::AsyncWriteExt::write_all(&mut first, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        while !is_asked(&seen) {
            tokio::io::AsyncReadExt::read_buf(&mut first, &mut seen).await.unwrap();
        }
        // GOAWAY: last stream 0, NO_ERROR.
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        tokio::io::AsyncWriteExt::write_all(&mut first, &goaway).await.unwrap();
        let (second, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(second).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(echo(request, respond, 2));
        }
        drop(first);
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_leaving_host_never_looked_at_is_sent_again() {
    let address = leaving().await;
    let mesh = tokio::task::block_in_place(|| mesh(forward("up"), speaking_http2("up", address)));
    let client = connect(mesh.address).await;
    let answer = ask(&client, Request::post("http://h/e").body(()).unwrap(), b"", false).await;
    assert_eq!(answer.response.status(), 200);
    tokio::task::block_in_place(|| {
        assert_eq!(mesh.stat("cluster.up.upstream_rq_retry"), 0);
        drop(mesh);
    });
}
