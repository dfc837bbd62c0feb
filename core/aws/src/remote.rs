//! Calling services of AWS's that are not ours: a call of the SDK's as a request, and the answer as the SDK shows it.
//!
//! Members have the SDK's names, as the States Language writes them: `QueueUrl`, `MessageBody`. What travels is what each
//! service's protocol wants. Nothing here touches a socket: [`Remote::request`] makes what is signed and sent,
//! [`Remote::output`] reads what came back.

mod function;
mod json;
mod object;
mod outputs;
mod query;

use serde_json::Value;

pub use json::{is_time, show_times};
pub use outputs::{Fit, Misfit, Output};

/// A service that can be called.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    /// As `aws-sdk:` names it.
    pub name: &'static str,
    /// What its errors begin with.
    pub errors: &'static str,
    /// What its environment variable ends with: `AWS_ENDPOINT_URL_` and this.
    pub variable: &'static str,
    /// The first part of its host's name.
    pub host: &'static str,
    /// Its name in signatures.
    pub signing: &'static str,
    /// How it is spoken to.
    pub protocol: Speech,
}

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// JSON in both directions.
    Json {
        /// `1.0` or `1.1`
        version: &'static str,
        /// What stands before the operation in `X-Amz-Target`.
        target: &'static str,
    },
    /// A form, answered with XML.
    Query {
        /// The API's version.
        version: &'static str,
    },
    /// S3's own.
    Objects,
    /// Lambda's invocations.
    Functions,
}

const fn json(
    name: &'static str,
    errors: &'static str,
    variable: &'static str,
    host: &'static str,
    version: &'static str,
    target: &'static str,
) -> Remote {
    Remote { name, errors, variable, host, signing: host, protocol: Speech::Json { version, target } }
}

/// Objects in buckets.
pub const S3: Remote =
    Remote { name: "s3", errors: "S3", variable: "S3", host: "s3", signing: "s3", protocol: Speech::Objects };

/// Every service that can be called. `tests/conformance/workflow_tasks.py` holds the table to botocore's models.
pub const REMOTES: &[Remote] = &[
    json("sqs", "Sqs", "SQS", "sqs", "1.0", "AmazonSQS"),
    json("dynamodb", "DynamoDb", "DYNAMODB", "dynamodb", "1.0", "DynamoDB_20120810"),
    json("eventbridge", "EventBridge", "EVENTBRIDGE", "events", "1.1", "AWSEvents"),
    json("secretsmanager", "SecretsManager", "SECRETS_MANAGER", "secretsmanager", "1.1", "secretsmanager"),
    json("ssm", "Ssm", "SSM", "ssm", "1.1", "AmazonSSM"),
    Remote {
        name: "sns",
        errors: "Sns",
        variable: "SNS",
        host: "sns",
        signing: "sns",
        protocol: Speech::Query { version: "2010-03-31" },
    },
    Remote {
        name: "sts",
        errors: "Sts",
        variable: "STS",
        host: "sts",
        signing: "sts",
        protocol: Speech::Query { version: "2011-06-15" },
    },
    S3,
    Remote {
        name: "lambda",
        errors: "Lambda",
        variable: "LAMBDA",
        host: "lambda",
        signing: "lambda",
        protocol: Speech::Functions,
    },
];

/// The service that `aws-sdk:` names so.
pub fn find(name: &str) -> Option<&'static Remote> {
    REMOTES.iter().find(|remote| remote.name == name)
}

/// A request before it is signed, without its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// `POST`
    pub method: &'static str,
    /// Encoded.
    pub path: String,
    /// Encoded.
    pub query: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
    /// The bucket, which stands before the host's name where the endpoint is AWS's own.
    pub bucket: Option<String>,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// `200`
    pub status: u16,
    /// Lower-case names.
    pub headers: &'a [(String, String)],
    /// All of it.
    pub body: &'a [u8],
}

/// A call that cannot be made as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the parameters are no object")]
    NoObject,
    #[error("{0} is required")]
    Missing(&'static str),
    #[error("{0} has to be a text")]
    NoText(String),
    #[error("the operation {action} of {service} is not offered: there are {offered}")]
    Action { service: &'static str, action: String, offered: &'static str },
}

/// What the service says is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `ResourceNotFoundException`; empty where it gave none.
    pub code: String,
    /// For a person.
    pub message: String,
    /// `400`
    pub status: u16,
    /// The request's id, where it gave one.
    pub request_id: Option<String>,
}

impl Remote {
    /// The call of an operation, named as the SDK names methods: `sendMessage`.
    ///
    /// # Errors
    /// When it cannot be made of these parameters.
    pub fn request(&self, action: &str, parameters: &Value) -> Result<Prepared, Unfit> {
        if !parameters.is_object() && !parameters.is_null() {
            return Err(Unfit::NoObject);
        }
        match self.protocol {
            Speech::Json { version, target } => {
                Ok(json::request(version, target, &operation(action), parameters))
            }
            Speech::Query { version } => query::request(version, &operation(action), parameters),
            Speech::Objects => object::request(action, parameters),
            Speech::Functions => function::request(action, parameters),
        }
    }

    /// What the SDK would show of an answer.
    ///
    /// # Errors
    /// What the service says is wrong.
    pub fn output(&self, action: &str, received: &Received<'_>) -> Result<Value, Fault> {
        if !(200..300).contains(&received.status) {
            return Err(self.fault(received));
        }
        match self.protocol {
            Speech::Json { .. } => json::output(received),
            Speech::Query { .. } => query::output(&operation(action), received),
            Speech::Objects => object::output(action, received),
            Speech::Functions => function::output(received),
        }
    }

    fn fault(&self, received: &Received<'_>) -> Fault {
        let mut fault = match self.protocol {
            Speech::Json { .. } | Speech::Functions => json::fault(received),
            Speech::Query { .. } | Speech::Objects => query::fault(received),
        };
        fault.request_id = fault.request_id.or_else(|| received.request_id().map(str::to_owned));
        fault
    }
}

impl Received<'_> {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The request's id.
    pub fn request_id(&self) -> Option<&str> {
        self.header("x-amzn-requestid").or_else(|| self.header("x-amz-request-id"))
    }

    fn text(&self) -> Result<&str, Fault> {
        std::str::from_utf8(self.body).map_err(|_| self.unreadable("the answer is no text"))
    }

    fn unreadable(&self, message: impl Into<String>) -> Fault {
        Fault {
            code: String::new(),
            message: message.into(),
            status: self.status,
            request_id: self.request_id().map(str::to_owned),
        }
    }
}

/// An operation's name by its method's: `sendMessage` → `SendMessage`
pub fn operation(action: &str) -> String {
    let mut name = action.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
}

/// A text of the parameters; numbers and flags as texts as well.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
