//! From the form to a program: a table of routes, the first that fits decides.

use std::sync::Arc;

use super::node::{Kind, Node};
use super::{Document, ROUTES_MAX, unit};
use crate::Compat;
use crate::condition::Network;
use crate::diagnostic::{Diagnostic, did_you_mean, has_errors};
use crate::directive::edge::{FixedAnswer, WORKFLOW_WAIT_MS_MAX};
use crate::directive::rules::{Rule, Rules};
use crate::directive::{
    self, AuthMethod, AuthRequirement, Backend, BackendExtension, BackendId, ContentEncoding, Directives,
    Forwarder, Host, Ids, Reading, Require, Setter, SignIn, Text, Trust, WorkflowElse, WorkflowRoute,
    access_log,
};
use crate::listener::{ListenAddress, Listener};
use crate::pattern::Pattern;
use crate::place::Place;
use crate::program::{Assignment, Program, Resolved, RuleSet};
use crate::route::{HeaderMatch, HostMatch, PathMatch, Route};
use crate::template::Template;
use crate::value::{List, Value};

/// Compiles a file of the form.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn compile(document: &Document) -> Result<(Program, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut compiler =
        Compiler { root: &document.root, found: Vec::new(), ids: Ids::default(), routes: Vec::new() };
    let base = compiler.base();
    let listeners = compiler.listeners(&base);
    compiler.sites(&base, &listeners);
    if has_errors(&compiler.found) {
        return Err(compiler.found);
    }
    let program = Program {
        listeners,
        conditions: Vec::new(),
        rules: RuleSet::Routes(compiler.routes),
        base: Arc::new(Resolved { directives: base, id: 0 }),
        sources: document.sources.clone(),
        compat: Compat::default(),
    };
    Ok((program, compiler.found))
}

struct Compiler<'d> {
    root: &'d Node,
    found: Vec<Diagnostic>,
    ids: Ids,
    routes: Vec<Route>,
}

/// Everything that answers, so that a route has one of them.
const ANSWERS: &[&str] =
    &["files", "alias", "service", "workflow", "proxy", "fastcgi", "redirect", "respond"];

/// Modules whose work the form can ask for.
const MODULES: &[&str] = &[
    "mod_access",
    "mod_accesslog",
    "mod_alias",
    "mod_auth",
    "mod_authn_file",
    "mod_deflate",
    "mod_dirlisting",
    "mod_extforward",
    "mod_fastcgi",
    "mod_indexfile",
    "mod_openssl",
    "mod_proxy",
    "mod_redirect",
    "mod_rewrite",
    "mod_setenv",
    "mod_staticfile",
];

