"""An edge has its certificate from an authority by ACME: Pebble, the test server of Let's Encrypt."""

import datetime
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request

from _edge import Edge, ask, end, folder, free_ports, until
from _pebble import Gateway, authority, certificate, pebble_of
from _report import Report

report = Report()
home = folder()


def await_issued(port):
    deadline = time.monotonic() + 120
    while "Pebble" not in (text := certificate(port, "a.example")[0]):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return text


for challenge in ("tls-alpn-01", "http-01"):
    tls_port, http_port = free_ports(2)
    directory = authority(home, tls_port, http_port)
    edge = Edge(
        http_port,
        f"""
mesh.acme = ( "directory" => "{directory}", "contact" => "ops@example.com", "names" => ( "a.example" ),
    "challenge" => "{challenge}", "store" => "{home}/{challenge}", "ca-file" => "{home}/root.pem" )
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" }}
""",
    )
    text = await_issued(tls_port)
    report.check("Pebble" in text, lambda: f"{challenge}: an authority's certificate is shown: {text}\n{edge.errors()}")
    report.check("a.example" in text, f"{challenge}: with the name in it")
    end(edge.process)
    end(pebble_of[directory])
    again = Edge(
        http_port,
        f"""
mesh.acme = ( "directory" => "{directory}", "contact" => "ops@example.com", "names" => ( "a.example" ),
    "challenge" => "{challenge}", "store" => "{home}/{challenge}", "ca-file" => "{home}/root.pem" )
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" }}
""",
    )
    report.check("Pebble" in certificate(tls_port, "a.example")[0], f"{challenge}: started anew, it is there at once, and the authority is not")
    end(again.process)

# A certificate that a reload asks for is had without a restart; and the authority's wish for the next one (ARI) is followed. This
# version of Pebble states no such wish, so a gateway before it does.
tls_port, http_port = free_ports(2)
directory = authority(home, tls_port, http_port)
wishes = []


def wishing(method, path):
    """Pebble's directory with a place for wishes, and a wish: the first certificate at once, any other in a year."""
    if path == "/dir":
        places = {"newNonce": "nonce-plz", "newAccount": "sign-me-up", "newOrder": "order-plz", "revokeCert": "revoke-cert",
                  "keyChange": "rollover-account-key", "renewalInfo": "wish"}
        body = {name: f"{gateway.address}/{place}" for name, place in places.items()}
    elif path.startswith("/wish/"):
        wishes.append(path.removeprefix("/wish/"))
        at = time.time() + (-3600 if wishes[-1] == wishes[0] else 365 * 86400)
        moment = lambda seconds: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
        body = {"suggestedWindow": {"start": moment(at), "end": moment(at + 60)}}
    else:
        return None
    return 200, [("content-type", "application/json"), ("retry-after", "21600")], json.dumps(body).encode()


gateway = Gateway(home, directory, wishing)
edge = Edge(http_port, "")
edge.reload(
    f"""
mesh.acme = ( "directory" => "{gateway.directory}", "names" => ( "a.example" ), "store" => "{home}/wishes", "ca-file" => "{home}/root.pem" )
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" }}
""",
    changed=lambda: "in force" in edge.errors(),
)
report.check("Pebble" in await_issued(tls_port), lambda: f"a certificate that a reload asks for is had: {edge.errors()}")
deadline = time.monotonic() + 120
while len(set(wishes)) < 2 and time.monotonic() < deadline:
    time.sleep(0.1)
report.check(len(set(wishes)) == 2, lambda: f"it is renewed when the authority wishes, and the new one is not: {wishes}\n{edge.errors()}")
end(edge.process)

# An authority says no: what it says is told where people look, it is left alone as long as it says, and what is in force stays.
tls_port, http_port, plain = free_ports(3)
refusing = [("/finalize-order/", "badCSR", 403, [])]


def says_no(method, path):
    for place, kind, status, headers in refusing:
        if path.startswith(place):
            body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": "a test says so", "status": status}
            return status, [("content-type", "application/problem+json"), *headers], json.dumps(body).encode()
    return None


gateway = Gateway(home, authority(home, tls_port, http_port), says_no)
control = home / "edge.sock"
configuration = """
server.modules += ( "mod_status", "mod_redirect" )
status.status-url = "/status"
mesh.acme = ( "directory" => "%s", "names" => ( %s ), "store" => "%s/no", "ca-file" => "%s/root.pem", "challenge" => "http-01" )
$SERVER["socket"] == "127.0.0.1:%d" { ssl.engine = "enable" }
mesh.redirect-https = "enable"
mesh.security-headers = "enable"
"""


