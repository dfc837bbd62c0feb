//! State of the world.

use std::time::Duration;

use prost::Message;
use selvedge_xds::server::{Event, Fault, Form, Scope};
use selvedge_xds::{ServerSession, type_url};
use selvedge_xds_proto::envoy::config::core::v3::Node;
use selvedge_xds_proto::envoy::service::discovery::v3::DiscoveryRequest;

use crate::world::{CDS, EDS, LDS, RDS, Stream, beginning, cluster, endpoints, gist, listener, routes, view};

fn settled() -> Stream {
    let mut stream = Stream::new(
        Form::StateOfTheWorld,
        view(1, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", 1), &routes("r", "one")]),
    );
    for (kind, names) in [(CDS, &[][..]), (EDS, &["a"][..]), (LDS, &[][..]), (RDS, &["r"][..])] {
        let seen = stream.ask(kind, names);
        assert_eq!(seen.len(), 1, "{kind:?}: {seen:?}");
        assert_eq!(stream.ack(&seen[0]), []);
    }
    assert_eq!(stream.events().last(), Some(&Event::Settled { revision: 1 }));
    stream
}

#[test]
fn clusters_come_whole_and_endpoints_follow_those_that_changed() {
    let mut stream = settled();
    let seen = stream.show(view(
        2,
        &[
            &cluster("a", 2),
            &cluster("b", 1),
            &endpoints("a", 1),
            &endpoints("b", 1),
            &listener("in", 1),
            &routes("r", "one"),
        ],
    ));
    assert_eq!(gist(&seen), [(CDS, vec!["a", "b"]), (EDS, vec!["a"])]);
}

#[test]
fn a_removed_cluster_is_repeated_until_the_route_has_left_it() {
    let mut stream = settled();
    let new = [cluster("b", 1), endpoints("b", 1), listener("in", 1), routes("r", "two")];
    let seen = stream.show(view(2, &new.iter().collect::<Vec<_>>()));
    assert_eq!(gist(&seen), [(CDS, vec!["b", "a"])], "both, so that nothing breaks");
    stream.ack(&seen[0]);
    let seen = stream.ask(EDS, &["a", "b"]);
    assert_eq!(gist(&seen), [(EDS, vec!["b"])]);
    let seen = stream.ack(&seen[0]);
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    let seen = stream.ack(&seen[0]);
    assert_eq!(gist(&seen)[0], (CDS, vec!["b"]));
}

#[test]
fn endpoints_of_an_unknown_cluster_are_none_rather_than_silence() {
    let mut stream = settled();
    let seen = stream.ask(EDS, &["a", "ghost"]);
    assert_eq!(gist(&seen), [(EDS, vec!["ghost"])]);
    assert_eq!(stream.ack(&seen[0]), []);
}

#[test]
fn the_first_request_of_a_stream_is_answered_even_with_a_version_and_an_old_error() {
    let mut stream = Stream::new(Form::StateOfTheWorld, view(1, &[&listener("in", 1)]));
    let request = DiscoveryRequest {
        node: Some(Node { id: "n".to_owned(), ..Node::default() }),
        type_url: type_url::of(LDS).to_owned(),
        version_info: "whatever".to_owned(),
        error_detail: Some(selvedge_xds_proto::google::rpc::Status { code: 13, message: "old".to_owned() }),
        ..DiscoveryRequest::default()
    };
    stream.session.handle_request(&request.encode_to_vec()).expect("fine");
    assert_eq!(gist(&stream.drain()), [(LDS, vec!["in"])]);
    assert_eq!(stream.session.rejected().count(), 0);
}

#[test]
fn an_answer_to_an_older_response_changes_nothing() {
    let mut stream = settled();
    let seen = stream
        .show(view(2, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", 2), &routes("r", "one")]));
    let mut stale = seen[0].clone();
    stale.nonce = "older".to_owned();
    assert_eq!(stream.nack(&stale, "old news"), []);
    assert_eq!(stream.session.rejected().count(), 0);
    stream.ack(&seen[0]);
    assert_eq!(stream.events().last(), Some(&Event::Settled { revision: 2 }));
}

#[test]
fn versions_come_from_content_alone() {
    let version = |revision| {
        let mut stream =
            Stream::new(Form::StateOfTheWorld, view(revision, &[&cluster("a", 1), &cluster("b", 1)]));
        stream.ask(CDS, &[])[0].version.clone()
    };
    assert_eq!(version(1), version(99));
}

#[test]
fn a_rejected_set_is_not_sent_again_until_it_changes() {
    let mut stream = settled();
    let with = |revision, seconds| {
        view(revision, &[&cluster("a", seconds), &endpoints("a", 1), &listener("in", 1), &routes("r", "one")])
    };
    let seen = stream.show(with(2, 2));
    assert_eq!(gist(&seen), [(CDS, vec!["a"]), (EDS, vec!["a"])]);
    stream.ack(&seen[1]);
    assert_eq!(stream.nack(&seen[0], "Error adding/updating cluster(s) a: bad"), []);
    stream.now += Duration::from_secs(60);
    assert_eq!(stream.drain(), []);
    assert_eq!(gist(&stream.show(with(3, 3)))[0], (CDS, vec!["a"]));
}

#[test]
fn a_service_of_one_type_serves_that_type_only() {
    let mut session = ServerSession::new(Form::StateOfTheWorld, Scope::Only(CDS));
    let request = |url: &str| {
        DiscoveryRequest {
            node: Some(Node { id: "n".to_owned(), ..Node::default() }),
            type_url: url.to_owned(),
            ..DiscoveryRequest::default()
        }
        .encode_to_vec()
    };
    assert_eq!(
        session.handle_request(&request(type_url::of(LDS))),
        Err(Fault::TypeMismatch(type_url::of(LDS).to_owned()))
    );
    session.handle_request(&request("")).expect("the service says the type");
    session.set_view(view(1, &[&cluster("a", 1)]));
    assert!(session.poll_response(beginning()).is_some());
}

#[test]
fn a_stream_without_a_node_is_refused() {
    let mut session = ServerSession::new(Form::StateOfTheWorld, Scope::Aggregated);
    let request = DiscoveryRequest { type_url: type_url::of(RDS).to_owned(), ..DiscoveryRequest::default() };
    assert_eq!(session.handle_request(&request.encode_to_vec()), Err(Fault::NodeMissing));
    assert!(matches!(session.handle_request(b"\xff\xff"), Err(Fault::Malformed(_))));
}

#[test]
fn what_a_stranger_can_make_grow_is_bounded() {
    let refused = |request: DiscoveryRequest| {
        let mut session = ServerSession::new(Form::StateOfTheWorld, Scope::Aggregated);
        session.handle_request(&request.encode_to_vec()).expect_err("it is too much")
    };
    let node = |id: usize, cluster: usize| {
        Some(Node { id: "i".repeat(id), cluster: "c".repeat(cluster), ..Node::default() })
    };
    let eds = || DiscoveryRequest {
        type_url: type_url::of(EDS).to_owned(),
        node: node(1, 1),
        ..DiscoveryRequest::default()
    };
    assert_eq!(refused(DiscoveryRequest { node: node(3000, 1), ..eds() }), Fault::NodeTooLong);
    assert_eq!(refused(DiscoveryRequest { node: node(1, 100_000), ..eds() }), Fault::NodeTooLong);
    assert_eq!(
        refused(DiscoveryRequest { resource_names: vec!["n".repeat(3000)], ..eds() }),
        Fault::NameTooLong
    );
    let many = (0..=20_000).map(|at| at.to_string()).collect();
    assert_eq!(refused(DiscoveryRequest { resource_names: many, ..eds() }), Fault::TooManyNames);
}
