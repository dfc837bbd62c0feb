//! Whom the publisher gives certificates: proxies whose specifications name them, over connections that nobody else reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::certificates::Certificates;
use selvedge_control::operations::Settings;
use selvedge_control::publish::{self, Feed, Output, Publisher, StreamId};
use selvedge_store::memory::Memory;
use selvedge_store::{Store, Vault};
use selvedge_traffic::tls::Pem;
use selvedge_xds::secret::Content;
use selvedge_xds::server::{Form, Scope};
use selvedge_xds::{ClientSession, Node};
use serde_json::{Value, json};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

struct World {
    store: Arc<dyn Store>,
    api: Api,
    feed: Feed,
    publisher: Publisher,
    now: Instant,
    proxies: BTreeMap<StreamId, Proxy>,
}

#[derive(Debug)]
struct Proxy {
    session: ClientSession,
    /// Chains by the name of their secret, and the number of secrets that came.
    chains: BTreeMap<String, Vec<u8>>,
    names: BTreeSet<String>,
    /// The revocation lists of the last secret that says whom to trust.
    lists: Option<String>,
}

impl World {
    fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let vault = Vault::new(&[5; 32]).expect("a key");
        let life = Duration::from_secs(90 * 24 * 60 * 60);
        let office =
            Certificates::new(store.clone(), Settings::default(), Arc::new(System), vault.clone(), life);
        let (readiness, hosts) = (Readiness::default(), Hosts::default());
        let api = Api::new(store.clone(), Settings::default(), Arc::new(System), readiness, hosts)
            .with_service(office.acm())
            .with_service(office.pca());
        let mut world = Self {
            store,
            api,
            feed: Feed::with_vault(vault),
            publisher: Publisher::new(publish::Settings::new("one")),
            now: Instant::now(),
            proxies: BTreeMap::new(),
        };
        world.put("meshes", json!({ "meshName": "m" }));
        world
    }

    fn put(&mut self, path: &str, body: Value) {
        let request = Request::builder().method("PUT").uri(format!("/v20190125/{path}"));
        self.send(request.header("host", "localhost"), body);
    }

    fn acm(&mut self, operation: &str, body: Value) -> Value {
        let target = format!("CertificateManager.{operation}");
        let request = Request::builder().method("POST").uri("/").header("x-amz-target", target);
        self.send(request.header("host", "localhost"), body)
    }

    fn pca(&mut self, operation: &str, body: Value) -> Value {
        let target = format!("ACMPrivateCA.{operation}");
        let request = Request::builder().method("POST").uri("/").header("x-amz-target", target);
        self.send(request.header("host", "localhost"), body)
    }

    fn authority(&mut self, name: &str) -> String {
        let configuration = json!({ "KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": { "CommonName": name } });
        let made = self.pca(
            "CreateCertificateAuthority",
            json!({ "CertificateAuthorityType": "ROOT", "CertificateAuthorityConfiguration": configuration }),
        );
        made["CertificateAuthorityArn"].as_str().expect("an ARN").to_owned()
    }

    fn send(&mut self, request: http::request::Builder, body: Value) -> Value {
        let response = self.api.handle(&request.body(Bytes::from(body.to_string())).expect("a request"));
        assert_eq!(response.status(), 200, "{body}: {:?}", response.body());
        self.feed.handle_wake(self.now);
        serde_json::from_slice(response.body()).unwrap_or(Value::Null)
    }

    fn certificate(&mut self, domain: &str) -> String {
        let asked = json!({ "DomainName": domain, "KeyAlgorithm": "EC_prime256v1" });
        let made = self.acm("RequestCertificate", asked);
        made["CertificateArn"].as_str().expect("an ARN").to_owned()
    }

    /// A node that shows a certificate.
    fn node(&mut self, name: &str, arn: &str) {
        let spec = json!({ "listeners": [{ "portMapping": { "port": 8443, "protocol": "http" },
            "tls": { "mode": "STRICT", "certificate": { "acm": { "certificateArn": arn } } } }] });
        self.put("meshes/m/virtualNodes", json!({ "virtualNodeName": name, "spec": spec }));
    }

    /// A proxy of a node that asks for secrets, whatever its node is to have.
    fn connect(&mut self, id: StreamId, node: &str, peer: IpAddr, names: &[&str]) {
        let node = Node { id: format!("mesh/m/virtualNode/{node}"), ..Node::default() };
        let mut session = ClientSession::new(node, 1);
        session.listen();
        session.want_secrets(names.iter().map(|name| (*name).to_owned()).collect());
        session.handle_connected();
        self.publisher.handle_connected(self.now, id, peer, Form::Delta, Scope::Aggregated);
        self.proxies
            .insert(id, Proxy { session, chains: BTreeMap::new(), names: BTreeSet::new(), lists: None });
        self.settle();
    }

    fn settle(&mut self) {
        self.now += Duration::from_secs(1);
        loop {
            let mut quiet = true;
            if self.feed.next_timeout().is_none_or(|at| at <= self.now) {
                for event in self.feed.poll(self.now, &*self.store).expect("the store works") {
                    self.publisher.handle_feed(self.now, event);
                }
            }
            self.publisher.handle_timeout(self.now);
            while let Some(output) = self.publisher.poll_output() {
                quiet = false;
                let Output::Send { stream, message } = output else { panic!("{output:?}") };
                self.proxies.get_mut(&stream).expect("it is connected").take(&message);
            }
            for (id, proxy) in &mut self.proxies {
                while let Some(request) = proxy.session.poll_request() {
                    quiet = false;
                    self.publisher.handle_message(self.now, *id, &request);
                }
            }
            if quiet {
                return;
            }
        }
    }
}

