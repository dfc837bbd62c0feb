//! Atomicity, isolation and refusal.

use crate::{Make, text};
use bytes::Bytes;
use selvedge_store::{Abort, Error, LimitExceeded, WriteError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

pub(crate) fn a_transaction_reads_its_own_writes(make: Make) {
    let fixture = make(10);
    fixture.write(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]).unwrap();
    let mut seen = Vec::new();
    let written = fixture.store().write(|tx| {
        tx.put("b", Bytes::from_static(b"2"))?;
        tx.put("d", Bytes::from_static(b"2"))?;
        assert!(tx.delete("a")?);
        assert!(!tx.delete("a")?, "a second delete finds nothing");
        assert_eq!(tx.get("a")?, None);
        let b = tx.get("b")?.expect("just written");
        assert_eq!((b.created.number(), b.modified), (1, tx.revision()));
        seen = tx.scan("", None, 2)?.into_iter().map(|document| document.key).collect();
        Ok::<_, WriteError<()>>("done")
    });
    assert_eq!(seen, ["b", "c"]);
    let (value, revision) = written.unwrap();
    assert_eq!((value, revision.number()), ("done", 2));
}

pub(crate) fn a_refused_transaction_leaves_nothing(make: Make) {
    let fixture = make(10);
    fixture.put("a", "1");
    let refused = fixture.store().write::<(), _>(|tx| {
        tx.put("a", Bytes::from_static(b"2"))?;
        tx.put("b", Bytes::from_static(b"2"))?;
        Err(WriteError::Refused("no"))
    });
    assert!(matches!(refused, Err(WriteError::Refused("no"))));
    assert_eq!((fixture.value("a").as_deref(), fixture.value("b")), (Some("1"), None));
    assert_eq!(fixture.put("c", "").number(), 2, "a refusal takes no revision");
    assert_eq!(fixture.store().transact(&mut |_| Err(Abort::Refused)), Err(Error::Refused));
}

pub(crate) fn a_transaction_that_writes_nothing_takes_no_revision(make: Make) {
    let fixture = make(10);
    fixture.put("a", "1");
    assert_eq!(fixture.write(&[("absent", None)]).unwrap().number(), 1);
    assert_eq!(fixture.put("a", "1").number(), 2, "writing the same value again is a write");
}

pub(crate) fn an_error_ignored_by_the_closure_still_rolls_back(make: Make) {
    let fixture = make(10);
    let outcome = fixture.store().transact(&mut |tx| {
        tx.put("a", Bytes::new())?;
        assert!(tx.put("", Bytes::new()).is_err());
        Ok(())
    });
    assert_eq!(outcome, Err(Error::Limit(LimitExceeded::KeyEmpty)));
    assert_eq!(fixture.value("a"), None);
}

pub(crate) fn a_panic_leaves_the_store_usable(make: Make) {
    let fixture = make(10);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        fixture.store().transact(&mut |tx| {
            tx.put("a", Bytes::new())?;
            panic!("the closure's own fault");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(fixture.value("a"), None);
    assert_eq!(fixture.put("b", "1").number(), 1);
}

pub(crate) fn concurrent_increments_are_all_counted(make: Make) {
    const THREADS: u64 = 8;
    const EACH: u64 = 25;
    let fixture = make(1000);
    let store = fixture.store();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    store
                        .write(|tx| {
                            let old = tx.get("counter")?;
                            let old: u64 =
                                old.map_or(0, |document| text(&document.value).parse().expect("a number"));
                            tx.put("counter", Bytes::from((old + 1).to_string()))?;
                            Ok::<_, WriteError<()>>(())
                        })
                        .expect("nothing fails here");
                }
            });
        }
    });
    assert_eq!(fixture.value("counter"), Some((THREADS * EACH).to_string()));
    assert_eq!(store.revision().unwrap().number(), THREADS * EACH);
}
