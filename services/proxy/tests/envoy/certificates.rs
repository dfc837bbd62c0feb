//! What is told of certificates – in `x-forwarded-client-cert`, access logs and `/certs` – in a real Envoy and in ours.

use std::path::Path;
use std::process::{Command, Output};

use rcgen::{CertificateParams, DnType, KeyUsagePurpose, SanType, SerialNumber};
use selvedge_traffic::tls::{
    DownstreamTls, NameKind, Pem, Suites, Trust, TrustDomain, UpstreamTls, Validation, Versions,
};
use selvedge_traffic::{
    AccessLog, AccessLogFormat, CertificateForwarding, ChainMatch, ClientCertificate, Cluster, FilterChain,
    HttpConnection, Listener, Network, Resource, Transport, UpstreamTransport,
};

use crate::authority::Authority;
use crate::mesh::{cluster, forward, http, listener, route};
use crate::side::{Addresses, Side, planes};
use crate::upstream::Upstream;

const MODES: [(&str, CertificateForwarding); 5] = [
    ("sanitize", CertificateForwarding::Sanitize),
    ("forward", CertificateForwarding::ForwardOnly),
    ("append", CertificateForwarding::AppendForward),
    ("set", CertificateForwarding::SanitizeSet),
    ("always", CertificateForwarding::AlwaysForwardOnly),
];

/// Of the client's connection, one a line.
const DOWNSTREAM: [&str; 22] = [
    "%DOWNSTREAM_TLS_VERSION%",
    "%DOWNSTREAM_TLS_CIPHER%",
    "%REQUESTED_SERVER_NAME%",
    "%DOWNSTREAM_PEER_URI_SAN%",
    "%DOWNSTREAM_PEER_DNS_SAN%",
    "%DOWNSTREAM_PEER_IP_SAN%",
    "%DOWNSTREAM_PEER_EMAIL_SAN%",
    "%DOWNSTREAM_PEER_SUBJECT%",
    "%DOWNSTREAM_PEER_ISSUER%",
    "%DOWNSTREAM_PEER_SERIAL%",
    "%DOWNSTREAM_PEER_FINGERPRINT_256%",
    "%DOWNSTREAM_PEER_FINGERPRINT_1%",
    "%DOWNSTREAM_PEER_CERT%",
    "%DOWNSTREAM_PEER_CERT_V_START%",
    "%DOWNSTREAM_PEER_CERT_V_END%",
    "%DOWNSTREAM_LOCAL_URI_SAN%",
    "%DOWNSTREAM_LOCAL_DNS_SAN%",
    "%DOWNSTREAM_LOCAL_SUBJECT%",
    "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "%FILTER_CHAIN_NAME%",
    "%RESPONSE_CODE%",
    "%REQ(X-FORWARDED-CLIENT-CERT)%",
];

/// Of the connection to the host.
const UPSTREAM: [&str; 11] = [
    "%UPSTREAM_TLS_VERSION%",
    "%UPSTREAM_TLS_CIPHER%",
    "%UPSTREAM_PEER_URI_SAN%",
    "%UPSTREAM_PEER_DNS_SAN%",
    "%UPSTREAM_PEER_SUBJECT%",
    "%UPSTREAM_PEER_ISSUER%",
    "%UPSTREAM_PEER_CERT%",
    "%UPSTREAM_LOCAL_URI_SAN%",
    "%UPSTREAM_LOCAL_DNS_SAN%",
    "%UPSTREAM_PEER_CERT_V_START%",
    "%UPSTREAM_PEER_CERT_V_END(%Y-%m-%d %H:%M)%",
];

fn log(path: &Path, operators: &[&str]) -> AccessLog {
    AccessLog::new(path.to_str().unwrap(), AccessLogFormat::Text(operators.join("\n") + "\n\n"))
}

