#!/usr/bin/env python3
"""Step Functions' API through boto3 and the real `aws`: machines, executions, histories, activities, tokens, a kill between."""

import json
import os
import subprocess
import threading
import time
import urllib.parse
import urllib.request

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


def client_of(url):
    return boto3.client(
        "stepfunctions", endpoint_url=url, region_name=REGION,
        aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
        config=botocore.config.Config(
            parameter_validation=False, retries={"total_max_attempts": 1}, inject_host_prefix=False, read_timeout=90,
            max_pool_connections=16),
    )


client = client_of(endpoint)


def conforms(value, shape, path):
    """Checks a value that came back against the model."""
    if shape is None:
        return
    if shape.type_name == "structure":
        for name in shape.required_members:
            report.check(name in value, lambda: f"{path}: {name} is missing")
        for name, member in value.items():
            report.check(name in shape.members, lambda: f"{path}: {name} is not in the model")
            if name in shape.members:
                conforms(member, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            conforms(member, shape.member, f"{path}[{index}]")
    elif shape.type_name == "string" and shape.enum:
        report.check(value in shape.enum, lambda: f"{path}: {value} is none of {shape.enum}")


def call(operation, **params):
    try:
        output = getattr(client, snake(operation))(**params)
        output.pop("ResponseMetadata", None)
        conforms(output, model.operation_model(operation).output_shape, operation)
        return None, output
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response


def ok(operation, **params):
    code, output = call(operation, **params)
    report.check(code is None, lambda: f"{operation} {params}: {code} {output}")
    return output if code is None else {}


def refused(code, operation, **params):
    got, output = call(operation, **params)
    report.equal(got, code, f"{operation} {params} {output}")
    return output.get("Error", {}).get("Message", "") if isinstance(output, dict) else ""


def machine(name, states, **more):
    definition = json.dumps({"StartAt": next(iter(states)), "States": states})
    return ok("CreateStateMachine", name=name, definition=definition, roleArn=ROLE, **more).get("stateMachineArn", "")


def settled(arn, patience=60):
    """Describes an execution as soon as it has ended."""
    deadline = time.monotonic() + patience
    while client.describe_execution(executionArn=arn)["status"] == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.02)
    # How often one looks is the machine's affair: facts are counted once, of what it is in the end.
    found = ok("DescribeExecution", executionArn=arn)
    report.check(found.get("status") != "RUNNING", lambda: f"{arn} does not end")
    return found


def types(arn):
    return [event["type"] for event in ok("GetExecutionHistory", executionArn=arn, maxResults=1000)["events"]]


