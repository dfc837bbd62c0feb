//! The client's TLS: 1.3 alone, whoever the server is, and no session taken up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::load::Client;
use crate::mesh;
use crate::work::{Job, Speaks};

const HTTP1: &[u8] = b"http/1.1";

/// Requests on a connection that is kept, one after the other; latencies in microseconds.
///
/// # Errors
/// When an answer is not what the upstream gives.
pub(crate) async fn keep(job: Job, begun: Instant, time: Duration) -> Result<Vec<u32>> {
    let mut client = Client::over(connect(&job, &connector(HTTP1)?).await?, &job);
    let mut latencies = Vec::with_capacity(16 * 1024);
    while begun.elapsed() < time {
        let sent = Instant::now();
        client.exchange().await?;
        latencies.push(micros(sent));
    }
    Ok(latencies)
}

/// A connection for each request.
///
/// # Errors
/// As [`keep`].
pub(crate) async fn shake(job: Job, begun: Instant, time: Duration) -> Result<Vec<u32>> {
    let connector = connector(HTTP1)?;
    let mut latencies = Vec::with_capacity(4 * 1024);
    while begun.elapsed() < time {
        let sent = Instant::now();
        Client::over(connect(&job, &connector).await?, &job).exchange().await?;
        latencies.push(micros(sent));
    }
    Ok(latencies)
}

/// `count` requests, on one connection or each on its own as the work says.
///
/// # Errors
/// As [`keep`].
pub(crate) async fn repeat(job: &Job, count: usize) -> Result<()> {
    let connector = connector(HTTP1)?;
    let mut client = Client::over(connect(job, &connector).await?, job);
    for _ in 0..count {
        if job.work.speaks == Speaks::Handshakes {
            client = Client::over(connect(job, &connector).await?, job);
        }
        client.exchange().await?;
    }
    Ok(())
}

/// A connection on which HTTP/2 was agreed.
///
/// # Errors
/// When the server does not take it.
pub(crate) async fn connect_http2(job: &Job) -> Result<TlsStream<TcpStream>> {
    let stream = connect(job, &connector(b"h2")?).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "HTTP/2 is not agreed on");
    Ok(stream)
}

/// Opens `count` connections, sends one request on each, and calls `look` while all are open and idle.
///
/// # Errors
/// When one is refused, or `look` fails.
pub(crate) async fn hold<T>(job: &Job, count: usize, look: impl FnOnce() -> Result<T>) -> Result<T> {
    let connector = connector(HTTP1)?;
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::over(connect(job, &connector).await?, job);
        client.exchange().await?;
        clients.push(client);
    }
    // A server may give memory back a moment after the last byte.
    tokio::time::sleep(Duration::from_secs(1)).await;
    look()
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

async fn connect(job: &Job, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(job.target).await.context("failed to connect")?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(mesh::TLS_AUTHORITY).context("a name")?;
    connector.connect(name, stream).await.context("the handshake failed")
}

fn connector(protocol: &[u8]) -> Result<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Believes whoever can sign: what a client makes of a certificate is not what is measured.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("1.3 alone is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
