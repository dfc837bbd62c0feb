//! `selvedge edge check --live`: a TLS handshake with every listener that is served now, and what was negotiated; and whether the
//! mesh has what the configuration publishes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, SignatureScheme};
use selvedge_identity::Certificate;
use selvedge_site::{ListenAddress, Listener, Program};

use selvedge_client::Client;

use super::CheckArgs;
use super::publish::{self, Place};
use crate::exit::Failure;
use crate::{endpoint, output};

/// A listener that does not answer in this time does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at every listener, and says what came of it.
///
/// # Errors
/// [`Failure::Check`] when one does not serve as it is configured.
pub(super) fn check(program: &Program) -> Result<(), Failure> {
    let mut failed = 0;
    for listener in &program.listeners {
        let (line, good) = match look(listener) {
            Ok(said) => (said, true),
            Err(error) => (format!("failed: {error}"), false),
        };
        failed += usize::from(!good);
        output::emit(&format!("{}: {line}\n", listener.token))?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::Check("one listener does not serve as it is configured".into())),
        several => Err(Failure::Check(format!("{several} listeners do not serve as they are configured"))),
    }
}

/// Says how the mesh has what the configuration publishes.
///
/// # Errors
/// [`Failure::Check`] when it has something else.
pub(super) fn published(program: &Program, args: &CheckArgs) -> Result<(), Failure> {
    let published = selvedge_site::gateway::published(program);
    let Some(gateway) = published.gateway.as_deref().filter(|name| !name.is_empty()) else { return Ok(()) };
    let client = Client::new(endpoint::resolve(args.endpoint_url.as_deref())?);
    let told = crate::cli::block_on(async {
        let told = async {
            let mesh = publish::mesh(&client, args.mesh.as_deref()).await?;
            let place = Place { mesh, gateway: gateway.to_owned() };
            publish::standing(&client, &place, &published).await
        };
        Ok(told.await)
    })?;
    let told = told.map_err(|problem| {
        Failure::Check(format!("the mesh cannot be asked: {:#}", anyhow::Error::new(problem)))
    })?;
    told.iter().try_for_each(|(line, _)| output::emit(&format!("{line}\n")))?;
    match told.iter().filter(|(_, good)| !good).count() {
        0 => Ok(()),
        several => Err(Failure::Check(format!("{several} of them are not in the mesh as they are here"))),
    }
}

fn look(listener: &Listener) -> Result<String, String> {
    let address = match &listener.address {
        ListenAddress::Inet(address) => reachable(*address),
        ListenAddress::Name { host, port, .. } => {
            use std::net::ToSocketAddrs as _;
            let found = (&**host, *port).to_socket_addrs().map_err(|error| error.to_string())?.next();
            found.ok_or_else(|| format!("{host} has no address"))?
        }
        ListenAddress::Unix(path) => {
            let connected = std::os::unix::net::UnixStream::connect(&**path);
            return connected.map(|_| "answers, without TLS".to_owned()).map_err(|error| error.to_string());
        }
    };
    let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    if !listener.ssl.engine {
        return Ok("answers, without TLS".to_owned());
    }
    let patience = Some(PATIENCE);
    socket.set_read_timeout(patience).and_then(|()| socket.set_write_timeout(patience)).map_err(said)?;
    handshake(socket, address.ip())
}

/// Makes the handshake; what was negotiated.
fn handshake(mut socket: TcpStream, host: IpAddr) -> Result<String, String> {
    let mut provider = aws_lc_rs::default_provider();
    // As browsers do: the hybrid group first.
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    let provider = Arc::new(provider);
    let word = Arc::new(AtomicBool::new(false));
    let anybody = Arc::new(Anybody { provider: Arc::clone(&provider), word: Arc::clone(&word) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::from(host);
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).map_err(said)?;
    }
    let mut out = String::new();
    let version = session.protocol_version().and_then(|version| version.as_str().map(version_text));
    let _ = write!(out, "{}", version.unwrap_or("TLS"));
    if let Some(suite) = session.negotiated_cipher_suite() {
        let suite = suite.suite();
        let _ = write!(out, ", {}", suite.as_str().unwrap_or("a cipher without a name"));
    }
    if let Some(group) = session.negotiated_key_exchange_group() {
        let _ = write!(out, ", {:?}", group.name());
    }
    match session.alpn_protocol() {
        Some(protocol) => drop(write!(out, ", {}", String::from_utf8_lossy(protocol))),
        None => out.push_str(", no ALPN"),
    }
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    if let Some(shown) = shown.and_then(|der| Certificate::read(der).ok()) {
        let names: BTreeSet<&str> = shown.names.dns.iter().map(String::as_str).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(" ");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let days = shown.days_left(i64::try_from(now).unwrap_or(i64::MAX));
        let named = if names.is_empty() { shown.subject.clone() } else { names };
        let _ = write!(out, "; certificate of {named}, {days} days left");
    }
    let word = if word.load(Ordering::Relaxed) { "with" } else { "without" };
    let _ = write!(out, ", {word} its issuer's word (OCSP)");
    Ok(out)
}

fn version_text(version: &str) -> &str {
    match version {
        "TLSv1_2" => "TLS 1.2",
        "TLSv1_3" => "TLS 1.3",
        other => other,
    }
}

fn said(error: std::io::Error) -> String {
    error.to_string()
}

/// Where a listener on every address is reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Takes any certificate: what is asked is which one is shown, and signatures are checked all the same.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
    /// Whether the issuer's word (OCSP) came with the certificate.
    word: Arc<AtomicBool>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.word.store(!ocsp.is_empty(), Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
