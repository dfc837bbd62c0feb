//! One order at an authority: the account, the proofs, the certificate.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    Error as AcmeError, ExternalAccountKey, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName};
use rustls_pki_types::CertificateDer;
use tokio::sync::Mutex;

use crate::challenge::{self, Challenge};
use crate::documents::{Change, Documents, PREFIX};
use crate::keeper::Error;
use crate::lease::Lease;
use crate::problem;
use crate::settings::Settings;
use crate::transport::Transport;

/// How long an authority may take to look at a challenge or to sign.
const PATIENCE: Duration = Duration::from_secs(180);

/// A chain and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// The account, which is opened at the authority the first time.
pub(crate) async fn account(
    documents: &Arc<dyn Documents>,
    transport: &Transport,
    settings: &Settings,
) -> Result<Account, Error> {
    let builder = Account::builder_with_http(Box::new(transport.clone()));
    let key = account_key(settings);
    if let Some(kept) = documents.get(&key).await? {
        let credentials: AccountCredentials =
            serde_json::from_slice(&kept.value).map_err(|_| Error::Damaged(key.clone()))?;
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
    documents.commit(None, vec![Change::put(key, credentials)]).await?;
    tracing::info!(directory = settings.directory, account = account.id(), "an account was opened");
    Ok(account)
}

/// Forgets an account that the authority does not know any more.
pub(crate) async fn forget_account(documents: &Arc<dyn Documents>, settings: &Settings) -> Result<(), Error> {
    documents.commit(None, vec![Change::delete(account_key(settings))]).await?;
    Ok(())
}

fn account_key(settings: &Settings) -> String {
    format!("{PREFIX}account/{}", settings.account_id())
}

/// Orders, proves, finalises. What answers challenges goes with the lease.
pub(crate) async fn order(
    account: &Account,
    settings: &Settings,
    replaced: Option<&CertificateDer<'static>>,
    lease: &Mutex<Lease>,
) -> Result<Issued, Error> {
    let mut order = new_order(account, settings, replaced).await?;
    let kind = match settings.challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            // It came with the order and is over already: the next order has another.
            over => {
                let name = authorization.identifier().to_string();
                return Err(Error::Unproven(format!("{name}: the authorization is {over:?}").to_lowercase()));
            }
        }
        let Some(mut challenge) = authorization.challenge(kind.clone()) else {
            return Err(Error::NotOffered(settings.challenge));
        };
        let proof = challenge.key_authorization();
        let (key, text) = match settings.challenge {
            Challenge::Http01 => (challenge::http_key(&challenge.token), proof.as_str().to_owned()),
            Challenge::TlsAlpn01 => {
                let host = challenge.identifier().to_string();
                (challenge::tls_key(&host, &settings.id()), URL_SAFE_NO_PAD.encode(proof.digest()))
            }
        };
        lease.lock().await.show(key, text).await?;
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::default().timeout(PATIENCE);
    // An order that failed carries the first reason; its challenges carry all of them.
    match order.poll_ready(&patience).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(Error::Unproven(reasons(&mut order).await.unwrap_or_else(without_a_word))),
        Err(AcmeError::Api(problem)) if order.state().status == OrderStatus::Invalid => {
            let reasons = reasons(&mut order).await;
            return Err(Error::Unproven(reasons.unwrap_or_else(|| problem::words(&problem))));
        }
        Err(error) => return Err(error.into()),
    }
    let key = settings.key.generate().ok_or(Error::Key)?;
    let mut params = CertificateParams::new(settings.names.clone()).map_err(|_| Error::Key)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(|_| Error::Key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&patience).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// An order, that says which certificate it replaces where the authority wants to hear it (RFC 9773 §5).
async fn new_order(
    account: &Account,
    settings: &Settings,
    replaced: Option<&CertificateDer<'static>>,
) -> Result<instant_acme::Order, Error> {
    if let Some(wanted) = &settings.profile {
        let offered: Vec<&str> = account.profiles().map(|profile| profile.name).collect();
        if !offered.contains(&wanted.as_str()) {
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            return Err(Error::Profile { wanted: wanted.clone(), offered });
        }
    }
    let identifiers: Vec<Identifier> = settings.names.iter().cloned().map(Identifier::Dns).collect();
    let wanted = || {
        let order = NewOrder::new(&identifiers);
        match &settings.profile {
            Some(profile) => order.profile(profile),
            None => order,
        }
    };
    let Some(identifier) = replaced.and_then(|leaf| CertificateIdentifier::try_from(leaf).ok()) else {
        return Ok(account.new_order(&wanted()).await?);
    };
    match account.new_order(&wanted().replaces(identifier)).await {
        Ok(order) => Ok(order),
        Err(AcmeError::Api(refused)) if is_of_the_account(&refused) => Err(AcmeError::Api(refused).into()),
        // It has lost the old order, counts it as replaced, or knows nothing of replacing: then a plain order is as good.
        Err(_) => Ok(account.new_order(&wanted()).await?),
    }
}

/// Whether another order would be refused as well.
fn is_of_the_account(problem: &instant_acme::Problem) -> bool {
    let kinds =
        ["rateLimited", "accountDoesNotExist", "unauthorized", "userActionRequired", "serverInternal"];
    problem::kind(problem).is_some_and(|kind| kinds.contains(&kind))
}

/// What the authority says of challenges that failed.
async fn reasons(order: &mut instant_acme::Order) -> Option<String> {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            let name = state.identifier().to_string();
            let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(errors.map(|error| format!("{name}: {}", problem::words(error))));
        }
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn without_a_word() -> String {
    "it does not say why".to_owned()
}
