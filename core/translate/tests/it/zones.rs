//! Sidecars that say in which zone they stand.

use selvedge_traffic::{Cluster, LocalityRouting, Resource};
use selvedge_translate::{Found, Proxy, translate};
use serde_json::json;

use crate::mesh;

#[test]
fn a_sidecar_in_a_zone_prefers_its_own_unless_a_policy_says_otherwise() {
    let listeners = json!([{"portMapping": {"port": 8080, "protocol": "http"}}]);
    let backend = |name: &str| json!({"virtualService": {"virtualServiceName": name}});
    let provider = |name: &str| json!({"provider": {"virtualNode": {"virtualNodeName": name}}});
    let names = ["plain", "few", "hashed", "named"];
    let balance = |node: &str, spec: serde_json::Value| json!({"target": format!("mesh/m/virtualNode/{node}"), "kind": "loadBalancing", "spec": spec});
    let snapshot = mesh::snapshot(&json!({
        "virtualNode": {
            "web": {"listeners": listeners, "backends": names.map(backend)},
            "plain": {"listeners": listeners}, "few": {"listeners": listeners}, "hashed": {"listeners": listeners},
            "named": {"listeners": listeners, "serviceDiscovery": {"dns": {"hostname": "named.example"}}},
        },
        "virtualService": names.map(|name| (name.to_owned(), provider(name))).into_iter().collect::<serde_json::Map<_, _>>(),
        "policy": {
            "few": balance("few", json!({"algorithm": "leastRequest", "zoneAware": {"share": "50%", "minInstances": 2}})),
            "hashed": balance("hashed", json!({"algorithm": "maglev", "hash": [{"sourceIp": true}]})),
        },
    }));
    let clusters = |in_zone| {
        let proxy = Proxy { in_zone, ..Proxy::node("web") };
        let made = translate(&snapshot, &proxy);
        let local =
            made.endpoints.get("cds_local_m_web").map(|source| (source.node.clone(), source.found.clone()));
        let find = |name: &str| -> Option<Cluster> {
            made.resources.iter().find_map(|resource| match resource {
                Resource::Cluster(cluster) if cluster.name == format!("cds_egress_m_{name}_http_8080") => {
                    Some(cluster.clone())
                }
                _ => None,
            })
        };
        (local, names.map(|name| find(name).expect("a cluster").placement.locality))
    };
    let (local, localities) = clusters(true);
    assert_eq!(local, Some(("web".to_owned(), Found::BySidecar)));
    let few = LocalityRouting::ZoneAware { enabled_percent: 50.0, hosts_min: 2, fail_on_panic: false };
    assert_eq!(localities, [LocalityRouting::ZONE_AWARE, few, LocalityRouting::None, LocalityRouting::None]);
    assert_eq!(clusters(false), (None, [LocalityRouting::None; 4]), "nobody knows where it stands");
}
