//! From a configuration to a tracer; managers that want the same collector share one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use selvedge_telemetry::Registry;
use selvedge_telemetry::spans::xray::Segment;
use selvedge_traffic::Tracing;
use selvedge_traffic::tracing::sampling::RATE_DEFAULT;
use selvedge_traffic::tracing::{OtlpCollector, Propagation, Provider, SamplingRules, TagValue};
use selvedge_upstream::Clusters;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::export::{Collector, Exporter, Form};
use super::{Kind, ManagerTracing, QUEUE_MAX, Tracer};

/// How a proxy traces where its configuration names no provider.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingDefault {
    /// Its cluster is not looked at.
    pub provider: Provider,
    pub collector: Collector,
    /// Percent, in place of the configuration's.
    pub random_sampling: Option<f64>,
    /// Empty: the provider's own.
    pub propagation: Vec<Propagation>,
    /// The `aws` member of X-Ray segments.
    pub aws: Map<String, Value>,
}

/// Opens tracers.
#[derive(Debug)]
pub struct Tracers {
    pub clusters: Arc<Clusters>,
    pub registry: Registry,
    /// Where exporters run.
    pub control: Handle,
    pub node_id: String,
    /// The name of the service unless a provider brings one.
    pub node_cluster: String,
    pub node_address: Option<IpAddr>,
    pub default: Option<TracingDefault>,
    open: Mutex<BTreeMap<Provider, Weak<Tracer>>>,
}

impl Tracers {
    pub fn new(
        clusters: Arc<Clusters>,
        registry: Registry,
        control: Handle,
        node: (String, String),
        node_address: Option<IpAddr>,
        default: Option<TracingDefault>,
    ) -> Arc<Self> {
        let (node_id, node_cluster) = node;
        let open = Mutex::default();
        Arc::new(Self { clusters, registry, control, node_id, node_cluster, node_address, default, open })
    }

    /// What a connection manager with this configuration needs.
    pub(crate) fn manager(&self, config: &Tracing) -> ManagerTracing {
        let mut config = config.clone();
        let tracer = match (&config.provider, &self.default) {
            (Some(provider), _) => Some(self.tracer(provider, None)),
            (None, Some(default)) => {
                config.random_sampling = default.random_sampling.unwrap_or(config.random_sampling);
                Some(self.tracer(&default.provider, Some(default)))
            }
            (None, None) => None,
        };
        let (mut fixed_tags, mut header_tags) = (Vec::new(), Vec::new());
        for tag in &config.tags {
            let name = tag.name.clone();
            match &tag.value {
                TagValue::Literal(value) => fixed_tags.push((name, value.clone())),
                TagValue::Environment { name: variable, default } => {
                    let value = std::env::var(variable).unwrap_or_else(|_| default.clone());
                    if !value.is_empty() {
                        fixed_tags.push((name, value));
                    }
                }
                TagValue::RequestHeader { name: header, default } => {
                    header_tags.push((name, header.clone(), default.clone()));
                }
            }
        }
        ManagerTracing { config, fixed_tags, header_tags, tracer }
    }

    fn tracer(&self, provider: &Provider, default: Option<&TracingDefault>) -> Arc<Tracer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tracer) = open.get(provider).and_then(Weak::upgrade) {
            return tracer;
        }
        open.retain(|_, tracer| tracer.strong_count() > 0);
        let (kind, propagation, form, collector) = self.parts(provider);
        let propagation = default
            .map(|default| default.propagation.clone())
            .filter(|given| !given.is_empty())
            .unwrap_or(propagation);
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let (node_id, registry) = (self.node_id.clone(), self.registry.clone());
        let tracer = Arc::new(Tracer { kind, propagation, node_id, queue, registry: registry.clone() });
        let form = match (form, default) {
            (Form::XRay(segment), Some(default)) => {
                Form::XRay(Segment { aws: default.aws.clone(), ..segment })
            }
            (form, _) => form,
        };
        let collector = default.map_or(collector, |default| default.collector.clone());
        let exporter = Exporter { form, collector, clusters: Arc::clone(&self.clusters), registry };
        self.control.spawn(exporter.run(spans, Arc::downgrade(&tracer)));
        open.insert(provider.clone(), Arc::downgrade(&tracer));
        tracer
    }

    fn parts(&self, provider: &Provider) -> (Kind, Vec<Propagation>, Form, Collector) {
        let cluster = |name: &str| Collector::Cluster(name.to_owned());
        let or_node = |name: &str| if name.is_empty() { self.node_cluster.clone() } else { name.to_owned() };
        match provider {
            Provider::OpenTelemetry { collector, service_name } => {
                let service = or_node(service_name);
                let (form, collector) = match collector {
                    OtlpCollector::Grpc { cluster: name } => {
                        (Form::OtlpGrpc { service, host: name.clone() }, cluster(name))
                    }
                    OtlpCollector::Http { cluster: name, uri } => {
                        (Form::OtlpHttp { service, uri: uri.clone() }, cluster(name))
                    }
                };
                (Kind::OpenTelemetry, vec![Propagation::TraceContext], form, collector)
            }
            Provider::Zipkin { cluster: name, path, host, trace_id_128bit, shared_span, w3c } => {
                let mut propagation = vec![Propagation::B3];
                if *w3c {
                    propagation.push(Propagation::TraceContext);
                }
                let host = if host.is_empty() { name.clone() } else { host.clone() };
                let form = Form::Zipkin {
                    service: self.node_cluster.clone(),
                    address: self.node_address,
                    host,
                    path: path.clone(),
                };
                let kind = Kind::Zipkin { wide: *trace_id_128bit, shared: *shared_span };
                (kind, propagation, form, cluster(name))
            }
            Provider::XRay { daemon, segment_name, rules, origin } => {
                // What could not be read was refused with its configuration.
                let rules =
                    SamplingRules::parse(rules).unwrap_or_else(|_| SamplingRules::with_rate(RATE_DEFAULT));
                let segment =
                    Segment { name: or_node(segment_name), origin: origin.clone(), aws: Map::new() };
                let collector = Collector::of_authority(daemon);
                (Kind::XRay { rules }, vec![Propagation::XRay], Form::XRay(segment), collector)
            }
            Provider::Datadog { cluster: name, service_name, host } => {
                let host = if host.is_empty() { name.clone() } else { host.clone() };
                let form = Form::Datadog { service: service_name.clone(), host };
                (Kind::Datadog, vec![Propagation::Datadog, Propagation::TraceContext], form, cluster(name))
            }
        }
    }
}