PASS = {"S": {"Type": "Pass", "End": True}}
TEN = {
    "A": {"Type": "Pass", "Result": {"n": 3, "items": [1, 2, 3]}, "Next": "B"},
    "B": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericGreaterThan": 2, "Next": "C"}], "Default": "Z"},
    "C": {"Type": "Wait", "Seconds": 0, "Next": "D"},
    "D": {"Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.mapped", "Next": "E",
          "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}},
    "E": {"Type": "Parallel", "ResultPath": "$.both", "Next": "Z", "Branches": [
        {"StartAt": "L", "States": {"L": {"Type": "Pass", "Result": "l", "End": True}}},
        {"StartAt": "R", "States": {"R": {"Type": "Pass", "Result": "r", "End": True}}}]},
    "Z": {"Type": "Succeed"},
}


def machines():
    arn = machine("m-one", PASS, tags=[{"key": "team", "value": "a"}])
    report.equal(arn, f"{PREFIX}:stateMachine:m-one", "the ARN")
    report.equal(machine("m-one", PASS), arn, "making the same machine again gives the same one")
    found = ok("DescribeStateMachine", stateMachineArn=arn)
    report.equal((found["status"], found["type"], found["roleArn"]), ("ACTIVE", "STANDARD", ROLE), "described")
    message = refused("StateMachineAlreadyExists", "CreateStateMachine", name="m-one", roleArn=ROLE,
                      definition=json.dumps({"StartAt": "T", "States": {"T": {"Type": "Succeed"}}}))
    report.equal(message, f"State Machine Already Exists: '{arn}'", "the message")
    for name in ["a b", "a/b", "a:b", "", "x" * 81, "a\u0007"]:
        code, _ = call("CreateStateMachine", name=name, definition=json.dumps({"StartAt": "S", "States": PASS}), roleArn=ROLE)
        report.check(code in ("InvalidName", "ValidationException"), lambda: f"{name!r}: {code}")
    message = refused("InvalidDefinition", "CreateStateMachine", name="bad", roleArn=ROLE,
                      definition=json.dumps({"StartAt": "X", "States": {"S": {"Type": "Pass"}}}))
    report.check("MISSING_TRANSITION_TARGET" in message and "/StartAt" in message, lambda: message)
    refused("InvalidDefinition", "CreateStateMachine", name="bad", roleArn=ROLE, definition='{"StartAt": "S", "StartAt": "S"}')
    refused("StateMachineDoesNotExist", "DescribeStateMachine", stateMachineArn=f"{PREFIX}:stateMachine:nobody")
    refused("InvalidArn", "DescribeStateMachine", stateMachineArn="nonsense")
    refused("MissingRequiredParameter", "UpdateStateMachine", stateMachineArn=arn)
    other = json.dumps({"StartAt": "T", "States": {"T": {"Type": "Succeed"}}})
    updated = ok("UpdateStateMachine", stateMachineArn=arn, definition=other)
    report.equal(ok("DescribeStateMachine", stateMachineArn=arn)["definition"], other, "updated")
    report.equal(ok("DescribeStateMachine", stateMachineArn=arn)["revisionId"], updated["revisionId"], "the revision")
    report.equal(ok("ListTagsForResource", resourceArn=arn)["tags"], [{"key": "team", "value": "a"}], "tags")
    ok("TagResource", resourceArn=arn, tags=[{"key": "team", "value": "b"}, {"key": "x", "value": "y"}])
    ok("UntagResource", resourceArn=arn, tagKeys=["x"])
    report.equal(ok("ListTagsForResource", resourceArn=arn)["tags"], [{"key": "team", "value": "b"}], "tags changed")
    for index in range(5):
        machine(f"page-{index}", PASS)
    seen, token = [], None
    while True:
        page = ok("ListStateMachines", maxResults=2, **({"nextToken": token} if token else {}))
        seen += [found["name"] for found in page["stateMachines"]]
        token = page.get("nextToken")
        if not token:
            break
    report.check(len(seen) == len(set(seen)) and {f"page-{i}" for i in range(5)} <= set(seen), lambda: str(seen))
    refused("InvalidToken", "ListStateMachines", nextToken="forged")
    ok("DeleteStateMachine", stateMachineArn=arn)
    refused("StateMachineDoesNotExist", "DescribeStateMachine", stateMachineArn=arn)
    ok("DeleteStateMachine", stateMachineArn=arn)


def versions_and_aliases():
    arn = machine("v", PASS, publish=True, versionDescription="first")
    first = f"{arn}:1"
    report.equal(ok("DescribeStateMachine", stateMachineArn=first)["description"], "first", "a version is described")
    report.equal(ok("PublishStateMachineVersion", stateMachineArn=arn)["stateMachineVersionArn"], first, "the same revision")
    ok("UpdateStateMachine", stateMachineArn=arn, definition=json.dumps(
        {"StartAt": "S", "States": {"S": {"Type": "Pass", "Result": "two", "End": True}}}))
    second = ok("PublishStateMachineVersion", stateMachineArn=arn)["stateMachineVersionArn"]
    report.equal(second, f"{arn}:2", "the next version")
    listed = ok("ListStateMachineVersions", stateMachineArn=arn)["stateMachineVersions"]
    report.equal([found["stateMachineVersionArn"] for found in listed], [second, first], "newest first")
    routing = lambda *shares: [{"stateMachineVersionArn": version, "weight": weight} for version, weight in shares]
    alias = ok("CreateStateMachineAlias", name="live", routingConfiguration=routing((first, 100)))["stateMachineAliasArn"]
    report.equal(alias, f"{arn}:live", "the alias")
    refused("ConflictException", "DeleteStateMachineVersion", stateMachineVersionArn=first)
    refused("ValidationException", "UpdateStateMachineAlias", stateMachineAliasArn=alias,
            routingConfiguration=routing((first, 50), (second, 49)))
    started = ok("StartExecution", stateMachineArn=alias, name="by-alias", input='"in"')
    found = settled(started["executionArn"])
    report.equal((found["stateMachineAliasArn"], found["stateMachineVersionArn"], found["output"]),
                 (alias, first, '"in"'), "run by its alias")
    ok("UpdateStateMachineAlias", stateMachineAliasArn=alias, routingConfiguration=routing((first, 50), (second, 50)))
    outputs = {settled(ok("StartExecution", stateMachineArn=alias)["executionArn"])["output"] for _ in range(40)}
    report.equal(outputs, {"{}", '"two"'}, "both shares are chosen")
    report.equal(len(ok("ListStateMachineAliases", stateMachineArn=arn)["stateMachineAliases"]), 1, "aliases")
    ok("DeleteStateMachineAlias", stateMachineAliasArn=alias)
    refused("ResourceNotFound", "DescribeStateMachineAlias", stateMachineAliasArn=alias)
    ok("DeleteStateMachineVersion", stateMachineVersionArn=first)


def executions():
    arn = machine("ten", TEN)
    started = ok("StartExecution", stateMachineArn=arn, name="e1", input="{}")
    report.equal(started["executionArn"], f"{PREFIX}:execution:ten:e1", "the ARN")
    found = settled(started["executionArn"])
    report.equal(json.loads(found["output"]), {"n": 3, "items": [1, 2, 3], "mapped": [1, 2, 3], "both": ["l", "r"]}, "the output")
    events = ok("GetExecutionHistory", executionArn=started["executionArn"], maxResults=1000)["events"]
    report.equal([event["id"] for event in events], list(range(1, len(events) + 1)), "ids without gaps")
    report.equal(events[-1]["type"], "ExecutionSucceeded", "nothing follows the end")
    report.check(all(event["previousEventId"] < event["id"] for event in events), "each follows an earlier one")
    back = ok("GetExecutionHistory", executionArn=started["executionArn"], maxResults=1000, reverseOrder=True)["events"]
    report.equal([event["id"] for event in back], [event["id"] for event in reversed(events)], "in reverse")
    paged, token = [], None
    while True:
        page = ok("GetExecutionHistory", executionArn=started["executionArn"], maxResults=7,
                  **({"nextToken": token} if token else {}))
        paged += [event["id"] for event in page["events"]]
        token = page.get("nextToken")
        if not token:
            break
    report.equal(paged, [event["id"] for event in events], "in pages")
    bare = ok("GetExecutionHistory", executionArn=started["executionArn"], includeExecutionData=False)["events"]
    report.check("input" not in bare[0]["executionStartedEventDetails"], "without data")
    message = refused("ExecutionAlreadyExists", "StartExecution", stateMachineArn=arn, name="e1", input="[]")
    report.equal(message, f"Execution Already Exists: '{started['executionArn']}'", "the message")
    refused("ExecutionAlreadyExists", "StartExecution", stateMachineArn=arn, name="e1", input="{}")
    refused("InvalidExecutionInput", "StartExecution", stateMachineArn=arn, input="{")
    refused("ExecutionDoesNotExist", "DescribeExecution", executionArn=f"{PREFIX}:execution:ten:none")
    wait = machine("wait", {"W": {"Type": "Wait", "Seconds": 300, "End": True}})
    one = ok("StartExecution", stateMachineArn=wait, name="w", input='{"a":1}')
    two = ok("StartExecution", stateMachineArn=wait, name="w", input='{"a":1}')
    report.equal(one, two, "the same name and input while it runs")
    ok("StopExecution", executionArn=one["executionArn"], error="E", cause="c")
    found = ok("DescribeExecution", executionArn=one["executionArn"])
    report.equal((found["status"], found["error"], found["cause"]), ("ABORTED", "E", "c"), "stopped")
    listed = ok("ListExecutions", stateMachineArn=wait, statusFilter="ABORTED")["executions"]
    report.equal([found["name"] for found in listed], ["w"], "listed by status")
    for index in range(3):
        settled(ok("StartExecution", stateMachineArn=arn, name=f"order-{index}")["executionArn"])
        time.sleep(0.002)
    names = [found["name"] for found in ok("ListExecutions", stateMachineArn=arn)["executions"]]
    report.equal(names[:3], ["order-2", "order-1", "order-0"], "the newest first")
    code, output = call("ListExecutions", stateMachineArn=arn, maxResults=1001)
    report.check(code == "ValidationException" and "1 validation error detected" in output["Error"]["Message"], lambda: str(output))


def failures_and_redrive():
    arn = machine("failing", {
        "A": {"Type": "Pass", "Next": "T"},
        "T": {"Type": "Task", "Resource": f"{PREFIX}:activity:flaky", "End": True}})
    ok("CreateActivity", name="flaky")
    started = ok("StartExecution", stateMachineArn=arn, name="r")["executionArn"]
    task = ok("GetActivityTask", activityArn=f"{PREFIX}:activity:flaky", workerName="w1")
    ok("SendTaskFailure", taskToken=task["taskToken"], error="Boom", cause="because")
    found = settled(started)
    report.equal((found["status"], found["error"], found["redriveStatus"]), ("FAILED", "Boom", "REDRIVABLE"), "failed")
    ok("RedriveExecution", executionArn=started, clientToken="t1")
    ok("RedriveExecution", executionArn=started, clientToken="t1")
    refused("ExecutionNotRedrivable", "RedriveExecution", executionArn=started, clientToken="t2")
    task = ok("GetActivityTask", activityArn=f"{PREFIX}:activity:flaky")
    ok("SendTaskSuccess", taskToken=task["taskToken"], output='"done"')
    found = settled(started)
    report.equal((found["status"], found["output"], found["redriveCount"]), ("SUCCEEDED", '"done"', 1), "driven on")
    history = types(started)
    report.equal(history.count("PassStateEntered"), 1, "what succeeded is not run again")
    report.check("ExecutionRedriven" in history, lambda: str(history))


def activities_and_tokens():
    activity = ok("CreateActivity", name="work")["activityArn"]
    report.equal(ok("CreateActivity", name="work")["activityArn"], activity, "the same activity")
    arn = machine("acts", {"T": {"Type": "Task", "Resource": activity, "HeartbeatSeconds": 60, "End": True}})
    got = []
    worker = threading.Thread(target=lambda: got.append(ok("GetActivityTask", activityArn=activity, workerName="early")))
    worker.start()
    time.sleep(0.1)
    started = ok("StartExecution", stateMachineArn=arn, input='{"job": 7}')["executionArn"]
    worker.join(30)
    report.equal(json.loads(got[0]["input"]), {"job": 7}, "a worker that waits gets the task")
    token = got[0]["taskToken"]
    ok("SendTaskHeartbeat", taskToken=token)
    refused("InvalidOutput", "SendTaskSuccess", taskToken=token, output="{")
    ok("SendTaskSuccess", taskToken=token, output='{"ok": true}')
    refused("TaskTimedOut", "SendTaskSuccess", taskToken=token, output="1")
    refused("InvalidToken", "SendTaskSuccess", taskToken="forged", output="1")
    refused("InvalidToken", "SendTaskHeartbeat", taskToken="0" * 64)
    report.equal(json.loads(settled(started)["output"]), {"ok": True}, "the worker's output")
    report.check("ActivityStarted" in types(started), "the worker is in the history")
    report.equal(ok("DescribeActivity", activityArn=activity)["name"], "work", "described")
    report.check(any(found["name"] == "work" for found in ok("ListActivities")["activities"]), "listed")
    # A token that is never answered: the time of the task counts from its start.
    arn = machine("late", {"T": {"Type": "Task", "Resource": activity, "TimeoutSeconds": 1, "End": True}})
    started = ok("StartExecution", stateMachineArn=arn)["executionArn"]
    task = ok("GetActivityTask", activityArn=activity)
    found = settled(started)
    report.equal((found["status"], found.get("error")), ("FAILED", "States.Timeout"), "timed out")
    code, _ = call("SendTaskSuccess", taskToken=task["taskToken"], output="1")
    report.equal(code, "TaskTimedOut", "its time is over")
    ok("DeleteActivity", activityArn=activity)
    refused("ActivityDoesNotExist", "DescribeActivity", activityArn=activity)


def children():
    child = machine("child", {"S": {"Type": "Pass", "Parameters": {"doubled.$": "States.MathAdd($.n, $.n)"}, "End": True}})
    parent = machine("parent", {
        "S": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
              "Parameters": {"StateMachineArn": child, "Input": {"n.$": "$.n"}}, "OutputPath": "$.Output.doubled", "End": True}})
    started = ok("StartExecution", stateMachineArn=parent, input='{"n": 21}')["executionArn"]
    report.equal(settled(started)["output"], "42", "a parent gets its child's output")
    report.equal([name for name in types(started) if name.startswith("Task")],
                 ["TaskStateEntered", "TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded", "TaskStateExited"], "its history")
    retried = machine("unoffered", {"S": {"Type": "Task", "Resource": "arn:aws:states:::nothing:here", "End": True,
                                         "Catch": [{"ErrorEquals": ["States.TaskFailed"], "Next": "C"}]}, "C": {"Type": "Pass", "End": True}})
    found = settled(ok("StartExecution", stateMachineArn=retried)["executionArn"])
    report.equal(found["status"], "SUCCEEDED", "what is not offered fails as a task, and can be caught")


