//! No field is passed over in silence: whatever a control plane sets is acted on, accepted for a reason that is written
//! down, or refused by its name.
//!
//! Generated resources are taken apart by Envoy's own list of fields. Each field of each message in them is taken out or
//! put in, and what is decoded must differ – or not, where [`ACCEPTED`] and [`UNREAD`] say so.

use std::collections::{BTreeMap, BTreeSet};

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::{Message as _, Name as _};
use prost_types::Any;
use selvedge_traffic::{Resource, ResourceKind};
use selvedge_xds::secret::{Content, Secret};
use selvedge_xds::unspoken::ACCEPTED;
use selvedge_xds::{Reason, decode, encode};
use selvedge_xds_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use selvedge_xds_proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, HeaderFilter, access_log,
};
use selvedge_xds_proto::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use selvedge_xds_proto::envoy::config::listener::v3::Listener;
use selvedge_xds_proto::envoy::config::route::v3::HeaderMatcher;
use selvedge_xds_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use selvedge_xds_proto::envoy::extensions::access_loggers::stream::v3::{StderrAccessLog, StdoutAccessLog};
use selvedge_xds_proto::schema::{Field, Kind, Message};

use super::{clusters, leaves, listeners, routes};

/// Samples of each kind.
const SAMPLES: usize = 300;
/// A field that was tried in so many places without an effect has none.
const TRIES_MAX: usize = 80;
const TRIES_OF_ACCEPTED: usize = 3;
const ANY: &str = "google.protobuf.Any";

/// Fields that the generated types have and the decoder does not read, with the reason.
const UNREAD: &[(&str, &str, &str)] = &[
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        "request_direction_config",
        "refused where it is enabled; off, it says nothing",
    ),
    ("envoy.config.route.v3.FilterConfig", "is_optional", "read of filters that nobody knows"),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        "is_optional",
        "read of filters that nobody knows",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        "name",
        "compared with what was asked for, on arrival",
    ),
];

/// Messages that no resource which is taken has in it.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "envoy.config.core.v3.GrpcService.GoogleGrpc.GoogleLocalCredentials",
        "what is not encrypted needs no credentials, and says so with none",
    ),
    ("envoy.config.core.v3.ProxyProtocolPassThroughTLVs", "refused as a whole"),
    ("envoy.config.core.v3.QueryParameter", "of an authorization service's answer"),
    ("envoy.config.core.v3.TlvEntry", "refused as a whole"),
    ("envoy.config.route.v3.RouteAction.HashPolicy.FilterState", "refused as a whole"),
    ("envoy.config.trace.v3.Tracing", "of a bootstrap"),
    ("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor", "of a rate limit service's request"),
    (
        "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.RateLimitOverride",
        "of a rate limit service's request",
    ),
    ("envoy.extensions.filters.common.fault.v3.FaultRateLimit", "refused as a whole"),
    ("envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit", "refused as a whole"),
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor.RequestDirectionConfig",
        "refused where it is enabled",
    ),
    ("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule", "refused as a whole"),
    ("envoy.type.v3.HashPolicy.FilterState", "refused as a whole"),
    ("envoy.config.core.v3.BuildVersion", "of a request's node"),
    ("envoy.config.core.v3.Node", "of a request"),
    ("envoy.type.v3.SemanticVersion", "of a request's node"),
];

/// A message taken apart.
#[derive(Clone, Debug)]
struct Node {
    message: Message,
    parts: Vec<(u32, Part)>,
}

#[derive(Clone, Debug)]
enum Part {
    /// With its key.
    Raw(Vec<u8>),
    Message(Node),
    /// An `Any` of a message that is known.
    Any(String, Node),
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn delimited(number: u32, content: &[u8], into: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, into);
    varint(content.len() as u64, into);
    into.extend_from_slice(content);
}

fn read_varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().expect("our own encoding");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// A field's number, the part with its key, and its content if it is delimited.
type Piece<'a> = (u32, Vec<u8>, Option<&'a [u8]>);

fn parts(bytes: &[u8]) -> Vec<Piece<'_>> {
    let (mut rest, mut parts) = (bytes, Vec::new());
    while !rest.is_empty() {
        let before = rest;
        let key = read_varint(&mut rest);
        let mut content = None;
        match key & 7 {
            0 => drop(read_varint(&mut rest)),
            1 => rest = &rest[8..],
            5 => rest = &rest[4..],
            _ => {
                let length = read_varint(&mut rest) as usize;
                content = Some(&rest[..length]);
                rest = &rest[length..];
            }
        }
        parts.push((key as u32 >> 3, before[..before.len() - rest.len()].to_vec(), content));
    }
    parts
}

