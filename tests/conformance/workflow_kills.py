#!/usr/bin/env python3
"""The server is killed at random moments while executions run: what was acknowledged is there, whole, and comes to its end.

KILLS and SEED are taken from the environment; a seed repeats the moments, not the machine's timing.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import boto3
import botocore.config
import botocore.exceptions

import _server
from _report import Report

KILLS = int(os.environ.get("KILLS", "500"))
SEED = int(os.environ.get("SEED", "1"))
WORKERS = 4
REGION, ROLE = "us-east-1", f"arn:aws:iam::{_server.ACCOUNT}:role/workflow"
PREFIX = f"arn:aws:states:{REGION}:{_server.ACCOUNT}"

report = Report()
chance = random.Random(SEED)
binary = os.environ.get("SELVEDGE_BIN") or str(_server.ROOT / "target/release/selvedge")
folder = tempfile.mkdtemp(prefix="selvedge-kills-")


def start():
    process = subprocess.Popen([binary, "up", "--listen", "127.0.0.1:0", "--data-dir", folder],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    line = process.stdout.readline().decode()
    if not line:
        raise SystemExit("the server does not start any more")
    return process, line.split()[-1]


def client_of(url):
    return boto3.client(
        "stepfunctions", endpoint_url=url, region_name=REGION, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, read_timeout=70, connect_timeout=2))


MACHINES = {
    # It is over in its first step.
    "pure": {"A": {"Type": "Pass", "Next": "M"}, "M": {"Type": "Map", "ItemsPath": "$.items", "End": True, "ItemProcessor": {
        "StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}}},
    # It waits, in two branches.
    "waits": {"P": {"Type": "Parallel", "End": True, "Branches": [
        {"StartAt": f"W{i}", "States": {f"W{i}": {"Type": "Wait", "Seconds": i, "Next": f"X{i}"},
                                        f"X{i}": {"Type": "Pass", "End": True}}} for i in (0, 1)]}},
    # It is worked on, again where a worker was lost with its server.
    "works": {"T": {"Type": "Task", "Resource": f"{PREFIX}:activity:work", "Next": "S"}, "S": {"Type": "Pass", "End": True}},
    # It has a child.
    "parent": {"C": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "ResultSelector": {"n.$": "$.Output.n"},
                     "Parameters": {"StateMachineArn": f"{PREFIX}:stateMachine:echo", "Input": {"n.$": "$.n"}}, "End": True}},
    "echo": {"E": {"Type": "Pass", "End": True}},
}


def prepare(client):
    client.create_activity(name="work")
    for name, states in MACHINES.items():
        client.create_state_machine(name=name, roleArn=ROLE, definition=json.dumps({"StartAt": next(iter(states)), "States": states}))


acknowledged, resolved = {}, {}
lock = threading.Lock()
counter = 0


def drive(client, stop):
    """Starts executions until the server is gone."""
    global counter
    while not stop.is_set():
        with lock:
            counter += 1
            number = counter
        kind = ["pure", "waits", "works", "parent"][number % 4]
        try:
            started = client.start_execution(stateMachineArn=f"{PREFIX}:stateMachine:{kind}", name=f"e{number}",
                                             input=json.dumps({"n": number, "items": [1, 2]}))
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return
        with lock:
            acknowledged[started["executionArn"]] = (kind, number)


def work(client, stop):
    """Does what activities ask for; remembers which tokens were resolved."""
    while not stop.is_set():
        try:
            task = client.get_activity_task(activityArn=f"{PREFIX}:activity:work")
            if not task.get("taskToken"):
                continue
            client.send_task_success(taskToken=task["taskToken"], output=task["input"])
        except botocore.exceptions.ClientError:
            continue
        except botocore.exceptions.BotoCoreError:
            return
        with lock:
            report.check(task["taskToken"] not in resolved, "a token resolves once")
            resolved[task["taskToken"]] = task["input"]


slowest = 0.0
process, url = start()
prepare(client_of(url))
for kill in range(KILLS):
    stop = threading.Event()
    threads = [threading.Thread(target=drive, args=(client_of(url), stop)) for _ in range(WORKERS)]
    threads.append(threading.Thread(target=work, args=(client_of(url), stop), daemon=True))
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.0, 0.12))
    process.send_signal(signal.SIGKILL)
    process.wait()
    stop.set()
    for thread in threads:
        thread.join(10)
    began = time.monotonic()
    process, url = start()
    slowest = max(slowest, time.monotonic() - began)

# Everything comes to its end.
client = client_of(url)
stop = threading.Event()
workers = [threading.Thread(target=work, args=(client_of(url), stop), daemon=True) for _ in range(WORKERS)]
for worker in workers:
    worker.start()
deadline = time.monotonic() + 180
for arn, (kind, number) in acknowledged.items():
    while True:
        found = client.describe_execution(executionArn=arn)
        # A task that a worker took and whose server died waits for that worker: the machine gives it no time-out.
        if found["status"] != "RUNNING" or kind == "works" or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if kind != "works":
        report.equal(found["status"], "SUCCEEDED", f"{arn} of {kind}")
    events, token = [], None
    while True:
        page = client.get_execution_history(executionArn=arn, maxResults=1000, **({"nextToken": token} if token else {}))
        events += page["events"]
        token = page.get("nextToken")
        if not token:
            break
    report.equal([event["id"] for event in events], list(range(1, len(events) + 1)), f"{arn}: a history without gaps")
    ends = [event["type"] for event in events if event["type"] in ("ExecutionSucceeded", "ExecutionFailed")]
    report.check(len(ends) <= 1 and (not ends or events[-1]["type"] == ends[0]), lambda: f"{arn}: nothing follows the end")
    if found["status"] == "SUCCEEDED":
        report.equal(events[-1]["type"], "ExecutionSucceeded", f"{arn}: its last event")
        if kind == "parent":
            report.equal(json.loads(found["output"]), {"n": number}, f"{arn}: its child's output")
done = [json.loads(text)["n"] for text in resolved.values()]
report.equal(len(done), len(set(done)), "no task was resolved twice")
process.kill()
process.wait()
shutil.rmtree(folder, ignore_errors=True)
print(f"{KILLS} kills, {len(acknowledged)} executions acknowledged, slowest restart {slowest * 1000:.0f} ms")
report.end()
