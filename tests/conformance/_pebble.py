"""Pebble, the test server of Let's Encrypt, and what may stand between it and an edge."""

import http.server
import json
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request

from _edge import Threads, atexit, await_port, end, free_ports


# The process of each authority, by its directory.
pebble_of = {}


def authority(home, tls_port, http_port, **more):
    """Its directory; `root.pem` and `key.pem` in `home` are what it shows itself. `more` goes into its configuration."""
    listen, management, dns, dns_management = free_ports(4)
    if not (home / "root.pem").exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", f"{home}/key.pem", "-out", f"{home}/root.pem"],
            check=True, stderr=subprocess.DEVNULL,
        )
    config = {"pebble": {
        "listenAddress": f"127.0.0.1:{listen}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": f"{home}/root.pem", "privateKey": f"{home}/key.pem",
        "httpPort": http_port, "tlsPort": tls_port, "ocspResponderURL": "", "externalAccountBindingRequired": False, **more,
    }}
    (home / f"pebble-{listen}.json").write_text(json.dumps(config))
    names = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}",
             "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
    pebble = ["pebble", "-strict", "-dnsserver", f"127.0.0.1:{dns}", "-config", f"{home}/pebble-{listen}.json"]
    for command in (names, pebble):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={"PEBBLE_VA_NOSLEEP": "1", "PATH": "/usr/bin:/bin"})
        atexit.register(end, process)
    await_port(listen)
    await_port(dns_management)
    directory = f"https://127.0.0.1:{listen}/dir"
    pebble_of[directory] = process
    return directory


class Quiet(Threads):
    def handle_error(self, request, address):
        """Clients go away as they like."""


class Gateway:
    """Stands before an authority. `script`, given a method and a path, says (status, headers, body) in its place, or None."""

    def __init__(self, home, directory, script=lambda method, path: None):
        self.requests = []
        self.script = script
        origin = directory.removesuffix("/dir")
        outer = self
        trusting = ssl._create_unverified_context()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, text = outer.script(self.command, self.path) or self.passed_on(body)
                outer.requests.append((self.command, self.path, status))
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "connection", "transfer-encoding", "date"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            def passed_on(self, body):
                # What was signed names this address: the authority is told the same one.
                headers = {name: value for name, value in self.headers.items() if name.lower() in ("host", "content-type")}
                request = urllib.request.Request(origin + self.path, data=body or None, headers=headers, method=self.command)
                try:
                    with urllib.request.urlopen(request, context=trusting) as answer:
                        return answer.status, answer.headers.items(), answer.read()
                except urllib.error.HTTPError as refused:
                    return refused.code, refused.headers.items(), refused.read()

            do_GET = do_HEAD = do_POST = handle_any

            def log_message(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{home}/root.pem", f"{home}/key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.directory = f"{self.address}/dir"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def orders(self):
        """How many there were. Pebble refuses some requests, to see them repeated."""
        return sum(path == "/order-plz" and status == 201 for _, path, status in self.requests)


def certificate(port, name):
    """What a client is shown that asks for a name: the issuer and the names, and the certificate's bytes."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as session:
            der = session.getpeercert(binary_form=True)
    words = ["openssl", "x509", "-inform", "DER", "-noout", "-issuer", "-ext", "subjectAltName"]
    return subprocess.run(words, input=der, capture_output=True, check=True).stdout.decode(), der
