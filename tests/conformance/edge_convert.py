"""`selvedge edge convert`: a lighttpd.conf and the edge.toml that is made of it answer the same requests alike."""

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess

from _edge import ROOT, Backend, ask, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
home = folder()
for name, text in {"index.html": "home\n", "a.txt": "a\n", "assets/a.css": "a {}\n", "admin/x.txt": "admin\n", "office/o.txt": "office\n",
                   "docs/d.txt": "docs\n", "shop/index.html": "the shop\n", "shop/a.txt": "the shop's a\n", "private/p.txt": "p\n", "known/k.txt": "known\n", "shop/known/k.txt": "known in the shop\n", "digest/d.txt": "d\n"}.items():
    path = home / "www" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
hashed = subprocess.run(["openssl", "passwd", "-apr1", "right"], capture_output=True, text=True, check=True).stdout.strip()
(home / "users").write_text(f"jan:{hashed}\neva:{hashed}\n")
backend = Backend(lambda method, path, headers: (200, [("content-type", "text/plain")], f"{method} {path}".encode()))
before, after = free_ports(2)
CONF = f"""
server.modules = ( "mod_access", "mod_alias", "mod_auth", "mod_authn_file", "mod_expire", "mod_extforward", "mod_proxy", "mod_redirect", "mod_setenv" )
server.document-root = "{home}/www"
server.bind = "127.0.0.1"
server.port = PORT
server.max-request-size = 16
index-file.names = ( "index.html" )
mimetype.assign = ( ".html" => "text/html", ".txt" => "text/plain", ".css" => "text/css" )
extforward.forwarder = ( "127.0.0.1" => "trust" )
extforward.headers = ( "X-Forwarded-For" )
alias.url = ( "/manual/" => "{home}/www/docs/" )
$HTTP["url"] =^ "/admin/" {{ $HTTP["remoteip"] != "10.0.0.0/8" {{ url.access-deny = ( "" ) }} }}
$HTTP["remoteip"] == "192.0.2.0/24" {{ server.document-root = "{home}/www/office" }}
$HTTP["url"] =^ "/assets/" {{ expire.url = ( "" => "access plus 30 days" ) setenv.set-response-header = ( "x-kind" => "asset" ) }}
$HTTP["url"] =^ "/api/" {{ proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {backend.port} )) ) }}
$HTTP["url"] =^ "/private/" {{ url.access-deny = ( "" ) }}
$HTTP["url"] =^ "/known/" {{
    auth.backend = "htpasswd"
    auth.backend.htpasswd.userfile = "{home}/users"
    auth.require = ( "" => ( "method" => "basic", "realm" => "known", "require" => "user=jan" ) )
}}
$HTTP["host"] == "shop.example.com" {{ server.document-root = "{home}/www/shop" }}
$HTTP["host"] == "old.example.com" {{ url.redirect = ( "^/(.*)" => "https://shop.example.com/$1" ) }}
"""


def serve(file, port):
    process = subprocess.Popen([BINARY, "edge", "-D", "-f", str(file)], stderr=open(home / f"{port}.log", "wb"))
    atexit.register(end, process)
    await_port(port)


(home / "lighttpd.conf").write_text(CONF.replace("PORT", str(before)))
(home / "second.conf").write_text(CONF.replace("PORT", str(after)))
made = subprocess.run([BINARY, "edge", "convert", str(home / "second.conf")], capture_output=True, text=True, check=True).stdout
(home / "edge.toml").write_text(made)
checked = subprocess.run([BINARY, "edge", "check", str(home / "edge.toml")], capture_output=True, text=True)
report.equal(checked.returncode, 0, f"what is made is right: {checked.stdout}{checked.stderr}\n{made}")
serve(home / "lighttpd.conf", before)
serve(home / "edge.toml", after)

CLIENTS = {"": [], "from 10.1.2.3": [("x-forwarded-for", "10.1.2.3")], "from 192.0.2.7": [("x-forwarded-for", "192.0.2.7")]}
HOSTS = ["any.example.com", "shop.example.com", "old.example.com"]
PATHS = ["/", "/a.txt", "/nothing", "/assets/a.css", "/admin/x.txt", "/o.txt", "/manual/d.txt", "/api/x?y=1", "/private/p.txt", "/known/k.txt"]
statuses = set()
for host in HOSTS:
    for client, headers in CLIENTS.items():
        for path in PATHS:
            # Where several blocks hold, a converted file has one route: of headers and types of answer it has those of that block.
            if path.startswith(("/assets/", "/api/")) and (host != HOSTS[0] or "192" in client):
                continue
            answers = []
            for port in (before, after):
                answer = ask(f"http://127.0.0.1:{port}{path}", headers=[("host", host), *headers])
                told = answer.headers
                body = answer.body if answer.status < 400 else b""
                answers.append((answer.status, body, told["location"], (told["cache-control"] or ""), told["x-kind"], told["content-type"] if body else None))
            statuses.add(answers[0][0])
            report.equal(answers[1], answers[0], f"{host} {client} {path}")
