//! Conditions on requests.

use selvedge_traffic::matching::{
    HeaderCondition, HeaderMatch, PathMatch, QueryCondition, QueryMatch, RouteMatch,
};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use selvedge_xds_proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use selvedge_xds_proto::envoy::config::route::v3::route_match::{
    ConnectMatcher, GrpcRouteMatchOptions, PathSpecifier,
};
use selvedge_xds_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use selvedge_xds_proto::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use selvedge_xds_proto::envoy::r#type::v3::Int64Range;

pub(super) fn encode(matches: &RouteMatch) -> proto::RouteMatch {
    let path = match &matches.path {
        PathMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        PathMatch::Connect => PathSpecifier::ConnectMatcher(ConnectMatcher {}),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern.as_str())),
    };
    proto::RouteMatch {
        case_sensitive: None,
        headers: matches.headers.iter().map(header).collect(),
        query_parameters: matches.query.iter().map(query).collect(),
        grpc: matches.grpc.then_some(GrpcRouteMatchOptions {}),
        path_specifier: Some(path),
    }
}

pub(super) fn header(matches: &HeaderMatch) -> proto::HeaderMatcher {
    let specifier = match &matches.condition {
        HeaderCondition::Present => HeaderMatchSpecifier::PresentMatch(true),
        HeaderCondition::Exact(text) => string(MatchPattern::Exact(text.clone())),
        HeaderCondition::Prefix(text) => string(MatchPattern::Prefix(text.clone())),
        HeaderCondition::Suffix(text) => string(MatchPattern::Suffix(text.clone())),
        HeaderCondition::Contains(text) => string(MatchPattern::Contains(text.clone())),
        HeaderCondition::Regex(pattern) => string(MatchPattern::SafeRegex(regex(pattern.as_str()))),
        HeaderCondition::Range { start, end } => {
            HeaderMatchSpecifier::RangeMatch(Int64Range { start: *start, end: *end })
        }
    };
    proto::HeaderMatcher {
        name: matches.name.clone(),
        invert_match: matches.invert,
        treat_missing_header_as_empty: false,
        header_match_specifier: Some(specifier),
    }
}

pub(super) fn query(matches: &QueryMatch) -> proto::QueryParameterMatcher {
    let pattern = match &matches.condition {
        QueryCondition::Present => None,
        QueryCondition::Exact(text) => Some(MatchPattern::Exact(text.clone())),
        QueryCondition::Prefix(text) => Some(MatchPattern::Prefix(text.clone())),
        QueryCondition::Suffix(text) => Some(MatchPattern::Suffix(text.clone())),
        QueryCondition::Contains(text) => Some(MatchPattern::Contains(text.clone())),
        QueryCondition::Regex(pattern) => Some(MatchPattern::SafeRegex(regex(pattern.as_str()))),
    };
    let specifier = match pattern {
        None => QueryParameterMatchSpecifier::PresentMatch(true),
        Some(pattern) => QueryParameterMatchSpecifier::StringMatch(string_matcher(pattern)),
    };
    proto::QueryParameterMatcher {
        name: matches.name.clone(),
        query_parameter_match_specifier: Some(specifier),
    }
}

fn string(pattern: MatchPattern) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::StringMatch(string_matcher(pattern))
}

fn string_matcher(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { ignore_case: false, match_pattern: Some(pattern) }
}

fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned() }
}
