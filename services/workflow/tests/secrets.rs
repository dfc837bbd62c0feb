//! What a connection keeps secret is in nothing that is kept, shown or logged, however its calls end.

use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_aws::operations::stepfunctions::SERVICE;
use selvedge_aws::{Call, Protocol};
use selvedge_store::Store as _;
use selvedge_store::memory::Memory;
use selvedge_workflow::{Calls, Context, Engine, Performed, Settings, System, Vault, api, operations};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

/// What every crate of the process logs, at every level.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// An endpoint and an authorisation server that says no, and repeats to whoever it refuses what it was sent.
fn world() -> (std::net::SocketAddr, Logged) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Logged::default());
    let mut remembered = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                remembered.write_all(text.as_bytes()).unwrap();
                let answer = match text.split(' ').nth(1).and_then(|path| path.split('?').next()) {
                    Some("/fine") => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
                    Some("/token") => {
                        format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{text}", text.len())
                    }
                    _ => "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops".to_owned(),
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (address, seen)
}

async fn call(engine: &Arc<Engine>, operation: &str, input: Value) -> Value {
    let operation = SERVICE.operations.iter().find(|found| found.name == operation).unwrap();
    let Value::Object(input) = input else { panic!("an object") };
    let call = Call { service: &SERVICE, operation, input, protocol: Protocol::AwsJson1_0 };
    let outcome = match operations::perform(engine, &Context::default(), &call) {
        Performed::Now(outcome) => outcome,
        Performed::Later(outcome) => outcome.await,
    };
    outcome.unwrap_or_else(|refused| panic!("{}: {}", operation.name, refused.error))
}

fn own(engine: &Arc<Engine>, method: &str, path: &str, body: &Value) -> String {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let content_type = "application/json";
    let request = api::Request { method, path, query: "", content_type, body: body.as_bytes(), actor: "" };
    let response = api::handle(engine, &request);
    assert!(response.status < 300, "{method} {path}: {}", response.status);
    String::from_utf8_lossy(&response.body).into_owned()
}

/// Until an execution has ended.
async fn ended(engine: &Arc<Engine>, arn: &Value) -> Value {
    let look = async {
        loop {
            let found = call(engine, "DescribeExecution", json!({ "executionArn": arn })).await;
            if found["status"] != "RUNNING" {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connections_secrets_are_in_no_history_log_trail_or_byte_of_the_store() {
    let process = Logged::default();
    let logging =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(process.clone());
    logging.init();
    let (address, seen) = world();
    let logs = tempfile::tempdir().unwrap();
    let store = Arc::new(Memory::new());
    let secrets = Vault::new(&[7; 32]).unwrap();
    let calls = Calls { allowed: vec![address.to_string().parse().unwrap()], secrets, ..Calls::default() };
    let settings = Settings { calls, logs: Some(logs.path().to_path_buf()), ..Settings::default() };
    let runtime = tokio::runtime::Handle::current();
    let engine = Engine::open(Arc::<Memory>::clone(&store), settings, Arc::new(System), runtime).unwrap();
    let secret = |name: &str, value: &str| json!([{ "Key": name, "Value": value, "IsValueSecret": true }]);
    let parameters = json!({ "HeaderParameters": secret("X-Tenant", "hush-header"),
        "QueryStringParameters": secret("q", "hush-query"), "BodyParameters": secret("b", "hush-body") });
    let documents = [
        (
            "key",
            json!({ "AuthorizationType": "API_KEY", "AuthParameters": { "InvocationHttpParameters": parameters,
            "ApiKeyAuthParameters": { "ApiKeyName": "X-Key", "ApiKeyValue": "hush-key" } } }),
        ),
        (
            "basic",
            json!({ "AuthorizationType": "BASIC", "AuthParameters": {
            "BasicAuthParameters": { "Username": "ada", "Password": "hush-password" } } }),
        ),
        (
            "oauth",
            json!({ "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": { "OAuthParameters": {
            "AuthorizationEndpoint": format!("http://{address}/token"),
            "ClientParameters": { "ClientID": "client", "ClientSecret": "hush-client" } } } }),
        ),
    ];
    let mut shown = String::new();
    for (name, document) in &documents {
        shown.push_str(&own(&engine, "PUT", &format!("/connections/{name}"), document));
        shown.push_str(&own(&engine, "GET", &format!("/connections/{name}"), &Value::Null));
    }
    let group = "arn:aws:logs:us-east-1:123456789012:log-group:all:*";
    let made = call(
        &engine,
        "CreateStateMachine",
        json!({ "name": "m", "roleArn": "arn:aws:iam::123456789012:role/r",
            "loggingConfiguration": { "level": "ALL", "includeExecutionData": true,
                "destinations": [{ "cloudWatchLogsLogGroup": { "logGroupArn": group } }] },
            "definition": json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "End": true,
                "Resource": "arn:aws:states:::http:invoke", "Parameters": { "ApiEndpoint.$": "$.url", "Method": "POST",
                    "RequestBody": {}, "Authentication": { "ConnectionArn.$": "$.connection" } } } } }).to_string() }),
    )
    .await;
    let (mut statuses, mut executions) = (Vec::new(), Vec::new());
    for (name, _) in &documents {
        // One that is answered, one that is refused by its endpoint, and one whose secrets would go in the open.
        for url in
            [format!("http://{address}/fine"), format!("http://{address}/oops"), "http://192.0.2.1/".into()]
        {
            let input = json!({ "url": url, "connection": name }).to_string();
            let started = json!({ "stateMachineArn": made["stateMachineArn"], "input": input });
            let started = call(&engine, "StartExecution", started).await;
            let found = ended(&engine, &started["executionArn"]).await;
            statuses.push(found["status"] == "SUCCEEDED");
            executions.push(started["executionArn"].clone());
            shown.push_str(&found.to_string());
        }
    }
    assert_eq!(statuses, [true, false, false, true, false, false, false, false, false]);
    for arn in &executions {
        shown.push_str(
            &call(&engine, "GetExecutionHistory", json!({ "executionArn": arn })).await.to_string(),
        );
    }
    for path in ["/audit", "/dead-letters", "/connections"] {
        shown.push_str(&own(&engine, "GET", path, &Value::Null));
    }
    // They did travel: without that the rest would prove nothing.
    let travelled = seen.text();
    for secret in ["hush-key", "hush-header", "hush-query", "hush-body", "authorization: Basic "] {
        assert!(travelled.contains(secret), "{secret} did not travel: {travelled}");
    }
    let logged = std::fs::read_to_string(logs.path().join("all.jsonl")).unwrap();
    assert!(logged.contains("TaskFailed") && logged.contains("192.0.2.1"), "{logged}");
    tracing::trace!("the last of it");
    assert!(
        process.text().contains("TRACE") && process.text().contains("the last of it"),
        "every level is logged"
    );
    let password = "YWRhOmh1c2gtcGFzc3dvcmQ=";
    let kept: Vec<u8> = store
        .snapshot()
        .unwrap()
        .scan_all("")
        .unwrap()
        .iter()
        .flat_map(|found| found.value.to_vec())
        .collect();
    for (place, text) in [
        ("what is shown", shown),
        ("the executions' log", logged),
        ("the process's log", process.text()),
        ("the store", String::from_utf8_lossy(&kept).into_owned()),
    ] {
        for secret in ["hush-", password, "Y2xpZW50Omh1c2gtY2xpZW50"] {
            let at = text
                .find(secret)
                .map(|at| text[at.saturating_sub(120)..].chars().take(240).collect::<String>());
            assert_eq!(at, None, "{place} has {secret}");
        }
    }
}
