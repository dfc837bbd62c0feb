//! What a private namespace says in the DNS.
//!
//! ```text
//! web.shop.local            A, AAAA or CNAME     the instances of `web` in `shop.local`
//! _http._tcp.web.shop.local SRV                  0 1 8080 i-1._http._tcp.web.shop.local
//! i-1._http._tcp.…          A, AAAA              where an SRV record points
//! ```
//! Healthy instances are answered; when there is none, all are, as Route 53 does. (Cloud Map, *DnsConfig* and *RoutingPolicy*.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::instance::Instance;
use crate::namespace::{Namespace, NamespaceKind};
use crate::service::{DnsConfig, RecordType, RoutingPolicy};
use crate::snapshot::{ServiceState, Snapshot};

/// Instances of one answer. (Route 53's multivalue answers.)
pub const ANSWERS_MAX: usize = 8;

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It belongs to no private namespace.
    Elsewhere,
    Ours {
        /// The name of the namespace, lower case.
        zone: String,
        /// Seconds for which a negative answer holds.
        negative_ttl: u32,
        found: Found,
    },
}

/// What a private namespace says to a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no such name.
    Nothing,
    /// There is the name, with other types or none at the moment.
    NoData,
    Records(Vec<Record>),
}

/// A record of the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Seconds.
    pub ttl: u32,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// A domain name without a final dot.
    Cname(String),
    Srv {
        port: u16,
        target: String,
    },
}

/// Looks a name up: lower case, without a final dot. `kind`: `None` for types that no instance makes. `draw`: chance, for
/// which instances are answered and in what order.
pub fn lookup(snapshot: &Snapshot, name: &str, kind: Option<RecordType>, draw: u64) -> Lookup {
    let Some((namespace, prefix)) = zone(snapshot, name) else { return Lookup::Elsewhere };
    Lookup::Ours {
        zone: namespace.name.to_ascii_lowercase(),
        negative_ttl: namespace.soa_ttl.unwrap_or(Namespace::SOA_TTL_DEFAULT),
        found: found(snapshot, namespace, prefix, kind, draw),
    }
}

/// The names under which private namespaces have that address, lower case and without a final dot, each with the seconds for
/// which it holds: those whose own records lead back to it. At most [`ANSWERS_MAX`].
pub fn names_of(snapshot: &Snapshot, address: IpAddr) -> Vec<(String, u32)> {
    let kind = if address.is_ipv4() { RecordType::A } else { RecordType::Aaaa };
    let mut names: Vec<(String, u32)> = snapshot
        .instances_at(address)
        .filter_map(|(service, id)| {
            let state = snapshot.service(service)?;
            state.instance(id)?;
            let namespace = snapshot.namespace(&state.service.namespace_id)?;
            let dns = state.service.dns.as_ref().filter(|_| namespace.kind == NamespaceKind::PrivateDns)?;
            let own = format!("{}.{}", state.service.name, namespace.name);
            let named = match (dns.ttl(kind), dns.ttl(RecordType::Srv)) {
                (Some(ttl), _) => (own, ttl),
                (None, ttl) => (format!("{}.{own}", label(id)), ttl?),
            };
            Some((named.0.to_ascii_lowercase(), named.1))
        })
        .take(ANSWERS_MAX)
        .collect();
    names.sort();
    names.dedup_by(|after, before| after.0 == before.0);
    names
}

/// The private namespace with the longest name that ends `name`, and what stands before it.
fn zone<'a, 'b>(snapshot: &'a Snapshot, name: &'b str) -> Option<(&'a Namespace, &'b str)> {
    let mut start = 0;
    loop {
        let suffix = &name[start..];
        let namespace = snapshot.namespace_named(suffix);
        if let Some(namespace) = namespace.filter(|one| one.kind == NamespaceKind::PrivateDns) {
            return Some((namespace, name[..start].trim_end_matches('.')));
        }
        start += suffix.find('.')? + 1;
    }
}

fn found(
    snapshot: &Snapshot,
    namespace: &Namespace,
    prefix: &str,
    kind: Option<RecordType>,
    draw: u64,
) -> Found {
    if prefix.is_empty() {
        return Found::NoData;
    }
    if let Some(state) = snapshot.service_in(&namespace.id, prefix)
        && let Some(dns) = &state.service.dns
    {
        return of_service(namespace, state, dns, kind, draw);
    }
    if let Some((label, service)) = prefix.split_once('.')
        && let Some(state) = snapshot.service_in(&namespace.id, service)
        && let Some(ttl) = state.service.dns.as_ref().and_then(|dns| dns.ttl(RecordType::Srv))
        && let Some(instance) = labelled(state, label)
    {
        return of_instance(instance, ttl, kind);
    }
    // A name exists when one below it does. (RFC 8020.)
    let is_above = |name: &str| name.strip_suffix(prefix).is_some_and(|rest| rest.ends_with('.'));
    if snapshot.service_names(&namespace.id).any(|(name, _)| is_above(name)) {
        return Found::NoData;
    }
    Found::Nothing
}

