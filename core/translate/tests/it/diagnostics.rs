//! Whom a diagnostic is about.

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
