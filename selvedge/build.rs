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
