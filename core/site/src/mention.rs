//! What of the machine a configuration counts on: users, folders, logs, certificates, by name, and the names of its hosts.

use std::sync::Arc;

use crate::condition::{ConditionId, Field, Operand, Operation};
use crate::directive::Text;
use crate::listener::Listener;
use crate::place::Place;
use crate::program::{Program, RuleSet};
use crate::route::HostMatch;

/// Something of the machine that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// What it is meant to be.
    pub what: What,
    /// The key or the directive.
    pub key: Text,
    /// Its name or path.
    pub name: Text,
    /// Where it is named.
    pub place: Place,
}

/// What a name is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The user that the process becomes.
    User,
    /// The group that it becomes.
    Group,
    /// A folder whose files are served.
    Served,
    /// A folder in which files are put.
    Written,
    /// A file that is written to, and is made where it is not there; its folder is.
    Log,
    /// A file that is read, whatever it is for.
    Read,
}

/// The names that one listener is asked for which are looked at.
pub const SERVER_NAMES_MAX: usize = 1000;

/// Directives that name something of the machine.
const DIRECTIVES: &[(&str, What)] = &[
    ("server.username", What::User),
    ("server.groupname", What::Group),
    ("server.document-root", What::Served),
    ("simple-vhost.server-root", What::Served),
    ("server.upload-dirs", What::Written),
    ("deflate.cache-dir", What::Written),
    ("compress.cache-dir", What::Written),
    ("server.errorlog", What::Log),
    ("accesslog.filename", What::Log),
    ("server.breakagelog", What::Log),
    ("ssl.pemfile", What::Read),
    ("ssl.privkey", What::Read),
    ("ssl.ca-file", What::Read),
    ("ssl.verifyclient.ca-file", What::Read),
    ("ssl.stapling-file", What::Read),
    ("auth.backend.htpasswd.userfile", What::Read),
    ("auth.backend.htdigest.userfile", What::Read),
    ("auth.backend.plain.userfile", What::Read),
    ("auth.backend.plain.groupfile", What::Read),
];

/// Keys of our own form that do, by their paths; `*` is any name, and lists are passed through.
pub(crate) const KEYS: &[(&str, What)] = &[
    ("edge.user", What::User),
    ("edge.group", What::Group),
    ("edge.upload_folders", What::Written),
    ("edge.keys", What::Read),
    ("log.access", What::Log),
    ("log.errors", What::Log),
    ("tls.*.certificate", What::Read),
    ("tls.*.key", What::Read),
    ("tls.*.client_ca", What::Read),
    ("oidc.*.client_secret_file", What::Read),
    ("oidc.*.cookie_keys", What::Read),
    ("jwt.*.jwks_file", What::Read),
    ("site.route.files", What::Served),
    ("site.route.compress_folder", What::Written),
    ("site.route.auth.htpasswd", What::Read),
    ("site.route.auth.htdigest", What::Read),
    ("site.route.auth.group_file", What::Read),
];

impl Program {
    /// Everything of the machine that the configuration names, in its order; what a pipe or the system's log is is not among it.
    pub fn mentions(&self) -> Vec<Mention> {
        let mut found = match self.rule_set() {
            RuleSet::Routes(table) => table.mentions.clone(),
            RuleSet::Patches(_) => {
                DIRECTIVES.iter().flat_map(|(key, what)| self.mentioned(key, *what)).collect()
            }
        };
        found.retain(|one| !one.name.is_empty() && !one.name.starts_with('|'));
        found.sort_by_key(|one| one.place);
        found
    }

    fn mentioned(&self, key: &'static str, what: What) -> Vec<Mention> {
        let mut found = Vec::new();
        for (_, value, place) in self.assignments(key) {
            let list = value.as_list().into_iter().flat_map(|list| list.iter()).map(|(_, value)| value);
            for name in std::iter::once(value).chain(list).filter_map(|value| value.as_text()) {
                found.push(Mention { what, key: key.into(), name: name.clone(), place });
            }
        }
        found
    }

    /// The names that a listener's clients may ask for, as far as the configuration knows them: whole hosts, and one for each that stands
    /// for all below it. At most [`SERVER_NAMES_MAX`].
    pub fn server_names(&self, listener: &Listener) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        match self.rule_set() {
            RuleSet::Routes(table) => {
                let served = table.routes.iter().filter(|route| {
                    route.sockets.is_empty() || route.sockets.iter().any(|token| **token == *listener.token)
                });
                for host in served.flat_map(|route| &route.hosts) {
                    match host {
                        HostMatch::Exact(name) => names.push((&**name).into()),
                        HostMatch::Suffix(suffix) => names.push(below(suffix)),
                        HostMatch::Pattern(_) => {}
                    }
                }
            }
            RuleSet::Patches(_) => {
                for (number, condition) in self.conditions.iter().enumerate() {
                    let id = ConditionId(u16::try_from(number).unwrap_or(u16::MAX));
                    let test = condition.test.as_ref().filter(|test| test.field == Field::Host);
                    let Some(test) = test.filter(|_| self.may_hold_at(id, listener)) else { continue };
                    match &test.operation {
                        Operation::Equal { operand: Operand::Text(host), not: false } => {
                            names.push(crate::facts::host_name(host).into());
                        }
                        Operation::Suffix(suffix) if suffix.starts_with('.') => names.push(below(suffix)),
                        _ => {}
                    }
                }
            }
        }
        let acme = self.base().directives.mesh.acme.as_ref();
        names.extend(acme.into_iter().flat_map(|acme| acme.names.iter().cloned()));
        // No name of a server is an address (RFC 6066 §3).
        names.retain(|name| {
            !name.is_empty() && name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err()
        });
        names.sort_unstable();
        names.dedup();
        names.truncate(SERVER_NAMES_MAX);
        names
    }

    /// Whether no condition around this one is about another listener.
    fn may_hold_at(&self, id: ConditionId, listener: &Listener) -> bool {
        let mut at = self.condition(id).and_then(|condition| condition.parent);
        while let Some(condition) = at.and_then(|id| self.condition(id)) {
            if let Some(test) = condition.test.as_ref().filter(|test| test.field == Field::Socket)
                && let Operation::Equal { operand: Operand::Text(socket), not } = &test.operation
                && (**socket == *listener.token) == *not
            {
                return false;
            }
            at = condition.parent;
        }
        true
    }
}

/// A name below a suffix.
fn below(suffix: &str) -> Arc<str> {
    format!("any{suffix}").into()
}
