//! `selvedge edge`: the web server at the border, under lighttpd's own options.

mod background;
mod check;
mod disk;
mod explain;
mod features;
mod live;
mod load;
mod mesh;
mod names;
mod print;
mod publish;
mod surroundings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::endpoint;
use crate::exit::Failure;
use crate::output;
use crate::role::logging::{self, LogArgs};
use crate::supervise::notify;
use load::{Form, Loaded};
use selvedge_edge::Address;
use selvedge_site::lighttpd::Level;

/// Serve files, programs, backends and the mesh to the outside world; reads lighttpd.conf
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    disable_help_flag = true,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  selvedge edge -D -f /etc/lighttpd/lighttpd.conf      serve, in the foreground
  selvedge edge -tt -f lighttpd.conf                   is it right?
  selvedge edge check lighttpd.conf                    the same, with every finding at its place
  selvedge edge print lighttpd.conf                    what it says once variables and includes are worked out
  selvedge edge explain -f lighttpd.conf https://shop.example.com/api/
  selvedge edge convert lighttpd.conf > edge.toml      our own form, with comments for what has no equal

The options are lighttpd's. Started under the name lighttpd, selvedge is `selvedge edge`."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<EdgeCommand>,
    /// The configuration; - is standard input
    #[arg(short = 'f', value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Accepted and of no consequence: modules are built in
    #[arg(short = 'm', value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Leave after this many seconds without a connection
    #[arg(short = 'i', value_name = "SECS", allow_hyphen_values = true)]
    idle: Option<String>,
    /// Answer one request on the socket that is standard input, then leave
    #[arg(short = '1')]
    one: bool,
    /// Print the configuration in its normal form, then leave
    #[arg(short = 'p')]
    print: bool,
    /// Check the configuration, then leave; twice: its modules' directives as well
    #[arg(short = 't', action = clap::ArgAction::Count)]
    test: u8,
    /// Stay in the foreground; an edge of an edge.toml does in any case
    #[arg(short = 'D')]
    foreground: bool,
    /// The second one, which the first one waits for
    #[arg(long, hide = true)]
    in_background: bool,
    /// Show the version
    #[arg(short = 'v')]
    version: bool,
    /// Show the features
    #[arg(short = 'V')]
    features: bool,
    /// Show this help
    #[arg(short = 'h', long = "help", global = true, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    #[command(flatten)]
    reading: Reading,
    /// The API, for requests that start workflows
    #[arg(long, value_name = "URL", env = "SELVEDGE_EDGE_ENDPOINT")]
    endpoint_url: Option<String>,
    /// The mesh of the edge's gateway; the only one when left out
    #[arg(long, value_name = "NAME", env = "SELVEDGE_EDGE_MESH")]
    mesh: Option<String>,
    /// The egress of a sidecar beside the edge, for requests that go to virtual services: ADDRESS:PORT, or the path of a socket.
    /// Left out, an edge with mesh.gateway has the data plane in itself, and any other asks 127.0.0.1:15001
    #[arg(long, value_name = "ADDRESS", env = "SELVEDGE_EDGE_EGRESS")]
    egress: Option<String>,
    /// Read the configuration again when its files change
    #[arg(long)]
    watch: bool,
    /// A socket for operators, POST /reload, and for a new binary, which takes the place of the running one when it is started with the same
    #[arg(long, value_name = "PATH", env = "SELVEDGE_EDGE_CONTROL")]
    control: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

/// How a configuration is read.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Reading {
    /// Let include_shell run commands; Debian's helper scripts and cat are done without
    #[arg(long, global = true)]
    allow_shell: bool,
    /// Whose meaning counts where versions of lighttpd differ
    #[arg(long, global = true, value_enum, default_value_t = CompatArg::V1_4_85)]
    compat: CompatArg,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CompatArg {
    /// Debian 12's
    #[value(name = "1.4.69")]
    V1_4_69,
    /// The newest
    #[value(name = "1.4.85")]
    V1_4_85,
}