/// A chain for each mode, with and without all that can be told, chosen by the server's name.
fn inbound(authority: &Authority, addresses: Addresses, logged: &Path) -> Listener {
    let mut inbound = Listener {
        name: "inbound".into(),
        address: addresses.inbound,
        tls_inspector: true,
        ..listener(Network::Http(Box::new(http(Vec::new()))))
    };
    inbound.chains.clear();
    for (name, forwarding) in MODES {
        for all in [false, true] {
            let client_certificate =
                ClientCertificate { forwarding, subject: all, uri: all, dns: all, certificate: all };
            let manager = HttpConnection {
                client_certificate,
                access_logs: vec![log(logged, &DOWNSTREAM)],
                ..http(vec![route("/", forward("app"))])
            };
            let tls = DownstreamTls {
                // With names to match, nobody may keep silent.
                validation: Some(Validation::new(Trust::File { chain: authority.path("ca.pem") })),
                ..DownstreamTls::new(authority.certificate("b"))
            };
            let name = format!("{name}-{}", if all { "all" } else { "bare" });
            inbound.chains.push(FilterChain {
                filters: Vec::new(),
                matches: ChainMatch { server_names: vec![format!("{name}.local")], ..ChainMatch::default() },
                name,
                transport: Transport::Tls(Box::new(tls)),
                network: Network::Http(Box::new(manager)),
            });
        }
    }
    inbound
}

fn resources(authority: &Authority, addresses: Addresses, app: &Upstream, folder: &Path) -> Vec<Resource> {
    let up = UpstreamTls {
        certificate: Some(authority.certificate("a")),
        validation: Some(authority.trust(NameKind::Dns, "b.local")),
        sni: "set-all.local".into(),
        alpn: Vec::new(),
        versions: Versions::default(),
        suites: Suites::default(),
    };
    let inner =
        Cluster { transport: UpstreamTransport::Tls(Box::new(up)), ..cluster("inner", &[addresses.inbound]) };
    let manager = HttpConnection {
        access_logs: vec![log(&folder.join("upstream.log"), &UPSTREAM)],
        ..http(vec![route("/", forward("inner"))])
    };
    let outbound = Listener {
        name: "outbound".into(),
        address: addresses.outbound,
        ..listener(Network::Http(Box::new(manager)))
    };
    vec![
        Resource::Cluster(cluster("app", &[app.address])),
        Resource::Cluster(inner),
        Resource::Listener(inbound(authority, addresses, &folder.join("downstream.log"))),
        Resource::Listener(outbound),
    ]
}

fn curl(authority: &Authority, side: &Side, name: &str, more: &[&str]) -> Output {
    let port = side.inbound.port();
    Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--http1.1", "--max-time", "20", "--tls-max", "1.2"])
        // Envoy leaves the choice between AES-128 and ChaCha20 to the client, we do not.
        .args(["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"])
        .args(["--resolve", &format!("{name}.local:{port}:127.0.0.1")])
        .args(
            ["--cert", &authority.path("a.pem"), "--key", &authority.path("a.key")]
                [..if more.contains(&"--no-cert") { 0 } else { 4 }]
                .iter(),
        )
        .args(more.iter().filter(|argument| **argument != "--no-cert"))
        .arg(format!("https://{name}.local:{port}/x"))
        .output()
        .expect("curl is installed")
}

fn issue(authority: &Authority) {
    authority.issue("b", |_| {});
    authority.issue("a", |params: &mut CertificateParams| {
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xbc, 0xde]));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::OrganizationName, "Quotes \"and\" commas, Inc.");
        params.distinguished_name.push(DnType::CountryName, "CH");
        params.subject_alt_names.push(SanType::DnsName("also.local".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 7].into()));
        params.subject_alt_names.push(SanType::Rfc822Name("ann@m".try_into().unwrap()));
    });
}

