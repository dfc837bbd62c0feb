//! Resources to deliver, and a stream's other end that says what the test makes it say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use selvedge_traffic::{
    Cluster, Discovery, Inspection, Listener, LoadAssignment, LocalityEndpoints, Resource, ResourceKind,
    RouteTable, VirtualHost,
};
use selvedge_xds::server::{Event, Form, Scope};
use selvedge_xds::{Encoded, ServerSession, View, encode, type_url};
use selvedge_xds_proto::envoy::config::core::v3::Node;
use selvedge_xds_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use selvedge_xds_proto::google::rpc::Status;

pub(crate) const CDS: ResourceKind = ResourceKind::Cluster;
pub(crate) const EDS: ResourceKind = ResourceKind::Endpoints;
pub(crate) const LDS: ResourceKind = ResourceKind::Listener;
pub(crate) const RDS: ResourceKind = ResourceKind::Routes;

/// A cluster whose endpoints are discovered; `seconds` makes versions differ.
pub(crate) fn cluster(name: &str, seconds: u64) -> Arc<Encoded> {
    let discovery = Discovery::Eds { service_name: String::new() };
    let connect_timeout = Duration::from_secs(seconds);
    Arc::new(encode(&Resource::Cluster(Cluster { connect_timeout, ..Cluster::new(name, discovery) })))
}

pub(crate) fn endpoints(name: &str, groups: usize) -> Arc<Encoded> {
    Arc::new(encode(&Resource::Endpoints(LoadAssignment {
        cluster: name.to_owned(),
        localities: vec![LocalityEndpoints::default(); groups],
        ..LoadAssignment::default()
    })))
}

/// A listener without chains; the port makes versions differ.
pub(crate) fn listener(name: &str, port: u16) -> Arc<Encoded> {
    Arc::new(encode(&Resource::Listener(Listener {
        name: name.to_owned(),
        address: ([127, 0, 0, 1], port).into(),
        ipv4_compat: false,
        direction: selvedge_traffic::Direction::Inbound,
        original_dst: false,
        proxy_protocol: None,
        tls_inspector: false,
        inspection: Inspection::default(),
        chains: Vec::new(),
        default_chain: None,
        access_logs: Vec::new(),
    })))
}

pub(crate) fn routes(name: &str, domain: &str) -> Arc<Encoded> {
    Arc::new(encode(&Resource::Routes(RouteTable {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: domain.to_owned(),
            domains: vec![domain.to_owned()],
            ..VirtualHost::default()
        }],
        ..RouteTable::default()
    })))
}

pub(crate) fn view(revision: u64, resources: &[&Arc<Encoded>]) -> Arc<View> {
    Arc::new(View::new(revision, resources.iter().map(|encoded| Arc::clone(encoded))))
}

/// When a test begins.
#[expect(clippy::disallowed_methods, reason = "a clock has to begin somewhere")]
pub(crate) fn beginning() -> Instant {
    Instant::now()
}

/// A response of either form, as a test wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: ResourceKind,
    pub(crate) names: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) nonce: String,
    pub(crate) version: String,
}

/// The server's session with a clock, and a client's mouth.
pub(crate) struct Stream {
    pub(crate) session: ServerSession,
    pub(crate) now: Instant,
    form: Form,
    introduced: bool,
    /// Names asked for, which a state-of-the-world client repeats in every request.
    names: BTreeMap<ResourceKind, Vec<String>>,
}

impl Stream {
    pub(crate) fn new(form: Form, view: Arc<View>) -> Self {
        let mut session = ServerSession::new(form, Scope::Aggregated);
        session.set_view(view);
        Self { session, now: beginning(), form, introduced: false, names: BTreeMap::new() }
    }

