//! Servers as they come from Debian and PyPI.

use crate::mesh::{Mesh, python};
use crate::network::{Host, Process, wait_for};

pub(crate) const HTTP_PORT: u16 = 8080;
pub(crate) const GRPC_PORT: u16 = 50051;
pub(crate) const POSTGRES_PORT: u16 = 5432;
pub(crate) const REDIS_PORT: u16 = 6379;
pub(crate) const MYSQL_PORT: u16 = 3306;
pub(crate) const SMTP_PORT: u16 = 2525;

/// Answers every request with the address that it came from and the path.
const HTTP: &str = r#"
import http.server, socket, socketserver
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # The HTTP server's own asks the DNS for its name, and here nobody answers.
        socketserver.TCPServer.server_bind(self)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"hello {self.path} from {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
Server(("::", 8080), Handler).serve_forever()
"#;

/// Gives back what it gets, without generated code.
const GRPC: &str = r#"
import grpc
from concurrent import futures
def echo(request, context): return b"echo " + request
handler = grpc.method_handlers_generic_handler("test.Echo", {"Say": grpc.unary_unary_rpc_method_handler(echo)})
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((handler,))
server.add_insecure_port("[::]:50051")
server.start()
server.wait_for_termination()
"#;

const SMTP: &str = r#"
import asyncio
from aiosmtpd.smtp import SMTP
class Sink:
    async def handle_DATA(self, server, session, envelope): return "250 taken"
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), hostname="smtp.mesh"), None, 2525)
    await server.serve_forever()
asyncio.run(main())
"#;

pub(crate) fn listens(host: &Host, port: u16) {
    wait_for(&format!("port {port}"), || {
        let sockets = host.succeeds(&["ss", "-Hltn", &format!("sport = :{port}")]);
        !sockets.trim().is_empty()
    });
}

fn python_server(mesh: &Mesh, host: &Host, name: &str, script: &str, port: u16) -> Process {
    let python = python().expect("checked by the test");
    let process = host.start(&mesh.file(&format!("{name}.log")), |_| {}, &[&python, "-c", script]);
    listens(host, port);
    process
}

pub(crate) fn http(mesh: &Mesh, host: &Host) -> Process {
    python_server(mesh, host, "http", HTTP, HTTP_PORT)
}

pub(crate) fn grpc(mesh: &Mesh, host: &Host) -> Process {
    python_server(mesh, host, "grpc", GRPC, GRPC_PORT)
}

pub(crate) fn smtp(mesh: &Mesh, host: &Host) -> Process {
    python_server(mesh, host, "smtp", SMTP, SMTP_PORT)
}

pub(crate) fn redis(mesh: &Mesh, host: &Host) -> Process {
    let words =
        ["redis-server", "--port", "6379", "--bind", "*", "-::*", "--protected-mode", "no", "--save", ""];
    let process = host.start(&mesh.file("redis.log"), |_| {}, &words);
    listens(host, REDIS_PORT);
    process
}

/// A database of its own, as a user that is not root, which PostgreSQL insists on.
pub(crate) fn postgres(mesh: &Mesh, host: &Host) -> Process {
    let bin = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let bin = bin.flatten().map(|version| version.path().join("bin")).next().expect("a version");
    let (data, initdb, postgres) = (mesh.file("postgres"), bin.join("initdb"), bin.join("postgres"));
    let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let (data, initdb, postgres) = (text(&data), text(&initdb), text(&postgres));
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    host.succeeds(&["sh", "-euc", &format!("mkdir {data}; chown 65534:65534 {data}")]);
    host.succeeds(
        &[&nobody[..], &[&initdb, "-D", &data, "-A", "trust", "-U", "postgres", "--no-sync"]].concat(),
    );
    host.succeeds(&["sh", "-euc", &format!("printf 'host all all all trust\\n' >> {data}/pg_hba.conf")]);
    let words = [&postgres, "-D", &data, "-k", &data, "-h", "*", "-c", "fsync=off"];
    let process = host.start(&mesh.file("postgres.log"), |_| {}, &[&nobody[..], &words].concat());
    listens(host, POSTGRES_PORT);
    process
}

/// MariaDB speaks first: the client says nothing before the server has greeted it.
pub(crate) fn mariadb(mesh: &Mesh, host: &Host) -> Process {
    let data = mesh.file("mariadb").to_str().expect("text").to_owned();
    std::fs::create_dir(&data).expect("a folder");
    let (folder, socket) = (format!("--datadir={data}"), format!("--socket={data}/socket"));
    // Without tables of grants it needs no installation.
    let words = ["mariadbd", "--no-defaults", "--user=root", &folder, &socket, "--skip-grant-tables"];
    let words = [&words[..], &["--skip-networking=0", "--skip-name-resolve"]].concat();
    let process = host.start(&mesh.file("mariadb.log"), |_| {}, &words);
    listens(host, MYSQL_PORT);
    process
}
