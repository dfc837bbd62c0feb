//! Small values that every resource is made of.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::access_log::filter::{Comparison, Operator};
use selvedge_traffic::matching::header::Pattern;
use selvedge_traffic::matching::{TextCondition, TextMatch};
use selvedge_traffic::tls::{
    Certificate, Cipher, Curve, DownstreamTls, NameKind, NameMatch, Pem, SecretFile, SecretRef, SecretSource,
    SecretTarget, SecretTls, Suites, Trust, TrustDomain, UpstreamTls, Validation, Version, Versions,
};
use selvedge_traffic::{
    AccessLog, AccessLogFormat, FileLog, GrpcLog, GrpcRecords, Http2Keepalive, Http2Settings, JsonTemplate,
    Label, Labels, LogFilter, LogSink, Transport, UpstreamTransport, WeightedCluster,
};
use selvedge_xds::secret;

pub(crate) fn word() -> BoxedStrategy<String> {
    "[a-z][a-z0-9_-]{0,12}".boxed()
}

pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof!["[ -~]{0,24}", "\\PC{0,12}"].boxed()
}

pub(crate) fn some_text() -> BoxedStrategy<String> {
    text().prop_map(|text| format!("x{text}")).boxed()
}

pub(crate) fn http2() -> BoxedStrategy<Http2Settings> {
    let window = || option::of(65_535u32..=i32::MAX as u32);
    let keepalive = (option::of(positive()), positive(), 0u32..=100, option::of(positive()));
    let keepalive = keepalive.prop_map(|(interval, timeout, jitter_percent, idle_interval)| Http2Keepalive {
        interval,
        timeout,
        jitter_percent,
        idle_interval,
    });
    (option::of(1u32..=i32::MAX as u32), window(), window(), option::of(keepalive))
        .prop_map(|(streams_max, stream_window_bytes, connection_window_bytes, keepalive)| Http2Settings {
            streams_max,
            stream_window_bytes,
            connection_window_bytes,
            keepalive,
        })
        .boxed()
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

pub(crate) fn labels() -> BoxedStrategy<Labels> {
    let label = prop_oneof![text().prop_map(Label::Text), any::<bool>().prop_map(Label::Flag)];
    btree_map(word(), label, 0..3).boxed()
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

/// At least one value that is no text, or it is the plainer variant.
fn tree() -> BoxedStrategy<Vec<(String, JsonTemplate)>> {
    let leaf = prop_oneof![
        text().prop_map(JsonTemplate::Text),
        any::<i32>().prop_map(|number| JsonTemplate::Number(number.into())),
        any::<bool>().prop_map(JsonTemplate::Bool),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        let members = btree_map(word(), inner.clone(), 0..3);
        prop_oneof![
            members.prop_map(|map| JsonTemplate::Object(map.into_iter().collect())),
            vec(inner, 0..3).prop_map(JsonTemplate::List),
        ]
    });
    (btree_map(word(), value, 0..4), any::<bool>())
        .prop_map(|(mut map, flag)| {
            map.insert("zz".to_owned(), JsonTemplate::Bool(flag));
            map.into_iter().collect()
        })
        .boxed()
}

fn log_filter() -> BoxedStrategy<LogFilter> {
    let operator =
        prop::sample::select(vec![Operator::Equal, Operator::AtLeast, Operator::AtMost, Operator::NotEqual]);
    let comparison = (operator, any::<u32>(), text()).prop_map(|(operator, value, key)| Comparison {
        operator,
        value,
        key,
    });
    let denominator = prop::sample::select(vec![100, 10_000, 1_000_000]);
    let leaf = prop_oneof![
        comparison.clone().prop_map(LogFilter::Status),
        comparison.prop_map(LogFilter::Duration),
        Just(LogFilter::NotHealthCheck),
        Just(LogFilter::Traceable),
        (word(), any::<u32>(), denominator, any::<bool>()).prop_map(
            |(key, numerator, denominator, independent)| LogFilter::Sampled {
                key,
                numerator,
                denominator,
                independent
            }
        ),
        vec(word(), 0..3).prop_map(LogFilter::Flags),
        (vec(0..17u32, 0..3), any::<bool>())
            .prop_map(|(statuses, exclude)| LogFilter::GrpcStatus { statuses, exclude }),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(LogFilter::And),
            vec(inner, 2..4).prop_map(LogFilter::Or),
        ]
    })
    .boxed()
}

