"""examples/artifact-gate: sign-in, policy, a person's approval, a token that ends, the file, and what is kept of all of it."""

import datetime
import json
import os
import pathlib
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
endpoint = _server.started("--workflow-logs", str(home / "states"))
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
    name="artifact-gate", definition=machine(60, 600), roleArn="arn:aws:iam::123456789012:role/gate",
    loggingConfiguration=json.loads((EXAMPLE / "logging.json").read_text()))["stateMachineArn"]

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


# The runs in the order in which they began: who asked for what, the states, who took the question, who answered it how, with what error
# it ended, and which statuses the edge gave whoever asked.
RUNS = []
ASKED = ["ReadRequest", "CheckPolicy", "AskSomebody"]


def kept(path, *names, user="ann", taken="olga", answered=None, error=None, status="FAILED", told=()):
    RUNS.append({"path": path, "user": user, "states": list(names), "taken": taken, "answered": answered, "error": error, "status": status,
                 "told": set(told)})


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
kept("/artifacts/app-1.tar", *ASKED, "CheckAnswer", "FetchToken", "Granted", answered=("bob", True), status="SUCCEEDED", told={200})

# === replayed ===
report.equal(says(bob, token, output={"yes": True}).status, 410, "an approval is used once")
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
report.equal(says(bob, token, output={"yes": False, "why": "not before the release"}).status, 200, "a person says no")
answer = until(ann, first, 403)
report.equal((answer.status, answer.body), (403, b'{"error":"Refused"}'), "refused")
kept("/artifacts/app-2.tar", *ASKED, "CheckAnswer", "Refused", answered=("bob", False), error="Refused", told={403})
report.equal(ann.ask(f"{site}/artifacts/app-2.tar", headers=KEY).status, 403, "and stays refused under its key")
where_denied = asks(ann, "/artifacts/app-2.tar")
report.equal(says(bob, question()[0], error="Denied", cause="not before the release").status, 200, "or says it as an error")
report.equal(until(ann, where_denied, 403).body, b'{"error":"Refused"}', "which is a no as well")
kept("/artifacts/app-2.tar", *ASKED, "Refused", error="Refused", told={403})
for output, why in (({}, "no yes"), ({"yes": "yes"}, "a word that is none"), ([True], "no answer at all")):
    where_vague = asks(ann, "/artifacts/app-2.tar")
    report.equal(says(bob, question()[0], output=output).status, 200, "somebody says something")
    report.equal(until(ann, where_vague, 403).status, 403, f"{why} opens nothing")
    who = ("bob", output.get("yes")) if isinstance(output, dict) else None
    kept("/artifacts/app-2.tar", *ASKED, "CheckAnswer", "Refused", answered=who, error="Refused", told={403})
where_own = asks(bob, "/artifacts/app-2.tar")
report.equal(says(bob, question()[0], output={"yes": True}).status, 200, "somebody who may approve approves for themselves")
report.equal(until(bob, where_own, 403).status, 403, "and has nothing by it")
kept("/artifacts/app-2.tar", *ASKED, "CheckAnswer", "Refused", user="bob", answered=("bob", True), error="Refused", told={403})
where_nobody = asks(ann, "/artifacts/app-2.tar")
states.send_task_success(taskToken=question()[0], output='{"yes": true}')
report.equal(until(ann, where_nobody, 403).status, 403, "nor is a yes one that is nobody's")
kept("/artifacts/app-2.tar", *ASKED, "CheckAnswer", "Refused", answered=(None, True), error="Refused", told={403})
where_failed = asks(ann, "/artifacts/app-3.tar")
says(bob, question()[0], error="Broken", cause="the line is dead")
report.equal(until(ann, where_failed, 502).body, b'{"error":"Failed"}', "failed")
kept("/artifacts/app-3.tar", *ASKED, "Failed", error="Failed", told={502})
answer = ann.ask(f"{site}/artifacts/secret/keys.tar")
report.equal((answer.status, answer.body), (403, b'{"error":"Refused"}'), "the policy refuses before anybody is asked")
kept("/artifacts/secret/keys.tar", "ReadRequest", "CheckPolicy", "Refused", taken=None, error="Refused", told={403})
answer = ann.ask(f"{site}/artifacts/..%2fwww/index.html")
report.equal(answer.status, 403, "no way out of the folder")

