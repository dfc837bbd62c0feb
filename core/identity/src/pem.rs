//! PEM files: certificate chains, keys, revocation lists.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Certificates that one file may hold: the bundles that systems ship with have a few hundred.
pub const CERTIFICATES_MAX: usize = 4096;

/// A file that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemInvalid {
    #[error("it is no PEM text")]
    Malformed,
    #[error("it holds no {0}")]
    Empty(&'static str),
    #[error("it holds more than {CERTIFICATES_MAX} certificates")]
    TooMany,
}

/// Every certificate in a text, in order.
///
/// # Errors
/// When there is none, too many, or the text is broken.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemInvalid> {
    all(pem, "certificate")
}

/// Every revocation list in a text.
///
/// # Errors
/// As for [`certificates`].
pub fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, PemInvalid> {
    all(pem, "revocation list")
}

/// The first private key in a text.
///
/// # Errors
/// When there is none, or the text is broken.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemInvalid> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => PemInvalid::Empty("private key"),
        _ => PemInvalid::Malformed,
    })
}

/// Bytes under a label, as PEM with lines of 64 characters (RFC 7468).
pub fn write(label: &str, der: &[u8]) -> String {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The bytes of the first section with that label; `None` when there is none, or it is broken.
pub fn section(label: &str, text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (inner, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let inner: String = inner.split_ascii_whitespace().collect();
    STANDARD.decode(inner).ok()
}

fn all<T: PemObject>(pem: &[u8], what: &'static str) -> Result<Vec<T>, PemInvalid> {
    let mut items = Vec::new();
    for item in T::pem_slice_iter(pem) {
        items.push(item.map_err(|_| PemInvalid::Malformed)?);
        if items.len() > CERTIFICATES_MAX {
            return Err(PemInvalid::TooMany);
        }
    }
    if items.is_empty() { Err(PemInvalid::Empty(what)) } else { Ok(items) }
}

/// What sort of PEM section a text begins with; for messages about files that were mixed up.
pub fn first_section(pem: &[u8]) -> Option<&'static str> {
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    Some(match sections.next()?.ok()?.0 {
        SectionKind::Certificate => "a certificate",
        SectionKind::Crl => "a revocation list",
        SectionKind::Csr => "a signing request",
        _ => "a key",
    })
}
