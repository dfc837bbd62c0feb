//! Bodies that change on their way: gRPC for browsers, and what was packed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_traffic::filter::{Decompressor, PackedBy, Unpack};
use selvedge_traffic::*;

use crate::h2_app::H2App;
use crate::planes::{Plane, both};
use crate::{check_equal, cluster, group, http, to};

fn entry(name: &str, filter: HttpFilter) -> FilterEntry {
    FilterEntry { name: name.to_owned(), disabled: false, filter }
}

fn at(name: &str, address: SocketAddr) -> Cluster {
    cluster(name, vec![group(vec![Endpoint::new(Address::Socket(address))])])
}

/// A POST on a connection of its own: status, some headers, and the body.
fn post(plane: &Plane, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    let answer = plane.say(0, &[head.as_bytes(), body].concat());
    let at = answer.windows(4).position(|at| at == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(&answer[at + 4..]) } else { answer[at + 4..].to_vec() };
    let kept = ["content-type", "content-encoding", "grpc-", "x-te", "x-told"];
    let mut lines: Vec<&str> =
        head.lines().skip(1).filter(|line| kept.iter().any(|name| line.starts_with(name))).collect();
    lines.sort_unstable();
    (head[9..12].parse().expect("a status"), lines.join("\n"), body)
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|at| at == b"\r\n") {
        let length =
            std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(length @ 1..) = length else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
    body
}

/// The messages of a response, and its trailers as a set.
fn frames(body: &[u8]) -> Vec<(u8, Vec<String>)> {
    let (mut frames, mut rest) = (Vec::new(), body);
    while let Some((head, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&after[..length]).split("\r\n").map(str::to_owned).collect();
        lines.sort();
        frames.push((head[0], lines));
        rest = &after[length..];
    }
    frames
}

#[test]
fn a_browser_speaks_grpc_in_either_form() {
    let app = H2App::start(false);
    let up = Cluster { protocol: HttpProtocol::Http2, ..at("up", app.address) };
    let http = HttpConnection {
        filters: vec![entry("web", HttpFilter::GrpcWeb)],
        ..http(vec![("/s/Nobody", to("nobody")), ("/", to("up"))])
    };
    let nobody = cluster("nobody", Vec::new());
    let Some(planes) = both(&http, &[up, nobody]) else { return };
    let message = b"\0\0\0\0\x05hello\0\0\0\0\x06again!";
    let text = STANDARD.encode(message);
    let binary = |kind: &str| format!("content-type: {kind}\r\nx-grpc-web: 1\r\n");
    let texts = |kind: &str| format!("content-type: {kind}\r\naccept: application/grpc-web-text\r\n");
    for (path, headers, body, is_text) in [
        ("/s/m", binary("application/grpc-web"), &message[..], false),
        ("/s/m", binary("application/grpc-web+proto"), &message[..], false),
        ("/s/m", texts("application/grpc-web-text"), text.as_bytes(), true),
        ("/s/m", texts("application/grpc-web-text+proto"), text.as_bytes(), true),
        // Text in, binary out.
        ("/s/m", binary("application/grpc-web-text"), text.as_bytes(), false),
        ("/s/TrailersOnly", binary("application/grpc-web"), &message[..], false),
        // An answer of the proxy's own.
        ("/s/Nobody", binary("application/grpc-web"), &message[..], false),
        ("/s/m", "content-type: application/grpc\r\nte: trailers\r\n".to_owned(), &message[..], false),
    ] {
        let seen = check_equal(&planes, &format!("{path} {headers}"), |plane| {
            let (status, head, body) = post(plane, path, &headers, body);
            let body = match is_text {
                // Each part may end with padding of its own.
                true => {
                    body.chunks_exact(4).flat_map(|group| STANDARD.decode(group).expect("base64")).collect()
                }
                false => body,
            };
            (status, head, frames(&body))
        });
        assert_eq!(seen.0, if path == "/s/Nobody" { 503 } else { 200 }, "{path}: {seen:?}");
    }
    let broken = check_equal(&planes, "broken text", |plane| {
        ["A*==", "AAAAA"]
            .map(|body| post(plane, "/s/m", &texts("application/grpc-web-text"), body.as_bytes()).0)
    });
    assert!(broken.iter().all(|status| *status == 200 || *status == 400), "{broken:?}");
}