# === the grant ends with its token ===
where_ended = asks(ann, "/artifacts/app-1.tar")
says(bob, question()[0], output={"yes": True})
answer = until(ann, where_ended, 200)
report.equal(answer.body, b"the bytes of app-1.tar\n", "whoever asks anew is asked about anew")
answer = until(ann, where_ended, 410)
report.equal((answer.status, answer.body), (410, b'{"error":"the grant has ended"}'), "a grant is as short-lived as its token")
kept("/artifacts/app-1.tar", *ASKED, "CheckAnswer", "FetchToken", "Granted", answered=("bob", True), status="SUCCEEDED", told={200, 410})
connection("another")
where_tokenless = asks(ann, "/artifacts/app-1.tar")
says(bob, question()[0], output={"yes": True})
report.equal(until(ann, where_tokenless, 502).body, b'{"error":"Failed"}', "no token, no file")
kept("/artifacts/app-1.tar", *ASKED, "CheckAnswer", "FetchToken", "Failed", answered=("bob", True), error="Failed", told={502})
connection(urllib.parse.quote("a secret of the gate"))

# === expired: nobody answers, nobody takes the question ===
states.update_state_machine(stateMachineArn=arn, definition=machine(APPROVAL_SECONDS, 600))
where_silent = asks(ann, "/artifacts/app-4.tar")
late, _ = question()
report.equal(until(ann, where_silent, 408).body, b'{"error":"Expired"}', "no answer is no")
report.equal(says(bob, late, output={"yes": True}).status, 410, "and an answer that is late is none")
kept("/artifacts/app-4.tar", *ASKED, "Expired", error="Expired", told={408})
states.update_state_machine(stateMachineArn=arn, definition=machine(60, 2))
where_alone = asks(ann, "/artifacts/app-4.tar")
report.equal(until(ann, where_alone, 408).status, 408, "nobody at all is no")
kept("/artifacts/app-4.tar", *ASKED, taken=None, status="TIMED_OUT", told={408})

# === every run, refused and replayed ones too: each step has a state, a time and a line ===
def lines(words):
    """The edge's lines with some words: when, and what they say."""
    found = [line for line in log().splitlines() if words in line]
    return [(datetime.datetime.fromisoformat(line.split()[0]), dict(re.findall(r'(\w+)="?([^" ]*)"?', line))) for line in found]


def of_states():
    """What the states logged, by execution."""
    by_run = {}
    for line in (home / "states/artifact-gate.jsonl").read_text().splitlines():
        record = json.loads(line)
        by_run.setdefault(record["execution_arn"], []).append(record)
    return by_run


def of_edge(run, wanted):
    return [(at, line) for at, line in lines(wanted) if line.get("execution") == run["executionArn"]]


runs = sorted(states.list_executions(stateMachineArn=arn, maxResults=100)["executions"], key=lambda run: run["startDate"])
report.equal(len(runs), len(RUNS), "each request that was let in is one run, and a replayed one is none")
report.check(in_time(lambda: sum(map(len, of_states().values())) >= sum(
    len(states.get_execution_history(executionArn=run["executionArn"], maxResults=1000)["events"]) for run in runs)), "all that happened is logged")
