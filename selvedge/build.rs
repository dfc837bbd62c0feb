//! How the binary is linked.

use std::process::Command;

/// The first glibc whose loader reads packed relocations.
const GLIBC_WITH_PACKED_RELOCATIONS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A hundred thousand pointers in constants are relocated at each start. Listed one by one they are 2.3 MiB that every
    // process reads once and holds from then on; packed they are 15 KiB.
    let is_read = || glibc().is_some_and(|version| version >= GLIBC_WITH_PACKED_RELOCATIONS);
    if is_for_this_machine() && !is_linker_chosen() && is_read() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    lay_out();
}

/// Where functions are named in the order in which they are to lie, as `cargo xtask release` writes it: those that a start and
/// requests run side by side, so that a process holds few pages of the others.
const SYMBOL_ORDER: &str = "SELVEDGE_SYMBOL_ORDER";

fn lay_out() {
    println!("cargo:rerun-if-env-changed={SYMBOL_ORDER}");
    let order = variable(SYMBOL_ORDER);
    if order.is_empty() {
        return;
    }
    println!("cargo:rerun-if-changed={order}");
    // Others than LLVM's linker, which is rustc's own for this target, do not know the option.
    if is_for_this_machine() && variable("CARGO_CFG_TARGET_ARCH") == "x86_64" && !is_linker_chosen() {
        println!("cargo:rustc-link-arg-bins=-Wl,--symbol-ordering-file={order}");
        // A name of an older build is of no consequence.
        println!("cargo:rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    } else {
        println!(
            "cargo:warning={SYMBOL_ORDER} is passed over: only rustc's own linker for x86-64 Linux lays functions out"
        );
    }
}

/// Only then does the glibc at hand say something about the one that will load the binary.
fn is_for_this_machine() -> bool {
    variable("HOST") == variable("TARGET")
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
}

/// Whoever builds has a linker of their own. Some, such as mold 1.10, pack without the mark that the loader insists on.
fn is_linker_chosen() -> bool {
    !variable("RUSTC_LINKER").is_empty()
        || ["-fuse-ld", "linker="].iter().any(|flag| variable("CARGO_ENCODED_RUSTFLAGS").contains(flag))
}

/// Its version, as `ldd --version` tells at the end of the first line.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("ldd").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout);
    let (major, minor) = text.lines().next()?.rsplit(' ').next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
