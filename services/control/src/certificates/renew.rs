//! Certificates are replaced before they end: by themselves, one after the other, so that no authority ever signs two at once.

use std::sync::Arc;
use std::time::Duration;

use selvedge_aws::operations::acm::{RESOURCE_NOT_FOUND_EXCEPTION, VALIDATION_EXCEPTION};
use selvedge_identity::key::Algorithm;
use selvedge_store::{Error as StoreError, Transaction, WriteError};
use tokio::sync::watch;

use super::authority::seconds;
use super::document::{
    AUTHORITIES, AUTHORITY_COUNT, Authority, CERTIFICATES, Certificate, Former, Revocations, authority_key,
    certificate_key, revocations_key,
};
use super::failure::Failure;
use super::{Certificates, authority, count, draw, get, put, read};

/// How often [`run`] looks.
const EVERY: Duration = Duration::from_secs(15);
/// How long a certificate that could not be renewed is left alone.
pub const RENEWAL_RETRY: Duration = Duration::from_secs(10 * 60);

/// How many of the certificates that one replaced can still be taken back: the newest.
pub(super) const FORMER_MAX: usize = 16;

/// What one transaction takes away.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// Which certificates are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Those whose moment has come.
    Due,
    /// At once, because somebody asked for it.
    Now,
}

/// Renews what is due until `drain` turns true.
pub async fn run(office: Arc<Certificates>, mut drain: watch::Receiver<bool>) {
    loop {
        let working = Arc::clone(&office);
        let now = office.surroundings.now().0;
        let work = move || {
            renew(&working, now)?;
            renew_lists(&working, now)?;
            forget(&working, now)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "certificates could not be looked at; tried again soon"),
            Err(error) => tracing::error!(%error, "renewing certificates failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = drain.wait_for(|drain| *drain) => return,
        }
    }
}

/// Renews what is due at a moment in milliseconds since the Unix epoch; how many. What fails is tried again later, and keeps
/// nothing else from being renewed.
///
/// # Errors
/// The store's, when it cannot be read.
pub fn renew(office: &Certificates, now: u64) -> Result<usize, StoreError> {
    let mut due = Vec::new();
    {
        let view = office.store.snapshot()?;
        for document in view.scan_all(CERTIFICATES)? {
            let one: Certificate = match read(&document.key, &document.value) {
                Ok(one) => one,
                Err(error) => {
                    tracing::error!(%error, "a certificate cannot be read, and is not renewed");
                    continue;
                }
            };
            if is_due(&one, now) {
                due.push((one.renew_at, one.id, one.arn));
            }
        }
    }
    // Who is next to end comes first.
    due.sort();
    let mut renewed = 0;
    for (_, id, arn) in due {
        match renew_one(office, &id, now, When::Due) {
            Ok(true) => renewed += 1,
            Ok(false) => {}
            Err(failure) => {
                let reason = match failure {
                    Failure::Api(error) => error.message,
                    Failure::Store(error) => error.to_string(),
                };
                tracing::warn!(
                    certificate = arn,
                    reason,
                    "a certificate could not be renewed; tried again later"
                );
                postpone(office, &id, now, &reason)?;
            }
        }
    }
    Ok(renewed)
}

/// Signs the lists anew that are due, and those that are missing; how many.
///
/// # Errors
/// The store's. What cannot be signed is told of, and keeps nothing else from being signed.
pub fn renew_lists(office: &Certificates, now: u64) -> Result<usize, StoreError> {
    let mut due = Vec::new();
    {
        let view = office.store.snapshot()?;
        for document in view.scan_all(AUTHORITIES)? {
            let one: Authority = read(&document.key, &document.value)?;
            let list: Option<Revocations> = get(&*view, &revocations_key(&one.id))?;
            let is_due = list.is_none_or(|list| list.renew_at <= seconds(now));
            if is_due && matches!(one.status(seconds(now)), "ACTIVE" | "DISABLED") {
                due.push(one);
            }
        }
    }
    let mut signed = 0;
    for one in due {
        let written = office.store.write(|tx| office.list(tx, &one, now).map_err(WriteError::from));
        match written.map_err(Failure::from) {
            Ok(_) => signed += 1,
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Api(error)) => {
                let reason = error.message;
                tracing::debug!(
                    authority = one.arn,
                    reason,
                    "the list of what it took back cannot be signed"
                );
            }
        }
    }
    Ok(signed)
}

