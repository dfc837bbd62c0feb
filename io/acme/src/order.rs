//! One certificate that is wanted, and the order for it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::CertificateDer;
use selvedge_outbound::Fetcher;
use selvedge_store::{Store, WriteError};
use sha2::{Digest, Sha256};

use crate::challenge::{self, Challenge};
use crate::keeper::{Error, blocking};
use crate::transport::Transport;

/// Names of one certificate.
pub const NAMES_MAX: usize = 100;
/// How long an authority may take to look at a challenge or to sign.
const PATIENCE: Duration = Duration::from_secs(180);

/// A certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What configuration calls it.
    pub name: String,
    /// The URL of the authority's directory.
    pub directory: String,
    /// Where the authority may write: `ops@example.com`.
    pub contact: Option<String>,
    /// The names to stand in it.
    pub names: Vec<String>,
    pub challenge: Challenge,
    /// One of the authority's kinds of certificate, such as `tlsserver` or `shortlived`.
    pub profile: Option<String>,
    pub external: Option<External>,
}

/// An account elsewhere that the authority's account is bound to (RFC 8555 §7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    pub id: String,
    pub key: Vec<u8>,
}

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
    #[error("{0:?}: a wildcard is proven by DNS alone, which is not supported")]
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

    fn account_key(&self) -> String {
        let external = self.external.as_ref().map_or("", |external| &external.id);
        let contact = self.contact.as_deref().unwrap_or_default();
        let hash = Sha256::digest([&self.directory, "\0", contact, "\0", external].concat());
        format!("acme/account/{}", URL_SAFE_NO_PAD.encode(&hash[..16]))
    }
}

/// A chain and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// The account, which is opened at the authority the first time.
pub(crate) async fn account(
    store: &Arc<dyn Store>,
    fetcher: &Arc<Fetcher>,
    settings: &Settings,
) -> Result<Account, Error> {
    let builder = Account::builder_with_http(Box::new(Transport(Arc::clone(fetcher))));
    let key = settings.account_key();
    let kept = {
        let key = key.clone();
        blocking(store, move |store| store.snapshot()?.get(&key)).await?
    };
    if let Some(document) = kept {
        let credentials: AccountCredentials =
            serde_json::from_slice(&document.value).map_err(|_| Error::Damaged(key.clone()))?;
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact = settings.contact.as_ref().map(|contact| format!("mailto:{contact}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external = settings
        .external
        .as_ref()
        .map(|external| ExternalAccountKey::new(external.id.clone(), &external.key));
    let (account, credentials) =
        builder.create(&wanted, settings.directory.clone(), external.as_ref()).await?;
    let credentials = serde_json::to_vec(&credentials).map_err(|_| Error::Damaged(key.clone()))?;
    blocking(store, move |store| put(store, vec![(key, Some(credentials.into()))])).await?;
    Ok(account)
}

/// Orders, proves, finalises. What answers challenges is taken away again, whatever becomes of the order.
pub(crate) async fn order(
    store: &Arc<dyn Store>,
    account: &Account,
    settings: &Settings,
    replaced: Option<&CertificateDer<'static>>,
) -> Result<Issued, Error> {
    let mut shown = Vec::new();
    let issued = prove_and_finalise(store, account, settings, replaced, &mut shown).await;
    if !shown.is_empty() {
        let taken: Vec<(String, Option<Bytes>)> = shown.into_iter().map(|key| (key, None)).collect();
        blocking(store, move |store| put(store, taken)).await?;
    }
    issued
}

async fn prove_and_finalise(
    store: &Arc<dyn Store>,
    account: &Account,
    settings: &Settings,
    replaced: Option<&CertificateDer<'static>>,
    shown: &mut Vec<String>,
) -> Result<Issued, Error> {
    let identifiers: Vec<Identifier> = settings.names.iter().cloned().map(Identifier::Dns).collect();
    let wanted = || {
        let order = NewOrder::new(&identifiers);
        match &settings.profile {
            Some(profile) => order.profile(profile),
            None => order,
        }
    };
    // An authority without renewal information does not want to hear what is replaced; one that has lost the old order
    // refuses it, and then a plain order is as good.
    let identifier = replaced.and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
    let replacing = match identifier {
        Some(identifier) => account.new_order(&wanted().replaces(identifier)).await.ok(),
        None => None,
    };
    let mut order = match replacing {
        Some(order) => order,
        None => account.new_order(&wanted()).await?,
    };
    let kind = match settings.challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge =
            authorization.challenge(kind.clone()).ok_or(Error::NotOffered(settings.challenge))?;
        let proof = challenge.key_authorization();
        let (key, value) = match settings.challenge {
            Challenge::Http01 => (challenge::http_key(&challenge.token), proof.as_str().to_owned()),
            Challenge::TlsAlpn01 => {
                let host = challenge.identifier().to_string();
                (challenge::tls_key(&host), URL_SAFE_NO_PAD.encode(proof.digest()))
            }
        };
        shown.push(key.clone());
        blocking(store, move |store| put(store, vec![(key, Some(value.into()))])).await?;
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::default().timeout(PATIENCE);
    let status = order.poll_ready(&patience).await?;
    if status != OrderStatus::Ready {
        return Err(Error::Unproven(reasons(&mut order).await));
    }
    let key = KeyPair::generate().map_err(|_| Error::Key)?;
    let mut params = CertificateParams::new(settings.names.clone()).map_err(|_| Error::Key)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(|_| Error::Key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&patience).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// What the authority says of challenges that failed.
async fn reasons(order: &mut instant_acme::Order) -> String {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            let name = state.identifier().to_string();
            let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(errors.map(|error| format!("{name}: {error}")));
        }
    }
    if reasons.is_empty() { "it does not say why".to_owned() } else { reasons.join("; ") }
}

/// Writes and removes documents in one transaction.
fn put(store: &dyn Store, documents: Vec<(String, Option<Bytes>)>) -> Result<(), selvedge_store::Error> {
    let written = store.write(|tx| {
        for (key, value) in &documents {
            match value {
                Some(value) => tx.put(key, value.clone())?,
                None => drop(tx.delete(key)?),
            }
        }
        Ok::<(), WriteError<std::convert::Infallible>>(())
    });
    match written {
        Ok(_) => Ok(()),
        Err(WriteError::Store(error)) => Err(error),
        Err(WriteError::Refused(never)) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_prove_is_not_ordered() {
        let with = |names: &[&str]| Settings {
            name: "c".into(),
            directory: "https://ca.example/dir".into(),
            contact: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            challenge: Challenge::Http01,
            profile: None,
            external: None,
        };
        assert_eq!(with(&["a.example", "xn--e1afmkfd.example"]).check(), Ok(()));
        assert_eq!(with(&[]).check(), Err(SettingsInvalid::NoName));
        assert_eq!(with(&["*.a.example"]).check(), Err(SettingsInvalid::Wildcard("*.a.example".into())));
        for name in ["", "A.example", "a..b", "a b", "-a.example", "a/b", "é.example", &"a".repeat(64)] {
            assert_eq!(with(&[name]).check(), Err(SettingsInvalid::Name(name.into())), "{name}");
        }
        assert_eq!(with(&vec!["a.example"; NAMES_MAX + 1]).check(), Err(SettingsInvalid::TooMany));
        let (one, other) =
            (with(&["a.example"]), Settings { contact: Some("ops".into()), ..with(&["a.example"]) });
        assert_ne!(one.account_key(), other.account_key());
    }
}
