//! The workflow role behind the API's front door.

mod secrets;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use selvedge_aws::CredentialScope;
use selvedge_control::api::{Answer, Caller, Extension, Service};
use selvedge_control::operations::Unperformed;
use selvedge_outbound::Allowed;
use selvedge_store::sqlite::{Options, Workload};
use selvedge_store::{Store, Vault, memory::Memory};
use selvedge_workflow::objects::{Folder, Objects, S3};
use selvedge_workflow::{
    Calls, Context, Engine, Performed, Refused, Settings, System, Traces, api, operations, schedule,
};

use super::control::StoreUrl;
use crate::exit::Failure;

/// The folder beside the control plane's files: executions are written more often than meshes, and nobody watches them.
const FOLDER: &str = "workflow";

/// Options of the workflow engine, wherever it runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WorkflowArgs {
    /// Where distributed Map states find the objects that they read, and write their results: a folder for each bucket.
    /// Without it, buckets are those of S3, or of what AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names
    #[arg(long, value_name = "FOLDER", env = "SELVEDGE_WORKFLOW_OBJECTS")]
    pub(crate) workflow_objects: Option<PathBuf>,
    /// Addresses that tasks may call although they are loopback, local to the link, or of a port that steers something: such as
    /// 127.0.0.1:9000 or 169.254.170.0/24; may be given again
    #[arg(long = "task-allow", value_name = "ADDRESS", env = "SELVEDGE_TASK_ALLOW", value_delimiter = ',')]
    allowed: Vec<Allowed>,
    /// Where a sidecar takes what tasks send to mesh services, such as http://127.0.0.1:15001; without it services are called by
    /// their names, as behind interception
    #[arg(long, value_name = "URL", env = "SELVEDGE_MESH_EGRESS")]
    mesh_egress: Option<Uri>,
    /// The file with the key that connections' secrets are sealed with, 32 bytes in base64 or hexadecimal digits; also in
    /// SELVEDGE_SECRETS_KEY. Without either, one is made in the data folder
    #[arg(long, value_name = "FILE", env = "SELVEDGE_SECRETS_KEY_FILE")]
    secrets_key_file: Option<PathBuf>,
    /// Keep values over 256 KiB as blobs instead of ending their executions, in every machine that does not say otherwise
    #[arg(long, env = "SELVEDGE_WORKFLOW_EXTENDED")]
    pub(crate) workflow_extended: bool,
    /// Where executions log what their machines' loggingConfiguration asks for: a file for each log group
    #[arg(long, value_name = "FOLDER", env = "SELVEDGE_WORKFLOW_LOGS")]
    pub(crate) workflow_logs: Option<PathBuf>,
    /// Where spans of executions go: a collector that takes OTLP by HTTP, such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "SELVEDGE_WORKFLOW_TRACES")]
    pub(crate) workflow_traces: Option<Uri>,
    /// How many of a hundred executions are recorded about which their caller has not decided, of machines whose
    /// tracingConfiguration is enabled
    #[arg(long, value_name = "NUMBER", env = "SELVEDGE_WORKFLOW_TRACES_PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) workflow_traces_percent: u8,
    /// What the collector is told whose spans they are
    #[arg(
        long,
        value_name = "NAME",
        env = "SELVEDGE_WORKFLOW_TRACES_NAME",
        default_value = "selvedge-workflow"
    )]
    pub(crate) workflow_traces_name: String,
    /// How many days an execution is kept after its end; 0 keeps it for ever
    #[arg(long, value_name = "DAYS", env = "SELVEDGE_WORKFLOW_RETENTION_DAYS")]
    pub(crate) workflow_retention_days: Option<u32>,
    /// The most events of an execution's history; the original has 25000
    #[arg(long, value_name = "NUMBER", env = "SELVEDGE_WORKFLOW_HISTORY_EVENTS", value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    pub(crate) workflow_history_events: Option<u64>,
}

/// Step Functions, performed by an engine.
#[derive(Clone)]
pub(crate) struct States(Arc<Engine>);

/// What secrets are sealed with in the stores at that place.
///
/// # Errors
/// When the key cannot be read or made.
pub(crate) fn vault(url: &StoreUrl, args: &WorkflowArgs) -> Result<Vault, Failure> {
    let folder = match url {
        StoreUrl::Memory => None,
        StoreUrl::Sqlite(folder) => Some(folder.as_path()),
    };
    secrets::vault(args.secrets_key_file.as_deref(), folder)
}

