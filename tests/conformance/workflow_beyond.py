#!/usr/bin/env python3
"""What goes beyond Step Functions: schedules by boto3's `scheduler`, large values, schemas, approvals answered elsewhere."""

import datetime
import json
import os
import pathlib
import signal
import subprocess
import tempfile
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
BINARY = os.environ.get("SELVEDGE_BIN")
ROLE = f"arn:aws:iam::{_server.ACCOUNT}:role/workflow"
REGION = "us-west-2"
folder = tempfile.mkdtemp(prefix="selvedge-beyond-")


class Server:
    """A server over a folder of its own, so that it can be killed and started again."""

    def __init__(self):
        self.start()

    def start(self):
        command = [BINARY, "up", "--listen", "127.0.0.1:0", "--data-dir", folder] if BINARY else [
            "cargo", "run", "--quiet", "-p", "selvedge", "--", "up", "--listen", "127.0.0.1:0", "--data-dir", folder]
        self.process = subprocess.Popen(command, cwd=_server.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.url = self.process.stdout.readline().decode().split()[-1]
        _server._wait(self.url)
        self.states, self.scheduler = self.client("stepfunctions"), self.client("scheduler")

    def client(self, service):
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
            config=botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, parameter_validation=False))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def own(self, method, path, document=None):
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/selvedge/v1/{path}", method=method, data=body)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def machine(self, name, states, **more):
        definition = json.dumps({"StartAt": next(iter(states)), "States": states, **more})
        return self.states.create_state_machine(name=name, definition=definition, roleArn=ROLE)["stateMachineArn"]

    def run(self, arn, text):
        return self.ended(self.states.start_execution(stateMachineArn=arn, input=text)["executionArn"])

    def ended(self, arn):
        def look():
            found = self.states.describe_execution(executionArn=arn)
            return found if found["status"] != "RUNNING" else None
        return until(look, f"the end of {arn}") or {}


def until(look, what, patience=60):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    report.check(False, lambda: f"never: {what}")
    return None


def refused(code, call, **params):
    try:
        found = call(**params)
        report.check(False, lambda: f"{params} is taken: {found}")
        return ""
    except botocore.exceptions.ClientError as error:
        report.equal(error.response["Error"]["Code"], code, str(error))
        return error.response["Error"]["Message"]


server = Server()
PASS = {"P": {"Type": "Pass", "End": True}}


