//! TCP relay.

use selvedge_traffic::{TcpProxy, WeightedCluster};
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use selvedge_xds_proto::envoy::r#type::v3::HashPolicy;
use selvedge_xds_proto::envoy::r#type::v3::hash_policy::PolicySpecifier;

use super::bounds::not_empty;
use super::{Reason, access_log, duration};

pub(super) fn decode(message: proto::TcpProxy) -> Result<TcpProxy, Reason> {
    Ok(TcpProxy {
        stat_prefix: not_empty("stat_prefix", message.stat_prefix)?,
        clusters: clusters(message.cluster_specifier)?,
        idle_timeout: duration::optional("tcp_proxy.idle_timeout", message.idle_timeout)?,
        connect_attempts_max: match message.max_connect_attempts {
            Some(0) => {
                return Err(Reason::Invalid {
                    field: "max_connect_attempts",
                    value: "0".to_owned(),
                    expected: "is below 1",
                });
            }
            Some(attempts) => attempts,
            None => 1,
        },
        hash_source_ip: hash_source_ip(message.hash_policy)?,
        connection_duration_max: duration::optional(
            "tcp_proxy.max_downstream_connection_duration",
            message.max_downstream_connection_duration,
        )?,
        access_logs: access_log::all(message.access_log)?,
    })
}

fn hash_source_ip(policies: Vec<HashPolicy>) -> Result<bool, Reason> {
    let mut source_ip = false;
    for policy in policies {
        match policy.policy_specifier {
            None => return Err(Reason::Missing("tcp_proxy.hash_policy.policy_specifier")),
            Some(PolicySpecifier::SourceIp(_)) => source_ip = true,
            Some(PolicySpecifier::FilterState(state)) => {
                return Err(Reason::Unsupported {
                    field: "tcp_proxy.hash_policy.filter_state",
                    value: state.key,
                });
            }
        }
    }
    Ok(source_ip)
}

fn clusters(specifier: Option<ClusterSpecifier>) -> Result<Vec<WeightedCluster>, Reason> {
    let weighted = match specifier {
        None => return Err(Reason::Missing("tcp_proxy.cluster_specifier")),
        Some(ClusterSpecifier::Cluster(name)) => {
            let name = not_empty("tcp_proxy.cluster", name)?;
            return Ok(vec![WeightedCluster::new(name, 1)]);
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters,
    };
    if weighted.is_empty() {
        return Err(Reason::Missing("weighted_clusters.clusters"));
    }
    weighted
        .into_iter()
        .map(|cluster| {
            if cluster.weight == 0 {
                return Err(Reason::Invalid {
                    field: "weighted_clusters.clusters.weight",
                    value: "0".to_owned(),
                    expected: "is below 1",
                });
            }
            let name = not_empty("weighted_clusters.clusters.name", cluster.name)?;
            Ok(WeightedCluster::new(name, cluster.weight))
        })
        .collect()
}
