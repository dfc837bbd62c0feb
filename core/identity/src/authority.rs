//! The certificate authority: what it signs, and what it must not.
//!
//! Keys, serial numbers and the moment are arguments. Only the number that every ECDSA signature needs comes from inside
//! the library that signs.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::certificate::{CertificateInvalid, NAMES_MAX};
use crate::{Certificate, Key};

/// Bytes of a serial number (RFC 5280 §4.1.2.2 allows 20).
pub const SERIAL_BYTES: usize = 16;
/// The longest name in a certificate, in bytes (RFC 1035 §2.3.4).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// The longest part of a subject that is issued, in characters (X.520's bound of names).
pub const SUBJECT_PART_MAX: usize = 64;

/// Random bytes for a serial number.
pub type Serial = [u8; SERIAL_BYTES];

/// Whose certificate it is, by X.501; what is `None` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub country: Option<String>,
    pub state: Option<String>,
    pub locality: Option<String>,
    pub organization: Option<String>,
    pub organizational_unit: Option<String>,
    pub common_name: Option<String>,
}

/// From when to when, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// What is asked for: a certificate for a server and client of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub subject: Subject,
    /// DNS names, the first asterisk label included; and URIs such as SPIFFE identities, told by their `://`.
    pub names: Vec<String>,
    pub validity: Validity,
    pub serial: Serial,
}

/// A certificate that is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub serial: Vec<u8>,
    /// Seconds since the Unix epoch.
    pub at: i64,
}

/// A certificate that may sign others, with its key.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    /// By which name lists say whose they are: that of the certificate, however it was come by.
    key_id: KeyIdMethod,
}

/// A certificate that is not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the authority's certificate cannot be read: {0}")]
    Authority(CertificateInvalid),
    #[error("the authority's certificate may not sign others")]
    NoAuthority,
    #[error("the authority's key is not the one of its certificate")]
    KeyMismatch,
    #[error("it has neither a subject nor a name")]
    Nameless,
    #[error("there are more than {NAMES_MAX} names")]
    TooManyNames,
    #[error("'{0}' is neither a DNS name nor a URI")]
    Name(String),
    #[error("the subject's {part} is longer than {SUBJECT_PART_MAX} characters, or empty")]
    Subject {
        /// Which part of it.
        part: &'static str,
    },
    #[error("it would end before it begins")]
    Validity,
    #[error("it would end after its authority, which ends at {0} seconds since 1970")]
    Outlives(i64),
    #[error("the signing request cannot be read: {0}")]
    Request(String),
    #[error("a certificate that may sign others is not issued on request")]
    AsksToSign,
    #[error("it cannot be signed: {0}")]
    Unsigned(String),
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authority").field(&self.certificate.subject).finish()
    }
}

// === impl Authority ===

