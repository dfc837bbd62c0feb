//! From `lighttpd.conf` to `edge.toml`. Blocks become routes, those that count over others first; what has no equal is kept
//! as a comment, so that nothing is lost from sight.

use std::fmt::Write as _;
use std::sync::Arc;

use indexmap::IndexMap;

use super::block::Document;
use super::condition::ConditionText;
use super::module;
use crate::Compat;
use crate::value::Value;

/// The configuration in our own form, with a comment for whatever has no equal.
pub fn to_edge_toml(document: &Document, compat: Compat) -> String {
    let mut out = Out {
        redirect_code: if compat == Compat::V1_4_69 { 301 } else { 308 },
        text: String::from("# Made of lighttpd.conf. Read the comments: what has no equal stands there.\n"),
    };
    let global: Values<'_> = values(document, 0).collect();
    out.edge(&global);
    out.listeners(document, &global);
    out.trust(&global);
    out.limits(&global);
    out.types(&global);
    out.rest(&global);
    let mut blocks: Vec<usize> =
        (0..document.blocks.len()).filter(|block| *block > 0 || answers(&global)).collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(precedence(document, *block)));
    // Blocks add up in lighttpd and routes do not: what leads elsewhere, and what refuses or asks who it is, stands before
    // what answers.
    let own = |block: usize| values(document, block).collect::<Values<'_>>();
    for block in blocks.iter().filter(|block| own(**block).contains_key("url.redirect")) {
        out.block(document, *block, Part::Redirects);
    }
    blocks.sort_by_key(|block| !refuses(&own(*block)) && !own(*block).contains_key("auth.require"));
    for block in blocks {
        out.block(document, block, Part::Answers);
    }
    out.text
}

type Values<'d> = IndexMap<&'d str, &'d Value>;

fn values(document: &Document, block: usize) -> impl Iterator<Item = (&str, &Value)> {
    document.blocks[block].values.iter().map(|(key, (value, _))| (&**key, value))
}

/// Whether a block makes something be answered.
fn answers(values: &Values<'_>) -> bool {
    ANSWERS.iter().any(|key| values.contains_key(key))
}

const ANSWERS: &[&str] = &[
    "auth.require",
    "server.document-root",
    "mesh.service",
    "mesh.workflow",
    "proxy.server",
    "url.redirect",
    "alias.url",
    "fastcgi.server",
];

/// The later block first, the inner one before the outer one, and of an `else` chain the earlier one.
fn precedence(document: &Document, block: usize) -> Vec<(usize, std::cmp::Reverse<usize>)> {
    let mut path = Vec::new();
    let mut at = Some(block).filter(|block| *block > 0);
    while let Some(number) = at {
        let mut head = number;
        while let Some(previous) = document.blocks[head].previous {
            head = previous;
        }
        path.push((head, std::cmp::Reverse(number)));
        at = document.blocks[number].parent.filter(|parent| *parent > 0);
    }
    path.reverse();
    path
}

struct Out {
    text: String,
    /// The status of a redirect that names none.
    redirect_code: u16,
}

/// What of a block is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Redirects,
    Answers,
}

/// What a block's conditions are in the form.
#[derive(Default)]
struct Match {
    host: Option<String>,
    lines: Vec<String>,
    comments: Vec<String>,
    has_path: Option<String>,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn edge(&mut self, global: &Values<'_>) {
        let keys = [
            ("server.name", "name"),
            ("mesh.gateway", "gateway"),
            ("mesh.keys", "keys"),
            ("server.username", "user"),
            ("server.groupname", "group"),
            ("server.pid-file", "pid_file"),
            ("server.tag", "server_header"),
        ];
        self.table("edge", global, &keys);
        self.table(
            "log",
            global,
            &[
                ("accesslog.filename", "access"),
                ("server.errorlog", "errors"),
                ("accesslog.format", "format"),
            ],
        );
    }

    /// A table of texts, if there are some.
    fn table(&mut self, name: &str, global: &Values<'_>, keys: &[(&str, &str)]) {
        let lines: Vec<String> = keys
            .iter()
            .filter_map(|(from, to)| Some(format!("{to} = {}", quoted(global.get(from)?.as_text()?))))
            .filter(|line| !line.ends_with("= \"\""))
            .collect();
        if !lines.is_empty() {
            let _ = write!(self.text, "\n[{name}]\n{}\n", lines.join("\n"));
        }
    }