/// Says what it was sent, and sends what it is asked for.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
    let head = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(at) = bytes.windows(4).position(|at| at == b"\r\n\r\n") {
            break at;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let chunked = text.contains("transfer-encoding: chunked");
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let whole = |bytes: &[u8]| match chunked {
        true => bytes[head..].ends_with(b"0\r\n\r\n"),
        false => bytes.len() >= head + 4 + length,
    };
    while !whole(&bytes) {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
    let sent = if chunked { unchunked(&bytes[head + 4..]) } else { bytes[head + 4..].to_vec() };
    let told = text.lines().find_map(|line| line.strip_prefix("content-encoding: ")).unwrap_or("none");
    let accepts = text.lines().find_map(|line| line.strip_prefix("accept-encoding: ")).unwrap_or("none");
    let (coding, body) = match text.split(' ').nth(1)? {
        "/gzip" => ("content-encoding: gzip\r\n", packed("gzip", b"from the upstream")),
        "/br" => ("content-encoding: br\r\n", packed("br", b"from the upstream")),
        "/zstd" => ("content-encoding: zstd\r\n", packed("zstd", b"from the upstream")),
        "/keep" => ("content-encoding: gzip\r\ncache-control: no-transform\r\n", packed("gzip", b"as it is")),
        "/bomb" => ("content-encoding: gzip\r\n", packed("gzip", &vec![0; 12 * 1024 * 1024])),
        _ => ("", sent),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\n{coding}x-told: {told}, {accepts}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()
}

fn packed(coding: &str, body: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(body).expect("memory");
            encoder.finish().expect("memory")
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 18);
            encoder.write_all(body).expect("memory");
            encoder.into_inner()
        }
        _ => zstd::encode_all(body, 3).expect("memory"),
    }
}

fn unpacking() -> HttpConnection {
    let unpack = |coding| {
        let both = Some(Unpack::default());
        HttpFilter::Decompressor(Decompressor { coding, requests: both, responses: both, advertise: true })
    };
    HttpConnection {
        filters: vec![
            entry("gzip", unpack(PackedBy::Gzip { ratio_max: None })),
            entry("br", unpack(PackedBy::Brotli)),
            entry("zstd", unpack(PackedBy::Zstd)),
        ],
        ..http(vec![("/", to("up"))])
    }
}

#[test]
fn what_was_packed_arrives_unpacked() {
    let clusters = [at("up", app())];
    let Some(planes) = both(&unpacking(), &clusters) else { return };
    let text = "a text that is worth packing, ".repeat(40);
    for (path, headers, body) in [
        ("/echo", "content-encoding: gzip\r\n", packed("gzip", text.as_bytes())),
        ("/echo", "content-encoding: br\r\n", packed("br", text.as_bytes())),
        ("/echo", "content-encoding: zstd\r\n", packed("zstd", text.as_bytes())),
        ("/echo", "", text.clone().into_bytes()),
        ("/echo", "content-encoding: identity\r\n", text.clone().into_bytes()),
        (
            "/echo",
            "content-encoding: gzip\r\ncache-control: no-transform\r\n",
            packed("gzip", text.as_bytes()),
        ),
        ("/gzip", "accept-encoding: br\r\n", Vec::new()),
        ("/br", "", Vec::new()),
        ("/zstd", "accept-encoding: gzip, zstd\r\n", Vec::new()),
        ("/keep", "", Vec::new()),
    ] {
        let seen =
            check_equal(&planes, &format!("{path} {headers}"), |plane| post(plane, path, headers, &body));
        assert_eq!(seen.0, 200, "{path} {headers}");
    }
    for plane in &planes {
        for stat in [
            "http.in.decompressor.gzip.gzip.request.decompressed",
            "http.in.decompressor.gzip.gzip.response.decompressed",
            "http.in.decompressor.brotli.brotli.request.decompressed",
            "http.in.decompressor.zstd.zstd.response.decompressed",
        ] {
            assert_eq!(plane.stat(stat), 1, "{} {stat}", plane.name);
        }
    }
}

#[test]
fn a_bomb_goes_no_further() {
    let clusters = [at("up", app())];
    let Some([_, ours]) = both(&unpacking(), &clusters) else { return };
    for coding in ["gzip", "br", "zstd"] {
        let bomb = packed(coding, &vec![0; 12 * 1024 * 1024]);
        let (status, _, _) = post(&ours, "/echo", &format!("content-encoding: {coding}\r\n"), &bomb);
        assert_eq!(status, 413, "{coding}: {} bytes", bomb.len());
    }
    // Packed twice: the outer layer alone is unpacked, and that is one of the upstream's own.
    let nested = packed("gzip", &packed("gzip", &vec![0; 8 * 1024 * 1024]));
    let (status, told, body) = post(&ours, "/echo", "content-encoding: gzip\r\n", &nested);
    assert_eq!((status, told.contains("none")), (200, true));
    assert!(body.len() < 64 * 1024, "{}", body.len());
    let (status, _, _) = post(&ours, "/echo", "content-encoding: gzip\r\n", b"no gzip at all, not by far");
    assert_eq!(status, 400);
    // A response turns out to be one when its head may have left: it is cut, and nobody takes it for whole.
    let answer = ours.say(0, b"GET /bomb HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert!(!answer.ends_with(b"0\r\n\r\n") && answer.len() < 8 * 1024 * 1024, "{}", answer.len());
}
