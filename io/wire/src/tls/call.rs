//! A call by TLS to a server that is known by its name and by who signed its certificate, as a control plane is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::provider;

/// Where systems keep the authorities that they trust; the first is where Amazon Linux does.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The longest that connecting and the handshake may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server that is believed.
pub type TrustedStream = TlsStream<TcpStream>;

/// Whom a caller believes, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities, in PEM; those of the system unless given.
    pub authority: Option<PathBuf>,
    /// A certificate with its chain, and its key, in PEM, for a server that asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have; the called host's unless given.
    pub name: Option<String>,
}

/// Why nobody can be called so.
#[derive(Debug, thiserror::Error)]
pub enum TrustInvalid {
    /// A file cannot be read, or holds something else.
    #[error("failed to read {path}: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is none in the file, or none that is understood.
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    /// The system keeps its authorities somewhere else.
    #[error("the system's authorities are not in {}: say where they are", SYSTEM_FILES.join(", "))]
    NoSystem,
    /// A name that no certificate can have.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// The certificate and the key do not belong together, or are not understood.
    #[error("the certificate cannot be shown: {0}")]
    Pair(#[from] rustls::Error),
}

impl Trust {
    /// Calls a server. The files are read anew each time, so that what was renewed is used.
    ///
    /// # Errors
    /// A file that does not do ([`TrustInvalid`]), an address that cannot be had or reached, a server that cannot be
    /// believed, or [`CALL_TIMEOUT`].
    pub async fn call(&self, host: &str, port: u16) -> io::Result<TrustedStream> {
        let (config, name) = self.read(host).map_err(io::Error::other)?;
        let call = async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(config).connect(name, stream).await
        };
        tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// What is needed to call `host`, from the files.
    ///
    /// # Errors
    /// [`TrustInvalid`].
    pub fn read(&self, host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>), TrustInvalid> {
        let named = self.name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(named.to_owned()).map_err(|_| TrustInvalid::Name(named.to_owned()))?;
        let authority = match &self.authority {
            Some(path) => path.as_path(),
            None => {
                let there = SYSTEM_FILES.iter().map(Path::new).find(|path| path.is_file());
                there.ok_or(TrustInvalid::NoSystem)?
            }
        };
        let mut roots = RootCertStore::empty();
        // A system has authorities that not everybody understands.
        let (understood, _) = roots.add_parsable_certificates(certificates(authority)?);
        if understood == 0 {
            return Err(TrustInvalid::Empty(authority.to_owned()));
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider::provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok((Arc::new(config), name))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustInvalid> {
    let read = CertificateDer::pem_file_iter(path).map_err(failed(path))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(failed(path))?;
    if chain.is_empty() { Err(TrustInvalid::Empty(path.to_owned())) } else { Ok(chain) }
}

fn failed(path: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> TrustInvalid {
    let path = path.to_owned();
    move |source| TrustInvalid::File { path, source }
}
