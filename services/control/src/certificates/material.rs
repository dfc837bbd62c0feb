//! What of a certificate or an authority goes to proxies.

use std::collections::BTreeSet;
use std::fmt;

use selvedge_identity::Key;
use selvedge_store::{Error as StoreError, Read, Vault};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::document::{AUTHORITIES, Authority, CERTIFICATES, Certificate};
use super::read;

/// PEM that proxies show, or judge others by.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// What is shown to a peer, its key, and who vouches for it.
    Certificate { chain: String, key: Zeroizing<String>, authority: String },
    /// Whoever it signed is believed.
    Authority { certificate: String },
}

/// A document, as far as it is of use to proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub arn: String,
    pub material: Material,
}

impl fmt::Debug for Material {
    /// Keys are not for showing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate",
            Self::Authority { .. } => "Authority",
        })
    }
}

/// What the keys of certificates and authorities begin with.
pub const PREFIXES: [&str; 2] = [CERTIFICATES, AUTHORITIES];

/// Whether the document under that key is a certificate or an authority.
pub fn is_material(key: &str) -> bool {
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

impl Found {
    /// Reads a document; `None` for an authority that vouches for nobody.
    ///
    /// # Errors
    /// When it cannot be read, or its key not be opened.
    pub fn read(key: &str, value: &[u8], vault: &Vault) -> Result<Option<Self>, StoreError> {
        if key.starts_with(AUTHORITIES) {
            let one: Authority = read(key, value)?;
            let vouches = !one.certificate.is_empty() && one.status != "DELETED";
            let material = Material::Authority { certificate: one.certificate };
            return Ok(vouches.then_some(Self { arn: one.arn, material }));
        }
        let one: Certificate = read(key, value)?;
        let broken = |reason: &dyn fmt::Display| StoreError::Corrupt(format!("{key}: {reason}"));
        let opened = Zeroizing::new(vault.open(key, &one.sealed).map_err(|error| broken(&error))?);
        let private = Key::of_der(&opened).map_err(|error| broken(&error))?.pem();
        // Nobody stands above one that was imported without a chain: it vouches for itself.
        let authority = if one.chain.is_empty() { one.certificate.clone() } else { one.chain.clone() };
        let material = Material::Certificate {
            chain: format!("{}{}", one.certificate, one.chain),
            key: private,
            authority,
        };
        Ok(Some(Self { arn: one.arn, material }))
    }
}

/// The ARNs of what can be had.
///
/// # Errors
/// The store's.
pub fn known(view: &dyn Read) -> Result<BTreeSet<String>, StoreError> {
    #[derive(Deserialize)]
    struct Named {
        arn: String,
        #[serde(default)]
        status: String,
    }
    let mut arns = BTreeSet::new();
    for prefix in PREFIXES {
        for document in view.scan_all(prefix)? {
            let named: Named = read(&document.key, &document.value)?;
            if !matches!(named.status.as_str(), "DELETED" | "PENDING_CERTIFICATE") {
                arns.insert(named.arn);
            }
        }
    }
    Ok(arns)
}