/// In which form something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, clap::Subcommand)]
enum EdgeCommand {
    /// Show what is wrong or odd in a configuration, at its place
    Check(check::CheckArgs),
    /// Print a configuration in its normal form, as -p does
    Print(FileArgs),
    /// Say which rules hold for a URL, and which value came from which line
    Explain(explain::ExplainArgs),
    /// Print a lighttpd.conf as edge.toml, with a comment for what has no equal
    Convert(FileArgs),
    /// Print the gateway routes that the edge publishes to the mesh
    Routes(FileArgs),
    /// Print the JSON Schema of edge.toml
    Schema,
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The configuration; - is standard input
    file: PathBuf,
}

/// Where a sidecar's egress is unless somebody says otherwise.
const EGRESS_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15_001);
/// What lighttpd ends with when it does not start.
const REFUSED: u8 = 255;

/// What a command line that cannot be acted on ends with, if it is one of lighttpd's options and none of our commands.
pub(crate) fn refusal(words: &[std::ffi::OsString]) -> Option<Failure> {
    let [_, edge, rest @ ..] = words else { return None };
    let is_command = |word: &std::ffi::OsString| {
        word.to_str().is_some_and(<EdgeCommand as clap::Subcommand>::has_subcommand)
    };
    (edge == "edge" && !rest.first().is_some_and(is_command)).then_some(Failure::Program(REFUSED))
}

/// Does what was asked for.
///
/// # Errors
/// [`Failure`], which knows the exit code.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Some(EdgeCommand::Check(what)) => check::run(what, args.reading.into()),
        Some(EdgeCommand::Print(file)) => print(file, args.reading),
        Some(EdgeCommand::Explain(question)) => explain::run(question, args.reading.into()),
        Some(EdgeCommand::Convert(file)) => convert(file, args.reading),
        Some(EdgeCommand::Routes(file)) => routes(file, args.reading),
        Some(EdgeCommand::Schema) => {
            let schema = serde_json::to_string_pretty(&selvedge_site::edge_toml::schema());
            Ok(output::emit(&(schema.map_err(anyhow::Error::from)? + "\n"))?)
        }
        None => as_lighttpd(args),
    }
}

fn as_lighttpd(args: &Args) -> Result<(), Failure> {
    if args.version {
        return Ok(output::emit(&features::version())?);
    }
    if args.features {
        return Ok(output::emit(&features::features())?);
    }
    let file = match args.file.as_slice() {
        [file] => file,
        [] => return Err(refuse("No configuration available. Try using -f option.")),
        _ => {
            return Err(refuse(
                "Can only read one config file. Use the include command to use multiple config files.",
            ));
        }
    };
    let idle = args.idle.as_deref().map(str::parse::<u64>).transpose();
    let idle = idle.map_err(|_| refuse("Invalid idle timeout value: it is a number of seconds"))?;
    let serves = args.test == 0 && !args.print;
    if serves && !args.foreground && !args.one && !args.in_background && background::is_for(file) {
        return background::start();
    }
    if args.in_background {
        background::settle()?;
    }
    let level = if args.test > 1 || serves { Level::Modules } else { Level::Syntax };
    let loaded = load::load(file, args.reading.into(), level);
    let loaded = match args.test {
        0 | 1 => loaded,
        _ => loaded.with_files_looked_at().with_surroundings(check::now()),
    };
    eprint!("{}", loaded.report());
    if args.print
        && let Some(form) = &loaded.normal_form
    {
        output::emit(form)?;
    }
    if loaded.failed() {
        return Err(Failure::Program(REFUSED));
    }
    if args.test == 1 {
        output::emit("Syntax OK\n")?;
    }
    if args.test > 0 || args.print {
        return Ok(());
    }
    serve(loaded, file, idle, args)
}