pub(crate) fn access_logs() -> BoxedStrategy<Vec<AccessLog>> {
    let format = prop_oneof![
        Just(AccessLogFormat::Default),
        text().prop_map(AccessLogFormat::Text),
        members().prop_map(AccessLogFormat::Json),
        tree().prop_map(AccessLogFormat::JsonTree),
    ];
    let file = (some_text(), format, any::<bool>()).prop_map(|(path, format, omit_empty)| {
        // The default line has no format that could say so.
        let omit_empty = omit_empty && format != AccessLogFormat::Default;
        LogSink::File(FileLog { path, format, omit_empty })
    });
    let headers = || vec(word(), 0..2);
    let records = prop_oneof![
        Just(GrpcRecords::Tcp),
        (headers(), headers(), headers()).prop_map(
            |(request_headers, response_headers, response_trailers)| GrpcRecords::Http {
                request_headers,
                response_headers,
                response_trailers
            }
        ),
    ];
    let metadata = vec((word(), "[ -$&-~]{0,12}"), 0..2);
    let tags = vec(crate::tracing::custom_tag(), 0..2);
    let grpc = (some_text(), word(), text(), positive(), any::<u32>(), records, metadata, tags).prop_map(
        |(name, cluster, authority, flush_interval, buffer_bytes, records, metadata, tags)| {
            LogSink::Grpc(GrpcLog {
                name,
                cluster,
                authority,
                metadata,
                tags,
                flush_interval,
                buffer_bytes,
                records,
            })
        },
    );
    let log = (prop_oneof![file, grpc], option::of(log_filter()));
    vec(log.prop_map(|(sink, filter)| AccessLog { sink, filter }), 0..2).boxed()
}

pub(crate) fn weighted(weight_min: u32) -> BoxedStrategy<Vec<WeightedCluster>> {
    vec((word(), weight_min..200).prop_map(|(name, weight)| WeightedCluster::new(name, weight)), 1..4)
        .prop_filter("some weight", |clusters| clusters.iter().any(|cluster| cluster.weight > 0))
        .boxed()
}

pub(crate) fn text_match() -> BoxedStrategy<TextMatch> {
    let condition = prop_oneof![
        text().prop_map(TextCondition::Exact),
        some_text().prop_map(TextCondition::Prefix),
        some_text().prop_map(TextCondition::Suffix),
        some_text().prop_map(TextCondition::Contains),
        pattern().prop_map(TextCondition::Regex),
    ];
    (condition, any::<bool>())
        .prop_map(|(condition, ignore_case)| TextMatch { condition, ignore_case })
        .boxed()
}

fn secret() -> BoxedStrategy<SecretRef> {
    let tls = (option::of(some_text()), option::of((some_text(), some_text())))
        .prop_map(|(roots, certificate)| SecretTls { roots, certificate });
    let target = (some_text(), any::<bool>(), option::of(tls))
        .prop_map(|(uri, delta, tls)| SecretSource::Target(Box::new(SecretTarget { uri, delta, tls })));
    let file = (some_text(), option::of(some_text()))
        .prop_map(|(path, watched)| SecretSource::File(SecretFile { path, watched }));
    let plain =
        prop::sample::select(vec![SecretSource::Socket, SecretSource::DeltaSocket, SecretSource::Ads]);
    let source = prop_oneof![plain, target, file];
    (some_text(), source).prop_map(|(name, source)| SecretRef { name, source }).boxed()
}

fn certificate() -> BoxedStrategy<Certificate> {
    prop_oneof![
        (some_text(), some_text()).prop_map(|(chain, key)| Certificate::Files { chain, key }),
        secret().prop_map(Certificate::Sds),
    ]
    .boxed()
}

fn names() -> BoxedStrategy<Vec<NameMatch>> {
    let kind =
        prop_oneof![Just(NameKind::Dns), Just(NameKind::Uri), Just(NameKind::Email), Just(NameKind::Ip)];
    vec((kind, text_match()).prop_map(|(kind, text)| NameMatch { kind, text }), 0..3).boxed()
}

fn pem() -> BoxedStrategy<Pem> {
    prop_oneof![some_text().prop_map(Pem::File), some_text().prop_map(Pem::Inline)].boxed()
}

