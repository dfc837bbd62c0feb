//! The ciphers and groups that are spoken, in our order of preference.

use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

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

pub(super) fn signatures() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// The versions to speak.
pub(super) fn versions(tls12: bool, tls13: bool) -> Vec<&'static rustls::SupportedProtocolVersion> {
    let of = |spoken: bool, version| spoken.then_some(version);
    [of(tls13, &rustls::version::TLS13), of(tls12, &rustls::version::TLS12)].into_iter().flatten().collect()
}
