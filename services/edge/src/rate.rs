//! How often one client may ask: a table for each rate, shared by all workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use selvedge_guard::client::{By, Key, Sender};
use selvedge_guard::rate::{CLIENTS_DEFAULT, Rate, Table, Verdict};
use selvedge_site::directive::edge::{ClientKey, ClientRate};

/// Different rates of one process; requests under further ones are not counted, and the log says so.
pub(crate) const RATES_MAX: usize = 64;

/// All rates with the clients that they count.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Locked for a look-up and a number.
    tables: Mutex<HashMap<(u32, Rate), Table>>,
    began: Instant,
    seed: u64,
}

impl Rates {
    /// `seed` is the process's secret.
    pub(crate) fn new(seed: u64) -> Self {
        Self { tables: Mutex::default(), began: Instant::now(), seed }
    }

    /// Counts a request. `rule` tells one place of the configuration from another.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn admit(
        &self,
        rule: u32,
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
        if tables.len() >= RATES_MAX && !tables.contains_key(&(rule, rate)) {
            tracing::warn!("more different rates than can be counted");
            return Ok(());
        }
        let table = tables.entry((rule, rate)).or_insert_with(|| Table::new(rate, CLIENTS_DEFAULT));
        match table.ask(key, now.saturating_duration_since(self.began)) {
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
        let limit = ClientRate { requests: 10, per_ms: 1000, burst: 3, key: ClientKey::Ip };
        let begin = rates.began;
        let ask = |address: &str| {
            rates
                .admit(1, &limit, &sender(address.parse().unwrap(), None, None), begin)
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
}
