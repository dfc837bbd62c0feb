//! `selvedge redirect`: the kernel's rules that lead an application's connections to its sidecar.

use std::str::FromStr;

use clap::builder::FalseyValueParser;
use selvedge_intercept::{Backend, Choice, Network, Settings, Switch};

use crate::exit::Failure;
use crate::output;

/// Install, show or remove the rules that lead an application's connections to its sidecar
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge redirect install --app-ports 8080            connections to 8080 come in through the sidecar, all go out through it
  selvedge redirect install --app-ports 8080 --dry-run  print the rules, change nothing
  selvedge redirect show
  selvedge redirect remove

The rules are those of App Mesh's proxy route manager, in its chains APPMESH_INGRESS and APPMESH_EGRESS, and its
variables (APPMESH_APP_PORTS and so on) are read. The sidecar must run as the ignored user (1337), or its own connections
would be led back to it. Rules hold for one network namespace: `ip netns exec NAME selvedge redirect …` for another.
See docs/guide/interception.md.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Put the rules in place, replacing those that stand there; all of them, or none
    Install(Box<Install>),
    /// Print the rules that are in place
    Show(Program),
    /// Take the rules away; not an error if there are none
    Remove(Program),
}

#[derive(Debug, Clone, clap::Args)]
struct Program {
    /// Who speaks to the kernel: auto, nft or iptables
    #[arg(long, value_name = "NAME", default_value_t)]
    backend: Choice,
}

/// What is redirected, wherever it is asked for.
#[derive(Debug, Clone, clap::Args)]
struct Install {
    #[command(flatten)]
    program: Program,
    /// Print the rules and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The ports where the application listens, separated by commas; none leaves incoming connections alone
    #[arg(long, value_name = "PORTS", env = "APPMESH_APP_PORTS", default_value = "")]
    app_ports: List<u16>,
    /// The user that the sidecar runs as; nothing to ignore none
    #[arg(long, value_name = "UID", env = "APPMESH_IGNORE_UID", default_value = "1337")]
    ignore_uid: Optional,
    /// The group that the sidecar runs as; nothing to ignore none
    #[arg(long, value_name = "GID", env = "APPMESH_IGNORE_GID", default_value = "")]
    ignore_gid: Optional,
    /// Lead away the outgoing connections of this user alone, on a host where others work, too
    #[arg(long, value_name = "UID")]
    only_uid: Option<u32>,
    /// Where the sidecar takes incoming connections
    #[arg(long, value_name = "PORT", env = "APPMESH_ENVOY_INGRESS_PORT", default_value_t = 15000)]
    ingress_port: u16,
    /// Where the sidecar takes outgoing connections
    #[arg(long, value_name = "PORT", env = "APPMESH_ENVOY_EGRESS_PORT", default_value_t = 15001)]
    egress_port: u16,
    /// Destinations that are left alone: addresses or ranges, separated by commas
    #[arg(
        long,
        value_name = "ADDRESSES",
        env = "APPMESH_EGRESS_IGNORED_IP",
        default_value = "169.254.169.254,169.254.170.2"
    )]
    egress_ignored_ips: List<Network>,
    /// Destination ports that are left alone, separated by commas; 22 always is
    #[arg(long, value_name = "PORTS", env = "APPMESH_EGRESS_IGNORED_PORTS", default_value = "")]
    egress_ignored_ports: List<u16>,
    /// Redirect IPv6 as well; the sidecar must then listen on it, which an IP preference of the mesh or node brings about
    #[arg(long, env = "APPMESH_ENABLE_IPV6", action = clap::ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    ipv6: bool,
    /// Lead questions to any name server (port 53, UDP and TCP) to this port of loopback
    #[arg(long, value_name = "PORT", env = "SELVEDGE_DNS_PORT")]
    dns_port: Option<u16>,
    /// 0 makes the chains, empty, and redirects nothing
    #[arg(long, value_name = "0|1", env = "APPMESH_START_ENABLED", default_value = "1", value_parser = switch)]
    start_enabled: SwitchValue,
}

