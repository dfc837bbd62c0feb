//! A control plane with a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use selvedge_control::api::{Api, Hosts, Readiness, Surroundings as _, System};
use selvedge_control::operations::Settings;
use selvedge_control::server::Server;
use selvedge_control::status::StatusRoute;
use selvedge_control::{publish, xds};
use selvedge_store::Store;
use selvedge_store::memory::Memory;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Control {
    pub(crate) address: SocketAddr,
    store: Arc<dyn Store>,
    running: Option<Running>,
}

struct Running {
    api: Arc<Api>,
    drain: watch::Sender<bool>,
    server: JoinHandle<()>,
    publisher: publish::run::Running,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let running = Running::over(store.clone(), listener);
        Self { address, store, running: Some(running) }
    }

    /// Ends it as SIGTERM would, and starts a new one over the same store and on the same port.
    pub(crate) async fn restart(&mut self) {
        let running = self.running.take().expect("it runs");
        running.drain.send_replace(true);
        running.server.await.expect("it ends");
        tokio::task::spawn_blocking(move || running.publisher.stop()).await.expect("it ends");
        let started = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.running = Some(Running::over(self.store.clone(), listener));
    }

    /// A call of the API that has to succeed.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/v20190125/{path}");
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.request(method, &path, text).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn request(&self, method: &str, path: &str, body: String) -> (u16, Value) {
        let api = self.running.as_ref().expect("it runs").api.clone();
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.body(Bytes::from(body)).expect("a request");
        // It may block on the store or on the publisher.
        let response = tokio::task::spawn_blocking(move || api.handle(&request)).await.expect("an answer");
        let answer = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        (response.status().as_u16(), answer)
    }

    /// Every resource of every mesh, as status shows it.
    pub(crate) async fn resources(&self) -> Vec<Value> {
        let (_, status) = self.request("GET", "/selvedge/v1/status", String::new()).await;
        let mut all: Vec<Value> = Vec::new();
        let mut open: Vec<Value> = status["meshes"].as_array().cloned().unwrap_or_default();
        while let Some(next) = open.pop() {
            open.extend(next["children"].as_array().cloned().unwrap_or_default());
            all.push(next);
        }
        all
    }

    /// Waits until `count` proxies have all that they should.
    pub(crate) async fn wait_until(&self, patience: Duration, what: &str, count: usize) {
        self.wait_for(patience, what, |control| async {
            let resources = control.resources().await;
            let proxies: Vec<&Value> =
                resources.iter().filter_map(|resource| resource["proxies"].as_array()).flatten().collect();
            proxies.len() == count && proxies.iter().all(|proxy| proxy["upToDate"] == true)
        })
        .await;
    }

    pub(crate) async fn wait_for<'a, F: Future<Output = bool>>(
        &'a self,
        patience: Duration,
        what: &str,
        holds: impl Fn(&'a Self) -> F,
    ) {
        let started = Instant::now();
        while !holds(self).await {
            if started.elapsed() > patience {
                let resources = self.resources().await;
                panic!(
                    "not within {patience:?}: {what}\n{}",
                    serde_json::to_string_pretty(&resources).unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Running {
    fn over(store: Arc<dyn Store>, listener: TcpListener) -> Self {
        let settings = publish::Settings::new(System.uuid());
        let publisher = publish::run::start(store.clone(), settings).expect("a thread");
        let (drain, draining) = watch::channel(false);
        let routes = xds::routes(&publisher.handle(), &draining);
        let status = StatusRoute::new(store.clone(), Arc::new(publisher.handle()));
        let api =
            Api::new(store, Settings::default(), Arc::new(System), Readiness::default(), Hosts::default());
        let api = Arc::new(api.with_extension(status));
        let server = Server::new(api.clone(), Some(routes));
        let server = tokio::spawn(server.run(listener, draining, Duration::from_secs(5)));
        Self { api, drain, server, publisher }
    }
}
