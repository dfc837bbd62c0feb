//! `selvedge`: every role and the command line, in one binary.

mod appmesh;
mod cli;
mod command;
mod demo;
mod endpoint;
mod exit;
mod output;
mod role;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