def express():
    arn = machine("fast", TEN, type="EXPRESS")
    found = ok("StartSyncExecution", stateMachineArn=arn, input="{}")
    report.equal(found["status"], "SUCCEEDED", "an express execution")
    report.equal(json.loads(found["output"])["both"], ["l", "r"], "its output")
    failing = machine("fast-fail", {"F": {"Type": "Fail", "Error": "E", "Cause": "c"}}, type="EXPRESS")
    found = ok("StartSyncExecution", stateMachineArn=failing)
    report.equal((found["status"], found["error"]), ("FAILED", "E"), "a failure is no failure of the call")
    waiting = machine("fast-wait", {"W": {"Type": "Wait", "Seconds": 1, "End": True}}, type="EXPRESS")
    report.equal(ok("StartSyncExecution", stateMachineArn=waiting)["status"], "SUCCEEDED", "one that waits")
    ok("StartExecution", stateMachineArn=waiting)
    refused("StateMachineTypeNotSupported", "ListExecutions", stateMachineArn=arn)
    standard = machine("slow", PASS)
    refused("StateMachineTypeNotSupported", "StartSyncExecution", stateMachineArn=standard)
    refused("InvalidDefinition", "CreateStateMachine", name="fast-bad", roleArn=ROLE, type="EXPRESS", definition=json.dumps(
        {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True}}}))


