//! Conditions of routes and gateway routes.

use selvedge_model::{
    GatewayRouteHostnameMatch, GrpcMetadata, HeaderMatchMethod, HttpHeader, HttpMethod, HttpPathMatch,
    HttpQueryParameter, HttpScheme,
};
use selvedge_traffic::matching::header::{Pattern, PatternInvalid};
use selvedge_traffic::matching::{
    HeaderCondition, HeaderMatch, PathMatch, QueryCondition, QueryMatch, RouteMatch,
};

use crate::diagnostic::Code;
use crate::domains::is_usable;

/// A part of a route that cannot be used: the member below the protocol's own, and why.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) code: Code,
    pub(crate) member: String,
    pub(crate) reason: String,
}

/// The conditions of an HTTP route, as the two kinds of route share them.
pub(crate) struct HttpConditions<'a> {
    pub(crate) prefix: Option<&'a str>,
    pub(crate) path: Option<&'a HttpPathMatch>,
    pub(crate) headers: &'a [HttpHeader],
    pub(crate) query: &'a [HttpQueryParameter],
    pub(crate) method: Option<HttpMethod>,
    pub(crate) scheme: Option<HttpScheme>,
    pub(crate) hostname: Option<&'a GatewayRouteHostnameMatch>,
}

pub(crate) fn of_http(conditions: &HttpConditions<'_>) -> Result<RouteMatch, Unusable> {
    let path = match (conditions.path, conditions.prefix) {
        (Some(HttpPathMatch { exact: Some(exact), .. }), _) => PathMatch::Exact(exact.clone()),
        (Some(HttpPathMatch { regex: Some(regex), .. }), _) => {
            PathMatch::Regex(pattern("path.regex", regex)?)
        }
        (_, prefix) => PathMatch::Prefix(prefix.unwrap_or("/").to_owned()),
    };
    let word = |name: &str, word: &str| HeaderMatch {
        name: name.to_owned(),
        condition: HeaderCondition::Exact(word.to_owned()),
        invert: false,
    };
    let mut headers = Vec::new();
    headers.extend(conditions.method.map(|method| word(":method", method.as_str())));
    headers.extend(conditions.scheme.map(|scheme| word(":scheme", scheme.as_str())));
    headers.extend(hostname(conditions.hostname)?);
    for (index, one) in conditions.headers.iter().enumerate() {
        headers.push(header(&format!("headers[{index}]"), &one.name, one.method.as_ref(), one.invert)?);
    }
    let mut query = Vec::new();
    for (index, one) in conditions.query.iter().enumerate() {
        query.push(parameter(&format!("queryParameters[{index}]"), one)?);
    }
    Ok(RouteMatch { path, headers, query, grpc: false })
}

