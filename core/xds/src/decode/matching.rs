//! Conditions on requests.

use selvedge_traffic::matching::header::Pattern;
use selvedge_traffic::matching::{
    HeaderCondition, HeaderMatch, PathMatch, QueryCondition, QueryMatch, RouteMatch,
};
use selvedge_xds_proto::envoy::config::route::v3 as proto;
use selvedge_xds_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use selvedge_xds_proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use selvedge_xds_proto::envoy::config::route::v3::route_match::PathSpecifier;
use selvedge_xds_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use selvedge_xds_proto::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

use super::bounds::not_empty;
use super::{Reason, all};

pub(super) fn decode(message: proto::RouteMatch) -> Result<RouteMatch, Reason> {
    if message.case_sensitive == Some(false) {
        return Err(Reason::Unsupported { field: "match.case_sensitive", value: "false".to_owned() });
    }
    let path = match message.path_specifier {
        None => return Err(Reason::Missing("match.path_specifier")),
        Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(prefix),
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(path),
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        Some(PathSpecifier::SafeRegex(regex)) => PathMatch::Regex(pattern("match.safe_regex", &regex)?),
    };
    Ok(RouteMatch {
        path,
        headers: all(message.headers, header)?,
        query: all(message.query_parameters, query)?,
        grpc: message.grpc.is_some(),
    })
}

pub(super) fn header(message: proto::HeaderMatcher) -> Result<HeaderMatch, Reason> {
    if message.treat_missing_header_as_empty {
        let field = "headers.treat_missing_header_as_empty";
        return Err(Reason::Unsupported { field, value: "true".to_owned() });
    }
    let mut invert = message.invert_match;
    let condition = match message.header_match_specifier {
        None => HeaderCondition::Present,
        Some(HeaderMatchSpecifier::PresentMatch(present)) => {
            invert ^= !present;
            HeaderCondition::Present
        }
        // How conditions on texts were written before there was a matcher for them.
        Some(HeaderMatchSpecifier::ExactMatch(text)) => HeaderCondition::Exact(text),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => {
            HeaderCondition::Prefix(not_empty("headers.prefix_match", text)?)
        }
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => {
            HeaderCondition::Suffix(not_empty("headers.suffix_match", text)?)
        }
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => {
            HeaderCondition::Contains(not_empty("headers.contains_match", text)?)
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
            HeaderCondition::Regex(pattern("headers.safe_regex_match", &regex)?)
        }
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            HeaderCondition::Range { start: range.start, end: range.end }
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => match string("headers.string_match", matcher)? {
            MatchPattern::Exact(text) => HeaderCondition::Exact(text),
            MatchPattern::Prefix(text) => HeaderCondition::Prefix(text),
            MatchPattern::Suffix(text) => HeaderCondition::Suffix(text),
            MatchPattern::Contains(text) => HeaderCondition::Contains(text),
            MatchPattern::SafeRegex(regex) => {
                HeaderCondition::Regex(pattern("headers.string_match", &regex)?)
            }
        },
    };
    Ok(HeaderMatch { name: not_empty("headers.name", message.name)?.to_ascii_lowercase(), condition, invert })
}

pub(super) fn query(message: proto::QueryParameterMatcher) -> Result<QueryMatch, Reason> {
    let condition = match message.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => QueryCondition::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(Reason::Unsupported {
                field: "query_parameters.present_match",
                value: "false".to_owned(),
            });
        }
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            match string("query_parameters.string_match", matcher)? {
                MatchPattern::Exact(text) => QueryCondition::Exact(text),
                MatchPattern::Prefix(text) => QueryCondition::Prefix(text),
                MatchPattern::Suffix(text) => QueryCondition::Suffix(text),
                MatchPattern::Contains(text) => QueryCondition::Contains(text),
                MatchPattern::SafeRegex(regex) => {
                    QueryCondition::Regex(pattern("query_parameters.string_match", &regex)?)
                }
            }
        }
    };
    Ok(QueryMatch { name: not_empty("query_parameters.name", message.name)?, condition })
}

fn string(field: &'static str, matcher: StringMatcher) -> Result<MatchPattern, Reason> {
    if matcher.ignore_case {
        return Err(Reason::Unsupported { field, value: "ignore_case".to_owned() });
    }
    some_part(field, matcher.match_pattern)
}

/// A pattern; a part of a text is some part.
pub(super) fn some_part(field: &'static str, pattern: Option<MatchPattern>) -> Result<MatchPattern, Reason> {
    match pattern {
        Some(MatchPattern::Prefix(text) | MatchPattern::Suffix(text) | MatchPattern::Contains(text))
            if text.is_empty() =>
        {
            Err(Reason::Missing(field))
        }
        pattern => pattern.ok_or(Reason::Missing(field)),
    }
}

pub(super) fn pattern(field: &'static str, regex: &RegexMatcher) -> Result<Pattern, Reason> {
    Pattern::new(&regex.regex).map_err(|error| Reason::Invalid {
        field,
        value: error.to_string(),
        expected: "is no usable expression",
    })
}
