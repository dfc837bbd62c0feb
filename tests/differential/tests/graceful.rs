//! What a deployment does to traffic: nothing. Restarts of sidecars and of the control plane while requests flow.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use selvedge_differential::app::App;
use selvedge_differential::control::Control;
use selvedge_differential::http1::Connection;
use selvedge_differential::place;
use selvedge_differential::placeholder::Placeholders;
use selvedge_differential::scenario::{self, Answer, Mesh};
use selvedge_differential::sidecar::{Plane, Sidecar, Start};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Longer than the time that a draining process takes by default.
const PATIENCE: Duration = Duration::from_secs(40);

/// Clients that send one request after the other, until told to stop.
struct Traffic {
    clients: JoinSet<Vec<String>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Traffic {
    fn start(target: SocketAddr, authority: &'static str, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn(send(target, authority, Arc::clone(&stop), Arc::clone(&answered)));
        }
        Self { clients: set, stop, answered }
    }

    /// Waits until `count` more requests were answered.
    async fn flow(&self, count: usize) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        for _ in 0..1000 {
            if self.answered.load(Ordering::Relaxed) >= until {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("traffic stands still");
    }

    /// Stops and asserts that every request was answered with 200.
    async fn assert_nothing_lost(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut lost = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            lost.extend(client.unwrap());
        }
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(
            lost.is_empty(),
            "{} of {answered} requests were lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
    }
}

/// One client: it keeps its connection until an answer says that it will be closed.
async fn send(
    target: SocketAddr,
    authority: &str,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Vec<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let mut lost = Vec::new();
    let mut kept: Option<Connection<TcpStream>> = None;
    while !stop.load(Ordering::Relaxed) && lost.len() < 10 {
        let exchange = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::new(TcpStream::connect(target).await?),
            };
            connection.write(request.as_bytes()).await?;
            let head = connection
                .read_head()
                .await?
                .ok_or_else(|| std::io::Error::other("closed without an answer"))?;
            connection.read_body(head.response_framing("GET")).await?;
            if head.header("connection") != Some("close") {
                kept = Some(connection);
            }
            Ok::<_, Box<dyn std::error::Error>>(head.status())
        };
        match exchange.await {
            Ok(Some(200)) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(status) => lost.push(format!("answered {status:?}")),
            Err(error) => lost.push(error.to_string()),
        }
    }
    lost
}

fn mesh(app: u16) -> Mesh {
    let mesh = json!({
        "virtualNodes": {
            "caller": {"backends": [{"virtualService": {"virtualServiceName": "svc.local"}}]},
            "app": {
                "listeners": [{"portMapping": {"port": app, "protocol": "http"}}],
                "serviceDiscovery": {"dns": {"hostname": "localhost", "ipPreference": "IPv4_ONLY"}},
            },
        },
        "virtualServices": {"svc.local": {"provider": {"virtualNode": {"virtualNodeName": "app"}}}},
    });
    serde_json::from_value(mesh).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = place::repository_root().join("target/graceful").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn start<'a>(control: SocketAddr, folder: &'a Path, name: &'a str) -> Start<'a> {
    Start {
        resource: "virtualNode/caller",
        control,
        app_ports: Vec::new(),
        zone: None,
        folder,
        name,
        traced_to: None,
    }
}

/// Whether there is a binary to test; says so when there is none.
fn is_built() -> bool {
    place::selvedge().inspect_err(|error| println!("skipped: {error}")).is_ok()
}

#[tokio::test]
async fn a_rolling_restart_of_a_sidecar_loses_no_request() {
    if !is_built() {
        return;
    }
    let folder = folder("sidecar");
    let app = App::start("app", &scenario::App::default()).await.unwrap();
    // Some requests are in flight at any moment.
    app.rehearse(&[Answer::Full(Box::new(serde_json::from_value(json!({"delayMs": 15})).unwrap()))]);
    let control = Control::start(&folder).await.unwrap();
    control.create(&mesh(app.port), &Placeholders::default()).await.unwrap();
    let mut sidecar = Sidecar::start(Plane::Ours, &start(control.address, &folder, "first")).await.unwrap();
    let traffic = Traffic::start(sidecar.egress, "svc.local", 8);
    traffic.flow(200).await;
    for name in ["second", "third"] {
        let successor = sidecar.start_successor(&start(control.address, &folder, name)).await.unwrap();
        let status = std::mem::replace(&mut sidecar, successor).terminate(PATIENCE).await.unwrap();
        assert!(status.success(), "the drained sidecar ended with {status}");
        traffic.flow(200).await;
    }
    traffic.assert_nothing_lost().await;
}

#[tokio::test]
async fn a_restart_of_the_control_plane_loses_no_request_and_changes_follow_it() {
    if !is_built() {
        return;
    }
    let folder = folder("control");
    let app = App::start("app", &scenario::App::default()).await.unwrap();
    let control = Control::start(&folder).await.unwrap();
    control.create(&mesh(app.port), &Placeholders::default()).await.unwrap();
    let sidecar = Sidecar::start(Plane::Ours, &start(control.address, &folder, "caller")).await.unwrap();
    let traffic = Traffic::start(sidecar.egress, "svc.local", 4);
    traffic.flow(200).await;

    let address = control.address;
    assert!(control.terminate(PATIENCE).await.unwrap().success());
    traffic.flow(200).await;
    let control = Control::start_at(&folder, address).await.unwrap();
    traffic.flow(200).await;

    let spec = json!({"backends": [
        {"virtualService": {"virtualServiceName": "svc.local"}},
        {"virtualService": {"virtualServiceName": "late.local"}},
    ]});
    control.call("PUT", "/v20190125/meshes/m/virtualNodes/caller", &json!({ "spec": spec })).await.unwrap();
    let service = json!({"virtualServiceName": "late.local", "spec": {"provider": {"virtualNode": {"virtualNodeName": "app"}}}});
    control.call("PUT", "/v20190125/meshes/m/virtualServices", &service).await.unwrap();
    assert_eq!(wait_for_200(sidecar.egress, "late.local").await, Some(200));
    traffic.assert_nothing_lost().await;
}

#[tokio::test]
async fn a_restarted_sidecar_serves_its_last_good_configuration_without_a_control_plane() {
    if !is_built() {
        return;
    }
    let folder = folder("alone");
    let app = App::start("app", &scenario::App::default()).await.unwrap();
    let control = Control::start(&folder).await.unwrap();
    control.create(&mesh(app.port), &Placeholders::default()).await.unwrap();
    let address = control.address;
    let mut sidecar = Sidecar::start(Plane::Ours, &start(address, &folder, "caller")).await.unwrap();
    assert_eq!(wait_for_200(sidecar.egress, "svc.local").await, Some(200));
    control.terminate(PATIENCE).await.unwrap();
    sidecar.terminate(PATIENCE).await.unwrap();
    let sidecar = sidecar.start_successor(&start(address, &folder, "caller")).await.unwrap();
    assert_eq!(wait_for_200(sidecar.egress, "svc.local").await, Some(200));
}

/// Asks until the answer is 200, at most ten seconds; returns the last status.
async fn wait_for_200(target: SocketAddr, authority: &str) -> Option<u16> {
    let mut last = None;
    for _ in 0..100 {
        let exchange = async {
            let mut connection = Connection::new(TcpStream::connect(target).await.ok()?);
            connection.write(format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n").as_bytes()).await.ok()?;
            connection.read_head().await.ok()??.status()
        };
        last = exchange.await;
        if last == Some(200) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    last
}
