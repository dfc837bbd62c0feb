//! What happens next.

use crate::moment::Moment;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events in the order of their time; those of one moment in the order in which they were scheduled.
#[derive(Debug)]
pub struct Schedule<E> {
    queue: BinaryHeap<Entry<E>>,
    scheduled: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Moment,
    sequence: u64,
    event: E,
}

// === impl Schedule ===

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { queue: BinaryHeap::new(), scheduled: 0 }
    }
}

impl<E> Schedule<E> {
    /// Has `event` happen at `at`.
    pub fn push(&mut self, at: Moment, event: E) {
        self.queue.push(Entry { at, sequence: self.scheduled, event });
        self.scheduled += 1;
    }

    /// Takes the next event if it happens at `until` or before.
    pub fn pop(&mut self, until: Moment) -> Option<(Moment, E)> {
        if self.queue.peek()?.at > until {
            return None;
        }
        self.queue.pop().map(|entry| (entry.at, entry.event))
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<Moment> {
        self.queue.peek().map(|entry| entry.at)
    }
}

// === impl Entry ===

impl<E> Ord for Entry<E> {
    /// Reversed: the heap's greatest is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_comes_first_then_order_of_scheduling() {
        let mut schedule = Schedule::default();
        let at = |millis| Moment::START + Duration::from_millis(millis);
        for (millis, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b"), (9, "later")] {
            schedule.push(at(millis), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop(at(5))).map(|(_, name)| name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(schedule.next_at(), Some(at(9)));
    }
}
