//! `selvedge ecs inject`: the sidecar, the interception and the order of starting, as App Mesh's guide shows them.

use std::path::PathBuf;

use anyhow::Context as _;
use selvedge_proxy::{ResourceKind, ResourceName};
use serde_json::{Map, Value, json};

use super::document::Document;
use crate::exit::Failure;
use crate::output;

/// The image that the Dockerfile of this version makes.
const IMAGE_DEFAULT: &str = concat!("selvedge:", env!("CARGO_PKG_VERSION"));
/// The name under which the guide has the sidecar find out who it is; `APPMESH_RESOURCE_ARN` is the newer one.
const NODE_VARIABLE: &str = "APPMESH_VIRTUAL_NODE_NAME";
const NODE_VARIABLE_NEW: &str = "APPMESH_RESOURCE_ARN";

/// Add the sidecar to a task definition, with all that belongs to it; print the result
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge ecs inject task-definition.json --node mesh/my-mesh/virtualNode/user-service-v1 > meshed.json
  selvedge ecs inject task-definition.json --mesh my-mesh --virtual-node user-service-v1 --in-place
  aws ecs describe-task-definition --task-definition t | selvedge ecs inject - --node … 

What is there already is kept: only what is missing is added, and what an option names is set. Running it again changes
nothing.")]
pub(super) struct Args {
    /// The file; - for standard input
    file: PathBuf,
    /// The virtual node: mesh/NAME/virtualNode/NAME, or its ARN
    #[arg(
        long,
        value_name = "NODE",
        required_unless_present = "virtual_node",
        conflicts_with = "virtual_node"
    )]
    node: Option<String>,
    /// The mesh, together with --virtual-node
    #[arg(long, value_name = "NAME", requires = "virtual_node")]
    mesh: Option<String>,
    /// The virtual node's name
    #[arg(long, value_name = "NAME", requires = "mesh")]
    virtual_node: Option<String>,
    /// Write the result back to the file
    #[arg(long)]
    in_place: bool,
    /// The sidecar's image; a sidecar that is there keeps its own unless this is given
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The sidecar's container
    #[arg(long, value_name = "NAME", default_value = "envoy")]
    container: String,
    /// The containers that are the application; all others than the sidecar and what it waits for, unless given
    #[arg(long = "app", value_name = "CONTAINER")]
    apps: Vec<String>,
    /// Where the application listens; the TCP ports that its containers map, unless given
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    app_ports: Vec<u16>,
    /// The user that the sidecar runs as
    #[arg(long, value_name = "UID")]
    ignored_uid: Option<u32>,
    #[arg(long, value_name = "PORT")]
    /// Where the sidecar takes incoming connections
    ingress_port: Option<u16>,
    /// Where the sidecar takes outgoing connections
    #[arg(long, value_name = "PORT")]
    egress_port: Option<u16>,
    /// Destinations that are left alone
    #[arg(long, value_name = "ADDRESSES")]
    egress_ignored_ips: Option<String>,
    /// Destination ports that are left alone, such as 2049 for EFS
    #[arg(long, value_name = "PORTS")]
    egress_ignored_ports: Option<String>,
    /// The control plane: HOST:PORT, or unix://PATH
    #[arg(long, value_name = "ENDPOINT")]
    xds_endpoint: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut document = Document::read(&args.file)?;
    let sidecar = Sidecar::of(args)?;
    sidecar.join(document.task_mut()).map_err(Failure::Usage)?;
    let text = document.text();
    if args.in_place {
        let write = std::fs::write(&args.file, text);
        return Ok(write.with_context(|| format!("failed to write {}", args.file.display()))?);
    }
    Ok(output::emit(&text)?)
}

/// What is added, and how it is called.
struct Sidecar<'a> {
    args: &'a Args,
    node: String,
}

