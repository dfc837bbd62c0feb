//! The listener's side: its certificate, whom it asks who they are, and the sessions that it takes up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets, UnbufferedServerConnection};
use selvedge_identity::Verifier;

use selvedge_traffic::tls::Suites;

use super::hello::Hello;
use super::verify::Peers;
use super::{Material, provider};

/// How a listener speaks TLS, but for its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    pub alpn: Vec<String>,
    pub client_auth: ClientAuth,
    pub require_sni: bool,
    pub tickets: bool,
    pub tls12: bool,
    pub tls13: bool,
    pub suites: Suites,
}

/// Whether clients must say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Asked only if there is something to verify them by; they may keep silent unless the rules name somebody.
    Optional,
    Required,
}

/// A listener's TLS: the secrets in force, exchanged whole when they rotate.
#[derive(Debug, Default)]
pub struct ServerTls {
    current: ArcSwapOption<ServerContext>,
    edition: AtomicU64,
}

/// One edition of a listener's secrets.
#[derive(Debug)]
pub struct ServerContext {
    config: Arc<ServerConfig>,
    /// For clients that offer none of our protocols: they are served without one, as by Envoy.
    without_alpn: Arc<ServerConfig>,
    alpn: Vec<Vec<u8>>,
    pub(super) require_sni: bool,
    pub(super) verifier: Option<Arc<Verifier>>,
    pub(super) material: Material,
    pub(super) edition: u64,
}

impl ServerTls {
    /// What new connections are to use; `None` until the secrets have come.
    pub fn current(&self) -> Option<Arc<ServerContext>> {
        self.current.load_full()
    }

    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// The number of the edition in force.
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Relaxed)
    }

    /// Puts new secrets in force for the connections to come.
    ///
    /// # Errors
    /// When no version of the protocol is left to speak.
    pub fn replace(
        &self,
        settings: &ServerSettings,
        material: Material,
        verifier: Option<Arc<Verifier>>,
    ) -> Result<(), rustls::Error> {
        let edition = self.edition() + 1;
        let context = ServerContext::new(settings, material, verifier, edition)?;
        self.current.store(Some(Arc::new(context)));
        self.edition.store(edition, Ordering::Relaxed);
        Ok(())
    }
}

impl ServerContext {
    fn new(
        settings: &ServerSettings,
        material: Material,
        verifier: Option<Arc<Verifier>>,
        edition: u64,
    ) -> Result<Self, rustls::Error> {
        let versions = provider::versions(settings.tls12, settings.tls13);
        let builder = ServerConfig::builder_with_provider(provider::of(&settings.suites))
            .with_protocol_versions(&versions)?;
        let mandatory = settings.client_auth == ClientAuth::Required
            || verifier.as_ref().is_some_and(|verifier| verifier.is_demanding());
        let asking = mandatory || verifier.as_ref().is_some_and(|verifier| verifier.is_asking());
        let builder = match &verifier {
            Some(verifier) if asking => {
                builder.with_client_cert_verifier(Arc::new(Peers::clients(Arc::clone(verifier), mandatory)))
            }
            None if mandatory => builder.with_client_cert_verifier(Arc::new(Peers::clients(
                Arc::new(Verifier::accepting_any()),
                true,
            ))),
            _ => builder.with_no_client_auth(),
        };
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&material.key)));
        let mut config = builder.with_cert_resolver(resolver);
        config.ignore_client_order = true;
        config.enable_secret_extraction = true;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // New secrets have new ticket keys: nobody takes up a session that was judged by other rules.
        if settings.tickets {
            config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
            config.send_tls13_tickets = 1;
        } else {
            config.ticketer = Arc::new(NoTickets);
            config.send_tls13_tickets = 0;
        }
        let without_alpn = Arc::new(config.clone());
        let alpn: Vec<Vec<u8>> = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.alpn_protocols.clone_from(&alpn);
        Ok(Self {
            config: Arc::new(config),
            without_alpn,
            alpn,
            require_sni: settings.require_sni,
            verifier,
            material,
            edition,
        })
    }

    pub fn material(&self) -> &Material {
        &self.material
    }

    pub fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.verifier.as_ref()
    }

    /// Begins to answer a client.
    pub(super) fn connection(&self, hello: &Hello) -> Result<UnbufferedServerConnection, rustls::Error> {
        let common = self.alpn.iter().any(|protocol| hello.alpn.contains(protocol));
        let config = if common { &self.config } else { &self.without_alpn };
        UnbufferedServerConnection::new(Arc::clone(config))
    }
}

#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
