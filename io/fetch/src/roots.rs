//! Whose certificates are believed outside of the mesh.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The authorities that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the machine.
    System,
    /// Those of a file of PEM certificates, and no others.
    File(PathBuf),
    /// None: only calls without TLS can be made.
    Nobody,
}

/// Where the systems that we know keep theirs.
const SYSTEM: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum RootsInvalid {
    #[error("this machine has no file of authorities (looked for {})", SYSTEM.join(", "))]
    NoSystem,
    #[error("failed to read the authorities of {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0:?} holds no certificate that can be believed")]
    Empty(PathBuf),
    #[error("TLS cannot be spoken")]
    Protocol(#[from] rustls::Error),
}

impl Roots {
    /// What a client needs for TLS.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, RootsInvalid> {
        let store = match self {
            Self::File(path) => read(path.clone())?,
            Self::System => {
                let found = SYSTEM.iter().map(PathBuf::from).find(|path| path.is_file());
                read(found.ok_or(RootsInvalid::NoSystem)?)?
            }
            Self::Nobody => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(store).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(path: PathBuf) -> Result<RootCertStore, RootsInvalid> {
    let text = std::fs::read(&path).map_err(|source| RootsInvalid::Read { path: path.clone(), source })?;
    let mut store = RootCertStore::empty();
    // What cannot be read is passed over: bundles hold odd ones.
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    if store.is_empty() { Err(RootsInvalid::Empty(path)) } else { Ok(store) }
}