    fn listeners(&mut self, document: &Document, global: &Values<'_>) {
        let mut tls = String::new();
        let mut listen = |address: &str, own: &Values<'_>| {
            let value = |key: &str| own.get(key).or_else(|| global.get(key)).copied();
            let _ = write!(self.text, "\n[[listen]]\naddress = {}\n", quoted(address));
            if value("ssl.engine").and_then(crate::directive::truth) == Some(true) {
                let name = format!("tls{}", tls.matches("[tls.").count() + 1);
                let _ = writeln!(self.text, "tls = \"{name}\"");
                let _ = writeln!(tls, "\n[tls.{name}]");
                for (from, to) in [
                    ("mesh.certificate", "arn"),
                    ("ssl.pemfile", "certificate"),
                    ("ssl.privkey", "key"),
                    ("ssl.verifyclient.ca-file", "client_ca"),
                ] {
                    // The mesh's comes before files, and there is one.
                    let is_file = matches!(from, "ssl.pemfile" | "ssl.privkey");
                    if is_file && value("mesh.certificate").is_some() {
                        continue;
                    }
                    if let Some(text) = value(from).and_then(Value::as_text) {
                        let _ = writeln!(tls, "{to} = {}", quoted(text));
                    }
                }
                if value("ssl.verifyclient.activate").and_then(crate::directive::truth) == Some(true) {
                    let must =
                        value("ssl.verifyclient.enforce").and_then(crate::directive::truth) != Some(false);
                    let _ = writeln!(tls, "client = \"{}\"", if must { "require" } else { "request" });
                }
            }
        };
        for (number, block) in document.blocks.iter().enumerate() {
            let socket = block.condition.as_ref().filter(|condition| {
                &*condition.object == "SERVER" && condition.operator == "==" && !condition.otherwise
            });
            if let Some(condition) = socket {
                listen(&condition.value, &values(document, number).collect());
            }
        }
        let port = global.get("server.port").map_or_else(|| "80".into(), |port| plain(port));
        let bind = global.get("server.bind").and_then(|bind| bind.as_text()).map_or("", |bind| &**bind);
        let address = if bind.starts_with('/') { bind.to_owned() } else { format!("{bind}:{port}") };
        listen(&address, &Values::new());
        self.text.push_str(&tls);
    }

    /// Whose forwarding headers are believed.
    fn trust(&mut self, global: &Values<'_>) {
        let Some(list) = global.get("extforward.forwarder").and_then(|value| value.as_list()) else { return };
        let trusted = list.iter().filter(|(key, value)| {
            key.is_some_and(|key| !key.starts_with("hap-"))
                && value.as_text().is_some_and(|text| **text == *"trust")
        });
        let mut from: Vec<String> = trusted.filter_map(|(key, _)| Some(quoted(key?))).collect();
        if from.iter().any(|one| one == "\"all\"") {
            from = vec!["\"0.0.0.0/0\"".into(), "\"::/0\"".into()];
        }
        let _ = write!(self.text, "\n[trust]\nforwarded_from = [{}]\n", from.join(", "));
        if let Some(headers) = global.get("extforward.headers") {
            let _ = writeln!(self.text, "headers = {}", shown_list(headers));
        }
    }

    fn limits(&mut self, global: &Values<'_>) {
        let with = |key: &str, unit: &str| {
            let value = plain(global.get(key)?);
            (value != "0").then(|| format!("\"{value}{unit}\""))
        };
        let keys = [
            ("keep_alive", with("server.max-keep-alive-idle", "s")),
            ("read_timeout", with("server.max-read-idle", "s")),
            ("write_timeout", with("server.max-write-idle", "s")),
            ("headers", with("server.max-request-field-size", "B")),
            ("body", with("server.max-request-size", "KiB")),
            (
                "connections",
                global.get("server.max-connections").map(|value| plain(value)).filter(|value| value != "0"),
            ),
        ];
        let lines: Vec<String> =
            keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?))).collect();
        if !lines.is_empty() {
            let _ = write!(self.text, "\n[limits]\n{}\n", lines.join("\n"));
        }
    }

    fn types(&mut self, global: &Values<'_>) {
        let Some(list) = global.get("mimetype.assign").and_then(|value| value.as_list()) else { return };
        self.text.push_str("\n[types]\n");
        for (suffix, kind) in list.iter() {
            if let (Some(suffix), Some(kind)) = (suffix, kind.as_text()) {
                let _ = writeln!(self.text, "{} = {}", quoted(suffix), quoted(kind));
            }
        }
    }

    /// Global directives that no table has taken.
    fn rest(&mut self, global: &Values<'_>) {
        const TAKEN: &[&str] = &[
            "server.name",
            "mesh.gateway",
            "mesh.keys",
            "server.username",
            "server.groupname",
            "server.pid-file",
            "server.tag",
            "accesslog.filename",
            "server.errorlog",
            "accesslog.format",
            "server.port",
            "server.bind",
            "ssl.engine",
            "ssl.pemfile",
            "ssl.privkey",
            "ssl.verifyclient.ca-file",
            "ssl.verifyclient.activate",
            "ssl.verifyclient.enforce",
            "server.max-keep-alive-idle",
            "server.max-read-idle",
            "server.max-write-idle",
            "server.max-request-field-size",
            "server.max-request-size",
            "server.max-connections",
            "mimetype.assign",
            "server.modules",
            "server.event-handler",
            "server.network-backend",
            "server.compat-module-load",
            "extforward.forwarder",
            "extforward.headers",
        ];
        let left: Vec<String> = global
            .iter()
            .filter(|(key, _)| !key.starts_with("var.") && !TAKEN.contains(key) && !in_route(key))
            .map(|(key, value)| format!("#   {key} = {}", shown(value)))
            .collect();
        if !left.is_empty() {
            let _ = write!(self.text, "\n# No equal here:\n{}\n", left.join("\n"));
        }
    }

    /// A block as a site with its routes.
    fn block(&mut self, document: &Document, number: usize, part: Part) {
        let own: Values<'_> = values(document, number).collect();
        if own.is_empty() {
            return;
        }
        let mut rule = Match::default();
        let mut inherited = Values::new();
        let mut at = Some(number);
        while let Some(block) = at {
            for (key, value) in values(document, block) {
                inherited.entry(key).or_insert(value);
            }
            if let Some(condition) = &document.blocks[block].condition {
                rule.add(condition);
            }
            at = document.blocks[block].parent;
        }
        let title = document.blocks[number].condition().map_or_else(
            || if number == 0 { "what holds without a condition".to_owned() } else { "else".to_owned() },
            str::to_owned,
        );
        let _ = writeln!(self.text, "\n# {}", title.replace('\n', " "));
        for comment in &rule.comments {
            self.line(&format!("# no equal here: {comment}"));
        }
        let begun = self.text.len();
        self.line("[[site]]");
        if let Some(host) = &rule.host {
            self.line(&format!("host = {}", quoted(host)));
        }
        match part {
            Part::Redirects => self.redirects(&rule, &own, &inherited),
            Part::Answers => {
                if own.contains_key("auth.require") {
                    self.signed_in(&rule, &inherited);
                }
                self.aliases(&rule, &inherited);
                self.route(&rule, &own, &inherited);
            }
        }
        if !rule.comments.is_empty() {
            // A route without one of its conditions would answer what it should not.
            let commented: String = self.text[begun..].lines().map(|line| format!("#{line}\n")).collect();
            self.text.replace_range(begun.., &commented);
        }
    }

    /// Redirects are routes of their own, before all others.
    fn redirects(&mut self, rule: &Match, own: &Values<'_>, values: &Values<'_>) {
        if let Some(list) = own.get("url.redirect").and_then(|value| value.as_list()) {
            let code = values
                .get("url.redirect-code")
                .map_or_else(|| self.redirect_code.to_string(), |code| plain(code));
            for (pattern, target) in list.iter() {
                let (Some(pattern), Some(target)) = (pattern, target.as_text()) else { continue };
                self.line("  [[site.route]]");
                self.conditions(rule, &["path", "path_regex"]);
                if let Some(path) = &rule.has_path {
                    self.line(&format!("  # the block is about {path} as well"));
                }
                let expression = if pattern.is_empty() { "^" } else { pattern };
                self.line(&format!("  path_regex = {}", quoted(expression)));
                self.line(&format!("  redirect = {}\n  status = {code}", quoted(target)));
            }
        }
    }

    /// So are aliases, before the rest of their block.
    fn aliases(&mut self, rule: &Match, values: &Values<'_>) {
        if let Some(list) = values.get("alias.url").and_then(|value| value.as_list()) {
            for (prefix, folder) in list.iter() {
                let (Some(prefix), Some(folder)) = (prefix, folder.as_text()) else { continue };
                self.line("  [[site.route]]");
                self.conditions(rule, &["path", "path_regex"]);
                self.line(&format!(
                    "  path = {}\n  alias = {}",
                    quoted(&format!("{prefix}*")),
                    quoted(folder)
                ));
            }
        }
    }

    /// Prefixes behind a sign-in: with one that the form knows as well, or else refused until somebody says who may.
    fn signed_in(&mut self, rule: &Match, values: &Values<'_>) {
        let Some(list) = values.get("auth.require").and_then(|value| value.as_list()) else { return };
        for (prefix, requirement) in list.iter() {
            let Some(prefix) = prefix else { continue };
            self.line("  [[site.route]]");
            if prefix.is_empty() {
                self.conditions(rule, &[]);
            } else {
                self.conditions(rule, &["path", "path_regex"]);
                self.line(&format!("  path = {}", quoted(&format!("{prefix}*"))));
            }
            match auth_of(values, requirement) {
                Some(auth) => {
                    let answer = answer_of(values);
                    self.line(&format!("  {answer}\n  auth = {auth}"));
                }
                None => {
                    self.line(&format!("  # no equal here: auth.require = {}", shown(requirement)));
                    self.line("  # refused until you say by auth who may\n  status = 403\n  respond = \"\"");
                }
            }
        }
    }

    fn conditions(&mut self, rule: &Match, but: &[&str]) {
        for line in &rule.lines {
            let key = line.split(' ').next().unwrap_or("");
            if !but.contains(&key) {
                self.line(&format!("  {line}"));
            }
        }
    }

    fn route(&mut self, rule: &Match, own: &Values<'_>, values: &Values<'_>) {
        self.line("  [[site.route]]");
        self.conditions(rule, &[]);
        let answer = answer_of(values);
        let is_files = answer.starts_with("files");
        self.line(&format!("  {answer}"));
        for (key, value) in values {
            let line = match *key {
                "index-file.names" | "server.indexfiles" if is_files => {
                    Some(format!("index = {}", shown_list(value)))
                }
                "dir-listing.activate" | "server.dir-listing" if is_files => {
                    crate::directive::truth(value).map(|on| format!("listing = {on}"))
                }
                "connection.kbytes-per-second" => Some(format!("bandwidth = \"{}KiB/s\"", plain(value))),
                "setenv.set-request-header" | "setenv.add-request-header" => {
                    Some(format!("request_headers = {}", shown(value)))
                }
                "setenv.set-response-header" | "setenv.add-response-header" => {
                    Some(format!("response_headers = {}", shown(value)))
                }
                "deflate.mimetypes" | "compress.filetype" => {
                    Some("compress = [\"zstd\", \"br\", \"gzip\"]".to_owned())
                }
                "expire.url" => expire_of(value),
                "url.rewrite-once" | "url.rewrite" | "url.rewrite-final" => rewrite_of(value, false),
                "url.rewrite-if-not-file" => rewrite_of(value, true),
                _ => continue,
            };
            match line {
                Some(line) => self.line(&format!("  {line}")),
                None => self.line(&format!("  # no equal here: {key} = {}", shown(value))),
            }
        }
        for (key, value) in own.iter().filter(|(key, _)| !in_route(key) && !key.starts_with("var.")) {
            if !key.starts_with("ssl.")
                && module::owner(key).is_some()
                && (key.contains('.') && !is_global(key))
            {
                self.line(&format!("  # no equal here: {key} = {}", shown(value)));
            }
        }
    }
}

