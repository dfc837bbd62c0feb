//! What leaves the mesh: everything under `ALLOW_ALL`; under `DROP_ALL` backends, AWS by TLS's server name, and what a
//! policy allows. Both planes are asked the same, and must say the same.

use serde_json::json;

use crate::mesh::{Mesh, Plane, envoy, python};
use crate::network::{Family, Host, wait_for};

/// TLS on three ports, with whatever certificate; HTTP on two; a greeting before anything is said.
const OUTSIDE: &str = r#"
import http.server, socketserver, ssl, subprocess, sys, threading
folder = sys.argv[1]
subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=outside",
                "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem"], check=True, stderr=subprocess.DEVNULL)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"outside")
    def log_message(self, *words): pass
class Greeter(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"welcome\n")
        self.request.recv(64)
socketserver.ThreadingTCPServer.allow_reuse_address = True
class Server(http.server.ThreadingHTTPServer):
    # The HTTP server's own asks the DNS for its name, and here nobody answers.
    server_bind = socketserver.TCPServer.server_bind
servers = [Server(("0.0.0.0", port), Handler) for port in (80, 8000, 443, 8443, 9443)]
for server in servers[2:]:
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
servers.append(socketserver.ThreadingTCPServer(("0.0.0.0", 2525), Greeter))
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", flush=True)
threading.Event().wait()
"#;

/// Everything that is tried: its name, and the words of curl, or what the greeter is asked.
const CALLS: [(&str, &str); 11] = [
    ("plain to a port of nobody", "http://10.77.0.13:8000/"),
    ("plain to a port that a backend has", "http://10.77.0.13:80/"),
    ("TLS to AWS", "https://s3.us-east-1.amazonaws.com/"),
    ("TLS to AWS in capitals", "https://S3.AmazonAWS.com/"),
    ("TLS to AWS on another port", "https://s3.us-east-1.amazonaws.com:8443/"),
    ("TLS to a name that ends likewise", "https://evilamazonaws.com/"),
    ("TLS to the suffix itself", "https://amazonaws.com/"),
    ("TLS to somebody", "https://www.example.org/"),
    ("TLS that a policy allows by a wildcard", "https://api.example.com/"),
    ("TLS that a policy allows on its port", "https://partner.example.net:9443/"),
    ("plain HTTP where AWS is spoken to", "http://10.77.0.13:443/"),
];

/// The answer's status, or how there was none.
fn call(host: &Host, url: &str) -> String {
    let words = ["curl", "-sk", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"];
    let name = url.split("//").nth(1).and_then(|rest| rest.split(['/', ':']).next()).expect("a host");
    let resolve = [443, 8443, 9443].map(|port| format!("{name}:{port}:10.77.0.13"));
    let mut words = words.map(str::to_owned).to_vec();
    if !name.starts_with("10.") {
        words.extend(resolve.into_iter().flat_map(|entry| ["--resolve".to_owned(), entry]));
    }
    words.push(url.to_owned());
    let output = host.output(&words.iter().map(String::as_str).collect::<Vec<_>>());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a client hears that says nothing first.
fn greeting(host: &Host, python: &str) -> String {
    let script = "import socket, sys\n\
                  try:\n    s = socket.create_connection(('10.77.0.13', 2525), timeout=8); print(s.recv(64))\n\
                  except OSError as error: print(type(error).__name__)";
    host.succeeds(&[python, "-c", script]).trim().to_owned()
}

/// All answers of a plane under a filter.
fn answers(plane: Plane, filter: &str) -> Option<Vec<(String, String)>> {
    let python = python()?;
    if plane == Plane::Envoy {
        envoy()?;
    }
    let mesh = Mesh::start(Family::V4, json!({"egressFilter": {"type": filter}}))?;
    mesh.node("server", &[(80, "http")], &[]);
    mesh.make(
        "create-virtual-service",
        json!({"virtualServiceName": "web.mesh", "spec": {"provider": {
            "virtualNode": {"virtualNodeName": "server"},
        }}}),
    );
    mesh.node("client", &[], &["web.mesh"]);
    let allowed = json!([{"host": "*.example.com"}, {"host": "partner.example.net", "port": 9443}]);
    mesh.policy("out", "mesh/m/virtualNode/client", "egress", &json!({ "allow": allowed }));
    let (client, outside) = (mesh.host(11, &["web.mesh"]), mesh.host(13, &[]));
    let log = mesh.file("outside.log");
    let folder = mesh.folder.path().to_str().expect("text").to_owned();
    let _outside = outside.start(&log, |_| {}, &[&python, "-c", OUTSIDE, &folder]);
    wait_for("the outside", || std::fs::read_to_string(&log).unwrap_or_default().contains("listening"));
    mesh.redirect(&client, "nft", "");
    let _sidecar = mesh.sidecar(plane, &client, "client");
    let mut answers: Vec<(String, String)> =
        CALLS.iter().map(|(name, url)| ((*name).to_owned(), call(&client, url))).collect();
    answers.push(("a server that speaks first".to_owned(), greeting(&client, &python)));
    Some(answers)
}

/// What App Mesh did, and what both planes must do.
fn check(filter: &'static str, expected: [&str; CALLS.len() + 1]) {
    for plane in [Plane::Own, Plane::Envoy] {
        let run = move || answers(plane, filter);
        let Some(found) = std::thread::spawn(run).join().expect("the test") else { return };
        let wanted: Vec<(String, String)> =
            found.iter().zip(expected).map(|((name, _), answer)| (name.clone(), answer.to_owned())).collect();
        assert_eq!(found, wanted, "{plane:?} under {filter}");
    }
}

#[test]
fn under_drop_all_only_backends_aws_and_what_a_policy_allows_are_reached() {
    check("DROP_ALL", ["000", "404", "200", "200", "000", "000", "000", "000", "200", "200", "000", "b''"]);
}

#[test]
fn under_allow_all_everything_is_reached_that_is_no_backends() {
    check(
        "ALLOW_ALL",
        ["200", "404", "200", "200", "200", "200", "200", "200", "200", "200", "000", "b'welcome\\n'"],
    );
}
