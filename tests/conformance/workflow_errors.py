#!/usr/bin/env python3
"""Every error that botocore's model has for Step Functions' operations: answered to boto3 and to the real `aws`, or told in
`workflow_differences.txt` with its reason or with the test that shows it. `sync-` before the host's name is resolved and used."""

import concurrent.futures
import json
import os
import pathlib
import re
import socket
import subprocess

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

import _server
from _clients import snake
from _report import Report

report = Report()
endpoint = _server.endpoint()
model = botocore.session.get_session().get_service_model("stepfunctions")
ACCOUNT, REGION = _server.ACCOUNT, "us-west-2"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/workflow"
PREFIX = f"arn:aws:states:{REGION}:{ACCOUNT}"
DIFFERENCES = pathlib.Path(__file__).with_name("workflow_differences.txt")
# What any operation may answer, and no operation's model lists.
COMMON = {"ValidationException", "InvalidToken"}


def client_of(**config):
    return boto3.client("stepfunctions", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
                        config=botocore.config.Config(parameter_validation=False, retries={"total_max_attempts": 1}, read_timeout=30, **config))


client = client_of(inject_host_prefix=False)
ENVIRONMENT = dict(os.environ, AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION=REGION,
                   AWS_PAGER="", AWS_MAX_ATTEMPTS="1", AWS_DISABLE_HOST_PREFIX_INJECTION="true")

PASS = json.dumps({"StartAt": "S", "States": {"S": {"Type": "Pass", "End": True}}})
OTHER = json.dumps({"StartAt": "T", "States": {"T": {"Type": "Succeed"}}})
NOWHERE_TO_GO = json.dumps({"StartAt": "pass1", "States": {"pass1": {"Type": "Pass", "Next": "pass3"}, "pass2": {"Type": "Pass", "End": True}}})
WAIT = json.dumps({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 600, "End": True}}})
EACH = json.dumps({"StartAt": "M", "States": {"M": {"Type": "Map", "Label": "each", "End": True, "ItemProcessor": {
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}}}})