impl Compiler<'_> {
    fn wrong(&mut self, place: Place, message: impl Into<String>) {
        self.found.push(Diagnostic::error(place, message));
    }

    /// What holds for every route unless it says otherwise.
    fn base(&mut self) -> Directives {
        let mut base = Directives::default();
        base.global.modules = MODULES.iter().map(|module| Text::from(*module)).collect();
        base.server.tag = None;
        base.server.document_root = Some("/nonexistent".into());
        // Nothing is left to guess: without a route, nothing is answered.
        base.edge.respond = Some(FixedAnswer { status: 404, body: Text::default(), headers: Arc::from([]) });
        base.deflate.mimetypes = Arc::from([]);
        base.index_file.names = Arc::from(["index.html".into()]);
        self.edge(&mut base);
        self.guards(&mut base);
        self.limits(&mut base);
        self.log(&mut base);
        self.trust(&mut base);
        if let Some(types) = self.root.get("types") {
            base.mimetype.assign = types
                .entries()
                .iter()
                .filter_map(|(key, _, value)| Some((key.clone(), value.text()?.clone())))
                .collect();
        }
        base
    }

    fn edge(&self, base: &mut Directives) {
        let Some(edge) = self.root.get("edge") else { return };
        let text = |key: &str| edge.get(key).and_then(Node::text).cloned();
        base.server.name = text("name");
        base.server.tag = text("server_header");
        base.global.mesh_gateway = text("gateway");
        base.global.username = text("user");
        base.global.groupname = text("group");
        base.global.pid_file = text("pid_file");
    }

    /// Providers, issuers, and the authority that certificates come from.
    fn guards(&mut self, base: &mut Directives) {
        for (key, directive) in [("oidc", "mesh.oidc"), ("jwt", "mesh.jwt")] {
            let Some(node) = self.root.get(key) else { continue };
            if let Some(setter) = self.through(directive, node) {
                setter(base);
            }
        }
        let tls = self.root.get("tls").map(Node::entries).unwrap_or_default();
        let mut acmes = tls.iter().filter_map(|(.., tls)| tls.get("acme"));
        let Some(acme) = acmes.next() else { return };
        if let Some(second) = acmes.next() {
            self.wrong(second.place, "there can be one acme: name all names in it");
        }
        let mut acme = acme.clone();
        if acme.get("names").is_none()
            && let Kind::Table(entries) = &mut acme.kind
        {
            let names = Node { kind: Kind::List(self.names()), place: acme.place };
            entries.push(("names".into(), acme.place, names));
        }
        if let Some(setter) = self.through("mesh.acme", &acme) {
            setter(base);
        }
    }

    /// The names of all sites that are whole.
    fn names(&self) -> Vec<Node> {
        let sites = self.root.get("site").map(Node::items).unwrap_or_default();
        let hosts = sites.iter().flat_map(|site| site.get("host").map(Node::items).unwrap_or_default());
        hosts.filter(|host| host.text().is_some_and(|text| !text.contains('*'))).cloned().collect()
    }

    /// Reads a value as the directive that means the same.
    fn through(&mut self, directive: &str, node: &Node) -> Option<Setter> {
        self.through_value(directive, &dashed(node), node.place)
    }

    fn through_value(&mut self, directive: &str, value: &Value, place: Place) -> Option<Setter> {
        let entry = directive::entry(directive)?;
        let mut warnings = Vec::new();
        let mut reading = Reading {
            key: directive,
            condition: None,
            compat: Compat::default(),
            ids: &mut self.ids,
            warnings: &mut warnings,
        };
        let setter = (entry.read)(value, &mut reading);
        self.found.extend(warnings.into_iter().map(|message| Diagnostic::warning(place, message)));
        match setter {
            Ok(setter) => Some(setter),
            Err(message) => {
                self.wrong(place, message);
                None
            }
        }
    }

    fn limits(&mut self, base: &mut Directives) {
        let Some(limits) = self.root.get("limits") else { return };
        let milliseconds =
            |key: &str| limits.get(key).and_then(Node::text).and_then(|text| unit::duration_ms(text));
        let seconds = |key: &str| {
            milliseconds(key)
                .map(|milliseconds| u16::try_from(milliseconds.div_ceil(1000)).unwrap_or(u16::MAX))
        };
        let bytes = |key: &str| limits.get(key).and_then(Node::text).and_then(|text| unit::bytes(text));
        let set = |target: &mut u16, value: Option<u16>| *target = value.unwrap_or(*target);
        base.edge.header_timeout_ms = milliseconds("header_timeout").unwrap_or(base.edge.header_timeout_ms);
        set(&mut base.server.max_read_idle, seconds("read_timeout"));
        set(&mut base.server.max_write_idle, seconds("write_timeout"));
        set(&mut base.server.max_keep_alive_idle, seconds("keep_alive"));
        let connections = limits.get("connections").and_then(Node::integer);
        set(&mut base.global.max_connections, connections.and_then(|number| u16::try_from(number).ok()));
        if let Some(headers) = bytes("headers") {
            base.global.max_request_field_size = u32::try_from(headers).unwrap_or(u32::MAX);
        }
        if let Some(body) = bytes("body") {
            base.server.max_request_size = kibibytes(body);
        }
        if let Some(setter) = limits.get("per_client").and_then(|node| self.through("mesh.per-client", node))
        {
            setter(base);
        }
    }

    fn log(&mut self, base: &mut Directives) {
        let Some(log) = self.root.get("log") else { return };
        base.accesslog.filename = log.get("access").and_then(Node::text).cloned();
        base.server.errorlog = log.get("errors").and_then(Node::text).cloned();
        let Some(format) = log.get("format") else { return };
        let Some(text) = format.text() else { return };
        if **text == *"json" {
            base.accesslog.format = access_log::Format::json();
            base.accesslog.escaping = access_log::Escaping::Json;
            return;
        }
        match access_log::Format::parse(text) {
            Ok(format) => base.accesslog.format = format,
            Err(message) => self.wrong(format.place, message),
        }
    }

    fn trust(&self, base: &mut Directives) {
        let Some(trust) = self.root.get("trust") else { return };
        let peers: Arc<[(Trust, bool)]> = networks(trust.get("forwarded_from"))
            .iter()
            .map(|network| (Trust::Network(*network), true))
            .collect();
        base.extforward.forwarder = Forwarder { all: None, configured: !peers.is_empty(), peers };
        if let Some(headers) = trust.get("headers") {
            base.extforward.headers = texts(headers);
        }
    }

    fn listeners(&mut self, base: &Directives) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for node in self.root.get("listen").map(Node::items).unwrap_or_default() {
            let Some(address) = node.get("address") else { continue };
            let text = address.text().cloned().unwrap_or_default();
            let tls = node.get("tls");
            let parsed = ListenAddress::parse(&text, if tls.is_some() { 443 } else { 80 }, false);
            let listened = match parsed {
                Ok(listened) => listened,
                Err(message) => {
                    self.wrong(address.place, message);
                    continue;
                }
            };
            if listeners.iter().any(|listener| listener.address == listened) {
                self.wrong(address.place, format!("{text} is listened on twice"));
                continue;
            }
            let mut directives = base.clone();
            if let Some(name) = tls {
                self.tls(name, &mut directives);
            }
            if let Some(backlog) = node.get("backlog").and_then(Node::integer) {
                directives.socket.listen_backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
            }
            listeners.push(Listener {
                token: listened.to_string().into(),
                address: listened,
                socket: directives.socket,
                ssl: directives.ssl,
                condition: None,
            });
            let all = node.get("redirect").map(|node| (node.place, node));
            if let (Some((place, _)), Some(listener)) = (all, listeners.last()) {
                let token = Box::from(&*listener.token);
                self.redirect_to_https(base, token, place);
            }
        }
        listeners
    }

    /// A route before all others, for one listener.
    fn redirect_to_https(&mut self, base: &Directives, token: Box<str>, place: Place) {
        let setter: Setter = Box::new(|directives| {
            directives.edge.respond = None;
            directives.edge.redirect_https = true;
        });
        let assignment =
            Assignment { key: "redirect".into(), value: "https".into(), place, setter: Some(setter) };
        let mut route = Route {
            hosts: Vec::new(),
            path: PathMatch::Any,
            methods: Vec::new(),
            headers: Vec::new(),
            sockets: vec![token],
            resolved: Arc::default(),
            assignments: vec![assignment],
        };
        self.finish(&mut route, base);
        self.routes.push(route);
    }

    fn tls(&mut self, name: &Node, directives: &mut Directives) {
        let wanted = name.text().cloned().unwrap_or_default();
        let Some(tls) = self.root.get("tls").and_then(|tls| tls.get(&wanted)) else {
            let known = self.root.get("tls").map(Node::entries).unwrap_or_default();
            self.found.push(unknown_name(name.place, "[tls.", &wanted, known));
            return;
        };
        let text = |key: &str| tls.get(key).and_then(Node::text).cloned();
        directives.ssl.engine = true;
        directives.ssl.pemfile = text("certificate");
        directives.ssl.privkey = text("key");
        directives.ssl.verifyclient_ca_file = text("client_ca");
        if let Some(client) = text("client") {
            directives.ssl.verifyclient_activate = true;
            directives.ssl.verifyclient_enforce = *client == *"require";
            if directives.ssl.verifyclient_ca_file.is_none() {
                self.wrong(
                    tls.place,
                    format!("tls.{wanted}.client needs client_ca: whose certificates to believe"),
                );
            }
        }
        let oldest = text("min_version").unwrap_or_else(|| "1.2".into());
        directives.ssl.openssl_ssl_conf_cmd =
            Arc::from([("MinProtocol".into(), format!("TLSv{oldest}").into())]);
        directives.ssl.authority = text("arn");
        let sources = ["certificate", "acme", "arn"].map(|source| tls.get(source).is_some());
        if sources.into_iter().filter(|source| *source).count() != 1 {
            self.wrong(tls.place, format!("tls.{wanted} needs one of certificate, acme, arn"));
        }
    }

    fn sites(&mut self, base: &Directives, listeners: &[Listener]) {
        for site in self.root.get("site").map(Node::items).unwrap_or_default() {
            let mut hosts = Vec::new();
            for host in site.get("host").map(Node::items).unwrap_or_default() {
                match host.text().and_then(|text| host_match(text)) {
                    Some(host) => hosts.push(host),
                    None => self.wrong(host.place, "a host is a name, or *. and a name; ports do not count"),
                }
            }
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
                self.route(route, base, &hosts, &sockets, number);
            }
        }
    }

    fn route(
        &mut self,
        node: &Node,
        base: &Directives,
        hosts: &[HostMatch],
        sockets: &[Box<str>],
        number: usize,
    ) {
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
            let setter = self.setter(node, key, value);
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
            hosts: hosts.to_vec(),
            path,
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
            sockets: sockets.to_vec(),
            resolved: Arc::default(),
            assignments,
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

    fn finish(&self, route: &mut Route, base: &Directives) {
        let mut directives = base.clone();
        for setter in route.assignments.iter().filter_map(|assignment| assignment.setter.as_ref()) {
            setter(&mut directives);
        }
        let id = u32::try_from(self.routes.len() + 1).unwrap_or(u32::MAX);
        route.resolved = Arc::new(Resolved { directives, id });
    }

    /// What a key of a route sets; `None` for those that say which requests, or go with another.
    fn setter(&mut self, route: &Node, key: &str, value: &Node) -> Option<Setter> {
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
            "service" => Box::new(move |directives| directives.mesh.service = Some(text.clone())),
            "workflow" => {
                let workflow = self.workflow(value)?;
                Box::new(move |directives| directives.mesh.workflow = Some(workflow.clone()))
            }
            "proxy" => {
                let backend = self.backend(value)?;
                Box::new(move |directives| directives.proxy.server = backend.clone())
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
                let rules = one_rule(Pattern::new(expression).ok()?, &text);
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
            "rewrite" => self.rewrite(value)?,
            "cache" => Box::new(move |directives| directives.edge.cache_control = Some(text.clone())),
            "compress" => {
                let encodings: Arc<[ContentEncoding]> =
                    texts(value).iter().filter_map(|name| encoding(name)).collect();
                Box::new(move |directives| {
                    directives.deflate.allowed_encodings = encodings.clone();
                    directives.deflate.mimetypes = COMPRESSED.iter().map(|kind| Text::from(*kind)).collect();
                })
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
                let most = kibibytes(unit::bytes(&text)?);
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
            "early_hints" => return self.through("mesh.early-hints", value),
            "remember" => {
                let on = value.switch()?;
                Box::new(move |directives| directives.edge.cache = on)
            }
            "auth" => self.auth(value)?,
            _ => return None,
        })
    }

    fn workflow(&mut self, node: &Node) -> Option<WorkflowRoute> {
        let wait = node.get("wait");
        let wait_ms = wait.and_then(Node::text).and_then(|text| unit::duration_ms(text)).unwrap_or(0);
        if let Some(wait) = wait.filter(|_| wait_ms > WORKFLOW_WAIT_MS_MAX) {
            self.wrong(wait.place, format!("workflow.wait is at most {}s", WORKFLOW_WAIT_MS_MAX / 1000));
        }
        let resume = node.get("resume").and_then(Node::switch).unwrap_or(false);
        let machine = node.get("machine").and_then(Node::text).cloned();
        if machine.is_none() && !resume {
            self.wrong(node.place, "workflow needs a machine, or resume = true");
        }
        let otherwise = match node.get("else").and_then(Node::text).map(|text| &**text) {
            Some("504") => WorkflowElse::Timeout,
            _ => WorkflowElse::Accepted,
        };
        let headers = node.get("headers").map(texts).unwrap_or_else(|| Arc::from([]));
        Some(WorkflowRoute {
            machine: machine.unwrap_or_default(),
            wait_ms,
            otherwise,
            resume,
            headers: headers.iter().map(|name| Text::from(name.to_ascii_lowercase())).collect(),
        })
    }

    fn backend(&mut self, node: &Node) -> Option<Backend> {
        let mut hosts = Vec::new();
        for item in node.items() {
            let text = item.text()?;
            self.ids.backends += 1;
            let mut host = Host::new(BackendId(self.ids.backends), Text::default());
            (host.check_local, host.min_procs, host.max_procs) = (false, 1, 1);
            match ListenAddress::parse(text, 80, false) {
                Ok(ListenAddress::Unix(path)) => host.socket = Some(path),
                Ok(ListenAddress::Inet(address)) => {
                    host.host = Some(address.ip().to_string().into());
                    host.port = address.port();
                }
                Ok(ListenAddress::Name { host: name, port, .. }) => {
                    host.host = Some(name);
                    host.port = port;
                }
                Err(message) => {
                    self.wrong(item.place, message);
                    return None;
                }
            }
            hosts.push(host);
        }
        let extension = BackendExtension { key: Text::default(), hosts: hosts.into() };
        Some(Backend { extensions: Arc::from([extension]) })
    }

    fn rewrite(&mut self, node: &Node) -> Option<Setter> {
        let expression = node.get("match")?;
        let to = node.get("to").and_then(Node::text)?;
        let pattern = match Pattern::new(expression.text()?) {
            Ok(pattern) => pattern,
            Err(error) => {
                self.wrong(expression.place, error.to_string());
                return None;
            }
        };
        let rules = one_rule(pattern, to);
        let if_not_file = node.get("if_not_file").and_then(Node::switch).unwrap_or(false);
        Some(Box::new(move |directives| {
            let url = &mut directives.url;
            let target = if if_not_file { &mut url.rewrite_if_not_file } else { &mut url.rewrite };
            *target = rules.clone();
        }))
    }

    fn auth(&mut self, node: &Node) -> Option<Setter> {
        let ways: Vec<&str> = ["oidc", "jwt", "certificate", "htpasswd"]
            .into_iter()
            .filter(|way| node.get(way).is_some())
            .collect();
        let [way] = ways.as_slice() else {
            self.wrong(node.place, "auth needs one of oidc, jwt, certificate, htpasswd");
            return None;
        };
        let value = node.get(way)?;
        let name = value.text().cloned().unwrap_or_default();
        let claims = node.get("claims").map(|claims| (claims, value_of(claims)));
        let claims = claims.and_then(|(node, value)| self.through_value("mesh.claims", &value, node.place));
        let setter = self.signed_in(way, node, value, name)?;
        Some(Box::new(move |directives| {
            setter(directives);
            if let Some(claims) = &claims {
                claims(directives);
            }
        }))
    }

    fn signed_in(&mut self, way: &str, node: &Node, value: &Node, name: Text) -> Option<Setter> {
        match way {
            "oidc" | "jwt" => {
                let known = self.root.get(way).map(Node::entries).unwrap_or_default();
                if !known.iter().any(|(found, ..)| *found == name) {
                    self.found.push(unknown_name(value.place, &format!("[{way}."), &name, known));
                    return None;
                }
                let sign_in = if way == "oidc" { SignIn::Oidc(name) } else { SignIn::Jwt(name) };
                Some(Box::new(move |directives| directives.edge.sign_in = Some(sign_in.clone())))
            }
            "certificate" => Some(Box::new(|directives| directives.edge.sign_in = Some(SignIn::Certificate))),
            _ => {
                let realm =
                    node.get("realm").and_then(Node::text).cloned().unwrap_or_else(|| "private".into());
                let require = match node.get("users") {
                    None => Require::ValidUser,
                    Some(users) => Require::AnyOf { users: texts(users), groups: Arc::from([]) },
                };
                let requirement = AuthRequirement {
                    method: AuthMethod::Basic,
                    realm,
                    require,
                    algorithms: Vec::new(),
                    nonce_secret: None,
                    userhash: false,
                };
                Some(Box::new(move |directives| {
                    directives.auth.backend = Some("htpasswd".into());
                    directives.auth.backend_htpasswd_userfile = Some(name.clone());
                    directives.auth.require = Arc::from([(Text::default(), requirement.clone())]);
                }))
            }
        }
    }
}

