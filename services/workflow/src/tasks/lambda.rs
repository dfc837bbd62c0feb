//! Functions: at any endpoint that speaks Lambda's invoke API, or behind a mesh service that does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use selvedge_asl::Failure;
use selvedge_aws::remote::{self, Received};
use selvedge_outbound::ANSWER_BYTES_MAX;
use serde_json::{Value, json};

use super::aws::{self, Problem, Reply};
use super::{Call, mesh, needed, unfit};
use crate::Engine;

/// How long a function may take: as long as Lambda lets one.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Functions in this process, in place of Lambda's endpoint: what a simulation's world has.
pub trait Functions: Send + Sync {
    /// Answers a call. The same call may come more than once: its key tells.
    fn call(&self, call: FunctionCall) -> Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionCall {
    /// Its name or ARN.
    pub function: String,
    /// What it is given.
    pub input: Value,
    /// The same for the same task of the same execution.
    pub idempotency_key: String,
}

/// A function by its ARN: it is given the input, and its answer is the result.
pub(super) async fn function(engine: &Arc<Engine>, call: &Call, arn: &str) -> Result<Value, Failure> {
    let parameters = json!({ "FunctionName": arn, "Payload": call.parameters() });
    let (mut output, _) = run(engine, call, &parameters).await?;
    Ok(output["Payload"].take())
}

/// `lambda:invoke`: the answer with what is known of it.
pub(super) async fn invoke(engine: &Arc<Engine>, call: &Call) -> Result<Value, Failure> {
    let (mut output, reply) = run(engine, call, call.parameters()).await?;
    if let Some(members) = output.as_object_mut() {
        aws::metadata(members, &reply);
    }
    Ok(output)
}

async fn run(engine: &Arc<Engine>, call: &Call, parameters: &Value) -> Result<(Value, Reply), Failure> {
    let name = needed(parameters, "FunctionName")?;
    if let Some(functions) = &engine.tasks.functions {
        let asked = FunctionCall {
            function: name.to_owned(),
            input: parameters["Payload"].clone(),
            idempotency_key: call.idempotency_key.clone(),
        };
        let payload = functions.call(asked).await?;
        let reply = Reply { status: 200, headers: Vec::new(), body: Bytes::new() };
        return Ok((json!({ "StatusCode": 200, "Payload": payload }), reply));
    }
    let done = match mesh::service_of(name) {
        Some(service) => behind(engine, parameters, &service).await,
        None => {
            let remote = remote::find("lambda").ok_or_else(|| unfit("lambda is not offered"))?;
            aws::exchange(engine, remote, "invoke", parameters, &call.identity.region, PATIENCE).await
        }
    };
    let (output, reply) = done.map_err(|problem| aws::named(&problem, "Lambda"))?;
    if output.get("FunctionError").is_none() {
        return Ok((output, reply));
    }
    // What the function says is wrong is the error; all that it said is the cause.
    let payload = &output["Payload"];
    let error = payload["errorType"].as_str().filter(|error| !error.is_empty()).unwrap_or("Lambda.Unknown");
    Err(Failure::new(error, payload.to_string()))
}

/// A service of the mesh that speaks the invoke API: its host is the service's name, its function is called `function`, as
/// AWS's runtime interface emulator has it.
async fn behind(
    engine: &Arc<Engine>,
    parameters: &Value,
    service: &mesh::Service,
) -> Result<(Value, Reply), Problem> {
    let remote = remote::find("lambda").ok_or_else(|| Problem::Client("lambda is not offered".into()))?;
    let mut parameters = parameters.clone();
    parameters["FunctionName"] = "function".into();
    let prepared = remote.request("invoke", &parameters).map_err(Problem::Unfit)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &prepared.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let query = if prepared.query.is_empty() { String::new() } else { format!("?{}", prepared.query) };
    let target = format!("{}{query}", prepared.path);
    let outgoing = mesh::outgoing(
        engine,
        service,
        &target,
        mesh::Message { method: Method::POST, headers, body: Bytes::from(prepared.body) },
        PATIENCE,
        ANSWER_BYTES_MAX,
    );
    let outgoing = outgoing.map_err(Problem::Client)?;
    let answer = engine.tasks.client.send(outgoing).await;
    let answer = answer.map_err(|error| Problem::unreached(&error))?;
    let reply = Reply {
        status: answer.status.as_u16(),
        headers: answer
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
        body: answer.body,
    };
    let received = Received { status: reply.status, headers: &reply.headers, body: &reply.body };
    let output = remote.output("invoke", &received).map_err(Problem::Fault)?;
    Ok((output, reply))
}
