//! What the in-memory backend does on demand: every error a store can give.

use bytes::Bytes;
use selvedge_store::memory::{Fault, Memory, Point};
use selvedge_store::{Abort, Committed, Error, Revision, Store, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A store that fails once, at the next passage of `at`.
fn failing(at: Point, fault: Fault) -> Memory {
    let memory = Memory::new();
    let mut fault = Some(fault);
    memory.fail_with(Some(Box::new(move |point| if point == at { fault.take() } else { None })));
    memory
}

fn put(tx: &mut dyn Transaction) -> Result<(), Abort> {
    tx.put("a", Bytes::from_static(b"1")).map_err(Abort::from)
}

fn is_stored(memory: &Memory) -> bool {
    memory.snapshot().expect("the fault is over").get("a").expect("so is this one").is_some()
}

#[test]
fn faults_of_a_transaction_do_what_they_say() {
    // fault, is the error "uncertain", is the write there, must the store be recovered first
    let rows = [
        (Fault::Unavailable, false, false, false),
        (Fault::Corrupt, false, false, false),
        (Fault::Full, false, false, false),
        (Fault::TimeoutDone, true, true, false),
        (Fault::TimeoutUndone, true, false, false),
        (Fault::CrashBeforeCommit, true, false, true),
        (Fault::CrashAfterCommit, true, true, true),
    ];
    for (fault, is_uncertain, is_done, has_crashed) in rows {
        let memory = failing(Point::Transact, fault);
        let error = memory.transact(&mut put).expect_err("the fault strikes");
        assert_eq!(matches!(error, Error::Uncertain(_)), is_uncertain, "{fault:?}");
        assert_eq!(memory.snapshot().is_err(), has_crashed, "{fault:?}");
        memory.recover();
        assert_eq!(is_stored(&memory), is_done, "{fault:?}");
        let revision = Revision::new(1 + u64::from(is_done));
        assert_eq!(memory.transact(&mut put), Ok(Committed { revision }), "{fault:?} strikes once");
    }
}

#[test]
fn a_retried_transaction_counts_once() {
    let memory = failing(Point::Transact, Fault::Retry);
    let mut runs = 0;
    let committed = memory.transact(&mut |tx| {
        runs += 1;
        put(tx)
    });
    assert_eq!((committed, runs), (Ok(Committed { revision: Revision::new(1) }), 2));
    assert_eq!(memory.changes(Revision::ZERO, 9).unwrap().len(), 1);
}

#[test]
fn reads_fail_too() {
    let memory = failing(Point::Snapshot, Fault::Corrupt);
    assert!(matches!(memory.snapshot().err(), Some(Error::Corrupt(_))));
    assert!(memory.snapshot().is_ok());
    let memory = failing(Point::Changes, Fault::Unavailable);
    assert!(matches!(memory.changes(Revision::ZERO, 1), Err(Error::Unavailable(_))));
}

#[test]
fn a_lost_wake_up_loses_no_change() {
    let memory = failing(Point::Wake, Fault::LoseWake);
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    let _subscription = memory.subscribe(Box::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    memory.transact(&mut put).unwrap();
    assert_eq!(wakes.load(Ordering::SeqCst), 0);
    assert_eq!(memory.changes(Revision::ZERO, 9).unwrap().len(), 1);
    memory.transact(&mut put).unwrap();
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
}

#[test]
fn a_crash_keeps_what_was_committed() {
    let memory = Memory::new();
    memory.transact(&mut put).unwrap();
    memory.crash();
    assert!(matches!(memory.transact(&mut put), Err(Error::Unavailable(_))));
    assert!(matches!(memory.changes(Revision::ZERO, 1), Err(Error::Unavailable(_))));
    memory.recover();
    assert!(is_stored(&memory));
}
