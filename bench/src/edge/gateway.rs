//! Our edge as a gateway of a real mesh: the control plane up, a service behind the gateway, and the data plane on the edge's own
//! threads (`docs/design/051-the-edge-in-the-mesh.md`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use selvedge_differential::control::{Control, MESH};
use selvedge_differential::placeholder::Placeholders;
use selvedge_differential::{place, stats};

use super::OURS;
use super::peer::{Peer, Port};
use crate::mesh;
use crate::peer::Upstreams;

/// The gateway that the edge makes of itself.
const GATEWAY: &str = "edge-gw";
/// Until the mesh knows the gateway, and the gateway the mesh. Under callgrind both take their time.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts a control plane with the full mesh, and an edge that leads every request to one of its services, as an argument of
/// `runner` if there is one; waits until a request has come through.
///
/// # Errors
/// When something does not start, or no request comes through.
pub(super) async fn start(
    runner: &[OsString],
    folder: &Path,
    upstreams: Upstreams,
) -> Result<(Peer, Control)> {
    let own = folder.join("gateway");
    let _ = std::fs::remove_dir_all(&own);
    std::fs::create_dir_all(&own)?;
    let control = Control::start(&own).await?;
    let ports = mesh::Ports {
        http1: upstreams.http1.port(),
        http2: upstreams.http2.port(),
        tcp: upstreams.tcp.port(),
    };
    control.create(&mesh::mesh(mesh::SERVICES, ports), &Placeholders::default()).await?;
    let port = place::free_port()?;
    let path = own.join("lighttpd.conf");
    std::fs::write(&path, configuration(folder, port))?;
    let words = runner.iter().cloned().chain([
        place::selvedge()?.into(),
        "edge".into(),
        "-D".into(),
        "-f".into(),
        path.into(),
        "--endpoint-url".into(),
        format!("http://{}", control.address).into(),
        "--mesh".into(),
        MESH.into(),
    ]);
    let peer = Peer::of_words(OURS, &own, [port; 3], &words.collect::<Vec<_>>())?;
    let until = Instant::now() + PATIENCE;
    while !matches!(stats::get(peer.address(Port::Plain), "/p/1k").await, Ok((200, _))) {
        ensure!(Instant::now() < until, "no request comes through: see {}", own.join("log").display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((peer, control))
}

/// As for the other works: no access log, one worker.
fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "server.document-root = \"{}/www\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.max-fds = 8192\n\
         server.max-connections = 4096\nserver.max-keep-alive-requests = 65535\nserver.max-keep-alive-idle = 60\n\
         server.max-worker = 1\nmesh.gateway = \"{GATEWAY}\"\nmesh.service = \"{}\"\n",
        folder.display(),
        mesh::authority(),
    )
}

/// Makes sure that no request went by the data plane's socket: then another path was measured than the one that is meant.
///
/// # Errors
/// When one did, or the process is gone.
pub(super) fn ensure_within_threads(process: u32) -> Result<()> {
    let mut own = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd")).context("the edge is gone")? {
        // It may have been closed between the two readings.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        own.push(target);
    }
    let sockets = std::fs::read_to_string("/proc/net/unix")?;
    let connected = sockets.lines().filter(|line| is_connected_egress(line, &own)).count();
    ensure!(connected == 0, "{connected} connections go by the data plane's socket");
    Ok(())
}

/// Whether a line of `/proc/net/unix` – `Num RefCount Protocol Flags Type St Inode Path` – is about an accepted connection of one of
/// `own` descriptors by the socket of a data plane.
fn is_connected_egress(line: &str, own: &[PathBuf]) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [.., state, inode, path] = words[..] else { return false };
    state == "03"
        && path.ends_with("/egress.sock")
        && own.contains(&PathBuf::from(format!("socket:[{inode}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_by_the_data_planes_socket_is_seen() {
        let own = [PathBuf::from("socket:[77]"), PathBuf::from("/dev/null")];
        let line = |state: &str, inode: u32, path: &str| {
            format!("0000000000000000: 00000003 00000000 00000000 0001 {state} {inode} {path}")
        };
        for (line, expected) in [
            (line("03", 77, "/tmp/selvedge-edge-1/egress.sock"), true),
            // It listens.
            (line("01", 77, "/tmp/selvedge-edge-1/egress.sock"), false),
            (line("03", 78, "/tmp/selvedge-edge-1/egress.sock"), false),
            (line("03", 77, "/run/other.sock"), false),
            (line("03", 77, ""), false),
        ] {
            assert_eq!(is_connected_egress(&line, &own), expected, "{line}");
        }
    }
}
