//! Virtual services: requests go to the data plane of the mesh, which is told the service's name. The mesh decides the rest.
//!
//! Where the data plane is in this process, it is asked on this thread (`inner`); else by a socket. By one in the file system
//! the name is a header, and the host stays as the client sent it; by an address and a port, where anybody may listen, the name
//! is the authority.

mod inner;

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use selvedge_site::directive::{BackendId, Host, HostMode};
use selvedge_wire::stream::{self, Address};

pub(super) use inner::Asked;

use super::backend::Held;
use super::proxy::{self, Opened, Service};
use crate::request::body::upload;
use crate::request::{Exchange, Flow, Response, body};

/// How long the sidecar may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a sidecar's egress is as a backend, but for its name. Time-outs and retries are the mesh's.
static EGRESS: LazyLock<Host> = LazyLock::new(|| Host {
    id: BackendId(u32::MAX),
    label: Arc::from(""),
    host: None,
    port: 0,
    socket: None,
    listen_backlog: 0,
    bin_path: None,
    kill_signal: 0,
    check_local: false,
    mode: HostMode::Responder,
    docroot: None,
    min_procs: 0,
    max_procs: 0,
    max_load_per_proc: 0,
    idle_timeout: 0,
    disable_time: 0,
    bin_environment: Arc::from([]),
    bin_copy_environment: None,
    broken_scriptfilename: false,
    strip_request_uri: None,
    fix_root_scriptname: false,
    x_sendfile: false,
    x_sendfile_docroot: Arc::from([]),
    tcp_fin_propagate: false,
    connect_timeout: 0,
    write_timeout: 0,
    read_timeout: 0,
    upgrade: true,
});

/// Hands a request to the virtual service that is configured for it.
pub(crate) async fn service(x: &mut Exchange<'_>) -> Flow {
    let Some(name) = x.conf.mesh.service.clone().filter(|name| !name.is_empty()) else {
        return ControlFlow::Continue(());
    };
    let upgrade = proxy::wants_upgrade(x);
    if let Some(plane) = x.worker.data_plane()
        && let Some(response) = inner::ask(x, &*plane, &name, upgrade).await
    {
        return ControlFlow::Break(response);
    }
    // The data plane has its own patience with those who send slowly, and streams that have no end go both ways.
    let streamed = upload::is_due(x, false);
    if !upgrade
        && !streamed
        && let Err(response) = body::gather(x).await
    {
        return ControlFlow::Break(response);
    }
    let address = x.worker.shared.mesh.egress.clone();
    // What has been passed on cannot be passed on again: it does not go where a connection may be dead.
    let pooled = if streamed { None } else { x.worker.pooled(&address) };
    let opened = match pooled {
        Some(stream) => Ok((stream, true)),
        None => stream::connect(&address, CONNECT_TIMEOUT).await.map(|stream| (stream, false)),
    };
    let opened = match opened {
        Ok((stream, pooled)) => Opened { stream, address, pooled },
        Err(error) => {
            tracing::warn!(%error, %address, service = &*name, "the sidecar's egress cannot be reached");
            return ControlFlow::Break(Response::status(503));
        }
    };
    let host = Host { label: Arc::clone(&name), ..EGRESS.clone() };
    let service = match &opened.address {
        Address::Unix(_) => Service::InHeader(&name),
        Address::Tcp(_) => Service::AsAuthority(&name),
    };
    ControlFlow::Break(proxy::respond(x, &host, opened, Held::default(), Some(service)).await)
}
