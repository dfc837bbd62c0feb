//! `selvedge serve`: some of the roles, for an installation of several processes.

use std::net::SocketAddr;

use crate::exit::Failure;
use crate::role::control::{self, ControlArgs, StoreUrl};
use crate::role::logging::{self, LogArgs};

/// Start some of the roles
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge serve --roles control --store sqlite:/var/lib/selvedge
  selvedge serve --roles control --store memory --listen 127.0.0.1:0     nothing survives its end")]
pub(crate) struct Args {
    /// The roles to run, separated by commas
    #[arg(long, value_name = "ROLES", value_enum, value_delimiter = ',', required = true)]
    roles: Vec<Role>,
    /// Where the API, the discovery service and the health endpoints listen; port 0 lets the system pick
    #[arg(long, value_name = "ADDRESS", env = "SELVEDGE_LISTEN", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where everything durable is kept: sqlite:FOLDER, or memory for nowhere
    #[arg(long, value_name = "URL", env = "SELVEDGE_STORE")]
    store: StoreUrl,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// A role that runs as a service of its own; a sidecar is started with `selvedge proxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// The App Mesh API and the discovery service
    Control,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    logging::start(&args.log, "info")?;
    // One role so far; naming it twice starts it once.
    debug_assert!(args.roles.iter().all(|role| *role == Role::Control));
    control::run(args.control.settings(args.listen, args.store.clone())?).await
}
