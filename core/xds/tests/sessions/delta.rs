//! The incremental form.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_xds::server::{Event, Form};
use selvedge_xds::type_url;
use selvedge_xds_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::world::{CDS, EDS, LDS, RDS, Stream, cluster, endpoints, gist, listener, routes, view};

/// A stream that has all of one cluster, listener and route table.
fn settled() -> Stream {
    let mut stream = Stream::new(
        Form::Delta,
        view(1, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", 1), &routes("r", "one")]),
    );
    for (kind, names) in [(CDS, &[][..]), (EDS, &["a"][..]), (LDS, &[][..]), (RDS, &["r"][..])] {
        let seen = stream.ask(kind, names);
        assert_eq!(seen.len(), 1, "{kind:?}: {seen:?}");
        assert_eq!(stream.ack(&seen[0]), []);
    }
    let events = stream.events();
    assert_eq!(events.last(), Some(&Event::Settled { revision: 1 }), "{events:?}");
    stream
}

#[test]
fn types_are_answered_in_whatever_order_they_are_asked_for() {
    let mut stream = Stream::new(
        Form::Delta,
        view(1, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", 1), &routes("r", "one")]),
    );
    // Envoy's order after it lost its stream.
    assert_eq!(gist(&stream.ask(EDS, &["a"])), [(EDS, vec!["a"])]);
    assert_eq!(gist(&stream.ask(LDS, &[])), [(LDS, vec!["in"])]);
    assert_eq!(gist(&stream.ask(RDS, &["r"])), [(RDS, vec!["r"])]);
    assert_eq!(gist(&stream.ask(CDS, &[])), [(CDS, vec!["a"])]);
}

#[test]
fn a_route_change_sends_that_table_and_nothing_else() {
    let mut stream = settled();
    let seen = stream
        .show(view(2, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", 1), &routes("r", "two")]));
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    stream.ack(&seen[0]);
    assert_eq!(stream.events().last(), Some(&Event::Settled { revision: 2 }));
}

#[test]
fn a_proxy_that_is_up_to_date_is_sent_nothing_after_a_restart() {
    let resources = [cluster("a", 1), endpoints("a", 1), listener("in", 1), routes("r", "one")];
    let all: Vec<_> = resources.iter().collect();
    let mut stream = Stream::new(Form::Delta, view(7, &all));
    for encoded in &resources {
        let named = matches!(encoded.kind, EDS | RDS);
        let seen = stream.edit(DeltaDiscoveryRequest {
            type_url: type_url::of(encoded.kind).to_owned(),
            resource_names_subscribe: if named { vec![encoded.name.to_string()] } else { Vec::new() },
            initial_resource_versions: BTreeMap::from([(
                encoded.name.to_string(),
                encoded.version.to_string(),
            )]),
            ..DeltaDiscoveryRequest::default()
        });
        assert_eq!(seen, [], "{:?}", encoded.kind);
    }
    assert_eq!(stream.events(), [Event::Settled { revision: 7 }]);
}

#[test]
fn what_vanished_while_a_proxy_was_away_is_removed() {
    let mut stream = Stream::new(Form::Delta, view(1, &[&listener("in", 1)]));
    let seen = stream.edit(DeltaDiscoveryRequest {
        type_url: type_url::of(LDS).to_owned(),
        initial_resource_versions: BTreeMap::from([("old".to_owned(), "v".to_owned())]),
        ..DeltaDiscoveryRequest::default()
    });
    assert_eq!(gist(&seen), [(LDS, vec!["in"])]);
    assert_eq!(seen[0].removed, ["old"]);
}

#[test]
fn endpoints_follow_a_changed_cluster_though_they_did_not_change() {
    let mut stream = settled();
    let seen = stream
        .show(view(2, &[&cluster("a", 2), &endpoints("a", 1), &listener("in", 1), &routes("r", "one")]));
    assert_eq!(gist(&seen), [(CDS, vec!["a"]), (EDS, vec!["a"])]);
}

#[test]
fn endpoints_follow_a_changed_cluster_though_they_are_asked_for_later_and_known() {
    let hosts = endpoints("a", 1);
    let mut stream = Stream::new(Form::Delta, view(1, &[&cluster("a", 2), &hosts]));
    assert_eq!(gist(&stream.ask(CDS, &[])), [(CDS, vec!["a"])]);
    let seen = stream.edit(DeltaDiscoveryRequest {
        type_url: type_url::of(EDS).to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        initial_resource_versions: BTreeMap::from([("a".to_owned(), hosts.version.to_string())]),
        ..DeltaDiscoveryRequest::default()
    });
    assert_eq!(gist(&seen), [(EDS, vec!["a"])], "the cluster warms up and waits for them");
}

#[test]
fn a_new_cluster_is_there_before_the_route_to_it_and_the_old_one_goes_last() {
    let mut stream = settled();
    let new = [cluster("b", 1), endpoints("b", 1), listener("in", 1), routes("r", "two")];
    let seen = stream.show(view(2, &new.iter().collect::<Vec<_>>()));
    assert_eq!(gist(&seen), [(CDS, vec!["b"])], "routes wait, removals wait");
    assert_eq!(seen[0].removed, [] as [&str; 0]);
    assert_eq!(stream.ack(&seen[0]), [], "the cluster has no endpoints yet");
    let seen = stream.ask(EDS, &["b"]);
    assert_eq!(gist(&seen), [(EDS, vec!["b"])]);
    let seen = stream.ack(&seen[0]);
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    let seen = stream.ack(&seen[0]);
    assert_eq!(seen[0].kind, CDS);
    assert_eq!(seen[0].removed, ["a"]);
}

#[test]
fn listeners_go_before_the_clusters_that_they_used() {
    let mut stream = settled();
    let seen = stream.show(view(2, &[]));
    assert_eq!(seen.iter().map(|seen| seen.kind).collect::<Vec<_>>(), [LDS, RDS]);
    let mut followed = stream.ack(&seen[0]);
    assert_eq!(followed, []);
    followed = stream.ack(&seen[1]);
    assert_eq!(gist(&followed), [(CDS, vec![]), (EDS, vec![])]);
    assert_eq!(followed[0].removed, ["a"]);
}

#[test]
fn a_proxy_that_comes_back_keeps_its_clusters_until_its_listeners_are_gone() {
    let mut stream = Stream::new(Form::Delta, view(2, &[]));
    let introduce = |stream: &mut Stream, kind, name: &str| {
        stream.edit(DeltaDiscoveryRequest {
            type_url: type_url::of(kind).to_owned(),
            initial_resource_versions: BTreeMap::from([(name.to_owned(), "v".to_owned())]),
            ..DeltaDiscoveryRequest::default()
        })
    };
    assert_eq!(introduce(&mut stream, CDS, "a"), [], "what it listens with is not known yet");
    let seen = introduce(&mut stream, LDS, "in");
    assert_eq!((seen[0].kind, &seen[0].removed[..]), (LDS, &["in".to_owned()][..]));
    let seen = stream.ack(&seen[0]);
    assert_eq!((seen[0].kind, &seen[0].removed[..]), (CDS, &["a".to_owned()][..]));
}

#[test]
fn a_proxy_that_comes_back_keeps_its_routes_until_the_new_cluster_has_its_hosts() {
    let parts = [cluster("a", 1), endpoints("a", 1), listener("in", 1), routes("r", "two")];
    let mut stream = Stream::new(Form::Delta, view(2, &parts.iter().collect::<Vec<_>>()));
    let brought = |name: &str, version: &str| BTreeMap::from([(name.to_owned(), version.to_owned())]);
    let clusters = stream.ask(CDS, &[]);
    assert_eq!(gist(&clusters), [(CDS, vec!["a"])]);
    let routes = stream.edit(DeltaDiscoveryRequest {
        type_url: type_url::of(RDS).to_owned(),
        resource_names_subscribe: vec!["r".to_owned()],
        initial_resource_versions: brought("r", "old"),
        ..DeltaDiscoveryRequest::default()
    });
    assert_eq!(routes, []);
    stream.ack(&clusters[0]);
    let hosts = stream.ask(EDS, &["a"]);
    assert_eq!(gist(&hosts), [(EDS, vec!["a"])]);
    assert_eq!(gist(&stream.ack(&hosts[0])), [(RDS, vec!["r"])]);
}

#[test]
fn routes_wait_for_a_cluster_that_cannot_be_sent_yet_however_long_that_takes() {
    let mut stream = settled();
    let parts = [cluster("a", 2), endpoints("a", 1), listener("in", 1), routes("r", "one")];
    let first = stream.show(view(2, &parts.iter().collect::<Vec<_>>()));
    assert_eq!(gist(&first), [(CDS, vec!["a"]), (EDS, vec!["a"])]);
    let [a, a_hosts, listener, _] = parts;
    let parts = [a, a_hosts, cluster("b", 1), listener, routes("r", "two")];
    assert_eq!(stream.show(view(3, &parts.iter().collect::<Vec<_>>())), []);
    stream.now += Duration::from_secs(60);
    assert_eq!(stream.drain(), [], "the answer that is owed comes late, if ever");
    let seen = stream.ack(&first[0]);
    assert_eq!(gist(&seen), [(CDS, vec!["b"])]);
    stream.ack(&first[1]);
    assert_eq!(gist(&stream.ack(&seen[0])), [(RDS, vec!["r"])]);
}

#[test]
fn a_cluster_stays_while_the_route_that_leaves_it_cannot_be_sent() {
    let mut stream = settled();
    let both = [cluster("a", 1), endpoints("a", 1), cluster("b", 1), listener("in", 1), routes("r", "two")];
    let seen = stream.show(view(2, &both.iter().collect::<Vec<_>>()));
    let seen = stream.ack(&seen[0]);
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    let one = [cluster("b", 1), listener("in", 1), routes("r", "three")];
    assert_eq!(stream.show(view(3, &one.iter().collect::<Vec<_>>())), []);
    stream.now += Duration::from_secs(60);
    assert_eq!(stream.drain(), [], "the proxy still routes as it was told first");
    let seen = stream.ack(&seen[0]);
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    let seen = stream.ack(&seen[0]);
    assert_eq!((seen[0].kind, &seen[0].removed[..]), (CDS, &["a".to_owned()][..]));
}

#[test]
fn a_proxy_that_never_asks_for_endpoints_still_gets_its_routes() {
    let mut stream = settled();
    let new = [
        cluster("a", 1),
        endpoints("a", 1),
        cluster("b", 1),
        endpoints("b", 1),
        listener("in", 1),
        routes("r", "two"),
    ];
    let seen = stream.show(view(2, &new.iter().collect::<Vec<_>>()));
    assert_eq!(stream.ack(&seen[0]), []);
    assert_eq!(gist(&stream.wait()), [(RDS, vec!["r"])]);
}

#[test]
fn one_response_a_type_is_under_way_and_the_next_has_the_latest() {
    let mut stream = settled();
    let with = |revision, domain| {
        view(revision, &[&cluster("a", 1), &endpoints("a", 1), &listener("in", 1), &routes("r", domain)])
    };
    let seen = stream.show(with(2, "two"));
    assert_eq!(stream.show(with(3, "three")), []);
    assert_eq!(stream.show(with(4, "four")), []);
    let seen = stream.ack(&seen[0]);
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    stream.ack(&seen[0]);
    assert_eq!(stream.events().last(), Some(&Event::Settled { revision: 4 }));
}

#[test]
fn an_unknown_name_is_answered_as_removed_and_a_known_one_again_when_asked_again() {
    let mut stream = settled();
    let seen = stream.ask(EDS, &["ghost"]);
    assert_eq!(seen[0].removed, ["ghost"]);
    stream.ack(&seen[0]);
    assert_eq!(gist(&stream.ask(EDS, &["a"])), [(EDS, vec!["a"])]);
}

#[test]
fn a_rejected_version_is_not_sent_again_and_a_better_one_is() {
    let mut stream = settled();
    let with = |revision, port| {
        view(
            revision,
            &[
                &cluster("a", 1),
                &endpoints("a", 1),
                &listener("in", port),
                &listener("out", 9),
                &routes("r", "one"),
            ],
        )
    };
    let seen = stream.show(with(2, 2));
    assert_eq!(gist(&seen), [(LDS, vec!["in", "out"])]);
    assert_eq!(stream.nack(&seen[0], "Error adding/updating listener(s) in: cannot bind\n"), []);
    let rejected: Vec<_> = stream.session.rejected().collect();
    assert_eq!(rejected.len(), 1, "the other listener of the response was applied");
    assert_eq!((rejected[0].name.as_str(), rejected[0].kind), ("in", LDS));
    assert!(rejected[0].message.contains("cannot bind"));
    assert!(stream.events().contains(&Event::Rejected { kind: LDS, revision: 2 }));
    assert!(!stream.events().contains(&Event::Settled { revision: 2 }));

    let seen = stream.show(with(3, 3));
    assert_eq!(gist(&seen), [(LDS, vec!["in"])]);
    stream.ack(&seen[0]);
    assert_eq!(stream.session.rejected().count(), 0);
    assert_eq!(stream.events().last(), Some(&Event::Settled { revision: 3 }));
}

#[test]
fn clusters_stay_while_the_route_table_that_used_them_is_rejected() {
    let mut stream = settled();
    let seen = stream.show(view(2, &[&listener("in", 1), &routes("r", "two")]));
    assert_eq!(gist(&seen), [(RDS, vec!["r"])]);
    assert_eq!(stream.nack(&seen[0], "no such thing"), []);
    stream.now += Duration::from_secs(60);
    assert_eq!(stream.drain(), [], "the table in force may lead to the cluster");
}

#[test]
fn a_change_of_names_counts_even_beside_a_stale_nonce() {
    let mut stream = settled();
    let seen = stream.edit(DeltaDiscoveryRequest {
        type_url: type_url::of(EDS).to_owned(),
        resource_names_subscribe: vec!["ghost".to_owned()],
        response_nonce: "stale".to_owned(),
        ..DeltaDiscoveryRequest::default()
    });
    assert_eq!(seen[0].removed, ["ghost"]);
}

#[test]
fn an_explicit_name_ends_the_wildcard_that_was_meant_by_silence() {
    let mut stream = Stream::new(Form::Delta, view(1, &[&cluster("a", 1), &cluster("b", 1)]));
    let seen = stream.ask(CDS, &[]);
    stream.ack(&seen[0]);
    let seen = stream.ask(CDS, &["a"]);
    stream.ack(&seen[0]);
    assert_eq!(stream.show(view(2, &[&cluster("a", 1), &cluster("b", 2)])), []);
    assert_eq!(gist(&stream.ask(CDS, &["*"])), [(CDS, vec!["b"])]);
}

#[test]
fn a_name_given_up_that_the_wildcard_covers_is_answered() {
    let mut stream = Stream::new(Form::Delta, view(1, &[&cluster("a", 1)]));
    let seen = stream.ask(CDS, &["*", "a"]);
    stream.ack(&seen[0]);
    let seen = stream.edit(DeltaDiscoveryRequest {
        type_url: type_url::of(CDS).to_owned(),
        resource_names_unsubscribe: vec!["a".to_owned()],
        ..DeltaDiscoveryRequest::default()
    });
    assert_eq!(gist(&seen), [(CDS, vec!["a"])]);
}

#[test]
fn a_large_answer_goes_in_pieces() {
    let many: Vec<_> = (0..200).map(|at| routes(&format!("r{at:03}"), &"x".repeat(10_000))).collect();
    let mut stream = Stream::new(Form::Delta, view(1, &many.iter().collect::<Vec<_>>()));
    let names: Vec<&str> = many.iter().map(|encoded| encoded.name.as_ref()).collect();
    let mut seen = stream.ask(RDS, &names);
    let mut count = 0;
    let mut responses = 0;
    while let Some(response) = seen.pop() {
        assert!(seen.is_empty(), "one at a time");
        count += response.names.len();
        responses += 1;
        seen = stream.ack(&response);
    }
    assert_eq!(count, 200);
    assert!(responses >= 4, "{responses} responses of at most a mebibyte");
}

#[test]
fn a_wildcard_over_nothing_is_answered_with_nothing() {
    let mut stream = Stream::new(Form::Delta, view(1, &[]));
    assert_eq!(gist(&stream.ask(CDS, &[])), [(CDS, vec![])]);
}
