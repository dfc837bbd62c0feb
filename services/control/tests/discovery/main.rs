//! The discovery service over a socket: what the wire shows, whoever the proxy is.

#[path = "../../benches/propagation/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Hosts, Readiness, Surroundings as _, System};
use selvedge_control::operations::Settings;
use selvedge_control::server::Server;
use selvedge_control::{publish, xds};
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use selvedge_traffic::ResourceKind;
use selvedge_xds::type_url;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use wire::Raw;

const CLUSTERS: &str = "/envoy.service.cluster.v3.ClusterDiscoveryService";
const ENDPOINTS: &str = "/envoy.service.endpoint.v3.EndpointDiscoveryService";
const LISTENERS: &str = "/envoy.service.listener.v3.ListenerDiscoveryService";
const ROUTES: &str = "/envoy.service.route.v3.RouteDiscoveryService";
const AGGREGATED: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";

struct Control {
    address: SocketAddr,
    drain: watch::Sender<bool>,
    server: JoinHandle<()>,
    _publisher: publish::run::Running,
}

/// One end of a stream.
struct Stream {
    send: mpsc::Sender<Bytes>,
    messages: Streaming<Bytes>,
}

impl Control {
    /// A control plane with a mesh of a caller and a service.
    async fn start(settings: publish::Settings) -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let api = Api::new(
            store.clone(),
            Settings::default(),
            Arc::new(System),
            Readiness::default(),
            Hosts::default(),
        );
        let api = Arc::new(api);
        create_mesh(&api);
        let publisher = publish::run::start(store, settings).expect("a thread");
        let (drain, draining) = watch::channel(false);
        let routes = xds::routes(&publisher.handle(), &draining);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::new(api, Some(routes));
        let server = tokio::spawn(server.run(listener, draining, Duration::from_secs(5)));
        Self { address, drain, server, _publisher: publisher }
    }

    async fn open(&self, path: &str, first: Vec<u8>) -> Result<Stream, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.expect("it listens"));
        client.ready().await.expect("it is ready");
        let (send, requests) = mpsc::channel(8);
        send.send(first.into()).await.expect("there is room");
        let request = tonic::Request::new(ReceiverStream::new(requests));
        let response = client.streaming(request, path.parse().expect("a path"), Raw).await?;
        Ok(Stream { send, messages: response.into_inner() })
    }
}

impl Stream {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        tokio::time::timeout(Duration::from_secs(10), self.messages.message())
            .await
            .expect("within ten seconds")
    }
}

fn settings() -> publish::Settings {
    publish::Settings::new(System.uuid())
}

fn create_mesh(api: &Api) {
    let put = |path: &str, body: Value| {
        let request =
            Request::builder().method("PUT").uri(format!("/v20190125/{path}")).header("host", "localhost");
        let response = api.handle(&request.body(Bytes::from(body.to_string())).expect("a request"));
        assert_eq!(response.status(), 200, "{path}: {:?}", response.body());
    };
    put("meshes", json!({ "meshName": "m" }));
    let listeners = json!([{ "portMapping": { "protocol": "http", "port": 8080 } }]);
    put("meshes/m/virtualNodes", json!({ "virtualNodeName": "web", "spec": { "listeners": listeners } }));
    let provider = json!({ "virtualNode": { "virtualNodeName": "web" } });
    put(
        "meshes/m/virtualServices",
        json!({ "virtualServiceName": "web.local", "spec": { "provider": provider } }),
    );
    let backends = json!([{ "virtualService": { "virtualServiceName": "web.local" } }]);
    let caller = json!({ "listeners": listeners, "backends": backends });
    put("meshes/m/virtualNodes", json!({ "virtualNodeName": "caller", "spec": caller }));
}

/// A length-delimited protobuf field of less than 128 bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).ok().filter(|length| *length < 128).expect("it is short");
    [&[number << 3 | 2, length], value].concat()
}

/// `DiscoveryRequest`: node = 2, resource_names = 3, type_url = 4; a node's id = 1.
fn request(node: &str, kind: ResourceKind, names: &[&str]) -> Vec<u8> {
    let id = field(1, format!("mesh/m/virtualNode/{node}").as_bytes());
    let names = names.iter().flat_map(|name| field(3, name.as_bytes())).collect();
    [field(2, &id), names, field(4, type_url::of(kind).as_bytes())].concat()
}

