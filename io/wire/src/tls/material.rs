//! A certificate chain with its key, ready to sign.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use selvedge_identity::{Certificate, CertificateInvalid, PemInvalid, pem};

use super::provider;

/// What a side shows and signs with.
#[derive(Clone, Debug)]
pub struct Material {
    pub(super) key: Arc<CertifiedKey>,
    pub certificate: Arc<Certificate>,
    /// All of the chain, the leaf first.
    pub chain: Vec<Certificate>,
}

/// Why a pair of files cannot be used. The key's content is never part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaterialInvalid {
    #[error("the certificate chain cannot be read: {0}")]
    Chain(#[source] PemInvalid),
    #[error("a certificate of the chain cannot be read: {0}")]
    Certificate(#[source] CertificateInvalid),
    #[error("the private key cannot be read: {0}")]
    Key(#[source] PemInvalid),
    #[error("the private key is of no known kind")]
    KeyKind,
    #[error("the private key is not that of the certificate")]
    Mismatch,
}

/// Whether a key is held against its certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    Yes,
    No,
}

impl Material {
    /// Reads a chain and its key from PEM.
    ///
    /// # Errors
    /// When either cannot be read, or they do not belong together.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, MaterialInvalid> {
        let chain = pem::certificates(chain).map_err(MaterialInvalid::Chain)?;
        let key = pem::private_key(key).map_err(MaterialInvalid::Key)?;
        Self::new(chain, key, Compared::Yes)
    }

    /// Reads a chain and a key that were made together a moment ago. They are not compared: the certificate of a challenge
    /// (RFC 8737) has a critical extension by which the library refuses to look at its key.
    ///
    /// # Errors
    /// When either cannot be read.
    pub fn read_own(chain: &[u8], key: &[u8]) -> Result<Self, MaterialInvalid> {
        let chain = pem::certificates(chain).map_err(MaterialInvalid::Chain)?;
        let key = pem::private_key(key).map_err(MaterialInvalid::Key)?;
        Self::new(chain, key, Compared::No)
    }

    /// The chain as PEM, the leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::pem).collect()
    }

    /// The chain and what signs for it, for a protocol that makes its handshakes elsewhere.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// With its issuer's word (RFC 6960, in DER) to show to clients that ask for it.
    #[must_use]
    pub fn with_staple(mut self, status: Vec<u8>) -> Self {
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(status);
        self.key = Arc::new(key);
        self
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        compared: Compared,
    ) -> Result<Self, MaterialInvalid> {
        let facts: Vec<Certificate> = chain
            .iter()
            .map(|der| Certificate::read(der))
            .collect::<Result<_, _>>()
            .map_err(MaterialInvalid::Certificate)?;
        let signing =
            provider::provider().key_provider.load_private_key(key).map_err(|_| MaterialInvalid::KeyKind)?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            _ if compared == Compared::No => {}
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(MaterialInvalid::Mismatch),
        }
        let certificate =
            facts.first().cloned().ok_or(MaterialInvalid::Chain(PemInvalid::Empty("certificate")))?;
        Ok(Self { key: Arc::new(certified), certificate: Arc::new(certificate), chain: facts })
    }
}
