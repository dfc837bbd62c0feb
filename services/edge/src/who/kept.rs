//! Something that was fetched from outside, for as long as it may be believed.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

/// How long what was fetched is good.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(300);
/// How long nobody asks again after a failure.
const FAILED_FOR: Duration = Duration::from_secs(3);
/// How often it is fetched ahead of time, because it lacks what was looked for.
const AHEAD_EVERY: Duration = Duration::from_secs(10);

/// A value that one fetches for all, and that is never used beyond its time.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    last: ArcSwapOption<Last<T>>,
    /// Held by whoever fetches.
    fetching: Mutex<()>,
}

#[derive(Debug)]
struct Last<T> {
    /// None: the attempt failed.
    value: Option<Arc<T>>,
    at: Instant,
    until: Instant,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { last: ArcSwapOption::empty(), fetching: Mutex::default() }
    }
}

impl<T> Kept<T> {
    /// The value, fetched if there is none that is good; `None` if it cannot be had.
    pub(crate) async fn get(&self, fetch: impl Future<Output = Option<T>>) -> Option<Arc<T>> {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.fetching.lock().await;
        match self.known() {
            Some(known) => known,
            None => self.keep(fetch.await),
        }
    }

    /// Fetches again, unless that was done a moment ago.
    pub(crate) async fn again(&self, fetch: impl Future<Output = Option<T>>) -> Option<Arc<T>> {
        let _turn = self.fetching.lock().await;
        let recent = self.last.load().as_ref().is_some_and(|last| last.at.elapsed() < AHEAD_EVERY);
        if recent { self.known().flatten() } else { self.keep(fetch.await) }
    }

    fn known(&self) -> Option<Option<Arc<T>>> {
        let last = self.last.load();
        let last = last.as_ref()?;
        (Instant::now() < last.until).then(|| last.value.clone())
    }

    fn keep(&self, value: Option<T>) -> Option<Arc<T>> {
        let now = Instant::now();
        let value = value.map(Arc::new);
        let good_for = if value.is_some() { GOOD_FOR } else { FAILED_FOR };
        self.last.store(Some(Arc::new(Last { value: value.clone(), at: now, until: now + good_for })));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_fetches_for_all_and_a_failure_is_no_value() {
        let kept = Kept::default();
        let asked = AtomicU32::new(0);
        let fetch = || async {
            tokio::task::yield_now().await;
            Some(asked.fetch_add(1, Ordering::Relaxed))
        };
        let (one, two) = tokio::join!(kept.get(fetch()), kept.get(fetch()));
        assert_eq!((one.as_deref(), two.as_deref()), (Some(&0), Some(&0)));
        assert_eq!(kept.again(fetch()).await.as_deref(), Some(&0), "it was fetched a moment ago");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let failing = Kept::<u32>::default();
        assert_eq!(failing.get(async { None }).await, None);
        assert_eq!(failing.get(async { Some(1) }).await, None, "nobody asks again at once");
    }
}
