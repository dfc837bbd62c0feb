//! From `lighttpd.conf` to `edge.toml`. Blocks become routes, those that count over others first; what has no equal is kept
//! as a comment, so that nothing is lost from sight.

mod answer;
mod before;
mod global;
mod matched;
mod mesh;
mod text;

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::block::Document;
use super::module;
use crate::Compat;
use crate::value::Value;
use answer::{answer_of, auth_of, expire_of, rewrite_of};
use matched::Match;
use text::{plain, quoted, shown, shown_list};

/// The configuration in our own form, with a comment for whatever has no equal.
pub fn to_edge_toml(document: &Document, compat: Compat) -> String {
    let mut out = Out {
        redirect_code: if compat == Compat::V1_4_69 { 301 } else { 308 },
        lines: lines(document, 0),
        dress: Vec::new(),
        text: String::from("# Made of lighttpd.conf. Read the comments: what has no equal stands there.\n"),
    };
    let global: Values<'_> = values(document, 0).collect();
    out.edge(&global);
    out.listeners(document, &global);
    out.trust(&global);
    out.limits(&global);
    out.types(&global);
    out.mesh(&global);
    out.rest(&global);
    let mut blocks: Vec<usize> =
        (0..document.blocks.len()).filter(|block| *block > 0 || answers(&global)).collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(precedence(document, *block)));
    // Blocks add up in lighttpd and routes do not: what leads elsewhere, and what refuses or asks who it is, stands before
    // what answers; in which order is for that of the modules to say.
    let own = |block: usize| values(document, block).collect::<Values<'_>>();
    let guards = |block: &usize| {
        refuses(&own(*block)) || own(*block).contains_key("auth.require") || is_guarded(document, *block)
    };
    let (guarding, redirecting): (Vec<usize>, Vec<usize>) = (
        blocks.iter().copied().filter(guards).collect(),
        blocks.iter().copied().filter(|block| own(*block).contains_key("url.redirect")).collect(),
    );
    let mut parts = [(Part::Redirects, redirecting), (Part::Guards, guarding)];
    if redirects_late(&global) {
        parts.reverse();
    }
    for (part, blocks) in parts {
        blocks.into_iter().for_each(|block| out.block(document, block, part));
    }
    blocks.retain(|block| !refuses(&own(*block)) && !is_guarded(document, *block));
    blocks.into_iter().for_each(|block| out.block(document, block, Part::Answers));
    out.text
}

fn lines(document: &Document, block: usize) -> IndexMap<String, String> {
    let values = document.blocks[block].values.iter();
    values.map(|(key, (_, place))| (key.to_string(), document.sources.shown_line(*place))).collect()
}

type Values<'d> = IndexMap<&'d str, &'d Value>;

fn values(document: &Document, block: usize) -> impl Iterator<Item = (&str, &Value)> {
    document.blocks[block].values.iter().map(|(key, (value, _))| (&**key, value))
}

/// Whether a block, or one that it stands in, says who passes. What holds everywhere is with every route already.
fn is_guarded(document: &Document, block: usize) -> bool {
    let mut at = Some(block).filter(|block| *block > 0);
    while let Some(number) = at {
        if values(document, number).any(|(key, _)| mesh::GUARDS.contains(&key)) {
            return true;
        }
        at = document.blocks[number].parent.filter(|parent| *parent > 0);
    }
    false
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

/// Whether redirects come after what refuses, as the modules are listed.
fn redirects_late(global: &Values<'_>) -> bool {
    let Some(list) = global.get("server.modules").and_then(|value| value.as_list()) else { return false };
    let place =
        |name: &str| list.iter().position(|(_, value)| value.as_text().is_some_and(|it| **it == *name));
    let redirect = place("mod_redirect");
    ["mod_access", "mod_auth"].iter().any(|name| place(name).is_some_and(|other| redirect > Some(other)))
}

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
    /// Where the directives of the block that is written stand.
    lines: IndexMap<String, String>,
    /// What every route of the block that is written is given.
    dress: Vec<String>,
    /// The status of a redirect that names none.
    redirect_code: u16,
}

/// What of a block is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Who may not ask, or has to sign in.
    Guards,
    Redirects,
    Answers,
}