def schedules():
    arn = server.machine("by-clock", PASS)
    target = {"Arn": arn, "RoleArn": ROLE, "Input": '{"at": "<aws.scheduler.scheduled-time>"}'}
    given = {"FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target}
    made = server.scheduler.create_schedule(Name="every", ScheduleExpression="rate(1 minute)", **given)
    report.equal(made["ScheduleArn"], f"arn:aws:scheduler:{REGION}:{_server.ACCOUNT}:schedule/default/every", "the ARN")
    found = server.scheduler.get_schedule(Name="every")
    report.equal((found["ScheduleExpression"], found["State"], found["Target"]["Arn"], found["GroupName"]),
                 ("rate(1 minute)", "ENABLED", arn, "default"), "as it was made")
    first = until(lambda: server.states.list_executions(stateMachineArn=arn)["executions"], "a rate begins at once")
    report.check(first[0]["name"].startswith("every-"), lambda: f"named by schedule and tick: {first[0]['name']}")
    told = json.loads(server.ended(first[0]["executionArn"])["input"])["at"]
    report.equal(told.replace("-", "").replace(":", ""), first[0]["name"].split("-", 1)[1], "the input tells of the tick")
    refused("ConflictException", server.scheduler.create_schedule, Name="every", ScheduleExpression="rate(1 minute)", **given)
    refused("ResourceNotFoundException", server.scheduler.get_schedule, Name="nobody")
    refused("ResourceNotFoundException", server.scheduler.create_schedule, Name="x", GroupName="nowhere", ScheduleExpression="rate(1 day)", **given)
    for more, problem in [
        ({"ScheduleExpression": "rate(5 seconds)"}, "ScheduleExpression"),
        ({"ScheduleExpression": "cron(0 0 * * * *)"}, "exactly one of day of month and day of week"),
        ({"ScheduleExpression": "at(2001-01-01T00:00:00)"}, "never comes"),
        ({"ScheduleExpressionTimezone": "Middle/Earth"}, "ScheduleExpressionTimezone"),
        ({"Target": {"Arn": "arn:aws:lambda:us-west-2:123456789012:function:f", "RoleArn": ROLE}}, "Target.Arn"),
        ({"Target": {**target, "Input": "{"}}, "Target.Input"),
        ({"Target": {**target, "EcsParameters": {"TaskDefinitionArn": "x"}}}, "EcsParameters"),
        ({"Name": "a b"}, "name"), ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "MaximumWindowInMinutes"),
        ({"StartDate": 2_000_000_000, "EndDate": 1_900_000_000}, "EndDate"),
    ]:
        message = refused("ValidationException", server.scheduler.create_schedule,
                          **{"Name": "bad", "ScheduleExpression": "rate(1 day)", **given, **more})
        report.check(problem.lower() in message.lower(), lambda: f"{more}: {message}")
    # Groups, pages, changes.
    group = server.scheduler.create_schedule_group(Name="night", Tags=[{"Key": "team", "Value": "a"}])["ScheduleGroupArn"]
    refused("ConflictException", server.scheduler.create_schedule_group, Name="night")
    tags = lambda: {tag["Key"]: tag["Value"] for tag in server.scheduler.list_tags_for_resource(ResourceArn=group)["Tags"]}
    report.equal(tags(), {"team": "a"}, "a group's tags")
    server.scheduler.tag_resource(ResourceArn=group, Tags=[{"Key": "team", "Value": "b"}, {"Key": "x y", "Value": "1"}, {"Key": "z", "Value": "2"}])
    report.equal(tags(), {"team": "b", "x y": "1", "z": "2"}, "tags are set")
    server.scheduler.untag_resource(ResourceArn=group, TagKeys=["x y", "z", "unknown"])
    report.equal(tags(), {"team": "b"}, "tags are taken away")
    for tagged, problem in [([{"Key": "aws:x", "Value": "1"}], "aws:"), ([{"Key": "k", "Value": "1"}] * 2, "twice"),
                            ([{"Key": f"k{n}", "Value": "1"} for n in range(50)], "at most 50")]:
        message = refused("ValidationException", server.scheduler.tag_resource, ResourceArn=group, Tags=tagged)
        report.check(problem in message, lambda: f"{tagged}: {message}")
    report.equal(tags(), {"team": "b"}, "what was refused changed nothing")
    refused("ResourceNotFoundException", server.scheduler.list_tags_for_resource, ResourceArn=group + "er")
    refused("ResourceNotFoundException", server.scheduler.tag_resource, ResourceArn=group.replace("scheduler:", "scheduler:eu"), Tags=[])
    refused("ValidationException", server.scheduler.tag_resource, ResourceArn=group.replace("night", "default"), Tags=[])
    for n in range(5):
        server.scheduler.create_schedule(Name=f"n{n}", GroupName="night", ScheduleExpression="cron(0 3 * * ? *)",
                                         ScheduleExpressionTimezone="Europe/Berlin", **given)
    pages = list(server.scheduler.get_paginator("list_schedules").paginate(GroupName="night", PaginationConfig={"PageSize": 2}))
    report.equal([len(page["Schedules"]) for page in pages], [2, 2, 1], "in pages")
    report.equal([g["Name"] for g in server.scheduler.list_schedule_groups()["ScheduleGroups"]], ["default", "night"], "the groups")
    server.scheduler.update_schedule(Name="n0", GroupName="night", ScheduleExpression="cron(0 4 * * ? *)", State="DISABLED", **given)
    report.equal([s["Name"] for s in server.scheduler.list_schedules(GroupName="night", State="DISABLED")["Schedules"]], ["n0"], "by state")
    report.equal(server.scheduler.get_schedule(Name="n0", GroupName="night")["State"], "DISABLED", "changed")
    server.scheduler.delete_schedule_group(Name="night")
    refused("ResourceNotFoundException", server.scheduler.get_schedule, Name="n1", GroupName="night")
    server.scheduler.delete_schedule(Name="every")
    refused("ResourceNotFoundException", server.scheduler.delete_schedule, Name="every")


