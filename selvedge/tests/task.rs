//! Tasks of ECS run as processes: two of them in networks of their own, joined to a machine – itself a network namespace –
//! whose control plane they share.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_selvedge");
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with a control plane.
struct Machine {
    folder: TempDir,
    control: Child,
}

impl Machine {
    fn new() -> Option<Self> {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("SKIPPED: no network namespace may be made here");
            return None;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        assert!(up.success());
        let folder = TempDir::new().expect("a folder");
        let control = Command::new(PROGRAM)
            .args(["up", "--listen", "[::]:7070", "--allow-unauthenticated-remote", "--data-dir"])
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let machine = Self { folder, control };
        wait_for("the control plane", || machine.appmesh("list-meshes", &json!({})).status.success());
        Some(machine)
    }

    fn appmesh(&self, operation: &str, input: &Value) -> Output {
        Command::new(PROGRAM)
            .args(["appmesh", operation, "--cli-input-json", &input.to_string()])
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:7070")
            .output()
            .expect("it runs")
    }

    fn make(&self, operation: &str, input: &Value) {
        let output = self.appmesh(operation, input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(&self, name: &str, content: &Value) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content.to_string()).expect("written");
        path
    }

    fn run(&self, task: &Path, options: &[&str]) -> Task {
        let log = task.with_extension("log");
        let file = std::fs::File::create(&log).expect("a log");
        let child = Command::new(PROGRAM)
            .args(["ecs", "run"])
            .arg(task)
            .args(options)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("it starts");
        Task { child, log }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.control.kill();
        let _ = self.control.wait();
    }
}

/// A task that runs.
struct Task {
    child: Child,
    log: PathBuf,
}

impl Task {
    fn text(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it runs");
    }

    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the task does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGTERM);
            std::thread::sleep(Duration::from_secs(3));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A task as `ecs inject` leaves it.
