//! Which of several programs answers, and which are spared because they failed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use selvedge_site::directive::{BackendId, Balance, Host, HostMode};
use selvedge_wire::stream::Address;
use tokio::sync::Notify;

/// What is known of one backend; shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct HostState {
    active: AtomicU32,
    served: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds since the start until which it is spared.
    spared_until: AtomicU64,
    turn: AtomicU32,
    /// Processes of it that run here.
    running: AtomicU16,
    /// There is more to do than they do at once.
    pub(super) overloaded: Notify,
}

impl HostState {
    pub(super) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) fn running(&self) -> u16 {
        self.running.load(Ordering::Relaxed)
    }

    pub(super) fn set_running(&self, count: u16) {
        self.running.store(count, Ordering::Relaxed);
    }
}

/// The backends of one configuration, by their numbers.
#[derive(Debug)]
pub(crate) struct Hosts {
    states: Vec<Arc<HostState>>,
    began: Instant,
}

/// A request under way at a backend.
#[derive(Debug)]
pub(crate) struct Lease(Arc<HostState>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a choice is made by.
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) authority: &'a [u8],
    pub(crate) remote: IpAddr,
}

impl Hosts {
    pub(crate) fn new(count: usize) -> Self {
        Self { states: (0..count).map(|_| Arc::default()).collect(), began: Instant::now() }
    }

    pub(super) fn state(&self, id: BackendId) -> Option<&Arc<HostState>> {
        self.states.get(id.0 as usize)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Chooses among those with a mode, leaving out `tried`; `None` if all others are spared.
    pub(crate) fn choose<'a>(
        &self,
        hosts: &'a [Host],
        mode: HostMode,
        balance: Balance,
        asked: &Asked<'_>,
        tried: &[BackendId],
    ) -> Option<&'a Host> {
        let now = self.now();
        let fit = |host: &&Host| {
            host.mode == mode
                && !tried.contains(&host.id)
                && self.state(host.id).is_some_and(|state| state.spared_until.load(Ordering::Relaxed) <= now)
        };
        let candidates = || hosts.iter().filter(fit);
        let active =
            |host: &Host| self.state(host.id).map_or(0, |state| state.active.load(Ordering::Relaxed));
        match balance {
            Balance::LeastConnection => candidates().min_by_key(|host| active(host)),
            Balance::RoundRobin => {
                let count = candidates().count();
                let turn = self.state(hosts.first()?.id)?.turn.fetch_add(1, Ordering::Relaxed) as usize;
                (count > 0).then(|| candidates().nth(turn % count)).flatten()
            }
            Balance::Hash => candidates()
                .max_by_key(|host| weight(&[asked.path.as_bytes(), asked.authority, name(host).as_bytes()])),
            Balance::Sticky => {
                let remote = asked.remote.to_string();
                candidates().max_by_key(|host| weight(&[remote.as_bytes(), name(host).as_bytes()]))
            }
        }
    }

    /// Counts a request that begins.
    pub(crate) fn lease(&self, host: &Host) -> Option<Lease> {
        let state = self.state(host.id)?;
        let before = state.active.fetch_add(1, Ordering::Relaxed);
        state.served.fetch_add(1, Ordering::Relaxed);
        if host.bin_path.is_some() && before >= u32::from(state.running()) && state.running() < host.max_procs
        {
            state.overloaded.notify_one();
        }
        Some(Lease(Arc::clone(state)))
    }

    /// Spares a backend that failed, for as long as its configuration says.
    pub(crate) fn fail(&self, host: &Host) {
        if let Some(state) = self.state(host.id) {
            state.failed.fetch_add(1, Ordering::Relaxed);
            let until = self.now() + u64::from(host.disable_time) * 1000;
            state.spared_until.store(until, Ordering::Relaxed);
        }
    }

    /// Processes of a backend that run here.
    pub(crate) fn running(&self, host: &Host) -> u16 {
        self.state(host.id).map_or(0, |state| state.running())
    }

    /// Requests under way, served and failed.
    pub(crate) fn counts(&self, host: &Host) -> (u32, u64, u64) {
        self.state(host.id).map_or((0, 0, 0), |state| {
            let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (state.active.load(Ordering::Relaxed), of(&state.served), of(&state.failed))
        })
    }
}

/// Rendezvous hashing: every text has its own order of backends, and keeps it when others come or go.
fn weight(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.iter().flat_map(|part| part.iter().copied().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    // The low bits of FNV are good, the high ones decide here.
    hash ^ hash.rotate_left(32)
}

fn name(host: &Host) -> String {
    let text = |text: &Option<selvedge_site::directive::Text>| text.as_deref().unwrap_or_default().to_owned();
    format!("{}:{}:{}", text(&host.host), host.port, text(&host.socket))
}

/// Where a backend, or process `number` of one that is started here, listens. A name is looked up once and kept.
pub(crate) async fn address(host: &Host, number: u16) -> std::io::Result<Address> {
    if let Some(socket) = &host.socket {
        let suffix = if host.bin_path.is_some() { format!("-{number}") } else { String::new() };
        return Ok(Address::Unix(format!("{socket}{suffix}").into()));
    }
    let text = host.host.as_deref().unwrap_or("127.0.0.1");
    if text.starts_with('/') {
        return Ok(Address::Unix(text.into()));
    }
    let port = host.port.saturating_add(if host.bin_path.is_some() { number } else { 0 });
    let text = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Address::Tcp(SocketAddr::new(ip, port)));
    }
    let found = tokio::time::timeout(Duration::from_secs(5), tokio::net::lookup_host((text, port)));
    let mut found = found.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
    found.next().map(Address::Tcp).ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn rendezvous_moves_only_what_has_to_move() {
        let hosts = ["a", "b", "c", "d"];
        let best = |key: &str, hosts: &[&'static str]| {
            *hosts.iter().max_by_key(|host| weight(&[key.as_bytes(), host.as_bytes()])).unwrap()
        };
        let mut counts = [0; 4];
        for number in 0..4000 {
            let key = format!("/path/{number}");
            let chosen = best(&key, &hosts);
            counts[hosts.iter().position(|host| *host == chosen).unwrap()] += 1;
            if chosen != "d" {
                assert_eq!(best(&key, &hosts[..3]), chosen);
            }
        }
        assert!(counts.iter().all(|count| (600..1400).contains(count)), "{counts:?}");
    }
}
