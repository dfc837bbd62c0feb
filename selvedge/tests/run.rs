//! An application and its sidecar, started and ended together; and the commands that are called beside one that runs.

#![allow(dead_code, reason = "each test uses its part of the server module")]

mod server;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{PROGRAM, Server};

/// A control plane with one node that serves and one that calls it.
struct Mesh {
    server: Server,
    endpoint: String,
    app: u16,
}

/// Ports that nobody listens on, below those that the kernel gives to whoever connects somewhere: none of them is taken
/// between here and the moment when somebody listens on it.
fn free_ports<const N: usize>() -> [u16; N] {
    let began = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos();
    let mut candidates =
        (0..).map(|turn: u32| 12_000 + (began.wrapping_add(turn.wrapping_mul(7919)) % 20_000) as u16);
    let sockets: [TcpListener; N] = std::array::from_fn(|_| {
        candidates.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a port")
    });
    sockets.each_ref().map(|socket| socket.local_addr().expect("an address").port())
}

impl Mesh {
    fn start(app: u16) -> Self {
        let server = Server::start(&[]);
        let endpoint = server.url.trim_start_matches("http://").to_owned();
        let mesh = Self { server, endpoint, app };
        mesh.make(&["create-mesh"]);
        let listeners =
            format!(r#"{{"listeners": [{{"portMapping": {{"port": {app}, "protocol": "http"}}}}]}}"#);
        mesh.make(&["create-virtual-node", "--virtual-node-name", "server", "--spec", &listeners]);
        let backends = r#"{"backends": [{"virtualService": {"virtualServiceName": "web.mesh"}}]}"#;
        mesh.make(&["create-virtual-node", "--virtual-node-name", "client", "--spec", backends]);
        let provider = r#"{"provider": {"virtualNode": {"virtualNodeName": "server"}}}"#;
        mesh.make(&["create-virtual-service", "--virtual-service-name", "web.mesh", "--spec", provider]);
        mesh
    }

    fn make(&self, words: &[&str]) {
        self.server.prints(&[&["appmesh"], words, &["--mesh-name", "m"]].concat());
    }

    /// `selvedge run` for a node, on ports of its own.
    fn run(&self, node: &str, options: &[&str], command: &[&str]) -> (Command, String) {
        let [admin, ingress, egress] = free_ports();
        let mut run = Command::new(PROGRAM);
        run.args(["run", "--node", &format!("mesh/m/virtualNode/{node}"), "--xds-endpoint", &self.endpoint]);
        run.args(options).arg("--").args(command);
        run.env("SELVEDGE_STATE_DIR", "none").env("SELVEDGE_DRAIN_ACCEPT_S", "0").stdin(Stdio::null());
        run.env("ENVOY_ADMIN_ACCESS_PORT", admin.to_string());
        run.env("SELVEDGE_INGRESS_PORT", ingress.to_string()).env("SELVEDGE_EGRESS_PORT", egress.to_string());
        (run, format!("http://127.0.0.1:{admin}"))
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn term(child: &Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
}

/// A web server that says when it listens, and what ends it.
const WEB: &str = r#"
import http.server, signal, sys
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
def end(number, frame):
    print("ended by", number, flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGHUP, lambda number, frame: print("heard", number, flush=True))
print("listening", flush=True)
server.serve_forever()
"#;

#[test]
fn an_application_calls_another_without_root_and_ends_with_its_own_code() {
    let [app] = free_ports();
    let mesh = Mesh::start(app);
    let (mut run, _) =
        mesh.run("server", &["--interception", "none"], &["python3", "-c", WEB, &app.to_string()]);
    let mut serving = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = BufReader::new(serving.stdout.take().expect("piped above"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "listening\n");
    // curl knows the sidecar by `http_proxy` alone.
    let url = format!("http://web.mesh:{}/", mesh.app);
    let call =
        format!("curl -fsS -o /dev/null -w '%{{http_code}}\\n' --retry 20 --retry-all-errors {url}; exit 7");
    let (mut run, _) = mesh.run("client", &["--interception", "none"], &["sh", "-c", &call]);
    let called = run.output().expect("it runs");
    assert_eq!(called.status.code(), Some(7), "{}", text(&called));
    assert_eq!(String::from_utf8_lossy(&called.stdout), "200\n", "{}", text(&called));
    kill(Pid::from_raw(serving.id().cast_signed()), Signal::SIGHUP).expect("it runs");
    line.clear();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "heard 1\n", "other signals are passed on");
    term(&serving);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("readable");
    assert_eq!(rest, "ended by 15\n");
    assert_eq!(serving.wait().expect("a child").code(), Some(3));
}

#[test]
fn a_sidecar_that_cannot_serve_starts_no_application() {
    let mesh = Mesh::start(free_ports::<1>()[0]);
    let (mut run, _) = mesh.run("server", &["--interception", "none"], &["echo", "started"]);
    let output = run.env("ENVOY_CONCURRENCY", "nonsense").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(!text(&output).contains("started"), "{}", text(&output));
    let output = mesh.server.selvedge(&["run", "--node", "n", "--", "true"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn an_application_that_is_not_there_leaves_no_sidecar() {
    let mesh = Mesh::start(free_ports::<1>()[0]);
    let (mut run, admin) = mesh.run("client", &["--interception", "none"], &["/no/such/program"]);
    let output = run.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("/no/such/program"), "{}", text(&output));
    let waited = Command::new(PROGRAM).args(["proxy", "wait", "--timeout", "0", "--admin", &admin]).output();
    assert_eq!(waited.expect("it runs").status.code(), Some(1), "nobody is there");
}

#[test]
fn a_job_waits_for_the_sidecar_beside_it_and_ends_it() {
    let mesh = Mesh::start(free_ports::<1>()[0]);
    let [admin, ingress, egress] = free_ports();
    let url = format!("http://127.0.0.1:{admin}");
    let mut job = Command::new(PROGRAM);
    job.args(["run", "--beside", &url, "--", "sh", "-c", "echo worked; exit 5"]).stdin(Stdio::null());
    // It is there before its sidecar.
    let job = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut sidecar = Command::new(PROGRAM)
        .args(["proxy"])
        .env("APPMESH_RESOURCE_ARN", "mesh/m/virtualNode/client")
        .env("APPMESH_XDS_ENDPOINT", &mesh.endpoint)
        .env("ENVOY_ADMIN_ACCESS_PORT", admin.to_string())
        .env("SELVEDGE_INTERCEPTION", "none")
        .env("SELVEDGE_INGRESS_PORT", ingress.to_string())
        .env("SELVEDGE_EGRESS_PORT", egress.to_string())
        .env("SELVEDGE_STATE_DIR", "none")
        .env("SELVEDGE_DRAIN_ACCEPT_S", "0")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let waited = Command::new(PROGRAM)
        .args(["proxy", "wait", "--timeout", "5", "--admin", &url])
        .output()
        .expect("it runs");
    let job = job.wait_with_output().expect("a child");
    assert_eq!((job.status.code(), &*job.stdout), (Some(5), &b"worked\n"[..]), "{}", text(&job));
    // The job may be over, and its sidecar with it, before this one asks.
    assert!(waited.status.success() || text(&waited).contains("does not serve"), "{}", text(&waited));
    assert!(sidecar.wait().expect("a child").success(), "it was asked to end, and did");
}

/// Says how many requests it has answered; each takes a while. It ends at SIGTERM as most programs do: at once.
const SLOW: &str = r#"
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.2)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
        print("answered", flush=True)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// Calls eight at a time through the proxy that it is told of, until the file is there; half keep their connections.
const LOAD: &str = r#"
import http.client, os, sys, threading, urllib.parse
sent, failed = [], []
proxy = urllib.parse.urlsplit(os.environ["http_proxy"])
def call(keep):
    connection = None
    while not os.path.exists(sys.argv[2]):
        try:
            connection = connection or http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
            connection.request("GET", sys.argv[1])
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200: sent.append(1)
            else: failed.append(answer.status)
        except Exception as error:
            failed.append(repr(error))
        if not keep or failed:
            connection.close()
            connection = None
threads = [threading.Thread(target=call, args=(n % 2,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(sent), failed, flush=True)
"#;

#[test]
fn an_application_that_stops_under_load_loses_no_request() {
    let mesh = Mesh::start(8080);
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let answered =
        |name: &str| std::fs::read_to_string(place(name)).unwrap_or_default().matches("answered").count();
    let mut servers = ["first", "second"].map(|name| {
        let [app] = free_ports();
        let (mut run, _) =
            mesh.run("server", &["--interception", "none"], &["python3", "-c", SLOW, &app.to_string()]);
        run.env("SELVEDGE_APP_PORT_8080", app.to_string()).env_remove("SELVEDGE_DRAIN_ACCEPT_S");
        let log = std::fs::File::create(place(name)).expect("a log");
        run.stdout(log).stderr(Stdio::null()).spawn().expect("it starts")
    });
    let stop = place("stop");
    let load = ["python3", "-c", LOAD, "http://web.mesh:8080/", stop.to_str().expect("text")];
    let ready =
        "until curl -fsS -o /dev/null http://web.mesh:8080/ 2>/dev/null; do sleep 0.1; done; exec \"$@\"";
    let command = [&["sh", "-c", ready, "sh"][..], &load].concat();
    let (mut run, _) = mesh.run("client", &["--interception", "none"], &command);
    let client = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    wait_for("requests at both", || ["first", "second"].iter().all(|name| answered(name) >= 20));
    term(&servers[0]);
    assert_eq!(servers[0].wait().expect("a child").code(), Some(143));
    let before = answered("second");
    wait_for("requests at the other", || answered("second") >= before + 50);
    std::fs::write(&stop, "").expect("written");
    let client = client.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&client.stdout).into_owned();
    term(&servers[1]);
    servers[1].wait().expect("a child");
    let (sent, failed) = said.trim().split_once(' ').expect("two sums");
    assert_eq!(failed, "[]", "no request is lost");
    // The first, which waited for a server to be there, is one besides; none was asked for twice.
    let answers = answered("first") + answered("second");
    assert_eq!(sent.parse(), Ok(answers - 1), "each was answered by one application, once");
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 60, "{what}: not within a minute");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn redirected() {
    if unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_err() {
        return eprintln!("SKIPPED: no network namespace may be made here");
    }
    let up = "ip link set lo up; ip link add d0 type bridge; ip addr add 10.66.0.1/24 dev d0; ip link set d0 up; \
              ip route add default via 10.66.0.254; mount --make-rprivate /; mount -t tmpfs tmpfs /var/lib";
    assert!(Command::new("sh").args(["-euc", up]).status().expect("sh runs").success());
    let mesh = Mesh::start(8080);
    // The sidecar of the application alone takes its user's connections: 65534's, and nobody else's.
    let shown = "id -u; curl -s -o /dev/null -w '%{http_code}\\n' http://10.99.0.1/; exit 0";
    let mut run = Command::new(PROGRAM);
    run.args(["run", "--node", "mesh/m/virtualNode/client", "--xds-endpoint", &mesh.endpoint]);
    run.args(["--user", "65534", "--", "sh", "-c", shown]);
    run.env_remove("SELVEDGE_STATE_DIR").env("SELVEDGE_DRAIN_ACCEPT_S", "0").stdin(Stdio::null());
    let output = run.output().expect("it runs");
    let kept = "cd /var/lib/selvedge-sidecars/*virtualNode_client*; stat -c '%u %a' .; ls | wc -l";
    let kept = Command::new("sh").args(["-euc", kept]).output().expect("sh runs");
    let kept = String::from_utf8_lossy(&kept.stdout).into_owned();
    assert!(kept.starts_with("1337 700\n") && !kept.ends_with("\n0\n"), "its last configuration: {kept:?}");
    // Nobody is at 10.99.0.1: that something answers at all – by closing – is the sidecar, which has no such backend.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "65534\n000\n", "{}", text(&output));
    assert_eq!(output.status.code(), Some(0));
    let rules = Command::new(PROGRAM).args(["redirect", "show"]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&rules.stdout), "no connection is redirected\n", "they went with it");
}

#[test]
fn as_root_the_connections_of_the_applications_user_are_redirected() {
    std::thread::spawn(redirected).join().expect("the test");
}