def looking_at_definitions():
    found = ok("ValidateStateMachineDefinition", definition=json.dumps({"StartAt": "S", "States": PASS}))
    report.equal((found["result"], found["diagnostics"]), ("OK", []), "a good one")
    found = ok("ValidateStateMachineDefinition", definition=json.dumps(
        {"StartAt": "S", "States": {"S": {"Type": "Pass", "Next": "X", "Foo": 1}, "T": {"Type": "Wait", "End": True}}}))
    report.equal(found["result"], "FAIL", "a bad one")
    places = {diagnostic["location"] for diagnostic in found["diagnostics"]}
    report.check({"/States/S/Next", "/States/S/Foo", "/States/T"} <= places, lambda: str(places))
    # As many as are asked for, and that there are more; warnings only for whoever asks for them, and no reason to refuse.
    wrong = json.dumps({"StartAt": "S", "States": {"S": {"Type": "Pass", "End": True, **{f"Foo{n}": n for n in range(5)}}}})
    found = ok("ValidateStateMachineDefinition", definition=wrong, maxResults=2)
    report.equal((len(found["diagnostics"]), found["truncated"], found["result"]), (2, True, "FAIL"), "two of five")
    found = ok("ValidateStateMachineDefinition", definition=wrong, maxResults=0)
    report.equal((len(found["diagnostics"]), found["truncated"]), (5, False), "all of them")
    refused("ValidationException", "ValidateStateMachineDefinition", definition=wrong, maxResults=101)
    doubtful = json.dumps({"StartAt": "S", "States": {"S": {"Type": "Pass", "Parameters": {"a": "$.a"}, "End": True}}})
    found = ok("ValidateStateMachineDefinition", definition=doubtful)
    report.equal((found["result"], found["diagnostics"]), ("OK", []), "no errors")
    found = ok("ValidateStateMachineDefinition", definition=doubtful, severity="WARNING")
    report.equal((found["result"], [(one["severity"], one["code"], one["location"]) for one in found["diagnostics"]]),
                 ("OK", [("WARNING", "NO_DOLLAR", "/States/S/Parameters/a")]), "a warning")
    ok("CreateStateMachine", name="doubtful", definition=doubtful, roleArn=ROLE)
    # Each child of a run is a machine of its own: what an express one cannot have is told at its place.
    waits = {"StartAt": "M", "States": {"M": {"Type": "Map", "End": True, "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}, "StartAt": "T",
        "States": {"T": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True}}}}}}
    found = ok("ValidateStateMachineDefinition", definition=json.dumps(waits))
    report.equal([one["location"] for one in found["diagnostics"]], ["/States/M/ItemProcessor/States/T/Resource"], "an express child that waits")
    test = lambda state, **more: ok("TestState", definition=json.dumps(state), roleArn=ROLE, **more)
    found = test({"Type": "Pass", "Parameters": {"x.$": "$.a"}, "Next": "N"}, input='{"a": 1}')
    report.equal((found["status"], json.loads(found["output"]), found["nextState"]), ("SUCCEEDED", {"x": 1}, "N"), "a Pass state")
    found = test({"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "One"}], "Default": "Other"}, input='{"a": 1}')
    report.equal(found["nextState"], "One", "a Choice state")
    task = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Parameters": {"q.$": "$.q"}, "ResultPath": "$.r", "End": True,
            "Retry": [{"ErrorEquals": ["Again"]}], "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C"}]}
    found = test(task, input='{"q": "u"}', mock={"result": '{"id": 1}'}, inspectionLevel="DEBUG")
    report.equal((found["status"], json.loads(found["output"])), ("SUCCEEDED", {"q": "u", "r": {"id": 1}}), "a mocked task")
    report.equal(json.loads(found["inspectionData"]["afterParameters"]), {"q": "u"}, "its parameters")
    found = test(task, input='{"q": "u"}', mock={"errorOutput": {"error": "Other", "cause": "c"}})
    report.equal((found["status"], found["nextState"]), ("CAUGHT_ERROR", "C"), "a caught error")
    found = test(task, input='{"q": "u"}', mock={"errorOutput": {"error": "Again", "cause": "c"}})
    report.equal(found["status"], "RETRIABLE", "one that is tried anew")


