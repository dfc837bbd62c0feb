//! A decision with its reasons, by the same code that decides.

use std::time::Duration;

use serde::Serialize;

use crate::matching::{RequestView, Target};
use crate::timeout::{Around, Timeouts};
use crate::{Action, CompiledRoutes, Forward, HostRewrite, Matched, RetryPolicy, weights};

/// What a route table does with a request, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The virtual host that takes the authority.
    pub virtual_host: Option<String>,
    /// The routes looked at, in order; the last is the chosen one, if any is.
    pub tried: Vec<Tried>,
    pub result: DecisionResult,
}

/// One route that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    pub route: String,
    /// The first condition that did not hold; `None` for the chosen route.
    pub failed: Option<String>,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum DecisionResult {
    Forward(Box<ForwardDecision>),
    Redirect {
        status: u16,
        location: String,
    },
    Respond {
        status: u16,
    },
    /// 404, flag `NR`: no virtual host takes the authority.
    NoVirtualHost,
    /// 404, flag `NR`: the virtual host has no route for the request.
    NoRoute,
}

/// Where a request is forwarded to, and on which terms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForwardDecision {
    pub targets: Vec<Share>,
    /// Over all attempts; `None` is none.
    pub timeout: Option<Duration>,
    pub per_try_timeout: Option<Duration>,
    /// Of a stream without progress; `None` inherits the connection's.
    pub idle_timeout: Option<Duration>,
    pub retry: Option<RetryDecision>,
    /// The path as the upstream sees it, if it changes.
    pub path: Option<String>,
    /// The host as the upstream sees it, if it changes.
    pub host: Option<String>,
}

/// A cluster's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    pub cluster: String,
    pub weight: u32,
    pub percent: f64,
}

/// The retries that would be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetryDecision {
    /// Envoy's words, in its order.
    pub on: Vec<&'static str>,
    pub status_codes: Vec<u16>,
    pub retries_max: u32,
    pub backoff_base: Duration,
    pub backoff_max: Duration,
}

impl CompiledRoutes {
    /// Decides as [`CompiledRoutes::find`] and the request path do, and tells why.
    pub fn explain(&self, request: &impl RequestView) -> Decision {
        let Some(virtual_host) = self.virtual_host(request.authority()) else {
            return Decision { virtual_host: None, tried: Vec::new(), result: DecisionResult::NoVirtualHost };
        };
        let target = Target::parse(request.path());
        let mut tried = Vec::new();
        for route in &virtual_host.routes {
            let failed = route.matches.check(request, &target).err().map(|mismatch| mismatch.to_string());
            let chosen = failed.is_none();
            tried.push(Tried { route: route.name.clone(), failed });
            if chosen {
                break;
            }
        }
        let result = self.find(request).map_or(DecisionResult::NoRoute, |matched| result(&matched, request));
        Decision { virtual_host: Some(virtual_host.name.clone()), tried, result }
    }
}

fn result(matched: &Matched<'_>, request: &impl RequestView) -> DecisionResult {
    match &matched.route.action {
        Action::Forward(forward) => {
            DecisionResult::Forward(Box::new(explain_forward(matched, forward, request)))
        }
        Action::Redirect(redirect) => DecisionResult::Redirect {
            status: redirect.status,
            location: redirect.location(request, matched.rewritten_path(request).as_deref()),
        },
        Action::Respond(response) => DecisionResult::Respond { status: response.status },
    }
}

fn explain_forward(matched: &Matched<'_>, forward: &Forward, request: &impl RequestView) -> ForwardDecision {
    let retry = matched.retry(forward);
    let around = Around { retry, hedge: matched.hedge(forward), stream_duration_max: None };
    let timeouts = Timeouts::resolve(forward, around, request);
    let share = |cluster: &crate::WeightedCluster| Share {
        cluster: cluster.name.clone(),
        weight: cluster.weight,
        percent: weights::share_percent(cluster, &forward.clusters),
    };
    ForwardDecision {
        targets: forward.clusters.iter().map(share).collect(),
        timeout: timeouts.global,
        per_try_timeout: timeouts.per_try,
        idle_timeout: timeouts.idle,
        retry: retry.filter(|policy| !policy.on.is_empty()).map(RetryDecision::new),
        path: matched.rewritten_path(request),
        host: match &forward.host_rewrite {
            Some(HostRewrite::Literal(host)) => Some(host.clone()),
            Some(HostRewrite::Auto) => Some("the endpoint's hostname".to_owned()),
            Some(_) => matched.rewritten_host(forward, request).map(|host| host.into_owned()),
            None => None,
        },
    }
}

