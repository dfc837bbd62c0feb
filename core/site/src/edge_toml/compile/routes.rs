//! Sites and their routes.

use std::sync::Arc;

use super::super::node::Node;
use super::super::{ROUTES_MAX, unit};
use super::Compiler;
use super::paths::{host_match, path_match};
use super::values::{COMPRESSED, encoding, named, networks, one_rule, status, texts, value_of};
use crate::condition::{Condition, ConditionId, Field, Operation, Test};
use crate::directive::edge::FixedAnswer;
use crate::directive::{ContentEncoding, Directives, Setter, Text, Texts};
use crate::listener::{ListenAddress, Listener};
use crate::pattern::Pattern;
use crate::program::{Assignment, CONDITIONS_MAX, Resolved};
use crate::route::{HeaderMatch, HostMatch, PathMatch, Route, Written};
use crate::value::Value;

/// Everything that answers, so that a route has one of them.
const ANSWERS: &[&str] = &[
    "files",
    "alias",
    "service",
    "workflow",
    "proxy",
    "fastcgi",
    "redirect",
    "respond",
    "metrics",
    "server_status",
];

/// Keys that say which requests a route is for.
const OF_REQUESTS: &[&str] = &["path", "path_regex", "scheme", "method", "header", "client", "not_client"];

/// What all routes of a site have.
struct SiteOf<'s> {
    node: &'s Node,
    name: &'s Text,
    hosts: &'s [HostMatch],
    /// The expression on its host, if it has one.
    group: Option<ConditionId>,
    sockets: &'s [Box<str>],
}

/// Those of `keys` that a table has, as they are written.
fn written(node: &Node, keys: &[&str]) -> impl Iterator<Item = Written> {
    let named = node.entries().iter().filter(|(key, ..)| keys.contains(&&**key));
    named.map(|(key, place, value)| Written { key: key.clone(), value: value_of(value), place: *place })
}