#[test]
fn headers_logs_and_pages_tell_of_certificates_what_envoys_do() {
    let authority = Authority::new();
    issue(&authority);
    let mut seen: Vec<Vec<(String, String)>> = Vec::new();
    for plane in planes() {
        let (folder, app) = (tempfile::tempdir().unwrap(), Upstream::start());
        let side = Side::start(plane.as_deref(), None, |addresses| {
            resources(&authority, addresses, &app, folder.path())
        });
        side.until_listening(side.inbound);
        side.until_listening(side.outbound);
        let mut told = Vec::new();
        let forged = "x-forwarded-client-cert: By=x;Hash=y;URI=spiffe://m/forged";
        for (mode, _) in MODES {
            for detail in ["bare", "all"] {
                for more in
                    [&[][..], &["--header", forged], &["--no-cert"], &["--no-cert", "--header", forged]]
                {
                    let name = format!("{mode}-{detail}");
                    let output = curl(&authority, &side, &name, more);
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(output.status.success(), "{} {name} {more:?}: {output:?}", side.name);
                    let header = text.lines().find(|line| line.starts_with("x-forwarded-client-cert"));
                    told.push((format!("{name} {more:?}"), header.unwrap_or("none").trim_end().to_owned()));
                }
            }
        }
        assert_eq!(side.get("/through").status, 200, "{}", side.name);
        for (file, operators, requests) in
            [("downstream.log", &DOWNSTREAM[..], told.len() + 1), ("upstream.log", &UPSTREAM[..], 1)]
        {
            let text = side.until("the log is written", |_| {
                let text = std::fs::read_to_string(folder.path().join(file)).ok()?;
                (text.matches("\n\n").count() >= requests).then_some(text)
            });
            for (number, record) in text.split("\n\n").enumerate() {
                for (operator, value) in operators.iter().zip(record.lines()) {
                    told.push((format!("{file} {number} {operator}"), value.to_owned()));
                }
            }
        }
        let certs: serde_json::Value = serde_json::from_str(&side.admin("/certs")).expect("JSON");
        let mut certs: Vec<String> =
            certs["certificates"].as_array().expect("a list").iter().map(ToString::to_string).collect();
        certs.sort();
        certs.dedup();
        told.push(("/certs".to_owned(), certs.join("\n")));
        seen.push(told);
    }
    for (what, value) in &seen[0] {
        eprintln!("{what}: {}", value.chars().take(200).collect::<String>());
    }
    if let [ours, envoys] = seen.as_slice() {
        let pairs = ours.iter().zip(envoys);
        let differing: Vec<_> = pairs.filter(|(ours, envoys)| ours != envoys).collect();
        assert!(differing.is_empty() && ours.len() == envoys.len(), "ours, Envoy's: {differing:#?}");
    }
}

#[test]
fn who_must_show_a_certificate_is_whom_envoy_asks() {
    let authority = Authority::new();
    issue(&authority);
    let ca = || Trust::File { chain: authority.path("ca.pem") };
    let domain = || TrustDomain { name: "m".into(), bundle: Pem::File(authority.path("ca.pem")) };
    let pinned = vec!["00".repeat(32)];
    // Each by its server's name: whether a client that keeps silent is served.
    let rules = [
        ("authority", Some(Validation::new(ca())), true),
        ("names", Some(authority.trust(NameKind::Uri, "spiffe://m/a")), false),
        ("pins", Some(Validation { certificate_hashes: pinned, ..Validation::new(ca()) }), false),
        ("spiffe", Some(Validation::new(Trust::Spiffe(vec![domain()]))), false),
        ("anybody", Some(Validation::new(Trust::AcceptAny)), true),
        ("nobody", None, true),
    ];
    for plane in planes() {
        let app = Upstream::start();
        let side = Side::start(plane.as_deref(), None, |addresses| {
            let mut inbound = inbound(&authority, addresses, Path::new("/dev/null"));
            inbound.chains.clear();
            inbound.chains.extend(rules.iter().map(|(name, validation, _)| FilterChain {
                filters: Vec::new(),
                name: (*name).into(),
                matches: ChainMatch { server_names: vec![format!("{name}.local")], ..ChainMatch::default() },
                transport: Transport::Tls(Box::new(DownstreamTls {
                    validation: validation.clone(),
                    ..DownstreamTls::new(authority.certificate("b"))
                })),
                network: Network::Http(Box::new(http(vec![route("/", forward("app"))]))),
            }));
            vec![Resource::Cluster(cluster("app", &[app.address])), Resource::Listener(inbound)]
        });
        side.until_listening(side.inbound);
        for (name, _, silent) in &rules {
            let output = curl(&authority, &side, name, &["--no-cert"]);
            assert_eq!(output.status.success(), *silent, "{} {name}: {output:?}", side.name);
        }
        let refused = rules.iter().filter(|(_, _, silent)| !silent).count();
        let name = format!("listener.{}.ssl.fail_verify_no_cert", side.inbound.to_string().replace(':', "_"));
        side.await_stat(&name, i64::try_from(refused).unwrap());
    }
}
