//! The change feed and its wake-up hints.

use crate::{Make, write};
use selvedge_store::Operation::{Delete, Put};
use selvedge_store::{Error, Operation, Revision, Store};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

fn changes(store: &dyn Store, after: u64, limit: usize) -> Vec<(u64, String, Operation)> {
    let page = store.changes(Revision::new(after), limit).expect("the feed reaches back");
    page.into_iter().map(|change| (change.revision.number(), change.key, change.operation)).collect()
}

pub(crate) fn one_entry_a_key_in_order(make: Make) {
    let fixture = make(10);
    fixture.write(&[("b", Some("1")), ("a", Some("1")), ("b", Some("2"))]).unwrap();
    fixture.write(&[("a", None), ("c", Some("1")), ("c", None)]).unwrap();
    let expected = [
        (1, "a".to_owned(), Put),
        (1, "b".to_owned(), Put),
        (2, "a".to_owned(), Delete),
        (2, "c".to_owned(), Delete),
    ];
    assert_eq!(changes(fixture.store(), 0, 99), expected);
    assert_eq!(changes(fixture.store(), 1, 99), expected[2..]);
    assert_eq!(changes(fixture.store(), 2, 99), []);
}

pub(crate) fn pages_end_with_whole_revisions(make: Make) {
    let fixture = make(10);
    fixture.write(&[("a", Some("")), ("b", Some("")), ("c", Some(""))]).unwrap();
    fixture.put("d", "");
    fixture.put("e", "");
    let sizes = |limit| changes(fixture.store(), 0, limit).len();
    assert_eq!([0, 1, 2, 3, 4, 5, 99].map(sizes), [3, 3, 3, 3, 4, 5, 5]);
}

pub(crate) fn old_revisions_are_compacted(make: Make) {
    let fixture = make(3);
    for number in 1..=5 {
        fixture.put("a", &number.to_string());
    }
    let after = |number| fixture.store().changes(Revision::new(number), 99).map(|page| page.len());
    let compacted = |number| Err(Error::Compacted { after: Revision::new(number), oldest: Revision::new(2) });
    assert_eq!([0, 1, 2, 3, 5].map(after), [compacted(0), compacted(1), Ok(3), Ok(2), Ok(0)]);
}

pub(crate) fn a_reader_from_the_future_is_told(make: Make) {
    let fixture = make(3);
    fixture.put("a", "");
    for after in [2, u64::MAX] {
        let after = Revision::new(after);
        let expected = Err(Error::Ahead { after, last: Revision::new(1) });
        assert_eq!(fixture.store().changes(after, 9), expected);
    }
}

pub(crate) fn subscribers_hear_of_commits_until_dropped(make: Make) {
    let fixture = make(10);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let subscription =
        fixture.store().subscribe(Box::new(move |revision| ear.lock().unwrap().push(revision.number())));
    fixture.put("a", "");
    fixture.write(&[("absent", None)]).unwrap();
    fixture.put("b", "");
    drop(subscription);
    fixture.put("c", "");
    assert_eq!(*heard.lock().unwrap(), [1, 2]);
}

pub(crate) fn concurrent_writers_leave_no_gap(make: Make) {
    const WRITERS: u64 = 6;
    const EACH: u64 = 20;
    let fixture = make(1000);
    let store = fixture.store();
    let is_over = AtomicBool::new(false);
    let last = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for turn in 0..EACH {
                        let (one, other) = (format!("{writer}/one"), format!("{writer}/other"));
                        let value = turn.to_string();
                        write(store, &[(&one, Some(&value)), (&other, Some(&value))]).unwrap();
                    }
                })
            })
            .collect();
        // Follows the feed while it grows: each revision is the next one, with both of its keys.
        scope.spawn(|| {
            loop {
                let was_over = is_over.load(Ordering::SeqCst);
                let page = changes(store, last.load(Ordering::SeqCst), 7);
                for pair in page.chunks(2) {
                    let [(first, _, _), (second, _, _)] = pair else {
                        panic!("half a transaction: {pair:?}")
                    };
                    assert_eq!((*first, *second), (last.load(Ordering::SeqCst) + 1, *first));
                    last.store(*first, Ordering::SeqCst);
                }
                if was_over && page.is_empty() {
                    break;
                }
                thread::yield_now();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(last.into_inner(), WRITERS * EACH);
}
