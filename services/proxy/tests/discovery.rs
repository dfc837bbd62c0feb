//! The decisions of discovery, without a stream: what is published when, and what never is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_proxy::ConfigSnapshot;
use selvedge_proxy::discovery::{ClusterToken, Effect, HOLD_MAX, Phase, ProxyState, SECRETS_MAX};
use selvedge_traffic::matching::{PathMatch, RouteMatch};
use selvedge_traffic::tls::{
    Certificate, DownstreamTls, SecretRef, SecretSource, SecretTarget, Suites, Trust, UpstreamTls,
    Validation, Versions,
};
use selvedge_traffic::*;
use selvedge_xds::client::{Received, Update};

const SECOND: Duration = Duration::from_secs(1);

fn cluster(name: &str, connect_timeout: Duration) -> Resource {
    let discovery = Discovery::Eds { service_name: String::new() };
    Resource::Cluster(Cluster {
        connect_timeout,
        ignore_health_on_host_removal: true,
        ..Cluster::new(name, discovery)
    })
}

fn endpoints(cluster: &str) -> Resource {
    Resource::Endpoints(LoadAssignment { cluster: cluster.to_owned(), ..LoadAssignment::default() })
}

fn routes(name: &str, clusters: &[&str]) -> Resource {
    let clusters = clusters.iter().map(|name| WeightedCluster::new(*name, 1)).collect();
    let forward = Forward::to(clusters);
    let route = Route {
        name: String::new(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".to_owned()),
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
        },
        action: Action::Forward(forward),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        filters: Vec::new(),
    };
    let host = VirtualHost {
        name: "all".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    Resource::Routes(RouteTable { name: name.to_owned(), virtual_hosts: vec![host], ..RouteTable::default() })
}

fn listener(name: &str, port: u16, table: &str) -> Resource {
    let connection = HttpConnection::new("ingress", RouteSource::Rds(table.to_owned()));
    Resource::Listener(Listener {
        name: name.to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        ipv4_compat: false,
        direction: Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: Inspection::default(),
        chains: Vec::new(),
        default_chain: Some(FilterChain {
            name: String::new(),
            matches: ChainMatch::default(),
            transport: Transport::Plain,
            filters: Vec::new(),
            network: Network::Http(Box::new(connection)),
        }),
        access_logs: Vec::new(),
    })
}

/// A state with the effects that it asked for, and the clusters that are active by them.
struct Proxy {
    state: ProxyState,
    now: Instant,
    started: Vec<(ClusterToken, String)>,
    active: BTreeSet<String>,
    published: Vec<Arc<ConfigSnapshot>>,
    refused: Vec<String>,
    told: Vec<&'static str>,
    /// The secrets that are asked for.
    secrets: BTreeSet<SecretRef>,
}

impl Proxy {
    fn new(fetch_limit: Option<Duration>) -> Self {
        Self {
            state: ProxyState::new(fetch_limit),
            now: Instant::now(),
            started: Vec::new(),
            active: BTreeSet::new(),
            published: Vec::new(),
            refused: Vec::new(),
            told: Vec::new(),
            secrets: BTreeSet::new(),
        }
    }

    fn update(&mut self, kind: ResourceKind, changed: Vec<Resource>, removed: &[&str]) {
        let received = |resource| Received { encoded: selvedge_xds::encode(&resource), resource };
        let update = Update {
            kind,
            nonce: "n".to_owned(),
            changed: changed.into_iter().map(received).collect(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            refused: Vec::new(),
            undecodable: Vec::new(),
        };
        self.state.handle_update(update, self.now);
        self.carry_out();
    }

    fn changed(&mut self, resource: Resource) {
        self.update(resource.kind(), vec![resource], &[]);
    }

    /// Whatever was started for `name` becomes warm.
    fn warm(&mut self, name: &str) {
        let started = self.started.iter().filter(|(_, started)| started == name);
        for token in started.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.state.handle_warmed(&[token], self.now);
            self.carry_out();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.state.handle_timeout(self.now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.state.poll_effect() {
            match effect {
                Effect::StartCluster { token, config, .. } => self.started.push((token, config.name.clone())),
                Effect::DropCluster(token) => self.started.retain(|(started, _)| *started != token),
                Effect::ActivateCluster(token) => {
                    let at = self.started.iter().position(|(started, _)| *started == token).expect("started");
                    self.active.insert(self.started.swap_remove(at).1);
                }
                Effect::RemoveCluster(name) => assert!(self.active.remove(&name), "{name} was active"),
                Effect::Publish(snapshot) => self.published.push(snapshot),
                Effect::Answer { refused, .. } => {
                    self.refused.extend(refused.into_iter().map(|it| it.reason))
                }
                Effect::Secrets(wanted) => self.secrets = wanted,
                Effect::Listen => self.told.push("listen"),
                Effect::Live => self.told.push("live"),
                Effect::Endpoints { .. } => self.told.push("endpoints"),
            }
        }
    }

    /// The clusters that the served tables lead to.
    fn routed(&self) -> BTreeSet<String> {
        let tables = self.state.snapshot().listeners.iter().flat_map(|listener| listener.routes.values());
        let routes = tables.flat_map(|table| &table.virtual_hosts).flat_map(|host| &host.routes);
        let clusters = routes.filter_map(|route| match &route.action {
            Action::Forward(forward) => Some(&forward.clusters),
            _ => None,
        });
        clusters.flatten().map(|cluster| cluster.name.clone()).collect()
    }

    /// One cluster `a`, one listener with a table that leads to it, all live.
    fn live() -> Self {
        let mut proxy = Self::new(None);
        proxy.changed(cluster("a", SECOND));
        proxy.changed(endpoints("a"));
        proxy.warm("a");
        proxy.changed(listener("l", 1, "t"));
        proxy.changed(routes("t", &["a"]));
        assert_eq!(proxy.state.phase(), Phase::Live);
        proxy
    }
}

#[test]
fn a_proxy_is_live_once_clusters_listeners_and_routes_are_there_in_this_order() {
    let mut proxy = Proxy::new(None);
    proxy.changed(cluster("a", SECOND));
    assert_eq!((proxy.state.phase(), proxy.told.len()), (Phase::PreInitializing, 0));
    proxy.changed(endpoints("a"));
    assert!(proxy.active.is_empty(), "not warm before it says so");
    proxy.warm("a");
    assert_eq!((proxy.state.phase(), proxy.active.len()), (Phase::Initializing, 1));
    proxy.changed(listener("l", 1, "t"));
    assert!(proxy.published.is_empty(), "a listener waits for its routes");
    proxy.changed(routes("t", &["a"]));
    assert_eq!(proxy.state.phase(), Phase::Live);
    assert_eq!(proxy.published.last().expect("published").listeners.len(), 1);
    assert_eq!(proxy.told, ["endpoints", "listen", "live"]);
}

#[test]
fn a_proxy_without_any_configuration_is_live_too() {
    let mut proxy = Proxy::new(None);
    proxy.update(ResourceKind::Cluster, Vec::new(), &[]);
    proxy.update(ResourceKind::Listener, Vec::new(), &[]);
    assert_eq!(proxy.state.phase(), Phase::Live);
}

#[test]
fn new_routes_wait_for_their_clusters_while_the_old_ones_serve() {
    let mut proxy = Proxy::live();
    proxy.changed(routes("t", &["a", "b"]));
    assert_eq!(proxy.routed(), BTreeSet::from(["a".to_owned()]));
    proxy.changed(cluster("b", SECOND));
    assert_eq!(proxy.routed().len(), 1, "known, but not warm");
    proxy.warm("b");
    assert_eq!(proxy.routed().len(), 2);
    let [first, second] = proxy.published.as_slice() else { panic!("two snapshots") };
    assert!(Arc::ptr_eq(&first.listeners[0].config, &second.listeners[0].config), "sockets stay");
}

#[test]
fn routes_to_a_cluster_that_never_comes_are_let_through_in_the_end() {
    let mut proxy = Proxy::live();
    proxy.changed(routes("t", &["ghost"]));
    proxy.pass(HOLD_MAX - SECOND);
    assert_eq!(proxy.routed(), BTreeSet::from(["a".to_owned()]));
    assert_eq!(proxy.state.next_timeout(proxy.now), Some(proxy.now + SECOND));
    proxy.pass(SECOND);
    assert_eq!(proxy.routed(), BTreeSet::from(["ghost".to_owned()]));
    assert_eq!(proxy.state.next_timeout(proxy.now), None);
}

#[test]
fn a_withdrawn_cluster_stays_until_no_route_leads_to_it() {
    let mut proxy = Proxy::live();
    proxy.changed(cluster("b", SECOND));
    proxy.warm("b");
    proxy.update(ResourceKind::Cluster, Vec::new(), &["a"]);
    assert!(proxy.active.contains("a"));
    proxy.changed(routes("t", &["b"]));
    assert!(!proxy.active.contains("a"));
    proxy.update(ResourceKind::Cluster, Vec::new(), &["b"]);
    proxy.pass(HOLD_MAX);
    assert!(proxy.active.is_empty(), "but not for ever");
}

#[test]
fn a_changed_cluster_replaces_the_old_one_only_when_warm() {
    let mut proxy = Proxy::live();
    proxy.changed(cluster("a", SECOND * 2));
    assert_eq!((proxy.active.len(), proxy.started.len()), (1, 1));
    proxy.changed(cluster("a", SECOND * 3));
    assert_eq!(proxy.started.len(), 1, "the newest alone warms up");
    proxy.changed(cluster("a", SECOND));
    assert_eq!(proxy.started.len(), 0, "back to what serves");
    proxy.changed(cluster("a", SECOND));
    assert_eq!(proxy.started.len(), 0, "nothing new");
}

#[test]
fn what_cannot_be_served_is_refused_and_the_last_good_stays() {
    let mut proxy = Proxy::live();
    let before = Arc::clone(proxy.state.snapshot());
    let Resource::Listener(mut logged) = listener("l", 1, "t") else { unreachable!() };
    let format = AccessLogFormat::Text("%NO_SUCH_OPERATOR%".to_owned());
    logged.access_logs.push(AccessLog::new("/dev/null", format));
    let Resource::Routes(mut twice) = routes("t", &["a"]) else { unreachable!() };
    twice.virtual_hosts.push(twice.virtual_hosts[0].clone());
    proxy.update(ResourceKind::Listener, vec![Resource::Listener(logged), listener("m", 1, "t")], &[]);
    proxy.changed(Resource::Routes(twice));
    assert_eq!(proxy.refused.len(), 3, "{:?}", proxy.refused);
    assert_eq!(proxy.refused[1], "has duplicate address '127.0.0.1:1' as existing listener 'l'");
    assert!(Arc::ptr_eq(&before, proxy.state.snapshot()));
}

#[test]
fn the_good_part_of_a_partly_bad_update_is_applied() {
    let mut proxy = Proxy::live();
    proxy.update(ResourceKind::Listener, vec![listener("bad", 1, "t"), listener("good", 2, "t")], &[]);
    let names: Vec<_> = proxy.state.snapshot().listeners.iter().map(|it| it.config.name.clone()).collect();
    assert_eq!(names, ["good", "l"]);
    assert_eq!(proxy.refused.len(), 1);
}

#[test]
fn endpoints_that_do_not_come_are_gone_on_without_after_the_limit() {
    let mut proxy = Proxy::new(Some(15 * SECOND));
    proxy.changed(cluster("a", SECOND));
    assert_eq!(proxy.state.next_timeout(proxy.now), Some(proxy.now + 15 * SECOND));
    proxy.pass(15 * SECOND);
    assert_eq!(proxy.told, ["endpoints"]);
}

#[test]
fn what_was_in_force_starts_the_next_process() {
    let before = Proxy::live();
    let mut after = Proxy::new(None);
    let restored = before.state.kept().into_iter().map(|(kept, version)| {
        let encoded = selvedge_xds::encode_ref(kept.as_ref());
        (selvedge_xds::decode(encoded.kind, &encoded.value).expect("it was encoded just now"), version)
    });
    after.state.handle_restored(restored.collect(), after.now);
    after.carry_out();
    after.warm("a");
    assert_eq!(after.state.phase(), Phase::Live);
    assert_eq!(*after.state.snapshot().listeners, *before.state.snapshot().listeners);
    assert_eq!(after.state.kept(), before.state.kept());
}

#[test]
fn a_removed_listener_goes_and_its_routes_with_it() {
    let mut proxy = Proxy::live();
    proxy.update(ResourceKind::Routes, Vec::new(), &["t"]);
    assert_eq!(proxy.routed().len(), 1, "a table stays while a listener asks for it");
    proxy.update(ResourceKind::Listener, Vec::new(), &["l"]);
    assert!(proxy.state.snapshot().listeners.is_empty());
    assert!(!proxy.state.kept().iter().any(|(resource, _)| resource.as_ref().kind() == ResourceKind::Routes));
}

/// SplitMix64: a seed replays its run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % bound
    }

    fn pick(&mut self, names: &[&'static str]) -> &'static str {
        names[self.below(names.len() as u64) as usize]
    }
}

#[test]
fn in_whatever_order_things_come_no_route_leads_to_a_cluster_that_is_not_there() {
    const CLUSTERS: [&str; 3] = ["a", "b", "c"];
    let mut served = 0;
    for seed in 0..2_000 {
        let mut chance = Chance(seed);
        let mut proxy = Proxy::new(None);
        for step in 0..40 {
            let name = chance.pick(&CLUSTERS);
            match chance.below(8) {
                0 | 1 => proxy.changed(cluster(name, SECOND * (1 + chance.below(2) as u32))),
                2 => proxy.update(ResourceKind::Cluster, Vec::new(), &[name]),
                3 => proxy.changed(endpoints(name)),
                4 => proxy.warm(name),
                5 => proxy.changed(listener("l", 1 + chance.below(2) as u16, chance.pick(&["t", "u"]))),
                6 => proxy.changed(routes(chance.pick(&["t", "u"]), &[name, chance.pick(&CLUSTERS)])),
                _ => proxy.update(ResourceKind::Listener, Vec::new(), &["l"]),
            }
            let routed = proxy.routed();
            served += routed.len();
            assert!(
                routed.is_subset(&proxy.active),
                "seed {seed}, step {step}: {routed:?} in {:?}",
                proxy.active
            );
        }
    }
    assert!(served > 1_000, "hardly anything was ever served: {served}");
}

fn ads(name: &str) -> SecretRef {
    SecretRef { name: name.to_owned(), source: SecretSource::Ads }
}

/// A cluster that shows `mine` and believes `theirs`.
fn encrypted(name: &str, mine: SecretRef, theirs: SecretRef) -> Resource {
    let Resource::Cluster(plain) = cluster(name, SECOND) else { unreachable!("a cluster") };
    let tls = UpstreamTls {
        certificate: Some(Certificate::Sds(mine)),
        validation: Some(Validation::new(Trust::Sds(theirs))),
        sni: String::new(),
        alpn: Vec::new(),
        versions: Versions::default(),
        suites: Suites::default(),
    };
    Resource::Cluster(Cluster { transport: UpstreamTransport::Tls(Box::new(tls)), ..plain })
}

fn encrypted_listener(name: &str, port: u16, table: &str, secret: SecretRef) -> Resource {
    let Resource::Listener(mut plain) = listener(name, port, table) else { unreachable!("a listener") };
    let tls = DownstreamTls::new(Certificate::Sds(secret));
    plain.default_chain.as_mut().expect("one").transport = Transport::Tls(Box::new(tls));
    Resource::Listener(plain)
}

#[test]
fn a_cluster_waits_for_its_secrets_before_anything_else() {
    let mut proxy = Proxy::new(None);
    proxy.changed(encrypted("a", ads("mine"), ads("roots")));
    proxy.changed(endpoints("a"));
    assert_eq!(proxy.secrets, BTreeSet::from([ads("mine"), ads("roots")]));
    assert!(proxy.started.is_empty(), "nobody is probed with half the secrets");
    proxy.state.handle_secret(&ads("mine"), "1", proxy.now);
    proxy.carry_out();
    assert!(proxy.started.is_empty());
    proxy.state.handle_secret(&ads("roots"), "1", proxy.now);
    proxy.carry_out();
    proxy.warm("a");
    assert_eq!((proxy.active.len(), proxy.state.phase()), (1, Phase::Initializing));
    proxy.update(ResourceKind::Cluster, Vec::new(), &["a"]);
    assert!(proxy.active.is_empty() && proxy.secrets.is_empty(), "what nobody needs is not asked for");
}

#[test]
fn a_listener_waits_for_its_secret_while_the_old_one_serves() {
    let mut proxy = Proxy::live();
    proxy.changed(encrypted_listener("l", 1, "t", ads("b")));
    let served = |proxy: &Proxy| {
        let listener = &proxy.state.snapshot().listeners[0].config;
        listener.default_chain.as_ref().is_some_and(|chain| chain.transport != Transport::Plain)
    };
    assert!(!served(&proxy), "the old one serves");
    proxy.state.handle_secret(&ads("other"), "1", proxy.now);
    assert!(!served(&proxy), "nobody asked for that one");
    proxy.state.handle_secret(&ads("b"), "1", proxy.now);
    proxy.carry_out();
    assert!(served(&proxy));
    proxy.state.handle_secret_absent(&ads("b"), proxy.now);
    assert!(served(&proxy), "what is in force stays");
}

#[test]
fn secrets_that_never_come_hold_nothing_for_ever_and_absent_ones_not_at_all() {
    let mut proxy = Proxy::new(None);
    proxy.changed(encrypted("a", ads("never"), ads("never")));
    proxy.changed(endpoints("a"));
    assert_eq!(proxy.state.next_timeout(proxy.now), Some(proxy.now + HOLD_MAX));
    proxy.pass(HOLD_MAX);
    proxy.warm("a");
    assert_eq!(proxy.active.len(), 1);
    proxy.changed(encrypted("b", ads("none"), ads("none")));
    proxy.changed(endpoints("b"));
    proxy.state.handle_secret_absent(&ads("none"), proxy.now);
    proxy.carry_out();
    proxy.warm("b");
    assert_eq!(proxy.active.len(), 2, "nobody waits for what there is not");
}

#[test]
fn a_secret_that_nobody_can_be_asked_for_is_refused_by_name_and_so_are_too_many() {
    let mut proxy = Proxy::new(None);
    let socket = SecretRef::of_socket("mine");
    proxy.changed(encrypted("a", socket.clone(), socket.clone()));
    assert_eq!(proxy.refused, ["secret \"mine\": no secret discovery service is known"]);
    let odd = SecretRef { name: "odd".into(), source: SecretSource::Target(SecretTarget::plain("nowhere")) };
    proxy.changed(encrypted("a", odd.clone(), odd));
    assert_eq!(proxy.refused[1], "secret \"odd\": no secret discovery service is known");
    assert!(proxy.secrets.is_empty());
    let mut with_socket = Proxy::new(None);
    with_socket.state = std::mem::take(&mut with_socket.state).with_secret_socket();
    with_socket.changed(encrypted("a", socket.clone(), socket));
    assert!(with_socket.refused.is_empty() && with_socket.secrets.len() == 1);
    for number in 1..SECRETS_MAX {
        with_socket.changed(encrypted(&number.to_string(), ads(&number.to_string()), ads("1")));
    }
    assert_eq!((with_socket.refused.len(), with_socket.secrets.len()), (0, SECRETS_MAX));
    with_socket.changed(encrypted("more", ads("more"), ads("1")));
    assert_eq!(with_socket.refused, [format!("more than {SECRETS_MAX} secrets are asked for")]);
}
