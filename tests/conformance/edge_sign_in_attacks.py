"""Sign-in at an edge under attack, with providers that are real (oidc-provider, certified) and somebody between them and the edge."""

import http.client
import http.server
import json
import subprocess
import threading
import urllib.parse

from _edge import ROOT, Backend, Browser, Edge, Threads, ask, atexit, await_port, end, folder, free_ports, until
from _report import Report

report = Report()
home = folder()
edge_port, issuer_port, staff_port, partners_port, other_port = free_ports(5)
site = f"http://127.0.0.1:{edge_port}"
issuer, partners = f"http://127.0.0.1:{issuer_port}", f"http://127.0.0.1:{partners_port}"
POST = [("content-type", "application/x-www-form-urlencoded")]
SCRIPT = [("sec-fetch-mode", "cors")]


def provider(name, port, *more):
    script = ROOT / "tests/conformance/oidc/provider.mjs"
    words = ["node", script, ROOT / "target/node", port, f"{site}/.selvedge/{name}/callback", f"{site}/bye", *more]
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    atexit.register(end, process)
    if not process.stdout.readline():
        raise SystemExit("oidc-provider did not start: is it in target/node?")
    await_port(int(more[0]) if more else port)
    return process


# === somebody between the edge and its provider, who passes on everything but the answers of the token endpoint that a test changes ===
tampers, handed_out = [], []


class Between(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        connection = http.client.HTTPConnection("127.0.0.1", staff_port, timeout=20)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "content-length"):
                connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        said = answer.read()
        if self.path == "/token" and answer.status == 200:
            handed_out.append(said)
            said = tampers.pop(0)(said) if tampers else said
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = handle_any

    def log_message(self, *_):
        pass


threading.Thread(target=Threads(("127.0.0.1", issuer_port), Between).serve_forever, daemon=True).start()
staff = provider("staff", issuer_port, staff_port)
provider("partners", partners_port)


def echo(_, path, headers):
    told = [f"{name.lower()}: {value}" for name, value in headers.items()]
    return 200, [("content-type", "text/plain")], "\n".join([path, *told]).encode()


backend = Backend(echo)
(home / "secret").write_text("a secret between the two of us\n")
(home / "keys").write_text("k" * 40 + "\n")
behind = f'proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {backend.port} )) )'


def oidc(name, issuer, client="shop"):
    return f"""( "issuer" => "{issuer}", "client-id" => "{client}", "client-secret-file" => "{home}/secret",
        "cookie-keys" => "{home}/keys", "scopes" => ( "openid", "email" ), "after-logout" => "/bye" )"""


edge = Edge(edge_port, f"""
mesh.oidc = ( "staff" => {oidc("staff", issuer)}, "partners" => {oidc("partners", partners)} )
$HTTP["url"] =^ "/partners/" {{ mesh.sign-in = "oidc:partners"  {behind} }}
else $HTTP["url"] =^ "/" {{ mesh.sign-in = "oidc:staff"  {behind} }}
""")
# The same keys, name and provider, for another client.
other = Edge(other_port, f"""
mesh.oidc = ( "staff" => {oidc("staff", issuer, "gate")} )
mesh.sign-in = "oidc:staff"
{behind}
""")


def to_callback(browser, answer, person):
    """Signs a person in at the provider, and stops where the browser is sent back to the edge."""
    for _ in range(12):
        if answer.status in (302, 303):
            location = urllib.parse.urljoin(answer.url, answer.headers["location"])
            if location.startswith(f"{site}/.selvedge/"):
                return location
            answer = browser.ask(location)
            continue
        prompt = "login" if b'name="login"' in answer.body else "consent"
        fields = {"prompt": prompt, "login": person, "password": "x"}
        answer = browser.ask(answer.url, "POST", POST, urllib.parse.urlencode(fields).encode())
    raise SystemExit(f"the provider leads nowhere: {answer.status} {answer.url} {answer.body[:500]}")


def comes_back(browser, person, target="/a"):
    return to_callback(browser, browser.ask(site + target), person)


def signed_in(person, target="/a", browser=None):
    browser = browser or Browser()
    return browser, browser.ask(comes_back(browser, person, target))


def subject(browser, target="/a"):
    """Who the backend is told asks; the status where it is not asked."""
    answer = browser.ask(site + target)
    lines = [line for line in answer.body.decode().split("\n") if line.startswith("x-selvedge-subject: ")]
    return lines[0].split(": ")[1] if answer.status == 200 and lines else answer.status


