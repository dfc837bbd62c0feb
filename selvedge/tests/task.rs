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
            .args(["up", "--listen", "0.0.0.0:7070", "--allow-unauthenticated-remote", "--data-dir"])
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
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ[\"COLOR\"].encode()
        self.send_response(200)
        self.send_header(\"content-length\", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer((\"0.0.0.0\", 8080), Handler).serve_forever()
'";

fn two_tasks() {
    let Some(machine) = Machine::new() else { return };
    machine.make("create-mesh", &json!({"meshName": "m"}));
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
    let mut server = machine.run(&server, &["--command", SERVER, "--command", "setup=echo done"]);
    wait_for("the server", || {
        server.text().contains("app | user 65534")
            || !server.text().is_empty() && server.text().contains("ended")
    });
    let client = meshed(&machine, "client", "client", &json!([{"name": "app", "image": "a"}]));
    let call = "app=curl -fsS --retry 20 --retry-all-errors --retry-delay 1 http://colors.mesh:8080/; exit 7";
    let mut client = machine.run(&client, &["--name", "colors.mesh", "--command", call]);
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
    apart(two_tasks);
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
