//! The connections of one worker, each to be woken when something changes for all of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

/// All places of a worker. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Parking(Rc<RefCell<Slab<Option<Waker>>>>);

/// A connection's place among those that [`Parking::wake_all`] wakes; given up when dropped.
#[derive(Debug)]
pub struct Place {
    key: usize,
    parking: Parking,
}

impl Parking {
    /// Takes a place.
    pub fn place(&self) -> Place {
        Place { key: self.0.borrow_mut().insert(None), parking: self.clone() }
    }

    /// Wakes everybody who has asked for it since they were last woken.
    pub fn wake_all(&self) {
        // Whoever is woken may park again at once: the list is not held meanwhile.
        let wakers: Vec<Waker> =
            self.0.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Place {
    /// Asks to be woken. Cheap when asked again by the same task.
    pub fn park(&self, cx: &Context<'_>) {
        if let Some(slot) = self.parking.0.borrow_mut().get_mut(self.key) {
            match slot {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => *slot = Some(cx.waker().clone()),
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.parking.0.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_parked_is_woken_once_and_whoever_left_never() {
        let parking = Parking::default();
        let (stays, leaves) = (parking.place(), parking.place());
        let counts = [Arc::<Count>::default(), Arc::default()];
        for (place, count) in [&stays, &leaves].into_iter().zip(&counts) {
            let waker = Waker::from(Arc::clone(count));
            place.park(&Context::from_waker(&waker));
            place.park(&Context::from_waker(&waker));
        }
        assert_eq!(parking.len(), 2);
        drop(leaves);
        parking.wake_all();
        parking.wake_all();
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [1, 0]);
        drop(stays);
        assert!(parking.is_empty());
    }
}
