"""edge.toml as it is served: each key of the form does what it says, and none is only taken."""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import tomllib

import jsonschema
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from _edge import READY_SECONDS, ROOT, Backend, Browser, Edge, ask, atexit, end, folder, free_ports, let_in, turned_away, until, within
from _report import Report

report = Report()
home = folder()
home.chmod(0o755)
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
HERE = "127.0.0.1"
written = []


class Form(Edge):
    """`selvedge edge` with an edge.toml."""

    def __init__(self, port, text):
        written.append(tomllib.loads(text))
        self.port = port
        self.home = folder()
        self.file = self.home / "edge.toml"
        self.file.write_text(text)
        self.log = open(self.home / "errors", "w+b")
        self.process = subprocess.Popen([BINARY, "edge", "-D", "-f", str(self.file)], stderr=self.log)
        atexit.register(end, self.process)
        deadline = time.monotonic() + READY_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                return socket.create_connection((HERE, port), 1).close()
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"nobody listens on port {port}: {self.errors()}")

    def write(self, text):
        written.append(tomllib.loads(text))
        self.file.write_text(text)


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def curl(*words):
    done = subprocess.run(["curl", "-sS", "--max-time", "60", *words], capture_output=True)
    return done.returncode, done.stdout.decode(errors="replace")


# === files, certificates, tokens ===
www = home / "www"
(www / "sub").mkdir(parents=True)
(www / "a.txt").write_text("a\n" * 400)
(www / "odd.x").write_text("odd\n")
(www / "pre.txt").write_text("plain\n")
(www / "pre.txt.gz").write_text("made before\n")
(www / "start.htm").write_text("the start\n")
(www / "sub/b.txt").write_text("b\n")
(www / "big").write_bytes(b"\0" * (24 << 20))
(home / "users").write_text("jan:$apr1$abcdefgh$" + subprocess.run(
    ["openssl", "passwd", "-apr1", "-salt", "abcdefgh", "right"], capture_output=True, text=True).stdout.strip().rsplit("$", 1)[1] + "\n")
with open(home / "users", "a") as users:
    users.write((home / "users").read_text().replace("jan:", "eva:"))
(home / "groups").write_text("staff: eva\n")
(home / "digests").write_text("jan:the shop's:" + hashlib.md5(b"jan:the shop's:right").hexdigest() + "\n")
openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=ca",
        "-keyout", f"{home}/ca.key", "-out", f"{home}/ca.pem")
