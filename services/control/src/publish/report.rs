//! What is known of the proxies: for `/selvedge/v1/status`.

use std::sync::Arc;
use std::time::Instant;

use selvedge_model::{Key, Policy};
use selvedge_translate::{Code, Diagnostic, Found, Governed, Severity, Translation};

use super::mesh::Mesh;
use super::stream::Stream;
use super::{Publisher, StreamId};
use crate::status::{ConnectedProxy, Rejection};

/// Most rejections that are reported of one proxy.
const REJECTIONS_MAX: usize = 50;

/// What is said where certificates are not handed out.
const WITHHELD: &str = "its certificates are withheld, for others could read its connection: it has to connect over loopback, \
                        a socket in the file system (--xds-unix), or TLS on a port that asks clients for a certificate \
                        (--tls-client-ca)";

/// A mesh's proxies, what they refused, and what their translations had to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub connected: Vec<ConnectedProxy>,
    pub rejections: Vec<Rejection>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Publisher {
    /// What is known of a mesh's proxies.
    pub fn report(&self, now: Instant, mesh: &str) -> Report {
        let mut report = Report::default();
        let Some(mesh) = self.meshes.get(mesh) else { return report };
        for (proxy, target) in &mesh.targets {
            report.diagnostics.extend(target.translation.diagnostics.iter().cloned());
            if self.settings.address.is_none() {
                report.diagnostics.extend(unreachable(mesh, &target.translation));
            }
            for id in &target.streams {
                let Some(stream) = self.streams.get(id) else { continue };
                let key = proxy.key(mesh.snapshot.name());
                let rejections = rejections(mesh, &key, &target.translation, stream);
                let settled = stream.acked.is_some() && stream.acked == stream.session.revision();
                report.connected.push(ConnectedProxy {
                    resource: key,
                    interception: proxy.interception.clone(),
                    id: name(*id, stream),
                    up_to_date: settled && rejections.is_empty(),
                    software: software(stream),
                    // What has not changed for a proxy since is as good as taken.
                    revision: if settled { Some(mesh.snapshot.revision) } else { stream.acked },
                    propagation: stream.propagation,
                    connected: now.saturating_duration_since(stream.connected_at),
                });
                report.rejections.extend(rejections);
            }
        }
        report.diagnostics.sort();
        report.diagnostics.dedup();
        report
    }
}

/// The policies that have proxies ask a control plane whose address nobody knows.
fn unreachable(mesh: &Mesh, translation: &Translation) -> Vec<Diagnostic> {
    let asked = translation.endpoints.iter().filter(|(_, source)| source.found == Found::ControlPlane);
    let governed =
        asked.filter_map(|(name, _)| translation.origins.policies.get(&Governed::Cluster(name.clone())));
    let policies = governed.flatten().filter_map(|name| mesh.snapshot.policies.get(name));
    let one = |policy: &Arc<Policy>| {
        Diagnostic {
        severity: Severity::Error,
        code: Code::ControlPlaneAddressUnknown,
        subject: policy.path(),
        path: "spec.service".to_owned(),
        text: "nobody is counted: the control plane listens on all addresses and was started without --advertise"
            .to_owned(),
    }
    };
    policies.map(one).collect()
}

/// Replicas share their node's id, so a proxy is told by where it is.
fn name(id: StreamId, stream: &Stream) -> String {
    match &stream.place {
        Some(place) => place.spot.to_string(),
        None => format!("{} (stream {id})", stream.peer),
    }
}

/// A rejection belongs to the resources of the mesh that the proxy's own came from.
fn rejections(mesh: &Mesh, own: &Key, translation: &Translation, stream: &Stream) -> Vec<Rejection> {
    let mut found = Vec::new();
    for rejected in stream.session.rejected().take(REJECTIONS_MAX) {
        let mut subjects: Vec<String> =
            translation.origins.resources.get(&rejected.name).into_iter().flatten().cloned().collect();
        if let Some(source) = translation.endpoints.get(&rejected.name)
            && let Some(node) = mesh.snapshot.virtual_nodes.get(&source.node)
        {
            subjects.push(node.metadata.arn.clone());
        }
        if subjects.is_empty() {
            // It comes from no resource in particular, but from what the proxy is.
            subjects.push(own.to_string());
        }
        subjects.sort();
        subjects.dedup();
        found.extend(subjects.into_iter().map(|subject| Rejection {
            subject,
            proxy: stream.session.node().map(|node| node.id.clone()).unwrap_or_default(),
            message: format!("{}: {}", rejected.name, rejected.message),
        }));
    }
    let about_secrets = |message: String| Rejection {
        subject: own.to_string(),
        proxy: stream.session.node().map(|node| node.id.clone()).unwrap_or_default(),
        message,
    };
    let refused = stream.session.rejected_secrets().take(REJECTIONS_MAX);
    found.extend(refused.map(|(name, message)| about_secrets(format!("{name}: {message}"))));
    if !stream.is_private && !translation.secrets.is_empty() {
        found.push(about_secrets(WITHHELD.to_owned()));
    }
    found
}

/// `envoy 1.40.0`, as far as it says so.
fn software(stream: &Stream) -> String {
    let node = stream.session.node();
    node.map(|node| format!("{} {}", node.user_agent, node.version)).unwrap_or_default().trim().to_owned()
}
