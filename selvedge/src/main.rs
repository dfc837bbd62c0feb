//! `selvedge`: every role and the command line, in one binary.

mod appmesh;
mod certificates;
mod cli;
mod command;
mod demo;
mod ecs;
mod edge;
mod endpoint;
mod exit;
mod output;
mod role;
mod states;
mod supervise;

use std::process::ExitCode;

/// Smaller and faster than the system's for a proxy's churn of short-lived buffers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
