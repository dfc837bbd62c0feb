#!/usr/bin/env python3
"""The DNS server as dig, glibc's resolver and systemd-resolved see it: private namespaces, virtual services' names, other servers'
names through it, and what strangers may and may not do with it."""

import json
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import boto3
import botocore.config

import _server
from _proxies import has_networks
from _report import Report

report = Report()
PATIENCE = 60


def dig_binary():
    return shutil.which("dig")


class Upstream:
    """Another DNS server, for example.test: counts what it is asked, and can fall silent, lie, or cut its answers."""

    def __init__(self):
        self.udp, self.tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        self.tcp.bind(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp.listen(64)
        self.asked, self.mode, self.ports, self.ids, self.names = 0, "good", set(), set(), set()
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def answer(self, packet, by_tcp=False):
        id, name_end = packet[:2], packet.index(0, 12) + 1
        question = packet[12:name_end + 4]
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]])
            at += 1 + packet[at]
        name = b".".join(labels).decode()
        self.names.add(name)
        self.ids.add(id)
        kind = struct.unpack(">H", packet[name_end:name_end + 2])[0]
        soa = b"\x00" + struct.pack(">HHIH", 6, 1, 60, 22) + b"\x00\x00" + struct.pack(">IIIII", 1, 1, 1, 1, 60)
        a = lambda ttl, address: b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, ttl, 4) + socket.inet_aton(address)
        lower, head = name.lower(), lambda code, answers, authorities, flags=0x8180: id + struct.pack(
            ">HHHHH", flags | code, 1, answers, authorities, 0) + question
        if lower == "none.example.test":
            return head(3, 0, 1) + soa
        if lower == "short.example.test":
            return head(0, 1, 0) + a(1, "192.0.2.2")
        if lower.startswith("to-"):
            return head(0, 2, 0) + a(60, lower.split(".")[0][3:].replace("-", ".")) + a(60, "192.0.2.1")
        if lower == "many.example.test":
            if not by_tcp:
                return head(0, 0, 0, 0x8380)
            return head(0, 200, 0) + b"".join(a(60, f"192.0.2.{n}") for n in range(200))
        if kind == 1:
            return head(0, 1, 0) + a(60, "192.0.2.1")
        return head(0, 0, 1) + soa

    def serve_udp(self):
        while True:
            packet, peer = self.udp.recvfrom(4096)
            self.asked += 1
            self.ports.add(peer[1])
            if self.mode == "silent":
                continue
            answer = self.answer(packet)
            if self.mode == "lies":
                # Guesses with a wrong identifier, a wrong case, and the truth after them.
                forged = answer.replace(socket.inet_aton("192.0.2.1"), socket.inet_aton("203.0.113.66"))
                self.udp.sendto(bytes([forged[0] ^ 1]) + forged[1:], peer)
            if self.mode == "slow":
                time.sleep(0.3)
            self.udp.sendto(answer, peer)

    def serve_tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            if self.mode == "silent":
                connection.close()
                continue
            length = struct.unpack(">H", connection.recv(2))[0]
            answer = self.answer(connection.recv(length), by_tcp=True)
            connection.sendall(struct.pack(">H", len(answer)) + answer)
            connection.close()


def start(*extra):
    """A control plane with a DNS server of its own; gives the process, the API's address and the DNS port."""
    folder = tempfile.mkdtemp(prefix="selvedge-dns-")
    command = [os.environ["SELVEDGE_BIN"], "up", "--listen", "127.0.0.1:0", "--data-dir", folder, "--dns", "127.0.0.1:0", *extra]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    api = process.stdout.readline().split()[-1]
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    return process, api, port


def dig(port, *arguments):
    """What dig prints of an answer: its code, flags, and the records of each section as lists of words."""
    done = subprocess.run([dig_binary(), "@127.0.0.1", "-p", str(port), "+tries=1", "+time=8", *arguments], capture_output=True, text=True)
    text = done.stdout
    code = re.search(r"status: (\w+)", text)
    flags = re.search(r"flags: ([a-z ]*);", text)
    answers, authorities, here = [], [], None
    for line in text.splitlines():
        if line.startswith(";; "):
            here = {";; ANSWER SECTION:": answers, ";; AUTHORITY SECTION:": authorities}.get(line)
        elif line and not line.startswith(";") and here is not None:
            here.append(line.split(None, 4))
    return {"code": code and code.group(1), "flags": flags.group(1).split() if flags else [], "answers": answers,
            "authorities": authorities, "text": text}