def query(url):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def with_query(url, **changes):
    fields = {**query(url), **changes}
    return urllib.parse.urlunsplit(urllib.parse.urlsplit(url)._replace(query=urllib.parse.urlencode({name: value for name, value in fields.items() if value is not None})))


def kept(browser):
    return {name: value for name, value in browser.jar(site).items() if name.startswith("selvedge-") and "-wait-" not in name}


# === codes and states of others ===
victim, attacker = Browser(), Browser()
own, stolen = comes_back(victim, "ann"), comes_back(attacker, "bob")
answer = victim.ask(with_query(own, code=query(stolen)["code"]))
report.equal((answer.status, kept(victim)), (403, {}), "a code of another sign-in, injected into one's own, is refused: it has another verifier")
report.equal(victim.ask(own).status, 400, "whose state is used up by that")
report.equal(victim.ask(with_query(stolen, state=query(own)["state"])).status, 400, "and stays so")
report.equal(attacker.ask(with_query(stolen, state=query(own)["state"])).status, 400, "a state of somebody else is none")
report.equal(attacker.ask(with_query(stolen, iss=None)).status, 400, "a provider that names itself is not silent about it")
report.equal(attacker.ask(stolen + "&state=" + query(stolen)["state"]).status, 400, "a callback that can be read in two ways is none")
report.equal(signed_in("ann", browser=victim)[1].status, 303, "whoever was attacked signs in all the same")

# === a token of an earlier sign-in ===
earlier, _ = signed_in("bob")
before = handed_out[-1]
tampers.append(lambda _: before)
replayed, answer = signed_in("ann")
report.equal((answer.status, kept(replayed)), (403, {}), "a token of another sign-in is replayed, and not believed: it has another nonce")


def changed_token(said):
    said = json.loads(said)
    head, claims, signature = said["id_token"].split(".")
    said["id_token"] = f"{head}.{claims[:-2]}{'AA' if claims[-2:] != 'AA' else 'BB'}.{signature}"
    return json.dumps(said).encode()


for what, tamper in (("that was changed", changed_token), ("without a signature", lambda said: json.dumps({**json.loads(said), "id_token": ".".join(json.loads(said)["id_token"].split(".")[:2]) + "."}).encode()),
                     ("of another access token", lambda said: json.dumps({**json.loads(said), "access_token": "another"}).encode()),
                     ("that is none", lambda said: b"{}"), ("in no JSON", lambda said: b"<html>")):
    tampers.append(tamper)
    nobody, answer = signed_in("ann")
    report.equal((answer.status, kept(nobody)), (403, {}), f"a token {what}")

# === where people are sent ===
answer = ask(f"{site}/a", headers=[("host", "evil.example")])
redirect = query(answer.headers["location"])["redirect_uri"]
at_provider = ask(answer.headers["location"])
report.check(redirect.startswith("http://evil.example/") and at_provider.status == 400 and not at_provider.headers["location"], lambda: f"a host that was made up leads nowhere: {redirect} {at_provider.status}")
begun = ask(f"{site}/a").headers["location"]
report.equal(ask(with_query(begun, redirect_uri="https://evil.example/")).status, 400, "nor does a way back that was changed")
for target in ("//evil.example/", "/%2f/evil.example/", "/..//evil.example/", "/\\evil.example/", "/a/..%2f%2fevil.example", "/a?next=//evil.example"):
    somebody, answer = signed_in("ann", target)
    back = answer.headers["location"]
    landed = urllib.parse.urlsplit(urllib.parse.urljoin(site, back))
    report.check(answer.status == 303 and landed.netloc == f"127.0.0.1:{edge_port}" and not back.startswith(("//", "/\\")), lambda: f"after signing in at {target}: {back}")
answer = somebody.ask(f"{site}/.selvedge/staff/logout?post_logout_redirect_uri=https://evil.example&next=//evil.example&state=x")
report.equal(query(answer.headers["location"]).get("post_logout_redirect_uri"), f"{site}/bye", "after leaving as well")
report.check(answer.headers["location"].startswith(f"{issuer}/session/end?") and "evil" not in answer.headers["location"], lambda: answer.headers["location"])

