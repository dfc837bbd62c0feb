//! From what a configuration says to a program.

mod modules;
mod system;
mod unserved;

use std::sync::Arc;

use super::block::{Block, Document};
use super::condition::normal_percents;
use super::module::{self, Owner};
use crate::Compat;
use crate::condition::{Condition, ConditionId, Field, Operand, Operation};
use crate::diagnostic::{Diagnostic, Severity};
use crate::directive::rules::{self, Rule, Rules};
use crate::directive::{self, Directives, Ids, ParseOptions, Reading, Scope, Setter};
use crate::listener::{ListenAddress, Listener};
use crate::place::Place;
use crate::program::{Assignment, Patch, Program, Resolved, RuleSet};
use crate::series::Series;
use crate::value::{List, Value};

/// How far a configuration is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As `-t` and `-p` do: the grammar, and the server's own directives.
    Syntax,
    /// As `-tt` does: modules and their directives as well.
    Modules,
}

/// A program, and what is to be said of it.
#[derive(Debug)]
pub struct Compiled {
    /// `None` when something keeps the server from starting, and at [`Level::Syntax`].
    pub program: Option<Program>,
    /// What is wrong or odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles a configuration.
pub fn compile(document: &Document, compat: Compat, level: Level) -> Compiled {
    let mut compiler = Compiler {
        document,
        compat,
        modules: Vec::new(),
        found: document.warnings.clone(),
        ids: Ids::default(),
        normalize: true,
    };
    compiler.modules();
    let server = compiler.patches(|owner| owner == Owner::Server, Level::Syntax);
    let mut base = Directives::of(compat);
    if let Some(global) = server.iter().find(|patch| patch.condition.is_none()) {
        global.apply(&mut base);
    }
    settle_parse_options(&mut base);
    compiler.normalize = base.global.http_parseopts.url.is_some();
    let mut conditions = compiler.conditions();
    if level == Level::Syntax || compiler.failed() {
        return Compiled { program: None, diagnostics: compiler.found };
    }
    compiler.check_modules();
    compiler.check_system();
    let patches = compiler.all_patches();
    compiler.unserved();
    if let Some(global) = patches.iter().find(|patch| patch.condition.is_none()) {
        global.apply(&mut base);
    }
    settle_parse_options(&mut base);
    base.global.modules = compiler.modules.clone().into();
    let listeners = compiler.listeners(&base, &patches, &mut conditions);
    if base.server.document_root.is_none() {
        let found = Diagnostic::error(None, "server.document-root is not set");
        compiler
            .found
            .push(found.with_hint("even a server that only passes requests on needs one, as for lighttpd"));
    }
    let series = Series::new(&conditions);
    let program = (!compiler.failed()).then(|| Program {
        listeners,
        conditions,
        rules: RuleSet::Patches(patches),
        base: Arc::new(Resolved { directives: base, id: 0, route: series.any() }),
        series,
        sources: document.sources.clone(),
        compat,
    });
    Compiled { program, diagnostics: compiler.found }
}

struct Compiler<'d> {
    document: &'d Document,
    compat: Compat,
    /// The modules that are loaded.
    modules: Vec<Arc<str>>,
    found: Vec<Diagnostic>,
    ids: Ids,
    /// URLs are brought to one form.
    normalize: bool,
}

