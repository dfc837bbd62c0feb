//! From the form to a program: a table of routes, the first that fits decides.

mod answers;
mod listeners;
mod paths;
mod routes;
mod scripts;
mod values;

use std::sync::Arc;

use super::node::{Kind, Node};
use super::{Document, unit};
use crate::Compat;
use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, has_errors};
use crate::directive::edge::FixedAnswer;
use crate::directive::{self, Directives, Forwarder, Ids, Reading, Setter, Text, Trust, access_log};
use crate::mention::{self, Mention};
use crate::place::Place;
use crate::program::{Program, Resolved, RouteTable, RuleSet};
use crate::route::Route;
use crate::series::Series;
use crate::value::Value;
pub(super) use values::COMPRESSED;
use values::{dashed, networks, texts};

/// Compiles a file of the form.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn compile(document: &Document) -> Result<(Program, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut compiler = Compiler {
        root: &document.root,
        found: Vec::new(),
        ids: Ids::default(),
        routes: Vec::new(),
        conditions: Vec::new(),
        programs: Vec::new(),
    };
    let base = compiler.base();
    let (listeners, doors) = compiler.listeners(&base);
    compiler.sites(&base, &listeners);
    if has_errors(&compiler.found) {
        return Err(compiler.found);
    }
    let program = Program {
        listeners,
        conditions: compiler.conditions,
        rules: RuleSet::Routes(RouteTable {
            routes: compiler.routes,
            doors,
            mentions: mentions(&document.root),
        }),
        base: Arc::new(Resolved { directives: base, id: 0, route: 0 }),
        series: Series::default(),
        sources: document.sources.clone(),
        compat: Compat::default(),
    };
    Ok((program, compiler.found))
}

/// What of the machine a file names.
fn mentions(root: &Node) -> Vec<Mention> {
    let mut found = Vec::new();
    for (path, what) in mention::KEYS {
        let key = Text::from(path.trim_start_matches("site.route.").replace(".*", ""));
        let mut at: Vec<&Node> = vec![root];
        for part in path.split('.') {
            let inner = at.into_iter().flat_map(Node::items);
            at = match part {
                "*" => inner.flat_map(|node| node.entries().iter().map(|(.., value)| value)).collect(),
                part => inner.filter_map(|node| node.get(part)).collect(),
            };
        }
        for name in at.into_iter().flat_map(Node::items) {
            if let Some(text) = name.text() {
                found.push(Mention { what: *what, key: key.clone(), name: text.clone(), place: name.place });
            }
        }
    }
    found
}

struct Compiler<'d> {
    root: &'d Node,
    found: Vec<Diagnostic>,
    ids: Ids,
    routes: Vec<Route>,
    /// Expressions on hosts, whose groups redirects and rewrites name.
    conditions: Vec<Condition>,
    /// Servers of scripts as they were read, and the number before theirs: what several routes say alike is one.
    programs: Vec<(&'static str, Value, u32)>,
}

const MIB: u64 = 1024 * 1024;

/// Bytes of a request's head that a file may allow.
const HEAD_BYTES: std::ops::RangeInclusive<u64> = 1024..=64 * 1024;

