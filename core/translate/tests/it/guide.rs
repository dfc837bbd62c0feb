//! The mesh of the acceptance guide, made from its own commands where they are at hand.

use std::path::PathBuf;

use selvedge_model::{Key, Kind, Snapshot};
use selvedge_traffic::matching::PlainRequest;
use selvedge_translate::{Code, Proxy, Severity, explain, translate};
use serde_json::{Value, json};

use crate::mesh;

#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the guide is on disk, or the test says that it is not"
)]
fn commands() -> Option<String> {
    let shared = std::env::var_os("SELVEDGE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = shared.join("acceptance/guide/commands.sh");
    let text = std::fs::read_to_string(&path);
    if text.is_err() {
        println!("skipped: {} is not here", path.display());
    }
    text.ok()
}

/// The words of a shell command: blanks separate, quotes hold together, a backslash continues the line.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for character in text.replace("\\\n", " ").chars() {
        match character {
            '\'' => (quoted, any) = (!quoted, true),
            blank if blank.is_whitespace() && !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            other => word.push(other),
        }
    }
    words
}

fn snapshot(commands: &str) -> Snapshot {
    let mut snapshot = mesh::snapshot(&json!({"mesh": {"egressFilter": {"type": "ALLOW_ALL"}}}));
    for command in commands.split("\ntry aws appmesh ").skip(1) {
        let words = words(command);
        let option = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        let kind = match words[0].as_str() {
            "create-virtual-service" => Kind::VirtualService,
            "create-virtual-node" => Kind::VirtualNode,
            "create-virtual-router" => Kind::VirtualRouter,
            "create-route" => Kind::Route,
            _ => continue,
        };
        let spec: Value = serde_json::from_str(option("--spec").expect("a spec")).expect("JSON");
        let key = match kind {
            Kind::VirtualService => {
                Key::in_mesh("m", kind, option("--virtual-service-name").expect("a name"))
            }
            Kind::VirtualNode => Key::in_mesh("m", kind, option("--virtual-node-name").expect("a name")),
            Kind::VirtualRouter => Key::in_mesh("m", kind, option("--virtual-router-name").expect("a name")),
            _ => {
                let router = option("--virtual-router-name").expect("a router");
                Key::below("m", router, kind, option("--route-name").expect("a name"))
            }
        };
        mesh::put(&mut snapshot, &key, &spec);
    }
    snapshot
}

#[test]
fn the_guides_routes_decide_as_it_says() {
    let Some(commands) = commands() else { return };
    let snapshot = snapshot(&commands);
    let from = Proxy::node("frontend-service");
    let get = |path: &str| PlainRequest::new("GET", "user-service.local:8080", path);
    for (request, route, shares) in [
        (get("/users"), "user-route", &[("user-service-v1", 80.0), ("user-service-v2", 20.0)][..]),
        (get("/api/users"), "resilient-route", &[("user-service-v1", 100.0)]),
        (get("/api").with_header("x-beta-user", "true"), "beta-route", &[("user-service-v2", 100.0)]),
    ] {
        let told = explain(&snapshot, &from, &request);
        let stage = told.stages.first().unwrap_or_else(|| panic!("{:?}", told.lines));
        assert_eq!(stage.route.as_ref().map(|one| one.name.as_str()), Some(route), "{:?}", told.lines);
        let told: Vec<_> = stage.targets.iter().map(|one| (one.node.name.as_str(), one.percent)).collect();
        assert_eq!(told, shares);
    }
}

#[test]
fn what_the_guide_leaves_open_is_reported() {
    let Some(commands) = commands() else { return };
    let snapshot = snapshot(&commands);
    let codes = |node: &str| -> Vec<Code> {
        let told = translate(&snapshot, &Proxy::node(node)).diagnostics;
        told.iter().filter(|one| one.severity != Severity::Note).map(|one| one.code).collect()
    };
    assert_eq!(codes("frontend-service"), [Code::ProviderMissing], "the database's node is not made");
    assert_eq!(codes("secure-service"), [Code::CertificateUnavailable], "its certificate is AWS's");
    let closed = translate(&snapshot, &Proxy::node("secure-service"));
    let ingress = |name: &str| name.starts_with("lds_ingress");
    assert!(!closed.resources.iter().any(|one| ingress(one.name())), "it is closed, not served in clear");
    assert_eq!(codes("user-service"), []);
}
