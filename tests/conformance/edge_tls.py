"""What an edge offers a stranger who shakes its hand: testssl's findings, and what they leave out."""

import json
import os
import socket
import ssl
import subprocess
import urllib.request

from _edge import Edge, end, folder, free_ports, until
from _report import Report

report = Report()
home = folder()


def openssl(*words, **more):
    return subprocess.run(["openssl", *words], capture_output=True, text=True, errors="replace", timeout=60, **more)


def issue(name):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{home}/{name}.key", "-out", f"{home}/{name}.csr")
    (home / "ext").write_text(f"subjectAltName=DNS:{name}\n")
    leaf = openssl("x509", "-req", "-in", f"{home}/{name}.csr", "-CA", f"{home}/ca.pem", "-CAkey", f"{home}/ca.key", "-days", "30",
                   "-extfile", f"{home}/ext").stdout
    (home / f"{name}.pem").write_text(leaf)


openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=ca",
        "-keyout", f"{home}/ca.key", "-out", f"{home}/ca.pem")
for one in ("a.example", "closed.example", "client"):
    issue(one)
plain, tls, sent_on = free_ports(3)
log = home / "access"
edge = Edge(plain, f"""
server.modules += ( "mod_status", "mod_accesslog" )
status.status-url = "/status"
accesslog.filename = "{log}"
accesslog.format = "%{{tls-version}}n %{{tls-cipher}}n %{{tls-group}}n %{{tls-name}}n %{{tls-alpn}}n %U"
mesh.security-headers = "enable"
$HTTP["url"] =^ "/hsts/" {{ mesh.security-headers = "disable" mesh.hsts = ( "max-age" => "730d", "include-subdomains" => "enable", "preload" => "enable" ) }}
$HTTP["url"] =^ "/both/" {{ mesh.hsts = ( "max-age" => "0" ) }}
$HTTP["url"] =^ "/own/" {{ setenv.set-response-header = ( "Strict-Transport-Security" => "max-age=5" ) }}
$SERVER["socket"] == "127.0.0.1:{sent_on}" {{ mesh.redirect-https = "enable" }}
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" ssl.pemfile = "{home}/a.example.pem" ssl.privkey = "{home}/a.example.key"
    ssl.openssl.ssl-conf-cmd = ( "MinProtocol" => "TLSv1.2" ) }}
$HTTP["host"] == "closed.example" {{
    ssl.pemfile = "{home}/closed.example.pem" ssl.privkey = "{home}/closed.example.key"
    ssl.verifyclient.activate = "enable" ssl.verifyclient.enforce = "enable" ssl.verifyclient.ca-file = "{home}/ca.pem"
}}
""")

# === testssl ===
found = home / "found.json"
# Versions, forward secrecy, renegotiation. The weaknesses of older versions that it also looks for take it a minute more, one connection
# after the other.
words = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--jsonfile", str(found), "--openssl", "/usr/bin/openssl",
         "-p", "-f", "-R", f"127.0.0.1:{tls}"]
ran = subprocess.run(words, capture_output=True, text=True, timeout=300)
findings = {one["id"]: one for one in json.loads(found.read_text())} if found.exists() else {}
if os.environ.get("SHOW_FINDINGS"):
    for one in findings.values():
        print(one["id"], one["severity"], one["finding"])
report.check(findings, lambda: f"testssl has findings: {ran.stdout}{ran.stderr}")
for version in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
    report.check("not offered" in findings.get(version, {}).get("finding", ""), lambda: f"{version} is not offered: {findings.get(version)}")
for version in ("TLS1_2", "TLS1_3"):
    said = findings.get(version, {}).get("finding", "")
    report.check(said.startswith("offered"), lambda: f"{version} is offered: {said}")
report.check("offered" == findings.get("PFS", {}).get("finding"), lambda: f"forward secrecy: {findings.get('PFS')}")
report.check(findings.get("secure_client_renego", {}).get("finding", "").startswith("not vulnerable"), "no client has another handshake on a connection")
bad = [one for one in findings.values() if one["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL")]
report.check(not bad, lambda: f"it finds nothing weak: {bad}")

# === what it leaves out ===


def negotiated(*words):
    return openssl("s_client", "-connect", f"127.0.0.1:{tls}", "-servername", "a.example", "-CAfile", f"{home}/ca.pem", *words, input="").stdout


for cipher in ("AES128-SHA", "AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"):
    report.check("Cipher is (NONE)" in negotiated("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"), f"{cipher}, without forward secrecy or without authenticated encryption, is not spoken")
report.check("ECDHE-ECDSA-AES" in negotiated("-tls1_2"), "what TLS 1.2 has of both is")
report.check("ALPN protocol: h2" in negotiated("-alpn", "h2,http/1.1"), "HTTP/2 is agreed on")
report.check("ALPN protocol: http/1.1" in negotiated("-alpn", "http/1.1"), "HTTP/1.1 where a client wants that")

# A session of one host opens no other that asks for a client's certificate (CVE-2025-23419).
for version in ("-tls1_2", "-tls1_3"):
    session = home / f"session{version}"
    request = "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n"
    openssl("s_client", "-connect", f"127.0.0.1:{tls}", "-servername", "a.example", version, "-sess_out", str(session), "-ign_eof", input=request)
    report.check(session.exists(), f"{version}: there is a session to come back with")
    again = openssl("s_client", "-connect", f"127.0.0.1:{tls}", "-servername", "a.example", version, "-sess_in", str(session), "-ign_eof", input=request)
    report.check("Reused, " in again.stdout, lambda: f"{version}: it is taken up where it was made: {again.stdout[-300:]}")
    request = request.replace("a.example", "closed.example")
    other = openssl("s_client", "-connect", f"127.0.0.1:{tls}", "-servername", "closed.example", version, "-sess_in", str(session), "-ign_eof", input=request)
    report.check("Reused, " not in other.stdout and "HTTP/1.1 200" not in other.stdout and "HTTP/1.1 404" not in other.stdout,
                 lambda: f"{version}: and opens no host that asks for a certificate: {other.stdout[-300:]}")
