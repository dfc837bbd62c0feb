"""A new binary takes an edge's place: no request is refused or cut, by HTTP/1, by TLS with HTTP/1 and HTTP/2, and by HTTP/3 –
neither of those that ask all the while nor of those whose answers are under way."""

import asyncio
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import time

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

from _edge import ROOT, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
PATIENCE = 30
SIZE = 3 << 20
home = folder()
(home / "www").mkdir()
(home / "www" / "large").write_bytes(b"x" * SIZE)
(home / "www" / "a.txt").write_text("12345\n")
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=a.example",
     "-keyout", f"{home}/key.pem", "-out", f"{home}/certificate.pem"], check=True, stderr=subprocess.DEVNULL)
plain, tls = free_ports(2)


def start(generation):
    """An edge whose answers say which one it is."""
    file = home / f"{generation}.conf"
    file.write_text(f"""
server.modules = ( "mod_openssl", "mod_setenv" )
server.document-root = "{home}/www"
server.bind = "127.0.0.1"
server.port = {plain}
mimetype.assign = ( ".txt" => "text/plain" )
setenv.add-response-header = ( "X-Generation" => "{generation}" )
server.feature-flags = ( "server.graceful-shutdown-timeout" => 60 )
$HTTP["url"] == "/large" {{ connection.kbytes-per-second = 1024 }}
$SERVER["socket"] == "127.0.0.1:{tls}" {{
    ssl.engine = "enable" ssl.pemfile = "{home}/certificate.pem" ssl.privkey = "{home}/key.pem" mesh.http3 = "enable"
}}
""")
    log = open(home / f"{generation}.log", "wb")
    process = subprocess.Popen([BINARY, "edge", "-D", "-f", str(file), "--control", str(home / "control")], stderr=log)
    atexit.register(end, process)
    return process