impl States {
    /// Takes up what was under way. May take as long as reading it.
    ///
    /// # Errors
    /// When the store or the key cannot be opened or read.
    pub(crate) fn open(
        url: &StoreUrl,
        account: &str,
        region: &str,
        args: &WorkflowArgs,
        own_ports: Vec<u16>,
    ) -> Result<Self, Failure> {
        let store: Arc<dyn Store> = match url {
            StoreUrl::Memory => Arc::new(Memory::new()),
            StoreUrl::Sqlite(folder) => {
                let store = Options { workload: Workload::Log, ..Options::default() }
                    .open(&Path::new(folder).join(FOLDER))
                    .context("failed to start the workflow store")?;
                Arc::new(store)
            }
        };
        let of_aws = |(name, value): (String, String)| {
            (name.starts_with("AWS_") || name == "HOME").then_some((name, value))
        };
        let environment: HashMap<String, String> = std::env::vars().filter_map(of_aws).collect();
        let calls = Calls {
            allowed: args.allowed.clone(),
            own_ports,
            mesh_egress: args.mesh_egress.clone(),
            environment,
            secrets: vault(url, args)?,
            functions: None,
        };
        let mut settings = Settings { is_extended: args.workflow_extended, ..Settings::default() };
        settings = Settings { account: account.to_owned(), region: region.to_owned(), calls, ..settings };
        settings.logs = args.workflow_logs.clone();
        settings.traces = traces(args)?;
        if let Some(days) = args.workflow_retention_days {
            let kept = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
            settings.retention = Some(kept).filter(|kept| !kept.is_zero());
        }
        if let Some(events) = args.workflow_history_events {
            settings.execution.history_events = events;
        }
        let runtime = tokio::runtime::Handle::current();
        let objects: Arc<dyn Objects> = match &args.workflow_objects {
            Some(folder) => Arc::new(
                Folder::new(folder)
                    .with_context(|| format!("failed to open the objects' folder {}", folder.display()))?,
            ),
            None => {
                let surroundings = Arc::new(System);
                Arc::new(S3::new(&settings.calls, region, surroundings, runtime.clone()))
            }
        };
        let engine = Engine::open_with(store, settings, Arc::new(System), runtime, objects);
        Ok(Self(engine.context("failed to start the workflow engine")?))
    }

    /// The schedules that start what it runs.
    pub(crate) fn scheduler(&self) -> Scheduler {
        Scheduler(Arc::clone(&self.0))
    }

    /// The routes of our own.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = StatesRoute> + '_ {
        api::PATHS.into_iter().map(|path| StatesRoute { path, engine: Arc::clone(&self.0) })
    }
}

/// Where spans go. A URL without a path has the one that OTLP prescribes.
fn traces(args: &WorkflowArgs) -> Result<Option<Traces>, Failure> {
    let Some(url) = &args.workflow_traces else { return Ok(None) };
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
        return Err(Failure::Usage(format!(
            "--workflow-traces: '{url}' is no URL of a collector; one is http://127.0.0.1:4318"
        )));
    }
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
    let base = url.to_string();
    let collector = if is_bare { format!("{}/v1/traces", base.trim_end_matches('/')) } else { base };
    let (service, percent) = (args.workflow_traces_name.clone(), args.workflow_traces_percent);
    Ok(Some(Traces { collector, service, percent }))
}

/// EventBridge Scheduler, performed by the same engine.
pub(crate) struct Scheduler(Arc<Engine>);

impl Service for Scheduler {
    fn name(&self) -> &str {
        selvedge_aws::operations::scheduler::SERVICE.name
    }

    fn perform(
        &self,
        caller: Caller,
        call: &selvedge_aws::Call,
    ) -> Answer<Result<selvedge_model::Value, Unperformed>> {
        let context = Context { region: caller.region, actor: caller.access_key };
        let outcome = schedule::perform(&self.0, &context, call);
        Answer::Now(outcome.map_err(|Refused { error, cause }| Unperformed { error, cause }))
    }
}

/// A route of the workflow role's own.
pub(crate) struct StatesRoute {
    path: &'static str,
    engine: Arc<Engine>,
}

impl Extension for StatesRoute {
    fn path(&self) -> &str {
        self.path
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let scope = header(AUTHORIZATION).and_then(CredentialScope::of);
        let path = request.uri().path();
        let reply = api::handle(
            &self.engine,
            &api::Request {
                method: request.method().as_str(),
                path: path.strip_prefix("/selvedge/v1").unwrap_or(path),
                query: request.uri().query().unwrap_or_default(),
                content_type: header(CONTENT_TYPE).unwrap_or_default(),
                body: request.body(),
                actor: scope.map_or("", |scope| scope.access_key),
            },
        );
        let mut response = Response::new(Bytes::from(reply.body));
        *response.status_mut() =
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Ok(value) = HeaderValue::try_from(reply.content_type) {
            response.headers_mut().insert(CONTENT_TYPE, value);
        }
        // What somebody put into a kept value must not run in a browser that looks at it.
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response.headers_mut().insert("content-security-policy", HeaderValue::from_static("sandbox"));
        response
    }
}

impl Service for States {
    fn name(&self) -> &str {
        selvedge_aws::operations::stepfunctions::SERVICE.name
    }

    fn perform(
        &self,
        caller: Caller,
        call: &selvedge_aws::Call,
    ) -> Answer<Result<selvedge_model::Value, Unperformed>> {
        let unperformed = |Refused { error, cause }| Unperformed { error, cause };
        let context = Context { region: caller.region, actor: caller.access_key };
        match operations::perform(&self.0, &context, call) {
            Performed::Now(outcome) => Answer::Now(outcome.map_err(unperformed)),
            Performed::Later(outcome) => {
                Answer::Later(Box::pin(async move { outcome.await.map_err(unperformed) }))
            }
        }
    }
}
