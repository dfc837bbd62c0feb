//! Services of AWS's, or of whoever speaks their APIs: `aws-sdk:…` and the optimised integrations.

mod credentials;
mod endpoint;
mod send;

use std::sync::Arc;
use std::time::Duration;

use selvedge_asl::Failure;
use selvedge_aws::Protocol;
use selvedge_aws::remote::{self, Fault, Remote, Unfit};
use selvedge_outbound::Error;
use serde_json::{Map, Value, json};

use super::{Call, EGRESS_REFUSED, unfit};
use crate::Engine;
use crate::operations::{self, Context, Performed};
pub(crate) use endpoint::Account;
pub(crate) use send::{Ask, Reply};

/// The longest wait for a service.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a service was not called, or what it said is wrong.
pub(crate) enum Problem {
    Unfit(Unfit),
    /// Nobody can be reached.
    Client(String),
    /// Nobody was reached, or nobody answered.
    Unreached(String),
    /// The guard refuses the address.
    Refused(String),
    Fault(Fault),
}

impl Problem {
    pub(super) fn unreached(error: &Error) -> Self {
        match error {
            Error::Refused { .. } => Self::Refused(error.to_string()),
            error => Self::Unreached(error.to_string()),
        }
    }
}

/// `aws-sdk:SERVICE:ACTION`
pub(super) async fn sdk(engine: &Engine, call: &Call, name: &str, action: &str) -> Result<Value, Failure> {
    let remote = remote::find(name).ok_or_else(|| {
        let offered: Vec<&str> = remote::REMOTES.iter().map(|remote| remote.name).collect();
        let cause = format!(
            "The resource 'aws-sdk:{name}' is not offered: there are {} and sfn.",
            offered.join(", ")
        );
        Failure::new("States.TaskFailed", cause)
    })?;
    let parameters = texts(name, call.parameters(), call);
    let done = exchange(engine, remote, action, &parameters, &call.identity.region, PATIENCE).await;
    let (mut output, _) = done.map_err(|problem| named(&problem, remote.errors))?;
    if name == "lambda" {
        // The SDK shows a payload as its bytes.
        let payload = output["Payload"].take();
        output["Payload"] = match payload {
            Value::String(text) if text.is_empty() => "".into(),
            payload => payload.to_string().into(),
        };
    }
    Ok(output)
}

/// `sqs:sendMessage`, `sns:publish`, `events:putEvents`, `dynamodb:…`
pub(super) async fn optimised(
    engine: &Engine,
    call: &Call,
    service: &str,
    action: &str,
) -> Result<Value, Failure> {
    let (name, errors, full) = match service {
        "sqs" => ("sqs", "SQS", "AmazonSQS"),
        "sns" => ("sns", "SNS", "AmazonSNS"),
        "dynamodb" => ("dynamodb", "DynamoDB", "AmazonDynamoDBv2"),
        _ => ("eventbridge", "EventBridge", "AmazonCloudWatchEvents"),
    };
    let remote = remote::find(name).ok_or_else(|| unfit(format!("{service} is not offered")))?;
    let mut parameters = texts(name, call.parameters(), call);
    if service == "events" {
        for entry in parameters["Entries"].as_array_mut().into_iter().flatten() {
            if let Some(resources) =
                entry.as_object_mut().map(|entry| entry.entry("Resources").or_insert_with(|| json!([])))
                && let Some(resources) = resources.as_array_mut()
            {
                resources.push((&*call.identity.arn).into());
                resources.push((&*call.identity.machine_arn).into());
            }
        }
    }
    let done = exchange(engine, remote, action, &parameters, &call.identity.region, PATIENCE).await;
    let (mut output, reply) = done.map_err(|problem| match problem {
        Problem::Fault(fault) => {
            let code = exception(&fault.code).unwrap_or_else(|| format!("Amazon{errors}Exception"));
            let cause = format!(
                "{} (Service: {full}; Status Code: {}; Error Code: {}; Request ID: {}; Proxy: null)",
                fault.message,
                fault.status,
                fault.code,
                fault.request_id.as_deref().unwrap_or("null"),
            );
            Failure::new(format!("{errors}.{code}"), cause)
        }
        other => named(&other, errors),
    })?;
    if output["FailedEntryCount"].as_u64().is_some_and(|failed| failed > 0) {
        return Err(Failure::new("EventBridge.FailedEntry", output.to_string()));
    }
    if let Some(members) = output.as_object_mut() {
        metadata(members, &reply);
    }
    Ok(output)
}

