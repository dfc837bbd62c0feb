"""Files of certificates change under an edge the ways that people change them: certbot's links, a rename, a write in place, a folder that is
put in another's place as Kubernetes does. What is shown is the old pair or the new one, whole, at every handshake in between."""

import atexit
import signal
import socket
import ssl
import subprocess
import threading

from _edge import Edge, ask, await_port, end, folder, free_ports, until
from _report import Report

report = Report()
home = folder()
HOSTS = ("certbot", "renamed", "in-place", "one-file", "kubernetes", "removed", "cut")


def openssl(*words):
    ran = subprocess.run(["openssl", *words], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"openssl {words[0]}: {ran.stderr}")
    return ran.stdout


CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
openssl("req", "-x509", *CURVE, "-days", "2", "-subj", "/CN=ca", "-keyout", f"{home}/ca.key", "-out", f"{home}/ca.pem")


def issue(name, subject=None):
    """A chain of two and its key, as text."""
    openssl("req", *CURVE, "-subj", f"/CN={name}", "-keyout", f"{home}/fresh.key", "-out", f"{home}/fresh.csr")
    (home / "ext").write_text(f"subjectAltName=DNS:{subject or name + '.example'}\n")
    leaf = openssl("x509", "-req", "-in", f"{home}/fresh.csr", "-CA", f"{home}/ca.pem", "-CAkey", f"{home}/ca.key", "-days", "2", "-extfile", f"{home}/ext")
    return leaf + (home / "ca.pem").read_text(), (home / "fresh.key").read_text()


def put(path, text):
    """In the place of what is there, at once."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.rename(path)


def turn(link, target):
    """A link that is turned elsewhere, at once."""
    fresh = link.with_name(link.name + ".new")
    fresh.symlink_to(target)
    fresh.rename(link)


def handshake(name, port=None):
    """A verified handshake: what is shown, and that its key was at hand."""
    context = ssl.create_default_context(cafile=f"{home}/ca.pem")
    with socket.create_connection(("127.0.0.1", port or tls), 10) as plain:
        with context.wrap_socket(plain, server_hostname=f"{name}.example") as session:
            return session.getpeercert(binary_form=True)


def is_shown(name, pair, port=None):
    return handshake(name, port) == ssl.PEM_cert_to_DER_cert(pair[0].split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")


def stale():
    """How many certificates the edge says to have files that cannot be used."""
    text = ask(f"http://127.0.0.1:{plain}/status?prometheus").body.decode()
    return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith("selvedge_edge_certificates_stale "))


def said(*words):
    """Whether one line of the error log has all of the words."""
    return any(all(word in line for word in words) for line in edge.errors().splitlines())


def taken_up(name, pair, how):
    report.check(until(lambda: is_shown(name, pair), 30), lambda: f"{name}: {how}: the new pair is shown: {edge.errors()}")


def kept(name, pair, how, *words):
    report.check(until(lambda: said("the last good one stays", *map(str, words)), 30), lambda: f"{name}: {how}: the log says so, with the path: {edge.errors()}")
    report.check(is_shown(name, pair), f"{name}: {how}: the last good pair is shown")


first = {name: issue(name) for name in HOSTS}
fresh = {name: issue(name) for name in HOSTS}

# certbot: live/NAME/*.pem lead into archive/NAME.
archive, live = home / "archive/certbot", home / "live/certbot"
archive.mkdir(parents=True), live.mkdir(parents=True)
for part, text in zip(("fullchain", "privkey"), first["certbot"]):
    (archive / f"{part}1.pem").write_text(text)
    (live / f"{part}.pem").symlink_to(f"../../archive/certbot/{part}1.pem")
# Kubernetes: the files lead into ..data, which leads into a folder with a moment for a name.
mount = home / "kubernetes"


def projected(moment, pair):
    (mount / moment).mkdir(parents=True)
    for part, text in zip(("tls.crt", "tls.key"), pair):
        (mount / moment / part).write_text(text)


projected("..2026_11_29_01", first["kubernetes"])
(mount / "..data").symlink_to("..2026_11_29_01")
for part in ("tls.crt", "tls.key"):
    (mount / part).symlink_to(f"..data/{part}")
files = {"certbot": (live / "fullchain.pem", live / "privkey.pem"), "kubernetes": (mount / "tls.crt", mount / "tls.key"),
         "one-file": (home / "one-file.pem", None)}
(home / "one-file.pem").write_text("".join(first["one-file"]))
for name in HOSTS:
    if name not in files:
        files[name] = home / f"{name}.pem", home / f"{name}.key"
        for path, text in zip(files[name], first[name]):
            path.write_text(text)
# Whoever shows a certificate may enter; whose, is said by a file that changes as well.
openssl("req", "-x509", *CURVE, "-days", "2", "-subj", "/CN=elsewhere", "-keyout", f"{home}/elsewhere.key", "-out", f"{home}/elsewhere.pem")
(home / "clients.pem").write_text((home / "ca.pem").read_text())
client = issue("client")
(home / "client.pem").write_text(client[0] + client[1])

plain, tls = free_ports(2)


def host(name):
    chain, key = files[name]
    key = f'ssl.privkey = "{key}"' if key else ""
    return f'$HTTP["host"] == "{name}.example" {{ ssl.pemfile = "{chain}" {key} }}\n'


edge = Edge(plain, f"""
server.modules += ( "mod_status" )
status.status-url = "/status"
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" ssl.pemfile = "{home}/cut.pem" ssl.privkey = "{home}/cut.key" }}
$HTTP["host"] == "guarded.example" {{ ssl.pemfile = "{home}/cut.pem" ssl.privkey = "{home}/cut.key"
    ssl.verifyclient.activate = "enable" ssl.verifyclient.enforce = "enable" ssl.verifyclient.ca-file = "{home}/clients.pem" }}
