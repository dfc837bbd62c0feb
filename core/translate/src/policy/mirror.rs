//! Copies of requests.

use selvedge_model::policy::{self, MirrorTarget};
use selvedge_model::{ClientPolicyTls, Key, Policy};
use selvedge_traffic::Mirror;

use super::{filters, find};
use crate::cluster;
use crate::context::Context;
use crate::diagnostic::Code;
use crate::service::{Target, is_same_family};

/// The copies that are made of a call's requests, and the policy that asks for them; their clusters are made along.
pub(crate) fn mirrors(
    context: &mut Context<'_>,
    levels: &[Key],
    client_policy: Option<&ClientPolicyTls>,
) -> (Vec<Mirror>, Option<String>) {
    let Some((policy, spec)) = find::<policy::Mirror>(context.snapshot, levels) else {
        return (Vec::new(), None);
    };
    let mut mirrors: Vec<Mirror> = Vec::with_capacity(spec.targets.len());
    for (index, target) in spec.targets.iter().enumerate() {
        mirrors.extend(one(context, policy, index, target, client_policy));
    }
    (mirrors, Some(policy.name.clone()))
}

fn one(
    context: &mut Context<'_>,
    policy: &Policy,
    index: usize,
    target: &MirrorTarget,
    client_policy: Option<&ClientPolicyTls>,
) -> Option<Mirror> {
    let name = &target.virtual_node;
    let path = format!("spec.targets[{index}]");
    let misfit = |context: &mut Context<'_>, text: String| {
        context.error(Code::PolicyMisfit, policy, path.clone(), format!("nothing is copied: {text}"));
        None
    };
    let Some(node) = context.node(name) else {
        return misfit(context, format!("there is no node named {name}"));
    };
    let listeners = &node.spec.listeners;
    let found = match (target.port, listeners.as_slice()) {
        (Some(port), _) => listeners.iter().find(|one| one.port_mapping.port == port),
        (None, [only]) => Some(only),
        (None, _) => {
            return misfit(
                context,
                format!("the node {name} has {} listeners and no port is named", listeners.len()),
            );
        }
    };
    let Some(listener) = found else {
        return misfit(context, format!("the node {name} does not listen there"));
    };
    if !is_same_family(listener.port_mapping.protocol, selvedge_model::PortProtocol::Http) {
        return misfit(context, format!("the node {name} speaks tcp"));
    }
    let cluster = cluster::egress(context, &Target { node, listener, weight: 0 }, client_policy);
    let keeps_host = target.keep_host.unwrap_or(false);
    Some(Mirror { cluster, share: filters::share(target.share), keeps_host })
}
