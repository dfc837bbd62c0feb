//! Who asks, by a JSON Web Token that somebody trusted has signed.

use std::time::Duration;

use serde::Serialize;

use crate::matching::{RouteMatch, TextMatch};

/// What a token's times may be off by where nothing else is configured (Envoy's default).
pub const CLOCK_SKEW_DEFAULT: Duration = Duration::from_secs(60);
/// How long fetched keys are used where nothing else is configured (Envoy's default).
pub const CACHE_DURATION_DEFAULT: Duration = Duration::from_secs(600);
/// How long a failed fetch is not tried again where nothing else is configured (Envoy's default).
pub const REFETCH_DEFAULT: Duration = Duration::from_secs(1);

/// Envoy's `envoy.filters.http.jwt_authn`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Jwt {
    /// In the order of their names, which are unique.
    pub providers: Vec<JwtProvider>,
    /// The first whose conditions hold says what is required; without one nothing is.
    pub rules: Vec<JwtRule>,
    /// By name, for rules and routes; in the order of the names.
    pub requirements: Vec<(String, Requirement)>,
    /// A CORS preflight needs no token.
    pub bypass_cors_preflight: bool,
    /// Refusals have no body and no challenge.
    pub strip_failure_response: bool,
    /// After `jwt_authn` in the names of its statistics, where it is not empty.
    pub stat_prefix: String,
}

/// Who issues tokens, and how they are checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JwtProvider {
    pub name: String,
    /// Empty: any.
    pub issuer: String,
    /// One of them; empty: any.
    pub audiences: Vec<String>,
    pub subjects: Option<TextMatch>,
    pub require_expiration: bool,
    /// A token that lasts longer is refused.
    pub lifetime_max: Option<Duration>,
    pub keys: JwtKeys,
    /// The token goes on to the upstream.
    pub forward: bool,
    /// Without any place of its own: `authorization: Bearer …`, then the parameter `access_token`.
    pub from_headers: Vec<JwtHeader>,
    pub from_params: Vec<String>,
    pub from_cookies: Vec<String>,
    /// The payload, in base64url, for the upstream; empty: none.
    pub forward_payload_header: String,
    pub pad_forward_payload_header: bool,
    /// Claims for the upstream: header, path of the claim.
    pub claim_to_headers: Vec<(String, String)>,
    /// The key under which other filters find the payload; empty: they do not.
    pub payload_in_metadata: String,
    pub header_in_metadata: String,
    pub failed_status_in_metadata: String,
    /// The route is looked for again once claims are in headers or metadata.
    pub clear_route_cache: bool,
    pub clock_skew: Duration,
}

/// Where a provider's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum JwtKeys {
    /// A JSON Web Key Set.
    Inline(String),
    Remote {
        uri: String,
        cluster: String,
        timeout: Duration,
        cache: Duration,
        /// Before a failed fetch is tried again.
        refetch: Duration,
        /// Fetched ahead of the first request.
        ahead: bool,
    },
}

/// A header that may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwtHeader {
    /// Lower case.
    pub name: String,
    /// What stands before the token.
    pub prefix: String,
}

/// What requests need.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Requirement {
    Provider(String),
    /// With audiences in place of the provider's.
    ProviderWithAudiences(String, Vec<String>),
    Any(Vec<Self>),
    All(Vec<Self>),
    /// A token, if there is one, must be good.
    AllowMissing,
    /// Everything passes; a good token is still read.
    AllowMissingOrFailed,
}

/// What some requests need.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JwtRule {
    pub matches: RouteMatch,
    pub requires: RuleRequirement,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RuleRequirement {
    Nothing,
    Is(Requirement),
    Named(String),
}

/// What a route needs, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum JwtRoute {
    Nothing,
    Named(String),
}

impl Jwt {
    pub fn requirement(&self, name: &str) -> Option<&Requirement> {
        self.requirements.iter().find(|(own, _)| own == name).map(|(_, requirement)| requirement)
    }

    pub fn provider(&self, name: &str) -> Option<&JwtProvider> {
        self.providers.iter().find(|provider| provider.name == name)
    }
}
