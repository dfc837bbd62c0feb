//! What an edge publishes to the mesh: gateway routes, one for each rule that hands requests to a virtual service.
//!
//! The rules and the mesh meet in a name. Host and path stay as they are, as lighttpd keeps them: App Mesh would put `/` in
//! the place of a prefix and the service's name in the place of the host, so that both are switched off.

use serde_json::{Map, Value, json};

use crate::RequestFacts;
use crate::condition::{Condition, ConditionId, Field, Operand, Operation};
use crate::diagnostic::Diagnostic;
use crate::directive::Text;
use crate::program::{Program, RuleSet};
use crate::route::{HostMatch, PathMatch, Route};

/// The highest priority's number that App Mesh takes, which is the last in order.
const PRIORITY_MAX: usize = 1000;

/// What is published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The virtual gateway; `None` publishes nothing.
    pub gateway: Option<Text>,
    /// The routes, those that are tried first at the front.
    pub routes: Vec<GatewayRoute>,
    /// The mesh's certificates that the edge shows, by their ARNs, in order.
    pub certificates: Vec<Text>,
    /// Rules that hand requests to services and have no equal in the mesh.
    pub diagnostics: Vec<Diagnostic>,
}

/// A gateway route.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRoute {
    /// Its name.
    pub name: String,
    /// Its `spec`, as `CreateGatewayRoute` takes it.
    pub spec: Value,
}

/// The routes of a program.
pub fn published(program: &Program) -> Published {
    let global = program.global();
    let gateway = global.mesh_gateway.clone();
    let mut published = Published { gateway: gateway.clone(), ..Published::default() };
    let prefix = program.base().directives.server.name.clone();
    match program.rule_set() {
        RuleSet::Routes(table) => {
            let prefix = prefix.or(gateway).unwrap_or_else(|| "edge".into());
            for (number, route) in table.routes.iter().enumerate() {
                publish_route(&prefix, number, route, &mut published);
            }
        }
        RuleSet::Patches(_) => {
            let prefix = gateway.unwrap_or_else(|| "edge".into());
            publish_blocks(&prefix, program, &mut published);
        }
    }
    publish_names(program, &mut published);
    published.certificates = certificates(program);
    published
}

/// The mesh's certificates that listeners show, to clients that name no server and to those that name one.
fn certificates(program: &Program) -> Vec<Text> {
    let named = program.assignments("mesh.certificate").filter_map(|(_, value, _)| value.as_text().cloned());
    let of_listeners =
        program.listeners.iter().filter(|listener| listener.ssl.engine).filter_map(|listener| {
            let facts = RequestFacts {
                socket: Some(&listener.token),
                scheme: Some("https"),
                host: Some(""),
                ..RequestFacts::default()
            };
            program.resolve(&facts).ok()?.directives.mesh.certificate.clone()
        });
    let mut certificates: Vec<Text> = named.chain(of_listeners).filter(|arn| !arn.is_empty()).collect();
    certificates.sort_unstable();
    certificates.dedup();
    certificates
}

/// Services that rules of the edge alone lead to are part of the gateway all the same: it reaches them by their names.
fn publish_names(program: &Program, published: &mut Published) {
    let prefix = published.gateway.clone().unwrap_or_else(|| "edge".into());
    let named = |spec: &Value, service: &str| {
        spec["httpRoute"]["action"]["target"]["virtualService"]["virtualServiceName"] == service
    };
    let mut left: Vec<Text> = match program.rule_set() {
        RuleSet::Routes(table) => {
            table.routes.iter().filter_map(|route| route.resolved.directives.mesh.service.clone()).collect()
        }
        RuleSet::Patches(_) => program
            .assignments("mesh.service")
            .filter_map(|(_, value, _)| value.as_text().filter(|service| !service.is_empty()).cloned())
            .collect(),
    };
    left.retain(|service| !published.routes.iter().any(|route| named(&route.spec, service)));
    left.sort_unstable();
    left.dedup();
    for (number, service) in left.into_iter().enumerate() {
        let header = json!({ "name": "x-selvedge-service", "match": { "exact": &*service } });
        let mut rule = Map::new();
        rule.insert("prefix".into(), "/".into());
        rule.insert("headers".into(), json!([header]));
        let name = format!("{prefix}-name-{}", number + 1);
        published.routes.push(GatewayRoute { name, spec: spec(PRIORITY_MAX, rule, &service) });
    }
}

