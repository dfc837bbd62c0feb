//! `proxyConfiguration`: what the ECS agent redirects.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::Findings;
use super::containers::Container;

const PATH: &str = "proxyConfiguration";
/// All properties that there are.
const KNOWN: [&str; 7] = [
    "IgnoredUID",
    "IgnoredGID",
    "ProxyIngressPort",
    "ProxyEgressPort",
    "AppPorts",
    "EgressIgnoredIPs",
    "EgressIgnoredPorts",
];
/// Where tasks get their credentials and find out where they are.
const METADATA: [&str; 2] = ["169.254.170.2", "169.254.169.254"];
const NFS_PORT: u16 = 2049;
const ADMIN_PORT: u16 = 9901;

/// What the rest of the task is compared with.
pub(super) struct Proxy {
    pub(super) container: String,
    pub(super) ignored_uid: Option<String>,
    pub(super) ignored_gid: Option<String>,
}

/// A property with its place.
struct Property<'a> {
    path: String,
    name: &'a str,
    value: &'a str,
}

pub(super) fn check(
    task: &Map<String, Value>,
    containers: &[Container<'_>],
    findings: &mut Findings,
) -> Option<Proxy> {
    if task.get("networkMode").is_none_or(|mode| mode != "awsvpc") {
        let mode = task.get("networkMode").map_or_else(|| "not set".to_owned(), Value::to_string);
        let problem = format!("it is {mode}: ECS redirects connections only with awsvpc");
        findings.error("networkMode", problem, "write \"networkMode\": \"awsvpc\"");
    }
    let Some(spec) = task.get(PATH).and_then(Value::as_object) else {
        let problem = "there is none: nothing is redirected, so that no connection goes through a sidecar";
        findings.error(PATH, problem, "let `selvedge ecs inject` add it");
        return None;
    };
    if spec.get("type").is_some_and(|kind| kind != "APPMESH") {
        findings.error(format!("{PATH}.type"), "ECS knows the type APPMESH only", "write APPMESH");
    }
    let container = spec.get("containerName").and_then(Value::as_str).unwrap_or_default();
    if !containers.iter().any(|other| other.name == container) {
        let problem = format!("there is no container {container:?}");
        findings.error(format!("{PATH}.containerName"), problem, "name the sidecar's container");
    }
    let properties = properties(spec, findings);
    let value = |name: &str| properties.iter().find(|property| property.name == name);
    owners(value("IgnoredUID"), value("IgnoredGID"), findings);
    let own = own_ports(value("ProxyIngressPort"), value("ProxyEgressPort"), findings);
    app_ports(value("AppPorts"), &own, container, containers, findings);
    ignored(value("EgressIgnoredIPs"), findings);
    ignored_ports(task, value("EgressIgnoredPorts"), findings);
    let text = |name| value(name).map(|property| property.value.to_owned());
    Some(Proxy {
        container: container.to_owned(),
        ignored_uid: text("IgnoredUID"),
        ignored_gid: text("IgnoredGID"),
    })
}

fn properties<'a>(spec: &'a Map<String, Value>, findings: &mut Findings) -> Vec<Property<'a>> {
    let mut properties: Vec<Property<'_>> = Vec::new();
    let list = spec.get("properties").and_then(Value::as_array);
    for (index, value) in list.into_iter().flatten().enumerate() {
        let path = format!("{PATH}.properties[{index}]");
        let text = |member: &str| value.get(member).and_then(Value::as_str);
        let (Some(name), Some(value)) = (text("name"), text("value")) else {
            findings.error(
                path,
                "a property has a name and a value, both texts",
                "write {\"name\": …, \"value\": …}",
            );
            continue;
        };
        if !KNOWN.contains(&name) {
            let meant = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name));
            let remedy = match meant {
                Some(meant) => format!("write {meant}"),
                None => format!("there are {}", KNOWN.join(", ")),
            };
            findings.error(
                format!("{path}.name"),
                format!("there is no property {name}: ECS ignores it"),
                remedy,
            );
        } else if properties.iter().any(|other| other.name == name) {
            findings.error(format!("{path}.name"), format!("{name} stands here twice"), "keep one of them");
        }
        properties.push(Property { path: format!("{path}.value"), name, value });
    }
    properties
}

fn owners(uid: Option<&Property<'_>>, gid: Option<&Property<'_>>, findings: &mut Findings) {
    if uid.is_none() && gid.is_none() {
        let problem =
            "neither IgnoredUID nor IgnoredGID is set: the sidecar's own connections would be led back to it";
        findings.error(
            format!("{PATH}.properties"),
            problem,
            "add IgnoredUID 1337, and give the sidecar that user",
        );
    }
    for property in [uid, gid].into_iter().flatten() {
        if property.value.parse::<u32>().is_err() {
            let problem = format!("{:?} is not the number of a user or group", property.value);
            findings.error(property.path.clone(), problem, "write a number, such as 1337");
        }
    }
}

