"""An edge shows its issuer's word with its certificate: OpenSSL answers as the issuer, and asks as a client.

It runs in a network of its own, whose one address stands for the world outside: what a certificate names is not called on this
machine's own addresses.
"""

import calendar
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.request

from _edge import Edge, atexit, end, folder, free_ports, until
from _report import Report

OUTSIDE = "192.0.2.10"

if os.environ.get("SELVEDGE_OWN_NETWORK") != "yes":
    words = ["unshare", "--net", "--map-root-user", sys.executable, *sys.argv]
    if os.geteuid() == 0:
        words.remove("--map-root-user")
    os.execvpe(words[0], words, {**os.environ, "SELVEDGE_OWN_NETWORK": "yes"})
for command in ("link set lo up", f"addr add {OUTSIDE}/32 dev lo"):
    subprocess.run(["ip", *command.split()], check=True)

report = Report()
home = folder()


def openssl(*words, **more):
    ran = subprocess.run(["openssl", *words], capture_output=True, text=True, **more)
    if ran.returncode:
        raise SystemExit(f"openssl {words[0]}: {ran.stderr}")
    return ran.stdout


def issue(name, serial, extensions):
    """A chain in `name.pem`, its key in `name.key`."""
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{home}/{name}.key", "-out", f"{home}/{name}.csr")
    (home / "ext").write_text("\n".join([f"subjectAltName=DNS:{name}", *extensions]))
    leaf = openssl("x509", "-req", "-in", f"{home}/{name}.csr", "-CA", f"{home}/issuer.pem", "-CAkey", f"{home}/issuer.key",
                   "-set_serial", serial, "-days", "2", "-extfile", f"{home}/ext")
    (home / f"{name}.leaf").write_text(leaf)
    (home / f"{name}.pem").write_text(leaf + (home / "issuer.pem").read_text())


def seen(port, name):
    """What a client that asks for the issuer's word is shown."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-status", "-CAfile", f"{home}/issuer.pem"]
    return subprocess.run(words, input="", capture_output=True, text=True, timeout=20).stdout


def awaits(port, name, text, seconds=60):
    deadline = time.monotonic() + seconds
    while text not in (shown := seen(port, name)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return shown


openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=issuer",
        "-keyout", f"{home}/issuer.key", "-out", f"{home}/issuer.pem")
(responder,) = free_ports(1)
must_staple = "1.3.6.1.5.5.7.1.24=DER:30:03:02:01:05"
issue("asks.example", "0x11", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{responder}/", must_staple])
issue("inner.example", "0x12", [f"authorityInfoAccess=OCSP;URI:http://127.0.0.1:{responder}/"])
issue("revoked.example", "0x13", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{responder}/"])
issue("file.example", "0x14", [])
issue("wrong.example", "0x15", [])
lines = [f"{'R' if serial == '13' else 'V'}\t300101000000Z\t{'260101000000Z' if serial == '13' else ''}\t{serial}\tunknown\t/CN=n{serial}"
         for serial in ("11", "12", "13", "14", "15")]
(home / "index").write_text("\n".join(lines) + "\n")
signer = ["-index", f"{home}/index", "-CA", f"{home}/issuer.pem", "-rsigner", f"{home}/issuer.pem", "-rkey", f"{home}/issuer.key"]
openssl("ocsp", "-issuer", f"{home}/issuer.pem", "-cert", f"{home}/file.example.leaf", "-no_nonce", "-reqout", f"{home}/request")
openssl("ocsp", *signer, "-reqin", f"{home}/request", "-ndays", "1", "-respout", f"{home}/file.ocsp")

tls_port, plain_port = free_ports(2)


def host(name, more=""):
    return f'$HTTP["host"] == "{name}" {{ ssl.pemfile = "{home}/{name}.pem" ssl.privkey = "{home}/{name}.key" {more} }}\n'


def configuration(names, more=""):
    first = f'ssl.pemfile = "{home}/file.example.pem" ssl.privkey = "{home}/file.example.key"'
    return f'$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" {first} {more} }}\n' + "".join(names)


everybody = [
    host("asks.example"), host("inner.example"), host("revoked.example"),
    host("file.example", f'ssl.stapling-file = "{home}/file.ocsp"'),
    host("wrong.example", f'ssl.stapling-file = "{home}/file.ocsp"'),
]
edge = Edge(plain_port, configuration(everybody))
none = "OCSP response: no response sent"

# The responder is away: the certificate is shown without its word, and the edge serves.
report.check(none in seen(tls_port, "asks.example"), "nobody has answered yet, and the certificate is shown all the same")
end(edge.process)
process = subprocess.Popen(["openssl", "ocsp", "-port", str(responder), *signer, "-ndays", "1"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
atexit.register(end, process)
# Not by a connection: it waits for ever for the request of one that says nothing.
next(line for line in process.stderr if "waiting for OCSP client" in line)
edge = Edge(plain_port, configuration(everybody))
seen(tls_port, "asks.example"), seen(tls_port, "inner.example"), seen(tls_port, "revoked.example")
shown = awaits(tls_port, "asks.example", "Cert Status: good")
report.check("OCSP Response Status: successful" in shown and "Cert Status: good" in shown,
             lambda: f"a certificate that names its issuer's responder is shown with its word: {shown}\n{edge.errors()}")
report.check("Verify return code: 0" in shown, "and believed")
report.check("Cert Status: good" in seen(tls_port, "file.example"), "the word in ssl.stapling-file is shown")
report.check(none in seen(tls_port, "wrong.example"), "a word about another certificate is not")
report.check(none in seen(tls_port, "revoked.example"), "nor one that says it was taken back")
report.check(none in seen(tls_port, "inner.example"), "an address of this machine is not called on a certificate's word")
told = ("it says nothing of the certificate", "the certificate has been taken back", "it is the machine itself")
deadline = time.monotonic() + 30
while not all(words in edge.errors() for words in told) and time.monotonic() < deadline:
    time.sleep(0.2)
log = edge.errors()
report.check(none in seen(tls_port, "revoked.example"), "asked or not")
for words in told:
    report.check(words in log, lambda: f"the error log says: {words}: {log}")

# A new configuration keeps what was said, and a file that appears is taken up.
end(process)
edge.reload(configuration(everybody) + f'server.tag = "anew"\n', changed=lambda: "in force" in edge.errors())
report.check("Cert Status: good" in seen(tls_port, "asks.example"), "a reload forgets nothing, though the responder is away")


def live():
    """By name, whether `edge check --live` was shown the issuer's word; None is whoever names no server."""
    words = [os.environ["SELVEDGE_BIN"], "edge", "check", "--live", "-o", "json", str(edge.file)]
    looks = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)["live"]
    return {one["name"]: one.get("stapled") for look in looks for one in look["handshakes"]}


