#!/usr/bin/env python3
"""Distributed Map states through boto3: data sets, batches, tolerated failures, results, children, redrives, a kill between."""

import gzip
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import boto3
import botocore.config
import botocore.exceptions

import _server
from _report import Report

report = Report()
ACCOUNT, REGION = _server.ACCOUNT, "us-west-2"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/workflow"
PREFIX = f"arn:aws:states:{REGION}:{ACCOUNT}"
ITEMS = int(os.environ.get("ITEMS", "20000"))
MILLION = int(os.environ.get("MILLION", "1000000"))

home = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-maps-"))
objects = home / "objects"
(objects / "data").mkdir(parents=True)
binary = os.environ.get("SELVEDGE_BIN") or str(_server.ROOT / "target/release/selvedge")


def start():
    process = subprocess.Popen(
        [binary, "up", "--listen", "127.0.0.1:0", "--data-dir", str(home / "store"), "--workflow-objects", str(objects),
         "--workflow-logs", str(home / "logs"), "--workflow-history-events", "400"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    line = process.stdout.readline().decode()
    if not line:
        raise SystemExit("the server does not start")
    url = line.split()[-1]
    os.environ["AWS_ENDPOINT_URL"] = url
    _server._wait(url)
    return process, boto3.client(
        "stepfunctions", endpoint_url=url, region_name=REGION, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, read_timeout=70))


server, client = start()


def machine(name, state, processor, kind="STANDARD", states={}, **more):
    state = {"Type": "Map", "End": True, **state, "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind}, **processor}}
    return client.create_state_machine(name=name, roleArn=ROLE, definition=json.dumps({"StartAt": "M", "States": {"M": state, **states}, **more}))["stateMachineArn"]


def settled(arn, patience=60):
    deadline = time.monotonic() + patience
    while True:
        found = client.describe_execution(executionArn=arn)
        if found["status"] != "RUNNING" or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def run(machine, input, **more):
    return settled(client.start_execution(stateMachineArn=machine, input=json.dumps(input), **more)["executionArn"])


def map_run(execution):
    runs = client.list_map_runs(executionArn=execution["executionArn"])["mapRuns"]
    report.equal(len(runs), 1, "one map run")
    return client.describe_map_run(mapRunArn=runs[0]["mapRunArn"])


def types(arn):
    return [event["type"] for event in client.get_execution_history(executionArn=arn, maxResults=1000)["events"]]


PASS = {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}
PICKY = {"StartAt": "C", "States": {
    "C": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericLessThan": 0, "Next": "F"}], "Default": "S"},
    "F": {"Type": "Fail", "Error": "Negative", "Cause": "below zero"}, "S": {"Type": "Succeed"}}}


def own_items():
    for kind in ("STANDARD", "EXPRESS"):
        arn = machine(f"own-{kind}", {"ItemsPath": "$.items", "Label": "each", "MaxConcurrency": 2, "ItemSelector": {
            "n.$": "$$.Map.Item.Value", "at.$": "$$.Map.Item.Index", "all.$": "$.name", "of.$": "$$.Map.Item.Source"}}, PASS, kind)
        ended = run(arn, {"items": [5, 6, 7], "name": "x"})
        report.equal(json.loads(ended["output"]), [{"n": n, "at": at, "all": "x", "of": "STATE_DATA"} for at, n in enumerate([5, 6, 7])], kind)
        report.equal(types(ended["executionArn"]), ["ExecutionStarted", "MapStateEntered", "MapStateStarted", "MapRunStarted",
                                                    "MapRunSucceeded", "MapStateSucceeded", "MapStateExited", "ExecutionSucceeded"], kind)
        found = map_run(ended)
        report.equal(found["status"], "SUCCEEDED", kind)
        report.check(found["mapRunArn"].startswith(f"{PREFIX}:mapRun:own-{kind}/each:"), found["mapRunArn"])
        report.equal(found["maxConcurrency"], 2, kind)
        for counts in (found["itemCounts"], found["executionCounts"]):
            report.equal((counts["total"], counts["succeeded"], counts["pending"], counts["running"]), (3, 3, 0, 0), kind)
        children = client.list_executions(mapRunArn=found["mapRunArn"])["executions"]
        report.equal(len(children), 3, kind)
        report.check(all(child["mapRunArn"] == found["mapRunArn"] and child["itemCount"] == 1 for child in children), str(children))
        child = client.describe_execution(executionArn=children[-1]["executionArn"])
        report.equal(json.loads(child["input"]), {"n": 5, "at": 0, "all": "x", "of": "STATE_DATA"}, kind)
        report.equal(child["stateMachineArn"], f"{PREFIX}:stateMachine:own-{kind}/each", kind)
        report.equal(len(client.list_executions(stateMachineArn=arn)["executions"]), 1, "children are no executions of the machine")
        if kind == "STANDARD":
            report.equal(types(child["executionArn"]), ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"], kind)
            definition = client.describe_state_machine_for_execution(executionArn=child["executionArn"])
            report.equal(json.loads(definition["definition"]), PASS, "a child's definition")
            report.equal((definition["mapRunArn"], definition["label"]), (found["mapRunArn"], "each"), "a child's definition")


def json_ata():
    arn = machine("expressions", {"Items": "{% $states.input.items %}", "ItemSelector": {"twice": "{% $states.context.Map.Item.Value * $factor %}"}},
                  {"StartAt": "I", "States": {"I": {"Type": "Pass", "Output": "{% $states.input.twice + 1 %}", "End": True}}}, QueryLanguage="JSONata")
    definition = json.loads(client.describe_state_machine(stateMachineArn=arn)["definition"])
    definition["StartAt"] = "P"
    definition["States"]["P"] = {"Type": "Pass", "Assign": {"factor": 2}, "Next": "M"}
    client.update_state_machine(stateMachineArn=arn, definition=json.dumps(definition))
    report.equal(json.loads(run(arn, {"items": [1, 2]})["output"]), [3, 5], "JSONata with a variable of outside")


def reader(config, key=None, bucket="data", **arguments):
    resource = "getObject" if key else "listObjectsV2"
    return {"ItemReader": {"Resource": f"arn:aws:states:::s3:{resource}", "ReaderConfig": config,
                           "Parameters": {"Bucket": bucket, **({"Key": key} if key else {}), **arguments}}}


def data_sets():
    (objects / "data/a.json").write_text(json.dumps({"rows": [{"n": n} for n in range(5)]}))
    (objects / "data/b.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(5)))
    (objects / "data/c.csv").write_text("n,name\n0,zero\n1,\"o,ne\"\n")
    (objects / "data/parts").mkdir()
    for part in range(3):
        (objects / f"data/parts/{part}.jsonl.gz").write_bytes(gzip.compress(f'{{"part": {part}}}\n'.encode() * 2))
    for name, state, items in [
        ("json", reader({"InputType": "JSON", "ItemsPointer": "/rows"}, "a.json"), [{"n": n} for n in range(5)]),
        ("jsonl", reader({"InputType": "JSONL", "MaxItems": 3}, "b.jsonl"), [{"n": n} for n in range(3)]),
        ("source", {**reader({"InputType": "JSONL"}, "b.jsonl"), "ItemSelector": {"of.$": "$$.Map.Item.Source"}}, [{"of": "S3://data/b.jsonl"}] * 5),
        ("csv", reader({"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}, "c.csv"), [{"n": "0", "name": "zero"}, {"n": "1", "name": "o,ne"}]),
        ("flat", reader({"InputType": "JSONL", "Transformation": "LOAD_AND_FLATTEN"}, Prefix="parts/"), [{"part": part} for part in (0, 0, 1, 1, 2, 2)]),
    ]:
        ended = run(machine(f"set-{name}", state, PASS, "EXPRESS"), {})
        report.equal(json.loads(ended.get("output", "null")), items, f"{name} {ended}")
    listed = json.loads(run(machine("set-list", reader({}, Prefix="parts/"), PASS), {})["output"])
    report.equal([entry["Key"] for entry in listed], [f"parts/{part}.jsonl.gz" for part in range(3)], "a listing")
    lost = run(machine("set-lost", reader({"InputType": "JSON"}, "none.json"), PASS), {})
    report.equal((lost["status"], lost["error"]), ("FAILED", "States.ItemReaderFailed"), str(lost))
    report.check("none.json" in lost["cause"], lost["cause"])
    out = run(machine("set-out", reader({"InputType": "JSON"}, "../store/x"), PASS), {})
    report.equal(out["error"], "States.ItemReaderFailed", "a key that leads out")
    report.equal(types(lost["executionArn"])[-4:], ["MapRunStarted", "MapRunFailed", "MapStateFailed", "ExecutionFailed"], "events of a lost data set")


def batches():
    arn = machine("batches", {"ItemsPath": "$.items", "ItemBatcher": {"MaxItemsPerBatchPath": "$.size", "BatchInput": {"name.$": "$.name"}}}, PASS)
    ended = run(arn, {"items": [1, 2, 3, 4, 5], "size": 2, "name": "x"})
    report.equal(json.loads(ended["output"]), [{"BatchInput": {"name": "x"}, "Items": items} for items in ([1, 2], [3, 4], [5])], "batches")
    found = map_run(ended)
    report.equal((found["itemCounts"]["total"], found["executionCounts"]["total"]), (5, 3), "items and batches")
    bytes = machine("bytes", {"ItemBatcher": {"MaxInputBytesPerBatch": 30}}, PASS)
    report.equal([len(batch["Items"]) for batch in json.loads(run(bytes, ["aaaaa"] * 4)["output"])], [2, 2], "batches by bytes")


def failures():
    items = [{"n": n} for n in (1, -1, 2, -2, 3)]
    strict = run(machine("strict", {}, PICKY), items)
    report.equal((strict["status"], strict["error"]), ("FAILED", "States.ExceedToleratedFailureThreshold"), str(strict))
    report.equal(map_run(strict)["status"], "FAILED", "strict")
    for name, bounds, passes in [("two", {"ToleratedFailureCount": 2}, True), ("one", {"ToleratedFailureCount": 1}, False),
                                 ("forty", {"ToleratedFailurePercentage": 40}, True), ("thirty", {"ToleratedFailurePercentage": 39}, False)]:
        for kind in ("STANDARD", "EXPRESS"):
            ended = run(machine(f"{name}-{kind}", bounds, PICKY, kind), items)
            report.equal(ended["status"], "SUCCEEDED" if passes else "FAILED", f"{name} {kind} {ended}")
            if passes:
                report.equal(map_run(ended)["itemCounts"]["failed"], 2, name)
    caught = machine("caught", {"Catch": [{"ErrorEquals": ["States.ExceedToleratedFailureThreshold"], "Next": "E"}]}, PICKY,
                     states={"E": {"Type": "Succeed"}})
    report.equal(run(caught, items)["status"], "SUCCEEDED", "caught")


def results():
    for kind, transformation, output_type in [("STANDARD", "NONE", "JSON"), ("EXPRESS", "COMPACT", "JSONL"), ("EXPRESS", "FLATTEN", "JSON")]:
        state = {"ToleratedFailureCount": 1, "ItemsPath": "$", "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "results", "Prefix": f"runs/{transformation}"},
            "WriterConfig": {"Transformation": transformation, "OutputType": output_type}}}
        ended = run(machine(f"written-{transformation}", state, PICKY, kind), [{"n": 1}, {"n": -1}, {"n": 2}])
        output = json.loads(ended["output"])
        found = map_run(ended)
        report.equal(output["MapRunArn"], found["mapRunArn"], transformation)
        report.equal(found["itemCounts"]["resultsWritten"], 2, transformation)
        details = output["ResultWriterDetails"]
        manifest = json.loads((objects / details["Bucket"] / details["Key"]).read_text())
        [succeeded], [failed] = manifest["ResultFiles"]["SUCCEEDED"], manifest["ResultFiles"]["FAILED"]
        text = (objects / "results" / succeeded["Key"]).read_text()
        report.equal(len(text), succeeded["Size"], transformation)
        rows = [json.loads(line) for line in text.splitlines()] if output_type == "JSONL" else json.loads(text)
        if transformation == "NONE":
            report.equal([json.loads(row["Output"]) for row in rows], [{"n": 1}, {"n": 2}], transformation)
            [lost] = json.loads((objects / "results" / failed["Key"]).read_text())
            report.equal((lost["Status"], lost["Error"]), ("FAILED", "Negative"), transformation)
        else:
            report.equal(rows, [{"n": 1}, {"n": 2}], transformation)
    nowhere = {"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "../out", "Prefix": "x"}}}
    report.equal(run(machine("nowhere", nowhere, PASS), [1])["error"], "States.ResultWriterFailed", "a bucket that leads out")


def steered():
    """Children that wait: bounds that change, a stop, a redrive."""
    activity = client.create_activity(name="steered")["activityArn"]
    work = {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": activity, "End": True}}}
    arn = machine("steered", {"MaxConcurrency": 1, "Label": "s"}, work)
    execution = client.start_execution(stateMachineArn=arn, input="[1,2,3]")["executionArn"]
    first = client.get_activity_task(activityArn=activity)
    [found] = client.list_map_runs(executionArn=execution)["mapRuns"]
    counts = client.describe_map_run(mapRunArn=found["mapRunArn"])["executionCounts"]
    report.equal(counts["running"], 1, "one at a time")
    client.update_map_run(mapRunArn=found["mapRunArn"], maxConcurrency=3, toleratedFailureCount=1)
    others = [client.get_activity_task(activityArn=activity) for _ in range(2)]
    report.check(all(task["taskToken"] for task in others), "more at a time")
    client.send_task_success(taskToken=first["taskToken"], output=first["input"])
    client.send_task_failure(taskToken=others[0]["taskToken"], error="First", cause="it may fail")
    report.equal(client.describe_execution(executionArn=execution)["status"], "RUNNING", "one failure is tolerated")
    client.send_task_failure(taskToken=others[1]["taskToken"], error="Second")
    ended = settled(execution)
    report.equal((ended["status"], ended["error"]), ("FAILED", "States.ExceedToleratedFailureThreshold"), "too many")
    [pending] = client.list_executions(mapRunArn=found["mapRunArn"], statusFilter="PENDING_REDRIVE", maxResults=1)["executions"]
    child = client.describe_execution(executionArn=pending["executionArn"])
    report.equal(child["redriveStatus"], "REDRIVABLE_BY_MAP_RUN", "a child")
    # Driven on, the two run once more; the one that was done does not.
    client.redrive_execution(executionArn=execution)
    again = [client.get_activity_task(activityArn=activity) for _ in range(2)]
    report.equal(sorted(task["input"] for task in again), sorted(task["input"] for task in others), "the same two")
    for task in again:
        client.send_task_success(taskToken=task["taskToken"], output=task["input"])
    ended = settled(execution)
    report.equal((ended["status"], ended.get("output")), ("SUCCEEDED", "[1,2,3]"), "driven on")
    after = client.describe_map_run(mapRunArn=found["mapRunArn"])
    report.equal((after["status"], after["redriveCount"], after["itemCounts"]["succeeded"], after["itemCounts"]["failed"]), ("SUCCEEDED", 1, 3, 0), "driven on")
    report.check("MapRunRedriven" in types(execution), "an event of the redrive")
    try:
        client.update_map_run(mapRunArn=found["mapRunArn"], maxConcurrency=1)
        report.check(False, "a run that is over is not updated")
    except botocore.exceptions.ClientError as error:
        report.equal(error.response["Error"]["Code"], "ValidationException", "a run that is over")
    # Stopped with its execution.
    execution = client.start_execution(stateMachineArn=arn, input="[1,2]")["executionArn"]
    task = client.get_activity_task(activityArn=activity)
    client.stop_execution(executionArn=execution)
    [found] = client.list_map_runs(executionArn=execution)["mapRuns"]
    deadline = time.monotonic() + 20
    while client.describe_map_run(mapRunArn=found["mapRunArn"])["status"] == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.02)
    report.equal(client.describe_map_run(mapRunArn=found["mapRunArn"])["status"], "ABORTED", "stopped")
    try:
        client.send_task_success(taskToken=task["taskToken"], output="1")
        report.check(False, "a token of a stopped child has no meaning")
    except botocore.exceptions.ClientError as error:
        report.equal(error.response["Error"]["Code"], "TaskTimedOut", "a token of a stopped child")


def killed():
    """The server is killed while many children run: each item comes to its end once."""
    global server, client
    with open(objects / "data/many.jsonl", "w") as file:
        for n in range(ITEMS):
            file.write(json.dumps({"n": n}) + "\n")
    for kind in ("STANDARD", "EXPRESS"):
        writer = {"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "results", "Prefix": f"many-{kind}"},
                                   "WriterConfig": {"Transformation": "COMPACT", "OutputType": "JSONL"}}}
        arn = machine(f"many-{kind}", {**reader({"InputType": "JSONL"}, "many.jsonl"), **writer}, PASS, kind)
        execution = client.start_execution(stateMachineArn=arn)["executionArn"]
        kills = 0
        while kills < 2:
            runs = client.list_map_runs(executionArn=execution)["mapRuns"]
            done = client.describe_map_run(mapRunArn=runs[0]["mapRunArn"])["executionCounts"]["succeeded"] if runs else 0
            if done > ITEMS * (kills + 1) // 4:
                server.send_signal(signal.SIGKILL)
                server.wait()
                server, client = start()
                kills += 1
            if client.describe_execution(executionArn=execution)["status"] != "RUNNING":
                break
        report.equal(kills, 2, f"{kind}: it was killed while it ran")
        ended = settled(execution, 240)
        report.equal(ended["status"], "SUCCEEDED", f"{kind} {ended}")
        found = map_run(ended)
        report.equal((found["itemCounts"]["total"], found["itemCounts"]["succeeded"], found["executionCounts"]["total"]), (ITEMS, ITEMS, ITEMS), kind)
        details = json.loads(ended["output"])["ResultWriterDetails"]
        manifest = json.loads((objects / "results" / details["Key"]).read_text())
        numbers = [json.loads(line)["n"] for file in manifest["ResultFiles"]["SUCCEEDED"] for line in (objects / "results" / file["Key"]).read_text().splitlines()]
        report.check(numbers == list(range(ITEMS)), f"{kind}: every item once, in order, and there are {len(numbers)}")
        report.equal(types(execution).count("MapRunStarted"), 1, f"{kind}: it began once")


def million():
    """A million items pass through memory that does not grow with them, in bounded time, while others go on."""
    resident = lambda: int(next(line for line in open(f"/proc/{server.pid}/status") if line.startswith("VmRSS")).split()[1]) >> 10
    with open(objects / "data/million.jsonl", "w") as file:
        file.writelines(f'{{"n": {n}}}\n' for n in range(MILLION))
    arn = machine("million", {**reader({"InputType": "JSONL"}, "million.jsonl"), "ItemBatcher": {"MaxItemsPerBatch": 1000}, "MaxConcurrency": 8,
                              "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "results", "Prefix": "million"}}},
                  {"StartAt": "I", "States": {"I": {"Type": "Pass", "Parameters": {"count.$": "States.ArrayLength($.Items)"}, "End": True}}}, "EXPRESS")
    before, most, slowest, beside = resident(), 0, 0, set()
    all_begun = time.monotonic()
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    other = machine("beside", {"MaxConcurrency": 1}, PASS, "EXPRESS")
    deadline = time.monotonic() + 300
    while client.describe_execution(executionArn=execution)["status"] == "RUNNING" and time.monotonic() < deadline:
        begun = time.monotonic()
        beside.add(run(other, [1])["status"])
        most, slowest = max(most, resident()), max(slowest, time.monotonic() - begun)
        time.sleep(0.2)
    # How often others ran meanwhile is the machine's affair, and no fact that is counted.
    report.equal(beside, {"SUCCEEDED"}, "beside a million")
    ended = settled(execution, 1)
    report.equal(ended["status"], "SUCCEEDED", str(ended))
    counts = map_run(ended)
    report.equal((counts["itemCounts"]["total"], counts["itemCounts"]["succeeded"], counts["executionCounts"]["total"]),
                 (MILLION, MILLION, -(-MILLION // 1000)), "counts of a million")
    report.check(most - before < 64, lambda: f"memory grew from {before} to {most} MiB")
    took = time.monotonic() - all_begun
    report.check(slowest < max(10, took / 4), lambda: f"somebody else waited {slowest} s of the {took} s that it took")


def logged():
    """Logs by level, what failed by error and state, a bound of histories that is configured."""
    groups = {}
    for level in ("ALL", "ERROR", "FATAL"):
        groups[level] = client.create_state_machine(
            name=f"logs-{level}", roleArn=ROLE, definition=json.dumps(PICKY), loggingConfiguration={
                "level": level, "includeExecutionData": level == "ALL",
                "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/states/{level}:*"}}]})["stateMachineArn"]
        run(groups[level], {"n": 1})
        failed = run(groups[level], {"n": -1}, name="bad")
        records = [json.loads(line) for line in (home / f"logs/states.{level}.jsonl").read_text().splitlines()]
        own = [record["type"] for record in records if record["execution_arn"] == failed["executionArn"]]
        wanted = {"ALL": types(failed["executionArn"]), "ERROR": ["FailStateEntered", "ExecutionFailed"], "FATAL": ["ExecutionFailed"]}[level]
        report.equal(own, wanted, f"the log of {level}")
        if level == "ALL":
            report.equal(records[0]["details"]["input"], '{"n": 1}', "data in the log")
            report.equal((records[0]["id"], records[0]["previous_event_id"], records[0]["redrive_count"]), ("1", "0", "0"), "a record")
        else:
            report.check("cause" not in json.dumps(records), "no data where it is not asked for")
    said = subprocess.run([binary, "states", "failures", "logs-ALL", "--state", "F", "-o", "json"], capture_output=True, text=True, env={**os.environ, "AWS_REGION": REGION})
    report.equal(json.loads(said.stdout or "null"), {"failures": [{"error": "Negative", "state": "F", "count": 1,
                 "executions": [f"{PREFIX}:execution:logs-ALL:bad"]}]}, f"what failed {said.stderr}")
    loop = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Choice", "Default": "A", "Choices": [
        {"Variable": "$.never", "IsPresent": True, "Next": "C"}]}, "C": {"Type": "Succeed"}}}
    endless = run(client.create_state_machine(name="endless", roleArn=ROLE, definition=json.dumps(loop))["stateMachineArn"], {})
    report.equal((endless["status"], endless["error"]), ("FAILED", "States.Runtime"), str(endless))
    report.check("(400)" in endless["cause"], endless["cause"])


try:
    for part in (own_items, json_ata, data_sets, batches, failures, results, steered, million, logged, killed):
        part()
finally:
    server.kill()
report.end()
