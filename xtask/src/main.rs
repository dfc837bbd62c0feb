//! The chores of the house: `cargo xtask tidy`, `test` and `bench`.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

mod codegen;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of the house")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Checks the rules that the compiler does not: arrows between crates, orphans, bans, reasons
    Tidy,
    /// Compiles the vendored .proto files into core/xds/proto/src/generated
    Codegen,
}

fn main() -> Result<()> {
    let root = repository_root();
    match Arguments::parse().chore {
        Chore::Tidy => tidy::run(&root),
        Chore::Codegen => codegen::run(&root),
    }
}

/// The folder that holds this repository, from where this crate was built.
fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
