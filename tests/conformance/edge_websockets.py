"""WebSockets through an edge, on streams of HTTP/2 (RFC 8441) and by HTTP/1: the same script at Debian's lighttpd and at ours, with h2 and wsproto
in front and a server of the library websockets behind."""

import os
import pathlib
import shutil
import signal
import ssl
import socketserver
import subprocess
import threading
import time

import h2.errors
import wsproto.events
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from _edge import ROOT, atexit, await_port, end, folder, free_ports, until
from _report import Report
from _websocket import Connection, Server, WebSocket

LIGHTTPD = "/usr/sbin/lighttpd"
if not pathlib.Path("/usr/lib/lighttpd/mod_wstunnel.so").exists() and not shutil.which(LIGHTTPD):
    raise SystemExit("lighttpd is not here: cargo xtask test --only setup installs it")
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
report = Report()
home = folder()
home.chmod(0o755)
(home / "www").mkdir()
(home / "www" / "a.txt").write_text("12345\n")
(home / "www" / "a.txt").chmod(0o644)
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=a.example",
     "-keyout", f"{home}/key.pem", "-out", f"{home}/certificate.pem"], check=True, stderr=subprocess.DEVNULL)
server = Server()


class Plain(socketserver.BaseRequestHandler):
    """What stands behind a tunnel's end, and backends that answer a handshake otherwise than they should."""

    def handle(self):
        data = b""
        while part := self.request.recv(65536):
            data += part
            if data.startswith(b"GET "):
                if b"\r\n\r\n" not in data:
                    continue
                wrong = b"sec-websocket-accept: d3Jvbmc=\r\n" if b"/wrong" in data else b""
                return self.request.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" + wrong + b"\r\nhere")
            # In capitals, so that an echo of frames would be seen.
            self.request.sendall(part.upper())
            if data.endswith(b"leave"):
                return


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


plain = Threads(("127.0.0.1", 0), Plain)
threading.Thread(target=plain.serve_forever, daemon=True).start()


def configuration(tls, name):
    return f"""
server.modules = ( "mod_openssl", "mod_access", "mod_proxy", "mod_wstunnel", "mod_accesslog" )
server.document-root = "{home}/www"
server.bind = "127.0.0.1"
server.port = {tls}
server.feature-flags = ( "server.graceful-shutdown-timeout" => 2 )
ssl.engine = "enable" ssl.pemfile = "{home}/certificate.pem" ssl.privkey = "{home}/key.pem"
accesslog.filename = "{home}/{name}.access"
accesslog.format = "%m %U %H %s"
mimetype.assign = ( ".txt" => "text/plain" )
$HTTP["url"] =^ "/ws/" {{
    proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {server.port} )) )
    proxy.header = ( "upgrade" => "enable" )
}}
$HTTP["url"] =^ "/off/" {{ proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {server.port} )) ) }}
$HTTP["url"] =^ "/odd/" {{
    proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {plain.server_address[1]} )) )
    proxy.header = ( "upgrade" => "enable" )
}}
$HTTP["request-method"] == "CONNECT" {{ $HTTP["url"] == "/ws/method" {{ url.access-deny = ( "" ) }} }}
wstunnel.server = ( "/tunnel" => (( "host" => "127.0.0.1", "port" => {plain.server_address[1]} )) )
wstunnel.frame-type = "binary"
wstunnel.origins = ( "https://good.example" )
"""


class Edge:
    def __init__(self, name, command, text=None, form="conf", *words):
        self.name, (self.port,) = name, free_ports(1)
        self.file = home / f"{name}.{form}"
        self.file.write_text(text(self.port) if text else configuration(self.port, name))
        self.log = open(home / f"{name}.log", "wb")
        self.process = subprocess.Popen([*command, "-D", "-f", str(self.file), *words], stderr=self.log)
        atexit.register(end, self.process)
        await_port(self.port)

    def said(self):
        return pathlib.Path(self.log.name).read_text()

    def access(self, lines):
        path = home / f"{self.name}.access"
        self.process.send_signal(signal.SIGHUP)
        text = until(lambda: (it := path.read_text() if path.exists() else "").count("\n") >= lines and it, 20)
        # lighttpd writes a line of each connection's preface.
        return sorted(line for line in (text or path.read_text()).splitlines() if not line.startswith("PRI "))


