#!/usr/bin/env python3
"""What executions log, in CloudWatch's shape: every level, with and without data, of express and of standard machines."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import boto3
import botocore.config
import botocore.exceptions

import _server
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN")
ROLE = f"arn:aws:iam::{_server.ACCOUNT}:role/workflow"
REGION = "us-west-2"
folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-logs-"))

# Fails where its input says so: a failure of a branch, of the Parallel state around it, and of the execution.
STATES = {
    "Begin": {"Type": "Pass", "Next": "Both"},
    "Both": {"Type": "Parallel", "Next": "End", "Branches": [
        {"StartAt": "Which", "States": {
            "Which": {"Type": "Choice", "Choices": [{"Variable": "$.fail", "BooleanEquals": True, "Next": "No"}], "Default": "Yes"},
            "No": {"Type": "Fail", "Error": "Custom.No", "Cause": "asked to"},
            "Yes": {"Type": "Succeed"}}}]},
    "End": {"Type": "Pass", "End": True},
}
SECRET = "what-the-caller-sent"
FATAL = {"ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"}


def start():
    arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data"), "--workflow-logs", str(folder / "logs")]
    command = [BINARY, *arguments] if BINARY else ["cargo", "run", "--quiet", "-p", "selvedge", "--", *arguments]
    process = subprocess.Popen(command, cwd=_server.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    url = process.stdout.readline().decode().split()[-1]
    _server._wait(url)
    config = botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False)
    return process, boto3.client("stepfunctions", endpoint_url=url, region_name=REGION, aws_access_key_id="AKIDEXAMPLE",
                                 aws_secret_access_key="secret", config=config)


def logging(level, with_data):
    if level == "OFF":
        return {"level": "OFF", "includeExecutionData": with_data}
    group = f"arn:aws:logs:{REGION}:{_server.ACCOUNT}:log-group:/aws/vendedlogs/states/{level}-{with_data}:*"
    return {"level": level, "includeExecutionData": with_data, "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]}


def records(level, with_data):
    path = folder / "logs" / f"aws.vendedlogs.states.{level}-{with_data}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(look, what, patience=60):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if look():
            return
        time.sleep(0.02)
    report.check(False, f"never: {what}")


def wanted(level, kind):
    """Which events a level has, as the service's table of log levels says."""
    is_error = kind.endswith(("Failed", "Aborted", "TimedOut")) or kind == "FailStateEntered"
    return {"ALL": True, "ERROR": is_error, "FATAL": kind in FATAL, "OFF": False}[level]


def machine(kind, level, with_data):
    return states.create_state_machine(
        name=f"{kind}-{level}-{with_data}", type=kind, roleArn=ROLE, definition=json.dumps({"StartAt": "Begin", "States": STATES}),
        loggingConfiguration=logging(level, with_data))["stateMachineArn"]


def shape(record, arn):
    """The members of a record, each of the kind that CloudWatch shows."""
    report.equal(sorted(record), ["details", "event_timestamp", "execution_arn", "id", "previous_event_id", "redrive_count", "type"], "members")
    report.equal(record["execution_arn"], arn, "the execution")
    report.check(isinstance(record["details"], dict), lambda: f"details: {record}")
    for member in ["id", "previous_event_id", "event_timestamp", "redrive_count"]:
        report.check(isinstance(record[member], str) and record[member].isdigit(), lambda: f"{member}: {record}")


