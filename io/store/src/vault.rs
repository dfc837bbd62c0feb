//! Secrets at rest: sealed by AES-256-GCM with a key that is not in the store.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Bytes of a key.
pub const SECRETS_KEY_BYTES: usize = 32;

/// Seals and opens. Its key is in no debug output.
#[derive(Clone, Default)]
pub struct Vault(Option<Arc<Keyed>>);

struct Keyed {
    key: RandomizedNonceKey,
    /// Tells keys apart without telling anything of them.
    id: String,
}

/// A secret cannot be sealed or opened. No text holds anything of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error(
        "there is no key to seal secrets with: start the server with --secrets-key-file or SELVEDGE_SECRETS_KEY"
    )]
    NoKey,
    #[error("a key has {SECRETS_KEY_BYTES} bytes, written in base64 or as hexadecimal digits")]
    Key,
    #[error("it was sealed with the key {sealed}, and the server has the key {present}")]
    OtherKey {
        /// The id of the key that sealed it.
        sealed: String,
        /// The id of ours.
        present: String,
    },
    #[error("what is sealed was changed, or belongs to something else")]
    Damaged,
    #[error("the cipher failed")]
    Cipher,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.0.as_ref().map(|keyed| keyed.id.as_str())).finish()
    }
}

impl Vault {
    /// A vault with this key.
    ///
    /// # Errors
    /// [`VaultError::Key`] for a key of another length.
    pub fn new(key: &[u8]) -> Result<Self, VaultError> {
        if key.len() != SECRETS_KEY_BYTES {
            return Err(VaultError::Key);
        }
        let digest = Sha256::digest([b"selvedge-secrets-key-id".as_slice(), key].concat());
        let id = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Key)?;
        Ok(Self(Some(Arc::new(Keyed { key, id }))))
    }

    /// A vault with a key as people write it: base64 or hexadecimal digits, with space around it.
    ///
    /// # Errors
    /// [`VaultError::Key`] for any other text.
    pub fn read(text: &str) -> Result<Self, VaultError> {
        let text = text.trim();
        if text.len() == 2 * SECRETS_KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
            let bytes: Result<Vec<u8>, _> = bytes.collect();
            return Self::new(&bytes.map_err(|_| VaultError::Key)?);
        }
        Self::new(&STANDARD.decode(text).map_err(|_| VaultError::Key)?)
    }

    /// Seals `secret`; it opens only for the same `owner`.
    ///
    /// # Errors
    /// Without a key.
    pub fn seal(&self, owner: &str, secret: &[u8]) -> Result<String, VaultError> {
        let keyed = self.0.as_ref().ok_or(VaultError::NoKey)?;
        let mut sealed = secret.to_vec();
        let nonce = keyed
            .key
            .seal_in_place_append_tag(Aad::from(owner.as_bytes()), &mut sealed)
            .map_err(|_| VaultError::Cipher)?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        Ok(format!("v1.{}.{}", keyed.id, STANDARD.encode(bytes)))
    }

    /// Opens what was sealed for `owner`.
    ///
    /// # Errors
    /// With another key, for another owner, and when it was changed.
    pub fn open(&self, owner: &str, sealed: &str) -> Result<Vec<u8>, VaultError> {
        let keyed = self.0.as_ref().ok_or(VaultError::NoKey)?;
        let mut parts = sealed.split('.');
        let (version, id, text) = (parts.next(), parts.next(), parts.next());
        let (Some("v1"), Some(id), Some(text)) = (version, id, text) else { return Err(VaultError::Damaged) };
        if id != keyed.id {
            return Err(VaultError::OtherKey { sealed: id.to_owned(), present: keyed.id.clone() });
        }
        let bytes = STANDARD.decode(text).map_err(|_| VaultError::Damaged)?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or(VaultError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Damaged)?;
        let mut rest = rest.to_vec();
        let opened = keyed.key.open_in_place(nonce, Aad::from(owner.as_bytes()), &mut rest);
        opened.map(|opened| opened.to_vec()).map_err(|_| VaultError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_owner_alone() {
        let vault = Vault::new(&[7; SECRETS_KEY_BYTES]).unwrap();
        let sealed = vault.seal("connection/a", b"hush").unwrap();
        assert!(!sealed.contains("hush"));
        assert_ne!(sealed, vault.seal("connection/a", b"hush").unwrap(), "each with a nonce of its own");
        assert_eq!(vault.open("connection/a", &sealed).unwrap(), b"hush");
        assert_eq!(vault.open("connection/b", &sealed), Err(VaultError::Damaged));
        let mut changed = sealed.clone().into_bytes();
        let last = changed.len() - 6;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            vault.open("connection/a", std::str::from_utf8(&changed).unwrap()),
            Err(VaultError::Damaged)
        );
        let other = Vault::new(&[8; SECRETS_KEY_BYTES]).unwrap();
        assert!(matches!(other.open("connection/a", &sealed), Err(VaultError::OtherKey { .. })));
        assert_eq!(Vault::default().open("connection/a", &sealed), Err(VaultError::NoKey));
        for garbage in ["", "v1", "v1.x", "v2.a.b", "v1..", &sealed[..20]] {
            assert!(vault.open("connection/a", garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn keys_are_read_as_people_write_them() {
        let hex = "07".repeat(32);
        let base64 = STANDARD.encode([7; 32]);
        let sealed = Vault::read(&format!(" {hex}\n")).unwrap().seal("o", b"s").unwrap();
        assert_eq!(Vault::read(&base64).unwrap().open("o", &sealed).unwrap(), b"s");
        for text in ["", "secret", &hex[..62], &STANDARD.encode([7; 31])] {
            assert_eq!(Vault::read(text).err(), Some(VaultError::Key), "{text}");
        }
        assert!(!format!("{:?}", Vault::read(&hex).unwrap()).contains(&hex));
    }
}
