//! Whom a diagnostic is about.

use selvedge_traffic::{Discovery, Resource};
use selvedge_translate::{Proxy, translate};
use serde_json::json;

use crate::mesh;

/// A caller's certificate authority that cannot be had is the caller's matter: others reach the same node.
#[test]
fn what_a_callers_policy_lacks_is_told_of_the_caller() {
    let policy = json!({"tls": {"validation": {"trust": {"acm": {"certificateAuthorityArns": ["arn:ca"]}}}}});
    let snapshot = mesh::snapshot(&json!({
        "virtualNode": {
            "strict": {
                "backends": [{"virtualService": {"virtualServiceName": "log.local"}}],
                "backendDefaults": {"clientPolicy": policy},
            },
            "plain": {"backends": [{"virtualService": {"virtualServiceName": "log.local"}}]},
            "log": {"listeners": [{"portMapping": {"port": 9080, "protocol": "http"}}]},
        },
        "virtualService": {"log.local": {"provider": {"virtualNode": {"virtualNodeName": "log"}}}},
    }));
    let told = translate(&snapshot, &Proxy::node("strict")).diagnostics;
    let [one] = &told[..] else { panic!("{told:?}") };
    assert!(one.subject.ends_with("virtualNode/strict"), "{one}");
    assert!(one.text.contains("port 9080 of log") && one.text.contains("arn:ca"), "{one}");
    assert_eq!(translate(&snapshot, &Proxy::node("plain")).diagnostics, []);
}

/// Two backends reach one node, and the second demands what cannot be had: the node is closed, and no endpoints are
/// promised to a proxy that will never ask for them.
#[test]
fn a_node_that_a_stricter_backend_closes_has_no_endpoints_left() {
    let policy = json!({"tls": {"validation": {"trust": {"acm": {"certificateAuthorityArns": ["arn:ca"]}}}}});
    let log = json!({"provider": {"virtualNode": {"virtualNodeName": "log"}}});
    let snapshot = mesh::snapshot(&json!({
        "virtualNode": {
            "web": {"backends": [
                {"virtualService": {"virtualServiceName": "a.local"}},
                {"virtualService": {"virtualServiceName": "b.local", "clientPolicy": policy}},
            ]},
            "log": {"listeners": [{"portMapping": {"port": 9080, "protocol": "http"}}]},
        },
        "virtualService": {"a.local": log, "b.local": log},
    }));
    let made = translate(&snapshot, &Proxy::node("web"));
    let discovery = made.resources.iter().find_map(|resource| match resource {
        Resource::Cluster(cluster) if cluster.name == "cds_egress_m_log_http_9080" => {
            Some(&cluster.discovery)
        }
        _ => None,
    });
    assert!(
        matches!(discovery, Some(Discovery::Static(nobody)) if nobody.localities.is_empty()),
        "{discovery:?}"
    );
    assert!(made.endpoints.is_empty(), "{:?}", made.endpoints);
}

/// What can be had is asked of the control plane, under its ARN; authorities under all of theirs.
#[test]
fn certificates_that_can_be_had_are_secrets_of_the_control_plane() {
    let (certificate, one, other) = (
        "arn:aws:acm:r:123456789012:certificate/a",
        "arn:aws:acm-pca:r:123456789012:certificate-authority/a",
        "arn:aws:acm-pca:r:123456789012:certificate-authority/b",
    );
    let policy = json!({"tls": {
        "certificate": {"sds": {"secretName": certificate}},
        "validation": {"trust": {"acm": {"certificateAuthorityArns": [one, other]}}},
    }});
    let tls = json!({"mode": "STRICT", "certificate": {"acm": {"certificateArn": certificate}}});
    let mut snapshot = mesh::snapshot(&json!({
        "virtualNode": {
            "web": {
                "backends": [{"virtualService": {"virtualServiceName": "log.local"}}],
                "backendDefaults": {"clientPolicy": policy},
            },
            "plain": {"backends": [{"virtualService": {"virtualServiceName": "log.local"}}]},
            "log": {"listeners": [{"portMapping": {"port": 9080, "protocol": "http"}, "tls": tls}]},
        },
        "virtualService": {"log.local": {"provider": {"virtualNode": {"virtualNodeName": "log"}}}},
    }));
    snapshot.certificates = std::sync::Arc::new([certificate, one, other].map(str::to_owned).into());
    for (node, secrets) in [
        ("web", vec![format!("{one},{other}"), certificate.to_owned()]),
        // Whoever has no policy follows the listener, and believes whoever vouches for its certificate.
        ("plain", vec![format!("{certificate}#authority")]),
        ("log", vec![certificate.to_owned()]),
    ] {
        let made = translate(&snapshot, &Proxy::node(node));
        assert_eq!(made.diagnostics, [], "{node}");
        assert_eq!(made.secrets.into_iter().collect::<Vec<_>>(), secrets, "{node}");
    }
    snapshot.certificates = std::sync::Arc::new([certificate, one].map(str::to_owned).into());
    let told = translate(&snapshot, &Proxy::node("web"));
    assert!(told.diagnostics.iter().any(|one| one.text.contains(other)), "{:?}", told.diagnostics);
    assert!(told.certificates.contains(other), "it is looked at again when it comes into being");
}
