//! The chores of the house: `cargo xtask tidy`, `codegen`, `test`, `bench` and `release`.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the person who started it")]

mod bench;
mod codegen;
mod release;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// Sets up everything that the tests need and runs them all
    Test {
        /// Only this step; may be given several times
        #[arg(long, value_name = "STEP", conflicts_with = "skip")]
        only: Vec<String>,
        /// Every step but this; may be given several times
        #[arg(long, value_name = "STEP")]
        skip: Vec<String>,
        /// Prints the steps and ends
        #[arg(long)]
        list: bool,
        /// Ends at the first step that fails
        #[arg(long)]
        fail_fast: bool,
    },
    /// Measures Envoy, HAProxy, nginx and our proxy on the same work, and the spread of a change to a thousand nodes
    Bench {
        /// Passed on: see --help of the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds the binary as it is released: what a start and requests run lies side by side
    Release,
    /// Checks the rules that the compiler does not: arrows between crates, orphans, bans, reasons
    Tidy,
    /// Compiles the vendored .proto files into core/xds/proto/src/generated, and the public models of AWS's services into
    /// core/aws/src/operations/generated
    Codegen,
}

/// What a chore that could be done came to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It has said itself what is wrong.
    Bad,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().chore, &repository_root()) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            // Without the backtrace that anyhow adds: what went wrong is a program's failure, not a place in this code.
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", causes.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn perform(chore: Chore, root: &Path) -> Result<Verdict> {
    match chore {
        Chore::Test { list: true, .. } => test::list(),
        Chore::Test { only, skip, fail_fast, .. } => return test::run(root, &only, &skip, fail_fast),
        Chore::Bench { arguments } => bench::run(root, &arguments)?,
        Chore::Release => release::run(root)?,
        Chore::Tidy => tidy::run(root)?,
        Chore::Codegen => codegen::run(root)?,
    }
    Ok(Verdict::Good)
}

/// The folder that holds this repository, from where this crate was built.
fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
