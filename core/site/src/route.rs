//! Our own form's routes: the first that fits a request decides.

mod misfit;

use std::sync::Arc;

pub use misfit::Misfit;

use crate::condition::Network;
use crate::directive::Text;
use crate::facts::{RequestFacts, host_name};
use crate::pattern::{Pattern, PatternExhausted};
use crate::place::Place;
use crate::program::{Assignment, Resolved};
use crate::value::Value;

/// A route.
#[derive(Debug)]
pub(crate) struct Route {
    /// The first host of its site, as it is written; `*` for a site of all hosts.
    pub(crate) site: Text,
    pub(crate) name: Text,
    pub(crate) hosts: Vec<HostMatch>,
    pub(crate) path: PathMatch,
    /// `http` or `https`.
    pub(crate) scheme: Option<Text>,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) headers: Vec<HeaderMatch>,
    pub(crate) sockets: Vec<Box<str>>,
    /// Clients that it is for; all when it is empty.
    pub(crate) clients: Arc<[Network]>,
    /// Clients that it is not for.
    pub(crate) not_clients: Arc<[Network]>,
    pub(crate) resolved: Arc<Resolved>,
    pub(crate) assignments: Vec<Assignment>,
    /// Where it begins.
    pub(crate) place: Place,
    /// What says which requests it is for, as it is written, its site's part first.
    pub(crate) written: Vec<Written>,
}

/// A key that says which requests a route is for.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) key: Text,
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A host that is asked for; ports do not count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HostMatch {
    Exact(Box<str>),
    /// `*.example.org`, with its dot.
    Suffix(Box<str>),
    /// An expression.
    Pattern(Pattern),
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
        Ok(self.fits_scheme(facts)
            && self.fits_host(facts)?
            && self.fits_socket(facts)
            && self.fits_method(facts)
            && self.headers.iter().all(|one| one.fits(facts))
            && (self.clients.is_empty() || is_among(&self.clients, facts))
            && !is_among(&self.not_clients, facts)
            && self.path.fits(facts.path)?)
    }

    fn fits_scheme(&self, facts: &RequestFacts<'_>) -> bool {
        self.scheme.as_deref().is_none_or(|scheme| facts.scheme == Some(scheme))
    }

    fn fits_host(&self, facts: &RequestFacts<'_>) -> Result<bool, PatternExhausted> {
        if self.hosts.is_empty() {
            return Ok(true);
        }
        // A dot at the end only says that the name is whole: it must not lead by the rules for it.
        let Some(host) = facts.host.map(host_name) else { return Ok(false) };
        for one in &self.hosts {
            if one.fits(host)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fits_socket(&self, facts: &RequestFacts<'_>) -> bool {
        self.sockets.is_empty()
            || facts.socket.is_some_and(|socket| self.sockets.iter().any(|one| **one == *socket))
    }

    fn fits_method(&self, facts: &RequestFacts<'_>) -> bool {
        self.methods.is_empty()
            || facts.method.is_some_and(|method| self.methods.iter().any(|one| **one == *method))
    }
}

/// Whether the client is in one of the networks.
fn is_among(networks: &[Network], facts: &RequestFacts<'_>) -> bool {
    facts.remote.is_some_and(|remote| networks.iter().any(|network| network.contains(remote)))
}

impl HeaderMatch {
    fn fits(&self, facts: &RequestFacts<'_>) -> bool {
        let value = facts.headers.and_then(|headers| headers.header(&self.name));
        value.is_some_and(|value| *value == *self.value)
    }
}

impl Route {
    /// Whether it looks neither at who asks nor at a header.
    pub(crate) fn is_settled_by_target(&self) -> bool {
        self.headers.is_empty() && self.is_settled_by_head()
    }

    /// Whether it does not look at who asks.
    pub(crate) fn is_settled_by_head(&self) -> bool {
        self.clients.is_empty() && self.not_clients.is_empty()
    }
}

impl HostMatch {
    fn fits(&self, host: &str) -> Result<bool, PatternExhausted> {
        Ok(match self {
            Self::Exact(exact) => **exact == *host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Self::Pattern(pattern) => pattern.matches(host)?,
        })
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
