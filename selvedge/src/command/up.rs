//! `selvedge up`: every role there is, in one process, with an embedded store.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::exit::Failure;
use crate::role::control::{self, ControlArgs, StoreUrl};
use crate::role::logging::{self, LogArgs};

/// Start every role in one process, with its data under one folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge up
  selvedge up --listen 127.0.0.1:7070 --data-dir /var/lib/selvedge --log-format json

Then, in another terminal:
  eval \"$(selvedge env)\"
  aws appmesh create-mesh --mesh-name my-mesh

It is ready when /readyz on that address answers 200. SIGTERM lets requests in flight finish and ends it.")]
pub(crate) struct Args {
    /// Where the API, the discovery service and the health endpoints listen; port 0 lets the system pick
    #[arg(long, value_name = "ADDRESS", env = "SELVEDGE_LISTEN", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where everything durable is kept; made if it does not exist
    #[arg(long, value_name = "FOLDER", env = "SELVEDGE_DATA_DIR", default_value = "selvedge-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    logging::start(&args.log, "info")?;
    control::run(args.control.settings(args.listen, StoreUrl::Sqlite(args.data_dir.clone()))?).await
}
