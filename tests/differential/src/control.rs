//! Our control plane, started for one suite and fed through its public API.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::http1::Connection;
use crate::placeholder::Placeholders;
use crate::scenario::Mesh;
use crate::{access_log, place, sidecar, stats};

/// The name of the mesh of every suite.
pub const MESH: &str = "m";

/// A control plane that ends when it is dropped.
#[derive(Debug)]
pub struct Control {
    pub address: SocketAddr,
    /// Where access logs go.
    folder: PathBuf,
    process: Child,
}

// === impl Control ===

impl Control {
    /// Starts `selvedge up` on a fresh store under `folder` and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start or is not ready within ten seconds.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_at(folder, SocketAddr::from((Ipv4Addr::LOCALHOST, place::free_port()?))).await
    }

    /// The same at a given address, on the store that stands under `folder`.
    ///
    /// # Errors
    /// As [`Control::start`].
    pub async fn start_at(folder: &Path, address: SocketAddr) -> Result<Self> {
        let output = std::fs::File::create(folder.join("control.log"))?;
        let mut process = Command::new(place::selvedge()?)
            // The bench has a node that calls more services than a mesh has unless told so.
            .args([
                "up",
                "--quota",
                "backends-per-virtual-node=20000",
                "--listen",
                &address.to_string(),
                "--data-dir",
            ])
            .arg(folder.join("store"))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start selvedge up")?;
        for _ in 0..500 {
            if matches!(stats::get(address, "/readyz").await, Ok((200, _))) {
                return Ok(Self { address, folder: folder.to_path_buf(), process });
            }
            if let Some(status) = process.try_wait()? {
                bail!("selvedge up ended with {status}: see {}", folder.join("control.log").display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("selvedge up is not ready after ten seconds")
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it is gone already, or takes longer than `patience`.
    pub async fn terminate(mut self, patience: Duration) -> Result<ExitStatus> {
        sidecar::terminate(&mut self.process, patience).await
    }

    /// Creates everything that `mesh` holds, in the order in which references point.
    ///
    /// # Errors
    /// When the API refuses something.
    pub async fn create(&self, mesh: &Mesh, placeholders: &Placeholders) -> Result<()> {
        let items = format!("/v20190125/meshes/{MESH}");
        let put = async |path: String, mut body: Value| {
            placeholders.fill(&mut body);
            self.call("PUT", &path, &body).await
        };
        put("/v20190125/meshes".into(), json!({"meshName": MESH, "spec": mesh.spec})).await?;
        for (name, spec) in &mesh.virtual_nodes {
            let spec = self.with_access_log(spec, &format!("virtualNode/{name}"));
            put(format!("{items}/virtualNodes"), json!({"virtualNodeName": name, "spec": spec})).await?;
        }
        for (name, spec) in &mesh.virtual_routers {
            put(format!("{items}/virtualRouters"), json!({"virtualRouterName": name, "spec": spec})).await?;
        }
        for (path, spec) in &mesh.routes {
            let (router, name) = path.split_once('/').context("a route is called router/route")?;
            put(format!("{items}/virtualRouter/{router}/routes"), json!({"routeName": name, "spec": spec}))
                .await?;
        }
        for (name, spec) in &mesh.virtual_services {
            put(format!("{items}/virtualServices"), json!({"virtualServiceName": name, "spec": spec}))
                .await?;
        }
        for (name, spec) in &mesh.virtual_gateways {
            let spec = self.with_access_log(spec, &format!("virtualGateway/{name}"));
            put(format!("{items}/virtualGateways"), json!({"virtualGatewayName": name, "spec": spec}))
                .await?;
        }
        for (path, spec) in &mesh.gateway_routes {
            let (gateway, name) = path.split_once('/').context("a gateway route is called gateway/route")?;
            let collection = format!("{items}/virtualGateway/{gateway}/gatewayRoutes");
            put(collection, json!({"gatewayRouteName": name, "spec": spec})).await?;
        }
        for (name, policy) in &mesh.policies {
            let mut policy = policy.clone();
            let target = policy["target"].as_str().context("a policy has a target")?;
            policy["target"] = format!("arn:aws:appmesh:us-east-1:123456789012:mesh/{MESH}{target}").into();
            put(format!("/selvedge/v1/policies/{name}"), policy).await?;
        }
        Ok(())
    }

    /// One call of the API.
    ///
    /// # Errors
    /// When it does not answer 200 or 201.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let mut connection = Connection::new(TcpStream::connect(self.address).await?);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len(),
        );
        connection.write(head.as_bytes()).await?;
        connection.write(body.as_bytes()).await?;
        let head = connection.read_head().await?.context("the API closed without an answer")?;
        let answer = connection.read_body(head.response_framing(method)).await?;
        let text = String::from_utf8_lossy(&answer.bytes);
        ensure!(
            matches!(head.status(), Some(200 | 201)),
            "{method} {path}: {} {text}\nsent {body}",
            head.first_line
        );
        Ok(())
    }

    /// The access log of a resource's proxy.
    pub fn access_log(&self, resource: &str) -> PathBuf {
        self.folder.join(format!("{}.access.log", resource.replace('/', "-")))
    }

    /// `spec` with the harness's access log, unless it has its own; `$log` in its own becomes the path.
    fn with_access_log(&self, spec: &Value, resource: &str) -> Value {
        let path = self.access_log(resource);
        let mut spec = if spec.is_object() { spec.clone() } else { json!({}) };
        match spec.pointer_mut("/logging/accessLog/file/path") {
            Some(own) => *own = json!(path),
            None => spec["logging"] = access_log::logging(&path),
        }
        spec
    }
}