impl Node {
    fn parse(message: Message, bytes: &[u8]) -> Self {
        let part = |(number, raw, content): Piece<'_>| {
            let inner = message.field(number).and_then(Field::message);
            let part = match (inner, content) {
                (Some(inner), Some(content)) if inner.name() == ANY => {
                    let fields = parts(content);
                    let of = |number| fields.iter().find(|part| part.0 == number).and_then(|part| part.2);
                    let url = String::from_utf8_lossy(of(1).unwrap_or_default()).into_owned();
                    match Message::named(url.rsplit('/').next().unwrap_or_default()) {
                        Some(held) => Part::Any(url, Self::parse(held, of(2).unwrap_or_default())),
                        None => Part::Raw(raw),
                    }
                }
                (Some(inner), Some(content)) if !inner.name().starts_with("google.protobuf.") => {
                    Part::Message(Self::parse(inner, content))
                }
                _ => Part::Raw(raw),
            };
            (number, part)
        };
        Self { message, parts: parts(bytes).into_iter().map(part).collect() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, part) in &self.parts {
            match part {
                Part::Raw(raw) => bytes.extend_from_slice(raw),
                Part::Message(inner) => delimited(*number, &inner.bytes(), &mut bytes),
                Part::Any(url, inner) => {
                    let mut any = Vec::new();
                    delimited(1, url.as_bytes(), &mut any);
                    delimited(2, &inner.bytes(), &mut any);
                    delimited(*number, &any, &mut bytes);
                }
            }
        }
        bytes
    }

    /// The places of all messages in it: by the positions of the parts on the way.
    fn places(&self) -> Vec<Vec<usize>> {
        let mut places = vec![Vec::new()];
        for (at, (_, part)) in self.parts.iter().enumerate() {
            if let Part::Message(inner) | Part::Any(_, inner) = part {
                places.extend(inner.places().into_iter().map(|place| [vec![at], place].concat()));
            }
        }
        places
    }

    fn message_at(&self, place: &[usize]) -> Message {
        let Some((first, rest)) = place.split_first() else { return self.message };
        match &self.parts[*first].1 {
            Part::Message(inner) | Part::Any(_, inner) => inner.message_at(rest),
            Part::Raw(_) => panic!("a place of a message"),
        }
    }

    fn at(&mut self, place: &[usize]) -> &mut Self {
        let Some((first, rest)) = place.split_first() else { return self };
        match &mut self.parts[*first].1 {
            Part::Message(inner) | Part::Any(_, inner) => inner.at(rest),
            Part::Raw(_) => panic!("a place of a message"),
        }
    }
}

