//! Whatever bytes come: the server does not fail, and says little.
#![expect(clippy::disallowed_methods, reason = "a test begins at some moment")]

use std::time::Instant;

use proptest::prelude::*;
use selvedge_dns::answer::{UDP_BYTES_MAX, encode};
use selvedge_dns::upstream::{Ask, Reply};
use selvedge_dns::{Answer, Local, Names, Received, RecordType, local, receive};
use selvedge_registry::Snapshot;
use selvedge_registry::document::Key;

/// Packets that are nearly questions: a header, a name with pointers here and there, and a tail.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let label = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|text| [&[text.len() as u8][..], &text].concat()),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(high, low)| vec![0xc0 | high, low]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let name = prop::collection::vec(label, 0..6).prop_map(|labels| labels.concat());
    let counts = prop_oneof![3 => Just([0, 1, 0, 0, 0, 0, 0, 0]), 1 => any::<[u8; 8]>()];
    let tail = prop::collection::vec(any::<u8>(), 0..40);
    (
        any::<[u8; 2]>(),
        prop_oneof![3 => Just([1, 0]), 1 => any::<[u8; 2]>()],
        counts,
        name,
        any::<bool>(),
        tail,
    )
        .prop_map(|(id, flags, counts, name, is_whole, tail)| {
            let mut packet = [&id[..], &flags, &counts, &name].concat();
            if is_whole {
                packet.extend([0, 0, 1, 0, 1]);
            }
            packet.extend(tail);
            packet
        })
}

/// A registry whose aliases lead in circles and away.
fn world() -> (Snapshot, Names) {
    let mut snapshot = Snapshot::at(1);
    let namespace = serde_json::json!({
        "id": "ns-1", "name": "shop.local", "kind": "DNS_PRIVATE", "soa_ttl": 15, "created_at": 0,
        "creator_request_id": "", "region": "r", "operation": "",
    });
    snapshot.apply(&Key::Namespace("ns-1".into()), Some(namespace.to_string().as_bytes()), 1);
    for (id, name, target) in
        [("srv-a", "a", "b.shop.local"), ("srv-b", "b", "a.shop.local"), ("srv-c", "c", "example.com")]
    {
        let service = serde_json::json!({
            "id": id, "namespace_id": "ns-1", "name": name, "kind": "DNS_HTTP", "created_at": 0,
            "creator_request_id": "", "region": "r", "health_check": "NONE",
            "dns": { "routing_policy": "WEIGHTED", "records": [["CNAME", 5]] },
        });
        snapshot.apply(&Key::Service(id.into()), Some(service.to_string().as_bytes()), 1);
        let instance = serde_json::json!({
            "attributes": { "AWS_INSTANCE_CNAME": target }, "creator_request_id": "", "operation": "",
        });
        snapshot.apply(&Key::instance(id, "i"), Some(instance.to_string().as_bytes()), 1);
    }
    let mut names = Names::new([240, 240, 0, 0].into(), 16);
    names.add("Colors.mesh");
    names.add("empty.shop.local");
    (snapshot, names)
}

fn ask(name: &str, kind: RecordType) -> Local {
    let packet = Ask::new(name, kind, 7, 0).expect("a name").packet();
    let Received::Question(question) = receive(&packet) else { panic!("a question") };
    let (snapshot, names) = world();
    local::answer(&question, &snapshot, &names, 3)
}

