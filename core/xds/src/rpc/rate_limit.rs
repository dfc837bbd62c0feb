//! `envoy.service.ratelimit.v3.RateLimitService`: are there too many such requests? Both ends of it.

use std::time::Duration;

use prost::Message;
use selvedge_traffic::rate_limit::Descriptor;
pub use selvedge_traffic::rate_limit::service::Unit;
use selvedge_xds_proto::envoy::config::core::v3::HeaderValue;
use selvedge_xds_proto::envoy::extensions::common::ratelimit::v3 as common;
use selvedge_xds_proto::envoy::service::ratelimit::v3 as proto;
use selvedge_xds_proto::envoy::service::ratelimit::v3::rate_limit_response as response;

/// The service's name.
pub const SERVICE: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// The path of its only method.
pub const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub domain: String,
    pub descriptors: Vec<Descriptor>,
    /// How many requests this one counts for.
    pub hits: u32,
}

/// What the service says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub over_limit: bool,
    /// One for each descriptor.
    pub statuses: Vec<Status>,
    pub response_headers: Vec<(String, String)>,
    pub request_headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What it says of one descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub over_limit: bool,
    /// `None` if nothing limits it.
    pub limit: Option<Limit>,
    pub remaining: u32,
    pub reset: Duration,
}

/// So many requests in a unit of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: String,
    pub requests: u32,
    pub unit: Unit,
}

/// The message of a question.
pub fn encode_request(request: &Request) -> Vec<u8> {
    let entry = |(key, value): &(String, String)| common::rate_limit_descriptor::Entry {
        key: key.clone(),
        value: value.clone(),
    };
    let descriptor = |descriptor: &Descriptor| common::RateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        ..common::RateLimitDescriptor::default()
    };
    proto::RateLimitRequest {
        domain: request.domain.clone(),
        descriptors: request.descriptors.iter().map(descriptor).collect(),
        hits_addend: request.hits,
    }
    .encode_to_vec()
}

/// Reads a question; `None` if it is none.
pub fn decode_request(bytes: &[u8]) -> Option<Request> {
    let message = proto::RateLimitRequest::decode(bytes).ok()?;
    let descriptor = |message: common::RateLimitDescriptor| Descriptor {
        entries: message.entries.into_iter().map(|entry| (entry.key, entry.value)).collect(),
    };
    Some(Request {
        domain: message.domain,
        descriptors: message.descriptors.into_iter().map(descriptor).collect(),
        hits: message.hits_addend.max(1),
    })
}

/// The message of an answer.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    let header = |(key, value): &(String, String)| HeaderValue { key: key.clone(), value: value.clone() };
    let status = |status: &Status| response::DescriptorStatus {
        code: code(status.over_limit).into(),
        current_limit: status.limit.as_ref().map(|limit| response::RateLimit {
            requests_per_unit: limit.requests,
            unit: unit(limit.unit).into(),
            name: limit.name.clone(),
        }),
        limit_remaining: status.remaining,
        duration_until_reset: Some(prost_types::Duration {
            seconds: i64::try_from(status.reset.as_secs()).unwrap_or(i64::MAX),
            nanos: status.reset.subsec_nanos().cast_signed(),
        }),
    };
    proto::RateLimitResponse {
        overall_code: code(answer.over_limit).into(),
        statuses: answer.statuses.iter().map(status).collect(),
        response_headers_to_add: answer.response_headers.iter().map(header).collect(),
        request_headers_to_add: answer.request_headers.iter().map(header).collect(),
        raw_body: answer.body.clone(),
        dynamic_metadata: None,
    }
    .encode_to_vec()
}

/// Reads an answer; `None` if it is none.
pub fn decode_answer(bytes: &[u8]) -> Option<Answer> {
    let message = proto::RateLimitResponse::decode(bytes).ok()?;
    let over_limit = match response::Code::try_from(message.overall_code).ok()? {
        response::Code::Unknown => return None,
        code => code == response::Code::OverLimit,
    };
    let header = |header: HeaderValue| (header.key, header.value);
    let status = |message: response::DescriptorStatus| Status {
        over_limit: message.code == i32::from(response::Code::OverLimit),
        limit: message.current_limit.and_then(limit),
        remaining: message.limit_remaining,
        reset: message.duration_until_reset.and_then(|reset| reset.try_into().ok()).unwrap_or_default(),
    };
    Some(Answer {
        over_limit,
        statuses: message.statuses.into_iter().map(status).collect(),
        response_headers: message.response_headers_to_add.into_iter().map(header).collect(),
        request_headers: message.request_headers_to_add.into_iter().map(header).collect(),
        body: message.raw_body,
    })
}

fn code(over_limit: bool) -> response::Code {
    if over_limit { response::Code::OverLimit } else { response::Code::Ok }
}

fn unit(unit: Unit) -> response::rate_limit::Unit {
    match unit {
        Unit::Second => response::rate_limit::Unit::Second,
        Unit::Minute => response::rate_limit::Unit::Minute,
        Unit::Hour => response::rate_limit::Unit::Hour,
        Unit::Day => response::rate_limit::Unit::Day,
        Unit::Week => response::rate_limit::Unit::Week,
        Unit::Month => response::rate_limit::Unit::Month,
        Unit::Year => response::rate_limit::Unit::Year,
    }
}

fn limit(message: response::RateLimit) -> Option<Limit> {
    let unit = match response::rate_limit::Unit::try_from(message.unit).ok()? {
        response::rate_limit::Unit::Unknown => return None,
        response::rate_limit::Unit::Second => Unit::Second,
        response::rate_limit::Unit::Minute => Unit::Minute,
        response::rate_limit::Unit::Hour => Unit::Hour,
        response::rate_limit::Unit::Day => Unit::Day,
        response::rate_limit::Unit::Week => Unit::Week,
        response::rate_limit::Unit::Month => Unit::Month,
        response::rate_limit::Unit::Year => Unit::Year,
    };
    Some(Limit { name: message.name, requests: message.requests_per_unit, unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_wire() {
        let entries = vec![("k".to_owned(), "v".to_owned())];
        let request = Request { domain: "d".into(), descriptors: vec![Descriptor { entries }], hits: 2 };
        assert_eq!(decode_request(&encode_request(&request)), Some(request));
        let limit = Some(Limit { name: "n".into(), requests: 7, unit: Unit::Week });
        let answer = Answer {
            over_limit: true,
            statuses: vec![
                Status { over_limit: true, limit, remaining: 3, reset: Duration::from_millis(1500) },
                Status::default(),
            ],
            response_headers: vec![("a".into(), "b".into())],
            request_headers: vec![("c".into(), "d".into())],
            body: b"no".to_vec(),
        };
        assert_eq!(decode_answer(&encode_answer(&answer)), Some(answer));
        assert_eq!(decode_answer(b""), None, "a code that is not known is no answer");
    }
}
