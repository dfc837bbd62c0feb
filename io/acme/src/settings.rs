//! A certificate that is wanted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use sha2::{Digest, Sha256};

use crate::challenge::Challenge;

/// Names of one certificate.
pub const NAMES_MAX: usize = 100;

/// A certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The URL of the authority's directory.
    pub directory: String,
    /// Where the authority may write: `ops@example.com`.
    pub contact: Option<String>,
    /// The names to stand in it.
    pub names: Vec<String>,
    pub challenge: Challenge,
    pub key: KeyType,
    /// One of the authority's kinds of certificate, such as `tlsserver` or `shortlived`.
    pub profile: Option<String>,
    pub external: Option<External>,
}

/// What kind of key a certificate has; each certificate has one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    #[default]
    EcP256,
    EcP384,
    Rsa2048,
    Rsa4096,
}

/// An account elsewhere that the authority's account is bound to (RFC 8555 §7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    pub id: String,
    pub key: Vec<u8>,
}

/// Keys are not shown.
impl std::fmt::Debug for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("External").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A certificate that nobody can order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsInvalid {
    #[error("there is no name")]
    NoName,
    #[error("there are more than {NAMES_MAX} names")]
    TooMany,
    #[error("{0:?} is no host name in lower case")]
    Name(String),
    #[error(
        "{0:?}: a wildcard is proven by DNS alone, which is not supported: name the hosts one by one, or have another program fetch \
         the certificate and name its files"
    )]
    Wildcard(String),
}

impl Settings {
    /// Whether it can be ordered.
    ///
    /// # Errors
    /// When there are no names, too many, or one that cannot be proven.
    pub fn check(&self) -> Result<(), SettingsInvalid> {
        if self.names.is_empty() {
            return Err(SettingsInvalid::NoName);
        }
        if self.names.len() > NAMES_MAX {
            return Err(SettingsInvalid::TooMany);
        }
        self.names.iter().try_for_each(|name| {
            let is_label = |label: &str| {
                let is_of = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                (1..=63).contains(&label.len()) && label.bytes().all(is_of) && !label.starts_with('-')
            };
            if name.starts_with("*.") {
                return Err(SettingsInvalid::Wildcard(name.clone()));
            }
            let is_host = name.len() <= 253 && name.split('.').all(is_label);
            if is_host { Ok(()) } else { Err(SettingsInvalid::Name(name.clone())) }
        })
    }

    /// What tells this certificate from others of one store: whoever wants the same has the same one, and who wants another –
    /// other names, another authority – neither shows nor replaces it.
    pub(crate) fn id(&self) -> String {
        let mut names = self.names.clone();
        names.sort_unstable();
        names.dedup();
        let profile = self.profile.as_deref().unwrap_or_default();
        let key = format!("{:?}", self.key);
        hash(&[&self.directory, profile, &key, &names.join("\0")])
    }

    /// What tells accounts apart.
    pub(crate) fn account_id(&self) -> String {
        let external = self.external.as_ref().map_or("", |external| &external.id);
        hash(&[&self.directory, self.contact.as_deref().unwrap_or_default(), external])
    }

    /// What tells attempts apart: one that failed says nothing of another way, or of another account.
    pub(crate) fn attempt_id(&self) -> String {
        hash(&[&self.id(), &self.account_id(), &self.challenge.to_string()])
    }

    /// For people: the first name, and how many more there are.
    pub(crate) fn label(&self) -> String {
        let first = self.names.first().map(String::as_str).unwrap_or_default();
        match self.names.len() {
            0 | 1 => first.to_owned(),
            several => format!("{first} and {} more", several - 1),
        }
    }
}

impl KeyType {
    /// A new key; `None` when none can be made.
    pub(crate) fn generate(self) -> Option<KeyPair> {
        let made = match self {
            Self::EcP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::EcP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        made.ok()
    }
}

fn hash(parts: &[&str]) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(parts.join("\0"))[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> Settings {
        Settings {
            directory: "https://ca.example/dir".into(),
            contact: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            challenge: Challenge::Http01,
            key: KeyType::default(),
            profile: None,
            external: None,
        }
    }

    #[test]
    fn what_nobody_can_prove_is_not_ordered() {
        assert_eq!(with(&["a.example", "xn--e1afmkfd.example"]).check(), Ok(()));
        assert_eq!(with(&[]).check(), Err(SettingsInvalid::NoName));
        assert_eq!(with(&["*.a.example"]).check(), Err(SettingsInvalid::Wildcard("*.a.example".into())));
        for name in ["", "A.example", "a..b", "a b", "-a.example", "a/b", "é.example", &"a".repeat(64)] {
            assert_eq!(with(&[name]).check(), Err(SettingsInvalid::Name(name.into())), "{name}");
        }
        assert_eq!(with(&vec!["a.example"; NAMES_MAX + 1]).check(), Err(SettingsInvalid::TooMany));
    }

    #[test]
    fn what_is_wanted_otherwise_is_another_certificate() {
        let one = with(&["a.example", "b.example"]);
        assert_eq!(one.id(), with(&["b.example", "a.example"]).id(), "the order of names is nothing");
        assert_eq!(one.id(), Settings { contact: Some("ops".into()), ..one.clone() }.id());
        assert_eq!(one.id(), Settings { challenge: Challenge::TlsAlpn01, ..one.clone() }.id());
        let others = [
            with(&["a.example"]),
            Settings { directory: "https://ca.example/other".into(), ..one.clone() },
            Settings { profile: Some("shortlived".into()), ..one.clone() },
            Settings { key: KeyType::Rsa2048, ..one.clone() },
        ];
        for other in others {
            assert_ne!(one.id(), other.id(), "{other:?}");
        }
    }

    #[test]
    fn accounts_are_told_apart_by_whom_they_belong_to() {
        let one = with(&["a.example"]);
        assert_eq!(one.account_id(), with(&["b.example"]).account_id(), "one account for all names");
        let external = |id: &str| Some(External { id: id.into(), key: vec![1] });
        let others = [
            Settings { contact: Some("ops".into()), ..one.clone() },
            Settings { external: external("kid"), ..one.clone() },
        ];
        for other in &others {
            assert_ne!(one.account_id(), other.account_id(), "{other:?}");
        }
        for other in others.iter().chain([&Settings { challenge: Challenge::TlsAlpn01, ..one.clone() }]) {
            assert_ne!(one.attempt_id(), other.attempt_id(), "{other:?}");
        }
        assert!(!format!("{:?}", external("kid")).contains('1'), "keys are not shown");
    }
}