def trials():
    """TestState: mocks, inspection, contexts, variables, retries."""
    def trial(state, **more):
        return ok("TestState", definition=json.dumps(state), roleArn=ROLE, inspectionLevel="DEBUG", **more)

    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "InputPath": "$.in", "Parameters": {"p.$": "$.n"}, "ResultSelector": {"r.$": "$.x"},
            "ResultPath": "$.out", "Next": "B", "Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 3, "MaxAttempts": 2, "BackoffRate": 2}],
            "Catch": [{"ErrorEquals": ["F"], "Next": "X"}, {"ErrorEquals": ["States.ALL"], "ResultPath": "$.e", "Next": "C"}]}
    given = json.dumps({"in": {"n": 5}})
    found = trial(task, input=given, mock={"result": json.dumps({"x": 7})})
    report.equal((found["status"], found["nextState"], json.loads(found["output"])), ("SUCCEEDED", "B", {"in": {"n": 5}, "out": {"r": 7}}), str(found))
    seen = {name: json.loads(text) for name, text in found["inspectionData"].items()}
    report.equal(seen, {"input": {"in": {"n": 5}}, "afterInputPath": {"n": 5}, "afterParameters": {"p": 5}, "result": {"x": 7},
                        "afterResultSelector": {"r": 7}, "afterResultPath": {"in": {"n": 5}, "out": {"r": 7}}}, "what is computed on the way")
    again = trial(task, input=given, mock={"errorOutput": {"error": "E", "cause": "c"}}, stateConfiguration={"retrierRetryCount": 1})
    report.equal((again["status"], again["error"], again["inspectionData"]["errorDetails"]), ("RETRIABLE", "E", {"retryIndex": 0, "retryBackoffIntervalSeconds": 6}), str(again))
    spent = trial(task, input=given, mock={"errorOutput": {"error": "E", "cause": "c"}}, stateConfiguration={"retrierRetryCount": 2})
    report.equal((spent["status"], spent["nextState"], spent["inspectionData"]["errorDetails"]), ("CAUGHT_ERROR", "C", {"catchIndex": 1}), str(spent))
    report.equal(json.loads(spent["output"])["e"], {"Error": "E", "Cause": "c"}, "what the catcher hands on")
    report.check("inspectionData" not in ok("TestState", definition=json.dumps(task), roleArn=ROLE, input=given, mock={"result": "{\"x\": 1}"}), "INFO")
    names = trial({"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.context.Execution.Name & $who %}", "End": True},
                  context=json.dumps({"Execution": {"Name": "mine"}}), variables=json.dumps({"who": "!"}))
    report.equal(json.loads(names["output"]), "mine!", "a context and variables that are given")
    items = {"Type": "Map", "ItemsPath": "$.items", "ItemSelector": {"v.$": "$$.Map.Item.Value"}, "MaxConcurrency": 4, "ToleratedFailureCount": 1, "End": True,
             "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": True}}}}
    found = trial(items, input=json.dumps({"items": [1, 2]}), mock={"result": "[3, 4]"})
    data = found["inspectionData"]
    report.equal((json.loads(found["output"]), json.loads(data["afterItemsPath"]), json.loads(data["afterItemSelector"]), data["maxConcurrency"],
                  data["toleratedFailureCount"]), ([3, 4], [1, 2], [{"v": 1}, {"v": 2}], 4, 1), str(found))
    found = trial(items, input=json.dumps({"items": [1, 2]}), mock={"result": "[3, 4]"}, stateConfiguration={"mapIterationFailureCount": 2})
    report.equal((found["status"], found["error"]), ("FAILED", "States.ExceedToleratedFailureThreshold"), str(found))
    waits = trial({"Type": "Wait", "Seconds": 99999, "Next": "N"}, input="{\"a\": 1}")
    report.equal((waits["status"], waits["nextState"], waits["output"]), ("SUCCEEDED", "N", "{\"a\":1}"), "a wait is not waited for")
    fails = trial({"Type": "Fail", "Error": "E", "Cause": "c"})
    report.equal((fails["status"], fails["error"], fails["cause"]), ("FAILED", "E", "c"), "a Fail state")
    for state, mock in [({"Type": "Pass", "End": True}, {"result": "1"}), (items, {"result": "{}"}),
                        ({"Type": "Parallel", "End": True, "Branches": [items["ItemProcessor"]]}, {"result": "[1, 2]"}),
                        (task, {"result": "1", "errorOutput": {"error": "E"}}), ({**task, "Resource": f"{task['Resource']}.waitForTaskToken"}, None)]:
        refused("ValidationException", "TestState", definition=json.dumps(state), roleArn=ROLE, input=json.dumps({"in": {"n": 5}, "items": []}), **({"mock": mock} if mock else {}))