impl Compiler<'_> {
    pub(super) fn sites(&mut self, base: &Directives, listeners: &[Listener]) {
        for site in self.root.get("site").map(Node::items).unwrap_or_default() {
            let mut hosts = Vec::new();
            for host in site.get("host").map(Node::items).unwrap_or_default() {
                match host.text().and_then(|text| host_match(text)) {
                    Some(host) => hosts.push(host),
                    None => self.wrong(host.place, "a host is a name, or *. and a name; ports do not count"),
                }
            }
            let first = site.get("host").map(Node::items).unwrap_or_default().first();
            let name = first.or_else(|| site.get("host_regex")).and_then(Node::text);
            let name = name.map_or_else(|| Text::from("*"), |name| name.to_ascii_lowercase().into());
            let expression = site.get("host_regex").and_then(|node| self.host_regex(site, node));
            if let Some((pattern, _)) = &expression {
                hosts.push(HostMatch::Pattern(pattern.clone()));
            }
            let group = expression.map(|(_, id)| id);
            let mut sockets = Vec::new();
            for address in site.get("listen").map(Node::items).unwrap_or_default() {
                let text = address.text().cloned().unwrap_or_default();
                let listened = ListenAddress::parse(&text, 80, false).ok();
                match listeners.iter().find(|listener| Some(&listener.address) == listened.as_ref()) {
                    Some(listener) => sockets.push(Box::from(&*listener.token)),
                    None => self.wrong(address.place, format!("{text} is the address of no [[listen]]")),
                }
            }
            for route in site.get("route").map(Node::items).unwrap_or_default() {
                if self.routes.len() >= ROUTES_MAX {
                    self.wrong(route.place, format!("there are more than {ROUTES_MAX} routes"));
                    return;
                }
                let number = self.routes.len() + 1;
                let of_site = SiteOf { node: site, name: &name, hosts: &hosts, group, sockets: &sockets };
                self.route(route, base, &of_site, number);
            }
        }
    }

    /// An expression on the host, and its number, by which redirects and rewrites find its groups.
    fn host_regex(&mut self, site: &Node, node: &Node) -> Option<(Pattern, ConditionId)> {
        if site.get("host").is_some() {
            self.wrong(node.place, "a site has either host or host_regex");
        }
        let text = node.text()?;
        let pattern = match Pattern::new(text) {
            Ok(pattern) => pattern,
            Err(error) => {
                self.wrong(node.place, error.to_string());
                return None;
            }
        };
        let Some(id) =
            u16::try_from(self.conditions.len()).ok().filter(|id| usize::from(*id) < CONDITIONS_MAX)
        else {
            self.wrong(node.place, format!("there are more than {CONDITIONS_MAX} expressions on hosts"));
            return None;
        };
        self.conditions.push(Condition {
            parent: None,
            previous: None,
            test: Some(Test {
                field: Field::HostName,
                operation: Operation::Matches { pattern: pattern.clone(), not: false },
            }),
            text: format!("host_regex = \"{text}\"").into(),
            place: node.place,
        });
        Some((pattern, ConditionId(id)))
    }

    fn route(&mut self, node: &Node, base: &Directives, site: &SiteOf<'_>, number: usize) {
        let answers: Vec<&str> = ANSWERS.iter().copied().filter(|key| node.get(key).is_some()).collect();
        if answers.len() != 1 {
            let message = match answers.as_slice() {
                [] => format!("the route answers nothing: it needs one of {}", ANSWERS.join(", ")),
                several => format!("the route has more than one answer: {}", several.join(", ")),
            };
            self.wrong(node.place, message);
        }
        let (path, variables, pattern) = match node.get("path") {
            None if node.get("path_regex").is_some() => (self.path_regex(node), Vec::new(), None),
            None => (PathMatch::Any, Vec::new(), None),
            Some(path) => match path_match(path.text().map_or("", |text| text)) {
                Ok(found) => found,
                Err(message) => {
                    self.wrong(path.place, message);
                    (PathMatch::Any, Vec::new(), None)
                }
            },
        };
        let mut assignments = Vec::new();
        let name =
            node.get("name").and_then(Node::text).cloned().unwrap_or_else(|| number.to_string().into());
        let route_name = Text::clone(&name);
        let variables: Arc<[Text]> = variables.into();
        assignments.push(Assignment {
            key: "path".into(),
            value: node.get("path").map_or_else(|| "*".into(), value_of),
            place: node.get("path").map_or(node.place, |path| path.place),
            setter: Some(Box::new(move |directives| {
                directives.edge.respond = None;
                directives.edge.route = Some(name.clone());
                directives.edge.path_variables = variables.clone();
                directives.edge.path_pattern = pattern.clone();
            })),
        });
        for (key, place, value) in node.entries() {
            let setter = self.setter(node, key, value, site.group);
            if let Some(setter) = setter {
                assignments.push(Assignment {
                    key: key.clone(),
                    value: value_of(value),
                    place: *place,
                    setter: Some(setter),
                });
            }
        }
        if let (Some(_), Some(second)) = (node.get("path"), node.get("path_regex")) {
            self.wrong(second.place, "a route has either path or path_regex");
        }
        let header_matches = node.get("header").map(Node::entries).unwrap_or_default();
        let mut route = Route {
            site: site.name.clone(),
            name: route_name,
            hosts: site.hosts.to_vec(),
            path,
            scheme: node.get("scheme").and_then(Node::text).cloned(),
            methods: node
                .get("method")
                .map(|methods| texts(methods).iter().map(|method| Box::from(&**method)).collect())
                .unwrap_or_default(),
            headers: header_matches
                .iter()
                .filter_map(|(name, _, value)| {
                    Some(HeaderMatch { name: Box::from(&**name), value: Box::from(&**value.text()?) })
                })
                .collect(),
            sockets: site.sockets.to_vec(),
            clients: networks(node.get("client")),
            not_clients: networks(node.get("not_client")),
            resolved: Arc::default(),
            assignments,
            place: node.place,
            written: written(site.node, &["host", "host_regex", "listen"])
                .chain(written(node, OF_REQUESTS))
                .collect(),
        };
        self.finish(&mut route, base);
        self.routes.push(route);
    }

    fn path_regex(&mut self, route: &Node) -> PathMatch {
        let Some((place, text)) = route.get("path_regex").and_then(|node| Some((node.place, node.text()?)))
        else {
            return PathMatch::Any;
        };
        match Pattern::new(text) {
            Ok(pattern) => PathMatch::Pattern(pattern),
            Err(error) => {
                self.wrong(place, error.to_string());
                PathMatch::Any
            }
        }
    }

    pub(super) fn finish(&self, route: &mut Route, base: &Directives) {
        let mut directives = base.clone();
        for setter in route.assignments.iter().filter_map(|assignment| assignment.setter.as_ref()) {
            setter(&mut directives);
        }
        let id = u32::try_from(self.routes.len() + 1).unwrap_or(u32::MAX);
        route.resolved = Arc::new(Resolved { directives, id, route: id });
    }

    /// What a key of a route sets; `None` for those that say which requests, or go with another.
    fn setter(
        &mut self,
        route: &Node,
        key: &str,
        value: &Node,
        group: Option<ConditionId>,
    ) -> Option<Setter> {
        let text = value.text().cloned().unwrap_or_default();
        Some(match key {
            "files" => Box::new(move |directives| directives.server.document_root = Some(text.clone())),
            "index" => {
                let names = texts(value);
                Box::new(move |directives| directives.index_file.names = names.clone())
            }
            "listing" => {
                let listing = value.switch()?;
                Box::new(move |directives| directives.dir_listing.activate = listing)
            }
            "follow_symlinks" => {
                let follow = value.switch()?;
                Box::new(move |directives| directives.server.follow_symlink = follow)
            }
            "service" => Box::new(move |directives| directives.mesh.service = Some(text.clone())),
            "workflow" => {
                let workflow = self.workflow(value)?;
                Box::new(move |directives| directives.mesh.workflow = Some(workflow.clone()))
            }
            "proxy" => {
                let backend = self.backend(value)?;
                Box::new(move |directives| directives.proxy.server = backend.clone())
            }
            "websocket" => {
                let on = value.switch()?;
                if let Some(why) = websocket_needs(route).filter(|_| on) {
                    self.wrong(value.place, why);
                }
                Box::new(move |directives| directives.proxy.header.upgrade = on)
            }
            "fastcgi" => {
                let backend = self.backend(value)?;
                Box::new(move |directives| directives.fastcgi.server = backend.clone())
            }
            "alias" => {
                let prefix = route.get("path").and_then(Node::text).map_or("/", |path| path);
                let prefix = Text::from(prefix.strip_suffix('*').unwrap_or(prefix));
                Box::new(move |directives| directives.alias.url = Arc::from([(prefix.clone(), text.clone())]))
            }
            "redirect" => {
                let expression = route.get("path_regex").and_then(Node::text).map_or("^(.*)$", |text| text);
                let rules = one_rule(Pattern::new(expression).ok()?, &text, group);
                let status = status(route, 308);
                Box::new(move |directives| {
                    directives.url.redirect = rules.clone();
                    directives.url.redirect_code = status;
                })
            }
            "respond" => {
                let answer = FixedAnswer { status: status(route, 200), body: text, headers: Arc::from([]) };
                Box::new(move |directives| directives.edge.respond = Some(answer.clone()))
            }
            "metrics" => {
                if !value.switch()? {
                    self.wrong(value.place, "metrics is true, or left out");
                }
                Box::new(|directives| directives.edge.metrics = true)
            }
            "server_status" => {
                if !value.switch()? {
                    self.wrong(value.place, "server_status is true, or left out");
                }
                Box::new(|directives| directives.edge.status = true)
            }
            "rewrite" => self.rewrite(value, group)?,
            "cache" => Box::new(move |directives| directives.edge.cache_control = Some(text.clone())),
            "compress" => {
                let encodings: Arc<[ContentEncoding]> =
                    texts(value).iter().filter_map(|name| encoding(name)).collect();
                let types: Texts = match route.get("compress_types") {
                    Some(types) => texts(types),
                    None => COMPRESSED.iter().map(|kind| Text::from(*kind)).collect(),
                };
                let folder = route.get("compress_folder").and_then(Node::text).cloned();
                Box::new(move |directives| {
                    directives.deflate.allowed_encodings = encodings.clone();
                    directives.deflate.mimetypes = types.clone();
                    directives.deflate.cache_dir = folder.clone();
                })
            }
            "compress_types" | "compress_folder" => {
                if route.get("compress").is_none() {
                    self.wrong(value.place, format!("{key} is about compress: it names the encodings"));
                }
                return None;
            }
            "refuse" => {
                let ends = texts(value);
                Box::new(move |directives| directives.access.deny = ends.clone())
            }
            "unsent" => {
                let ends = texts(value);
                Box::new(move |directives| directives.static_file.exclude_extensions = ends.clone())
            }
            "listing_hides" => return self.through("dir-listing.exclude", value),
            "scripts" => self.scripts(value)?,
            "environment" => {
                let variables = named(value);
                Box::new(move |directives| directives.setenv.set_environment = variables.clone())
            }
            "not_found" => {
                if !text.starts_with('/') {
                    self.wrong(value.place, "not_found is a path: it begins with /");
                }
                Box::new(move |directives| directives.server.error_handler_404 = Some(text.clone()))
            }
            "forwarded" => {
                let entries = texts(value);
                let entries = entries.iter().map(|part| (Some(part.clone()), Value::Integer(1)));
                let list = Value::List(entries.collect());
                return self.through_value("proxy.forwarded", &list, value.place);
            }
            "bandwidth" => {
                let bandwidth = unit::bandwidth(&text)?;
                let kibibytes = u16::try_from(bandwidth.div_ceil(1024)).unwrap_or(u16::MAX);
                Box::new(move |directives| {
                    directives.edge.bandwidth = bandwidth;
                    directives.server.connection_kbytes_per_second = kibibytes;
                })
            }
            "body" => {
                let most = self.kibibytes("body", value)?;
                Box::new(move |directives| directives.server.max_request_size = most)
            }
            "request_headers" => {
                let headers = named(value);
                Box::new(move |directives| directives.setenv.set_request_header = headers.clone())
            }
            "response_headers" => {
                let headers = named(value);
                Box::new(move |directives| directives.setenv.set_response_header = headers.clone())
            }
            "precompressed" => {
                let on = value.switch()?;
                Box::new(move |directives| directives.edge.precompressed = on)
            }
            "security_headers" => {
                let on = value.switch()?;
                Box::new(move |directives| directives.edge.security_headers = on)
            }
            "allow" => {
                let networks = networks(Some(value));
                Box::new(move |directives| directives.edge.allow = networks.clone())
            }
            "deny" => {
                let networks = networks(Some(value));
                Box::new(move |directives| directives.edge.deny = networks.clone())
            }
            "per_client" => return self.through("mesh.per-client", value),
            "identity_headers" => return self.through("mesh.identity-headers", value),
            "forward_auth" => return self.through("mesh.forward-auth", value),
            "hsts" => return self.through("mesh.hsts", value),
            "early_hints" => return self.through("mesh.early-hints", value),
            "remember" => {
                let on = value.switch()?;
                Box::new(move |directives| directives.edge.cache = on)
            }
            "auth" => self.auth(value)?,
            _ => return None,
        })
    }
}

/// Why a route cannot say that WebSockets go on.
fn websocket_needs(route: &Node) -> Option<&'static str> {
    if route.get("proxy").is_some() {
        None
    } else if route.get("service").is_some() {
        Some("WebSockets reach a service of the mesh as far as the mesh lets them: leave websocket out")
    } else {
        Some("websocket goes with proxy: nothing else that answers here speaks it")
    }
}