impl RetryDecision {
    fn new(policy: &RetryPolicy) -> Self {
        Self {
            on: policy.on.words().collect(),
            status_codes: policy.retriable_status_codes.clone(),
            retries_max: policy.retries_max,
            backoff_base: policy.backoff.base,
            backoff_max: policy.backoff.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::matching::{HeaderCondition, HeaderMatch, PlainRequest, RouteMatch};
    use crate::{PathRewrite, Redirect, RetryOn, Route, RouteTable, VirtualHost, WeightedCluster};

    fn routes() -> CompiledRoutes {
        let beta = HeaderMatch {
            name: "x-beta".to_owned(),
            condition: HeaderCondition::Exact("true".to_owned()),
            invert: false,
        };
        let weighted = |name: &str, weight| WeightedCluster::new(name, weight);
        let both = Forward {
            path_rewrite: Some(PathRewrite::Prefix("/".to_owned())),
            retry: Some(RetryPolicy { on: RetryOn::RESET, ..RetryPolicy::default() }.into()),
            ..Forward::to(vec![weighted("a", 3), weighted("b", 1)])
        };
        let only_beta = RouteMatch { headers: vec![beta], ..RouteMatch::any() };
        let moved = Redirect { path: Some("/new".to_owned()), status: 308, ..Redirect::default() };
        let table = RouteTable {
            virtual_hosts: vec![VirtualHost {
                name: "v".to_owned(),
                domains: vec!["v.local".to_owned()],
                routes: vec![
                    Route::new("beta", only_beta, Action::Forward(Forward::to(vec![weighted("b", 1)]))),
                    Route::new("moved", RouteMatch::prefix("/old"), Action::Redirect(moved)),
                    Route::new("api", RouteMatch::prefix("/api/"), Action::Forward(both)),
                ],
                ..VirtualHost::default()
            }],
            ..RouteTable::default()
        };
        CompiledRoutes::new(Arc::new(table)).expect("a valid table")
    }

    #[test]
    fn a_forwarded_request_is_explained_with_shares_and_terms() {
        let decision = routes().explain(&PlainRequest::new("GET", "v.local", "/api/x?y"));
        assert_eq!(decision.virtual_host.as_deref(), Some("v"));
        let tried: Vec<_> =
            decision.tried.iter().map(|one| (one.route.as_str(), one.failed.as_deref())).collect();
        assert_eq!(
            tried,
            [("beta", Some("header x-beta = true")), ("moved", Some("prefix /old")), ("api", None)]
        );
        let DecisionResult::Forward(forward) = decision.result else { panic!("it is forwarded") };
        let shares: Vec<_> = forward.targets.iter().map(|one| (one.cluster.as_str(), one.percent)).collect();
        assert_eq!(shares, [("a", 75.0), ("b", 25.0)]);
        assert_eq!(forward.timeout, Some(Duration::from_secs(15)));
        assert_eq!(forward.path.as_deref(), Some("/x?y"));
        assert_eq!(forward.retry.map(|retry| retry.on), Some(vec!["reset"]));
    }

    #[test]
    fn what_is_not_forwarded_is_explained_too() {
        let get = |authority, path| routes().explain(&PlainRequest::new("GET", authority, path)).result;
        assert_eq!(get("other", "/"), DecisionResult::NoVirtualHost);
        assert_eq!(get("v.local", "/"), DecisionResult::NoRoute);
        let moved = DecisionResult::Redirect { status: 308, location: "http://v.local/new".to_owned() };
        assert_eq!(get("v.local", "/old"), moved);
    }
}
