//! How often one client may ask: a table for each limit of the configuration, shared by all workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use selvedge_guard::client::{By, Key, Sender};
use selvedge_guard::rate::{CLIENTS_DEFAULT, Rate, Table, Verdict};
use selvedge_site::directive::edge::{CLIENT_RATES_MAX, ClientKey, ClientRate};

/// Tables at a time: a configuration cannot have more, and those of one before it make room.
const TABLES_MAX: usize = CLIENT_RATES_MAX as usize;

/// All limits with the clients that they count.
#[derive(Debug)]
pub(crate) struct Rates {
    /// By the limit's number and rate. Locked for a look-up and a number.
    tables: Mutex<HashMap<(u32, Rate), Counted>>,
    began: Instant,
    seed: u64,
}

#[derive(Debug)]
struct Counted {
    table: Table,
    asked_at: Instant,
}

impl Rates {
    /// `seed` is the process's secret.
    pub(crate) fn new(seed: u64) -> Self {
        Self { tables: Mutex::default(), began: Instant::now(), seed }
    }

    /// Counts a request. Which other rules hold for it is of no consequence: a client could choose that.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn admit(
        &self,
        limit: &ClientRate,
        sender: &Sender<'_>,
        now: Instant,
    ) -> Result<(), Duration> {
        let Ok(rate) = Rate::new(limit.requests, Duration::from_millis(limit.per_ms), limit.burst.max(1))
        else {
            return Ok(());
        };
        let key = self.key(&limit.key, sender);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES_MAX
            && !tables.contains_key(&(limit.id, rate))
            && let Some(eldest) = tables.iter().min_by_key(|(_, one)| one.asked_at).map(|(id, _)| *id)
        {
            tables.remove(&eldest);
        }
        let counted = tables
            .entry((limit.id, rate))
            .or_insert_with(|| Counted { table: Table::new(rate, CLIENTS_DEFAULT), asked_at: now });
        counted.asked_at = now;
        match counted.table.ask(key, now.saturating_duration_since(self.began)) {
            Verdict::Pass => Ok(()),
            Verdict::Refuse(wait) => Err(wait),
        }
    }

    fn key(&self, by: &ClientKey, sender: &Sender<'_>) -> Key {
        match by {
            ClientKey::Ip => By::Network.key(sender, self.seed),
            ClientKey::Identity => By::Identity.key(sender, self.seed),
            ClientKey::Header(name) => By::Header(name.to_string()).key(sender, self.seed),
        }
    }
}

/// A client that is only known by its address.
pub(crate) fn sender<'a>(address: IpAddr, header: Option<&'a [u8]>, identity: Option<&'a str>) -> Sender<'a> {
    Sender { address: address.to_canonical(), header, identity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_rate() {
        let rates = Rates::new(7);
        let limit = ClientRate { id: 1, requests: 10, per_ms: 1000, burst: 3, key: ClientKey::Ip };
        let begin = rates.began;
        let ask = |address: &str| {
            rates
                .admit(&limit, &sender(address.parse().unwrap(), None, None), begin)
                .map_err(|wait| wait.as_millis())
        };
        assert_eq!([ask("10.0.0.1"), ask("10.0.0.1"), ask("10.0.0.1")], [Ok(()), Ok(()), Ok(())]);
        assert!(ask("10.0.0.1").is_err());
        assert_eq!(ask("10.0.0.2"), Ok(()), "another client");
        for _ in 0..3 {
            assert_eq!(ask("2001:db8::1"), Ok(()));
        }
        assert!(ask("2001:db8::ffff").is_err(), "the same network");
    }
    #[test]
    fn limits_that_are_gone_make_room_and_those_that_hold_go_on() {
        let rates = Rates::new(7);
        let limit = |id| ClientRate { id, requests: 1, per_ms: 3_600_000, burst: 1, key: ClientKey::Ip };
        let one = sender("10.0.0.1".parse().unwrap(), None, None);
        let at = |seconds| rates.began + Duration::from_secs(seconds);
        assert_eq!(rates.admit(&limit(1), &one, at(0)), Ok(()));
        for id in 2..=3 * CLIENT_RATES_MAX {
            let now = at(u64::from(id));
            assert_eq!(rates.admit(&limit(id), &one, now), Ok(()), "{id}");
            assert!(
                rates.admit(&limit(id), &one, now).is_err(),
                "{id}: there is no limit that is not counted"
            );
            assert!(rates.admit(&limit(1), &one, now).is_err(), "{id}: one that is in use is not forgotten");
        }
    }
}
