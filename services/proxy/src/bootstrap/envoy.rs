//! The bootstrap with which a real Envoy stands in this proxy's place.

use std::net::IpAddr;
use std::path::Path;

use selvedge_telemetry::sink::Dialect;
use selvedge_traffic::Locality;
use selvedge_wire::tls::Trust;
use selvedge_xds::encode::SDS_CLUSTER;
use serde_json::{Map, Value, json};

use super::{Bootstrap, SinkTarget, StatsSink, XdsEndpoint};

/// The static cluster behind which the control plane is found.
const XDS_CLUSTER: &str = "selvedge_xds";

/// Envoy's bootstrap with the same identity, control plane and admin endpoint, ready to be written as YAML: delta ADS
/// over HTTP/2, by TLS where the proxy would speak it.
pub fn envoy_bootstrap(bootstrap: &Bootstrap) -> Value {
    let mut source = json!({ "ads": {}, "resource_api_version": "V3" });
    source["initial_fetch_timeout"] = duration(bootstrap.initial_fetch_timeout.unwrap_or_default());
    let mut envoy = json!({
        "node": {
            "id": bootstrap.resource.given,
            "cluster": bootstrap.cluster,
            "metadata": bootstrap.metadata,
        },
        "admin": {
            "address": socket(&bootstrap.admin.ip().to_string(), bootstrap.admin.port()),
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": XDS_CLUSTER } }],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": { "clusters": clusters(bootstrap) },
        "stats_flush_interval": duration(bootstrap.stats_flush_interval),
        "stats_config": stats_config(bootstrap),
        "layered_runtime": {
            "layers": [
                { "name": "static_layer_0", "static_layer": { "re2.max_program_size.error_level": 1000 } },
                { "name": "admin_layer", "admin_layer": {} },
            ],
        },
    });
    let local = bootstrap.local_cluster();
    if !local.name.is_empty() {
        let Locality { region, zone, sub_zone } = &local.locality;
        envoy["node"]["locality"] = json!({ "region": region, "zone": zone, "sub_zone": sub_zone });
        envoy["cluster_manager"] = json!({ "local_cluster_name": local.name });
        if let Some(clusters) = envoy["static_resources"]["clusters"].as_array_mut() {
            // Envoy wants its own cluster to be static; who is in it, discovery tells.
            clusters.push(json!({
                "name": local.name,
                "type": "EDS",
                "connect_timeout": "1s",
                "eds_cluster_config": { "eds_config": source },
            }));
        }
    }
    if let Some(path) = &bootstrap.outlier_log {
        envoy["cluster_manager"]["outlier_detection"] =
            json!({ "event_log_path": path.display().to_string() });
    }
    if let Some(sink) = &bootstrap.stats_sink {
        envoy["stats_sinks"] = json!([stats_sink(sink)]);
    }
    envoy
}

fn stats_sink(sink: &StatsSink) -> Value {
    let (name, message) = match sink.dialect {
        Dialect::DogStatsd => ("envoy.stat_sinks.dog_statsd", "DogStatsdSink"),
        Dialect::Statsd => ("envoy.stat_sinks.statsd", "StatsdSink"),
    };
    let address = match &sink.target {
        SinkTarget::Unix(path) => json!({ "pipe": { "path": path.display().to_string() } }),
        SinkTarget::Udp { host, port } => socket(host, *port),
    };
    json!({
        "name": name,
        "typed_config": {
            "@type": format!("type.googleapis.com/envoy.config.metrics.v3.{message}"),
            "address": address,
        },
    })
}

/// The control plane and, if there is one, the local secret discovery service, under the name that configurations use.
fn clusters(bootstrap: &Bootstrap) -> Vec<Value> {
    let mut clusters = vec![grpc_cluster(XDS_CLUSTER, &bootstrap.xds)];
    if let Some(path) = &bootstrap.sds_socket {
        clusters.push(grpc_cluster(SDS_CLUSTER, &XdsEndpoint::Unix(path.clone())));
    }
    clusters
}

fn grpc_cluster(name: &str, endpoint: &XdsEndpoint) -> Value {
    let (kind, address) = match endpoint {
        XdsEndpoint::Unix(path) => ("STATIC", json!({ "pipe": { "path": path.display().to_string() } })),
        XdsEndpoint::Tcp { host, port, .. } => {
            (if host.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" }, socket(host, *port))
        }
    };
    let mut cluster = json!({
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": { "connection_keepalive": { "interval": "30s", "timeout": "5s" } },
                },
            },
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    });
    if let XdsEndpoint::Tcp { host, tls: Some(trust), .. } = endpoint {
        cluster["transport_socket"] = transport(host, trust);
    }
    cluster
}