/// What answers.
fn answer_of(values: &Values<'_>) -> String {
    let text = |key: &str| values.get(key).and_then(|value| value.as_text()).map(|text| &**text);
    if refuses(values) {
        "status = 403\n  respond = \"\"".to_owned()
    } else if let Some(service) = text("mesh.service") {
        format!("service = {}", quoted(service))
    } else if let Some(workflow) = values.get("mesh.workflow") {
        format!("workflow = {}", workflow_of(workflow))
    } else if let Some(servers) = values.get("proxy.server").and_then(|value| servers_of(value)) {
        format!("proxy = {servers} # bypasses the mesh: name a service, and its policies hold")
    } else if let Some(servers) = values.get("fastcgi.server").and_then(|value| servers_of(value)) {
        format!("fastcgi = {servers}")
    } else {
        format!("files = {}", quoted(text("server.document-root").unwrap_or("/var/www/html")))
    }
}

/// A sign-in that the form has as well: basic, with a file of htpasswd's, for everybody in it or for some.
fn auth_of(values: &Values<'_>, requirement: &Value) -> Option<String> {
    let text = |key: &str| values.get(key).and_then(|value| value.as_text());
    let of = |key: &str| requirement.as_list()?.get(key)?.as_text();
    if **text("auth.backend")? != *"htpasswd" || **of("method")? != *"basic" {
        return None;
    }
    let file = text("auth.backend.htpasswd.userfile")?;
    let who = of("require")?;
    let users = if **who == *"valid-user" {
        String::new()
    } else {
        let names: Option<Vec<String>> =
            who.split('|').map(|one| Some(quoted(one.strip_prefix("user=")?))).collect();
        format!(", users = [{}]", names?.join(", "))
    };
    let realm = of("realm").map_or_else(String::new, |realm| format!(", realm = {}", quoted(realm)));
    Some(format!("{{ htpasswd = {}{realm}{users} }}", quoted(file)))
}

