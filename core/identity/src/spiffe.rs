//! SPIFFE identities: the profile of an X.509 SVID.
//!
//! A peer's identity is the one URI among its names (X.509-SVID §2), written in the one way that the SPIFFE ID
//! specification leaves: whatever could be read in two ways is refused, never repaired.

use crate::Certificate;
use crate::certificate::KeyUse;

/// The longest identity, in bytes (SPIFFE ID §2.3).
pub const ID_BYTES_MAX: usize = 2048;
/// The longest trust domain, in bytes (SPIFFE ID §2.3).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// A certificate that is no SVID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidInvalid {
    #[error("it names no identity")]
    NoIdentity,
    #[error("it names more than one identity")]
    SeveralIdentities,
    #[error("its identity is not written as a SPIFFE ID")]
    Malformed,
    #[error("it may sign others")]
    Authority,
    #[error("it does not say what its key is for")]
    NoKeyUsage,
}

/// A SPIFFE ID in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpiffeId<'a> {
    pub trust_domain: &'a str,
    /// With its leading slash; empty for the trust domain itself.
    pub path: &'a str,
}

impl<'a> SpiffeId<'a> {
    /// Reads an identity.
    ///
    /// # Errors
    /// [`SvidInvalid::Malformed`] for anything but the canonical form: capitals in scheme or trust domain, ports, user
    /// names, queries, fragments, percent signs, empty or dotted segments, a slash or a dot at the end.
    pub fn parse(text: &'a str) -> Result<Self, SvidInvalid> {
        let rest = text.strip_prefix("spiffe://").ok_or(SvidInvalid::Malformed)?;
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let domain_ok = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        let segment_ok = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        let valid = text.len() <= ID_BYTES_MAX
            && !trust_domain.is_empty()
            && trust_domain.len() <= TRUST_DOMAIN_BYTES_MAX
            && trust_domain.bytes().all(domain_ok)
            && !trust_domain.starts_with('.')
            && !trust_domain.ends_with('.')
            && (path.is_empty() || path[1..].split('/').all(segment_ok));
        if valid { Ok(Self { trust_domain, path }) } else { Err(SvidInvalid::Malformed) }
    }
}

/// The identity of a peer by its certificate.
///
/// # Errors
/// When the certificate is no leaf SVID. DNS names may stand beside the identity; they are no identity.
pub fn identity(certificate: &Certificate) -> Result<SpiffeId<'_>, SvidInvalid> {
    if certificate.is_authority || certificate.usage == Some(KeyUse::Signing) {
        return Err(SvidInvalid::Authority);
    }
    if certificate.usage.is_none() {
        return Err(SvidInvalid::NoKeyUsage);
    }
    match certificate.names.uris.as_slice() {
        [] => Err(SvidInvalid::NoIdentity),
        [one] => SpiffeId::parse(one),
        _ => Err(SvidInvalid::SeveralIdentities),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_identity() {
        let long = format!("spiffe://{}/a", "d".repeat(256));
        for (text, valid) in [
            ("spiffe://mesh.local/ns/a/sa/b", true),
            ("spiffe://mesh.local", true),
            ("spiffe://mesh.local/A_b-c.d", true),
            ("SPIFFE://mesh.local/a", false),
            ("spiffe://Mesh.local/a", false),
            ("spiffe://mesh.local/", false),
            ("spiffe://mesh.local/a/", false),
            ("spiffe://mesh.local//a", false),
            ("spiffe://mesh.local/../a", false),
            ("spiffe://mesh.local/./a", false),
            ("spiffe://mesh.local/%61", false),
            ("spiffe://mesh.local:8443/a", false),
            ("spiffe://user@mesh.local/a", false),
            ("spiffe://mesh.local/a?b", false),
            ("spiffe://mesh.local/a#b", false),
            ("spiffe://mesh.local./a", false),
            ("spiffe://*.local/a", false),
            ("spiffe:///a", false),
            ("https://mesh.local/a", false),
            (&long, false),
        ] {
            assert_eq!(SpiffeId::parse(text).is_ok(), valid, "{text}");
        }
    }
}
