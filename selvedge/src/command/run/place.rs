//! Where an application and its sidecar stand: with the kernel's redirection, or side by side on loopback.

use std::ffi::OsString;

use anyhow::Context as _;
use nix::unistd::Uid;
use selvedge_client::Client;
use selvedge_intercept::{Backend, Choice, Settings};
use selvedge_proxy::ResourceName;
use serde_json::Value;

use super::Args;
use crate::exit::Failure;
use crate::supervise::Spec;

/// The user of sidecars, whose connections are left alone.
const SIDECAR_UID: u32 = 1337;

/// How connections come to the sidecar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Interception {
    /// Redirected as root, called by the application otherwise
    #[default]
    Auto,
    /// The kernel redirects the application's connections
    Redirect,
    /// The application calls the sidecar's ports; HTTP_PROXY tells it
    None,
}

/// What is settled before anything starts.
pub(super) struct Place {
    pub(super) admin: String,
    redirect: Option<(Backend, Settings)>,
    user: Option<(u32, u32)>,
    egress_port: u16,
}

/// Rules in the kernel, taken away when this is dropped.
pub(super) struct Rules(Option<Backend>);

impl Place {
    pub(super) async fn find(args: &Args, node: &str) -> Result<Self, Failure> {
        let is_root = Uid::effective().is_root();
        let user = args.user.map(|user| (user.uid, user.gid)).or_else(|| is_root.then(caller).flatten());
        let admin = format!("http://127.0.0.1:{}", variable("ENVOY_ADMIN_ACCESS_PORT", 9901)?);
        let egress_port = variable("SELVEDGE_EGRESS_PORT", 15001)?;
        let backend = match args.interception {
            Interception::None => None,
            Interception::Auto if !is_root => None,
            Interception::Auto => Choice::Auto.find().ok(),
            Interception::Redirect if !is_root => {
                return Err(Failure::Usage(
                    "redirection needs root: use sudo, or --interception none".to_owned(),
                ));
            }
            Interception::Redirect => Some(Choice::Auto.find().map_err(|error| anyhow::anyhow!("{error}"))?),
        };
        let Some(backend) = backend else { return Ok(Self { admin, redirect: None, user, egress_port }) };
        let app_ports =
            if args.app_ports.is_empty() { listeners(args, node).await? } else { args.app_ports.clone() };
        let only_uid = Some(user.map_or_else(|| Uid::effective().as_raw(), |(uid, _)| uid));
        let settings = Settings { app_ports, only_uid, ipv6: args.ipv6, ..Settings::default() };
        if let Some(contradiction) = settings.contradiction() {
            return Err(Failure::Usage(contradiction));
        }
        Ok(Self { admin, redirect: Some((backend, settings)), user, egress_port })
    }

    /// The sidecar.
    pub(super) fn proxy(&self, node: &str, args: &Args) -> Result<Spec, Failure> {
        let mut spec = Spec::new(std::env::current_exe().context("the path of this program is unknown")?);
        (spec.name, spec.aside) = (Some("sidecar".to_owned()), true);
        spec.arguments = vec!["proxy".into()];
        let mut set = |name: &str, value: &str| spec.environment.push((name.into(), value.into()));
        set("APPMESH_RESOURCE_ARN", node);
        set("APPMESH_XDS_ENDPOINT", &args.xds_endpoint);
        // However this program ends, nothing is left behind.
        set(crate::command::proxy::END_WITH_PARENT, "1");
        match &self.redirect {
            Some(_) => spec.arguments.extend([OsString::from("--user"), SIDECAR_UID.to_string().into()]),
            None => {
                set("SELVEDGE_INTERCEPTION", "none");
                for (name, default) in [("SELVEDGE_INGRESS_PORT", 15000), ("SELVEDGE_EGRESS_PORT", 15001)] {
                    set(name, &variable(name, default)?.to_string());
                }
            }
        }
        spec.without = vec!["NOTIFY_SOCKET".into()];
        Ok(spec)
    }

    /// The application. Without redirection it is told of the sidecar as programs are told of proxies.
    pub(super) fn application(&self, command: &[OsString]) -> Spec {
        let mut spec = Spec::new(&command[0]);
        spec.arguments = command[1..].to_vec();
        spec.user = self.user;
        if self.redirect.is_none() {
            let url = format!("http://127.0.0.1:{}", self.egress_port);
            for name in ["http_proxy", "HTTP_PROXY"] {
                spec.environment.push((name.into(), url.clone().into()));
            }
            for name in ["no_proxy", "NO_PROXY"] {
                if std::env::var_os(name).is_none() {
                    spec.environment.push((name.into(), "localhost,127.0.0.1,::1".into()));
                }
            }
        }
        spec
    }

    /// Has the kernel redirect connections, where that is meant.
    pub(super) fn redirect(&self) -> Result<Rules, Failure> {
        let Some((backend, settings)) = &self.redirect else { return Ok(Rules(None)) };
        let shown = backend.show().map_err(|error| anyhow::anyhow!("{error}"))?;
        if !shown.is_empty() {
            return Err(Failure::Check(
                "connections are redirected here already: another sidecar runs, or one was cut off; \
                 `selvedge redirect show` shows the rules and `selvedge redirect remove` takes them away"
                    .to_owned(),
            ));
        }
        backend.install(settings).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Rules(Some(*backend)))
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        if let Some(backend) = self.0.take()
            && let Err(error) = backend.remove()
        {
            eprintln!("selvedge: the rules could not be taken away: {error}");
        }
    }
}

/// Who called sudo.
fn caller() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

fn variable(name: &str, default: u16) -> Result<u16, Failure> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|_| Failure::Usage(format!("{name}={text:?} is not a port")))
        }
        _ => Ok(default),
    }
}

/// The ports of the node, as the control plane knows them.
async fn listeners(args: &Args, node: &str) -> Result<Vec<u16>, Failure> {
    let name = ResourceName::parse(node).map_err(|error| Failure::Usage(error.to_string()))?;
    let asked = || async {
        let endpoint = format!("http://{}", args.xds_endpoint).parse().map_err(anyhow::Error::new)?;
        let mesh = name.mesh.split('@').next().unwrap_or_default();
        let path = format!("/v20190125/meshes/{mesh}/virtualNodes/{}", name.name);
        anyhow::Ok(Client::new(endpoint).get(&path).await?)
    };
    let found = asked().await.with_context(|| {
        format!("where {node} listens could not be asked of {}; say --app-ports", args.xds_endpoint)
    })?;
    let listeners = found.pointer("/spec/listeners").and_then(Value::as_array);
    let port = |listener: &Value| u16::try_from(listener.pointer("/portMapping/port")?.as_u64()?).ok();
    Ok(listeners.into_iter().flatten().filter_map(port).collect())
}