def one_time_over_a_kill():
    """A time at which no server was up is caught up with once; what cannot be started is a dead letter."""
    arn = server.machine("once", PASS)
    gone = server.machine("gone", PASS)
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=6)
    expression = f"at({at.strftime('%Y-%m-%dT%H:%M:%S')})"
    for name, machine in [("one", arn), ("lost", gone)]:
        server.scheduler.create_schedule(
            Name=name, ScheduleExpression=expression, FlexibleTimeWindow={"Mode": "OFF"}, ActionAfterCompletion="DELETE",
            Target={"Arn": machine, "RoleArn": ROLE, "Input": '{"n": 1}'})
    server.states.delete_state_machine(stateMachineArn=gone)
    server.kill()
    # The time passes.
    time.sleep(max(0.0, at.timestamp() - time.time()) + 0.5)
    server.start()
    started = until(lambda: server.states.list_executions(stateMachineArn=arn)["executions"], "it is caught up with")
    report.equal([e["name"] for e in started], [f"one-{at.strftime('%Y%m%dT%H%M%SZ')}"], "once")
    letters = until(lambda: server.own("GET", "dead-letters?kind=schedule")[1]["deadLetters"], "a letter")
    report.equal((letters[0]["error"], letters[0]["payload"]), ("StateMachineDoesNotExist", '{"n": 1}'), "what could not be started")
    until(lambda: not server.scheduler.list_schedules()["Schedules"], "both are deleted after their time")
    status, answer = server.own("POST", f"dead-letters/{letters[0]['id']}/replay")
    report.equal(status, 409, f"it cannot be started still {answer}")
    gone = server.machine("gone", PASS)
    report.equal(server.own("POST", f"dead-letters/{letters[0]['id']}/replay")[0], 200, "replayed")
    report.equal(len(server.states.list_executions(stateMachineArn=gone)["executions"]), 1, "and started")


# Makes half a mebibyte of a small input, and goes on with it.
GROWS = {
    "Grow": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% {'text': $join($map([1..600], function($n) {'" + "x" * 1000 + "'}))} %}", "Next": "Wait"},
    "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Look"},
    "Look": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% {'length': $length($states.input.text), 'text': $states.input.text} %}", "Next": "Both"},
    "Both": {"Type": "Parallel", "End": True, "Branches": [
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "Parameters": {"length.$": "$.length"}, "End": True}}},
        {"StartAt": "B", "States": {"B": {"Type": "Pass", "End": True}}}]},
}


def large_values():
    arn = server.machine("grows", GROWS)
    failed = server.run(arn, "{}")
    report.equal((failed["status"], failed.get("error")), ("FAILED", "States.DataLimitExceeded"), "as the original has it")
    report.equal(server.own("PUT", "machines/grows/extension", {"mode": "EXTENDED"})[0], 200, "extended")
    execution = server.states.start_execution(stateMachineArn=arn, input="{}")["executionArn"]
    until(lambda: any(e["type"] == "WaitStateEntered" for e in server.states.get_execution_history(executionArn=execution)["events"]), "it waits")
    server.kill()
    server.start()
    done = server.ended(execution)
    report.equal(done["status"], "SUCCEEDED", f"over a kill: {done.get('error')} {done.get('cause')}")
    output = json.loads(done["output"])
    report.check(output.get("$ref", "").startswith("blob:sha256:"), lambda: f"by reference: {done['output'][:200]}")
    with urllib.request.urlopen(f"{server.url}/selvedge/v1/blobs/{output['$ref'].split(':')[-1]}", timeout=20) as answer:
        whole = json.loads(answer.read())
    report.equal((whole[0]["length"], len(whole[1]["text"])), (600_000, 600_000), "whole")
    events = server.states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
    report.check(max(len(json.dumps(e, default=str)) for e in events) < 262_144, "no event has it")
    report.equal(server.run(arn, done["output"])["status"], "SUCCEEDED", "a reference is an input")
    for document, problem in [({"mode": "HUGE"}, "mode"), ({"historyEvents": 1}, "historyEvents"), ({"more": 1}, "more"), ([], "object")]:
        status, answer = server.own("PUT", "machines/grows/extension", document)
        report.check(status == 400 and problem in answer["message"], lambda: f"{document}: {status} {answer}")
    report.equal(server.own("PUT", "machines/nobody/extension", {})[0], 404, "of no machine")


