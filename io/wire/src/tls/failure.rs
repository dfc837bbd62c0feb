//! Handshakes that did not come about, in the words that operators of Envoy look for.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};
use selvedge_identity::Distrust;
use selvedge_telemetry::Unverified;

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no handshake within {0:?}")]
    Timeout(Duration),
    #[error("the peer closed during the handshake")]
    Closed,
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the peer speaks HTTP without TLS")]
    PlainHttp,
    #[error("the peer does not speak TLS")]
    NotTls,
    #[error("the peer names no server")]
    NoServerName,
    #[error("the session's peer is no longer believed")]
    Resumed(#[source] Distrust),
    #[error(transparent)]
    Tls(#[from] Error),
}

/// BoringSSL's library number for TLS, packed as its error codes are.
const LIBRARY: u32 = 16 << 24;

impl Failure {
    /// Whether the peer did something wrong: one that went away did not.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Timeout(_) | Self::Closed | Self::Io(_))
    }

    /// Whether the peer's certificate was the reason, and which.
    pub fn verification(&self) -> Option<Unverified> {
        match self {
            Self::Resumed(_) => Some(Unverified::Chain),
            Self::Tls(Error::NoCertificatesPresented) => Some(Unverified::NoCertificate),
            Self::Tls(Error::InvalidCertificate(error)) => Some(match distrust(error) {
                Some(Distrust::Name(_)) => Unverified::Name,
                Some(Distrust::Pin) => Unverified::Hash,
                _ => Unverified::Chain,
            }),
            _ => None,
        }
    }

    /// The text of `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%` and `%UPSTREAM_TRANSPORT_FAILURE_REASON%`: BoringSSL's number
    /// and name of the error where it has one, and ours behind it.
    pub fn reason(&self) -> String {
        let (reason, name, detail) = match self {
            Self::Timeout(_) => return "connection timeout".to_owned(),
            Self::Closed | Self::Io(_) => return "connection closed during handshake".to_owned(),
            Self::PlainHttp => (156, "HTTP_REQUEST".to_owned(), String::new()),
            Self::NotTls => (247, "WRONG_VERSION_NUMBER".to_owned(), String::new()),
            Self::NoServerName => (158, "CLIENTHELLO_TLSEXT".to_owned(), String::new()),
            Self::Resumed(distrust) => verify(distrust.to_string()),
            Self::Tls(error) => of_tls(error),
        };
        let detail = if detail.is_empty() { detail } else { format!(":{detail}") };
        let code = LIBRARY + reason;
        format!("TLS_error:|{code}:SSL routines:OPENSSL_internal:{name}{detail}:TLS_error_end")
    }
}

fn distrust(error: &CertificateError) -> Option<&Distrust> {
    match error {
        CertificateError::Other(OtherError(other)) => other.downcast_ref::<Distrust>(),
        _ => None,
    }
}

fn verify(text: String) -> (u32, String, String) {
    (125, "CERTIFICATE_VERIFY_FAILED".to_owned(), format!("verify cert failed: {text}"))
}

/// As Envoy words what its library says of a chain; which certificate was at fault we do not know.
fn of_chain(distrust: &Distrust) -> String {
    format!("X509_verify_cert: certificate verification error at depth 0: {distrust}")
}

fn of_tls(error: &Error) -> (u32, String, String) {
    let plain = |reason, name: &str| (reason, name.to_owned(), String::new());
    match error {
        Error::NoCertificatesPresented => plain(192, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        Error::InvalidCertificate(CertificateError::BadSignature) => plain(123, "BAD_SIGNATURE"),
        Error::InvalidCertificate(error) => verify(match (distrust(error), error) {
            (Some(distrust @ (Distrust::Name(_) | Distrust::Pin)), _) => distrust.to_string(),
            (Some(distrust), _) => of_chain(distrust),
            (None, CertificateError::Expired) => of_chain(&Distrust::Expired),
            (None, CertificateError::NotValidYet) => of_chain(&Distrust::NotYetValid),
            (None, CertificateError::Revoked) => of_chain(&Distrust::Revoked),
            (None, CertificateError::UnknownIssuer) => of_chain(&Distrust::UnknownIssuer),
            (None, other) => other.to_string(),
        }),
        Error::AlertReceived(alert) => {
            let (name, code) = (alert_name(*alert), u32::from(u8::from(*alert)));
            (1000 + code, name, String::new())
        }
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => plain(240, "UNSUPPORTED_PROTOCOL"),
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
        ) => plain(184, "NO_SHARED_CIPHER"),
        Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
            plain(253, "NO_COMMON_SIGNATURE_ALGORITHMS")
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => plain(247, "WRONG_VERSION_NUMBER"),
        Error::DecryptError => plain(130, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"),
        other => (0, "HANDSHAKE_FAILURE".to_owned(), other.to_string()),
    }
}

/// As BoringSSL names what it was told: those of SSL 3.0 by that version's name.
fn alert_name(alert: AlertDescription) -> String {
    match u8::from(alert) {
        0 => "SSLV3_ALERT_CLOSE_NOTIFY",
        10 => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        20 => "SSLV3_ALERT_BAD_RECORD_MAC",
        40 => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        42 => "SSLV3_ALERT_BAD_CERTIFICATE",
        43 => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        44 => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        45 => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        46 => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        47 => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        48 => "TLSV1_ALERT_UNKNOWN_CA",
        49 => "TLSV1_ALERT_ACCESS_DENIED",
        50 => "TLSV1_ALERT_DECODE_ERROR",
        51 => "TLSV1_ALERT_DECRYPT_ERROR",
        70 => "TLSV1_ALERT_PROTOCOL_VERSION",
        71 => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        80 => "TLSV1_ALERT_INTERNAL_ERROR",
        100 => "TLSV1_ALERT_NO_RENEGOTIATION",
        112 => "TLSV1_UNRECOGNIZED_NAME",
        116 => "TLSV1_CERTIFICATE_REQUIRED",
        120 => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        other => return format!("TLSV1_ALERT_{other}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn reasons_are_worded_as_envoys() {
        let name = CertificateError::Other(OtherError(Arc::new(Distrust::Name("a, b".into()))));
        for (failure, expected, verification) in [
            (
                Failure::Tls(Error::InvalidCertificate(name)),
                "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: \
                 SAN matcher, certificate SANs are [a, b]:TLS_error_end",
                Some(Unverified::Name),
            ),
            (
                Failure::Tls(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: \
                 X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate\
                 :TLS_error_end",
                Some(Unverified::Chain),
            ),
            (
                Failure::PlainHttp,
                "TLS_error:|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end",
                None,
            ),
            (
                Failure::Tls(Error::NoCertificatesPresented),
                "TLS_error:|268435648:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end",
                Some(Unverified::NoCertificate),
            ),
            (
                Failure::Tls(Error::AlertReceived(AlertDescription::UnknownCA)),
                "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end",
                None,
            ),
        ] {
            assert_eq!((failure.reason().as_str(), failure.verification()), (expected, verification));
        }
    }
}