/// Values separated by commas; blanks between them are nothing.
#[derive(Debug, Clone)]
struct List<T>(Vec<T>);

/// A number, or nothing.
#[derive(Debug, Clone)]
struct Optional(Option<u32>);

#[derive(Debug, Clone)]
struct SwitchValue(Switch);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Install(install) => install.run(),
        Action::Show(program) => show(program.backend),
        Action::Remove(program) => {
            let backend = program.backend.find().map_err(refused)?;
            backend.remove().map_err(refused)?;
            Ok(output::emit("no connection is redirected\n")?)
        }
    }
}

impl Install {
    fn run(&self) -> Result<(), Failure> {
        let settings = self.settings();
        if let Some(contradiction) = settings.contradiction() {
            return Err(Failure::Usage(contradiction));
        }
        if self.dry_run {
            let backend = match self.program.backend {
                Choice::This(backend) => backend,
                // Nobody needs rights, or any program, to read what would be done.
                Choice::Auto => self.program.backend.find().unwrap_or(Backend::Nft),
            };
            return Ok(output::emit(&backend.script(&settings))?);
        }
        let backend = self.program.backend.find().map_err(refused)?;
        backend.install(&settings).map_err(refused)?;
        Ok(output::emit(&told(&settings, backend))?)
    }

    fn settings(&self) -> Settings {
        Settings {
            switch: self.start_enabled.0,
            ignore_uid: self.ignore_uid.0,
            ignore_gid: self.ignore_gid.0,
            only_uid: self.only_uid,
            app_ports: self.app_ports.0.clone(),
            ingress_port: self.ingress_port,
            egress_port: self.egress_port,
            egress_ignored_ips: self.egress_ignored_ips.0.clone(),
            egress_ignored_ports: self.egress_ignored_ports.0.clone(),
            ipv6: self.ipv6,
            dns_port: self.dns_port,
        }
    }
}

/// What is so from now on, in a line or two.
fn told(settings: &Settings, backend: Backend) -> String {
    if settings.switch == Switch::Off {
        return format!("the chains are in place ({backend}) and redirect nothing\n");
    }
    let ports: Vec<String> = settings.app_ports.iter().map(u16::to_string).collect();
    let incoming = match &ports[..] {
        [] => "incoming connections are left alone".to_owned(),
        ports => format!("incoming connections to {} go to {}", ports.join(", "), settings.ingress_port),
    };
    let versions = if settings.ipv6 { "IPv4 and IPv6" } else { "IPv4" };
    format!("{incoming}; outgoing ones to {} ({backend}, {versions})\n", settings.egress_port)
}

fn show(choice: Choice) -> Result<(), Failure> {
    let first = choice.find().map_err(refused)?;
    let mut text = first.show().map_err(refused)?;
    if choice == Choice::Auto {
        // Another hand may have used the other one; where it cannot be asked, it holds nothing.
        text.push_str(&first.other().show().unwrap_or_default());
    }
    if text.is_empty() {
        text.push_str("no connection is redirected\n");
    }
    Ok(output::emit(&text)?)
}

fn refused(error: selvedge_intercept::Error) -> Failure {
    match error {
        selvedge_intercept::Error::Contradiction(text) => Failure::Usage(text),
        other => Failure::Other(anyhow::anyhow!("{other}")),
    }
}

impl<T: FromStr> FromStr for List<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let read = |part: &str| part.parse().map_err(|error| format!("{part:?}: {error}"));
        parts.map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Optional {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|id| Self(Some(id))) }
    }
}

fn switch(text: &str) -> Result<SwitchValue, String> {
    match text.trim() {
        "1" | "true" => Ok(SwitchValue(Switch::On)),
        "0" | "false" => Ok(SwitchValue(Switch::Off)),
        _ => Err("write 1 or 0".to_owned()),
    }
}
