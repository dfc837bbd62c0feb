//! Values that a browser keeps for us and can neither read nor change: AES-256-GCM-SIV under a ring of keys.
//!
//! ```text
//! base64url( version 1 byte · key's name 4 · nonce 12 · sealed value · tag 16 )
//! ```
//! The first key of the ring seals, all of them open; a key that is taken off ends what it sealed. What a value is for is
//! part of what is authenticated: a value that was sealed for one purpose opens for no other. An AEAD is the only mode there
//! is, so there is no padding to ask an oracle about; and this one does not fail when a nonce comes twice.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Keys of a ring.
pub const KEYS_MAX: usize = 8;
/// The shortest secret from which a key is made, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;
/// The longest sealed text that is opened.
pub const SEALED_BYTES_MAX: usize = 16 * 1024;

const VERSION: u8 = 1;
const NAME_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + NAME_BYTES + NONCE_LEN;

/// Random bytes for one sealing.
pub type Salt = [u8; NONCE_LEN];

/// Keys, the newest first.
pub struct Ring {
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingInvalid {
    #[error("there is no key")]
    Empty,
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
    #[error("key {0} is shorter than {SECRET_BYTES_MIN} bytes")]
    Short(usize),
}

impl Ring {
    /// From secrets of at least [`SECRET_BYTES_MIN`] bytes each, the one that seals first.
    ///
    /// # Errors
    /// When there is none, there are too many, or one is too short.
    pub fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, RingInvalid> {
        if secrets.is_empty() {
            return Err(RingInvalid::Empty);
        }
        if secrets.len() > KEYS_MAX {
            return Err(RingInvalid::TooMany);
        }
        let key = |(index, secret): (usize, &S)| {
            let secret = secret.as_ref();
            if secret.len() < SECRET_BYTES_MIN {
                return Err(RingInvalid::Short(index + 1));
            }
            Ok(Key::of(secret))
        };
        Ok(Self { keys: secrets.iter().enumerate().map(key).collect::<Result<_, _>>()? })
    }

    /// From a file: one secret a line, the one that seals first; empty lines and those with `#` in front are left out.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn of_lines(text: &str) -> Result<Self, RingInvalid> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self::new(&lines.collect::<Vec<_>>())
    }

    /// Seals a value for a purpose.
    pub fn seal(&self, purpose: &str, value: &[u8], salt: Salt) -> String {
        let Some(key) = self.keys.first() else { return String::new() };
        let mut sealed = value.to_vec();
        let nonce = Nonce::assume_unique_for_key(salt);
        // It fails beyond 64 GiB alone, and then nothing is sealed: the browser keeps nothing.
        if key.key.seal_in_place_append_tag(nonce, Aad::from(purpose.as_bytes()), &mut sealed).is_err() {
            return String::new();
        }
        let mut out = Vec::with_capacity(HEAD_BYTES + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&key.name);
        out.extend_from_slice(&salt);
        out.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(out)
    }

    /// Opens what was sealed for that purpose; `None` for anything else, and nothing is said of why.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > SEALED_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (head, sealed) = bytes.split_at_checked(HEAD_BYTES)?;
        let (name, nonce) = head[1..].split_at_checked(NAME_BYTES)?;
        if head[0] != VERSION {
            return None;
        }
        let key = self.keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut value = sealed.to_vec();
        let len = key.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut value).ok()?.len();
        value.truncate(len);
        Some(value)
    }
}

/// Keys are not shown.
impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({} keys)", self.keys.len())
    }
}

impl Key {
    fn of(secret: &[u8]) -> Self {
        let derived = |label: &str| digest(&SHA256, &[label.as_bytes(), b"\0", secret].concat());
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&derived("selvedge cookie key name").as_ref()[..NAME_BYTES]);
        let key = UnboundKey::new(&AES_256_GCM_SIV, derived("selvedge cookie key").as_ref())
            .expect("a SHA-256 digest is as long as the key of this cipher");
        Self { name, key: LessSafeKey::new(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = [9; NONCE_LEN];

    fn ring(secrets: &[&str]) -> Ring {
        let secrets: Vec<String> = secrets.iter().map(|secret| secret.repeat(SECRET_BYTES_MIN)).collect();
        Ring::new(&secrets).expect("a ring")
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_alone() {
        let ring = ring(&["a"]);
        let sealed = ring.seal("session", b"value", SALT);
        assert_eq!(ring.open("session", &sealed).as_deref(), Some(&b"value"[..]));
        assert_eq!(ring.open("pending", &sealed), None);
        assert!(!sealed.contains("value"));
    }

    #[test]
    fn no_byte_of_it_can_be_changed() {
        let ring = ring(&["a"]);
        let sealed = URL_SAFE_NO_PAD.decode(ring.seal("p", b"value", SALT)).expect("base64url");
        for index in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[index] ^= 1 << bit;
                assert_eq!(ring.open("p", &URL_SAFE_NO_PAD.encode(changed)), None, "{index} {bit}");
            }
        }
        for len in 0..sealed.len() {
            assert_eq!(ring.open("p", &URL_SAFE_NO_PAD.encode(&sealed[..len])), None, "{len}");
        }
        assert_eq!(ring.open("p", "not base64!"), None);
        assert_eq!(ring.open("p", &"A".repeat(SEALED_BYTES_MAX + 1)), None);
    }

    #[test]
    fn keys_are_rotated_without_losing_anybody() {
        let (before, between, after) = (ring(&["a"]), ring(&["b", "a"]), ring(&["b"]));
        let old = before.seal("p", b"old", SALT);
        assert_eq!(between.open("p", &old).as_deref(), Some(&b"old"[..]));
        let new = between.seal("p", b"new", SALT);
        assert_eq!(before.open("p", &new), None, "the new key seals");
        assert_eq!(after.open("p", &new).as_deref(), Some(&b"new"[..]));
        assert_eq!(after.open("p", &old), None, "a key that is gone opens nothing");
    }

    #[test]
    fn weak_rings_are_refused() {
        assert_eq!(Ring::new::<&str>(&[]).err(), Some(RingInvalid::Empty));
        assert_eq!(Ring::of_lines("# none\n\n").err(), Some(RingInvalid::Empty));
        let good = "k".repeat(SECRET_BYTES_MIN);
        assert_eq!(Ring::of_lines(&format!("{good}\nshort\n")).err(), Some(RingInvalid::Short(2)));
        assert_eq!(Ring::new(&vec![good; KEYS_MAX + 1]).err(), Some(RingInvalid::TooMany));
        assert_eq!(format!("{:?}", ring(&["a"])), "Ring(1 keys)");
    }
}
