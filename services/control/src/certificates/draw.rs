//! What has to be drawn: keys and numbers that nobody can foretell.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use selvedge_identity::Key;
use selvedge_identity::key::Algorithm;

/// The library failed to draw; it has said no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to make a key")]
pub(super) struct NoKey;

/// A fresh key.
pub(super) fn key(algorithm: Algorithm) -> Result<Key, NoKey> {
    let of_rsa = |size| -> Result<Key, NoKey> {
        let pair = RsaKeyPair::generate(size).map_err(|_| NoKey)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| NoKey)?;
        Key::of_der(der.as_ref()).map_err(|_| NoKey)
    };
    let of_curve = |curve| -> Result<Key, NoKey> {
        let pair = EcdsaKeyPair::generate(curve).map_err(|_| NoKey)?;
        Key::of_der(pair.to_pkcs8v1().map_err(|_| NoKey)?.as_ref()).map_err(|_| NoKey)
    };
    match algorithm {
        Algorithm::Rsa2048 => of_rsa(KeySize::Rsa2048),
        Algorithm::Rsa3072 => of_rsa(KeySize::Rsa3072),
        Algorithm::Rsa4096 => of_rsa(KeySize::Rsa4096),
        Algorithm::P256 => of_curve(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Algorithm::P384 => of_curve(&ECDSA_P384_SHA384_ASN1_SIGNING),
    }
}

/// Random bytes.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], NoKey> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoKey)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_the_sort_that_was_asked_for_and_never_the_same() {
        for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::Rsa2048] {
            let drawn = key(algorithm).expect("a key");
            assert_eq!(drawn.algorithm(), algorithm);
            assert_ne!(drawn.pkcs8(), key(algorithm).expect("a key").pkcs8());
        }
        assert_ne!(bytes::<16>().expect("bytes"), [0; 16]);
    }
}
