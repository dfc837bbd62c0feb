#!/usr/bin/env python3
"""What steers workflows beyond Step Functions' API: redrives from a chosen state and in bulk, dead letters, the audit trail."""

import json
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

import _server
from _report import Report

report = Report()
endpoint = _server.endpoint()
BINARY = os.environ.get("SELVEDGE_BIN")
ROLE = f"arn:aws:iam::{_server.ACCOUNT}:role/workflow"
client = boto3.client(
    "stepfunctions", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False))


def own(method, path, document=None):
    """Calls Selvedge's own API: status and document."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"{endpoint}/selvedge/v1/{path}", method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def quoted(text):
    return urllib.parse.quote(text, safe="")


def states(*words, code=0):
    """Runs `selvedge states …`: its output."""
    done = subprocess.run([BINARY, "states", *words, "--endpoint-url", endpoint], capture_output=True, text=True, timeout=60)
    report.equal(done.returncode, code, f"states {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def machine(name, states, **more):
    definition = json.dumps({"StartAt": next(iter(states)), "States": states})
    return client.create_state_machine(name=name, definition=definition, roleArn=ROLE, **more)["stateMachineArn"]


def until(look, what, patience=60):
    """Looks until something is there."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    report.check(False, lambda: f"never: {what}")
    return None


def ended(arn):
    def look():
        found = client.describe_execution(executionArn=arn)
        return found if found["status"] != "RUNNING" else None
    return until(look, f"the end of {arn}") or {}


def run(machine_arn, value, name=None):
    more = {"name": name} if name else {}
    return ended(client.start_execution(stateMachineArn=machine_arn, input=json.dumps(value), **more)["executionArn"])


# Fails while `ok` is not there.
FAILING = {
    "Take": {"Type": "Pass", "Next": "Look"},
    "Look": {"Type": "Choice", "Choices": [{"Variable": "$.ok", "IsPresent": True, "Next": "Done"},
                                           {"Variable": "$.other", "IsPresent": True, "Next": "Other"}], "Default": "Bad"},
    "Bad": {"Type": "Fail", "Error": "Order.Bad", "Cause": "it is not ok"},
    "Other": {"Type": "Fail", "Error": "Order.Other"},
    "Done": {"Type": "Succeed"},
}


def redrive_from_a_state():
    arn = machine("steer-one", FAILING)
    failed = run(arn, {"n": 1}, "one")
    report.equal((failed["status"], failed["error"]), ("FAILED", "Order.Bad"), "it fails")
    path = f"executions/{quoted(failed['executionArn'])}"
    for body, problem in [
        ({}, "from"), ({"from": "Nowhere"}, "from: the machine has no state 'Nowhere'"), ({"from": 7}, "from"),
        ({"from": "Done"}, "input: the execution has never been in the state 'Done'"), ({"to": "Look"}, "to: there is no such member"),
        ({"from": "Look", "input": "x" * 300_000}, "input: it has"),
    ]:
        status, answer = own("POST", f"{path}/redrive", body)
        report.check(status == 400 and problem in answer["message"], lambda: f"{body}: {status} {answer}")
    report.equal(client.describe_execution(executionArn=failed["executionArn"])["redriveCount"], 0, "nothing was changed")
    # The input that the state had: it fails as before.
    status, _ = own("POST", f"{path}/redrive", {"from": "Look"})
    report.equal(status, 200, "from a state with its last input")
    again = ended(failed["executionArn"])
    report.equal((again["status"], again["redriveCount"]), ("FAILED", 1), "it fails again")
    status, answer = own("POST", f"{path}/redrive", {"from": "Look", "input": {"ok": 1}})
    report.equal(status, 200, f"from a state with another input {answer}")
    done = ended(failed["executionArn"])
    report.equal((done["status"], json.loads(done["output"])), ("SUCCEEDED", {"ok": 1}), "it goes on with that")
    report.equal(json.loads(done["input"]), {"n": 1}, "what it was started with stays")
    _, found = own("GET", f"{path}/revisions")
    report.equal([(r["revision"], r["redriveCount"], r["state"], json.loads(r["input"])) for r in found["revisions"]],
                 [(1, 1, "Look", {"n": 1}), (2, 2, "Look", {"ok": 1})], "the revisions")
    events = client.get_execution_history(executionArn=failed["executionArn"])["events"]
    report.equal([e["id"] for e in events], list(range(1, len(events) + 1)), "no gap")
    report.equal([e["executionRedrivenEventDetails"]["redriveCount"] for e in events if e["type"] == "ExecutionRedriven"], [1, 2],
                 "the history tells of both")
    status, answer = own("POST", f"{path}/redrive", {"from": "Look"})
    report.equal((status, answer["message"]), (409, "Execution is SUCCEEDED and cannot be redriven"), "once it is well")
    status, _ = own("POST", f"executions/{quoted(failed['executionArn'])}x/redrive", {"from": "Look"})
    report.equal(status, 404, "of nobody")


