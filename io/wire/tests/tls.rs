//! Encrypted connections over loopback sockets, both sides ours.

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use selvedge_identity::{Authorities, Rules, Trust, Verifier};
use selvedge_wire::buffer::Buffers;
use selvedge_wire::io::Io;
use selvedge_wire::tls::{
    self, ClientAuth, ClientSettings, ClientTls, Failure, Material, ServerSettings, ServerTls, Tls,
};
use tokio::net::{TcpListener, TcpStream};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    fn material(&self, uri: &str, dns: &str) -> Material {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, dns);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Material::read(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn verifier(&self) -> Arc<Verifier> {
        let authorities = Authorities::read(self.pem.as_bytes()).unwrap();
        Arc::new(Verifier::new(Trust::Authorities(authorities), Rules::default(), None).unwrap())
    }
}

fn server_settings(tls12: bool, tls13: bool) -> ServerSettings {
    ServerSettings {
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        client_auth: ClientAuth::Required,
        require_sni: false,
        tickets: true,
        tls12,
        tls13,
        suites: Default::default(),
    }
}

fn client_settings(tls12: bool, tls13: bool) -> ClientSettings {
    ClientSettings {
        sni: "b.local".to_owned(),
        alpn: vec!["http/1.1".to_owned()],
        tls12,
        tls13,
        suites: Default::default(),
    }
}

struct Pair {
    server: ServerTls,
    client: ClientTls,
}

fn pair(tls12: bool, tls13: bool) -> Pair {
    let authority = authority("ca");
    let (server, client) = (ServerTls::default(), ClientTls::default());
    server
        .replace(
            &server_settings(tls12, tls13),
            authority.material("spiffe://m/b", "b.local"),
            Some(authority.verifier()),
        )
        .unwrap();
    client
        .replace(
            &client_settings(tls12, tls13),
            Some(authority.material("spiffe://m/a", "a.local")),
            authority.verifier(),
        )
        .unwrap();
    Pair { server, client }
}

async fn sockets() -> (Io, Io) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, two) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (Io::new(one.unwrap(), Buffers::default()), Io::new(two.unwrap().0, Buffers::default()))
}

async fn handshake(pair: &Pair) -> (Result<Io, Failure>, Result<Io, Failure>) {
    let (mut client, mut server) = sockets().await;
    let (of_client, of_server) = (pair.client.current().unwrap(), pair.server.current().unwrap());
    let (one, two) = tokio::join!(
        tls::connect(&mut client, &of_client, [127, 0, 0, 1].into()),
        tls::accept(&mut server, &of_server)
    );
    (one.map(|()| client), two.map(|()| server))
}

async fn write_all(io: &mut Io, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // In two pieces, as heads and bodies are written.
        let (one, two) = bytes.split_at(bytes.len() / 3);
        let written = poll_fn(|cx| io.poll_write(cx, &[IoSlice::new(one), IoSlice::new(two)])).await.unwrap();
        bytes = &bytes[written..];
    }
}

async fn read(io: &mut Io, all: &mut Vec<u8>, len: usize) {
    while all.len() < len {
        assert!(poll_fn(|cx| io.poll_fill(cx)).await.unwrap() > 0);
        all.extend_from_slice(io.unread());
        io.consume(io.unread().len());
    }
}

