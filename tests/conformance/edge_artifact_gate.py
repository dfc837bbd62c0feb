"""examples/artifact-gate: sign-in, policy, a person's approval, a token that ends, and the file."""

import json
import os
import re
import subprocess
import time
import urllib.parse
import urllib.request

import boto3
import botocore.config

from _edge import ROOT, Browser, ask, atexit, await_port, end, folder, free_ports
from _edge import until as in_time

# Before the server is started: its tasks may call the provider, which is on loopback here.
port, provider_port = free_ports(2)
os.environ["SELVEDGE_TASK_ALLOW"] = f"127.0.0.1:{provider_port}"

import _server
from _report import Report

report = Report()
EXAMPLE = ROOT / "examples/artifact-gate"
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
home = folder()
site, issuer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{provider_port}"
endpoint = _server.endpoint()
states = boto3.client(
    "stepfunctions", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=botocore.config.Config(inject_host_prefix=False, read_timeout=90, retries={"total_max_attempts": 1}))
activity = states.create_activity(name="approve-artifacts")["activityArn"]
APPROVAL_SECONDS = 2


def connection(password):
    document = {"AuthorizationType": "BASIC", "AuthParameters": {"BasicAuthParameters": {"Username": "gate", "Password": password}}}
    request = urllib.request.Request(f"{endpoint}/selvedge/v1/connections/token-desk", json.dumps(document).encode(), method="PUT",
                                     headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["ConnectionArn"]


desk = connection(urllib.parse.quote("a secret of the gate"))


def machine(approval_seconds, run_seconds):
    text = (EXAMPLE / "machine.json").read_text()
    for word, value in (("ACTIVITY", activity), ("CONNECTION", desk), ("TOKEN_ENDPOINT", f"{issuer}/token"),
                        ("RUN_SECONDS", run_seconds), ("APPROVAL_SECONDS", approval_seconds)):
        text = text.replace(word, str(value))
    return text


arn = states.create_state_machine(
    name="artifact-gate", definition=machine(60, 600), roleArn="arn:aws:iam::123456789012:role/gate")["stateMachineArn"]

# === a provider, the edge ===
script = ROOT / "tests/conformance/oidc/provider.mjs"
provider = subprocess.Popen(
    ["node", str(script), str(ROOT / "target/node"), str(provider_port), f"{site}/.selvedge/staff/callback", f"{site}/"],
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
atexit.register(end, provider)
provider.stdout.readline()
await_port(provider_port)
(home / "www/artifacts/secret").mkdir(parents=True)
for name in ("app-1.tar", "app-2.tar", "app-3.tar", "app-4.tar", "secret/keys.tar"):
    (home / "www/artifacts" / name).write_text(f"the bytes of {name}\n")
(home / "www/index.html").write_text("not behind the gate\n")
(home / "secret").write_text("a secret between the two of us\n")
(home / "cookie-keys").write_text("k" * 40)
text = (EXAMPLE / "lighttpd.conf").read_text()
for word, value in (("HERE", home), ("PORT", port), ("ISSUER", issuer)):
    text = text.replace(word, str(value))
(home / "lighttpd.conf").write_text(text)
errors = open(home / "edge.log", "w+b")
edge = subprocess.Popen([BINARY, "edge", "-D", "-f", str(home / "lighttpd.conf"), "--endpoint-url", endpoint], stderr=errors)
atexit.register(end, edge)
await_port(port)
FORM = [("content-type", "application/x-www-form-urlencoded")]


def log():
    return re.sub(r"\x1b\[[0-9;]*m", "", (home / "edge.log").read_text())


def signed_in(person, target="/approvals"):
    """Somebody signs in; what they asked for is not asked for yet."""
    browser = Browser()
    answer = browser.ask(f"{site}{target}")
    while answer.status in (200, 302, 303):
        if answer.status == 200:
            prompt = "login" if b'name="login"' in answer.body else "consent"
            fields = {"prompt": prompt, "login": person, "password": "x"}
            answer = browser.ask(answer.url, "POST", FORM, urllib.parse.urlencode(fields).encode())
            continue
        location = urllib.parse.urljoin(answer.url, answer.headers["location"])
        if location == f"{site}{target}":
            return browser
        answer = browser.ask(location)
    raise SystemExit(f"nobody signed in: {answer.status} {answer.body}")


def question():
    """A person takes the next question."""
    task = states.get_activity_task(activityArn=activity, workerName="olga")
    return task["taskToken"], json.loads(task["input"])


def says(browser, token, **words):
    return browser.ask(f"{site}/approvals", "POST", [("content-type", "application/json")], json.dumps({"taskToken": token, **words}).encode())


def until(browser, address, wanted, seconds=60):
    deadline = time.monotonic() + seconds
    while (answer := browser.ask(address)).status != wanted:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return answer


def asks(browser, target, headers=()):
    """Somebody asks; the address that tells how it goes on."""
    answer = browser.ask(f"{site}{target}", headers=list(headers))
    report.equal(answer.status, 202, f"{target}: somebody's word is waited for")
    return site + (answer.headers["location"] or "")


# === a stranger is sent to sign in; somebody asks, and waits for a person ===
report.equal(ask(f"{site}/artifacts/app-1.tar").status, 302, "a stranger signs in first")
report.equal(ask(f"{site}/artifacts/app-1.tar", headers=[("sec-fetch-mode", "cors")]).status, 401, "a script is not sent anywhere")
ann, bob = signed_in("ann", "/artifacts/app-1.tar"), signed_in("bob")
answer = ann.ask(f"{site}/artifacts/app-1.tar", headers=[("accept", "text/html"), ("x-selvedge-subject", "olga")])
report.check(answer.status == 202, lambda: f"somebody's word is waited for, and no connection held: {answer.status} {answer.body}")
report.check((answer.headers["refresh"] or "").endswith(answer.headers["location"]), "a browser looks there by itself")
where = site + answer.headers["location"]
token, told = question()
report.equal((told["subject"], told["issuer"], told["path"]), ("ann", issuer, "/artifacts/app-1.tar"), "the question says who and what, by the edge's word")
report.equal(ann.ask(where).status, 202, "and is open")
report.equal(bob.ask(where).status, 404, "the address is for who asked")
report.equal(ask(where).status, 302, "and for nobody who has not signed in")
report.equal(says(ann, token, output={}).status, 403, "nobody approves who may not: not even for themselves")
report.equal(says(bob, token, output={"yes": True, "identity": {"user": "olga"}}).status, 200, "a person approves")
answer = until(ann, where, 200)
report.equal((answer.status, answer.body), (200, b"the bytes of app-1.tar\n"), "the file is delivered")

# === replayed ===
report.equal(says(bob, token, output={}).status, 410, "an approval is used once")
report.equal(ask(f"{site}/www/artifacts/app-1.tar").status, 403, "there is no other way to the file")
report.equal(ask(f"{site}/index.html").status, 403, "nor to any other")
KEY = [("idempotency-key", "once-1")]
first = asks(ann, "/artifacts/app-2.tar", KEY)
token, _ = question()
second = asks(ann, "/artifacts/app-2.tar", KEY)
report.equal(first, second, "the same request again is the same execution")
before = len(states.list_executions(stateMachineArn=arn, maxResults=100)["executions"])
report.equal(ann.ask(f"{site}/artifacts/app-3.tar", headers=KEY).status, 409, "and its key is good for nothing else")
report.equal(len(states.list_executions(stateMachineArn=arn, maxResults=100)["executions"]), before, "nobody was asked twice")

# === refused, failed, against the policy ===
report.equal(says(bob, token, error="Denied", cause="not before the release").status, 200, "a person says no")
answer = until(ann, first, 403)
report.equal((answer.status, answer.body), (403, b'{"error":"Refused"}'), "refused")
where_failed = asks(ann, "/artifacts/app-3.tar")
says(bob, question()[0], error="Broken", cause="the line is dead")
report.equal(until(ann, where_failed, 502).body, b'{"error":"Failed"}', "failed")
answer = ann.ask(f"{site}/artifacts/secret/keys.tar")
report.equal((answer.status, answer.body), (403, b'{"error":"Refused"}'), "the policy refuses before anybody is asked")
answer = ann.ask(f"{site}/artifacts/..%2fwww/index.html")
report.check(answer.status in (202, 400, 403, 404) and b"not behind" not in answer.body, "no way out of the folder")

# === the grant ends with its token ===
where_ended = asks(ann, "/artifacts/app-1.tar")
says(bob, question()[0], output={})
answer = until(ann, where_ended, 200)
report.equal(answer.body, b"the bytes of app-1.tar\n", "whoever asks anew is asked about anew")
answer = until(ann, where_ended, 410)
report.equal((answer.status, answer.body), (410, b'{"error":"the grant has ended"}'), "a grant is as short-lived as its token")
connection("another")
where_tokenless = asks(ann, "/artifacts/app-1.tar")
says(bob, question()[0], output={})
report.equal(until(ann, where_tokenless, 502).body, b'{"error":"Failed"}', "no token, no file")
connection(urllib.parse.quote("a secret of the gate"))

# === expired: nobody answers, nobody takes the question ===
states.update_state_machine(stateMachineArn=arn, definition=machine(APPROVAL_SECONDS, 600))
where_silent = asks(ann, "/artifacts/app-4.tar")
late, _ = question()
report.equal(until(ann, where_silent, 408).body, b'{"error":"Expired"}', "no answer is no")
report.equal(says(bob, late, output={}).status, 410, "and an answer that is late is none")
states.update_state_machine(stateMachineArn=arn, definition=machine(60, 2))
where_alone = asks(ann, "/artifacts/app-4.tar")
report.equal(until(ann, where_alone, 408).status, 408, "nobody at all is no")

# === every step has a state, a time and a line ===
runs = states.list_executions(stateMachineArn=arn, maxResults=100)["executions"]
report.check({"SUCCEEDED", "FAILED", "TIMED_OUT"} <= {run["status"] for run in runs}, "each run has ended, one way or the other")
ended = set()
for run in runs:
    events = states.get_execution_history(executionArn=run["executionArn"], maxResults=1000)["events"]
    report.check(all(event["timestamp"] for event in events) and len(events) >= 3, "its steps have times")
    ended |= {event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event}
report.check({"ReadRequest", "CheckPolicy", "AskSomebody", "FetchToken", "Granted", "Refused", "Expired", "Failed"} <= ended, lambda: f"every state was entered: {ended}")
granted = next(run for run in runs if run["status"] == "SUCCEEDED")
output = json.loads(states.describe_execution(executionArn=granted["executionArn"])["output"])
report.equal((output["subject"], output["approver"], output["seconds"]), ("ann", "bob", 3), "who asked, who approved, and for how long is kept")
for words in ("a request started a workflow", "user=\"ann\"", "status=200", "status=403", "status=408", "status=502", "error=\"Refused\"", "error=\"Expired\""):
    report.check(in_time(lambda: words in log()), lambda: f"the edge's log says: {words}\n{log()[-3000:]}")


def access():
    return (home / "access.log").read_text() if (home / "access.log").exists() else ""


report.check(in_time(lambda: ' ann "GET /artifacts/app-1.tar HTTP/1.1" 202 ' in access()), "the access log says who asked")
report.check(in_time(lambda: re.search(r' ann "GET /\.selvedge/executions/\S+ HTTP/1\.1" 200 23', access())), "and who got it")

# === the workflow is away ===
end(edge)
edge = subprocess.Popen([BINARY, "edge", "-D", "-f", str(home / "lighttpd.conf"), "--endpoint-url", "http://127.0.0.1:1"], stderr=errors)
atexit.register(end, edge)
await_port(port)
report.equal(ann.ask(f"{site}/artifacts/app-1.tar").status, 503, "nobody is let in because the workflow is away")

# === run.sh: all of it by one command, as the README says ===
port, api_port, provider_port = free_ports(3)
site = f"http://127.0.0.1:{port}"
variables = {"PORT": port, "API_PORT": api_port, "PROVIDER_PORT": provider_port, "GRANT_SECONDS": 2, "SELVEDGE_BIN": BINARY, "OIDC_MODULES": ROOT / "target/node"}
gate = subprocess.Popen([str(EXAMPLE / "run.sh")], stdout=subprocess.PIPE, text=True, env=os.environ | {name: str(value) for name, value in variables.items()})
atexit.register(end, gate)
told = ""
for line in gate.stdout:
    told += line
    if line.startswith("Ctrl-C"):
        break
report.check("Ctrl-C" in told, lambda: f"the gate opens: {told}")
aws = os.environ | dict(re.findall(r"(AWS_\w+)=(\S+)", told))
ann = signed_in("ann", "/artifacts/app-1.tar")
where = asks(ann, "/artifacts/app-1.tar")
taken = json.loads(subprocess.run(re.search(r"aws stepfunctions get-activity-task .*", told)[0].split(), env=aws, capture_output=True, check=True).stdout)
report.equal(json.loads(taken["input"])["subject"], "ann", "the question is there for whoever takes it by the command line")
subprocess.run(["aws", "stepfunctions", "send-task-success", "--task-token", taken["taskToken"], "--task-output", '{"identity": {"user": "bob"}}'], env=aws, check=True)
report.equal(until(ann, where, 200).body, b"the bytes of app-1.tar\n", "and the file is delivered")
report.equal(until(ann, where, 410).status, 410, "for as long as was said")
runs = subprocess.run(re.search(r"aws stepfunctions list-executions .*", told)[0].split(), env=aws, capture_output=True, text=True, check=True).stdout
report.equal([run["status"] for run in json.loads(runs)["executions"]], ["SUCCEEDED"], "the run is there to be looked at")
end(gate)
report.check(gate.wait(30) == 0, "and all of it ends together")
report.end()
