"""examples/artifact-gate: sign-in, policy, a person's approval, a token that ends, and the file."""

import json
import subprocess
import threading
import time
import urllib.parse

import boto3
import botocore.config

import _server
from _edge import ROOT, Browser, Edge, ask, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
EXAMPLE = ROOT / "examples/artifact-gate"
home = folder()
port, provider_port, gate_port = free_ports(3)
site, issuer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{provider_port}"
endpoint = _server.endpoint()
states = boto3.client(
    "stepfunctions", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=botocore.config.Config(inject_host_prefix=False, read_timeout=90, retries={"total_max_attempts": 1}))
activity = states.create_activity(name="approve-artifacts")["activityArn"]
TOKEN_SECONDS, APPROVAL_SECONDS = 3, 2


def machine(approval_seconds, run_seconds):
    text = (EXAMPLE / "machine.json").read_text().replace("ACTIVITY", activity)
    text = text.replace("RUN_SECONDS", str(run_seconds))
    return text.replace("APPROVAL_SECONDS", str(approval_seconds)).replace("TOKEN_SECONDS", str(TOKEN_SECONDS))


arn = states.create_state_machine(
    name="artifact-gate", definition=machine(60, 600), roleArn="arn:aws:iam::123456789012:role/gate")["stateMachineArn"]

