"""An edge in the mesh: it publishes its routes, has a condition, and its requests go by weights, retries and time-outs of the mesh;
and Debian's lighttpd beside a sidecar, by the same socket."""

import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time

import boto3
import botocore.config
import grpc

import _server
from _edge import ROOT, Backend, ask, atexit, await_port, end, folder, free_ports
from _report import Report
from _websocket import Connection, Raw

report = Report()
home = folder()
home.chmod(0o755)
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
endpoint = _server.endpoint()
control = endpoint.split("//")[1]
MESH = f"shop-{os.getpid()}"
mesh = boto3.client("appmesh", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x",
                    config=botocore.config.Config(inject_host_prefix=False, retries={"total_max_attempts": 1}))
HERE = "127.0.0.1"


def until(found, seconds=60):
    deadline = time.monotonic() + seconds
    while not (answer := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def raise_(problem):
    raise SystemExit(problem)


# === the mesh: orders has two nodes behind a router, and stock one of its own ===
failures = {"left": 0}


def app(name):
    def answer(method, path, headers):
        if path.startswith("/orders/slow"):
            time.sleep(3)
        if path.startswith("/orders/flaky") and failures["left"] > 0:
            failures["left"] -= 1
            return 503, [], b"not yet"
        told = {name.lower(): value for name, value in headers.items()}
        return 200, [("content-type", "application/json")], json.dumps({"node": name, "path": path, "headers": told}).encode()
    return Backend(answer)


apps = {name: app(name) for name in ("orders-a", "orders-b", "stock", "shop-front")}
mesh.create_mesh(meshName=MESH)
sidecars = {}


def sidecar(kind, name, **environment):
    ingress, egress, admin = free_ports(3)
    log = open(home / f"{name}.log", "wb")
    process = subprocess.Popen([BINARY, "proxy"], stderr=log, stdout=log, env={
        **os.environ, "APPMESH_RESOURCE_ARN": f"mesh/{MESH}/{kind}/{name}", "APPMESH_XDS_ENDPOINT": control,
        "SELVEDGE_INTERCEPTION": "none", "SELVEDGE_INGRESS_PORT": str(ingress), "SELVEDGE_EGRESS_PORT": str(egress),
        "ENVOY_ADMIN_ACCESS_PORT": str(admin), "SELVEDGE_STATE_DIR": "none", "ENVOY_CONCURRENCY": "1", **environment})
    atexit.register(end, process)
    sidecars[name] = process


for name, backend in apps.items():
    # Without discovery, the sidecar that connects as a node is its endpoint.
    spec = {"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]}
    if name == "shop-front":
        spec["backends"] = [{"virtualService": {"virtualServiceName": "orders.shop.local"}}]
    mesh.create_virtual_node(meshName=MESH, virtualNodeName=name, spec=spec)
mesh.create_virtual_router(meshName=MESH, virtualRouterName="orders", spec={"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]})


def weights(a, b):
    action = {"weightedTargets": [{"virtualNode": "orders-a", "weight": a}, {"virtualNode": "orders-b", "weight": b}]}
    return {"httpRoute": {
        "match": {"prefix": "/"}, "action": action, "timeout": {"perRequest": {"unit": "ms", "value": 1000}},
        "retryPolicy": {"maxRetries": 3, "perRetryTimeout": {"unit": "ms", "value": 900}, "httpRetryEvents": ["server-error"]}}}


mesh.create_route(meshName=MESH, virtualRouterName="orders", routeName="all", spec=weights(100, 0))
mesh.create_virtual_service(meshName=MESH, virtualServiceName="orders.shop.local", spec={"provider": {"virtualRouter": {"virtualRouterName": "orders"}}})
mesh.create_virtual_service(meshName=MESH, virtualServiceName="stock.shop.local", spec={"provider": {"virtualNode": {"virtualNodeName": "stock"}}})
for name, backend in apps.items():
    own = {"SELVEDGE_APP_PORT_8080": str(backend.port)}
    if name == "shop-front":
        own["SELVEDGE_EGRESS_SOCKET"] = str(home / "egress.sock")
    sidecar("virtualNode", name, **own)

# A service of gRPC, with a call that goes both ways.
class Chat(grpc.GenericRpcHandler):
    def service(self, call):
        def talk(words, context):
            for word in words:
                if word == b"leave":
                    context.set_trailing_metadata((("x-last", "word"),))
                    context.abort(grpc.StatusCode.NOT_FOUND, "gone")
                yield b"heard " + word
            context.set_trailing_metadata((("x-last", "end"),))
        return grpc.stream_stream_rpc_method_handler(talk) if call.method == "/shop.Chat/Talk" else None


chat = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Chat()])
chat_port = chat.add_insecure_port(f"{HERE}:0")
chat.start()
atexit.register(chat.stop, None)
mesh.create_virtual_node(meshName=MESH, virtualNodeName="chat", spec={"listeners": [{"portMapping": {"port": 8080, "protocol": "grpc"}}]})
mesh.create_virtual_service(meshName=MESH, virtualServiceName="chat.shop.local", spec={"provider": {"virtualNode": {"virtualNodeName": "chat"}}})
sidecar("virtualNode", "chat", SELVEDGE_APP_PORT_8080=str(chat_port))


# A service that takes tunnels and sends back what comes through them.
class Echo(socketserver.StreamRequestHandler):
    ended = queue.SimpleQueue()

    def handle(self):
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
        head = head.lower()
        if b"/talk/no" in head or b"upgrade: websocket" not in head:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
            return
        # Nothing looks at the answer to a key that a client of HTTP/1 has made, but the client.
        answer = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()) if key[1] != b"k" else b"a"
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: " + answer + b"\r\n\r\nhere ")
        while data := self.request.recv(65536):
            if data == b"goodbye":
                return
            self.request.sendall(data)
        self.ended.put(True)


class Echoes(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True


echoes = Echoes((HERE, 0), Echo)
threading.Thread(target=echoes.serve_forever, daemon=True).start()
mesh.create_virtual_node(meshName=MESH, virtualNodeName="talk", spec={"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]})
mesh.create_virtual_service(meshName=MESH, virtualServiceName="talk.shop.local", spec={"provider": {"virtualNode": {"virtualNodeName": "talk"}}})
sidecar("virtualNode", "talk", SELVEDGE_APP_PORT_8080=str(echoes.server_address[1]))

# === the edge ===
port, conf_port, grpc_port = free_ports(3)
site = f"http://{HERE}:{port}"


def form(extra=""):
    return f"""
[edge]
name = "shop-edge"
gateway = "shop-gw"
[[listen]]
address = "{HERE}:{port}"
[[listen]]
address = "{HERE}:{grpc_port}"
protocols = ["h2"]
[trust]
forwarded_from = ["{HERE}"]
[[site]]
[[site.route]]
path = "/orders/*"
service = "orders.shop.local"
[[site.route]]
path = "/stock/*"
client = ["10.0.0.0/8"]
service = "stock.shop.local"
[[site.route]]
path = "/here"
respond = "here"
[[site.route]]
path = "/shop.Chat/*"
service = "chat.shop.local"
[[site.route]]
path = "/talk/*"
service = "talk.shop.local"
{extra}"""


def start(file, text, api=None):
    (home / file).write_text(text)
    log = open(home / f"{file}.log", "w+b")
    process = subprocess.Popen([BINARY, "edge", "-D", "-f", str(home / file), "--endpoint-url", api or endpoint, "--mesh", MESH,
                                "--control", str(home / f"{file}.sock")], stderr=log)
    atexit.register(end, process)
    return process


def stands(file):
    """What an edge's control socket says of the mesh."""
    done = subprocess.run(["curl", "-sS", "--max-time", "60", "--unix-socket", str(home / f"{file}.sock"), "-w", " %{http_code}", "http://edge/mesh"],
                          capture_output=True, text=True)
    return done.stdout


def log(file):
    return (home / f"{file}.log").read_text()


def published():
    names = [route["gatewayRouteName"] for route in mesh.list_gateway_routes(meshName=MESH, virtualGatewayName="shop-gw")["gatewayRoutes"]]
    specs = {}
    for name in names:
        try:
            found = mesh.describe_gateway_route(meshName=MESH, virtualGatewayName="shop-gw", gatewayRouteName=name)
        except mesh.exceptions.NotFoundException:
            # The edge took it away between the two calls.
            continue
        specs[name] = found["gatewayRoute"]["spec"]
    return specs


edge = start("edge.toml", form())
await_port(port)
report.equal(ask(f"{site}/here").body, b"here", "an edge serves what is its own before the mesh is there")
first = until(lambda: (answer := ask(f"{site}/orders/1", headers=[("host", "shop.example.com")])).status == 200 and answer)
report.check(first, lambda: f"a request reaches a service of the mesh: {log('edge.toml')}")
told = json.loads(first.body)
report.equal((told["node"], told["path"]), ("orders-a", "/orders/1"), "at the node that has all the weight, with its path")
report.equal(told["headers"]["host"], "shop.example.com", "and its host: rewrites are off")
report.check("x-selvedge-service" not in told["headers"], "how the edge names the service stays between edge and mesh")
routes = published()
spec = routes.get("shop-edge-1", {})
report.equal(spec.get("httpRoute", {}).get("action", {}).get("rewrite"),
             {"hostname": {"defaultTargetHostname": "DISABLED"}, "prefix": {"defaultPrefix": "DISABLED"}}, "a gateway route is published, rewrites off")
report.equal(sorted(routes), ["shop-edge-1", "shop-edge-4", "shop-edge-5", "shop-gw-name-1"], "and what has no equal is published by its name alone")
report.equal(ask(f"{site}/stock/1").status, 404, "a rule of the edge alone leads nobody else into the mesh")
# The gateway hears of each route by itself: this one may come after the first.
report.check(until(lambda: ask(f"{site}/stock/1", headers=[("x-forwarded-for", "10.1.2.3")]).status == 200), "and who it is for gets there")
told = json.loads(ask(f"{site}/orders/1", headers=[("x-forwarded-for", "9.9.9.9, 10.1.2.3"), ("x-selvedge-service", "stock.shop.local"),
                                                   ("host", "stock.shop.local")]).body)
report.equal(told["node"], "orders-a", "a client chooses no service: not by a header, not by its host")
hop = ask(f"{site}/orders/1", headers=[("connection", "x-selvedge-service, x-forwarded-for"), ("x-forwarded-for", "9.9.9.9, 10.1.2.3"), ("host", "stock.shop.local")])
told = json.loads(hop.body)
report.equal((told["node"], "9.9.9.9" in told["headers"].get("x-forwarded-for", "")), ("orders-a", False), "nor by saying that the edge's word is for one hop")
report.check("9.9.9.9" not in told["headers"].get("x-forwarded-for", ""), lambda: f"and is believed nothing of who it is: {told['headers']}")

# === status, explain ===
status = json.loads(subprocess.run([BINARY, "status", "--mesh", MESH, "-o", "json", "--endpoint-url", endpoint], capture_output=True, check=True).stdout)


def find(node, name):
    if node.get("name") == name:
        return node
    return next((found for child in node.get("children", []) if (found := find(child, name))), None)


gateway = find(status["meshes"][0], "shop-gw")
report.equal((gateway and gateway["condition"], len(gateway["proxies"]) if gateway else 0), ("ACTIVE", 1), "the edge is in `selvedge status` with its condition")
asked = subprocess.run([BINARY, "edge", "explain", "-f", str(home / "edge.toml"), f"{site}/orders/1", "--endpoint-url", endpoint, "--mesh", MESH],
                       capture_output=True, text=True)
report.check("the virtual service orders.shop.local" in asked.stdout and "orders-a" in asked.stdout.split("the mesh:")[-1],
             lambda: f"edge explain asks the mesh: {asked.stdout}{asked.stderr}")
asked = subprocess.run([BINARY, "edge", "explain", "-f", str(home / "edge.toml"), f"{site}/orders/1", "--endpoint-url", "http://127.0.0.1:1"],
                       capture_output=True, text=True)
report.check(asked.returncode == 0 and "it cannot be asked" in asked.stdout, lambda: f"or says that it cannot: {asked.stdout}{asked.stderr}")

# What is published has its ARN, and what would be published by another file and is not, is told.
asked = subprocess.run([BINARY, "edge", "check", str(home / "edge.toml"), "--live", "--endpoint-url", endpoint, "--mesh", MESH], capture_output=True, text=True)
report.check(asked.returncode == 0 and "gateway shop-gw: arn:aws:appmesh:" in asked.stdout and "gateway route shop-edge-1: arn:aws:appmesh:" in asked.stdout,
             lambda: f"edge check --live shows what the mesh has: {asked.stdout}{asked.stderr}")
(home / "other.toml").write_text((home / "edge.toml").read_text() + """
[[site]]
  [[site.route]]
  path = "/more/*"
  service = "stock.shop.local"
""")
asked = subprocess.run([BINARY, "edge", "check", str(home / "other.toml"), "--live", "--endpoint-url", endpoint, "--mesh", MESH], capture_output=True, text=True)
report.check(asked.returncode != 0 and "is not in the mesh" in asked.stdout, lambda: f"and what it has not: {asked.stdout}{asked.stderr}")

# === weights, retries, time-outs are the mesh's ===
mesh.update_route(meshName=MESH, virtualRouterName="orders", routeName="all", spec=weights(50, 50))
seen = until(lambda: len({json.loads(ask(f"{site}/orders/1").body)["node"] for _ in range(20)}) == 2)
report.check(seen, "weights are moved by the mesh, and the edge is not asked")
counts = [json.loads(ask(f"{site}/orders/1").body)["node"] for _ in range(200)].count("orders-a")
report.check(60 <= counts <= 140, lambda: f"half of the requests each: {counts} of 200")
mesh.update_route(meshName=MESH, virtualRouterName="orders", routeName="all", spec=weights(0, 100))
until(lambda: all(json.loads(ask(f"{site}/orders/1").body)["node"] == "orders-b" for _ in range(20)))
failures["left"] = 2
before = len(apps["orders-b"].requests)
report.equal((ask(f"{site}/orders/flaky").status, len(apps["orders-b"].requests) - before), (200, 3), "retries")
# The service takes longer than the route allows, and not as long as anybody else would.
report.equal(ask(f"{site}/orders/slow").status, 504, "time-outs, which are the route's")
big = os.urandom(300_000)
report.equal(ask(f"{site}/orders/big", "POST", body=big).status, 200, "a body that is larger than a buffer")

# === a stream without a length goes on as it comes ===
with socket.create_connection((HERE, port)) as upload:
    upload.settimeout(60)
    before = len(apps["orders-b"].requests)
    upload.sendall(b"POST /orders/stream HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    report.check(until(lambda: len(apps["orders-b"].requests) > before), "a service hears of a request before its body has ended")
    upload.sendall(b"0\r\n\r\n")
    report.check(upload.recv(1000).startswith(b"HTTP/1.1 200"), "and answers when it has")

# === a gRPC call that goes both ways ===
with grpc.insecure_channel(f"{HERE}:{grpc_port}") as channel:
    def talk():
        said = queue.SimpleQueue()
        call = channel.stream_stream("/shop.Chat/Talk")(iter(said.get, None), timeout=20)
        return said, call

    def first_word():
        said, call = talk()
        said.put(b"hello")
        try:
            return next(call) == b"heard hello" and (said, call)
        except grpc.RpcError:
            return None

    said, call = until(first_word) or raise_(f"nobody hears a gRPC call: {log('edge.toml')[-800:]}")
    heard = []
    for word in (b"one", b"two", b"three"):
        said.put(word)
        heard.append(next(call))
    report.equal(heard, [b"heard one", b"heard two", b"heard three"], "each word is answered before the next one is said")
    said.put(None)
    report.equal((list(call), call.code(), dict(call.trailing_metadata()).get("x-last")), ([], grpc.StatusCode.OK, "end"), "the end has its status and its trailers")
    said, call = talk()
    said.put(b"leave")
    try:
        next(call)
    except grpc.RpcError:
        pass
    said.put(None)
    report.equal((call.code(), call.details(), dict(call.trailing_metadata()).get("x-last")), (grpc.StatusCode.NOT_FOUND, "gone", "word"), "and so has a failure")


# === tunnels ===
def tunnel(path, wish="websocket"):
    talk = socket.create_connection((HERE, port))
    talk.settimeout(60)
    talk.sendall(f"GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: {wish}\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n".encode())
    heard = talk.makefile("rb")
    return talk, heard, b"".join(iter(heard.readline, b"\r\n")).lower()


def opened():
    talk, heard, head = tunnel("/talk/1")
    return head.startswith(b"http/1.1 101 ") and (talk, heard, head)


talk, heard, head = until(opened) or raise_(f"no tunnel stands: {tunnel('/talk/1')[2]} {log('edge.toml')[-800:]}")
report.check(b"\r\nupgrade: websocket\r\n" in head and b"\r\nconnection: upgrade\r\n" in head and b"sec-websocket-accept: a" in head, lambda: f"a WebSocket is granted: {head}")
report.equal(heard.read(5), b"here ", "what the service says at once comes through")
for word in (b"one", b"two"):
    talk.sendall(word)
    report.equal(heard.read(3), word, "and so does each word, both ways")
threading.Thread(target=talk.sendall, args=(big,), daemon=True).start()
report.equal(heard.read(len(big)), big, "more than fits into any buffer")
refused = tunnel("/talk/no")
report.equal((refused[2].split()[1], refused[1].read()), (b"403", b"no"), "a tunnel that is refused is an answer, and the end of the connection")
refused[0].close()
other = tunnel("/talk/1", "other")
report.equal(other[2].split()[1], b"403", "a protocol that no mesh carries is refused")
other[0].close()
left = tunnel("/talk/1")
left[1].read(5)
while not Echo.ended.empty():
    Echo.ended.get()
left[0].shutdown(socket.SHUT_WR)
report.check(Echo.ended.get(timeout=60), "a service hears that its client has left")
left[0].close()
left = tunnel("/talk/1")
left[0].sendall(b"goodbye")
report.equal(left[1].read(), b"here ", "and a client that the service has")

# The same on streams of HTTP/2 (RFC 8441).
streams = Connection(grpc_port, tls=False)


def on_stream(path):
    status, fields, stream = streams.ask(path)
    return status, {name for name in fields if name.startswith("sec-") or name in ("upgrade", "connection")}, Raw(streams, stream)


status, fields, one = on_stream("/talk/1")
report.equal((streams.offers, status, fields, one.read(5)), (True, 200, set(), b"here "), "a WebSocket is granted on a stream, and nothing of HTTP/1 is said of it")
two = on_stream("/talk/1")[2]
two.read(5)
for word in (b"one", b"two"):
    one.write(word)
    two.write(word)
    report.equal((one.read(3), two.read(3)), (word, word), "words go both ways, of two on one connection")
one.write(big)
report.equal(one.read(len(big)), big, "more than fits into any buffer, on a stream")
report.equal((on_stream("/talk/no")[0], on_stream("/here")[0], streams.ask("/talk/1", protocol="other")[0]), (403, 405, 501), "what is refused, and by whom")
while not Echo.ended.empty():
    Echo.ended.get()
streams.h2.reset_stream(one.stream)
streams.flush()
report.check(Echo.ended.get(timeout=60), "a service hears that a client has taken its stream back")
two.write(b"goodbye")
report.equal(two.read(1), b"", "and the end of a service is the end of its stream")

# === and nothing of all this went by a socket between edge and data plane: the first tunnel still stands ===
inodes = {os.readlink(f"/proc/{edge.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{edge.pid}/fd") if os.path.islink(f"/proc/{edge.pid}/fd/{fd}")}
sockets = [line.split() for line in open("/proc/net/unix").read().splitlines()[1:]]
own = [line for line in sockets if f"socket:[{line[6]}]" in inodes and line[-1].endswith("/egress.sock")]
report.check(own and all(int(line[3], 16) & 0x10000 for line in own), lambda: f"the egress socket listens, and nobody is connected by it: {own}")
talk.sendall(b"still")
report.equal(heard.read(5), b"still", "while the tunnel stands")
talk.close()

# === a service behind TLS of both sides, for the edge alone ===
def openssl(*words):
    subprocess.run(["openssl", *words], cwd=home, check=True, capture_output=True)


EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
openssl("req", "-x509", *EC, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
for name in ("vault", "shop-gw"):
    (home / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}.shop.local\nbasicConstraints=critical,CA:false\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl("req", *EC, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext")


def pair(name):
    return {"file": {"certificateChain": str(home / f"{name}.pem"), "privateKey": str(home / f"{name}.key")}}


trust = {"trust": {"file": {"certificateChain": str(home / "ca.pem")}}}
apps["vault"] = app("vault")
mesh.create_virtual_node(meshName=MESH, virtualNodeName="vault", spec={"listeners": [{
    "portMapping": {"port": 8080, "protocol": "http"}, "tls": {"mode": "STRICT", "certificate": pair("vault"), "validation": trust}}]})
mesh.create_virtual_service(meshName=MESH, virtualServiceName="vault.shop.local", spec={"provider": {"virtualNode": {"virtualNodeName": "vault"}}})
sidecar("virtualNode", "vault", SELVEDGE_APP_PORT_8080=str(apps["vault"].port))
VAULT = '[[site.route]]\npath = "/vault/*"\nservice = "vault.shop.local"\n'
(home / "edge.toml").write_text(form(VAULT))
edge.send_signal(signal.SIGUSR1)
until(lambda: "shop-edge-6" in published())
report.check(until(lambda: ask(f"{site}/vault/1").status == 503), "a service that wants a certificate is closed to an edge that has none")
spec = mesh.describe_virtual_gateway(meshName=MESH, virtualGatewayName="shop-gw")["virtualGateway"]["spec"]
spec["backendDefaults"] = {"clientPolicy": {"tls": {"enforce": True, "ports": [8080], "certificate": pair("shop-gw"), "validation": trust}}}
mesh.update_virtual_gateway(meshName=MESH, virtualGatewayName="shop-gw", spec=spec)
report.check(until(lambda: ask(f"{site}/vault/1").status == 200), lambda: f"and open to one whose gateway has: {ask(f'{site}/vault/1')} {log('edge.toml')[-800:]}")


def only(name):
    policy = {"action": "allow", "rules": [{"name": "callers", "from": [{"peer": {"exact": name}}]}]}
    subprocess.run([BINARY, "policy", "put", f"callers-{os.getpid()}", "--target", f"mesh/{MESH}/virtualNode/vault", "--kind", "access", "--spec", json.dumps(policy),
                    "--endpoint-url", endpoint], check=True, capture_output=True)


only("somebody-else.shop.local")
report.check(until(lambda: ask(f"{site}/vault/1").status == 403), "a policy on the service says who may call it, and the edge may not")
only("shop-gw.shop.local")
report.check(until(lambda: ask(f"{site}/vault/1").status == 200), "until it names the gateway's certificate")
spec.pop("backendDefaults")
mesh.update_virtual_gateway(meshName=MESH, virtualGatewayName="shop-gw", spec=spec)
report.check(until(lambda: ask(f"{site}/orders/1").status == 200), "services without TLS are reached as before")

# === reload ===
mesh.create_gateway_route(meshName=MESH, virtualGatewayName="shop-gw", gatewayRouteName="by-hand", spec={
    "priority": 9, "httpRoute": {"match": {"prefix": "/by-hand/"}, "action": {"target": {"virtualService": {"virtualServiceName": "stock.shop.local"}}}}})
(home / "edge.toml").write_text(form('[[site.route]]\npath = "/more/*"\nservice = "stock.shop.local"\n'))
edge.send_signal(signal.SIGUSR1)
wanted = ["by-hand", "shop-edge-1", "shop-edge-4", "shop-edge-5", "shop-edge-6"]
report.check(until(lambda: sorted(published()) == wanted), lambda: f"a reload publishes, takes away what is gone, and leaves what others made: {sorted(published())}")
report.check(until(lambda: ask(f"{site}/more/1").status == 200), "and the new route leads somewhere")
(home / "edge.toml").write_text(form("nonsense = 1\n"))
edge.send_signal(signal.SIGUSR1)
report.check(until(lambda: "cannot be used" in log("edge.toml")), "a wrong file is refused")
report.equal((sorted(published()), ask(f"{site}/more/1").status), (wanted, 200), "and publishes nothing")

# === lighttpd.conf does the same ===
conf = start("lighttpd.conf", f"""
server.document-root = "{home}"
server.bind = "{HERE}"
server.port = {conf_port}
mesh.gateway = "conf-gw"
$HTTP["url"] =^ "/later/" {{ mesh.service = "later.shop.local" }}
$HTTP["url"] =^ "/orders/" {{ mesh.service = "orders.shop.local" }}
""")
await_port(conf_port)
answer = until(lambda: (found := ask(f"http://{HERE}:{conf_port}/orders/1")).status == 200 and found)
report.check(answer and json.loads(answer.body)["node"] == "orders-b", lambda: f"mesh.gateway and mesh.service in lighttpd.conf: {log('lighttpd.conf')}")
said = stands("lighttpd.conf")
report.check("later.shop.local is missing" in said and said.endswith(" 503"), lambda: f"a service that is not there yet is told, and keeps no other from the mesh: {said}")
mesh.create_virtual_service(meshName=MESH, virtualServiceName="later.shop.local", spec={"provider": {"virtualNode": {"virtualNodeName": "stock"}}})
report.check(until(lambda: ask(f"http://{HERE}:{conf_port}/later/1").status == 200), lambda: f"and is reached once it is there: {log('lighttpd.conf')}")
report.check(until(lambda: stands("lighttpd.conf").endswith(" 200")), lambda: f"which is told too: {stands('lighttpd.conf')}")
report.equal(log("lighttpd.conf").count("later.shop.local is missing"), 1, "however often it was tried, the log has it once")
end(conf)

said = stands("edge.toml")
report.check("gateway routes of shop-gw" in said and said.endswith(" 200"), lambda: f"who asks is told that they are published: {said}")


# === an API that is away for long ===
class Relay(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.create_connection(tuple(control.rsplit(":", 1))) as there:
            def pass_on(source, sink):
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            back = threading.Thread(target=pass_on, args=(there, self.request), daemon=True)
            back.start()
            pass_on(self.request, there)
            back.join()


class Relays(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True

    def handle_error(self, *_):
        pass


late, lost_port, lost_grpc = free_ports(3)
own = form().replace('"shop-gw"', '"lost-gw"').replace(f":{port}\"", f":{lost_port}\"").replace(f":{grpc_port}\"", f":{lost_grpc}\"")
lost = start("lost.toml", own, f"http://{HERE}:{late}")
said = until(lambda: (told := stands("lost.toml")).endswith(" 503") and "tried again" in told and told)
report.check(said and str(late) in said, lambda: f"an edge whose API is away says so: {stands('lost.toml')} {log('lost.toml')}")
relays = Relays((HERE, late), Relay)
threading.Thread(target=relays.serve_forever, daemon=True).start()
report.check(until(lambda: stands("lost.toml").endswith(" 200")), lambda: f"and publishes once it is back: {stands('lost.toml')}")
report.check(until(lambda: ask(f"http://{HERE}:{lost_port}/orders/1").status == 200), "and leads into the mesh")
end(lost)

# === leaving ===
end(edge)
report.equal(edge.returncode, 0, "it leaves in order")
left = until(lambda: not find(json.loads(subprocess.run(
    [BINARY, "status", "--mesh", MESH, "-o", "json", "--endpoint-url", endpoint], capture_output=True, check=True).stdout)["meshes"][0], "shop-gw").get("proxies"))
report.check(left, "and the mesh knows")

# === Debian's lighttpd beside a sidecar: the reference's example ===
LIGHTTPD = "/usr/sbin/lighttpd"
if not os.path.exists(LIGHTTPD):
    raise SystemExit("lighttpd is not here: cargo xtask test --only setup installs it")
plain, tls = free_ports(2)
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=shop.example.com",
                "-keyout", f"{home}/key.pem", "-out", f"{home}/chain.pem"], check=True, capture_output=True)
(home / "www/assets").mkdir(parents=True)
(home / "www/assets/a.css").write_text("a {}\n")
(home / "real.conf").write_text(f"""
server.modules = ( "mod_extforward", "mod_openssl", "mod_access", "mod_setenv", "mod_expire", "mod_deflate", "mod_proxy", "mod_accesslog" )
server.document-root = "{home}/www"
server.bind = "{HERE}"
server.port = {plain}
server.max-request-size = 10240
server.stream-request-body = 2
server.stream-response-body = 2
server.http-parseopts = ( "header-strict" => "enable", "host-strict" => "enable", "url-normalize" => "enable",
  "url-path-2f-decode" => "disable", "url-path-2f-reject" => "enable", "url-path-dotseg-remove" => "enable" )
$SERVER["socket"] == "{HERE}:{tls}" {{ ssl.engine = "enable"  ssl.pemfile = "{home}/chain.pem"  ssl.privkey = "{home}/key.pem"
  ssl.openssl.ssl-conf-cmd = ( "MinProtocol" => "TLSv1.2" ) }}
$HTTP["host"] == "shop.example.com" {{
  $HTTP["url"] =^ "/assets/"          {{ expire.url = ( "" => "access plus 30 days" ) }}
  else $HTTP["url"] =^ "/admin/"      {{ $HTTP["remoteip"] != "10.0.0.0/8" {{ url.access-deny = ( "" ) }} }}
  else $HTTP["url"] =~ "^/(api|orders)/" {{
    setenv.set-request-header = ( "x-selvedge-service" => "orders.shop.local" )
    mesh.service = "orders.shop.local"
    proxy.server = ( "" => (( "host" => "{home}/egress.sock", "connect-timeout" => 2, "read-timeout" => 15, "write-timeout" => 15 )) )
    proxy.forwarded = ( "for" => 1, "proto" => 1, "host" => 1 ) }} }}
""")
real = subprocess.Popen([LIGHTTPD, "-D", "-f", str(home / "real.conf")], stderr=open(home / "real.log", "wb"))
atexit.register(end, real)
await_port(plain)
SHOP = [("host", "shop.example.com")]
answer = until(lambda: (found := ask(f"http://{HERE}:{plain}/orders/1", headers=SHOP + [
    ("x-selvedge-service", "evil"), ("x-forwarded-for", "9.9.9.9")])).status == 200 and found)
report.check(answer, lambda: f"lighttpd reaches the mesh by a socket: {(home / 'shop-front.log').read_text()}")
told = json.loads(answer.body)
report.equal((told["node"], told["path"], told["headers"]["host"]), ("orders-b", "/orders/1", "shop.example.com"),
             "the service is the one that lighttpd names; host and path stay")
report.equal(told["headers"]["x-forwarded-for"].split(",")[0].strip(), HERE, "of who is calling only lighttpd's own word is kept")
report.check("9.9.9.9" not in told["headers"]["x-forwarded-for"], "and nothing of what the client said")
curl = ["curl", "-sS", "--max-time", "60", "-k", "--http2", "--resolve", f"shop.example.com:{tls}:{HERE}"]
done = subprocess.run([*curl, "-w", " %{http_version}", f"https://shop.example.com:{tls}/orders/2"], capture_output=True, text=True)
report.check('"path": "/orders/2"' in done.stdout and done.stdout.endswith(" 2"), lambda: f"by TLS and HTTP/2: {done}")
report.check("max-age=2592000" in ask(f"http://{HERE}:{plain}/assets/a.css", headers=SHOP).headers["cache-control"], "files stay lighttpd's")
report.equal(ask(f"http://{HERE}:{plain}/admin/", headers=SHOP).status, 403, "and so does who may")
failures["left"] = 1
report.equal(ask(f"http://{HERE}:{plain}/orders/flaky", headers=SHOP).status, 200, "the mesh tries again for lighttpd")
end(real)
report.end()