/// Types of text, which are worth compressing.
const COMPRESSED: &[&str] = &[
    "text/",
    "application/javascript",
    "application/json",
    "application/xml",
    "image/svg+xml",
    "application/wasm",
];

fn encoding(name: &str) -> Option<ContentEncoding> {
    Some(match name {
        "zstd" => ContentEncoding::Zstd,
        "br" => ContentEncoding::Brotli,
        "gzip" => ContentEncoding::Gzip,
        "deflate" => ContentEncoding::Deflate,
        _ => return None,
    })
}

fn one_rule(pattern: Pattern, to: &str) -> Rules {
    Rules {
        rules: Arc::from([Rule { pattern, template: Template::parse(to) }]),
        condition: None,
        repeat_from: 1,
    }
}

fn status(route: &Node, default: u16) -> u16 {
    let status = route.get("status").and_then(Node::integer);
    status.and_then(|status| u16::try_from(status).ok()).unwrap_or(default)
}

fn kibibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

fn texts(node: &Node) -> Arc<[Text]> {
    node.items().iter().filter_map(Node::text).cloned().collect()
}

fn named(node: &Node) -> Arc<[(Text, Text)]> {
    node.entries().iter().filter_map(|(key, _, value)| Some((key.clone(), value.text()?.clone()))).collect()
}

