//! Policies: what App Mesh's specs cannot say, attached to a resource by its ARN.
//!
//! ```json
//! {"target": "arn:aws:appmesh:eu-west-1:123456789012:mesh/shop/virtualRouter/cart", "kind": "retry",
//!  "spec": {"on": ["5xx"], "maxRetries": 3}}
//! ```
//! A policy is of one kind and governs one resource and what lies below it. Of two policies of a kind, the one that is
//! attached nearer wins, wholly; of two at the same resource, the one whose name comes first. Nothing is merged.

mod access;
mod access_log;
mod address_block;
mod authentication;
mod breaker;
mod circuit_breaking;
mod client_address;
mod compression;
mod connection;
mod cors;
mod descriptor;
mod direct_response;
mod egress;
mod ext_authz;
mod fault;
mod global_rate_limit;
mod header_condition;
mod headers;
mod load_balancing;
mod mirror;
mod proxy_protocol;
mod rate_limit;
mod rate_limits;
mod redirect;
mod retry;
mod rewrite;
mod service_address;
mod split;
mod text_match;
mod timeout;
mod tls;
mod tracing;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::arn::Arn;
use crate::kind::Kind;
use crate::metadata::Timestamp;
use crate::name::check_name;
use crate::resource::{Key, Strictness};
use crate::shape::{Bounds, Form, Member, Presence, Shape};
use crate::structure::{Shaped, enumeration};
use crate::violation::{self, Path, Violations};

pub use access::{Access, AccessAction, AccessRule, Caller};
pub use access_log::{AccessLog, JsonMember, LogService};
pub use address_block::address_block;
pub use authentication::{
    Authentication, AuthenticationRule, ClaimHeader, RemoteKeys, TokenNeed, TokenProvider,
};
pub use breaker::{Breaker, BreakerBounds};
pub use circuit_breaking::{CircuitBreaking, FailurePercentage, Outlier, RetryBudget, SuccessRate};
pub use client_address::{CertificateForwarding, ClientAddress, ClientCertificate};
pub use compression::{Coding, Compression};
pub use connection::{CallerConnection, Connection, KeepAlive, ListenerConnection};
pub use cors::Cors;
pub use descriptor::{
    DescriptorAddress, DescriptorEntry, DescriptorFixed, DescriptorMatching, DescriptorName,
};
pub use direct_response::DirectResponse;
pub use egress::{Destination, Egress};
pub use ext_authz::{AuthzBody, AuthzService, ExtAuthz, HttpAuthz};
pub use fault::{Fault, FaultAbort, FaultDelay};
pub use global_rate_limit::{Counted, GlobalRateLimit};
pub use header_condition::HeaderCondition;
pub use headers::{HeaderChanges, HeaderValue, Headers};
pub use load_balancing::{Algorithm, HashCookie, HashKey, LoadBalancing, PlaceGroup, SlowStart, ZoneAware};
pub use mirror::{Mirror, MirrorTarget};
pub use proxy_protocol::{ProxyProtocol, ProxyProtocolAccept, ProxyProtocolVersion};
pub use rate_limit::{RateLimit, SeparateLimit};
pub use rate_limits::{Limit, LimitDomain, LimitNode, LimitUnit, RateLimits};
pub use redirect::Redirect;
pub use retry::{BackOff, RateLimitedBackOff, ResetFormat, ResetHeader, Retry, RetryCondition};
pub use rewrite::{HostRewrite, PathRewrite, RegexRewrite, Rewrite};
pub use service_address::{HostService, NodeService, ServiceAddress};
pub use split::Split;
pub use text_match::TextMatch;
pub use timeout::Timeout;
pub use tls::{
    CallerTls, ListenerTls, PeerName, PeerNameKind, PeerTls, Tls, TlsCipher, TlsCurve, TlsVersion,
};
pub use tracing::{
    DatadogProvider, OpenTelemetryProvider, Tracing, TracingProvider, TracingTag, XRayProvider,
    ZipkinProvider,
};
pub use units::{Percentage, Span};

/// Bytes of a policy's document.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Characters of a policy's name.
pub const POLICY_NAME_LENGTH_MAX: usize = 255;

/// A policy as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub name: String,
    pub target: Arn,
    pub spec: PolicySpec,
    /// The spec, as it was sent; this is what a get answers.
    pub sent: Value,
    pub created_at: Timestamp,
    pub last_updated_at: Timestamp,
    /// 1 at first, and one more with each change.
    pub version: u64,
}

