//! Whether a peer's certificates are to be believed.

use std::collections::BTreeMap;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use selvedge_traffic::tls::NameMatch;
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use crate::certificate::{Certificate, CertificateInvalid, hex, spki_sha256};
use crate::pem::{self, PemInvalid};
use crate::spiffe::{self, SvidInvalid};

/// Which side of a connection the peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// Those whose word is taken.
#[derive(Debug, Default)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
    /// When each begins and ends to count, in seconds since the Unix epoch.
    validity: Vec<(i64, i64)>,
    /// Their names, encoded, to tell clients whose certificates are welcome.
    pub subjects: Vec<Vec<u8>>,
    pub facts: Vec<Certificate>,
}

/// What a peer must show besides a chain.
#[derive(Debug, Default)]
pub struct Rules {
    /// Any of them will do; none asks for none.
    pub names: Vec<NameMatch>,
    /// SHA-256 of certificates that are known, in hexadecimal digits, with or without colons.
    pub certificate_hashes: Vec<String>,
    /// SHA-256 of keys that are known, in base64.
    pub spki_hashes: Vec<String>,
    pub allow_expired: bool,
    pub crl_of_leaf_only: bool,
}

/// Decides on peers.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    rules: Rules,
    crls: Vec<CertRevocationList<'static>>,
}

/// Who vouches for a peer.
#[derive(Debug)]
pub enum Trust {
    /// Nobody needs to: whatever is shown is accepted.
    Any,
    /// Nobody does; only pins tell.
    Nobody,
    Authorities(Authorities),
    /// Peers are SPIFFE identities; those of a trust domain are vouched for by its own authorities alone.
    Domains(BTreeMap<String, Authorities>),
}

/// Why a peer is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("certificate cannot be read: {0}")]
    Unreadable(#[from] CertificateInvalid),
    #[error("certificate has expired")]
    Expired,
    #[error("certificate is not yet valid")]
    NotYetValid,
    #[error("certificate revoked")]
    Revoked,
    #[error("no revocation list tells of the certificate")]
    RevocationUnknown,
    #[error("unable to get local issuer certificate")]
    UnknownIssuer,
    #[error("unsuitable certificate purpose")]
    Purpose,
    #[error("certificate chain is not valid: {0}")]
    Chain(String),
    #[error("SAN matcher, certificate SANs are [{0}]")]
    Name(String),
    #[error("hash/SPKI matcher")]
    Pin,
    #[error("certificate is no X.509 SVID: {0}")]
    NoSvid(#[from] SvidInvalid),
    #[error("trust domain {0:?} is not trusted")]
    TrustDomain(String),
}

impl Authorities {
    /// Reads a bundle.
    ///
    /// # Errors
    /// When it holds no certificate, or one that cannot be an authority.
    pub fn read(bundle: &[u8]) -> Result<Self, BundleInvalid> {
        let mut authorities = Self::default();
        for der in pem::certificates(bundle)? {
            let facts = Certificate::read(&der).map_err(BundleInvalid::Certificate)?;
            let anchor =
                anchor_from_trusted_cert(&der).map_err(|error| BundleInvalid::Anchor(error.to_string()))?;
            authorities.subjects.push(anchor.subject.to_vec());
            authorities.anchors.push(anchor.to_owned());
            authorities.validity.push((facts.not_before, facts.not_after));
            authorities.facts.push(facts);
            authorities.certificates.push(der);
        }
        Ok(authorities)
    }

    /// Those that count at a moment.
    fn valid_at(&self, now: i64) -> std::borrow::Cow<'_, [TrustAnchor<'static>]> {
        let valid = |(begin, end): &(i64, i64)| (*begin..=*end).contains(&now);
        if self.validity.iter().all(valid) {
            return std::borrow::Cow::Borrowed(&self.anchors);
        }
        let valid = self.anchors.iter().zip(&self.validity).filter(|(_, validity)| valid(validity));
        valid.map(|(anchor, _)| anchor.clone()).collect()
    }
}