def wanting(*names):
    return configuration % (gateway.directory, ", ".join(f'"{name}"' for name in names), home, home, tls_port)


def told():
    """What the edge says of its certificates on its control socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(control))
        asking.sendall(b"GET /certificates HTTP/1.1\r\nhost: edge\r\n\r\n")
        answer = b""
        while part := asking.recv(4096):
            answer += part
    return answer.decode()


def metrics():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{tls_port}/status?prometheus", context=context) as answer:
        return dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))


def checked():
    ran = subprocess.run([os.environ["SELVEDGE_BIN"], "edge", "check", str(edge.file)], capture_output=True, text=True)
    return ran.stdout


edge = Edge(http_port, wanting("a.example"), "--control", str(control))
words = "it does not take this key or this request; it says: a test says so"
report.check(until(lambda: f"{words}; tried again at " in told()), lambda: f"the control socket says why there is none: {told()}\n{edge.errors()}")
report.check("not issued yet" in told() and "failed 1 times in a row" in told(), lambda: f"and that there is none: {told()}")
report.check(words in edge.errors(), lambda: f"so does the error log: {edge.errors()}")
report.check(until(lambda: words in checked()), lambda: f"so does check: {checked()}")
report.equal(metrics().get("selvedge_edge_acme_failures"), "1", "so do the metrics")
report.equal(gateway.orders(), 1, "it was ordered once: nobody is asked at once again")
# With http-01 and every plain request sent to https, the authority has got to the last step.
report.equal(ask(f"http://127.0.0.1:{http_port}/", headers=[("host", "a.example")]).headers["location"], "https://a.example/", "others are sent to https")
refusing.clear()
end(edge.process)
# Other names are another order, which failed never before.
edge = Edge(http_port, wanting("b.example"), "--control", str(control))
report.check(until(lambda: "Pebble" in certificate(tls_port, "b.example")[0]), lambda: f"it says yes: {edge.errors()}")
report.check(until(lambda: "in force until" in told() and "failed" not in told()), lambda: f"and that is told: {told()}")
ends = metrics().get(f'selvedge_edge_certificate_end_seconds{{certificate="{home}/no/public.pem"}}')
report.check(ends and float(ends) > time.time() + 86400, lambda: f"the metrics say when it ends: {metrics()}")
before = certificate(tls_port, "b.example")[1]
refusing.append(("/order-plz", "rateLimited", 429, [("retry-after", "5000")]))
edge.reload(wanting("b.example", "c.example"), changed=lambda: "in force" in edge.errors())
report.check(until(lambda: "it has had too many orders" in told()), lambda: f"it says why not: {told()}\n{edge.errors()}\n{gateway.requests[-5:]}")
again = datetime.datetime.fromisoformat((told() + "tried again at 1970-01-01T00:00:00Z").split("tried again at ")[1].split()[0].replace("Z", "+00:00")).timestamp()
report.check(again > time.time() + 4000, lambda: f"it is left alone as long as it says: {told()}")
report.equal(certificate(tls_port, "b.example")[1], before, "what is in force stays")
report.check(set(checked().split()) >= {"b.example", "c.example:"}, lambda: f"check names what is wanted: {checked()}")
end(edge.process)

# An account that is bound to one elsewhere, a key of another kind, several names.
tls_port, http_port = free_ports(2)
secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
(home / "eab.key").write_text(secret + "\n")
directory = authority(home, tls_port, http_port, externalAccountBindingRequired=True, externalAccountMACKeys={"kid-1": secret})
bound = f"""
mesh.acme = ( "directory" => "{directory}", "names" => ( "a.example", "b.example" ), "store" => "{home}/bound", "ca-file" => "{home}/root.pem",
    "key-type" => "rsa2048"%s )
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" }}
"""
edge = Edge(http_port, bound % "")
report.check(until(lambda: "set eab-id and eab-key-file" in edge.errors()), lambda: f"it says what such an authority wants: {edge.errors()}")
edge.reload(bound % f', "eab-id" => "kid-1", "eab-key-file" => "{home}/eab.key"', changed=lambda: "in force" in edge.errors())
# The failure without is the same certificate's: it is tried again in its time.
report.check(until(lambda: "Pebble" in certificate(tls_port, "a.example")[0], 180), lambda: f"with an account elsewhere there is one: {edge.errors()}")
text, der = certificate(tls_port, "a.example")
report.check("a.example" in text and "b.example" in text, lambda: f"with both names: {text}")
kind = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-text"], input=der, capture_output=True).stdout.decode()
report.check("Public-Key: (2048 bit)" in kind, lambda: f"its key is RSA: {kind}")
end(edge.process)
report.end()
