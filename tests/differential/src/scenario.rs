//! What a suite file may say. The files under `scenarios/` are YAML in these shapes; unknown members are refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use crate::certificates::Authorities;

/// One file: a mesh, what stands in it, and the scenarios that play on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Suite {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// What the suite shows, for a reader.
    pub about: String,
    /// The applications, by name; each name is a placeholder for its port.
    #[serde(default)]
    pub apps: IndexMap<String, App>,
    /// Certificates by authority and name, in files below `$certs`: `AUTHORITY.pem`, `AUTHORITY.NAME.pem` and `.key`.
    #[serde(default)]
    pub authorities: Authorities,
    pub mesh: Mesh,
    pub sidecars: IndexMap<String, Sidecar>,
    pub scenarios: Vec<Scenario>,
}

/// An application behind the mesh.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    #[serde(default)]
    pub speaks: Speaks,
    /// What it answers from its start and where a scenario has no script for it; by default 200 with its name.
    #[serde(default)]
    pub answer: Option<Answer>,
}

/// What an application speaks on its port.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge; gRPC as well.
    Http2,
    /// Sends back what it receives.
    Tcp,
    /// The port is free: connections to it are refused.
    Nothing,
}

/// The mesh, in the shapes of the App Mesh API.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mesh {
    #[serde(default)]
    pub spec: Option<Value>,
    #[serde(default)]
    pub virtual_nodes: IndexMap<String, Value>,
    #[serde(default)]
    pub virtual_routers: IndexMap<String, Value>,
    /// By `router/route`.
    #[serde(default)]
    pub routes: IndexMap<String, Value>,
    #[serde(default)]
    pub virtual_services: IndexMap<String, Value>,
    #[serde(default)]
    pub virtual_gateways: IndexMap<String, Value>,
    /// By `gateway/route`.
    #[serde(default)]
    pub gateway_routes: IndexMap<String, Value>,
    /// By name; a `target` is what follows the mesh in an ARN, with its slash.
    #[serde(default)]
    pub policies: IndexMap<String, Value>,
}

/// A proxy of the plane under test.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sidecar {
    /// `virtualNode/NAME` or `virtualGateway/NAME`.
    pub resource: String,
    /// The real port of the application, by the port that the node's listener declares.
    #[serde(default)]
    pub app_ports: IndexMap<String, Value>,
    /// Where it stands, if it says so.
    #[serde(default)]
    pub zone: Option<String>,
}

/// What a client does, what the applications answer, and what to look at besides.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// The fact that it shows.
    pub name: String,
    /// What each application answers, in this order; the last answer repeats. The default is 200 with its name.
    #[serde(default)]
    pub answers: IndexMap<String, Vec<Answer>>,
    pub client: Vec<Step>,
    /// Further statistics to compare, as regular expressions over names.
    #[serde(default)]
    pub stats: Vec<String>,
    /// Statistics that time or chance decides here, as regular expressions over names.
    #[serde(default)]
    pub stats_ignored: Vec<String>,
    /// `false` where chance decides what each line of the access log says.
    #[serde(default = "yes")]
    pub compare_access_logs: bool,
}

/// What an application does with one request.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// A status; the body is the application's name.
    Status(u16),
    Full(Box<FullAnswer>),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FullAnswer {
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    pub body: Option<String>,
    #[serde(default)]
    pub trailers: IndexMap<String, String>,
    /// Waits before the head, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Waits between head and body, in milliseconds.
    #[serde(default)]
    pub body_delay_ms: u64,
    /// Bytes to write in place of an HTTP answer, before closing.
    pub raw: Option<String>,
    /// Closes without a byte.
    #[serde(default)]
    pub close: bool,
    /// HTTP/2: resets the stream with this code.
    pub reset: Option<u32>,
}