report.check({200, 308, 401, 403, 404} <= statuses, f"all sorts of answers were compared: {statuses}")
for user, wanted in (("jan", 200), ("eva", 401)):
    word = base64.b64encode(f"{user}:right".encode()).decode()
    known = [ask(f"http://127.0.0.1:{port}/known/k.txt", headers=[("host", "any"), ("authorization", f"Basic {word}")]).status for port in (before, after)]
    report.equal(known, [wanted] * 2, f"who may is taken along: {user}")
# Sign-ins: by digest and by groups they are taken along, and what has no equal opens nothing.
(home / "digests").write_text(f"jan:d:{hashlib.md5(b'jan:d:right').hexdigest()}\neva:d:{hashlib.md5(b'eva:d:right').hexdigest()}\n")
(home / "groups").write_text("staff: eva\n")


def converted(name, rules, port):
    """A configuration with a sign-in before /digest/, and what is made of it."""
    (home / f"{name}.conf").write_text(f"""
server.modules = ( "mod_auth", "mod_authn_file" )
server.document-root = "{home}/www"
server.bind = "127.0.0.1"
server.port = {port}
mimetype.assign = ( ".txt" => "text/plain" )
{rules}
""")
    return subprocess.run([BINARY, "edge", "convert", str(home / f"{name}.conf")], capture_output=True, text=True, check=True).stdout


