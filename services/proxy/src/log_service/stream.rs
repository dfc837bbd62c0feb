//! One stream to an access log service, on a connection of its own.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::{Request, header};
use selvedge_traffic::GrpcLog;
use selvedge_traffic::balance::HostHealth;
use selvedge_upstream::{Cluster, Clusters};
use selvedge_xds::rpc::access_log::PATH;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// A stream that is open, or was.
#[derive(Debug)]
pub(super) struct Stream {
    send: SendStream<Bytes>,
    /// The service has answered, which is its end, or the connection broke.
    over: Arc<AtomicBool>,
    connection: AbortHandle,
}

/// Why a message did not leave.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("there is no cluster of that name")]
    NoCluster,
    #[error("the cluster has no host")]
    NoHost,
    #[error("the service cannot be reached")]
    Connect(#[source] io::Error),
    #[error("the cluster's certificates have not arrived")]
    NoSecret,
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("the stream failed")]
    Http2(#[from] h2::Error),
    #[error("the service ended the stream")]
    Ended,
    #[error("the service took no message within {0:?}")]
    Timeout(Duration),
}

impl Stream {
    /// Connects to a host of the cluster, by TLS where the cluster says so.
    pub(super) async fn open(clusters: &Clusters, log: &GrpcLog) -> Result<Self, Error> {
        let cluster = clusters.get(&log.cluster).ok_or(Error::NoCluster)?;
        let address = address(&cluster).ok_or(Error::NoHost)?;
        let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
        let _ = stream.set_nodelay(true);
        match &cluster.tls {
            None => Self::over(stream, log).await,
            Some(tls) => {
                let context = tls.current().ok_or(Error::NoSecret)?;
                let stream = context.probe(stream, address.ip()).await.map_err(Error::Connect)?;
                Self::over(stream, log).await
            }
        }
    }

    async fn over(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        log: &GrpcLog,
    ) -> Result<Self, Error> {
        let authority = if log.authority.is_empty() { &log.cluster } else { &log.authority };
        let mut request = Request::post(format!("http://{authority}{PATH}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("selvedge/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &log.metadata {
            request = request.header(name, value);
        }
        let request = request.body(())?;
        let (client, connection) = h2::client::handshake(io).await?;
        let over = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&over);
        let connection = tokio::spawn(async move {
            let _ = connection.await;
            broken.store(true, Ordering::Relaxed);
        })
        .abort_handle();
        let mut client = client.ready().await?;
        let (answer, send) = client.send_request(request, false)?;
        let answered = Arc::clone(&over);
        // A service answers with a head at once or at the end; only with the body's end is the stream over.
        tokio::spawn(async move {
            if let Ok(answer) = answer.await {
                let mut body = answer.into_body();
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                }
            }
            answered.store(true, Ordering::Relaxed);
        });
        Ok(Self { send, over, connection })
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sends one message, and waits until all of it is on its way.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut frame = Vec::with_capacity(5 + message.len());
        frame.push(0);
        // Buffers are far below 4 GiB.
        frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        frame.extend_from_slice(message);
        let mut rest = Bytes::from(frame);
        while !rest.is_empty() {
            self.send.reserve_capacity(rest.len());
            let granted = poll_fn(|cx| self.send.poll_capacity(cx)).await.ok_or(Error::Ended)??;
            self.send.send_data(rest.split_to(granted.min(rest.len())), false)?;
        }
        if self.is_over() { Err(Error::Ended) } else { Ok(()) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The last frames may still be in the codec; a reset would overtake them.
        let _ = self.send.send_data(Bytes::new(), true);
        if self.is_over() {
            self.connection.abort();
        }
    }
}

/// A host that is well, or else any.
fn address(cluster: &Cluster) -> Option<std::net::SocketAddr> {
    let hosts = cluster.hosts();
    let well = hosts.members.iter().find(|member| member.host.health() == HostHealth::Healthy);
    well.or_else(|| hosts.members.first()).map(|member| member.host.address)
}
