//! `cargo xtask release`: the binary as it is released, its functions laid out by use.
//!
//! Names of functions carry hashes of the toolchain, the profile and every dependency, so that no list of them can be kept: the binary is
//! built, watched at work, and built again with what it ran side by side. Where the last list still fits, once is enough.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Read by the build script of the binary.
const SYMBOL_ORDER: &str = "SELVEDGE_SYMBOL_ORDER";

/// So many of a list's names must be in a binary for the list to be about it.
const KNOWN_MIN: f64 = 0.9;

/// What is laid out lies within so many times its own size; scattered over the binary it is ten times and more.
const SPREAD_MAX: f64 = 1.5;

/// Where functions lie: their name, address and size in bytes.
type Symbol = (String, u64, u64);

/// Builds `target/release/selvedge` and the bench, laid out.
///
/// # Errors
/// When something does not build or start, or the linker does not lay anything out.
pub(crate) fn run(root: &Path) -> Result<()> {
    let Layout { count, bytes, spread, .. } = build(root)?;
    println!(
        "{count} functions that are run, {} KiB of them, lie within {} KiB",
        bytes / 1024,
        spread / 1024
    );
    ensure!(bytes > 0 && spread as f64 <= bytes as f64 * SPREAD_MAX, "{NOT_LAID_OUT}");
    Ok(())
}

/// The same for whoever measures; a linker that lays nothing out is no error, but told.
///
/// # Errors
/// When something does not build or start.
pub(crate) fn run_if_possible(root: &Path) -> Result<()> {
    let Layout { bytes, spread, .. } = build(root)?;
    if bytes == 0 || spread as f64 > bytes as f64 * SPREAD_MAX {
        println!("{NOT_LAID_OUT}: more memory will be measured than a released binary holds");
    }
    Ok(())
}

const NOT_LAID_OUT: &str = "the linker has not laid the functions out: it takes rustc's own linker, so no other may be chosen in RUSTFLAGS \
                            or in cargo's configuration (an empty RUSTFLAGS overrides the latter)";

fn build(root: &Path) -> Result<Layout> {
    let order = root.join("target/symbol-order.txt");
    if !order.exists() {
        std::fs::create_dir_all(root.join("target"))?;
        std::fs::write(&order, "")?;
    }
    compile(root, &order)?;
    let all = symbols(root)?;
    let found = compare(&names(&order)?, &all);
    // Some linkers leave no symbols: then nothing can be told of the binary.
    if all.is_empty() || found.known >= KNOWN_MIN {
        return Ok(found);
    }
    println!("watching what a sidecar and an edge run");
    // Written beside it and moved when it is whole: half a list is no list.
    let fresh = order.with_extension("new");
    let mut bench = Command::new(root.join("target/release/selvedge-bench"));
    bench.arg("order").arg(&fresh).env("SELVEDGE_BIN", binary(root));
    succeed(&mut bench, root)?;
    std::fs::rename(&fresh, &order)?;
    println!("building again, with that side by side");
    compile(root, &order)?;
    Ok(compare(&names(&order)?, &symbols(root)?))
}

/// How much of a list a binary has, and where.
#[derive(Debug, Default, PartialEq)]
struct Layout {
    /// Of the list's names, 0 to 1.
    known: f64,
    count: usize,
    bytes: u64,
    /// From the first to the end of the last.
    spread: u64,
}

fn binary(root: &Path) -> PathBuf {
    root.join("target/release/selvedge")
}

fn compile(root: &Path, order: &Path) -> Result<()> {
    let arguments = ["build", "--release", "--locked", "-p", "selvedge", "-p", "selvedge-bench"];
    succeed(Command::new("cargo").args(arguments).env(SYMBOL_ORDER, order), root)
}

fn names(order: &Path) -> Result<HashSet<String>> {
    Ok(std::fs::read_to_string(order)?.lines().map(str::to_owned).collect())
}

fn symbols(root: &Path) -> Result<Vec<Symbol>> {
    let told = Command::new("nm").arg("--print-size").arg(binary(root)).output();
    let told = told.context("nm of binutils is needed to see where functions lie")?;
    Ok(read(&String::from_utf8_lossy(&told.stdout)))
}

/// The functions of `nm --print-size`: `address size kind name`.
fn read(text: &str) -> Vec<Symbol> {
    let symbol = |line: &str| {
        let mut words = line.split(' ');
        let (address, size, kind, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let number = |word| u64::from_str_radix(word, 16).ok();
        "tTwW".contains(kind).then_some((name.to_owned(), number(address)?, number(size)?))
    };
    text.lines().filter_map(symbol).collect()
}

fn compare(names: &HashSet<String>, symbols: &[Symbol]) -> Layout {
    let found: Vec<&Symbol> = symbols.iter().filter(|(name, ..)| names.contains(name.as_str())).collect();
    let known: HashSet<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
    let first = found.iter().map(|(_, address, _)| *address).min();
    let end = found.iter().map(|(_, address, size)| address + size).max();
    Layout {
        known: known.len() as f64 / names.len().max(1) as f64,
        count: found.len(),
        bytes: found.iter().map(|(.., size)| size).sum(),
        spread: end.zip(first).map_or(0, |(end, first)| end - first),
    }
}

fn succeed(command: &mut Command, root: &Path) -> Result<()> {
    let status =
        command.current_dir(root).status().with_context(|| format!("failed to start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_compared_with_where_its_functions_lie() {
        let text = "0000000000001000 0000000000000010 t a\n0000000000001020 0000000000000020 T b\n\
                    0000000000009000 0000000000000010 t c\n0000000000002000 0000000000000008 d data\n0000000000001000 t bare\n";
        let symbols = read(text);
        let names = ["a", "b", "gone", "data"].map(str::to_owned);
        let layout = compare(&HashSet::from(names), &symbols);
        assert_eq!(layout, Layout { known: 0.5, count: 2, bytes: 0x30, spread: 0x40 });
        assert_eq!(compare(&HashSet::new(), &symbols), Layout::default());
    }
}
