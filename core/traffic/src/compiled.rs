//! Route tables ready to decide: indexed, compiled, checked.

use std::borrow::Cow;
use std::sync::Arc;

use crate::matching::header::PatternInvalid;
use crate::matching::host::DomainTaken;
use crate::matching::{HostIndex, RequestView, Target};
use crate::rewrite::{Rewriter, Substitution};
use crate::{
    Action, Forward, Hedge, HostRewrite, PathRewrite, RetryPolicy, Route, RouteTable, VirtualHost, weights,
};

/// A route table with its index. Shared by all workers; a new configuration is a new one.
#[derive(Clone, Debug)]
pub struct CompiledRoutes {
    table: Arc<RouteTable>,
    hosts: HostIndex,
    /// For each virtual host, for each of its routes.
    rewriters: Vec<Vec<Rewriters>>,
}

/// A table that cannot be used; the last good one stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TableInvalid {
    #[error("domains overlap")]
    Domain(#[from] DomainTaken),
    #[error("the rewrite of route {route:?} cannot be used")]
    Rewrite {
        route: String,
        #[source]
        source: PatternInvalid,
    },
    #[error("the weights of route {route:?} sum up to 0")]
    WeightSum { route: String },
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    pub virtual_host: &'a VirtualHost,
    pub route: &'a Route,
    /// The places of both: of the host in the table, and of the route in the host.
    pub position: (usize, usize),
    rewriters: &'a Rewriters,
}

/// What a route rewrites.
#[derive(Clone, Debug, Default)]
struct Rewriters {
    path: Option<Rewriter>,
    /// The host, from the path.
    host: Option<Substitution>,
}

/// Why a request goes nowhere. Both are a 404 with the flag `NR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute<'a> {
    /// No virtual host takes the authority.
    VirtualHost,
    /// The virtual host has no route for it.
    Route(&'a str),
}

impl CompiledRoutes {
    /// Indexes and compiles a table.
    ///
    /// # Errors
    /// When a domain stands twice, a rewrite's expression is invalid, or the weights of a route sum up to 0: Envoy
    /// refuses the same.
    pub fn new(table: Arc<RouteTable>) -> Result<Self, TableInvalid> {
        let hosts = HostIndex::new(&table.virtual_hosts, table.ignore_port_in_host_matching)?;
        let rewriters = table
            .virtual_hosts
            .iter()
            .map(|host| host.routes.iter().map(compile).collect())
            .collect::<Result<_, _>>()?;
        Ok(Self { table, hosts, rewriters })
    }

    pub fn table(&self) -> &Arc<RouteTable> {
        &self.table
    }

    /// The virtual host for an authority.
    pub fn virtual_host(&self, authority: &str) -> Option<&VirtualHost> {
        self.hosts.find(authority).map(|position| &self.table.virtual_hosts[position])
    }

    /// The first route that takes the request. Allocates nothing, unless the authority has capitals.
    ///
    /// # Errors
    /// When no virtual host or no route takes it.
    pub fn find(&self, request: &impl RequestView) -> Result<Matched<'_>, NoRoute<'_>> {
        let position = self.hosts.find(request.authority()).ok_or(NoRoute::VirtualHost)?;
        let virtual_host = &self.table.virtual_hosts[position];
        let target = Target::parse(request.path());
        let (index, (route, rewriters)) = virtual_host
            .routes
            .iter()
            .zip(&self.rewriters[position])
            .enumerate()
            .find(|(_, (route, _))| route.matches.check(request, &target).is_ok())
            .ok_or(NoRoute::Route(&virtual_host.name))?;
        Ok(Matched { virtual_host, route, position: (position, index), rewriters })
    }
}

fn compile(route: &Route) -> Result<Rewriters, TableInvalid> {
    let invalid = |source| TableInvalid::Rewrite { route: route.name.clone(), source };
    let path = |rewrite: &Option<PathRewrite>| {
        rewrite.as_ref().map(|rewrite| Rewriter::new(rewrite).map_err(invalid)).transpose()
    };
    match &route.action {
        Action::Forward(forward) if weights::total(&forward.clusters) == 0 => {
            Err(TableInvalid::WeightSum { route: route.name.clone() })
        }
        Action::Forward(forward) => {
            let host = match &forward.host_rewrite {
                Some(HostRewrite::PathRegex { pattern, substitution }) => {
                    Some(Substitution::new(pattern, substitution).map_err(invalid)?)
                }
                _ => None,
            };
            Ok(Rewriters { path: path(&forward.path_rewrite)?, host })
        }
        Action::Redirect(redirect) => Ok(Rewriters { path: path(&redirect.path_rewrite)?, host: None }),
        Action::Respond(_) => Ok(Rewriters::default()),
    }
}