/// Keys that a route takes.
fn in_route(key: &str) -> bool {
    matches!(
        key,
        "server.document-root"
            | "index-file.names"
            | "server.indexfiles"
            | "dir-listing.activate"
            | "server.dir-listing"
            | "connection.kbytes-per-second"
            | "setenv.set-request-header"
            | "setenv.add-request-header"
            | "setenv.set-response-header"
            | "setenv.add-response-header"
            | "deflate.mimetypes"
            | "compress.filetype"
            | "expire.url"
            | "url.rewrite-once"
            | "url.rewrite"
            | "url.rewrite-final"
            | "url.rewrite-if-not-file"
            | "url.redirect"
            | "url.redirect-code"
            | "alias.url"
            | "mesh.service"
            | "mesh.workflow"
            | "proxy.server"
            | "fastcgi.server"
            | "auth.require"
            | "auth.backend"
            | "auth.backend.htpasswd.userfile"
    )
}

/// Keys whose global value was told already.
fn is_global(key: &str) -> bool {
    matches!(
        key,
        "server.modules" | "server.port" | "server.bind" | "mimetype.assign" | "server.name" | "server.tag"
    )
}

/// Whether everything is refused.
fn refuses(values: &Values<'_>) -> bool {
    let list = values.get("url.access-deny").and_then(|value| value.as_list());
    list.is_some_and(|list| list.iter().any(|(_, value)| value.as_text().is_some_and(|text| text.is_empty())))
}