async fn read_to_end(io: &mut Io) -> Vec<u8> {
    let mut all = Vec::new();
    while poll_fn(|cx| io.poll_fill(cx)).await.unwrap() > 0 {
        // Not everything at once: what is left must survive what follows.
        let len = io.unread().len().div_ceil(2);
        all.extend_from_slice(&io.unread()[..len]);
        io.consume(len);
        if io.unread().len() > 40_000 {
            all.extend_from_slice(io.unread());
            io.consume(io.unread().len());
        }
    }
    all.extend_from_slice(io.unread());
    all
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test]
async fn both_versions_carry_bytes_of_any_length_both_ways_at_once() {
    for (tls12, tls13, version) in [(true, false, Tls::V12), (false, true, Tls::V13), (true, true, Tls::V13)]
    {
        let pair = pair(tls12, tls13);
        let (client, server) = handshake(&pair).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let facts = server.tls().unwrap();
        assert_eq!((facts.version, facts.alpn.as_deref()), (version, Some(&b"http/1.1"[..])));
        assert_eq!(facts.server_name.as_deref(), Some("b.local"));
        assert_eq!(facts.peer.as_ref().unwrap().names.uris, ["spiffe://m/a"]);
        assert_eq!(client.tls().unwrap().peer.as_ref().unwrap().names.dns, ["b.local"]);
        assert_eq!(client.tls().unwrap().signature, Some("ecdsa_secp256r1_sha256"));
        assert!(facts.cipher.contains("AES") && facts.cipher.ends_with("SHA256"), "{}", facts.cipher);
        assert_eq!(facts.curve, Some("X25519"));
        for len in [1, 100, 16_320, 16_384, 16_385, 70_000] {
            let sent = noise(len);
            let (mut there, mut back) = (Vec::new(), Vec::new());
            tokio::join!(write_all(&mut client, &sent), read(&mut server, &mut there, len));
            tokio::join!(
                write_all(&mut server, &sent[len / 2..]),
                read(&mut client, &mut back, len - len / 2)
            );
            assert!(there == sent && back == sent[len / 2..], "{version:?} {len}");
        }
        let sent = noise(3_000_000);
        let send = async {
            write_all(&mut client, &sent).await;
            poll_fn(|cx| client.poll_shutdown(cx)).await.unwrap();
        };
        let ((), received) = tokio::join!(send, read_to_end(&mut server));
        assert!(received == sent, "{version:?}");
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again() {
    for (tls12, tls13) in [(true, false), (false, true)] {
        let pair = pair(tls12, tls13);
        for resumed in [false, true, true] {
            let (client, server) = handshake(&pair).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            assert_eq!(server.tls().unwrap().resumed, resumed, "{tls12} {tls13}");
            assert_eq!(client.tls().unwrap().resumed, resumed);
            let peer = server.tls().unwrap().peer.as_ref().unwrap();
            assert_eq!(peer.names.uris, ["spiffe://m/a"], "who the client is survives");
            // By 1.3 the ticket comes after the handshake, and is read with what follows.
            write_all(&mut server, b"hello").await;
            poll_fn(|cx| client.poll_fill(cx)).await.unwrap();
            assert_eq!(client.unread(), b"hello");
        }
    }
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused_on_either_side() {
    let mut pair = pair(true, true);
    let stranger = authority("stranger");
    pair.client = ClientTls::default();
    let of_stranger = Some(stranger.material("spiffe://m/a", "a.local"));
    pair.client
        .replace(&client_settings(true, true), of_stranger, Arc::new(Verifier::accepting_any()))
        .unwrap();
    let (_, server) = handshake(&pair).await;
    let failure = server.unwrap_err();
    assert!(failure.reason().contains("unable to get local issuer certificate"), "{}", failure.reason());

    pair.client.replace(&client_settings(true, true), None, stranger.verifier()).unwrap();
    let (client, server) = handshake(&pair).await;
    assert!(client.unwrap_err().reason().contains("CERTIFICATE_VERIFY_FAILED"));
    assert!(server.unwrap_err().reason().contains("TLSV1_ALERT_UNKNOWN_CA"));
}

#[tokio::test]
async fn a_client_without_a_certificate_is_told_so() {
    for (tls12, tls13) in [(true, false), (false, true)] {
        let pair = pair(tls12, tls13);
        let any = Arc::new(Verifier::accepting_any());
        pair.client.replace(&client_settings(tls12, tls13), None, any).unwrap();
        let (_, server) = handshake(&pair).await;
        let reason = server.unwrap_err().reason();
        assert!(reason.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE"), "{reason}");
    }
}

#[tokio::test]
async fn versions_that_do_not_meet_end_in_an_alert() {
    let mut pair = pair(true, false);
    pair.client = self::pair(false, true).client;
    let (client, server) = handshake(&pair).await;
    assert!(client.unwrap_err().reason().contains("PROTOCOL_VERSION"));
    assert!(server.unwrap_err().reason().contains("UNSUPPORTED_PROTOCOL"));
}

#[tokio::test]
async fn a_peer_that_says_farewell_is_at_its_end() {
    let pair = pair(true, true);
    let (client, server) = handshake(&pair).await;
    let (client, mut server) = (client.unwrap(), server.unwrap());
    drop(client);
    // The client's farewell is a close_notify, not a mere end.
    assert_eq!(poll_fn(|cx| server.poll_fill(cx)).await.unwrap(), 0);
    assert!(server.is_eof());
}