fn of_service(
    namespace: &Namespace,
    state: ServiceState<'_>,
    dns: &DnsConfig,
    kind: Option<RecordType>,
    draw: u64,
) -> Found {
    // A CNAME answers every question about its name.
    let is_alias = dns.ttl(RecordType::Cname).is_some();
    let kind = if is_alias { Some(RecordType::Cname) } else { kind };
    let Some((kind, ttl)) = kind.and_then(|kind| Some((kind, dns.ttl(kind)?))) else { return Found::NoData };
    let limit = match dns.routing_policy {
        RoutingPolicy::Multivalue => ANSWERS_MAX,
        RoutingPolicy::Weighted => 1,
    };
    let record = |id: &str, instance: &Instance| {
        let data = match kind {
            RecordType::A => Data::A(instance.ipv4()?),
            RecordType::Aaaa => Data::Aaaa(instance.ipv6()?),
            RecordType::Cname => Data::Cname(instance.cname()?.trim_end_matches('.').to_ascii_lowercase()),
            RecordType::Srv => {
                let (service, zone) = (&state.service.name, &namespace.name);
                let target = format!("{}.{service}.{zone}", label(id)).to_ascii_lowercase();
                Data::Srv { port: instance.port()?, target }
            }
        };
        Some(Record { ttl, data })
    };
    let pick = |usable_only: bool| -> Vec<Record> {
        let all = state.instances;
        let start = usize::try_from(draw % (all.len().max(1) as u64)).unwrap_or(0);
        let (tail, head) = all.split_at(start);
        head.iter()
            .chain(tail)
            .filter(|(_, instance)| !instance.is_draining())
            .filter(|(_, one)| !usable_only || one.health(state.service.health_check).is_usable())
            .filter_map(|(id, instance)| record(id, instance))
            .take(limit)
            .collect()
    };
    let mut records = pick(true);
    if records.is_empty() {
        records = pick(false);
    }
    if records.is_empty() { Found::NoData } else { Found::Records(records) }
}

fn of_instance(instance: &Instance, ttl: u32, kind: Option<RecordType>) -> Found {
    let data = match kind {
        Some(RecordType::A) => instance.ipv4().map(Data::A),
        Some(RecordType::Aaaa) => instance.ipv6().map(Data::Aaaa),
        _ => None,
    };
    data.map_or(Found::NoData, |data| Found::Records(vec![Record { ttl, data }]))
}

/// The label of an instance's own name: its identifier where that can be one, and otherwise a digest of it.
fn label(id: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&id.len()) && id.bytes().all(is_word) && !id.starts_with("x--") {
        return id.to_owned();
    }
    // FNV-1a.
    let digest = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("x--{digest:016x}")
}

