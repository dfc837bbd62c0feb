"""People sign in at an edge by OpenID Connect, with a provider that is one (oidc-provider, certified)."""

import pathlib
import signal
import subprocess
import time
import urllib.parse

from _edge import ROOT, Backend, Browser, Edge, ask, atexit, await_port, end, folder, free_ports, until
from _report import Report

report = Report()
home = folder()
edge_port, provider_port = free_ports(2)
site = f"http://127.0.0.1:{edge_port}"
issuer = f"http://127.0.0.1:{provider_port}"


def provider():
    script = ROOT / "tests/conformance/oidc/provider.mjs"
    words = ["node", script, ROOT / "target/node", provider_port, f"{site}/.selvedge/staff/callback", f"{site}/bye"]
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    atexit.register(end, process)
    if not process.stdout.readline():
        raise SystemExit("oidc-provider did not start: is it in target/node?")
    await_port(provider_port)
    return process


def echo(_, path, headers):
    told = [f"{name.lower()}: {value}" for name, value in headers.items()]
    return 200, [("content-type", "text/plain")], "\n".join([path, *told]).encode()


running = provider()
backend = Backend(echo)
(home / "secret").write_text("a secret between the two of us\n")
old_key, new_key = "k" * 40, "n" * 40
(home / "keys").write_text(old_key + "\n")
configuration = f"""
mesh.oidc = ( "staff" => (
    "issuer" => "{issuer}", "client-id" => "shop", "client-secret-file" => "{home}/secret",
    "cookie-keys" => "{home}/keys", "scopes" => ( "openid", "email" ), "after-logout" => "/bye" ) )
$HTTP["url"] =^ "/secret/" {{
    mesh.sign-in = "oidc:staff"
    mesh.identity-headers = ( "x-user" => "email" )
    proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {backend.port} )) )
}}
$HTTP["url"] =^ "/ops/" {{
    mesh.sign-in = "oidc:staff"
    mesh.claims = ( "groups" => ( "ops" ) )
    proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {backend.port} )) )
}}
"""
edge = Edge(edge_port, configuration)


def form(**fields):
    return urllib.parse.urlencode(fields).encode()


POST = [("content-type", "application/x-www-form-urlencoded")]


def to_callback(browser, target, person):
    """Signs a person in at the provider, and stops where the browser is sent back to the edge."""
    answer = browser.ask(site + target)
    for _ in range(12):
        if answer.status in (302, 303):
            location = urllib.parse.urljoin(answer.url, answer.headers["location"])
            if location.startswith(f"{site}/.selvedge/"):
                return location
            answer = browser.ask(location)
            continue
        page = answer.body.decode()
        prompt = "login" if 'name="login"' in page else "consent"
        fields = {"prompt": prompt, "login": person, "password": "x"} if prompt == "login" else {"prompt": prompt}
        answer = browser.ask(answer.url, "POST", POST, form(**fields))
    raise SystemExit(f"the provider leads nowhere: {answer.status} {answer.url} {answer.body[:500]}")


def signed_in(target, person):
    browser = Browser()
    callback = to_callback(browser, target, person)
    answer = browser.ask(callback)
    return browser, callback, answer


# === a stranger ===
answer = ask(f"{site}/secret/a?b=c")
report.equal(answer.status, 302, "a stranger is sent to the provider")
query = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["location"]).query)
report.check(answer.headers["location"].startswith(f"{issuer}/auth?"), "to the provider that is configured")
report.equal(query.get("code_challenge_method"), ["S256"], "with PKCE")
report.check(len(query.get("state", [""])[0]) >= 22 and len(query.get("nonce", [""])[0]) >= 22, "with state and nonce")
report.check("HttpOnly; SameSite=Lax" in answer.cookies()[0], "the cookie is out of scripts' reach")
report.equal(answer.headers["cache-control"], "no-store", "nobody keeps that answer")
for headers in ([("sec-fetch-mode", "cors")], [("x-requested-with", "XMLHttpRequest")]):
    report.equal(ask(f"{site}/secret/", headers=headers).status, 401, f"a script is not sent away: {headers}")
report.equal(ask(f"{site}/secret/", "POST", body=b"x").status, 401, "what was posted is not sent away")
report.equal(len(backend.requests), 0, "the backend has heard of none of them")

# === somebody ===
browser, callback, answer = signed_in("/secret/a?b=c", "ann")
report.equal((answer.status, answer.headers["location"]), (303, "/secret/a?b=c"), "back to where they wanted to go")
forged = [("X-Selvedge-Subject", "eve"), ("X_Selvedge_Issuer", "eve"), ("X-User", "eve"), ("X_User", "eve")]
answer = browser.ask(f"{site}/secret/a?b=c", headers=forged)
lines = answer.body.decode().split("\n")
report.equal((answer.status, lines[0]), (200, "/secret/a?b=c"), "the backend answers")
report.check("x-selvedge-subject: ann" in lines and f"x-selvedge-issuer: {issuer}" in lines, lambda: f"told who asks: {lines}")
report.check("x-user: ann@example.com" in lines, "a claim in a header")
report.check(not any("eve" in line for line in lines), lambda: f"nothing that was forged arrives: {lines}")
report.equal(browser.ask(f"{site}/ops/").status, 403, "known, and not let in")
bob, _, _ = signed_in("/ops/", "bob")
report.equal(bob.ask(f"{site}/ops/").status, 200, "let in by a claim")