/// The sidecar's two ports.
fn own_ports(
    ingress: Option<&Property<'_>>,
    egress: Option<&Property<'_>>,
    findings: &mut Findings,
) -> Vec<u16> {
    let mut own = Vec::new();
    for (name, default, property) in
        [("ProxyIngressPort", 15000, ingress), ("ProxyEgressPort", 15001, egress)]
    {
        let Some(property) = property else {
            let problem = format!("{name} is missing");
            findings.error(format!("{PATH}.properties"), problem, format!("add {name} {default}"));
            continue;
        };
        match port(property.value) {
            None => {
                let problem = format!("{:?} is no port", property.value);
                findings.error(property.path.clone(), problem, format!("write {default}"));
            }
            Some(port) if own.contains(&port) => {
                let problem = "incoming and outgoing connections would go to the same port";
                findings.error(property.path.clone(), problem, format!("write {default}"));
            }
            Some(port) => {
                if port != default {
                    let problem =
                        format!("the control plane has sidecars listen on {default}, not on {port}");
                    findings.warning(property.path.clone(), problem, format!("write {default}"));
                }
                own.push(port);
            }
        }
    }
    own
}

fn app_ports(
    property: Option<&Property<'_>>,
    own: &[u16],
    sidecar: &str,
    containers: &[Container<'_>],
    findings: &mut Findings,
) {
    let mapped: Vec<u16> = containers
        .iter()
        .filter(|container| container.name != sidecar)
        .flat_map(|container| container.tcp_ports().into_iter().map(|(_, port)| port))
        .collect();
    let Some(property) = property else {
        let problem = "AppPorts is missing: connections to the application pass by the sidecar";
        let ports: Vec<String> = mapped.iter().map(u16::to_string).collect();
        let remedy = format!("add AppPorts with the ports of the application ({})", ports.join(","));
        if !mapped.is_empty() {
            findings.error(format!("{PATH}.properties"), problem, remedy);
        }
        return;
    };
    let path = &property.path;
    let (mut listed, mut read) = (Vec::new(), true);
    for text in property.value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match port(text) {
            Some(port) => listed.push(port),
            None => {
                findings.error(
                    path.clone(),
                    format!("{text:?} is no port"),
                    "write ports separated by commas",
                );
                read = false;
            }
        }
    }
    for port in listed.iter().filter(|port| own.contains(port) || **port == ADMIN_PORT) {
        findings.error(
            path.clone(),
            format!("{port} is the sidecar's own port"),
            "let the application have another",
        );
    }
    if !read {
        return;
    }
    for port in mapped.iter().filter(|port| !listed.contains(port)) {
        let problem =
            format!("port {port} of the application is not listed: connections to it pass by the sidecar");
        findings.warning(path.clone(), problem, format!("add {port}, unless that is meant"));
    }
    for port in listed.iter().filter(|port| !mapped.contains(port) && !own.contains(port)) {
        let problem = format!("no container of the application maps port {port}");
        findings.warning(
            path.clone(),
            problem,
            format!("add {port} to its portMappings, or take it away here"),
        );
    }
}

fn ignored(property: Option<&Property<'_>>, findings: &mut Findings) {
    let texts: Vec<&str> = property.map(|property| property.value).unwrap_or_default().split(',').collect();
    let path = property.map_or_else(|| format!("{PATH}.properties"), |property| property.path.clone());
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let address = text.split('/').next().unwrap_or_default();
        if address.parse::<IpAddr>().is_err() {
            findings.error(
                path.clone(),
                format!("{text:?} is no IP address"),
                "write addresses separated by commas",
            );
        }
    }
    let missing: Vec<&str> =
        METADATA.into_iter().filter(|address| !texts.iter().any(|text| text.trim() == *address)).collect();
    if !missing.is_empty() {
        findings.warning(
            path,
            format!(
                "EgressIgnoredIPs lacks {}: the task's credentials and metadata go through the sidecar",
                missing.join(" and ")
            ),
            format!("write {}", METADATA.join(",")),
        );
    }
}

fn ignored_ports(task: &Map<String, Value>, property: Option<&Property<'_>>, findings: &mut Findings) {
    let mut ports = Vec::new();
    for text in property.map(|property| property.value).unwrap_or_default().split(',').map(str::trim) {
        match (port(text), property) {
            (Some(port), _) => ports.push(port),
            (None, Some(property)) if !text.is_empty() => {
                let problem = format!("{text:?} is no port");
                findings.error(property.path.clone(), problem, "write ports separated by commas");
            }
            _ => {}
        }
    }
    let volumes = task.get("volumes").and_then(Value::as_array);
    let efs = |volume: &Value| volume.get("efsVolumeConfiguration").is_some_and(|efs| !efs.is_null());
    if volumes.into_iter().flatten().any(efs) && !ports.contains(&NFS_PORT) {
        findings.error(
            format!("{PATH}.properties"),
            format!(
                "the task mounts EFS, whose port {NFS_PORT} would go through the sidecar: the mount fails"
            ),
            format!("add {NFS_PORT} to EgressIgnoredPorts"),
        );
    }
}

fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port != 0)
}