/// What the older SDK shows of an answer, for the integrations that came with it.
pub(super) fn metadata(members: &mut Map<String, Value>, reply: &Reply) {
    let all: Map<String, Value> =
        reply.headers.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    let one: Map<String, Value> =
        reply.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    members.insert(
        "SdkHttpMetadata".into(),
        json!({ "AllHttpHeaders": all, "HttpHeaders": one, "HttpStatusCode": reply.status }),
    );
    members.insert("SdkResponseMetadata".into(), json!({ "RequestId": reply.received().request_id() }));
}

/// `aws-sdk:sfn:…`: our own API, in this process.
pub(super) async fn own(engine: &Arc<Engine>, call: &Call, action: &str) -> Result<Value, Failure> {
    use selvedge_aws::operations::stepfunctions::SERVICE;
    let call_actor = call.identity.arn.to_string();
    let name = remote::operation(action);
    let operation = SERVICE.operations.iter().find(|operation| operation.name == name);
    let operation = operation.ok_or_else(|| unfit(format!("aws-sdk:sfn has no {action}")))?;
    let mut input = call.parameters().clone();
    if name == "StartExecution" && input.get("Name").is_none() && input.is_object() {
        // A call that is made again finds what the first one started.
        input["Name"] = call.idempotency_key.as_str().into();
    }
    for member in ["Input", "Output"] {
        if let Some(value) = input.get_mut(member).filter(|value| value.is_object() || value.is_array()) {
            *value = value.to_string().into();
        }
    }
    recase(&mut input, Case::Camel);
    let Value::Object(input) = input else { return Err(unfit("the parameters are no object")) };
    let region = call.identity.region.to_string();
    let call = selvedge_aws::Call { service: &SERVICE, operation, input, protocol: Protocol::AwsJson1_0 };
    let context = Context { region: Some(region), actor: Some(call_actor) };
    let own = Arc::clone(engine);
    let performed = engine.aside(move || operations::perform(&own, &context, &call)).await;
    let outcome = match performed {
        Ok(Performed::Now(outcome)) => outcome,
        Ok(Performed::Later(outcome)) => outcome.await,
        Err(_) => return Err(Failure::new("Sfn.SdkClientException", "the server is ending")),
    };
    match outcome {
        Ok(mut output) => {
            recase(&mut output, Case::Pascal);
            remote::show_times(&mut output);
            Ok(output)
        }
        Err(refused) => {
            let code = exception(refused.error.shape.code).unwrap_or_default();
            let cause = format!(
                "{} (Service: Sfn, Status Code: {})",
                refused.error.message, refused.error.shape.status
            );
            Err(Failure::new(format!("Sfn.{code}"), cause))
        }
    }
}

/// Signs, sends and reads.
pub(super) async fn exchange(
    engine: &Engine,
    remote: &Remote,
    action: &str,
    parameters: &Value,
    region: &str,
    patience: Duration,
) -> Result<(Value, Reply), Problem> {
    let seconds = engine.now_ms().div_euclid(1000);
    let ask = Ask { remote, action, parameters, body: None, region, seconds, patience };
    let reply = engine.tasks.aws.send(&engine.tasks.client, ask).await?;
    let output = remote.output(action, &reply.received()).map_err(Problem::Fault)?;
    Ok((output, reply))
}

