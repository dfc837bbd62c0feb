"""WebSockets on streams of HTTP/2 (RFC 8441), by h2 and wsproto; and a server of them, by websockets."""

import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings
import wsproto
import wsproto.connection
import wsproto.events
from websockets.exceptions import ConnectionClosedError
from websockets.sync.server import serve

PATIENCE = 30


class Connection:
    """One connection of HTTP/2 to an edge, and the streams on it."""

    def __init__(self, port, tls=True):
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            raw = context.wrap_socket(raw, server_hostname="a.example")
        raw.settimeout(PATIENCE)
        self.socket = raw
        # What is sent is to be refused by the server, and not by this library.
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.events, self.over = {}, None
        self.flush()
        while self.offers is None:
            self.read()

    @property
    def offers(self):
        """Whether the server says that a stream may become another protocol; None while it has said nothing."""
        if not self.greeted:
            return None
        return self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL, 0) == 1

    greeted = goodbye = False
    partial = b""

    def flush(self):
        try:
            self.socket.sendall(self.h2.data_to_send())
        except OSError as problem:
            self.over = problem

    def read(self):
        """Takes what comes; whether anything may come after it."""
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, socket.timeout):
            raise RuntimeError("a server says nothing") from None
        except OSError:
            data = b""
        if not data:
            self.over = self.over or "closed"
            return False
        for event in self.h2.receive_data(self.without_goodbye(data)):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                self.greeted = True
            elif getattr(event, "stream_id", None):
                self.events.setdefault(event.stream_id, []).append(event)
        self.flush()
        return True

    def without_goodbye(self, data):
        """Whole frames but GOAWAY, at which h2 says no more; streams that there are go on after it (RFC 9113 §6.8)."""
        self.partial += data
        whole = b""
        while len(self.partial) >= 9 and len(self.partial) >= (length := 9 + int.from_bytes(self.partial[:3], "big")):
            if self.partial[3] == 7:
                self.goodbye = True
            else:
                whole += self.partial[:length]
            self.partial = self.partial[length:]
        return whole

    def request(self, fields, end=False):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def next(self, stream):
        """The next thing that comes on a stream; None when nothing will."""
        while not self.events.get(stream):
            if self.over or not self.read():
                return None
        return self.events[stream].pop(0)

    def ask(self, path, protocol="websocket", method="CONNECT", **more):
        """A wish's answer: status, fields, stream. A reset is the name of its code."""
        fields = [(":method", method), (":protocol", protocol), (":scheme", "https"), (":path", path), (":authority", "a.example")]
        fields = [(name, value) for name, value in fields if value is not None]
        fields += [("sec-websocket-version", "13")] + [(name.replace("_", "-"), value) for name, value in more.items()]
        stream = self.request(fields, end=protocol is None)
        return (*self.answered(stream), stream)

    def answered(self, stream):
        while True:
            event = self.next(stream)
            if event is None:
                return "closed", {}
            if isinstance(event, h2.events.StreamReset):
                return f"reset {event.error_code}", {}
            if isinstance(event, h2.events.ResponseReceived):
                fields = dict(event.headers)
                return int(fields[":status"]), fields

    def close(self):
        self.socket.close()


class Raw:
    """The bytes of a stream that has become a tunnel."""

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.left = b""
        # How the stream ended, once it has.
        self.ended = None

    def write(self, data):
        """Sends as much at once as the windows take, and reads on where they do not."""
        http = self.connection.h2
        while data:
            room = min(http.local_flow_control_window(self.stream), http.max_outbound_frame_size, len(data))
            if room == 0:
                if not self.connection.read():
                    raise ConnectionError("the connection ended")
                continue
            http.send_data(self.stream, data[:room])
            data = data[room:]
            self.connection.flush()

    def heard(self):
        """What comes next; nothing at the end."""
        while not self.ended:
            event = self.connection.next(self.stream)
            if isinstance(event, h2.events.DataReceived):
                self.connection.h2.acknowledge_received_data(event.flow_controlled_length, self.stream)
                self.connection.flush()
                if event.data:
                    return event.data
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = "end"
            elif isinstance(event, h2.events.StreamReset):
                self.ended = f"reset {event.error_code}"
            elif event is None:
                self.ended = "closed"
        return b""

    def read(self, count):
        """So many bytes, or what there was before the end."""
        while len(self.left) < count and (data := self.heard()):
            self.left += data
        data, self.left = self.left[:count], self.left[count:]
        return data


class WebSocket:
    """A WebSocket on a stream that has been granted."""

    def __init__(self, connection, stream):
        self.raw = Raw(connection, stream)
        self.ws = wsproto.connection.Connection(wsproto.ConnectionType.CLIENT)
        self.pending = []

    @property
    def stream(self):
        return self.raw.stream

    @property
    def ended(self):
        return self.raw.ended

    def send(self, event):
        self.raw.write(self.ws.send(event))

    def heard(self):
        """The next event of the WebSocket; None at the stream's end."""
        while not self.pending:
            data = self.raw.heard()
            if not data:
                return None
            self.ws.receive_data(data)
            self.pending = list(self.ws.events())
        return self.pending.pop(0)

    def message(self):
        """The next message, whole."""
        parts = None
        while True:
            event = self.heard()
            if not isinstance(event, (wsproto.events.TextMessage, wsproto.events.BytesMessage)):
                return event
            parts = event.data if parts is None else parts + event.data
            if event.message_finished:
                return parts

    def echo(self, data):
        kind = wsproto.events.TextMessage if isinstance(data, str) else wsproto.events.BytesMessage
        self.send(kind(data=data))
        return self.message()

    def close(self, code=1000):
        """Says goodbye; what the other side says to it, and how the stream ends."""
        self.send(wsproto.events.CloseConnection(code=code))
        last = self.message()
        while self.heard() is not None:
            pass
        return getattr(last, "code", last), self.ended


class Server:
    """A server of WebSockets: what it does is said by the last part of the path."""

    def __init__(self):
        self.heads, self.ended = [], []
        self.server = serve(self.talk, "127.0.0.1", 0, process_request=self.judge, select_subprotocol=lambda _, offered: "chat" if "chat" in offered else None, max_size=1 << 26)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def judge(self, connection, request):
        self.heads.append(request)
        if request.path.endswith("/refused"):
            return connection.respond(403, "not you")
        if request.path.endswith("/plain"):
            return connection.respond(200, "no tunnel")
        return None

    def talk(self, connection):
        path = connection.request.path
        try:
            if path.endswith("/leave"):
                connection.send("bye")
                return connection.close(4001, "enough")
            if path.endswith("/pour"):
                for _ in range(64):
                    connection.send(bytes(65536))
            for message in connection:
                connection.send(message)
        except ConnectionClosedError:
            # Without a goodbye: that is what some tests are about.
            pass
        finally:
            self.ended.append((path, connection.close_code))
