#!/usr/bin/env python3
"""A disk that is really full: what cannot be stored is refused, what was acknowledged stays, and the server goes on once there is room.

The disk is a small file system in memory, in a namespace of the server's own: nothing else sees it.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config
import botocore.exceptions

import _server
from _report import Report

MIB = 1 << 20
DISK = 24 * MIB
REGION, ROLE = "us-east-1", f"arn:aws:iam::{_server.ACCOUNT}:role/workflow"
BINARY = os.environ.get("SELVEDGE_BIN") or str(_server.ROOT / "target/debug/selvedge")
report = Report()
folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-full-"))

if os.environ.get("SELVEDGE_FULL_DISK") is None:
    # Once more, where a file system may be mounted that nobody else sees.
    as_root = os.geteuid() == 0
    words = ["unshare", "--mount", *([] if as_root else ["--map-root-user"])]
    if subprocess.run([*words, "true"]).returncode != 0:
        raise SystemExit("a file system of its own cannot be mounted here: run this as root, or where users may have namespaces")
    os.execvpe(words[0], [*words, sys.executable, __file__], {**os.environ, "SELVEDGE_FULL_DISK": "1"})

subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], check=True)


def start():
    process = subprocess.Popen([BINARY, "up", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    line = process.stdout.readline().decode()
    if not line:
        raise SystemExit("the server does not start")
    config = botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, read_timeout=30)
    return process, boto3.client("stepfunctions", endpoint_url=line.split()[-1], region_name=REGION, aws_access_key_id="AKIDEXAMPLE",
                                 aws_secret_access_key="secret", config=config)


def begin(client, name):
    """Starts one: its ARN, or the error's code."""
    try:
        return client.start_execution(stateMachineArn=machine, name=name, input=json.dumps({"filler": "x" * 50_000}))["executionArn"], None
    except botocore.exceptions.ClientError as error:
        return None, (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])


def check(client, when):
    for arn in acknowledged:
        found = client.describe_execution(executionArn=arn)
        report.equal(found["status"], "SUCCEEDED", f"{arn} {when}")
        events = client.get_execution_history(executionArn=arn)["events"]
        report.equal([event["id"] for event in events], list(range(1, len(events) + 1)), f"{arn} has gaps {when}")
        report.equal(sum(event["type"] == "ExecutionSucceeded" for event in events), 1, f"{arn} ends once {when}")


server, states = start()
acknowledged = []
try:
    definition = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Next": "Q"}, "Q": {"Type": "Pass", "End": True}}}
    machine = states.create_state_machine(name="fills", roleArn=ROLE, definition=json.dumps(definition))["stateMachineArn"]
    arn, refused = begin(states, "first")
    report.check(arn, lambda: f"the first one: {refused}")
    acknowledged.append(arn)
    # Somebody else fills the disk but for two megabytes; then executions do.
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(b"\0" * max(free - 2 * MIB, 0))
    refusals = []
    for number in range(400):
        arn, refused = begin(states, f"e{number}")
        if arn:
            acknowledged.append(arn)
        else:
            refusals.append(refused)
        if len(refusals) >= 5:
            break
    report.equal(len(refusals), 5, f"the disk is full: {len(acknowledged)} were taken, {shutil.disk_usage(folder)}")
    report.check(all(status >= 500 for _, status in refusals), lambda: f"the fault is the server's: {refusals}")
    report.check(server.poll() is None, lambda: "it died of it")
    check(states, "while the disk is full")
    # There is room again: nobody starts anything anew.
    (folder / "filler").unlink()
    deadline, arn = time.monotonic() + 20, None
    while not arn and time.monotonic() < deadline:
        arn, refused = begin(states, f"after{time.monotonic_ns()}")
    report.check(arn, lambda: f"it goes on once there is room: {refused}")
    acknowledged.append(arn)
    check(states, "with room again")
    # Full once more, and killed there.
    (folder / "filler").write_bytes(b"\0" * max(shutil.disk_usage(folder).free - MIB // 2, 0))
    for number in range(100):
        arn, refused = begin(states, f"f{number}")
        if refused:
            break
        acknowledged.append(arn)
    report.check(refused, lambda: "it is full once more")
    server.send_signal(signal.SIGKILL)
    server.wait()
    (folder / "filler").unlink()
    server, states = start()
    check(states, "after a kill on a full disk")
    report.equal(sorted(acknowledged), sorted({execution["executionArn"] for page in states.get_paginator("list_executions").paginate(stateMachineArn=machine)
                                               for execution in page["executions"]} & set(acknowledged)), "all are listed")
finally:
    server.kill()
report.end()