def in_bulk():
    arn = machine("steer-many", FAILING)
    for n in range(12):
        run(arn, {"other": 1} if n % 3 == 0 else {"n": n}, f"e{n}")
    _, page = own("GET", "dead-letters?machine=steer-many&limit=5")
    report.equal(len(page["deadLetters"]), 5, "a page")
    _, rest = own("GET", f"dead-letters?machine=steer-many&cursor={page['next']}")
    letters = page["deadLetters"] + rest["deadLetters"]
    report.equal(sorted(x["name"] for x in letters), sorted(f"e{n}" for n in range(12)), "every failure is there once")
    report.equal({(x["error"], x["state"]) for x in letters}, {("Order.Bad", "Bad"), ("Order.Other", "Other")}, "by error and state")
    _, only = own("GET", f"dead-letters?machine={quoted(arn)}&error=Order.Other&state=Other")
    report.equal(len(only["deadLetters"]), 4, "those of one error and state")
    middle = sorted(x["atMs"] for x in letters)[6]
    _, late = own("GET", f"dead-letters?machine=steer-many&after={middle}")
    report.equal(len(late["deadLetters"]), sum(x["atMs"] >= middle for x in letters), "from a time on")
    for query in ["kind=nothing", "after=yesterday", "limit=x"]:
        report.equal(own("GET", f"dead-letters?{query}")[0], 400, query)
    for body, problem in [({"rate": 0}, "rate"), ({"rate": 5000}, "rate"), ({"input": {}}, "input"), ({"machin": "x"}, "machin"),
                          ({"after": "soon"}, "after")]:
        status, answer = own("POST", "redrives", body)
        report.check(status == 400 and problem in answer["message"], lambda: f"{body}: {status} {answer}")
    # Slowly, so that it can be paused.
    status, begun = own("POST", "redrives", {"machine": arn, "error": "Order.Bad", "from": "Look", "input": {"ok": 2}, "rate": 4})
    report.equal(status, 201, f"a run {begun}")
    until(lambda: own("GET", f"redrives/{begun['id']}")[1]["redriven"] >= 2, "two go on")
    _, paused = own("POST", f"redrives/{begun['id']}/pause")
    report.equal(paused["status"], "PAUSED", "paused")
    report.check(paused["redriven"] < 8, lambda: f"at its rate: {paused}")
    _, resumed = own("POST", f"redrives/{begun['id']}/resume")
    report.equal(resumed["status"], "RUNNING", "resumed")
    done = until(lambda: (lambda x: x if x["status"] == "DONE" else None)(own("GET", f"redrives/{begun['id']}")[1]), "the run's end")
    report.equal((done["redriven"], done["refused"]), (8, 0), "all of them")
    report.equal(own("POST", f"redrives/{begun['id']}/cancel")[0], 409, "it is over")
    counts = {s: len(client.list_executions(stateMachineArn=arn, statusFilter=s)["executions"]) for s in ("SUCCEEDED", "FAILED")}
    report.equal(counts, {"SUCCEEDED": 8, "FAILED": 4}, "the others are left")
    _, left = own("GET", "dead-letters?machine=steer-many")
    report.equal(len(left["deadLetters"]), 4, "and are in the log still")
    # One by one: replayed, discarded.
    first, second = left["deadLetters"][:2]
    status, _ = own("POST", f"dead-letters/{first['id']}/replay", {"from": "Look", "input": {"ok": 3}})
    report.equal((status, ended(first["execution"])["status"]), (200, "SUCCEEDED"), "replayed")
    report.equal(own("GET", f"dead-letters/{first['id']}")[0], 404, "gone from the log")
    report.equal(own("DELETE", f"dead-letters/{second['id']}")[0], 200, "discarded")
    report.equal(client.describe_execution(executionArn=second["execution"])["status"], "FAILED", "the execution stays")
    report.equal(own("POST", f"dead-letters/{second['id']}/replay")[0], 404, "not twice")


