//! `selvedge register`: any process as an instance of a service, for as long as it lives and is well.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use selvedge_client::{Client, Endpoint, Error};
use selvedge_traffic::health::{Checker, Transition};
use selvedge_traffic::{HealthCheck, HealthLog, HealthPace, HealthProbe};
use selvedge_upstream::probe;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::endpoint;
use crate::exit::Failure;
use crate::role::signal::Shutdown;

/// Where leases are taken.
const LEASES: &str = "/selvedge/v1/leases";

/// How soon a server that could not be reached is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a program may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Register a process as an instance of a Cloud Map service, with a lease, and take it away when it ends
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge register --service shop.local/web --instance web-1 --port 8080 --health http:/healthz
  selvedge register --service shop.local/api --instance api-1 --port 9000 --health grpc -- ./my-server --port 9000
  selvedge register --service shop.local/db --instance db-1 --port 5432 --address 10.0.0.7 --health tcp

It renews its lease until SIGTERM or SIGINT, or until the program ends. Then the instance is deregistered; a program that
still runs is left to finish what it has, for the time of the draining, and then ended.")]
pub(crate) struct Args {
    /// The service: NAMESPACE/SERVICE, its identifier or its ARN
    #[arg(long, value_name = "SERVICE")]
    service: String,
    /// The instance's identifier, unique in the service
    #[arg(long, value_name = "ID")]
    instance: String,
    /// The port that is called
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The address that is called; that by which this machine reaches the server when left out
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// An attribute of the instance; may be given again
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// How its health is found out: http[:PATH], grpc[:SERVICE] or tcp; it counts as healthy when left out
    #[arg(long, value_name = "PROBE", value_parser = health)]
    health: Option<HealthProbe>,
    /// Seconds between probes
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    health_interval: u64,
    /// Seconds that a probe may take
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    health_timeout: u64,
    /// Probes without an answer after which it is unhealthy; a wrong answer counts at once
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    unhealthy_threshold: u32,
    /// Seconds that the registration lasts without a word from here
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=300))]
    ttl: u64,
    /// The server; else AWS_ENDPOINT_URL_APP_MESH, AWS_ENDPOINT_URL, http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// A program to run meanwhile
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    // Probes keep their connections to one thread.
    tokio::task::LocalSet::new().run_until(Box::pin(serve(args))).await
}

async fn serve(args: &Args) -> Result<(), Failure> {
    let mut shutdown = Shutdown::catch()?;
    let endpoint = endpoint::resolve(args.endpoint_url.as_deref())?;
    let mut holder = Holder::new(args, &endpoint)?;
    let mut child = start(&args.command)?;
    holder.take().await?;
    eprintln!("{} is registered as {} of {}", holder.address, args.instance, args.service);
    let ended = loop {
        tokio::select! {
            () = shutdown.wait() => break None,
            ended = exit(&mut child) => break Some(ended?),
            () = tokio::time::sleep_until(holder.next_timeout().into()) => holder.handle_timeout().await?,
        }
    };
    let drain = holder.release().await;
    match (ended, child) {
        (Some(status), _) => finish(status),
        (None, Some(child)) => stop(child, &mut shutdown, drain).await,
        (None, None) => Ok(()),
    }
}

/// Whoever holds the lease.
struct Holder<'a> {
    args: &'a Args,
    client: Client,
    address: SocketAddr,
    check: Option<HealthCheck>,
    checker: Checker,
    epoch: Option<u64>,
    renew_at: Instant,
}

