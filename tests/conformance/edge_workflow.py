"""Requests that start workflows at an edge: what they pass on, how long they wait, whom they tell, and tasks that a request completes."""

import base64
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import boto3
import botocore.config

import _server
from _edge import ROOT, ask, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
home = folder()
home.chmod(0o755)
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
endpoint = _server.endpoint()
ROLE = "arn:aws:iam::123456789012:role/edge"
states = boto3.client(
    "stepfunctions", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=botocore.config.Config(inject_host_prefix=False, read_timeout=90, retries={"total_max_attempts": 1}))


def machine(name, states_, start, kind="STANDARD"):
    definition = json.dumps({"StartAt": start, "States": states_})
    return states.create_state_machine(name=name, definition=definition, roleArn=ROLE, type=kind)["stateMachineArn"]


ECHO = {"Echo": {"Type": "Pass", "End": True}}
machine("quick", ECHO, "Echo", "EXPRESS")
kept = machine("kept", ECHO, "Echo")
machine("shaped", {"Say": {"Type": "Pass", "End": True, "Result": {
    "statusCode": 201, "headers": {"x-made-by": "the machine", "Content-Length": "3", "connection": "close"}, "body": {"made": True}}}}, "Say", "EXPRESS")
machine("refuses", {"No": {"Type": "Fail", "Error": "Denied", "Cause": "a secret of ours"}}, "No")
machine("slow-express", {"Wait": {"Type": "Wait", "Seconds": 20, "End": True}}, "Wait", "EXPRESS")
activity = states.create_activity(name="answer")["activityArn"]
asking = {"Ask": {"Type": "Task", "Resource": activity, "End": True, "Catch": [{"ErrorEquals": ["Denied"], "Next": "Denied"}]},
          "Denied": {"Type": "Fail", "Error": "Denied", "Cause": "somebody said no"}}
waits = machine("waits", asking, "Ask")
step_activity = states.create_activity(name="step")["activityArn"]
steps = machine("steps", {"First": {"Type": "Pass", "Next": "Ask"}, "Ask": {"Type": "Task", "Resource": step_activity, "Next": "Last"},
                          "Last": {"Type": "Pass", "Result": {"a secret": "of the machine"}, "End": True}}, "First")

for user in ("ann", "bob"):
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "right"], capture_output=True, text=True, check=True).stdout.strip()
    with open(home / "users", "a") as users:
        users.write(f"{user}:{hashed}\n")
(home / "files").mkdir()
(home / "files/report.txt").write_text("the report\n")
(home / "outside.txt").write_text("not for anybody\n")
machine("hands-out", {"Grant": {"Type": "Pass", "End": True, "Parameters": {
    "file.$": "$.pathVariables.name", "seconds": 2}}}, "Grant")

port, conf_port, *replicas = free_ports(4)
site = f"http://127.0.0.1:{port}"
AUTH = f'auth = {{ htpasswd = "{home}/users" }}'
(home / "edge.toml").write_text(f"""
[[listen]]
address = "127.0.0.1:{port}"
[types]
".txt" = "text/plain"
[[site]]
[[site.route]]
path = "/echo/{{kind}}/{{number}}"
workflow = {{ machine = "quick", wait = "5s", headers = ["X-Trace", "X-Absent", "X-Selvedge-Subject"] }}
{AUTH}
[[site.route]]
path = "/nobody"
workflow = {{ machine = "quick", wait = "5s" }}
[[site.route]]
path = "/shaped"
workflow = {{ machine = "shaped", wait = "5s" }}
[[site.route]]
path = "/refuses"
workflow = {{ machine = "refuses", wait = "5s" }}
[[site.route]]
path = "/refused"
workflow = {{ machine = "refuses", wait = "5s", errors = {{ Denied = 403 }} }}
[[site.route]]
path = "/kept"
workflow = {{ machine = "kept", wait = "0" }}
{AUTH}
[[site.route]]
path = "/waits"
method = ["POST"]
workflow = {{ machine = "{waits}", wait = "1s", else = "202" }}
{AUTH}
[[site.route]]
path = "/told"
workflow = {{ machine = "steps", wait = "0", states = true }}
{AUTH}
[[site.route]]
path = "/times-out"
workflow = {{ machine = "waits", wait = "1s", else = "504" }}
[[site.route]]
path = "/slow-express"
workflow = {{ machine = "slow-express", wait = "1s" }}
[[site.route]]
path = "/missing"
workflow = {{ machine = "nobody-made-it", wait = "1s" }}
[[site.route]]
path = "/resume"
workflow = {{ resume = true }}
{AUTH}
[[site.route]]
path = "/files/{{name*}}"
workflow = {{ machine = "hands-out", wait = "5s", files = "{home}/files" }}
""")
(home / "lighttpd.conf").write_text(f"""
server.document-root = "{home}"
server.bind = "127.0.0.1"
server.port = {conf_port}
$HTTP["url"] =^ "/echo/" {{ mesh.workflow = ( "machine" => "quick", "wait" => 5, "headers" => ( "X-Trace" ) ) }}
$HTTP["url"] == "/kept" {{ mesh.workflow = "kept" }}
""")
edges = {}