/// The error's name and cause, as the newer SDK words them.
pub(super) fn named(problem: &Problem, errors: &str) -> Failure {
    match problem {
        Problem::Unfit(error) => unfit(error.to_string()),
        Problem::Client(cause) | Problem::Unreached(cause) => {
            Failure::new(format!("{errors}.SdkClientException"), cause.clone())
        }
        Problem::Refused(cause) => Failure::new(EGRESS_REFUSED, cause.clone()),
        Problem::Fault(fault) => {
            let code = exception(&fault.code).unwrap_or_else(|| format!("{errors}Exception"));
            let cause = format!(
                "{} (Service: {errors}, Status Code: {}, Request ID: {})",
                fault.message,
                fault.status,
                fault.request_id.as_deref().unwrap_or("null"),
            );
            Failure::new(format!("{errors}.{code}"), cause)
        }
    }
}

/// `QueueDoesNotExist` → `QueueDoesNotExistException`; none for no code.
pub(super) fn exception(code: &str) -> Option<String> {
    let code = code.rsplit('.').next().unwrap_or_default();
    match code {
        "" => None,
        // So the SDKs call what the service calls otherwise.
        "NonExistentQueue" => Some("QueueDoesNotExistException".into()),
        code if code.ends_with("Exception") => Some(code.to_owned()),
        code => Some(format!("{}Exception", code.strip_suffix("Error").unwrap_or(code))),
    }
}

/// A member that has to be a text and may be written as JSON; and what makes a call that is made again the same one.
fn texts(service: &str, parameters: &Value, call: &Call) -> Value {
    let mut parameters = parameters.clone();
    let into_text = |value: &mut Value, member: &str| {
        if let Some(found) = value.get_mut(member).filter(|found| found.is_object() || found.is_array()) {
            *found = found.to_string().into();
        }
    };
    match service {
        "sqs" => into_text(&mut parameters, "MessageBody"),
        "sns" => into_text(&mut parameters, "Message"),
        "secretsmanager" => into_text(&mut parameters, "SecretString"),
        "eventbridge" => {
            let entries = parameters.get_mut("Entries").and_then(Value::as_array_mut);
            entries.into_iter().flatten().for_each(|entry| into_text(entry, "Detail"));
        }
        _ => {}
    }
    let to_fifo = ["QueueUrl", "TopicArn"].iter().find_map(|member| parameters.get(*member)?.as_str());
    if to_fifo.is_some_and(|name| name.ends_with(".fifo"))
        && parameters.get("MessageDeduplicationId").is_none()
    {
        parameters["MessageDeduplicationId"] = call.idempotency_key.as_str().into();
    }
    parameters
}

#[derive(Clone, Copy)]
enum Case {
    Camel,
    Pascal,
}

/// Our API writes members with a small letter, the SDK with a capital one.
fn recase(value: &mut Value, case: Case) {
    match value {
        Value::Object(members) => {
            *members = std::mem::take(members)
                .into_iter()
                .map(|(mut name, mut member)| {
                    if let Some(first) = name.get_mut(..1) {
                        match case {
                            Case::Camel => first.make_ascii_lowercase(),
                            Case::Pascal => first.make_ascii_uppercase(),
                        }
                    }
                    recase(&mut member, case);
                    (name, member)
                })
                .collect();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| recase(item, case)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_sdks_names() {
        for (code, expected) in [
            ("ResourceNotFoundException", Some("ResourceNotFoundException")),
            ("QueueDoesNotExist", Some("QueueDoesNotExistException")),
            ("AWS.SimpleQueueService.NonExistentQueue", Some("QueueDoesNotExistException")),
            ("NoSuchKey", Some("NoSuchKeyException")),
            ("InternalError", Some("InternalException")),
            ("", None),
        ] {
            assert_eq!(exception(code).as_deref(), expected, "{code}");
        }
    }
}
