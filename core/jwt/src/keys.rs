//! The keys of an issuer (a JSON Web Key Set), and the check of a signature.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::{Algorithm, Refusal, Token};

/// Keys of a set that are looked at; those beyond are left out.
pub const KEYS_MAX: usize = 256;
/// The longest set that is read.
pub const KEYS_BYTES_MAX: usize = 1024 * 1024;

/// An issuer's keys.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// With the algorithm that belongs to its curve, uncompressed.
    Ec(Algorithm, Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

/// A secret is not shown.
impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "RSA",
            Self::Ec(..) => "EC",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "secret",
        })
    }
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are passed over, as RFC 7517 §5 has it.
    ///
    /// # Errors
    /// When it is no set, or has no key that can be used.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > KEYS_BYTES_MAX {
            return Err(Refusal::KeysJson);
        }
        let set: Value = serde_json::from_str(text).map_err(|_| Refusal::KeysJson)?;
        let Value::Object(set) = set else { return Err(Refusal::KeysJson) };
        let keys = set.get("keys").ok_or(Refusal::KeysMissing)?;
        let keys = keys.as_array().ok_or(Refusal::KeysNotAList)?;
        let keys: Vec<Key> =
            keys.iter().filter_map(Value::as_object).filter_map(key).take(KEYS_MAX).collect();
        if keys.is_empty() { Err(Refusal::NoValidKeys) } else { Ok(Self { keys }) }
    }

    /// Whether one of the keys signed the token.
    ///
    /// # Errors
    /// When no key fits the token's key id and algorithm, or none of those that fit signed it.
    pub fn verify(&self, token: &Token) -> Result<(), Refusal> {
        let fits = |key: &&Key| {
            let by_id = match (&key.id, &token.key_id) {
                (Some(own), Some(named)) => own == named,
                _ => true,
            };
            by_id && key.algorithm.is_none_or(|own| own == token.algorithm)
        };
        let mut fitting = self.keys.iter().filter(fits).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::NoKeyMatches);
        }
        if fitting.any(|key| key.material.signed(token)) { Ok(()) } else { Err(Refusal::VerificationFails) }
    }
}

fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if text("use") == Some("enc") {
        return None;
    }
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::named(name.as_str()?)?),
    };
    let id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    let material = match text("kty")? {
        "RSA" => Material::Rsa { n: without_zeros(bytes("n")?), e: without_zeros(bytes("e")?) },
        "EC" => {
            let (curve, len) = match text("crv")? {
                "P-256" => (Algorithm::Es256, 32),
                "P-384" => (Algorithm::Es384, 48),
                "P-521" => (Algorithm::Es512, 66),
                _ => return None,
            };
            Material::Ec(curve, point(&bytes("x")?, &bytes("y")?, len)?)
        }
        "OKP" if text("crv")? == "Ed25519" => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
        "oct" => Material::Secret(bytes("k").filter(|k| !k.is_empty())?),
        _ => return None,
    };
    material.is_usable().then_some(Key { id, algorithm, material })
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    bytes[first..].to_vec()
}

/// A point of a curve, uncompressed (SEC 1 §2.3.3).
fn point(x: &[u8], y: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let padding = len.checked_sub(coordinate.len())?;
        point.extend(std::iter::repeat_n(0, padding));
        point.extend_from_slice(coordinate);
    }
    Some(point)
}

impl Material {
    /// Whether there is any point in keeping it.
    fn is_usable(&self) -> bool {
        match self {
            // From 2048 to 8192 bits: what the check of a signature takes.
            Self::Rsa { n, e } => (256..=1024).contains(&n.len()) && !e.is_empty() && e.len() <= 8,
            _ => true,
        }
    }

    /// Whether this key signed the token. The key decides which algorithms come into question.
    fn signed(&self, token: &Token) -> bool {
        let (message, signed) = (token.signed(), &token.signature[..]);
        match (self, token.algorithm) {
            (Self::Rsa { n, e }, algorithm) => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
            }
            (Self::Ec(Algorithm::Es256, key), Algorithm::Es256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key)
                    .verify(message, signed)
                    .is_ok()
            }
            (Self::Ec(Algorithm::Es384, key), Algorithm::Es384) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key)
                    .verify(message, signed)
                    .is_ok()
            }
            (Self::Ec(Algorithm::Es512, key), Algorithm::Es512) => {
                UnparsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, key)
                    .verify(message, signed)
                    .is_ok()
            }
            (Self::Ed25519(key), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signed).is_ok()
            }
            (Self::Secret(key), algorithm) => {
                let digest = match algorithm {
                    Algorithm::Hs256 => hmac::HMAC_SHA256,
                    Algorithm::Hs384 => hmac::HMAC_SHA384,
                    Algorithm::Hs512 => hmac::HMAC_SHA512,
                    _ => return false,
                };
                hmac::verify(&hmac::Key::new(digest, key), message, signed).is_ok()
            }
            _ => false,
        }
    }
}