# === a provider, the gate, the edge ===
script = ROOT / "tests/conformance/oidc/provider.mjs"
provider = subprocess.Popen(
    ["node", str(script), str(ROOT / "target/node"), str(provider_port), f"{site}/.selvedge/staff/callback", f"{site}/"],
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
atexit.register(end, provider)
provider.stdout.readline()
await_port(provider_port)
log = open(home / "gate.log", "w+b")
gate = subprocess.Popen(["python3", str(EXAMPLE / "gate.py"), str(gate_port), endpoint, arn], stdout=log)
atexit.register(end, gate)
await_port(gate_port)
(home / "www/artifacts/secret").mkdir(parents=True)
for name in ("app-1.tar", "app-2.tar", "app-3.tar", "app-4.tar", "secret/keys.tar"):
    (home / "www/artifacts" / name).write_text(f"the bytes of {name}\n")
(home / "secret").write_text("a secret between the two of us\n")
(home / "cookie-keys").write_text("k" * 40)


class Gated(Edge):
    def write(self, configuration):
        self.file.write_text(configuration)


text = (EXAMPLE / "lighttpd.conf").read_text()
for word, value in (("HERE", home), ("PORT", port), ("ISSUER", issuer), ("GATE", gate_port)):
    text = text.replace(word, str(value))
edge = Gated(port, text)
POST = [("content-type", "application/x-www-form-urlencoded")]


def signed_in(person):
    browser = Browser()
    answer = browser.ask(f"{site}/artifacts/app-1.tar")
    while answer.status in (200, 302, 303):
        if answer.status == 200:
            prompt = "login" if b'name="login"' in answer.body else "consent"
            fields = {"prompt": prompt, "login": person, "password": "x"}
            answer = browser.ask(answer.url, "POST", POST, urllib.parse.urlencode(fields).encode())
            continue
        location = urllib.parse.urljoin(answer.url, answer.headers["location"])
        if location == f"{site}/artifacts/app-1.tar":
            return browser
        answer = browser.ask(location)
    raise SystemExit(f"nobody signed in: {answer.status} {answer.body}")


def answer_next(by, says):
    """A person takes the next question and answers it."""
    task = states.get_activity_task(activityArn=activity, workerName=by)
    question = json.loads(task["input"])
    if says == "yes":
        states.send_task_success(taskToken=task["taskToken"], output=json.dumps({"by": by}))
    else:
        states.send_task_failure(taskToken=task["taskToken"], error=says, cause=f"{by} says so")
    return question, task["taskToken"]


def until(browser, target, wanted):
    deadline = time.monotonic() + 20
    while (answer := browser.ask(f"{site}{target}")).status != wanted[0] or wanted[1] not in answer.body:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return answer


# === a stranger is sent to sign in; somebody asks, and waits for a person ===
report.equal(ask(f"{site}/artifacts/app-1.tar").status, 302, "a stranger signs in first")
ann = signed_in("ann")
answer = ann.ask(f"{site}/artifacts/app-1.tar")
report.equal((answer.status, b"waiting" in answer.body), (403, True), "somebody's word is waited for")
question, token = answer_next("olga", "yes")
report.equal((question["subject"], question["target"]), ("ann", "/artifacts/app-1.tar"), "the question says who and what")
answer = until(ann, "/artifacts/app-1.tar", (200, b"the bytes of app-1.tar"))
report.equal((answer.status, answer.body), (200, b"the bytes of app-1.tar\n"), "the file is delivered")

# === replayed ===
try:
    states.send_task_success(taskToken=token, output="{}")
    report.check(False, "an approval is used once")
except states.exceptions.ClientError as refusal:
    report.check(refusal.response["Error"]["Code"] in ("TaskTimedOut", "InvalidToken", "TaskDoesNotExist"), "an approval is used once")
report.equal(ann.ask(f"{site}/artifacts/app-2.tar").status, 403, "a grant is for one artifact")
answer_next("olga", "Denied")
bob = signed_in("bob")
report.equal(bob.ask(f"{site}/artifacts/app-1.tar").status, 403, "and for one person")
answer_next("olga", "Denied")
forged = ann.ask(f"{site}/artifacts/app-3.tar", headers=[("x-artifact-token", "forged"), ("x-selvedge-subject", "olga")])
report.equal(forged.status, 403, "a token that was made up is none")
answer_next("olga", "Broken")

# === the grant ends ===
answer = until(ann, "/artifacts/app-1.tar", (403, b"waiting"))
report.equal((answer.status, b"attempt 2" in answer.body), (403, True), "a token ends, and somebody is asked anew")
answer_next("olga", "yes")
report.equal(until(ann, "/artifacts/app-1.tar", (200, b"bytes")).status, 200, "and may say yes again")

# === refused, failed, against the policy, expired ===
answer = until(ann, "/artifacts/app-2.tar", (403, b"refused"))
report.check(b"refused" in answer.body, lambda: f"no is told: {answer.body}")
answer = until(ann, "/artifacts/app-3.tar", (403, b"failed"))
report.check(b"failed" in answer.body, lambda: f"so is a failure: {answer.body}")
answer = ann.ask(f"{site}/artifacts/secret/keys.tar")
report.equal((answer.status, b"refused" in answer.body), (403, True), "the policy refuses before anybody is asked")
report.equal(ann.ask(f"{site}/artifacts/app-2.tar?again").status, 403, "whoever was refused may ask anew")
question, _ = answer_next("olga", "yes")
report.equal(question["target"], "/artifacts/app-2.tar", "and somebody is asked anew")
report.equal(until(ann, "/artifacts/app-2.tar", (200, b"bytes")).status, 200, "and may say yes this time")
states.update_state_machine(stateMachineArn=arn, definition=machine(APPROVAL_SECONDS, 600))
ann.ask(f"{site}/artifacts/app-4.tar")
states.get_activity_task(activityArn=activity, workerName="olga")
answer = until(ann, "/artifacts/app-4.tar", (403, b"did not answer"))
report.check(b"expired: whoever took" in answer.body, lambda: f"no answer is no: {answer.body}")
states.update_state_machine(stateMachineArn=arn, definition=machine(60, 2))
ann.ask(f"{site}/artifacts/app-4.tar?again")
answer = until(ann, "/artifacts/app-4.tar", (403, b"nobody took"))
report.check(b"expired: nobody took" in answer.body, lambda: f"nobody at all is no: {answer.body}")

# === every step has a state, a time and a line ===
runs = states.list_executions(stateMachineArn=arn, maxResults=100)["executions"]
report.equal({run["status"] for run in runs}, {"SUCCEEDED", "FAILED", "TIMED_OUT"}, "each run has ended, one way or the other")
for run in runs:
    events = states.get_execution_history(executionArn=run["executionArn"])["events"]
    report.check(all(event["timestamp"] for event in events) and len(events) >= 3, "its steps have times")
granted = next(run for run in runs if run["status"] == "SUCCEEDED")
output = json.loads(states.describe_execution(executionArn=granted["executionArn"])["output"])
report.equal((output["subject"], output["approver"]), ("ann", "olga"), "who asked and who approved is kept")
lines = (home / "gate.log").read_text()
for words in ("subject=ann target=/artifacts/app-1.tar status=200 granted", "status=403 refused", "status=403 expired", "status=403 failed"):
    report.check(words in lines, lambda: f"the gate's log says: {words}")
report.check(' ann "GET /artifacts/app-1.tar HTTP/1.1" 200 ' in (home / "access.log").read_text(), "the edge's log says who got it")

# === the workflow is away ===
end(gate)
report.equal(ann.ask(f"{site}/artifacts/app-1.tar").status, 503, "nobody is let in because the gate is away")
report.end()