def express_that_fails():
    arn = machine("steer-express", {"F": {"Type": "Fail", "Error": "E.Bad"}}, type="EXPRESS")
    client.start_execution(stateMachineArn=arn, name="x", input='{"a": 1}')
    letters = until(lambda: own("GET", "dead-letters?kind=express&machine=steer-express")[1]["deadLetters"], "an express letter")
    report.equal((letters[0]["error"], letters[0]["payload"]), ("E.Bad", '{"a": 1}'), "with its input")
    definition = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}})
    client.update_state_machine(stateMachineArn=arn, definition=definition)
    report.equal(own("POST", f"dead-letters/{letters[0]['id']}/replay")[0], 200, "started anew")
    report.equal(own("GET", "dead-letters?kind=express&machine=steer-express")[1]["deadLetters"], [], "and gone")


def by_the_command_line():
    definition = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"steer-{os.getpid()}.json"
    definition.write_text(json.dumps({"StartAt": "Take", "States": FAILING}))
    states("create", "steer-cli", str(definition))
    definition.unlink()
    for name in ["a", "b", "c"]:
        states("run", "steer-cli", "--name", name, code=1)
    out = states("failures", "steer-cli")
    report.check("3  Order.Bad  in Bad  last c" in out, lambda: out)
    out = states("redrive", "steer-cli:a", "--from", "Look", "--input", '{"ok": true}')
    report.check("revision 1" in out, lambda: out)
    states("redrive", "steer-cli:b", "--input", "{}", code=2)
    out = states("redrive", "steer-cli", "--failed", "--error", "Order.Bad", "--from", "Look", "--input", '{"ok": true}', "--rate", "50")
    report.check("2 go on, 0 were refused" in out, lambda: out)
    report.equal(states("failures", "steer-cli"), "", "nothing is left")
    report.check("DONE" in states("redrives"), "the run is listed")
    report.equal(states("dead-letters", "--machine", "steer-cli"), "", "no letter is left")


def audit():
    """Who did what is written in the transaction of what was done."""
    lines, after = [], 0
    while True:
        with urllib.request.urlopen(f"{endpoint}/selvedge/v1/audit?after={after}", timeout=20) as answer:
            page = [json.loads(line) for line in answer.read().splitlines()]
        if not page:
            break
        lines += page
        after = page[-1]["seq"]
    kinds = {(e["kind"], e["subject"].rsplit(":", 1)[-1]) for e in lines}
    for wanted in [("CreateStateMachine", "steer-one"), ("UpdateStateMachine", "steer-express"), ("RedriveExecution", "one")]:
        report.check(wanted in kinds, lambda: f"{wanted} is not in the trail")
    edited = [e for e in lines if e["kind"] == "RedriveExecution" and e["subject"].endswith(":one")]
    report.equal([(e["details"]["from"], e["details"]["revision"]) for e in edited], [("Look", 1), ("Look", 2)], "with the state")
    refused = len(lines)
    try:
        client.create_state_machine(name="steer-refused", definition="{}", roleArn=ROLE)
    except botocore.exceptions.ClientError:
        pass
    with urllib.request.urlopen(f"{endpoint}/selvedge/v1/audit/head", timeout=20) as answer:
        report.equal(json.loads(answer.read())["seq"], refused, "what was refused is no act")
    if BINARY:
        states("audit", "verify")


redrive_from_a_state()
in_bulk()
express_that_fails()
if BINARY:
    by_the_command_line()
audit()
report.end()