# === attacks ===
report.equal(browser.ask(callback).status, 400, "a code is taken once")
report.equal(ask(callback).status, 400, "a callback of another browser is no callback")
victim = Browser()
victim.ask(f"{site}/secret/")
attackers = to_callback(Browser(), "/secret/", "bob")
report.equal(victim.ask(attackers).status, 400, "nobody is signed in as the attacker")
report.equal(ask(f"{site}/.selvedge/staff/callback?code=x").status, 400, "no state, no sign-in")
mixed = Browser()
callback = to_callback(mixed, "/secret/", "ann")
report.equal(mixed.ask(callback.replace(urllib.parse.quote(issuer, safe=""), "https%3A%2F%2Fevil.example")).status, 400, "a mix-up")
wrong = Browser()
callback = to_callback(wrong, "/secret/", "ann")
parts = urllib.parse.urlsplit(callback)
fields = urllib.parse.parse_qs(parts.query)
fields["code"] = ["invented"]
invented = f"{site}{parts.path}?{urllib.parse.urlencode(fields, doseq=True)}"
report.equal(wrong.ask(invented).status, 403, "an invented code is refused by the provider")
answer = ask(f"{site}//evil.example/secret/..%2fx")
report.check("evil" not in (answer.headers["location"] or ""), "no open redirect")
jar = browser.jar(site)
name = next(name for name in jar if name == "selvedge-staff")
kept = jar[name]
for index in (0, 10, len(kept) // 2, len(kept) - 2):
    jar[name] = kept[:index] + ("A" if kept[index] != "A" else "B") + kept[index + 1 :]
    report.equal(browser.ask(f"{site}/secret/").status, 302, f"a cookie that was changed at {index} is none")
jar[name] = kept
for pending in [name for name in jar if "-wait-" in name]:
    del jar[pending]

# === a session grows stale and is renewed ===
deadline = time.monotonic() + 60
renewed = None
while time.monotonic() < deadline:
    answer = browser.ask(f"{site}/secret/")
    if answer.status != 200:
        break
    if answer.cookies():
        renewed = answer
        break
    time.sleep(0.1)
report.check(renewed is not None, lambda: f"a session is renewed without the person: {answer.status}")
report.check(browser.jar(site)["selvedge-staff"] != kept, "and the browser keeps the new one")

# === keys are rotated ===
def with_keys(text):
    (home / "keys").write_text(text)
    marker = f'setenv.add-response-header = ( "x-keys" => "{abs(hash(text))}" )\n'
    edge.reload(configuration + marker, lambda: ask(f"{site}/none").headers["x-keys"] == str(abs(hash(text))))


with_keys(f"# the new one seals\n{new_key}\n{old_key}\n")
report.equal(browser.ask(f"{site}/secret/").status, 200, "a session under the old key goes on")
fresh, _, _ = signed_in("/secret/", "ann")
with_keys(f"{new_key}\n")
report.equal(fresh.ask(f"{site}/secret/").status, 200, "one under the new key goes on")

# === leaving ===
answer = fresh.ask(f"{site}/.selvedge/staff/logout", headers=[("sec-fetch-site", "cross-site")])
report.equal(answer.status, 403, "another site signs nobody out")
answer = fresh.ask(f"{site}/.selvedge/staff/logout")
report.equal(answer.status, 303, "somebody leaves")
report.check(answer.headers["location"].startswith(f"{issuer}/session/end?"), "and the provider is told")
report.check("selvedge-staff" not in fresh.jar(site), "the browser keeps nothing")
report.equal(fresh.follow(answer).status, 200, "the provider knows the client and the way back")
report.equal(fresh.ask(f"{site}/secret/").status, 302, "a stranger again")

# === the provider is away ===
def alone():
    """A session of which the provider, which stands still, is not asked: it is fresh for three seconds."""
    session, _, _ = signed_in("/secret/", "ann")
    running.send_signal(signal.SIGSTOP)
    if session.ask(f"{site}/secret/").status == 200:
        return session
    running.send_signal(signal.SIGCONT)
    return None


last = until(alone)
report.check(last, "a session that is fresh needs nobody")
running.kill()
running.wait()
deadline = time.monotonic() + 60
while time.monotonic() < deadline and (answer := last.ask(f"{site}/secret/")).status == 200:
    time.sleep(0.1)
report.equal(answer.status, 503, "one that is stale waits for the provider: nobody is let in unchecked")
cold, cold_provider = free_ports(2)
(home / "keys2").write_text("c" * 40)
second = Edge(
    cold,
    f"""
mesh.oidc = ( "staff" => ( "issuer" => "http://127.0.0.1:{cold_provider}", "client-id" => "shop", "cookie-keys" => "{home}/keys2" ) )
mesh.jwt = ( "api" => ( "issuer" => "i", "audience" => "a", "jwks" => "http://127.0.0.1:{cold_provider}/keys" ) )
$HTTP["url"] =^ "/api/" {{ mesh.sign-in = "jwt:api" }}
else $HTTP["url"] =^ "/" {{ mesh.sign-in = "oidc:staff" }}
""",
)
report.equal(ask(f"http://127.0.0.1:{cold}/").status, 503, "a provider that was never there lets nobody in")
token = [("authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.eA")]
report.equal(ask(f"http://127.0.0.1:{cold}/api/", headers=token).status, 503, "nor do keys that were never there")
report.equal(ask(f"http://127.0.0.1:{cold}/api/").status, 401, "and without a token it is said what is missing")

report.end()