/// Modules whose work the form can ask for.
const MODULES: &[&str] = &[
    "mod_access",
    "mod_accesslog",
    "mod_alias",
    "mod_auth",
    "mod_authn_file",
    "mod_cgi",
    "mod_deflate",
    "mod_dirlisting",
    "mod_extforward",
    "mod_fastcgi",
    "mod_indexfile",
    "mod_openssl",
    "mod_proxy",
    "mod_redirect",
    "mod_rewrite",
    "mod_scgi",
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
        base.static_file.disable_pathinfo = true;
        base.global.modules = MODULES.iter().map(|module| Text::from(*module)).collect();
        // Names of hosts are as lenient here as those of containers are; what is no name at all is refused all the same.
        base.global.http_parseopts.host_strict = false;
        base.global.http_parseopts.host_normalize = false;
        base.server.tag = None;
        base.server.document_root = Some("/nonexistent".into());
        // Nothing is left to guess: without a route, nothing is answered.
        base.edge.respond = Some(FixedAnswer { status: 404, body: Text::default(), headers: Arc::from([]) });
        base.deflate.mimetypes = Arc::from([]);
        base.index_file.names = Arc::from(["index.html".into()]);
        // `/a.txt/x` is another path to the routes: it must not be another name of the same file.
        base.static_file.disable_pathinfo = true;
        self.edge(&mut base);
        self.guards(&mut base);
        self.limits(&mut base);
        self.log(&mut base);
        self.traces(&mut base);
        self.trust(&mut base);
        let types = self.root.get("types").map(Node::entries).unwrap_or_default();
        let types = types.iter().filter_map(|(key, _, value)| Some((key.clone(), value.text()?.clone())));
        let types: Vec<_> = types.collect();
        let known = directive::media_types();
        let is_said = |suffix: &Text| types.iter().any(|(said, _)| said == suffix);
        let others = known.iter().filter(|(suffix, _)| !is_said(suffix)).cloned();
        base.mimetype.assign = types.iter().cloned().chain(others).collect();
        base
    }

    fn edge(&self, base: &mut Directives) {
        let Some(edge) = self.root.get("edge") else { return };
        let text = |key: &str| edge.get(key).and_then(Node::text).cloned();
        base.server.name = text("name");
        base.server.tag = text("server_header");
        base.global.mesh_gateway = text("gateway");
        base.global.mesh_keys = text("keys");
        base.global.username = text("user");
        base.global.groupname = text("group");
        base.global.pid_file = text("pid_file");
        base.global.upload_dirs = edge.get("upload_folders").map_or_else(|| Arc::from([]), texts);
        base.global.systemd_socket_activation =
            edge.get("systemd_sockets").and_then(Node::switch).unwrap_or(false);
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
        if let Some(header) = limits.get("header_timeout").and_then(Node::text) {
            base.edge.header_timeout_ms = unit::duration_ms(header).unwrap_or(base.edge.header_timeout_ms);
        }
        for (key, target) in [
            ("read_timeout", &mut base.server.max_read_idle),
            ("write_timeout", &mut base.server.max_write_idle),
            ("keep_alive", &mut base.server.max_keep_alive_idle),
            ("body_timeout", &mut base.edge.body_timeout),
        ] {
            if let Some(seconds) = limits.get(key).and_then(|node| self.seconds(key, node)) {
                *target = seconds;
            }
        }
        let connections = limits.get("connections").and_then(Node::integer);
        if let Some(connections) = connections.and_then(|number| u16::try_from(number).ok()) {
            base.global.max_connections = connections;
        }
        let files = limits.get("open_files").and_then(Node::integer);
        if let Some(files) = files.and_then(|number| u16::try_from(number).ok()) {
            base.global.max_fds = files;
        }
        let of_client = limits.get("connections_per_client").and_then(Node::integer);
        if let Some(connections) = of_client.and_then(|number| u32::try_from(number).ok()) {
            base.mesh.connections_per_client = connections;
        }
        if let Some(node) = limits.get("bandwidth_per_client") {
            let kibibytes =
                node.text().and_then(|text| unit::bandwidth(text)).map(|bytes| bytes.div_ceil(1024));
            base.edge.client_kbytes_per_second =
                kibibytes.map_or(0, |kibibytes| u32::try_from(kibibytes).unwrap_or(u32::MAX));
        }
        if let Some(node) = limits.get("headers") {
            match node.text().and_then(|text| unit::bytes(text)) {
                Some(bytes) if HEAD_BYTES.contains(&bytes) => {
                    base.global.max_request_field_size = u32::try_from(bytes).unwrap_or(u32::MAX);
                }
                _ => self.wrong(node.place, "limits.headers is from 1KiB to 64KiB"),
            }
        }
        if let Some(node) = limits.get("cache") {
            let mebibytes = node.text().and_then(|text| unit::bytes(text)).filter(|bytes| bytes % MIB == 0);
            match mebibytes.and_then(|bytes| u32::try_from(bytes / MIB).ok()) {
                Some(mebibytes) => base.mesh.cache_mbytes = mebibytes,
                None => self.wrong(node.place, "limits.cache is a whole number of MiB"),
            }
        }
        if let Some(most) = limits.get("body").and_then(|node| self.kibibytes("limits.body", node)) {
            base.server.max_request_size = most;
        }
        if let Some(setter) = limits.get("per_client").and_then(|node| self.through("mesh.per-client", node))
        {
            setter(base);
        }
    }

    /// A duration that is kept in seconds.
    fn seconds(&mut self, key: &str, node: &Node) -> Option<u16> {
        let milliseconds = node.text().and_then(|text| unit::duration_ms(text))?;
        let seconds = u16::try_from(milliseconds / 1000).ok().filter(|_| milliseconds % 1000 == 0);
        if seconds.is_none() {
            self.wrong(node.place, format!("limits.{key} is whole seconds, at most {}s", u16::MAX));
        }
        seconds
    }

    /// A size that is kept in KiB.
    fn kibibytes(&mut self, path: &str, node: &Node) -> Option<u32> {
        let bytes = node.text().and_then(|text| unit::bytes(text))?;
        let kibibytes = u32::try_from(bytes / 1024).ok().filter(|most| *most > 0 && bytes % 1024 == 0);
        if kibibytes.is_none() {
            self.wrong(node.place, format!("{path} is a whole number of KiB, from 1KiB to 4095GiB"));
        }
        kibibytes
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

    fn traces(&mut self, base: &mut Directives) {
        let Some(traces) = self.root.get("traces") else { return };
        let mut traces = traces.clone();
        let name = self.root.get("edge").and_then(|edge| edge.get("name")).cloned();
        if traces.get("name").is_none()
            && let (Some(name), Kind::Table(entries)) = (name, &mut traces.kind)
        {
            entries.push(("name".into(), traces.place, name));
        }
        if let Some(setter) = self.through("mesh.traces", &traces) {
            setter(base);
        }
    }

    fn trust(&self, base: &mut Directives) {
        // Nobody's word on who a client is counts, but for those who are named.
        base.extforward.forwarder.configured = true;
        let Some(trust) = self.root.get("trust") else { return };
        let peers: Arc<[(Trust, bool)]> = networks(trust.get("forwarded_from"))
            .iter()
            .map(|network| (Trust::Network(*network), true))
            .collect();
        base.extforward.forwarder = Forwarder { all: None, configured: true, peers };
        if let Some(headers) = trust.get("headers") {
            base.extforward.headers = texts(headers);
        }
    }
}