    fn node(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.introduced, true);
        first.then(|| Node { id: "mesh/m/virtualNode/n".to_owned(), ..Node::default() })
    }

    /// Subscribes; all responses that follow.
    pub(crate) fn ask(&mut self, kind: ResourceKind, names: &[&str]) -> Vec<Seen> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        match self.form {
            Form::StateOfTheWorld => {
                self.names.insert(kind, names.clone());
                let request = DiscoveryRequest {
                    node: self.node(),
                    type_url: type_url::of(kind).to_owned(),
                    resource_names: names,
                    ..DiscoveryRequest::default()
                };
                self.handle(&request.encode_to_vec())
            }
            Form::Delta => self.edit(DeltaDiscoveryRequest {
                type_url: type_url::of(kind).to_owned(),
                resource_names_subscribe: names,
                ..DeltaDiscoveryRequest::default()
            }),
        }
    }

    pub(crate) fn edit(&mut self, request: DeltaDiscoveryRequest) -> Vec<Seen> {
        let request = DeltaDiscoveryRequest { node: self.node(), ..request };
        self.handle(&request.encode_to_vec())
    }

    pub(crate) fn ack(&mut self, seen: &Seen) -> Vec<Seen> {
        self.answer(seen, None)
    }

    pub(crate) fn nack(&mut self, seen: &Seen, message: &str) -> Vec<Seen> {
        self.answer(seen, Some(Status { code: 13, message: message.to_owned() }))
    }

    fn answer(&mut self, seen: &Seen, error_detail: Option<Status>) -> Vec<Seen> {
        let bytes = match self.form {
            Form::StateOfTheWorld => DiscoveryRequest {
                type_url: type_url::of(seen.kind).to_owned(),
                resource_names: self.names.get(&seen.kind).cloned().unwrap_or_default(),
                version_info: seen.version.clone(),
                response_nonce: seen.nonce.clone(),
                error_detail,
                ..DiscoveryRequest::default()
            }
            .encode_to_vec(),
            Form::Delta => DeltaDiscoveryRequest {
                type_url: type_url::of(seen.kind).to_owned(),
                response_nonce: seen.nonce.clone(),
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }
            .encode_to_vec(),
        };
        self.handle(&bytes)
    }

    fn handle(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.session.handle_request(bytes).expect("a request that is fine");
        self.drain()
    }

    pub(crate) fn show(&mut self, view: Arc<View>) -> Vec<Seen> {
        self.session.set_view(view);
        self.drain()
    }

    /// Lets time pass until something that waits may go.
    pub(crate) fn wait(&mut self) -> Vec<Seen> {
        self.now = self.session.next_timeout().expect("something waits");
        self.drain()
    }

    pub(crate) fn drain(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        while let Some(bytes) = self.session.poll_response(self.now) {
            all.push(self.read(&bytes));
        }
        all
    }

    fn read(&self, bytes: &[u8]) -> Seen {
        match self.form {
            Form::StateOfTheWorld => {
                let message = DiscoveryResponse::decode(bytes).expect("a response");
                let kind = type_url::kind(&message.type_url).expect("a known type");
                let names = message
                    .resources
                    .iter()
                    .map(|any| selvedge_xds::decode(kind, &any.value).expect("a resource").name().to_owned())
                    .collect();
                Seen { kind, names, removed: Vec::new(), nonce: message.nonce, version: message.version_info }
            }
            Form::Delta => {
                let message = DeltaDiscoveryResponse::decode(bytes).expect("a response");
                let kind = type_url::kind(&message.type_url).expect("a known type");
                Seen {
                    kind,
                    names: message.resources.iter().map(|resource| resource.name.clone()).collect(),
                    removed: message.removed_resources,
                    nonce: message.nonce,
                    version: String::new(),
                }
            }
        }
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }
}

/// Kind and names of each response.
pub(crate) fn gist(seen: &[Seen]) -> Vec<(ResourceKind, Vec<&str>)> {
    seen.iter().map(|seen| (seen.kind, seen.names.iter().map(String::as_str).collect())).collect()
}
