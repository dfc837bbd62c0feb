"""An edge has its certificate from an authority by ACME: Pebble, the test server of Let's Encrypt."""

import http.server
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

from _edge import Edge, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
home = folder()


def authority(tls_port, http_port):
    listen, management, dns, dns_management = free_ports(4)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", f"{home}/key.pem", "-out", f"{home}/root.pem"],
        check=True, stderr=subprocess.DEVNULL,
    )
    config = {"pebble": {
        "listenAddress": f"127.0.0.1:{listen}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": f"{home}/root.pem", "privateKey": f"{home}/key.pem",
        "httpPort": http_port, "tlsPort": tls_port, "ocspResponderURL": "", "externalAccountBindingRequired": False,
    }}
    (home / "pebble.json").write_text(json.dumps(config))
    names = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}",
             "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
    pebble = ["pebble", "-strict", "-dnsserver", f"127.0.0.1:{dns}", "-config", f"{home}/pebble.json"]
    for command in (names, pebble):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={"PEBBLE_VA_NOSLEEP": "1", "PATH": "/usr/bin:/bin"})
        atexit.register(end, process)
    await_port(listen)
    await_port(dns_management)
    return f"https://127.0.0.1:{listen}/dir"


def shown(port, name):
    """The issuer of the certificate that a client is shown, by openssl."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as session:
            der = session.getpeercert(binary_form=True)
    words = ["openssl", "x509", "-inform", "DER", "-noout", "-issuer", "-ext", "subjectAltName"]
    return subprocess.run(words, input=der, capture_output=True, check=True).stdout.decode()


def await_issued(port):
    deadline = time.monotonic() + 120
    while "Pebble" not in (text := shown(port, "a.example")):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return text


for challenge in ("tls-alpn-01", "http-01"):
    tls_port, http_port = free_ports(2)
    directory = authority(tls_port, http_port)
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
    again = Edge(
        http_port,
        f"""
mesh.acme = ( "directory" => "https://127.0.0.1:1/dir", "names" => ( "a.example" ), "challenge" => "{challenge}",
    "store" => "{home}/{challenge}", "ca-file" => "{home}/root.pem" )
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{ ssl.engine = "enable" }}
""",
    )
    report.check("Pebble" in shown(tls_port, "a.example"), f"{challenge}: started anew, it is there at once, and the authority is not")
    end(again.process)

# A certificate that a reload asks for is had without a restart; and the authority's wish for the next one (ARI) is followed. This
# version of Pebble states no such wish, so a gateway before it does.
tls_port, http_port, wish_port = free_ports(3)
directory = authority(tls_port, http_port)
wishes = []


class Wishing(http.server.BaseHTTPRequestHandler):
    """Pebble's directory with a place for wishes, and a wish: the first certificate at once, any other in a year."""

    def do_GET(self):
        if self.path == "/dir":
            with urllib.request.urlopen(directory, context=ssl._create_unverified_context()) as answer:
                body = json.load(answer)
            body["renewalInfo"] = f"https://127.0.0.1:{wish_port}/wish"
        else:
            wishes.append(self.path.removeprefix("/wish/"))
            at = time.time() + (-3600 if self.path.removeprefix("/wish/") == wishes[0] else 365 * 86400)
            moment = lambda seconds: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
            body = {"suggestedWindow": {"start": moment(at), "end": moment(at + 60)}}
        text = json.dumps(body).encode()
        self.send_response(200)
        for name, value in (("content-type", "application/json"), ("retry-after", "21600"), ("content-length", str(len(text)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


gateway = http.server.ThreadingHTTPServer(("127.0.0.1", wish_port), Wishing)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{home}/root.pem", f"{home}/key.pem")
gateway.socket = context.wrap_socket(gateway.socket, server_side=True)
threading.Thread(target=gateway.serve_forever, daemon=True).start()
edge = Edge(http_port, "")
edge.reload(
    f"""
mesh.acme = ( "directory" => "https://127.0.0.1:{wish_port}/dir", "names" => ( "a.example" ), "store" => "{home}/wishes", "ca-file" => "{home}/root.pem" )
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
report.end()
