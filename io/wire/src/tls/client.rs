//! The cluster's side: whom it believes, what it shows, and the sessions that it takes up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::{IpAddr, ServerName};
use selvedge_identity::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use selvedge_traffic::tls::Suites;

use super::verify::Peers;
use super::{Material, provider};

/// Sessions that are kept for each cluster, to be taken up again.
pub(super) const SESSIONS_MAX: usize = 256;

/// How a cluster speaks TLS, but for its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The name to ask for; empty asks for none.
    pub sni: String,
    pub alpn: Vec<String>,
    pub tls12: bool,
    pub tls13: bool,
    pub suites: Suites,
}

/// A cluster's TLS: the secrets in force, exchanged whole when they rotate.
#[derive(Debug, Default)]
pub struct ClientTls {
    current: ArcSwapOption<ClientContext>,
    edition: AtomicU64,
}

/// One edition of a cluster's secrets.
#[derive(Debug)]
pub struct ClientContext {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) material: Option<Material>,
    pub(super) edition: u64,
}

impl ClientTls {
    /// What new connections are to use; `None` until the secrets have come.
    pub fn current(&self) -> Option<Arc<ClientContext>> {
        self.current.load_full()
    }

    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Relaxed)
    }

    /// Puts new secrets in force for the connections to come.
    ///
    /// # Errors
    /// When no version of the protocol is left to speak.
    pub fn replace(
        &self,
        settings: &ClientSettings,
        material: Option<Material>,
        verifier: Arc<Verifier>,
    ) -> Result<(), rustls::Error> {
        let edition = self.edition() + 1;
        let context = ClientContext::new(settings, material, verifier, edition)?;
        self.current.store(Some(Arc::new(context)));
        self.edition.store(edition, Ordering::Relaxed);
        Ok(())
    }
}

impl ClientContext {
    fn new(
        settings: &ClientSettings,
        material: Option<Material>,
        verifier: Arc<Verifier>,
        edition: u64,
    ) -> Result<Self, rustls::Error> {
        let versions = provider::versions(settings.tls12, settings.tls13);
        let builder = ClientConfig::builder_with_provider(provider::of(&settings.suites))
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Peers::servers(Arc::clone(&verifier))));
        let mut config = match &material {
            Some(material) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(Arc::clone(&material.key)),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.enable_secret_extraction = true;
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let server_name = ServerName::try_from(settings.sni.clone()).ok();
        config.enable_sni = !settings.sni.is_empty();
        Ok(Self { config: Arc::new(config), server_name, verifier, material, edition })
    }

    pub fn material(&self) -> Option<&Material> {
        self.material.as_ref()
    }

    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Encrypts a connection of the control thread, which probes hosts and carries no requests.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn probe(
        &self,
        stream: TcpStream,
        host: std::net::IpAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = self.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(IpAddr::from(host)));
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }

    /// Begins to call a host. Without a name to ask for, sessions are kept by its address.
    pub(super) fn connection(
        &self,
        host: std::net::IpAddr,
    ) -> Result<UnbufferedClientConnection, rustls::Error> {
        let name = self.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(IpAddr::from(host)));
        UnbufferedClientConnection::new(Arc::clone(&self.config), name)
    }
}
