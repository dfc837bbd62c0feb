//! `appmesh.…`: what the metrics extension of App Mesh's own Envoy build counted, so that its dashboards go on. How its
//! dimensions are called is told by whoever enables it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::Sharded;

/// So many targets are told apart; requests to others are counted for the sidecar alone.
pub const TARGETS_MAX: usize = 4096;

super::stat_group! {
    /// What the proxy's own resource was asked: its inbound listeners.
    pub struct SidecarStats {
        counters {
            grpc_requests = "GrpcRequestCount",
            new_connections = "NewConnectionCount",
            processed_bytes = "ProcessedBytes",
            requests = "RequestCount",
        }
        gauges {
            active_connections = "ActiveConnectionCount",
        }
        histograms {}
        codes {}
    }
}

super::stat_group! {
    /// What a target answered.
    pub struct TargetStats {
        counters {
            responses_2xx = "HTTPCode_Target_2XX_Count",
            responses_3xx = "HTTPCode_Target_3XX_Count",
            responses_4xx = "HTTPCode_Target_4XX_Count",
            responses_5xx = "HTTPCode_Target_5XX_Count",
            requests = "RequestCountPerTarget",
            processed_bytes = "TargetProcessedBytes",
        }
        gauges {}
        histograms {
            response_time = "TargetResponseTime",
        }
        codes {}
    }
}

impl TargetStats {
    /// Counts a request and what came of it; a status of 0 is none.
    pub fn record(&self, status: u16, bytes: u64, millis: u64) {
        self.requests.inc();
        self.processed_bytes.add(bytes);
        match status / 100 {
            2 => self.responses_2xx.inc(),
            3 => self.responses_3xx.inc(),
            4 => self.responses_4xx.inc(),
            5 => self.responses_5xx.inc(),
            _ => {}
        }
        if status > 0 {
            self.response_time.record(millis);
        }
    }
}

/// How the extension's series are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dimensions {
    /// The proxy's own: on every series.
    pub identity: Vec<(&'static str, String)>,
    /// Names the node behind a target's cluster.
    pub target_node: &'static str,
    /// Names the virtual host by which a target was reached.
    pub target_service: &'static str,
    /// Clusters of this prefix are targets: `<prefix><node>_<protocol>_<port>`.
    pub target_prefix: String,
}

/// The extension at work.
#[derive(Debug)]
pub struct Extension {
    pub(crate) dimensions: Dimensions,
    pub(crate) sidecar: Sharded<SidecarStats>,
    targets: RwLock<Targets>,
    workers: usize,
}

/// By virtual host, then by cluster.
type Targets = BTreeMap<String, BTreeMap<String, Arc<Sharded<TargetStats>>>>;

impl Extension {
    pub(crate) fn new(dimensions: Dimensions, workers: usize) -> Self {
        Self { dimensions, sidecar: Sharded::new(workers), targets: RwLock::default(), workers }
    }

    pub fn sidecar(&self) -> &SidecarStats {
        &self.sidecar
    }

    /// The statistics of a cluster as the target of a virtual host; `None` for a cluster that is no target.
    pub fn target(&self, service: &str, cluster: &str) -> Option<Arc<Sharded<TargetStats>>> {
        self.node(cluster)?;
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = targets.get(service).and_then(|of_service| of_service.get(cluster)) {
            return Some(Arc::clone(known));
        }
        drop(targets);
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if targets.values().map(BTreeMap::len).sum::<usize>() >= TARGETS_MAX {
            return None;
        }
        let of_service = targets.entry(service.to_owned()).or_default();
        Some(Arc::clone(
            of_service.entry(cluster.to_owned()).or_insert_with(|| Arc::new(Sharded::new(self.workers))),
        ))
    }

    /// Each target by virtual host and node.
    pub(crate) fn targets(&self) -> Vec<(String, String, Arc<Sharded<TargetStats>>)> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let each = targets.iter().flat_map(|(service, clusters)| {
            clusters.iter().filter_map(move |(cluster, stats)| {
                Some((service.clone(), self.node(cluster)?.to_owned(), Arc::clone(stats)))
            })
        });
        each.collect()
    }

    /// `colors` of `cds_egress_<mesh>_colors_http_8080`.
    fn node<'a>(&self, cluster: &'a str) -> Option<&'a str> {
        let rest = cluster.strip_prefix(&self.dimensions.target_prefix)?;
        let (rest, port) = rest.rsplit_once('_')?;
        let (node, _protocol) = rest.rsplit_once('_')?;
        (!node.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, FixedTags, Registry, Shape};

    fn dimensions() -> Dimensions {
        Dimensions {
            identity: vec![("Mesh", "m".to_owned()), ("VirtualNode", "front".to_owned())],
            target_node: "TargetVirtualNode",
            target_service: "TargetVirtualService",
            target_prefix: "cds_egress_m_".to_owned(),
        }
    }

    #[test]
    fn the_extensions_series_carry_its_names_and_dimensions() {
        let registry = Registry::new(1);
        let extension = registry.enable_extension(dimensions());
        extension.sidecar().requests.add(2);
        extension.sidecar().active_connections.inc();
        let target = extension.target("colors.local", "cds_egress_m_colors_v1_http_8080").expect("a target");
        target.record(204, 300, 7);
        target.record(503, 5, 1);
        assert!(extension.target("colors.local", "cds_egress_m_amazonaws").is_none());
        let filter = Filter { used_only: true, ..Filter::default() };
        let text: String = registry.prometheus(&filter, &FixedTags::new(), Shape::default()).collect();
        let target = "Mesh=\"m\",VirtualNode=\"front\",TargetVirtualNode=\"colors_v1\",TargetVirtualService=\"colors.local\"";
        for line in [
            "envoy_appmesh_RequestCount{Mesh=\"m\",VirtualNode=\"front\"} 2".to_owned(),
            "envoy_appmesh_ActiveConnectionCount{Mesh=\"m\",VirtualNode=\"front\"} 1".to_owned(),
            format!("envoy_appmesh_RequestCountPerTarget{{{target}}} 2"),
            format!("envoy_appmesh_HTTPCode_Target_2XX_Count{{{target}}} 1"),
            format!("envoy_appmesh_HTTPCode_Target_5XX_Count{{{target}}} 1"),
            format!("envoy_appmesh_TargetProcessedBytes{{{target}}} 305"),
            format!("envoy_appmesh_TargetResponseTime_count{{{target}}} 2"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn targets_are_bounded() {
        let extension = Extension::new(dimensions(), 1);
        for n in 0..TARGETS_MAX {
            assert!(extension.target(&format!("s{n}"), "cds_egress_m_n_http_80").is_some());
        }
        assert!(extension.target("one more", "cds_egress_m_n_http_80").is_none());
        assert!(extension.target("s0", "cds_egress_m_n_http_80").is_some());
    }
}
