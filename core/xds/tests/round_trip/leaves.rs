//! Small values that every resource is made of.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::matching::header::Pattern;
use selvedge_traffic::tls::{Certificate, DownstreamTls, Trust, UpstreamTls, Validation};
use selvedge_traffic::{AccessLog, AccessLogFormat, Transport, UpstreamTransport, WeightedCluster};

pub(crate) fn word() -> BoxedStrategy<String> {
    "[a-z][a-z0-9_-]{0,12}".boxed()
}

pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof!["[ -~]{0,24}", "\\PC{0,12}"].boxed()
}

pub(crate) fn some_text() -> BoxedStrategy<String> {
    text().prop_map(|text| format!("x{text}")).boxed()
}

pub(crate) fn duration() -> BoxedStrategy<Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0u64..100_000).prop_map(Duration::from_millis),
        any::<u32>().prop_map(|nanos| Duration::from_nanos(nanos.into())),
    ]
    .boxed()
}

pub(crate) fn positive() -> BoxedStrategy<Duration> {
    duration().prop_map(|duration| duration + Duration::from_millis(1)).boxed()
}

pub(crate) fn pattern() -> BoxedStrategy<Pattern> {
    prop_oneof![Just("/a/.*"), Just("[a-z]+(b|c)?"), Just("\\d{1,3}")]
        .prop_map(|source| Pattern::new(source).expect("a fixed expression"))
        .boxed()
}

/// Ordered by key, as a JSON format arrives.
fn members() -> BoxedStrategy<Vec<(String, String)>> {
    btree_map(word(), text(), 0..4).prop_map(|map| map.into_iter().collect()).boxed()
}

pub(crate) fn access_logs() -> BoxedStrategy<Vec<AccessLog>> {
    let format = prop_oneof![
        Just(AccessLogFormat::Default),
        text().prop_map(AccessLogFormat::Text),
        members().prop_map(AccessLogFormat::Json),
    ];
    vec((some_text(), format).prop_map(|(path, format)| AccessLog { path, format }), 0..2).boxed()
}

pub(crate) fn weighted(weight_min: u32) -> BoxedStrategy<Vec<WeightedCluster>> {
    vec((word(), weight_min..200).prop_map(|(name, weight)| WeightedCluster::new(name, weight)), 1..4)
        .prop_filter("some weight", |clusters| clusters.iter().any(|cluster| cluster.weight > 0))
        .boxed()
}

fn certificate() -> BoxedStrategy<Certificate> {
    prop_oneof![
        (some_text(), some_text()).prop_map(|(chain, key)| Certificate::Files { chain, key }),
        some_text().prop_map(|name| Certificate::Sds { name }),
    ]
    .boxed()
}

fn validation() -> BoxedStrategy<Validation> {
    let trust = prop_oneof![
        some_text().prop_map(|chain| Trust::File { chain }),
        some_text().prop_map(|name| Trust::Sds { name }),
        Just(Trust::AcceptAny),
    ];
    let name = prop_oneof![word(), word().prop_map(|word| format!("spiffe://mesh.local/{word}"))];
    (trust, vec(name, 0..3))
        .prop_map(|(trust, subject_alternative_names)| Validation { trust, subject_alternative_names })
        .boxed()
}

pub(crate) fn downstream_transport() -> BoxedStrategy<Transport> {
    let tls = (certificate(), option::of(validation()), any::<bool>(), vec(word(), 0..3)).prop_map(
        |(certificate, validation, require_client_certificate, alpn)| {
            Transport::Tls(DownstreamTls { certificate, validation, require_client_certificate, alpn })
        },
    );
    prop_oneof![Just(Transport::Plain), tls].boxed()
}

pub(crate) fn upstream_transport() -> BoxedStrategy<UpstreamTransport> {
    let tls = (option::of(certificate()), option::of(validation()), text(), vec(word(), 0..3)).prop_map(
        |(certificate, validation, sni, alpn)| {
            UpstreamTransport::Tls(UpstreamTls { certificate, validation, sni, alpn })
        },
    );
    prop_oneof![Just(UpstreamTransport::Plain), tls].boxed()
}
