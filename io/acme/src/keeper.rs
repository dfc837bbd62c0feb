//! Keeps certificates: has each of them, and in time the next.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use selvedge_guard::renewal::{self, Window};
use selvedge_outbound::Fetcher;
use tokio::sync::Mutex;

use crate::challenge::Challenge;
use crate::documents::{Change, Documents, PREFIX, Unavailable};
use crate::lease::{Lease, NotWritten, RENEW_EVERY};
use crate::order::{self, Issued};
use crate::record::{Certificate, Trouble, life_of};
use crate::settings::{Settings, SettingsInvalid};
use crate::transport::Transport;
use crate::{Proofs, problem, turn};

/// How soon to look again at what another replica is doing.
const LOOK_AGAIN: u64 = 5;

/// Has certificates ordered and kept in a store.
#[derive(Clone)]
pub struct Keeper {
    documents: Arc<dyn Documents>,
    fetcher: Arc<Fetcher>,
}

/// What one look came to, and when the next one is needed; moments in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tended {
    /// There is a good one.
    Good { until: u64 },
    /// There is a new one.
    Issued { until: u64 },
    /// Another replica is at work.
    Elsewhere { until: u64 },
    /// It failed, now or lately.
    Failed { until: u64, failures: u32, reason: String },
}

/// Why a certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the certificate cannot be ordered: {0}")]
    Settings(#[from] SettingsInvalid),
    #[error(transparent)]
    Store(#[from] Unavailable),
    #[error("what is stored at {0:?} cannot be read")]
    Damaged(String),
    #[error("the authority: {}", chain(.0))]
    Authority(#[from] instant_acme::Error),
    #[error("the authority does not offer the challenge {0} for these names")]
    NotOffered(Challenge),
    #[error("the authority has no profile {wanted:?}; it has: {offered}")]
    Profile { wanted: String, offered: String },
    #[error("the authority could not see that the names are ours: {0}")]
    Unproven(String),
    #[error("no key could be made")]
    Key,
    #[error("the authority's certificate cannot be read")]
    Certificate,
    #[error("another order proves {0} in the meantime")]
    InTurn(String),
    #[error("another replica took over, and this one's certificate is not kept")]
    LeaseLost,
}

impl From<NotWritten> for Error {
    fn from(not_written: NotWritten) -> Self {
        match not_written {
            NotWritten::Lost => Self::LeaseLost,
            NotWritten::Unavailable(error) => Self::Store(error),
        }
    }
}

fn chain(error: &instant_acme::Error) -> String {
    match error {
        instant_acme::Error::Api(refused) => return problem::words(refused),
        instant_acme::Error::Timeout(_) => return "it was not done in time".to_owned(),
        _ => {}
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Tended {
    /// When to look again.
    pub fn until(&self) -> u64 {
        match self {
            Self::Good { until }
            | Self::Issued { until }
            | Self::Elsewhere { until }
            | Self::Failed { until, .. } => *until,
        }
    }
}

impl Error {
    /// Whether the authority does not know the account with which it was asked.
    fn is_account_gone(&self) -> bool {
        match self {
            Self::Authority(instant_acme::Error::Api(refused)) => {
                problem::kind(refused) == Some("accountDoesNotExist")
            }
            _ => false,
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}

impl Keeper {
    /// Over a store; calls go out by `fetcher`.
    pub fn new(documents: Arc<dyn Documents>, fetcher: Arc<Fetcher>) -> Self {
        Self { documents, fetcher }
    }

    /// What answers authorities.
    pub fn proofs(&self) -> Proofs {
        Proofs::new(Arc::clone(&self.documents))
    }

    /// The certificate that is wanted, whoever ordered it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn certificate(&self, settings: &Settings) -> Result<Option<Certificate>, Error> {
        let found = self.documents.get(&certificate_key(&settings.id())).await?;
        Ok(found.and_then(|found| Certificate::of_json(&found.value)))
    }

    /// What went wrong with it lately.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trouble(&self, settings: &Settings) -> Result<Option<Trouble>, Error> {
        let found = self.documents.get(&trouble_key(settings)).await?;
        Ok(found.and_then(|found| Trouble::of_json(&found.value)))
    }

    /// Looks after one certificate at `now`, in seconds since 1970: nothing if it is good and not due, an order otherwise.
    /// `draw` is a random number for this turn.
    ///
    /// # Errors
    /// When it cannot be ordered at all, the store fails, or another replica took over. A failure of the authority is
    /// [`Tended::Failed`].
    pub async fn tend(&self, settings: &Settings, now: u64, draw: u32) -> Result<Tended, Error> {
        settings.check()?;
        if let Some(idle) = self.nothing_to_do(settings, now).await? {
            return Ok(idle);
        }
        let id = settings.id();
        let mut lease = match Lease::take(&self.documents, &id, now).await? {
            Ok(lease) => lease,
            Err(held) => return Ok(Tended::Elsewhere { until: held.until.min(now + LOOK_AGAIN) }),
        };
        // Whoever held the lease before may have done it in the meantime, or have failed.
        if let Some(idle) = self.nothing_to_do(settings, now).await? {
            lease.end(Vec::new()).await?;
            return Ok(idle);
        }
        let kept = self.certificate(settings).await?;
        let life = kept.as_ref().map(|kept| kept.life);
        let transport = Transport::new(Arc::clone(&self.fetcher), now);
        let lent = Mutex::new(lease);
        let outcome = held(self.work(settings, kept, &transport, &lent, (now, draw)), &lent).await;
        lease = lent.into_inner();
        match outcome {
            Ok((certificate, issued)) => {
                let until = certificate.due_at().min(certificate.ask_at);
                let changes = vec![
                    Change::put(certificate_key(&id), certificate.to_json()),
                    Change::delete(trouble_key(settings)),
                ];
                lease.end(changes).await?;
                Ok(if issued { Tended::Issued { until } } else { Tended::Good { until } })
            }
            Err(Error::InTurn(name)) => {
                lease.end(Vec::new()).await?;
                tracing::debug!(
                    certificate = settings.label(),
                    name,
                    "another order proves the name; it follows"
                );
                Ok(Tended::Elsewhere { until: now + LOOK_AGAIN })
            }
            // Nothing of the authority's: whoever took over goes on, and a store that is back is asked again.
            Err(error @ (Error::LeaseLost | Error::Store(_))) => Err(error),
            Err(error) => {
                let failures = self.trouble(settings).await?.map_or(0, |trouble| trouble.failures) + 1;
                let until = renewal::retry_at(now, failures, transport.retry_after(), draw, life);
                let reason = error.to_string();
                let certificate = settings.label();
                tracing::warn!(
                    certificate,
                    reason,
                    failures,
                    again_in_seconds = until - now,
                    "no certificate could be had"
                );
                let trouble = Trouble { failures, retry_at: until, reason: reason.clone() };
                lease.end(vec![Change::put(trouble_key(settings), trouble.to_json())]).await?;
                Ok(Tended::Failed { until, failures, reason })
            }
        }
    }

    /// What there is to say when nothing is to be done at `now`.
    async fn nothing_to_do(&self, settings: &Settings, now: u64) -> Result<Option<Tended>, Error> {
        let kept = self.certificate(settings).await?;
        if let Some(until) = kept.as_ref().and_then(|kept| kept.good_until(now)) {
            return Ok(Some(Tended::Good { until }));
        }
        let is_due = kept.is_none_or(|kept| kept.due_at() <= now);
        let trouble = self.trouble(settings).await?.filter(|trouble| is_due && trouble.retry_at > now);
        Ok(trouble.map(|Trouble { failures, retry_at, reason }| Tended::Failed {
            until: retry_at,
            failures,
            reason,
        }))
    }

    /// Asks for the authority's wish, and orders if it is time. Says whether there is a new one.
    async fn work(
        &self,
        settings: &Settings,
        kept: Option<Certificate>,
        transport: &Transport,
        lease: &Mutex<Lease>,
        (now, draw): (u64, u32),
    ) -> Result<(Certificate, bool), Error> {
        let mut replaced = None;
        if let Some(mut kept) = kept {
            if kept.ask_at <= now {
                // An authority that is away while nothing is due is no trouble.
                (kept.window, kept.ask_at) = match order::account(&self.documents, transport, settings).await
                {
                    Ok(account) => wish(&account, &kept, now).await,
                    Err(error) => {
                        tracing::debug!(%error, "the authority did not say when to renew");
                        (kept.window, renewal::ask_again_at(now, transport.retry_after()))
                    }
                };
            }
            if kept.due_at() > now {
                return Ok((kept, false));
            }
            replaced = kept.leaf();
        }
        if settings.challenge == Challenge::TlsAlpn01 {
            let lease = lease.lock().await;
            let taken = turn::take(&self.documents, &lease, &settings.names, now).await?;
            taken.map_err(|waiting| Error::InTurn(waiting.name))?;
        }
        let attempt = || async {
            let account = order::account(&self.documents, transport, settings).await?;
            let issued = order::order(&account, settings, replaced.as_ref(), lease).await?;
            Ok((account, issued))
        };
        let (account, Issued { chain, key }) = match attempt().await {
            Err(error) if Error::is_account_gone(&error) => {
                tracing::warn!(
                    directory = settings.directory,
                    "the authority does not know our account; another is opened"
                );
                order::forget_account(&self.documents, settings).await?;
                attempt().await?
            }
            other => other?,
        };
        let names = settings.names.clone();
        let life = rustls_pki_types::pem::PemObject::pem_slice_iter(chain.as_bytes())
            .next()
            .and_then(Result::ok)
            .and_then(|leaf: rustls_pki_types::CertificateDer<'_>| life_of(&leaf))
            .ok_or(Error::Certificate)?;
        let mut certificate = Certificate { names, chain, key, life, window: None, ask_at: 0, draw };
        (certificate.window, certificate.ask_at) = wish(&account, &certificate, now).await;
        tracing::info!(certificate = settings.label(), until = life.not_after, "a certificate was issued");
        Ok((certificate, true))
    }
}

/// Does the work for as long as the lease is ours, and puts the lease's end off meanwhile.
async fn held<T>(work: impl Future<Output = Result<T, Error>>, lease: &Mutex<Lease>) -> Result<T, Error> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            () = tokio::time::sleep(RENEW_EVERY) => {
                // Where the work writes under it just then, that puts it off as well.
                let renewed = match lease.try_lock() {
                    Ok(mut lease) => lease.renew().await,
                    Err(_) => Ok(()),
                };
                match renewed {
                    Err(NotWritten::Lost) => return Err(Error::LeaseLost),
                    // It may be back before the lease ends.
                    Err(NotWritten::Unavailable(error)) => tracing::warn!(%error, "a lease could not be put off"),
                    Ok(()) => {}
                }
            }
        }
    }
}

/// The authority's wish, and when to ask again. One that has none, or does not answer, changes nothing.
async fn wish(account: &instant_acme::Account, kept: &Certificate, now: u64) -> (Option<Window>, u64) {
    let unchanged = (kept.window, renewal::ask_again_at(now, None));
    let Some(leaf) = kept.leaf() else { return unchanged };
    let Ok(identifier) = CertificateIdentifier::try_from(&leaf) else { return unchanged };
    match account.renewal_info(&identifier).await {
        Ok((info, wait)) => {
            let seconds = |moment: i64| u64::try_from(moment).unwrap_or_default();
            let start = seconds(info.suggested_window.start.unix_timestamp());
            let end = seconds(info.suggested_window.end.unix_timestamp());
            (Some(Window { start, end }), renewal::ask_again_at(now, Some(wait.max(Duration::from_secs(1)))))
        }
        Err(instant_acme::Error::Unsupported(_)) => unchanged,
        Err(error) => {
            tracing::debug!(%error, "the authority did not say when to renew");
            unchanged
        }
    }
}

fn certificate_key(id: &str) -> String {
    format!("{PREFIX}certificate/{id}")
}

fn trouble_key(settings: &Settings) -> String {
    format!("{PREFIX}trouble/{}", settings.attempt_id())
}
