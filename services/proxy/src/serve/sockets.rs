//! The listening sockets of this process, so that a successor can take them over, and those taken over from a predecessor.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use selvedge_traffic::Listener;
use selvedge_wire::listen;

/// Sockets by the address that their listener is configured with.
#[derive(Debug, Default)]
pub struct Sockets {
    inherited: Mutex<HashMap<SocketAddr, Vec<TcpListener>>>,
    /// Copies of what this process listens on; empty unless successors are expected.
    open: Mutex<HashMap<SocketAddr, Vec<TcpListener>>>,
    handed_over: bool,
}

/// The sockets of each worker, and the address that they got.
type Bound = (Vec<Vec<TcpListener>>, SocketAddr);

impl Sockets {
    /// Of a process whose sockets a successor may ask for.
    pub fn to_be_handed_over() -> Self {
        Self { handed_over: true, ..Self::default() }
    }

    /// Takes a socket of the predecessor.
    pub fn inherit(&self, address: SocketAddr, socket: TcpListener) {
        lock(&self.inherited).entry(address).or_default().push(socket);
    }

    /// Closes what was inherited and is not configured here: nobody accepts from it.
    pub fn close_inherited(&self) {
        lock(&self.inherited).clear();
    }

    /// Copies of all sockets with their configured addresses.
    pub fn copies(&self) -> Vec<(SocketAddr, TcpListener)> {
        let open = lock(&self.open);
        let each = open.iter().flat_map(|(address, sockets)| {
            sockets.iter().filter_map(|socket| Some((*address, socket.try_clone().ok()?)))
        });
        each.collect()
    }

    /// Sockets for so many workers, each with at least one, all on one address: inherited ones, then new ones.
    pub(super) fn bind(
        &self,
        config: &Listener,
        workers: usize,
    ) -> Result<Bound, (SocketAddr, std::io::Error)> {
        let mut sockets = lock(&self.inherited).remove(&config.address).unwrap_or_default();
        let mut address = config.address;
        if let Some(first) = sockets.first() {
            address = first.local_addr().map_err(|error| (address, error))?;
        }
        while sockets.len() < workers {
            let bound = listen::bind(address, config.ipv4_compat)
                .and_then(|socket| socket.local_addr().map(|bound| (socket, bound)));
            let (socket, bound) = bound.map_err(|error| (address, error))?;
            address = bound;
            sockets.push(socket);
        }
        if self.handed_over {
            let copies = sockets.iter().filter_map(|socket| socket.try_clone().ok()).collect();
            lock(&self.open).insert(config.address, copies);
        }
        let mut of_workers: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, socket) in sockets.into_iter().enumerate() {
            of_workers[index % workers].push(socket);
        }
        Ok((of_workers, address))
    }

    /// A listener is gone, or takes no more connections.
    pub(super) fn close(&self, config: &Listener) {
        lock(&self.open).remove(&config.address);
    }
}

/// Nothing can panic while the lock is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
