"""An edge under test, a backend behind it, and a browser in front, until the process ends."""

import atexit
import http.client
import http.server
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

from _ports import free_ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS = 60


def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-edge-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_port(port):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"nobody listens on port {port}")
            time.sleep(0.02)


def until(found, seconds=60):
    """What `found` says as soon as it says something, or what it said last."""
    deadline = time.monotonic() + seconds
    while not (answer := found()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def let_in(port, request=b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", wanted=b"HTTP/1.1 200"):
    """A connection that has its answer, and so is counted, and the answer's first bytes.

    Where connections are limited, those that left may be counted for a while longer: who is turned away for them comes again.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        connection = socket.create_connection(("127.0.0.1", port), READY_SECONDS)
        try:
            connection.sendall(request)
            heard = connection.recv(65536)
        except ConnectionError:
            heard = b""
        if heard.startswith(wanted) or time.monotonic() > deadline:
            return connection, heard
        connection.close()
        time.sleep(0.02)


def turned_away(port, request=b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
    """What a connection hears that is one too many: nothing, when it is turned away."""
    with socket.create_connection(("127.0.0.1", port), READY_SECONDS) as connection:
        try:
            connection.sendall(request)
            return connection.recv(65536)
        except ConnectionError:
            return b""


def within(took, least, most, attempts=5):
    """Whether what `took` tells, in seconds, is never under `least` and at least once under `most`.

    A busy machine makes everything late, and nothing early: what is late once may be in time at the next attempt.
    """
    for _ in range(attempts):
        seconds = took()
        if seconds < least:
            return False
        if seconds < most:
            return True
    return False


class Edge:
    """`selvedge edge` with one configuration, which can be replaced."""

    def __init__(self, port, configuration, *words):
        binary = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
        self.port = port
        self.home = folder()
        (self.home / "www").mkdir()
        self.file = self.home / "lighttpd.conf"
        self.write(configuration)
        self.log = open(self.home / "errors", "w+b")
        self.process = subprocess.Popen([binary, "edge", "-D", "-f", str(self.file), *words], stderr=self.log)
        atexit.register(end, self.process)
        await_port(port)

    def write(self, configuration):
        head = 'server.modules = ( "mod_proxy", "mod_openssl", "mod_setenv" )\n'
        head += f'server.document-root = "{self.home}/www"\nserver.bind = "127.0.0.1"\nserver.port = {self.port}\n'
        self.file.write_text(head + configuration)

    def reload(self, configuration, changed):
        """Puts another configuration in force; `changed` says whether it is."""
        self.write(configuration)
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + READY_SECONDS
        while not changed():
            if time.monotonic() > deadline:
                raise SystemExit("the configuration was not put in force")
            time.sleep(0.02)

    def errors(self):
        return pathlib.Path(self.log.name).read_text()


class Threads(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Many may call at once: with the usual five the kernel drops connections that are to be taken, and calls hang for seconds.
    request_queue_size = 512


class Backend:
    """An HTTP server whose answers a function gives: (status, headers, body) for (method, path, headers)."""

    def __init__(self, answer):
        self.requests, self.bodies = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("content-length") or 0)
                outer.bodies.append(self.rfile.read(length))
                outer.requests.append((self.command, self.path, self.headers))
                status, headers, body = answer(self.command, self.path, self.headers)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                try:
                    if self.command != "HEAD" and status != 304:
                        self.wfile.write(body)
                except BrokenPipeError:
                    # Who asked has not waited.
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        self.server = Threads(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def cookies(self):
        return self.headers.get_all("set-cookie") or []


def ask(url, method="GET", headers=(), body=None):
    """One request by a connection of its own; nothing is followed. `headers` are pairs, repeated as they stand."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        target = parts.path or "/"
        if url.split("://", 1)[1].split("/", 1)[1:]:
            target = "/" + url.split("://", 1)[1].split("/", 1)[1].split("#")[0]
        own_host = any(name.lower() == "host" for name, _ in headers)
        connection.putrequest(method, target, skip_host=own_host)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Browser:
    """Keeps cookies by origin, and follows a redirect when it is told to."""

    def __init__(self):
        self.jars = {}

    def jar(self, url):
        parts = urllib.parse.urlsplit(url)
        return self.jars.setdefault(parts.netloc, {})

    def ask(self, url, method="GET", headers=(), body=None):
        jar = self.jar(url)
        headers = list(headers)
        if jar:
            headers.append(("cookie", "; ".join(f"{name}={value}" for name, value in jar.items())))
        answer = ask(url, method, headers, body)
        for line in answer.cookies():
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            lowered = [attribute.lower() for attribute in attributes]
            expired = any(a == "max-age=0" or a.startswith("expires=thu, 01 jan 1970") for a in lowered)
            if expired or not value:
                jar.pop(name, None)
            else:
                jar[name] = value
        answer.url = url
        return answer

    def follow(self, answer):
        return self.ask(urllib.parse.urljoin(answer.url, answer.headers["location"]))
