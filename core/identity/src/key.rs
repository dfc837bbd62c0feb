//! Private keys: what they are, whether they belong to a certificate, and how they leave the house.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::PrivateKeyDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::der::{INTEGER, Reader, integer, sequence, tlv};
use crate::pem::{self, PemInvalid};

/// The rounds in which a passphrase becomes a key (RFC 8018 §5.2).
pub const ROUNDS: u32 = 100_000;
/// The most rounds that are done for somebody else's file: each costs time.
pub const ROUNDS_MAX: u32 = 1_000_000;
/// Bytes of the salt of an encrypted key.
pub const SALT_BYTES: usize = 16;
/// Bytes of the first block of an encrypted key.
pub const IV_BYTES: usize = 16;

/// A private key. It is in no debug output.
pub struct Key {
    pair: KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    algorithm: Algorithm,
}

/// The sorts of key that are made and taken, under the names of AWS Certificate Manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
}

/// A key that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyInvalid {
    #[error(transparent)]
    Pem(#[from] PemInvalid),
    #[error("it is no private key of RSA with 2048, 3072 or 4096 bits, or of the curves P-256 and P-384")]
    Unknown,
    #[error("it is encrypted in another way than by PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC")]
    Encryption,
    #[error("the passphrase is another one")]
    Passphrase,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm).finish()
    }
}

// === impl Algorithm ===

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384];

    /// `RSA_2048`, `EC_prime256v1`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA_2048",
            Self::Rsa3072 => "RSA_3072",
            Self::Rsa4096 => "RSA_4096",
            Self::P256 => "EC_prime256v1",
            Self::P384 => "EC_secp384r1",
        }
    }

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// How such a key signs, as AWS writes it.
    pub fn signature(self) -> &'static str {
        match self {
            Self::P256 => "SHA256WITHECDSA",
            Self::P384 => "SHA384WITHECDSA",
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => "SHA256WITHRSA",
        }
    }
}

// === impl Key ===

impl Key {
    /// Reads a key in PKCS#8, PKCS#1 or SEC 1, DER.
    ///
    /// # Errors
    /// [`KeyInvalid::Unknown`] for anything else.
    pub fn of_der(der: &[u8]) -> Result<Self, KeyInvalid> {
        let (pkcs8, algorithm) = normalised(der).ok_or(KeyInvalid::Unknown)?;
        let private = PrivateKeyDer::Pkcs8(pkcs8.as_slice().into());
        let pair = KeyPair::try_from(&private).map_err(|_| KeyInvalid::Unknown)?;
        Ok(Self { pair, pkcs8, algorithm })
    }

    /// Reads the first key of a PEM text.
    ///
    /// # Errors
    /// See [`KeyInvalid`].
    pub fn of_pem(text: &[u8]) -> Result<Self, KeyInvalid> {
        Self::of_der(pem::private_key(text)?.secret_der())
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key in PKCS#8, DER.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The key in PKCS#8, PEM.
    pub fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::write("PRIVATE KEY", &self.pkcs8))
    }

    /// Whether the certificate is about this key.
    pub fn fits(&self, certificate: &[u8]) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        parsed.public_key().raw == self.pair.subject_public_key_info()
    }

    /// The key in PKCS#8 behind a passphrase, PEM: `ENCRYPTED PRIVATE KEY` (RFC 5958, RFC 8018), by PBES2 with PBKDF2,
    /// HMAC-SHA-256 and AES-256-CBC. `salt` and `iv` are random, for this once.
    ///
    /// # Errors
    /// [`KeyInvalid::Encryption`] when the cipher fails.
    pub fn encrypted(
        &self,
        passphrase: &[u8],
        salt: &[u8; SALT_BYTES],
        iv: [u8; IV_BYTES],
    ) -> Result<String, KeyInvalid> {
        let derived = derive(passphrase, salt, ROUNDS).ok_or(KeyInvalid::Encryption)?;
        let failed = |_| KeyInvalid::Encryption;
        let cipher = UnboundCipherKey::new(&AES_256, &*derived).map_err(failed)?;
        let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).map_err(failed)?;
        let mut sealed = self.pkcs8.to_vec();
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        cipher.less_safe_encrypt(&mut sealed, context).map_err(failed)?;
        let pbkdf2 = sequence(&[
            tlv(OID, PBKDF2),
            sequence(&[
                tlv(OCTETS, salt),
                integer(ROUNDS),
                sequence(&[tlv(OID, HMAC_SHA256), tlv(NULL, &[])]),
            ]),
        ]);
        let scheme = sequence(&[pbkdf2, sequence(&[tlv(OID, AES_256_CBC), tlv(OCTETS, &iv)])]);
        let algorithm = sequence(&[tlv(OID, PBES2), scheme]);
        Ok(pem::write("ENCRYPTED PRIVATE KEY", &sequence(&[algorithm, tlv(OCTETS, &sealed)])))
    }

    /// Reads what [`Key::encrypted`] wrote.
    ///
    /// # Errors
    /// See [`KeyInvalid`].
    pub fn of_encrypted(text: &str, passphrase: &[u8]) -> Result<Self, KeyInvalid> {
        let der = pem::section("ENCRYPTED PRIVATE KEY", text).ok_or(PemInvalid::Empty("encrypted key"))?;
        let parts = parts(&der).ok_or(KeyInvalid::Encryption)?;
        let derived = derive(passphrase, parts.salt, parts.rounds).ok_or(KeyInvalid::Encryption)?;
        let cipher = UnboundCipherKey::new(&AES_256, &*derived).map_err(|_| KeyInvalid::Encryption)?;
        let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(cipher).map_err(|_| KeyInvalid::Encryption)?;
        let mut sealed = Zeroizing::new(parts.sealed.to_vec());
        let context = DecryptionContext::Iv128(FixedLength::from(parts.iv));
        let opened = cipher.decrypt(&mut sealed, context).map_err(|_| KeyInvalid::Passphrase)?;
        Self::of_der(opened).map_err(|_| KeyInvalid::Passphrase)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.pair
    }
}

