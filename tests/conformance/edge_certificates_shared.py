"""Edges that share a store are one to an authority: one orders, any answers, and one that is killed in mid-order is followed by
another. The store is a database of one machine, or the control plane, for edges of several."""

import concurrent.futures
import os
import socket
import threading

import _server
from _edge import Edge, ask, end, folder, free_ports, until
from _pebble import Gateway, authority, certificate
from _report import Report

report = Report()
# Nobody is told of a port as free that another thread was told of and does not listen on yet.
PORTS = threading.Lock()
endpoint = _server.endpoint() if os.environ.get("SELVEDGE_BIN") else None


class Switch:
    """Where the authority looks. It leads to one of the edges, and whoever comes before it is told to which one waits."""

    def __init__(self):
        self.target, self.ready = None, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def lead_to(self, port):
        self.target = port
        self.ready.set()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        self.ready.wait()
        try:
            edge = socket.create_connection(("127.0.0.1", self.target), 60)
        except OSError:
            # It was killed: whoever looks finds nobody.
            return client.close()
        with client, edge:
            back = threading.Thread(target=copy, args=(edge, client), daemon=True)
            back.start()
            copy(client, edge)
            back.join(60)


def copy(source, target):
    try:
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Fleet:
    """Two edges over one store, an authority, what stands before it, and where it looks for them."""

    def __init__(self, home, kept, script=lambda method, path: None):
        self.home, self.kept, self.switch = home, kept, Switch()
        home.mkdir(exist_ok=True)
        with PORTS:
            directory = authority(home, self.switch.port, *free_ports(1))
        self.gateway = Gateway(home, directory, script)

    def edge(self, number):
        with PORTS:
            plain, tls = free_ports(2)
            return self.edge_on(number, plain, tls)

    def edge_on(self, number, plain, tls):
        store = f'"store" => "mesh", "folder" => "{self.home}/{number}"' if self.kept == "mesh" else f'"store" => "{self.home}/shared"'
        edge = Edge(plain, f"""
mesh.acme = ( "directory" => "{self.gateway.directory}", "names" => ( "a.example" ), {store}, "ca-file" => "{self.home}/root.pem" )
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" }}
server.modules += ( "mod_status" )
status.status-url = "/status"
""")
        edge.tls = tls
        return edge


def is_issued(edge):
    text, der = certificate(edge.tls, "a.example")
    return der if "Pebble" in text else None


def metric(edge, name):
    text = ask(f"http://127.0.0.1:{edge.port}/status?prometheus").body.decode()
    return next((line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")), None)


def one_orders(kept):
    """Both begin at once, and the authority asks the second one."""
    fleet = Fleet(folder(), kept)
    first = fleet.edge(1)
    second = fleet.edge(2)
    fleet.switch.lead_to(second.tls)
    # A replica that did not order looks at least every minute.
    shown = [until(lambda: is_issued(edge), 120) for edge in (first, second)]
    report.check(shown[0] and shown[0] == shown[1],
                 lambda: f"{kept}: both show the one certificate: {first.errors()}\n{second.errors()}")
    report.check(fleet.gateway.orders() == 1,
                 lambda: f"{kept}: there was one order: {fleet.gateway.requests}\n{first.errors()}\n{second.errors()}")
    issued = sorted(metric(edge, "selvedge_edge_acme_issued_total") for edge in (first, second))
    report.equal(issued, ["0", "1"], f"{kept}: one of them was issued it")
    end(first.process)
    end(second.process)


def one_is_killed(kept):
    """The first one's order hangs in its last step when it is killed, and the second one has a certificate all the same."""
    reached, hold = threading.Event(), threading.Event()

    def script(method, path):
        if path.startswith("/finalize-order/") and not reached.is_set():
            reached.set()
            hold.wait(120)
        return None

    fleet = Fleet(folder(), kept, script)
    first = fleet.edge(1)
    fleet.switch.lead_to(first.tls)
    report.check(reached.wait(60), lambda: f"{kept}: an order came to its last step: {first.errors()}")
    first.process.kill()
    first.process.wait()
    hold.set()
    second = fleet.edge(2)
    fleet.switch.lead_to(second.tls)
    report.check(is_issued(second) is None, f"{kept}: the one that follows has none yet")
    shown = until(lambda: is_issued(second), 180)
    report.check(shown, lambda: f"{kept}: who follows a dead one has a certificate: {second.errors()}")
    report.check(fleet.gateway.orders() == 2, lambda: f"{kept}: by an order of its own: {fleet.gateway.requests}\n{first.errors()}\n{second.errors()}")
    before = fleet.gateway.orders()
    again = fleet.edge(1)
    report.check(until(lambda: is_issued(again) == shown, 120), lambda: f"{kept}: and so has the dead one, once it is back: {again.errors()}")
    report.equal(fleet.gateway.orders(), before, f"{kept}: without another order")
    end(second.process)
    end(again.process)


def two_authorities(kept):
    """Two edges over one control plane want a name from an authority each. In a handshake nothing tells the authorities apart: the orders follow
    one another, and each is shown what belongs to its own."""
    home = folder()
    asked = [threading.Event(), threading.Event()]

    def meeting(own, other):
        """Keeps an order at its challenge until the other order's is there, or has had its time to be."""

        def script(method, path):
            if path.startswith("/chalZ/"):
                own.set()
                other.wait(8)
            return None

        return script

    fleets = [Fleet(home / str(number), kept, meeting(asked[number], asked[1 - number])) for number in (0, 1)]
    edges = []
    for number, fleet in enumerate(fleets):
        edges.append(fleet.edge(number + 1))
        fleet.switch.lead_to(edges[-1].tls)
    shown = [until(lambda: is_issued(edge), 180) for edge in edges]
    said = lambda: "\n".join(edge.errors() for edge in edges)
    report.check(all(shown) and shown[0] != shown[1], lambda: f"{kept}: two authorities at a time: each edge has its own one's certificate: {said()}")
    report.check("no certificate could be had" not in said(), lambda: f"{kept}: and no order failed on the way: {said()}")
    report.equal([fleet.gateway.orders() for fleet in fleets], [1, 1], f"{kept}: there was one order at each")
    for edge in edges:
        end(edge.process)


def away():
    """The control plane is away: an edge shows what it showed last."""
    home = folder()
    fleet = Fleet(home, "mesh")
    edge = fleet.edge(1)
    fleet.switch.lead_to(edge.tls)
    shown = until(lambda: is_issued(edge), 120)
    report.check(shown, lambda: f"mesh: a certificate is had: {edge.errors()}")
    end(edge.process)
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    again = fleet.edge(1)
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    report.equal(is_issued(again), shown, "mesh: started anew, it is there, though the control plane is not")
    said = until(lambda: "certificates cannot be looked after" in again.errors())
    report.check(said, "mesh: and the log says that nobody looks after it")
    end(again.process)


stores = ["folder"]
if endpoint:
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    stores.append("mesh")
with concurrent.futures.ThreadPoolExecutor() as threads:
    # All at a time, though all want the same name. What fails in one of them ends the script.
    works = [threads.submit(work, kept) for kept in stores for work in (one_orders, one_is_killed)]
    if endpoint:
        works.append(threads.submit(two_authorities, "mesh"))
    for ended in works:
        ended.result()
if endpoint:
    away()
report.end()