fn known(name: &str, kind: RecordType) -> Answer {
    match ask(name, kind) {
        Local::Known(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn aliases_are_followed_and_circles_are_noticed() {
    assert_eq!(u16::from(known("a.shop.local", RecordType::A).code), 2, "SERVFAIL");
    assert_eq!(known("a.shop.local", RecordType::CNAME).answers.len(), 1);
    let Local::Leads { so_far, to } = ask("c.shop.local", RecordType::A) else { panic!("it leads away") };
    assert_eq!((so_far.len(), to.to_ascii().as_str()), (1, "example.com."));
    assert_eq!(ask("example.com", RecordType::A), Local::Elsewhere);
}

#[test]
fn virtual_services_have_addresses_that_stay() {
    let first = known("colors.mesh", RecordType::A);
    assert_eq!(first, known("COLORS.MESH", RecordType::A).into_named(&first));
    assert_eq!(first.answers.len(), 1);
    let text = first.answers[0].data.to_string();
    assert!(text.starts_with("240.240."), "{text}");
    assert_eq!(known("colors.mesh", RecordType::AAAA).answers, [], "IPv4 alone");
    assert_eq!(
        known("empty.shop.local", RecordType::A).answers.len(),
        1,
        "the registry has nobody, the mesh does"
    );
    assert_eq!(u16::from(known("none.shop.local", RecordType::A).code), 3, "NXDOMAIN");
    assert_eq!(ask("other.mesh", RecordType::A), Local::Elsewhere);
    let any = known("colors.mesh", RecordType::ANY);
    assert_eq!(any.answers[0].record_type(), RecordType::HINFO, "everything at once is not told");
}

#[test]
fn addresses_of_the_mesh_have_names() {
    let (mut snapshot, names) = world();
    let names = names.with_v6(Some(("fd00:5e1:7::".parse().expect("an address"), 64)));
    // The block of addresses came late: what was there has to be added again.
    let mut names = names;
    names.clear();
    names.add("colors.mesh");
    for (id, name, records) in
        [("srv-w", "web", r#"[["A",7],["AAAA",7]]"#), ("srv-s", "_api._tcp", r#"[["SRV",9]]"#)]
    {
        let service = format!(
            r#"{{"id":"{id}","namespace_id":"ns-1","name":"{name}","kind":"DNS_HTTP","created_at":0,"creator_request_id":"",
            "region":"r","health_check":"NONE","dns":{{"routing_policy":"MULTIVALUE","records":{records}}}}}"#
        );
        snapshot.apply(&Key::Service(id.into()), Some(service.as_bytes()), 2);
        let instance = serde_json::json!({
            "attributes": { "AWS_INSTANCE_IPV4": "10.0.0.7", "AWS_INSTANCE_IPV6": "2001:db8::7", "AWS_INSTANCE_PORT": "80" },
            "creator_request_id": "", "operation": "",
        });
        snapshot.apply(&Key::instance(id, "i-1"), Some(instance.to_string().as_bytes()), 3);
    }
    let answer = |name: &str, kind| {
        let packet = Ask::new(name, kind, 7, 0).expect("a name").packet();
        let Received::Question(question) = receive(&packet) else { panic!("a question") };
        local::answer(&question, &snapshot, &names, 3)
    };
    let said = |name: &str, kind| match answer(name, kind) {
        Local::Known(answer) => {
            answer.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{name}: {other:?}"),
    };
    let web = ["i-1._api._tcp.shop.local.", "web.shop.local."];
    assert_eq!(said("7.0.0.10.in-addr.arpa", RecordType::PTR), web);
    let v6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    assert_eq!(said(v6, RecordType::PTR), web);
    for kind in [RecordType::A, RecordType::AAAA] {
        let address: std::net::IpAddr = said("colors.mesh", kind)[0].parse().expect("an address");
        let reverse = match address {
            std::net::IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            std::net::IpAddr::V6(ip) => {
                assert!(ip.to_string().starts_with("fd00:5e1:7:0:"), "{ip}");
                let digits: Vec<String> =
                    format!("{:032x}", ip.to_bits()).chars().rev().map(String::from).collect();
                format!("{}.ip6.arpa", digits.join("."))
            }
        };
        assert_eq!(said(&reverse, RecordType::PTR), ["colors.mesh."], "{address}");
    }
    assert_eq!(answer("8.0.0.10.in-addr.arpa", RecordType::PTR), Local::Elsewhere, "somebody else may know");
    // What goes takes its name along.
    names.remove("colors.mesh");
    snapshot.apply(&Key::instance("srv-w", "i-1"), None, 4);
    let packet = Ask::new("7.0.0.10.in-addr.arpa", RecordType::PTR, 7, 0).expect("a name").packet();
    let Received::Question(question) = receive(&packet) else { panic!("a question") };
    let Local::Known(left) = local::answer(&question, &snapshot, &names, 3) else { panic!("one is left") };
    assert_eq!(left.answers.len(), 1);
}

trait IntoNamed {
    fn into_named(self, like: &Answer) -> Answer;
}

impl IntoNamed for Answer {
    /// With the owner's letters as in another answer.
    fn into_named(mut self, like: &Answer) -> Answer {
        for (record, other) in self.answers.iter_mut().zip(&like.answers) {
            assert_eq!(record.name, other.name);
            record.name = other.name.clone();
        }
        self
    }
}

proptest! {
    #[test]
    fn no_packet_is_too_odd(packet in packet()) {
        let (snapshot, names) = world();
        match receive(&packet) {
            Received::Nothing => {}
            Received::Refused(answer) => prop_assert!(answer.len() <= packet.len() + 11),
            Received::Question(question) => {
                if let Local::Known(answer) = local::answer(&question, &snapshot, &names, 1) {
                    let encoded = encode(&question, &answer, question.udp_bytes());
                    prop_assert!(encoded.len() <= UDP_BYTES_MAX);
                    prop_assert_eq!(&encoded[..2], &packet[..2]);
                }
            }
        }
    }

    #[test]
    fn no_bytes_are_too_odd(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = receive(&packet);
        let ask = Ask::new("www.example.com", RecordType::A, 1, 2).expect("a name");
        prop_assert!(!matches!(ask.read(&packet, true), Reply::Answer(_)));
    }

    #[test]
    fn what_is_remembered_never_outlives_its_bounds(ttl in any::<u32>(), wait in 0_u64..200_000) {
        use selvedge_dns::cache::{Cache, Remembered, STALE_MAX, TTL_MAX};
        let answer = Answer { answers: known("colors.mesh", RecordType::A).answers, ..Answer::of_code(0.into()) };
        let mut answer = answer;
        answer.answers[0].ttl = ttl;
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(now, "x", RecordType::A, &answer);
        let later = now + std::time::Duration::from_secs(wait);
        match cache.get(later, "x", RecordType::A) {
            Remembered::Fresh(answer) => {
                prop_assert!(wait < TTL_MAX.as_secs());
                prop_assert!(u64::from(answer.answers[0].ttl) <= TTL_MAX.as_secs() - wait);
            }
            Remembered::Stale(answer) => prop_assert!(answer.answers[0].ttl <= 30),
            Remembered::Nothing => prop_assert!(wait >= STALE_MAX.as_secs()),
        }
    }
}