impl<'a> Matched<'a> {
    /// The retry policy in force for a route's forwarding: its own, else its virtual host's.
    pub fn retry(&self, forward: &'a Forward) -> Option<&'a RetryPolicy> {
        forward.retry.as_deref().or(self.virtual_host.retry.as_deref())
    }

    /// The hedging in force, likewise.
    pub fn hedge(&self, forward: &'a Forward) -> Option<&'a Hedge> {
        forward.hedge.as_ref().or(self.virtual_host.hedge.as_ref())
    }

    /// The authority for the upstream's request, if it differs and does not depend on the endpoint.
    pub fn rewritten_host<'b>(
        &'b self,
        forward: &'b Forward,
        request: &'b impl RequestView,
    ) -> Option<Cow<'b, str>> {
        match forward.host_rewrite.as_ref()? {
            HostRewrite::Literal(host) => Some(Cow::Borrowed(host.as_str())),
            HostRewrite::Header(name) => {
                request.first_value(name).filter(|host| !host.is_empty()).map(Cow::Borrowed)
            }
            HostRewrite::PathRegex { .. } => {
                Some(Cow::Owned(self.rewriters.host.as_ref()?.apply(request.path())))
            }
            HostRewrite::Auto => None,
        }
    }

    /// The upstream's request target, or the path of a redirection, if it differs; `x-envoy-original-path` then carries the old one.
    pub fn rewritten_path(&self, request: &impl RequestView) -> Option<String> {
        let rewriter = self.rewriters.path.as_ref()?;
        Some(rewriter.apply(&self.route.matches.path, request.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightedCluster;
    use crate::matching::{PlainRequest, RouteMatch};

    fn forward(cluster: &str) -> Forward {
        Forward::to(vec![WeightedCluster::new(cluster, 1)])
    }

    fn route(name: &str, prefix: &str, forward: Forward) -> Route {
        Route::new(name, RouteMatch::prefix(prefix), Action::Forward(forward))
    }

    fn host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
        let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        VirtualHost { name: name.to_owned(), domains, routes, ..VirtualHost::default() }
    }

    fn compile(virtual_hosts: Vec<VirtualHost>) -> Result<CompiledRoutes, TableInvalid> {
        CompiledRoutes::new(Arc::new(RouteTable { virtual_hosts, ..RouteTable::default() }))
    }

    #[test]
    fn the_first_match_wins_within_the_host() {
        let routes = vec![route("api", "/api", forward("a")), route("all", "/", forward("b"))];
        let routes = compile(vec![host("v", &["v.local", "v.local:80"], routes)]).expect("a valid table");
        for (authority, path, found) in [
            ("v.local", "/api/x", Ok("api")),
            ("V.local:80", "/apix?q", Ok("api")),
            ("v.local", "/ap", Ok("all")),
            ("v.local", "*", Err(NoRoute::Route("v"))),
            ("v.local:81", "/", Err(NoRoute::VirtualHost)),
        ] {
            let request = PlainRequest::new("GET", authority, path);
            assert_eq!(
                routes.find(&request).map(|matched| matched.route.name.as_str()),
                found,
                "{authority}{path}"
            );
        }
    }

    #[test]
    fn a_match_brings_its_rewrite_and_its_retries() {
        let policy = RetryPolicy { retries_max: 7, ..RetryPolicy::default() };
        let rewritten = Forward { path_rewrite: Some(PathRewrite::Prefix("/".into())), ..forward("a") };
        let own = Forward { retry: Some(RetryPolicy::default().into()), ..forward("b") };
        let routes = vec![route("api", "/api/", rewritten), route("all", "/", own)];
        let host = VirtualHost { retry: Some(policy.into()), ..host("v", &["*"], routes) };
        let routes = compile(vec![host]).expect("a valid table");
        for (path, rewritten, retries) in [("/api/x?q", Some("/x?q"), 7), ("/y", None, 1)] {
            let request = PlainRequest::new("GET", "h", path);
            let matched = routes.find(&request).expect("a route");
            assert_eq!(matched.rewritten_path(&request).as_deref(), rewritten);
            let Action::Forward(forward) = &matched.route.action else { panic!("it forwards") };
            assert_eq!(matched.retry(forward).map(|policy| policy.retries_max), Some(retries));
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let nobody = Forward::to(vec![WeightedCluster::new("a", 0)]);
        let table = vec![host("v", &["*"], vec![route("r", "/", nobody)])];
        assert!(matches!(compile(table), Err(TableInvalid::WeightSum { .. })));
        let rewrite = PathRewrite::Regex { pattern: "(".into(), substitution: String::new() };
        let broken = Forward { path_rewrite: Some(rewrite), ..forward("a") };
        let table = vec![host("v", &["*"], vec![route("r", "/", broken)])];
        assert!(matches!(compile(table), Err(TableInvalid::Rewrite { .. })));
        let table = vec![host("v", &["a.b"], vec![]), host("w", &["A.b"], vec![])];
        assert!(matches!(compile(table), Err(TableInvalid::Domain(_))));
    }
}
