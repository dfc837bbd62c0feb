//! Certificates and trust, for listeners and for callers.

use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure, union};

/// A path in the sidecar's file system, 1 to 255 characters.
pub(crate) const FILE_PATH: Shape = Shape::string_of("FilePath", 1, 255);
const CERTIFICATE_AUTHORITY_ARNS: Shape =
    Shape::list("CertificateAuthorityArns", <String as Shaped>::SHAPE, Bounds::between(1, 3));
const SUBJECT_ALTERNATIVE_NAME: Shape = Shape::string_of("SubjectAlternativeName", 1, 254);
const SUBJECT_ALTERNATIVE_NAMES: Shape =
    Shape::list("SubjectAlternativeNameList", &SUBJECT_ALTERNATIVE_NAME, Bounds::OPEN);

structure! {
    /// The Transport Layer Security settings of a listener.
    pub struct ListenerTls {
        /// The certificate that the listener shows.
        required certificate "certificate": ListenerTlsCertificate,
        /// Whether connections must, may or must not be encrypted.
        required mode "mode": ListenerTlsMode,
        /// What the listener demands of a caller's certificate.
        optional validation "validation": ListenerTlsValidation,
    }
}

enumeration! {
    /// Whether connections must, may or must not be encrypted.
    pub enum ListenerTlsMode {
        Strict "STRICT",
        Permissive "PERMISSIVE",
        Disabled "DISABLED",
    }
}

union! {
    /// The certificate of a listener.
    pub enum ListenerTlsCertificate {
        Acm "acm": AcmCertificate,
        File "file": FileCertificate,
        Sds "sds": SdsCertificate,
    }
}

union! {
    /// The certificate of a caller.
    pub enum ClientTlsCertificate {
        File "file": FileCertificate,
        Sds "sds": SdsCertificate,
    }
}

structure! {
    /// A certificate that a certificate manager holds.
    pub struct AcmCertificate {
        /// The certificate's ARN.
        required certificate_arn "certificateArn": String,
    }
}

structure! {
    /// A certificate in the sidecar's file system.
    pub struct FileCertificate {
        /// The certificate chain.
        required certificate_chain "certificateChain": String => &FILE_PATH,
        /// The private key of the certificate.
        required private_key "privateKey": String => &FILE_PATH,
    }
}

structure! {
    /// A certificate that the sidecar asks its secret discovery service for.
    pub struct SdsCertificate {
        /// The secret's name.
        required secret_name "secretName": String,
    }
}

structure! {
    /// What a listener demands of a caller's certificate.
    pub struct ListenerTlsValidation {
        /// Names, one of which the certificate must carry.
        optional subject_alternative_names "subjectAlternativeNames": SubjectAlternativeNames,
        /// Who must have signed it.
        required trust "trust": ListenerTlsValidationTrust,
    }
}

union! {
    /// Whom a listener trusts.
    pub enum ListenerTlsValidationTrust {
        File "file": FileTrust,
        Sds "sds": SdsTrust,
    }
}

structure! {
    /// What a caller demands of a server's certificate.
    pub struct TlsValidation {
        /// Names, one of which the certificate must carry.
        optional subject_alternative_names "subjectAlternativeNames": SubjectAlternativeNames,
        /// Who must have signed it.
        required trust "trust": TlsValidationTrust,
    }
}

union! {
    /// Whom a caller trusts.
    pub enum TlsValidationTrust {
        Acm "acm": AcmTrust,
        File "file": FileTrust,
        Sds "sds": SdsTrust,
    }
}

structure! {
    /// Trust in certificate authorities that a certificate manager holds.
    pub struct AcmTrust {
        /// One to three ARNs of authorities.
        required certificate_authority_arns "certificateAuthorityArns": Vec<String> => &CERTIFICATE_AUTHORITY_ARNS,
    }
}

structure! {
    /// Trust in the authorities of a file.
    pub struct FileTrust {
        /// The chain of trusted authorities.
        required certificate_chain "certificateChain": String => &FILE_PATH,
    }
}

structure! {
    /// Trust in a secret of the secret discovery service.
    pub struct SdsTrust {
        /// The secret's name.
        required secret_name "secretName": String,
    }
}

structure! {
    /// Names that a certificate may carry.
    pub struct SubjectAlternativeNames {
        /// How names are compared.
        required matchers "match": SubjectAlternativeNameMatchers,
    }
}

structure! {
    /// How names are compared.
    pub struct SubjectAlternativeNameMatchers {
        /// Names that must be met exactly.
        required exact "exact": Vec<String> => &SUBJECT_ALTERNATIVE_NAMES,
    }
}