/// Contents that a field may be given: each as a part with its key; of a message, the empty one and, where `deep`, those
/// with one member.
fn contents(field: Field, deep: bool) -> Vec<Vec<u8>> {
    let number = |value: u64| {
        let mut bytes = Vec::new();
        varint(u64::from(field.number()) << 3, &mut bytes);
        varint(value, &mut bytes);
        bytes
    };
    let delimited = |content: &[u8]| {
        let mut bytes = Vec::new();
        delimited(field.number(), content, &mut bytes);
        bytes
    };
    let fixed = |kind: u32, content: &[u8]| {
        let mut bytes = Vec::new();
        varint(u64::from(field.number() << 3 | kind), &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    };
    match field.kind().expect("proto3") {
        Kind::Bool => vec![number(1)],
        Kind::Enum(values) => values.numbers().map(|value| number(value as u64)).collect(),
        Kind::String | Kind::Bytes => [&b"x"[..], b"1", b"/x"].into_iter().map(delimited).collect(),
        Kind::Message(inner) => match inner.name() {
            // An extension that nobody has.
            ANY => vec![delimited(b"\x0a\x03a/b")],
            "google.protobuf.StringValue" => vec![delimited(b""), delimited(b"\x0a\x01x")],
            "google.protobuf.DoubleValue" => vec![delimited(b"\x09\0\0\0\0\0\0\xf0\x3f")],
            name if name.starts_with("google.protobuf.") => {
                [&b""[..], b"\x08\x01", b"\x08\x07", b"\x08\x5a"].into_iter().map(delimited).collect()
            }
            _ => {
                let members = inner.fields().filter(|member| deep && member.is_spoken());
                let members = members.flat_map(|member| contents(member, false));
                std::iter::once(Vec::new()).chain(members).map(|content| delimited(&content)).collect()
            }
        },
        Kind::Double => vec![fixed(1, &1.5_f64.to_le_bytes())],
        Kind::Float => vec![fixed(5, &1.5_f32.to_le_bytes())],
        Kind::Fixed64 | Kind::Sfixed64 => vec![fixed(1, &[7; 8])],
        Kind::Fixed32 | Kind::Sfixed32 => vec![fixed(5, &[7; 4])],
        _ => [1, 7, 90, 1000].into_iter().map(number).collect(),
    }
}

/// What is made of a resource.
#[derive(Debug, PartialEq)]
enum Outcome {
    Resource(Box<Resource>),
    Secret(Content),
    Refused(Reason),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Resource(ResourceKind),
    Secret,
}

impl What {
    fn decode(self, bytes: &[u8]) -> Outcome {
        match self {
            Self::Resource(kind) => match decode(kind, bytes) {
                Ok(resource) => Outcome::Resource(Box::new(resource)),
                Err(rejection) => Outcome::Refused(rejection.reason),
            },
            Self::Secret => match Secret::decode(bytes) {
                // Its name is compared where it arrives.
                Ok(secret) => Outcome::Secret(secret.content),
                Err(reason) => Outcome::Refused(reason),
            },
        }
    }

    fn message(self) -> Message {
        let name = match self {
            Self::Resource(ResourceKind::Cluster) => "envoy.config.cluster.v3.Cluster",
            Self::Resource(ResourceKind::Endpoints) => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Resource(ResourceKind::Listener) => "envoy.config.listener.v3.Listener",
            Self::Resource(ResourceKind::Routes) => "envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
        };
        Message::named(name).expect("a message of Envoy's")
    }
}

/// The same ones in every run.
fn samples() -> Vec<(What, Vec<u8>)> {
    let mut runner = TestRunner::deterministic();
    let mut all = Vec::new();
    let mut take = |what: What, strategy: BoxedStrategy<Vec<u8>>| {
        for _ in 0..SAMPLES {
            all.push((what, strategy.new_tree(&mut runner).expect("a sample").current()));
        }
    };
    let bytes = |resource: Resource| encode(&resource).value.to_vec();
    take(
        What::Resource(ResourceKind::Cluster),
        clusters::cluster().prop_map(move |it| bytes(Resource::Cluster(it))).boxed(),
    );
    take(
        What::Resource(ResourceKind::Endpoints),
        clusters::assignment().prop_map(move |it| bytes(Resource::Endpoints(it))).boxed(),
    );
    take(
        What::Resource(ResourceKind::Listener),
        listeners::listener().prop_map(move |it| bytes(Resource::Listener(it))).boxed(),
    );
    take(
        What::Resource(ResourceKind::Routes),
        routes::table().prop_map(move |it| bytes(Resource::Routes(it))).boxed(),
    );
    take(What::Secret, leaves::secret_content().prop_map(|it| it.encode()).boxed());
    all.extend(
        [stdout_log(), stderr_log()].map(|log| (What::Resource(ResourceKind::Listener), logging(log))),
    );
    all
}

/// What is decoded in several forms and encoded in one: access logs.
fn logging(log: AccessLog) -> Vec<u8> {
    let listener = Listener {
        name: "l".to_owned(),
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: "127.0.0.1".to_owned(),
                port_specifier: Some(socket_address::PortSpecifier::PortValue(80)),
                ..SocketAddress::default()
            })),
        }),
        access_log: vec![log],
        ..Listener::default()
    };
    listener.encode_to_vec()
}

fn log(config: Any) -> AccessLog {
    let header = HeaderMatcher {
        name: "h".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..HeaderMatcher::default()
    };
    let filter = FilterSpecifier::HeaderFilter(HeaderFilter { header: Some(header) });
    AccessLog {
        name: "log".to_owned(),
        filter: Some(AccessLogFilter { filter_specifier: Some(filter) }),
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
    }
}

fn stdout_log() -> AccessLog {
    let message = StdoutAccessLog::default();
    log(Any { type_url: StdoutAccessLog::type_url(), value: message.encode_to_vec() })
}

fn stderr_log() -> AccessLog {
    let message = StderrAccessLog::default();
    log(Any { type_url: StderrAccessLog::type_url(), value: message.encode_to_vec() })
}

type Name = (&'static str, &'static str);

#[derive(Default)]
struct Findings {
    seen: BTreeSet<&'static str>,
    /// Something else is decoded, or nothing, when it is there or not.
    acted_on: BTreeSet<Name>,
    tries: BTreeMap<(What, Name), usize>,
    /// Fields that are not spoken, and have been tried.
    tried: BTreeSet<Name>,
    faults: BTreeMap<Name, String>,
}