report.equal(live().get(None), False, "check --live says that no word came")
edge.reload(configuration(everybody, f'ssl.stapling-file = "{home}/file.ocsp"'), changed=lambda: edge.errors().count("in force") > 1)
report.equal(live().get(None), True, "and that one came")
report.check(any(name and stapled for name, stapled in live().items()), lambda: f"by name as well: {live()}")
pathlib.Path(f"{home}/file.ocsp").write_bytes(b"nothing")
report.check(none in awaits(tls_port, "file.example", none), "a file that is spoiled is no longer shown")
end(edge.process)

# === words have an end, and responders lie, are slow, and go away ===
quick, lying, slow, gone = free_ports(4)
issue("quick.example", "0x21", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{quick}/", must_staple])
issue("lied.example", "0x22", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{lying}/serial", must_staple])
issue("forged.example", "0x23", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{lying}/signature"])
issue("slow.example", "0x24", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{slow}/"])
issue("gone.example", "0x25", [f"authorityInfoAccess=OCSP;URI:http://{OUTSIDE}:{gone}/", must_staple])
issue("short.example", "0x26", [must_staple])
issue("nobody.example", "0x27", [must_staple])
openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=issuer",
        "-keyout", f"{home}/forger.key", "-out", f"{home}/forger.pem")
serials = {"quick": "21", "lied": "22", "forged": "23", "slow": "24", "gone": "25", "short": "26", "nobody": "27"}


def write_index(revoked=()):
    lines = [f"{'R' if name in revoked else 'V'}\t300101000000Z\t{'260101000000Z' if name in revoked else ''}\t{serial}\tunknown\t/CN=n{serial}"
             for name, serial in serials.items()]
    (home / "index").write_text("\n".join(lines) + "\n")


def word(name, key="issuer", minutes=1440):
    """What the issuer says of a certificate, or whoever has the key."""
    openssl("ocsp", "-issuer", f"{home}/issuer.pem", "-cert", f"{home}/{name}.example.leaf", "-no_nonce", "-reqout", f"{home}/{name}.request")
    openssl("ocsp", "-index", f"{home}/index", "-CA", f"{home}/issuer.pem", "-rsigner", f"{home}/{key}.pem", "-rkey", f"{home}/{key}.key",
            "-reqin", f"{home}/{name}.request", "-nmin", str(minutes), "-respout", f"{home}/{name}.answer")
    return (home / f"{name}.answer").read_bytes()


write_index()
of_another, forged = word("quick"), word("forged", "forger")
answering = {"/serial": of_another, "/signature": forged}


class Responder(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if self.server.server_address[1] == slow:
            slowly.wait(120)
            return
        self.send_response(200)
        self.send_header("content-type", "application/ocsp-response")
        self.end_headers()
        self.wfile.write(answering[self.path])

    def log_message(self, *_):
        pass


slowly = threading.Event()
for port in (lying, slow):
    server = http.server.ThreadingHTTPServer((OUTSIDE, port), Responder)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def responder(minutes):
    words = ["openssl", "ocsp", "-port", str(quick), *signer, "-nmin", str(minutes)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    atexit.register(end, process)
    next(line for line in process.stderr if "waiting for OCSP client" in line)
    return process


def moment(shown, name):
    found = re.search(rf"{name}: (.*) GMT", shown)
    return calendar.timegm(time.strptime(found[1], "%b %d %H:%M:%S %Y")) if found else None


def seen_in_time(name):
    """What is shown, which has never ended."""
    shown = seen(tls_port, name)
    ends = moment(shown, "Next Update")
    report.check(ends is None or ends > time.time(), lambda: f"{name}: a word that has ended is shown: {shown}")
    return shown


def metric(name):
    with urllib.request.urlopen(f"http://127.0.0.1:{plain_port}/status?prometheus") as answer:
        lines = answer.read().decode().splitlines()
    return next(line.split()[-1] for line in lines if line.startswith(f"{name} "))


def said(*words):
    return any(all(one in line for one in words) for line in edge.errors().splitlines())


process = responder(2)
(home / "short.ocsp").write_bytes(word("short", minutes=1))
names = [f"{name}.example" for name in serials]
more = {"short.example": f'ssl.stapling-file = "{home}/short.ocsp"'}
edge = Edge(plain_port, f"""
server.modules += ( "mod_status" )
status.status-url = "/status"
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" ssl.pemfile = "{home}/nobody.example.pem" ssl.privkey = "{home}/nobody.example.key" }}
""" + "".join(host(name, more.get(name, "")) for name in names))
good = "Cert Status: good"
report.check(good in seen_in_time("short.example"), lambda: f"a word in a file is shown while it is good: {edge.errors()}")
for name in names:
    seen(tls_port, name)
first = awaits(tls_port, "quick.example", good)
report.check(good in first, lambda: f"one responder that is slow, and others that lie, keep no other from being asked: {edge.errors()}")
since = moment(first, "This Update")
for name, words in (("lied", "it says nothing of the certificate"), ("forged", "neither the issuer signed it"), ("slow", ""), ("gone", "")):
    path = {"lied": f":{lying}/serial", "forged": f":{lying}/signature", "slow": f":{slow}/", "gone": f":{gone}/"}[name]
    report.check(until(lambda: said("nobody says that a certificate is in force", path, words), 30), lambda: f"{name}: the log says which responder, and why: {edge.errors()}")
    report.check(none in seen(tls_port, f"{name}.example"), f"{name}: no word is shown")
report.check("Verify return code: 0" in seen(tls_port, "gone.example"), "a certificate that demands a word and has none is shown without")
report.check(said("must-staple", f"{home}/nobody.example.pem", "names nobody to ask"), lambda: f"one that names nobody to ask is told: {edge.errors()}")
report.equal(metric("selvedge_edge_certificates_unstapled"), "3", "and those are counted: lied, gone, nobody")

# At half its life it is asked for again, and the one in the file ends meanwhile.
renewed, dropped = None, None
deadline = time.monotonic() + 120
while time.monotonic() < deadline and not (renewed and dropped):
    dropped = dropped or none in seen_in_time("short.example")
    shown = seen_in_time("quick.example")
    report.check(good in shown, "all the time there is a word")
    renewed = renewed or (moment(shown, "This Update") or since) > since
    time.sleep(0.5)
report.check(renewed, lambda: f"half way to its end a word is asked for anew: {edge.errors()}")
report.check(dropped, lambda: f"a word in a file is dropped at its end: {edge.errors()}")
report.check(said("the issuer's word cannot be shown", f"{home}/short.ocsp"), lambda: f"and the log says so: {edge.errors()}")
(home / "short.ocsp").write_bytes(word("short"))
report.check(good in awaits(tls_port, "short.example", good, 30), "the next one in the file is taken up")

# The responder says that it was taken back: what it said before is true no more.
end(process)
write_index(revoked=("quick",))
process = responder(2)
deadline = time.monotonic() + 120
while good in (shown := seen_in_time("quick.example")) and time.monotonic() < deadline:
    time.sleep(0.5)
report.check(none in shown, "a certificate that was taken back has no word any more")
report.check(said("the certificate has been taken back", f":{quick}/"), lambda: f"and the log says why: {edge.errors()}")
slowly.set()
end(edge.process)
end(process)
report.end()
