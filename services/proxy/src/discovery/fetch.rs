//! Streams to secret discovery services, and files that stand for them: one for each secret, each a task that ends when it
//! is no longer wanted.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use selvedge_telemetry::{Registry, SecretStats};
use selvedge_traffic::tls::{SecretRef, SecretSource, SecretTarget};
use selvedge_wire::tls::Trust;
use selvedge_xds::Node;
use selvedge_xds::client::{Refused, SecretSession};
use selvedge_xds::secret::SecretUpdate;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::secret_file::FileFetch;
use super::stream::{Link, LinkEvent};
use crate::bootstrap::XdsEndpoint;

/// Updates that wait for the driver.
const UPDATES_MAX: usize = 16;
/// A service that answers nothing for so long is asked again on a new connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What a service said about a secret.
pub(super) struct Fetched {
    pub(super) name: SecretRef,
    pub(super) update: SecretUpdate,
    /// Takes what could not be put in force.
    pub(super) applied: oneshot::Sender<(SecretUpdate, Vec<Refused>)>,
}

/// All streams of a proxy.
pub(super) struct Fetches {
    node: Node,
    socket: Option<PathBuf>,
    registry: Registry,
    seed: u64,
    running: HashMap<SecretRef, JoinHandle<()>>,
    sender: mpsc::Sender<Fetched>,
    receiver: mpsc::Receiver<Fetched>,
}

impl Fetches {
    pub(super) fn new(node: Node, socket: Option<PathBuf>, registry: Registry, seed: u64) -> Self {
        let (sender, receiver) = mpsc::channel(UPDATES_MAX);
        Self { node, socket, registry, seed, running: HashMap::new(), sender, receiver }
    }

    /// Asks for exactly these from here on, but for those that come with the configuration.
    pub(super) fn want(&mut self, wanted: &BTreeSet<SecretRef>) {
        self.running.retain(|name, task| {
            let stays = wanted.contains(name);
            if !stays {
                task.abort();
            }
            stays
        });
        for name in wanted {
            if self.running.contains_key(name) {
                continue;
            }
            let stats = SecretStats::new(&self.registry, &name.name);
            let (endpoint, delta) = match &name.source {
                SecretSource::Ads => continue,
                SecretSource::File(_) => {
                    let updates = self.sender.clone();
                    let read = FileFetch { name: name.clone(), updates, stats };
                    self.running.insert(name.clone(), tokio::spawn(read.run()));
                    continue;
                }
                SecretSource::Socket | SecretSource::DeltaSocket => match &self.socket {
                    Some(path) => (XdsEndpoint::Unix(path.clone()), name.source == SecretSource::DeltaSocket),
                    // What names it is refused: nobody waits.
                    None => continue,
                },
                SecretSource::Target(service) => match target(service) {
                    Some(endpoint) => (endpoint, service.delta),
                    None => continue,
                },
            };
            self.seed = self.seed.wrapping_add(1);
            let session = SecretSession::new(self.node.clone(), &name.name, delta, self.seed);
            let updates = self.sender.clone();
            let fetch = Fetch { name: name.clone(), endpoint, session, updates, stats };
            self.running.insert(name.clone(), tokio::spawn(fetch.run()));
        }
    }

    /// The next word of a service; may be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Option<Fetched> {
        self.receiver.recv().await
    }
}