context = ssl.create_default_context(cafile=f"{home}/ca.pem")
context.load_cert_chain(f"{home}/client.pem", f"{home}/client.key")
with socket.create_connection(("127.0.0.1", tls)) as raw, context.wrap_socket(raw, server_hostname="closed.example") as session:
    session.sendall(b"GET /open HTTP/1.1\r\nhost: closed.example\r\nconnection: close\r\n\r\n")
    answer = session.recv(4096)
report.check(answer.startswith(b"HTTP/1.1 404"), lambda: f"with a certificate it is open: {answer}")

# The group of quantum computers' days, which this machine's OpenSSL does not know: our own client says what it negotiated.
live = subprocess.run([os.environ["SELVEDGE_BIN"], "edge", "check", "--live", str(edge.file)], capture_output=True, text=True)
report.check("TLS 1.3" in live.stdout and "X25519MLKEM768" in live.stdout, lambda: f"X25519MLKEM768 is offered: {live.stdout}{live.stderr}")

# === what is told of it ===
context = ssl.create_default_context(cafile=f"{home}/ca.pem")
with socket.create_connection(("127.0.0.1", tls)) as raw, context.wrap_socket(raw, server_hostname="a.example") as session:
    version, cipher = session.version(), session.cipher()[0]
    session.sendall(b"GET /told HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
    answer = b""
    while part := session.recv(4096):
        answer += part
report.check(b"strict-transport-security: max-age=31536000; includesubdomains" in answer.lower(), lambda: f"HSTS: {answer}")


def headers(path, tls_to=None):
    """What is answered: over TLS, or in plain HTTP, where nobody may be told (RFC 6797 §7.2)."""
    raw = socket.create_connection(("127.0.0.1", tls_to or plain), 10)
    if tls_to:
        raw = ssl.create_default_context(cafile=f"{home}/ca.pem").wrap_socket(raw, server_hostname="a.example")
    with raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while part := raw.recv(4096):
            answer += part
    lines = answer.split(b"\r\n\r\n")[0].decode().lower().split("\r\n")[1:]
    return {name: value for name, value in (line.split(": ", 1) for line in lines)}


(edge.home / "www/hsts").mkdir()
(edge.home / "www/hsts/there.txt").write_text("there\n")
for path, wanted in (("/hsts/missing", "max-age=63072000; includesubdomains; preload"), ("/hsts/there.txt", "max-age=63072000; includesubdomains; preload"),
                     ("/both/x", "max-age=0"), ("/own/x", "max-age=5"), ("/x", "max-age=31536000; includesubdomains")):
    # Twice: what was answered once may be ready for the next who asks.
    for _ in range(2):
        report.equal(headers(path, tls).get("strict-transport-security"), wanted, f"{path}: HSTS over TLS")
        if path != "/own/x":
            report.equal(headers(path).get("strict-transport-security"), None, f"{path}: none in plain HTTP")
report.check("x-frame-options" not in headers("/hsts/there.txt", tls) and "x-frame-options" in headers("/both/x", tls), "its companions go with mesh.security-headers")


def sent(method, path, host):
    """Where a plain request is sent: the status, and where."""
    with socket.create_connection(("127.0.0.1", sent_on), 10) as raw:
        raw.sendall(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while part := raw.recv(4096):
            answer += part
    head = answer.split(b"\r\n\r\n")[0].decode()
    places = [line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("location: ")]
    return int(head[9:12]), *places


# 308 for every method: what was posted is posted again (RFC 9110 §15.4.9).
for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
    report.equal(sent(method, "/a%20b?c=d", f"a.example:{sent_on}"), (308, "https://a.example/a%20b?c=d"), f"{method} is sent to https at its own port, with path and query")
report.equal(sent("GET", "//other.example/", "a.example"), (308, "https://a.example/other.example/"), "a path that looks like a host is a path")
for host in ("a.example/other.example", "user@other.example", "a.example\\other", "a example", "a.example:80:90", "<a>"):
    report.equal(sent("GET", "/", host), (400,), f"what is no host sends nobody anywhere: {host}")
line = until(lambda: next((line for line in log.read_text().splitlines() if line.endswith(" /told")), None))
report.equal(line, f"{version} {cipher} X25519 a.example - /told", "a log says what was agreed on")
with socket.create_connection(("127.0.0.1", tls)) as raw:
    raw.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    raw.recv(100)
try:
    with socket.create_connection(("127.0.0.1", tls)) as raw, ssl.create_default_context().wrap_socket(raw, server_hostname="a.example"):
        pass
except ssl.SSLCertVerificationError:
    pass


def metrics():
    with urllib.request.urlopen(f"http://127.0.0.1:{plain}/status?prometheus") as answer:
        return dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))


for reason in ("not_tls", "incompatible", "client_certificate", "alert"):
    name = f'selvedge_edge_handshakes_failed_by_reason_total{{reason="{reason}"}}'
    report.check(until(lambda: int(metrics().get(name, 0)) > 0, 10), lambda: f"handshakes that failed are counted by reason: {reason}: {metrics()}")
agreed = f'selvedge_edge_handshakes_agreed_total{{version="{version}",cipher="{cipher}",group="X25519"}}'
report.check(int(metrics().get(agreed, 0)) > 0, lambda: f"and the others by what was agreed on: {metrics()}")
end(edge.process)
report.end()
