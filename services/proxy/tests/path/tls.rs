//! TLS on both sides: between two proxies, with curl and OpenSSL as peers, and with peers that should not be believed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, KeyIdMethod,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::tls::{DownstreamTls, NameKind, Pem, Suites, UpstreamTls, Versions};
use selvedge_traffic::{
    CertificateForwarding, ChainMatch, ClientCertificate, Cluster, FilterChain, HttpConnection, Network,
    TcpProxy, Transport, UpstreamTransport, WeightedCluster,
};

use crate::authority::Authority;
use crate::mesh::{Mesh, cluster, forward, http, listener, route};
use crate::upstream::Upstream;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn told() -> ClientCertificate {
    let forwarding = CertificateForwarding::SanitizeSet;
    ClientCertificate { forwarding, subject: true, uri: true, dns: true, ..ClientCertificate::default() }
}

fn inbound() -> HttpConnection {
    HttpConnection { client_certificate: told(), ..http(vec![route("/", forward("up"))]) }
}

/// Calls `b`, as `a`.
fn calling(authority: &Authority, address: SocketAddr) -> Cluster {
    let tls = UpstreamTls {
        certificate: Some(authority.certificate("a")),
        validation: Some(authority.trust(NameKind::Dns, "b.local")),
        sni: "b.local".into(),
        alpn: vec!["http/1.1".into()],
        versions: Versions::default(),
        suites: Suites::default(),
    };
    Cluster { transport: UpstreamTransport::Tls(Box::new(tls)), ..cluster("b", &[address]) }
}

const SSL: &str = "listener.127.0.0.1_0.ssl";