def made():
    """What the errors are about: names by which the table below speaks of it."""
    create = lambda name, definition=PASS, **more: client.create_state_machine(name=name, definition=definition, roleArn=ROLE, **more)["stateMachineArn"]
    found = {"machine": create("errors", publish=True), "fast": create("errors-fast", type="EXPRESS"), "waits": create("errors-waits", WAIT),
             "each": create("errors-each", EACH), "activity": client.create_activity(name="errors")["activityArn"]}
    found["version"] = f"{found['machine']}:1"
    found["routing"] = [{"stateMachineVersionArn": found["version"], "weight": 100}]
    found["alias"] = client.create_state_machine_alias(name="live", routingConfiguration=found["routing"])["stateMachineAliasArn"]
    found["waiting"] = client.start_execution(stateMachineArn=found["waits"], name="w")["executionArn"]
    found["run"] = client.start_execution(stateMachineArn=found["each"], name="e", input="[1]")["executionArn"]
    runs = []
    while not runs:
        runs = client.list_map_runs(executionArn=found["run"])["mapRuns"]
    found["mapRun"] = runs[0]["mapRunArn"]
    # A token that was good once.
    machine = create("errors-work", json.dumps({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": found["activity"], "End": True}}}))
    client.start_execution(stateMachineArn=machine)
    found["spent"] = client.get_activity_task(activityArn=found["activity"])["taskToken"]
    client.send_task_success(taskToken=found["spent"], output="1")
    return found


NOWHERE = {"machine": f"{PREFIX}:stateMachine:nobody", "version": f"{PREFIX}:stateMachine:nobody:1", "alias": f"{PREFIX}:stateMachine:nobody:live",
           "execution": f"{PREFIX}:execution:nobody:none", "mapRun": f"{PREFIX}:mapRun:nobody/each:none", "activity": f"{PREFIX}:activity:nobody"}


def table(own):
    """Operation, what it is given, the error, and what its message says."""
    machine, spent, no = own["machine"], own["spent"], NOWHERE
    create = lambda **more: {"name": "never", "definition": PASS, "roleArn": ROLE, **more}
    tags = [{"key": f"k{n}", "value": "v"} for n in range(51)]
    logging = {"level": "ALL", "destinations": []}
    key = {"type": "CUSTOMER_MANAGED_KMS_KEY"}
    rows = [
        ("CreateActivity", {"name": "a b"}, "InvalidName", "Invalid Name: 'a b'"),
        ("CreateActivity", {"name": "never", "tags": tags}, "TooManyTags", "50"),
        ("CreateActivity", {"name": "never", "encryptionConfiguration": key}, "InvalidEncryptionConfiguration", "kmsKeyId"),
        ("CreateActivity", {"name": "errors", "encryptionConfiguration": {**key, "kmsKeyId": "k"}}, "ActivityAlreadyExists", "may not be updated"),
        ("CreateStateMachine", create(roleArn="nobody"), "InvalidArn", "Invalid Role Arn: 'nobody'"),
        ("CreateStateMachine", create(name="a/b"), "InvalidName", "Invalid Name: 'a/b'"),
        ("CreateStateMachine", create(definition="{"), "InvalidDefinition", "INVALID_JSON_DESCRIPTION"),
        ("CreateStateMachine", create(definition=NOWHERE_TO_GO), "InvalidDefinition", "Invalid State Machine Definition: 'MISSING_TRANSITION_TARGET: "
         "Missing 'Next' target: pass3 at /States/pass1/Next, MISSING_TRANSITION_TARGET: State \"pass2\" is not reachable. at /States/pass2'"),
        ("CreateStateMachine", create(loggingConfiguration=logging), "InvalidLoggingConfiguration", "exactly one Log Destination"),
        ("CreateStateMachine", create(tags=tags), "TooManyTags", "50"),
        ("CreateStateMachine", create(encryptionConfiguration=key), "InvalidEncryptionConfiguration", "kmsKeyId"),
        ("CreateStateMachine", create(name="errors", definition=OTHER), "StateMachineAlreadyExists", machine),
        ("CreateStateMachine", create(versionDescription="d"), "ValidationException", "Version description can only be set when publish is true"),
        ("CreateStateMachineAlias", {"name": "x", "routingConfiguration": [{"stateMachineVersionArn": "x", "weight": 100}]}, "InvalidArn", "Invalid Arn"),
        ("CreateStateMachineAlias", {"name": "7", "routingConfiguration": own["routing"]}, "ValidationException", "name"),
        ("CreateStateMachineAlias", {"name": "x", "routingConfiguration": [{"stateMachineVersionArn": f"{machine}:9", "weight": 100}]}, "ResourceNotFound", f"{machine}:9"),
        ("CreateStateMachineAlias", {"name": "x", "routingConfiguration": [{"stateMachineVersionArn": no["version"], "weight": 100}]}, "ResourceNotFound", "nobody"),
        ("CreateStateMachineAlias", {"name": "live", "description": "another", "routingConfiguration": own["routing"]}, "ConflictException", "same name"),
        ("DeleteActivity", {"activityArn": "x"}, "InvalidArn", "Invalid Arn: "),
        ("DeleteStateMachine", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn: "),
        ("DeleteStateMachine", {}, "ValidationException", "stateMachineArn"),
        ("DeleteStateMachineAlias", {"stateMachineAliasArn": machine}, "InvalidArn", "no alias"),
        ("DeleteStateMachineAlias", {"stateMachineAliasArn": f"{machine}:none"}, "ResourceNotFound", f"{machine}:none"),
        ("DeleteStateMachineAlias", {}, "ValidationException", "stateMachineAliasArn"),
        ("DeleteStateMachineVersion", {"stateMachineVersionArn": machine}, "InvalidArn", "no version"),
        ("DeleteStateMachineVersion", {"stateMachineVersionArn": own["version"]}, "ConflictException", own["alias"]),
        ("DeleteStateMachineVersion", {}, "ValidationException", "stateMachineVersionArn"),
        ("DescribeActivity", {"activityArn": machine}, "InvalidArn", "Resource type not valid in this context"),
        ("DescribeActivity", {"activityArn": no["activity"]}, "ActivityDoesNotExist", f"Activity Does Not Exist: '{no['activity']}'"),
        ("DescribeExecution", {"executionArn": f"{PREFIX}:express:errors-fast:a:b"}, "InvalidArn", "Resource type not valid in this context: express"),
        ("DescribeExecution", {"executionArn": no["execution"]}, "ExecutionDoesNotExist", f"Execution Does Not Exist: '{no['execution']}'"),
        ("DescribeMapRun", {"mapRunArn": machine}, "InvalidArn", "Invalid Arn"),
        ("DescribeMapRun", {"mapRunArn": no["mapRun"]}, "ResourceNotFound", "nobody"),
        ("DescribeStateMachine", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn: "),
        ("DescribeStateMachine", {"stateMachineArn": no["machine"]}, "StateMachineDoesNotExist", f"State Machine Does Not Exist: '{no['machine']}'"),
        ("DescribeStateMachineAlias", {"stateMachineAliasArn": machine}, "InvalidArn", "no alias"),
        ("DescribeStateMachineAlias", {"stateMachineAliasArn": f"{machine}:none"}, "ResourceNotFound", f"{machine}:none"),
        ("DescribeStateMachineAlias", {}, "ValidationException", "stateMachineAliasArn"),
        ("DescribeStateMachineForExecution", {"executionArn": machine}, "InvalidArn", "Invalid Arn"),
        ("DescribeStateMachineForExecution", {"executionArn": no["execution"]}, "ExecutionDoesNotExist", no["execution"]),
        ("GetActivityTask", {"activityArn": machine}, "InvalidArn", "Invalid Arn"),
        ("GetActivityTask", {"activityArn": no["activity"]}, "ActivityDoesNotExist", no["activity"]),
        ("GetExecutionHistory", {"executionArn": machine}, "InvalidArn", "Invalid Arn"),
        ("GetExecutionHistory", {"executionArn": no["execution"]}, "ExecutionDoesNotExist", no["execution"]),
        ("GetExecutionHistory", {"executionArn": own["waiting"], "nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListActivities", {"nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListExecutions", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("ListExecutions", {"stateMachineArn": machine, "nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListExecutions", {"stateMachineArn": no["machine"]}, "StateMachineDoesNotExist", no["machine"]),
        ("ListExecutions", {"stateMachineArn": own["fast"]}, "StateMachineTypeNotSupported", "not supported by this type"),
        ("ListExecutions", {"mapRunArn": no["mapRun"]}, "ResourceNotFound", "nobody"),
        ("ListExecutions", {}, "ValidationException", "stateMachineArn"),
        ("ListMapRuns", {"executionArn": machine}, "InvalidArn", "Invalid Arn"),
        ("ListMapRuns", {"executionArn": no["execution"]}, "ExecutionDoesNotExist", no["execution"]),
        ("ListMapRuns", {"executionArn": own["run"], "nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListStateMachineAliases", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("ListStateMachineAliases", {"stateMachineArn": machine, "nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListStateMachineAliases", {"stateMachineArn": no["machine"]}, "StateMachineDoesNotExist", no["machine"]),
        ("ListStateMachineVersions", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("ListStateMachineVersions", {"stateMachineArn": machine, "nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListStateMachineVersions", {"stateMachineArn": machine, "maxResults": 1001}, "ValidationException", "less than or equal to 1000"),
        ("ListStateMachines", {"nextToken": "forged"}, "InvalidToken", "Invalid Token"),
        ("ListTagsForResource", {"resourceArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("ListTagsForResource", {"resourceArn": no["machine"]}, "ResourceNotFound", no["machine"]),
        ("PublishStateMachineVersion", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("PublishStateMachineVersion", {"stateMachineArn": no["machine"]}, "StateMachineDoesNotExist", no["machine"]),
        ("PublishStateMachineVersion", {"stateMachineArn": machine, "revisionId": "another"}, "ConflictException", "revision"),
        ("PublishStateMachineVersion", {"stateMachineArn": machine, "description": "d" * 257}, "ValidationException", "256"),
        ("RedriveExecution", {"executionArn": machine}, "InvalidArn", "Invalid Arn"),
        ("RedriveExecution", {"executionArn": no["execution"]}, "ExecutionDoesNotExist", no["execution"]),
        ("RedriveExecution", {"executionArn": own["waiting"]}, "ExecutionNotRedrivable", "RUNNING"),
        ("RedriveExecution", {"executionArn": own["waiting"], "clientToken": ""}, "ValidationException", "clientToken"),
        *((operation, {"taskToken": token, **more}, code, "") for operation, more in [
            ("SendTaskSuccess", {"output": "1"}), ("SendTaskFailure", {}), ("SendTaskHeartbeat", {})] for token, code in [("forged", "InvalidToken"), (spent, "TaskTimedOut")]),
        ("SendTaskSuccess", {"taskToken": spent, "output": "{"}, "InvalidOutput", "Invalid Output: "),
        ("StartExecution", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("StartExecution", {"stateMachineArn": machine, "name": "a b"}, "InvalidName", "Invalid Name: 'a b'"),
        ("StartExecution", {"stateMachineArn": no["machine"]}, "StateMachineDoesNotExist", no["machine"]),
        ("StartExecution", {"stateMachineArn": machine, "input": "x"}, "InvalidExecutionInput", "Invalid State Machine Execution Input: "),
        ("StartExecution", {"stateMachineArn": machine, "input": json.dumps("x" * 262_144)}, "ValidationException", "262144"),
        ("StartExecution", {"stateMachineArn": own["waits"], "name": "w", "input": "[]"}, "ExecutionAlreadyExists", own["waiting"]),
        ("StartSyncExecution", {"stateMachineArn": "x"}, "InvalidArn", "Invalid Arn"),
        ("StartSyncExecution", {"stateMachineArn": own["fast"], "name": "a b"}, "InvalidName", "Invalid Name: 'a b'"),
        ("StartSyncExecution", {"stateMachineArn": no["machine"]}, "StateMachineDoesNotExist", no["machine"]),
        ("StartSyncExecution", {"stateMachineArn": own["fast"], "input": "x"}, "InvalidExecutionInput", "Invalid State Machine Execution Input: "),
        ("StartSyncExecution", {"stateMachineArn": machine}, "StateMachineTypeNotSupported", "not supported by this type"),
        ("StopExecution", {"executionArn": machine}, "InvalidArn", "Invalid Arn"),
        ("StopExecution", {"executionArn": no["execution"]}, "ExecutionDoesNotExist", no["execution"]),
        ("StopExecution", {"executionArn": own["waiting"], "error": "e" * 257}, "ValidationException", "256"),
        ("TagResource", {"resourceArn": "x", "tags": []}, "InvalidArn", "Invalid Arn"),
        ("TagResource", {"resourceArn": no["activity"], "tags": []}, "ResourceNotFound", no["activity"]),
        ("TagResource", {"resourceArn": machine, "tags": tags}, "TooManyTags", "50"),
        ("TestState", {"definition": "{"}, "InvalidDefinition", "Invalid State Machine Definition"),
        ("TestState", {"definition": '{"Type": "Succeed"}', "input": "x"}, "InvalidExecutionInput", "Invalid State Machine Execution Input"),
        ("TestState", {"definition": '{"Type": "Pass", "End": true}', "mock": {"result": "1"}}, "ValidationException", "'Pass' is not supported when a mock"),
        ("TestState", {"definition": '{"Type": "Succeed"}', "roleArn": "nobody"}, "InvalidArn", "Invalid Role Arn: 'nobody'"),
        ("UntagResource", {"resourceArn": "x", "tagKeys": []}, "InvalidArn", "Invalid Arn"),
        ("UntagResource", {"resourceArn": no["machine"], "tagKeys": []}, "ResourceNotFound", no["machine"]),
        ("UpdateMapRun", {"mapRunArn": machine}, "InvalidArn", "Invalid Arn"),
        ("UpdateMapRun", {"mapRunArn": no["mapRun"]}, "ResourceNotFound", "nobody"),
        ("UpdateMapRun", {"mapRunArn": own["mapRun"], "toleratedFailurePercentage": 101}, "ValidationException", "toleratedFailurePercentage"),
        ("UpdateStateMachine", {"stateMachineArn": "x", "definition": PASS}, "InvalidArn", "Invalid Arn"),
        ("UpdateStateMachine", {"stateMachineArn": machine, "definition": "{"}, "InvalidDefinition", "INVALID_JSON_DESCRIPTION"),
        ("UpdateStateMachine", {"stateMachineArn": machine, "loggingConfiguration": logging}, "InvalidLoggingConfiguration", "exactly one Log Destination"),
        ("UpdateStateMachine", {"stateMachineArn": machine, "encryptionConfiguration": key}, "InvalidEncryptionConfiguration", "kmsKeyId"),
        ("UpdateStateMachine", {"stateMachineArn": machine}, "MissingRequiredParameter", "must be specified"),
        ("UpdateStateMachine", {"stateMachineArn": no["machine"], "definition": PASS}, "StateMachineDoesNotExist", no["machine"]),
        ("UpdateStateMachine", {"stateMachineArn": machine, "definition": PASS, "versionDescription": "d"}, "ValidationException", "publish is true"),
        ("UpdateStateMachineAlias", {"stateMachineAliasArn": machine}, "InvalidArn", "no alias"),
        ("UpdateStateMachineAlias", {"stateMachineAliasArn": f"{machine}:none", "description": "d"}, "ResourceNotFound", f"{machine}:none"),
        ("UpdateStateMachineAlias", {"stateMachineAliasArn": own["alias"], "routingConfiguration": [{"stateMachineVersionArn": own["version"], "weight": 99}]},
         "ValidationException", "100"),
        ("ValidateStateMachineDefinition", {"definition": PASS, "maxResults": 101}, "ValidationException", "less than or equal to 100"),
    ]
    return rows


def declared(operation):
    return {error.name for error in model.operation_model(operation).error_shapes}


def by_boto3(rows):
    """Each error has a code that its operation's model knows, so that a client can catch it by its name."""
    seen = set()
    for operation, given, code, said in rows:
        try:
            output = getattr(client, snake(operation))(**given)
            report.check(False, lambda: f"{operation} {str(given)[:200]} is answered: {output}")
            continue
        except botocore.exceptions.ClientError as error:
            found = error.response
        report.equal(found["Error"]["Code"], code, f"{operation} {str(given)[:200]}: {found['Error'].get('Message', '')[:300]}")
        report.check(said in found["Error"]["Message"], lambda: f"{operation}: '{said}' is not said: {found['Error']['Message'][:300]}")
        report.equal(found["ResponseMetadata"]["HTTPStatusCode"], 400, f"{operation} {code}")
        report.check(bool(found["ResponseMetadata"].get("RequestId")), f"{operation}: a request id")
        report.check(code in declared(operation) | COMMON, lambda: f"{operation}: its model has no {code}")
        seen.add((operation, code))
    return seen


def by_the_command_line(rows):
    """The first error of each operation as `aws` tells it."""
    first = {}
    for operation, given, code, said in rows:
        # The command checks what is missing by itself.
        if given and code != "ValidationException":
            first.setdefault(operation, (given, code, said))
    first.setdefault("ValidateStateMachineDefinition", ({"definition": PASS, "maxResults": 101}, "ValidationException", "100"))

    def run(operation):
        given, code, said = first[operation]
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", operation).lower()
        done = subprocess.run(["aws", "stepfunctions", name, "--cli-input-json", json.dumps(given)], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        return operation, code, said, done

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for operation, code, said, done in pool.map(run, sorted(first)):
            report.check(done.returncode in (254, 255) and f"({code}) when calling the {operation} operation" in done.stderr and said in done.stderr,
                         lambda: f"aws {operation}: {done.returncode} {done.stderr}")
    report.equal(len(first), 37, "operations by the command line")


def with_the_host_prefix():
    """boto3 and `aws` put `sync-` before the host's name, and are answered: boto3 where that name is an address, `aws` by a proxy,
    which is this server, for it answers what is asked in a proxy's form."""
    own = client.create_state_machine(name="errors-prefixed", definition=PASS, roleArn=ROLE, type="EXPRESS")["stateMachineArn"]
    port = endpoint.rsplit(":", 1)[1]
    resolve, asked = socket.getaddrinfo, []

    def resolved(host, *more, **named):
        asked.append(host)
        return resolve("127.0.0.1" if str(host).endswith("localhost") else host, *more, **named)

    socket.getaddrinfo = resolved
    try:
        prefixed = boto3.client("stepfunctions", endpoint_url=f"http://localhost:{port}", region_name=REGION,
                                aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")
        report.equal(prefixed.start_sync_execution(stateMachineArn=own, input="{}")["status"], "SUCCEEDED", "boto3 with the prefix")
        report.equal(prefixed.test_state(definition='{"Type": "Succeed"}')["status"], "SUCCEEDED", "boto3 with the prefix")
        report.equal(prefixed.describe_state_machine(stateMachineArn=own)["type"], "EXPRESS", "and without")
    finally:
        socket.getaddrinfo = resolve
    report.equal({"sync-localhost", "localhost"} - set(asked), set(), "both names were looked up")
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "AWS_DISABLE_HOST_PREFIX_INJECTION"}
    environment.update(AWS_ENDPOINT_URL=f"http://localhost:{port}", HTTP_PROXY=f"http://127.0.0.1:{port}", NO_PROXY="")
    for words in [["start-sync-execution", "--state-machine-arn", own], ["test-state", "--definition", '{"Type": "Succeed"}']]:
        done = subprocess.run(["aws", "stepfunctions", *words, "--query", "status", "--output", "text", "--debug"], env=environment, capture_output=True, text=True, timeout=120)
        report.equal(done.stdout.strip(), "SUCCEEDED", f"aws {words[0]}: {done.stderr[-300:]}")
        report.check("sync-localhost" in done.stderr, f"aws {words[0]} puts the prefix there")


def told(seen):
    """What is not answered here stands on the page of differences, and nothing stands there that is answered."""
    known, root = {}, pathlib.Path(__file__).resolve().parents[2]
    for number, line in enumerate(DIFFERENCES.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        kind, what, why, shown = (part.strip() for part in line.split("|"))
        report.check(kind in ("never", "elsewhere", "behaviour") and len(why) > 20, f"line {number}: a kind and a reason")
        if kind != "never":
            file, name = shown.split("::")
            text = (root / file).read_text() if (root / file).exists() else ""
            report.check(re.search(rf"\b(fn|def) {name}\b", text), f"line {number}: there is no test {shown}")
        if kind != "behaviour":
            operation, code = what.split()
            known[(operation, code)] = number
    used = set()
    for operation in model.operation_names:
        for code in declared(operation) - {code for other, code in seen if other == operation}:
            entry = next((pair for pair in [(operation, code), ("*", code)] if pair in known), None)
            report.check(entry, f"{operation}: {code} is neither answered nor told as a difference")
            used.add(entry)
    for pair, number in known.items():
        report.check(pair in used and pair not in seen, f"line {number}: {pair} is answered")


own = made()
rows = table(own)
seen = by_boto3(rows)
told(seen)
with_the_host_prefix()
by_the_command_line(rows)
report.end()
