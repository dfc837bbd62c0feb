//! `envoy.service.auth.v3.Authorization`: may this request pass?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message;
use selvedge_traffic::HeaderEdit;
use selvedge_xds_proto::envoy::config::core::v3 as core;
use selvedge_xds_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use selvedge_xds_proto::envoy::service::auth::v3 as proto;
use selvedge_xds_proto::envoy::service::auth::v3::check_response::HttpResponse;
use serde_json::{Map, Value};

use super::{NESTING_MAX, from_struct, to_struct};

/// The path of its only method.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Since 1970.
    pub time: Duration,
    pub id: String,
    pub method: String,
    pub path: String,
    pub host: String,
    pub scheme: String,
    pub protocol: &'static str,
    /// In lower case, each name once.
    pub headers: BTreeMap<String, String>,
    /// Of the body, in bytes; -1 if it is not known.
    pub size: i64,
    pub body: Option<Body>,
    pub context: Vec<(String, String)>,
    pub metadata: BTreeMap<String, Map<String, Value>>,
}

/// What the service sees of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Text(String),
    Bytes(Vec<u8>),
}

/// What the service says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub answer: Answer,
    pub metadata: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Allowed {
        request: Vec<HeaderEdit>,
        response: Vec<HeaderEdit>,
        query_set: Vec<(String, String)>,
        query_removed: Vec<String>,
    },
    Denied {
        /// 0 if it names none.
        status: i32,
        headers: Vec<(String, String)>,
        body: String,
    },
}

/// The message of a check.
pub fn encode(check: &Check) -> Vec<u8> {
    let peer = |address: SocketAddr| proto::attribute_context::Peer {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                address: address.ip().to_canonical().to_string(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
                ..core::SocketAddress::default()
            })),
        }),
        ..proto::attribute_context::Peer::default()
    };
    let (body, raw_body) = match &check.body {
        None => (String::new(), Vec::new()),
        Some(Body::Text(text)) => (text.clone(), Vec::new()),
        Some(Body::Bytes(bytes)) => (String::new(), bytes.clone()),
    };
    let http = proto::attribute_context::HttpRequest {
        id: check.id.clone(),
        method: check.method.clone(),
        headers: check.headers.clone(),
        path: check.path.clone(),
        host: check.host.clone(),
        scheme: check.scheme.clone(),
        size: check.size,
        protocol: check.protocol.to_owned(),
        body,
        raw_body,
        ..proto::attribute_context::HttpRequest::default()
    };
    let metadata = check.metadata.iter().map(|(name, members)| (name.clone(), to_struct(members)));
    proto::CheckRequest {
        attributes: Some(proto::AttributeContext {
            source: Some(peer(check.source)),
            destination: Some(peer(check.destination)),
            request: Some(proto::attribute_context::Request {
                time: Some(prost_types::Timestamp {
                    seconds: i64::try_from(check.time.as_secs()).unwrap_or(i64::MAX),
                    nanos: check.time.subsec_nanos().cast_signed(),
                }),
                http: Some(http),
            }),
            context_extensions: check.context.iter().cloned().collect(),
            metadata_context: Some(core::Metadata { filter_metadata: metadata.collect() }),
        }),
    }
    .encode_to_vec()
}

/// Reads an answer; `None` if it is none.
pub fn decode(bytes: &[u8]) -> Option<Verdict> {
    let message = proto::CheckResponse::decode(bytes).ok()?;
    let metadata = message.dynamic_metadata.map(|message| from_struct(message, NESTING_MAX));
    let allowed = message.status.is_none_or(|status| status.code == 0);
    let answer = match (allowed, message.http_response) {
        (true, Some(HttpResponse::OkResponse(ok))) => Answer::Allowed {
            request: {
                let removed = ok.headers_to_remove.into_iter().map(|name| HeaderEdit::Remove { name });
                edits(ok.headers).chain(removed).collect()
            },
            response: edits(ok.response_headers_to_add).collect(),
            query_set: ok.query_parameters_to_set.into_iter().map(|one| (one.key, one.value)).collect(),
            query_removed: ok.query_parameters_to_remove,
        },
        (true, _) => Answer::Allowed {
            request: Vec::new(),
            response: Vec::new(),
            query_set: Vec::new(),
            query_removed: Vec::new(),
        },
        (false, Some(HttpResponse::DeniedResponse(denied))) => Answer::Denied {
            status: denied.status.map_or(0, |status| status.code),
            headers: denied
                .headers
                .into_iter()
                .filter_map(|option| option.header)
                .map(|header| (header.key.to_ascii_lowercase(), header.value))
                .collect(),
            body: denied.body,
        },
        (false, _) => Answer::Denied { status: 0, headers: Vec::new(), body: String::new() },
    };
    Some(Verdict { answer, metadata: metadata.unwrap_or_default() })
}

/// In these messages a header that says nothing else overwrites.
fn edits(options: Vec<core::HeaderValueOption>) -> impl Iterator<Item = HeaderEdit> {
    options.into_iter().filter_map(|option| {
        let core::HeaderValue { key: name, value } = option.header?;
        Some(match (option.append, HeaderAppendAction::try_from(option.append_action)) {
            (Some(true), _) => HeaderEdit::Append { name, value },
            (None, Ok(HeaderAppendAction::AddIfAbsent)) => HeaderEdit::AddIfAbsent { name, value },
            (None, Ok(HeaderAppendAction::OverwriteIfExists)) => {
                HeaderEdit::OverwriteIfExists { name, value }
            }
            _ => HeaderEdit::Overwrite { name, value },
        })
    })
}
