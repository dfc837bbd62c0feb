#!/usr/bin/env python3
"""Distributed Map states over buckets: moto's server is S3, boto3 fills the buckets and reads what was written."""

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config

import _server
from _ports import free_port
from _report import Report

report = Report()
ACCOUNT, REGION = _server.ACCOUNT, "eu-west-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/workflow"
KEY, SECRET = "AKIDBUCKETS", "a-secret-that-signs"
BINARY = os.environ.get("SELVEDGE_BIN") or str(_server.ROOT / "target/debug/selvedge")
# message rows { REQUIRED INT64 n; OPTIONAL BYTE_ARRAY name (UTF8); }, with (1, "x") and (2, null).
PARQUET = base64.b64decode(
    "UEFSMRUAFSwVMCwVBBUAFQYVBhwAAAAWVAIAAAAEAQEAAAAAAAAAAgAAAAAAAAAVABUWFRosFQQVABUGFQYcAAAACygCAAAAAwEBAAAAeBUEGTw1ABgGc2NoZW1hFQQAFQQlAhgBbgAVDCUCGARuYW1lJQBMHAAAABYEGRwZLCYAHBUEGSUGABkYAW4VAhYEFlIWViYISRwVABUAFQIAPCkGGSYABAAAACYAHBUMGSUGABkYBG5hbWUVAhYEFjwWQCZeSRwVABUAFQIAPBYCGQYZJgICAAAAFo4BFgQmCBaWAQAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGSwcAAAcAAAAvwAAAFBBUjE=")


def until(what, patience=60):
    deadline = time.monotonic() + patience
    while True:
        found = what()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def client_of(service, url):
    return boto3.client(service, endpoint_url=url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
                        config=botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, read_timeout=70))


def start_moto():
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=dict(os.environ, MOTO_ACCOUNT_ID=ACCOUNT))
    report.check(until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 60), lambda: "moto's server does not start")
    return process, f"http://127.0.0.1:{port}"


def start_selvedge(**environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen([BINARY, "up", "--listen", "127.0.0.1:0", "--data-dir", tempfile.mkdtemp(prefix="selvedge-buckets-"), "--region", REGION],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**kept, **environment})
    line = process.stdout.readline().decode()
    if not line:
        raise SystemExit("the server does not start")
    return process, client_of("stepfunctions", line.split()[-1])


def machine(client, name, state):
    state = {"Type": "Map", "End": True, **state, "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}, "StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}}
    return client.create_state_machine(name=name, roleArn=ROLE, definition=json.dumps({"StartAt": "M", "States": {"M": state}}))["stateMachineArn"]


def run(client, arn, given=None):
    execution = client.start_execution(stateMachineArn=arn, input=json.dumps(given or {}))["executionArn"]

    def look():
        found = client.describe_execution(executionArn=execution)
        return found if found["status"] != "RUNNING" else None
    found = until(look, 60)
    report.check(found, lambda: f"{arn} does not end")
    return found or {"status": "RUNNING", "error": "", "cause": ""}


def reader(config, key=None, bucket="data", **arguments):
    resource = "getObject" if key else "listObjectsV2"
    return {"ItemReader": {"Resource": f"arn:aws:states:::s3:{resource}", "ReaderConfig": config,
                           "Parameters": {"Bucket": bucket, **({"Key": key} if key else {}), **arguments}}}