impl Compiler<'_> {
    fn failed(&self) -> bool {
        self.found.iter().any(|found| found.severity == Severity::Error)
    }

    fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.found.push(Diagnostic::warning(place, message));
    }

    fn conditions(&mut self) -> Vec<Condition> {
        let id = |block: usize| block.checked_sub(1).and_then(|id| u16::try_from(id).ok()).map(ConditionId);
        let mut conditions = Vec::with_capacity(self.document.blocks.len());
        for block in self.document.blocks.iter().skip(1) {
            let Some(text) = &block.condition else { continue };
            let test = text.test(self.normalize).unwrap_or_else(|message| {
                self.found.push(Diagnostic::error(block.place, message));
                None
            });
            conditions.push(Condition {
                parent: block.parent.and_then(id),
                previous: block.previous.and_then(id),
                test,
                text: text.text.clone(),
                place: block.place,
            });
        }
        conditions
    }

    fn all_patches(&mut self) -> Vec<Patch> {
        // What was read with the file was checked then, and is not told twice.
        let before = self.found.len();
        let patches = self.patches(|_| true, Level::Modules);
        let told: Vec<Diagnostic> = self.found[..before].to_vec();
        let mut index = 0;
        self.found.retain(|found| {
            index += 1;
            index <= before || !told.contains(found)
        });
        patches
    }

    fn patches(&mut self, wanted: impl Fn(Owner) -> bool, level: Level) -> Vec<Patch> {
        let mut patches = Vec::new();
        for (number, block) in self.document.blocks.iter().enumerate() {
            let condition = number.checked_sub(1).and_then(|id| u16::try_from(id).ok()).map(ConditionId);
            let mut assignments = Vec::new();
            for (key, value, place) in block.values() {
                let Some(owner) = module::owner(key) else { continue };
                if !wanted(owner) || !self.loaded(owner) {
                    continue;
                }
                let setter = self.setter(block, key, value, place, condition);
                assignments.push(Assignment { key: key.clone(), value: value.clone(), place, setter });
            }
            self.own_key(block, condition, &mut assignments);
            if level == Level::Modules && self.has("mod_rewrite") {
                self.rewrites(block, condition, &mut assignments);
            }
            patches.push(Patch { condition, assignments });
        }
        patches
    }

    /// A block that names a chain and no key means the chain's own file, whatever key another block names: chain and key are one
    /// setting to lighttpd.
    fn own_key(&mut self, block: &Block, condition: Option<ConditionId>, assignments: &mut Vec<Assignment>) {
        const KEY: &str = "ssl.privkey";
        let named = |name: &str| assignments.iter().find(|assignment| &*assignment.key == name);
        let (Some(chain), None) = (named("ssl.pemfile"), named(KEY)) else { return };
        let (key, value, place) = (Arc::from(KEY), chain.value.clone(), chain.place);
        let setter = self.setter(block, &key, &value, place, condition);
        assignments.push(Assignment { key, value, place, setter });
    }

    fn setter(
        &mut self,
        block: &Block,
        key: &Arc<str>,
        value: &Value,
        place: Place,
        condition: Option<ConditionId>,
    ) -> Option<Setter> {
        let entry = directive::entry(key)?;
        if condition.is_some() && !self.may_stand_in(block, entry.scope, key, place) {
            return None;
        }
        let normal;
        let value = if self.normalize && matches!(&**key, "url.redirect") {
            normal = normal_rules(value);
            &normal
        } else {
            value
        };
        let mut warnings = Vec::new();
        let mut reading =
            Reading { key, condition, compat: self.compat, ids: &mut self.ids, warnings: &mut warnings };
        let setter = (entry.read)(value, &mut reading);
        for message in warnings {
            self.warn(place, message);
        }
        match setter {
            Ok(setter) => Some(setter),
            Err(message) => {
                self.found.push(Diagnostic::error(place, message));
                None
            }
        }
    }

    /// Whether a directive of this scope counts in a block; says so where it does not.
    fn may_stand_in(&mut self, block: &Block, scope: Scope, key: &str, place: Place) -> bool {
        match scope {
            Scope::Connection => true,
            Scope::Socket => {
                let in_socket = block.condition.as_ref().is_some_and(|condition| {
                    &*condition.object == "SERVER" && condition.operator == "==" && !condition.otherwise
                });
                if !in_socket {
                    self.warn(
                        place,
                        format!(
                            "WARNING: {key} must be in global scope or $SERVER[\"socket\"] with '==', or else is ignored"
                        ),
                    );
                }
                in_socket
            }
            Scope::Server => {
                self.warn(
                    place,
                    format!("DEPRECATED: do not set server options in conditionals, variable: {key}"),
                );
                false
            }
        }
    }

    /// The rewriting rules of a block are one list: those that end rewriting, then those that repeat it.
    fn rewrites(&mut self, block: &Block, condition: Option<ConditionId>, assignments: &mut [Assignment]) {
        let families: [Family; 2] = [
            (
                &["url.rewrite-once", "url.rewrite-final", "url.rewrite"],
                "url.rewrite-repeat",
                |directives, rules| {
                    directives.url.rewrite = rules.clone();
                },
            ),
            (&["url.rewrite-if-not-file"], "url.rewrite-repeat-if-not-file", |directives, rules| {
                directives.url.rewrite_if_not_file = rules.clone();
            }),
        ];
        for (once, repeat, apply) in families {
            let mut list: Vec<Rule> = Vec::new();
            let mut at = None;
            for key in once {
                at = self.rewrite_rules(block, key, condition, &mut list).or(at);
            }
            let repeat_from = list.len();
            at = self.rewrite_rules(block, repeat, condition, &mut list).or(at);
            let Some(at) = at else { continue };
            let rules = Rules { rules: list.into(), condition, repeat_from };
            let setter: Setter = Box::new(move |directives: &mut Directives| apply(directives, &rules));
            if let Some(assignment) = assignments.iter_mut().find(|assignment| assignment.key == at) {
                assignment.setter = Some(setter);
            }
        }
    }

    /// Appends the rules under `key` to `list`; answers the key, if the block has it.
    fn rewrite_rules(
        &mut self,
        block: &Block,
        key: &str,
        condition: Option<ConditionId>,
        list: &mut Vec<Rule>,
    ) -> Option<Arc<str>> {
        let (_, name, (value, place)) = block.values.get_full(key)?;
        let value = if self.normalize { normal_rules(value) } else { value.clone() };
        let mut warnings = Vec::new();
        let mut reading =
            Reading { key, condition, compat: self.compat, ids: &mut self.ids, warnings: &mut warnings };
        match rules::read(&value, &mut reading) {
            Ok(more) => list.extend(more),
            Err(message) => self.found.push(Diagnostic::error(*place, message)),
        }
        Some(name.clone())
    }

    /// What to listen on. Conditions on sockets are held to the tokens of the sockets that they name.
    fn listeners(
        &mut self,
        base: &Directives,
        patches: &[Patch],
        conditions: &mut [Condition],
    ) -> Vec<Listener> {
        let default_port = base.global.port.unwrap_or(if base.ssl.engine { 443 } else { 80 });
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, condition) in conditions.iter_mut().enumerate() {
            let Some(test) = condition.test.as_mut().filter(|test| test.field == Field::Socket) else {
                continue;
            };
            let Operation::Equal { operand: Operand::Text(text), not } = &mut test.operation else {
                continue;
            };
            let id = u16::try_from(index).ok().map(ConditionId);
            let mut directives = base.clone();
            if let Some(patch) = patches.iter().find(|patch| patch.condition == id && id.is_some()) {
                patch.apply(&mut directives);
            }
            let address = match ListenAddress::parse(text, default_port, directives.socket.use_ipv6) {
                Ok(address) => address,
                Err(message) => {
                    self.found.push(Diagnostic::error(condition.place, message));
                    continue;
                }
            };
            let token: Arc<str> = address.to_string().into();
            *text = Arc::clone(&token);
            if !*not && !listeners.iter().any(|listener| listener.address == address) {
                let Directives { socket, ssl, extforward, edge, .. } = directives;
                let (proxy_protocol, http2) = (extforward.hap_proxy, speaks_http2(base, ssl.engine));
                let http3 = edge.http3 && ssl.engine && matches!(address, ListenAddress::Inet(_));
                listeners.push(Listener {
                    address,
                    token,
                    socket,
                    ssl,
                    proxy_protocol,
                    condition: id,
                    http1: true,
                    http2,
                    http3,
                    spare: false,
                });
            }
        }
        let bind = base.global.bind.as_deref().unwrap_or("");
        let text =
            if bind.starts_with(['/', '\\']) { bind.to_owned() } else { format!("{bind}:{default_port}") };
        match ListenAddress::parse(&text, default_port, base.socket.use_ipv6) {
            Ok(address) if listeners.iter().any(|listener| listener.address == address) => {}
            Ok(address) => listeners.push(Listener {
                token: address.to_string().into(),
                address,
                socket: base.socket.clone(),
                ssl: base.ssl.clone(),
                proxy_protocol: base.extforward.hap_proxy,
                condition: None,
                http1: true,
                http2: speaks_http2(base, base.ssl.engine),
                http3: base.edge.http3 && base.ssl.engine,
                spare: base.global.systemd_socket_activation && bind.is_empty(),
            }),
            Err(message) => {
                let place = self.document.occurrences("server.bind").next().map(|(_, place, _)| place);
                self.found.push(Diagnostic::error(place, message));
            }
        }
        listeners
    }
}

