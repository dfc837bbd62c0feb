//! The containers themselves: names, ports, users, health checks.

use serde_json::{Map, Value};

use super::Findings;
use super::proxy::Proxy;

/// A container with its place.
pub(super) struct Container<'a> {
    pub(super) path: String,
    pub(super) name: &'a str,
    pub(super) spec: &'a Map<String, Value>,
}

impl Container<'_> {
    pub(super) fn is_essential(&self) -> bool {
        self.spec.get("essential").and_then(Value::as_bool).unwrap_or(true)
    }

    pub(super) fn has_health_check(&self) -> bool {
        self.spec.get("healthCheck").is_some_and(Value::is_object)
    }

    /// The user, without a group: `1337:1337` is 1337.
    pub(super) fn user(&self) -> Option<&str> {
        let user = self.spec.get("user")?.as_str()?;
        Some(user.split(':').next().unwrap_or(user))
    }

    /// The members of a list of objects, with their places; what is no object is passed over.
    pub(super) fn entries(&self, member: &str) -> Vec<(String, &Map<String, Value>)> {
        let list = self.spec.get(member).and_then(Value::as_array);
        let entries = list.into_iter().flatten().enumerate();
        let path = |index: usize| format!("{}.{member}[{index}]", self.path);
        entries.filter_map(|(index, entry)| Some((path(index), entry.as_object()?))).collect()
    }

    /// The ports that it maps, with their places.
    pub(super) fn tcp_ports(&self) -> Vec<(String, u16)> {
        let tcp =
            |mapping: &Map<String, Value>| mapping.get("protocol").is_none_or(|protocol| protocol != "udp");
        let entries = self.entries("portMappings").into_iter().filter(|(_, mapping)| tcp(mapping));
        entries
            .filter_map(|(path, mapping)| {
                let port = mapping.get("containerPort")?.as_u64()?;
                Some((path, u16::try_from(port).ok()?))
            })
            .collect()
    }
}

/// The containers of a task.
pub(super) fn of<'a>(task: &'a Map<String, Value>, findings: &mut Findings) -> Vec<Container<'a>> {
    let list = task.get("containerDefinitions").and_then(Value::as_array);
    if list.is_none_or(Vec::is_empty) {
        findings.error("containerDefinitions", "there is no container", "add the application's");
    }
    let mut containers: Vec<Container<'_>> = Vec::new();
    for (index, value) in list.into_iter().flatten().enumerate() {
        let path = format!("containerDefinitions[{index}]");
        let Some(spec) = value.as_object() else {
            findings.error(path, "it is no object", "write {\"name\": …, \"image\": …}");
            continue;
        };
        let name = spec.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            findings.error(format!("{path}.name"), "the container has no name", "give it one");
        } else if containers.iter().any(|other| other.name == name) {
            let problem = format!("the name {name} stands here twice");
            findings.error(format!("{path}.name"), problem, "give each container a name of its own");
        }
        containers.push(Container { path, name, spec });
    }
    containers
}

pub(super) fn check(
    task: &Map<String, Value>,
    containers: &[Container<'_>],
    proxy: Option<&Proxy>,
    findings: &mut Findings,
) {
    let awsvpc = task.get("networkMode").is_some_and(|mode| mode == "awsvpc");
    for container in containers {
        if awsvpc {
            host_ports(container, findings);
        }
        health_check(container, findings);
        stop_timeout(container, findings);
        let own = proxy.and_then(|proxy| proxy.ignored_uid.as_deref());
        let is_sidecar = proxy.is_some_and(|proxy| proxy.container == container.name);
        if let (Some(uid), false) = (own, is_sidecar)
            && container.user() == Some(uid)
        {
            findings.error(
                format!("{}.user", container.path),
                format!(
                    "{} runs as the ignored user {uid}, so its connections pass by the sidecar",
                    container.name
                ),
                "let the application run as another user",
            );
        }
    }
}

fn host_ports(container: &Container<'_>, findings: &mut Findings) {
    for (path, mapping) in container.entries("portMappings") {
        let (port, host) =
            (mapping.get("containerPort"), mapping.get("hostPort").filter(|host| !host.is_null()));
        if let (Some(port), Some(host)) = (port, host)
            && port != host
            && *host != 0
        {
            findings.error(
                format!("{path}.hostPort"),
                format!("with awsvpc the host's port must be the container's: {host} is not {port}"),
                format!("leave hostPort out, or write {port}"),
            );
        }
    }
}

fn health_check(container: &Container<'_>, findings: &mut Findings) {
    let Some(check) = container.spec.get("healthCheck").and_then(Value::as_object) else { return };
    let path = format!("{}.healthCheck", container.path);
    let words = check.get("command").and_then(Value::as_array);
    let first = words.and_then(|words| words.first()).and_then(Value::as_str);
    let enough = words.is_some_and(|words| words.len() > 1 && words.iter().all(Value::is_string));
    if !matches!(first, Some("CMD" | "CMD-SHELL")) || !enough {
        findings.error(
            format!("{path}.command"),
            "a command begins with CMD or CMD-SHELL, and has at least one word more",
            "write [\"CMD-SHELL\", \"…\"]",
        );
    }
    for (member, min, max) in
        [("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300)]
    {
        let Some(value) = check.get(member).filter(|value| !value.is_null()) else { continue };
        if !value.as_u64().is_some_and(|value| (min..=max).contains(&value)) {
            findings.error(
                format!("{path}.{member}"),
                format!("{value} is not within {min} and {max}: ECS refuses it"),
                format!("write a number from {min} to {max}"),
            );
        }
    }
}

/// Fargate waits no longer than two minutes.
fn stop_timeout(container: &Container<'_>, findings: &mut Findings) {
    const SECONDS_MAX: u64 = 120;
    let timeout = container.spec.get("stopTimeout").and_then(Value::as_u64);
    if let Some(timeout) = timeout.filter(|timeout| *timeout > SECONDS_MAX) {
        findings.error(
            format!("{}.stopTimeout", container.path),
            format!("{timeout} s is more than the {SECONDS_MAX} s that ECS waits"),
            format!("write at most {SECONDS_MAX}"),
        );
    }
}
