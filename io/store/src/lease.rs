//! Leases: who may do something, and by which epoch.
//!
//! A lease is a document. Claiming it counts its epoch up, and whoever writes under it looks at the epoch in the same transaction
//! ([`Lease::check`]): a holder that was paused, and comes back after another has claimed its lease, writes nothing. That needs no
//! clock. Time decides only when another may claim a lease that nobody gave back, so clocks that are apart cost patience and no
//! safety. It is an argument, in milliseconds since 1970.
//!
//! ```text
//! lease/NAME   EPOCH UNTIL HOLDER        3 1700000000000 worker-b
//! ```

use crate::{Error, Read, Transaction};

/// A lease that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for: any text that may be in a key.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// The how manieth claim it is, from 1 on.
    pub epoch: u64,
    /// From then on another may claim it.
    pub until_ms: i64,
}

/// Why somebody has not, or no longer, a lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another has it for the time being.
    #[error("{} holds the lease {} until {}", .0.holder, .0.name, .0.until_ms)]
    Held(Lease),
    /// Another has claimed it since, or it was given back.
    #[error("the lease {name} of epoch {epoch} is lost: it is at epoch {found}")]
    Lost {
        /// What it is for.
        name: String,
        /// The epoch of the one who asked.
        epoch: u64,
        /// The one that counts.
        found: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Lease {
    /// Claims a lease until `until_ms`, if it is free at `now_ms` or `holder` has it already; its epoch is a new one either way.
    ///
    /// # Errors
    /// [`LeaseError::Held`] where another has it, and the store's own.
    pub fn claim(
        tx: &mut dyn Transaction,
        name: &str,
        holder: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Self, LeaseError> {
        let found = Self::read(&*tx, name)?;
        let epoch = match found {
            Some(found) if found.until_ms > now_ms && found.holder != holder => {
                return Err(LeaseError::Held(found));
            }
            Some(found) => found.epoch + 1,
            None => 1,
        };
        let lease = Self { name: name.to_owned(), holder: holder.to_owned(), epoch, until_ms };
        lease.write(tx)?;
        Ok(lease)
    }

    /// Keeps it for longer, in the same epoch.
    ///
    /// # Errors
    /// Those of [`Lease::check`].
    pub fn renew(&mut self, tx: &mut dyn Transaction, until_ms: i64) -> Result<(), LeaseError> {
        self.check(&*tx)?;
        Self { until_ms, ..self.clone() }.write(tx)?;
        self.until_ms = until_ms;
        Ok(())
    }

    /// Whether what is written in this transaction may be written under the lease.
    ///
    /// # Errors
    /// [`LeaseError::Lost`], and the store's own.
    pub fn check(&self, view: &(impl Read + ?Sized)) -> Result<(), LeaseError> {
        match epoch_of(view, &self.name)? {
            found if found == self.epoch => Ok(()),
            found => Err(LeaseError::Lost { name: self.name.clone(), epoch: self.epoch, found }),
        }
    }

    /// Gives it back: others may claim it at once, and its epoch ends.
    ///
    /// # Errors
    /// Those of [`Lease::check`].
    pub fn release(self, tx: &mut dyn Transaction) -> Result<(), LeaseError> {
        self.check(&*tx)?;
        Self { epoch: self.epoch + 1, until_ms: i64::MIN, ..self }.write(tx)?;
        Ok(())
    }

    /// A lease as it stands; none where nobody has ever claimed it.
    ///
    /// # Errors
    /// The store's own.
    pub fn read(view: &(impl Read + ?Sized), name: &str) -> Result<Option<Self>, Error> {
        let Some(found) = view.get(&key(name))? else { return Ok(None) };
        let parsed = std::str::from_utf8(&found.value).ok().and_then(|text| {
            let mut words = text.splitn(3, ' ');
            let (epoch, until_ms) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Self { name: name.to_owned(), holder: words.next()?.to_owned(), epoch, until_ms })
        });
        parsed.map(Some).ok_or_else(|| Error::Corrupt(format!("the lease {name} is in no known form")))
    }

    fn write(&self, tx: &mut dyn Transaction) -> Result<(), Error> {
        tx.put(&key(&self.name), format!("{} {} {}", self.epoch, self.until_ms, self.holder).into())
    }
}

fn epoch_of(view: &(impl Read + ?Sized), name: &str) -> Result<u64, Error> {
    Ok(Lease::read(view, name)?.map_or(0, |lease| lease.epoch))
}

fn key(name: &str) -> String {
    format!("lease/{name}")
}
