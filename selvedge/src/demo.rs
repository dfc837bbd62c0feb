//! `selvedge demo`: a whole mesh on loopback – control plane, store, a caller and two versions of a service with their
//! sidecars – and a live table of what each version receives.
//!
//! Everything goes the way it goes in an installation: the mesh is made through the public API, the sidecars are processes of
//! their own that fetch their configuration over xDS, and the requests pass through both ends.

mod app;
mod check;
mod mesh;
mod sidecar;
mod traffic;
mod view;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use selvedge_client::Client;
use tokio::time::{sleep, timeout};

use crate::exit::Failure;
use crate::output;
use crate::role::control;
use crate::role::signal::Shutdown;
use app::App;
use check::{Share, Verdict};
use mesh::{CALLER, SERVICE, VERSIONS, Weights};
use sidecar::{Kind, Ports, Program, Sidecar};
use traffic::{Caller, Seen};
use view::{Sample, View};

/// What the demo starts with, and what it shifts to.
const BEFORE: Weights = [80, 20];
const AFTER: Weights = [30, 70];
/// How soon a shift must be felt by every request.
const SHIFT_PATIENCE: Duration = Duration::from_secs(1);
/// The live view without an end: a hundred years.
const SECONDS_FOREVER: u64 = 100 * 365 * 24 * 3600;
/// The longest wait for the first answer through the mesh.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Start a whole mesh on this machine and watch it split traffic
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge demo                        watch 80/20 live; Ctrl-C ends it and everything it started
  selvedge demo --sidecar envoy        the same with real Envoys as sidecars
  selvedge demo --check                send 2,000 requests, judge the split, shift it, judge again; exit 0 or 1")]
pub(crate) struct Args {
    /// Which program stands beside the applications
    #[arg(long, value_enum, default_value = "selvedge")]
    sidecar: Kind,
    /// Judge the split instead of showing it
    #[arg(long)]
    check: bool,
    /// Requests that `--check` sends before and after the shift
    #[arg(long, value_name = "NUMBER", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    requests: u64,
    /// Requests a second in the live view
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Where the control plane listens; port 0 lets the system pick
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// End the live view by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

/// Runs the demo to its end.
///
/// # Errors
/// [`Failure::Check`] when a split is not the configured one; anything else when a part does not start.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::catch()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let program = Program::find(args.sidecar)?;
    let control = control::start(control::Settings::local(args.listen, folder.path().join("data"))).await?;
    let stage = tokio::select! {
        stage = Stage::set(&program, control.address(), folder.path()) => stage,
        // Sidecars that were started already are killed as they are dropped.
        () = shutdown.wait() => {
            control.stop().await?;
            return Ok(());
        }
    };
    let outcome = match stage {
        Ok(stage) => {
            let outcome = tokio::select! {
                outcome = stage.play(args) => outcome,
                () = shutdown.wait() => Ok(()),
            };
            say("Stopping the sidecars and the control plane.");
            stage.strike().await;
            outcome
        }
        Err(failure) => Err(failure),
    };
    control.stop().await?;
    outcome
}

/// Tells whoever watches; a reader that went away ends the demo by its own signal.
fn say(text: &str) {
    let _ = output::emit(&format!("{text}\n"));
}

/// Everything that is running, but for the control plane.
struct Stage {
    client: Client,
    control: SocketAddr,
    apps: Vec<App>,
    sidecars: Vec<Sidecar>,
    caller: Caller,
}