impl Match {
    fn add(&mut self, condition: &ConditionText) {
        let value = &*condition.value;
        let line = match (&*condition.object, &*condition.field, condition.operator) {
            _ if condition.otherwise => None,
            ("SERVER", "socket", "==") => Some(format!("# on the listener {value}")),
            ("HTTP", "host", "==") if self.host.is_none() => {
                self.host = Some(value.rsplit_once(':').map_or(value, |(name, _)| name).to_owned());
                return;
            }
            ("HTTP", "host", "=$") if self.host.is_none() && value.starts_with('.') => {
                self.host = Some(format!("*{value}"));
                return;
            }
            ("HTTP", "url", operator) if self.has_path.is_none() => {
                let line = match operator {
                    "==" => Some(format!("path = {}", quoted(value))),
                    "=^" => Some(format!("path = {}", quoted(&format!("{value}*")))),
                    "=~" => Some(format!("path_regex = {}", quoted(value))),
                    "=$" => Some(format!("path_regex = {}", quoted(&format!("{}$", literal(value))))),
                    _ => None,
                };
                self.has_path = line.as_ref().map(|_| condition.text.to_string());
                line
            }
            ("HTTP", "request-method", "==") => Some(format!("method = {}", quoted(value))),
            ("REQUEST_HEADER", name, "==") => {
                Some(format!("header = {{ {} = {} }}", quoted(name), quoted(value)))
            }
            ("HTTP", "remoteip" | "remote-ip", "==") => Some(format!("client = {}", quoted(value))),
            ("HTTP", "remoteip" | "remote-ip", "!=") => Some(format!("not_client = {}", quoted(value))),
            _ => None,
        };
        match line {
            Some(line) => self.lines.push(line),
            None => self.comments.push(condition.text.to_string()),
        }
    }
}

