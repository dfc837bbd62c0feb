//! Rate limits of routes and virtual hosts.

use selvedge_traffic::RateLimit;
use selvedge_traffic::rate_limit::{RateLimitAction, TokenBucket};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::rate_limit::action as of;
use selvedge_xds_proto::envoy::config::route::v3::rate_limit::action::ActionSpecifier;
use selvedge_xds_proto::envoy::r#type::metadata::v3::{MetadataKey, metadata_key};
use selvedge_xds_proto::envoy::r#type::v3 as types;

use super::{duration, matching};

pub(super) fn all(limits: &[RateLimit]) -> Vec<proto::RateLimit> {
    let one = |limit: &RateLimit| proto::RateLimit {
        // Envoy refuses a stage, even the first, where a filter itself says what it counts.
        stage: (limit.stage != 0).then_some(limit.stage),
        actions: limit.actions.iter().map(action).collect(),
        ..proto::RateLimit::default()
    };
    limits.iter().map(one).collect()
}

fn action(action: &RateLimitAction) -> proto::rate_limit::Action {
    let specifier = match action.clone() {
        RateLimitAction::SourceCluster => ActionSpecifier::SourceCluster(of::SourceCluster {}),
        RateLimitAction::DestinationCluster => ActionSpecifier::DestinationCluster(of::DestinationCluster {}),
        RateLimitAction::RequestHeader { header, key, skip_if_absent } => {
            let of = of::RequestHeaders { header_name: header, descriptor_key: key, skip_if_absent };
            ActionSpecifier::RequestHeaders(of)
        }
        RateLimitAction::QueryParameter { parameter, key, skip_if_absent } => {
            ActionSpecifier::QueryParameters(of::QueryParameters {
                query_parameter_name: parameter,
                descriptor_key: key,
                skip_if_absent,
            })
        }
        RateLimitAction::RemoteAddress => ActionSpecifier::RemoteAddress(of::RemoteAddress {}),
        RateLimitAction::MaskedRemoteAddress { v4_prefix_len, v6_prefix_len } => {
            ActionSpecifier::MaskedRemoteAddress(of::MaskedRemoteAddress {
                v4_prefix_mask_len: Some(v4_prefix_len.into()),
                v6_prefix_mask_len: Some(v6_prefix_len.into()),
            })
        }
        RateLimitAction::GenericKey { key, value } => {
            ActionSpecifier::GenericKey(of::GenericKey { descriptor_value: value, descriptor_key: key })
        }
        RateLimitAction::HeaderValueMatch { key, value, expect, headers } => {
            ActionSpecifier::HeaderValueMatch(of::HeaderValueMatch {
                descriptor_value: value,
                expect_match: Some(expect),
                headers: headers.iter().map(matching::header).collect(),
                descriptor_key: key,
            })
        }
        RateLimitAction::QueryParameterValueMatch { key, value, expect, parameters } => {
            ActionSpecifier::QueryParameterValueMatch(of::QueryParameterValueMatch {
                descriptor_value: value,
                expect_match: Some(expect),
                query_parameters: parameters.iter().map(matching::query).collect(),
                descriptor_key: key,
            })
        }
        RateLimitAction::Metadata { key, namespace, path, default, skip_if_absent } => {
            let segment = |key| metadata_key::PathSegment {
                segment: Some(metadata_key::path_segment::Segment::Key(key)),
            };
            ActionSpecifier::Metadata(of::MetaData {
                descriptor_key: key,
                metadata_key: Some(MetadataKey {
                    key: namespace,
                    path: path.into_iter().map(segment).collect(),
                }),
                default_value: default,
                source: of::meta_data::Source::Dynamic.into(),
                skip_if_absent,
            })
        }
    };
    proto::rate_limit::Action { action_specifier: Some(specifier) }
}

pub(super) fn bucket(bucket: &TokenBucket) -> types::TokenBucket {
    types::TokenBucket {
        max_tokens: bucket.tokens_max,
        tokens_per_fill: Some(bucket.tokens_per_fill),
        fill_interval: Some(duration::encode(bucket.fill_interval)),
    }
}