def express():
    """An express execution's history is its log: ALL has every event of it."""
    for level in ["ALL", "ERROR", "FATAL", "OFF"]:
        for with_data in [True, False]:
            arn = machine("EXPRESS", level, with_data)
            seen = []
            for fail in [False, True]:
                done = states.start_sync_execution(stateMachineArn=arn, input=json.dumps({"fail": fail, "secret": SECRET}))
                report.equal(done["status"], "FAILED" if fail else "SUCCEEDED", f"{level}: {done}")
                found = [record for record in records(level, with_data) if record["execution_arn"] == done["executionArn"]]
                [shape(record, done["executionArn"]) for record in found]
                kinds = [record["type"] for record in found]
                report.check(all(wanted(level, kind) for kind in kinds), lambda: f"{level} has {kinds}")
                if level == "ALL":
                    report.equal([int(record["id"]) for record in found], list(range(1, len(found) + 1)), "gapless")
                    report.equal((kinds[0], kinds[-1]), ("ExecutionStarted", "ExecutionFailed" if fail else "ExecutionSucceeded"), "whole")
                expected = {"ALL": None, "ERROR": ["FailStateEntered", "ParallelStateFailed", "ExecutionFailed"] if fail else [],
                            "FATAL": ["ExecutionFailed"] if fail else [], "OFF": []}[level]
                report.check(expected is None or kinds == expected, lambda: f"{level}, fail={fail}: {kinds}")
                seen += found
                if fail and level != "OFF":
                    # A cause may repeat what the caller sent; an error's name does not.
                    details = found[-1]["details"]
                    report.equal(details, {"error": "Custom.No", **({"cause": "asked to"} if with_data else {})}, f"{level} {with_data}")
            text = json.dumps(seen)
            report.equal(SECRET in text, with_data and level in ("ALL", "ERROR"), f"{level}: data is shown where it is asked for")
            report.check(with_data or '"input"' not in text, lambda: f"{level}: {text}")


def without_a_caller():
    """One that nobody waits for logs the same."""
    arn = next(m["stateMachineArn"] for m in states.list_state_machines()["stateMachines"] if m["name"] == "EXPRESS-FATAL-True")
    execution = states.start_execution(stateMachineArn=arn, input='{"fail": true}')["executionArn"]
    until(lambda: any(r["execution_arn"] == execution for r in records("FATAL", True)), "its record")


def standard():
    """A standard execution's log is what its history says, of its level; and a redrive is counted."""
    for level in ["ALL", "ERROR", "FATAL", "OFF"]:
        arn = machine("STANDARD", level, True)
        execution = states.start_execution(stateMachineArn=arn, input='{"fail": true}')["executionArn"]
        until(lambda: states.describe_execution(executionArn=execution)["status"] == "FAILED", "its end")

        def logged():
            return [record for record in records(level, True) if record["execution_arn"] == execution]

        def history():
            events = states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
            return [(str(event["id"]), event["type"]) for event in events if wanted(level, event["type"])]

        until(lambda: len(logged()) == len(history()), f"{level}: all of them")
        report.equal([(record["id"], record["type"]) for record in logged()], history(), f"{level}: as the history")
        states.redrive_execution(executionArn=execution)
        until(lambda: states.describe_execution(executionArn=execution)["redriveCount"] == 1
              and states.describe_execution(executionArn=execution)["status"] == "FAILED", "driven on")
        until(lambda: len(logged()) == len(history()), f"{level}: with the redrive")
        report.equal([(record["id"], record["type"]) for record in logged()], history(), f"{level}: with the redrive")
        if level != "OFF":
            report.equal({record["redrive_count"] for record in logged()}, {"0", "1"}, f"{level}: the redrive's")


def refused():
    """What no configuration can be is refused, and nothing is made."""
    group = {"cloudWatchLogsLogGroup": {"logGroupArn": f"arn:aws:logs:{REGION}:{_server.ACCOUNT}:log-group:/x:*"}}
    for given, code in [({"level": "ALL"}, "InvalidLoggingConfiguration"), ({"level": "ALL", "destinations": [group, group]}, "InvalidLoggingConfiguration"),
                        ({"level": "SOME", "destinations": [group]}, "ValidationException"),
                        ({"level": "ERROR", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": "nowhere"}}]}, "InvalidLoggingConfiguration")]:
        try:
            states.create_state_machine(name="refused", roleArn=ROLE, definition=json.dumps({"StartAt": "Begin", "States": STATES}),
                                        loggingConfiguration=given)
            report.check(False, lambda: f"{given} is taken")
        except botocore.exceptions.ClientError as error:
            report.equal(error.response["Error"]["Code"], code, f"{given}: {error}")
    names = [m["name"] for m in states.list_state_machines()["stateMachines"]]
    report.check("refused" not in names, lambda: f"{names}")


server, states = start()
try:
    for part in [express, without_a_caller, standard, refused]:
        part()
finally:
    server.terminate()
    server.wait(20)
    shutil.rmtree(folder, ignore_errors=True)
report.end()
