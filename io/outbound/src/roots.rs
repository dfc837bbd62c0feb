//! Whose certificates are believed outside of the mesh.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The authorities that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that `SSL_CERT_FILE` or `AWS_CA_BUNDLE` names, or else the machine's.
    System,
    /// Those of a file of PEM certificates, and no others.
    File(PathBuf),
    /// None: only calls without TLS can be made.
    Nobody,
}

/// Where distributions keep theirs.
const PLACES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Why nobody can be believed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RootsInvalid {
    #[error("no file with trusted certificates was found: name one in SSL_CERT_FILE")]
    NoFile,
    #[error("{0:?} holds no certificate that can be believed")]
    Empty(PathBuf),
    #[error("TLS cannot be set up: {0}")]
    Config(#[from] rustls::Error),
}

impl Roots {
    /// What a client needs for TLS.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, RootsInvalid> {
        let roots = match self {
            Self::File(path) => read(path.clone())?,
            Self::System => read(system().ok_or(RootsInvalid::NoFile)?)?,
            Self::Nobody => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn system() -> Option<PathBuf> {
    let named = ["SSL_CERT_FILE", "AWS_CA_BUNDLE"].iter().find_map(std::env::var_os).map(PathBuf::from);
    named.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

fn read(path: PathBuf) -> Result<RootCertStore, RootsInvalid> {
    let mut roots = RootCertStore::empty();
    // What cannot be read is passed over: bundles hold odd ones.
    if let Ok(certificates) = CertificateDer::pem_file_iter(&path) {
        roots.add_parsable_certificates(certificates.flatten());
    }
    if roots.is_empty() { Err(RootsInvalid::Empty(path)) } else { Ok(roots) }
}
