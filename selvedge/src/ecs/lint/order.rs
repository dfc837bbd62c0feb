//! `dependsOn`: who starts after whom.

use serde_json::Value;

use super::Findings;
use super::containers::Container;
use super::proxy::Proxy;

const CONDITIONS: [&str; 4] = ["START", "COMPLETE", "SUCCESS", "HEALTHY"];

pub(super) fn check(containers: &[Container<'_>], proxy: Option<&Proxy>, findings: &mut Findings) {
    for container in containers {
        for (path, on, condition) in dependencies(container) {
            dependency(container, &path, on, condition, containers, findings);
        }
    }
    if let Some(name) = circle(containers) {
        let problem = format!("{name} and others wait for each other: none of them starts");
        findings.error("containerDefinitions[].dependsOn", problem, "take one dependency of the circle away");
    }
    if let Some(proxy) = proxy.filter(|proxy| containers.iter().any(|other| other.name == proxy.container)) {
        after_sidecar(proxy, containers, findings);
    }
}

/// The dependencies of a container: their places, containers and conditions.
fn dependencies<'a>(container: &'a Container<'_>) -> Vec<(String, &'a str, &'a str)> {
    let entries = container.entries("dependsOn").into_iter();
    entries
        .map(|(path, entry)| {
            let text = |member: &str| entry.get(member).and_then(Value::as_str).unwrap_or_default();
            (path, text("containerName"), text("condition"))
        })
        .collect()
}

fn dependency(
    container: &Container<'_>,
    path: &str,
    on: &str,
    condition: &str,
    containers: &[Container<'_>],
    findings: &mut Findings,
) {
    if on == container.name {
        findings.error(format!("{path}.containerName"), "it waits for itself", "take this dependency away");
        return;
    }
    let Some(other) = containers.iter().find(|other| other.name == on) else {
        let names: Vec<&str> = containers.iter().map(|other| other.name).collect();
        let problem = format!("there is no container {on:?}");
        findings.error(format!("{path}.containerName"), problem, format!("there are {}", names.join(", ")));
        return;
    };
    let place = format!("{path}.condition");
    match condition {
        "HEALTHY" if !other.has_health_check() => {
            let problem = format!("{on} has no healthCheck, so it is never healthy and this never starts");
            findings.error(place, problem, format!("give {on} a healthCheck"));
        }
        "COMPLETE" | "SUCCESS" if other.is_essential() => {
            let problem = format!("{on} is essential: when it completes, the whole task ends");
            findings.error(place, problem, format!("write \"essential\": false in {on}"));
        }
        _ if CONDITIONS.contains(&condition) => {}
        _ => {
            let problem = format!("there is no condition {condition:?}");
            findings.error(place, problem, format!("write one of {}", CONDITIONS.join(", ")));
        }
    }
}

/// A container that waits for itself by way of others, if there is one.
fn circle<'a>(containers: &'a [Container<'_>]) -> Option<&'a str> {
    // Whoever waits for nobody who is left can start; what never can is in a circle, or behind one.
    let mut left: Vec<&Container<'_>> = containers.iter().collect();
    loop {
        let waits = |container: &Container<'_>| {
            dependencies(container)
                .iter()
                .any(|(_, on, _)| *on != container.name && left.iter().any(|other| other.name == *on))
        };
        let stuck: Vec<&Container<'_>> = left.iter().copied().filter(|container| waits(container)).collect();
        if stuck.is_empty() {
            return None;
        }
        if stuck.len() == left.len() {
            return stuck.first().map(|container| container.name);
        }
        left = stuck;
    }
}

/// Who starts before the sidecar serves is refused every connection at first.
fn after_sidecar(proxy: &Proxy, containers: &[Container<'_>], findings: &mut Findings) {
    let mut before = vec![proxy.container.as_str()];
    let mut next = 0;
    while let Some(name) = before.get(next).copied() {
        for container in containers.iter().filter(|container| container.name == name) {
            for (_, on, _) in container
                .entries("dependsOn")
                .iter()
                .filter_map(|(path, entry)| Some((path, entry.get("containerName")?.as_str()?, ())))
            {
                if let Some(container) = containers.iter().find(|container| container.name == on)
                    && !before.contains(&container.name)
                {
                    before.push(container.name);
                }
            }
        }
        next += 1;
    }
    for container in containers.iter().filter(|container| !before.contains(&container.name)) {
        let depends = dependencies(container);
        match depends.iter().find(|(_, on, _)| *on == proxy.container) {
            None => {
                let problem =
                    format!("{} may start before the sidecar serves, and be refused", container.name);
                let remedy = format!("let it depend on {}, condition HEALTHY", proxy.container);
                findings.warning(format!("{}.dependsOn", container.path), problem, remedy);
            }
            Some((path, _, "START")) => {
                let problem = "the sidecar has started by then, and may not serve yet";
                findings.warning(format!("{path}.condition"), problem, "write HEALTHY");
            }
            Some(_) => {}
        }
    }
}
