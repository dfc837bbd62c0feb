//! Groups of statistics in one copy per thread, so that no two workers ever write to the same cache line.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::OnceLock;

use crate::noted::Note;

thread_local! {
    /// 0 is every thread that is not a worker; worker n is n + 1.
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Names the calling thread as worker `index` (from 0), once, before it touches any statistic.
pub fn enter_worker(index: usize) {
    SHARD.with(|shard| shard.set(index + 1));
}

/// The calling thread's worker index, if it is a worker.
pub fn worker() -> Option<usize> {
    SHARD.with(Cell::get).checked_sub(1)
}

pub(crate) fn current_shard() -> usize {
    SHARD.with(Cell::get)
}

/// A group in as many copies as there are threads; dereferencing gives the calling thread's own.
///
/// A copy is made at its first use: a cluster that no worker has ever called costs a few words.
#[derive(Debug)]
pub struct Sharded<T> {
    shards: Box<[OnceLock<Box<T>>]>,
    noting: Noting,
}

/// When a group becomes one that a scrape looks at.
#[derive(Debug)]
enum Noting {
    /// It always is.
    Never,
    AtFirstUse(Note),
    WhenTold(Note),
}

impl<T: Default> Sharded<T> {
    /// `workers` copies, and one for all other threads.
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..=workers).map(|_| OnceLock::new()).collect(), noting: Noting::Never }
    }

    /// A group that is noted with its first use by any thread.
    pub(crate) fn noted_at_first_use(workers: usize, note: Note) -> Self {
        Self { noting: Noting::AtFirstUse(note), ..Self::new(workers) }
    }

    /// A group that is in use all the time, and noted by [`Sharded::tell`].
    pub(crate) fn noted_when_told(workers: usize, note: Note) -> Self {
        Self { noting: Noting::WhenTold(note), ..Self::new(workers) }
    }

    /// From now on a scrape looks at this group, if it is one of a cluster.
    pub fn tell(&self) {
        if let Noting::AtFirstUse(note) | Noting::WhenTold(note) = &self.noting {
            note.take();
        }
    }

    /// The workers' copies, `None` for those that have not used theirs.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (usize, Option<&T>)> {
        self.shards.iter().skip(1).map(|shard| shard.get().map(Box::as_ref)).enumerate()
    }

    /// The copies that exist.
    pub fn shards(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().filter_map(|shard| shard.get().map(Box::as_ref))
    }
}

impl<T: Default> Deref for Sharded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // A thread beyond the announced workers shares the first copy: correct, only slower.
        let shard = self.shards.get(current_shard()).unwrap_or(&self.shards[0]);
        shard.get_or_init(|| {
            if let Noting::AtFirstUse(note) = &self.noting {
                note.take();
            }
            Box::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counter;

    #[test]
    fn each_thread_counts_in_its_own_copy_and_the_sum_is_whole() {
        let stats: Sharded<Counter> = Sharded::new(2);
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let stats = &stats;
                scope.spawn(move || {
                    enter_worker(worker);
                    (0..1000).for_each(|_| stats.inc());
                });
            }
        });
        stats.inc();
        let values: Vec<u64> = stats.shards().map(Counter::value).collect();
        assert_eq!(values, [1, 1000, 1000]);
    }

    #[test]
    fn an_unused_group_has_no_copies() {
        let stats: Sharded<Counter> = Sharded::new(8);
        assert_eq!(stats.shards().count(), 0);
    }
}