impl Findings {
    fn take(&mut self, what: What, bytes: &[u8]) {
        let whole = what.decode(bytes);
        if let Outcome::Refused(reason) = &whole {
            panic!("{reason}: our own encoding is refused");
        }
        let node = Node::parse(what.message(), bytes);
        assert_eq!(what.decode(&node.bytes()), whole, "taking apart and putting together changes nothing");
        for place in node.places() {
            let message = node.message_at(&place);
            self.seen.insert(message.name());
            for field in message.fields() {
                let name = (message.name(), field.name());
                if !field.is_spoken() {
                    if self.tried.insert(name) {
                        self.try_unspoken(what, &node, &place, field, &whole);
                    }
                } else if !self.acted_on.contains(&name) {
                    let tries = self.tries.entry((what, name)).or_default();
                    *tries += 1;
                    let most = if is_accepted(name) { TRIES_OF_ACCEPTED } else { TRIES_MAX };
                    if *tries <= most && changes(what, &node, &place, field, &whole) {
                        self.acted_on.insert(name);
                    }
                }
            }
        }
    }

    fn try_unspoken(&mut self, what: What, node: &Node, place: &[usize], field: Field, whole: &Outcome) {
        let mut changed = node.clone();
        let inner = changed.at(place);
        let name = (inner.message.name(), field.name());
        let content = contents(field, false).pop().expect("a content");
        inner.parts.push((field.number(), Part::Raw(content)));
        let outcome = what.decode(&changed.bytes());
        let fits = match (is_accepted(name), &outcome) {
            (true, outcome) => outcome == whole,
            (false, Outcome::Refused(Reason::Unspoken { path })) => {
                path == field.name() || path.ends_with(&format!(".{}", field.name()))
            }
            (false, _) => false,
        };
        if !fits {
            self.faults.insert(name, format!("{outcome:?}").chars().take(120).collect());
        }
    }
}

/// Whether taking a field out, or putting it in, is noticed.
fn changes(what: What, node: &Node, place: &[usize], field: Field, whole: &Outcome) -> bool {
    let mut without = node.clone();
    let inner = without.at(place);
    let before = inner.parts.len();
    inner.parts.retain(|(number, _)| *number != field.number());
    if inner.parts.len() < before && what.decode(&without.bytes()) != *whole {
        return true;
    }
    contents(field, true).into_iter().any(|content| {
        let mut with = without.clone();
        with.at(place).parts.push((field.number(), Part::Raw(content)));
        what.decode(&with.bytes()) != *whole
    })
}

fn is_accepted(name: Name) -> bool {
    ACCEPTED.iter().any(|accepted| (accepted.message, accepted.field) == name)
}

#[test]
fn every_field_is_acted_on_accepted_for_a_reason_or_refused_by_name() {
    let mut findings = Findings::default();
    for (what, bytes) in samples() {
        findings.take(what, &bytes);
    }
    let faults: Vec<_> =
        findings.faults.iter().map(|(name, outcome)| format!("{name:?}: {outcome}")).collect();
    assert!(faults.is_empty(), "neither refused by name nor accepted:\n{}", faults.join("\n"));

    let spoken = |message: Message| message.fields().filter(|field| field.is_spoken());
    let messages = Message::all().filter(|message| !message.name().starts_with("google.protobuf."));
    let (mut unseen, mut silent) = (Vec::new(), Vec::new());
    for message in messages.filter(|message| spoken(*message).next().is_some()) {
        let name = message.name();
        let elsewhere = ELSEWHERE.iter().any(|(known, _)| *known == name);
        if !findings.seen.contains(name) {
            if !elsewhere {
                unseen.push(name);
            }
            continue;
        }
        assert!(!elsewhere, "{name} is part of resources");
        for field in spoken(message) {
            let read = findings.acted_on.contains(&(name, field.name()));
            let unread = UNREAD.iter().any(|(message, known, _)| (*message, *known) == (name, field.name()));
            if !read && !unread && !is_accepted((name, field.name())) {
                silent.push(format!("{name}.{}", field.name()));
            }
            assert!(!(read && unread), "{name}.{} is read", field.name());
        }
    }
    assert!(
        unseen.is_empty() && silent.is_empty(),
        "no sample has\n{}\ndecoded, and without effect:\n{}",
        unseen.join("\n"),
        silent.join("\n")
    );
}