/// What somebody wants a policy to say.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDraft {
    pub target: Arn,
    pub spec: PolicySpec,
    pub sent: Value,
}

/// A kind of policy, as its spec's type.
pub trait Governing: Shaped {
    const KIND: PolicyKind;

    /// The spec, if it is of this kind.
    fn of(spec: &PolicySpec) -> Option<&Self>;
}

macro_rules! kinds {
    ($( $(#[doc = $doc:literal])* $variant:ident $word:literal : $type:ty => $fits:expr ),* $(,)?) => {
        enumeration! {
            /// What a policy is about.
            pub enum PolicyKind { $( $(#[doc = $doc])* $variant $word, )* }
        }

        /// What a policy says, by kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum PolicySpec { $( $(#[doc = $doc])* $variant(Box<$type>), )* }

        impl PolicyKind {
            /// What a policy of the kind may be attached to.
            pub const fn fits(self) -> &'static [Kind] {
                match self { $( Self::$variant => $fits, )* }
            }

            /// What its spec looks like.
            pub const fn shape(self) -> &'static Shape {
                match self { $( Self::$variant => <$type as Shaped>::SHAPE, )* }
            }

            /// What it is for, in a sentence.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),*), )* }
            }

            fn decode_spec(self, value: &Value) -> Option<PolicySpec> {
                match self { $( Self::$variant => <$type>::decode(value).map(Box::new).map(PolicySpec::$variant), )* }
            }
        }

        impl PolicySpec {
            pub const fn kind(&self) -> PolicyKind {
                match self { $( Self::$variant(_) => PolicyKind::$variant, )* }
            }

            fn check_rules(&self, found: &mut Violations) {
                match self { $( Self::$variant(spec) => Rules::check(&**spec, found), )* }
            }
        }

        $( impl Governing for $type {
            const KIND: PolicyKind = PolicyKind::$variant;

            fn of(spec: &PolicySpec) -> Option<&Self> {
                match spec { PolicySpec::$variant(spec) => Some(spec), _ => None }
            }
        } )*
    };
}

/// The rules between a spec's members that its shape cannot say. Paths begin with `spec`.
trait Rules {
    fn check(&self, _found: &mut Violations) {}
}

/// Where requests to a virtual service, or through a gateway, are decided.
const CALLS: &[Kind] = &[
    Kind::Mesh,
    Kind::VirtualService,
    Kind::VirtualRouter,
    Kind::Route,
    Kind::VirtualGateway,
    Kind::GatewayRoute,
];
/// Where requests to a virtual service find their node.
const ROUTED: &[Kind] = &[Kind::Mesh, Kind::VirtualService, Kind::VirtualRouter, Kind::Route];
/// As [`CALLS`], and what arrives at a node.
const CALLS_AND_NODES: &[Kind] = &Kind::ALL;
/// Nodes, as their callers see them.
const CALLEES: &[Kind] = &[Kind::Mesh, Kind::VirtualNode];
/// The mesh as a whole.
const MESHES: &[Kind] = &[Kind::Mesh];
/// Whoever listens.
const LISTENERS: &[Kind] = &[Kind::Mesh, Kind::VirtualNode, Kind::VirtualGateway];

kinds! {
    /// Who may ask for what, where requests come in.
    Access "access": Access => LISTENERS,
    /// Where the proxies write a line for each request, and what it says.
    AccessLog "accessLog": AccessLog => LISTENERS,
    /// Who asks, by a token that somebody trusted has signed, where requests come in.
    Authentication "authentication": Authentication => LISTENERS,
    /// Breakers with states between a node and its callers.
    Breaker "breaker": Breaker => CALLEES,
    /// How much of a node its callers may use at once, and when an instance that fails is left out.
    CircuitBreaking "circuitBreaking": CircuitBreaking => CALLEES,
    /// Whose address counts as the client's, where requests come in.
    ClientAddress "clientAddress": ClientAddress => LISTENERS,
    /// Responses that become smaller on their way.
    Compression "compression": Compression => LISTENERS,
    /// How long connections live, and what they carry.
    Connection "connection": Connection => LISTENERS,
    /// Which pages of other origins may read answers, and what they may send.
    Cors "cors": Cors => CALLS_AND_NODES,
    /// An answer at once, without asking anybody.
    DirectResponse "directResponse": DirectResponse => CALLS_AND_NODES,
    /// What a node may call beside its backends.
    Egress "egress": Egress => CALLEES,
    /// Another service says whether a request may pass, where requests come in.
    ExtAuthz "extAuthz": ExtAuthz => LISTENERS,
    /// Requests that wait, and requests that fail, on purpose.
    Fault "fault": Fault => CALLS_AND_NODES,
    /// Requests that are counted for all proxies together, where they come in.
    GlobalRateLimit "globalRateLimit": GlobalRateLimit => LISTENERS,
    /// Headers that are added, set or removed.
    Headers "headers": Headers => CALLS_AND_NODES,
    /// How callers choose one of a node's instances.
    LoadBalancing "loadBalancing": LoadBalancing => CALLEES,
    /// Copies of requests for nodes whose answers nobody waits for.
    Mirror "mirror": Mirror => ROUTED,
    /// A word at the beginning of connections on whose they are.
    ProxyProtocol "proxyProtocol": ProxyProtocol => LISTENERS,
    /// How many requests each proxy takes in.
    RateLimit "rateLimit": RateLimit => LISTENERS,
    /// The limits that the control plane's own rate-limit service keeps.
    RateLimits "rateLimits": RateLimits => MESHES,
    /// An answer that sends the client elsewhere.
    Redirect "redirect": Redirect => CALLS_AND_NODES,
    /// When a request is tried again, how often and after which wait.
    Retry "retry": Retry => CALLS,
    /// Another path or host for the request on its way.
    Rewrite "rewrite": Rewrite => CALLS_AND_NODES,
    /// What decides which of a route's weighted targets a request goes to.
    Split "split": Split => ROUTED,
    /// How long requests may take.
    Timeout "timeout": Timeout => CALLS_AND_NODES,
    /// What the spec's own TLS cannot say.
    Tls "tls": Tls => LISTENERS,
    /// Which requests a proxy traces, and where the spans go.
    Tracing "tracing": Tracing => LISTENERS,
}

const TARGET: Shape = Shape {
    name: "Arn",
    form: Form::String { length: Bounds::between(1, Arn::LENGTH_MAX as i64), pattern: None },
};
const OBJECT: Shape = Shape { name: "PolicySpec", form: Form::Structure { members: &[] } };
const MEMBERS: &[Member] = &[
    member("target", Presence::Required, &TARGET),
    member("kind", Presence::Required, PolicyKind::SHAPE),
    member("spec", Presence::Required, &OBJECT),
    member("name", Presence::Optional, String::SHAPE),
    member("metadata", Presence::Optional, &OBJECT),
    member("condition", Presence::Optional, String::SHAPE),
    member("reasons", Presence::Optional, &OBJECT),
];

const fn member(name: &'static str, presence: Presence, shape: &'static Shape) -> Member {
    Member { name, presence, shape, doc: "" }
}

impl PolicyDraft {
    /// Reads the document that somebody sent under `name`. What a get answered may be sent back: a `name` must be the
    /// same, and `metadata`, `condition` and `reasons` are passed over.
    ///
    /// # Errors
    /// Everything that is wrong with it, with field paths.
    pub fn parse(name: &str, document: &Value) -> Result<Self, Violations> {
        let mut found = Violations::default();
        check_policy_name(name, &mut found);
        let Some(object) = document.as_object() else {
            found.rule("", "a policy is an object with the members target, kind and spec");
            return Err(found);
        };
        let mut path = Path::default();
        for unknown in object.keys().filter(|name| !MEMBERS.iter().any(|member| member.name == **name)) {
            path.push_member(unknown);
            found.add(&path, violation::Fault::Unknown { known: MEMBERS });
            path.pop();
        }
        if let Some(other) = object.get("name").filter(|other| other.as_str() != Some(name)) {
            found.rule("name", format!("{other} is not the name in the path, {name:?}"));
        }
        let required = |member: &str, found: &mut Violations| {
            let value = object.get(member).filter(|value| !value.is_null());
            if value.is_none() {
                found.add(&Path::at(member), violation::Fault::Missing);
            }
            value
        };
        let target = required("target", &mut found).and_then(|value| parse_target(value, &mut found));
        let kind = required("kind", &mut found).and_then(|value| {
            PolicyKind::SHAPE.check(value, Strictness::Strict, &mut Path::at("kind"), &mut found);
            PolicyKind::decode(value)
        });
        let sent = required("spec", &mut found);
        let spec = kind.zip(sent).and_then(|(kind, sent)| parse_spec(kind, sent, &mut found));
        if let Some((kind, target)) = kind.zip(target.as_ref())
            && !kind.fits().contains(&target.key.kind)
        {
            let fits: Vec<&str> = kind.fits().iter().map(|fit| fit.as_str()).collect();
            let text =
                format!("a {kind} policy cannot govern a {}: it fits {}", target.key.kind, fits.join(", "));
            found.rule("target", text);
        }
        match (target, spec, sent) {
            (Some(target), Some(spec), Some(sent)) if found.is_empty() => {
                Ok(Self { target, spec, sent: sent.clone() })
            }
            _ => Err(found),
        }
    }
}

fn check_policy_name(name: &str, found: &mut Violations) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > POLICY_NAME_LENGTH_MAX || !name.bytes().all(allowed) {
        let text =
            format!("a policy's name has 1 to {POLICY_NAME_LENGTH_MAX} letters, digits, '-', '_' and '.'");
        found.rule("name", text);
    }
}

fn parse_target(value: &Value, found: &mut Violations) -> Option<Arn> {
    let Some(text) = value.as_str() else {
        found.add(
            &Path::at("target"),
            violation::Fault::WrongType { expected: "a string", value: "?".to_owned() },
        );
        return None;
    };
    let parsed: Result<Arn, _> = text.parse();
    let reason = match parsed {
        Ok(arn) => match check_name(Kind::Mesh, &arn.key.mesh) {
            Ok(()) => return Some(arn),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    found.rule("target", reason);
    None
}

fn parse_spec(kind: PolicyKind, sent: &Value, found: &mut Violations) -> Option<PolicySpec> {
    let mut wrong = Violations::default();
    kind.shape().check(sent, Strictness::Strict, &mut Path::at("spec"), &mut wrong);
    let spec = if wrong.is_empty() { kind.decode_spec(sent) } else { None };
    if let Some(spec) = &spec {
        spec.check_rules(&mut wrong);
    }
    let usable = wrong.is_empty();
    found.extend(wrong);
    spec.filter(|_| usable)
}

impl Policy {
    /// The mesh that its target is in.
    pub fn mesh(&self) -> &str {
        &self.target.key.mesh
    }

    pub fn kind(&self) -> PolicyKind {
        self.spec.kind()
    }

    /// How it is named among the resources of its mesh: `mesh/M/policy/NAME`.
    pub fn path(&self) -> String {
        format!("mesh/{}/policy/{}", self.mesh(), self.name)
    }

    /// The document that a get answers and the store keeps.
    pub fn to_wire(&self) -> Value {
        json!({
            "name": self.name,
            "target": self.target.to_string(),
            "kind": self.kind().as_str(),
            "spec": self.sent,
            "metadata": {
                "createdAt": self.created_at.to_wire(),
                "lastUpdatedAt": self.last_updated_at.to_wire(),
                "version": self.version,
            },
        })
    }

    /// Reads what [`Policy::to_wire`] wrote.
    pub fn from_wire(value: &Value) -> Option<Self> {
        let object: &Map<String, Value> = value.as_object()?;
        let metadata = object.get("metadata")?;
        let kind = PolicyKind::decode(object.get("kind")?)?;
        let sent = object.get("spec")?;
        Some(Self {
            name: object.get("name")?.as_str()?.to_owned(),
            target: object.get("target")?.as_str()?.parse().ok()?,
            spec: kind.decode_spec(sent)?,
            sent: sent.clone(),
            created_at: Timestamp::from_wire(metadata.get("createdAt")?)?,
            last_updated_at: Timestamp::from_wire(metadata.get("lastUpdatedAt")?)?,
            version: metadata.get("version")?.as_u64()?,
        })
    }
}

/// The policies of a mesh, found by name and by what they govern.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    by_name: BTreeMap<String, Arc<Policy>>,
    by_target: BTreeMap<Key, BTreeSet<String>>,
}

impl Policies {
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.by_name.values()
    }

    /// Those attached right to a resource, by name.
    pub fn of(&self, target: &Key) -> impl Iterator<Item = &Arc<Policy>> {
        let names = self.by_target.get(target).into_iter().flatten();
        names.filter_map(|name| self.by_name.get(name))
    }

    /// Adds or replaces a policy.
    pub fn put(&mut self, policy: Policy) {
        self.remove(&policy.name);
        self.by_target.entry(policy.target.key.clone()).or_default().insert(policy.name.clone());
        self.by_name.insert(policy.name.clone(), Arc::new(policy));
    }

    /// Takes a policy out; the one that it was.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Policy>> {
        let known = self.by_name.remove(name)?;
        if let Some(names) = self.by_target.get_mut(&known.target.key) {
            names.remove(name);
            if names.is_empty() {
                self.by_target.remove(&known.target.key);
            }
        }
        Some(known)
    }
}
