//! Whether a certificate has been taken back, in its issuer's own word (RFC 6960): the question, and what an answer is worth.
//!
//! A server that shows a fresh answer in its handshake ("staples" it) spares its clients the call, and a certificate that demands
//! one (RFC 7633) is refused without. An answer is believed when the issuer signed it, or somebody whom the issuer has sign such
//! answers.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::der::asn1::{Null, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request,
    SingleResponse, TbsRequest, Version,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Certificate;
use crate::verify::ALGORITHMS;

/// The longest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Statements of one answer, and certificates that come with it.
const PARTS_MAX: usize = 16;
/// How far an answer's clock may be ahead, in seconds.
const SKEW: i64 = 300;
/// How long an answer that names no end is good, in seconds.
const UNBOUNDED: i64 = 86_400;

const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const OCSP_RESPONDER: &str = "1.3.6.1.5.5.7.48.1";
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
/// `id-kp-OCSPSigning`, 1.3.6.1.5.5.7.3.9, as DER has it without its head.
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
/// `status_request` among the features of TLS.
const STATUS_REQUEST: u8 = 5;

/// What is asked about one certificate.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where: the URL that the certificate itself names.
    pub responder: Option<String>,
    /// A client is to refuse the certificate without an answer.
    pub is_demanded: bool,
    /// The request, in DER: to be posted as `application/ocsp-request`.
    pub request: Vec<u8>,
    id: CertId,
    issuer: Box<[u8]>,
}

/// An answer that may be shown; moments in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The answer, in DER.
    pub der: Vec<u8>,
    /// When it was true.
    pub since: i64,
    /// When it is worth nothing any more.
    pub until: i64,
}

/// An answer that is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusInvalid {
    #[error("it is no answer by RFC 6960")]
    Malformed,
    #[error("it is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the responder does not say: {0}")]
    Unsaid(&'static str),
    #[error("it says nothing of the certificate")]
    OfAnother,
    #[error("the certificate has been taken back")]
    Revoked,
    #[error("the responder does not know the certificate")]
    Unknown,
    #[error("it was true in the future")]
    Early,
    #[error("it is too old")]
    Late,
    #[error("neither the issuer signed it, nor somebody whom the issuer has sign such answers")]
    Signature,
}

impl Question {
    /// The question about the first certificate of a chain, whose second is the issuer's. `None` without an issuer, or of
    /// certificates that cannot be read.
    pub fn of(chain: &[Certificate]) -> Option<Self> {
        let [leaf, issuer, ..] = chain else { return None };
        let (_, parsed) = X509Certificate::from_der(&leaf.der).ok()?;
        let (_, signer) = X509Certificate::from_der(&issuer.der).ok()?;
        let hash = |bytes: &[u8]| OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
        let id = CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA_1, parameters: Some(Null.into()) },
            issuer_name_hash: hash(signer.subject().as_raw()).ok()?,
            issuer_key_hash: hash(&signer.public_key().subject_public_key.data).ok()?,
            serial_number: SerialNumber::new(parsed.raw_serial()).ok()?,
        };
        let request = Request { req_cert: id.clone(), single_request_extensions: None };
        let tbs = TbsRequest {
            version: Version::default(),
            requestor_name: None,
            request_list: vec![request],
            request_extensions: None,
        };
        Some(Self {
            responder: responder(&parsed),
            is_demanded: is_demanded(&parsed),
            request: OcspRequest { tbs_request: tbs, optional_signature: None }.to_der().ok()?,
            id,
            issuer: issuer.der.clone(),
        })
    }

    /// Reads an answer at `now`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When it does not say, on good authority, that the certificate is in force.
    pub fn read(&self, answer: &[u8], now: i64) -> Result<Status, StatusInvalid> {
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(StatusInvalid::TooLong);
        }
        let response = OcspResponse::from_der(answer).map_err(|_| StatusInvalid::Malformed)?;
        if let Some(why) = unsaid(response.response_status) {
            return Err(StatusInvalid::Unsaid(why));
        }
        let bytes = response.response_bytes.ok_or(StatusInvalid::Malformed)?;
        let basic = BasicOcspResponse::from_der(bytes.response.as_bytes());
        let basic = basic.map_err(|_| StatusInvalid::Malformed)?;
        self.check_signature(&basic, now)?;
        let mut said = basic.tbs_response_data.responses.iter().take(PARTS_MAX);
        let said = said.rfind(|said| self.is_of(&said.cert_id)).ok_or(StatusInvalid::OfAnother)?;
        let (since, until) = in_force(said, now)?;
        Ok(Status { der: answer.to_vec(), since, until })
    }

    fn is_of(&self, id: &CertId) -> bool {
        id.hash_algorithm.oid == SHA_1
            && id.issuer_name_hash == self.id.issuer_name_hash
            && id.issuer_key_hash == self.id.issuer_key_hash
            && id.serial_number == self.id.serial_number
    }

    fn check_signature(&self, basic: &BasicOcspResponse, now: i64) -> Result<(), StatusInvalid> {
        let invalid = || StatusInvalid::Malformed;
        let signed = basic.tbs_response_data.to_der().map_err(|_| invalid())?;
        let algorithm = basic.signature_algorithm.to_der().map_err(|_| invalid())?;
        let signature = basic.signature.as_bytes().ok_or_else(invalid)?;
        let is_signed_by = |der: &[u8]| {
            let der = CertificateDer::from(der);
            EndEntityCert::try_from(&der).is_ok_and(|signer| {
                algorithms(&algorithm).any(|known| signer.verify_signature(known, &signed, signature).is_ok())
            })
        };
        if is_signed_by(&self.issuer) {
            return Ok(());
        }
        let helpers = basic.certs.iter().flatten().take(PARTS_MAX);
        let mut helpers = helpers.filter_map(|helper| helper.to_der().ok());
        let is_believed = helpers.any(|helper| self.lets_sign(&helper, now) && is_signed_by(&helper));
        if is_believed { Ok(()) } else { Err(StatusInvalid::Signature) }
    }

    /// Whether the issuer has that certificate's owner sign answers (RFC 6960 §4.2.2.2).
    fn lets_sign(&self, helper: &[u8], now: i64) -> bool {
        let (helper, issuer) = (CertificateDer::from(helper), CertificateDer::from(&*self.issuer));
        let (Ok(helper), Ok(anchor)) = (EndEntityCert::try_from(&helper), anchor_from_trusted_cert(&issuer))
        else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        let usage = KeyUsage::required(OCSP_SIGNING);
        helper.verify_for_usage(ALGORITHMS, &[anchor], &[], now, usage, None, None).is_ok()
    }
}