fn domains() -> BoxedStrategy<Trust> {
    let domains = btree_map(some_text(), pem(), 1..3);
    let domain = |(name, bundle)| TrustDomain { name, bundle };
    domains.prop_map(move |domains| Trust::Spiffe(domains.into_iter().map(domain).collect())).boxed()
}

pub(crate) fn validation() -> BoxedStrategy<Validation> {
    let trust = prop_oneof![
        some_text().prop_map(|chain| Trust::File { chain }),
        secret().prop_map(Trust::Sds),
        some_text().prop_map(Trust::Inline),
        domains(),
        Just(Trust::AcceptAny),
        Just(Trust::Unvouched),
    ];
    let pins = (vec(some_text(), 0..2), vec(some_text(), 0..2));
    let lists = (option::of(pem()), any::<bool>(), any::<bool>());
    (trust, names(), pins, lists)
        .prop_map(
            |(
                trust,
                mut names,
                (mut certificate_hashes, spki_hashes),
                (crl, crl_of_leaf_only, allow_expired),
            )| {
                // Without an authority there is a pin, and no name.
                if trust == Trust::Unvouched {
                    names.clear();
                    certificate_hashes.push("pin".to_owned());
                }
                Validation {
                    trust,
                    names,
                    certificate_hashes,
                    spki_hashes,
                    crl,
                    crl_of_leaf_only,
                    allow_expired,
                }
            },
        )
        .boxed()
}

fn versions() -> BoxedStrategy<Versions> {
    let version = || option::of(prop_oneof![Just(Version::Tls12), Just(Version::Tls13)]);
    (version(), version())
        .prop_map(|(min, max)| {
            if max.is_some() && min > max { Versions { min: max, max: min } } else { Versions { min, max } }
        })
        .boxed()
}

fn parameters() -> BoxedStrategy<(Versions, Suites)> {
    let ciphers = vec(prop::sample::select(Cipher::ALL), 0..3);
    let curves = vec(prop::sample::select(Curve::ALL), 0..3);
    let suites = (ciphers, curves).prop_map(|(ciphers, curves)| Suites { ciphers, curves });
    (versions(), suites).boxed()
}

pub(crate) fn downstream_transport() -> BoxedStrategy<Transport> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let tls = (
        certificate(),
        option::of(validation()),
        flags,
        vec(word(), 0..3),
        parameters(),
        option::of(duration()),
    )
        .prop_map(
            |(
                certificate,
                validation,
                (require_client_certificate, require_sni, without_tickets),
                alpn,
                (versions, suites),
                handshake_timeout,
            )| {
                Transport::Tls(Box::new(DownstreamTls {
                    certificate,
                    validation,
                    require_client_certificate,
                    require_sni,
                    alpn,
                    versions,
                    suites,
                    without_tickets,
                    handshake_timeout,
                }))
            },
        );
    prop_oneof![Just(Transport::Plain), tls].boxed()
}

pub(crate) fn upstream_transport() -> BoxedStrategy<UpstreamTransport> {
    let tls = (option::of(certificate()), option::of(validation()), text(), vec(word(), 0..3), parameters())
        .prop_map(|(certificate, validation, sni, alpn, (versions, suites))| {
            UpstreamTransport::Tls(Box::new(UpstreamTls {
                certificate,
                validation,
                sni,
                alpn,
                versions,
                suites,
            }))
        });
    prop_oneof![Just(UpstreamTransport::Plain), tls].boxed()
}

/// A secret whose rules lean on no other.
pub(crate) fn secret_content() -> BoxedStrategy<secret::Secret> {
    let leans = |validation: &Validation| matches!(validation.trust, Trust::Sds(_));
    let certificate = some_text().prop_map(|chain| secret::Content::Certificate {
        chain: chain.into_bytes(),
        key: b"the key".to_vec().into(),
    });
    let files = (some_text(), some_text()).prop_map(|(chain, key)| secret::Content::Files { chain, key });
    let validation = validation().prop_filter("leans", move |validation| !leans(validation));
    let content = prop_oneof![
        certificate,
        files,
        validation.prop_map(|validation| secret::Content::Validation(Box::new(validation))),
    ];
    ("[a-j]{1,8}", content).prop_map(|(name, content)| secret::Secret { name, content }).boxed()
}
