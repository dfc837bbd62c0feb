//! What a handshake settled.

use std::cell::Cell;
use std::sync::Arc;

use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};
use selvedge_identity::Certificate;
use selvedge_telemetry::{CertificateFact, Handshake, TlsSource, Whose};

/// Facts about an encrypted connection, for logs, statistics, headers and rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub version: Tls,
    /// By OpenSSL's name: `TLS_AES_128_GCM_SHA256`, `ECDHE-ECDSA-AES128-GCM-SHA256`.
    pub cipher: &'static str,
    /// The group of the key exchange, by BoringSSL's name.
    pub curve: Option<&'static str>,
    /// What the peer signed with, by BoringSSL's name; `None` if it did not have to.
    pub signature: Option<&'static str>,
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// An earlier session was taken up.
    pub resumed: bool,
    /// The peer showed this, and was believed.
    pub peer: Option<Arc<Certificate>>,
    /// Whether somebody vouched for it: not where anybody is accepted.
    pub verified: bool,
    /// What was shown to the peer.
    pub local: Option<Arc<Certificate>>,
    /// Which edition of the listener's or cluster's secrets was used; it rises with each rotation.
    pub edition: u64,
    /// The peer broke the protocol after the handshake.
    pub is_broken: Cell<bool>,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    V12,
    V13,
}

impl Tls {
    pub fn text(self) -> &'static str {
        match self {
            Self::V12 => "TLSv1.2",
            Self::V13 => "TLSv1.3",
        }
    }
}

impl Facts {
    /// Of a connection of QUIC, whose library tells no more than this; its cipher is empty.
    pub fn of_quic(server_name: Option<Box<str>>) -> Self {
        Self {
            version: Tls::V13,
            cipher: "",
            curve: None,
            signature: None,
            alpn: Some(Box::from(*b"h3")),
            server_name,
            resumed: false,
            peer: None,
            verified: false,
            local: None,
            edition: 0,
            is_broken: Cell::new(false),
        }
    }

    /// Of a connection whose handshake is over.
    pub(super) fn of(
        state: &CommonState,
        local: Option<Arc<Certificate>>,
        edition: u64,
        signed: Option<SignatureScheme>,
    ) -> Self {
        let peer = state.peer_certificates().and_then(<[_]>::first);
        Self {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => Tls::V13,
                _ => Tls::V12,
            },
            cipher: state.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
            curve: state.negotiated_key_exchange_group().and_then(|group| curve(group.name())),
            signature: signed.and_then(scheme),
            alpn: state.alpn_protocol().map(Into::into),
            server_name: None,
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: peer.and_then(|der| Certificate::read(der).ok()).map(Arc::new),
            verified: false,
            local,
            edition,
            is_broken: Cell::new(false),
        }
    }
}

fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

fn curve(group: NamedGroup) -> Option<&'static str> {
    Some(match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => return None,
    })
}

fn scheme(scheme: SignatureScheme) -> Option<&'static str> {
    Some(match scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => "rsa_pkcs1_sha256",
        SignatureScheme::RSA_PKCS1_SHA384 => "rsa_pkcs1_sha384",
        SignatureScheme::RSA_PKCS1_SHA512 => "rsa_pkcs1_sha512",
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256",
        SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384",
        SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512",
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384",
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512",
        SignatureScheme::ED25519 => "ed25519",
        _ => return None,
    })
}

impl Facts {
    /// For statistics.
    pub fn handshake(&self) -> Handshake<'_> {
        Handshake {
            version: self.version.text(),
            cipher: self.cipher,
            curve: self.curve,
            signature: self.signature,
            resumed: self.resumed,
            certified: self.peer.is_some(),
        }
    }
}

impl TlsSource for Facts {
    fn version(&self) -> &str {
        self.version.text()
    }

    fn cipher(&self) -> &str {
        self.cipher
    }

    fn validity(&self, whose: Whose) -> Option<(i64, i64)> {
        let certificate = match whose {
            Whose::Peer => &self.peer,
            Whose::Local => &self.local,
        };
        certificate.as_ref().map(|certificate| (certificate.not_before, certificate.not_after))
    }

    fn write(&self, whose: Whose, fact: CertificateFact, out: &mut Vec<u8>) -> bool {
        let certificate = match whose {
            Whose::Peer => &self.peer,
            Whose::Local => &self.local,
        };
        let Some(certificate) = certificate else { return false };
        let names = &certificate.names;
        let text = match fact {
            CertificateFact::Uris => names.uris.join(","),
            CertificateFact::DnsNames => names.dns.join(","),
            CertificateFact::Emails => names.emails.join(","),
            CertificateFact::Addresses => {
                names.ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            CertificateFact::Subject => certificate.subject.clone(),
            CertificateFact::Issuer => certificate.issuer.clone(),
            CertificateFact::Serial => certificate.serial.clone(),
            CertificateFact::Fingerprint256 => certificate.fingerprint_256(),
            CertificateFact::Fingerprint1 => certificate.fingerprint_1(),
            CertificateFact::Pem => certificate.pem_encoded(),
        };
        out.extend_from_slice(text.as_bytes());
        !text.is_empty()
    }
}