class Client(QuicConnectionProtocol):
    """One connection of HTTP/3, whose answers can be looked at while they come."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.fields, self.bodies, self.whole = {}, {}, {}
        self.problem = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.failed(f"the connection ended: {event.error_code:#x} {event.reason_phrase}")
        if isinstance(event, StreamReset):
            self.failed(f"a stream was reset: {event.error_code:#x}")
        for heard in self.http.handle_event(event):
            if isinstance(heard, HeadersReceived):
                self.fields[heard.stream_id] = dict(heard.headers)
            if isinstance(heard, DataReceived):
                self.bodies[heard.stream_id] = self.bodies.get(heard.stream_id, 0) + len(heard.data)
            if heard.stream_ended and not self.whole[heard.stream_id].done():
                self.whole[heard.stream_id].set_result(None)

    def failed(self, why):
        self.problem = self.problem or why
        for future in self.whole.values():
            if not future.done():
                future.set_exception(ConnectionError(why))
                future.exception()

    def begin(self, path):
        stream = self._quic.get_next_available_stream_id()
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", path.encode())]
        self.http.send_headers(stream, head, end_stream=True)
        self.whole[stream] = asyncio.get_running_loop().create_future()
        self.transmit()
        return stream

    async def ask(self, path):
        stream = self.begin(path)
        await asyncio.wait_for(self.whole[stream], PATIENCE)
        return self.fields[stream][b":status"], self.bodies.get(stream, 0), self.fields[stream][b"x-generation"].decode()


def http3(window=None):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.example", verify_mode=ssl.CERT_NONE)
    if window:
        configuration.max_data = configuration.max_stream_data = window
    return connect("127.0.0.1", tls, configuration=configuration, create_protocol=Client, wait_connected=True)


class Arrivals:
    """Requests of one kind, one after the other, until told to stop; each by a connection of its own."""

    def __init__(self, what):
        self.what, self.asked, self.failed, self.generations, self.stop = what, 0, [], set(), False

    def heard(self, generation):
        self.asked += 1
        self.generations.add(generation)

    def judge(self):
        report.check(self.asked >= 3 and not self.failed, lambda: f"{self.what}: {len(self.failed)} of {self.asked} failed: {self.failed[:3]}")
        report.equal(sorted(self.generations), ["1", "2"], f"{self.what}: both were asked")


def by_curl(arrivals, *arguments):
    while not arrivals.stop:
        asked = subprocess.run(["curl", "-sk", "--max-time", str(PATIENCE), "-o", "-", "-w", "%{http_code} %{size_download} %header{x-generation}",
                                *arguments], capture_output=True, text=True)
        status, size, generation = (asked.stdout.split("\n")[-1].split(" ") + ["", "", ""])[:3]
        if (asked.returncode, status, size) == (0, "200", "6"):
            arrivals.heard(generation)
        else:
            arrivals.failed.append((asked.returncode, asked.stdout))


async def by_http3(arrivals):
    while not arrivals.stop:
        try:
            async with http3() as client:
                status, size, generation = await client.ask("/a.txt")
            if (status, size) == (b"200", 6):
                arrivals.heard(generation)
            else:
                arrivals.failed.append((status, size))
        except (ConnectionError, TimeoutError, OSError) as error:
            arrivals.failed.append(repr(error))


def slow_download(port, secure):
    """A download of which nothing more is read until it is asked for."""
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    if secure:
        stream = ssl._create_unverified_context().wrap_socket(stream, server_hostname="a.example")
    stream.sendall(b"GET /large HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    return stream, stream.recv(1000)


def finish(stream, heard):
    while part := stream.recv(65536):
        heard += part
    head, _, body = heard.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], len(body), b"X-Generation: 1" in head


async def talk():
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    first = start("1")
    await asyncio.to_thread(await_port, plain)
    kinds = {"HTTP/1": [f"http://127.0.0.1:{plain}/a.txt"], "TLS and HTTP/1": ["--http1.1", f"https://127.0.0.1:{tls}/a.txt"],
             "TLS and HTTP/2": ["--http2", f"https://127.0.0.1:{tls}/a.txt"]}
    arrivals = [Arrivals(what) for what in kinds]
    # Whoever fails ends, whatever they are at.
    threads = [threading.Thread(target=by_curl, args=(one, *kinds[one.what]), daemon=True) for one in arrivals]
    quick = Arrivals("HTTP/3")
    for thread in threads:
        thread.start()
    asking = asyncio.create_task(by_http3(quick))
    downloads = {"HTTP/1": slow_download(plain, False), "TLS and HTTP/1": slow_download(tls, True)}
    async with http3(window=64 * 1024) as client:
        large = client.begin("/large")
        # The answer has begun, and most of it is still to come.
        await until(lambda: client.bodies.get(large, 0) > 0, "the download by HTTP/3 begins")
        await until(lambda: all(one.asked > 0 for one in [*arrivals, quick]), "all kinds are asked")
        second = start("2")
        await until(lambda: all("2" in one.generations for one in [*arrivals, quick]),
                    lambda: f"the successor serves all kinds: {[(one.what, one.asked, sorted(one.generations), one.failed[-2:]) for one in [*arrivals, quick]]}")
        await asyncio.wait_for(client.whole[large], PATIENCE)
        report.equal((client.bodies[large], client.fields[large][b"x-generation"]), (SIZE, b"1"), "a download by HTTP/3 is whole, from whom it began with")
    for what, (stream, heard) in downloads.items():
        status, size, is_first = await asyncio.to_thread(finish, stream, heard)
        report.equal((status, size, is_first), (b"HTTP/1.1 200 OK", SIZE, True), f"{what}: a download is whole, from whom it began with")
    await until(lambda: first.poll() is not None, "the first leaves")
    report.equal(first.returncode, 0, "and without an error")
    for one in [*arrivals, quick]:
        one.stop = True
    await asking
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for one in [*arrivals, quick]:
        one.judge()
    report.check(second.poll() is None, "the second serves")
    async with http3() as client:
        report.equal((await client.ask("/a.txt"))[1:], (6, "2"), "alone, by HTTP/3 as well")


async def until(found, what):
    deadline = time.monotonic() + PATIENCE
    while not found():
        if time.monotonic() > deadline:
            logs = "".join(pathlib.Path(f"{home}/{one}.log").read_text()[-2000:] for one in "12" if pathlib.Path(f"{home}/{one}.log").exists())
            raise SystemExit(f"in vain: {what() if callable(what) else what}\n{logs}")
        await asyncio.sleep(0.01)


asyncio.run(talk())
report.end()
