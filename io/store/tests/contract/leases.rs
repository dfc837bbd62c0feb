//! Leases: one holder at a time, and none whose epoch is over.

use crate::{Fixture, Make};
use selvedge_store::{Lease, LeaseError, WriteError};

fn claim(fixture: &Fixture, holder: &str, now_ms: i64, until_ms: i64) -> Result<Lease, LeaseError> {
    let written = fixture.store().write(|tx| {
        Lease::claim(tx, "shard/7", holder, now_ms, until_ms).map_err(|error| match error {
            LeaseError::Store(error) => WriteError::Store(error),
            other => WriteError::Refused(other),
        })
    });
    match written {
        Ok((lease, _)) => Ok(lease),
        Err(WriteError::Refused(error)) => Err(error),
        Err(WriteError::Store(error)) => Err(error.into()),
    }
}

pub(crate) fn a_lease_has_one_holder_until_its_time_is_over(make: Make) {
    let fixture = make(10);
    let first = claim(&fixture, "a b", 1000, 2000).unwrap();
    assert_eq!((first.epoch, first.until_ms), (1, 2000));
    assert_eq!(claim(&fixture, "c", 1999, 3000), Err(LeaseError::Held(first.clone())));
    let second = claim(&fixture, "c", 2000, 3000).unwrap();
    assert_eq!(second.epoch, 2);
    let view = fixture.store().snapshot().unwrap();
    let lost = LeaseError::Lost { name: "shard/7".into(), epoch: 1, found: 2 };
    assert_eq!(first.check(&*view), Err(lost));
    assert_eq!(second.check(&*view), Ok(()));
    assert_eq!(Lease::read(&*view, "shard/7"), Ok(Some(second)));
    assert_eq!(Lease::read(&*view, "shard/8"), Ok(None));
}

pub(crate) fn a_lease_is_renewed_in_its_epoch_and_given_back(make: Make) {
    let fixture = make(10);
    let mut lease = claim(&fixture, "a", 0, 1000).unwrap();
    fixture.store().write(|tx| lease.renew(tx, 5000).map_err(WriteError::Refused)).unwrap();
    assert!(matches!(claim(&fixture, "b", 4999, 9000), Err(LeaseError::Held(held)) if held.until_ms == 5000));
    // Whoever has it may claim it anew: what ran under the old epoch writes nothing from then on.
    let again = claim(&fixture, "a", 1, 6000).unwrap();
    let renewed = fixture.store().write(|tx| lease.renew(tx, 7000).map_err(WriteError::Refused));
    assert!(matches!(renewed, Err(WriteError::Refused(LeaseError::Lost { epoch: 1, found: 2, .. }))));
    fixture.store().write(|tx| again.clone().release(tx).map_err(WriteError::Refused)).unwrap();
    assert!(again.check(&*fixture.store().snapshot().unwrap()).is_err(), "what is given back is over");
    assert_eq!(claim(&fixture, "b", 1, 2).unwrap().epoch, 4);
}
