//! TLS before the API and the discovery service: what AWS's clients and its Envoy image expect of an endpoint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("failed to read {path}")]
    File {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is none in the file.
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    /// The key does not belong to the certificate, or neither is understood.
    #[error("the certificate and the key cannot be served together")]
    Pair(#[from] rustls::Error),
    /// The clients' authorities are of no use.
    #[error("the authorities of clients cannot be used")]
    Clients(#[from] VerifierBuilderError),
}

/// A certificate with its key, ready for handshakes.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    asks_clients: bool,
}

impl Tls {
    /// Reads a chain and a key in PEM. `clients`: the authorities one of which must have signed the certificate that
    /// every client then has to show.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn read(certificate: &Path, key: &Path, clients: Option<&Path>) -> Result<Self, TlsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { path, source }
        };
        let certificates = |path: &Path| {
            let chain = CertificateDer::pem_file_iter(path).map_err(failed(path))?;
            let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(failed(path))?;
            if chain.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(chain) }
        };
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let asks_clients = clients.is_some();
        let clients = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority)?;
                }
                let roots = Arc::new(roots);
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), asks_clients })
    }

    /// Whether every client has to show a certificate.
    pub(super) fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Shakes hands, for [`TLS_HANDSHAKE_TIMEOUT`] at the most.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}
