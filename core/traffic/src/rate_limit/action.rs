//! One entry of a descriptor, made of a request.

use std::net::IpAddr;

use serde::Serialize;

use super::Context;
use crate::matching::{HeaderMatch, QueryMatch, RequestView, Target};

/// Where an entry's value comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RateLimitAction {
    SourceCluster,
    DestinationCluster,
    RequestHeader {
        /// Lower case.
        header: String,
        key: String,
        skip_if_absent: bool,
    },
    QueryParameter {
        parameter: String,
        key: String,
        skip_if_absent: bool,
    },
    RemoteAddress,
    MaskedRemoteAddress {
        v4_prefix_len: u8,
        v6_prefix_len: u8,
    },
    GenericKey {
        key: String,
        value: String,
    },
    /// `value` if all conditions hold, or if one does not and `expect` is false.
    HeaderValueMatch {
        key: String,
        value: String,
        expect: bool,
        headers: Vec<HeaderMatch>,
    },
    QueryParameterValueMatch {
        key: String,
        value: String,
        expect: bool,
        parameters: Vec<QueryMatch>,
    },
    /// A text that another filter left: a claim of a token, for instance.
    Metadata {
        key: String,
        namespace: String,
        path: Vec<String>,
        /// Empty: there is none.
        default: String,
        skip_if_absent: bool,
    },
}

/// What an action says of a request.
pub(super) enum Entry {
    Is(String, String),
    Skipped,
    Missing,
}

impl RateLimitAction {
    pub(super) fn entry<R: RequestView>(&self, context: &Context<'_, R>) -> Entry {
        let is = |key: &str, value: &str| Entry::Is(key.to_owned(), value.to_owned());
        let or = |skip| if skip { Entry::Skipped } else { Entry::Missing };
        match self {
            Self::SourceCluster => is("source_cluster", context.source_cluster),
            Self::DestinationCluster => is("destination_cluster", context.destination_cluster),
            Self::RequestHeader { header, key, skip_if_absent } => value_of(&context.request, header)
                .map_or_else(|| or(*skip_if_absent), |value| is(key, &value)),
            Self::QueryParameter { parameter, key, skip_if_absent } => {
                let value = Target::parse(context.request.path()).parameter(parameter);
                value.map_or_else(|| or(*skip_if_absent), |value| is(key, value))
            }
            Self::RemoteAddress => is("remote_address", &context.remote.to_string()),
            Self::MaskedRemoteAddress { v4_prefix_len, v6_prefix_len } => {
                is("masked_remote_address", &masked(context.remote, *v4_prefix_len, *v6_prefix_len))
            }
            Self::GenericKey { key, value } => is(key, value),
            Self::HeaderValueMatch { key, value, expect, headers } => {
                let holds = headers.iter().all(|header| header.takes(&context.request));
                if holds == *expect { is(key, value) } else { Entry::Missing }
            }
            Self::QueryParameterValueMatch { key, value, expect, parameters } => {
                let target = Target::parse(context.request.path());
                let holds = parameters.iter().all(|parameter| parameter.takes(&target));
                if holds == *expect { is(key, value) } else { Entry::Missing }
            }
            Self::Metadata { key, namespace, path, default, skip_if_absent } => {
                let found = context.metadata.find(namespace, path.iter().map(String::as_str));
                match found.and_then(serde_json::Value::as_str).filter(|value| !value.is_empty()) {
                    Some(value) => is(key, value),
                    None if !default.is_empty() => is(key, default),
                    None => or(*skip_if_absent),
                }
            }
        }
    }
}

fn value_of(request: &impl RequestView, header: &str) -> Option<String> {
    let pseudo = match header {
        ":authority" | "host" => request.authority(),
        ":method" => request.method(),
        ":path" => request.path(),
        ":scheme" => request.scheme(),
        name => return request.first_value(name).map(str::to_owned),
    };
    (!pseudo.is_empty()).then(|| pseudo.to_owned())
}

/// The block that an address is in, as `address/length`.
fn masked(address: IpAddr, v4: u8, v6: u8) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4.min(32))).unwrap_or(0);
            format!("{}/{}", std::net::Ipv4Addr::from_bits(address.to_bits() & mask), v4.min(32))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6.min(128))).unwrap_or(0);
            format!("{}/{}", std::net::Ipv6Addr::from_bits(address.to_bits() & mask), v6.min(128))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Descriptor, RateLimit};
    use super::*;
    use crate::matching::{HeaderCondition, PlainRequest};
    use crate::metadata::Metadata;

    fn descriptor(actions: Vec<RateLimitAction>) -> Option<Descriptor> {
        let mut metadata = Metadata::default();
        metadata.set("jwt", "claims", json!({"sub": "ann", "age": 7}));
        let context = Context {
            request: PlainRequest::new("GET", "h", "/p?k=v").with_header("x-user", "u"),
            metadata: &metadata,
            remote: "::ffff:10.1.2.3".parse().unwrap(),
            source_cluster: "me",
            destination_cluster: "it",
        };
        RateLimit { stage: 0, actions }.descriptor(&context)
    }

    fn header(header: &str, skip_if_absent: bool) -> RateLimitAction {
        RateLimitAction::RequestHeader { header: header.into(), key: "k".into(), skip_if_absent }
    }

    #[test]
    fn each_action_makes_its_entry_or_none() {
        let matched = |expect| RateLimitAction::HeaderValueMatch {
            key: "header_match".into(),
            value: "yes".into(),
            expect,
            headers: vec![HeaderMatch {
                name: "x-user".into(),
                condition: HeaderCondition::Exact("u".into()),
                invert: false,
            }],
        };
        let claim = |name: &str, default: &str, skip_if_absent| RateLimitAction::Metadata {
            key: "claim".into(),
            namespace: "jwt".into(),
            path: vec!["claims".into(), name.into()],
            default: default.into(),
            skip_if_absent,
        };
        let parameter =
            RateLimitAction::QueryParameter { parameter: "k".into(), key: "q".into(), skip_if_absent: false };
        for (action, entry) in [
            (RateLimitAction::SourceCluster, Some(("source_cluster", "me"))),
            (RateLimitAction::DestinationCluster, Some(("destination_cluster", "it"))),
            (header("x-user", false), Some(("k", "u"))),
            (header(":path", false), Some(("k", "/p?k=v"))),
            (header("x-other", false), None),
            (parameter, Some(("q", "v"))),
            (
                RateLimitAction::MaskedRemoteAddress { v4_prefix_len: 16, v6_prefix_len: 64 },
                Some(("masked_remote_address", "10.1.0.0/16")),
            ),
            (matched(true), Some(("header_match", "yes"))),
            (matched(false), None),
            (claim("sub", "", false), Some(("claim", "ann"))),
            (claim("age", "", false), None),
            (claim("gone", "nobody", false), Some(("claim", "nobody"))),
        ] {
            let expected = entry.map(|(key, value)| vec![(key.to_owned(), value.to_owned())]);
            assert_eq!(descriptor(vec![action.clone()]).map(|found| found.entries), expected, "{action:?}");
        }
    }

    #[test]
    fn a_missing_entry_spoils_the_descriptor_and_a_skipped_one_does_not() {
        let key = || RateLimitAction::GenericKey { key: "generic_key".into(), value: "a".into() };
        assert_eq!(descriptor(vec![key(), header("x-other", false)]), None);
        let entries = descriptor(vec![key(), header("x-other", true)]).unwrap().entries;
        assert_eq!(entries, [("generic_key".to_owned(), "a".to_owned())]);
        assert_eq!(descriptor(vec![header("x-other", true)]), None, "nothing to count by");
    }
}