for name in ("server", "client"):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{home}/{name}.key", "-out", f"{home}/{name}.csr")
    (home / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n" if name == "server" else f"subjectAltName=URI:spiffe://shop/{name}\n")
    openssl("x509", "-req", "-in", f"{home}/{name}.csr", "-CA", f"{home}/ca.pem", "-CAkey", f"{home}/ca.key", "-days", "2",
            "-CAcreateserial", "-extfile", f"{home}/ext", "-out", f"{home}/{name}.pem")
signer = ec.generate_private_key(ec.SECP256R1())


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


point = signer.public_key().public_numbers()
jwk = {"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
       "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
(home / "jwks.json").write_text(json.dumps({"keys": [jwk]}))


def token(**claims):
    claims = {"iss": "https://issuer.example", "aud": "shop", "sub": "ann", "exp": int(time.time()) + 600, **claims}
    signed = b64(b'{"alg":"ES256","kid":"k1"}') + "." + b64(json.dumps(claims).encode())
    r, s = decode_dss_signature(signer.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def echo(method, path, headers):
    if path.startswith("/jwks"):
        return 200, [("content-type", "application/json")], (home / "jwks.json").read_bytes()
    if path.startswith("/check"):
        if headers.get("x-word") == "right":
            return 200, [("x-who", "wim"), ("x-role", "admin")], b""
        return 401, [], b"no word"
    told = "\n".join([f"{method} {path}", *(f"{name.lower()}: {value}" for name, value in headers.items())])
    return 200, [("content-type", "text/plain"), ("cache-control", "max-age=60")], told.encode()


backend = Backend(echo)
behind = f'proxy = ["{HERE}:{backend.port}"]'

# === routes ===
port, other_port = free_ports(2)
site = f"http://{HERE}:{port}"
(home / "keys").write_text("k" * 32 + "\n")
MAIN = f"""
[edge]
name = "shop"
server_header = "the shop"
systemd_sockets = true
pid_file = "{home}/pid"
keys = "{home}/keys"

[[listen]]
address = "{HERE}:{port}"
backlog = 77

[[listen]]
address = "{HERE}:{other_port}"

[limits]
cache = "1MiB"
header_timeout = "1s"
read_timeout = "2s"
write_timeout = "2s"
keep_alive = "1s"
headers = "2KiB"
body = "4KiB"

[log]
access = "{home}/access.log"
errors = "{home}/errors.log"
format = "json"

[trust]
forwarded_from = ["{HERE}"]
headers = ["X-Real-Client"]

[types]
".x" = "text/x-odd"
".txt" = "text/plain"

[jwt.shop]
issuer = "https://issuer.example"
audience = ["shop"]
jwks_file = "{home}/jwks.json"

[jwt.fetched]
issuer = "https://issuer.example"
audience = ["shop"]
jwks = "http://{HERE}:{backend.port}/jwks"

[[site]]
host = ["one.example", "*.many.example"]
[[site.route]]
path = "/who"
respond = "one or many"

[[site]]
listen = ["{HERE}:{other_port}"]
[[site.route]]
path = "/where"
respond = "the other port"

[[site]]
[[site.route]]
name = "said"
path = "/said"
method = ["POST", "PUT"]
respond = "posted"
status = 202
[[site.route]]
path = "/said"
header = {{ x-kind = "odd" }}
respond = "odd"
[[site.route]]
path = "/said"
respond = "said"
[[site.route]]
path_regex = "^/old/([a-z]+)"
redirect = "/new/$1"
status = 307
[[site.route]]
path = "/gone/*"
redirect = "https://else.example/"
[[site.route]]
path = "/files/*"
files = "{www}"
rewrite = {{ match = "^/files/(.*)", to = "/$1" }}
cache = "public, max-age=99"
index = ["start.htm"]
compress = ["gzip"]
precompressed = true
response_headers = {{ x-from = "the edge" }}
security_headers = true
[[site.route]]
path = "/maybe/*"
files = "{www}"
rewrite = {{ match = "^", to = "/start.htm", if_not_file = true }}
[[site.route]]
path = "/alias/*"
alias = "{www}/"
listing = true
[[site.route]]
path = "/unlinked/*"
alias = "{www}/"
follow_symlinks = false
[[site.route]]
path = "/slow/*"
alias = "{www}/"
bandwidth = "64MiB/s"
[[site.route]]
path = "/near/*"
allow = ["10.0.0.0/8"]
respond = "near"
[[site.route]]
path = "/far/*"
deny = ["10.0.0.0/8"]
respond = "far"
[[site.route]]
path = "/there"
client = ["10.0.0.0/8"]
not_client = ["10.9.0.0/16"]
respond = "there"
[[site.route]]
path = "/proxy/*"
{behind}
request_headers = {{ x-set = "by us", x-gone = "" }}
body = "1KiB"
[[site.route]]
path = "/kept/*"
{behind}
remember = true
[[site.route]]
path = "/hinted/*"
{behind}
early_hints = ["</a.css>; rel=preload; as=style"]
[[site.route]]
path = "/asked/*"
{behind}
forward_auth = {{ url = "http://{HERE}:{backend.port}/check", send = ["x-word"], take = ["x-role"], subject = "x-who" }}
[[site.route]]
path = "/basic/*"
{behind}
auth = {{ htpasswd = "{home}/users", realm = "the shop's", users = ["jan"] }}
[[site.route]]
path = "/group/*"
{behind}
auth = {{ htpasswd = "{home}/users", groups = ["staff"], group_file = "{home}/groups" }}
[[site.route]]
path = "/digest/*"
{behind}
auth = {{ htdigest = "{home}/digests", realm = "the shop's" }}
[[site.route]]
path = "/token/*"
{behind}
auth = {{ jwt = "shop", claims = {{ role = ["admin", "ops"] }} }}
identity_headers = {{ x-role = "role" }}
[[site.route]]
path = "/token-fetched/*"
{behind}
auth = {{ jwt = "fetched" }}
[[site.route]]
path = "/often/*"
respond = "often"
per_client = {{ rate = "2/h", burst = 3, key = "header:x-key" }}
[[site.route]]
path = "/metrics"
metrics = true
[[site.route]]
path = "/script/*"
fastcgi = ["FASTCGI"]
"""


def record(kind, body):
    return struct.pack("!BBHHBx", 1, kind, 1, len(body), 0) + body


def fastcgi(path):
    """The smallest FastCGI server: one answer a connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    os.chmod(path, 0o777)
    listener.listen()

    def serve():
        while True:
            one, _ = listener.accept()
            with one:
                heard = b""
                while b"\x01\x05\x00\x01\x00\x00" not in heard:
                    heard += one.recv(65536)
                name = re.search(rb"REQUEST_URI([^\x00-\x1f]*)", heard).group(1)
                one.sendall(record(6, b"Content-Type: text/plain\r\n\r\nscript " + name) + record(6, b"") + record(3, b"\0" * 8))

    import threading
    threading.Thread(target=serve, daemon=True).start()


fastcgi(home / "fastcgi.sock")
MAIN = MAIN.replace("FASTCGI", f"{home}/fastcgi.sock")
edge = Form(port, MAIN)

answer = ask(f"{site}/said")
report.equal((answer.status, answer.body, answer.headers["server"]), (200, b"said", "the shop"), "respond, server_header")
answer = ask(f"{site}/said", "PUT", body=b"")
report.equal((answer.status, answer.body), (202, b"posted"), "method, status of respond")
report.equal(ask(f"{site}/said", headers=[("x-kind", "odd")]).body, b"odd", "header")
report.equal(ask(f"{site}/nowhere").status, 404, "no route, no answer")
for host, wanted in (("one.example", 200), ("one.example:99", 200), ("a.many.example", 200), ("many.example", 404), ("two.example", 404)):
    report.equal(ask(f"{site}/who", headers=[("host", host)]).status, wanted, f"host {host}")
report.equal([ask(f"http://{HERE}:{one}/where").status for one in (port, other_port)], [404, 200], "listen of a site")
answer = ask(f"{site}/old/thing?x=1")
report.equal((answer.status, answer.headers["location"]), (307, "/new/thing"), "redirect with path_regex and status")
answer = ask(f"{site}/gone/thing")
report.equal((answer.status, answer.headers["location"]), (308, "https://else.example/"), "redirect to one place")
if os.path.exists("/usr/bin/ss") or os.path.exists("/bin/ss"):
    shown = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], capture_output=True, text=True).stdout
    report.check(shown and all(line.split()[2] == "77" for line in shown.splitlines()), lambda: f"backlog: {shown}")
report.equal((home / "pid").read_text().strip(), str(edge.process.pid), "pid_file")

# === files ===
answer = ask(f"{site}/files/a.txt")
report.equal((answer.status, answer.body), (200, b"a\n" * 400), "files behind a rewrite, which leaves the route chosen")
report.equal((answer.headers["cache-control"], answer.headers["x-from"]), ("public, max-age=99", "the edge"), "cache, response_headers")
report.check(answer.headers["x-content-type-options"] == "nosniff", "security_headers")
shown = curl("-o", "/dev/null", "-D", "-", "-H", "Accept-Encoding: br, gzip", f"{site}/files/a.txt")[1].lower()
report.check("content-encoding: gzip" in shown, lambda: f"compress: {shown}")
shown = curl("-H", "Accept-Encoding: gzip", f"{site}/files/pre.txt")[1]
report.equal(shown, "made before\n", "precompressed")
report.equal(ask(f"{site}/files/").body, b"the start\n", "index")
report.equal(ask(f"{site}/files/sub/").status, 403, "no listing unless asked for")
report.equal(ask(f"{site}/files/odd.x").headers["content-type"], "text/x-odd", "types")
report.equal(ask(f"{site}/alias/sub/b.txt").body, b"b\n", "alias")
report.check(b"b.txt" in ask(f"{site}/alias/sub/").body, "listing")
(www / "link.txt").symlink_to("/etc/hostname")
report.equal([ask(f"{site}/{way}/link.txt").status for way in ("alias", "unlinked")], [200, 403], "follow_symlinks")
report.equal((ask(f"{site}/maybe/nothing").body, ask(f"{site}/maybe/../alias/a.txt").status), (b"the start\n", 200), "rewrite, if_not_file")
began = time.monotonic()
report.equal(len(ask(f"{site}/slow/big").body), 24 << 20, "bandwidth: all of it comes")
report.check(time.monotonic() - began > 0.3, "bandwidth: and not at once")

# === who may ===
near = [("x-real-client", "10.1.2.3")]
report.equal([ask(f"{site}/near/").status, ask(f"{site}/near/", headers=near).status], [403, 200], "allow, by who is trusted to say")
there = [ask(f"{site}/there", headers=[("x-real-client", one)]).status for one in ("10.1.2.3", "10.9.2.3", "11.1.2.3")]
report.equal(there, [200, 404, 404], "client, not_client")
report.equal([ask(f"{site}/far/").status, ask(f"{site}/far/", headers=near).status], [200, 403], "deny")
report.equal(ask(f"{site}/near/", headers=[("x-forwarded-for", "10.1.2.3")]).status, 403, "trust.headers: no other header is believed")
statuses = [ask(f"{site}/often/", headers=[("x-key", "a")]).status for _ in range(4)]
report.equal(statuses, [200, 200, 200, 429], "per_client of a route")
report.equal(ask(f"{site}/often/", headers=[("x-key", "b")]).status, 200, "and its key")


def basic(name, password):
    return [("authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())]


answer = ask(f"{site}/basic/")
report.equal((answer.status, 'realm="the shop\'s"' in answer.headers["www-authenticate"]), (401, True), "htpasswd, realm")
answers = [ask(f"{site}/basic/", headers=basic(*one)).status for one in (("jan", "right"), ("jan", "wrong"), ("eva", "right"))]
report.equal(answers, [200, 401, 401], "htpasswd, users")
answers = [ask(f"{site}/group/", headers=basic(*one)).status for one in (("jan", "right"), ("eva", "right"), ("eva", "wrong"))]
report.equal(answers, [401, 200, 401], "groups, group_file")
for password, wanted in (("right", "200"), ("wrong", "401")):
    asked = subprocess.run(["curl", "-s", "--digest", "-u", f"jan:{password}", "-o", "/dev/null", "-w", "%{http_code}", f"{site}/digest/"], capture_output=True, text=True)
    report.equal(asked.stdout, wanted, f"htdigest: {password}")


def bearer(**claims):
    return [("authorization", f"Bearer {token(**claims)}"), ("x-role", "forged")]


report.equal(ask(f"{site}/token/").status, 401, "jwt: nobody")
report.equal(ask(f"{site}/token/", headers=bearer(aud="other", role="admin")).status, 401, "jwt: audience")
report.equal(ask(f"{site}/token/", headers=bearer(iss="https://evil.example", role="admin")).status, 401, "jwt: issuer")
report.equal(ask(f"{site}/token/", headers=bearer(role="guest")).status, 403, "auth.claims")
answer = ask(f"{site}/token/", headers=bearer(role="ops"))
report.check(b"x-role: ops" in answer.body and b"forged" not in answer.body, lambda: f"identity_headers: {answer.body}")
report.equal(ask(f"{site}/token-fetched/", headers=bearer()).status, 200, "jwt.jwks")
report.equal(ask(f"{site}/asked/").status, 401, "forward_auth refuses")
answer = ask(f"{site}/asked/", headers=[("x-word", "right"), ("x-role", "forged")])
report.check(b"x-role: admin" in answer.body and b"forged" not in answer.body, lambda: f"forward_auth send, take: {answer.body}")
report.check(b"x-selvedge-subject: wim" in answer.body, lambda: f"forward_auth subject: {answer.body}")

# === what answers ===
answer = ask(f"{site}/proxy/x?y=1", headers=[("x-gone", "1")])
report.check(answer.body.startswith(b"GET /proxy/x?y=1\n"), lambda: f"proxy: {answer.body}")
report.check(b"x-set: by us" in answer.body and b"x-gone" not in answer.body, "request_headers")
sizes = [ask(f"{site}/proxy/", "POST", body=b"x" * size).status for size in (1024, 1025)]
report.equal(sizes, [200, 413], "body of a route")
sizes = [ask(f"{site}/kept/", "POST", body=b"x" * size).status for size in (4096, 4097)]
report.equal(sizes, [200, 413], "limits.body")
kept = ask(f"{site}/kept/a").body


def is_kept():
    """Whether an answer comes without the backend; it is kept once all of it has come, which may be after the first client has it."""
    before = len(backend.requests)
    return ask(f"{site}/kept/a").body == kept and len(backend.requests) == before


report.check(until(is_kept), "remember")
page = [("sec-fetch-mode", "navigate")]
with socket.create_connection((HERE, port), 10) as plain:
    plain.sendall(b"GET /hinted/ HTTP/1.1\r\nHost: h\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n")
    heard = b"".join(iter(lambda: plain.recv(65536), b""))
report.check(heard.startswith(b"HTTP/1.1 103") and b"</a.css>" in heard, lambda: f"early_hints: {heard[:200]}")
report.equal(ask(f"{site}/script/a.php").body, b"script /script/a.php", "fastcgi")

# === limits ===
def until_cut(request, answer):
    """Seconds that pass until a connection on which nothing more is said is closed, after `answer` if there is one."""
    with socket.create_connection((HERE, port), READY_SECONDS) as plain:
        plain.sendall(request)
        began = time.monotonic()
        if answer:
            heard = plain.recv(65536)
            report.check(heard.startswith(answer), lambda: f"{request} is answered: {heard}")
            # From here, and not from before: the answer may have been long in coming.
            began = time.monotonic()
        heard = b"".join(iter(lambda: plain.recv(65536), b""))
        report.check(not heard.startswith(b"HTTP/1.1 2"), lambda: f"{request} is cut: {heard}")
        return time.monotonic() - began


# The usual ones are 10, 5 and 60 seconds.
report.check(within(lambda: until_cut(b"GET /said HTTP/1.1\r\n", b""), 0.5, 8), "header_timeout")
asked = b"GET /said HTTP/1.1\r\nHost: h\r\n\r\n"
report.check(within(lambda: until_cut(asked, b"HTTP/1.1 200"), 0.4, 4.5), "keep_alive")
asked = b"POST /proxy/ HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1"
report.check(within(lambda: until_cut(asked, b""), 1, 25), "read_timeout")
report.equal(ask(f"{site}/said", headers=[("x", "y" * 3000)]).status, 431, "limits.headers")


def lines():
    found = (home / "access.log").read_text().splitlines() if (home / "access.log").exists() else []
    return [json.loads(line) for line in found]


with socket.socket() as plain:
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect((HERE, port))
    plain.settimeout(READY_SECONDS)
    plain.sendall(b"GET /alias/big?unread HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    cut = until(lambda: [line for line in lines() if line["query"] == "unread"])
    report.check(cut and int(cut[0]["bytes"]) < (24 << 20), lambda: f"write_timeout: {cut}")

# === what is written down ===
found = until(lambda: [line for line in lines() if line["path"] == "/said" and line["method"] == "PUT"])
report.equal((found[0]["status"], found[0]["route"]), (202, "said"), "log.access, log.format, a route's name")
counted = b'selvedge_edge_route_requests_total{site="*",route="said",class="2xx"} '
report.check(until(lambda: counted in ask(f"{site}/metrics").body), "metrics, by route")

# === another configuration is put in force; one that is wrong is not ===
edge.reload(MAIN.replace('"said"\npath', '"said"\npath').replace('respond = "said"', 'respond = "said anew"'), lambda: ask(f"{site}/said").body == b"said anew")
edge.file.write_text(MAIN.replace('respond = "odd"', 'respnd = "odd"'))
edge.process.send_signal(signal.SIGUSR1)
wrong = until(lambda: "unknown key" in (home / "errors.log").read_text())
report.check(wrong, "log.errors, and a wrong file says where it is wrong")
report.equal(ask(f"{site}/said").body, b"said anew", "and changes nothing")
end(edge.process)

# === who it becomes; how many it lets in ===
small, nobody = free_ports(2)
(home / "dropped").mkdir()
# As anybody who becomes another: its logs are where that one may write.
if os.geteuid() == 0:
    shutil.chown(home / "dropped", "nobody", "nogroup")
edge = Form(small, f"""
[edge]
user = "nobody"
group = "nogroup"
[[listen]]
address = "{HERE}:{small}"
[limits]
connections = 2
keep_alive = "100s"
per_client = {{ rate = "6/h", burst = 6, key = "ip" }}
[log]
access = "{home}/dropped/access"
format = "%h %m %U %>s"
[[site]]
[[site.route]]
path_regex = "x"
respond = ""
""")
if os.geteuid() == 0:
    def ids():
        status = pathlib.Path(f"/proc/{edge.process.pid}/status").read_text()
        return [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid", "Gid"))]

    # It listens before it becomes somebody else, and serves after.
    report.check(until(lambda: ids() == [["65534"] * 4] * 2), lambda: f"user, group: {ids()}")
held = []
for _ in range(2):
    one, heard = let_in(small, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    report.check(heard.startswith(b"HTTP/1.1 200"), lambda: f"two are let in: {heard}")
    held.append(one)
report.equal(turned_away(small, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"), b"", "connections")
for one in held:
    one.close()


def status_of(url):
    try:
        return ask(url).status
    except OSError:
        return None


report.check(until(lambda: status_of(f"http://{HERE}:{small}/x") == 429), "limits.per_client")
end(edge.process)

# === what each client may take ===
each = free_ports(1)[0]
edge = Form(each, f"""
[[listen]]
address = "{HERE}:{each}"
[limits]
connections_per_client = 1
keep_alive = "100s"
bandwidth_per_client = "64MiB/s"
body_timeout = "1s"
[[site]]
[[site.route]]
path = "/files/*"
alias = "{www}/"
[[site.route]]
{behind}
""")
first, heard = let_in(each)
with first:
    report.check(heard.startswith(b"HTTP/1.1 200"), lambda: f"the first is let in: {heard}")
    heard = turned_away(each)
    report.equal(heard, b"", "connections_per_client")
report.check(until(lambda: status_of(f"http://{HERE}:{each}/third") == 200), "and whoever leaves makes room")
began = time.monotonic()
whole = until(lambda: status_of(f"http://{HERE}:{each}/files/big") == 200)
report.check(whole and time.monotonic() - began > 0.2, lambda: f"bandwidth_per_client: {time.monotonic() - began}")


def dripped():
    """The statuses that come after a body that never ends began, by a client that lets something be heard all the time: the body is
    longer than that. What is left of the answer before may come first."""
    plain, _ = let_in(each)
    heard = b""
    with plain:
        plain.sendall(b"POST /drip HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\n")
        plain.settimeout(0.2)
        for _ in range(900):
            try:
                plain.sendall(b"x")
                part = plain.recv(999)
            except TimeoutError:
                continue
            except OSError:
                part = b""
            if not part:
                return re.findall(rb"HTTP/1\.1 (\d+)", heard)
            heard += part
    return ["it never ended"]


statuses = dripped()
report.check(statuses in ([], [b"408"]), lambda: f"body_timeout: {statuses}")
end(edge.process)

# === what one client may hold ===
small = free_ports(1)[0]
(www / "60k").write_bytes(b"x" * 60 * 1024)
edge = Form(small, f"""
[[listen]]
address = "{HERE}:{small}"
[limits]
connections_per_client = 2
keep_alive = "100s"
bandwidth_per_client = "60KiB/s"
body_timeout = "1s"
[[site]]
[[site.route]]
path = "/up"
proxy = "{HERE}:1"
[[site.route]]
path = "/*"
files = "{www}"
""")
begun = time.monotonic()
report.equal(len(ask(f"http://{HERE}:{small}/60k").body), 60 * 1024, "a bounded download is whole")
report.check(time.monotonic() - begun > 0.7, "bandwidth_per_client")
upload, heard = let_in(small, b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx", b"HTTP/1.1 408")
upload.close()
report.check(heard.startswith(b"HTTP/1.1 408"), lambda: f"body_timeout: {heard}")
held = []
for _ in range(2):
    one, heard = let_in(small, b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
    report.check(heard.startswith(b"HTTP/1.1 200"), lambda: f"two are let in: {heard}")
    held.append(one)
report.equal(turned_away(small, b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n"), b"", "connections_per_client")
for one in held:
    one.close()
end(edge.process)

# === TLS ===
tls, only1, only2, asks, wants, clear2, plain80, proxied = free_ports(8)
unix = home / "edge.sock"
edge = Form(plain80, f"""
[[listen]]
address = "{HERE}:{plain80}"
redirect = "https"
[[listen]]
address = "{HERE}:{tls}"
tls = "usual"
[[listen]]
address = "{HERE}:{only1}"
tls = "usual"
protocols = ["h1"]
[[listen]]
address = "{HERE}:{only2}"
tls = "new"
protocols = ["h2"]
[[listen]]
address = "{HERE}:{asks}"
tls = "asks"
[[listen]]
address = "{HERE}:{wants}"
tls = "wants"
[[listen]]
address = "{HERE}:{clear2}"
protocols = ["h1", "h2"]
[[listen]]
address = "{unix}"
[[listen]]
address = "{HERE}:{proxied}"
proxy_protocol = true
[trust]
forwarded_from = ["{HERE}"]
[tls.usual]
certificate = "{home}/server.pem"
key = "{home}/server.key"
[tls.new]
certificate = "{home}/server.pem"
key = "{home}/server.key"
min_version = "1.3"
[tls.asks]
certificate = "{home}/server.pem"
key = "{home}/server.key"
client_ca = "{home}/ca.pem"
client = "request"
[tls.wants]
certificate = "{home}/server.pem"
key = "{home}/server.key"
client_ca = "{home}/ca.pem"
client = "require"
[[site]]
[[site.route]]
path = "/known"
{behind}
auth = {{ certificate = true }}
[[site.route]]
path = "/near"
allow = ["192.0.2.7"]
respond = "near"
[[site.route]]
respond = "here"
""")
answer = ask(f"http://{HERE}:{plain80}/a?b")
report.equal((answer.status, answer.headers["location"]), (308, f"https://{HERE}/a?b"), "redirect of a listener")
CA, VERSION = ["--cacert", f"{home}/ca.pem"], ["-w", " %{http_version}"]
CLIENT = ["--cert", f"{home}/client.pem", "--key", f"{home}/client.key"]


def fetched(where, *words):
    return curl(*CA, *VERSION, *words, f"https://localhost:{where}/")


report.equal(fetched(tls)[1], "here 2", "certificate, key, and h2 where a client offers it")
report.equal(fetched(tls, "--http1.1")[1], "here 1.1", "h1 for whoever offers no more")
report.equal(fetched(only1)[1], "here 1.1", 'protocols = ["h1"]')
report.equal(fetched(only2)[1], "here 2", 'protocols = ["h2"]')
report.check(fetched(only2, "--http1.1")[0] != 0, "nobody speaks h1 there")
report.check(fetched(only2, "--tls-max", "1.2")[0] != 0 and fetched(tls, "--tls-max", "1.2")[1] == "here 2", "min_version")
report.equal((fetched(asks)[1], fetched(asks, *CLIENT)[1]), ("here 2", "here 2"), "client request")
report.check(fetched(wants)[0] != 0 and fetched(wants, *CLIENT)[1] == "here 2", "client require, client_ca")
code, text = curl(*CA, *CLIENT, f"https://localhost:{asks}/known")
report.check("x-selvedge-subject: " in text, lambda: f"auth.certificate knows the client: {text}")
report.equal(curl(*CA, "-o", "/dev/null", "-w", "%{http_code}", f"https://localhost:{asks}/known")[1], "403", "and nobody else")
report.equal(curl("--http2-prior-knowledge", *VERSION, f"http://{HERE}:{clear2}/")[1], "here 2", "h2 in the clear")
report.equal(curl(*VERSION, f"http://{HERE}:{clear2}/")[1], "here 1.1", "and h1 beside it")
report.equal(curl("--unix-socket", str(unix), "http://h/")[1], "here", "a socket in the file system")


def behind_proxy(first):
    with socket.create_connection((HERE, proxied), 10) as plain:
        plain.sendall(first + b"GET /near HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        try:
            return plain.recv(65536)[:12]
        except ConnectionResetError:
            return b""


report.equal(behind_proxy(b"PROXY TCP4 192.0.2.7 192.0.2.1 5 80\r\n"), b"HTTP/1.1 200", "proxy_protocol says who it is")
report.equal(behind_proxy(b"PROXY TCP4 192.0.2.8 192.0.2.1 5 80\r\n"), b"HTTP/1.1 403", "and who it is not")
report.check(b"200" not in behind_proxy(b""), "whoever leaves it out is not let in")

# === edge check --live ===
live = subprocess.run([BINARY, "edge", "check", "--live", str(edge.file)], capture_output=True, text=True)
shown = {line.split(": ", 1)[0]: line.split(": ", 1)[1] for line in live.stdout.splitlines() if ": " in line}
report.equal(live.returncode, 0, f"every listener serves: {live.stdout}{live.stderr}")
report.equal((shown.get(f"{HERE}:{tls}"), shown.get(f"{HERE}:{plain80}"), shown.get(str(unix))), ("answers, with TLS", "answers, without TLS", "answers, without TLS"), "who speaks TLS")
report.check(re.search(r"\n  no name +TLS 1\.3  TLS13_\w+ +\w+ +h2 +localhost 127\.0\.0\.1 +\d\d \w{3} \d{4} \([01] days\) +without it\n", live.stdout), lambda: f"what was negotiated: {live.stdout}")
told = json.loads(subprocess.run([BINARY, "edge", "check", "--live", "-o", "json", str(edge.file)], capture_output=True, text=True).stdout)
told = {one["listener"]: one for one in told["live"]}
report.equal(told[f"{HERE}:{only1}"]["handshakes"][0]["alpn"], "http/1.1", "whichever protocol it is")
end(edge.process)

live = subprocess.run([BINARY, "edge", "check", "--live", str(edge.file)], capture_output=True, text=True)
report.check(live.returncode == 1 and f"{HERE}:{tls}: failed" in live.stdout, lambda: f"a listener that does not answer is told: {live.stdout}")

# === programs, and what else a lighttpd.conf says ===
scripts, safe, redirecting, fast, small = free_ports(5)
for name, text in {"run.sh": "printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s' \"$STAGE\" \"$SCRIPT_NAME\"\n", "hidden.hid": "hidden\n", "told.inc": "told\n",
                   "style.css": "b { color: red }\n" * 90, "missing.txt": "nothing here\n", "file.echo": "", "file.told": "", "sub/c.htm": "",
                   "run.php": "<?php echo getenv('OWN') ?: '-', ' ', getenv('LEFT_OUT') ?: '-', ' ', getenv('PATH') ? 'a path' : '-';",
                   "run.phtml": "<?php echo 'by ', $_SERVER['SCRIPT_NAME'];"}.items():
    (www / name).write_text(text)
for name in ("kept", "uploads", "run"):
    (home / name).mkdir(exist_ok=True)
    (home / name).chmod(0o777)
os.environ["LEFT_OUT"] = "left out"
fastcgi = subprocess.Popen(["php-cgi", "-b", f"{HERE}:{fast}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
atexit.register(end, fastcgi)
until(lambda: not socket.socket().connect_ex((HERE, fast)))


def scgi(listener):
    """An SCGI server that says where it was told that the script is, and how long the body was."""
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            length = b""
            while (one := stream.read(1)) not in (b":", b""):
                length += one
            if length:
                parts = stream.read(int(length) + 1).split(b"\0")
                told = dict(zip(parts[::2], parts[1::2]))
                got = len(stream.read(int(told[b"CONTENT_LENGTH"])))
                connection.sendall(b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n%s %d" % (told[b"SCRIPT_FILENAME"], got))


listener = socket.create_server((HERE, small))
threading.Thread(target=scgi, args=(listener,), daemon=True).start()
edge = Form(scripts, f"""
[edge]
upload_folders = ["{home}/uploads"]

[limits]
open_files = 256

[[listen]]
address = "{HERE}:{scripts}"

[[listen]]
address = "{HERE}:{safe}"
tls = "a"

[[listen]]
address = "{HERE}:{redirecting}"
redirect = "https"
status = 301

[tls.a]
certificate = "{home}/server.pem"
key = "{home}/server.key"

[[site]]
host_regex = '^www\\.(.+)$'

[[site.route]]
path_regex = "^/(.*)"
redirect = "http://%1/$1"

[[site]]

[[site.route]]
path = "/which"
scheme = "https"
respond = "safe"

[[site.route]]
path = "/which"
respond = "open"

[[site.route]]
path = "/strict"
respond = "strict"
hsts = {{ max_age = "365d", include_subdomains = true, preload = true }}

[[site.route]]
path = "/doing"
server_status = true

[[site.route]]
path = "/behind/*"
{behind}
forwarded = ["for", "proto"]

[[site.route]]
files = "{www}"
listing = true
listing_hides = ['\\.htm$']
index = []
refuse = [".inc"]
unsent = [".hid", ".sh", ".php"]
not_found = "/missing.txt"
environment = {{ STAGE = "test" }}
compress = ["gzip"]
compress_types = ["text/css"]
compress_folder = "{home}/kept"
rewrite = [{{ match = "^/first$", to = "/a.txt" }}, {{ match = "^/(other)$", to = "/sub/b.txt?$1" }}]

[site.route.scripts]
".sh" = {{ cgi = "/bin/sh" }}
".phtml" = {{ fastcgi = ["{HERE}:{fast}"] }}
".told" = {{ scgi = ["{HERE}:{small}"] }}
".echo" = {{ scgi = ["{HERE}:{small}"], broken_scriptfilename = true }}
".gone" = {{ scgi = ["{HERE}:{small}"], check_file = false }}

[site.route.scripts.".php"]
start = "/usr/bin/php-cgi"
socket = "{home}/run/php"
processes = 1
environment = {{ OWN = "its own" }}
copy_environment = ["PATH"]
""")


def got(path, *words, port=scripts, scheme="http"):
    code, text = curl("-k", "-w", " %{http_code}", *words, f"{scheme}://{HERE}:{port}{path}")
    return text if code == 0 else f"curl: {code}"


report.equal(got("/run.sh"), "test /run.sh 200", "scripts: cgi, with environment")
report.equal(got("/run.phtml"), "by /run.phtml 200", "scripts: fastcgi")
report.equal(got("/run.php"), "its own - a path 200", "scripts: start, with its own environment and what is copied")
report.equal((got("/file.told/more"), got("/file.echo/more")), (f"{www}/file.told 0 200", f"{www}/file.echo/more 0 200"), "scripts: scgi, broken_scriptfilename")
report.check(got("/nothing.gone").endswith("/nothing.gone 0 200") and "404" in got("/nothing.told"), "scripts: check_file")
report.equal((got("/hidden.hid")[-3:], got("/told.inc")[-3:]), ("403", "403"), "unsent, refuse")
report.equal(got("/nothing"), "nothing here\n 404", "not_found")
report.check("b.txt" in got("/sub/") and "c.htm" not in got("/sub/"), "listing_hides")
report.equal((got("/first")[:2], got("/other")), ("a\n", "b\n 200"), "several rewrites")
packed = ask(f"http://{HERE}:{scripts}/style.css", headers=[("accept-encoding", "gzip")]).headers["content-encoding"]
bare = ask(f"http://{HERE}:{scripts}/a.txt", headers=[("accept-encoding", "gzip")]).headers["content-encoding"]
report.equal((packed, bare), ("gzip", None), "compress_types")
report.check(list((home / "kept").rglob("*.css*")), "compress_folder")
report.check("forwarded: for=127.0.0.1;proto=http" in got("/behind/x"), lambda: f"forwarded: {got('/behind/x')}")
report.equal((got("/which"), got("/which", port=safe, scheme="https")), ("open 200", "safe 200"), "scheme")
report.check("Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n" in got("/strict", "-i", "--http1.1", port=safe, scheme="https"), "HSTS over TLS")
report.check("strict-transport-security" not in got("/strict", "-i").lower(), "and nowhere else")
report.check("\nTotal Accesses: " in "\n" + got("/doing?auto"), "the status page")
report.equal(got("/a?b", "-H", "host: www.shop.example", "-o", "/dev/null", "-w", "%{redirect_url} ").split()[0], "http://shop.example/a?b", "host_regex, and its groups")
sent = subprocess.run(["curl", "-sSi", f"http://{HERE}:{redirecting}/a"], capture_output=True, text=True).stdout
report.check(sent.startswith("HTTP/1.1 301") and f"https://{HERE}/a" in sent, lambda: f"the status of a listener's redirect: {sent}")
upload = subprocess.Popen(["curl", "-sS", "--limit-rate", "12M", "-H", "expect:", "--data-binary", f"@{www}/big", f"http://{HERE}:{scripts}/file.told"], stdout=subprocess.PIPE, text=True)


def waits():
    # What was open a moment ago may be closed.
    links = [os.path.realpath(link) for link in pathlib.Path(f"/proc/{edge.process.pid}/fd").iterdir()]
    return any(link.startswith(f"{home}/uploads/") for link in links)


report.check(until(waits, 10), "upload_folders: where a large body waits")
report.equal(upload.communicate()[0], f"{www}/file.told {24 << 20}", "and it arrives")
report.check(re.search(r"Max open files +256 ", pathlib.Path(f"/proc/{edge.process.pid}/limits").read_text()), "open_files")
end(edge.process)

# === sign-in ===
front, provider_port = free_ports(2)
issuer, site = f"http://{HERE}:{provider_port}", f"http://{HERE}:{front}"
script = ROOT / "tests/conformance/oidc/provider.mjs"
provider = subprocess.Popen(
    ["node", str(script), str(ROOT / "target/node"), str(provider_port), f"{site}/back", f"{site}/bye"],
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
atexit.register(end, provider)
provider.stdout.readline()
(home / "secret").write_text("a secret between the two of us\n")
(home / "cookie-keys").write_text("k" * 40)
edge = Form(front, f"""
[[listen]]
address = "{HERE}:{front}"
[oidc.staff]
issuer = "{issuer}"
client_id = "shop"
client_secret_file = "{home}/secret"
cookie_keys = "{home}/cookie-keys"
scopes = ["openid", "email"]
callback = "/back"
logout = "/out"
after_logout = "/bye"
session_hours = 2
claims = ["email"]
[[site]]
[[site.route]]
path = "/secret/*"
{behind}
auth = {{ oidc = "staff" }}
identity_headers = {{ x-mail = "email" }}
[[site.route]]
path = "/bye"
respond = "bye"
""")
browser = Browser()
answer = browser.ask(f"{site}/secret/a")
report.equal(answer.status, 302, "oidc: a stranger is sent to the provider")
report.check("client_id=shop" in answer.headers["location"] and "email" in answer.headers["location"], "client_id, scopes")
form = [("content-type", "application/x-www-form-urlencoded")]
for _ in range(14):
    if answer.status in (302, 303):
        answer = browser.follow(answer)
    elif answer.url.startswith(issuer):
        prompt = "login" if b'name="login"' in answer.body else "consent"
        answer = browser.ask(answer.url, "POST", form, f"prompt={prompt}&login=ann&password=x".encode())
    else:
        break
report.check(b"x-mail: ann@example.com" in answer.body, lambda: f"callback, claims, identity_headers: {answer.status} {answer.url} {answer.body[:300]}")
cookie = next((line for line in browser.jar(site)), "")
answer = browser.ask(f"{site}/out")
report.check(answer.status in (302, 303) and issuer in answer.headers["location"] and "bye" in answer.headers["location"],
             lambda: f"logout, after_logout: {answer.status} {answer.headers['location']}")
report.equal(browser.ask(f"{site}/secret/a").status, 302, "and who has left is a stranger")
end(edge.process)

# === where spans go ===
collector = Backend(lambda method, path, headers: (200, [("content-type", "application/json")], b"{}"))
(traced,) = free_ports(1)
edge = Form(traced, f"""
[[listen]]
address = "{HERE}:{traced}"
[traces]
otlp = "http://{HERE}:{collector.port}"
percent = 100
name = "form-edge"
[[site]]
[[site.route]]
path = "/*"
respond = "here"
""")
TRACE = "0af7651916cd43dd8448eb211c80319c"
report.equal(ask(f"http://{HERE}:{traced}/a", headers=[("traceparent", f"00-{TRACE}-b7ad6b7169203331-00")]).status, 200, "who is traced is served")
# It keeps the body first.
until(lambda: collector.requests)
(method, path, _), body = collector.requests[0], json.loads(collector.bodies[0])
of_whom = body["resourceSpans"][0]
report.equal((method, path), ("POST", "/v1/traces"), "traces.otlp")
report.check({"key": "service.name", "value": {"stringValue": "form-edge"}} in of_whom["resource"]["attributes"], lambda: f"traces.name: {of_whom}")
report.equal(of_whom["scopeSpans"][0]["spans"][0]["traceId"], TRACE, "traces.percent: a stranger's wish not to be recorded is not ours")
end(edge.process)

# === every key of the form is in one of these files, or in those of another test that is named here ===
ELSEWHERE = {
    "site.route.websocket": "edge_websockets.py",
    "edge.gateway": "edge_mesh.py", "site.route.service": "edge_mesh.py",
    "site.route.workflow": "edge_workflow.py", "site.route.workflow.machine": "edge_workflow.py",
    "site.route.workflow.wait": "edge_workflow.py", "site.route.workflow.else": "edge_workflow.py",
    "site.route.workflow.errors": "edge_workflow.py", "site.route.workflow.files": "edge_workflow.py",
    "site.route.workflow.states": "edge_workflow.py", "site.route.workflow.resume": "edge_workflow.py", "site.route.workflow.headers": "edge_workflow.py",
    **{f"tls.*.acme{key}": "edge_certificates.py" for key in
       ("", ".directory", ".store", ".contact", ".names", ".challenge", ".profile", ".ca_file", ".key_type", ".eab_id", ".eab_key_file")},
    "tls.*.acme.folder": "edge_certificates_shared.py",
    "tls.*.arn": "edge_mesh_certificate.py",
    # A provider and an issuer behind TLS with authorities of their own: the fetcher's own tests.
    "oidc.*.ca_file": "edge_sign_in.py", "jwt.*.ca_file": "edge_sign_in.py",
}


def keys_of_schema(schema, path=""):
    for name, inner in schema.get("properties", {}).items():
        yield (at := f"{path}.{name}" if path else name)
        yield from keys_of_schema(inner, at)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keys_of_schema(schema["additionalProperties"], f"{path}.*")
    for inner in [schema.get("items"), *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        if isinstance(inner, dict):
            yield from keys_of_schema(inner, path)


def keys_of_file(value, path=""):
    if isinstance(value, list):
        for item in value:
            yield from keys_of_file(item, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            for at in {f"{path}.{name}" if path else name, f"{path}.*"}:
                yield at
                yield from keys_of_file(inner, at)


schema = json.loads(subprocess.run([BINARY, "edge", "schema"], capture_output=True, check=True).stdout)
for document in written:
    found = [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    report.equal(found, [], "what is served is right by the schema")
known = set(keys_of_schema(schema))
used = {key for document in written for key in keys_of_file(document)}
missing = {key for key in known - used if key not in ELSEWHERE}
report.check(len(known) > 90, f"the schema has {len(known)} keys")
report.equal(sorted(missing), [], "keys that no test serves")
report.end()
