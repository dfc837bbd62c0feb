//! `selvedge-bench order FILE`: which functions a sidecar and an edge run, as an order for the linker.
//!
//! A process holds the pages of its code that it has touched, and the fifteen around each, for so the kernel maps them. What a
//! start runs is a sixteenth of the code and lies all over it; side by side it is a few pages. Both roles are started under callgrind,
//! once to be idle and once to be asked everything that the bench asks. The functions that they ran are written by name, so that what an
//! idle sidecar runs lies in one piece, and what an idle edge runs in another that overlaps it. `cargo xtask release` hands the file
//! to the linker.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use selvedge_differential::sidecar::Plane;
use selvedge_differential::{place, stats};

use crate::peer::{self, Kind, Setup, Upstreams};
use crate::work::{Job, Speaks, WORKS};
use crate::{edge, load, mesh, report};

#[derive(Clone, Debug, Parser)]
#[command(
    name = "order",
    about = "Writes the functions that a sidecar and an edge run, in an order for the linker"
)]
pub(crate) struct Arguments {
    /// Where the names go, one a line
    file: PathBuf,
}

/// Requests of each work: enough to have every branch of the usual path taken.
const REQUESTS: usize = 20;

/// Connections that end are dear under callgrind, and a megabyte is long.
const REQUESTS_DEAR: usize = 3;

/// An idle process looks names up and ends intervals of its statistics meanwhile.
pub(crate) const IDLE: Duration = Duration::from_secs(7);

/// How much each function does by itself, in instructions.
type Costs = BTreeMap<String, u64>;

/// What the roles ran.
#[derive(Debug)]
struct Ran {
    idle_sidecar: Costs,
    idle_edge: Costs,
    /// Under requests, of both.
    busy: [Costs; 2],
}

/// What a sidecar is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Everything,
}

/// Starts both roles, asks them, and writes the order.
///
/// # Errors
/// When valgrind is not installed, a role does not start, or the binary has no symbols.
pub(crate) async fn run(arguments: &Arguments, upstreams: Upstreams) -> Result<()> {
    let folder = place::repository_root().join("target/bench/order");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let site = folder.join("site");
    sidecar(Kind::Http, Asked::Nothing, &folder, upstreams).await.context("an idle sidecar")?;
    edge::exercise(&runner(&folder, "idle-edge"), &site, upstreams, 0).await.context("an idle edge")?;
    for kind in [Kind::Http, Kind::Tcp, Kind::MutualTls] {
        let busy = sidecar(kind, Asked::Everything, &folder, upstreams).await;
        busy.with_context(|| format!("a sidecar for {kind:?}"))?;
    }
    edge::exercise(&runner(&folder, "edge"), &site, upstreams, REQUESTS).await.context("an edge")?;
    let binary = place::selvedge()?;
    let costs = |role: &str| costs(&folder, role, &binary);
    let names = in_order(&Ran {
        idle_sidecar: costs("idle-sidecar")?,
        idle_edge: costs("idle-edge")?,
        busy: [costs("sidecar")?, costs("edge")?],
    });
    ensure!(!names.is_empty(), "{} has no symbols: nothing can be told of it", binary.display());
    std::fs::write(&arguments.file, names.join("\n") + "\n")
        .with_context(|| format!("failed to write {}", arguments.file.display()))?;
    println!("{} functions are run by a sidecar or an edge", names.len());
    Ok(())
}

/// A sidecar's whole life: start, every work of its kind and a scrape if it is asked anything, a while without requests, end.
async fn sidecar(kind: Kind, asked: Asked, folder: &Path, upstreams: Upstreams) -> Result<()> {
    let inside = folder.join(format!("{kind:?}-{asked:?}"));
    let setup = Setup { folder: &inside, kind, upstreams, services: mesh::SERVICES, traced: true };
    let role = if asked == Asked::Nothing { "idle-sidecar" } else { "sidecar" };
    let sidecar =
        peer::sidecar_under(&runner(folder, role), report::OURS, Plane::Ours, &inside, setup).await?;
    if asked == Asked::Everything {
        for work in WORKS.iter().filter(|work| Kind::of(work) == kind && work.rate.is_none()) {
            let count = match work.speaks {
                Speaks::Tcp | Speaks::Handshakes => REQUESTS_DEAR,
                Speaks::Http1 | Speaks::Http2 | Speaks::Tls | Speaks::Http2Tls => REQUESTS,
            };
            let job = Job { work: *work, target: sidecar.address(work), connections: 1 };
            load::repeat(&job, count).await.with_context(|| work.name.to_owned())?;
        }
        let admin = sidecar.admin.context("a sidecar has statistics")?;
        let (status, _) = stats::get(admin, "/stats/prometheus").await?;
        ensure!(status == 200, "a scrape is answered {status}");
    }
    tokio::time::sleep(IDLE).await;
    sidecar.terminate(Duration::from_secs(30)).await
}