impl Authority {
    /// An authority that is its own: the certificate that the others are believed for, DER.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn root(
        subject: &Subject,
        key: &Key,
        validity: Validity,
        serial: Serial,
    ) -> Result<Vec<u8>, Refused> {
        let mut params = params(subject, validity, serial)?;
        if subject == &Subject::default() {
            return Err(Refused::Nameless);
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(key.pair()).map_err(unsigned)?;
        Ok(certificate.der().to_vec())
    }

    /// A request by which another authority may sign this one's key, DER (PKCS #10).
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn request(subject: &Subject, key: &Key) -> Result<Vec<u8>, Refused> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(subject)?;
        let request = params.serialize_request(key.pair()).map_err(unsigned)?;
        Ok(request.der().to_vec())
    }

    /// Takes up an authority by its certificate and key.
    ///
    /// # Errors
    /// When the certificate is none that may sign, or the key is another's.
    pub fn open(certificate: &[u8], key: Key) -> Result<Self, Refused> {
        let read = Certificate::read(certificate).map_err(Refused::Authority)?;
        if !read.is_authority {
            return Err(Refused::NoAuthority);
        }
        if !key.fits(certificate) {
            return Err(Refused::KeyMismatch);
        }
        let der = CertificateDer::from_slice(certificate);
        let key_id = key_id(certificate);
        let issuer = Issuer::from_ca_cert_der(&der, key.into_pair()).map_err(unsigned)?;
        Ok(Self { certificate: read, issuer, key_id })
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Issues a certificate for a key that is made here, DER.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn issue(&self, grant: &Grant, key: &Key) -> Result<Vec<u8>, Refused> {
        self.admit(grant.validity)?;
        let mut params = params(&grant.subject, grant.validity, grant.serial)?;
        params.subject_alt_names = alternative(&grant.names)?;
        if grant.names.is_empty() && grant.subject == Subject::default() {
            return Err(Refused::Nameless);
        }
        self.sign(params, key.pair())
    }

    /// Issues what a signing request asks for, DER: its subject and names, for a server and client.
    ///
    /// # Errors
    /// See [`Refused`]; in particular when it wants to sign others.
    pub fn issue_requested(
        &self,
        request: &[u8],
        validity: Validity,
        serial: Serial,
    ) -> Result<Vec<u8>, Refused> {
        self.admit(validity)?;
        let asked = CertificateSigningRequestParams::from_der(&request.into())
            .map_err(|error| Refused::Request(error.to_string()))?;
        if !matches!(asked.params.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa) {
            return Err(Refused::AsksToSign);
        }
        if asked.params.subject_alt_names.len() > NAMES_MAX {
            return Err(Refused::TooManyNames);
        }
        if asked.params.subject_alt_names.is_empty()
            && asked.params.distinguished_name.iter().next().is_none()
        {
            return Err(Refused::Nameless);
        }
        let mut params = params(&Subject::default(), validity, serial)?;
        params.distinguished_name = asked.params.distinguished_name;
        params.subject_alt_names = asked.params.subject_alt_names;
        self.sign(params, &asked.public_key)
    }

    /// The list of what was taken back, DER. `number` grows with each list.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn revocations(
        &self,
        revoked: &[Revoked],
        number: u64,
        validity: Validity,
    ) -> Result<Vec<u8>, Refused> {
        let entry = |one: &Revoked| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&one.serial),
                revocation_time: moment(one.at)?.to_datetime(),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: moment(validity.not_before)?.to_datetime(),
            next_update: moment(validity.not_after)?.to_datetime(),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, Refused>>()?,
            key_identifier_method: self.key_id.clone(),
        };
        Ok(list.signed_by(&self.issuer).map_err(unsigned)?.der().to_vec())
    }

    fn admit(&self, validity: Validity) -> Result<(), Refused> {
        if validity.not_after > self.certificate.not_after {
            return Err(Refused::Outlives(self.certificate.not_after));
        }
        Ok(())
    }

    fn sign(&self, mut params: CertificateParams, key: &impl PublicKeyData) -> Result<Vec<u8>, Refused> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer).map_err(unsigned)?;
        Ok(certificate.der().to_vec())
    }
}

/// The subject key identifier of a certificate (RFC 5280 §4.2.1.2); for one that has none, what one made here would have.
fn key_id(certificate: &[u8]) -> KeyIdMethod {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return KeyIdMethod::Sha256 };
    let found = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    found.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified)
}

fn unsigned(error: rcgen::Error) -> Refused {
    Refused::Unsigned(error.to_string())
}