impl<'a> Holder<'a> {
    fn new(args: &'a Args, endpoint: &Endpoint) -> Result<Self, Failure> {
        let ip = match args.address {
            Some(ip) => ip,
            None => own_address(endpoint)?,
        };
        let ttl = Duration::from_secs(args.ttl);
        let check = args.health.clone().map(|probe| HealthCheck {
            interval: Duration::from_secs(args.health_interval),
            pace: HealthPace::default(),
            timeout: Duration::from_secs(args.health_timeout),
            healthy_threshold: 1,
            unhealthy_threshold: args.unhealthy_threshold.max(1),
            port: None,
            probe,
            log: HealthLog::default(),
        });
        let now = Instant::now();
        // A server that does not answer must not use up the lease.
        let client = Client::new(endpoint.clone()).with_timeouts(ttl / 3, ttl / 3);
        let address = SocketAddr::new(ip, args.port);
        Ok(Self { args, client, address, check, checker: Checker::new(now), epoch: None, renew_at: now })
    }

    /// Takes the lease. What has a probe begins as unhealthy, until the first one passes.
    async fn take(&mut self) -> Result<(), Failure> {
        let mut attributes = serde_json::Map::new();
        let key = if self.address.is_ipv4() { "AWS_INSTANCE_IPV4" } else { "AWS_INSTANCE_IPV6" };
        attributes.insert(key.to_owned(), self.address.ip().to_string().into());
        attributes.insert("AWS_INSTANCE_PORT".to_owned(), self.args.port.to_string().into());
        attributes
            .extend(self.args.attributes.iter().map(|(key, value)| (key.clone(), value.clone().into())));
        let mut document = self.document();
        document["attributes"] = Value::Object(attributes);
        document["ttlMillis"] = (self.args.ttl * 1000).into();
        document["healthy"] = self.is_healthy().into();
        let taken = self.client.post(LEASES, &document).await.inspect_err(|_| {
            let ip = self.address.ip();
            if self.args.address.is_none() && ip.is_loopback() {
                eprintln!("{ip} is how this machine reaches the server; --address names how others reach this machine");
            }
        })?;
        self.epoch = taken.get("epoch").and_then(Value::as_u64);
        self.renew_at = Instant::now() + self.period();
        Ok(())
    }

    fn next_timeout(&self) -> Instant {
        let probe_at = self.check.as_ref().map(|_| self.checker.next_timeout());
        probe_at.map_or(self.renew_at, |at| at.min(self.renew_at))
    }

    async fn handle_timeout(&mut self) -> Result<(), Failure> {
        if let Some(check) = &self.check
            && self.checker.next_timeout() <= Instant::now()
        {
            let result = probe::once(self.address, check, &self.args.instance).await;
            if self.checker.handle_result(result, check, true, 0, Instant::now()) != Transition::None {
                let now = if self.checker.is_healthy() { "healthy" } else { "unhealthy" };
                eprintln!("{} is {now}", self.args.instance);
                self.renew_at = Instant::now();
            }
        }
        if self.renew_at <= Instant::now() {
            self.renew().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let mut document = self.document();
        document["epoch"] = self.epoch.into();
        document["healthy"] = self.is_healthy().into();
        let renewed = match self.client.put(LEASES, &document).await {
            Ok(_) => Ok(()),
            Err(Error::Service(refused)) if refused.status == 410 => {
                eprintln!("the lease has ended; registering again");
                self.take().await
            }
            Err(other) => Err(other.into()),
        };
        match renewed {
            Ok(()) => self.renew_at = Instant::now() + self.period(),
            // Another holds the instance, or it may not be registered any more.
            Err(refused @ Failure::Refused(_)) => return Err(refused),
            Err(error) => {
                eprintln!("the lease could not be renewed, tried again soon: {error}");
                self.renew_at = Instant::now() + RETRY;
            }
        }
        Ok(())
    }

    /// Gives the lease back; how long the instance is drained.
    async fn release(&mut self) -> Duration {
        let mut document = self.document();
        document["epoch"] = self.epoch.into();
        match self.client.delete_named(LEASES, &document).await {
            Ok(released) => {
                let millis = released.get("drainMillis").and_then(Value::as_u64).unwrap_or_default();
                Duration::from_millis(millis)
            }
            Err(error) => {
                eprintln!("the instance could not be deregistered, its lease will end: {error}");
                Duration::ZERO
            }
        }
    }

    fn document(&self) -> Value {
        json!({ "service": self.args.service, "instance": self.args.instance })
    }

    fn is_healthy(&self) -> bool {
        self.check.is_none() || self.checker.is_healthy()
    }

    /// Three renewals in a lease, so that two may be lost.
    fn period(&self) -> Duration {
        Duration::from_secs(self.args.ttl) / 3
    }
}

fn start(command: &[String]) -> Result<Option<Child>, Failure> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let child = Command::new(program).args(arguments).kill_on_drop(true).spawn();
    child.map(Some).map_err(|error| Failure::Usage(format!("failed to start {program}: {error}")))
}