/// With TLS unless it is switched off, in the clear where it is switched on.
fn speaks_http2(base: &Directives, tls: bool) -> bool {
    let flags = &base.global.feature_flags;
    if tls { flags.bool("server.h2proto", true) } else { flags.bool("server.h2c", false) }
}

/// Keys of rules that end rewriting, the key of those that repeat it, and where they belong.
type Family = (&'static [&'static str], &'static str, fn(&mut Directives, &Rules));

/// Rules whose percent-encodings are brought to the form that URLs have.
fn normal_rules(value: &Value) -> Value {
    let Some(list) = value.as_list() else { return value.clone() };
    let entries = list.iter().map(|(key, value)| {
        let key = key.map(|key| Arc::from(normal_percents(key, false)));
        let value = match value {
            Value::Text(text) => Value::Text(normal_percents(text, true).into()),
            other => other.clone(),
        };
        (key, value)
    });
    Value::List(entries.collect::<List>())
}

/// The older switches count over the list.
fn settle_parse_options(base: &mut Directives) {
    let global = &mut base.global;
    let options: &mut ParseOptions = &mut global.http_parseopts;
    if let Some(strict) = global.http_parseopt_header_strict {
        options.header_strict = strict;
    }
    if let Some(strict) = global.http_parseopt_host_strict {
        options.host_strict = strict;
    }
    if let Some(normalize) = global.http_parseopt_host_normalize {
        options.host_normalize = normalize;
    }
    options.host_normalize |= options.host_strict;
}