# Assigns half a mebibyte, waits, and reads it back.
KEEPS = {
    "Keep": {"Type": "Pass", "QueryLanguage": "JSONata", "Assign": {"kept": "{% $join($map([1..600], function($n) {'" + "x" * 1000 + "'})) %}"},
             "Output": "{% {'n': 1} %}", "Next": "Wait"},
    "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Look"},
    "Look": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $length($kept) %}", "End": True},
}


def large_variables():
    arn = server.machine("keeps", KEEPS)
    failed = server.run(arn, "{}")
    report.equal((failed["status"], failed.get("error")), ("FAILED", "States.DataLimitExceeded"), "as the original has it")
    report.equal(server.own("PUT", "machines/keeps/extension", {"mode": "EXTENDED"})[0], 200, "extended")
    execution = server.states.start_execution(stateMachineArn=arn, input="{}")["executionArn"]
    until(lambda: any(e["type"] == "WaitStateEntered" for e in server.states.get_execution_history(executionArn=execution)["events"]), "it waits")
    server.kill()
    server.start()
    report.equal(server.ended(execution).get("output"), "600000", "a variable over a kill")
    events = server.states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
    report.check(max(len(json.dumps(e, default=str)) for e in events) < 262_144, "no event has it")


def large_results_of_a_map():
    """What a distributed Map state collects is bounded as its execution is; its children are as their machine is."""
    for kind in ["STANDARD", "EXPRESS"]:
        name = f"collects-{kind.lower()}"
        big = "{% {'of': $states.input, 'text': $join($map([1..300], function($n) {'" + "y" * 1000 + "'}))} %}"
        each = {"Type": "Map", "Label": "each", "Items": "{% [1, 2, 3] %}", "QueryLanguage": "JSONata", "Next": "Look", "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind}, "StartAt": "Big",
            "States": {"Big": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": big, "End": True}}}}
        look = {"Type": "Pass", "QueryLanguage": "JSONata", "End": True,
                "Output": "{% $states.input.{'of': of, 'length': $length(text)} %}"}
        arn = server.machine(name, {"Each": each, "Look": look})
        failed = server.run(arn, "{}")
        report.equal(failed["status"], "FAILED", f"{kind}: as the original has it")
        report.equal(server.own("PUT", f"machines/{name}/extension", {"mode": "EXTENDED"})[0], 200, "extended")
        done = server.run(arn, "{}")
        report.equal(json.loads(done.get("output", "null")), [{"of": n, "length": 300_000} for n in [1, 2, 3]], f"{kind}: {done.get('cause')}")


def large_kept_values():
    """`blob:get` gives what its machine has room for."""
    put = {"Type": "Task", "Resource": "arn:selvedge:states:::blob:put", "Parameters": {"Value.$": "$.text"}, "ResultPath": "$.kept", "Next": "Get"}
    get = {"Type": "Task", "Resource": "arn:selvedge:states:::blob:get", "Parameters": {"Ref.$": "$.kept"}, "Next": "Look"}
    look = {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $length($states.input) %}", "End": True}
    arn = server.machine("gets", {"Grow": {**GROWS["Grow"], "Next": "Put"}, "Put": put, "Get": get, "Look": look})
    server.own("PUT", "machines/gets/extension", {"mode": "EXTENDED"})
    done = server.run(arn, "{}")
    report.equal(done.get("output"), "600000", f"{done.get('error')} {done.get('cause')}")
    small = server.machine("gets-small", {"Get": {**get, "Parameters": {"Ref.$": "$"}}, "Look": look})
    events = server.states.get_execution_history(executionArn=done["executionArn"], maxResults=1000)["events"]
    kept = next(json.loads(e["taskSucceededEventDetails"]["output"]) for e in events if e["type"] == "TaskSucceeded")
    failed = server.run(small, json.dumps(kept))
    report.equal((failed["status"], failed.get("error")), ("FAILED", "States.DataLimitExceeded"), f"as the original has it: {failed.get('cause')}")


def long_histories():
    states = {"Count": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": "More"},
              "More": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericLessThan": 100, "Next": "Count"}], "Default": "End"},
              "End": {"Type": "Succeed"}}
    arn = server.machine("long", states)
    server.own("PUT", "machines/long/extension", {"historyEvents": 200})
    report.equal(server.run(arn, '{"n": 0}')["status"], "FAILED", "a history of 200 events")
    server.own("PUT", "machines/long/extension", {"historyEvents": 100_000})
    report.equal(server.run(arn, '{"n": 0}')["status"], "SUCCEEDED", "and one of more")


def schemas():
    arn = server.machine("fits", {"S": {"Type": "Pass", "OutputPath": "$.out", "End": True}})
    order = {"type": "object", "required": ["out"], "properties": {"n": {"type": "integer", "minimum": 1}, "out": True}}
    total = {"type": "object", "properties": {"total": {"$ref": "#/$defs/money"}}, "required": ["total"], "$defs": {"money": {"type": "number"}}}
    status, answer = server.own("PUT", "machines/fits/extension", {"inputSchema": order, "outputSchema": total})
    report.equal(status, 200, str(answer))
    message = refused("InvalidExecutionInput", server.states.start_execution, stateMachineArn=arn, input='{"n": 0, "out": 1}')
    report.check("$.n: it is 0, and its minimum is 1" in message, lambda: message)
    message = refused("InvalidExecutionInput", server.states.start_execution, stateMachineArn=arn, input='{"n": 1}')
    report.check("$.out: it is required" in message, lambda: message)
    report.equal(server.states.list_executions(stateMachineArn=arn)["executions"], [], "nothing was started")
    report.equal(server.run(arn, '{"out": {"total": 1.5}}')["status"], "SUCCEEDED", "what fits")
    failed = server.run(arn, '{"out": {"total": "much"}}')
    report.equal((failed["status"], failed["error"]), ("FAILED", "Selvedge.OutputSchema"), "what does not")
    report.check("$.total: number is expected, and it is string" in failed["cause"], lambda: failed["cause"])
    events = server.states.get_execution_history(executionArn=failed["executionArn"])["events"]
    report.equal(events[-1]["type"], "ExecutionFailed", "the history ends so")
    for schema, problem in [
        ({"$ref": "http://169.254.169.254/x"}, "is elsewhere"), ({"$ref": "#/nothing"}, "is not in the document"),
        ({"type": "date"}, "inputSchema.type"), ({"pattern": "(?=x)"}, "linear time"), ({"unevaluatedItems": False}, "not understood"),
    ]:
        status, answer = server.own("PUT", "machines/fits/extension", {"inputSchema": schema})
        report.check(status == 400 and problem in answer["message"], lambda: f"{schema}: {status} {answer}")
    report.equal(server.own("GET", "machines/fits/extension")[1]["inputSchema"], order, "nothing was changed")
    # A schedule's input is checked when its time comes.
    server.scheduler.create_schedule(Name="unfit", ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
                                     Target={"Arn": arn, "RoleArn": ROLE, "Input": '{"n": 0}'})
    letters = until(lambda: server.own("GET", "dead-letters?kind=schedule&machine=fits")[1]["deadLetters"], "a letter")
    report.equal(letters[0]["error"], "InvalidExecutionInput", "and a dead letter if it does not fit")


def approvals_answered_elsewhere():
    ask = {"Ask": {"Type": "Task", "Resource": "arn:selvedge:states:::approval:request.waitForTaskToken", "End": True,
                   "Parameters": {"Title": "t", "Groups": ["g"], "TaskToken.$": "$$.Task.Token", "Payload.$": "$$.Task.Token"}}}
    arn = server.machine("asks", ask)

    def asked(name):
        execution = server.states.start_execution(stateMachineArn=arn, name=name)["executionArn"]
        return execution, until(lambda: [t for t in server.own("GET", "tasks")[1]["tasks"] if t["execution"] == execution], "a task")[0]

    execution, task = asked("elsewhere")
    server.states.send_task_success(taskToken=task["payload"], output='"by token"')
    report.equal(server.ended(execution)["output"], '"by token"', "the token's holder answered")
    until(lambda: server.own("GET", f"tasks/{task['id']}")[1]["status"] == "ANSWERED", "it is closed")
    status, answer = server.own("POST", f"tasks/{task['id']}/decision", {"decision": "APPROVE", "by": "ada", "groups": ["g"]})
    report.equal(status, 409, f"nobody decides any more {answer}")
    execution, task = asked("stopped")
    server.states.stop_execution(executionArn=execution)
    until(lambda: server.own("GET", f"tasks/{task['id']}")[1]["status"] == "CANCELED", "a stopped one is closed")
    report.equal(server.own("GET", "tasks")[1]["tasks"], [], "nothing is open")
    # One that is due, with an escalation before.
    ask["Ask"]["Resource"] = "arn:selvedge:states:::approval:request"
    ask["Ask"]["Parameters"] = {"Title": "t", "Groups": ["g"], "DueSeconds": 2, "Escalations": [{"AfterSeconds": 1, "Assignees": ["boss"]}]}
    late = server.machine("late", ask)
    execution = server.states.start_execution(stateMachineArn=late, name="late")["executionArn"]
    task = until(lambda: [t for t in server.own("GET", "tasks")[1]["tasks"] if t["execution"] == execution], "a task")[0]
    until(lambda: server.own("GET", f"tasks/{task['id']}")[1]["escalated"] == 1, "it escalates")
    report.check("boss" in server.own("GET", f"tasks/{task['id']}")[1]["assignees"], "to the boss")
    failed = server.ended(execution)
    report.equal(failed["error"], "Approval.Expired", "it expires")
    report.equal(server.own("GET", f"tasks/{task['id']}")[1]["status"], "EXPIRED", "and says so")


def late_results():
    activity = server.states.create_activity(name="slow")["activityArn"]
    arn = server.machine("late-results", {"T": {"Type": "Task", "Resource": activity, "TimeoutSeconds": 1, "End": True,
                                                "Retry": [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 3}]}})
    execution = server.states.start_execution(stateMachineArn=arn)["executionArn"]
    token = server.states.get_activity_task(activityArn=activity)["taskToken"]
    until(lambda: any(e["type"] == "ActivityTimedOut" for e in server.states.get_execution_history(executionArn=execution)["events"]), "a timeout")
    refused("TaskTimedOut", server.states.send_task_success, taskToken=token, output='"late"')
    letters = until(lambda: server.own("GET", "dead-letters?kind=result&machine=late-results")[1]["deadLetters"], "a letter")
    report.equal((letters[0]["payload"], letters[0]["state"]), ('"late"', "T"), "the result is kept")
    # The next try is under way: it takes the result.
    until(lambda: server.own("POST", f"dead-letters/{letters[0]['id']}/replay")[0] == 200, "it is delivered")
    report.equal(server.ended(execution)["output"], '"late"', "to the task that is under way now")
    refused("InvalidToken", server.states.send_task_success, taskToken="forged", output="1")
    refused("InvalidToken", server.states.send_task_success, taskToken="0" * 64, output="1")


def states(*words, code=0):
    done = subprocess.run([BINARY, "states", *words, "--endpoint-url", server.url], capture_output=True, text=True, timeout=60)
    report.equal(done.returncode, code, f"states {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def by_the_command_line():
    server.machine("cli", PASS)
    out = states("schedule", "put", "hourly", "cron(0 * * * ? *)", "cli", "--timezone", "Asia/Tokyo", "--group", "mine", "--catch-up", "all")
    report.check("mine/hourly  ENABLED" in out and ":00:00.000Z" in out, lambda: out)
    states("schedule", "put", "hourly", "rate(2 hours)", "cli", "--group", "mine")
    report.check("rate(2 hours)" in states("schedule", "list", "--group", "mine"), "changed")
    report.check("DISABLED" in states("schedule", "disable", "hourly", "--group", "mine"), "disabled")
    report.check("ENABLED" in states("schedule", "enable", "hourly", "--group", "mine"), "enabled")
    states("schedule", "put", "x", "every now and then", "cli", code=254)
    states("schedule", "delete", "hourly", "--group", "mine")
    report.equal(states("schedule", "list", "--group", "mine"), "", "deleted")
    schema = pathlib.Path(folder) / "schema.json"
    schema.write_text('{"type": "object", "required": ["a"]}')
    report.check("input schema: set" in states("extend", "cli", "--extended", "--input-schema", str(schema)), "extended")
    report.check("mode: EXTENDED" in states("extend", "cli", "--show"), "shown")
    states("run", "cli", "--input", "{}", code=254)


try:
    for part in [schedules, one_time_over_a_kill, large_values, large_variables, large_results_of_a_map, large_kept_values, long_histories, schemas, approvals_answered_elsewhere, late_results]:
        part()
    if BINARY:
        by_the_command_line()
finally:
    server.kill()
report.end()
