//! The names that App Mesh gave to resources; dashboards and alarms are written for them.

use std::net::IpAddr;

use selvedge_model::PortProtocol;

/// A sidecar's or gateway's listener for incoming connections.
pub(crate) fn ingress_listener(bind: IpAddr, port: u16) -> String {
    format!("lds_ingress_{bind}_{port}")
}

/// The listener for outgoing connections.
pub(crate) fn egress_listener(bind: IpAddr, port: u16) -> String {
    format!("lds_egress_{bind}_{port}")
}

/// The application behind one of a node's listeners.
pub(crate) fn ingress_cluster(mesh: &str, node: &str, protocol: PortProtocol, port: u16) -> String {
    format!("cds_ingress_{mesh}_{node}_{protocol}_{port}")
}

/// A node's listener, as callers see it.
pub(crate) fn egress_cluster(mesh: &str, node: &str, protocol: PortProtocol, port: u16) -> String {
    format!("cds_egress_{mesh}_{node}_{protocol}_{port}")
}

/// Where connections to AWS pass through.
pub(crate) fn amazonaws_cluster(mesh: &str) -> String {
    format!("cds_egress_{mesh}_amazonaws")
}

/// Where all other connections pass through, if the mesh lets them.
pub(crate) fn allow_all_cluster(mesh: &str) -> String {
    format!("cds_egress_{mesh}_mesh-allow-all")
}

/// Where connections pass through that an egress policy lets out on a port.
pub(crate) fn egress_policy_cluster(mesh: &str, port: u16) -> String {
    format!("cds_egress_{mesh}_policy_{port}")
}

/// Somebody outside the mesh whom a policy names.
pub(crate) fn service_cluster(mesh: &str, host: &str, port: u16, http2: bool) -> String {
    let protocol = if http2 { "http2" } else { "http" };
    format!("cds_service_{mesh}_{host}_{protocol}_{port}")
}

/// A service that a policy names and that cannot be asked.
pub(crate) fn missing_service_cluster(mesh: &str, policy: &str) -> String {
    format!("cds_service_{mesh}_policy_{policy}_missing")
}

/// A node's instances as its own sidecars see them: what zone-aware routing weighs against. A bootstrap names it.
pub(crate) fn local_cluster(mesh: &str, node: &str) -> String {
    format!("cds_local_{mesh}_{node}")
}

/// The control plane's own rate-limit service.
pub(crate) fn rate_limit_cluster(mesh: &str) -> String {
    format!("cds_service_{mesh}_control_plane")
}

/// A gateway's way into its own egress listener; with several listeners each has its own.
pub(crate) fn self_redirect_cluster(
    mesh: &str,
    gateway: &str,
    protocol: PortProtocol,
    listener_port: Option<u16>,
    egress_port: u16,
) -> String {
    let listener_port = listener_port.map_or(String::new(), |port| format!("{port}_"));
    format!("cds_ingress_{mesh}_{gateway}_self_redirect_{listener_port}{protocol}_{egress_port}")
}

/// The routes of incoming requests.
pub(crate) fn ingress_routes(protocol: PortProtocol, port: u16) -> String {
    format!("rds_ingress_{protocol}_{port}")
}

/// The routes of outgoing requests.
pub(crate) fn egress_routes(protocol: PortProtocol, port: u16) -> String {
    format!("rds_egress_{protocol}_{port}")
}

/// The statistics' prefix of an incoming connection: with several listeners, each has its own.
pub(crate) fn ingress_stat_prefix(listeners: usize, protocol: PortProtocol, port: u16) -> String {
    if listeners > 1 { format!("ingress.{protocol}.{port}") } else { "ingress".to_owned() }
}

/// The statistics' prefix of an outgoing connection.
pub(crate) const EGRESS_STAT_PREFIX: &str = "egress";
/// The one virtual host of a gateway's incoming requests.
pub(crate) const SELF_REDIRECT: &str = "self_redirect";
/// The virtual host for requests that keep a foreign host name.
pub(crate) const DEFAULT_BACKEND: &str = "default_backend";
/// Who App Mesh's sidecars may always call, on port 443.
pub(crate) const AMAZONAWS: &str = "*.amazonaws.com";
/// Names the virtual service of such a request.
pub(crate) const VIRTUAL_SERVICE_HEADER: &str = "x-app-mesh-virtual-service";