/// Takes away authorities that nobody can bring back any more, with what they issued; how many.
///
/// # Errors
/// The store's. What was not done is due the next time.
pub fn forget(office: &Certificates, now: u64) -> Result<usize, StoreError> {
    let mut gone = Vec::new();
    for document in office.store.snapshot()?.scan_all(AUTHORITIES)? {
        let one: Authority = read(&document.key, &document.value)?;
        if one.restorable_until.is_some_and(|until| until <= now) {
            gone.push(one);
        }
    }
    for one in &gone {
        let issued = format!("acm-pca/issued/{}/", one.id);
        // In pieces: a transaction has its bounds.
        while !office.store.snapshot()?.scan(&issued, None, 1)?.is_empty() {
            in_one(office, |tx| {
                for document in tx.scan(&issued, None, FORGOTTEN_AT_ONCE)? {
                    tx.delete(&document.key)?;
                }
                Ok(())
            })?;
        }
        in_one(office, |tx| {
            tx.delete(&revocations_key(&one.id))?;
            if tx.delete(&authority_key(&one.id))? {
                count(tx, AUTHORITY_COUNT, -1)?;
            }
            Ok(())
        })?;
        tracing::info!(authority = one.arn, "a deleted authority is gone for good");
    }
    Ok(gone.len())
}

/// Runs one transaction that refuses nothing.
fn in_one(
    office: &Certificates,
    mut f: impl FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let written: Result<_, WriteError<()>> = office.store.write(|tx| f(tx).map_err(WriteError::from));
    match written {
        Ok(_) | Err(WriteError::Refused(())) => Ok(()),
        Err(WriteError::Store(error)) => Err(error),
    }
}

fn is_due(one: &Certificate, now: u64) -> bool {
    one.renew_at.is_some_and(|at| at <= seconds(now))
}

/// Replaces a certificate and its key, in one transaction; another replica may have been faster.
pub(super) fn renew_one(office: &Certificates, id: &str, now: u64, when: When) -> Result<bool, Failure> {
    let stored_key = certificate_key(id);
    let before: Option<Certificate> = get(&*office.store.snapshot()?, &stored_key)?;
    let Some(before) = before else { return Ok(false) };
    let key = draw::key(Algorithm::named(&before.algorithm).unwrap_or(Algorithm::Rsa2048))?;
    let (renewed, _) = office.store.write(|tx| {
        let in_transaction = |tx: &mut dyn Transaction| -> Result<bool, Failure> {
            let Some(mut one) = get::<Certificate>(&*tx, &stored_key)? else { return Ok(false) };
            if when == When::Due && !is_due(&one, now) || one.serial != before.serial {
                return Ok(false);
            }
            let Some(signer) = &one.authority else { return Ok(false) };
            let signer = office.find_authority(&*tx, signer, RESOURCE_NOT_FOUND_EXCEPTION)?;
            let issued = office.issue(&signer, &one.names, &key, now, VALIDATION_EXCEPTION)?;
            let facts = &issued.facts;
            one.sealed = office.vault.seal(&stored_key, key.pkcs8())?;
            // It is good until its end, unless somebody takes it back by its number.
            one.former.push(Former { serial: one.serial.clone(), not_after: one.not_after });
            one.former.retain(|former| former.not_after > seconds(now));
            let many = one.former.len().saturating_sub(FORMER_MAX);
            one.former.drain(..many);
            (one.not_before, one.not_after) = (facts.not_before, facts.not_after);
            one.serial = authority::colons(&facts.serial);
            one.issuer.clone_from(&facts.issuer);
            one.signature = Some(issued.signature);
            (one.issued_at, one.renewed_at, one.failure) = (now, Some(now), None);
            one.renew_at = Some(office.renewal(facts));
            (one.certificate, one.chain) = (issued.certificate, issued.chain);
            put(tx, &stored_key, &one)?;
            Ok(true)
        };
        in_transaction(tx).map_err(WriteError::from)
    })?;
    Ok(renewed)
}

/// Notes why it failed, and when to try again.
fn postpone(office: &Certificates, id: &str, now: u64, reason: &str) -> Result<(), StoreError> {
    let key = certificate_key(id);
    in_one(office, |tx| {
        let Some(mut one) = get::<Certificate>(&*tx, &key)? else { return Ok(()) };
        let retry = i64::try_from(RENEWAL_RETRY.as_secs()).unwrap_or(i64::MAX);
        one.renew_at = Some(seconds(now).saturating_add(retry));
        one.failure = Some(reason.to_owned());
        put(tx, &key, &one)
    })
}
