//! Whom TLS believes: the certificates that the machine trusts.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Where distributions keep them.
const PLACES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Why there is no TLS.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RootsError {
    #[error("no file with trusted certificates was found: name one in SSL_CERT_FILE")]
    NoFile,
    #[error("{0} holds no trusted certificate")]
    Empty(PathBuf),
    #[error("TLS cannot be set up: {0}")]
    Config(#[from] rustls::Error),
}

/// The file: what the environment names, or the distribution's.
pub(crate) fn file() -> Option<PathBuf> {
    let named = ["SSL_CERT_FILE", "AWS_CA_BUNDLE"].iter().find_map(std::env::var_os).map(PathBuf::from);
    named.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

pub(crate) fn config(file: Option<PathBuf>) -> Result<Arc<ClientConfig>, RootsError> {
    let file = file.ok_or(RootsError::NoFile)?;
    let mut roots = RootCertStore::empty();
    if let Ok(certificates) = CertificateDer::pem_file_iter(&file) {
        roots.add_parsable_certificates(certificates.flatten());
    }
    if roots.is_empty() {
        return Err(RootsError::Empty(file));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