/// TLS as [`Trust`] means it.
fn transport(host: &str, trust: &Trust) -> Value {
    let name = trust.name.as_deref().unwrap_or(host);
    let is_address = name.parse::<IpAddr>().is_ok();
    let san = if is_address { "IP_ADDRESS" } else { "DNS" };
    let file = |path: &Path| json!({ "filename": path.display().to_string() });
    let authority = match &trust.authority {
        Some(path) => json!({ "trusted_ca": file(path) }),
        None => json!({ "system_root_certs": {} }),
    };
    let mut validation = authority;
    validation["match_typed_subject_alt_names"] = json!([{ "san_type": san, "matcher": { "exact": name } }]);
    let mut context = json!({ "alpn_protocols": ["h2"], "validation_context": validation });
    if let Some((certificate, key)) = &trust.certificate {
        context["tls_certificates"] =
            json!([{ "certificate_chain": file(certificate), "private_key": file(key) }]);
    }
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": context,
    });
    if !is_address {
        tls["sni"] = name.into();
    }
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls })
}

fn socket(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn stats_config(bootstrap: &Bootstrap) -> Value {
    let mut config = Map::from_iter([("use_all_default_tags".to_owned(), true.into())]);
    if !bootstrap.stats_tags.is_empty() {
        let tag = |(name, value): &(String, String)| json!({ "tag_name": name, "fixed_value": value });
        config.insert("stats_tags".to_owned(), bootstrap.stats_tags.iter().map(tag).collect());
    }
    config.into()
}

fn duration(duration: std::time::Duration) -> Value {
    format!("{}s", duration.as_secs_f64()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn envoy_gets_the_same_identity_control_plane_and_admin_endpoint() {
        let env = [
            ("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/n"),
            ("APPMESH_XDS_ENDPOINT", "control:18000"),
            ("ENVOY_ADMIN_ACCESS_PORT", "19901"),
            ("SELVEDGE_INTERCEPTION", "none"),
            ("ENABLE_ENVOY_STATS_TAGS", "1"),
            ("ENVOY_STATS_FLUSH_INTERVAL", "500ms"),
            ("ENABLE_ENVOY_DOG_STATSD", "1"),
            ("STATSD_PORT", "18125"),
            ("SELVEDGE_OUTLIER_LOG", "/var/log/outlier.log"),
        ];
        let env = BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let yaml = envoy_bootstrap(&Bootstrap::from_env(&env, 1).expect("valid"));
        let rows = [
            ("/node/id", json!("mesh/m/virtualNode/n")),
            ("/node/metadata/selvedge/interception", json!("none")),
            ("/admin/address/socket_address/port_value", json!(19901)),
            ("/dynamic_resources/ads_config/set_node_on_first_message_only", json!(true)),
            ("/dynamic_resources/cds_config/initial_fetch_timeout", json!("0s")),
            ("/static_resources/clusters/0/type", json!("STRICT_DNS")),
            ("/stats_flush_interval", json!("0.5s")),
            ("/cluster_manager/outlier_detection/event_log_path", json!("/var/log/outlier.log")),
            ("/stats_config/stats_tags/0/fixed_value", json!("m")),
            ("/stats_sinks/0/typed_config/address/socket_address/port_value", json!(18125)),
        ];
        for (path, expected) in rows {
            assert_eq!(yaml.pointer(path), Some(&expected), "{path}");
        }
    }
}
