//! The workflow role behind the API's front door.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use selvedge_control::api::{Answer, Service};
use selvedge_control::operations::Unperformed;
use selvedge_store::sqlite::{Options, Workload};
use selvedge_store::{Store, memory::Memory};
use selvedge_workflow::objects::{Folder, Nowhere, Objects};
use selvedge_workflow::{Context, Engine, Performed, Refused, Settings, System, operations};

use super::control::StoreUrl;
use crate::exit::Failure;

/// The folder beside the control plane's files: executions are written more often than meshes, and nobody watches them.
const FOLDER: &str = "workflow";

/// Options of the workflow engine, wherever it runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WorkflowArgs {
    /// Where distributed Map states find the objects that they read, and write their results: a folder for each bucket
    #[arg(long, value_name = "FOLDER", env = "SELVEDGE_WORKFLOW_OBJECTS")]
    pub(crate) workflow_objects: Option<PathBuf>,
}

/// Step Functions, performed by an engine.
pub(crate) struct States(Arc<Engine>);

impl States {
    /// Takes up what was under way. May take as long as reading it.
    ///
    /// # Errors
    /// When the store cannot be opened or read.
    pub(crate) fn open(
        url: &StoreUrl,
        account: &str,
        region: &str,
        args: &WorkflowArgs,
    ) -> Result<Self, Failure> {
        let store: Arc<dyn Store> = match url {
            StoreUrl::Memory => Arc::new(Memory::new()),
            StoreUrl::Sqlite(folder) => Arc::new(
                Options { workload: Workload::Log, ..Options::default() }
                    .open(&Path::new(folder).join(FOLDER))
                    .context("failed to start the workflow store")?,
            ),
        };
        let settings =
            Settings { account: account.to_owned(), region: region.to_owned(), ..Settings::default() };
        let runtime = tokio::runtime::Handle::current();
        let objects: Arc<dyn Objects> = match &args.workflow_objects {
            Some(folder) => Arc::new(
                Folder::new(folder)
                    .with_context(|| format!("failed to open the objects' folder {}", folder.display()))?,
            ),
            None => Arc::new(Nowhere),
        };
        let engine = Engine::open_with(store, settings, Arc::new(System), runtime, objects);
        Ok(Self(engine.context("failed to start the workflow engine")?))
    }
}

impl Service for States {
    fn name(&self) -> &str {
        selvedge_aws::operations::stepfunctions::SERVICE.name
    }

    fn perform(
        &self,
        region: Option<String>,
        call: &selvedge_aws::Call,
    ) -> Answer<Result<selvedge_model::Value, Unperformed>> {
        let unperformed = |Refused { error, cause }| Unperformed { error, cause };
        match operations::perform(&self.0, &Context { region }, call) {
            Performed::Now(outcome) => Answer::Now(outcome.map_err(unperformed)),
            Performed::Later(outcome) => {
                Answer::Later(Box::pin(async move { outcome.await.map_err(unperformed) }))
            }
        }
    }
}