""" + "".join(map(host, HOSTS)))

for name in HOSTS:
    report.check(is_shown(name, first[name]), f"{name}: the first pair is shown")
report.equal(stale(), 0, "nothing is stale")

# lighttpd takes the same files the same way: a condition that names a chain alone means the key in it, whatever key another names.
other_plain, other_tls = free_ports(2)
text = edge.file.read_text().replace(f":{tls}", f":{other_tls}").replace(f"server.port = {plain}", f"server.port = {other_plain}")
(home / "lighttpd.conf").write_text(text)
lighttpd = subprocess.Popen(["lighttpd", "-D", "-f", f"{home}/lighttpd.conf"], stderr=subprocess.DEVNULL)
atexit.register(end, lighttpd)
await_port(other_tls)
for name in HOSTS:
    report.check(is_shown(name, first[name], other_tls), f"{name}: lighttpd shows the same pair")
end(lighttpd)

# Meanwhile somebody comes all the time: no handshake fails, whatever is being changed.
stop, failed, made = threading.Event(), [], 0


def come():
    global made
    while not stop.is_set():
        for name in HOSTS:
            try:
                handshake(name)
                made += 1
            except OSError as error:
                failed.append((name, str(error)))
        stop.wait(0.05)


coming = threading.Thread(target=come)
coming.start()

# === certbot: one link after the other ===
for part, text in zip(("fullchain", "privkey"), fresh["certbot"]):
    (archive / f"{part}2.pem").write_text(text)
turn(live / "fullchain.pem", "../../archive/certbot/fullchain2.pem")
kept("certbot", first["certbot"], "half of a pair", live / "fullchain.pem", live / "privkey.pem")
report.equal(stale(), 1, "and the metrics")
# certbot takes a link away before it makes the next one.
(live / "privkey.pem").unlink()
kept("certbot", first["certbot"], "a link that is away", f"{live}/privkey.pem cannot be read")
(live / "privkey.pem").symlink_to("../../archive/certbot/privkey2.pem")
taken_up("certbot", fresh["certbot"], "the second link")
report.equal(stale(), 0, "nothing is stale any more")

# === a rename, the key first; both in one file ===
put(files["renamed"][1], fresh["renamed"][1])
put(files["renamed"][0], fresh["renamed"][0])
put(files["one-file"][0], "".join(fresh["one-file"]))
taken_up("renamed", fresh["renamed"], "renamed into place")
taken_up("one-file", fresh["one-file"], "chain and key in one file")

# === a write in place, that stands still in the middle ===
chain, key = files["in-place"]
with open(chain, "r+") as out:
    out.truncate()
    out.write(fresh["in-place"][0][:200])
    out.flush()
    kept("in-place", first["in-place"], "a file that is half written", f"{chain}")
    out.write(fresh["in-place"][0][200:])
key.write_text(fresh["in-place"][1])
taken_up("in-place", fresh["in-place"], "written in place")
key.write_text("no key at all")
kept("in-place", fresh["in-place"], "a key that is none", key, "private key")
key.write_text(fresh["in-place"][1])
report.check(until(lambda: stale() == 0, 30), lambda: f"in-place: the same key again is good: {edge.errors()}")

# === the chain is cut in its second certificate ===
whole = fresh["cut"][0]
files["cut"][1].write_text(fresh["cut"][1])
files["cut"][0].write_text(whole[: whole.rindex("-----END") - 40])
kept("cut", first["cut"], "a chain that ends too early", files["cut"][0], "chain")
files["cut"][0].write_text(whole)
taken_up("cut", fresh["cut"], "whole again")

# === a folder in another's place ===
projected("..2026_11_29_02", fresh["kubernetes"])
turn(mount / "..data", "..2026_11_29_02")
taken_up("kubernetes", fresh["kubernetes"], "..data leads elsewhere")
report.check(not said("the last good one stays", str(mount)), lambda: f"kubernetes: nothing was half in between: {edge.errors()}")
projected("..2026_11_29_03", (first["kubernetes"][0], fresh["kubernetes"][1]))
turn(mount / "..data", "..2026_11_29_03")
kept("kubernetes", fresh["kubernetes"], "a folder with a pair that is none", mount / "tls.crt", mount / "tls.key")
report.equal(stale(), 1, "kubernetes: it is stale")
turn(mount / "..data", "..2026_11_29_02")
report.check(until(lambda: stale() == 0, 30), "kubernetes: led back to the very files that are in force, nothing is stale")
report.check(is_shown("kubernetes", fresh["kubernetes"]), "kubernetes: and they are shown")

# === files that are gone ===
for path in files["removed"]:
    path.unlink()
kept("removed", first["removed"], "files that are gone", f"{files['removed'][0]} cannot be read")
# A reload is refused for them as at the start, and what is in force goes on with what it has.
before = edge.errors()
edge.process.send_signal(signal.SIGUSR1)
report.check(until(lambda: f"{files['removed'][0]} cannot be read" in edge.errors()[len(before):], 30), lambda: f"removed: a reload says what is missing: {edge.errors()[len(before):]}")
report.check(is_shown("removed", first["removed"]), "removed: and changes nothing")
for path, text in zip(files["removed"], fresh["removed"]):
    path.write_text(text)
taken_up("removed", fresh["removed"], "back again")


# === who vouches for clients ===
def may_enter():
    context = ssl.create_default_context(cafile=f"{home}/ca.pem")
    context.check_hostname = False
    context.load_cert_chain(f"{home}/client.pem")
    with socket.create_connection(("127.0.0.1", tls), 10) as raw, context.wrap_socket(raw, server_hostname="guarded.example") as session:
        session.sendall(b"GET / HTTP/1.1\r\nhost: guarded.example\r\nconnection: close\r\n\r\n")
        try:
            return session.recv(100).startswith(b"HTTP/1.1 ")
        except OSError:
            return False


report.check(may_enter(), "a client of the authority in the file may enter")
(home / "clients.pem").write_text("nobody")
report.check(until(lambda: said("the last good one stays", f"{home}/clients.pem"), 30), lambda: f"a file of authorities that is spoiled is told: {edge.errors()}")
report.check(may_enter(), "and leaves those who may enter")
put(home / "clients.pem", (home / "elsewhere.pem").read_text())
report.check(until(lambda: not may_enter(), 30), lambda: f"with another authority in it, the client may not: {edge.errors()}")

stop.set()
coming.join(30)
report.check(made > 100 and not failed, lambda: f"of all who came meanwhile, {made}, nobody was sent away: {failed[:5]}")
report.check("PRIVATE KEY" not in edge.errors(), "no key in the log")
end(edge.process)
report.end()
