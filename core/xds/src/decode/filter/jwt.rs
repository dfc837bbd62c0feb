//! The JWT filter.

use std::time::Duration;

use selvedge_traffic::filter::jwt::{CACHE_DURATION_DEFAULT, CLOCK_SKEW_DEFAULT, REFETCH_DEFAULT};
use selvedge_traffic::filter::{
    Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRoute, JwtRule, Requirement, RuleRequirement,
};
use selvedge_xds_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3 as proto;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use selvedge_xds_proto::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;

use crate::decode::bounds::not_empty;
use crate::decode::route::inline_text;
use crate::decode::{Reason, duration, matching, text};

/// How deep requirements may nest.
const NESTING_MAX: usize = 16;

pub(super) fn filter(message: proto::JwtAuthentication) -> Result<Jwt, Reason> {
    if message.filter_state_rules.is_some() {
        return Err(Reason::Unsupported {
            field: "jwt_authn.filter_state_rules",
            value: "a value".to_owned(),
        });
    }
    let requirements = message.requirement_map.into_iter();
    let jwt = Jwt {
        providers: message
            .providers
            .into_iter()
            .map(|(name, message)| provider(name, message))
            .collect::<Result<_, _>>()?,
        rules: message.rules.into_iter().map(rule).collect::<Result<_, _>>()?,
        requirements: requirements
            .map(|(name, message)| Ok((name, requirement(message, NESTING_MAX)?)))
            .collect::<Result<_, Reason>>()?,
        bypass_cors_preflight: message.bypass_cors_preflight,
        strip_failure_response: message.strip_failure_response,
        stat_prefix: message.stat_prefix,
    };
    known_names(&jwt)?;
    Ok(jwt)
}

/// A requirement that names nobody would let nobody in, or everybody.
fn known_names(jwt: &Jwt) -> Result<(), Reason> {
    let unknown = |value: &str| Reason::Invalid {
        field: "jwt_authn.requires",
        value: value.to_owned(),
        expected: "is no provider or requirement",
    };
    fn check<'a>(jwt: &Jwt, requirement: &'a Requirement) -> Result<(), &'a str> {
        match requirement {
            Requirement::Provider(name) | Requirement::ProviderWithAudiences(name, _) => {
                jwt.provider(name).map(|_| ()).ok_or(name.as_str())
            }
            Requirement::Any(all) | Requirement::All(all) => all.iter().try_for_each(|one| check(jwt, one)),
            Requirement::AllowMissing | Requirement::AllowMissingOrFailed => Ok(()),
        }
    }
    let named = jwt.requirements.iter().map(|(_, requirement)| requirement);
    let of_rules = jwt.rules.iter().filter_map(|rule| match &rule.requires {
        RuleRequirement::Is(requirement) => Some(requirement),
        RuleRequirement::Nothing | RuleRequirement::Named(_) => None,
    });
    named.chain(of_rules).try_for_each(|one| check(jwt, one)).map_err(unknown)?;
    for rule in &jwt.rules {
        if let RuleRequirement::Named(name) = &rule.requires {
            jwt.requirement(name).ok_or_else(|| unknown(name))?;
        }
    }
    Ok(())
}

fn provider(name: String, message: proto::JwtProvider) -> Result<JwtProvider, Reason> {
    let keys = match message.jwks_source_specifier.ok_or(Reason::Missing("jwt_authn.providers.jwks"))? {
        JwksSourceSpecifier::LocalJwks(source) => {
            JwtKeys::Inline(inline_text("jwt_authn.providers.local_jwks", source)?)
        }
        JwksSourceSpecifier::RemoteJwks(remote) => remote_keys(remote)?,
    };
    let skew = Some(message.clock_skew_seconds).filter(|seconds| *seconds > 0);
    let header = |message: proto::JwtHeader| {
        let name = not_empty("jwt_authn.providers.from_headers.name", message.name)?;
        Ok(JwtHeader { name: name.to_ascii_lowercase(), prefix: message.value_prefix })
    };
    let claim = |message: proto::JwtClaimToHeader| {
        let name = not_empty("jwt_authn.providers.claim_to_headers.header_name", message.header_name)?;
        let claim = not_empty("jwt_authn.providers.claim_to_headers.claim_name", message.claim_name)?;
        Ok((name.to_ascii_lowercase(), claim))
    };
    let subjects = message.subjects.map(|subjects| text::text("jwt_authn.providers.subjects", subjects));
    Ok(JwtProvider {
        name,
        issuer: message.issuer,
        audiences: message.audiences,
        subjects: subjects.transpose()?,
        require_expiration: message.require_expiration,
        lifetime_max: duration::optional("jwt_authn.providers.max_lifetime", message.max_lifetime)?,
        keys,
        forward: message.forward,
        from_headers: message.from_headers.into_iter().map(header).collect::<Result<_, Reason>>()?,
        from_params: message.from_params,
        from_cookies: message.from_cookies,
        forward_payload_header: message.forward_payload_header.to_ascii_lowercase(),
        pad_forward_payload_header: message.pad_forward_payload_header,
        claim_to_headers: message.claim_to_headers.into_iter().map(claim).collect::<Result<_, Reason>>()?,
        payload_in_metadata: message.payload_in_metadata,
        header_in_metadata: message.header_in_metadata,
        failed_status_in_metadata: message.failed_status_in_metadata,
        clear_route_cache: message.clear_route_cache,
        clock_skew: skew.map_or(CLOCK_SKEW_DEFAULT, |seconds| Duration::from_secs(seconds.into())),
    })
}