impl<'a> Sidecar<'a> {
    fn of(args: &'a Args) -> Result<Self, Failure> {
        let node = match (&args.node, &args.mesh, &args.virtual_node) {
            (Some(node), ..) => node.clone(),
            (None, Some(mesh), Some(name)) => format!("mesh/{mesh}/virtualNode/{name}"),
            _ => {
                return Err(Failure::Usage(
                    "which virtual node? Give --node, or --mesh and --virtual-node".into(),
                ));
            }
        };
        let resource = ResourceName::parse(&node).map_err(|error| Failure::Usage(error.to_string()))?;
        if resource.kind == ResourceKind::VirtualGateway {
            let text = "a virtual gateway is a task of its own: its only container is the proxy, and nothing is redirected";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(Self { args, node })
    }

    fn join(&self, task: &mut Map<String, Value>) -> Result<(), String> {
        match task.get("networkMode").and_then(Value::as_str) {
            Some("awsvpc") => {}
            other => {
                return Err(format!(
                    "networkMode is {}: connections can be redirected only with \"awsvpc\"; set it, and run this again",
                    other.map_or_else(|| "not set".to_owned(), |mode| format!("{mode:?}"))
                ));
            }
        }
        let containers = task
            .get_mut("containerDefinitions")
            .and_then(Value::as_array_mut)
            .filter(|containers| containers.iter().all(Value::is_object))
            .ok_or("containerDefinitions is not a list of objects")?;
        let apps = self.applications(containers)?;
        let mapped = mapped_ports(containers, &apps);
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            if name(container).is_some_and(|name| apps.iter().any(|app| app == name)) {
                self.mesh_application(container)?;
            }
        }
        match containers
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .find(|c| name(c) == Some(&self.args.container))
        {
            Some(container) => self.complete(container)?,
            None => {
                let mut container = Map::from_iter([("name".to_owned(), json!(self.args.container))]);
                self.complete(&mut container)?;
                containers.push(Value::Object(container));
            }
        }
        let proxy = self.proxy_configuration(task.get("proxyConfiguration"), &mapped)?;
        insert_before(task, "containerDefinitions", "proxyConfiguration", proxy);
        Ok(())
    }

    /// The containers whose connections are meshed: those asked for, or all but the sidecar and what it waits for.
    fn applications(&self, containers: &[Value]) -> Result<Vec<String>, String> {
        let names: Vec<&str> = containers.iter().filter_map(|container| container["name"].as_str()).collect();
        if let Some(unknown) = self.args.apps.iter().find(|app| !names.contains(&app.as_str())) {
            return Err(format!("there is no container {unknown}; there are {}", names.join(", ")));
        }
        if !self.args.apps.is_empty() {
            return Ok(self.args.apps.clone());
        }
        let mut apart = vec![self.args.container.as_str()];
        let mut next = 0;
        while let Some(before) = apart.get(next).copied() {
            let container = containers.iter().find(|container| container["name"] == before);
            let depends = container.and_then(|container| container["dependsOn"].as_array());
            for first in depends.into_iter().flatten().filter_map(|one| one["containerName"].as_str()) {
                if !apart.contains(&first) {
                    apart.push(first);
                }
            }
            next += 1;
        }
        Ok(names.into_iter().filter(|name| !apart.contains(name)).map(str::to_owned).collect())
    }

    fn mesh_application(&self, container: &mut Map<String, Value>) -> Result<(), String> {
        // An application that is told by the newer name need not be told by both.
        if named(list(container, "environment")?, "name", NODE_VARIABLE_NEW).is_none() {
            set(container, "environment", "name", NODE_VARIABLE, "value", &self.node)?;
        }
        set(container, "dependsOn", "containerName", &self.args.container, "condition", "HEALTHY")
    }

    fn complete(&self, container: &mut Map<String, Value>) -> Result<(), String> {
        match &self.args.image {
            Some(image) => drop(container.insert("image".to_owned(), json!(image))),
            None => default(container, "image", json!(IMAGE_DEFAULT)),
        }
        match self.args.ignored_uid {
            Some(uid) => drop(container.insert("user".to_owned(), json!(uid.to_string()))),
            None => default(container, "user", json!("1337")),
        }
        let check = "curl -s http://localhost:9901/server_info | grep state | grep -q LIVE";
        default(
            container,
            "healthCheck",
            json!({
                "command": ["CMD-SHELL", check],
                "interval": 5,
                "timeout": 2,
                "retries": 3,
                "startPeriod": 10,
            }),
        );
        let newer = named(list(container, "environment")?, "name", NODE_VARIABLE_NEW).is_some();
        let variable = if newer { NODE_VARIABLE_NEW } else { NODE_VARIABLE };
        set(container, "environment", "name", variable, "value", &self.node)?;
        match &self.args.xds_endpoint {
            Some(endpoint) => {
                set(container, "environment", "name", "APPMESH_XDS_ENDPOINT", "value", endpoint)
            }
            None => Ok(()),
        }
    }

