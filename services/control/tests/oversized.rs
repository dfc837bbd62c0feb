//! A body that is too long is refused so that its sender can see the refusal.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use selvedge_aws::BODY_BYTES_MAX;
use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::operations::Settings;
use selvedge_control::server::{Server, listen};
use selvedge_store::memory::Memory;
use tokio::sync::watch;

/// Writes the head and the whole body, as simple clients do, and only then reads.
fn send(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(
        stream,
        "PUT /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n\r\n"
    )
    .and_then(|()| stream.write_all(body))
    .expect("the server reads to the end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, no reset");
    answer
}

#[test]
fn a_client_that_writes_its_whole_body_first_sees_the_refusal() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_drain, is_draining) = watch::channel(false);
    let address = runtime.block_on(async {
        let store = Arc::new(Memory::new());
        let api =
            Api::new(store, Settings::default(), Arc::new(System), Readiness::default(), Hosts::default());
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("loopback has a port");
        let address = listener.local_addr().expect("a bound socket");
        tokio::spawn(Server::new(Arc::new(api), None).run(listener, is_draining, Duration::from_secs(1)));
        address
    });
    // More than the sockets' buffers hold, less than what is passed over.
    let body = vec![b' '; 7 * BODY_BYTES_MAX];
    let announced = send(address, &format!("content-length: {}", body.len()), &body);
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    let chunk = [format!("{:x}\r\n", body.len()).into_bytes(), body, b"\r\n0\r\n\r\n".to_vec()].concat();
    let chunked = send(address, "transfer-encoding: chunked", &chunk);
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
}