impl Proxy {
    fn take(&mut self, message: &[u8]) {
        self.session.handle_response(message).expect("a response");
        while let Some(update) = self.session.poll_update() {
            self.session.handle_applied(&update.nonce, Vec::new());
        }
        while let Some(update) = self.session.poll_secrets() {
            for received in &update.changed {
                self.names.insert(received.secret.name.clone());
                if let Content::Certificate { chain, .. } = &received.secret.content {
                    self.chains.insert(received.secret.name.clone(), chain.clone());
                }
                if let Content::Validation(validation) = &received.secret.content {
                    assert_eq!(validation.crl.is_some(), validation.crl_of_leaf_only);
                    self.lists = validation.crl.as_ref().map(|crl| match crl {
                        Pem::Inline(text) => text.clone(),
                        Pem::File(path) => panic!("a file: {path}"),
                    });
                }
            }
            self.session.handle_secrets_applied(&update, &[]);
        }
    }
}

#[test]
fn a_certificate_goes_to_the_node_that_names_it_and_to_no_other() {
    let mut world = World::new();
    let (own, others) = (world.certificate("web.local.test"), world.certificate("db.local.test"));
    world.node("web", &own);
    world.node("db", &others);
    world.connect(1, "web", HERE, &[&own, &others]);
    assert_eq!(world.proxies[&1].names, BTreeSet::from([own.clone()]));
    let before = world.proxies[&1].chains[&own].clone();
    world.acm("RenewCertificate", json!({ "CertificateArn": own }));
    world.settle();
    let after = &world.proxies[&1].chains[&own];
    assert_ne!(&before, after, "the renewed one came by itself");
    assert!(after.starts_with(b"-----BEGIN CERTIFICATE-----"));
}

#[test]
fn a_certificate_is_withheld_where_others_could_read_it_and_that_is_said() {
    let mut world = World::new();
    let own = world.certificate("web.local.test");
    world.node("web", &own);
    world.connect(1, "web", ELSEWHERE, &[&own]);
    assert_eq!(world.proxies[&1].names, BTreeSet::new());
    let told = world.publisher.report(world.now, "m").rejections;
    assert!(told.iter().any(|one| one.message.contains("--tls-client-ca")), "{told:?}");
    assert!(world.publisher.report(world.now, "m").diagnostics.is_empty(), "nothing is missing");
}

#[test]
fn a_listener_opens_when_its_certificate_comes_into_being_and_closes_when_nobody_can_open_its_key() {
    let mut world = World::new();
    let nobodys = "arn:aws:acm:us-east-1:123456789012:certificate/none";
    world.node("web", nobodys);
    world.connect(1, "web", HERE, &[nobodys]);
    let told = world.publisher.report(world.now, "m").diagnostics;
    assert!(told.iter().any(|one| one.text.contains(nobodys)), "{told:?}");
    let own = world.certificate("web.local.test");
    world.node("other", &own);
    world.connect(2, "other", HERE, &[&own]);
    assert_eq!(world.proxies[&2].names.len(), 1);
    // A replica that was given another key.
    world.feed = Feed::with_vault(Vault::new(&[6; 32]).expect("a key"));
    world.settle();
    let told = world.publisher.report(world.now, "m").diagnostics;
    assert!(told.iter().any(|one| one.text.contains(&own)), "{told:?}");
}

#[test]
fn whoever_believes_an_authority_gets_its_list_and_those_of_the_others_beside_it_once_it_takes_something_back()
 {
    let mut world = World::new();
    let (one, other) = (world.authority("one"), world.authority("other"));
    let asked = json!({ "DomainName": "web.local.test", "KeyAlgorithm": "EC_prime256v1", "CertificateAuthorityArn": one });
    let own = world.acm("RequestCertificate", asked)["CertificateArn"].as_str().expect("an ARN").to_owned();
    world.node("web", &own);
    let provider = json!({ "provider": { "virtualNode": { "virtualNodeName": "web" } } });
    world
        .put("meshes/m/virtualServices", json!({ "virtualServiceName": "web.local.test", "spec": provider }));
    let policy = json!({ "tls": { "validation": { "trust": { "acm": { "certificateAuthorityArns": [one, other] } } } } });
    let spec = json!({ "backends": [{ "virtualService": { "virtualServiceName": "web.local.test" } }],
        "backendDefaults": { "clientPolicy": policy } });
    world.put("meshes/m/virtualNodes", json!({ "virtualNodeName": "front", "spec": spec }));
    world.connect(1, "front", HERE, &[&format!("{one},{other}")]);
    assert_eq!(
        (world.proxies[&1].names.len(), &world.proxies[&1].lists),
        (1, &None),
        "nothing was taken back"
    );
    let shown = world.acm("DescribeCertificate", json!({ "CertificateArn": own }));
    let serial = &shown["Certificate"]["Serial"];
    world.pca(
        "RevokeCertificate",
        json!({ "CertificateAuthorityArn": one, "CertificateSerial": serial,
        "RevocationReason": "SUPERSEDED" }),
    );
    world.settle();
    let lists = world.proxies[&1].lists.as_ref().expect("lists");
    assert_eq!(
        lists.matches("-----BEGIN X509 CRL-----").count(),
        2,
        "a proxy with lists asks every authority for one: {lists}"
    );
}
