//! Requests that start workflows, wait for them within a bound, ask how they are, or complete a task that waits.
//!
//! Everything goes over the public API: `StartSyncExecution` for an express machine, `StartExecution` and
//! `DescribeExecution` for a standard one, `SendTaskSuccess` and `SendTaskFailure` for a task.

mod deliver;
mod events;
mod input;
mod watch;

pub(crate) use watch::Ticket;

use std::ops::ControlFlow;
use std::time::Duration;

use selvedge_aws::operations::stepfunctions::SERVICE;
use selvedge_client::{Client, Error};
use selvedge_site::directive::{Named, WorkflowElse, WorkflowRoute};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::request::{Exchange, Flow, Response, body};
use crate::worker::Worker;

/// Where the status of an execution is asked for.
pub(crate) const STATUS_PREFIX: &str = "/.selvedge/executions/";
/// The longest body of a request that starts a workflow: what an execution's input may hold.
pub(crate) const INPUT_BYTES_MAX: u64 = 256 * 1024;
/// How often an execution that is waited for is looked at; it doubles up to the second number.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// A call that waits for nothing is over within this.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// And has its connection within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whoever asks how an execution is, is held to the rules of the request that started it.
pub(crate) fn adopt(x: &mut Exchange<'_>) {
    if x.path().starts_with(STATUS_PREFIX) {
        x.ticket = watch::ticket(x).map(Box::new);
    }
}

/// Answers how an execution is that was started here, whatever is configured for its path.
pub(crate) async fn status(x: &mut Exchange<'_>) -> Flow {
    match x.path().starts_with(STATUS_PREFIX) {
        true => ControlFlow::Break(watch::status(x).await),
        false => ControlFlow::Continue(()),
    }
}

/// Answers where a workflow is configured.
pub(crate) async fn run(x: &mut Exchange<'_>) -> Flow {
    let Some(route) = x.conf.mesh.workflow.clone() else { return ControlFlow::Continue(()) };
    if let Err(response) = body::gather(x).await {
        return ControlFlow::Break(response);
    }
    if x.gathered.as_ref().is_some_and(|body| body.length() > INPUT_BYTES_MAX) {
        return ControlFlow::Break(Response::status(413));
    }
    let answered = match route.resume {
        true => Box::pin(resume(x)).await,
        false => Box::pin(start(x, &route)).await,
    };
    ControlFlow::Break(answered.unwrap_or_else(|problem| problem.response()))
}