fn networks(node: Option<&Node>) -> Arc<[Network]> {
    let items = node.map(Node::items).unwrap_or_default();
    items.iter().filter_map(Node::text).filter_map(|text| Network::parse(text)).collect()
}

fn unknown_name(place: Place, table: &str, name: &str, known: &[(Arc<str>, Place, Node)]) -> Diagnostic {
    let found = Diagnostic::error(place, format!("there is no {table}{name}]"));
    match did_you_mean(name, known.iter().map(|(key, ..)| &**key)) {
        Some(guess) => found.with_hint(format!("did you mean \"{guess}\"?")),
        None => found,
    }
}

fn host_match(text: &str) -> Option<HostMatch> {
    let lower = text.to_ascii_lowercase();
    let plain = |name: &str| !name.is_empty() && !name.contains(['*', '/', ' ', '@']) && !name.contains("..");
    match lower.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') && plain(suffix) => Some(HostMatch::Suffix(suffix.into())),
        Some(_) => None,
        None if lower.starts_with('[') => Some(HostMatch::Exact(lower.into())),
        None => (plain(&lower) && !lower.contains(':')).then(|| HostMatch::Exact(lower.into())),
    }
}

/// What a path is held to, the names of its variables, and the expression that finds them.
type PathRule = (PathMatch, Vec<Text>, Option<Pattern>);

