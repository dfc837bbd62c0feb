//! Our proxy's session against our control plane's.

use std::sync::Arc;
use std::time::Duration;

use selvedge_traffic::{
    ChainMatch, Direction, FilterChain, HttpConnection, Inspection, Listener, Network, Resource, RouteSource,
    Transport,
};
use selvedge_xds::client::Refused;
use selvedge_xds::server::{Event, Form, Scope};
use selvedge_xds::{ClientSession, Encoded, Node, ServerSession, View, encode};

use crate::world::{CDS, EDS, LDS, RDS, beginning, cluster, endpoints, routes, view};

/// A listener with one chain whose routes are discovered.
fn listener(name: &str, table: &str) -> Arc<Encoded> {
    let connection = HttpConnection::new("ingress", RouteSource::Rds(table.to_owned()));
    Arc::new(encode(&Resource::Listener(Listener {
        name: name.to_owned(),
        address: ([127, 0, 0, 1], 1).into(),
        ipv4_compat: false,
        direction: Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: Inspection::default(),
        chains: vec![FilterChain {
            name: String::new(),
            matches: ChainMatch::default(),
            transport: Transport::Plain,
            filters: Vec::new(),
            network: Network::Http(Box::new(connection)),
        }],
        default_chain: None,
        access_logs: Vec::new(),
    })))
}

fn node() -> Node {
    Node { id: "mesh/m/virtualNode/n".to_owned(), user_agent: "selvedge".to_owned(), ..Node::default() }
}

/// Carries messages both ways until nobody has anything to say; the resources that arrived, in order.
fn converse(client: &mut ClientSession, server: &mut ServerSession, refuse: &[&str]) -> Vec<String> {
    let now = beginning();
    let mut arrived = Vec::new();
    loop {
        let mut quiet = true;
        while let Some(request) = client.poll_request() {
            quiet = false;
            server.handle_request(&request).expect("our own requests are fine");
        }
        while let Some(response) = server.poll_response(now) {
            quiet = false;
            client.handle_response(&response).expect("our own responses are fine");
        }
        while let Some(update) = client.poll_update() {
            arrived.extend(update.changed.iter().map(|received| received.encoded.name.to_string()));
            arrived.extend(update.removed.iter().map(|name| format!("-{name}")));
            let refused = update
                .changed
                .iter()
                .filter(|received| refuse.contains(&received.resource.name()))
                .map(|received| Refused {
                    resource: received.resource.name().to_owned(),
                    reason: "no".to_owned(),
                })
                .collect();
            client.handle_applied(&update.nonce, refused);
        }
        if quiet {
            return arrived;
        }
    }
}

fn server(view: Arc<View>) -> ServerSession {
    let mut server = ServerSession::new(Form::Delta, Scope::Aggregated);
    server.set_view(view);
    server
}

fn full() -> Arc<View> {
    view(1, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", "r"), &routes("r", "one")])
}

#[test]
fn a_proxy_learns_all_that_its_resources_refer_to() {
    let mut client = ClientSession::new(node(), 1);
    let mut server = server(full());
    client.handle_connected();
    assert_eq!(converse(&mut client, &mut server, &[]), ["a", "a"]);
    client.listen();
    assert_eq!(converse(&mut client, &mut server, &[]), ["in", "r"]);
    assert_eq!(server.node().map(|node| node.id.as_str()), Some("mesh/m/virtualNode/n"));
    let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
    assert!(events.contains(&Event::Settled { revision: 1 }), "{events:?}");
}

#[test]
fn a_reconnect_brings_only_what_changed() {
    let mut client = ClientSession::new(node(), 1);
    client.listen();
    client.handle_connected();
    converse(&mut client, &mut server(full()), &[]);
    let now = beginning();
    client.handle_disconnected(now);
    assert!(!client.is_connected());
    assert!(client.next_timeout(now).is_some_and(|at| at < now + Duration::from_millis(500)));

    client.handle_connected();
    assert_eq!(converse(&mut client, &mut server(full()), &[]), [] as [&str; 0], "nothing changed");
    client.handle_disconnected(now);
    client.handle_connected();
    let changed = view(2, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", "r"), &routes("r", "two")]);
    assert_eq!(converse(&mut client, &mut server(changed), &[]), ["r"]);
}

#[test]
fn a_proxy_that_restores_its_configuration_from_disk_is_up_to_date() {
    let mut client = ClientSession::new(node(), 1);
    client.restore(full().resources().map(|encoded| (**encoded).clone()));
    client.listen();
    client.handle_connected();
    assert_eq!(converse(&mut client, &mut server(full()), &[]), [] as [&str; 0]);
}

#[test]
fn what_a_proxy_refuses_is_known_to_the_control_plane_and_not_held() {
    let mut client = ClientSession::new(node(), 1);
    client.listen();
    client.handle_connected();
    let mut server =
        server(view(1, &[&cluster("a", 1), &cluster("b", 1), &endpoints("a", 1), &endpoints("b", 1)]));
    converse(&mut client, &mut server, &["b"]);
    let rejected: Vec<_> = server.rejected().collect();
    assert!(rejected.iter().all(|rejected| rejected.name == "b"), "{rejected:?}");
    assert!(rejected[0].message.contains("b: no"), "{rejected:?}");
    assert_eq!(client.held(CDS).map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
    assert_eq!(client.held(EDS).map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
    assert_eq!(client.held(LDS).count() + client.held(RDS).count(), 0);
}

#[test]
fn an_extension_that_nobody_knows_is_refused_by_name() {
    let mut client = ClientSession::new(node(), 1);
    client.listen();
    client.handle_connected();
    // A cluster's bytes in a listener's clothes: the address is missing.
    let odd = Arc::new(Encoded::received(LDS, "odd", "v", cluster("odd", 1).value.clone()));
    let mut server = server(view(1, &[&odd, &listener("in", "r"), &routes("r", "one")]));
    converse(&mut client, &mut server, &[]);
    let rejected: Vec<_> = server.rejected().collect();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected[0].name, "odd");
    assert_eq!(client.held(LDS).map(|(name, _)| name).collect::<Vec<_>>(), ["in"], "the good one is applied");
}
