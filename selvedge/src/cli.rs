//! The command line: which commands there are, and which of them was asked for.

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgMatches, Args as _, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::appmesh;
use crate::certificates;
use crate::command::{
    completions, env, explain, help, policy, proxy, redirect, register, run, serve, status, up, version,
};
use crate::demo;
use crate::ecs;
use crate::edge;
use crate::exit::Failure;
use crate::states;

/// Selvedge: a service mesh that you run yourself, on the App Mesh API.
#[derive(Debug, Parser)]
#[command(
    name = "selvedge",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Examples:
  selvedge demo                                   a whole mesh on this machine, with a live view
  selvedge up                                     a control plane on 127.0.0.1:7070, stored under ./selvedge-data
  eval \"$(selvedge env)\"                          point the aws command line at it
  selvedge appmesh list-meshes                    or call it without the aws command line
  selvedge status --mesh my-mesh                  what is active, and what is not and why
  selvedge explain --mesh my-mesh --from frontend GET http://colors.local/
  selvedge policy kinds                           what to attach to a resource beyond its spec
  selvedge states validate order.asl.json         workflows: every error at its place
  selvedge certificates request orders.local      a certificate that renews itself
  selvedge edge -D -f lighttpd.conf               a web server at the border, as lighttpd reads its file

Every command takes --help. `selvedge help exit-codes` explains how commands end."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Serve(serve::Args),
    Proxy(proxy::Args),
    Edge(edge::Args),
    Redirect(redirect::Args),
    Register(register::Args),
    Run(run::Args),
    Ecs(ecs::Args),
    Status(status::Args),
    Explain(explain::Args),
    Policy(policy::Args),
    States(states::Args),
    Certificates(certificates::Args),
    Env(env::Args),
    Completions(completions::Args),
    Version(version::Args),
    Help(help::Args),
}

/// The whole command line, for parsing, help and completions.
pub(crate) fn definition() -> clap::Command {
    Cli::command().subcommand(appmesh::command())
}

/// As much of it as a command line that begins with `first` needs. A server that is to be there at once, and small, does not
/// put together what a hundred other commands take.
fn definition_for(first: Option<&OsString>) -> clap::Command {
    let only = |command: clap::Command| {
        clap::Command::new("selvedge").version(env!("CARGO_PKG_VERSION")).subcommand(command)
    };
    match first.and_then(|word| word.to_str()) {
        Some("edge") => only(edge::Args::augment_args(clap::Command::new("edge"))),
        Some("proxy") => only(proxy::Args::augment_args(clap::Command::new("proxy"))),
        _ => definition(),
    }
}

/// Reads the command line and does what it says.
///
/// # Errors
/// [`Failure`], which knows the exit code.
pub(crate) fn run() -> Result<(), Failure> {
    let words = words();
    let matches = match definition_for(words.get(1)).try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => match edge::refusal(&words).filter(|_| error.use_stderr()) {
            Some(refused) => {
                error.print()?;
                return Err(refused);
            }
            None => error.exit(),
        },
    };
    if let Some(("appmesh", matches)) = matches.subcommand() {
        return block_on(appmesh::run(matches));
    }
    dispatch(&matches)
}

/// The words of the command line. Started under the name lighttpd, we are `selvedge edge`.
fn words() -> Vec<OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    let is_lighttpd =
        words.first().is_some_and(|name| Path::new(name).file_name() == Some("lighttpd".as_ref()));
    if is_lighttpd {
        words.insert(1, "edge".into());
    }
    words
}

fn dispatch(matches: &ArgMatches) -> Result<(), Failure> {
    let cli = Cli::from_arg_matches(matches).map_err(|error| Failure::Usage(error.to_string()))?;
    match cli.command {
        Command::Demo(args) => block_on_all(demo::run(&args)),
        Command::Up(args) => block_on_all(up::run(&args)),
        Command::Serve(args) => block_on_all(serve::run(&args)),
        Command::Proxy(args) => proxy::run(&args),
        Command::Edge(args) => edge::run(&args),
        Command::Redirect(args) => redirect::run(&args),
        Command::Register(args) => block_on(register::run(&args)),
        Command::Run(args) => block_on(run::run(&args)).and_then(ended),
        Command::Ecs(args) => ecs::execute(&args),
        Command::Status(args) => block_on(status::run(&args)),
        Command::Explain(args) => block_on(explain::run(&args)),
        Command::Policy(args) => block_on(policy::run(&args)),
        Command::States(args) => block_on(states::run(&args)),
        Command::Certificates(args) => block_on(certificates::run(&args)),
        Command::Env(args) => env::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Version(args) => version::run(&args),
        Command::Help(args) => help::run(&args),
    }
}

/// Ends as the program did that was run.
fn ended(code: u8) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::Program(code)) }
}

/// Runs a client's few calls: one thread is enough.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// Runs a role, on every core.
fn block_on_all<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn all_38_operations_are_commands() {
        let definition = definition();
        let appmesh = definition.find_subcommand("appmesh").expect("declared");
        assert_eq!(appmesh.get_subcommands().count(), 38);
    }
}