/// The conditions of a gRPC route: service and method are the path, metadata are headers.
pub(crate) fn of_grpc(
    service: Option<&str>,
    method: Option<&str>,
    metadata: &[GrpcMetadata],
    host: Option<&GatewayRouteHostnameMatch>,
) -> Result<RouteMatch, Unusable> {
    let path = match (service, method) {
        (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
        (Some(service), None) => PathMatch::Prefix(format!("/{service}/")),
        (None, _) => PathMatch::Prefix("/".to_owned()),
    };
    let mut headers: Vec<HeaderMatch> = hostname(host)?.into_iter().collect();
    for (index, one) in metadata.iter().enumerate() {
        headers.push(header(&format!("metadata[{index}]"), &one.name, one.method.as_ref(), one.invert)?);
    }
    Ok(RouteMatch { path, headers, query: Vec::new(), grpc: true })
}

fn header(
    member: &str,
    name: &str,
    method: Option<&HeaderMatchMethod>,
    invert: Option<bool>,
) -> Result<HeaderMatch, Unusable> {
    check_name(member, name)?;
    let condition = match method {
        None => HeaderCondition::Present,
        Some(HeaderMatchMethod::Exact(text)) => HeaderCondition::Exact(text.clone()),
        Some(HeaderMatchMethod::Prefix(text)) => HeaderCondition::Prefix(text.clone()),
        Some(HeaderMatchMethod::Suffix(text)) => HeaderCondition::Suffix(text.clone()),
        Some(HeaderMatchMethod::Range(range)) => {
            HeaderCondition::Range { start: range.start, end: range.end }
        }
        Some(HeaderMatchMethod::Regex(text)) => {
            HeaderCondition::Regex(pattern(&format!("{member}.match.regex"), text)?)
        }
    };
    Ok(HeaderMatch { name: name.to_ascii_lowercase(), condition, invert: invert.unwrap_or(false) })
}

fn parameter(member: &str, parameter: &HttpQueryParameter) -> Result<QueryMatch, Unusable> {
    check_name(member, &parameter.name)?;
    let exact = parameter.method.as_ref().and_then(|method| method.exact.clone());
    let condition = exact.map_or(QueryCondition::Present, QueryCondition::Exact);
    Ok(QueryMatch { name: parameter.name.clone(), condition })
}

/// A condition on `:authority`. Names are compared without regard to case or port, as host names are.
fn hostname(hostname: Option<&GatewayRouteHostnameMatch>) -> Result<Option<HeaderMatch>, Unusable> {
    let Some(hostname) = hostname else { return Ok(None) };
    let expression = match (&hostname.exact, &hostname.suffix) {
        (Some(exact), _) => format!("(?i){}(:[0-9]+)?", escaped(exact)),
        (None, Some(suffix)) => format!("(?i).*{}(:[0-9]+)?", escaped(suffix.trim_start_matches('*'))),
        (None, None) => return Ok(None),
    };
    let condition = HeaderCondition::Regex(pattern("hostname", &expression)?);
    Ok(Some(HeaderMatch { name: ":authority".to_owned(), condition, invert: false }))
}

/// A text as an expression that matches just it, in the words that RE2 and the regex crate share.
fn escaped(text: &str) -> String {
    let escape = |character: char| {
        let special = character.is_ascii_punctuation() && !matches!(character, '_' | '-' | '/' | ':');
        special.then_some('\\').into_iter().chain([character])
    };
    text.chars().flat_map(escape).collect()
}

fn pattern(member: &str, text: &str) -> Result<Pattern, Unusable> {
    let unusable = |invalid: PatternInvalid| Unusable {
        code: Code::RegexInvalid,
        member: format!("match.{member}"),
        reason: invalid.to_string(),
    };
    Pattern::new(text).map_err(unusable)
}

/// A name that a proxy would refuse takes its route out, not the whole table.
fn check_name(member: &str, name: &str) -> Result<(), Unusable> {
    if is_usable(name) {
        return Ok(());
    }
    let reason = format!("{name:?} cannot be the name of a header or parameter");
    Err(Unusable { code: Code::NameUnusable, member: format!("match.{member}.name"), reason })
}

#[cfg(test)]
mod tests {
    use selvedge_traffic::matching::{PlainRequest, Target};

    use super::*;

    #[test]
    fn host_names_match_without_regard_to_case_and_port() {
        let exact = |name: &str| GatewayRouteHostnameMatch { exact: Some(name.to_owned()), suffix: None };
        let suffix = |name: &str| GatewayRouteHostnameMatch { exact: None, suffix: Some(name.to_owned()) };
        for (condition, authority, matched) in [
            (exact("a.example"), "a.example", true),
            (exact("a.example"), "A.Example:8080", true),
            (exact("a.example"), "aXexample", false),
            (exact("a.example"), "b.a.example", false),
            (suffix(".example"), "a.example:80", true),
            (suffix("*.example"), "a.example", true),
            (suffix(".example"), "a.example.org", false),
        ] {
            let matches = of_grpc(None, None, &[], Some(&condition)).expect("usable");
            let request =
                PlainRequest::new("POST", authority, "/").with_header("content-type", "application/grpc");
            assert_eq!(
                matches.check(&request, &Target::parse("/")).is_ok(),
                matched,
                "{condition:?} {authority}"
            );
        }
    }

    #[test]
    fn a_grpc_route_matches_its_service_and_method() {
        for (service, method, path) in [
            (Some("a.B"), Some("Get"), PathMatch::Exact("/a.B/Get".into())),
            (Some("a.B"), None, PathMatch::Prefix("/a.B/".into())),
            (None, None, PathMatch::Prefix("/".into())),
        ] {
            let matches = of_grpc(service, method, &[], None).expect("usable");
            assert_eq!((matches.path, matches.grpc), (path, true));
        }
    }
}
