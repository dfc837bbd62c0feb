//! Generated listeners.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use selvedge_traffic::listener::DetectedTransport;
use selvedge_traffic::{
    CertificateForwarding, ChainMatch, ClientAddress, ClientCertificate, ClientDetection, Codec,
    ConnectionLimit, ConnectionRateLimit, DetectBy, Direction, FilterChain, HttpConnection, Inspection,
    Listener, Network, NetworkFilter, NetworkRbac, ProxyProtocol, ProxyProtocolVersion, RouteSource,
    ServerHeader, TcpProxy,
};

use super::filters::{bucket, cidr, filters, rules};
use super::leaves::{access_logs, downstream_transport, duration, http2, some_text, weighted, word};
use super::routes;
use super::tracing::tracing;

fn client_address() -> BoxedStrategy<ClientAddress> {
    let by =
        prop_oneof![any::<u32>().prop_map(DetectBy::Hops), vec(cidr(), 1..3).prop_map(DetectBy::Proxies),];
    let detection = (by, any::<bool>()).prop_map(|(by, append)| ClientDetection { by, append });
    (any::<u32>(), any::<[bool; 2]>(), vec(cidr(), 0..3), option::of(detection))
        .prop_map(|(hops, [skip_append, keep_request_id], internal, detection)| ClientAddress {
            trusted_hops: if detection.is_some() { 0 } else { hops },
            skip_append,
            internal,
            detection,
            keep_request_id,
        })
        .boxed()
}

fn network_filter() -> BoxedStrategy<NetworkFilter> {
    let rbac = (word(), option::of(rules()), option::of(rules()), word()).prop_map(
        |(stat_prefix, rules, shadow_rules, shadow_rules_stat_prefix)| {
            let rbac = NetworkRbac { stat_prefix, rules, shadow_rules, shadow_rules_stat_prefix };
            NetworkFilter::Rbac(Box::new(rbac))
        },
    );
    let limit = (word(), 1u64.., option::of(duration())).prop_map(|(stat_prefix, connections_max, delay)| {
        NetworkFilter::ConnectionLimit(ConnectionLimit { stat_prefix, connections_max, delay })
    });
    let rate = (word(), bucket()).prop_map(|(stat_prefix, bucket)| {
        NetworkFilter::RateLimit(ConnectionRateLimit { stat_prefix, bucket })
    });
    prop_oneof![rbac, limit, rate].boxed()
}

fn proxy_protocol() -> BoxedStrategy<ProxyProtocol> {
    let version = prop::sample::select(vec![ProxyProtocolVersion::V1, ProxyProtocolVersion::V2]);
    (any::<bool>(), vec(version, 0..3), word())
        .prop_map(|(optional, versions_refused, stat_prefix)| ProxyProtocol {
            optional,
            versions_refused,
            stat_prefix,
        })
        .boxed()
}

fn http() -> BoxedStrategy<HttpConnection> {
    let codec = prop::sample::select(vec![Codec::Auto, Codec::Http1, Codec::Http2]);
    let routes = prop_oneof![3 => word().prop_map(RouteSource::Rds), 1 => routes::table().prop_map(RouteSource::Inline)];
    let times = [
        option::of(duration()),
        option::of(duration()),
        option::of(duration()),
        option::of(duration()),
        option::of(duration()),
        option::of(duration()),
        option::of(duration()),
    ];
    let forwarding = prop::sample::select(vec![
        CertificateForwarding::Sanitize,
        CertificateForwarding::ForwardOnly,
        CertificateForwarding::AppendForward,
        CertificateForwarding::SanitizeSet,
        CertificateForwarding::AlwaysForwardOnly,
    ]);
    let told = (forwarding, any::<[bool; 4]>()).prop_map(|(forwarding, [subject, certificate, uri, dns])| {
        ClientCertificate { forwarding, subject, certificate, uri, dns }
    });
    let server_header = prop::sample::select(vec![
        ServerHeader::Overwrite,
        ServerHeader::AppendIfAbsent,
        ServerHeader::PassThrough,
    ]);
    let names = (word(), option::of(some_text()), told, client_address(), server_header, http2());
    let times = (times, option::of(any::<u32>()));
    (names, codec, routes, filters(), access_logs(), any::<[bool; 7]>(), times, option::of(tracing()))
        .prop_map(
            |(
                (stat_prefix, server_name, client_certificate, client_address, server_header, http2),
                codec,
                routes,
                filters,
                access_logs,
                flags,
                (times, requests_per_connection_max),
                tracing,
            )| {
                HttpConnection {
                    stat_prefix,
                    codec,
                    routes,
                    filters,
                    access_logs,
                    normalize_path: flags[0],
                    merge_slashes: flags[1],
                    websocket: flags[2],
                    use_remote_address: flags[3],
                    connect: flags[4],
                    extended_connect: flags[5],
                    proxy_100_continue: flags[6],
                    client_address: if flags[3] {
                        // The two would contradict each other.
                        ClientAddress { detection: None, ..client_address }
                    } else {
                        client_address
                    },
                    server_name,
                    server_header,
                    http2,
                    client_certificate,
                    stream_idle_timeout: times[0],
                    request_timeout: times[1],
                    request_headers_timeout: times[2],
                    idle_timeout: times[3],
                    drain_timeout: times[4],
                    tracing,
                    stream_duration_max: times[5],
                    connection_duration_max: times[6],
                    requests_per_connection_max,
                }
            },
        )
        .boxed()
}