    fn proxy_configuration(&self, found: Option<&Value>, mapped: &[u16]) -> Result<Value, String> {
        let mut proxy = match found {
            None => Map::new(),
            Some(Value::Object(found)) => found.clone(),
            Some(_) => return Err("proxyConfiguration is not an object".to_owned()),
        };
        proxy.insert("type".to_owned(), json!("APPMESH"));
        proxy.insert("containerName".to_owned(), json!(self.args.container));
        let args = self.args;
        let ports = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let given = |value: Option<String>, default: &str| (value, default.to_owned());
        let app_ports = Some(ports(&args.app_ports)).filter(|ports| !ports.is_empty());
        for (name, (asked, default)) in [
            ("IgnoredUID", given(args.ignored_uid.map(|uid| uid.to_string()), "1337")),
            ("ProxyIngressPort", given(args.ingress_port.map(|port| port.to_string()), "15000")),
            ("ProxyEgressPort", given(args.egress_port.map(|port| port.to_string()), "15001")),
            ("AppPorts", (app_ports, ports(mapped))),
            ("EgressIgnoredIPs", given(args.egress_ignored_ips.clone(), "169.254.170.2,169.254.169.254")),
            ("EgressIgnoredPorts", given(args.egress_ignored_ports.clone(), "")),
        ] {
            let there = named(list(&mut proxy, "properties")?, "name", name).is_some();
            match asked {
                Some(value) => set(&mut proxy, "properties", "name", name, "value", &value)?,
                None if there || default.is_empty() => {}
                None => set(&mut proxy, "properties", "name", name, "value", &default)?,
            }
        }
        Ok(Value::Object(proxy))
    }
}

fn name(container: &Map<String, Value>) -> Option<&str> {
    container.get("name")?.as_str()
}

/// The TCP ports that the application's containers map, in the order in which they stand.
fn mapped_ports(containers: &[Value], apps: &[String]) -> Vec<u16> {
    let mut ports = Vec::new();
    for container in containers.iter().filter(|c| apps.iter().any(|app| c["name"] == app.as_str())) {
        for mapping in container["portMappings"].as_array().into_iter().flatten() {
            let port = mapping["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok());
            if let Some(port) = port.filter(|port| mapping["protocol"] != "udp" && !ports.contains(port)) {
                ports.push(port);
            }
        }
    }
    ports
}

/// A list that is a member of an object; an absent one is empty.
fn list<'a>(object: &'a mut Map<String, Value>, member: &str) -> Result<&'a mut Vec<Value>, String> {
    let place = object.entry(member).or_insert_with(|| json!([]));
    if place.is_null() {
        *place = json!([]);
    }
    place.as_array_mut().ok_or_else(|| format!("{member} is not a list"))
}

fn named<'a>(list: &'a mut [Value], key: &str, name: &str) -> Option<&'a mut Map<String, Value>> {
    list.iter_mut().filter_map(Value::as_object_mut).find(|entry| entry.get(key).is_some_and(|it| it == name))
}

/// Sets a member of the entry with that name, which is added if there is none.
fn set(
    object: &mut Map<String, Value>,
    member: &str,
    key: &str,
    name: &str,
    value_key: &str,
    value: &str,
) -> Result<(), String> {
    let list = list(object, member)?;
    match named(list, key, name) {
        Some(entry) => drop(entry.insert(value_key.to_owned(), json!(value))),
        None => list.push(json!({ key: name, value_key: value })),
    }
    Ok(())
}

fn default(object: &mut Map<String, Value>, member: &str, value: Value) {
    if object.get(member).is_none_or(Value::is_null) {
        object.insert(member.to_owned(), value);
    }
}

/// Sets a member, which gets its place before another if it is new.
fn insert_before(object: &mut Map<String, Value>, before: &str, member: &str, value: Value) {
    if let Some(place) = object.get_mut(member) {
        *place = value;
        return;
    }
    let mut value = Some(value);
    let mut ordered = Map::new();
    for (key, kept) in std::mem::take(object) {
        if key == before
            && let Some(value) = value.take()
        {
            ordered.insert(member.to_owned(), value);
        }
        ordered.insert(key, kept);
    }
    *object = ordered;
}
