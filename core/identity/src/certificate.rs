//! What a certificate says, in the words that logs, headers and rules use.

use std::fmt::Write;
use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_parser::extensions::{GeneralName, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::name::{self, Names};

/// Names that one certificate may carry; one with more is not read.
pub const NAMES_MAX: usize = 256;

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself.
    pub der: Box<[u8]>,
    /// By RFC 2253: the most specific part first, `CN=a,O=b`.
    pub subject: String,
    pub issuer: String,
    /// Hexadecimal, lower case, two digits a byte, as Envoy prints it: `0105`.
    pub serial: String,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    pub not_after: i64,
    pub names: Names,
    /// It says that it may sign others.
    pub is_authority: bool,
    /// What its key is for, if it says so.
    pub usage: Option<KeyUse>,
}

/// What a key is for, as far as identities go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Certificates or revocation lists, whatever else.
    Signing,
    Other,
}

impl KeyUse {
    fn of(usage: &KeyUsage) -> Self {
        if usage.key_cert_sign() || usage.crl_sign() { Self::Signing } else { Self::Other }
    }
}

/// A certificate that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateInvalid {
    #[error("it is no X.509 certificate")]
    Malformed,
    /// Control characters in a name have been used to be taken for another (CVE-2025-66220).
    #[error("a name holds a control character")]
    NameWithControl,
    #[error("it has more than {NAMES_MAX} names")]
    TooManyNames,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// See [`CertificateInvalid`].
    pub fn read(der: &[u8]) -> Result<Self, CertificateInvalid> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateInvalid::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateInvalid::Malformed);
        }
        let authority = parsed.basic_constraints().map_err(|_| CertificateInvalid::Malformed)?;
        let usage = parsed.key_usage().map_err(|_| CertificateInvalid::Malformed)?;
        Ok(Self {
            subject: rfc2253(parsed.subject()),
            issuer: rfc2253(parsed.issuer()),
            serial: serial(parsed.raw_serial()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            names: names(&parsed)?,
            is_authority: authority.is_some_and(|extension| extension.value.ca),
            usage: usage.map(|extension| KeyUse::of(extension.value)),
            der: der.into(),
        })
    }

    /// SHA-256 of the certificate.
    pub fn sha256(&self) -> [u8; 32] {
        digest_of(&digest::SHA256, &self.der)
    }

    /// SHA-256 in 64 hexadecimal digits, lower case.
    pub fn fingerprint_256(&self) -> String {
        hex(&self.sha256())
    }

    /// SHA-1 in 40 hexadecimal digits, lower case; for logs alone.
    pub fn fingerprint_1(&self) -> String {
        hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        crate::pem::write("CERTIFICATE", &self.der)
    }

    /// The certificate as PEM, percent-encoded as Envoy does: everything but letters, digits and `-._~`.
    pub fn pem_encoded(&self) -> String {
        self.pem().bytes().fold(String::new(), |mut text, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
            text
        })
    }

    /// Whole days until it ends, at a moment in seconds since the Unix epoch; 0 once it has.
    pub fn days_left(&self, now: i64) -> u64 {
        u64::try_from(self.not_after.saturating_sub(now)).unwrap_or(0) / 86_400
    }
}

/// SHA-256 of a certificate's public key information.
pub(crate) fn spki_sha256(der: &[u8]) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(digest_of(&digest::SHA256, parsed.public_key().raw))
}

fn digest_of(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(algorithm, bytes);
    let mut array = [0; 32];
    array.copy_from_slice(digest.as_ref());
    array
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn serial(raw: &[u8]) -> String {
    let first = raw.iter().position(|byte| *byte != 0);
    first.map_or_else(|| "0".to_owned(), |first| hex(&raw[first..]))
}

fn names(parsed: &X509Certificate<'_>) -> Result<Names, CertificateInvalid> {
    let mut names = Names::default();
    let extension = parsed.subject_alternative_name().map_err(|_| CertificateInvalid::Malformed)?;
    let Some(extension) = extension else { return Ok(names) };
    if extension.value.general_names.len() > NAMES_MAX {
        return Err(CertificateInvalid::TooManyNames);
    }
    for general in &extension.value.general_names {
        match general {
            GeneralName::DNSName(text) => names.dns.push(name::clean(text)?),
            GeneralName::URI(text) => names.uris.push(name::clean(text)?),
            GeneralName::RFC822Name(text) => names.emails.push(name::clean(text)?),
            GeneralName::IPAddress(bytes) => names.ips.push(address(bytes)?),
            // Nothing is ever matched against the others.
            GeneralName::Invalid(..) => return Err(CertificateInvalid::Malformed),
            _ => names.others += 1,
        }
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Result<IpAddr, CertificateInvalid> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| CertificateInvalid::Malformed)
}

/// A name by RFC 2253: parts in reverse, values with their special characters escaped.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter()
        .map(|relative| {
            let attributes = relative.iter().map(|attribute| {
                let oid = attribute.attr_type();
                let label = label(&oid.to_id_string()).map_or_else(|| oid.to_id_string(), str::to_owned);
                format!("{label}={}", escape(attribute.as_str().unwrap_or_default()))
            });
            attributes.collect::<Vec<_>>().join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// The short names of RFC 4514 and those that OpenSSL prints.
fn label(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (at == 0 && matches!(character, '#' | ' '))
            || (at == last && character == ' ');
        if character.is_ascii_control() {
            let _ = write!(text, "\\{:02X}", u32::from(character));
            continue;
        }
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
