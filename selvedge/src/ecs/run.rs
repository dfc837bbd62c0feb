//! `selvedge ecs run`: a task's containers as processes, in a network namespace of their own.

mod container;
mod health;
mod namespace;
mod redirect;
mod supervisor;

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::unistd::Uid;
use selvedge_intercept::Settings;

use super::document::Document;
use super::task::Task;
use crate::exit::Failure;
use container::Plan;
use namespace::Namespace;
use supervisor::Supervisor;

/// Run a task's containers as processes on this machine, redirection and all, without a container engine
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo selvedge ecs run meshed.json --command colors='./colors --port 8080'
  sudo selvedge ecs run meshed.json --command colors=./colors --control 10.214.0.1:7070 --name inventory.local

The task gets a network namespace of its own, joined to this machine by a bridge (selvedge0, 10.214.0.1), so that several
tasks reach each other and a control plane here: start one with `selvedge up --listen 0.0.0.0:7070
--allow-unauthenticated-remote`. Honoured are dependsOn, health checks, user, environment, essential, the timeouts and
proxyConfiguration; the proxy's container runs as our proxy. Images are not pulled: --command says what runs in their
place. Ctrl-C ends the task in reverse order. It ends with the exit code of the essential container that ended it.")]
pub(super) struct Args {
    /// The task definition; - for standard input
    file: PathBuf,
    /// What runs in the place of a container's image, by sh; may be given again
    #[arg(long = "command", value_name = "CONTAINER=COMMAND", value_parser = pair)]
    commands: Vec<(String, String)>,
    /// A container that is left out, with what depends on it alone; may be given again
    #[arg(long, value_name = "CONTAINER")]
    skip: Vec<String>,
    /// The control plane, for a sidecar that is not told of one
    #[arg(long, value_name = "HOST:PORT")]
    control: Option<String>,
    /// A name that the task's programs may call: it gets an address where nobody is, which the sidecar stands for; may be
    /// given again
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// IPv6 besides IPv4: the task has an address of each, names resolve to both, and connections of both are redirected. The
    /// mesh needs an IP preference for its sidecars to listen there
    #[arg(long, env = "APPMESH_ENABLE_IPV6", action = clap::ArgAction::SetTrue, value_parser = clap::builder::FalseyValueParser::new())]
    ipv6: bool,
    /// More variables for a container, over those of the task definition; may be given again
    #[arg(long = "env", value_name = "CONTAINER:NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, (String, String))>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn variable(text: &str) -> Result<(String, (String, String)), String> {
    let (container, rest) = text.split_once(':').ok_or("write CONTAINER:NAME=VALUE")?;
    Ok((container.to_owned(), pair(rest)?))
}

/// Runs a task until it ends.
///
/// # Errors
/// It cannot be started; or its exit code, if that is not 0.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let document = Document::read(&args.file)?;
    let task = Task::of(document.task())
        .map_err(|problem| Failure::Usage(format!("{}: {problem}", args.file.display())))?;
    let commands: BTreeMap<&str, &str> =
        args.commands.iter().map(|(name, command)| (name.as_str(), command.as_str())).collect();
    let plan = Plan::of(task, args, &commands).map_err(Failure::Usage)?;
    let settings = plan.redirection().map_err(Failure::Usage)?;
    let settings = settings.map(|settings| Settings { ipv6: args.ipv6, ..settings });
    if !Uid::effective().is_root() {
        return Err(Failure::Check(
            "a network namespace of its own needs root: run it with sudo; the containers' programs run as you, unless \
             the task definition names another user"
                .to_owned(),
        ));
    }
    let code = namespace::inside(&args.names, args.ipv6, move |namespace: Namespace| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let settings = settings.as_ref();
            settings.map_or(Ok(()), redirect::install)?;
            Supervisor::new(plan, &namespace).run().await
        })
    })?;
    if code == 0 { Ok(()) } else { Err(Failure::Program(code)) }
}
