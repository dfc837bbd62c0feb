//! TCP relay.

use selvedge_traffic::TcpProxy;
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster, weighted_cluster,
};
use selvedge_xds_proto::envoy::r#type::v3::hash_policy::PolicySpecifier;
use selvedge_xds_proto::envoy::r#type::v3::{HashPolicy, hash_policy};

use super::{access_log, duration};

pub(super) fn encode(proxy: &TcpProxy) -> proto::TcpProxy {
    let specifier = match proxy.clusters.as_slice() {
        [only] if only.weight == 1 => ClusterSpecifier::Cluster(only.name.clone()),
        many => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: many
                .iter()
                .map(|cluster| weighted_cluster::ClusterWeight {
                    name: cluster.name.clone(),
                    weight: cluster.weight,
                })
                .collect(),
        }),
    };
    proto::TcpProxy {
        stat_prefix: proxy.stat_prefix.clone(),
        idle_timeout: proxy.idle_timeout.map(duration::encode),
        access_log: access_log::all(&proxy.access_logs),
        max_connect_attempts: Some(proxy.connect_attempts_max),
        hash_policy: if proxy.hash_source_ip { vec![source_ip()] } else { Vec::new() },
        max_downstream_connection_duration: proxy.connection_duration_max.map(duration::encode),
        cluster_specifier: Some(specifier),
    }
}

fn source_ip() -> HashPolicy {
    HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(hash_policy::SourceIp {})) }
}