const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
/// 1.2.840.113549.1.5.13
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// 1.2.840.113549.1.5.12
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// 1.2.840.113549.2.9
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

struct Encrypted<'a> {
    salt: &'a [u8],
    rounds: u32,
    iv: [u8; IV_BYTES],
    sealed: &'a [u8],
}

/// Takes an encrypted key apart; `None` when it is made in another way.
fn parts(der: &[u8]) -> Option<Encrypted<'_>> {
    let mut outer = Reader::new(der).sequence()?;
    let mut algorithm = outer.sequence()?;
    let sealed = outer.take(OCTETS)?;
    if algorithm.take(OID)? != PBES2 {
        return None;
    }
    let mut scheme = algorithm.sequence()?;
    let (mut derivation, mut cipher) = (scheme.sequence()?, scheme.sequence()?);
    if derivation.take(OID)? != PBKDF2 || cipher.take(OID)? != AES_256_CBC {
        return None;
    }
    let mut derivation = derivation.sequence()?;
    let salt = derivation.take(OCTETS)?;
    let rounds = derivation
        .take(INTEGER)?
        .iter()
        .try_fold(0_u32, |sum, byte| sum.checked_mul(256)?.checked_add(u32::from(*byte)))?;
    let is_short = rounds <= ROUNDS_MAX;
    let mut prf = derivation.sequence()?;
    if !is_short || prf.take(OID)? != HMAC_SHA256 {
        return None;
    }
    Some(Encrypted { salt, rounds, iv: cipher.take(OCTETS)?.try_into().ok()?, sealed })
}

fn derive(passphrase: &[u8], salt: &[u8], rounds: u32) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let rounds = NonZeroU32::new(rounds)?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase, &mut *key);
    Some(key)
}

/// The key in PKCS#8, whatever it came in.
fn normalised(der: &[u8]) -> Option<(Zeroizing<Vec<u8>>, Algorithm)> {
    let of_curve = |curve: &'static EcdsaSigningAlgorithm| {
        let pair = EcdsaKeyPair::from_private_key_der(curve, der).ok()?;
        Some(Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()))
    };
    if let Some(pkcs8) = of_curve(&ECDSA_P256_SHA256_ASN1_SIGNING) {
        return Some((pkcs8, Algorithm::P256));
    }
    if let Some(pkcs8) = of_curve(&ECDSA_P384_SHA384_ASN1_SIGNING) {
        return Some((pkcs8, Algorithm::P384));
    }
    let pair = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)).ok()?;
    let algorithm = match pair.public_modulus_len() {
        256 => Algorithm::Rsa2048,
        384 => Algorithm::Rsa3072,
        512 => Algorithm::Rsa4096,
        _ => return None,
    };
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    Some((Zeroizing::new(pkcs8.as_ref().to_vec()), algorithm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::of_der(&KeyPair::generate().expect("a key").serialize_der()).expect("a key")
    }

    #[test]
    fn a_key_leaves_behind_a_passphrase_and_comes_back_with_it_alone() {
        let key = key();
        let text = key.encrypted(b"correct horse", &[1; SALT_BYTES], [2; IV_BYTES]).expect("encrypted");
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
        let back = Key::of_encrypted(&text, b"correct horse").expect("the key");
        assert_eq!(back.pkcs8(), key.pkcs8());
        assert_eq!(Key::of_encrypted(&text, b"another").err(), Some(KeyInvalid::Passphrase));
        assert!(Key::of_encrypted(&key.pem(), b"x").is_err());
        let der = pem::section("ENCRYPTED PRIVATE KEY", &text).expect("bytes");
        for length in 0..der.len() {
            let cut = pem::write("ENCRYPTED PRIVATE KEY", &der[..length]);
            assert!(Key::of_encrypted(&cut, b"correct horse").is_err(), "{length}");
        }
    }

    #[test]
    fn a_key_says_what_it_is_and_not_what_is_in_it() {
        let key = key();
        assert_eq!(key.algorithm(), Algorithm::P256);
        assert_eq!(format!("{key:?}"), "Key(P256)");
        let again = Key::of_pem(key.pem().as_bytes()).expect("the same");
        assert_eq!(again.pkcs8(), key.pkcs8());
        assert_eq!(Key::of_der(b"no key").err(), Some(KeyInvalid::Unknown));
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::named("RSA_1024"), None);
    }
}