def values(answer):
    return sorted(record[4] for record in answer["answers"])


def until(what, is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            return report.check(False, f"never: {what}")
        time.sleep(0.02)
    report.check(True, what)


def raw(port, packet, wait=2.0):
    """One datagram and its answer; `None` when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(wait)
        own.sendto(packet, ("127.0.0.1", port))
        try:
            return own.recv(65535)
        except TimeoutError:
            return None


def question(name, kind=1, flags=0x0100, class_=1, edns=None):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    head = struct.pack(">HHHHHH", random.randrange(65536), flags, 1, 0, 0, 0 if edns is None else 1)
    opt = b"" if edns is None else b"\x00" + struct.pack(">HHIH", 41, edns, 0, 0)
    return head + labels + b"\x00" + struct.pack(">HH", kind, class_) + opt


class Registry:
    """Cloud Map and App Mesh of one server."""

    def __init__(self, api):
        config = botocore.config.Config(inject_host_prefix=False)
        common = dict(endpoint_url=api, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x", config=config)
        self.mesh, self.cloud = boto3.client("appmesh", **common), boto3.client("servicediscovery", **common)
        operation = self.cloud.create_private_dns_namespace(Name="shop.local", Vpc="vpc-1")["OperationId"]
        self.space = self.cloud.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]

    def service(self, name, policy, *types):
        records = [{"Type": kind, "TTL": 7} for kind in types]
        return self.cloud.create_service(Name=name, NamespaceId=self.space, HealthCheckCustomConfig={}, DnsConfig={
            "RoutingPolicy": policy, "DnsRecords": records})["Service"]["Id"]

    def register(self, service, id, **attributes):
        self.cloud.register_instance(ServiceId=service, InstanceId=id, Attributes={f"AWS_INSTANCE_{k}": v for k, v in attributes.items()})


def namespaces(port, registry):
    web = registry.service("web", "MULTIVALUE", "A", "AAAA")
    one = registry.service("one", "WEIGHTED", "A")
    api = registry.service("_http._tcp.api", "MULTIVALUE", "SRV")
    alias = registry.service("alias", "WEIGHTED", "CNAME")
    inner = registry.service("inner", "WEIGHTED", "CNAME")
    for n in range(1, 13):
        registry.register(web, f"i-{n}", IPV4=f"10.0.0.{n}", IPV6=f"2001:db8::{n}")
        registry.register(one, f"i-{n}", IPV4=f"10.0.1.{n}")
    registry.register(api, "i-1", IPV4="10.0.2.1", PORT="8080")
    registry.register(alias, "i", CNAME="www.example.test")
    registry.register(inner, "i", CNAME="one.shop.local")
    until("the last is there", lambda: values(dig(port, "inner.shop.local", "A")))
    first = dig(port, "WEB.shop.local", "A")
    report.equal((first["code"], "aa" in first["flags"], len(first["answers"])), ("NOERROR", True, 8), "eight of twelve")
    report.equal({record[0] for record in first["answers"]}, {"WEB.shop.local."}, "letters as they were asked")
    report.equal({record[1] for record in first["answers"]}, {"7"}, "the service's TTL")
    seen = {value for _ in range(30) for value in values(dig(port, "web.shop.local", "A"))}
    report.equal(len(seen), 12, "all in turn")
    report.check(all(value.startswith("2001:db8::") for value in values(dig(port, "web.shop.local", "AAAA"))), "AAAA")
    report.equal(len(dig(port, "one.shop.local", "A")["answers"]), 1, "one of a weighted service")
    report.equal(values(dig(port, "_http._tcp.api.shop.local", "SRV")), ["1 1 8080 i-1._http._tcp.api.shop.local."], "SRV")
    report.equal(values(dig(port, "i-1._http._tcp.api.shop.local", "A")), ["10.0.2.1"], "where it points")
    chained = dig(port, "inner.shop.local", "A")["answers"]
    report.equal([record[3] for record in chained], ["CNAME", "A"], "an alias within")
    outside = dig(port, "alias.shop.local", "A")["answers"]
    report.equal([record[3:] for record in outside], [["CNAME", "www.example.test."], ["A", "192.0.2.1"]], "an alias to elsewhere")
    for name, kind, code in (("none.shop.local", "A", "NXDOMAIN"), ("web.shop.local", "TXT", "NOERROR"), ("api.shop.local", "A", "NOERROR"),
                             ("shop.local", "A", "NOERROR")):
        empty = dig(port, name, kind)
        report.equal((empty["code"], empty["answers"], [r[3] for r in empty["authorities"]]), (code, [], ["SOA"]), f"{name} {kind}")
    report.equal(dig(port, "shop.local", "SOA")["answers"][0][3], "SOA", "SOA of the zone")

    for n in range(2, 13):
        registry.cloud.update_instance_custom_health_status(ServiceId=web, InstanceId=f"i-{n}", Status="UNHEALTHY")
    until("only the healthy one", lambda: values(dig(port, "web.shop.local", "A")) == ["10.0.0.1"])
    registry.cloud.deregister_instance(ServiceId=web, InstanceId="i-1")
    until("all, when nobody is healthy", lambda: len(values(dig(port, "web.shop.local", "A"))) == 8)
    report.check("10.0.0.1" not in values(dig(port, "web.shop.local", "A")), "but nobody who left")


def virtual_services(port, registry):
    mesh = registry.mesh
    mesh.create_mesh(meshName="m")
    mesh.create_virtual_service(meshName="m", virtualServiceName="Colors.mesh.example", spec={})
    until("the name is there", lambda: values(dig(port, "colors.mesh.example", "A")))
    first = values(dig(port, "colors.mesh.example", "A"))
    report.check(first[0].startswith("240.240."), f"in the block: {first}")
    report.equal(values(dig(port, "COLORS.mesh.example", "A")), first, "the same each time")
    report.check(values(dig(port, "colors.mesh.example", "AAAA"))[0].startswith("fd00:5e1:7:"), "IPv6 where there is a block")
    mesh.delete_virtual_service(meshName="m", virtualServiceName="Colors.mesh.example")
    until("it went", lambda: values(dig(port, "colors.mesh.example", "A")) == ["192.0.2.1"])


def forwarding(port, upstream):
    asked = lambda: upstream.asked
    report.equal(values(dig(port, "www.example.test", "A")), ["192.0.2.1"], "another server's name")
    before = asked()
    again = dig(port, "www.example.test", "A")
    report.equal((values(again), asked()), (["192.0.2.1"], before), "remembered")
    report.check(int(again["answers"][0][1]) <= 60, "and growing old")
    report.equal((dig(port, "none.example.test", "A")["code"], dig(port, "none.example.test", "A")["code"]), ("NXDOMAIN",) * 2, "absent")
    report.equal(asked(), before + 1, "absence is remembered too")
    report.check(any(name != name.lower() for name in upstream.names), "the case is drawn")
    for n in range(12):
        dig(port, f"n{n}.example.test", "A")
    report.check(len(upstream.ports) > 8 and len(upstream.ids) > 8, "ports and identifiers are drawn")
    many = dig(port, "many.example.test", "A")
    report.equal(len(many["answers"]), 200, "what is cut is asked for by TCP, on both sides")
    upstream.mode = "lies"
    report.equal(values(dig(port, "lies.example.test", "A")), ["192.0.2.1"], "what was made up is not believed")
    upstream.mode = "slow"
    before = asked()
    threads = [threading.Thread(target=dig, args=(port, "busy.example.test", "A")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.equal(asked(), before + 1, "one question for all who ask it")
    upstream.mode = "good"
    report.equal(values(dig(port, "short.example.test", "A")), ["192.0.2.2"], "for a second")
    upstream.mode = "silent"
    time.sleep(1.5)
    late = dig(port, "short.example.test", "A")
    report.equal((late["code"], values(late)), ("NOERROR", ["192.0.2.2"]), "the last good answer, when nobody can be asked")
    report.equal(dig(port, "unknown.example.test", "A")["code"], "SERVFAIL", "nothing is known")
    upstream.mode = "good"
    report.equal(dig(port, "+norecurse", "never.example.test", "A")["code"], "REFUSED", "others' names only for those who want recursion")


def guarded(port):
    """Names of others that point at this machine, its neighbours, or the mesh."""
    for address in ("127.0.0.1", "127.1.2.3", "0.0.0.0", "169.254.169.254", "224.0.0.1", "240.240.1.1", "10.66.0.1"):
        name = "to-" + address.replace(".", "-")
        report.equal(values(dig(port, f"{name}.example.test", "A")), ["192.0.2.1"], f"no name of others has {address}")
    for address in ("10.67.0.1", "192.168.7.7"):
        name = "to-" + address.replace(".", "-")
        report.check(address in values(dig(port, f"{name}.example.test", "A")), f"{address} is not guarded")
    report.check("127.0.0.1" in values(dig(port, "to-127-0-0-1.corp.example.test", "A")), "an exempt domain points anywhere")


def pointers(port, registry):
    ask = lambda address: values(dig(port, "-x", address))
    report.equal(ask("10.0.2.1"), ["i-1._http._tcp.api.shop.local."], "where an SRV record points")
    report.equal(ask("10.0.0.7"), ["web.shop.local."], "an instance's service")
    report.equal(ask("2001:db8::7"), ["web.shop.local."], "by IPv6 too")
    registry.mesh.create_mesh(meshName="p")
    registry.mesh.create_virtual_service(meshName="p", virtualServiceName="shades.mesh.example", spec={})
    until("the name is there", lambda: values(dig(port, "shades.mesh.example", "AAAA")))
    for kind in ("A", "AAAA"):
        address = values(dig(port, "shades.mesh.example", kind))[0]
        report.check(kind == "A" or address.startswith("fd00:5e1:7:"), f"{address} is in the block")
        report.equal(ask(address), ["shades.mesh.example."], f"the name of {address}")
    registry.mesh.delete_virtual_service(meshName="p", virtualServiceName="shades.mesh.example")


def strangers(port):
    for arguments, code in (
        (("web.shop.local", "AXFR"), None), (("+tcp", "CH", "TXT", "version.bind"), "REFUSED"), (("+edns=1", "+noednsneg", "web.shop.local"), "BADVERS"),
        (("+opcode=4", "web.shop.local"), "NOTIMP"), (("web.shop.local", "MAILA"), "NOTIMP"),
    ):
        answer = dig(port, *arguments)
        report.check(answer["code"] == code, lambda: f"{arguments}: {answer['code']} {answer['text'][-300:]}")
    anything = raw(port, question("web.shop.local", kind=255))
    report.check(anything is not None and len(anything) < 80 and b"RFC8482" in anything, f"ANY is answered in few bytes: {anything}")
    report.check(b"RFC8482" in raw(port, question("www.example.test", kind=255)), "nor is it passed on")
    small, large = raw(port, question("many.example.test")), raw(port, question("many.example.test", edns=4096))
    report.check(len(small) <= 512 and small[2] & 2, "cut at 512 bytes")
    report.check(len(large) <= 1232 and large[2] & 2, "and at 1232, whatever is asked for")
    header = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    good = question("web.shop.local")
    for what, packet, code in (
        ("a pointer to itself", header + b"\xc0\x0c\x00\x01\x00\x01", 1), ("two in a circle", header + b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01", 1),
        ("cut", good[:-3], 1), ("a class of nobody", question("web.shop.local", class_=0x7777), 5), ("two questions", good[:4] + b"\0\2" + good[6:] + good[12:], 1),
        ("a name too long", header + (b"\x3f" + b"x" * 63) * 5 + b"\0\0\1\0\1", 1), ("an update", question("web.shop.local", flags=0x2800), 4),
    ):
        answer = raw(port, packet)
        report.check(answer is not None and answer[3] & 15 == code and len(answer) <= len(packet) + 11, f"{what}: {answer}")
    for what, packet in (("half a header", good[:11]), ("an answer", question("web.shop.local", flags=0x8100)), ("nothing", b"")):
        report.equal(raw(port, packet, wait=0.3), None, f"{what} is not answered")
    chance = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for _ in range(3000):
            own.sendto(chance.randbytes(chance.randrange(1, 200)), ("127.0.0.1", port))
    report.equal(dig(port, "one.shop.local", "A")["code"], "NOERROR", "it stands")

    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(3):
            connection.sendall(struct.pack(">H", len(good)) + good)
        got = 0
        connection.settimeout(5)
        for _ in range(3):
            length = struct.unpack(">H", connection.recv(2))[0]
            while length:
                length -= len(connection.recv(length))
            got += 1
        report.equal(got, 3, "several questions on one connection")
        connection.sendall(struct.pack(">H", 60000))
        report.equal(connection.recv(1), b"", "whoever announces too much is cut off")
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    report.equal(dig(port, "one.shop.local", "A")["code"], "NOERROR", "open connections stop no datagram")
    until("those without a question are closed", lambda: dig(port, "+tcp", "one.shop.local", "A")["code"] == "NOERROR")
    for connection in crowd:
        connection.close()


# Brings up the loopback, and becomes a shell.
IN_A_NETWORK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
os.execvp("sh", ["sh", "-ec", sys.argv[1]])
"""


def in_a_network(script):
    """Runs a script where it is root of a network and of mounts of its own."""
    command = ["unshare", "-rnm", "--", sys.executable, "-c", IN_A_NETWORK, script]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


SERVER = """
export HOME=$PWD
"$SELVEDGE_BIN" up --listen 127.0.0.1:7070 --data-dir "$FOLDER/data" --dns 127.0.0.1:53 --dns-upstream none >"$FOLDER/log" 2>&1 &
SERVER=$!
trap 'kill $SERVER $OTHERS 2>/dev/null; wait 2>/dev/null' EXIT
for i in $(seq 600); do grep -q "DNS is answered" "$FOLDER/log" && break; sleep 0.1; done
eval "$("$SELVEDGE_BIN" env)"
"$SELVEDGE_BIN" appmesh create-mesh --mesh-name m >/dev/null
"$SELVEDGE_BIN" appmesh create-virtual-service --mesh-name m --virtual-service-name colors.mesh.example --spec '{}' >/dev/null
call() { curl -fsS http://127.0.0.1:7070/ -H "x-amz-target: Route53AutoNaming_v20170314.$1" -d "$2"; }
call CreatePrivateDnsNamespace '{"Name":"shop.local","Vpc":"v"}' >/dev/null
NS=$(call ListNamespaces '{}' | sed 's/.*"Id":"\\(ns-[^"]*\\)".*/\\1/')
call CreateService "{\\"Name\\":\\"web\\",\\"NamespaceId\\":\\"$NS\\",\\"DnsConfig\\":{\\"DnsRecords\\":[{\\"Type\\":\\"A\\",\\"TTL\\":5}]}}" >"$FOLDER/service"
SRV=$(sed 's/.*"Id":"\\(srv-[^"]*\\)".*/\\1/' "$FOLDER/service")
call RegisterInstance "{\\"ServiceId\\":\\"$SRV\\",\\"InstanceId\\":\\"i\\",\\"Attributes\\":{\\"AWS_INSTANCE_IPV4\\":\\"10.9.8.7\\"}}" >/dev/null
for i in $(seq 300); do
  [ "$(dig @127.0.0.1 +short web.shop.local A)" = 10.9.8.7 ] && [ -n "$(dig @127.0.0.1 +short colors.mesh.example A)" ] && break
  sleep 0.1
done
"""


def resolvers():
    """An unmodified program's resolver, in a network of its own."""
    if not has_networks():
        return print("skipped: resolvers, for they need networks of their own")
    with tempfile.TemporaryDirectory(prefix="selvedge-resolv-") as folder:
        os.environ["FOLDER"] = folder
        pathlib.Path(folder, "resolv.conf").write_text("nameserver 127.0.0.1\nsearch shop.local\noptions timeout:2 attempts:2\n")
        done = in_a_network('mount --bind "$FOLDER/resolv.conf" "$(realpath /etc/resolv.conf)"\n' + SERVER + """
getent hosts web.shop.local
getent hosts web
getent hosts colors.mesh.example
getent hosts none.shop.local || echo absent
""")
        out = done.stdout
        report.check(out.count("10.9.8.7") >= 2 and "240.240." in out and out.strip().endswith("absent"), f"glibc: {out} {done.stderr}")


def resolved_binary():
    """systemd-resolved and where its library is: what `cargo xtask test --only setup` unpacked, else the system's."""
    unpacked = pathlib.Path(__file__).parents[2] / "target/tools/systemd-resolved"
    for root in (unpacked, pathlib.Path("/")):
        for binary in (*root.glob("lib/systemd/systemd-resolved"), *root.glob("usr/lib/systemd/systemd-resolved")):
            libraries = [str(path.parent) for path in unpacked.glob("usr/lib/*/systemd/libsystemd-shared-*.so")]
            return str(binary), ":".join(libraries if root == unpacked else [])
    return None, ""


def resolved():
    """systemd-resolved, which asks us about our names alone."""
    binary, libraries = resolved_binary()
    if not binary or not has_networks() or os.geteuid() != 0:
        return print("skipped: systemd-resolved, for it is not here or may not run")
    with tempfile.TemporaryDirectory(prefix="selvedge-resolved-") as folder:
        os.chmod(folder, 0o755)
        os.environ.update(FOLDER=folder, RESOLVED=binary, LIBRARIES=libraries)
        pathlib.Path(folder, "selvedge.conf").write_text(
            "[Resolve]\nDNS=127.0.0.1:53\nDomains=~shop.local ~mesh.example\nDNSStubListener=yes\nLLMNR=no\nMulticastDNS=no\n")
        # It becomes a user of its own, whom the machine need not know.
        for name, line in (("passwd", "systemd-resolve:x:64998:64998::/:/usr/sbin/nologin"), ("group", "systemd-resolve:x:64998:")):
            others = [one for one in pathlib.Path("/etc", name).read_text().splitlines() if not one.startswith("systemd-resolve:")]
            pathlib.Path(folder, name).write_text("\n".join([*others, line]) + "\n")
        script = """
mount --bind "$FOLDER/passwd" /etc/passwd
mount --bind "$FOLDER/group" /etc/group
# A machine without a network has nobody to ask, thinks systemd-resolved.
ip link add outside type veth peer name inside
ip addr add 10.99.0.1/24 dev outside
ip link set outside up
ip link set inside up
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d
chown systemd-resolve:systemd-resolve /run/systemd/resolve
cp "$FOLDER/selvedge.conf" /run/systemd/resolved.conf.d/
""" + SERVER + """
LD_LIBRARY_PATH="$LIBRARIES" SYSTEMD_LOG_LEVEL=debug "$RESOLVED" >"$FOLDER/resolved.log" 2>&1 & OTHERS=$!
for i in $(seq 150); do [ "$(dig @127.0.0.53 +tries=1 +time=1 +short web.shop.local A 2>&1)" = 10.9.8.7 ] && break; sleep 0.2; done
dig @127.0.0.53 +short web.shop.local A
dig @127.0.0.53 +short colors.mesh.example A
grep ^Uid: "/proc/$OTHERS/status"
tail -3 "$FOLDER/resolved.log" >&2
"""
        command = ["unshare", "-nm", "--", sys.executable, "-c", IN_A_NETWORK, script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        report.check("10.9.8.7" in done.stdout and "240.240." in done.stdout, f"systemd-resolved: {done.stdout} {done.stderr[-800:]}")
        report.check("64998" in done.stdout, f"as a user of its own: {done.stdout}")


def refused_clients():
    process, _, port = start("--dns-upstream", "none", "--dns-allow", "192.0.2.0/24")
    try:
        report.equal(dig(port, "web.shop.local", "A")["code"], "REFUSED", "only those who may ask")
        report.equal(dig(port, "+tcp", "web.shop.local", "A")["code"], None, "nor by TCP")
    finally:
        process.terminate()
        process.wait(10)


if not os.environ.get("SELVEDGE_BIN"):
    print("skipped: SELVEDGE_BIN names no binary with a DNS server")
elif not dig_binary():
    print("skipped: there is no dig here")
else:
    upstream = Upstream()
    process, api, port = start("--dns-upstream", f"127.0.0.1:{upstream.port}", "--dns-guard", "10.66.0.0/16",
                               "--dns-guard-exempt", "corp.example.test", "--dns-virtual-block-v6", "fd00:5e1:7::/64")
    try:
        registry = Registry(api)
        namespaces(port, registry)
        virtual_services(port, registry)
        pointers(port, registry)
        guarded(port)
        forwarding(port, upstream)
        strangers(port)
    finally:
        process.terminate()
        process.wait(15)
    refused_clients()
    resolvers()
    resolved()
report.end()