impl Stage {
    /// Makes the mesh and starts applications and sidecars.
    async fn set(program: &Program, control: SocketAddr, folder: &std::path::Path) -> Result<Self, Failure> {
        say(&format!("Control plane with an embedded store on http://{control}"));
        let endpoint = format!("http://{control}").parse().context("an address is an endpoint")?;
        let client = Client::new(endpoint);
        mesh::make(&client, BEFORE).await?;
        say(&format!("Mesh `{}`: {CALLER} -> {SERVICE} -> {} or {}", mesh::MESH, VERSIONS[0], VERSIONS[1]));

        let ports = Ports::free(3)?;
        let mut apps = Vec::new();
        let mut sidecars = Vec::new();
        for (version, ports) in VERSIONS.into_iter().zip(&ports) {
            let app = App::start(version).await?;
            sidecars
                .push(Sidecar::start(program, version, *ports, Some(app.address), control, folder).await?);
            apps.push(app);
        }
        sidecars.push(Sidecar::start(program, CALLER, ports[2], None, control, folder).await?);
        for sidecar in &mut sidecars {
            sidecar.ready().await?;
            say(&format!(
                "{:<9} sidecar ({}) ready, admin on http://127.0.0.1:{}",
                sidecar.node,
                program.name(),
                sidecar.ports.admin
            ));
        }
        let egress = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[2].egress));
        let caller = Caller { egress, host: SERVICE, versions: VERSIONS, seen: Arc::new(Seen::default()) };
        let stage = Self { client, control, apps, sidecars, caller };
        stage.first_answers().await?;
        Ok(stage)
    }

    /// Waits until both versions have answered: endpoints arrive a moment after the sidecars that announce them.
    async fn first_answers(&self) -> Result<(), Failure> {
        let answered = timeout(FIRST_ANSWER_PATIENCE, async {
            loop {
                self.caller.seen.reset();
                self.caller.send(20).await;
                if self.caller.seen.failed() == 0
                    && self.caller.seen.versions().iter().all(|count| *count > 0)
                {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        answered.await.map_err(|_| {
            let [v1, v2] = self.caller.seen.versions();
            let failed = self.caller.seen.failed();
            Failure::Other(anyhow::anyhow!(
                "the mesh does not answer: of the last 20 requests {v1} reached {}, {v2} reached {} and {failed} failed",
                VERSIONS[0],
                VERSIONS[1]
            ))
        })
    }

    async fn play(&self, args: &Args) -> Result<(), Failure> {
        if args.check {
            return self.check(args.requests).await;
        }
        self.tell();
        let view = self.show();
        let traffic = self.caller.run(args.rate);
        tokio::select! {
            failure = view => failure,
            () = traffic => Ok(()),
            () = sleep(Duration::from_secs(args.seconds.unwrap_or(SECONDS_FOREVER))) => Ok(()),
        }
    }

    /// Judges the split, shifts it, and judges again.
    async fn check(&self, requests: u64) -> Result<(), Failure> {
        let mut holds = self.judge(BEFORE, requests).await;
        say(&format!("Shifting to {}/{}", AFTER[0], AFTER[1]));
        mesh::shift(&self.client, AFTER).await?;
        sleep(SHIFT_PATIENCE).await;
        holds &= self.judge(AFTER, requests).await;
        if !holds {
            return Err(Failure::Check("the observed split is not the configured one".to_owned()));
        }
        say("Both splits are the configured ones.");
        Ok(())
    }

    async fn judge(&self, weights: Weights, requests: u64) -> bool {
        say(&format!("Sending {requests} requests at {}/{}", weights[0], weights[1]));
        let received_before = self.received();
        self.caller.seen.reset();
        self.caller.send(requests).await;
        let sum = weights.iter().sum::<u64>() as f64;
        let answered = self.caller.seen.versions();
        let shares = (0..2).map(|index| Share {
            version: VERSIONS[index].to_owned(),
            expected: weights[index] as f64 / sum,
            requests: answered[index],
        });
        let verdict = Verdict { shares: shares.collect(), failed: self.caller.seen.failed() };
        verdict.lines().iter().for_each(|line| say(line));
        // What the versions received must be what the caller was answered: nothing lost, nothing sent twice.
        let received = self.received();
        let agrees = (0..2).all(|index| received[index] - received_before[index] == answered[index]);
        if !agrees {
            say(&format!(
                "  but the versions received {:?} requests",
                [0, 1].map(|index: usize| received[index] - received_before[index])
            ));
        }
        verdict.holds() && agrees
    }

    fn tell(&self) {
        let program = std::env::args().next().unwrap_or_else(|| "selvedge".to_owned());
        let endpoint = format!("http://{}", self.control);
        say("\nShift the traffic from another terminal:\n");
        for weights in [[50, 50], [0, 100]] {
            say(&format!("  {}\n", mesh::shift_command(&program, &endpoint, weights)));
        }
        say("Ask about it:\n");
        say(&format!("  {program} status --endpoint-url {endpoint} --mesh {}", mesh::MESH));
        say(&format!(
            "  {program} explain --endpoint-url {endpoint} --mesh {} --from {CALLER} GET http://{SERVICE}/\n",
            mesh::MESH
        ));
        say(&format!("  curl -s -H 'Host: {SERVICE}' http://{}/\n", self.caller.egress));
        say("Ctrl-C ends the demo and everything it started.\n");
    }

    /// Draws the table until the program ends.
    async fn show(&self) -> Result<(), Failure> {
        let mut view = View::new(Instant::now());
        loop {
            sleep(view.pause()).await;
            let weights = mesh::weights(&self.client).await?;
            let sample = Sample { received: self.received(), failed: self.caller.seen.failed() };
            view.draw(weights, sample, Instant::now());
        }
    }

    fn received(&self) -> [u64; 2] {
        [0, 1].map(|index: usize| self.apps[index].received())
    }

    /// Ends the sidecars, all at once, and then the applications.
    async fn strike(self) {
        let mut stopping = tokio::task::JoinSet::new();
        for sidecar in self.sidecars {
            stopping.spawn(sidecar.stop());
        }
        stopping.join_all().await;
        drop(self.apps);
    }
}