ours = Edge("ours", [BINARY, "edge", "--compat", "1.4.69"])
theirs = Edge("theirs", [LIGHTTPD])


# === what both do alike ===
def talks(ws):
    """What comes back of text, of bytes, of more than any window holds, and of a ping."""
    large = bytes(range(256)) * 8192
    heard = [ws.echo("hello"), ws.echo(b"\0\1\2"), ws.echo(large) == large]
    ws.send(wsproto.events.Ping(payload=b"p"))
    return [*heard, getattr(ws.heard(), "payload", None)]


def granted(connection, path, **more):
    status, fields, stream = connection.ask(path, **more)
    if status != 200:
        raise SystemExit(f"{path} is not granted: {status} {fields}")
    kept = {name: value for name, value in fields.items() if name.startswith("sec-") or name in ("upgrade", "connection", "content-length")}
    return status, kept, WebSocket(connection, stream)


def script(edge):
    """What a server makes of each wish, in words that can be compared."""
    said = {}
    connection = Connection(edge.port)
    said["offered"] = connection.offers
    status, fields, ws = granted(connection, "/ws/echo")
    said["echo"] = (status, fields, talks(ws), bytes(ws.echo(b"x")))
    status, fields, other = granted(connection, "/ws/echo?a=b", sec_websocket_protocol="other, chat", origin="https://a.example")
    said["a second on the same connection"] = (status, fields, other.echo("two"), ws.echo("one"))
    said["goodbye of a client"] = ws.close(4000)
    said["and the other goes on"] = other.echo("three")
    status, _, left = granted(connection, "/ws/leave")
    said["goodbye of a server"] = (status, left.message(), getattr(left.message(), "code", None))
    status, fields, packed = granted(connection, "/ws/echo", sec_websocket_extensions="permessage-deflate; client_max_window_bits=15; server_max_window_bits=15")
    said["an extension is agreed on end to end"] = (status, fields)
    said["refused by the backend"] = connection.ask("/ws/refused")[0]
    said["no tunnel of the backend's"] = connection.ask("/ws/plain")[0]
    said["not let through"] = connection.ask("/off/echo")[0]
    said["denied by method"] = connection.ask("/ws/method")[0]
    said["nobody there"] = connection.ask("/missing")[0]
    said["a file"] = connection.ask("/a.txt")[0]
    status, fields, tunnel = granted(connection, "/tunnel", origin="https://good.example", sec_websocket_protocol="binary")
    said["a tunnel's end"] = (status, fields, [bytes(tunnel.echo(b"hello")), bytes(tunnel.echo(b"again"))])
    said["another origin"] = connection.ask("/tunnel", origin="https://evil.example")[0]
    said["an ordinary request beside them"] = connection.ask("/a.txt", protocol=None, method="GET")[0]
    connection.close()
    return said


alike = {edge.name: script(edge) for edge in (ours, theirs)}
for what, wanted in alike["theirs"].items():
    report.equal(alike["ours"][what], wanted, f"{what}, as lighttpd's")
report.equal(alike["ours"]["offered"], True, "the edge says that a stream may become a WebSocket")
report.equal(alike["ours"]["echo"], (200, {}, ["hello", b"\0\1\2", True, b"p"], b"x"), "words come back as they were said")
report.equal(alike["ours"]["goodbye of a client"], (4000, "end"), "a goodbye is answered, and the stream ends in order")
report.equal(ours.access(13), theirs.access(14), "the access log tells of them as lighttpd's does")

# The backend is asked by HTTP/1, with a key of ours and what the client said.
head = next(head for head in server.heads if head.path == "/ws/echo?a=b")
report.equal((head.headers["upgrade"], head.headers["sec-websocket-version"], head.headers["host"]), ("websocket", "13", "a.example"), "what the backend is asked")
keys = [head.headers["sec-websocket-key"] for head in server.heads if head.headers.get("forwarded") is None]
report.check(len(set(keys)) > len(keys) / 2, "each wish has a key of its own")

