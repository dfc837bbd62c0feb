//! Several workers over one store: shards are claimed, renewed, given back and lost.
//!
//! Whose clock it is does not matter for what is written: that is the leases' epochs alone. With [`Drive::Steps`](super::Drive) their
//! owner calls these; an engine that has threads of its own and shares its store is the business of a backend that has a change feed
//! for it.

use selvedge_store::Error as StoreError;

use super::{Engine, Shard};

impl Engine {
    /// Claims those of `shards` that are free, or whose holder's term is over, and goes on with their executions; gives back what it
    /// claimed. One that it holds already is claimed anew.
    ///
    /// # Errors
    /// When the store fails: what was claimed before that is held, and its executions are taken up by the next call.
    pub fn claim(&self, shards: impl IntoIterator<Item = Shard>) -> Result<Vec<Shard>, StoreError> {
        let mut claimed = Vec::new();
        for shard in shards {
            if self.lease.claim(shard, self.now_ms())? {
                claimed.push(shard);
            }
        }
        self.recover()?;
        Ok(claimed)
    }

    /// Keeps its shards for another term; gives back those that it has lost, which have stopped.
    ///
    /// # Errors
    /// When the store fails: what it has is as before, and to be renewed before its term is over.
    pub fn renew(&self) -> Result<Vec<Shard>, StoreError> {
        let lost = self.lease.renew(self.now_ms())?;
        self.forget_others();
        Ok(lost)
    }

    /// Stops a shard and gives it back, for another worker to claim at once.
    ///
    /// # Errors
    /// When the store fails: it has stopped, and others may claim it when its term is over.
    pub fn release(&self, shard: Shard) -> Result<(), StoreError> {
        let released = self.lease.release(shard);
        self.forget_others();
        released
    }

    /// The shards whose executions are its own.
    pub fn shards(&self) -> Vec<Shard> {
        self.lease.held()
    }

    /// Forgets executions that are others', whatever is in memory of them.
    fn forget_others(&self) {
        self.live.retain(|key| self.lease.holds_key(key));
    }
}
