//! The sidecar of a virtual node.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use selvedge_model::{ClientPolicyTls, EgressFilterType, PortProtocol, VirtualNode, VirtualService};

use crate::access_log::access_logs;
use crate::cluster;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::egress;
use crate::ingress;
use crate::names;
use crate::policy;

pub(crate) fn translate(context: &mut Context<'_>) {
    let proxy = context.proxy;
    let Some(node) = context.node(&proxy.name) else {
        let key = proxy.key(context.mesh());
        return context.error(Code::ProxyUnknown, &key, "", "there is no such virtual node");
    };
    let logs = policy::access_logs(context, &node.key, access_logs(node.spec.logging.as_ref()));
    ingress::translate(context, node, &logs);
    cluster::local(context, node);
    let backends = backends(context, node);
    let reached = egress::reach(context, backends);
    let filter = context.snapshot.mesh.spec.egress_filter.as_ref();
    let allow_all = filter.is_some_and(|filter| filter.kind == EgressFilterType::AllowAll);
    let mut listener = match proxy.direct() {
        None => {
            let chains = egress::chains_by_port(context, &reached, &logs);
            let preference = cluster::preference(context, node);
            egress::intercepting(context, chains, preference, allow_all)
        }
        Some(direct) => {
            let port = direct.egress_port;
            policy::tell_egress_unserved(context);
            context.origin(&names::egress_routes(PortProtocol::Http, port), node);
            let Some(chain) =
                egress::chain_for_all(context, &reached, PortProtocol::Http, port, &logs, Vec::new())
            else {
                return;
            };
            let name = names::egress_listener(direct.bind, port);
            egress::direct(name, SocketAddr::new(direct.bind, port), false, chain)
        }
    };
    policy::govern_outbound(context, &node.key, &mut listener);
    context.origin(&listener.name, node);
    context.listener(listener);
}

/// The virtual services that a node calls, each once, with the policy for it.
fn backends<'a>(
    context: &mut Context<'a>,
    node: &'a VirtualNode,
) -> Vec<(&'a VirtualService, Option<&'a ClientPolicyTls>)> {
    let default = node.spec.backend_defaults.as_ref().and_then(|defaults| defaults.client_policy.as_ref());
    let mut found: BTreeMap<&str, (&VirtualService, Option<&ClientPolicyTls>)> = BTreeMap::new();
    for (index, backend) in node.spec.backends.iter().enumerate() {
        let backend = backend.virtual_service();
        let name = backend.virtual_service_name.as_str();
        let policy = backend.client_policy.as_ref().or(default).and_then(|policy| policy.tls.as_ref());
        match context.service(name) {
            Some(service) => drop(found.entry(name).or_insert((service, policy))),
            None => {
                let path = format!("spec.backends[{index}].virtualService.virtualServiceName");
                let text = format!("there is no virtual service named {name} yet");
                context.warn(Code::BackendMissing, node, path, text);
            }
        }
    }
    found.into_values().collect()
}