def start(file, where):
    log = open(home / f"{file}.log", "w+b")
    process = subprocess.Popen([BINARY, "edge", "-D", "-f", str(home / file), "--endpoint-url", endpoint], stderr=log)
    atexit.register(end, process)
    edges[file] = process
    await_port(where)


start("edge.toml", port)
start("lighttpd.conf", conf_port)


# Two replicas that share keys, which were changed at one of them already.
for number, at in enumerate(replicas):
    (home / f"keys{number}").write_text("".join(f"{key * 32}\n" for key in ("b", "a")[:number + 1][::-1]))
    (home / f"replica{number}.toml").write_text(f"""
[edge]
keys = "{home}/keys{number}"
[[listen]]
address = "127.0.0.1:{at}"
[[site]]
[[site.route]]
path = "/kept"
workflow = {{ machine = "kept", wait = "0" }}
{AUTH}
[[site.route]]
path = "/told"
workflow = {{ machine = "steps", wait = "0", states = true }}
{AUTH}
""")


def who(name):
    return [("authorization", "Basic " + base64.b64encode(f"{name}:right".encode()).decode())]


ANN, BOB = who("ann"), who("bob")


def until(found, seconds=60):
    deadline = time.monotonic() + seconds
    while not (answer := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


# === what a workflow is told ===
answer = ask(f"{site}/echo/order/17?a=1&b=x%20y&a=2", "POST",
             ANN + [("x-trace", "t1"), ("x-selvedge-subject", "eve"), ("content-type", "application/json")], b'{"item": "tea"}')
told = json.loads(answer.body)
report.equal(answer.status, 200, "an express machine's end is the answer")
report.equal((told["method"], told["path"], told["pathVariables"]), ("POST", "/echo/order/17", {"kind": "order", "number": "17"}), "method, path, variables")
report.equal((told["query"], told["body"]), ({"a": ["1", "2"], "b": "x y"}, {"item": "tea"}), "query, body")
report.equal((told["headers"], told["host"]), ({"x-trace": "t1"}, f"127.0.0.1:{port}"), "headers that were asked for, and none that is ours to set")
report.equal(told["identity"], {"user": "ann", "method": "Basic"}, "who was verified")
report.equal(ask(f"{site}/echo/a/b").status, 401, "and nobody else starts it")
told = json.loads(ask(f"{site}/nobody", "POST", [("authorization", "Basic " + base64.b64encode(b"eve:x").decode())], b"text").body)
report.equal((told["identity"], told["body"]), (None, "text"), "who was not asked is nobody; a body of text")
told = json.loads(ask(f"{site}/nobody", "POST", body=b"\xff\xfe").body)
report.equal(told["body"], {"base64": "//4="}, "a body of bytes")
told = json.loads(ask(f"http://127.0.0.1:{conf_port}/echo/x?y=1", headers=[("x-trace", "t2")]).body)
report.equal((told["headers"], told["query"]), ({"x-trace": "t2"}, {"y": "1"}), "mesh.workflow in lighttpd.conf does the same")
answer = ask(f"{site}/shaped")
report.equal((answer.status, answer.headers["x-made-by"], answer.body), (201, "the machine", b'{"made":true}'), "a machine sets status, headers, body")
report.check(answer.headers["content-length"] == "13", "and not the framing")
answer = ask(f"{site}/refuses")
report.equal((answer.status, answer.body), (502, b'{"error":"Denied"}'), "a failure has its name, and keeps its cause")
report.equal(ask(f"{site}/refused").status, 403, "or a status of its own")
report.equal(ask(f"{site}/missing").status, 503, "a machine that is not there")
report.equal(ask(f"{site}/nobody", "POST", body=b"x" * (256 * 1024 + 1)).status, 413, "a body that no input can hold")

# === 202, and how it goes on ===
for address in (f"{site}/kept", f"http://127.0.0.1:{conf_port}/kept"):
    answer = ask(address, headers=ANN)
    report.equal(answer.status, 202, "nobody waits")
    where = address.rsplit("/", 1)[0] + answer.headers["location"]
    done = until(lambda: (found := ask(where, headers=ANN)).status == 200 and found)
    report.check(done and json.loads(done.body)["path"] == "/kept", "its address answers with the end")
report.equal(ask(where.replace(str(conf_port), str(port)), headers=ANN).status, 404, "an address of another edge is none")
there = [f"http://127.0.0.1:{at}" for at in replicas]
for number, at in enumerate(replicas):
    start(f"replica{number}.toml", at)
first = ask(f"{there[0]}/kept", headers=ANN).headers["location"]
done = until(lambda: (found := ask(there[1] + first, headers=ANN)).status == 200 and found)
report.check(done and json.loads(done.body)["path"] == "/kept", "replicas that share keys open each other's addresses")
report.equal(ask(there[0] + ask(f"{there[1]}/kept", headers=ANN).headers["location"], headers=ANN).status, 404, "and nobody one that was sealed with a key that he lacks")
first = ask(f"{site}/kept", headers=ANN).headers["location"]
report.equal(ask(site + first).status, 401, "the address is held to the rules of the route that made it")
report.equal(ask(site + first, headers=BOB).status, 404, "and is for whom it was made")
report.equal(ask(site + first[:-3] + "AAA", headers=ANN).status, 404, "a forged address is none")
report.equal(ask(site + first, "POST", ANN, b"").status, 405, "and it is read")


def running(address, body=b"{}", method="POST", headers=()):
    """A request that is not done in time; how long it was held, and its answer."""
    began = time.monotonic()
    answer = ask(address, method, list(headers), body)
    return time.monotonic() - began, answer


def token(of=activity):
    task = states.get_activity_task(activityArn=of, workerName="test")
    return task["taskToken"], json.loads(task["input"])


held, answer = running(f"{site}/waits", headers=ANN)
report.check(answer.status == 202 and 0.9 < held, lambda: f"a request waits its bound, and no longer, for the task has no end of its own: {answer.status} after {held}")
where = site + answer.headers["location"]
report.equal((ask(where, headers=ANN).status, ask(where, headers=ANN).headers["retry-after"]), (202, "1"), "its address says that it runs")
page = ask(where, headers=ANN + [("accept", "text/html")])
report.equal(page.headers["refresh"], "1", "a browser looks again by itself")
watching = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
watching.request("GET", answer.headers["location"], headers={"accept": "text/event-stream", **dict(ANN)})
events = watching.getresponse()
report.equal(events.headers["content-type"], "text/event-stream", "or as events")


def next_event(lines):
    """The next event that says something: its fields. None at the end."""
    fields = {}
    while line := lines.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            return fields
        else:
            fields = {}
    return None


report.equal(events.readline(), b"retry: 1000\n", "which say when to ask again")
said = next_event(events)
report.equal((said["event"], said["data"]), ("status", '{"status":"RUNNING"}'), "and begin with what is")
task, told = token()
report.equal(told["identity"]["user"], "ann", "the task knows who asked")

# === a request completes the task ===
report.equal(ask(f"{site}/resume", "POST", BOB, b"{}").status, 400, "without a token")
report.equal(ask(f"{site}/resume?token={task}", "POST", [], b"{}").status, 401, "by nobody")
report.equal(ask(f"{site}/resume?token=invented", "POST", BOB, b"{}").status, 410, "by a token that was made up")
said = json.dumps({"output": {"yes": True, "identity": {"user": "eve"}}}).encode()
answer = ask(f"{site}/resume?token={task}", "POST", BOB, said)
report.equal((answer.status, answer.body), (200, b'{"status":"RESUMED"}'), "a request completes a task by its token")
report.equal(ask(f"{site}/resume?token={task}", "POST", BOB, said).status, 410, "once")
rest = events.read()
report.check(b'data: {"status":"SUCCEEDED"}' in rest, lambda: f"the events tell the end, and end: {rest}")
output = json.loads(ask(where, headers=ANN).body)
report.equal((output["yes"], output["identity"]["user"]), (True, "bob"), "who completed it is who was verified")
_, answer = running(f"{site}/waits", headers=ANN)
task, _ = token()
report.equal(ask(f"{site}/resume", "POST", BOB, json.dumps({"taskToken": task, "error": "Denied", "cause": "no"}).encode()).status, 200, "or fails it")
failed = until(lambda: (found := ask(site + answer.headers["location"], headers=ANN)).status == 502 and found)
report.check(failed and failed.body == b'{"error":"Denied"}', "which its address tells")
held, answer = running(f"{site}/times-out", None, "GET")
report.check(answer.status == 504 , lambda: f'else = "504": {answer.status} after {held}')
held, answer = running(f"{site}/slow-express", None, "GET")
report.check(answer.status == 504 , lambda: f"an express machine that is late has no address: {answer.status} after {held}")
report.equal(json.loads(answer.body), {"message": "the workflow did not end in time"}, "and it is said what was late")

# === progress, state by state, whatever becomes of the edge ===
def watch(base, location, last=None, who=ANN):
    connection = http.client.HTTPConnection("127.0.0.1", int(base.rsplit(":", 1)[1]), timeout=60)
    after = {"last-event-id": last} if last else {}
    connection.request("GET", location, headers={"accept": "text/event-stream", **dict(who), **after})
    return connection.getresponse()


def told_until(lines, wanted):
    """What is told, up to the event with these data."""
    found = []
    while event := next_event(lines):
        found.append(event)
        if wanted(json.loads(event["data"])):
            break
    return found


location = ask(f"{there[0]}/told", headers=ANN).headers["location"]
events = watch(there[0], location)
before = told_until(events, lambda data: data.get("entered") == "Ask")
names = [json.loads(event["data"]) for event in before if event["event"] == "state"]
report.equal(before[0]["data"], '{"status":"RUNNING"}', "its status first")
report.equal([(next(iter(data)), data[next(iter(data))]) for data in names], [("entered", "First"), ("exited", "First"), ("entered", "Ask")],
             "each state that is entered and left")
report.check(all(isinstance(data["at"], float) for data in names), lambda: f"and when: {names}")
report.equal(watch(there[0], location, who=BOB).status, 404, "nobody else is told")
# Another configuration is put in force: the events go on. Then the edge ends: whoever watches comes again to its replica.
log_before = (home / "replica0.toml.log").read_text()
with open(home / "replica0.toml", "a") as text:
    text.write(f"""[[site.route]]
path = "/after"
workflow = {{ machine = "steps", wait = "0", states = true }}
""")
edges["replica0.toml"].send_signal(signal.SIGUSR1)
report.check(until(lambda: ask(f"{there[0]}/after").status == 202), "another configuration is in force")
task, _ = token(step_activity)
states.send_task_success(taskToken=task, output='{"secret": 1}')
after = told_until(events, lambda data: data.get("exited") == "Last" or data.get("status") == "SUCCEEDED")
report.check(after, "a reload of the edge ends no events")
last = before[-1]["id"]
end(edges["replica0.toml"])
again = watch(there[1], location, last)
missed = told_until(again, lambda data: data.get("status") == "SUCCEEDED")
report.equal([(next(iter(data)), data[next(iter(data))]) for data in (json.loads(event["data"]) for event in missed)],
             [("exited", "Ask"), ("entered", "Last"), ("exited", "Last"), ("status", "SUCCEEDED")], "and a replica tells what followed, and nothing twice")
report.equal(again.read(), b"", "up to the end")
report.check(b"secret" not in json.dumps([before, after, missed]).encode(), "what states were given and made is nobody's")
report.equal(watch(there[1], location, missed[-1]["id"]).status, 204, "who has been told the end asks no more")
lines = watch(there[1], location, "nonsense")
report.equal([next_event(lines)["event"] for _ in range(2)], ["status", "state"], "an id that is none begins at the beginning")

# === Idempotency-Key ===
key = [("idempotency-key", f"order-{os.getpid()}")]


def executions():
    return len(states.list_executions(stateMachineArn=kept, maxResults=1000)["executions"])


before = executions()
answers = [ask(f"{site}/kept", "POST", ANN + key, b'{"a":1}') for _ in range(3)]
report.equal([answer.status for answer in answers], [202] * 3, "the same request again is the same execution")
report.equal((executions() - before, len({answer.headers["location"] for answer in answers})), (1, 1), "with one address")
report.equal(ask(f"{site}/kept", "POST", ANN + key, b'{"a":2}').status, 409, "another request under the same key is refused")
report.equal((ask(f"{site}/kept", "POST", BOB + key, b'{"a":1}').status, executions() - before), (202, 2), "another person's key is another key")
report.equal(ask(f"{site}/kept", "POST", ANN + [("idempotency-key", "a b")], b"").status, 400, "a key that can be no name")
# Sixteen at once: the same request is one execution, and of different ones one is taken.
before = executions()
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    same = list(pool.map(lambda _: ask(f"{site}/kept", "POST", ANN + [("idempotency-key", "race-1")], b'{"a":1}'), range(16)))
    others = list(pool.map(lambda n: ask(f"{site}/kept", "POST", ANN + [("idempotency-key", "race-2")], b'{"a":%d}' % n), range(16)))
report.equal(([one.status for one in same], len({one.headers["location"] for one in same})), ([202] * 16, 1), "the same request at once is one execution")
report.equal(sorted(one.status for one in others), [202] + [409] * 15, "of different requests under one key one is taken")
report.equal(executions() - before, 2, "and nothing besides is started")
# Whoever leaves leaves nothing that is held, and what was started goes on.
before = len(states.list_executions(stateMachineArn=waits, statusFilter="RUNNING")["executions"])
leaving = socket.create_connection(("127.0.0.1", port), 20)
leaving.sendall(f"POST /waits HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {dict(ANN)['authorization']}\r\nIdempotency-Key: left\r\nContent-Length: 2\r\n\r\n{{}}".encode())
report.check(until(lambda: len(states.list_executions(stateMachineArn=waits, statusFilter="RUNNING")["executions"]) == before + 1), "a request has started one")
leaving.close()
answer = ask(f"{site}/waits", "POST", ANN + [("idempotency-key", "left")], b"{}")
report.equal(answer.status, 202, "its client comes again")
for _ in range(before + 1):
    states.send_task_success(taskToken=token()[0], output="{}")
report.check(until(lambda: ask(site + answer.headers["location"], headers=ANN).status == 200), "and is told the end of the first")
report.equal(len(states.list_executions(stateMachineArn=waits, statusFilter="RUNNING")["executions"]), 0, "of which there was one")

# === a file that an execution hands out ===
answer = ask(f"{site}/files/report.txt")
report.equal((answer.status, answer.body, answer.headers["content-type"], answer.headers["cache-control"]),
             (200, b"the report\n", "text/plain", "no-store"), "a file")
report.equal(ask(f"{site}/files/nothing.txt").status, 404, "a file that is not there")
for way in ("..%2foutside.txt", "%2e%2e/outside.txt", "a/..%2f..%2foutside.txt", "%2fetc%2fpasswd"):
    answer = ask(f"{site}/files/{way}")
    report.check(answer.status in (400, 403, 404) and b"not for" not in answer.body and b"root:" not in answer.body, lambda: f"{way}: {answer.status} {answer.body}")

for words in ("a request started a workflow", "a workflow answers a request"):
    report.check(until(lambda: words in (home / "edge.toml.log").read_text()), f"and the log tells of both ends: {words}")
report.end()
