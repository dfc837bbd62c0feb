"""An edge shows its issuer's word with its certificate: OpenSSL answers as the issuer, and asks as a client.

It runs in a network of its own, whose one address stands for the world outside: what a certificate names is not called on this
machine's own addresses.
"""

import os
import pathlib
import subprocess
import sys
import time

from _edge import Edge, atexit, end, folder, free_ports
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
    """What `edge check --live` says, to whom the first certificate is shown, as it names no server."""
    words = [os.environ["SELVEDGE_BIN"], "edge", "check", "--live", str(edge.file)]
    return subprocess.run(words, capture_output=True, text=True).stdout


report.check("without its issuer's word (OCSP)" in live(), lambda: f"check --live says that no word came: {live()}")
edge.reload(configuration(everybody, f'ssl.stapling-file = "{home}/file.ocsp"'), changed=lambda: edge.errors().count("in force") > 1)
report.check("with its issuer's word (OCSP)" in live(), lambda: f"and that one came: {live()}")
pathlib.Path(f"{home}/file.ocsp").write_bytes(b"nothing")
report.check(none in awaits(tls_port, "file.example", none), "a file that is spoiled is no longer shown")
report.end()
