//! `listener.<address>.ssl.…` and `cluster.<name>.ssl.…`

use super::filter::{FilterStats, Owner};
use crate::Registry;

/// What handshakes count.
#[derive(Clone, Debug)]
pub struct SslStats {
    all: FilterStats,
    ciphers: FilterStats,
    versions: FilterStats,
    curves: FilterStats,
    signatures: FilterStats,
}

/// A handshake that succeeded, by BoringSSL's and OpenSSL's names.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    pub curve: Option<&'a str>,
    pub signature: Option<&'a str>,
    pub resumed: bool,
    /// The peer showed a certificate.
    pub certified: bool,
}

/// Why one failed, if the peer's certificate was the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    NoCertificate,
    Chain,
    Name,
    Hash,
}

const ALL: &[&str] = &[
    "connection_error",
    "handshake",
    "session_reused",
    "no_certificate",
    "fail_verify_no_cert",
    "fail_verify_error",
    "fail_verify_san",
    "fail_verify_cert_hash",
];
const CIPHERS: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
const VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];
const CURVES: &[&str] = &["X25519", "P-256", "P-384", "X25519MLKEM768"];
const SIGNATURES: &[&str] = &[
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "ed25519",
];

impl SslStats {
    pub fn new(registry: &Registry, owner: &Owner) -> Self {
        let of = |part: &str, names| registry.filter(owner.clone(), part, names);
        Self {
            all: of("ssl.", ALL),
            ciphers: of("ssl.ciphers.", CIPHERS),
            versions: of("ssl.versions.", VERSIONS),
            curves: of("ssl.curves.", CURVES),
            signatures: of("ssl.sigalgs.", SIGNATURES),
        }
    }

    /// Of the listener at an address.
    pub fn of_listener(registry: &Registry, address: std::net::SocketAddr) -> Self {
        let address = crate::scrape::address_text(address);
        Self::new(registry, &Owner::Listener(address))
    }

    /// Of a cluster.
    pub fn of_cluster(registry: &Registry, name: &str) -> Self {
        Self::new(registry, &Owner::Cluster(name.to_owned()))
    }

    pub fn made(&self, handshake: &Handshake<'_>) {
        self.inc("handshake");
        if handshake.resumed {
            self.inc("session_reused");
        }
        if !handshake.certified {
            self.inc("no_certificate");
        }
        count(&self.ciphers, CIPHERS, Some(handshake.cipher));
        count(&self.versions, VERSIONS, Some(handshake.version));
        count(&self.curves, CURVES, handshake.curve);
        count(&self.signatures, SIGNATURES, handshake.signature);
    }

    /// A peer broke the protocol, or was not believed: Envoy counts one or the other, never both.
    pub fn failed(&self, unverified: Option<Unverified>) {
        self.inc(match unverified {
            None => "connection_error",
            Some(Unverified::NoCertificate) => "fail_verify_no_cert",
            Some(Unverified::Chain) => "fail_verify_error",
            Some(Unverified::Name) => "fail_verify_san",
            Some(Unverified::Hash) => "fail_verify_cert_hash",
        });
    }

    fn inc(&self, name: &'static str) {
        count(&self.all, ALL, Some(name));
    }
}

fn count(stats: &FilterStats, names: &[&str], name: Option<&str>) {
    if let Some(at) = name.and_then(|name| names.iter().position(|known| *known == name)) {
        stats.inc(at);
    }
}