/// One thing that the client does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// `METHOD PATH`.
    pub request: Option<String>,
    /// Bytes to send as they are.
    pub raw: Option<String>,
    /// Waits, in milliseconds.
    pub pause_ms: Option<u64>,
    /// Waits until a statistic has a value, at most ten seconds.
    pub wait: Option<Wait>,
    /// Changes the mesh: `METHOD PATH`, with `body`.
    pub api: Option<String>,

    /// The authority.
    pub to: Option<String>,
    /// The sidecar whose port is used: `name` for egress (or a gateway), `name:ingress` for ingress.
    pub via: Option<String>,
    #[serde(default)]
    pub speaks: ClientSpeaks,
    /// Speaks TLS; HTTP/1.1 alone.
    pub tls: Option<ClientTls>,
    /// Pairs, so that a name may come twice.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
    /// Sends the body in chunks in place of a length.
    #[serde(default)]
    pub chunked: bool,
    #[serde(default)]
    pub trailers: Vec<(String, String)>,
    /// How many times; above [`Step::EACH_ANSWER_MAX`] answers are counted by body and not compared one by one.
    #[serde(default = "once")]
    pub times: usize,
    /// How many at a time.
    #[serde(default = "once")]
    pub parallel: usize,
    /// Goes away after so many milliseconds without waiting for the answer.
    pub leave_after_ms: Option<u64>,
    /// How long silence lasts before a raw exchange is taken to be over, in milliseconds; by default longer than the
    /// second that Envoy waits between an error and its close.
    #[serde(default = "quiet_ms")]
    pub quiet_ms: u64,
    #[serde(default)]
    pub expect: Expectation,
}

/// How the client speaks TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientTls {
    /// The server's name.
    pub sni: String,
    /// What the client shows: `$certs/AUTHORITY.NAME`.
    pub certificate: Option<String>,
    /// `1.2` or `1.3` alone; `1.1` as well.
    pub version: Option<String>,
    /// The ciphers that it offers for 1.2, as curl has them.
    pub ciphers: Option<String>,
    /// The groups that it offers.
    pub curves: Option<String>,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientSpeaks {
    #[default]
    Http,
    Http2,
    /// HTTP/2 with the headers of gRPC and a length-prefixed message.
    Grpc,
    /// Upgrades, then sends the body and reads as many bytes back.
    Websocket,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wait {
    pub stat: String,
    pub is: u64,
    /// More will do as well: for what counts on while nobody looks.
    #[serde(default)]
    pub or_more: bool,
    /// The sidecar asked; the only one by default.
    pub at: Option<String>,
}

/// What must be true of the answers in both planes: it keeps a scenario from agreeing for the wrong reason.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    pub status: Option<u16>,
    pub body: Option<String>,
    /// Headers that stand in the answer.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The share of each body among the answers, as weights.
    #[serde(default)]
    pub shares: IndexMap<String, u32>,
    /// How many answers had each status.
    #[serde(default)]
    pub statuses: IndexMap<String, usize>,
}

// === impl Suite ===

impl Suite {
    /// Reads one file.
    ///
    /// # Errors
    /// When it is not in the shape that this module describes.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let mut suite: Self =
            serde_norway::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        suite.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(suite)
    }

    /// Reads every file of a folder, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read, or two scenarios have one name.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        paths.sort();
        let suites: Vec<Self> = paths.iter().map(|path| Self::read(path)).collect::<Result<_>>()?;
        let mut names: Vec<String> = suites.iter().flat_map(Self::scenario_names).collect();
        names.sort();
        for pair in names.windows(2) {
            ensure!(pair[0] != pair[1], "two scenarios are called {}", pair[0]);
        }
        Ok(suites)
    }

    /// `suite: scenario`, for each.
    pub fn scenario_names(&self) -> Vec<String> {
        self.scenarios.iter().map(|scenario| format!("{}: {}", self.name, scenario.name)).collect()
    }
}

// === impl Answer ===

impl Answer {
    pub fn full(&self) -> FullAnswer {
        match self {
            Self::Status(status) => FullAnswer { status: Some(*status), ..FullAnswer::default() },
            Self::Full(full) => full.as_ref().clone(),
        }
    }
}

// === impl Step ===

impl Step {
    /// Up to this many answers of one step are compared one by one.
    pub const EACH_ANSWER_MAX: usize = 50;

    pub fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }
}

fn yes() -> bool {
    true
}

fn once() -> usize {
    1
}

fn quiet_ms() -> u64 {
    1300
}