/// Why a workflow gave no answer.
enum Problem {
    /// The request cannot be acted on.
    Client(u16, &'static str),
    /// The machine has not ended within the bound.
    Late,
    Api(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

impl Problem {
    fn response(&self) -> Response {
        let (status, message) = match self {
            Self::Client(status, message) => (*status, (*message).to_owned()),
            Self::Late => (504, "the workflow did not end in time".to_owned()),
            Self::Api(Error::Service(error)) => match error.code.as_str() {
                "ExecutionAlreadyExists" => {
                    tracing::info!("a request came again under a key that asked for something else");
                    (409, "another request with this Idempotency-Key asked for something else".to_owned())
                }
                "TaskTimedOut" | "InvalidToken" | "TaskDoesNotExist" => {
                    (410, "nobody waits for this".to_owned())
                }
                "ExecutionDoesNotExist" => (404, "there is no such execution".to_owned()),
                _ => {
                    tracing::warn!(%error, "a workflow could not be called");
                    (502, "the workflow could not be called".to_owned())
                }
            },
            Self::Api(error) => {
                tracing::warn!(%error, "a workflow could not be called");
                let status = if matches!(error, Error::ReadTimeout { .. }) { 504 } else { 503 };
                (status, "the workflow could not be called".to_owned())
            }
        };
        Response::with(status, "application/json", json!({ "message": message }).to_string())
    }
}

async fn call(worker: &Worker, operation: &str, input: &Value, timeout: Duration) -> Result<Value, Error> {
    let client =
        Client::new(worker.shared.mesh.endpoint.clone()).with_timeouts(CONNECT_TIMEOUT.min(timeout), timeout);
    let operation = selvedge_aws::operations::find_in(&SERVICE, operation)
        .expect("the operations named here are in the table");
    client.call_json(&SERVICE, operation, input).await
}

/// How long a request waits at most. It is held no longer by an API that says nothing; one that does not wait for an end is
/// held as long as a call takes.
#[derive(Clone, Copy)]
struct Bound(Option<Instant>);

impl Bound {
    fn of(route: &WorkflowRoute) -> Self {
        Self((route.wait_ms > 0).then(|| Instant::now() + Duration::from_millis(route.wait_ms)))
    }

    fn left(self) -> Duration {
        self.0.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// The time that a call may take which waits for nothing.
    fn of_call(self) -> Duration {
        if self.0.is_some() { CALL_TIMEOUT.min(self.left()) } else { CALL_TIMEOUT }
    }
}

/// The machine's ARN, looked up by its name once.
async fn machine(worker: &Worker, name: &str, bound: Bound) -> Result<String, Problem> {
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    if let Some(known) = worker.known_machine(name) {
        return Ok(known);
    }
    let mut input = json!({ "maxResults": 1000 });
    loop {
        let page = call(worker, "ListStateMachines", &input, bound.of_call()).await?;
        for found in page["stateMachines"].as_array().into_iter().flatten() {
            if found["name"] == name
                && let Some(arn) = found["stateMachineArn"].as_str()
            {
                worker.remember_machine(name, arn);
                return Ok(arn.to_owned());
            }
        }
        match page["nextToken"].as_str() {
            Some(token) => input["nextToken"] = json!(token),
            None => {
                tracing::error!(machine = name, "there is no state machine of this name");
                return Err(Problem::Client(503, "the workflow is not there"));
            }
        }
    }
}

async fn start(x: &mut Exchange<'_>, route: &WorkflowRoute) -> Result<Response, Problem> {
    let bound = Bound::of(route);
    let arn = machine(x.worker, &route.machine, bound).await?;
    let document = input::of(x, route);
    let mut input = json!({ "stateMachineArn": arn, "input": document.to_string() });
    if let Some(trace) = &x.trace {
        input["traceHeader"] = json!(trace.header());
    }
    if let Some(key) = x.header("idempotency-key") {
        input["name"] = json!(input::name(key, x.caller().as_deref())?);
    }
    if route.wait_ms > 0 {
        match call(x.worker, "StartSyncExecution", &input, bound.left()).await {
            Ok(done) => return Ok(ended(x, &done)),
            Err(Error::Service(error)) if error.code == "StateMachineTypeNotSupported" => {}
            // An express machine that goes on has no address by which it could be asked.
            Err(Error::ReadTimeout { .. }) => {
                tracing::info!(machine = %arn, path = x.path(), "an express machine did not end in time");
                return Err(Problem::Late);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let started = match call(x.worker, "StartExecution", &input, bound.of_call()).await {
        Err(Error::Service(error)) if error.code == "ExecutionAlreadyExists" => {
            // It has ended, or it is another: the same request again is answered by what came of the first.
            let known = again(x.worker, &arn, &input, bound).await?;
            known.ok_or(Problem::Api(Error::Service(error)))?
        }
        started => started?,
    };
    let execution = started["executionArn"].as_str().unwrap_or_default().to_owned();
    tracing::info!(
        %execution,
        user = x.user.as_ref().map(|user| user.name.as_str()),
        path = x.path(),
        "a request started a workflow"
    );
    let (mut look, most) = LOOK;
    let mut unheard = false;
    while !bound.left().is_zero() {
        let asked = json!({ "executionArn": execution });
        match call(x.worker, "DescribeExecution", &asked, bound.of_call()).await {
            Ok(described) if described["status"] != "RUNNING" => return Ok(ended(x, &described)),
            Ok(_) => {}
            Err(Error::Service(error)) if error.code == "ExecutionDoesNotExist" => {
                return Err(Error::Service(error).into());
            }
            // It has been started and goes on, whatever becomes of the API meanwhile: whoever were told of a failure would start
            // another.
            Err(error) => {
                if !std::mem::replace(&mut unheard, true) && !bound.left().is_zero() {
                    tracing::warn!(%error, %execution, "how an execution is cannot be asked; it is asked again");
                }
            }
        }
        tokio::time::sleep(look.min(bound.left())).await;
        look = (look * 2).min(most);
    }
    match route.otherwise {
        WorkflowElse::Timeout if route.wait_ms > 0 => Err(Problem::Late),
        _ => {
            let ring = x.site.guards.tickets().and_then(|tickets| tickets.rings().next());
            let Some(ring) = ring else {
                return Err(Problem::Client(500, "there is no address for this execution"));
            };
            let ticket = Ticket::new(x, &execution).sealed(ring);
            let location = format!("{STATUS_PREFIX}{ticket}");
            let body = json!({ "status": "RUNNING", "location": location });
            let response = Response::with(202, "application/json", body.to_string())
                .field("location", &location)
                .field("cache-control", "no-store");
            // A browser follows no Location of 202.
            let refresh = format!("1; url={location}");
            Ok(if watch::is_page(x) { response.field("refresh", &refresh) } else { response })
        }
    }
}

/// The execution of the same name, if it was started with the same input.
async fn again(
    worker: &Worker,
    machine: &str,
    input: &Value,
    bound: Bound,
) -> Result<Option<Value>, Problem> {
    let name = input["name"].as_str().unwrap_or_default();
    let execution = format!("{}:{name}", machine.replacen(":stateMachine:", ":execution:", 1));
    let asked = json!({ "executionArn": execution });
    let described = call(worker, "DescribeExecution", &asked, bound.of_call()).await?;
    let told = |document: &Value| -> Value {
        document["input"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    Ok((told(&described) == told(input)).then_some(asked))
}

/// The answer that an execution makes once it has ended.
fn ended(x: &mut Exchange<'_>, execution: &Value) -> Response {
    let response = match deliver::file(x, execution) {
        Some(response) => response,
        None => {
            let errors = x.conf.mesh.workflow.as_ref().map(|route| Named::clone(&route.errors));
            input::answer(execution, errors.as_deref().unwrap_or_default())
        }
    };
    tracing::info!(
        execution = execution["executionArn"].as_str().unwrap_or_default(),
        ended = execution["status"].as_str().unwrap_or_default(),
        error = execution["error"].as_str(),
        user = x.user.as_ref().map(|user| user.name.as_str()),
        status = response.head.status,
        "a workflow answers a request"
    );
    response
}

/// Completes the task whose token the request brings: in its query, or in its body beside an output or an error.
async fn resume(x: &mut Exchange<'_>) -> Result<Response, Problem> {
    let body = input::body(x);
    let token = input::query(x.target.query()).get("token").and_then(Value::as_str).map(str::to_owned);
    let token = token.or_else(|| body["taskToken"].as_str().map(str::to_owned));
    let token =
        token.filter(|token| !token.is_empty()).ok_or(Problem::Client(400, "a task token is missing"))?;
    let (operation, input) = match body["error"].as_str() {
        Some(error) => {
            let cause = body["cause"].as_str().unwrap_or_default();
            ("SendTaskFailure", json!({ "taskToken": token, "error": error, "cause": cause }))
        }
        None => {
            let mut output = match &body["output"] {
                Value::Null => json!({}),
                output => output.clone(),
            };
            if let Value::Object(output) = &mut output {
                // Who completed it is what we verified, whatever the body says.
                output.insert("identity".to_owned(), input::identity(x));
            }
            ("SendTaskSuccess", json!({ "taskToken": token, "output": output.to_string() }))
        }
    };
    let outcome = call(x.worker, operation, &input, CALL_TIMEOUT).await;
    let refused = match &outcome {
        Err(Error::Service(error)) => Some(error.code.as_str()),
        Err(_) => Some("Unreachable"),
        Ok(_) => None,
    };
    // An error has no place for who said it: this line is where it is kept.
    tracing::info!(
        user = x.user.as_ref().map(|user| user.name.as_str()),
        path = x.path(),
        error = body["error"].as_str(),
        refused,
        "a request answers a task"
    );
    outcome?;
    Ok(Response::with(200, "application/json", json!({ "status": "RESUMED" }).to_string()))
}
