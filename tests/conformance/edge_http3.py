"""An edge speaks HTTP/3 where it is switched on, as aioquic sees it."""

import asyncio
import collections
import pathlib
import socket
import ssl
import subprocess
import time
import urllib.request

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamReset

from _edge import Backend, Edge, end, folder, free_ports
from _report import Report

report = Report()
home = folder()
for name in ("a.example", "b.example"):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{home}/{name}.key", "-out", f"{home}/{name}.pem"],
        check=True, stderr=subprocess.DEVNULL,
    )


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = collections.defaultdict(lambda: [None, {}, b""])
        self.waiting = {}
        self.ended = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.ended = event
            for future in self.waiting.values():
                future.done() or future.set_exception(ConnectionError(event.reason_phrase))
                future.done() and future.exception()
        if isinstance(event, StreamReset) and event.stream_id in self.waiting:
            future = self.waiting[event.stream_id]
            future.done() or future.set_exception(ConnectionError(f"reset {event.error_code:#x}"))
            future.exception()
        for heard in self.http.handle_event(event):
            answer = self.answers[heard.stream_id]
            if isinstance(heard, HeadersReceived) and answer[0] is None:
                fields = {name.decode(): value.decode() for name, value in heard.headers}
                answer[0], answer[1] = int(fields.pop(":status")), fields
            if isinstance(heard, DataReceived):
                answer[2] += heard.data
            if heard.stream_ended and heard.stream_id in self.waiting:
                future = self.waiting[heard.stream_id]
                future.done() or future.set_result(tuple(answer))

    def send(self, path, method="GET", body=None, host="a.example", fields=()):
        if self.ended:
            raise ConnectionError(self.ended.reason_phrase)
        stream = self._quic.get_next_available_stream_id()
        head = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", host.encode()), (b":path", path.encode())]
        if body is not None:
            head.append((b"content-length", str(len(body)).encode()))
        self.http.send_headers(stream, head + list(fields), end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=True)
        self.waiting[stream] = asyncio.get_running_loop().create_future()
        self.transmit()
        return stream

    def send_as_it_is(self, head, body):
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, head)
        self.http.send_data(stream, body, end_stream=True)
        self.waiting[stream] = asyncio.get_running_loop().create_future()
        self.transmit()
        return stream

    async def ask(self, *args, **kwargs):
        return await asyncio.wait_for(self.waiting[self.send(*args, **kwargs)], 60)

    def certificate(self):
        return self._quic.tls._peer_certificate.subject.rfc4514_string()


def configured(name):
    return QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, verify_mode=ssl.CERT_NONE)


def to(port, name="a.example"):
    return connect("127.0.0.1", port, configuration=configured(name), create_protocol=Client, wait_connected=True)


echoed = []


def echo(method, path, headers):
    echoed.append(headers)
    kept = [("cache-control", "max-age=600")] if "/kept/" in path else []
    return 200, [("x-path", path), *kept], b"x" * int(path.rpartition("/")[2])


backend = Backend(echo)
plain, tls, off, guarded = free_ports(4)
edge = Edge(plain, f"""
server.modules += ( "mod_accesslog" )
accesslog.filename = "{home}/access"
accesslog.format = "%h %V %u %t \\"%r\\" %>s %b %I"
$SERVER["socket"] == "127.0.0.1:{tls}" {{
    ssl.engine = "enable" ssl.pemfile = "{home}/a.example.pem" ssl.privkey = "{home}/a.example.key" mesh.http3 = "enable"
}}
$SERVER["socket"] == "127.0.0.1:{off}" {{ ssl.engine = "enable" ssl.pemfile = "{home}/a.example.pem" ssl.privkey = "{home}/a.example.key" }}
$SERVER["socket"] == "127.0.0.1:{guarded}" {{
    ssl.engine = "enable" ssl.pemfile = "{home}/a.example.pem" ssl.privkey = "{home}/a.example.key" mesh.http3 = "enable"
    ssl.verifyclient.activate = "enable" ssl.verifyclient.enforce = "enable" ssl.verifyclient.ca-file = "{home}/b.example.pem"
}}
$HTTP["host"] == "b.example" {{ ssl.pemfile = "{home}/b.example.pem" ssl.privkey = "{home}/b.example.key" }}
$HTTP["url"] =^ "/back/kept/" {{ mesh.cache = "enable" }}
$HTTP["url"] =^ "/back/" {{ proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {backend.port} )) ) }}
""")
(edge.home / "www" / "page.txt").write_text("a page\n" * 1000)


