//! Who is at work: one replica at a time, and a late one cannot write.
//!
//! A lease has an end, which whoever is at work puts off, and a number. Whoever takes it raises the number; everything that is
//! written under it is written on the condition that the lease is as its holder left it. So a replica that slept beyond its
//! lease's end finds that its work counts for nothing. What answers challenges is written down in the lease: whoever takes it
//! from a replica that died takes that away as well.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::documents::{Change, Documents, PREFIX, Seen, Unavailable};

/// How long a lease lasts unless it is put off: as long does an order wait whose replica died.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often it is put off.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(10);

/// A lease that is held.
pub(crate) struct Lease {
    documents: Arc<dyn Documents>,
    seen: Seen,
    number: u64,
    /// Keys of what answers challenges.
    shown: Vec<String>,
    /// A moment, in seconds since 1970, and the same one by the clock that goes on.
    began: (u64, Instant),
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("seen", &self.seen)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Who holds it, when it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) until: u64,
}

/// A lease and its number: whoever held it at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) lease: String,
    pub(crate) number: u64,
}

impl Holder {
    /// The certificate that the lease is on.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.lease.strip_prefix(PREFIX)?.strip_prefix("lease/")
    }

    /// Whether it holds its lease at `now`.
    pub(crate) async fn is_at_work(
        &self,
        documents: &Arc<dyn Documents>,
        now: u64,
    ) -> Result<bool, Unavailable> {
        let found = documents.get(&self.lease).await?;
        let (number, until, _) = found.map_or((0, 0, Vec::new()), |found| read(&found.value));
        Ok(number == self.number && is_to_come(until, now))
    }
}

/// Whether an end is one to wait for at `now`.
fn is_to_come(until: u64, now: u64) -> bool {
    until > now && until <= now + 2 * LEASE.as_secs()
}

/// Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotWritten {
    #[error("the lease is another's")]
    Lost,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Lease {
    /// Takes the lease on a certificate until `now` + [`LEASE`].
    ///
    /// An end that no replica can have written in earnest – its clock was wrong – holds nobody up.
    pub(crate) async fn take(
        documents: &Arc<dyn Documents>,
        id: &str,
        now: u64,
    ) -> Result<Result<Self, Held>, Unavailable> {
        let key = format!("{PREFIX}lease/{id}");
        let found = documents.get(&key).await?;
        let (number, until, left) = found.as_ref().map_or((0, 0, Vec::new()), |found| read(&found.value));
        if is_to_come(until, now) {
            return Ok(Err(Held { until }));
        }
        let seen = Seen { key, revision: found.map_or(0, |found| found.revision) };
        let (documents, began) = (Arc::clone(documents), (now, Instant::now()));
        let mut lease = Self { documents, seen, number: number + 1, shown: Vec::new(), began };
        match lease.write(left.into_iter().map(Change::delete).collect()).await {
            Ok(()) => Ok(Ok(lease)),
            Err(NotWritten::Lost) => Ok(Err(Held { until: now + LEASE.as_secs() })),
            Err(NotWritten::Unavailable(error)) => Err(error),
        }
    }

    /// Who holds it, for what is written elsewhere about it.
    pub(crate) fn holder(&self) -> Holder {
        Holder { lease: self.seen.key.clone(), number: self.number }
    }

    /// Puts its end off.
    pub(crate) async fn renew(&mut self) -> Result<(), NotWritten> {
        self.write(Vec::new()).await
    }

    /// Shows something to an authority until the lease ends.
    pub(crate) async fn show(&mut self, key: String, text: String) -> Result<(), NotWritten> {
        self.shown.push(key.clone());
        self.write(vec![Change::put(key, text)]).await
    }

    /// Makes the changes that the work came to, takes away what was shown, and gives the lease back. The number stays.
    pub(crate) async fn end(mut self, mut changes: Vec<Change>) -> Result<(), NotWritten> {
        changes.extend(std::mem::take(&mut self.shown).into_iter().map(Change::delete));
        self.write_until(0, changes).await
    }

    async fn write(&mut self, changes: Vec<Change>) -> Result<(), NotWritten> {
        let (moment, began) = self.began;
        self.write_until(moment + began.elapsed().as_secs() + LEASE.as_secs(), changes).await
    }

    async fn write_until(&mut self, until: u64, mut changes: Vec<Change>) -> Result<(), NotWritten> {
        let document = json!({ "number": self.number, "until": until, "shown": self.shown });
        changes.push(Change::put(self.seen.key.clone(), document.to_string()));
        let written = self.documents.commit(Some(self.seen.clone()), changes).await?;
        self.seen.revision = written.ok_or(NotWritten::Lost)?;
        Ok(())
    }
}

/// The number, the end, and what is shown.
fn read(document: &[u8]) -> (u64, u64, Vec<String>) {
    let value: Value = serde_json::from_slice(document).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let shown = value.get("shown").and_then(Value::as_array).into_iter().flatten();
    (number("number"), number("until"), shown.filter_map(Value::as_str).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    fn documents() -> (tempfile::TempDir, Arc<dyn Documents>) {
        let home = tempfile::tempdir().expect("a folder");
        let documents = Arc::new(Folder::new(home.path().join("store")));
        (home, documents)
    }

    async fn take(documents: &Arc<dyn Documents>, now: u64) -> Result<Lease, Held> {
        Lease::take(documents, "c", now).await.expect("the store is there")
    }

    #[tokio::test(start_paused = true)]
    async fn one_holds_it_and_a_late_one_writes_nothing() {
        let (_home, documents) = documents();
        let first = take(&documents, 100).await.expect("it is free");
        let until = 100 + LEASE.as_secs();
        assert_eq!(take(&documents, 101).await.err(), Some(Held { until }));
        let second = take(&documents, until).await.expect("the first one's time is over");
        let late = first.end(vec![Change::put("acme/certificate/c", "late")]).await;
        assert_eq!(late, Err(NotWritten::Lost), "it slept too long");
        assert_eq!(documents.get("acme/certificate/c").await, Ok(None));
        assert_eq!(second.end(Vec::new()).await, Ok(()));
        assert!(take(&documents, 101).await.is_ok(), "given back before its end");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_at_work_keeps_it() {
        let (_home, documents) = documents();
        let mut first = take(&documents, 100).await.expect("it is free");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(first.renew().await, Ok(()));
        assert_eq!(take(&documents, 131).await.err(), Some(Held { until: 120 + LEASE.as_secs() }));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(first.show("acme/http-01/t".into(), "text".into()).await, Ok(()));
        assert_eq!(take(&documents, 155).await.err(), Some(Held { until: 140 + LEASE.as_secs() }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_dead_one_showed_goes_with_it() {
        let (_home, documents) = documents();
        let mut dead = take(&documents, 100).await.expect("it is free");
        assert_eq!(dead.show("acme/http-01/t".into(), "text".into()).await, Ok(()));
        assert!(documents.get("acme/http-01/t").await.is_ok_and(|found| found.is_some()));
        let next = take(&documents, 100 + LEASE.as_secs()).await.expect("its time is over");
        assert_eq!(documents.get("acme/http-01/t").await, Ok(None));
        assert_eq!(dead.show("acme/http-01/u".into(), "text".into()).await, Err(NotWritten::Lost));
        assert_eq!(documents.get("acme/http-01/u").await, Ok(None));
        assert_eq!(next.end(Vec::new()).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_wrong_keeps_nobody_out_for_ever() {
        let (_home, documents) = documents();
        let _wrong = take(&documents, 4_000_000_000).await.expect("it is free");
        assert!(take(&documents, 100).await.is_ok());
    }
}