impl Status {
    /// When to ask for the next one: half way to its end, for a responder that is away must have time to come back.
    pub fn ask_again_at(&self) -> i64 {
        self.since + (self.until - self.since) / 2
    }
}

fn responder(leaf: &X509Certificate<'_>) -> Option<String> {
    let access = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    })?;
    access.accessdescs.iter().find_map(|described| match &described.access_location {
        GeneralName::URI(url) if described.access_method.to_id_string() == OCSP_RESPONDER => {
            Some((*url).to_owned())
        }
        _ => None,
    })
}

/// Whether a client is to refuse the certificate without its issuer's word (RFC 7633), by itself or by a chain without its issuer's.
pub fn is_demanded_by(leaf: &Certificate) -> bool {
    X509Certificate::from_der(&leaf.der).is_ok_and(|(_, parsed)| is_demanded(&parsed))
}

fn is_demanded(leaf: &X509Certificate<'_>) -> bool {
    let mut extensions = leaf.extensions().iter();
    let feature = extensions.find(|extension| extension.oid.to_id_string() == TLS_FEATURE);
    let features = feature.and_then(|feature| <Vec<u16> as Decode>::from_der(feature.value).ok());
    features.is_some_and(|features| features.contains(&u16::from(STATUS_REQUEST)))
}

/// Those ways to sign that an identifier in DER may mean.
fn algorithms(der: &[u8]) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
    // Its head: a tag and a length below 128, for every algorithm that is known here.
    let inner: Box<[u8]> = der.get(2..).unwrap_or_default().into();
    ALGORITHMS.iter().copied().filter(move |known| known.signature_alg_id().as_ref() == &*inner)
}

fn in_force(said: &SingleResponse, now: i64) -> Result<(i64, i64), StatusInvalid> {
    match said.cert_status {
        CertStatus::Good(_) => {}
        CertStatus::Revoked(_) => return Err(StatusInvalid::Revoked),
        CertStatus::Unknown(_) => return Err(StatusInvalid::Unknown),
    }
    let seconds = |moment: &x509_ocsp::OcspGeneralizedTime| {
        i64::try_from(moment.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    let since = seconds(&said.this_update);
    let until = said.next_update.as_ref().map_or_else(|| since.saturating_add(UNBOUNDED), seconds);
    match now {
        now if since > now.saturating_add(SKEW) => Err(StatusInvalid::Early),
        now if until <= now || until <= since => Err(StatusInvalid::Late),
        _ => Ok((since, until)),
    }
}

fn unsaid(status: OcspResponseStatus) -> Option<&'static str> {
    match status {
        OcspResponseStatus::Successful => None,
        OcspResponseStatus::MalformedRequest => Some("the request is malformed"),
        OcspResponseStatus::InternalError => Some("an internal error"),
        OcspResponseStatus::TryLater => Some("try later"),
        OcspResponseStatus::SigRequired => Some("the request has to be signed"),
        OcspResponseStatus::Unauthorized => Some("it is not responsible for the certificate"),
    }
}