fn params(subject: &Subject, validity: Validity, serial: Serial) -> Result<CertificateParams, Refused> {
    if validity.not_after <= validity.not_before {
        return Err(Refused::Validity);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(subject)?;
    params.not_before = moment(validity.not_before)?.to_datetime();
    params.not_after = moment(validity.not_after)?.to_datetime();
    params.serial_number = Some(SerialNumber::from_slice(&positive(serial)));
    // The bytes of the key's identifier are free; that of the authority has to be found again by others.
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

/// A serial number is above zero, and so that nobody takes it for a negative one its first bit is not set.
fn positive(mut serial: Serial) -> Serial {
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn moment(seconds: i64) -> Result<ASN1Time, Refused> {
    ASN1Time::from_timestamp(seconds).map_err(|_| Refused::Validity)
}

fn distinguished(subject: &Subject) -> Result<DistinguishedName, Refused> {
    let mut name = DistinguishedName::new();
    for (part, kind, value) in [
        ("Country", DnType::CountryName, &subject.country),
        ("State", DnType::StateOrProvinceName, &subject.state),
        ("Locality", DnType::LocalityName, &subject.locality),
        ("Organization", DnType::OrganizationName, &subject.organization),
        ("OrganizationalUnit", DnType::OrganizationalUnitName, &subject.organizational_unit),
        ("CommonName", DnType::CommonName, &subject.common_name),
    ] {
        let Some(value) = value else { continue };
        let is_clean = !value.is_empty() && !value.chars().any(char::is_control);
        if !is_clean || value.chars().count() > SUBJECT_PART_MAX {
            return Err(Refused::Subject { part });
        }
        name.push(kind, value.as_str());
    }
    Ok(name)
}

fn alternative(names: &[String]) -> Result<Vec<SanType>, Refused> {
    if names.len() > NAMES_MAX {
        return Err(Refused::TooManyNames);
    }
    let of = |name: &String| {
        let refused = || Refused::Name(name.chars().take(DNS_NAME_BYTES_MAX).collect());
        let text = name.as_str().try_into().map_err(|_| refused())?;
        match name.contains("://") {
            true if is_uri(name) => Ok(SanType::URI(text)),
            false if is_dns_name(name) => Ok(SanType::DnsName(text)),
            _ => Err(refused()),
        }
    };
    names.iter().map(of).collect()
}

/// Labels of letters, digits, underscores and inner hyphens; the first may be an asterisk.
pub fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= DNS_NAME_BYTES_MAX && rest.split('.').all(is_label)
}

fn is_uri(name: &str) -> bool {
    const BYTES_MAX: usize = 2048;
    name.len() <= BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether the holder of `issuer` signed `certificate`; both DER. Dates and purposes are not looked at.
pub fn is_signed_by(certificate: &[u8], issuer: &[u8]) -> bool {
    let read = |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed);
    let (Ok(certificate), Ok(issuer)) = (read(certificate), read(issuer)) else { return false };
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// The name of a certificate that nothing else has: the first 16 bytes of its SHA-256 as hexadecimal digits.
pub fn name_of(certificate: &[u8]) -> String {
    crate::certificate::hex(&digest(&SHA256, certificate).as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use rustls_pki_types::UnixTime;

    use crate::{Authorities, Distrust, Rules, Side, Trust, Verifier};

    const DAY: i64 = 86_400;

    fn key() -> Key {
        Key::of_der(&KeyPair::generate().expect("a key").serialize_der()).expect("a key")
    }

    fn subject(name: &str) -> Subject {
        Subject { common_name: Some(name.to_owned()), ..Subject::default() }
    }

    fn authority() -> (Authority, Vec<u8>) {
        let key = key();
        let validity = Validity { not_before: 0, not_after: 3650 * DAY };
        let root = Authority::root(&subject("mesh"), &key, validity, [0xff; 16]).expect("a root");
        (Authority::open(&root, key).expect("an authority"), root)
    }

    fn grant() -> Grant {
        Grant {
            subject: subject("web.local"),
            names: vec!["web.local".to_owned(), "spiffe://mesh/web".to_owned()],
            validity: Validity { not_before: DAY, not_after: 30 * DAY },
            serial: [7; 16],
        }
    }

    #[test]
    fn what_is_issued_says_what_was_granted_and_is_believed_for_its_authority() {
        let (authority, root) = authority();
        let key = key();
        let issued = authority.issue(&grant(), &key).expect("issued");
        let read = Certificate::read(&issued).expect("a certificate");
        assert_eq!((read.subject.as_str(), read.issuer.as_str()), ("CN=web.local", "CN=mesh"));
        assert_eq!(read.names.dns, ["web.local"]);
        assert_eq!(read.names.uris, ["spiffe://mesh/web"]);
        assert_eq!((read.not_before, read.not_after), (DAY, 30 * DAY));
        assert!(!read.is_authority && key.fits(&issued) && !self::key().fits(&issued));
        assert!(read.serial.starts_with("47"), "positive: {}", read.serial);
        assert!(Certificate::read(&root).expect("a certificate").is_authority);
        assert!(is_signed_by(&issued, &root) && is_signed_by(&root, &root) && !is_signed_by(&root, &issued));
        assert!(!is_signed_by(&issued, &self::authority().1), "another of the same name");
    }

    #[test]
    fn requests_are_answered_with_their_names_and_their_key_alone() {
        let (authority, _) = authority();
        let key = key();
        let validity = Validity { not_before: DAY, not_after: 2 * DAY };
        let mut asked = CertificateParams::new(vec!["api.local".to_owned()]).expect("names");
        asked.distinguished_name = distinguished(&subject("api.local")).expect("a name");
        let der = asked.serialize_request(key.pair()).expect("a request").der().to_vec();
        let issued = authority.issue_requested(&der, validity, [1; 16]).expect("issued");
        assert!(key.fits(&issued));
        assert_eq!(Certificate::read(&issued).expect("a certificate").names.dns, ["api.local"]);
        asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = asked.serialize_request(key.pair()).expect("a request").der().to_vec();
        assert_eq!(authority.issue_requested(&der, validity, [1; 16]), Err(Refused::AsksToSign));
        let mut forged = der;
        let last = forged.len() - 3;
        forged[last] ^= 1;
        assert!(matches!(authority.issue_requested(&forged, validity, [1; 16]), Err(Refused::Request(_))));
        let own = Authority::request(&subject("sub"), &key).expect("a request");
        assert!(authority.issue_requested(&own, validity, [1; 16]).is_ok());
    }

    #[test]
    fn nothing_is_issued_that_nobody_could_use_or_that_says_too_much() {
        let (authority, root) = authority();
        let key = key();
        let refused = |change: &dyn Fn(&mut Grant)| {
            let mut grant = grant();
            change(&mut grant);
            authority.issue(&grant, &key).expect_err("refused")
        };
        let outlives = refused(&|grant| grant.validity.not_after = 3650 * DAY + 1);
        assert_eq!(outlives, Refused::Outlives(3650 * DAY));
        assert_eq!(refused(&|grant| grant.validity.not_after = DAY), Refused::Validity);
        assert_eq!(
            refused(&|grant| grant.names = vec!["a".to_owned(); NAMES_MAX + 1]),
            Refused::TooManyNames
        );
        for name in ["", "a b", "-a.local", "a..b", "*.*.a", "a\n", "http://a\u{7}", "é.local"] {
            assert_eq!(refused(&|grant| grant.names = vec![name.to_owned()]), Refused::Name(name.to_owned()));
        }
        let nameless = |grant: &mut Grant| (grant.names, grant.subject) = (Vec::new(), Subject::default());
        assert_eq!(refused(&nameless), Refused::Nameless);
        let long = "x".repeat(SUBJECT_PART_MAX + 1);
        assert_eq!(refused(&|grant| grant.subject = subject(&long)), Refused::Subject { part: "CommonName" });
        assert!(matches!(Authority::open(&root, self::key()), Err(Refused::KeyMismatch)));
        let leaf = authority.issue(&grant(), &key).expect("issued");
        assert!(matches!(Authority::open(&leaf, key), Err(Refused::NoAuthority)));
    }

    #[test]
    fn what_was_taken_back_is_refused_by_whoever_has_the_list() {
        let (authority, root) = authority();
        let key = key();
        let issued = authority.issue(&grant(), &key).expect("issued");
        let serial = positive([7; 16]).to_vec();
        let week = Validity { not_before: 2 * DAY, not_after: 9 * DAY };
        let list = authority.revocations(&[Revoked { serial, at: 2 * DAY }], 1, week).expect("a list");
        let none = authority.revocations(&[], 2, week).expect("a list");
        assert!(list.len() > none.len());
        let bundle = crate::pem::write("CERTIFICATE", &root);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(3 * 86_400));
        for (list, verdict) in [(none, Ok(())), (list, Err(Distrust::Revoked))] {
            let crl = crate::pem::write("X509 CRL", &list);
            let trust = Trust::Authorities(Authorities::read(bundle.as_bytes()).expect("a bundle"));
            let verifier = Verifier::new(trust, Rules::default(), Some(crl.as_bytes())).expect("a verifier");
            let found = verifier.verify(&issued.as_slice().into(), &[], Side::Server, now);
            assert_eq!(found.map(drop), verdict);
        }
    }
}
