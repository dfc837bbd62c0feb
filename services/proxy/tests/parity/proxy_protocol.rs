//! Load balancers that say whose connections they pass on, and hosts that are told so.

use std::net::SocketAddr;

use selvedge_traffic::matching::Cidr;
use selvedge_traffic::*;
use selvedge_wire::proxy_protocol::{Ends, Version, encode};

use crate::apps::{App, Raw};
use crate::planes::{Plane, both_listening, listener};
use crate::{check_equal, cluster, endpoint, group, http, to};

const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

fn ends() -> Ends {
    Ends { source: ([192, 0, 2, 1], 56_324).into(), destination: ([198, 51, 100, 1], 443).into() }
}

fn telling() -> HttpConnection {
    let mut connection = http(vec![("/", to("up"))]);
    if let RouteSource::Inline(table) = &mut connection.routes {
        let told = [
            ("x-client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
            ("x-direct", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
            ("x-local", "%DOWNSTREAM_LOCAL_ADDRESS%"),
        ];
        table.virtual_hosts[0].headers.response = told
            .map(|(name, value)| HeaderEdit::Append { name: name.to_owned(), value: value.to_owned() })
            .to_vec();
    }
    HttpConnection { use_remote_address: true, ..connection }
}

/// What a client hears that begins with a word.
fn heard(plane: &Plane, port: usize, word: &[u8]) -> Option<[Option<String>; 5]> {
    let answer = plane.say(port, &[word, REQUEST].concat());
    let answer = crate::planes::parse(&String::from_utf8_lossy(&answer))?;
    let forwarded = answer.body.lines().find(|line| line.starts_with("x-forwarded-for")).map(str::to_owned);
    let of =
        |name: &str| answer.header(name).map(|value| value.replace(&plane.ports[port].to_string(), "own"));
    let client = of("x-client").map(|client| match client.starts_with("127.0.0.1:") {
        true => "the peer".to_owned(),
        false => client,
    });
    Some([Some(answer.status.to_string()), client, of("x-direct"), of("x-local"), forwarded])
}

#[test]
fn a_word_names_the_client_or_ends_the_connection() {
    let protocol = |optional, versions_refused: &[ProxyProtocolVersion]| {
        let (stat_prefix, versions_refused) = ("word".to_owned(), versions_refused.to_vec());
        Listener {
            proxy_protocol: Some(ProxyProtocol { optional, versions_refused, stat_prefix }),
            ..listener(Network::Http(Box::new(telling())))
        }
    };
    use ProxyProtocolVersion::{V1, V2};
    let listeners =
        [protocol(false, &[]), protocol(true, &[]), protocol(false, &[V1]), protocol(true, &[V2])];
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let v2 = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
    };
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];
    let with = |entries: &[u8]| [&v4[..], entries].concat();
    let six: SocketAddr = "[2001:db8::1]:1".parse().expect("an address");
    let words: Vec<(&str, Vec<u8>)> = vec![
        ("v1", encode(Version::V1, Some(ends()))),
        ("v1 of IPv6", encode(Version::V1, Some(Ends { source: six, destination: six }))),
        ("v1 unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v1 unknown, and more", b"PROXY UNKNOWN 1 2 3\r\n".to_vec()),
        ("v1 without a port", b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n".to_vec()),
        ("v1 of another family", b"PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec()),
        ("v1 too long", [&b"PROXY TCP4 "[..], &[b'1'; 120], b"\r\n"].concat()),
        ("v2", encode(Version::V2, Some(ends()))),
        ("v2 of IPv6", encode(Version::V2, Some(Ends { source: six, destination: six }))),
        ("v2 local", v2(0x20, 0x00, &[])),
        ("v2 local, and more", v2(0x20, 0x11, &v4)),
        ("v2 with an entry", v2(0x21, 0x11, &with(&[4, 0, 2, 1, 1]))),
        ("v2 with an entry too long", v2(0x21, 0x11, &with(&[4, 0, 9, 1, 1]))),
        ("v2 with half an entry", v2(0x21, 0x11, &with(&[4, 0]))),
        ("v2 too short", v2(0x21, 0x11, &v4[..11])),
        ("v2 of datagrams", v2(0x21, 0x12, &v4)),
        ("v2 of an unknown command", v2(0x22, 0x11, &v4)),
        ("nothing", Vec::new()),
    ];
    let (mut named, mut ended) = (0, 0);
    for at in 0..listeners.len() {
        for (name, word) in &words {
            // Envoy passes over the entry that ends beyond the word, and serves the connection; a lie is a lie.
            let lies = ["v2 with an entry too long", "v2 with half an entry"].contains(name);
            if lies {
                let [_, ours] = planes.each_ref().map(|plane| heard(plane, at, word));
                assert!(ours.is_none() || at == 3, "{name} on listener {at}: {ours:?}");
                continue;
            }
            let seen =
                check_equal(&planes, &format!("{name} on listener {at}"), |plane| heard(plane, at, word));
            match seen {
                Some([_, Some(client), ..]) if client != "the peer" => named += 1,
                Some(_) => {}
                None => ended += 1,
            }
        }
    }
    assert!(named > 8 && ended > 8, "{named} named, {ended} ended");
    for stat in ["not_found_allowed", "not_found_disallowed"] {
        let stat = format!("proxy_proto.word.{stat}");
        assert!(check_equal(&planes, &stat, |plane| plane.stat(&stat)) > 0);
    }
    for plane in &planes {
        for stat in ["v1.found", "v1.disallowed", "v1.error", "v2.found", "v2.error"] {
            assert!(plane.stat(&format!("proxy_proto.word.versions.{stat}")) > 0, "{} {stat}", plane.name);
        }
    }
}

#[test]
fn only_trusted_sources_may_speak_for_others() {
    let trusting = |block: [u8; 4]| {
        let mut listener = listener(Network::Http(Box::new(telling())));
        let mut chain = listener.default_chain.take().expect("a chain");
        chain.matches.direct_sources = vec![Cidr::new(block.into(), 8).expect("a block")];
        listener.chains = vec![chain];
        Listener { proxy_protocol: Some(ProxyProtocol::default()), ..listener }
    };
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let listeners = [trusting([127, 0, 0, 0]), trusting([192, 0, 0, 0])];
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let word = encode(Version::V2, Some(ends()));
    let seen = [0, 1].map(|at| check_equal(&planes, "sources", |plane| heard(plane, at, &word)));
    let client = seen[0].as_ref().and_then(|told| told[1].clone());
    assert_eq!(client.as_deref(), Some("192.0.2.1:56324"), "loopback is trusted there");
    assert_eq!(seen[1], None, "what the word says of its source does not count");
}

#[test]
fn hosts_are_told_whose_connection_it_is() {
    // What came before the request, as text, with the port that differs taken out.
    let app = Raw::start(|bytes| {
        let at = bytes.windows(4).position(|at| at == b"GET ")?;
        let word: String = bytes[..at].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len()).into_bytes())
    });
    let told = |name: &str, version| {
        let endpoint = Endpoint::new(Address::Socket(app.address));
        Cluster { proxy_protocol: Some(version), ..cluster(name, vec![group(vec![endpoint])]) }
    };
    let clusters = [told("v1", ProxyProtocolVersion::V1), told("v2", ProxyProtocolVersion::V2)];
    let routes = || http(vec![("/v1", to("v1")), ("/v2", to("v2"))]);
    let listeners = [
        listener(Network::Http(Box::new(routes()))),
        Listener {
            proxy_protocol: Some(ProxyProtocol { optional: true, ..ProxyProtocol::default() }),
            ..listener(Network::Http(Box::new(routes())))
        },
    ];
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let ask = |plane: &Plane, at: usize, path: &str, word: &[u8]| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        let answer = plane.say(at, &[word, request.as_bytes()].concat());
        crate::planes::parse(&String::from_utf8_lossy(&answer)).expect("an answer").body
    };
    // With the ends that a load balancer names the whole word is the same.
    for (path, version) in [("/v1", Version::V1), ("/v2", Version::V2)] {
        let word = encode(Version::V2, Some(ends()));
        let seen = check_equal(&planes, path, |plane| ask(plane, 1, path, &word));
        let expected: String =
            encode(version, Some(ends())).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(seen, expected, "{path}");
    }
    // A client that nobody speaks for is named itself; its port differs.
    let length = check_equal(&planes, "the peer", |plane| ask(plane, 0, "/v2", b"").len());
    assert_eq!(length, 2 * 28);
}
