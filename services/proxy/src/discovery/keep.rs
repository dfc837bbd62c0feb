//! Keeping what is in force for the next process, beside everything else: writing out thousands of resources and waiting for
//! a disk would hold up health checks, ejections and discovery.

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_xds::Encoded;
use tokio::task::JoinHandle;

use super::Kept;
use crate::persist::{Error, Store};

/// Changes are written to disk together, so long after the first of them.
const DELAY: Duration = Duration::from_secs(1);
/// What takes long is written seldom: for no more than one part in so many of the time.
const SHARE: u32 = 100;
/// However long it takes, what is kept is no older.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// Keeps the configuration of one proxy, if it has a place for it.
pub(super) struct Keeper {
    store: Option<Arc<Store>>,
    due: Option<Instant>,
    /// Ends with how long it took.
    under_way: Option<JoinHandle<Duration>>,
    /// How long the last time took.
    spent: Duration,
}

impl Keeper {
    pub(super) fn new(store: Option<Store>) -> Self {
        Self { store: store.map(Arc::new), due: None, under_way: None, spent: Duration::ZERO }
    }

    /// What was kept by an earlier process.
    pub(super) fn load(&self) -> Result<Option<Vec<Encoded>>, Error> {
        self.store.as_ref().map_or(Ok(None), |store| store.load())
    }

    /// Something has changed.
    pub(super) fn note_change(&mut self, now: Instant) {
        if self.store.is_some() && self.due.is_none() {
            self.due = Some(now + delay(self.spent));
        }
    }

    /// When [`Keeper::keep`] is to be called; `None` while nothing has changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Begins to write, unless that is still under way; then it is due again a little later.
    pub(super) async fn keep(&mut self, now: Instant, kept: impl FnOnce() -> Vec<(Kept, String)>) {
        self.due = None;
        match &mut self.under_way {
            Some(under_way) if !under_way.is_finished() => self.due = Some(now + DELAY),
            _ => {
                self.settle().await;
                self.begin(kept());
            }
        }
    }

    /// Writes, and waits until it is written: the process is about to end.
    pub(super) async fn finish(&mut self, kept: Vec<(Kept, String)>) {
        self.due = None;
        self.settle().await;
        self.begin(kept);
        self.settle().await;
    }

    fn begin(&mut self, kept: Vec<(Kept, String)>) {
        let Some(store) = self.store.clone() else { return };
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let encoded =
                kept.iter().map(|(kept, version)| selvedge_xds::encode_received(kept.as_ref(), version));
            if let Err(error) = store.save(encoded) {
                tracing::warn!(%error, "failed to keep the last good configuration");
            }
            began.elapsed()
        }));
    }

    async fn settle(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            // One that has panicked has told so, and is as good as one that failed.
            self.spent = under_way.await.unwrap_or_default();
        }
    }
}

/// How long changes are gathered, where writing the last ones took `spent`.
fn delay(spent: Duration) -> Duration {
    (spent * SHARE).clamp(DELAY, DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_written_seldom_but_not_never() {
        for (spent, expected) in [(0, 1_000), (10, 1_000), (30, 3_000), (500, 50_000), (5_000, 60_000)] {
            assert_eq!(delay(Duration::from_millis(spent)), Duration::from_millis(expected), "{spent} ms");
        }
    }

    #[tokio::test]
    async fn changes_are_gathered_and_the_last_ones_are_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(Some(Store::open(folder.path(), "me").unwrap()));
        let now = Instant::now();
        assert_eq!(keeper.due(), None);
        keeper.note_change(now);
        keeper.note_change(now + DELAY / 2);
        assert_eq!(keeper.due(), Some(now + DELAY), "the first change counts");
        let cluster = |name: &str| {
            let config = selvedge_traffic::Cluster::new(name, selvedge_traffic::Discovery::OriginalDst);
            (Kept::Cluster(Arc::new(config)), format!("version of {name}"))
        };
        keeper.keep(now + DELAY, || vec![cluster("first")]).await;
        assert_eq!(keeper.due(), None);
        keeper.finish(vec![cluster("first"), cluster("second")]).await;
        let kept = keeper.load().unwrap().expect("something is kept");
        let kept: Vec<_> = kept.iter().map(|encoded| (&*encoded.name, &*encoded.version)).collect();
        assert_eq!(kept, [("first", "version of first"), ("second", "version of second")]);
    }

    #[tokio::test]
    async fn who_has_no_place_keeps_nothing() {
        let mut keeper = Keeper::new(None);
        keeper.note_change(Instant::now());
        assert_eq!(keeper.due(), None);
        keeper.finish(Vec::new()).await;
        assert!(keeper.load().unwrap().is_none());
    }
}