/// A route of our own form; several where it names several hosts or methods.
fn publish_route(prefix: &str, number: usize, route: &Route, published: &mut Published) {
    let Some(service) = route.resolved.directives.mesh.service.clone() else { return };
    if !route.clients.is_empty() || !route.not_clients.is_empty() {
        let message = format!(
            "networks of clients have no equal in a gateway route: {service} is reached by its name alone"
        );
        let place = route.assignments.first().map(|assignment| assignment.place);
        published.diagnostics.push(Diagnostic::warning(place, message));
        return;
    }
    if route.scheme.is_some() || route.hosts.iter().any(|host| matches!(host, HostMatch::Pattern(_))) {
        let what = if route.scheme.is_some() { "scheme" } else { "host_regex" };
        let message =
            format!("{what} has no equal in a gateway route: {service} is reached by its name alone");
        published.diagnostics.push(Diagnostic::warning(route.place, message));
        return;
    }
    let mut rule = Map::new();
    match &route.path {
        PathMatch::Any => drop(rule.insert("prefix".into(), "/".into())),
        PathMatch::Prefix(path) => drop(rule.insert("prefix".into(), (**path).into())),
        PathMatch::Exact(path) => drop(rule.insert("path".into(), json!({ "exact": path }))),
        PathMatch::Pattern(pattern) => {
            rule.insert("path".into(), json!({ "regex": whole(pattern.as_str()) }));
        }
    }
    if !route.headers.is_empty() {
        let headers =
            route.headers.iter().map(|one| json!({ "name": one.name, "match": { "exact": one.value } }));
        rule.insert("headers".into(), headers.collect());
    }
    let hosts: Vec<Option<Value>> = if route.hosts.is_empty() {
        vec![None]
    } else {
        let hostname = |host: &HostMatch| match host {
            HostMatch::Exact(name) => json!({ "exact": name }),
            HostMatch::Suffix(suffix) => json!({ "suffix": &**suffix }),
            // Told above.
            HostMatch::Pattern(pattern) => json!({ "exact": pattern.as_str() }),
        };
        route.hosts.iter().map(|host| Some(hostname(host))).collect()
    };
    let methods: Vec<Option<&str>> = if route.methods.is_empty() {
        vec![None]
    } else {
        route.methods.iter().map(|one| Some(&**one)).collect()
    };
    let mut copy = 0;
    for hostname in &hosts {
        for method in &methods {
            let mut rule = rule.clone();
            if let Some(hostname) = hostname {
                rule.insert("hostname".into(), hostname.clone());
            }
            if let Some(method) = method {
                rule.insert("method".into(), (*method).into());
            }
            copy += 1;
            let suffix = if copy == 1 { String::new() } else { format!("-{copy}") };
            let name = format!("{prefix}-{}{suffix}", number + 1);
            published.routes.push(GatewayRoute { name, spec: spec(number, rule, &service) });
        }
    }
}

/// Blocks of `lighttpd.conf`: those that count over others come first.
fn publish_blocks(prefix: &str, program: &Program, published: &mut Published) {
    let mut blocks: Vec<(Option<ConditionId>, Text)> = Vec::new();
    for (condition, value, _) in program.assignments("mesh.service") {
        if let Some(service) = value.as_text().filter(|service| !service.is_empty()) {
            blocks.push((condition, service.clone()));
        }
    }
    blocks.sort_by_key(|(condition, _)| std::cmp::Reverse(precedence(program, *condition)));
    for (condition, service) in blocks {
        let number = condition.map_or(0, |id| usize::from(id.0) + 1);
        match block_rule(program, condition) {
            Ok(rule) => {
                let priority = published.routes.len();
                let name = format!("{prefix}-{number}");
                published.routes.push(GatewayRoute { name, spec: spec(priority, rule, &service) });
            }
            Err((condition, what)) => {
                let message = format!(
                    "{what} has no equal in a gateway route: {service} stays a rule of the edge alone"
                );
                published.diagnostics.push(Diagnostic::warning(condition.place, message));
            }
        }
    }
}

/// Which block counts when several hold: the later one, the inner one, and of an `else` chain the earlier one.
fn precedence(program: &Program, condition: Option<ConditionId>) -> Vec<(u16, std::cmp::Reverse<u16>)> {
    let mut path = Vec::new();
    let mut at = condition;
    while let Some(id) = at {
        let Some(condition) = program.condition(id) else { break };
        let mut head = id;
        while let Some(previous) = program.condition(head).and_then(|condition| condition.previous) {
            head = previous;
        }
        path.push((head.0, std::cmp::Reverse(id.0)));
        at = condition.parent;
    }
    path.reverse();
    path
}