def smuggled():
    """Requests with one thing changed: what it is, the head, whether it is refused."""
    plain = {b":method": b"POST", b":scheme": b"https", b":authority": b"a.example", b":path": b"/back/1"}

    def row(what, name, value, refused=True):
        return what, list({**plain, name: value}.items()), refused

    for line in (b"a\r\nx-smuggled: 1", b"a\nx-smuggled: 1", b"a\rx-smuggled: 1", b"a\0smuggled", b"x\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"):
        yield row(f"a value with {line[1:3]}", b"x", line)
    for name in (b"x\r\nx-smuggled", b"x: smuggled", b"transfer-encoding ", b"X-Upper", b"x\0"):
        yield row(f"the name {name}", name, b"1")
    for name, value in ((b"transfer-encoding", b"chunked"), (b"connection", b"x-smuggled"), (b"keep-alive", b"1"), (b"upgrade", b"h2c"), (b"te", b"chunked"),
                        (b"content-length", b"1"), (b"content-length", b"30"), (b"content-length", b"+3"), (b"content-length", b"3, 3"), (b"host", b"smuggled")):
        yield row(f"{name.decode()}: {value.decode()}", name, value)
    for name, value in ((b":path", b"/ HTTP/1.1\r\nx-smuggled: 1"), (b":path", b"/a smuggled"), (b":path", b"http://smuggled/"), (b":path", b"smuggled"), (b":path", b""),
                        (b":authority", b"a.example\r\nx-smuggled: 1"), (b":authority", b"a.example/smuggled"), (b":authority", b"smuggled@a.example"), (b":authority", b""),
                        (b":method", b"GET /smuggled HTTP/1.1"), (b":method", b"SMUGGLED"), (b":scheme", b"https\r\nx-smuggled: 1")):
        yield row(f"{name.decode()} {value}", name, value)
    yield "two lengths", [*plain.items(), (b"content-length", b"3"), (b"content-length", b"4")], True
    for name, value in ((b"transfer_encoding", b"smuggled"), (b"content_length", b"0smuggled"), (b"proxy", b"smuggled"), (b"x_forwarded_for", b"smuggled"), (b"trailer", b"smuggled")):
        yield row(f"{name.decode()}", name, value, refused=False)


async def served():
    """Whether somebody else is; on a connection of its own, since one that waited may have been idle for too long."""
    async with to(tls) as other:
        return (await other.ask("/page.txt"))[0] == 200