impl Out {
    /// A comment for what the form does not have: where it stood, and why.
    fn no_equal(&mut self, indent: &str, key: &str, value: Option<&Value>, why: &str) {
        let place = self.lines.get(key).map_or("?", String::as_str);
        let value = value.map(shown).unwrap_or_default();
        let line = format!("{indent}# no equal here: {key} = {value}  ({place}; {why})").replace('\n', " ");
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A block as a site with its routes.
    fn block(&mut self, document: &Document, number: usize, part: Part) {
        let of_listener =
            document.blocks[number].condition.as_ref().is_some_and(|it| &*it.object == "SERVER");
        let own: Values<'_> = values(document, number)
            .filter(|(key, _)| !(of_listener && (key.starts_with("ssl.") || mesh::in_tables(key))))
            .collect();
        if own.is_empty() {
            return;
        }
        let mut rule = Match::default();
        let mut inherited = Values::new();
        let mut places = IndexMap::new();
        let mut redirects_some = false;
        let mut at = Some(number);
        while let Some(block) = at {
            for (key, value) in values(document, block) {
                inherited.entry(key).or_insert(value);
            }
            for (key, line) in lines(document, block) {
                places.entry(key).or_insert(line);
            }
            if let Some(condition) = &document.blocks[block].condition {
                rule.add(condition);
                let here: Values<'_> = values(document, block).collect();
                redirects_some |= &*condition.object != "SERVER" && mesh::redirects_some(&here);
            }
            at = document.blocks[block].parent;
        }
        self.lines = places;
        let title = document.blocks[number].condition().map_or_else(
            || if number == 0 { "what holds without a condition".to_owned() } else { "else".to_owned() },
            str::to_owned,
        );
        let _ = writeln!(self.text, "\n# {}", title.replace('\n', " "));
        for comment in &rule.comments {
            let place = document.sources.shown_line(document.blocks[number].place);
            self.line(&format!("# no equal here: {comment}  ({place}; {})", reason("$")));
        }
        let mut dress = mesh::dress_of(&inherited);
        if redirects_some {
            dress.missing.push(("mesh.redirect-https", "a listener is sent to HTTPS as a whole: redirect"));
        }
        for (key, why) in &dress.missing {
            self.no_equal("", key, inherited.get(key).copied(), why);
        }
        self.dress = dress.lines;
        let begun = self.text.len();
        self.line("[[site]]");
        if let Some(host) = &rule.host {
            self.line(&format!("host = {}", quoted(host)));
        }
        if let Some(address) = &rule.listen {
            self.line(&format!("listen = {}", quoted(address)));
        }
        match part {
            Part::Redirects => self.redirects(&rule, &own, &inherited),
            Part::Guards => {
                if own.contains_key("auth.require") {
                    self.unread(&rule, &inherited);
                    self.signed_in(&rule, &inherited);
                }
                if refuses(&own) {
                    self.route(&rule, &own, &inherited);
                } else if is_guarded(document, number) {
                    self.answers(&rule, &own, &inherited);
                }
            }
            Part::Answers => {
                // What is left of the global ones has been told.
                let left = if number == 0 { Values::new() } else { own };
                self.answers(&rule, &left, &inherited);
            }
        }
        if !rule.comments.is_empty() || !dress.missing.is_empty() {
            // A route without one of its conditions or guards would answer what it should not.
            let commented: String = self.text[begun..].lines().map(|line| format!("#{line}\n")).collect();
            self.text.replace_range(begun.., &commented);
        }
    }

    /// Everything that a block answers.
    fn answers(&mut self, rule: &Match, own: &Values<'_>, values: &Values<'_>) {
        self.unread(rule, values);
        self.aliases(rule, values);
        self.prefixes(rule, values);
        self.route(rule, own, values);
    }

    /// What every route of the block has: who passes, and how it is dressed.
    fn dress(&mut self) {
        for line in std::mem::take(&mut self.dress) {
            self.line(&format!("  {line}"));
            self.dress.push(line);
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
        if let Some(value) = values.get("alias.url")
            && let Some(list) = value.as_list()
        {
            for (prefix, folder) in list.iter() {
                let (Some(prefix), Some(folder)) = (prefix, folder.as_text()) else { continue };
                match rule.has_below(prefix) {
                    Some(true) => {}
                    Some(false) => continue,
                    // The folder stands for a prefix, and the block has a part of what is below it.
                    None => {
                        self.no_equal(
                            "  ",
                            "alias.url",
                            Some(value),
                            "an alias has all that is below its prefix",
                        );
                        continue;
                    }
                }
                self.unread_below(prefix, rule, values);
                self.line("  [[site.route]]");
                self.conditions(rule, &["path", "path_regex"]);
                self.line(&format!(
                    "  path = {}\n  alias = {}",
                    quoted(&format!("{prefix}*")),
                    quoted(folder)
                ));
                self.dress();
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
            } else if rule.has_path.is_some() {
                self.conditions(rule, &["path", "path_regex"]);
                let expression = rule.and_found(&format!("^{}", matched::literal(prefix)));
                self.line(&format!("  path_regex = {}", quoted(&expression)));
            } else {
                self.conditions(rule, &["path", "path_regex"]);
                self.line(&format!("  path = {}", quoted(&format!("{prefix}*"))));
            }
            match auth_of(values, requirement) {
                Some(auth) => {
                    let answer = answer_of(values);
                    self.line(&format!("  {answer}\n  auth = {auth}"));
                    self.dress();
                }
                None => {
                    self.no_equal("  ", "auth.require", Some(requirement), reason("auth.require"));
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
        let hidden = before::hidden(values);
        self.line(&format!("  {answer}"));
        if !refuses(values) {
            self.dress();
        }
        // The form has an index of its own where none is named.
        if is_files && !["index-file.names", "server.indexfiles"].iter().any(|key| values.contains_key(key)) {
            self.line("  index = []");
        }
        for (key, value) in values {
            let line = match *key {
                "index-file.names" | "server.indexfiles" if is_files => {
                    Some(format!("index = {}", shown_list(&readable(value, &hidden))))
                }
                // What a rewrite makes of a path, the route for files would send, were it a program or not.
                "url.rewrite-once" | "url.rewrite" | "url.rewrite-final" | "url.rewrite-if-not-file"
                    if is_files && !hidden.is_empty() =>
                {
                    None
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
                None => self.no_equal("  ", key, Some(value), reason(key)),
            }
        }
        for (key, value) in
            own.iter().filter(|(key, _)| !in_route(key) && !before::is_told(key) && !key.starts_with("var."))
        {
            if !key.starts_with("ssl.")
                && module::owner(key).is_some()
                && (key.contains('.') && !is_global(key))
            {
                self.no_equal("  ", key, Some(value), reason(key));
            }
        }
    }
}

/// Names of files that may be read.
fn readable(names: &Value, hidden: &[String]) -> Value {
    let names = names.as_list().into_iter().flat_map(|list| list.iter());
    let is_hidden = |name: &Value| {
        name.as_text().is_some_and(|name| hidden.iter().any(|end| name.ends_with(end.as_str())))
    };
    Value::List(names.filter(|(_, name)| !is_hidden(name)).map(|(_, name)| (None, name.clone())).collect())
}

/// Why a directive has no equal, and what there is in its place.
fn reason(key: &str) -> &'static str {
    const REASONS: &[(&str, &str)] = &[
        ("$", "a route knows hosts and their parents, paths, methods, headers, networks of clients"),
        ("accesslog.", "one log is for the whole edge: [log]"),
        ("auth.", "auth takes htpasswd by basic and htdigest by digest; better, a sign-in by OpenID Connect"),
        ("cgi.", "there are no scripts: serve them by FastCGI and name the server"),
        ("deflate.", "what can be compressed is, by compress"),
        ("dir-listing.", "a list of files has one form"),
        ("evhost.", "a site names its host, and a route its files"),
        ("expire.", "a route has one time: cache"),
        ("fastcgi.", "a route's fastcgi names servers that run already"),
        ("mesh.redirect-https", "a listener is sent to HTTPS as a whole: redirect"),
        ("mesh.http3", "a listener says what it speaks: protocols"),
        ("mesh.certificate", "[tls.NAME] has one of arn, acme and certificate"),
        ("mesh.acme", "[tls.NAME] has one of arn, acme and certificate"),
        ("mesh.", "[limits] holds for the whole edge"),
        ("mimetype.", "[types] holds for the whole edge"),
        ("proxy.", "a service of the mesh decides how it is called"),
        ("scgi.", "serve it by FastCGI or HTTP"),
        ("setenv.add-environment", "programs get what the request says"),
        ("setenv.", "request_headers and response_headers are set and not added"),
        ("simple-vhost.", "a site names its host, and a route its files"),
        ("ssi.", "pages with includes are not worked out"),
        ("ssl.", "[tls.NAME] has certificate, key, client_ca, client"),
        ("status.", "metrics = true answers with the counters"),
        ("url.", "a route has one rewrite, of files that may all be read, or one redirect"),
        ("userdir.", "a site names its host, and a route its files"),
        ("wstunnel.", "a WebSocket goes to a service or a server that speaks it"),
    ];
    let found = REASONS.iter().find(|(family, _)| key.starts_with(family));
    found.map_or("the form decides it itself, or the system does", |(_, why)| why)
}

/// Keys that a route takes.
fn in_route(key: &str) -> bool {
    mesh::in_route(key)
        || matches!(
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
                | "url.access-allow"
                | "url.access-deny"
                | "static-file.exclude-extensions"
                | "alias.url"
                | "mesh.service"
                | "mesh.workflow"
                | "proxy.server"
                | "fastcgi.server"
                | "auth.require"
                | "auth.backend"
                | "auth.backend.htpasswd.userfile"
                | "auth.backend.htdigest.userfile"
                | "auth.backend.plain.groupfile"
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
