//! What is known of the proxies: for `/selvedge/v1/status`.

use selvedge_translate::{Diagnostic, Translation};

use super::mesh::Mesh;
use super::stream::Stream;
use super::{Publisher, StreamId};
use crate::status::{ConnectedProxy, Rejection};

/// Most rejections that are reported of one proxy.
const REJECTIONS_MAX: usize = 50;

/// A mesh's proxies, what they refused, and what their translations had to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub connected: Vec<ConnectedProxy>,
    pub rejections: Vec<Rejection>,
    pub diagnostics: Vec<Diagnostic>,
    /// For each stream, how far its proxy has come.
    pub progress: Vec<Progress>,
}

/// How far a proxy has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub node: String,
    /// `envoy 1.40.0`.
    pub software: String,
    /// The last revision that it has wholly taken.
    pub acked_revision: Option<u64>,
    /// From the change's being read to the last ACK.
    pub propagation: Option<std::time::Duration>,
    /// For how long it has been connected.
    pub connected: std::time::Duration,
}

impl Publisher {
    /// What is known of a mesh's proxies.
    pub fn report(&self, now: std::time::Instant, mesh: &str) -> Report {
        let mut report = Report::default();
        let Some(mesh) = self.meshes.get(mesh) else { return report };
        for (proxy, target) in &mesh.targets {
            report.diagnostics.extend(target.translation.diagnostics.iter().cloned());
            for id in &target.streams {
                let Some(stream) = self.streams.get(id) else { continue };
                let key = proxy.key(mesh.snapshot.name());
                let rejections = rejections(mesh, &target.translation, stream);
                let settled = stream.acked.is_some() && stream.acked == stream.session.revision();
                let progress = progress(now, mesh, stream, settled);
                report.connected.push(ConnectedProxy {
                    resource: key,
                    id: name(*id, stream),
                    up_to_date: settled && rejections.is_empty(),
                    software: progress.software.clone(),
                    revision: progress.acked_revision,
                });
                report.rejections.extend(rejections);
                report.progress.push(progress);
            }
        }
        report.diagnostics.sort();
        report.diagnostics.dedup();
        report
    }
}

/// Replicas share their node's id, so a proxy is told by where it is.
fn name(id: StreamId, stream: &Stream) -> String {
    match &stream.place {
        Some(place) => place.spot.to_string(),
        None => format!("{} (stream {id})", stream.peer),
    }
}

/// A rejection belongs to the resources of the mesh that the proxy's own came from.
fn rejections(mesh: &Mesh, translation: &Translation, stream: &Stream) -> Vec<Rejection> {
    let mut found = Vec::new();
    for rejected in stream.session.rejected().take(REJECTIONS_MAX) {
        let mut subjects: Vec<String> =
            translation.origins.resources.get(&rejected.name).into_iter().flatten().cloned().collect();
        if let Some(source) = translation.endpoints.get(&rejected.name)
            && let Some(node) = mesh.snapshot.virtual_nodes.get(&source.node)
        {
            subjects.push(node.metadata.arn.clone());
        }
        subjects.sort();
        subjects.dedup();
        found.extend(subjects.into_iter().map(|subject| Rejection {
            subject,
            proxy: stream.session.node().map(|node| node.id.clone()).unwrap_or_default(),
            message: format!("{}: {}", rejected.name, rejected.message),
        }));
    }
    found
}

fn progress(now: std::time::Instant, mesh: &Mesh, stream: &Stream, settled: bool) -> Progress {
    let node = stream.session.node();
    Progress {
        node: node.map(|node| node.id.clone()).unwrap_or_default(),
        software: node
            .map(|node| format!("{} {}", node.user_agent, node.version))
            .unwrap_or_default()
            .trim()
            .to_owned(),
        // What has not changed for a proxy since is as good as taken.
        acked_revision: if settled { Some(mesh.snapshot.revision) } else { stream.acked },
        propagation: stream.propagation,
        connected: now.saturating_duration_since(stream.connected_at),
    }
}