async def talk():
    # Requests of a connection that was cut are nobody's to wait for.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with to(tls) as client:
        status, fields, body = await client.ask("/page.txt")
        report.check((status, body) == (200, b"a page\n" * 1000), lambda: f"a file comes whole: {status} {len(body)}")
        report.check("alt-svc" not in fields, "who speaks it already is offered nothing")
        report.check((await client.ask("/none"))[0] == 404, "what is not there is not there")
        status, fields, body = await client.ask("/back/100000", "POST", b"y" * 300_000)
        report.check((status, len(body), fields.get("x-path")) == (200, 100_000, "/back/100000"), "bodies go both ways")
        seen = echoed[-1]
        report.check(seen["content-length"] == "300000", "the backend is told how long")
        report.check(seen["x-forwarded-for"] == "127.0.0.1" and seen["x-forwarded-proto"] == "https", "and for whom")
        await client.ask("/back/1")
        report.check("transfer-encoding" not in echoed[-1] and "content-length" not in echoed[-1], "a request without a body has none")
        kept = [(await client.ask("/back/kept/7"))[1].get("cache-status") for _ in range(2)]
        report.equal(kept, ["selvedge; fwd=miss; stored", "selvedge; hit"], "an answer is kept for HTTP/3 as well")
        answers = await asyncio.gather(*(client.ask(f"/back/{number}") for number in range(200)))
        report.check([len(body) for _, _, body in answers] == list(range(200)), "two hundred requests of one connection are kept apart")
        status, _, _ = await client.ask("/", "CONNECT")
        report.check(status == 501, "there are no tunnels")
        try:
            status = (await client.ask("/page.txt", fields=[(b"x-long-%d" % number, b"z" * 8000) for number in range(20)]))[0]
        except ConnectionError as error:
            status = str(error)
        report.check(status != 200, lambda: f"a head beyond the limit is refused: {status}")
        report.check((await client.ask("/page.txt"))[0] == 200, "and the connection goes on")
    async with to(tls, "b.example") as client:
        report.check(client.certificate() == "CN=b.example", lambda: f"the certificate is that of the name: {client.certificate()}")
        report.check((await client.ask("/page.txt", host="b.example"))[0] == 200, "and served")
    # What HTTP/1 would read as something else reaches no backend (nginx's CVE-2026-42926 by the other way).
    for what, changed, refused in smuggled():
        echoed.clear()
        async with to(tls) as client:
            try:
                status = (await asyncio.wait_for(client.waiting[client.send_as_it_is(changed, b"abc")], 60))[0]
            except ConnectionError as error:
                status = str(error)
        if refused:
            report.check(status != 200 and not echoed, lambda: f"{what} is refused: {status} {echoed}")
        else:
            report.check(status == 200 and len(echoed) == 1 and "smuggled" not in str(echoed[0].items()), lambda: f"{what} does no harm: {status} {[one.items() for one in echoed]}")
    # One control stream and one pair of those for field compression (RFC 9114 6.2.1, RFC 9204 4.2; nginx's CVE-2026-42530).
    for kind, what in ((0, "control"), (2, "encoder"), (3, "decoder")):
        async with to(tls) as twice:
            report.check((await twice.ask("/page.txt"))[0] == 200, "with one of each it is served")
            twice._quic.send_stream_data(twice._quic.get_next_available_stream_id(is_unidirectional=True), bytes([kind]))
            twice.transmit()
            for _ in range(100):
                if twice.ended:
                    break
                twice.transmit()
                await asyncio.sleep(0.05)
            report.check(twice.ended is not None, f"a second {what} stream ends the connection")
            report.check(await served(), "and no other")
    # Rapid reset: requests that are taken back as soon as they are made. Others are served meanwhile.
    async with to(tls) as flood:
        # However slow the machine is: it goes on until it is sent away.
        deadline = time.monotonic() + 60
        for turn in range(100_000):
            for _ in range(50):
                if flood.ended:
                    break
                stream = flood.send("/back/10")
                flood._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
            flood.transmit()
            await asyncio.sleep(0 if turn < 40 else 0.05)
            if flood.ended or time.monotonic() > deadline:
                break
            report.check(await served(), "others are served while one floods") if turn == 20 else None
        report.check(flood.ended is not None, "who takes back what he asks for is sent away")
        report.check(await served(), "and others are served after")
    for port, what in ((off, "where it is not switched on, it is not spoken"), (guarded, "nobody gets round a client certificate")):
        try:
            async with asyncio.timeout(3):
                async with to(port) as client:
                    reached = (await client.ask("/page.txt"))[0]
        except (ConnectionError, TimeoutError, OSError) as error:
            reached = error
        report.check(reached != 200, lambda: f"{what}: {reached}")


asyncio.run(talk())

# What is sent to an address that has not shown that it is the sender's (RFC 9000 8.1; nginx's CVE-2026-40460).
stranger = QuicConnection(configuration=configured("a.example"))
stranger.connect(("127.0.0.1", tls), now=time.time())
asked = heard = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    for datagram, _ in stranger.datagrams_to_send(now=time.time()):
        asked += datagrams.sendto(datagram, ("127.0.0.1", tls))
    datagrams.settimeout(3)
    try:
        while True:
            heard += len(datagrams.recv(65536))
    except TimeoutError:
        pass
# quinn ends with the datagram that it has begun below the bound.
report.check(0 < heard < 3 * asked + 1200, lambda: f"an address that was made up is sent three times what it said, and no more datagram: {heard} of {asked}")
context = ssl._create_unverified_context()
with urllib.request.urlopen(f"https://127.0.0.1:{tls}/page.txt", context=context) as answer:
    report.check(answer.headers["alt-svc"] == f'h3=":{tls}"; ma=86400', lambda: f"others are told of it: {answer.headers['alt-svc']}")
with urllib.request.urlopen(f"https://127.0.0.1:{off}/page.txt", context=context) as answer:
    report.check(answer.headers["alt-svc"] is None, "but not where there is none")
end(edge.process)
log = pathlib.Path(f"{home}/access").read_text()
report.check('"GET /page.txt HTTP/3.0" 200' in log, lambda: f"the access log says what was spoken: {log[:300]}")
sizes = [int(line.rsplit(" ", 1)[1]) for line in log.splitlines() if '"POST /back/100000 HTTP/3.0"' in line]
report.check(sizes and all(300_000 < size < 301_000 for size in sizes), lambda: f"and how much came: {sizes}")
report.end()