/// A bundle of authorities or revocation lists that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleInvalid {
    #[error(transparent)]
    Pem(#[from] PemInvalid),
    #[error("a certificate in it cannot be read")]
    Certificate(#[source] CertificateInvalid),
    #[error("a certificate in it cannot be an authority: {0}")]
    Anchor(String),
    #[error("a revocation list in it cannot be read: {0}")]
    RevocationList(String),
}

impl Verifier {
    /// Accepts whatever is shown.
    pub fn accepting_any() -> Self {
        Self { trust: Trust::Any, rules: Rules::default(), crls: Vec::new() }
    }

    /// Believes whom `trust` vouches for and keeps the rules. `crls` is a PEM text of revocation lists.
    ///
    /// # Errors
    /// When the revocation lists cannot be read.
    pub fn new(trust: Trust, rules: Rules, crls: Option<&[u8]>) -> Result<Self, BundleInvalid> {
        let read = |der: &[u8]| {
            OwnedCertRevocationList::from_der(der)
                .map(CertRevocationList::from)
                .map_err(|error| BundleInvalid::RevocationList(error.to_string()))
        };
        let lists = crls.map(pem::revocation_lists).transpose()?.unwrap_or_default();
        let crls = lists.iter().map(|der| read(der)).collect::<Result<_, _>>()?;
        Ok(Self { trust, rules, crls })
    }

    /// All who vouch for peers, of every trust domain.
    pub fn authorities(&self) -> impl Iterator<Item = &Authorities> {
        let (one, domains) = match &self.trust {
            Trust::Any | Trust::Nobody => (None, None),
            Trust::Authorities(authorities) => (Some(authorities), None),
            Trust::Domains(domains) => (None, Some(domains.values())),
        };
        one.into_iter().chain(domains.into_iter().flatten())
    }

    /// Whether there is anything to verify a peer by: only then is a client asked who it is.
    pub fn is_asking(&self) -> bool {
        matches!(self.trust, Trust::Authorities(_) | Trust::Domains(_))
            || !self.rules.certificate_hashes.is_empty()
            || !self.rules.spki_hashes.is_empty()
    }

    /// Whether a client must show who it is even if its listener does not insist: rules that nobody keeps who keeps silent
    /// (names, pins, SPIFFE identities) leave no choice. As Envoy has it.
    pub fn is_demanding(&self) -> bool {
        !matches!(self.trust, Trust::Any)
            && (matches!(self.trust, Trust::Domains(_))
                || !self.rules.names.is_empty()
                || !self.rules.certificate_hashes.is_empty()
                || !self.rules.spki_hashes.is_empty())
    }

    /// Judges a peer that showed `leaf` and `intermediates`. `now` is in time since the Unix epoch.
    ///
    /// # Errors
    /// See [`Distrust`].
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<(), Distrust> {
        if matches!(self.trust, Trust::Any) {
            return Ok(());
        }
        let facts = Certificate::read(leaf)?;
        match &self.trust {
            Trust::Any | Trust::Nobody => {}
            Trust::Authorities(authorities) => {
                self.chain(authorities, leaf, &facts, intermediates, side, now)?;
            }
            Trust::Domains(domains) => {
                let domain = spiffe::identity(&facts)?.trust_domain;
                let untrusted = || Distrust::TrustDomain(domain.to_owned());
                let authorities = domains.get(domain).ok_or_else(untrusted)?;
                self.chain(authorities, leaf, &facts, intermediates, side, now)?;
            }
        }
        self.keep_rules(&facts)
    }

    /// Judges a peer again that was believed before, when a session is taken up: it may have expired, or been revoked, in
    /// the meantime.
    ///
    /// # Errors
    /// See [`Distrust`].
    pub fn verify_resumed(&self, facts: &Certificate, now: UnixTime) -> Result<(), Distrust> {
        if matches!(self.trust, Trust::Any) || self.rules.allow_expired {
            return Ok(());
        }
        in_time(facts, seconds(now))
    }

    fn chain(
        &self,
        authorities: &Authorities,
        leaf: &CertificateDer<'_>,
        facts: &Certificate,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let now = if self.rules.allow_expired {
            let end = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                u64::try_from(facts.not_after).unwrap_or(0),
            ));
            now.min(end)
        } else {
            now
        };
        // A leaf that is trusted itself needs nobody's word: a partial chain ends where trust begins.
        if authorities.certificates.iter().any(|trusted| trusted.as_ref() == leaf.as_ref()) {
            return in_time(facts, seconds(now));
        }
        let end_entity = EndEntityCert::try_from(leaf).map_err(distrust)?;
        let anchors = authorities.valid_at(seconds(now));
        let mut lists: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let depth = match self.rules.crl_of_leaf_only {
            true => RevocationCheckDepth::EndEntity,
            false => RevocationCheckDepth::Chain,
        };
        let verify = |lists: &[&CertRevocationList<'_>]| {
            let revocation = RevocationOptionsBuilder::new(lists).ok().map(|options| {
                options
                    .with_depth(depth)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build()
            });
            let usage = match side {
                Side::Client => KeyUsage::client_auth(),
                Side::Server => KeyUsage::server_auth(),
            };
            end_entity
                .verify_for_usage(ALGORITHMS, &anchors, intermediates, now, usage, revocation, None)
                .map(|_| ())
        };
        let mut verified = verify(&lists);
        // The library asks the first list under the issuer's name. An authority that has changed its key has two.
        for _ in 1..lists.len() {
            let is_others = matches!(
                verified,
                Err(Error::InvalidCrlSignatureForPublicKey | Error::InvalidSignatureForPublicKey)
            );
            if !is_others {
                break;
            }
            lists.rotate_left(1);
            verified = verify(&lists);
        }
        verified.map_err(distrust)
    }

    fn keep_rules(&self, facts: &Certificate) -> Result<(), Distrust> {
        let rules = &self.rules;
        if !rules.names.is_empty() && !rules.names.iter().any(|rule| facts.names.satisfy(rule)) {
            return Err(Distrust::Name(facts.names.line()));
        }
        if rules.certificate_hashes.is_empty() && rules.spki_hashes.is_empty() {
            return Ok(());
        }
        let hash = hex(&facts.sha256());
        let known =
            rules.certificate_hashes.iter().any(|pin| pin.replace(':', "").eq_ignore_ascii_case(&hash));
        let known = known
            || spki_sha256(&facts.der).is_some_and(|spki| {
                let spki = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, spki);
                rules.spki_hashes.contains(&spki)
            });
        if known { Ok(()) } else { Err(Distrust::Pin) }
    }
}

/// What signatures of certificates may be made with.
pub const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn in_time(facts: &Certificate, now: i64) -> Result<(), Distrust> {
    match now {
        now if now < facts.not_before => Err(Distrust::NotYetValid),
        now if now > facts.not_after => Err(Distrust::Expired),
        _ => Ok(()),
    }
}

fn distrust(error: Error) -> Distrust {
    match error {
        Error::CertExpired { .. } => Distrust::Expired,
        Error::CertNotValidYet { .. } => Distrust::NotYetValid,
        Error::CertRevoked => Distrust::Revoked,
        Error::UnknownRevocationStatus | Error::CrlExpired { .. } => Distrust::RevocationUnknown,
        Error::UnknownIssuer => Distrust::UnknownIssuer,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Distrust::Purpose,
        other => Distrust::Chain(other.to_string()),
    }
}
