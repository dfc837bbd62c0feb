//! What a secret discovery service hands out, ready to be used.

use std::fmt;

use selvedge_traffic::tls::{Trust, Validation};

use super::Material;

/// A secret. Keys are held in the form in which they sign, and as nothing else.
#[derive(Clone)]
pub enum Secret {
    Certificate(Box<Material>),
    /// A pair of files; whoever hands out their names has them changed in place.
    Files {
        chain: String,
        key: String,
    },
    /// Whom to trust, and what peers must show besides.
    Validation(Box<Validation>),
}

impl fmt::Debug for Secret {
    /// Secrets are not for showing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) | Self::Files { .. } => "Certificate",
            Self::Validation(_) => "Validation",
        })
    }
}

/// A rule of which a secret is a part, made whole: what the secret says counts, and the lists of both add up, as Envoy
/// merges a combined validation context.
pub(super) fn merged(own: &Validation, given: &Validation) -> Validation {
    let joined = |own: &[String], given: &[String]| [own, given].concat();
    Validation {
        trust: given.trust.clone(),
        names: [own.names.as_slice(), &given.names].concat(),
        certificate_hashes: joined(&own.certificate_hashes, &given.certificate_hashes),
        spki_hashes: joined(&own.spki_hashes, &given.spki_hashes),
        crl: given.crl.clone().or_else(|| own.crl.clone()),
        crl_of_leaf_only: own.crl_of_leaf_only || given.crl_of_leaf_only,
        allow_expired: own.allow_expired || given.allow_expired,
    }
}

/// Whether a secret's rules lean on another secret: none may.
pub(super) fn leans(validation: &Validation) -> bool {
    matches!(validation.trust, Trust::Sds(_))
}
