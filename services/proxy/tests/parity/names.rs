//! Encrypted connections that are passed on as they are, by the name that their first words ask for.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use selvedge_traffic::*;

use crate::apps::Raw;
use crate::planes::{both_listening, listener};
use crate::{check_equal, cluster, endpoint_at, group};

/// The first words of a client that wants this server; an address is no name, and is not said.
fn hello(name: &str, protocols: &[&[u8]]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes
}

fn passed_on(cluster: &str, names: &[&str], protocols: &[&str]) -> FilterChain {
    let proxy = TcpProxy::to(cluster, vec![WeightedCluster::new(cluster, 1)]);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    FilterChain {
        name: cluster.to_owned(),
        matches: ChainMatch {
            server_names: texts(names),
            application_protocols: texts(protocols),
            ..ChainMatch::default()
        },
        transport: Transport::Plain,
        filters: Vec::new(),
        network: Network::Tcp(proxy),
    }
}

#[test]
fn encrypted_connections_are_passed_on_by_the_name_that_they_ask_for() {
    // Each says who it is as soon as a whole record has come: nothing was taken from the client's words.
    fn whole(bytes: &[u8], name: &[u8]) -> Option<Vec<u8>> {
        let length = u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]);
        (bytes[0] == 22 && bytes.len() >= 5 + usize::from(length)).then(|| name.to_vec())
    }
    let apps = [
        Raw::start(|bytes| whole(bytes, b"exact")),
        Raw::start(|bytes| whole(bytes, b"wild")),
        Raw::start(|bytes| whole(bytes, b"h2")),
        Raw::start(|bytes| whole(bytes, b"other")),
    ];
    let names = ["exact", "wild", "h2", "other"];
    let clusters: Vec<Cluster> = names
        .iter()
        .zip(&apps)
        .map(|(name, app)| cluster(name, vec![group(vec![endpoint_at(app.address)])]))
        .collect();
    let mut by_name = listener(passed_on("other", &[], &[]).network);
    by_name.tls_inspector = true;
    by_name.chains = vec![
        passed_on("exact", &["a.local"], &[]),
        passed_on("wild", &["*.local"], &[]),
        passed_on("h2", &["*.local"], &["h2"]),
    ];
    let mut strict = by_name.clone();
    strict.default_chain = None;
    let Some(planes) = both_listening(&[by_name, strict], &clusters) else { return };
    for (name, protocols, expected) in [
        ("a.local", &[][..], ["exact", "exact"]),
        ("A.LOCAL", &[], ["exact", "exact"]),
        ("b.local", &[], ["wild", "wild"]),
        ("c.b.local", &[], ["wild", "wild"]),
        ("b.local", &[&b"h2"[..], b"http/1.1"], ["h2", "h2"]),
        ("a.local", &[b"h2"], ["exact", "exact"]),
        ("local", &[], ["other", ""]),
        ("a.remote", &[], ["other", ""]),
        ("127.0.0.1", &[], ["other", ""]),
    ] {
        let bytes = hello(name, protocols);
        let reached = check_equal(&planes, name, |plane| {
            [0, 1].map(|port| String::from_utf8_lossy(&plane.say(port, &bytes)).into_owned())
        });
        assert_eq!(reached, expected, "{name} {protocols:?}");
    }
    // Neither asks for a name.
    let plain = check_equal(&planes, "no TLS", |plane| {
        plane.say(1, b"GET / HTTP/1.1\r\nhost: a.local\r\n\r\n").len()
    });
    assert_eq!(plain, 0);
    let unmatched = check_equal(&planes, "nobody's", |plane| {
        plane.stat(&format!("listener.127.0.0.1_{}.no_filter_chain_match", plane.ports[1].port()))
    });
    assert!(unmatched >= 4, "{unmatched}");
}
