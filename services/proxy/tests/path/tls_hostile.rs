//! Clients that abuse TLS: each loses its own connection, is counted, and harms nobody.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use selvedge_traffic::tls::DownstreamTls;

use crate::authority::Authority;
use crate::mesh::{Mesh, cluster, forward, http, route};
use crate::upstream::Upstream;

const SSL: &str = "listener.127.0.0.1_0.ssl";

fn mesh(authority: &Authority, upstream: &Upstream, timeout: Duration) -> Mesh {
    let tls =
        DownstreamTls { handshake_timeout: Some(timeout), ..DownstreamTls::new(authority.certificate("b")) };
    Mesh::encrypted(tls, http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])])
}

fn served(authority: &Authority, address: SocketAddr) {
    let output = authority.curl(address, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Passes bytes on between clients and a proxy; `client` sees what clients send, and says what is sent in its place.
fn relay(to: SocketAddr, client: impl Fn(&mut TcpStream, &[u8]) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let (mut from, mut onward) = (from, TcpStream::connect(to).unwrap());
            onward.set_nodelay(true).unwrap();
            let (mut back, mut answers) = (from.try_clone().unwrap(), onward.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            let client = client.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    client(&mut onward, &buffer[..read]);
                }
                let _ = onward.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

#[test]
fn a_handshake_in_single_bytes_is_a_handshake() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mesh = mesh(&authority, &upstream, Duration::from_secs(10));
    let slow = relay(mesh.address, |onward, bytes| {
        bytes.iter().for_each(|byte| drop(onward.write_all(&[*byte])));
    });
    for version in ["1.2", "1.3"] {
        let output = authority.curl(slow, &["--tls-max", version]);
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(mesh.stat(&format!("{SSL}.handshake")), 2);
    assert_eq!(mesh.stat(&format!("{SSL}.connection_error")), 0);
}

#[test]
fn handshakes_that_never_end_are_cut_and_counted_while_others_are_served() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mesh = mesh(&authority, &upstream, Duration::from_secs(2));
    // A hello that is promised and never comes, one that trickles, and nothing at all.
    let begun = Instant::now();
    let mut held: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = TcpStream::connect(mesh.address).unwrap();
            let words: &[u8] = match number % 3 {
                0 => &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc],
                1 => &[22],
                _ => &[],
            };
            stream.write_all(words).unwrap();
            stream
        })
        .collect();
    while begun.elapsed() < Duration::from_millis(1500) {
        served(&authority, mesh.address);
    }
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "closed without a word");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "nobody was cut before its time");
    let cut = "listener.127.0.0.1_0.downstream_cx_transport_socket_connect_timeout";
    mesh.await_stat(cut, 60);
    served(&authority, mesh.address);
    assert_eq!(mesh.stat(&format!("{SSL}.connection_error")), 0, "slow is not wrong");
}

#[test]
fn a_hello_that_is_too_long_or_no_hello_ends_at_once_and_is_counted() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mesh = mesh(&authority, &upstream, Duration::from_secs(60));
    // A hello of 16 KiB less one byte, announced and never finished.
    let announced = [1, 0, 0x3f, 0xff].into_iter().chain(std::iter::repeat(0));
    let finely_cut: Vec<u8> = announced.take(4096).flat_map(|byte| [22, 3, 1, 0, 1, byte]).collect();
    let rows: [(&str, &[u8]); 6] = [
        ("a message of 16 MiB", &[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]),
        ("a record of 64 KiB", &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 4]),
        ("an empty record", &[22, 3, 1, 0, 0]),
        ("another message", &[22, 3, 1, 0, 4, 2, 0, 0, 0]),
        ("version 2", &[22, 2, 0, 0, 4, 1, 0, 0, 0]),
        ("a byte in each record", &finely_cut),
    ];
    for (count, (what, bytes)) in rows.iter().enumerate() {
        let mut stream = TcpStream::connect(mesh.address).unwrap();
        let _ = stream.write_all(bytes);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut said = Vec::new();
        // An alert at most, then the end.
        let ended = stream.read_to_end(&mut said);
        assert!(said.len() <= 7, "{what}: {ended:?} {said:?}");
        mesh.await_stat(&format!("{SSL}.connection_error"), i64::try_from(count + 1).unwrap());
    }
    served(&authority, mesh.address);
}

#[test]
fn a_forged_record_ends_its_connection_and_is_counted_while_others_go_on() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mesh = mesh(&authority, &upstream, Duration::from_secs(10));
    // The last byte of a request is another: the handshake's messages begin as such, or are shorter.
    let forger = relay(mesh.address, |onward, bytes| {
        let mut bytes = bytes.to_vec();
        if bytes[0] != 22
            && bytes.len() > 90
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        let _ = onward.write_all(&bytes);
    });
    for (count, version) in ["1.2", "1.3"].iter().enumerate() {
        let output = authority.curl(forger, &["--tls-max", version]);
        assert!(!output.status.success(), "{version}");
        mesh.await_stat(&format!("{SSL}.connection_error"), i64::try_from(count + 1).unwrap());
        served(&authority, mesh.address);
    }
    assert_eq!(upstream.requests(), 2, "nothing that was forged went on");
}

#[test]
fn nobody_renegotiates() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mesh = mesh(&authority, &upstream, Duration::from_secs(10));
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-legacy_renegotiation", "-connect", &mesh.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = client.stdin.take().unwrap();
    mesh.await_stat(&format!("{SSL}.handshake"), 1);
    // `R` alone on a line begins a handshake anew.
    stdin.write_all(b"R\n").unwrap();
    stdin.flush().unwrap();
    let output = client.wait_with_output().unwrap();
    drop(stdin);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    mesh.await_stat(&format!("{SSL}.connection_error"), 1);
    assert_eq!((mesh.stat(&format!("{SSL}.handshake")), upstream.requests()), (1, 0));
    served(&authority, mesh.address);
}
