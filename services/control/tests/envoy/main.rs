//! A real Envoy takes every configuration, in both forms of the protocol, and what it rejects is seen.
//!
//! Skipped, loudly, where no Envoy is found: `SELVEDGE_ENVOY` names one, else the one that `cargo xtask test` installs
//! is taken.

mod control;
mod envoy;
mod mesh;

use std::time::Duration;

use serde_json::json;

use control::Control;
use envoy::{Envoy, Form, Shape};

/// How long a proxy may take to start and take its configuration, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` with an Envoy's path in both forms; says so when there is none.
fn with_envoy(test: impl AsyncFn(&std::path::Path, Form)) {
    let Some(path) = envoy::find() else {
        eprintln!("SKIPPED: no Envoy; set SELVEDGE_ENVOY or run `cargo xtask test`");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    for form in [Form::StateOfTheWorld, Form::Delta] {
        eprintln!("— {form:?}");
        runtime.block_on(test(&path, form));
    }
}

/// Starts a proxy for each resource of the full mesh; none may reject anything.
async fn take_everything(path: &std::path::Path, form: Form, shape: impl Fn() -> Shape) {
    let control = Control::start().await;
    let certificates = mesh::Certificates::new();
    mesh::create(&control, certificates.as_ref()).await;
    let mut proxies = Vec::new();
    for resource in mesh::PROXIES {
        proxies.push((resource, Envoy::start(path, form, control.address, resource, shape())));
    }
    for (resource, envoy) in &proxies {
        envoy.wait_until(PATIENCE, "it is live", Envoy::is_live).await;
        let rejected = envoy.rejected().await;
        assert_eq!(rejected, [] as [String; 0], "{resource} rejected something: {}", envoy.log());
        assert!(envoy.log_of_rejections().is_empty(), "{resource}: {}", envoy.log());
    }
    control.wait_until(PATIENCE, "all are up to date", mesh::PROXIES.len()).await;
    for resource in control.resources().await {
        assert_ne!(resource["condition"], "REJECTED", "{resource}");
    }
}

#[test]
fn envoy_takes_everything_that_a_mesh_can_say() {
    with_envoy(async |path, form| take_everything(path, form, Shape::direct).await);
}

#[test]
fn envoy_takes_everything_in_the_shape_of_app_mesh_too() {
    if !envoy::has_networks() {
        eprintln!("SKIPPED: no network namespaces here (`unshare -rn true` fails)");
        return;
    }
    with_envoy(async |path, form| take_everything(path, form, || Shape::Intercepted).await);
}

#[test]
fn envoy_follows_a_mesh_that_keeps_changing() {
    with_envoy(async |path, form| {
        let control = Control::start().await;
        mesh::create(&control, None).await;
        let start = |resource: &'static str| {
            (resource, Envoy::start(path, form, control.address, resource, Shape::direct()))
        };
        let proxies = mesh::PROXIES.map(start);
        for (_, envoy) in &proxies {
            envoy.wait_until(PATIENCE, "it is live", Envoy::is_live).await;
        }
        for round in 0..3 {
            for change in 0..mesh::CHANGES {
                mesh::change(&control, change, round).await;
                if (change + round) % 2 == 0 {
                    // Long enough for some to be on their way when the next comes, too short for all.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
            }
        }
        control.wait_until(PATIENCE, "all are up to date", proxies.len()).await;
        for (resource, envoy) in &proxies {
            let rejected = envoy.rejected().await;
            assert_eq!(rejected, [] as [String; 0], "{resource} rejected something: {}", envoy.log());
        }
    });
}

#[test]
fn a_route_change_arrives_and_only_the_route_table_changes() {
    with_envoy(async |path, form| {
        let control = Control::start().await;
        mesh::create_small(&control).await;
        let envoy =
            Envoy::start(path, form, control.address, "mesh/small/virtualNode/caller", Shape::direct());
        envoy.wait_until(PATIENCE, "it is live", Envoy::is_live).await;
        control.wait_until(PATIENCE, "it is up to date", 1).await;
        let before = envoy.updates().await;
        mesh::shift(&control, 10, 90).await;
        envoy
            .wait_until(PATIENCE, "the new weight is there", async |envoy: &Envoy| {
                envoy.config_dump().await.contains("\"weight\": 90")
            })
            .await;
        let after = envoy.updates().await;
        assert_eq!(after.clusters, before.clusters);
        assert_eq!(after.listeners, before.listeners);
        assert!(after.routes > before.routes);
    });
}

#[test]
fn a_restart_of_the_control_plane_changes_nothing() {
    with_envoy(async |path, form| {
        let mut control = Control::start().await;
        mesh::create_small(&control).await;
        let envoy =
            Envoy::start(path, form, control.address, "mesh/small/virtualNode/caller", Shape::direct());
        let app = Envoy::start(path, form, control.address, "mesh/small/virtualNode/blue", Shape::direct());
        for envoy in [&envoy, &app] {
            envoy.wait_until(PATIENCE, "it is live", Envoy::is_live).await;
        }
        control.wait_until(PATIENCE, "both are up to date", 2).await;
        let endpoint = format!("\"port_value\": {}", app.ingress_port);
        envoy
            .wait_until(PATIENCE, "it knows the other", async |envoy: &Envoy| {
                envoy.config_dump().await.contains(&endpoint)
            })
            .await;
        control.wait_until(PATIENCE, "both are up to date", 2).await;
        let (before, updates) = (envoy.config_dump().await, envoy.updates().await);
        control.restart().await;
        control.wait_until(PATIENCE, "both are back", 2).await;
        assert!(envoy.is_live().await, "it never stopped serving");
        let after = envoy.config_dump().await;
        assert_eq!(envoy::versions(&before), envoy::versions(&after), "same content, same versions");
        assert_eq!(envoy.rejected().await, [] as [String; 0]);
        assert_eq!(envoy.updates().await, updates, "nothing was applied again");
        assert!(after.contains(&endpoint), "the endpoint is still there");
    });
}

#[test]
fn what_envoy_rejects_is_shown_on_the_resource_that_caused_it() {
    with_envoy(async |path, form| {
        let control = Control::start().await;
        mesh::create_small(&control).await;
        // A port that is taken already cannot be bound.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let direct = json!({
            "interception": "none", "bind": "127.0.0.1", "ingress_port": port, "egress_port": envoy::free_port(),
        });
        let _envoy =
            Envoy::start(path, form, control.address, "mesh/small/virtualNode/blue", Shape::Direct(direct));
        control
            .wait_for(PATIENCE, "the rejection is seen", |control| async {
                control
                    .resources()
                    .await
                    .into_iter()
                    .any(|resource| resource["name"] == "blue" && resource["condition"] == "REJECTED")
            })
            .await;
    });
}

#[test]
fn a_node_that_does_not_exist_is_refused_with_status_3() {
    with_envoy(async |path, form| {
        let control = Control::start().await;
        mesh::create_small(&control).await;
        let envoy =
            Envoy::start(path, form, control.address, "mesh/small/virtualNode/ghost", Shape::direct());
        envoy
            .wait_until(PATIENCE, "Envoy says why", async |envoy: &Envoy| {
                envoy.log().contains("gRPC config stream to")
                    && envoy.log().contains("closed: 3, VirtualNode ghost")
            })
            .await;
    });
}