def the_host_prefix():
    """Clients that put `sync-` before the host's name are answered as those that do not."""
    arn = ok("CreateStateMachine", name="prefixed", type="EXPRESS", definition=json.dumps({"StartAt": "S", "States": PASS}), roleArn=ROLE)["stateMachineArn"]
    address = urllib.parse.urlsplit(endpoint).netloc
    for operation, body in [("StartSyncExecution", {"stateMachineArn": arn}), ("TestState", {"definition": json.dumps(PASS["S"])})]:
        for host in [address, f"sync-{address}", "sync-states.us-west-2.amazonaws.com"]:
            request = urllib.request.Request(f"{endpoint}/", data=json.dumps(body).encode(), headers={
                "Host": host, "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AWSStepFunctions.{operation}"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                report.equal(json.loads(answer.read())["status"], "SUCCEEDED", f"{operation} at {host}")


def the_command_line():
    environment = dict(os.environ, AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="secret",
                       AWS_DEFAULT_REGION=REGION, AWS_PAGER="", AWS_DISABLE_HOST_PREFIX_INJECTION="true")

    def aws(*words):
        done = subprocess.run(["aws", "stepfunctions", *words, "--output", "json"], env=environment, capture_output=True, text=True, timeout=60)
        report.check(done.returncode == 0, lambda: f"aws {words}: {done.stderr}")
        return json.loads(done.stdout or "{}")

    definition = json.dumps({"StartAt": "S", "States": PASS})
    arn = aws("create-state-machine", "--name", "by-cli", "--definition", definition, "--role-arn", ROLE).get("stateMachineArn")
    execution = aws("start-execution", "--state-machine-arn", arn, "--name", "x", "--input", '{"a": 1}')["executionArn"]
    report.equal(aws("describe-execution", "--execution-arn", execution)["status"], "SUCCEEDED", "by the aws command")
    report.equal(len(aws("get-execution-history", "--execution-arn", execution)["events"]), 4, "its history")
    fast = aws("create-state-machine", "--name", "by-cli-fast", "--type", "EXPRESS", "--definition", definition, "--role-arn", ROLE)["stateMachineArn"]
    report.equal(aws("start-sync-execution", "--state-machine-arn", fast)["status"], "SUCCEEDED", "synchronously")
    report.check(any(found["name"] == "by-cli" for found in aws("list-state-machines")["stateMachines"]), "listed")


for part in [machines, versions_and_aliases, executions, failures_and_redrive, activities_and_tokens, children, express,
             looking_at_definitions, trials, the_host_prefix, the_command_line]:
    part()
report.end()