/// Text as an expression that finds it.
fn literal(text: &str) -> String {
    let special = |one: char| !one.is_alphanumeric() && !matches!(one, '/' | '-' | '_');
    text.chars().flat_map(|one| special(one).then_some('\\').into_iter().chain([one])).collect()
}

fn workflow_of(value: &Value) -> String {
    if let Some(machine) = value.as_text() {
        return format!("{{ machine = {} }}", quoted(machine));
    }
    let entries = value.as_list().map(|list| list.iter().collect::<Vec<_>>()).unwrap_or_default();
    let entries = entries.into_iter().filter_map(|(key, value)| {
        Some(match &**key? {
            "wait" => format!("wait = \"{}s\"", plain(value)),
            "resume" => format!("resume = {}", crate::directive::truth(value)?),
            "headers" => format!("headers = {}", shown_list(value)),
            "files" => format!("files = {}", quoted(&plain(value))),
            "errors" => format!("errors = {}", shown(value)),
            key => format!("{key} = {}", quoted(&plain(value))),
        })
    });
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

/// The servers of everything (`""`) or of the one prefix that there is.
fn servers_of(value: &Value) -> Option<String> {
    let list = value.as_list()?;
    let (key, hosts) = list.iter().next().filter(|_| list.len() == 1)?;
    if key.is_some_and(|key| key.starts_with('.')) {
        return None;
    }
    let servers: Option<Vec<String>> = hosts
        .as_list()?
        .iter()
        .map(|(_, host)| {
            let host = host.as_list()?;
            let address = host.get("socket").or_else(|| host.get("host")).map(plain)?;
            let port = host.get("port").map(plain);
            Some(quoted(&match port {
                Some(port) if !address.starts_with('/') => format!("{address}:{port}"),
                _ => address,
            }))
        })
        .collect();
    Some(format!("[{}]", servers?.join(", ")))
}

fn expire_of(value: &Value) -> Option<String> {
    let list = value.as_list()?;
    let (key, time) = list.iter().next().filter(|_| list.len() == 1)?;
    if key.is_some_and(|key| !key.is_empty()) {
        return None;
    }
    let expire = crate::directive::expire::parse(time.as_text()?)?;
    Some(format!("cache = \"max-age={}\"", expire.seconds))
}

fn rewrite_of(value: &Value, if_not_file: bool) -> Option<String> {
    let list = value.as_list()?;
    let (pattern, target) = list.iter().next().filter(|_| list.len() == 1)?;
    let condition = if if_not_file { ", if_not_file = true" } else { "" };
    Some(format!(
        "rewrite = {{ match = {}, to = {}{condition} }}",
        quoted(pattern?),
        quoted(target.as_text()?)
    ))
}

/// A text or a number, as it is.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::List(_) => String::new(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn shown_list(value: &Value) -> String {
    let items: Vec<String> = value
        .as_list()
        .map(|list| list.iter().map(|(_, value)| quoted(&plain(value))).collect())
        .unwrap_or_default();
    format!("[{}]", items.join(", "))
}

/// A value in TOML's words.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::List(list) if list.iter().all(|(key, _)| key.is_some()) && !list.is_empty() => {
            let entry = |(key, value): (Option<&Arc<str>>, &Value)| {
                format!("{} = {}", quoted(key.map_or("", |key| key)), shown(value))
            };
            format!("{{ {} }}", list.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::List(list) => {
            format!("[{}]", list.iter().map(|(_, value)| shown(value)).collect::<Vec<_>>().join(", "))
        }
    }
}
