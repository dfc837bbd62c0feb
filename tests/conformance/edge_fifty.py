"""The fifty directives that public configurations of lighttpd use most, in examples that Debian's lighttpd 1.4.69 and our edge both serve:
the same requests, the same answers."""

import os
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import threading
import time

from _edge import ROOT, Backend, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
LIGHTTPD = "/usr/sbin/lighttpd"
if not os.path.exists(LIGHTTPD):
    raise SystemExit("lighttpd is not here: cargo xtask test --only setup installs it")
home = folder()
home.chmod(0o755)

# In how many of 122 public repositories each stands.
FIFTY = {
    "server.document-root": 116, "server.modules": 101, "server.username": 89, "server.groupname": 89, "server.port": 82, "index-file.names": 81,
    "server.errorlog": 77, "mimetype.assign": 66, "static-file.exclude-extensions": 64, "server.pid-file": 63, "url.access-deny": 56,
    "fastcgi.server": 44, "accesslog.filename": 43, "dir-listing.activate": 39, "server.upload-dirs": 33, "server.follow-symlink": 32,
    "cgi.assign": 31, "alias.url": 29, "compress.filetype": 27, "compress.cache-dir": 26, "server.indexfiles": 26, "url.redirect": 19,
    "url.rewrite-once": 18, "ssl.pemfile": 14, "ssl.engine": 14, "setenv.add-response-header": 13, "server.network-backend": 13,
    "server.tag": 13, "server.dir-listing": 12, "server.event-handler": 11, "server.bind": 10, "dir-listing.encoding": 10, "expire.url": 10,
    "proxy.server": 9, "setenv.add-environment": 9, "auth.backend": 9, "auth.require": 8, "server.error-handler-404": 8,
    "server.max-connections": 8, "server.range-requests": 8, "fastcgi.debug": 7, "server.use-ipv6": 7, "server.http-parseopts": 6,
    "ssl.cipher-list": 6, "server.max-fds": 6, "url.rewrite-if-not-file": 6, "deflate.mimetypes": 6, "server.name": 5,
    "server.stat-cache-engine": 5, "deflate.cache-dir": 5,
}

# === what is served ===
www = home / "www"
for name, text in {
    "index.html": "<h1>home</h1>\n", "a.txt": "a line of text\n" * 100, "style.css": "b { color: red }\n" * 50, "page.inc": "include\n",
    "secret~": "a copy\n", "script.php": "<?php ?>\n", "sub/default.htm": "the default\n", "sub/b.txt": "b\n", "list/one.txt": "1\n",
    "list/zwei.txt": "22\n", "other/docs/d.txt": "documentation\n", "private/p.txt": "private\n", "missing.html": "<h1>not here</h1>\n",
}.items():
    path = www / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_700_000_000, 1_700_000_000))
for path in [www, *www.rglob("*")]:
    if path.is_dir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
(www / "link.txt").symlink_to(www / "a.txt")
for name, body in {
    "env.cgi": "echo 'Content-Type: text/plain'\necho\necho \"$REQUEST_METHOD $SCRIPT_NAME $QUERY_STRING $STAGE $REDIRECT_STATUS\"\n",
    "notfound.cgi": "echo 'Status: 404 Not Found'\necho 'Content-Type: text/plain'\necho\necho \"nothing at $REQUEST_URI\"\n",
    "front.cgi": "echo 'Content-Type: text/plain'\necho\necho \"front $QUERY_STRING\"\n",
}.items():
    (www / name).write_text(body)
(home / "users").write_text("jan:right\n")
subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-keyout", f"{home}/key.pem", "-out", f"{home}/cert.pem"], check=True, capture_output=True)
(home / "both.pem").write_text((home / "cert.pem").read_text() + (home / "key.pem").read_text())
(home / "both.pem").chmod(0o644)
backend = Backend(lambda method, path, headers: (200, [("content-type", "text/plain"), ("x-backend", "yes")], f"{method} {path} {headers.get('host')}".encode()))


