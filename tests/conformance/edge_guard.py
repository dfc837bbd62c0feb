"""Limits, the cache, early hints and forward-auth at an edge."""

import socket
import subprocess
import threading
import time

from _edge import Backend, Edge, ask, await_port, folder, free_ports
from _report import Report

report = Report()
port = free_ports(1)[0]
site = f"http://127.0.0.1:{port}"
gate = threading.Event()
state = {"tag": '"1"', "control": "max-age=60", "status": 200}


def answer(method, path, headers):
    if path.startswith("/cached/slow"):
        gate.wait(10)
    if path.startswith("/cached/"):
        if headers.get("if-none-match") == state["tag"]:
            return 304, [("cache-control", state["control"]), ("etag", state["tag"])], b""
        extra = [("vary", "accept-language")] if "vary" in path else []
        extra += [("set-cookie", "a=b")] if "cookie" in path else []
        body = f"{path} {headers.get('accept-language')} {len(backend.requests)}".encode()
        return state["status"], [("cache-control", state["control"]), ("etag", state["tag"]), *extra], body
    return 200, [("content-type", "text/plain")], repr(sorted(headers.items())).encode()


def decide(_, path, headers):
    if headers.get("cookie") == "key=right":
        return 200, [("x-user", "ann"), ("x-role", "admin"), ("x-other", "no")], b""
    return 401, [("www-authenticate", "Key"), ("x-role", "admin")], b"no key"


backend, decider = Backend(answer), Backend(decide)
behind = f'proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {backend.port} )) )'
edge = Edge(
    port,
    f"""
server.feature-flags = ( "server.h2c" => "enable" )
$HTTP["url"] =^ "/limited/" {{ mesh.per-client = ( "rate" => "3/m", "key" => "header:x-key" )  {behind} }}
$HTTP["url"] =^ "/cached/" {{ mesh.cache = "enable"  {behind} }}
$HTTP["url"] =^ "/hinted/" {{ mesh.early-hints = ( "</a.css>; rel=preload; as=style" )  {behind} }}
$HTTP["url"] =^ "/asked/" {{
    mesh.forward-auth = ( "url" => "http://127.0.0.1:{decider.port}/check", "take" => ( "x-role" ), "subject" => "x-user" )
    {behind}
}}
""",
)


def hits():
    return len(backend.requests)


# === limits ===
key = [("x-key", "one")]
statuses = [ask(f"{site}/limited/", headers=key).status for _ in range(5)]
report.equal(statuses, [200, 200, 200, 429, 429], "so many and no more")
refused = ask(f"{site}/limited/", headers=key)
report.check(1 <= int(refused.headers["retry-after"]) <= 20, "and when to come again")
report.equal(ask(f"{site}/limited/", headers=[("x-key", "two")]).status, 200, "another client is not meant")

# === the cache ===
before = hits()
first, second = ask(f"{site}/cached/a"), ask(f"{site}/cached/a")
report.equal((hits() - before, first.body == second.body), (1, True), "one answer for two requests")
report.equal(second.headers["cache-status"], "selvedge; hit", "said in Cache-Status")
report.check(int(second.headers["age"]) >= 0, "with its age")
report.equal(ask(f"{site}/cached/a", headers=[("if-none-match", '"1"')]).status, 304, "who has it is told so")
part = ask(f"{site}/cached/a", headers=[("range", "bytes=0-3")])
report.equal((part.status, part.body), (206, first.body[:4]), "a part of what is kept")
report.equal(ask(f"{site}/cached/a", "HEAD").headers["cache-status"], "selvedge; hit", "HEAD of what is kept")
with_h2 = subprocess.run(["curl", "-sS", "--max-time", "60", "--http2-prior-knowledge", "-D", "-", f"{site}/cached/a"], capture_output=True, text=True).stdout
report.check(with_h2.startswith("HTTP/2 200") and "cache-status: selvedge; hit" in with_h2 and with_h2.endswith(first.body.decode()),
             lambda: f"what is kept is sent by HTTP/2 as well: {with_h2}")
report.equal(hits() - before, 1, "all of it without the backend")
other = ask(f"{site}/cached/a", headers=[("host", "other.example")])
report.check(other.body != first.body and hits() - before == 2, "another host is another answer")
ask(f"{site}/cached/a?x")
report.equal(hits() - before, 3, "another query is another answer")