#[test]
fn two_proxies_know_each_other_and_rotate_without_one_failed_request() {
    let authority = Arc::new(Authority::new());
    authority.issue("a", |_| {});
    authority.issue("b", |_| {});
    // A client of its own makes a whole handshake for each request.
    authority.issue("other", |params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://m/a".try_into().unwrap())];
    });
    let upstream = Upstream::start();
    let inner = Mesh::encrypted(authority.strict(), inbound(), vec![cluster("up", &[upstream.address])]);
    let outer = Arc::new(Mesh::http_on(
        2,
        http(vec![route("/", forward("b"))]),
        vec![calling(&authority, inner.address)],
    ));

    let answer = outer.get("/first");
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.body.lines().find(|line| line.starts_with("x-forwarded-client-cert: ")).unwrap();
    let (by, rest) = told.split_once(";Hash=").unwrap();
    assert_eq!(by, "x-forwarded-client-cert: By=spiffe://m/b");
    let (hash, rest) = rest.split_once(';').unwrap();
    assert_eq!((hash.len(), rest), (64, "Subject=\"CN=a\";URI=spiffe://m/a;DNS=a.local"));

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let shaken = Arc::new(AtomicUsize::new(0));
    let shaker = {
        let (authority, stop, shaken, address) =
            (Arc::clone(&authority), Arc::clone(&stop), Arc::clone(&shaken), inner.address);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let output = text(&authority.curl_as(address, "other", &[]));
                assert!(output.contains("\n200 "), "{output}");
                shaken.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut askers: Vec<_> = (0..4)
        .map(|_| {
            let (outer, stop, asked) = (Arc::clone(&outer), Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = outer.get("/load");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    askers.push(shaker);
    for round in 1..=5u64 {
        let serial = SerialNumber::from(round);
        let before = inner.secrets().in_use()[0].chain[0].serial.clone();
        let (chain, key) = authority.pair("b", |params| params.serial_number = Some(serial.clone()));
        authority.put("b.pem", &chain);
        inner.secrets().refresh();
        assert_eq!(inner.secrets().in_use()[0].chain[0].serial, before, "half a pair changes nothing");
        authority.put("b.key", &key);
        inner.secrets().refresh();
        assert_eq!(inner.secrets().in_use()[0].chain[0].serial, format!("{round:02x}"));
        authority.issue("a", |_| {});
        outer.secrets().refresh();
        let enough = asked.load(Ordering::Relaxed) + 60;
        let shaken_enough = shaken.load(Ordering::Relaxed) + 4;
        while asked.load(Ordering::Relaxed) < enough || shaken.load(Ordering::Relaxed) < shaken_enough {
            assert!(!askers.iter().any(|asker| asker.is_finished()), "a request failed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    stop.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().unwrap());
    let handshakes = inner.stat(&format!("{SSL}.handshake"));
    assert!(handshakes > 20, "{handshakes}");
    assert_eq!(inner.stat(&format!("{SSL}.connection_error")), 0);
    assert!(
        inner.stat(&format!("{SSL}.versions.TLSv1.2")) > 0,
        "what an upstream speaks unless told otherwise"
    );
    assert!(outer.stat("cluster.b.ssl.handshake") > 0);
}

#[test]
fn curl_is_served_by_both_versions_of_tls_and_of_http() {
    let authority = Authority::new();
    authority.issue("a", |_| {});
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mesh = Mesh::encrypted(authority.strict(), inbound(), vec![cluster("up", &[upstream.address])]);
    for (arguments, expected) in [
        (&["--tls-max", "1.2", "--http1.1"][..], "200 1.1"),
        (&["--tlsv1.3", "--http1.1"], "200 1.1"),
        (&["--tlsv1.3", "--http2"], "200 2"),
        (&["--tls-max", "1.2", "--http2"], "200 2"),
        (&["--tlsv1.3", "--no-alpn", "--http1.1"], "200 1.1"),
    ] {
        let output = text(&authority.curl_as(mesh.address, "a", arguments));
        assert_eq!(output.lines().last(), Some(expected), "{arguments:?} {output}");
        assert!(output.contains("URI=spiffe://m/a"), "{output}");
    }
    assert_eq!(mesh.stat(&format!("{SSL}.handshake")), 5);
    assert_eq!(
        mesh.stat(&format!("{SSL}.curves.X25519")) + mesh.stat(&format!("{SSL}.curves.X25519MLKEM768")),
        5
    );
    let certificates = mesh.secrets().in_use();
    assert_eq!(certificates[0].chain[0].names.dns, ["b.local"]);
    assert!(mesh.secrets().days_left(0).is_some_and(|days| days > 1000));
}

#[test]
fn who_cannot_be_believed_is_refused_and_counted() {
    let authority = Authority::new();
    authority.issue("a", |_| {});
    authority.issue("b", |_| {});
    authority.issue("c", |_| {});
    let name = |params: &mut CertificateParams, uri: &str| {
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    };
    authority.issue("expired", |params| {
        name(params, "spiffe://m/a");
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    authority.issue("early", |params| {
        name(params, "spiffe://m/a");
        params.not_before = date_time_ymd(2090, 1, 1);
    });
    authority.issue("capitals", |params| name(params, "spiffe://M/a"));
    authority.issue("longer", |params| name(params, "spiffe://m/a/b"));
    authority.issue("server", |params| {
        name(params, "spiffe://m/a");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    authority.issue("revoked", |params| {
        name(params, "spiffe://m/a");
        params.serial_number = Some(SerialNumber::from(4242u64));
    });
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(4242u64),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    authority.put("crl.pem", &list.signed_by(&authority.issuer).unwrap().pem().unwrap());
    let stranger = Authority::new();
    stranger.issue("a", |_| {});

    let mut tls = authority.strict();
    tls.validation.as_mut().unwrap().crl = Some(Pem::File(authority.path("crl.pem")));
    let upstream = Upstream::start();
    let mesh = Mesh::encrypted(tls, inbound(), vec![cluster("up", &[upstream.address])]);
    let mut expected = [0, 0, 0];
    for (name, place) in [
        ("c", 0),
        ("capitals", 0),
        ("longer", 0),
        ("expired", 1),
        ("early", 1),
        ("server", 1),
        ("revoked", 1),
        ("stranger", 1),
        ("nobody", 2),
    ] {
        for version in ["1.2", "1.3"] {
            let arguments = ["--tls-max", version];
            let output = match name {
                "nobody" => authority.curl(mesh.address, &arguments),
                "stranger" => {
                    let (chain, key) = (stranger.path("a.pem"), stranger.path("a.key"));
                    authority.curl(mesh.address, &["--cert", &chain, "--key", &key, "--tls-max", version])
                }
                name => authority.curl_as(mesh.address, name, &arguments),
            };
            assert!(!output.status.success(), "{name} {version}: {}", text(&output));
            expected[place] += 1;
            for (statistic, count) in
                ["fail_verify_san", "fail_verify_error", "fail_verify_no_cert"].iter().zip(expected)
            {
                mesh.await_stat(&format!("{SSL}.{statistic}"), count);
            }
        }
    }
    assert!(authority.curl_as(mesh.address, "a", &[]).status.success());
    assert_eq!(upstream.requests(), 1, "nothing of the others went on");
}

/// nginx's CVE-2026-1642: what is said before an upstream's handshake, by it or by whoever is between, is no answer.
#[test]
fn plain_words_before_an_upstreams_handshake_are_no_answer() {
    let authority = Authority::new();
    authority.issue("a", |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            // The proxy's hello is heard, and nothing said to it.
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let mesh = Mesh::http(http(vec![route("/", forward("b"))]), vec![calling(&authority, address)]);
    let answer = mesh.get("/");
    assert!(answer.status == 503 && !answer.body.contains("evil"), "{} {}", answer.head, answer.body);
}

#[test]
fn what_is_old_or_weak_or_no_tls_gets_nowhere() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let tls = DownstreamTls::new(authority.certificate("b"));
    let mesh = Mesh::encrypted(tls, inbound(), vec![cluster("up", &[upstream.address])]);
    let address = mesh.address.to_string();
    for arguments in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"],
    ] {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
    }
    let mut plain = TcpStream::connect(mesh.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(said.is_empty(), "{said:?}");
    // The other way round: TLS where none is spoken is a bad request.
    let open = Mesh::http(http(vec![route("/", forward("up"))]), vec![cluster("up", &[upstream.address])]);
    assert!(!authority.curl(open.address, &[]).status.success());
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_permissive_listener_takes_both_and_tells_them_apart() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let mut permissive = listener(Network::Http(Box::new(inbound())));
    permissive.chains[0].matches.transport = Some(DetectedTransport::Plain);
    permissive.chains.push(FilterChain {
        name: "tls".into(),
        matches: ChainMatch { transport: Some(DetectedTransport::Tls), ..ChainMatch::default() },
        filters: Vec::new(),
        transport: Transport::Tls(Box::new(DownstreamTls::new(authority.certificate("b")))),
        network: Network::Http(Box::new(inbound())),
    });
    let mesh = Mesh::listening(permissive, vec![cluster("up", &[upstream.address])]);
    let spoofed = "GET / HTTP/1.1\r\nhost: h\r\nx-forwarded-client-cert: URI=spiffe://m/a\r\n\r\n";
    let answer = mesh.ask(spoofed);
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("x-forwarded-client-cert"), "a claim in plain text makes nobody");
    assert!(
        answer.body.contains("x-forwarded-proto: http\n")
            || answer.body.contains("x-forwarded-proto: http\r")
    );
    let output = text(&authority.curl(mesh.address, &[]));
    assert!(output.ends_with("200 1.1"), "{output}");
    assert!(output.contains("x-forwarded-proto: https"), "{output}");
}

#[test]
fn a_passed_on_connection_is_chosen_by_its_server_name_alone() {
    let authority = Authority::new();
    authority.issue("b", |_| {});
    let upstream = Upstream::start();
    let tls = DownstreamTls::new(authority.certificate("b"));
    let inner = Mesh::encrypted(tls, inbound(), vec![cluster("up", &[upstream.address])]);
    let to = |cluster: &str| {
        let proxy = TcpProxy::to("t", vec![WeightedCluster::new(cluster, 1)]);
        Network::Tcp(proxy)
    };
    let mut outer = listener(to("inner"));
    outer.chains[0].matches.server_names = vec!["*.local".into()];
    let outer = Mesh::listening(outer, vec![cluster("inner", &[inner.address])]);
    let output = text(&authority.curl(outer.address, &[]));
    assert!(output.ends_with("200 1.1"), "{output}");
    let mut unnamed = TcpStream::connect(outer.address).unwrap();
    unnamed.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(unnamed.read(&mut [0; 16]).unwrap_or(0), 0);
    outer.await_stat("listener.127.0.0.1_0.no_filter_chain_match", 1);
}