def data_sets():
    put = lambda key, body: s3.put_object(Bucket="data", Key=key, Body=body)
    rows = [{"n": n} for n in range(5)]
    put("a ä+.json", json.dumps({"rows": rows}))
    put("b.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    put("c.csv", "n,name\n0,zero\n1,\"o,ne\"\n")
    put("d.parquet", PARQUET)
    put("empty.jsonl", "")
    for part in range(3):
        put(f"parts/{part}.jsonl.gz", gzip.compress(f'{{"part": {part}}}\n'.encode() * 2))
    put("inventory/0.csv.gz", gzip.compress(b'"data","x","1"\n"data","y","2"\n'))
    put("inventory/manifest.json", json.dumps({"sourceBucket": "data", "destinationBucket": "arn:aws:s3:::data", "fileFormat": "CSV",
                                               "fileSchema": "Bucket, Key, Size", "files": [{"key": "inventory/0.csv.gz"}]}))
    put("athena.csv", "s3://data/b.jsonl\ns3://data/parts/0.jsonl.gz\n")
    lines = reader({"InputType": "JSONL"}, "b.jsonl")["ItemReader"]
    for name, state, items in [
        ("json", reader({"InputType": "JSON", "ItemsPointer": "/rows"}, "a ä+.json"), rows),
        ("jsonl", reader({"InputType": "JSONL", "MaxItems": 3}, "b.jsonl"), rows[:3]),
        ("csv", reader({"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}, "c.csv"), [{"n": "0", "name": "zero"}, {"n": "1", "name": "o,ne"}]),
        ("parquet", reader({"InputType": "PARQUET"}, "d.parquet"), [{"n": 1, "name": "x"}, {"n": 2, "name": None}]),
        ("empty", reader({"InputType": "JSONL"}, "empty.jsonl"), []),
        ("flat", reader({"InputType": "JSONL", "Transformation": "LOAD_AND_FLATTEN"}, Prefix="parts/"), [{"part": part} for part in (0, 0, 1, 1, 2, 2)]),
        ("inventory", reader({"InputType": "MANIFEST"}, "inventory/manifest.json"),
         [{"Bucket": "data", "Key": "x", "Size": "1"}, {"Bucket": "data", "Key": "y", "Size": "2"}]),
        ("athena", reader({"ManifestType": "ATHENA_DATA", "InputType": "JSONL"}, "athena.csv"), rows + [{"part": 0}, {"part": 0}]),
        ("argued", {"ItemReader": {**lines, "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.key"}}}, rows),
    ]:
        ended = run(states, machine(states, f"set-{name}", state), {"bucket": "data", "key": "b.jsonl"})
        report.equal(json.loads(ended.get("output", "null")), items, f"{name} {ended}")


def listings():
    """More objects than a page has."""
    count = 1105
    for number in range(count):
        s3.put_object(Bucket="many", Key=f"in/{number:05}", Body=b"x" * (number % 3))
    s3.put_object(Bucket="many", Key="out", Body=b"")
    selected = {"ItemSelector": {"key.$": "$$.Map.Item.Value.Key", "size.$": "$$.Map.Item.Value.Size"}}
    ended = run(states, machine(states, "listed", {**reader({}, bucket="many", Prefix="in/"), **selected}))
    report.equal(json.loads(ended.get("output", "null")), [{"key": f"in/{number:05}", "size": number % 3} for number in range(count)], "a listing of two pages")
    [first] = json.loads(run(states, machine(states, "entry", reader({"MaxItems": 1}, bucket="many", Prefix="out")))["output"])
    report.equal({name: type(value) for name, value in first.items()},
                 {"Etag": str, "Key": str, "LastModified": int, "Size": int, "StorageClass": str}, "an entry")
    report.check(abs(first["LastModified"] - time.time()) < 600 and first["Etag"].startswith('"'), lambda: str(first))


def large():
    """An object of more than one part, with a gzip stream across them."""
    line = lambda n: json.dumps({"n": n, "filler": base64.b64encode(os.urandom(90_000)).decode()}) + "\n"
    text = "".join(line(n) for n in range(100)).encode()
    report.check(len(text) > 10 << 20, lambda: "it is not large")
    s3.put_object(Bucket="data", Key="large.jsonl", Body=text)
    packed = gzip.compress(text, 1)
    report.check(len(packed) > 8 << 20, lambda: f"it packs well: {len(packed)}")
    s3.put_object(Bucket="data", Key="large.jsonl.gz", Body=packed)
    for key in ("large.jsonl", "large.jsonl.gz"):
        state = {**reader({"InputType": "JSONL"}, key), "ItemSelector": {"n.$": "$$.Map.Item.Value.n"}}
        ended = run(states, machine(states, key.replace(".", "-"), state))
        report.equal(json.loads(ended.get("output", "null")), [{"n": n} for n in range(100)], key)


def results():
    for transformation, kind in [("NONE", "JSON"), ("COMPACT", "JSONL"), ("FLATTEN", "JSON")]:
        state = {"ItemsPath": "$.items", "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "results", "Prefix": f"runs/{transformation}"},
            "WriterConfig": {"Transformation": transformation, "OutputType": kind}}}
        ended = run(states, machine(states, f"written-{transformation}", state), {"items": [{"n": 1}, {"n": 2}]})
        output = json.loads(ended.get("output", "{}"))
        details = output["ResultWriterDetails"]
        read = lambda key: s3.get_object(Bucket=details["Bucket"], Key=key)["Body"].read().decode()
        manifest = json.loads(read(details["Key"]))
        report.equal(manifest["DestinationBucket"], "results", transformation)
        [succeeded] = manifest["ResultFiles"]["SUCCEEDED"]
        text = read(succeeded["Key"])
        report.equal(len(text), succeeded["Size"], transformation)
        rows = [json.loads(line) for line in text.splitlines()] if kind == "JSONL" else json.loads(text)
        rows = [json.loads(row["Output"]) for row in rows] if transformation == "NONE" else rows
        report.equal(rows, [{"n": 1}, {"n": 2}], transformation)


def refusals():
    for name, state, error, said in [
        ("no-object", reader({"InputType": "JSON"}, "none.json"), "States.ItemReaderFailed", "there is no object 'none.json' in the bucket 'data'"),
        ("no-bucket", reader({}, bucket="nowhere"), "States.ItemReaderFailed", "nowhere"),
        ("no-target", {"ItemsPath": "$.items", "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "nowhere", "Prefix": "x"}}},
         "States.ResultWriterFailed", "NoSuchBucket"),
    ]:
        ended = run(states, machine(states, name, state), {"items": [1]})
        report.equal((ended["status"], ended.get("error")), ("FAILED", error), f"{name} {ended}")
        report.check(said in ended.get("cause", ""), lambda: f"{name}: {ended.get('cause')}")
    # Nobody to sign for: the error names the variables, and what may be had instead.
    process, client = start_selvedge()
    try:
        ended = run(client, machine(client, "unsigned", reader({"InputType": "JSON"}, "a.json")))
        report.equal(ended.get("error"), "States.ItemReaderFailed", str(ended))
        report.check("AWS_ACCESS_KEY_ID" in ended.get("cause", "") and "--workflow-objects" in ended.get("cause", ""), lambda: ended.get("cause"))
    finally:
        process.kill()


moto, there = start_moto()
# Nothing else is there: S3's own variable is enough.
server, states = start_selvedge(AWS_ENDPOINT_URL_S3=there, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
s3 = client_of("s3", there)
try:
    for bucket in ("data", "many", "results"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for part in (data_sets, listings, large, results, refusals):
        part()
finally:
    server.kill()
    moto.kill()
report.end()