fn tcp() -> BoxedStrategy<TcpProxy> {
    let times = (option::of(duration()), option::of(duration()));
    (word(), weighted(1), times, 1u32..9, access_logs(), any::<bool>())
        .prop_map(|(stat_prefix, clusters, times, connect_attempts_max, access_logs, hash_source_ip)| {
            TcpProxy {
                stat_prefix,
                clusters,
                idle_timeout: times.0,
                connection_duration_max: times.1,
                hash_source_ip,
                connect_attempts_max,
                access_logs,
            }
        })
        .boxed()
}

fn chain() -> BoxedStrategy<FilterChain> {
    let detected = option::of(prop::sample::select(vec![DetectedTransport::Plain, DetectedTransport::Tls]));
    let sources = (vec(cidr(), 0..2), vec(cidr(), 0..2));
    let matches = (option::of(any::<u16>()), vec(word(), 0..2), detected, vec(word(), 0..2), sources)
        .prop_map(
            |(
                destination_port,
                server_names,
                transport,
                application_protocols,
                (direct_sources, sources),
            )| {
                ChainMatch {
                    destination_port,
                    server_names,
                    transport,
                    application_protocols,
                    direct_sources,
                    sources,
                }
            },
        );
    let network = prop_oneof![
        http().prop_map(|connection| Network::Http(Box::new(connection))),
        tcp().prop_map(Network::Tcp)
    ];
    (word(), matches, downstream_transport(), vec(network_filter(), 0..3), network)
        .prop_map(|(name, matches, transport, filters, network)| FilterChain {
            name,
            matches,
            transport,
            filters,
            network,
        })
        .boxed()
}

pub(crate) fn listener() -> BoxedStrategy<Listener> {
    let direction =
        prop::sample::select(vec![Direction::Unspecified, Direction::Inbound, Direction::Outbound]);
    let address = (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    let inspection = (vec(any::<u16>(), 0..3), option::of(duration()), any::<bool>());
    let inspection = inspection.prop_map(|(only_ports, timeout, continue_on_timeout)| Inspection {
        only_ports,
        timeout,
        continue_on_timeout,
    });
    let flags = (any::<[bool; 3]>(), inspection, option::of(proxy_protocol()));
    (word(), address, direction, flags, vec(chain(), 0..3), option::of(chain()), access_logs())
        .prop_map(
            |(
                name,
                address,
                direction,
                (flags, inspection, proxy_protocol),
                chains,
                default_chain,
                access_logs,
            )| {
                Listener {
                    name,
                    address,
                    ipv4_compat: flags[0],
                    direction,
                    original_dst: flags[1],
                    proxy_protocol,
                    tls_inspector: flags[2],
                    // Without an inspection there is nothing to say about its ports.
                    inspection: if flags[2] {
                        inspection
                    } else {
                        Inspection { only_ports: Vec::new(), ..inspection }
                    },
                    chains,
                    default_chain,
                    access_logs,
                }
            },
        )
        .boxed()
}
