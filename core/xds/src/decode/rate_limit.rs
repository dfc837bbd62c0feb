//! Rate limits of routes and virtual hosts.

use selvedge_traffic::RateLimit;
use selvedge_traffic::rate_limit::bucket::FILL_INTERVAL_MIN;
use selvedge_traffic::rate_limit::{RateLimitAction, STAGE_MAX, TokenBucket};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::rate_limit::action::ActionSpecifier;
use selvedge_xds_proto::envoy::config::route::v3::rate_limit::action::meta_data::Source;
use selvedge_xds_proto::envoy::r#type::metadata::v3::metadata_key;
use selvedge_xds_proto::envoy::r#type::v3 as types;

use super::bounds::{known, not_empty};
use super::{Reason, duration, matching};

pub(super) fn all(messages: Vec<proto::RateLimit>) -> Result<Vec<RateLimit>, Reason> {
    messages.into_iter().map(one).collect()
}

fn one(message: proto::RateLimit) -> Result<RateLimit, Reason> {
    let refused = [
        (message.limit.is_some(), "rate_limits.limit"),
        (message.hits_addend.is_some(), "rate_limits.hits_addend"),
        (message.apply_on_stream_done, "rate_limits.apply_on_stream_done"),
    ];
    if let Some((_, field)) = refused.into_iter().find(|(there, _)| *there) {
        return Err(Reason::Unsupported { field, value: "a value".to_owned() });
    }
    if message.actions.is_empty() {
        return Err(Reason::Missing("rate_limits.actions"));
    }
    let actions = message.actions.into_iter().map(action);
    Ok(RateLimit {
        stage: stage("rate_limits.stage", message.stage.unwrap_or_default())?,
        actions: actions.collect::<Result<_, _>>()?,
    })
}

pub(super) fn stage(field: &'static str, stage: u32) -> Result<u32, Reason> {
    if stage > STAGE_MAX {
        return Err(Reason::Invalid { field, value: stage.to_string(), expected: "is not in 0..=10" });
    }
    Ok(stage)
}

fn action(message: proto::rate_limit::Action) -> Result<RateLimitAction, Reason> {
    let key_or = |key: String, usual: &str| if key.is_empty() { usual.to_owned() } else { key };
    Ok(match message.action_specifier.ok_or(Reason::Missing("rate_limits.actions.action_specifier"))? {
        ActionSpecifier::SourceCluster(_) => RateLimitAction::SourceCluster,
        ActionSpecifier::DestinationCluster(_) => RateLimitAction::DestinationCluster,
        ActionSpecifier::RequestHeaders(of) => RateLimitAction::RequestHeader {
            header: not_empty("rate_limits.actions.header_name", of.header_name)?.to_ascii_lowercase(),
            key: not_empty("rate_limits.actions.descriptor_key", of.descriptor_key)?,
            skip_if_absent: of.skip_if_absent,
        },
        ActionSpecifier::QueryParameters(of) => RateLimitAction::QueryParameter {
            parameter: not_empty("rate_limits.actions.query_parameter_name", of.query_parameter_name)?,
            key: not_empty("rate_limits.actions.descriptor_key", of.descriptor_key)?,
            skip_if_absent: of.skip_if_absent,
        },
        ActionSpecifier::RemoteAddress(_) => RateLimitAction::RemoteAddress,
        ActionSpecifier::MaskedRemoteAddress(of) => RateLimitAction::MaskedRemoteAddress {
            v4_prefix_len: prefix_len(of.v4_prefix_mask_len, 32)?,
            v6_prefix_len: prefix_len(of.v6_prefix_mask_len, 128)?,
        },
        ActionSpecifier::GenericKey(of) => RateLimitAction::GenericKey {
            key: key_or(of.descriptor_key, "generic_key"),
            value: not_empty("rate_limits.actions.descriptor_value", of.descriptor_value)?,
        },
        ActionSpecifier::HeaderValueMatch(of) => RateLimitAction::HeaderValueMatch {
            key: key_or(of.descriptor_key, "header_match"),
            value: not_empty("rate_limits.actions.descriptor_value", of.descriptor_value)?,
            expect: of.expect_match.unwrap_or(true),
            headers: of.headers.into_iter().map(matching::header).collect::<Result<_, _>>()?,
        },
        ActionSpecifier::QueryParameterValueMatch(of) => RateLimitAction::QueryParameterValueMatch {
            key: key_or(of.descriptor_key, "query_match"),
            value: not_empty("rate_limits.actions.descriptor_value", of.descriptor_value)?,
            expect: of.expect_match.unwrap_or(true),
            parameters: of.query_parameters.into_iter().map(matching::query).collect::<Result<_, _>>()?,
        },
        ActionSpecifier::Metadata(of) => metadata(of)?,
    })
}

fn prefix_len(len: Option<u32>, max: u8) -> Result<u8, Reason> {
    let len = len.unwrap_or_else(|| max.into());
    u8::try_from(len).ok().filter(|len| *len <= max).ok_or_else(|| Reason::Invalid {
        field: "rate_limits.actions.masked_remote_address",
        value: len.to_string(),
        expected: "is longer than an address",
    })
}

fn metadata(of: proto::rate_limit::action::MetaData) -> Result<RateLimitAction, Reason> {
    const FIELD: &str = "rate_limits.actions.metadata";
    match known(FIELD, of.source)? {
        Source::Dynamic => {}
        other => return Err(Reason::Unsupported { field: FIELD, value: other.as_str_name().to_owned() }),
    }
    let key = of.metadata_key.ok_or(Reason::Missing(FIELD))?;
    let path = key.path.into_iter().map(|segment| match segment.segment {
        Some(metadata_key::path_segment::Segment::Key(key)) => Ok(key),
        None => Err(Reason::Missing(FIELD)),
    });
    Ok(RateLimitAction::Metadata {
        key: not_empty("rate_limits.actions.descriptor_key", of.descriptor_key)?,
        namespace: not_empty(FIELD, key.key)?,
        path: path.collect::<Result<_, _>>()?,
        default: of.default_value,
        skip_if_absent: of.skip_if_absent,
    })
}

pub(super) fn bucket(field: &'static str, message: &types::TokenBucket) -> Result<TokenBucket, Reason> {
    let fill_interval = duration::optional(field, message.fill_interval)?.ok_or(Reason::Missing(field))?;
    let tokens_per_fill = message.tokens_per_fill.unwrap_or(1);
    let invalid = |value: String, expected| Err(Reason::Invalid { field, value, expected });
    if message.max_tokens == 0 || tokens_per_fill == 0 {
        return invalid("0".to_owned(), "tokens are below 1");
    }
    if fill_interval < FILL_INTERVAL_MIN {
        return invalid(format!("{fill_interval:?}"), "is below 50ms");
    }
    Ok(TokenBucket { tokens_max: message.max_tokens, tokens_per_fill, fill_interval })
}