before = hits()
bodies = {ask(f"{site}/cached/vary", headers=[("accept-language", l)]).body for l in ("de", "en", "de", "en")}
report.equal((hits() - before, len(bodies)), (2, 2), "one answer for each language")
for path, why in (("cookie", "what sets a cookie is not kept"),):
    before = hits()
    ask(f"{site}/cached/{path}"), ask(f"{site}/cached/{path}")
    report.equal(hits() - before, 2, why)
before = hits()
auth = [("authorization", "Basic eDp5")]
ask(f"{site}/cached/auth", headers=auth), ask(f"{site}/cached/auth", headers=auth)
report.equal(hits() - before, 2, "what somebody was shown is not kept for others")

before = hits()
results = []
threads = [threading.Thread(target=lambda: results.append(ask(f"{site}/cached/slow").body)) for _ in range(20)]
for thread in threads:
    thread.start()
deadline = time.monotonic() + 10
while hits() == before and time.monotonic() < deadline:
    time.sleep(0.01)
gate.set()
for thread in threads:
    thread.join(20)
report.equal((hits() - before, len(results), len(set(results))), (1, 20, 1), "twenty ask at once, the backend hears one")

report.equal(ask(f"{site}/cached/a", "PURGE").status, 200, "it is forgotten")
before = hits()
ask(f"{site}/cached/a")
report.equal(hits() - before, 1, "and asked for anew")
ask(f"{site}/cached/a", "POST", body=b"x")
before = hits()
ask(f"{site}/cached/a")
report.equal(hits() - before, 1, "what was changed is asked for anew")
ask(f"{site}/cached/deep/b")
report.equal(ask(f"{site}/cached/deep/", "PURGE", [("x-purge", "prefix")]).body, b"1 forgotten\n", "all below a path")

state["control"] = "max-age=0, stale-while-revalidate=60"
first = ask(f"{site}/cached/swr")
before = hits()
state["tag"] = '"2"'
stale = ask(f"{site}/cached/swr")
report.equal((stale.body, stale.headers["cache-status"]), (first.body, "selvedge; hit; detail=stale-while-revalidate"), "the old answer at once")
deadline = time.monotonic() + 10
while hits() == before and time.monotonic() < deadline:
    time.sleep(0.01)
report.equal(hits() - before, 1, "and the new one fetched behind its back")
deadline = time.monotonic() + 10
while (renewed := ask(f"{site}/cached/swr")).body == first.body and time.monotonic() < deadline:
    time.sleep(0.01)
report.check(renewed.body != first.body, "which the next ones get")

state["control"] = "no-cache"
first = ask(f"{site}/cached/checked")
before = hits()
again = ask(f"{site}/cached/checked")
report.equal((hits() - before, again.body), (1, first.body), "the backend says that it is still good")
report.equal(backend.requests[-1][2].get("if-none-match"), state["tag"], "because it was asked so")

state["control"] = "max-age=0, stale-if-error=60"
first = ask(f"{site}/cached/failing")
state["status"] = 500
state["tag"] = '"3"'
report.equal(ask(f"{site}/cached/failing").body, first.body, "a backend that fails is stood in for")

# === early hints ===
with socket.create_connection(("127.0.0.1", port), 10) as page:
    page.sendall(b"GET /hinted/ HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n")
    told = b""
    while chunk := page.recv(65536):
        told += chunk
heads = [line for line in told.split(b"\r\n") if line.startswith(b"HTTP/")]
report.equal(heads, [b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 200 OK"], "a page that is opened is told ahead")
report.check(b"\r\nlink: </a.css>; rel=preload; as=style\r\n" in told.split(b"200 OK")[0].lower(), "of its links")
report.equal(ask(f"{site}/hinted/").status, 200, "nobody else is told")

# === forward-auth ===
refused = ask(f"{site}/asked/")
report.equal((refused.status, refused.body, refused.headers["www-authenticate"]), (401, b"no key", "Key"), "no, in its own words")
report.equal(refused.headers["x-role"], None, "and nothing that was between us")
let_in = ask(f"{site}/asked/", headers=[("cookie", "key=right"), ("X-Role", "forged"), ("X_Role", "forged"), ("X-User", "forged")])
report.equal(let_in.status, 200, "yes")
report.check(b"'admin'" in let_in.body and b"forged" not in let_in.body, lambda: f"its word alone: {let_in.body}")
question = decider.requests[-1][2]
report.equal((question["x-forwarded-uri"], question["x-forwarded-method"]), ("/asked/", "GET"), "it was asked about this request")
decider.close()
report.equal(ask(f"{site}/asked/", headers=[("cookie", "key=right")]).status, 503, "nobody is let in because it is away")

report.end()