fn remote_keys(message: proto::RemoteJwks) -> Result<JwtKeys, Reason> {
    const FIELD: &str = "jwt_authn.providers.remote_jwks.http_uri";
    let uri = message.http_uri.ok_or(Reason::Missing(FIELD))?;
    let HttpUpstreamType::Cluster(cluster) =
        uri.http_upstream_type.ok_or(Reason::Missing("jwt_authn.providers.remote_jwks.http_uri.cluster"))?;
    let ahead = message.async_fetch.is_some();
    let refetch = message.async_fetch.and_then(|fetch| fetch.failed_refetch_duration);
    Ok(JwtKeys::Remote {
        uri: not_empty(FIELD, uri.uri)?,
        cluster: not_empty("jwt_authn.providers.remote_jwks.http_uri.cluster", cluster)?,
        timeout: duration::optional(FIELD, uri.timeout)?
            .ok_or(Reason::Missing("jwt_authn.providers.remote_jwks.http_uri.timeout"))?,
        cache: duration::or(
            "jwt_authn.remote_jwks.cache_duration",
            message.cache_duration,
            CACHE_DURATION_DEFAULT,
        )?,
        refetch: duration::or("jwt_authn.async_fetch.failed_refetch_duration", refetch, REFETCH_DEFAULT)?,
        ahead,
    })
}

fn requirement(message: proto::JwtRequirement, depth: usize) -> Result<Requirement, Reason> {
    const FIELD: &str = "jwt_authn.requires";
    let depth = depth.checked_sub(1).ok_or_else(|| Reason::Invalid {
        field: FIELD,
        value: "a requirement".to_owned(),
        expected: "nests too deep",
    })?;
    let all = |messages: Vec<proto::JwtRequirement>| {
        if messages.len() < 2 {
            return Err(Reason::Missing("jwt_authn.requires.requirements: at least two"));
        }
        messages.into_iter().map(|one| requirement(one, depth)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match message.requires_type.ok_or(Reason::Missing(FIELD))? {
        RequiresType::ProviderName(name) => Requirement::Provider(name),
        RequiresType::ProviderAndAudiences(both) => {
            Requirement::ProviderWithAudiences(both.provider_name, both.audiences)
        }
        RequiresType::RequiresAny(list) => Requirement::Any(all(list.requirements)?),
        RequiresType::RequiresAll(list) => Requirement::All(all(list.requirements)?),
        RequiresType::AllowMissing(()) => Requirement::AllowMissing,
        RequiresType::AllowMissingOrFailed(()) => Requirement::AllowMissingOrFailed,
    })
}

fn rule(message: proto::RequirementRule) -> Result<JwtRule, Reason> {
    Ok(JwtRule {
        matches: matching::decode(message.r#match.ok_or(Reason::Missing("jwt_authn.rules.match"))?)?,
        requires: match message.requirement_type {
            None => RuleRequirement::Nothing,
            // A requirement that says nothing asks for nothing, as in Envoy.
            Some(RequirementType::Requires(proto::JwtRequirement { requires_type: None })) => {
                RuleRequirement::Nothing
            }
            Some(RequirementType::Requires(one)) => RuleRequirement::Is(requirement(one, NESTING_MAX)?),
            Some(RequirementType::RequirementName(name)) => RuleRequirement::Named(name),
        },
    })
}

pub(super) fn route(message: proto::PerRouteConfig) -> Result<JwtRoute, Reason> {
    match message.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Ok(JwtRoute::Nothing),
        Some(RequirementSpecifier::RequirementName(name)) => {
            not_empty("jwt_authn.requirement_name", name).map(JwtRoute::Named)
        }
        Some(RequirementSpecifier::Disabled(false)) | None => {
            Err(Reason::Missing("jwt_authn.requirement_specifier"))
        }
    }
}
