//! Generated tracing.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::Tracing;
use selvedge_traffic::tracing::{CustomTag, OtlpCollector, Provider, TagValue};

use super::leaves::{some_text, text, word};

fn provider() -> BoxedStrategy<Provider> {
    let collector = prop_oneof![
        word().prop_map(|cluster| OtlpCollector::Grpc { cluster }),
        (word(), some_text()).prop_map(|(cluster, uri)| OtlpCollector::Http { cluster, uri }),
    ];
    let rules = prop_oneof![Just(String::new()), Just(r#"{"version": 2}"#.to_owned())];
    let daemon = prop_oneof![Just("127.0.0.1:2000".to_owned()), Just("[::1]:9".to_owned())];
    prop_oneof![
        (collector, text())
            .prop_map(|(collector, service_name)| Provider::OpenTelemetry { collector, service_name }),
        (word(), some_text(), text(), any::<[bool; 3]>()).prop_map(|(cluster, path, host, flags)| {
            Provider::Zipkin {
                cluster,
                path,
                host,
                trace_id_128bit: flags[0],
                shared_span: flags[1],
                w3c: flags[2],
            }
        }),
        (daemon, text(), rules, text()).prop_map(|(daemon, segment_name, rules, origin)| Provider::XRay {
            daemon,
            segment_name,
            rules,
            origin
        }),
        (word(), some_text(), text()).prop_map(|(cluster, service_name, host)| Provider::Datadog {
            cluster,
            service_name,
            host
        }),
    ]
    .boxed()
}

pub(crate) fn custom_tag() -> BoxedStrategy<CustomTag> {
    let value = prop_oneof![
        some_text().prop_map(TagValue::Literal),
        (word(), text()).prop_map(|(name, default)| TagValue::Environment { name, default }),
        (word(), text()).prop_map(|(name, default)| TagValue::RequestHeader { name, default }),
    ];
    (word(), value).prop_map(|(name, value)| CustomTag { name, value }).boxed()
}

pub(crate) fn tracing() -> BoxedStrategy<Tracing> {
    let percent = || (0..=10_000u32).prop_map(|hundredths| f64::from(hundredths) / 100.0);
    let sampling = (percent(), percent(), percent());
    (sampling, any::<bool>(), option::of(any::<u32>()), vec(custom_tag(), 0..3), option::of(provider()))
        .prop_map(|(sampling, spawn_upstream_span, path_length_max, tags, provider)| Tracing {
            client_sampling: sampling.0,
            random_sampling: sampling.1,
            overall_sampling: sampling.2,
            spawn_upstream_span,
            path_length_max,
            tags,
            provider,
        })
        .boxed()
}
