//! Our own form's routes: the first that fits a request decides.

use std::sync::Arc;

use crate::condition::Network;
use crate::directive::Text;
use crate::facts::{RequestFacts, without_port};
use crate::pattern::{Pattern, PatternExhausted};
use crate::program::{Assignment, Resolved};

/// A route.
#[derive(Debug)]
pub(crate) struct Route {
    /// The first host of its site, as it is written; `*` for a site of all hosts.
    pub(crate) site: Text,
    pub(crate) name: Text,
    pub(crate) hosts: Vec<HostMatch>,
    pub(crate) path: PathMatch,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) headers: Vec<HeaderMatch>,
    pub(crate) sockets: Vec<Box<str>>,
    /// Clients that it is for; all when it is empty.
    pub(crate) clients: Arc<[Network]>,
    /// Clients that it is not for.
    pub(crate) not_clients: Arc<[Network]>,
    pub(crate) resolved: Arc<Resolved>,
    pub(crate) assignments: Vec<Assignment>,
}

/// A host that is asked for; ports do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostMatch {
    Exact(Box<str>),
    /// `*.example.org`, with its dot.
    Suffix(Box<str>),
}

/// A path that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PathMatch {
    Any,
    Exact(Box<str>),
    /// `/api/*`, without its star.
    Prefix(Box<str>),
    /// With variables.
    Pattern(Pattern),
}

/// A header that has to be there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderMatch {
    pub(crate) name: Box<str>,
    pub(crate) value: Box<str>,
}

impl Route {
    pub(crate) fn fits(&self, facts: &RequestFacts<'_>) -> Result<bool, PatternExhausted> {
        // A dot at the end only says that the name is whole: it must not lead by the rules for it.
        let host = facts.host.map(without_port).map(|host| host.strip_suffix('.').unwrap_or(host));
        let hosts =
            self.hosts.is_empty() || host.is_some_and(|host| self.hosts.iter().any(|one| one.fits(host)));
        let sockets = self.sockets.is_empty()
            || facts.socket.is_some_and(|socket| self.sockets.iter().any(|one| **one == *socket));
        let methods = self.methods.is_empty()
            || facts.method.is_some_and(|method| self.methods.iter().any(|one| **one == *method));
        let headers = self.headers.iter().all(|one| {
            facts
                .headers
                .and_then(|headers| headers.header(&one.name))
                .is_some_and(|value| *value == *one.value)
        });
        let among = |networks: &[Network]| {
            facts.remote.is_some_and(|remote| networks.iter().any(|network| network.contains(remote)))
        };
        let clients = (self.clients.is_empty() || among(&self.clients)) && !among(&self.not_clients);
        Ok(hosts && sockets && methods && headers && clients && self.path.fits(facts.path)?)
    }
}

impl Route {
    /// Whether it looks neither at who asks nor at a header.
    pub(crate) fn is_settled_by_target(&self) -> bool {
        self.headers.is_empty() && self.clients.is_empty() && self.not_clients.is_empty()
    }
}

impl HostMatch {
    fn fits(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }
}

impl PathMatch {
    fn fits(&self, path: Option<&str>) -> Result<bool, PatternExhausted> {
        let Some(path) = path else { return Ok(matches!(self, Self::Any)) };
        Ok(match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path.starts_with(&**prefix),
            Self::Pattern(pattern) => pattern.matches(path)?,
        })
    }
}