/// What a block's conditions are as a match; the condition that has no equal otherwise, and what of it.
fn block_rule(
    program: &Program,
    condition: Option<ConditionId>,
) -> Result<Map<String, Value>, (&Condition, String)> {
    let mut rule = Map::new();
    let mut at = condition;
    while let Some(condition) = at.and_then(|id| program.condition(id)) {
        if let Some(test) = &condition.test {
            add(&mut rule, &test.field, &test.operation)
                .ok_or_else(|| (condition, condition.text.to_string()))?;
        }
        at = condition.parent;
    }
    if !rule.contains_key("prefix") && !rule.contains_key("path") {
        rule.insert("prefix".into(), "/".into());
    }
    Ok(rule)
}

/// Adds a comparison; `None` when a match cannot say it, or says something of the field already.
fn add(rule: &mut Map<String, Value>, field: &Field, operation: &Operation) -> Option<()> {
    let once = |rule: &mut Map<String, Value>, key: &str, value: Value| {
        (!rule.contains_key(key)).then(|| drop(rule.insert(key.into(), value)))
    };
    match (field, operation) {
        (Field::Host, Operation::Equal { operand: Operand::Text(host), not: false }) => {
            let host = host.rsplit_once(':').map_or(&**host, |(name, _)| name);
            once(rule, "hostname", json!({ "exact": host }))
        }
        (Field::Host, Operation::Suffix(suffix)) => once(rule, "hostname", json!({ "suffix": &**suffix })),
        (Field::Url, operation) => {
            if rule.contains_key("prefix") || rule.contains_key("path") {
                return None;
            }
            match operation {
                Operation::Prefix(prefix) => once(rule, "prefix", (**prefix).into()),
                Operation::Suffix(suffix) => {
                    once(rule, "path", json!({ "regex": format!(".*{}", regex_text(suffix)) }))
                }
                Operation::Equal { operand: Operand::Text(path), not: false } => {
                    once(rule, "path", json!({ "exact": &**path }))
                }
                Operation::Matches { pattern, not: false } => {
                    once(rule, "path", json!({ "regex": whole(pattern.as_str()) }))
                }
                _ => None,
            }
        }
        (Field::RequestMethod, Operation::Equal { operand: Operand::Text(method), not: false }) => {
            once(rule, "method", (**method).into())
        }
        (Field::QueryString, Operation::Equal { operand: Operand::Text(query), not: false }) => {
            let parameters: Option<Vec<Value>> = query
                .split('&')
                .map(|one| one.split_once('='))
                .map(|one| one.map(|(name, value)| json!({ "name": name, "match": { "exact": value } })))
                .collect();
            once(rule, "queryParameters", parameters?.into())
        }
        (Field::Socket, Operation::Equal { operand: Operand::Text(token), not: false }) => {
            let port: u16 = token.rsplit_once(':')?.1.parse().ok()?;
            once(rule, "port", port.into())
        }
        (Field::Header(name), operation) => {
            let (found, invert) = match operation {
                Operation::Equal { operand: Operand::Text(text), not } => (json!({ "exact": &**text }), *not),
                Operation::Prefix(prefix) => (json!({ "prefix": &**prefix }), false),
                Operation::Suffix(suffix) => (json!({ "suffix": &**suffix }), false),
                Operation::Matches { pattern, not } => (json!({ "regex": whole(pattern.as_str()) }), *not),
                Operation::Equal { .. } => return None,
            };
            let header = json!({ "name": name.to_ascii_lowercase(), "match": found, "invert": invert });
            let headers = rule.entry("headers").or_insert_with(|| json!([]));
            headers.as_array_mut()?.push(header);
            Some(())
        }
        _ => None,
    }
}

/// lighttpd's expressions find; the mesh's match the whole text.
fn whole(expression: &str) -> String {
    let (start, rest) = expression.strip_prefix('^').map_or((".*", expression), |rest| ("", rest));
    let ends = rest.ends_with('$') && !rest.ends_with("\\$");
    let (rest, end) = if ends { (&rest[..rest.len() - 1], "") } else { (rest, ".*") };
    // Alternatives would take the anchors apart.
    if rest.contains('|') { format!("{start}(?:{rest}){end}") } else { format!("{start}{rest}{end}") }
}

fn regex_text(text: &str) -> String {
    let special = |one: char| !one.is_alphanumeric() && !matches!(one, '/' | '-' | '_');
    text.chars().flat_map(|one| special(one).then_some('\\').into_iter().chain([one])).collect()
}

fn spec(priority: usize, rule: Map<String, Value>, service: &str) -> Value {
    let mut rewrite = json!({ "hostname": { "defaultTargetHostname": "DISABLED" } });
    if rule.contains_key("prefix") {
        rewrite["prefix"] = json!({ "defaultPrefix": "DISABLED" });
    }
    json!({
        "priority": priority.min(PRIORITY_MAX),
        "httpRoute": {
            "match": rule,
            "action": {
                "target": { "virtualService": { "virtualServiceName": service } },
                "rewrite": rewrite,
            },
        },
    })
}
