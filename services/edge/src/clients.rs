//! Who is connected: how many connections one client holds, and the bandwidth that they share.
//!
//! A client is an IPv4 address, or the first 64 bits of an IPv6 address: what one household or host is given. A load balancer
//! that says whose connection it passes on (the PROXY protocol) is not the client, whom it names is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_guard::client::{By, Key, Sender};

use crate::pace::Pacer;

/// All clients with a connection. There are no more than connections, which `server.max-connections` bounds.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Locked for a look-up, at the beginning and the end of a connection.
    known: Mutex<HashMap<Key, Arc<Client>>>,
    seed: u64,
}

/// One client.
#[derive(Debug, Default)]
struct Client {
    connections: AtomicU32,
    pacer: Pacer,
}

/// A connection's place among those of its client; given up when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    key: Key,
    client: Arc<Client>,
    clients: Arc<Clients>,
}

impl Clients {
    /// `seed` is the process's secret: without it nobody finds two clients that are taken for one.
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), seed })
    }

    /// Lets a connection in, unless its client holds `most` already; 0 has no bound.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Guest> {
        let sender = Sender { address: address.to_canonical(), header: None, identity: None };
        let key = By::Network.key(&sender, self.seed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let client = known.entry(key).or_default();
        // Counted under the lock alone; it is atomic so that it can be shared.
        let held = client.connections.load(Ordering::Relaxed);
        if most > 0 && held >= most {
            return None;
        }
        client.connections.store(held.saturating_add(1), Ordering::Relaxed);
        Some(Guest { key, client: Arc::clone(client), clients: Arc::clone(self) })
    }

    /// How many clients are connected.
    pub(crate) fn count(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Guest {
    /// What all connections of this client share.
    pub(crate) fn pacer(&self) -> &Pacer {
        &self.client.pacer
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut known = self.clients.known.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.client.connections.load(Ordering::Relaxed).saturating_sub(1);
        self.client.connections.store(held, Ordering::Relaxed);
        if held == 0 {
            known.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_beyond_the_limit_stay_out_until_one_leaves() {
        let clients = Clients::new(7);
        let enter = |address: &str| clients.enter(address.parse().unwrap(), 2);
        let (first, second) = (enter("10.0.0.1").unwrap(), enter("::ffff:10.0.0.1").unwrap());
        assert!(enter("10.0.0.1").is_none(), "the same client in IPv6 clothes");
        let other = enter("10.0.0.2").unwrap();
        assert_eq!(clients.count(), 2);
        drop(first);
        let third = enter("10.0.0.1").unwrap();
        let network = [enter("2001:db8::1").unwrap(), enter("2001:db8::ffff").unwrap()];
        assert!(enter("2001:db8::2").is_none(), "one network is one client");
        assert!(clients.enter("10.0.0.1".parse().unwrap(), 0).is_some(), "without a bound");
        drop((second, third, other, network));
        assert_eq!(clients.count(), 0, "nothing is kept of those who left");
    }
}