/// Callgrind, with a file for each process and names as the linker has them.
fn runner(folder: &Path, role: &str) -> Vec<OsString> {
    let out = format!("--callgrind-out-file={}.%p", folder.join(role).display());
    let words = ["valgrind", "--quiet", "--tool=callgrind", "--demangle=no", "--compress-strings=no"];
    words.into_iter().map(OsString::from).chain([out.into()]).collect()
}

/// What the functions of `binary` cost in all files of a role.
fn costs(folder: &Path, role: &str, binary: &Path) -> Result<Costs> {
    let mut costs = Costs::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_of_role = path.file_stem().is_some_and(|stem| stem == role) && path.is_file();
        if is_of_role {
            let text = std::fs::read_to_string(&path)?;
            add(&text, &binary.to_string_lossy(), &mut costs);
        }
    }
    ensure!(!costs.is_empty(), "callgrind has written nothing about the {role}");
    Ok(costs)
}

/// Adds what one file says: blocks that begin with `ob=` and `fn=`, of lines `place instructions`; the line after `calls=` is about the
/// function that is called.
fn add(text: &str, binary: &str, costs: &mut Costs) {
    let (mut ours, mut function, mut call) = (false, None, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = object == binary;
        } else if let Some(name) = line.strip_prefix("fn=") {
            // Callgrind counts recursion behind an apostrophe; what it has no name for is an address.
            let name = name.split('\'').next().unwrap_or_default();
            let is_named = ours && !name.starts_with("0x") && !name.starts_with('(');
            function = is_named.then(|| name.to_owned());
        } else if line.starts_with("calls=") {
            call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let instructions: Option<u64> = line.split(' ').nth(1).and_then(|number| number.parse().ok());
            if let (Some(name), Some(instructions), false) = (&function, instructions, call) {
                *costs.entry(name.clone()).or_insert(0) += instructions;
            }
            call = false;
        }
    }
}

/// What an idle sidecar runs and no idle edge does, what both do, what only the edge does, and then what requests run; each by cost.
fn in_order(ran: &Ran) -> Vec<String> {
    let Ran { idle_sidecar, idle_edge, busy } = ran;
    let rank = |name: &str| match (idle_sidecar.contains_key(name), idle_edge.contains_key(name)) {
        (true, false) => 0,
        (true, true) => 1,
        (false, true) => 2,
        (false, false) => 3,
    };
    let all = || [idle_sidecar, idle_edge].into_iter().chain(busy);
    let cost = |name: &str| all().filter_map(|costs| costs.get(name)).sum::<u64>();
    let mut names: Vec<&String> = all().flat_map(Costs::keys).collect();
    names.sort_unstable();
    names.dedup();
    names.sort_by_cached_key(|name| (rank(name), Reverse(cost(name))));
    names.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_own_instructions_are_counted_and_not_those_of_others() {
        let text = "events: Ir\n\nob=/b/selvedge\nfl=???\nfn=_ZN1a17h0E\n0 5\ncob=/lib/libc.so.6\ncfn=memcpy\ncalls=2 0 \n0 100\n+3 7\n\
                    fn=_ZN1a17h0E'2\n0 1\nfn=0x0000000000001000\n0 9\n\nob=/lib/libc.so.6\nfn=memcpy\n0 100\n\
                    ob=/b/selvedge\nfn=_ZN1b17h0E\n* 4\ntotals: 126\n";
        let mut costs = Costs::new();
        add(text, "/b/selvedge", &mut costs);
        assert_eq!(costs, Costs::from([("_ZN1a17h0E".to_owned(), 13), ("_ZN1b17h0E".to_owned(), 4)]));
    }

    #[test]
    fn what_runs_without_requests_lies_together_by_role() {
        let costs = |names: &[(&str, u64)]| -> Costs {
            names.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect()
        };
        let ran = Ran {
            idle_sidecar: costs(&[("both", 1), ("busy", 9), ("xds", 50)]),
            idle_edge: costs(&[("both", 1), ("busy", 9), ("site", 2)]),
            busy: [costs(&[("xds", 1), ("request", 90)]), costs(&[("file", 91)])],
        };
        assert_eq!(in_order(&ran), ["xds", "busy", "both", "site", "file", "request"]);
    }
}