/// Waits for the program's end; for ever where there is none.
async fn exit(child: &mut Option<Child>) -> std::io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

/// Lets a program finish what it has, and ends it.
async fn stop(mut child: Child, shutdown: &mut Shutdown, drain: Duration) -> Result<(), Failure> {
    tokio::select! {
        ended = child.wait() => return finish(ended?),
        () = tokio::time::sleep(drain) => {}
        () = shutdown.wait() => {}
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid {
        // It may have ended this very moment.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match tokio::time::timeout(STOP_MAX, child.wait()).await {
        Ok(ended) => {
            ended?;
            Ok(())
        }
        Err(_) => {
            child.kill().await?;
            Err(Failure::Check("the program did not end after SIGTERM and was killed".to_owned()))
        }
    }
}

fn finish(status: ExitStatus) -> Result<(), Failure> {
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Failure::Program(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}

/// The address by which this machine reaches the server. Nothing is sent.
fn own_address(endpoint: &Endpoint) -> Result<IpAddr, Failure> {
    let host = endpoint.host();
    let any = if host.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let found = UdpSocket::bind(any)
        .and_then(|socket| socket.connect((host, endpoint.port())).map(|()| socket))
        .and_then(|socket| socket.local_addr());
    let found = found
        .map_err(|error| Failure::Usage(format!("name the --address: there is no way to {host}: {error}")))?;
    Ok(found.ip())
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is written KEY=VALUE")?;
    if key.starts_with("AWS_INSTANCE_") {
        return Err(format!("{key} follows from --address and --port"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn health(text: &str) -> Result<HealthProbe, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    Ok(match kind {
        "http" | "http2" if rest.is_empty() || rest.starts_with('/') => HealthProbe::Http {
            statuses: Vec::new(),
            path: if rest.is_empty() { "/".to_owned() } else { rest.to_owned() },
            host: String::new(),
            http2: kind == "http2",
        },
        "grpc" => HealthProbe::Grpc { service: rest.to_owned(), authority: String::new() },
        "tcp" if rest.is_empty() => HealthProbe::Tcp,
        _ => return Err("write http[:/PATH], http2[:/PATH], grpc[:SERVICE] or tcp".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_and_attributes_are_read() {
        let http = |path: &str| HealthProbe::Http {
            path: path.into(),
            host: String::new(),
            http2: false,
            statuses: Vec::new(),
        };
        assert_eq!(health("http"), Ok(http("/")));
        assert_eq!(health("http:/healthz"), Ok(http("/healthz")));
        let grpc = HealthProbe::Grpc { service: "shop.Api".into(), authority: String::new() };
        assert_eq!(health("grpc:shop.Api"), Ok(grpc));
        assert_eq!(health("tcp"), Ok(HealthProbe::Tcp));
        for other in ["", "http:healthz", "tcp:80", "udp"] {
            assert!(health(other).is_err(), "{other}");
        }
        assert_eq!(attribute("version=a=b"), Ok(("version".into(), "a=b".into())));
        assert!(attribute("version").is_err() && attribute("AWS_INSTANCE_PORT=1").is_err());
    }
}
