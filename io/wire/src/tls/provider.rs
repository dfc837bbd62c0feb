//! The ciphers and groups that are spoken, in our order of preference.

use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use selvedge_traffic::tls::{Cipher, Curve, Suites};

/// Envoy's choice of ciphers, the cheapest first where the machine has AES; groups likewise, with the hybrid
/// post-quantum one for clients that offer nothing else of ours.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            ],
            kx_groups: vec![
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
                kx_group::X25519MLKEM768,
            ],
            ..default_provider()
        })
    })
}

/// Less than that: what a configuration names of the ciphers of 1.2 and of the groups.
pub(super) fn of(suites: &Suites) -> Arc<CryptoProvider> {
    let all = provider();
    if suites.is_default() {
        return Arc::clone(all);
    }
    let mut some = CryptoProvider::clone(all);
    if !suites.ciphers.is_empty() {
        some.cipher_suites.retain(|suite| suite.tls13().is_some());
        some.cipher_suites.extend(suites.ciphers.iter().map(|cipher| match cipher {
            Cipher::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            Cipher::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            Cipher::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            Cipher::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            Cipher::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            Cipher::RsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        }));
    }
    if !suites.curves.is_empty() {
        let group = |curve: &Curve| match curve {
            Curve::X25519 => kx_group::X25519,
            Curve::P256 => kx_group::SECP256R1,
            Curve::P384 => kx_group::SECP384R1,
            Curve::X25519MlKem768 => kx_group::X25519MLKEM768,
        };
        some.kx_groups = suites.curves.iter().map(group).collect();
    }
    Arc::new(some)
}

pub(super) fn signatures() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// The versions to speak.
pub(super) fn versions(tls12: bool, tls13: bool) -> Vec<&'static rustls::SupportedProtocolVersion> {
    let of = |spoken: bool, version| spoken.then_some(version);
    [of(tls13, &rustls::version::TLS13), of(tls12, &rustls::version::TLS12)].into_iter().flatten().collect()
}