impl Drop for Fetches {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

/// Where a service is, and how it is spoken to; `None` where that cannot be.
pub(super) fn target(service: &SecretTarget) -> Option<XdsEndpoint> {
    match (address(&service.uri)?, &service.tls) {
        (XdsEndpoint::Tcp { host, port, .. }, Some(tls)) => {
            let trust = Trust {
                authority: tls.roots.as_ref().map(PathBuf::from),
                certificate: tls.certificate.as_ref().map(|(chain, key)| (chain.into(), key.into())),
                name: None,
            };
            Some(XdsEndpoint::Tcp { host, port, tls: Some(trust) })
        }
        // A socket in the file system has no name that a certificate could have.
        (XdsEndpoint::Unix(_), Some(_)) => None,
        (endpoint, None) => Some(endpoint),
    }
}

/// `unix:/path`, `unix:///path`, `host:port`, `dns:host:port`.
fn address(uri: &str) -> Option<XdsEndpoint> {
    if let Some(path) = uri.strip_prefix("unix://").or_else(|| uri.strip_prefix("unix:")) {
        return (!path.is_empty()).then(|| XdsEndpoint::Unix(PathBuf::from(path)));
    }
    let rest = uri.strip_prefix("dns:").unwrap_or(uri);
    let (host, port) = rest.trim_start_matches('/').rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok()?;
    (!host.is_empty() && !host.contains('/')).then(|| XdsEndpoint::Tcp {
        host: host.to_owned(),
        port,
        tls: None,
    })
}

/// One secret's stream.
struct Fetch {
    name: SecretRef,
    endpoint: XdsEndpoint,
    session: SecretSession,
    updates: mpsc::Sender<Fetched>,
    stats: SecretStats,
}

impl Fetch {
    async fn run(mut self) {
        loop {
            tokio::time::sleep_until(self.session.next_timeout(Instant::now()).into()).await;
            let reason = self.stream().await;
            tracing::warn!(
                secret = self.name.name,
                endpoint = ?self.endpoint,
                reason,
                "no secret discovery for the moment; what is in force stays"
            );
            self.stats.failed();
            self.session.handle_disconnected(Instant::now());
        }
    }

    /// Speaks on one stream until it ends; why it did.
    async fn stream(&mut self) -> String {
        let mut link = Link::connect(&self.endpoint, self.session.method());
        let mut answered = false;
        let opened = Instant::now();
        loop {
            let silent_at = opened + SILENCE_MAX;
            let event = tokio::select! {
                event = link.event() => event,
                () = tokio::time::sleep_until(silent_at.into()), if !answered => {
                    return "it does not answer".to_owned();
                }
            };
            match event {
                LinkEvent::Connected => self.session.handle_connected(),
                LinkEvent::Closed(reason) => return reason,
                LinkEvent::Response(message) => {
                    answered = true;
                    if let Err(fault) = self.session.handle_response(&message) {
                        return fault.to_string();
                    }
                    while let Some(update) = self.session.poll_update() {
                        let Some((update, refused)) = put_in_force(&self.updates, &self.name, update).await
                        else {
                            return "the proxy is going".to_owned();
                        };
                        self.session.handle_applied(&update, &refused);
                    }
                }
            }
            while let Some(request) = self.session.poll_request() {
                self.stats.asked();
                link.send(request);
            }
        }
    }
}

/// Hands an update to the driver; what became of it, or `None` when the proxy is going.
pub(super) async fn put_in_force(
    updates: &mpsc::Sender<Fetched>,
    name: &SecretRef,
    update: SecretUpdate,
) -> Option<(SecretUpdate, Vec<Refused>)> {
    let (applied, answer) = oneshot::channel();
    updates.send(Fetched { name: name.clone(), update, applied }).await.ok()?;
    answer.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_socket_or_a_host() {
        let tcp = |host: &str, port| Some(XdsEndpoint::Tcp { host: host.to_owned(), port, tls: None });
        for (uri, expected) in [
            ("unix:/run/a.sock", Some(XdsEndpoint::Unix("/run/a.sock".into()))),
            ("unix:///run/a.sock", Some(XdsEndpoint::Unix("/run/a.sock".into()))),
            ("127.0.0.1:80", tcp("127.0.0.1", 80)),
            ("dns:agent:80", tcp("agent", 80)),
            ("dns:///agent:80", tcp("agent", 80)),
            ("[::1]:80", tcp("::1", 80)),
            ("agent", None),
            ("unix:", None),
            ("a/b:80", None),
        ] {
            assert_eq!(target(&SecretTarget::plain(uri)), expected, "{uri}");
        }
    }
}
