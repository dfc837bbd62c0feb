//! The sidecar's container.

use selvedge_proxy::ResourceName;
use serde_json::Value;

use super::Findings;
use super::containers::Container;
use super::proxy::Proxy;

/// The variables that say whom a sidecar stands for, the newest first.
const NAMES: [&str; 3] = ["APPMESH_RESOURCE_ARN", "APPMESH_RESOURCE_NAME", "APPMESH_VIRTUAL_NODE_NAME"];

pub(super) fn check(proxy: &Proxy, containers: &[Container<'_>], findings: &mut Findings) {
    let Some(sidecar) = containers.iter().find(|container| container.name == proxy.container) else { return };
    user(proxy, sidecar, findings);
    resource(sidecar, findings);
    if !sidecar.has_health_check() {
        let remedy = "add the check of the guide: curl -s http://localhost:9901/server_info | grep state | grep -q LIVE";
        let problem = "there is none: nothing can wait until the sidecar serves";
        findings.warning(format!("{}.healthCheck", sidecar.path), problem, remedy);
    }
    if !sidecar.is_essential() {
        let problem = "when the sidecar ends, the task goes on without a way out or in";
        findings.warning(format!("{}.essential", sidecar.path), problem, "leave it out, or write true");
    }
}

/// The kernel tells the sidecar's own connections by its user.
fn user(proxy: &Proxy, sidecar: &Container<'_>, findings: &mut Findings) {
    let Some(uid) = &proxy.ignored_uid else { return };
    if proxy.ignored_gid.is_some() || sidecar.user() == Some(uid) {
        return;
    }
    let has = match sidecar.user() {
        Some(user) => format!("runs as {user}"),
        None => "runs as whatever its image says".to_owned(),
    };
    findings.error(
        format!("{}.user", sidecar.path),
        format!("the sidecar {has}, and connections of {uid} alone are left alone: its own would come back to it for ever"),
        format!("write \"user\": \"{uid}\""),
    );
}

fn resource(sidecar: &Container<'_>, findings: &mut Findings) {
    let mut first: Option<(&str, &str)> = None;
    for (path, entry) in sidecar.entries("environment") {
        let text = |member: &str| entry.get(member).and_then(Value::as_str);
        let (Some(name), Some(value)) = (text("name"), text("value")) else { continue };
        if !NAMES.contains(&name) {
            continue;
        }
        if let Err(error) = ResourceName::parse(value) {
            findings.error(format!("{path}.value"), error.to_string(), "write mesh/NAME/virtualNode/NAME");
        }
        match first {
            Some((other, meant)) if meant != value => {
                let problem = format!("{name} and {other} name two resources; the newer variable wins");
                findings.error(path, problem, "keep one of them");
            }
            _ => first = Some((name, value)),
        }
    }
    let secret = |(_, entry): &(String, &serde_json::Map<String, Value>)| {
        entry.get("name").and_then(Value::as_str).is_some_and(|name| NAMES.contains(&name))
    };
    if first.is_none() && !sidecar.entries("secrets").iter().any(secret) {
        findings.error(
            format!("{}.environment", sidecar.path),
            format!("none of {} is set: the sidecar does not know whom it stands for", NAMES.join(", ")),
            format!("add {} with mesh/NAME/virtualNode/NAME", NAMES[0]),
        );
    }
}