fn meshed(machine: &Machine, name: &str, node: &str, containers: &Value) -> PathBuf {
    let task = json!({"family": name, "networkMode": "awsvpc", "containerDefinitions": containers});
    let path = machine.file(&format!("{name}.json"), &task);
    let output = Command::new(PROGRAM)
        .args([
            "ecs",
            "inject",
            "--in-place",
            "--app",
            "app",
            "--node",
            &format!("mesh/m/virtualNode/{node}"),
        ])
        .arg(&path)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

fn apart(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().expect("the test");
}

const SERVER: &str = "app=echo user $(id -u); exec python3 -c '
import http.server, os, socket, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ[\"COLOR\"].encode()
        self.send_response(200)
        self.send_header(\"content-length\", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    # The HTTP server itself asks the DNS for its name, and here nobody answers.
    server_bind = socketserver.TCPServer.server_bind
Server((\"::\", 8080), Handler).serve_forever()
'";

/// A mesh with a service on one node, and a node that calls it.
fn make_mesh(machine: &Machine, spec: &Value) {
    machine.make("create-mesh", &json!({"meshName": "m", "spec": spec}));
    let listeners = json!([{"portMapping": {"port": 8080, "protocol": "http"}}]);
    let backends = json!([{"virtualService": {"virtualServiceName": "colors.mesh"}}]);
    machine.make(
        "create-virtual-node",
        &json!({"meshName": "m", "virtualNodeName": "server", "spec": {"listeners": listeners}}),
    );
    machine.make(
        "create-virtual-node",
        &json!({"meshName": "m", "virtualNodeName": "client", "spec": {"backends": backends}}),
    );
    let provider = json!({"provider": {"virtualNode": {"virtualNodeName": "server"}}});
    machine.make(
        "create-virtual-service",
        &json!({"meshName": "m", "virtualServiceName": "colors.mesh", "spec": provider}),
    );
}

fn two_tasks(ipv6: bool) {
    let Some(machine) = Machine::new() else { return };
    // With IPv6, sidecars reach the control plane and each other by it alone.
    let (spec, family, version): (_, &[&str], _) = if ipv6 {
        let spec = json!({"serviceDiscovery": {"ipPreference": "IPv6_PREFERRED"}});
        (spec, &["--ipv6", "--control", "[fd00:10:214::1]:7070"], "-6")
    } else {
        (json!({}), &[], "-4")
    };
    make_mesh(&machine, &spec);
    let server = meshed(
        &machine,
        "server",
        "server",
        &json!([
            {"name": "setup", "image": "s", "essential": false},
            {"name": "app", "image": "a", "user": "65534", "portMappings": [{"containerPort": 8080}], "stopTimeout": 5,
             "environment": [{"name": "COLOR", "value": "blue"}],
             "dependsOn": [{"containerName": "setup", "condition": "SUCCESS"}]},
        ]),
    );
    let commands = ["--command", SERVER, "--command", "setup=echo done"];
    let mut server = machine.run(&server, &[family, &commands].concat());
    wait_for("the server", || {
        server.text().contains("app | user 65534")
            || !server.text().is_empty() && server.text().contains("ended")
    });
    let client = meshed(&machine, "client", "client", &json!([{"name": "app", "image": "a"}]));
    let call = format!(
        "app=curl {version} -fsS --retry 20 --retry-all-errors --retry-delay 1 http://colors.mesh:8080/; exit 7"
    );
    let commands = ["--name", "colors.mesh", "--command", &call];
    let mut client = machine.run(&client, &[family, &commands].concat());
    let code = client.ended();
    assert_eq!(code, Some(7), "{}\n---\n{}", client.text(), server.text());
    assert!(client.text().contains("app | blue\n"), "{}", client.text());
    server.signal(Signal::SIGINT);
    assert_eq!(server.ended(), Some(130), "{}", server.text());
    let text = server.text();
    let line = |line: &str| text.find(line).unwrap_or_else(|| panic!("{line:?} is not in\n{text}"));
    assert!(line("setup | done") < line("app has started"), "{text}");
    assert!(line("envoy is healthy") < line("app has started"), "{text}");
    assert!(line("stopping app") < line("stopping envoy"), "{text}");
    let left = Command::new("ip").args(["-br", "link"]).output().expect("ip runs").stdout;
    let left = String::from_utf8_lossy(&left).into_owned();
    assert!(!left.contains("selvedge0") && !left.contains("sve"), "{left}");
}

#[test]
fn one_task_calls_another_through_both_sidecars_and_all_ends_in_order() {
    apart(|| two_tasks(false));
}

#[test]
fn one_task_calls_another_by_ipv6() {
    apart(|| two_tasks(true));
}

/// Says how many requests it has answered; each takes a while. It ends at SIGTERM as most programs do: at once.
const SLOW: &str = "app=exec python3 -c '
import http.server, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = \"HTTP/1.1\"
    def do_GET(self):
        time.sleep(0.2)
        self.send_response(200)
        self.send_header(\"content-length\", \"0\")
        self.end_headers()
        print(\"answered\", flush=True)
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    server_bind = socketserver.TCPServer.server_bind
Server((\"0.0.0.0\", 8080), Handler).serve_forever()
'";

/// Calls as many at a time until the file is there; half of the callers keep their connections.
const LOAD: &str = "app=exec python3 -c '
import http.client, os, threading
sent, failed = [], []
def call(keep):
    connection = None
    while not os.path.exists(os.environ[\"STOP\"]):
        try:
            connection = connection or http.client.HTTPConnection(\"colors.mesh\", 8080, timeout=20)
            connection.request(\"GET\", \"/\")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200: sent.append(1)
            else: failed.append(answer.status)
        except Exception as error:
            failed.append(repr(error))
        if len(sent) == 50: print(\"begun\", flush=True)
        if not keep or failed:
            connection.close()
            connection = None
threads = [threading.Thread(target=call, args=(n % 2,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(\"sent\", len(sent), \"failed\", failed, flush=True)
'";

fn stops_under_load() {
    let Some(machine) = Machine::new() else { return };
    make_mesh(&machine, &json!({}));
    let containers = json!([
        {"name": "app", "image": "a", "portMappings": [{"containerPort": 8080}], "stopTimeout": 5},
    ]);
    let mut servers = ["first", "second"].map(|name| {
        let task = meshed(&machine, name, "server", &containers);
        machine.run(&task, &["--command", SLOW])
    });
    for server in &servers {
        wait_for("a server", || server.text().contains("app has started"));
    }
    let client = meshed(&machine, "client", "client", &json!([{"name": "app", "image": "a"}]));
    let stop = machine.folder.path().join("stop");
    let variable = format!("app:STOP={}", stop.display());
    let mut client = machine.run(&client, &["--name", "colors.mesh", "--env", &variable, "--command", LOAD]);
    wait_for("the load", || client.text().contains("begun"));
    let answered = |server: &Task| server.text().matches("answered").count();
    wait_for("requests at both", || servers.iter().all(|server| answered(server) >= 20));
    servers[0].signal(Signal::SIGTERM);
    assert_eq!(servers[0].ended(), Some(143), "{}", servers[0].text());
    // The other one serves on, alone.
    let before = answered(&servers[1]);
    wait_for("requests at the other", || answered(&servers[1]) >= before + 50);
    std::fs::write(&stop, "").expect("written");
    assert_eq!(client.ended(), Some(0), "{}", client.text());
    let text = client.text();
    let line = text.lines().find_map(|line| line.split_once("sent ")).expect("a sum").1;
    let (sent, failed) = line.split_once(" failed ").expect("two sums");
    assert_eq!(failed, "[]", "no request is lost");
    // Nor was one asked for again behind the caller's back.
    let answers: usize = servers.iter().map(answered).sum();
    assert_eq!(sent.parse(), Ok(answers), "each was answered by one application, once");
}

#[test]
fn a_task_that_stops_under_load_loses_no_request() {
    apart(stops_under_load);
}

fn never_healthy() {
    let Some(machine) = Machine::new() else { return };
    let task = machine.file(
        "sick.json",
        &json!({"containerDefinitions": [
            {"name": "sick", "image": "s", "stopTimeout": 2,
             "healthCheck": {"command": ["CMD", "false"], "interval": 1, "retries": 2}},
            {"name": "app", "image": "a", "dependsOn": [{"containerName": "sick", "condition": "HEALTHY"}]},
        ]}),
    );
    let mut run = machine.run(&task, &["--command", "sick=sleep 1000", "--command", "app=true"]);
    assert_eq!(run.ended(), Some(1));
    let text = run.text();
    assert!(
        text.contains("app cannot start: sick is unhealthy") && !text.contains("app has started"),
        "{text}"
    );
}

#[test]
fn what_waits_for_a_container_that_is_never_healthy_does_not_start() {
    apart(never_healthy);
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_touched() {
    let folder = TempDir::new().expect("a folder");
    let run = |task: Value, options: &[&str]| {
        let path = folder.path().join("task.json");
        std::fs::write(&path, task.to_string()).expect("written");
        let output =
            Command::new(PROGRAM).args(["ecs", "run"]).arg(path).args(options).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let app = |more: Value| {
        let mut app = json!({"name": "app", "image": "a"});
        app.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"containerDefinitions": [app]})
    };
    let on = |name: &str| json!({"dependsOn": [{"containerName": name, "condition": "START"}]});
    for (task, options, named) in [
        (app(json!({})), &[][..], "--command app="),
        (app(json!({})), &["--command", "web=x"], "no container web"),
        (app(on("db")), &["--command", "app=x"], "db"),
        (app(on("app")), &["--command", "app=x"], "each other"),
        (app(json!({"user": "nobody-knows"})), &["--command", "app=x"], "nobody-knows"),
        (
            app(json!({"secrets": [{"name": "TOKEN_OF_A_TEST", "valueFrom": "arn"}]})),
            &["--command", "app=x"],
            "TOKEN_OF_A_TEST",
        ),
        (
            app(json!({"dependsOn": [{"containerName": "app", "condition": "READY"}]})),
            &["--command", "app=x"],
            "READY",
        ),
    ] {
        let (code, said) = run(task, options);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(named), "{named}: {said}");
    }
}
