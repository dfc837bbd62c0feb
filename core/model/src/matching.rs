//! How requests are recognised, by routes and by gateway routes.

use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure, union};
use crate::violation::Violations;

pub(crate) const HEADERS: Shape = Shape::list("HttpRouteHeaders", HttpHeader::SHAPE, Bounds::between(1, 10));
pub(crate) const QUERY_PARAMETERS: Shape =
    Shape::list("HttpQueryParameters", HttpQueryParameter::SHAPE, Bounds::between(1, 10));
pub(crate) const METADATA_LIST: Shape =
    Shape::list("GrpcRouteMetadataList", GrpcMetadata::SHAPE, Bounds::between(1, 10));
pub(crate) const PATH_EXACT: Shape = Shape::string_of("HttpPathExact", 1, 255);
const PATH_REGEX: Shape = Shape::string_of("HttpPathRegex", 1, 255);
const HEADER_NAME: Shape = Shape::string_of("HeaderName", 1, 50);
const HEADER_MATCH: Shape = Shape::string_of("HeaderMatch", 1, 255);

structure! {
    /// A condition on a header.
    pub struct HttpHeader {
        /// Whether the condition must fail; no, unless it says so.
        optional invert "invert": bool,
        /// What the value must look like; presence is enough when absent.
        optional method "match": HeaderMatchMethod,
        /// The header's name.
        required name "name": String => &HEADER_NAME,
    }
}

structure! {
    /// A condition on gRPC metadata.
    pub struct GrpcMetadata {
        /// Whether the condition must fail; no, unless it says so.
        optional invert "invert": bool,
        /// What the value must look like; presence is enough when absent.
        optional method "match": HeaderMatchMethod,
        /// The metadata's name.
        required name "name": String => &HEADER_NAME,
    }
}

union! {
    /// What a header's value must look like.
    pub enum HeaderMatchMethod {
        Exact "exact": String => &HEADER_MATCH,
        Prefix "prefix": String => &HEADER_MATCH,
        /// A whole number within a range.
        Range "range": MatchRange,
        /// A regular expression that the whole value must meet.
        Regex "regex": String => &HEADER_MATCH,
        Suffix "suffix": String => &HEADER_MATCH,
    }
}

structure! {
    /// A half-open range of whole numbers.
    pub struct MatchRange {
        /// The first number beyond the range.
        required end "end": i64,
        /// The first number of the range.
        required start "start": i64,
    }
}

structure! {
    /// A condition on the path.
    pub struct HttpPathMatch {
        /// The whole path.
        optional exact "exact": String => &PATH_EXACT,
        /// A regular expression that the whole path must meet.
        optional regex "regex": String => &PATH_REGEX,
    }
}

structure! {
    /// A condition on a query parameter.
    pub struct HttpQueryParameter {
        /// What the value must look like; presence is enough when absent.
        optional method "match": QueryParameterMatch,
        /// The parameter's name.
        required name "name": String,
    }
}

structure! {
    /// What a query parameter's value must look like.
    pub struct QueryParameterMatch {
        /// The whole value.
        optional exact "exact": String,
    }
}

enumeration! {
    /// The methods that a route can match.
    pub enum HttpMethod {
        Get "GET",
        Head "HEAD",
        Post "POST",
        Put "PUT",
        Delete "DELETE",
        Connect "CONNECT",
        Options "OPTIONS",
        Trace "TRACE",
        Patch "PATCH",
    }
}

enumeration! {
    /// The schemes that a route can match.
    pub enum HttpScheme {
        Http "http",
        Https "https",
    }
}

/// The rules that the path of a match must obey, for routes and gateway routes.
pub(crate) fn check_path(
    at: &str,
    prefix: Option<&str>,
    path: Option<&HttpPathMatch>,
    found: &mut Violations,
) {
    if prefix.is_some() && path.is_some() {
        found.rule(at, "A match can have either prefix or path, not both.");
    }
    let Some(path) = path else { return };
    if path.exact.is_some() && path.regex.is_some() {
        found.rule(format!("{at}.path"), "A path can have either exact or regex, not both.");
    }
    if let Some(exact) = path.exact.as_deref().filter(|exact| !exact.starts_with('/')) {
        found.rule(format!("{at}.path.exact"), format!("Path '{exact}' must start with '/'."));
    }
}
