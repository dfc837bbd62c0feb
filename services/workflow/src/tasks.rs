//! Tasks that reach the world: one file an integration.
//!
//! A call is made at least once: what was under way when the process ended is made again, under the same idempotency key.
//! [`Engine::dispatch`] runs the calls of standard executions, with a bounded number of each integration at a time;
//! express executions make theirs themselves ([`Engine::perform`]).

pub(crate) mod approval;
pub(crate) mod aws;
pub(crate) mod blob;
pub(crate) mod connection;
mod http;
mod lambda;
mod mesh;
mod oauth;
mod policy;
mod runner;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ::http::Uri;
use selvedge_asl::{Failure, Identity, Pattern, Resource, TaskRequest};
use selvedge_outbound::{Allowed, Client, Guard};
use selvedge_store::Vault;
use serde_json::Value;

use crate::Engine;
use crate::traces::{Context, Trace};
pub use lambda::{FunctionCall, Functions};
pub use runner::CALLS_OF_MACHINE_MAX;
pub(crate) use runner::{Running, is_approval};

/// What an operator sets about calls.
#[derive(Clone, Default)]
pub struct Calls {
    /// Addresses that may be called although the guard would refuse them.
    pub allowed: Vec<Allowed>,
    /// The ports that this process listens on: no task calls them, unless it is allowed to.
    pub own_ports: Vec<u16>,
    /// Where a sidecar takes what goes to mesh services: `http://127.0.0.1:15001`. Without one, services are called by
    /// their names, as behind interception.
    pub mesh_egress: Option<Uri>,
    /// The variables that AWS's tools read: credentials, files, endpoints.
    pub environment: HashMap<String, String>,
    /// What secrets are sealed with.
    pub secrets: Vault,
    /// Functions of this process, called in place of Lambda's.
    pub functions: Option<Arc<dyn Functions>>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment holds keys.
        f.debug_struct("Calls")
            .field("allowed", &self.allowed)
            .field("mesh_egress", &self.mesh_egress)
            .finish_non_exhaustive()
    }
}

/// What calls share.
pub(crate) struct Tasks {
    pub(crate) client: Client,
    pub(crate) guard: Guard,
    pub(crate) running: Running,
    mesh_egress: Option<Uri>,
    aws: aws::Account,
    tokens: oauth::Tokens,
    pub(crate) vault: Vault,
    functions: Option<Arc<dyn Functions>>,
}

/// A call with what is known of its execution.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) request: TaskRequest,
    pub(crate) identity: Identity,
    /// The same for the same event of the same execution, always.
    pub(crate) idempotency_key: String,
    /// Where it is in its trace.
    pub(crate) trace: Option<Context>,
}

impl Tasks {
    pub(crate) fn new(settings: &Calls) -> Self {
        let guard = Guard::new(settings.allowed.clone(), &settings.own_ports);
        Self {
            client: Client::new(guard.clone()),
            guard,
            running: Running::default(),
            mesh_egress: settings.mesh_egress.clone(),
            aws: aws::Account::new(settings.environment.clone()),
            tokens: oauth::Tokens::default(),
            vault: settings.secrets.clone(),
            functions: settings.functions.clone(),
        }
    }
}

impl Call {
    /// `trace` is its execution's place.
    pub(crate) fn new(
        request: TaskRequest,
        identity: Identity,
        machine: &str,
        name: &str,
        trace: Option<Trace>,
    ) -> Self {
        let idempotency_key = idempotency_key(machine, name, request.id.0);
        let trace = trace.map(|place| place.of_task(&identity.arn, request.id));
        Self { request, identity, idempotency_key, trace }
    }

    fn parameters(&self) -> &Value {
        &self.request.parameters
    }
}

/// Looks like a UUID, so that whoever wants one of its callers takes it.
pub(crate) fn idempotency_key(machine: &str, name: &str, event: u64) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("{machine}\n{name}\n{event}"));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Engine {
    /// Makes a call and answers what came of it.
    pub(crate) async fn perform(self: &Arc<Self>, call: &Call) -> Result<Value, Failure> {
        let (service, action) = match &call.request.resource {
            Resource::Lambda(arn) => return lambda::function(self, call, arn).await,
            Resource::Activity(arn) => {
                return Err(Failure::new("States.Runtime", format!("the activity {arn} cannot be called")));
            }
            Resource::Service { service, action, pattern } => {
                if matches!(pattern, Pattern::Sync | Pattern::Sync2) {
                    return Err(not_offered(
                        &call.request.resource,
                        "no integration but states:startExecution waits for jobs",
                    ));
                }
                (&**service, &**action)
            }
        };
        match (service, action) {
            ("http", "invoke") => http::invoke(self, call).await,
            ("lambda", "invoke") => lambda::invoke(self, call).await,
            ("sqs", "sendMessage") | ("sns", "publish") | ("events", "putEvents") => {
                aws::optimised(self, call, service, action).await
            }
            ("dynamodb", "getItem" | "putItem" | "updateItem" | "deleteItem") => {
                aws::optimised(self, call, service, action).await
            }
            ("mesh", _) => mesh::invoke(self, call, action).await,
            ("policy", "evaluate") => policy::evaluate(self, call).await,
            ("blob", "put" | "get") => blob::perform(self, action, call).await,
            _ => match service.strip_prefix("aws-sdk:") {
                Some("sfn") => aws::own(self, call, action).await,
                Some(name) => aws::sdk(self, call, name, action).await,
                None => Err(not_offered(&call.request.resource, OFFERED)),
            },
        }
    }
}

/// A call of an address that the guard refuses.
const EGRESS_REFUSED: &str = "Selvedge.Egress.Refused";

const OFFERED: &str = "there are http:invoke, lambda:invoke, sqs:sendMessage, sns:publish, events:putEvents, \
                       dynamodb:getItem, putItem, updateItem and deleteItem, states:startExecution, mesh:invoke, \
                       approval:request, policy:evaluate, blob:put and blob:get, aws-sdk:…, functions and activities";

fn not_offered(resource: &Resource, why: &str) -> Failure {
    let service = match resource {
        Resource::Service { service, .. } => format!("{service}:"),
        _ => String::new(),
    };
    Failure::new(
        "States.TaskFailed",
        format!("The resource '{service}{}' is not offered: {why}.", resource.name()),
    )
}

/// The definition asks for what cannot be.
fn unfit(cause: impl Into<String>) -> Failure {
    Failure::new("States.Runtime", cause)
}

/// A text that has to be there.
fn needed<'v>(parameters: &'v Value, member: &str) -> Result<&'v str, Failure> {
    match parameters.get(member) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(unfit(format!("{member}: a text is expected"))),
        None => Err(unfit(format!("{member} is required"))),
    }
}