def fastcgi(path):
    """The smallest FastCGI server: it says what it was asked for."""
    def part(kind, body):
        return struct.pack("!BBHHBx", 1, kind, 1, len(body), 0) + body

    def pairs(data):
        at, found = 0, {}
        while at < len(data):
            sizes = []
            for _ in range(2):
                size = data[at]
                at += 1
                if size > 127:
                    size = struct.unpack("!I", data[at - 1:at + 3])[0] & 0x7FFFFFFF
                    at += 3
                sizes.append(size)
            found[data[at:at + sizes[0]].decode()] = data[at + sizes[0]:at + sum(sizes)].decode()
            at += sum(sizes)
        return found

    def answer(one):
        with one, one.makefile("rb") as stream:
            params = b""
            while True:
                _, kind, _, length, padding = struct.unpack("!BBHHBx", stream.read(8))
                body = stream.read(length)
                stream.read(padding)
                if kind == 4:
                    params += body
                if kind == 5 and length == 0:
                    break
            told = pairs(params)
            text = " ".join(told.get(name, "-") for name in ("REQUEST_METHOD", "SCRIPT_NAME", "QUERY_STRING", "STAGE", "SERVER_NAME"))
            one.sendall(part(6, b"Content-Type: text/plain\r\n\r\n" + text.encode()) + part(6, b"") + part(3, b"\0" * 8))

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o777)
    listener.listen(16)

    def serve():
        while True:
            answer(listener.accept()[0])

    threading.Thread(target=serve, daemon=True).start()


fastcgi(home / "fastcgi.sock")
COMMON = """
server.bind = "127.0.0.1"
server.port = PORT
server.tag = "the server"
mimetype.assign = ( ".html" => "text/html", ".htm" => "text/html", ".txt" => "text/plain", ".css" => "text/css" )
"""
GET = "GET {} HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n{}\r\n"


def get(path, *headers):
    return GET.format(path, "".join(f"{one}\r\n" for one in headers))


