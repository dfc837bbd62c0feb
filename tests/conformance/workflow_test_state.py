#!/usr/bin/env python3
"""TestState's mocks are held to their APIs' models, as botocore has them; tasks without a mock are called."""

import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

import _server
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN")
ROLE = f"arn:aws:iam::{_server.ACCOUNT}:role/workflow"
ERROR = "Mock result schema validation error: "
SERVICES = {"dynamodb": "dynamodb", "eventbridge": "events", "lambda": "lambda", "s3": "s3", "secretsmanager": "secretsmanager",
            "sfn": "stepfunctions", "sns": "sns", "sqs": "sqs", "ssm": "ssm", "sts": "sts"}
DEPTH_MAX = 6


class World(http.server.BaseHTTPRequestHandler):
    """An endpoint that is called without a mock."""
    seen = []

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        World.seen.append((self.path, body))
        answer = json.dumps({"of": json.loads(body)}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


world = http.server.ThreadingHTTPServer(("127.0.0.1", 0), World)
threading.Thread(target=world.serve_forever, daemon=True).start()
PORT = world.server_address[1]
folder = tempfile.mkdtemp(prefix="selvedge-test-state-")


def start():
    arguments = ["up", "--listen", "127.0.0.1:0", "--data-dir", folder, "--task-allow", f"127.0.0.1:{PORT}"]
    command = [BINARY, *arguments] if BINARY else ["cargo", "run", "--quiet", "-p", "selvedge", "--", *arguments]
    process = subprocess.Popen(command, cwd=_server.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    url = process.stdout.readline().decode().split()[-1]
    _server._wait(url)
    config = botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, parameter_validation=False)
    return process, url, boto3.client("stepfunctions", endpoint_url=url, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
                                      aws_secret_access_key="secret", config=config)


def task(resource, **more):
    return json.dumps({"Type": "Task", "Resource": resource, "End": True, **more})


def told(definition, **more):
    """The status, or what the service says is wrong."""
    try:
        found = states.test_state(definition=definition, input="{}", **more)
        return found["status"], found
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Message"], error.response["Error"]["Code"]


def mocked(resource, result, mode=None):
    mock = {"result": json.dumps(result), **({"fieldValidationMode": mode} if mode else {})}
    return told(task(resource), mock=mock)[0]


def shown(name):
    return name[0].upper() + name[1:]


def is_known(name):
    """A name that begins with several capitals travels as the service's own SDK writes it."""
    return len(name) < 2 or name[1].islower()


def valid(shape, depth=0):
    """A value that the model allows: what is required, and a little more."""
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return {"any": 1}
        members = {n: m for n, m in shape.members.items() if n in shape.required_members or depth < 2}
        return {shown(n): valid(m, depth + 1) for n, m in members.items() if depth < DEPTH_MAX or n in shape.required_members}
    if kind == "list":
        return [valid(shape.member, depth + 1)] * max(shape.metadata.get("min", 0), depth < DEPTH_MAX)
    if kind == "map":
        return {f"key{n}": valid(shape.value, depth + 1) for n in range(max(shape.metadata.get("min", 0), depth < DEPTH_MAX))}
    if kind in ("string", "blob"):
        return shape.metadata["enum"][0] if shape.metadata.get("enum") else "x" * max(1, shape.metadata.get("min", 1))
    if kind == "timestamp":
        return "2026-01-01T00:00:00Z"
    if kind == "boolean":
        return True
    return max(1, shape.metadata.get("min", 1)) if shape.metadata.get("max", 1) else 0


def mistyped(shape):
    """A value of another kind, and what is said of it."""
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return None, None
    return {"structure": ("x", "an object"), "map": (1, "an object"), "list": ({}, "an array"), "boolean": ("true", "a boolean"),
            "string": (1, "a string"), "blob": (1, "a string"), "timestamp": (1, "a string")}.get(kind, ("1", "a number"))


def every_operation():
    """What each operation of each service answers fits; a member of another kind, or one that is missing, does not."""
    loader = botocore.session.get_session()
    count = 0
    for name, service in SERVICES.items():
        model = loader.get_service_model(service)
        for operation in model.operation_names:
            shape = model.operation_model(operation).output_shape
            if shape is None:
                continue
            count += 1
            resource = f"arn:aws:states:::aws-sdk:{name}:{operation[0].lower()}{operation[1:]}"
            value = valid(shape)
            report.equal(mocked(resource, value), "SUCCEEDED", f"{name}:{operation} {value}")
            required = [n for n in shape.required_members if is_known(n)]
            if required:
                first = next(n for n in shape.members if n in required)
                report.equal(mocked(resource, {}), f"{ERROR}Required field '{shown(first)}' is missing", f"{name}:{operation}")
                report.equal(mocked(resource, {}, "PRESENT"), "SUCCEEDED", f"{name}:{operation}")
            known = next(((n, m) for n, m in shape.members.items() if is_known(n) and mistyped(m)[1]), None)
            if known:
                wrong, kind = mistyped(known[1])
                value = {**value, shown(known[0]): wrong}
                report.equal(mocked(resource, value), f"{ERROR}Field '{shown(known[0])}' must be {kind}", f"{name}:{operation}")
                report.equal(mocked(resource, value, "PRESENT"), f"{ERROR}Field '{shown(known[0])}' must be {kind}", f"{name}:{operation}")
                report.equal(mocked(resource, value, "NONE"), "SUCCEEDED", f"{name}:{operation}")
    report.check(count > 400, lambda: f"{count} operations")


def optimised():
    """The optimised integrations are held to the same models; what has no model answers what it likes."""
    def arn(text):
        return f"arn:aws:states:::{text}"

    for resource, result, expected in [
        (arn("events:putEvents"), {"Entries": "x"}, f"{ERROR}Field 'Entries' must be an array"),
        (arn("events:putEvents"), {"random": "json"}, "SUCCEEDED"),
        (arn("lambda:invoke"), {"StatusCode": "200"}, f"{ERROR}Field 'StatusCode' must be a number"),
        (arn("dynamodb:putItem"), {"ConsumedCapacity": {"CapacityUnits": "123.45"}}, f"{ERROR}Field 'CapacityUnits' must be a number"),
        (arn("states:startExecution"), {}, f"{ERROR}Required field 'ExecutionArn' is missing"),
        (arn("states:startExecution"), {"ExecutionArn": "a", "StartDate": 1764103483}, f"{ERROR}Field 'StartDate' must be a string"),
        (arn("states:startExecution.sync"), {"ExecutionArn": "a"}, f"{ERROR}Required field 'StateMachineArn' is missing"),
        (arn("states:startExecution.sync:2"), {"Output": {"a": 1}}, "SUCCEEDED"),
        (arn("sqs:sendMessage"), {"MessageId": 1}, f"{ERROR}Field 'MessageId' must be a string"),
        (arn("sqs:sendMessage.waitForTaskToken"), {"MessageId": 1}, "SUCCEEDED"),
        (arn("sqs:sendMessage"), "text", "Mocked result must be a JSON object."),
        (arn("aws-sdk:s3:getObject"), {"StorageClass": "Papyrus"}, f"{ERROR}Field 'StorageClass' is not an expected value"),
        (arn("aws-sdk:lambda:getFunction"), {"Configuration": {"MemorySize": 1 << 30}}, f"{ERROR}Field 'MemorySize' exceeds the maximum value"),
        (arn("aws-sdk:lambda:getFunction"), {"Configuration": {"MemorySize": 127}}, f"{ERROR}Field 'MemorySize' is less than the minimum value"),
        (arn("aws-sdk:sfn:describeStateMachineAlias"), {"RoutingConfiguration": []}, f"{ERROR}Field 'RoutingConfiguration' is smaller than the minimum length"),
        (arn("aws-sdk:sfn:describeStateMachineAlias"), {"RoutingConfiguration": [{}, {}, {}]}, f"{ERROR}Field 'RoutingConfiguration' exceeds the maximum length"),
        (arn("http:invoke"), "anything", "SUCCEEDED"),
        (arn("aws-sdk:ec2:describeInstances"), {"Reservations": 1}, "SUCCEEDED"),
        ("arn:aws:lambda:us-west-2:123456789012:function:f", [1], "SUCCEEDED"),
        ("arn:selvedge:states:::policy:evaluate", {"Decision": "ALLOW"}, "SUCCEEDED"),
    ]:
        report.equal(mocked(resource, result), expected, f"{resource} {result}")


def what_takes_no_mock():
    for state, mock, expected in [
        ({"Type": "Pass", "End": True}, {"result": "{}"}, "State type 'Pass' is not supported when a mock is specified"),
        ({"Type": "Succeed"}, {"errorOutput": {"error": "E"}}, "State type 'Succeed' is not supported when a mock is specified"),
        ({"Type": "Fail"}, {"result": "{}"}, "State type 'Fail' is not supported when a mock is specified"),
        ({"Type": "Task", "Resource": "arn:aws:states:::http:invoke", "End": True}, {"result": "{}", "errorOutput": {"error": "E"}},
         "A test mock should have only one of the following fields: [result, errorOutput]."),
        ({"Type": "Map", "End": True, "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}}, {"result": "{}"},
         "Mocked result must be an array."),
        ({"Type": "Parallel", "End": True, "Branches": [{"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}]}, {"result": "[1, 2]"},
         "Mocked result must contain the same number of items as number of Parallel branches."),
    ]:
        report.equal(told(json.dumps(state), mock=mock), (expected, "ValidationException"), str(state))
    http_task = task("arn:aws:states:::http:invoke")
    report.equal(told(http_task, mock={"result": "{}"}, revealSecrets=True)[0], "TestState does not support RevealSecrets when a mock is specified.", "secrets")
    report.check("must be valid JSON" in told(http_task, mock={"result": "{"})[0], "no JSON")
    report.check("fieldValidationMode" in told(http_task, mock={"result": "{}", "fieldValidationMode": "SOME"})[0], "an unknown mode")


def without_a_mock():
    """A task is called where the caller names a role; its answer goes the way of a mock."""
    call = task("arn:aws:states:::http:invoke", Parameters={"ApiEndpoint": f"http://127.0.0.1:{PORT}/orders", "Method": "POST", "RequestBody": {"n": 7}},
                ResultSelector={"got.$": "$.ResponseBody.of.n"}, ResultPath="$.answer")
    report.check("roleArn" in told(call)[0], "neither a mock nor a role")
    report.equal(World.seen, [], "nothing was called")
    status, found = told(call, roleArn=ROLE, inspectionLevel="TRACE")
    report.equal((status, json.loads(found["output"])), ("SUCCEEDED", {"answer": {"got": 7}}), str(found))
    report.equal([(path, json.loads(body)) for path, body in World.seen], [("/orders", {"n": 7})], "called once")
    request, response = found["inspectionData"]["request"], found["inspectionData"]["response"]
    report.equal((request["method"], request["url"], json.loads(request["body"])), ("POST", f"http://127.0.0.1:{PORT}/orders", {"n": 7}), "its request")
    report.equal((response["statusCode"], json.loads(response["body"])), ("201", {"of": {"n": 7}}), "its response")
    report.check("request" not in told(call, roleArn=ROLE, inspectionLevel="DEBUG")[1]["inspectionData"], "DEBUG has no request")
    refused = task("arn:aws:states:::http:invoke", Parameters={"ApiEndpoint": "http://169.254.169.254/", "Method": "GET"},
                   Catch=[{"ErrorEquals": ["States.ALL"], "Next": "C"}])
    found = told(refused, roleArn=ROLE)
    report.equal((found[0], found[1].get("error"), found[1].get("nextState")), ("CAUGHT_ERROR", "Selvedge.Egress.Refused", "C"), str(found))
    token = task("arn:aws:states:::sqs:sendMessage.waitForTaskToken", Parameters={"t.$": "$$.Task.Token"})
    report.check("only tested with a mock" in told(token, roleArn=ROLE)[0], "one that waits for its token")
    inner = {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}
    for state in ({"Type": "Parallel", "End": True, "Branches": [inner]}, {"Type": "Map", "QueryLanguage": "JSONata", "Items": [1], "End": True, "ItemProcessor": inner}):
        report.equal(told(json.dumps(state), roleArn=ROLE), ("Map and Parallel states are only tested with a mock", "ValidationException"), state["Type"])
    found = told(token, mock={"result": "1"}, inspectionLevel="DEBUG")
    report.equal((found[0], len(json.loads(found[1]["inspectionData"]["afterParameters"])["t"])), ("SUCCEEDED", 64), "it has a token")
    machine = states.create_state_machine(name="child", roleArn=ROLE, definition=json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}))
    child = task("arn:aws:states:::states:startExecution", Parameters={"StateMachineArn": machine["stateMachineArn"], "Input": {}})
    for n in [1, 2]:
        report.equal(told(child, roleArn=ROLE)[0], "SUCCEEDED", "a child")
        report.equal(len(states.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]), n, "each test starts one")


def by_the_command_line():
    path = os.path.join(folder, "state.json")
    with open(path, "w") as file:
        file.write(task("arn:aws:states:::sqs:sendMessage"))

    def run(*words, code=0):
        done = subprocess.run([BINARY, "states", "test", path, "--endpoint-url", url, *words], capture_output=True, text=True, timeout=60)
        report.equal(done.returncode, code, f"test {words}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    report.check("SUCCEEDED" in run("--result", '{"MessageId": "m"}'), "a mock")
    report.check("Field 'MessageId' must be a string" in run("--result", '{"MessageId": 1}', code=254), "one that does not fit")
    run("--result", '{"MessageId": 1}', "--mode", "NONE")
    report.check("--result" in run(code=254), "it says what to do")


server, url, states = start()
try:
    for part in [every_operation, optimised, what_takes_no_mock, without_a_mock, *([by_the_command_line] if BINARY else [])]:
        part()
finally:
    server.terminate()
    server.wait(20)
    shutil.rmtree(folder, ignore_errors=True)
report.end()