logged = of_states()
for run, wanted in zip(runs, RUNS):
    what = f"{wanted['path']} of {wanted['user']}, {wanted['states'][-1]}"
    described = states.describe_execution(executionArn=run["executionArn"])
    told = json.loads(described["input"])
    report.equal((told["identity"]["user"], told["identity"]["issuer"], told["path"]), (wanted["user"], issuer, wanted["path"]), f"{what}: who asked for what")
    report.equal((described["status"], described.get("error")), (wanted["status"], wanted["error"]), f"{what}: how it ended")
    events = states.get_execution_history(executionArn=run["executionArn"], maxResults=1000)["events"]
    entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
    report.equal(entered, wanted["states"], f"{what}: each step is a state")
    times = [event["timestamp"] for event in events]
    report.check(times == sorted(times) and times[0] >= described["startDate"] and times[-1] <= described["stopDate"], lambda: f"{what}: each has its time: {times}")
    if wanted["status"] != "TIMED_OUT":
        report.equal((times[0], times[-1]), (described["startDate"], described["stopDate"]), f"{what}: the run's times are those of its ends")
    # A line for each of them, with the same time and the same state, and nothing of what was said.
    told = [(str(event["id"]), event["type"], round(event["timestamp"].timestamp() * 1000), event.get("stateEnteredEventDetails", {}).get("name")) for event in events]
    written = [(record["id"], record["type"], int(record["event_timestamp"]), record["details"].get("name") if record["type"].endswith("StateEntered") else None)
               for record in logged[run["executionArn"]]]
    report.equal(written, told, f"{what}: each has its line")
    # Who took the question, and who answered it, and when.
    taken = [event["activityStartedEventDetails"]["workerName"] for event in events if "activityStartedEventDetails" in event]
    report.equal(taken, [wanted["taken"]] if wanted["taken"] else [], f"{what}: who took the question")
    answers = [json.loads(event["activitySucceededEventDetails"]["output"]) for event in events if "activitySucceededEventDetails" in event]
    answers = [(answer.get("identity", {}).get("user"), answer.get("yes")) for answer in answers if isinstance(answer, dict)]
    report.equal(answers, [wanted["answered"]] if wanted["answered"] else [], f"{what}: who answered, and what")
    # At the edge: who asked, when, and what they were told.
    begun = of_edge(run, "a request started a workflow")
    report.check(begun and all((line["user"], line["path"]) == (wanted["user"], wanted["path"]) for _, line in begun), lambda: f"{what}: the edge wrote who began it: {begun}")
    ended = of_edge(run, "a workflow answers a request")
    report.equal({int(line["status"]) for _, line in ended}, wanted["told"], f"{what}: and what it answered")
    report.check(all(line["user"] == wanted["user"] for _, line in ended), f"{what}: whom it answered")
    report.check(all(at >= described["stopDate"] - datetime.timedelta(milliseconds=1) for at, _ in ended), f"{what}: and not before the end")
report.equal({name for run in RUNS for name in run["states"]}, set(json.loads(machine(1, 1))["States"]), "every state of the machine has been seen")
output = json.loads(states.describe_execution(executionArn=runs[0]["executionArn"])["output"])
report.equal((output["subject"], output["approver"], output["seconds"]), ("ann", "bob", 3), "who asked, who approved, and for how long is kept")
# What was said to the gate: each answer is a line, with who it was; a replayed one, a late one and one by whom it is not are told from others.
said = [line for _, line in lines("a request answers a task")]
report.equal({line["user"] for line in said}, {"bob"}, "nobody's word counts who may not answer, and none is written as if it did")
report.equal(sorted(line["error"] for line in said if "error" in line), ["Broken", "Denied"], "an error, which has no place for who says it, is a line with them")
report.equal([line["refused"] for line in said if "refused" in line], ["TaskTimedOut"] * 2, "a replayed answer and a late one are written as what they are")
report.equal(len(lines("a request came again under a key that asked for something else")), 1, "and a replayed key")
secrets = (home / "states/artifact-gate.jsonl").read_text() + log()
report.check("access_token" not in secrets and token not in secrets and late not in secrets, "no token is in a log")


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
subprocess.run(["aws", "stepfunctions", "send-task-success", "--task-token", taken["taskToken"], "--task-output", '{"yes": true, "identity": {"user": "bob"}}'], env=aws, check=True)
report.equal(until(ann, where, 200).body, b"the bytes of app-1.tar\n", "and the file is delivered")
report.equal(until(ann, where, 410).status, 410, "for as long as was said")
runs = subprocess.run(re.search(r"aws stepfunctions list-executions .*", told)[0].split(), env=aws, capture_output=True, text=True, check=True).stdout
report.equal([run["status"] for run in json.loads(runs)["executions"]], ["SUCCEEDED"], "the run is there to be looked at")
execution = json.loads(runs)["executions"][0]["executionArn"]
history = re.search(r"aws stepfunctions get-execution-history .*\n.*", (EXAMPLE / "README.md").read_text())[0]
answered = subprocess.run(["bash", "-c", history.replace("EXECUTION", execution)], env=aws, capture_output=True, text=True, check=True).stdout
report.check(re.search(r"^(20\d\d-\S+|\d{10}\.\d+)\t.*\"user\": ?\"bob\"", answered), lambda: f"who approved, and when, by the command line: {answered}")
each = re.search(r"each state's lines +(\S+)", told)[1]
lines_of_run = [json.loads(line) for line in pathlib.Path(each).read_text().splitlines()]
report.equal([line["details"]["name"] for line in lines_of_run if line["type"].endswith("StateEntered")], [*ASKED, "CheckAnswer", "FetchToken", "Granted"], "and its states have lines")
end(gate)
report.check(gate.wait(30) == 0, "and all of it ends together")
report.end()
