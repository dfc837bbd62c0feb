//! What the mesh and our own form add.

use std::sync::Arc;

use super::reading::{Reading, keyed, number, text};
use super::{Named, Text, Texts};
use crate::value::Value;

/// A state machine that requests start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowRoute {
    /// Its name or ARN.
    pub machine: Text,
    /// Milliseconds that a request waits for the end; 0 does not wait.
    pub wait_ms: u64,
    /// What is answered when the end is not there in time.
    pub otherwise: WorkflowElse,
    /// Whether the request brings a task's token and completes that task.
    pub resume: bool,
    /// Headers of the request that become part of the input, lower-case.
    pub headers: Texts,
    /// Where the files are that an execution may hand out.
    pub files: Option<Text>,
    /// Statuses of executions that have failed, by the error's name; 502 for all others.
    pub errors: Named<u16>,
    /// Whether whoever watches is told the names of the states that are entered and left.
    pub states: bool,
}

/// What is answered when an execution is not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowElse {
    /// `202` and where to ask.
    Accepted,
    /// `504`.
    Timeout,
}

/// Who has to be signed in, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// OpenID Connect: the provider's name in `[oidc.…]`.
    Oidc(Text),
    /// Bearer tokens: the issuer's name in `[jwt.…]`.
    Jwt(Text),
    /// A client certificate.
    Certificate,
}

/// Lines of one configuration that may limit clients: each has its own table of clients.
pub const CLIENT_RATES_MAX: u32 = 64;

/// The rate of each client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// What tells this limit from others: all requests that it holds for count together, whatever else holds for them.
    pub id: u32,
    /// Requests in `per_ms`.
    pub requests: u32,
    /// Milliseconds.
    pub per_ms: u64,
    /// Requests that may come at once.
    pub burst: u32,
    /// What tells clients apart.
    pub key: ClientKey,
}

/// What tells clients apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKey {
    /// The address; for IPv6 the first 64 bits.
    Ip,
    /// Who is signed in.
    Identity,
    /// A header.
    Header(Text),
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAnswer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Text,
    /// Its headers.
    pub headers: Arc<[(Text, Text)]>,
}

/// The longest that a request may wait for a workflow.
pub const WORKFLOW_WAIT_MS_MAX: u64 = 60_000;

/// The ARN of a certificate of the mesh's.
pub(super) fn certificate(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    let arn = text(value, reading)?;
    if arn.is_empty() {
        return Ok(None);
    }
    if !is_certificate_arn(&arn) {
        return Err(format!(
            "mesh.certificate: \"{arn}\" is not the ARN of a certificate: arn:aws:acm:REGION:ACCOUNT:certificate/ID"
        ));
    }
    Ok(Some(arn))
}

/// Whether a text names a certificate of AWS Certificate Manager.
pub(crate) fn is_certificate_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", _, "acm", _, _, resource] = parts[..] else { return false };
    resource.strip_prefix("certificate/").is_some_and(is_arn_id)
}

/// The ARN of an authority of the mesh's; blank for none.
pub(super) fn client_authority(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Text>, String> {
    let arn = text(value, reading)?;
    if !arn.is_empty() && !is_authority_arn(&arn) {
        return Err(format!(
            "mesh.client-authority: \"{arn}\" is not the ARN of an authority: arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/ID"
        ));
    }
    Ok(Some(arn).filter(|arn| !arn.is_empty()))
}

/// Whether a text names an authority of the mesh's.
pub(crate) fn is_authority_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", _, "acm-pca", _, _, resource] = parts[..] else { return false };
    resource.strip_prefix("certificate-authority/").is_some_and(is_arn_id)
}

fn is_arn_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `"name"` or `( "machine" => "name", "wait" => 10, "else" => "202" )`; `wait` is in seconds.
pub(super) fn workflow(value: &Value, reading: &mut Reading<'_>) -> Result<Option<WorkflowRoute>, String> {
    let mut route = WorkflowRoute {
        machine: Text::default(),
        wait_ms: 0,
        otherwise: WorkflowElse::Accepted,
        resume: false,
        headers: Arc::from([]),
        files: None,
        errors: Arc::from([]),
        states: false,
    };
    if let Value::Text(machine) = value {
        if machine.is_empty() {
            return Ok(None);
        }
        route.machine = machine.clone();
        return Ok(Some(route));
    }
    for (key, value) in keyed(value, reading)?.iter() {
        match key.map_or("", |key| &**key) {
            "machine" => route.machine = text(value, reading)?,
            "wait" => {
                let seconds = match value {
                    Value::Integer(number) => Some(*number),
                    Value::Text(text) => number(text),
                    Value::List(_) => None,
                };
                route.wait_ms = seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map(|seconds| seconds.saturating_mul(1000))
                    .filter(|wait| *wait <= WORKFLOW_WAIT_MS_MAX)
                    .ok_or_else(|| {
                        format!(
                            "mesh.workflow: \"wait\" is a number of seconds, at most {}",
                            WORKFLOW_WAIT_MS_MAX / 1000
                        )
                    })?;
            }
            "else" => {
                route.otherwise = match value {
                    Value::Integer(202) => WorkflowElse::Accepted,
                    Value::Integer(504) => WorkflowElse::Timeout,
                    Value::Text(text) if **text == *"202" => WorkflowElse::Accepted,
                    Value::Text(text) if **text == *"504" => WorkflowElse::Timeout,
                    _ => return Err("mesh.workflow: \"else\" is \"202\" or \"504\"".into()),
                };
            }
            "states" => route.states = super::reading::boolean(value, reading)?,
            "resume" => route.resume = super::reading::boolean(value, reading)?,
            "headers" => {
                let names = super::reading::texts(value, reading)?;
                route.headers = names.iter().map(|name| Text::from(name.to_ascii_lowercase())).collect();
            }
            "files" => route.files = Some(text(value, reading)?).filter(|folder| !folder.is_empty()),
            "errors" => {
                let mut errors = Vec::new();
                for (name, status) in keyed(value, reading)?.iter() {
                    let number = match status {
                        Value::Integer(number) => Some(*number),
                        Value::Text(text) => number(text),
                        Value::List(_) => None,
                    };
                    let status = number.and_then(|number| u16::try_from(number).ok());
                    match (name, status.filter(|status| (400..600).contains(status))) {
                        (Some(name), Some(status)) => errors.push((Text::clone(name), status)),
                        _ => {
                            return Err(
                                "mesh.workflow: \"errors\" has statuses from 400 to 599 by names".into()
                            );
                        }
                    }
                }
                route.errors = errors.into();
            }
            other => {
                return Err(format!(
                    "mesh.workflow does not know \"{other}\": it takes machine, wait, else, resume, headers, files, errors, states"
                ));
            }
        }
    }
    if route.machine.is_empty() && !route.resume {
        return Err("mesh.workflow needs a \"machine\"".into());
    }
    Ok(Some(route))
}
