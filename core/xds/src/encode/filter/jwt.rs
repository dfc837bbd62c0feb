//! The JWT filter.

use selvedge_traffic::filter::{
    Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRoute, JwtRule, Requirement, RuleRequirement,
};
use selvedge_xds_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use selvedge_xds_proto::envoy::config::core::v3::{DataSource, HttpUri, data_source};
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;

use crate::encode::{duration, matching, text};

pub(super) fn filter(jwt: &Jwt) -> proto::JwtAuthentication {
    let providers = jwt.providers.iter().map(|one| (one.name.clone(), provider(one)));
    let requirements = jwt.requirements.iter().map(|(name, one)| (name.clone(), requirement(one)));
    proto::JwtAuthentication {
        providers: providers.collect(),
        rules: jwt.rules.iter().map(rule).collect(),
        filter_state_rules: None,
        bypass_cors_preflight: jwt.bypass_cors_preflight,
        requirement_map: requirements.collect(),
        strip_failure_response: jwt.strip_failure_response,
        stat_prefix: jwt.stat_prefix.clone(),
    }
}

fn provider(provider: &JwtProvider) -> proto::JwtProvider {
    let header = |header: &JwtHeader| proto::JwtHeader {
        name: header.name.clone(),
        value_prefix: header.prefix.clone(),
    };
    let claim = |(header_name, claim_name): &(String, String)| proto::JwtClaimToHeader {
        header_name: header_name.clone(),
        claim_name: claim_name.clone(),
    };
    proto::JwtProvider {
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        jwks_source_specifier: Some(keys(&provider.keys)),
        forward: provider.forward,
        from_headers: provider.from_headers.iter().map(header).collect(),
        from_params: provider.from_params.clone(),
        forward_payload_header: provider.forward_payload_header.clone(),
        payload_in_metadata: provider.payload_in_metadata.clone(),
        clock_skew_seconds: u32::try_from(provider.clock_skew.as_secs()).unwrap_or(u32::MAX),
        pad_forward_payload_header: provider.pad_forward_payload_header,
        from_cookies: provider.from_cookies.clone(),
        header_in_metadata: provider.header_in_metadata.clone(),
        claim_to_headers: provider.claim_to_headers.iter().map(claim).collect(),
        failed_status_in_metadata: provider.failed_status_in_metadata.clone(),
        clear_route_cache: provider.clear_route_cache,
        subjects: provider.subjects.as_ref().map(text::text),
        require_expiration: provider.require_expiration,
        max_lifetime: provider.lifetime_max.map(duration::encode),
    }
}

fn keys(keys: &JwtKeys) -> JwksSourceSpecifier {
    match keys {
        JwtKeys::Inline(text) => JwksSourceSpecifier::LocalJwks(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.clone())),
        }),
        JwtKeys::Remote { uri, cluster, timeout, cache, refetch, ahead } => {
            JwksSourceSpecifier::RemoteJwks(proto::RemoteJwks {
                http_uri: Some(HttpUri {
                    uri: uri.clone(),
                    timeout: Some(duration::encode(*timeout)),
                    http_upstream_type: Some(HttpUpstreamType::Cluster(cluster.clone())),
                }),
                cache_duration: Some(duration::encode(*cache)),
                async_fetch: ahead.then(|| proto::JwksAsyncFetch {
                    fast_listener: false,
                    failed_refetch_duration: Some(duration::encode(*refetch)),
                }),
            })
        }
    }
}

fn requirement(one: &Requirement) -> proto::JwtRequirement {
    let all = |all: &[Requirement]| all.iter().map(requirement).collect();
    let requires = match one {
        Requirement::Provider(name) => RequiresType::ProviderName(name.clone()),
        Requirement::ProviderWithAudiences(name, audiences) => {
            RequiresType::ProviderAndAudiences(proto::ProviderWithAudiences {
                provider_name: name.clone(),
                audiences: audiences.clone(),
            })
        }
        Requirement::Any(any) => {
            RequiresType::RequiresAny(proto::JwtRequirementOrList { requirements: all(any) })
        }
        Requirement::All(every) => {
            RequiresType::RequiresAll(proto::JwtRequirementAndList { requirements: all(every) })
        }
        Requirement::AllowMissing => RequiresType::AllowMissing(()),
        Requirement::AllowMissingOrFailed => RequiresType::AllowMissingOrFailed(()),
    };
    proto::JwtRequirement { requires_type: Some(requires) }
}

fn rule(rule: &JwtRule) -> proto::RequirementRule {
    proto::RequirementRule {
        r#match: Some(matching::encode(&rule.matches)),
        requirement_type: match &rule.requires {
            RuleRequirement::Nothing => None,
            RuleRequirement::Is(one) => Some(RequirementType::Requires(requirement(one))),
            RuleRequirement::Named(name) => Some(RequirementType::RequirementName(name.clone())),
        },
    }
}

pub(super) fn route(route: &JwtRoute) -> proto::PerRouteConfig {
    proto::PerRouteConfig {
        requirement_specifier: Some(match route {
            JwtRoute::Nothing => RequirementSpecifier::Disabled(true),
            JwtRoute::Named(name) => RequirementSpecifier::RequirementName(name.clone()),
        }),
    }
}