fn labelled<'a>(state: ServiceState<'a>, wanted: &str) -> Option<&'a Instance> {
    if !wanted.starts_with("x--") {
        return state.instance(wanted);
    }
    state.present().find(|(id, _)| label(id) == wanted).map(|(_, instance)| instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::{CNAME, IPV4, IPV6, PORT};
    use crate::snapshot::tests::{instance, put, put_service, shop};

    fn world() -> Snapshot {
        use RoutingPolicy::{Multivalue, Weighted};
        let mut snapshot = shop();
        put_service(&mut snapshot, "srv-web", "web", Multivalue, &[RecordType::A, RecordType::Aaaa]);
        put_service(&mut snapshot, "srv-one", "one", Weighted, &[RecordType::A]);
        put_service(&mut snapshot, "srv-srv", "_http._tcp.api", Multivalue, &[RecordType::Srv]);
        put_service(&mut snapshot, "srv-alias", "alias", Weighted, &[RecordType::Cname]);
        put_service(&mut snapshot, "srv-empty", "empty", Multivalue, &[RecordType::A]);
        for n in 1..=20 {
            let (v4, v6) = (format!("10.0.0.{n}"), format!("2001:db8::{n}"));
            let one = instance(&[(IPV4, &v4), (IPV6, &v6)]);
            put(&mut snapshot, "srv-web", &format!("i-{n}"), &one, 9);
            put(&mut snapshot, "srv-one", &format!("i-{n}"), &one, 9);
        }
        for id in ["i-1", "task/Odd"] {
            put(&mut snapshot, "srv-srv", id, &instance(&[(IPV4, "10.1.0.1"), (PORT, "8080")]), 9);
        }
        put(&mut snapshot, "srv-alias", "i", &instance(&[(CNAME, "Example.COM.")]), 9);
        snapshot
    }

    fn ask(snapshot: &Snapshot, name: &str, kind: Option<RecordType>, draw: u64) -> Found {
        match lookup(snapshot, name, kind, draw) {
            Lookup::Ours { zone, negative_ttl, found } => {
                assert_eq!((zone.as_str(), negative_ttl), ("shop.local", 15));
                found
            }
            Lookup::Elsewhere => panic!("{name} is ours"),
        }
    }

    fn records(found: Found) -> Vec<Record> {
        match found {
            Found::Records(records) => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_found_and_missed_as_the_rfc_says() {
        let snapshot = world();
        let kind = Some(RecordType::A);
        for (name, expected) in [
            ("shop.local", Found::NoData),
            ("nobody.shop.local", Found::Nothing),
            ("empty.shop.local", Found::NoData),
            ("_tcp.api.shop.local", Found::NoData),
            ("api.shop.local", Found::NoData),
            ("pi.shop.local", Found::Nothing),
            ("_http._tcp.api.shop.local", Found::NoData),
            ("i-9._http._tcp.api.shop.local", Found::Nothing),
            ("i-1.web.shop.local", Found::Nothing),
        ] {
            assert_eq!(ask(&snapshot, name, kind, 0), expected, "{name}");
        }
        for name in ["local", "", "shop.local.example", "myshop.local"] {
            assert_eq!(lookup(&snapshot, name, kind, 0), Lookup::Elsewhere, "{name}");
        }
        assert_eq!(ask(&snapshot, "web.shop.local", None, 0), Found::NoData);
    }

    #[test]
    fn multivalue_answers_eight_and_weighted_one_and_chance_goes_round() {
        let snapshot = world();
        let mut seen = std::collections::BTreeSet::new();
        for draw in 0..20 {
            let found = records(ask(&snapshot, "web.shop.local", Some(RecordType::A), draw));
            assert_eq!(found.len(), ANSWERS_MAX);
            seen.extend(found.iter().map(|record| format!("{:?}", record.data)));
            assert_eq!(records(ask(&snapshot, "one.shop.local", Some(RecordType::A), draw)).len(), 1);
        }
        assert_eq!(seen.len(), 20);
        assert_eq!(records(ask(&snapshot, "web.shop.local", Some(RecordType::Aaaa), 0))[0].ttl, 30);
    }

    #[test]
    fn the_ill_are_left_out_unless_all_are() {
        let mut snapshot = world();
        let ill = |n: u8| {
            let address = format!("10.0.0.{n}");
            Instance { unhealthy: true, ..instance(&[(IPV4, &address)]) }
        };
        for n in 2..=20 {
            put(&mut snapshot, "srv-web", &format!("i-{n}"), &ill(n), 10);
        }
        let found = records(ask(&snapshot, "web.shop.local", Some(RecordType::A), 7));
        assert_eq!(
            found.iter().map(|record| &record.data).collect::<Vec<_>>(),
            [&Data::A([10, 0, 0, 1].into())]
        );
        put(&mut snapshot, "srv-web", "i-1", &ill(1), 11);
        assert_eq!(records(ask(&snapshot, "web.shop.local", Some(RecordType::A), 7)).len(), ANSWERS_MAX);
    }

    #[test]
    fn where_an_srv_record_points_there_is_an_address() {
        let snapshot = world();
        let found = records(ask(&snapshot, "_http._tcp.api.shop.local", Some(RecordType::Srv), 0));
        assert_eq!(found.len(), 2);
        for record in found {
            let Data::Srv { port: 8080, target } = record.data else { panic!("{record:?}") };
            let address = records(ask(&snapshot, &target, Some(RecordType::A), 0));
            assert_eq!(address[0].data, Data::A([10, 1, 0, 1].into()), "{target}");
        }
    }

    #[test]
    fn an_alias_answers_every_type() {
        let snapshot = world();
        for kind in [Some(RecordType::A), Some(RecordType::Cname), None] {
            let found = records(ask(&snapshot, "alias.shop.local", kind, 0));
            assert_eq!(found[0].data, Data::Cname("example.com".into()));
        }
    }
}
