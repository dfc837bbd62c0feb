//! Where certificates and authorities stand in the store.
//!
//! ```text
//! acm/certificate/ID             a certificate, its key sealed
//! acm-pca/authority/ID           an authority, its key sealed
//! acm-pca/issued/ID/SERIAL       what an authority issued for a signing request, PEM
//! acm-pca/revocations/ID         what an authority took back, and the list that says so
//! acm-pca-default                the identifier of the authority that signs when none is named
//! acm-count/…                    how many there are
//! ```

use std::collections::BTreeMap;

use selvedge_model::Value;
use serde::{Deserialize, Serialize};

/// What the keys of certificates begin with. Watch the change feed for it.
pub(crate) const CERTIFICATES: &str = "acm/certificate/";
/// What the keys of authorities begin with. Watch the change feed for it.
pub(crate) const AUTHORITIES: &str = "acm-pca/authority/";
/// What the keys of revocations begin with. Watch the change feed for it.
pub(crate) const REVOCATIONS: &str = "acm-pca/revocations/";
pub(crate) const DEFAULT: &str = "acm-pca-default";
pub(crate) const CERTIFICATE_COUNT: &str = "acm-count/certificate";
pub(crate) const AUTHORITY_COUNT: &str = "acm-count/authority";

/// The key of a certificate's document; what its key is sealed for, too.
pub(crate) fn certificate_key(id: &str) -> String {
    format!("{CERTIFICATES}{id}")
}

/// The key of an authority's document; what its key is sealed for, too.
pub(crate) fn authority_key(id: &str) -> String {
    format!("{AUTHORITIES}{id}")
}

/// The key of what an authority took back.
pub(crate) fn revocations_key(id: &str) -> String {
    format!("{REVOCATIONS}{id}")
}

pub(crate) type Tags = BTreeMap<String, String>;

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    Private,
    Imported,
}

/// A certificate as it is kept. Moments are in milliseconds since the Unix epoch, those that stand in the certificate in
/// seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Certificate {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) origin: Origin,
    pub(crate) domain: String,
    /// The domain among them.
    pub(crate) names: Vec<String>,
    /// The ARN of the authority that signed it.
    pub(crate) authority: Option<String>,
    /// Nobody was named to sign it, so there was nothing to prove.
    #[serde(default)]
    pub(crate) by_default: bool,
    pub(crate) algorithm: String,
    /// How the one above signed it, where that is known.
    pub(crate) signature: Option<String>,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM, from the one that signed it to the root; may be empty.
    pub(crate) chain: String,
    pub(crate) sealed: String,
    pub(crate) created_at: u64,
    pub(crate) issued_at: u64,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) serial: String,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// When it is due to be replaced, in seconds since the Unix epoch; `None` for what nobody here can replace.
    pub(crate) renew_at: Option<i64>,
    pub(crate) renewed_at: Option<u64>,
    /// Why it could not be renewed the last time.
    #[serde(default)]
    pub(crate) failure: Option<String>,
    #[serde(default)]
    pub(crate) exported: bool,
    /// The certificates that it replaced and that have not ended, the newest last.
    #[serde(default)]
    pub(crate) former: Vec<Former>,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// With which token it was asked for, and so is not made twice.
    #[serde(default)]
    pub(crate) token: Option<String>,
}

/// A certificate that was replaced, by its serial number, and when it ends in seconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Former {
    pub(crate) serial: String,
    pub(crate) not_after: i64,
}

impl Certificate {
    /// ACM's word for how it stands, at a moment in seconds.
    pub(crate) fn status(&self, now: i64) -> &'static str {
        if now > self.not_after { "EXPIRED" } else { "ISSUED" }
    }
}

/// An authority as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Authority {
    pub(crate) id: String,
    pub(crate) arn: String,
    /// `ROOT` or `SUBORDINATE`.
    pub(crate) sort: String,
    /// `ACTIVE`, `DISABLED`, `DELETED` or `PENDING_CERTIFICATE`.
    pub(crate) status: String,
    /// As it was sent.
    pub(crate) configuration: Value,
    pub(crate) usage: String,
    /// PEM; empty until there is one.
    pub(crate) certificate: String,
    pub(crate) chain: String,
    pub(crate) sealed: String,
    pub(crate) created_at: u64,
    pub(crate) changed_at: u64,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) serial: String,
    /// Until when it may be brought back, once it is deleted.
    #[serde(default)]
    pub(crate) restorable_until: Option<u64>,
    /// What it was before it was deleted.
    #[serde(default)]
    pub(crate) before: Option<String>,
    #[serde(default)]
    pub(crate) tags: Tags,
    #[serde(default)]
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) issued: usize,
    /// `RevocationConfiguration` as it was sent.
    #[serde(default)]
    pub(crate) revocation: Option<Value>,
}

/// What an authority took back, and the list that says so. Moments are in seconds since the Unix epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Revocations {
    /// The authority's ARN.
    pub(crate) authority: String,
    pub(crate) revoked: Vec<Revoked>,
    /// That of the list; it grows with each.
    pub(crate) number: u64,
    /// PEM.
    pub(crate) list: String,
    /// When the next list is due.
    pub(crate) renew_at: i64,
    /// Whether proxies are told.
    pub(crate) is_in_force: bool,
}

/// A certificate that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revoked {
    /// Hexadecimal digits.
    pub(crate) serial: String,
    pub(crate) at: i64,
    /// When it would have ended by itself, and need not be listed any more.
    pub(crate) not_after: i64,
    /// As it was sent.
    pub(crate) reason: String,
}

impl Authority {
    /// ACM-PCA's word for how it stands, at a moment in seconds.
    pub(crate) fn status(&self, now: i64) -> &str {
        if self.status == "ACTIVE" && now > self.not_after { "EXPIRED" } else { &self.status }
    }
}
