//! `selvedge run`: an application and its sidecar, started and ended in order.

mod place;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal as Name;
use selvedge_proxy::ResourceName;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::proxy::admin::Sidecar;
use crate::exit::Failure;
use crate::supervise::{Child, Signals, Spec};
use place::{Interception, Place};

/// How long a sidecar may take to serve.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a sidecar's own end may take, after its application's.
const SIDECAR_PATIENCE: Duration = Duration::from_secs(25);

/// Start an application with a sidecar beside it; end with the application's exit code
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge run --node mesh/my-mesh/virtualNode/colors-v1 -- ./my-app --port 8080
  sudo selvedge run --node mesh/my-mesh/virtualNode/colors-v1 -- ./my-app     its connections are redirected
  selvedge run --beside http://127.0.0.1:9901 -- ./my-job                     a sidecar that runs already, ended with the job

The sidecar serves before the application starts. SIGTERM and SIGINT end both in order: nothing more is taken in, the
application ends, the sidecar's way out stays open until then. See docs/guide/hosts-and-containers.md.")]
pub(crate) struct Args {
    /// The virtual node: mesh/NAME/virtualNode/NAME, or its ARN
    #[arg(long, value_name = "NODE", env = "APPMESH_RESOURCE_ARN", required_unless_present = "beside")]
    node: Option<String>,
    /// The control plane
    #[arg(long, value_name = "HOST:PORT", env = "APPMESH_XDS_ENDPOINT", default_value = "127.0.0.1:7070")]
    xds_endpoint: String,
    /// Whether connections are redirected: redirect needs root; auto redirects where that may be done
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    interception: Interception,
    /// Where the application listens; the node's listeners, unless given
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    app_ports: Vec<u16>,
    /// The user that the application runs as, of whose connections alone interception leads the outgoing ones away; who
    /// called sudo, unless given
    #[arg(long, value_name = "UID[:GID]")]
    user: Option<super::proxy::user::User>,
    /// Redirect IPv6 as well
    #[arg(long, env = "APPMESH_ENABLE_IPV6", action = clap::ArgAction::SetTrue, value_parser = clap::builder::FalseyValueParser::new())]
    ipv6: bool,
    /// How long the application may take to end, and as long again what came in before
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    stop_timeout: u64,
    /// The admin endpoint of a sidecar that runs already: none is started, and it is ended with the application
    #[arg(long, value_name = "URL", conflicts_with_all = ["node", "user", "app_ports"])]
    beside: Option<String>,
    /// The application
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs both; the application's exit code.
///
/// # Errors
/// The sidecar does not come to serve, or ends before the application.
pub(crate) async fn run(args: &Args) -> Result<u8, Failure> {
    let mut signals = Caught::catch()?;
    let stop_timeout = Duration::from_secs(args.stop_timeout);
    if let Some(url) = &args.beside {
        return beside(args, &Sidecar::at(url)?, &mut signals, stop_timeout).await;
    }
    let node = args.node.as_deref().unwrap_or_default();
    ResourceName::parse(node).map_err(|error| Failure::Usage(error.to_string()))?;
    let place = Place::find(args, node).await?;
    let mut proxy = place.proxy(node, args)?.start()?;
    let sidecar = Sidecar::at(&place.admin)?;
    let ready = tokio::select! {
        ready = sidecar.wait(READY_PATIENCE) => ready.map_err(|last| format!("it does not serve: {last}")),
        ended = proxy.ended() => Err(format!("it ended with {}", ended.code)),
        _ = signals.next() => {
            proxy.stop(SIDECAR_PATIENCE).await;
            return Ok(128 + 15);
        }
    };
    if let Err(problem) = ready {
        proxy.stop(SIDECAR_PATIENCE).await;
        return Err(Failure::Check(format!("the sidecar of {node}: {problem}")));
    }
    let rules = place.redirect()?;
    let code = serve(args, &place, &sidecar, &mut proxy, &mut signals, stop_timeout).await;
    // The way out stays until the application has ended; the rules go before the sidecar that they lead to.
    drop(rules);
    proxy.stop(SIDECAR_PATIENCE).await;
    code
}

/// From the application's start to its end.
async fn serve(
    args: &Args,
    place: &Place,
    sidecar: &Sidecar,
    proxy: &mut Child,
    signals: &mut Caught,
    stop_timeout: Duration,
) -> Result<u8, Failure> {
    let mut app = place.application(&args.command).start()?;
    let to = app.signals();
    tokio::select! {
        ended = app.ended() => Ok(ended.code),
        ended = proxy.ended() => {
            app.stop(stop_timeout).await;
            Err(Failure::Check(format!("the sidecar ended with {} before the application", ended.code)))
        }
        () = signals.until_end(to) => {
            // Nothing more comes in; what has come in is still answered.
            tokio::select! {
                drained = sidecar.drain(stop_timeout) => {
                    if let Err(error) = drained {
                        tracing::debug!(%error, "the sidecar could not be drained");
                    }
                }
                ended = app.ended() => return Ok(ended.code),
                () = signals.until_end(to) => {}
            }
            Ok(app.stop(stop_timeout).await.code)
        }
    }
}

/// A job beside a sidecar that somebody else has started.
async fn beside(
    args: &Args,
    sidecar: &Sidecar,
    signals: &mut Caught,
    stop_timeout: Duration,
) -> Result<u8, Failure> {
    let ready = sidecar.wait(READY_PATIENCE).await;
    ready.map_err(|last| Failure::Check(format!("the sidecar does not serve: {last}")))?;
    let mut spec = Spec::new(&args.command[0]);
    spec.arguments = args.command[1..].to_vec();
    let started = spec.start();
    let code = match started {
        Ok(mut app) => {
            let to = app.signals();
            tokio::select! {
                ended = app.ended() => Ok(ended.code),
                () = signals.until_end(to) => Ok(app.stop(stop_timeout).await.code),
            }
        }
        Err(error) => Err(error.into()),
    };
    // A sidecar that has gone by itself needs no word.
    if let Err(error) = sidecar.quit().await {
        tracing::debug!(%error, "the sidecar could not be ended");
    }
    code
}

/// The signals that an application would get, were there nobody between.
struct Caught {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Caught {
    fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
            user1: catch(SignalKind::user_defined1())?,
            user2: catch(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Name {
        tokio::select! {
            _ = self.terminate.recv() => Name::SIGTERM,
            _ = self.interrupt.recv() => Name::SIGINT,
            _ = self.hangup.recv() => Name::SIGHUP,
            _ = self.user1.recv() => Name::SIGUSR1,
            _ = self.user2.recv() => Name::SIGUSR2,
        }
    }

    /// Passes signals on until one asks for the end.
    async fn until_end(&mut self, app: Signals) {
        loop {
            match self.next().await {
                Name::SIGTERM | Name::SIGINT => return,
                other => app.send(other),
            }
        }
    }
}