/// `DeltaDiscoveryRequest`: node = 1, type_url = 2, resource_names_subscribe = 3.
fn delta_request(node: &str, kind: ResourceKind, names: &[&str]) -> Vec<u8> {
    let id = field(1, format!("mesh/m/virtualNode/{node}").as_bytes());
    let names = names.iter().flat_map(|name| field(3, name.as_bytes())).collect();
    [field(1, &id), field(2, type_url::of(kind).as_bytes()), names].concat()
}

/// Whether a response speaks of that resource.
fn tells(message: &[u8], kind: ResourceKind, name: &str) -> bool {
    let contains = |text: &str| message.windows(text.len()).any(|window| window == text.as_bytes());
    contains(type_url::of(kind)) && contains(name)
}

#[tokio::test]
async fn every_service_answers_in_both_forms() {
    let control = Control::start(settings()).await;
    let web = "cds_egress_m_web_http_8080";
    let rows: [(&str, &str, ResourceKind, &[&str], &str); 4] = [
        (CLUSTERS, "Clusters", ResourceKind::Cluster, &[], web),
        (ENDPOINTS, "Endpoints", ResourceKind::Endpoints, &[web], web),
        (LISTENERS, "Listeners", ResourceKind::Listener, &[], "lds_egress_0.0.0.0_15001"),
        (ROUTES, "Routes", ResourceKind::Routes, &["rds_egress_http_8080"], "web.local"),
    ];
    for (service, noun, kind, names, expected) in rows {
        for (service, method) in [(service, noun), (AGGREGATED, "AggregatedResources")] {
            let forms = [
                (format!("{service}/Stream{method}"), request("caller", kind, names)),
                (format!("{service}/Delta{method}"), delta_request("caller", kind, names)),
            ];
            for (path, first) in forms {
                let mut stream = control.open(&path, first).await.expect("a stream");
                let message = stream.next().await.expect("no error").expect("a message");
                assert!(tells(&message, kind, expected), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_status_0_when_the_control_plane_does() {
    let control = Control::start(settings()).await;
    let path = format!("{AGGREGATED}/DeltaAggregatedResources");
    let mut stream =
        control.open(&path, delta_request("caller", ResourceKind::Cluster, &[])).await.expect("a stream");
    assert!(stream.next().await.expect("no error").is_some());
    control.drain.send_replace(true);
    assert_eq!(stream.next().await.expect("status 0"), None);
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), control.server)
        .await
        .expect("it ends")
        .expect("in good order");
}

#[tokio::test]
async fn what_is_not_fine_is_refused_with_app_meshs_status() {
    let control = Control::start(publish::Settings { streams_per_node_max: 1, ..settings() }).await;
    let path = format!("{AGGREGATED}/StreamAggregatedResources");
    let end = async |first: Vec<u8>| match control.open(&path, first).await {
        Err(status) => status,
        Ok(mut stream) => stream.next().await.expect_err("it is refused"),
    };
    let unknown = end(request("ghost", ResourceKind::Cluster, &[])).await;
    assert_eq!(
        (unknown.code(), unknown.message()),
        (Code::InvalidArgument, "VirtualNode ghost in mesh m is not found")
    );
    let nobody = end(field(4, type_url::of(ResourceKind::Cluster).as_bytes())).await;
    assert_eq!(nobody.code(), Code::InvalidArgument);

    let mut first =
        control.open(&path, request("caller", ResourceKind::Cluster, &[])).await.expect("a stream");
    assert!(first.next().await.expect("no error").is_some());
    let second = end(request("caller", ResourceKind::Cluster, &[])).await;
    assert_eq!(second.code(), Code::ResourceExhausted);

    first.send.send(Bytes::from_static(b"\xff\xff")).await.expect("there is room");
    let malformed = loop {
        match first.next().await {
            Ok(message) => assert!(message.is_some(), "it ends with a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let path = format!("{AGGREGATED}/FetchAggregatedResources");
    let missing = control.open(&path, request("caller", ResourceKind::Cluster, &[])).await;
    assert_eq!(missing.err().map(|status| status.code()), Some(Code::Unimplemented));
}
