//! Where things stand: the repository, our binary, free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail, ensure};

/// Ports are taken from below the range from which Linux gives ports to outgoing connections (32768 and up), so that
/// no client socket takes a port between its choice and its use.
const FIRST_PORT: u16 = 20_000;
const PORT_COUNT: u16 = 10_000;

/// The folder that holds this repository.
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The `selvedge` binary: `SELVEDGE_BIN`, else the newest build under `target/`.
///
/// # Errors
/// When none is there.
pub fn selvedge() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "SELVEDGE_BIN names {}, which is no file", path.display());
        return Ok(path);
    }
    let target = repository_root().join("target");
    let builds = ["release", "debug"].map(|profile| target.join(profile).join("selvedge"));
    let built = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let newest = builds.into_iter().filter(|path| path.is_file()).max_by_key(built);
    newest
        .ok_or_else(|| anyhow::anyhow!("no selvedge binary: run cargo build --release, or set SELVEDGE_BIN"))
}

/// A loopback TCP port on which nobody listens, never the same twice in one process.
///
/// # Errors
/// When every candidate is taken.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run side by side start at different places.
    let start = (std::process::id() % u32::from(PORT_COUNT)) as u16;
    for _ in 0..PORT_COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start) % PORT_COUNT;
        let port = FIRST_PORT + offset;
        if TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST_PORT} and {}", FIRST_PORT + PORT_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_free_ports_differ() {
        assert_ne!(free_port().unwrap(), free_port().unwrap());
    }

    #[test]
    fn the_repository_root_holds_the_workspace() {
        assert!(repository_root().join("deny.toml").is_file());
    }
}
