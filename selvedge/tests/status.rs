//! `selvedge status` and `selvedge explain` on the mesh of a widely used guide, and on one with a mistake in it.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use serde_json::Value;
use server::{PROGRAM, Server, shared};

const LISTENER: &str = "listeners=[{portMapping={port=8080,protocol=http}}]";

fn guide() -> Option<Server> {
    let guide = shared("acceptance/guide/commands.sh")?;
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(PROGRAM, folder.path().join("aws")).expect("a link");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = server.command("bash").arg(guide).env("PATH", path).output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(server)
}

/// The resource of that kind and name, wherever it stands in the tree.
fn find<'a>(node: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    if node["kind"] == kind && node["name"] == name {
        return Some(node);
    }
    node["children"].as_array().into_iter().flatten().find_map(|child| find(child, kind, name))
}

#[test]
fn a_request_for_beta_users_is_explained_with_its_route_and_target() {
    let Some(server) = guide() else { return };
    let explain = |arguments: &[&str]| {
        server.prints(
            &[&["explain", "--mesh", "my-mesh", "--from", "frontend-service"][..], arguments].concat(),
        )
    };
    let text = explain(&["GET", "http://user-service.local/api", "-H", "x-beta-user: true"]);
    for part in ["beta-route (priority 10): yes", "100.0 % to user-service-v2", "time-out 15 s (default)"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let text = explain(&["GET", "http://user-service.local/"]);
    for part in ["beta-route (priority 10): no", "80.0 % to user-service-v1", "20.0 % to user-service-v2"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let text = explain(&["GET", "http://user-service.local/api"]);
    assert!(text.contains("at most 3 retries") && text.contains("time-out of each try 5 s"), "{text}");
    let document: Value =
        serde_json::from_str(&explain(&["GET", "http://user-service.local/api", "-o", "json"]))
            .expect("JSON");
    assert_eq!(document["outcome"], "forwarded");
}

#[test]
fn a_service_is_inactive_until_its_provider_exists() {
    let server = Server::start(&[]);
    server.prints(&["appmesh", "create-mesh", "--mesh-name", "m"]);
    let provider = "provider={virtualRouter={virtualRouterName=r}}";
    server.prints(&[
        "appmesh",
        "create-virtual-service",
        "--mesh-name",
        "m",
        "--virtual-service-name",
        "s.local",
        "--spec",
        provider,
    ]);
    let status = || -> Value {
        serde_json::from_str(&server.prints(&["status", "--mesh", "m", "-o", "json"])).expect("JSON")
    };
    let before = status();
    let service = find(&before["meshes"][0], "virtualService", "s.local").expect("the service");
    assert_eq!(service["condition"], "INACTIVE");
    assert_eq!(service["reasons"][0]["code"], "PROVIDER_MISSING");
    assert!(server.prints(&["status"]).contains("does not exist"));
    let query = "meshes[].children[?condition != 'ACTIVE'][].name";
    assert_eq!(server.prints(&["status", "--query", query, "-o", "text"]), "s.local\n");

    server.prints(&[
        "appmesh",
        "create-virtual-router",
        "--mesh-name",
        "m",
        "--virtual-router-name",
        "r",
        "--spec",
        LISTENER,
    ]);
    let after = status();
    assert_eq!(
        find(&after["meshes"][0], "virtualService", "s.local").expect("the service")["condition"],
        "ACTIVE"
    );
    assert!(after["revision"].as_u64() > before["revision"].as_u64());
}

#[test]
fn what_does_not_exist_is_refused_with_its_name() {
    let server = Server::start(&[]);
    server.prints(&["appmesh", "create-mesh", "--mesh-name", "m"]);
    for (arguments, part) in [
        (vec!["status", "--mesh", "absent"], "absent"),
        (vec!["explain", "--mesh", "absent", "--from", "n", "GET", "http://a/"], "absent"),
        (vec!["explain", "--mesh", "m", "--from", "nobody", "GET", "http://a/"], "nobody"),
    ] {
        let output = server.selvedge(&arguments);
        assert_eq!(output.status.code(), Some(254), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(part), "{output:?}");
    }
    assert_eq!(
        server.selvedge(&["explain", "--mesh", "m", "--from", "n", "GET", "not a url"]).status.code(),
        Some(2)
    );
    assert_eq!(server.prints(&["status", "--mesh", "m"]).lines().count(), 1);
}