# Each example: a name, a configuration, requests. HERE is the folder, OWN one for each server, PORT and TLS are its ports.
EXAMPLES = [
    ("a site of files", """
server.modules = ( "mod_access", "mod_accesslog" )
server.document-root = "HERE/www"
server.name = "www.example.com"
server.username = "USER"
server.groupname = "GROUP"
server.errorlog = "OWN/error.log"
server.pid-file = "OWN/pid"
server.upload-dirs = ( "OWN" )
server.event-handler = "poll"
server.network-backend = "writev"
server.max-connections = 100
server.max-fds = 300
server.stat-cache-engine = "disable"
server.use-ipv6 = "disable"
server.follow-symlink = "disable"
server.range-requests = "enable"
server.http-parseopts = ( "header-strict" => "enable", "url-normalize" => "enable", "url-path-dotseg-reject" => "enable", "url-path-dotseg-remove" => "disable" )
index-file.names = ( "index.php", "index.html", "default.htm" )
static-file.exclude-extensions = ( ".php", ".inc" )
url.access-deny = ( "~", ".secret" )
accesslog.filename = "OWN/access.log"
accesslog.format = "%m %U %q %>s %b %V"
""", [get("/"), get("/sub/"), get("/sub"), get("/a.txt"), get("/a.txt?b=c"), get("/a.txt", "Range: bytes=2-5"), get("/a.txt", "Range: bytes=99999-"), get("/page.inc"),
      get("/script.php"), get("/secret~"), get("/link.txt"), get("/list/"), get("/nothing"), get("/sub/../a.txt"), get("/a%2etxt"),
      "HEAD /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab",
      "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]),
    ("links and no ranges", """
server.document-root = "HERE/www"
server.follow-symlink = "enable"
server.range-requests = "disable"
server.indexfiles = ( "default.htm" )
""", [get("/link.txt"), get("/a.txt", "Range: bytes=2-5"), get("/sub/"), get("/")]),
    ("an application by FastCGI", """
server.modules = ( "mod_fastcgi", "mod_rewrite", "mod_setenv", "mod_alias" )
server.document-root = "HERE/www"
server.name = "app.example.com"
fastcgi.debug = 0
fastcgi.server = ( ".php" => (( "socket" => "HERE/fastcgi.sock", "check-local" => "disable" )), "/app/" => (( "socket" => "HERE/fastcgi.sock", "check-local" => "disable" )) )
setenv.add-environment = ( "STAGE" => "production" )
setenv.add-response-header = ( "X-Frame-Options" => "DENY" )
url.rewrite-once = ( "^/item/([0-9]+)$" => "/app/item?id=$1" )
url.rewrite-if-not-file = ( "^/pretty/(.*)$" => "/index.php?q=$1" )
alias.url = ( "/docs/" => "HERE/www/other/docs/" )
""", [get("/script.php?x=1"), get("/app/deep/path?y"), get("/item/17"), get("/item/x"), get("/pretty/thing"), get("/docs/d.txt"), get("/docs"), get("/a.txt")]),
    ("scripts", """
server.modules = ( "mod_cgi", "mod_setenv", "mod_rewrite" )
server.document-root = "HERE/www"
cgi.assign = ( ".cgi" => "/bin/sh" )
setenv.add-environment = ( "STAGE" => "test" )
server.error-handler-404 = "/notfound.cgi"
url.rewrite-if-not-file = ( "^/front/(.*)" => "/front.cgi?$1" )
""", [get("/env.cgi?a=b"), get("/nothing/here?x"), get("/front/page"), get("/a.txt")]),
    ("a page for what is missing", """
server.document-root = "HERE/www"
server.error-handler-404 = "/missing.html"
""", [get("/nothing"), get("/a.txt")]),
    ("directories", """
server.document-root = "HERE/www"
dir-listing.activate = "enable"
dir-listing.encoding = "utf-8"
$HTTP["url"] =~ "^/sub/" { dir-listing.activate = "disable" }
""", [get("/list/"), get("/sub/"), get("/list")]),
    ("directories by the older name", """
server.document-root = "HERE/www"
server.dir-listing = "enable"
dir-listing.encoding = "iso-8859-1"
""", [get("/list/")]),
    ("compression", """
server.modules = ( "mod_deflate", "mod_expire" )
server.document-root = "HERE/www"
deflate.mimetypes = ( "text/plain", "text/css" )
deflate.cache-dir = "OWN/cache"
deflate.allowed-encodings = ( "gzip", "deflate" )
expire.url = ( "/style.css" => "access plus 1 months", "/a" => "access plus 2 hours" )
""", [get("/a.txt", "Accept-Encoding: gzip"), get("/a.txt", "Accept-Encoding: deflate"), get("/a.txt", "Accept-Encoding: gzip"), get("/a.txt"),
      get("/style.css", "Accept-Encoding: gzip"), get("/index.html", "Accept-Encoding: gzip")]),
    ("compression by the older names", """
server.modules = ( "mod_compress" )
server.document-root = "HERE/www"
compress.cache-dir = "OWN/cache"
compress.filetype = ( "text/plain" )
compress.allowed-encodings = ( "gzip" )
""", [get("/a.txt", "Accept-Encoding: gzip"), get("/a.txt"), get("/style.css", "Accept-Encoding: gzip")]),
    ("a border", """
server.modules = ( "mod_openssl", "mod_redirect", "mod_proxy", "mod_auth", "mod_authn_file" )
server.document-root = "HERE/www"
auth.backend = "plain"
auth.backend.plain.userfile = "HERE/users"
auth.require = ( "/private/" => ( "method" => "basic", "realm" => "private", "require" => "valid-user" ) )
url.redirect = ( "^/old/(.*)" => "https://shop.example.com/new/$1" )
$HTTP["url"] =^ "/api/" { proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => BACKEND )) ) }
$SERVER["socket"] == "127.0.0.1:TLS" { ssl.engine = "enable"  ssl.pemfile = "HERE/both.pem"  ssl.cipher-list = "HIGH" }
""", [get("/old/thing"), get("/private/p.txt"), get("/private/p.txt", "Authorization: Basic amFuOnJpZ2h0"), get("/private/p.txt", "Authorization: Basic amFuOndyb25n"), get("/api/private"), get("/a.txt"),
      get("/api/x?y=1"), "TLS " + get("/a.txt"), "TLS " + get("/old/x"), "TLS " + get("/api/z"), "TLS " + get("/private/p.txt")]),
]

# Headers that differ on purpose; services/edge/tests/differential/differences.txt says why of Content-Range and Vary. lighttpd holds a backend's whole
# answer and offers parts of it, where ours passes it on as it comes.
WITHOUT = {
    ("a site of files", "Range: bytes=99999-"): {"content-range"},
    ("compression", "GET /a.txt"): {"vary"},
    ("compression by the older names", "GET /a.txt"): {"vary"},
    ("a border", "GET /api/"): {"accept-ranges"},
}
PASSING = {"date", "expires"}


class Server:
    def __init__(self, command, conf):
        self.own = folder()
        self.own.chmod(0o777)
        (self.own / "cache").mkdir()
        (self.own / "cache").chmod(0o777)
        self.port, self.tls = free_ports(2)
        is_root = os.geteuid() == 0
        user, group = ("nobody", "nogroup") if is_root else ("", "")
        for word, value in {"HERE": home, "OWN": self.own, "PORT": self.port, "TLS": self.tls, "BACKEND": backend.port, "USER": user, "GROUP": group}.items():
            conf = re.sub(rf"\b{word}\b", str(value), conf)
        file = self.own / "lighttpd.conf"
        file.write_text(conf)
        self.process = subprocess.Popen([*command, "-D", "-f", str(file)], stderr=open(self.own / "stderr", "wb"))
        atexit.register(end, self.process)
        await_port(self.port)

    def ask(self, request):
        is_tls = request.startswith("TLS ")
        with socket.create_connection(("127.0.0.1", self.tls if is_tls else self.port), 10) as plain:
            stream = plain
            if is_tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                stream = context.wrap_socket(plain, server_hostname="localhost")
                request = request[4:]
            stream.sendall(request.encode())
            heard = b""
            try:
                while part := stream.recv(65536):
                    heard += part
            except (ConnectionResetError, ssl.SSLEOFError):
                pass
        head, _, body = heard.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = sorted((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        own = str(self.port)
        return first, [(name, value.replace(own, "PORT")) for name, value in headers if name not in PASSING], unpacked(headers, body).replace(own.encode(), b"PORT")


def unpacked(headers, body):
    """What was sent, once it is unpacked: two packers make two texts of one."""
    import gzip
    import zlib
    known = dict(headers)
    if known.get("transfer-encoding") == "chunked":
        whole, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size or b"0", 16)
            whole, rest = whole + rest[:length], rest[length + 2:]
        body = whole
    if known.get("content-encoding") == "gzip":
        return gzip.decompress(body)
    if known.get("content-encoding") == "deflate":
        return zlib.decompress(body)
    return body


def listed(body):
    """Of a list of files what is listed, and in which encoding: how it looks is each server's own."""
    if b"Index of" not in body:
        return body
    return re.findall(rb'<meta charset="[^"]*">|<title>.*</title>|<tr.*</tr>', body)


def until(found, seconds=60):
    deadline = time.monotonic() + seconds
    while not (answer := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


compared = 0
for name, conf, requests in EXAMPLES:
    text = COMMON + conf
    servers = {"theirs": Server([LIGHTTPD], text), "ours": Server([BINARY, "edge", "--compat", "1.4.69"], text)}
    for request in requests:
        theirs, ours = servers["theirs"].ask(request), servers["ours"].ask(request)
        skipped = next((headers for (of, part), headers in WITHOUT.items() if of == name and part in request), set())
        skipped = set(skipped)
        # Two packers, two lengths; and whether a length or chunks come first is framing, not an answer.
        if any(header == "content-encoding" for header, _ in theirs[1]):
            skipped |= {"content-length", "transfer-encoding"}
        if b"Index of" in theirs[2]:
            skipped.add("content-length")

        def strip(answer):
            return answer[0], [one for one in answer[1] if one[0] not in skipped], listed(answer[2])

        line = request.split("\r\n")[0]
        report.equal(strip(ours), strip(theirs), f"{name}: {line} {request.splitlines()[3:-1]}")
        compared += 1
    if name == "a site of files":
        for which, server in servers.items():
            report.equal((server.own / "pid").read_text().strip(), str(server.process.pid), f"{which}: server.pid-file")
            report.check((server.own / "error.log").exists(), f"{which}: server.errorlog")
            if os.geteuid() == 0:
                status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
                report.check(re.search(r"Uid:\s+65534", status) and re.search(r"Gid:\s+65534", status), f"{which}: server.username, server.groupname")
        for server in servers.values():
            end(server.process)
        # Workers write in turn; of what was refused before it was understood, each server knows as much as it had read.
        logs = {which: sorted(line for line in (server.own / "access.log").read_text().splitlines() if " 400 " not in line)
                for which, server in servers.items()}
        report.equal(logs["ours"], logs["theirs"], "accesslog.filename")
    for server in servers.values():
        end(server.process)

used = {key for _, conf, _ in EXAMPLES for key in re.findall(r"(?m)(?:^|[{\s])([a-z-]+(?:\.[a-z0-9-]+)+)\s*\+?=", COMMON + conf)}
report.equal(len(FIFTY), 50, "they are fifty")
report.equal(sorted(set(FIFTY) - used), [], "directives that no example has")
report.check(compared >= 60, f"{compared} requests were compared")
report.end()