# === what ours does otherwise, or lighttpd leaves open ===
connection = Connection(ours.port)
report.equal(connection.ask("/ws/echo", protocol="other")[0], 501, "a protocol that nobody speaks (lighttpd says 405)")
report.equal(connection.ask("/ws/echo", sec_websocket_key="bm90IGEga2V5IG9mIG91cnM=")[0], 200, "what a client calls a key is of no consequence")
report.equal(connection.ask("/odd/wrong")[0], 502, "an answer to another key is none")
report.equal(connection.ask("/odd/none")[0], 502, "and so is no answer to it")
for what, fields in (
    ("no path", [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "a")]),
    ("no scheme", [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/ws/echo"), (":authority", "a")]),
    ("no CONNECT", [(":method", "GET"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/a.txt"), (":authority", "a")]),
    ("a field of the connection", [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws/echo"), (":authority", "a"),
                                   ("upgrade", "websocket")]),
):
    answered = connection.answered(connection.request(fields))[0]
    report.equal(answered, f"reset {h2.errors.ErrorCodes.PROTOCOL_ERROR}", f"{what} is malformed")
# A client that takes its stream back is gone for the backend too, and one that says goodbye to nobody as well.
status, _, ws = granted(connection, "/ws/reset")
report.equal((status, ws.echo("one")), (200, "one"), "a tunnel stands")
connection.h2.reset_stream(ws.stream, h2.errors.ErrorCodes.CANCEL)
connection.flush()
report.check(until(lambda: any(path == "/ws/reset" for path, _ in server.ended)), "a reset ends the backend's side")
status, _, ws = granted(connection, "/ws/gone")
ws.echo("one")
connection.h2.end_stream(ws.stream)
connection.flush()
report.check(until(lambda: any(path == "/ws/gone" for path, _ in server.ended)), "and so does a stream's end")
# Whoever does not read is not sent more than its windows take, and the others on the connection are served meanwhile.
status, _, slow = granted(connection, "/ws/pour")
while connection.h2.local_flow_control_window(slow.stream) and not connection.events.get(slow.stream):
    connection.read()
report.equal(connection.ask("/a.txt", protocol=None, method="GET")[0], 200, "a slow reader holds up nobody")
poured = 0
while poured < 64 * 65536:
    poured += len(slow.message())
report.equal((poured, slow.echo("after")), (64 * 65536, "after"), "and gets everything when it reads")
slow.close()
# Bodies have a limit, and what goes through a tunnel is none.
status, _, ws = granted(connection, "/ws/echo")
for _ in range(24):
    ws.echo(bytes(1 << 16))
report.equal(ws.close()[1], "end", "more goes through than a body may have")
# A part of a frame's head waits for the rest, one frame of DATA for each byte.
status, _, tunnel = granted(connection, "/tunnel", origin="https://good.example")
for byte in b"\x82\x85\0\0\0\0":
    tunnel.raw.write(bytes([byte]))
tunnel.raw.write(b"hello")
report.equal(bytes(tunnel.message()), b"HELLO", "frames may come in any pieces")
report.equal(bytes(tunnel.echo(b"leave")), b"LEAVE", "a program that ends says its last")
report.equal((getattr(tunnel.message(), "code", None), tunnel.heard(), tunnel.ended), (1000, None, "end"), "and the client hears a goodbye, and the stream's end")
status, _, tunnel = granted(connection, "/tunnel", origin="https://good.example")
tunnel.raw.write(b"\x82\x04evil")
report.equal(getattr(tunnel.message(), "code", None), 1002, "a frame that is not masked ends it")
connection.close()

# === by HTTP/1, at both ===
for edge in (ours, theirs):

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    with connect(f"wss://127.0.0.1:{edge.port}/ws/echo", ssl=context, subprotocols=["chat"]) as ws:
        ws.send("hello")
        report.equal((ws.recv(), ws.subprotocol), ("hello", "chat"), f"by HTTP/1 as well, {edge.name}")

# === our own form: off unless it is said ===
form = Edge("form", [BINARY, "edge"], lambda port: f"""
[[listen]]
address = "127.0.0.1:{port}"
tls = "own"

[tls.own]
certificate = "{home}/certificate.pem"
key = "{home}/key.pem"

[[site]]
[[site.route]]
path = "/ws/*"
method = ["GET"]
proxy = ["127.0.0.1:{server.port}"]
websocket = true

[[site.route]]
path = "/off/*"
proxy = ["127.0.0.1:{server.port}"]

[[site.route]]
path = "/fixed"
respond = "no"
status = 410

[[site.route]]
files = "{home}/www"
""", "toml")
connection = Connection(form.port)
status, fields, ws = granted(connection, "/ws/echo")
report.equal((status, talks(ws)), (200, ["hello", b"\0\1\2", True, b"p"]), "a route of the form lets them through, and GET is its method")
report.equal([connection.ask(path)[0] for path in ("/off/echo", "/a.txt", "/fixed")], [405, 405, 410], "and others do not")
for path, wanted in (("/ws/echo", "hello"), ("/off/echo", None)):
    try:
        with connect(f"wss://127.0.0.1:{form.port}{path}", ssl=context) as by_one:
            by_one.send("hello")
            heard = by_one.recv()
    except InvalidStatus:
        heard = None
    report.equal(heard, wanted, f"the same by HTTP/1, {path}")

# Where nothing takes a tunnel, none is offered, and a wish for one is malformed.
form.file.write_text(form.file.read_text().replace("websocket = true", "websocket = false"))
form.process.send_signal(signal.SIGUSR1)


def bare():
    fresh = Connection(form.port)
    return fresh if not fresh.offers else fresh.close()


fresh = until(bare)
report.equal(fresh.ask("/ws/echo")[0], f"reset {h2.errors.ErrorCodes.PROTOCOL_ERROR}", "what was not offered is not asked for")

# === a tunnel lives on under what it began with ===
report.equal((ws.echo("still"), connection.ask("/ws/echo")[0]), ("still", 405), "a tunnel outlives its configuration, and a new one is not granted")
form.process.send_signal(signal.SIGINT)
report.equal(ws.echo("leaving"), "leaving", "and goes on while the edge leaves")
began = time.monotonic()
while ws.heard() is not None:
    pass
report.check(time.monotonic() - began < 30 and form.process.wait(30) == 0, "and is cut when its time is over")

# A new binary takes the place of the one that runs: tunnels stay with the old one for as long as it may take to leave.
control = str(home / "control")
first = Edge("first", [BINARY, "edge", "--compat", "1.4.69"], lambda port: configuration(port, "first").replace("timeout\" => 2", "timeout\" => 5"), "conf", "--control", control)
connection = Connection(first.port)
ws = granted(connection, "/ws/echo")[2]
with connect(f"wss://127.0.0.1:{first.port}/ws/echo", ssl=context) as by_one:
    by_one.send("before")
    report.equal((by_one.recv(), ws.echo("before")), ("before", "before"), "tunnels stand before a binary is replaced")
    successor = subprocess.Popen([BINARY, "edge", "-D", "-f", str(first.file), "--control", control, "--compat", "1.4.69"], stderr=open(home / "successor.log", "wb"))
    atexit.register(end, successor)
    # It announces its end to its clients once the other one serves.
    while not connection.goodbye and connection.read():
        pass
    by_one.send("meanwhile")
    report.equal((by_one.recv(), ws.echo("meanwhile")), ("meanwhile", "meanwhile"), "and go on while the successor serves")
    later = Connection(first.port)
    report.equal(granted(later, "/ws/echo")[2].echo("new"), "new", "who grants new ones")
    report.equal(first.process.wait(30), 0, "until the time of the old one is over")
report.equal(ws.heard(), None, "and then they end")
report.end()
