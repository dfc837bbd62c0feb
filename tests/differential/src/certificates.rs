//! The certificates of a suite: authorities, and what each issues, as files that the mesh and the client name.

use std::path::Path;

use anyhow::{Context, Result};
use indexmap::IndexMap;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use serde::Deserialize;

/// What an authority issues.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issued {
    #[serde(default)]
    pub dns: Vec<String>,
    #[serde(default)]
    pub uri: Vec<String>,
    /// Its time is over.
    #[serde(default)]
    pub expired: bool,
}

/// By authority, and by the name of a certificate.
pub type Authorities = IndexMap<String, IndexMap<String, Issued>>;

/// Writes `AUTHORITY.pem`, and `AUTHORITY.NAME.pem` with `AUTHORITY.NAME.key`, into `folder`.
///
/// # Errors
/// When a name is none, or a file cannot be written.
pub fn write(authorities: &Authorities, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    for (authority, certificates) in authorities {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, authority.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        std::fs::write(folder.join(format!("{authority}.pem")), params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        for (name, issued) in certificates {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(issued.dns.clone())?;
            for uri in &issued.uri {
                params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
            }
            params.distinguished_name.push(DnType::CommonName, name.as_str());
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            if issued.expired {
                (params.not_before, params.not_after) =
                    (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
            }
            let stem = folder.join(format!("{authority}.{name}"));
            std::fs::write(stem.with_added_extension("pem"), params.signed_by(&key, &issuer)?.pem())?;
            std::fs::write(stem.with_added_extension("key"), key.serialize_pem())?;
        }
    }
    Ok(())
}
