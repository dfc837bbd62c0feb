//! Keeps certificates: has each of them, and in time the next.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use selvedge_guard::renewal::{self, Window};
use selvedge_outbound::Fetcher;
use selvedge_store::{Store, WriteError};

use crate::challenge::Challenge;
use crate::lease::Lease;
use crate::order::{self, Issued, Settings};
use crate::record::{Certificate, Trouble, life_of};
use crate::{Proofs, SettingsInvalid};

/// How soon to look again at what another replica is doing.
const LOOK_AGAIN: u64 = 5;

/// Has certificates ordered and kept in a store.
#[derive(Clone)]
pub struct Keeper {
    store: Arc<dyn Store>,
    fetcher: Arc<Fetcher>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
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
    Failed { until: u64, reason: String },
}

/// Why a certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the certificate cannot be ordered: {0}")]
    Settings(#[from] SettingsInvalid),
    #[error(transparent)]
    Store(#[from] selvedge_store::Error),
    #[error("what is stored at {0:?} cannot be read")]
    Damaged(String),
    #[error("the authority: {}", chain(.0))]
    Authority(#[from] instant_acme::Error),
    #[error("the authority does not offer the challenge {0:?}")]
    NotOffered(Challenge),
    #[error("the authority could not see that the names are ours: {0}")]
    Unproven(String),
    #[error("no key could be made")]
    Key,
    #[error("the authority's certificate cannot be read")]
    Certificate,
    #[error("another replica took over, and this one's certificate is not kept")]
    LeaseLost,
    #[error("a call of the store did not end")]
    Ended,
}

fn chain(error: &instant_acme::Error) -> String {
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

impl Keeper {
    /// Over a store; calls go out by `fetcher`.
    pub fn new(store: Arc<dyn Store>, fetcher: Arc<Fetcher>) -> Self {
        Self { store, fetcher }
    }

    /// What answers authorities.
    pub fn proofs(&self) -> Proofs {
        Proofs::new(Arc::clone(&self.store))
    }

    /// The certificate of a name, whoever ordered it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn certificate(&self, name: &str) -> Result<Option<Certificate>, Error> {
        let key = certificate_key(name);
        let document = blocking(&self.store, move |store| store.snapshot()?.get(&key)).await?;
        Ok(document.and_then(|document| Certificate::of_json(&document.value)))
    }

    /// What went wrong with it lately.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trouble(&self, name: &str) -> Result<Option<Trouble>, Error> {
        let key = trouble_key(name);
        let document = blocking(&self.store, move |store| store.snapshot()?.get(&key)).await?;
        Ok(document.and_then(|document| Trouble::of_json(&document.value)))
    }

    /// Looks after one certificate at `now`, in seconds since 1970: nothing if it is good and not due, an order otherwise.
    /// `draw` is a random number for this turn.
    ///
    /// # Errors
    /// When it cannot be ordered at all, or the store fails. A failure of the authority is [`Tended::Failed`].
    pub async fn tend(&self, settings: &Settings, now: u64, draw: u32) -> Result<Tended, Error> {
        settings.check()?;
        let kept = self.certificate(&settings.name).await?.filter(|kept| kept.names == settings.names);
        let is_due = |kept: &Certificate| kept.due_at() <= now;
        if let Some(kept) = kept.as_ref().filter(|kept| !is_due(kept) && kept.ask_at > now) {
            return Ok(Tended::Good { until: kept.due_at().min(kept.ask_at) });
        }
        let needs_order = kept.as_ref().is_none_or(is_due);
        if let Some(trouble) =
            self.trouble(&settings.name).await?.filter(|trouble| needs_order && trouble.retry_at > now)
        {
            return Ok(Tended::Failed { until: trouble.retry_at, reason: trouble.reason });
        }
        let name = settings.name.clone();
        let taken = blocking(&self.store, move |store| Lease::take(store, &name, now)).await?;
        let lease = match taken {
            Ok(lease) => lease,
            Err(held) => return Ok(Tended::Elsewhere { until: held.until.min(now + LOOK_AGAIN) }),
        };
        // Whoever held the lease before may have done it in the meantime.
        let kept = self.certificate(&settings.name).await?.filter(|kept| kept.names == settings.names);
        if kept.as_ref().is_some_and(|kept| !is_due(kept) && kept.ask_at > now) {
            self.end(&lease, Vec::new()).await?;
            return Ok(Tended::Good { until: kept.map_or(now, |kept| kept.due_at().min(kept.ask_at)) });
        }
        match self.work(settings, kept, now, draw).await {
            Ok((certificate, issued)) => {
                let until = certificate.due_at().min(certificate.ask_at);
                let puts = vec![(certificate_key(&settings.name), Some(certificate.to_json()))];
                let removed = (trouble_key(&settings.name), None);
                self.end(&lease, puts.into_iter().chain([removed]).collect()).await?;
                Ok(if issued { Tended::Issued { until } } else { Tended::Good { until } })
            }
            Err(error) => {
                let failures = self.trouble(&settings.name).await?.map_or(0, |trouble| trouble.failures) + 1;
                let retry_at = now + renewal::wait_after(failures, None, draw).as_secs();
                let reason = error.to_string();
                tracing::warn!(certificate = %settings.name, %reason, failures, "no certificate could be had");
                let trouble = Trouble { failures, retry_at, reason: reason.clone() };
                self.end(&lease, vec![(trouble_key(&settings.name), Some(trouble.to_json()))]).await?;
                Ok(Tended::Failed { until: retry_at, reason })
            }
        }
    }

    /// Asks for the authority's wish, and orders if it is time. Says whether there is a new one.
    async fn work(
        &self,
        settings: &Settings,
        kept: Option<Certificate>,
        now: u64,
        draw: u32,
    ) -> Result<(Certificate, bool), Error> {
        let account = order::account(&self.store, &self.fetcher, settings).await?;
        let mut replaced = None;
        if let Some(mut kept) = kept {
            if kept.ask_at <= now {
                (kept.window, kept.ask_at) = wish(&account, &kept, now).await;
            }
            if kept.due_at() > now {
                return Ok((kept, false));
            }
            replaced = kept.leaf();
        }
        let Issued { chain, key } = order::order(&self.store, &account, settings, replaced.as_ref()).await?;
        let names = settings.names.clone();
        let life = rustls_pki_types::pem::PemObject::pem_slice_iter(chain.as_bytes())
            .next()
            .and_then(Result::ok)
            .and_then(|leaf: rustls_pki_types::CertificateDer<'_>| life_of(&leaf))
            .ok_or(Error::Certificate)?;
        let mut certificate = Certificate { names, chain, key, life, window: None, ask_at: 0, draw };
        (certificate.window, certificate.ask_at) = wish(&account, &certificate, now).await;
        tracing::info!(certificate = %settings.name, until = life.not_after, "a certificate was issued");
        Ok((certificate, true))
    }

    /// Writes under a lease and gives it back; nothing is written when it is another's.
    async fn end(&self, lease: &Lease, documents: Vec<(String, Option<Vec<u8>>)>) -> Result<(), Error> {
        let lease = lease.clone();
        let written = blocking(&self.store, move |store| {
            let written = store.write(|tx| {
                if !lease.holds(tx)? {
                    return Err(WriteError::Refused(()));
                }
                for (key, value) in &documents {
                    match value {
                        Some(value) => tx.put(key, value.clone().into())?,
                        None => drop(tx.delete(key)?),
                    }
                }
                lease.release(tx)?;
                Ok(())
            });
            match written {
                Ok(_) => Ok(true),
                Err(WriteError::Refused(())) => Ok(false),
                Err(WriteError::Store(error)) => Err(error),
            }
        });
        if written.await? { Ok(()) } else { Err(Error::LeaseLost) }
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

fn certificate_key(name: &str) -> String {
    format!("acme/certificate/{name}")
}

fn trouble_key(name: &str) -> String {
    format!("acme/trouble/{name}")
}

/// Runs a call of the store where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    store: &Arc<dyn Store>,
    call: impl FnOnce(&dyn Store) -> Result<T, selvedge_store::Error> + Send + 'static,
) -> Result<T, Error> {
    let store = Arc::clone(store);
    let called = tokio::task::spawn_blocking(move || call(&*store)).await;
    called.map_err(|_| Error::Ended)?.map_err(Error::Store)
}