/// Serves until it is told to leave.
fn serve(loaded: Loaded, file: &std::path::Path, idle: Option<u64>, args: &Args) -> Result<(), Failure> {
    let files = Arc::new(Mutex::new(loaded.files()));
    // What changes from here on is read again, however long it takes until somebody looks.
    let as_read = load::fingerprint(&loaded.files());
    let Some(program) = loaded.program else { return Err(Failure::Program(REFUSED)) };
    logging::start(&args.log, "info")?;
    let terminate = match load::is_own_form(file) {
        true => selvedge_edge::Terminate::InTime,
        false => selvedge_edge::Terminate::AtOnce,
    };
    let has_error_log = program.base().directives.server.errorlog.is_some();
    let in_background = args.in_background;
    let serving: Box<dyn FnOnce() + Send> = Box::new(move || {
        notify::ready();
        if in_background {
            background::serving(has_error_log);
        }
    });
    let (file, form) = (file.to_owned(), Form::from(args.reading));
    let known = Arc::clone(&files);
    let reload = move || {
        let loaded = load::load(&file, form, Level::Modules).with_files_looked_at_again();
        let report = loaded.report();
        if loaded.program.is_some() {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = loaded.files();
        }
        loaded.program.ok_or(report)
    };
    let watch: selvedge_edge::Watch =
        Box::new(move || load::fingerprint(&files.lock().unwrap_or_else(PoisonError::into_inner)));
    let endpoint = endpoint::resolve(args.endpoint_url.as_deref())?;
    let is_gateway = program.global().mesh_gateway.as_deref().is_some_and(|name| !name.is_empty());
    let way = match &args.egress {
        None if is_gateway && !args.one => Some(mesh::Way::open(endpoint.clone(), args.mesh.clone())),
        _ => None,
    };
    let egress = match (&way, args.egress.as_deref()) {
        (Some(way), _) => Address::Unix(way.socket()),
        (None, None) => Address::Tcp(EGRESS_DEFAULT),
        (None, Some(text)) => match text.parse() {
            Ok(address) => Address::Tcp(address),
            Err(_) if text.starts_with('/') => Address::Unix(text.into()),
            Err(_) => return Err(Failure::Usage(format!("--egress {text}: ADDRESS:PORT or a path"))),
        },
    };
    let in_force = way.as_ref().map(|way| -> selvedge_edge::InForce { Box::new(way.teller()) });
    let data_planes = way.as_ref().map(mesh::Way::data_planes);
    let mesh = selvedge_edge::Mesh { endpoint, egress };
    let options = selvedge_edge::Options {
        mesh: Some(mesh),
        data_planes,
        standing: way.as_ref().map(mesh::Way::standing),
        workers: None,
        idle_seconds: idle,
        one: args.one,
        reload: Some(Box::new(reload)),
        in_force,
        watch: args.watch.then_some((watch, as_read)),
        control: args.control.clone(),
        terminate,
        serving: Some(serving),
    };
    selvedge_edge::run(program, options).map_err(|error| refuse(&format!("{:#}", anyhow::Error::new(error))))
}

fn print(args: &FileArgs, reading: Reading) -> Result<(), Failure> {
    let loaded = load::load(&args.file, reading.into(), Level::Syntax);
    eprint!("{}", loaded.report());
    if let Some(form) = &loaded.normal_form {
        output::emit(form)?;
    }
    if loaded.failed() { Err(Failure::Program(REFUSED)) } else { Ok(()) }
}

fn convert(args: &FileArgs, reading: Reading) -> Result<(), Failure> {
    match load::converted(&args.file, reading.into()) {
        Ok(text) => Ok(output::emit(&text)?),
        Err(report) => {
            eprint!("{report}");
            Err(Failure::Program(REFUSED))
        }
    }
}

fn routes(args: &FileArgs, reading: Reading) -> Result<(), Failure> {
    let loaded = load::load(&args.file, reading.into(), Level::Modules);
    let Some(program) = &loaded.program else {
        eprint!("{}", loaded.report());
        return Err(Failure::Program(REFUSED));
    };
    let published = selvedge_site::gateway::published(program);
    for found in &published.diagnostics {
        eprint!("{}", found.shown(&loaded.sources));
    }
    let gateway = published.gateway.as_deref().unwrap_or("");
    for route in &published.routes {
        let document = serde_json::json!({
            "gatewayRouteName": route.name, "virtualGatewayName": gateway, "spec": route.spec,
        });
        output::emit(&format!("{document}\n"))?;
    }
    Ok(())
}

fn refuse(message: &str) -> Failure {
    eprintln!("selvedge edge: {message}");
    Failure::Program(REFUSED)
}

impl From<Reading> for Form {
    fn from(reading: Reading) -> Self {
        let compat = match reading.compat {
            CompatArg::V1_4_69 => selvedge_site::Compat::V1_4_69,
            CompatArg::V1_4_85 => selvedge_site::Compat::V1_4_85,
        };
        Self { compat, allow_shell: reading.allow_shell }
    }
}
