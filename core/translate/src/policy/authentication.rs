//! Tokens: who issues them, and which requests need one.

use std::time::Duration;

use selvedge_model::policy::{Authentication, AuthenticationRule, TokenNeed, TokenProvider};
use selvedge_traffic::filter::{Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRule, Requirement, RuleRequirement};
use selvedge_traffic::matching::RouteMatch;
use selvedge_traffic::{FilterEntry, HttpFilter};

const JWT: &str = "envoy.filters.http.jwt_authn";
/// How far clocks may differ, unless told otherwise (Envoy's default).
const CLOCK_SKEW: Duration = Duration::from_secs(60);

pub(super) fn filter(spec: &Authentication) -> FilterEntry {
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
    let mut providers: Vec<JwtProvider> = spec.providers.iter().map(provider).collect();
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

fn provider(spec: &TokenProvider) -> JwtProvider {
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
        keys: JwtKeys::Inline(spec.keys.clone()),
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
