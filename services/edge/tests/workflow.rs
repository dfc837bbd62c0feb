//! Requests that start workflows where the API that runs them says nothing, or goes away in the middle.

mod server;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use selvedge_edge::{Mesh, Options, run};
use selvedge_wire::stream::Address;
use server::{Answer, await_server, compiled, field, free_port, get, on_port, service};

const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:order";
const EXECUTION: &str = "arn:aws:states:us-east-1:123456789012:execution:order:1";

/// An edge whose workflows are run by the API on a port.
fn edge(api: u16, text: &str) -> SocketAddr {
    let port = free_port();
    let head = "server.document-root = \"/nonexistent\"\n";
    let program =
        compiled(&on_port(port, &format!("{head}{text}"))).unwrap_or_else(|problem| panic!("{problem}"));
    let mesh = Mesh {
        endpoint: format!("http://127.0.0.1:{api}").parse().unwrap(),
        egress: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 1))),
    };
    std::thread::spawn(move || {
        let options = Options { workers: Some(1), mesh: Some(mesh), ..Options::default() };
        run(program, options).unwrap_or_else(|error| panic!("{error:?}"));
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    await_server(address);
    address
}

fn workflow(machine: &str, otherwise: &str) -> String {
    format!("mesh.workflow = ( \"machine\" => \"{machine}\", \"wait\" => 1, \"else\" => \"{otherwise}\" )\n")
}

fn said(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An API that starts an execution of a standard machine, and says `how` it is when it is asked for the first time, the second,
/// and so on. How often one was started.
fn starts(how: impl Fn(usize) -> String + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let started = Arc::new(AtomicUsize::new(0));
    let (count, asked) = (Arc::clone(&started), AtomicUsize::new(0));
    let (port, _) = service(move |head| match field(head, "x-amz-target").unwrap_or_default() {
        "AWSStepFunctions.StartSyncExecution" => said(
            "400 Bad Request",
            "{\"__type\":\"StateMachineTypeNotSupported\",\"message\":\"it is standard\"}",
        ),
        "AWSStepFunctions.StartExecution" => {
            count.fetch_add(1, Ordering::Relaxed);
            said("200 OK", &format!("{{\"executionArn\":\"{EXECUTION}\",\"startDate\":1}}"))
        }
        "AWSStepFunctions.DescribeExecution" => how(asked.fetch_add(1, Ordering::Relaxed)),
        other => panic!("nobody asks for {other:?}"),
    });
    (port, started)
}

fn order(address: SocketAddr) -> Answer {
    get(address, "POST /order HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
}

/// No connection is held longer than the bound, whether the API is asked for a machine or to start one.
#[test]
fn an_api_that_says_nothing_holds_nobody_beyond_the_bound() {
    // The kernel takes connections, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for machine in [MACHINE, "order"] {
        let address = edge(silent.local_addr().unwrap().port(), &workflow(machine, "202"));
        // A busy machine makes anything late: once is enough. Without the bound it is five seconds each time.
        let in_time = (0..5).any(|_| {
            let began = Instant::now();
            assert_eq!(order(address).code(), 504);
            assert!(began.elapsed() >= Duration::from_millis(900), "it was waited for");
            began.elapsed() < Duration::from_secs(4)
        });
        assert!(in_time, "{machine}");
    }
}

/// What was started goes on, whatever becomes of the API: who were told of a failure would start another.
#[test]
fn an_execution_that_was_started_is_told_of_though_the_api_goes_away() {
    for away in [
        "garbage\r\n\r\n".to_owned(),
        said("503 Service Unavailable", "{}"),
        said("500 Internal Server Error", ""),
    ] {
        let (api, started) = starts(move |_| away.clone());
        let answer = order(edge(api, &workflow(MACHINE, "202")));
        assert_eq!(answer.code(), 202, "{answer:?}");
        let location = answer.header("location").unwrap_or_default();
        assert!(location.starts_with("/.selvedge/executions/"), "{answer:?}");
        assert_eq!(started.load(Ordering::Relaxed), 1);
    }
    // Where no address is wanted, it is late and not failed.
    let (api, _) = starts(|_| said("503 Service Unavailable", "{}"));
    assert_eq!(order(edge(api, &workflow(MACHINE, "504"))).code(), 504);
    // And where the API comes back within the bound, nobody notices.
    let (api, started) = starts(|asked| match asked {
        0 => said("503 Service Unavailable", "{}"),
        1 => "garbage\r\n\r\n".to_owned(),
        _ => said(
            "200 OK",
            &format!(
                "{{\"executionArn\":\"{EXECUTION}\",\"status\":\"SUCCEEDED\",\"output\":\"{{\\\"made\\\":1}}\"}}"
            ),
        ),
    });
    let answer = order(edge(api, &workflow(MACHINE, "202")));
    assert_eq!((answer.code(), answer.body.as_str()), (200, "{\"made\":1}"));
    assert_eq!(started.load(Ordering::Relaxed), 1);
    // An execution that is not there is one that was never started.
    let (api, _) =
        starts(|_| said("400 Bad Request", "{\"__type\":\"ExecutionDoesNotExist\",\"message\":\"none\"}"));
    assert_eq!(order(edge(api, &workflow(MACHINE, "202"))).code(), 404);
}

/// The address of an execution is held to the rules of the request that made it: those of its host as well, where others may be let
/// in and other files handed out.
#[test]
fn an_address_is_one_of_its_own_host_alone() {
    let (api, _) =
        starts(|_| said("200 OK", &format!("{{\"executionArn\":\"{EXECUTION}\",\"status\":\"RUNNING\"}}")));
    let text = workflow(MACHINE, "202").replace("\"wait\" => 1", "\"wait\" => 0");
    let address = edge(api, &format!("$HTTP[\"host\"] == \"b.example\" {{ {text} }}\n{text}"));
    let ask = |method: &str, path: &str, host: &str| {
        get(address, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    let answer = ask("POST", "/order", "a.example");
    assert_eq!(answer.code(), 202, "{answer:?}");
    let location = answer.header("location").unwrap_or_default();
    for (host, code) in
        [("a.example", 202), ("A.example:8080", 202), ("b.example", 404), ("a.example.evil", 404)]
    {
        assert_eq!(ask("GET", location, host).code(), code, "{host}");
    }
}
