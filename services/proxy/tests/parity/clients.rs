//! Who the client is, when others stand between it and the proxy.

use std::collections::BTreeMap;

use selvedge_traffic::access::{Permission, Policy, Principal, Rules, RulesAction};
use selvedge_traffic::matching::Cidr;
use selvedge_traffic::*;

use crate::apps::App;
use crate::planes::{Plane, both_listening, listener};
use crate::{check_equal, cluster, endpoint, group, hashed, http, to};

fn block(text: &str) -> Cidr {
    let (address, len) = text.split_once('/').expect("a block");
    Cidr::new(address.parse().expect("an address"), len.parse().expect("a length")).expect("a block")
}

/// A connection manager that tells the client who it is taken for.
fn telling(use_remote_address: bool, client_address: ClientAddress) -> HttpConnection {
    let mut connection = http(vec![("/", to("up"))]);
    if let RouteSource::Inline(table) = &mut connection.routes {
        let told = [
            ("x-client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
            ("x-direct", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ];
        table.virtual_hosts[0].headers.response = told
            .map(|(name, value)| HeaderEdit::Append { name: name.to_owned(), value: value.to_owned() })
            .to_vec();
    }
    HttpConnection { use_remote_address, client_address, ..connection }
}

/// What an upstream was told, by name.
fn heard(body: &str) -> BTreeMap<String, String> {
    let mut heard: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in body.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        // Several lines are one list, however they are written.
        let joined = heard.entry(name.to_ascii_lowercase()).or_default();
        *joined = if joined.is_empty() { value.to_owned() } else { format!("{joined},{value}") };
    }
    heard
}

const COMPARED: [&str; 9] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-envoy-internal",
    "x-envoy-external-address",
    "x-envoy-retry-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-foo",
    "x-envoy-downstream-service-cluster",
];

#[test]
fn the_client_is_who_trusted_proxies_say_it_is() {
    let none = ClientAddress::default;
    let detection = |by, append| {
        let detection = Some(ClientDetection { by, append });
        ClientAddress { detection, internal: vec![block("10.0.0.0/8")], ..none() }
    };
    let proxies = DetectBy::Proxies(vec![block("127.0.0.0/8"), block("172.16.0.0/12")]);
    let managers = [
        telling(false, none()),
        telling(true, none()),
        telling(true, ClientAddress { trusted_hops: 1, ..none() }),
        telling(true, ClientAddress { trusted_hops: 2, skip_append: true, ..none() }),
        telling(true, ClientAddress { internal: vec![block("127.0.0.0/8")], ..none() }),
        telling(true, ClientAddress { trusted_hops: 1, internal: vec![block("10.0.0.0/8")], ..none() }),
        telling(false, ClientAddress { trusted_hops: 1, ..none() }),
        telling(false, ClientAddress { internal: vec![block("10.0.0.0/8")], ..none() }),
        telling(false, detection(DetectBy::Hops(0), false)),
        telling(false, detection(DetectBy::Hops(1), true)),
        telling(false, detection(proxies, true)),
        telling(true, ClientAddress { keep_request_id: true, ..none() }),
    ];
    let app = App::start();
    let clusters = [cluster("up", vec![group(vec![endpoint(&app)])])];
    let listeners: Vec<Listener> =
        managers.iter().map(|manager| listener(Network::Http(Box::new(manager.clone())))).collect();
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let said = "x-request-id: abc\r\nx-forwarded-proto: ftp\r\nx-envoy-retry-on: 5xx\r\n\
        x-envoy-max-retries: 2\r\nx-envoy-upstream-rq-timeout-ms: 1234\r\nx-envoy-foo: bar\r\n\
        x-envoy-internal: true\r\nx-envoy-downstream-service-cluster: c\r\n";
    let mut internal = 0;
    for at in 0..managers.len() {
        for lines in [
            &[][..],
            &["1.2.3.4"],
            &["10.0.0.7"],
            &["1.2.3.4, 10.0.0.1"],
            &["9.9.9.9,8.8.8.8,172.16.0.1"],
            &["9.9.9.9", "10.0.0.1"],
            &["busted"],
            &["1.2.3.4,"],
            &["2001:db8::1"],
            &["172.16.0.1"],
        ] {
            let forwarded: String = lines.iter().map(|line| format!("x-forwarded-for: {line}\r\n")).collect();
            let request =
                format!("GET /echo HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{said}{forwarded}\r\n");
            let seen = check_equal(&planes, &format!("manager {at}, {lines:?}"), |plane: &Plane| {
                let answer = plane.say(at, request.as_bytes());
                let answer = crate::planes::parse(&String::from_utf8_lossy(&answer)).expect("an answer");
                let heard = heard(&answer.body);
                let own = heard.get("x-request-id").map(|id| id == "abc");
                let of = |name: &str| heard.get(name).cloned();
                // What is expected of the whole follows the time-out that a client inside may set.
                let expected = of("x-envoy-expected-rq-timeout-ms");
                let told = ["x-client", "x-direct"].map(|name| answer.header(name).map(str::to_owned));
                (answer.status, COMPARED.map(of), own, expected, told)
            });
            assert_eq!(seen.0, 200);
            internal += usize::from(seen.1[2].is_some());
        }
    }
    assert!(internal > 3, "some clients count as inside: {internal}");
}

#[test]
fn access_and_hashes_follow_the_client() {
    let apps: Vec<App> = (0..5).map(|_| App::start()).collect();
    let ring = cluster("up", vec![group(apps.iter().map(endpoint).collect())]);
    let clusters = [Cluster { balancing: LoadBalancing::RING_HASH, ..ring }];
    let only = |principal: Principal| {
        let policy =
            Policy { name: "p".to_owned(), permissions: vec![Permission::Any], principals: vec![principal] };
        let rules = Some(Rules { action: RulesAction::Allow, policies: vec![policy] });
        let filter = HttpFilter::Rbac(filter::Rbac {
            rules,
            rules_stat_prefix: String::new(),
            shadow_rules: None,
            shadow_rules_stat_prefix: String::new(),
        });
        let entry = FilterEntry { name: "rbac".to_owned(), disabled: false, filter };
        let forward = hashed("up", vec![(HashSource::SourceIp, false)]);
        listener(Network::Http(Box::new(HttpConnection {
            filters: vec![entry],
            client_address: ClientAddress { trusted_hops: 1, ..ClientAddress::default() },
            ..http(vec![("/", forward)])
        })))
    };
    let listeners = [
        only(Principal::RemoteIp(block("1.2.0.0/16"))),
        only(Principal::DirectRemoteIp(block("1.2.0.0/16"))),
        only(Principal::DirectRemoteIp(block("127.0.0.0/8"))),
        only(Principal::SourceIp(block("127.0.0.0/8"))),
    ];
    let Some(planes) = both_listening(&listeners, &clusters) else { return };
    let mut hosts = std::collections::BTreeSet::new();
    for at in 0..listeners.len() {
        for client in ["1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.4", "9.2.3.1"] {
            let line = format!("x-forwarded-for: {client}, 7.7.7.7");
            let request = format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{line}\r\n\r\n");
            let seen = check_equal(&planes, &format!("{at} {line}"), |plane: &Plane| {
                let answer = plane.say(at, request.as_bytes());
                let answer = crate::planes::parse(&String::from_utf8_lossy(&answer)).expect("an answer");
                (answer.status, answer.body)
            });
            hosts.insert(seen);
        }
    }
    assert!(hosts.len() > 3, "clients are told apart: {hosts:?}");
}
