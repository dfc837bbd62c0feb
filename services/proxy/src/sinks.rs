//! Statistics on their way to a statsd daemon, a flush at a time, from the control thread.

use std::net::SocketAddr;
use std::time::Duration;

use selvedge_telemetry::Registry;
use selvedge_telemetry::sink::Statsd;
use tokio::net::{UdpSocket, UnixDatagram, lookup_host};

use crate::bootstrap::{SinkTarget, StatsSink};

/// Names begin with this, as Envoy's do.
const PREFIX: &str = "envoy";
/// A daemon gets so long to make room for a datagram.
const SEND_MAX: Duration = Duration::from_millis(100);

/// Sends what has moved, once an interval, for as long as the process lives. A daemon that is not there loses its
/// statistics and delays nobody.
pub(crate) async fn run(
    sink: StatsSink,
    fixed: Vec<(String, String)>,
    registry: Registry,
    interval: Duration,
    refresh: impl Fn(),
) {
    let mut statsd = Statsd::new(sink.dialect, PREFIX, fixed);
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut socket = None;
    let mut told = false;
    loop {
        interval.tick().await;
        refresh();
        let datagrams = statsd.flush(&registry);
        if socket.is_none() {
            socket = Socket::open(&sink.target).await;
        }
        let sent = match &socket {
            Some(open) => open.send(&datagrams).await,
            None => Err(std::io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(()) => told = false,
            Err(error) => {
                // A daemon that comes back may have another address, or another socket of the same name.
                socket = None;
                registry.server().dropped_stat_flushes.inc();
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(target = ?sink.target, %error, "failed to send statistics");
                }
            }
        }
    }
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    async fn open(target: &SinkTarget) -> Option<Self> {
        match target {
            SinkTarget::Udp { host, port } => {
                let address = lookup_host((host.as_str(), *port)).await.ok()?.next()?;
                let any: SocketAddr =
                    if address.is_ipv6() { ([0; 16], 0).into() } else { ([0; 4], 0).into() };
                let socket = UdpSocket::bind(any).await.ok()?;
                socket.connect(address).await.ok()?;
                Some(Self::Udp(socket))
            }
            SinkTarget::Unix(path) => {
                let socket = UnixDatagram::unbound().ok()?;
                socket.connect(path).ok()?;
                Some(Self::Unix(socket))
            }
        }
    }

    async fn send(&self, datagrams: &[String]) -> std::io::Result<()> {
        for datagram in datagrams {
            let sent = async {
                match self {
                    Self::Udp(socket) => socket.send(datagram.as_bytes()).await,
                    Self::Unix(socket) => socket.send(datagram.as_bytes()).await,
                }
            };
            // A daemon that does not read loses what does not fit, as a network would.
            if let Ok(sent) = tokio::time::timeout(SEND_MAX, sent).await {
                sent?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use selvedge_telemetry::sink::Dialect;

    use super::*;

    async fn first_with(needle: &str, mut receive: impl AsyncFnMut() -> String) -> String {
        let found = async {
            loop {
                let text = receive().await;
                if let Some(line) = text.lines().find(|line| line.contains(needle)) {
                    return line.to_owned();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("statistics arrive")
    }

    #[tokio::test]
    async fn statistics_arrive_by_udp_and_by_unix_socket() {
        let registry = Registry::new(0);
        let cluster = registry.cluster("up");
        cluster.rq.record(200);
        let fixed = vec![("appmesh.mesh".to_owned(), "m".to_owned())];

        let daemon = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let port = daemon.local_addr().expect("an address").port();
        let target = SinkTarget::Udp { host: "127.0.0.1".to_owned(), port };
        let sink = StatsSink { dialect: Dialect::DogStatsd, target };
        let task = tokio::spawn(run(sink, fixed, registry.clone(), Duration::from_millis(20), || {}));
        let mut buffer = [0; 4096];
        let line = first_with("upstream_rq:1|c", async || {
            let len = daemon.recv(&mut buffer).await.expect("a datagram");
            String::from_utf8_lossy(&buffer[..len]).into_owned()
        })
        .await;
        assert_eq!(
            line,
            "envoy.cluster.upstream_rq:1|c|#appmesh.mesh:m,envoy.response_code:200,envoy.cluster_name:up"
        );
        task.abort();

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("statsd.sock");
        let sink = StatsSink { dialect: Dialect::Statsd, target: SinkTarget::Unix(path.clone()) };
        let task = tokio::spawn(run(sink, Vec::new(), registry.clone(), Duration::from_millis(20), || {}));
        // The daemon comes late: the flushes before it are lost, and counted.
        while registry.server().dropped_stat_flushes.value() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let daemon = UnixDatagram::bind(&path).expect("a socket");
        cluster.upstream_rq_active.inc();
        let line = first_with("upstream_rq_active", async || {
            let len = daemon.recv(&mut buffer).await.expect("a datagram");
            String::from_utf8_lossy(&buffer[..len]).into_owned()
        })
        .await;
        assert_eq!(line, "envoy.cluster.up.upstream_rq_active:1|g");
        task.abort();
    }
}
