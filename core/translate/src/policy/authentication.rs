//! Tokens: who issues them, and which requests need one.

use std::time::Duration;

use selvedge_model::Policy;
use selvedge_model::policy::{
    Authentication, AuthenticationRule, HostService, ServiceAddress, TokenNeed, TokenProvider,
};
use selvedge_traffic::filter::jwt::{CACHE_DURATION_DEFAULT, REFETCH_DEFAULT};
use selvedge_traffic::filter::{Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRule, Requirement, RuleRequirement};
use selvedge_traffic::matching::RouteMatch;
use selvedge_traffic::{FilterEntry, HttpFilter};

use super::service::{self, Speaks};
use crate::context::Context;
use crate::names;

/// How long fetching keys may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);
const JWT: &str = "envoy.filters.http.jwt_authn";
/// How far clocks may differ, unless told otherwise (Envoy's default).
const CLOCK_SKEW: Duration = Duration::from_secs(60);

pub(super) fn filter(context: &mut Context<'_>, policy: &Policy, spec: &Authentication) -> FilterEntry {
    let all = || spec.providers.iter().map(|provider| provider.name.clone()).collect::<Vec<_>>();
    let rule = |rule: &AuthenticationRule| {
        let wanted = if rule.providers.is_empty() { all() } else { rule.providers.clone() };
        let requires = match rule.token {
            TokenNeed::None => RuleRequirement::Nothing,
            TokenNeed::Required => RuleRequirement::Is(any(wanted)),
            TokenNeed::Optional => RuleRequirement::Is(Requirement::Any(
                wanted.into_iter().map(Requirement::Provider).chain([Requirement::AllowMissing]).collect(),
            )),
        };
        JwtRule { matches: RouteMatch::prefix(&rule.prefix), requires }
    };
    let rest = JwtRule { matches: RouteMatch::any(), requires: RuleRequirement::Is(any(all())) };
    let keys: Vec<JwtKeys> =
        (0..).zip(&spec.providers).map(|(at, one)| keys(context, policy, at, one)).collect();
    let providers = spec.providers.iter().zip(keys).map(|(one, keys)| provider(one, keys));
    let mut providers: Vec<JwtProvider> = providers.collect();
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    let jwt = Jwt {
        providers,
        rules: spec.rules.iter().map(rule).chain([rest]).collect(),
        bypass_cors_preflight: true,
        ..Jwt::default()
    };
    FilterEntry { name: JWT.to_owned(), disabled: false, filter: HttpFilter::Jwt(Box::new(jwt)) }
}

fn any(mut names: Vec<String>) -> Requirement {
    match names.len() {
        1 => Requirement::Provider(names.remove(0)),
        _ => Requirement::Any(names.into_iter().map(Requirement::Provider).collect()),
    }
}

/// The keys as they stand in the policy, or where they are fetched.
fn keys(context: &mut Context<'_>, policy: &Policy, index: usize, spec: &TokenProvider) -> JwtKeys {
    let Some(remote) = &spec.remote_keys else {
        return JwtKeys::Inline(spec.keys.clone().unwrap_or_default());
    };
    let at = format!("spec.providers[{index}].remoteKeys");
    let cluster = match (&remote.service, remote.place()) {
        (Some(service), _) => {
            service::cluster(context, policy, &format!("{at}.service"), service, Speaks::Http1)
        }
        (None, Some((tls, host, port))) => {
            let host = HostService { name: host.to_owned(), port, tls: Some(tls), ca_file: None };
            service::cluster(
                context,
                policy,
                &format!("{at}.url"),
                &ServiceAddress::Host(host),
                Speaks::Http1,
            )
        }
        // The API refuses such a URL.
        (None, None) => names::missing_service_cluster(context.mesh(), &policy.name),
    };
    JwtKeys::Remote {
        uri: remote.url.clone(),
        cluster,
        timeout: remote.timeout.map_or(FETCH_TIMEOUT, |span| span.0),
        cache: remote.cache.map_or(CACHE_DURATION_DEFAULT, |span| span.0),
        refetch: remote.retry_after.map_or(REFETCH_DEFAULT, |span| span.0),
        ahead: true,
    }
}

fn provider(spec: &TokenProvider, keys: JwtKeys) -> JwtProvider {
    // A place of its own takes the place of the usual ones, so that both are said where a cookie is.
    let header = match (&spec.header, &spec.cookie) {
        (Some(header), _) => Some(header.to_ascii_lowercase()),
        (None, Some(_)) => Some("authorization".to_owned()),
        (None, None) => None,
    };
    JwtProvider {
        name: spec.name.clone(),
        issuer: spec.issuer.clone(),
        audiences: spec.audiences.clone(),
        subjects: None,
        require_expiration: false,
        lifetime_max: None,
        keys,
        forward: spec.forward.unwrap_or(false),
        from_headers: header
            .map(|name| JwtHeader { name, prefix: "Bearer ".to_owned() })
            .into_iter()
            .collect(),
        from_params: Vec::new(),
        from_cookies: spec.cookie.clone().into_iter().collect(),
        forward_payload_header: String::new(),
        pad_forward_payload_header: false,
        claim_to_headers: spec
            .claims
            .iter()
            .map(|one| (one.header.to_ascii_lowercase(), one.claim.clone()))
            .collect(),
        payload_in_metadata: String::new(),
        header_in_metadata: String::new(),
        failed_status_in_metadata: String::new(),
        clear_route_cache: false,
        clock_skew: spec.clock_skew.map_or(CLOCK_SKEW, |span| span.0),
    }
}