def answers(port, kind):
    def one(user, password):
        asked = subprocess.run(["curl", "-s", f"--{kind}", "-u", f"{user}:{password}", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/digest/d.txt"],
                               capture_output=True, text=True)
        return asked.stdout
    return [one("jan", "right"), one("eva", "right"), one("eva", "wrong")]


SIGN_INS = {
    "digest": ("""auth.backend = "htdigest"\nauth.backend.htdigest.userfile = "HOME/digests"
auth.require = ( "/digest/" => ( "method" => "digest", "realm" => "d", "require" => "user=jan" ) )""", ["200", "401", "401"]),
    "basic": ("""auth.backend = "htpasswd"\nauth.backend.htpasswd.userfile = "HOME/users"\nauth.backend.plain.groupfile = "HOME/groups"
auth.require = ( "/digest/" => ( "method" => "basic", "realm" => "d", "require" => "group=staff" ) )""", ["401", "200", "401"]),
}
for kind, (rules, wanted) in SIGN_INS.items():
    one, two = free_ports(2)
    rules = rules.replace("HOME", str(home))
    converted(kind, rules, one)
    (home / f"{kind}.toml").write_text(converted(f"{kind}2", rules, two))
    serve(home / f"{kind}.conf", one)
    serve(home / f"{kind}.toml", two)
    report.equal((answers(one, kind), answers(two, kind)), (wanted, wanted), f"who may, by {kind}")
made = converted("plain", """auth.backend = "plain"\nauth.backend.plain.userfile = "/nowhere"
auth.require = ( "/digest/" => ( "method" => "basic", "realm" => "d", "require" => "valid-user" ) )""", after)
refused = made.index('path = "/digest/*"')
report.check("status = 403" in made[refused:made.index("files =")] and "no equal here: auth.require" in made, lambda: f"a sign-in that has no equal opens nothing: {made}")
# Programs, and what lists exclude, are not sent as files: neither by their own path nor by an index, an alias or a rewrite.
for name in ("run.php", "index.php", "hidden.inc", "sub/index.cgi", "docs/in.cgi"):
    (home / "www" / name).parent.mkdir(exist_ok=True)
    (home / "www" / name).write_text("a secret\n")
(port,) = free_ports(1)
(home / "programs.toml").write_text(converted("programs", """server.modules += ( "mod_access", "mod_alias", "mod_cgi", "mod_fastcgi", "mod_proxy", "mod_rewrite" )
index-file.names = ( "index.php", "index.cgi", "index.html" )
static-file.exclude-extensions = ( ".inc" )
fastcgi.server = ( ".php" => (( "socket" => "/nowhere" )), "/app/" => (( "host" => "127.0.0.1", "port" => BACKEND )) )
proxy.server = ( "/behind/" => (( "host" => "127.0.0.1", "port" => BACKEND )) )
cgi.assign = ( ".cgi" => "/bin/sh" )
alias.url = ( "/manual/" => "HOME/www/docs/" )
url.rewrite-once = ( "^/pretty/(.*)" => "/$1.php" )
$HTTP["host"] == "other.example.com" { server.document-root = "HOME/www" url.rewrite-if-not-file = ( "^/any" => "/index.php" ) }
$HTTP["url"] =~ "^/sub" { url.access-deny = ( ".txt" ) server.document-root = "HOME/www" }
""".replace("HOME", str(home)).replace("BACKEND", str(backend.port)), port))
serve(home / "programs.toml", port)
for host in ("any.example.com", "other.example.com"):
    for path in ("/run.php", "/", "/hidden.inc", "/run.php/info", "/sub/", "/sub/index.cgi", "/manual/in.cgi", "/pretty/run", "/anything", "/pretty/../run.php", "/RUN.php", "/run%2ephp"):
        answer = ask(f"http://127.0.0.1:{port}{path}", headers=[("host", host)])
        report.check(b"secret" not in answer.body, lambda: f"{host}{path} is nobody's to read: {answer.status} {answer.body}")
    answer = ask(f"http://127.0.0.1:{port}/index.html", headers=[("host", host)])
    report.equal((answer.status, answer.body), (200, b"home\n"), f"{host}: what may be read is")
    # The index is a program's, and nobody answers at its socket.
    report.equal(ask(f"http://127.0.0.1:{port}/", headers=[("host", host)]).status, 503, f"{host}: the index is the program's")
    report.equal(ask(f"http://127.0.0.1:{port}/behind/x", headers=[("host", host)]).body, b"GET /behind/x", f"{host}: a prefix has its backend, and the rest has not")
# Who passes by the keys of mesh.*: nobody who is kept out before is let in after.
(home / "www/closed").mkdir()
(home / "www/closed/k.txt").write_text("a secret\n")
# A public key from RFC 7517, appendix A.1; nobody here has the other half.
KEY = {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
       "use": "sig", "alg": "ES256", "kid": "1"}
(home / "jwks.json").write_text(json.dumps({"keys": [KEY]}))
rules = """mesh.jwt = ( "api" => ( "issuer" => "https://id.example.com", "audience" => ( "shop" ), "jwks-file" => "HOME/jwks.json" ) )
$HTTP["url"] =^ "/closed/" { mesh.sign-in = "jwt:api" }
$HTTP["host"] == "other.example.com" { server.document-root = "HOME/www" }
""".replace("HOME", str(home))
one, two = free_ports(2)
converted("signed", rules, one)
(home / "signed.toml").write_text(converted("signed2", rules, two))
serve(home / "signed.conf", one)
serve(home / "signed.toml", two)
for host in ("any.example.com", "other.example.com"):
    known = [ask(f"http://127.0.0.1:{port}{path}", headers=[("host", host)]).status for port in (one, two) for path in ("/closed/k.txt", "/", "//closed/./k.txt")]
    report.equal(known, [401, 403, 401] * 2, f"{host}: a sign-in is taken along")
# Debian's own files: each becomes our form, and whatever is left says where it stood.
debians = sorted(pathlib.Path("/etc/lighttpd/conf-available").glob("*.conf"))
report.check(len(debians) >= 15, lambda: f"Debian's lighttpd is here: {len(debians)} files")
for file in debians:
    (home / "debian.conf").write_text(f"""server.document-root = "{home}/www"
server.modules = ( "mod_indexfile", "mod_access", "mod_alias", "mod_redirect" )
include "{file}"
""")
    made = subprocess.run([BINARY, "edge", "convert", str(home / "debian.conf")], capture_output=True, text=True)
    (home / "debian.toml").write_text(made.stdout)
    checked = subprocess.run([BINARY, "edge", "check", str(home / "debian.toml")], capture_output=True, text=True)
    report.equal((made.returncode, checked.returncode), (0, 0), f"{file.name}: {made.stderr}{checked.stdout}")
    left = [line for line in made.stdout.splitlines() if "no equal here" in line]
    report.check(all(re.search(r"\.conf:\d+; \w", line) for line in left), lambda: f"{file.name}: what is left says where it stood and why: {left}")
big = [ask(f"http://127.0.0.1:{port}/api/", "POST", [("host", "any.example.com")], b"x" * 20_000).status for port in (before, after)]
report.equal(big, [413, 413], "limits are taken along")
report.end()
