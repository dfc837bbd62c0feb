//! Calls of executions over real sockets, through the API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_aws::operations::stepfunctions::SERVICE;
use selvedge_aws::{Call, Protocol};
use selvedge_store::memory::Memory;
use selvedge_workflow::{Calls, Context, Engine, Performed, Settings, System, Vault, api, operations};
use serde_json::{Value, json};

/// A server that answers each path as it is told, and remembers the heads of what it was asked.
struct World {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

fn world(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (remembered, answer) = (Arc::clone(&seen), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, remembered, answer) =
                (stream.unwrap(), Arc::clone(&remembered), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    remembered.lock().unwrap().push(text);
                    if stream.write_all(answer(&path).as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    World { address, seen }
}

impl World {
    fn seen(&self, path: &str) -> Vec<String> {
        let asked = |text: &&String| text.split(' ').nth(1) == Some(path);
        self.seen.lock().unwrap().iter().filter(asked).cloned().collect()
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn redirect(target: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n")
}

fn engine(allowed: &[SocketAddr]) -> Arc<Engine> {
    let calls = Calls {
        allowed: allowed.iter().map(|address| address.to_string().parse().unwrap()).collect(),
        secrets: Vault::new(&[3; 32]).unwrap(),
        ..Calls::default()
    };
    let settings = Settings { calls, ..Settings::default() };
    let store = Arc::new(Memory::new());
    Engine::open(store, settings, Arc::new(System), tokio::runtime::Handle::current()).unwrap()
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

/// Runs one `http:invoke` as an express execution: its output, or its error.
async fn invoke(engine: &Arc<Engine>, name: &str, parameters: Value) -> Result<Value, (String, String)> {
    let resource = "arn:aws:states:::http:invoke";
    let state = json!({ "Type": "Task", "Resource": resource, "Parameters": parameters, "End": true });
    let definition = json!({ "StartAt": "T", "States": { "T": state } }).to_string();
    let role = "arn:aws:iam::123456789012:role/r";
    let machine = json!({ "name": name, "definition": definition, "roleArn": role, "type": "EXPRESS" });
    let made = call(engine, "CreateStateMachine", machine).await;
    let ended =
        call(engine, "StartSyncExecution", json!({ "stateMachineArn": made["stateMachineArn"] })).await;
    let text = |member: &str| ended[member].as_str().unwrap_or_default().to_owned();
    match text("status").as_str() {
        "SUCCEEDED" => Ok(serde_json::from_str(&text("output")).unwrap()),
        _ => Err((text("error"), text("cause"))),
    }
}

fn get(url: &str) -> Value {
    json!({ "ApiEndpoint": url, "Method": "GET" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_judged_like_any_other_address() {
    let inner = world(|_| ok("{\"secret\": true}"));
    let target = format!("http://{}/inner", inner.address);
    let outer = world(move |path| match path {
        "/metadata" => redirect("http://169.254.169.254/latest/meta-data/"),
        "/name" => redirect(&format!("http://localhost:{}/inner", inner_port(&target))),
        "/away" => redirect(&target),
        "/own" => redirect("/fine"),
        "/loop" => redirect("/loop"),
        _ => ok("{\"fine\": true}"),
    });
    let engine = engine(&[outer.address]);
    let url = |path: &str| get(&format!("http://{}{path}", outer.address));
    for path in ["/metadata", "/name", "/away"] {
        let (error, cause) = invoke(&engine, &path[1..], url(path)).await.unwrap_err();
        assert_eq!(error, "Selvedge.Egress.Refused", "{path}: {cause}");
    }
    assert!(inner.seen("/inner").is_empty(), "nothing reached it");
    // Whoever is told that it was refused finds it in the trail.
    let audit =
        api::Request { method: "GET", path: "/audit", query: "", content_type: "", body: &[], actor: "" };
    let trail = String::from_utf8_lossy(&api::handle(&engine, &audit).body).into_owned();
    assert_eq!(trail.matches("\"EgressRefused\"").count(), 3, "{trail}");
    assert_eq!(invoke(&engine, "own", url("/own")).await.unwrap()["ResponseBody"], json!({ "fine": true }));
    let (error, _) = invoke(&engine, "loop", url("/loop")).await.unwrap_err();
    assert_eq!((error.as_str(), outer.seen("/loop").len()), ("States.Http.Socket", 6));
    let (error, _) = invoke(
        &engine,
        "post",
        json!({ "ApiEndpoint": format!("http://{}/own", outer.address), "Method": "POST" }),
    )
    .await
    .unwrap_err();
    assert_eq!(error, "States.Http.StatusCode.302");
}

fn inner_port(url: &str) -> &str {
    url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/inner")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_who_calls_stays_with_its_origin() {
    let other = world(|_| ok("{}"));
    let target = format!("http://{}/other", other.address);
    let own = world(move |path| if path.starts_with("/away") { redirect(&target) } else { ok("{}") });
    let engine = engine(&[own.address, other.address]);
    let document = json!({ "AuthorizationType": "API_KEY", "AuthParameters": {
        "ApiKeyAuthParameters": { "ApiKeyName": "X-Key", "ApiKeyValue": "hush-1" },
        "InvocationHttpParameters": { "HeaderParameters": [{ "Key": "X-Tenant", "Value": "hush-2", "IsValueSecret": true }],
                                      "QueryStringParameters": [{ "Key": "q", "Value": "hush-3", "IsValueSecret": true }] } } });
    let document = document.to_string();
    let request = api::Request {
        method: "PUT",
        path: "/connections/c",
        query: "",
        content_type: "application/json",
        body: document.as_bytes(),
        actor: "",
    };
    assert_eq!(api::handle(&engine, &request).status, 201);
    let with = |path: &str| {
        let url = format!("http://{}{path}", own.address);
        json!({ "ApiEndpoint": url, "Method": "GET", "Headers": { "Cookie": "hush-4" }, "Authentication": { "ConnectionArn": "c" } })
    };
    invoke(&engine, "stays", with("/stays")).await.unwrap();
    let seen = own.seen("/stays?q=hush-3").concat();
    assert!(seen.contains("x-key: hush-1") && seen.contains("x-tenant: hush-2"), "{seen}");
    invoke(&engine, "away", with("/away")).await.unwrap();
    let seen = other.seen("/other").concat();
    assert!(!seen.is_empty() && !seen.contains("hush"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_call_that_is_under_way() {
    let (entered, was_entered) = std::sync::mpsc::channel();
    let entered = Mutex::new(entered);
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = slow.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = slow.accept().unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer);
        entered.lock().unwrap().send("entered").unwrap();
        // Nothing more comes but the end of the connection.
        let read = stream.read(&mut buffer).unwrap_or(0);
        entered.lock().unwrap().send(if read == 0 { "ended" } else { "more" }).unwrap();
    });
    let engine = engine(&[address]);
    let state = json!({ "Type": "Task", "Resource": "arn:aws:states:::http:invoke", "Parameters": get(&format!("http://{address}/")), "End": true });
    let definition = json!({ "StartAt": "T", "States": { "T": state } }).to_string();
    let made = call(
        &engine,
        "CreateStateMachine",
        json!({ "name": "slow", "definition": definition, "roleArn": "arn:aws:iam::123456789012:role/r" }),
    )
    .await;
    let started =
        call(&engine, "StartExecution", json!({ "stateMachineArn": made["stateMachineArn"] })).await;
    let next =
        |channel: &std::sync::mpsc::Receiver<&'static str>| channel.recv_timeout(Duration::from_secs(10));
    assert_eq!(next(&was_entered), Ok("entered"));
    call(&engine, "StopExecution", json!({ "executionArn": started["executionArn"] })).await;
    assert_eq!(next(&was_entered), Ok("ended"), "the connection is closed");
}