# === two providers at one edge ===
mixed = Browser()
at_staff = comes_back(mixed, "bob", "/a")
report.equal(mixed.ask(at_staff.replace("/staff/", "/partners/")).status, 400, "a callback of one provider is none of the other's")
at_partners = to_callback(mixed, mixed.ask(f"{site}/partners/"), "ann")
report.equal(mixed.ask(with_query(at_partners, code=query(at_staff)["code"])).status, 403, "nor is its code: the other provider does not know it")
at_partners = to_callback(mixed, mixed.ask(f"{site}/partners/"), "ann")
report.equal(mixed.ask(with_query(at_partners, iss=issuer)).status, 400, "nor its name")
report.equal(mixed.ask(at_staff).status, 303, "each by its own way")
report.equal((subject(mixed), subject(mixed, "/partners/")), ("bob", 302), "who signed in with one has not with the other")
mixed.jar(site)["selvedge-partners"] = mixed.jar(site)["selvedge-staff"]
report.equal(subject(mixed, "/partners/"), 302, "not even with its cookie under the other's name")
answer = ask(f"http://127.0.0.1:{other_port}/", headers=[("cookie", f"selvedge-staff={mixed.jar(site)['selvedge-staff']}")])
report.equal(answer.status, 302, "nor at another site of the same name and keys, which is another client")

# === a session that somebody else planted ===
planted = Browser()
planted.jar(site).update(kept(earlier))
report.equal(subject(planted), "bob", "who brings a cookie is whom it names")
_, answer = signed_in("ann", "/partners/", planted)
before = dict(kept(planted))
planted.ask(f"{site}/.selvedge/staff/logout")
_, answer = signed_in("ann", browser=planted)
report.check(kept(planted)["selvedge-staff"] != before["selvedge-staff"] and subject(planted) == "ann", "whoever signs in has a session of their own")
report.check(subject(earlier) in ("bob", 302), "and whoever planted one has nothing of it")
twice = Browser()
twice.jar(site).update(kept(planted))
answer = ask(f"{site}/a", headers=[("cookie", f"selvedge-staff={kept(planted)['selvedge-staff']}; selvedge-staff=planted")])
report.equal(answer.status, 302, "of two cookies of one name neither is believed")

# === how much a browser is given to keep ===
much, answer = signed_in("many")
parts = [name for name in kept(much) if name.startswith("selvedge-staff.")]
report.check(answer.status == 303 and len(parts) >= 2 and max(len(value) for value in kept(much).values()) <= 4000, lambda: f"what is long is kept in several cookies: {answer.status} {kept(much).keys()}")
report.equal(subject(much), "many", "which together are the session")
missing = Browser()
missing.jar(site).update({name: value for name, value in kept(much).items() if name != parts[0]})
report.equal(subject(missing), 302, "and without one of them none")
much.ask(f"{site}/.selvedge/staff/logout")
report.equal(kept(much), {}, "whoever leaves leaves none behind")
most, answer = signed_in("most")
report.check(answer.status == 403 and kept(most) == {} and b"too long" in answer.body, lambda: f"more than that is refused, and said: {answer.status} {answer.body}")
lost = Browser()
for _ in range(40):
    answer = lost.ask(f"{site}/a")
waiting = [name for name in lost.jar(site) if "-wait-" in name]
report.check(answer.status == 302 and len(waiting) <= 8, lambda: f"sign-ins that nobody completes do not pile up: {len(waiting)}")
report.equal(lost.ask(to_callback(lost, answer, "ann")).status, 303, "and the last of them is completed")

# === the provider begins anew: with another key, and without anything that it had handed out ===
live, _ = signed_in("ann")
end(staff)
staff = provider("staff", issuer_port, staff_port, "the-second-key")


def under_the_new_key():
    browser, answer = signed_in("bob")
    return browser if answer.status == 303 else None


fresh = until(under_the_new_key)
report.check(fresh and subject(fresh) == "bob", "a new key is asked for when it is first seen")
report.equal(until(lambda: (found := live.ask(f"{site}/a", headers=SCRIPT)).status != 200 and found.status), 401, "a session that is not renewed any more is none: a script is told so")
report.equal(live.ask(f"{site}/a").status, 302, "and a person is asked anew")
report.equal(subject(fresh), "bob", "while others go on")

# === every request that was refused has reached nobody ===
told = [headers.get("x-selvedge-subject") for _, _, headers in backend.requests]
report.equal(set(told) <= {"ann", "bob", "many"}, True, "the backend has heard of nobody whose sign-in was refused")
report.end()