/// `/a`, `/a/*`, `/a/{id}/b`, `/a/{rest*}`.
fn path_match(text: &str) -> Result<PathRule, String> {
    if !text.starts_with('/') {
        return Err("a path begins with /".into());
    }
    if !text.contains('{') {
        return match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => Ok((PathMatch::Prefix(prefix.into()), Vec::new(), None)),
            None if !text.contains('*') => Ok((PathMatch::Exact(text.into()), Vec::new(), None)),
            _ => Err("a * stands at the end of a path; {name} stands for a part of it".into()),
        };
    }
    let mut expression = String::from("^");
    let mut variables: Vec<Text> = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err("a { of a path is not closed".into());
        };
        let (name, all) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
        let word = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_');
        if name.is_empty() || !word(name) {
            return Err(format!("{{{name}}}: a variable's name has letters, digits and _"));
        }
        if variables.iter().any(|variable| **variable == *name) {
            return Err(format!("{{{name}}} stands twice in the path"));
        }
        if before.contains('*') {
            return Err("a * stands at the end of a path".into());
        }
        expression.push_str(&escaped(before));
        expression.push_str(if all { "(.*)" } else { "([^/]+)" });
        variables.push(name.into());
        rest = after;
    }
    match rest.strip_suffix('*') {
        Some(prefix) => expression.push_str(&escaped(prefix)),
        None => {
            expression.push_str(&escaped(rest));
            expression.push('$');
        }
    }
    let pattern = Pattern::new(&expression).map_err(|error| error.to_string())?;
    Ok((PathMatch::Pattern(pattern.clone()), variables, Some(pattern)))
}

/// Text as an expression that matches it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_alphanumeric() && !matches!(character, '/' | '-' | '_') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// A value as directives have them: `client_id` is `client-id`.
fn dashed(node: &Node) -> Value {
    match &node.kind {
        Kind::Table(entries) => {
            let entries = entries
                .iter()
                .map(|(key, _, value)| (Some(Text::from(key.replace('_', "-"))), dashed(value)));
            Value::List(entries.collect::<List>())
        }
        _ => value_of(node),
    }
}

/// For `explain`.
fn value_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Integer(number) => Value::Integer(*number),
        Kind::Switch(switch) => Value::Text(switch.to_string().into()),
        Kind::List(items) => Value::List(items.iter().map(|item| (None, value_of(item))).collect::<List>()),
        Kind::Table(entries) => Value::List(
            entries.iter().map(|(key, _, value)| (Some(key.clone()), value_of(value))).collect::<List>(),
        ),
        Kind::Other(what) => Value::Text((*what).into()),
    }
}
