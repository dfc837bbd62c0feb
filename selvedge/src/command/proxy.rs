//! `selvedge proxy`: the sidecar, or gateway, of one resource.

pub(crate) mod admin;
mod state;
pub(crate) mod user;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use selvedge_proxy::{Bootstrap, StateFolder, envoy_bootstrap};

use admin::Action;
use user::User;

use crate::exit::Failure;
use crate::output;
use crate::role::logging::{self, LogArgs};
use crate::supervise::notify;

/// Set to 1 by a program that starts proxies for itself, such as the demo: they end when it ends, however it ends.
pub(crate) const END_WITH_PARENT: &str = "SELVEDGE_END_WITH_PARENT";

/// Start a sidecar or gateway, configured by the variables of AWS's Envoy image
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  APPMESH_RESOURCE_ARN=mesh/my-mesh/virtualNode/colors-v1 selvedge proxy
  APPMESH_RESOURCE_ARN=mesh/my-mesh/virtualGateway/front selvedge proxy
  APPMESH_RESOURCE_ARN=mesh/my-mesh/virtualNode/colors-v1 selvedge proxy --print-envoy-bootstrap > envoy.yaml
  selvedge proxy wait && ./my-app      beside one that is starting

Variables:
  APPMESH_RESOURCE_ARN        the node or gateway that it stands for
  APPMESH_XDS_ENDPOINT        the control plane, 127.0.0.1:7070 unless it says otherwise
  ENVOY_ADMIN_ACCESS_PORT     the admin endpoint on loopback, 9901 unless it says otherwise
  SELVEDGE_INTERCEPTION=none  take no redirected connections; see docs/guide/sidecars.md
  and more in docs/guide/configuration.md"
)]
pub(crate) struct Args {
    /// Print the bootstrap with which a real Envoy does the same, and end
    #[arg(long)]
    print_envoy_bootstrap: bool,
    /// Give up root and run as this user, whose connections interception leaves alone
    #[arg(long, value_name = "UID[:GID]", env = "SELVEDGE_USER")]
    user: Option<User>,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    action: Option<Action>,
}

/// Starts the proxy and serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`Failure::Usage`] when the environment says something that cannot be meant.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(action) = &args.action {
        return crate::cli::block_on(admin::run(action));
    }
    let mut bootstrap = bootstrap()?;
    if args.print_envoy_bootstrap {
        return Ok(output::emit(&output::yaml::write(&envoy_bootstrap(&bootstrap)))?);
    }
    if let Some(user) = args.user {
        if let StateFolder::Default(folder) = &bootstrap.state
            && Uid::effective().is_root()
            && let Ok(given) = state::give(user, folder)
        {
            // Where none can be given, the proxy tells that it keeps nothing.
            bootstrap.state = StateFolder::Default(given);
        }
        user.become_it()?;
    }
    // After that: the kernel forgets it when a process becomes another user.
    if std::env::var_os(END_WITH_PARENT).is_some_and(|value| value == "1") {
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("failed to follow the parent process")?;
    }
    if notify::is_wanted() {
        tell_when_ready(&bootstrap);
    }
    let set_level = logging::start(&args.log, &bootstrap.log_level)?;
    selvedge_proxy::run(bootstrap, Some(set_level)).context("the proxy could not be started")?;
    Ok(())
}

/// Tells systemd when the sidecar serves. A thread of its own: the sidecar knows nothing of systemd.
fn tell_when_ready(bootstrap: &Bootstrap) {
    let url = format!("http://{}", bootstrap.admin);
    std::thread::spawn(move || {
        crate::cli::block_on(async {
            let sidecar = admin::Sidecar::at(&url)?;
            // systemd has a patience of its own, and ends what does not come to serve.
            while sidecar.wait(Duration::from_secs(3600)).await.is_err() {}
            notify::ready();
            Ok(())
        })
    });
}

fn bootstrap() -> Result<Bootstrap, Failure> {
    // What is not UTF-8 is none of ours.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Bootstrap::from_env(&environment, processors)
        .context("the environment cannot be acted on")
        .map_err(|error| Failure::Usage(format!("{error:#}")))
}
