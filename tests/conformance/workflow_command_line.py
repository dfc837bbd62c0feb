#!/usr/bin/env python3
"""`selvedge states` as a new user tries it: every command's help, output formats and exit codes, and `watch` on a small terminal."""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import tempfile
import termios
import time

import _server
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN")
if not BINARY:
    # There is nothing to try without the binary.
    report.end()
endpoint = _server.endpoint()
# What went to standard error.
said = []
folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-states-"))


def states(*words, code=0, text=None):
    done = subprocess.run([BINARY, "states", *words], capture_output=True, text=True, timeout=60, cwd=folder,
                          env={**os.environ, "AWS_ENDPOINT_URL": endpoint}, input=text)
    report.equal(done.returncode, code, f"states {' '.join(words)}: {done.stdout}{done.stderr}")
    said.append(done.stderr)
    return done.stdout if code == 0 else done.stdout + done.stderr


def has(text, *parts):
    for part in parts:
        report.check(part in text, lambda: f"{part!r} is not in {text!r}")


def write(name, states, **more):
    (folder / name).write_text(json.dumps({"StartAt": next(iter(states)), "States": states, **more}))
    return name


ORDER = {"Check": {"Type": "Choice", "Choices": [{"Variable": "$.total", "NumericGreaterThan": 0, "Next": "Done"}], "Default": "Empty"},
         "Done": {"Type": "Succeed"}, "Empty": {"Type": "Fail", "Error": "Order.Empty"}}
ASK = {"Ask": {"Type": "Task", "Resource": "arn:selvedge:states:::approval:request", "End": True, "Parameters": {"Title": "t", "Groups": ["g"]}}}


def help_teaches():
    """Each command says what it is for and what its words mean; a word that is missing or wrong is a usage error."""
    top = states("--help")
    commands = re.findall(r"^  ([a-z-]+)  +[A-Z]", top, re.M)
    report.check(len(commands) >= 18, lambda: f"{commands}")
    has(top, "Examples:", "Exit codes:")
    for line in top.splitlines():
        report.check(len(line) <= 100, lambda: f"longer than a terminal: {line}")
    for command in commands:
        text = states(command, "--help")
        has(text, "Examples:")
        has(text, f"\n  selvedge states {command}")
        has(text, "Usage: selvedge states " + command)
        inner = re.findall(r"^  ([a-z-]+)  +[A-Z]", text, re.M)
        for one in inner if "<COMMAND>" in text else []:
            has(states(command, one, "--help"), f"Usage: selvedge states {command} {one}")
        states(command, "--no-such-option", code=2)
    has(states(code=2), "Usage:")


def a_first_hour():
    write("order.json", ORDER)
    has(states("validate", "order.json"), "nothing is wrong")
    has(states("create", "order", "order.json"), ":stateMachine:order")
    has(states("list"), "order", "STANDARD")
    has(states("run", "order", "--name", "good", "--input", '{"total": 1}'), '{"total":1}')
    has(states("run", "order", "--name", "bad", "--input", '{"total": 0}', code=1), "Order.Empty", "FAILED")
    has(states("list", "order", "--status", "failed"), "bad")
    has(states("history", "order:bad"), "ExecutionFailed", "Order.Empty")
    has(states("watch", "order:good"), "good SUCCEEDED", "✓ Check", "○ Empty")
    has(states("failures", "order"), "Order.Empty  in Empty")
    has(states("redrive", "order:bad", "--from", "Check", "--input", '{"total": 2}'), "revision 1")
    has(states("stop", "order:good"), "has ended before: SUCCEEDED")
    write("waits.json", {"W": {"Type": "Wait", "Seconds": 3600, "End": True}})
    states("create", "waits", "waits.json")
    states("run", "waits", "--name", "w", "--detach")
    has(states("stop", "waits:w", "--cause", "no more"), "is stopped")
    states("create", "fast", "order.json", "--express")
    has(states("create", "fast", "order.json", code=254), "fast is there already, of the type EXPRESS")
    has(states("run", "fast", "--input", '{"total": 1}'), '{"total":1}')
    has(states("run", "fast", "--input", '{"total": 0}', code=1), "Order.Empty")
    has(states("run", "fast", "--watch", code=2), "express")
    has(states("run", "order", "--input", "-", code=2), "no JSON")
    (folder / "input.json").write_text('{"total": 7}')
    has(states("run", "order", "--input", "file://input.json"), "7")
    tried = states("test", "order.json", "--state", "Check", "--input", '{"total": 3}', "--steps")
    has(tried, "SUCCEEDED", "next    Done", "afterInputPath")
    write("call.json", {"Call": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "QueryLanguage": "JSONata", "End": True,
                                 "Arguments": {"FunctionName": "f", "Payload": "{% $who & $states.context.Execution.Name %}"},
                                 "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 2, "IntervalSeconds": 3}]}})
    variables = ["--variables", '{"who": "ada"}', "--context", '{"Execution": {"Name": "!"}}']
    has(states("test", "call.json", *variables, "--error", "E", "--cause", "too fast", "--retries", "1", "--steps"), "RETRIABLE", "too fast",
        '"Payload":"ada!"', '"retryBackoffIntervalSeconds":6')
    has(states("test", "call.json", *variables, "--error", "E", "--cause", "first\\nsecond", "--retries", "2", code=1), "FAILED", "first")
    has(states("create", "piped", "-", text=(folder / "order.json").read_text()), ":piped")


def nothing_says_what_to_do_next():
    """An empty answer is empty for whoever reads it on, and tells a person where to go."""
    states("create", "order", write("order.json", ORDER))
    for words, hint in [(["failures", "order"], "states list order"), (["tasks"], "tasks --all"), (["dead-letters"], "no such letter"),
                        (["redrives"], "redrive MACHINE --failed"), (["list", "order", "--status", "ABORTED"], "states run order")]:
        out = states(*words)
        report.check(len(out.splitlines()) <= 1, lambda: f"{words}: {out}")
        has(said[-1], hint)
        states(*words, "-o", "json")
        report.equal(said[-1], "", f"{words}: a document alone")


def what_is_wrong_is_said():
    """Whose fault it is, by words and exit code: 2 the command line's, 254 what the server refuses, 1 what ran and failed."""
    for words, code, part in [
        (["run", "nobody"], 254, "there is no state machine named nobody"),
        (["history", "order"], 2, "MACHINE:NAME"),
        (["history", "order:nobody"], 254, "ExecutionDoesNotExist"),
        (["redrive", "order:good"], 254, "ExecutionNotRedrivable"),
        (["list", "order", "--status", "weird"], 254, "statusFilter"),
        (["list", "--status", "FAILED"], 2, "--status"),
        (["validate", "nowhere.json"], 2, "nowhere.json"),
        (["create", "x", "nowhere.json"], 2, "nowhere.json"),
        (["dead-letters", "nothing"], 254, "no dead letter nothing"),
        (["redrives", "nothing"], 254, "no run nothing"),
        (["tasks", "nothing"], 254, "no approval nothing"),
        (["approve", "nothing", "--as", "ada"], 254, "no approval nothing"),
        (["connection", "show", "nothing"], 254, "no connection nothing"),
        (["schedule", "delete", "nothing"], 254, "nothing does not exist"),
        (["extend", "nobody", "--show"], 254, "no state machine nobody"),
        (["run", "order", "--endpoint-url", "http://127.0.0.1:1"], 1, "no control plane answers"),
    ]:
        has(states(*words, code=code), part)
    write("bad.json", {"A": {"Type": "Pass"}})
    has(states("validate", "bad.json", code=1), "bad.json:1:", "/States/A", "Next or End is required")
    has(states("create", "bad", "bad.json", code=254), "InvalidDefinition", "/States/A")
    # A definition in one line of half a megabyte: the part that is wrong is shown, with the caret below it.
    write("long.json", {f"S{n}": {"Type": "Pass", "Comment": "c" * 400, "Next": f"S{n + 1}"} for n in range(1000)})
    shown = states("validate", "long.json", code=1).splitlines()
    has(shown[0], "Missing 'Next' target: S1000")
    report.check(max(map(len, shown)) < 160, lambda: f"{max(map(len, shown))} characters in a line")
    [source, caret] = [line.split("| ", 1)[1] for line in shown[3:5]]
    report.equal(source[caret.index("^"):][:7], '"S1000"', "what the caret points at")
    waits = {"T": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True}}
    has(states("validate", write("token.json", waits)), "nothing is wrong")
    has(states("validate", "token.json", "--express", code=1), "/States/T/Resource", ".waitForTaskToken", "1 error")
    # Whoever reads may go: no command falls over that.
    for words in [["run", "order", "--input", '{"total": 0}', "-o", "json"], ["history", "order:good"]]:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([BINARY, "states", *words], stdout=writer, stderr=writer, timeout=60, env={**os.environ, "AWS_ENDPOINT_URL": endpoint})
        os.close(writer)
        report.check(done.returncode in (0, 1), lambda: f"{words}: {done.returncode}")


def every_output_is_json():
    """`-o json` gives one document that `--query` reads."""
    write("ask.json", ASK)
    states("create", "ask", "ask.json")
    states("run", "ask", "--name", "a", "--detach")
    (folder / "connection.json").write_text(json.dumps({"AuthorizationType": "BASIC", "AuthParameters": {"BasicAuthParameters": {
        "Username": "u", "Password": "not-to-be-shown"}}}))
    deadline = time.monotonic() + 20
    while not (tasks := json.loads(states("tasks", "-o", "json"))["tasks"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    report.check(tasks, "a task")
    states("run", "order", "--name", "letter", "--input", '{"total": 0}', code=1)
    for words in [
        ["create", "again", "order.json"], ["run", "order", "--name", "j", "--input", '{"total": 1}'], ["run", "fast", "--input", '{"total": 1}'],
        ["run", "order", "--detach", "--input", '{"total": 1}'], ["history", "order:j"], ["list"], ["list", "order"], ["failures", "order"],
        ["validate", "order.json"], ["test", "order.json", "--state", "Check", "--input", '{"total": 1}'], ["tasks"], ["tasks", tasks[0]["id"]],
        ["approve", tasks[0]["id"], "--as", "ada", "--group", "g"], ["dead-letters"], ["redrive", "order:letter"], ["redrive", "order", "--failed"],
        ["redrives"], ["schedule", "put", "s", "rate(1 day)", "order"], ["schedule", "list"], ["schedule", "show", "s"], ["schedule", "disable", "s"],
        ["schedule", "enable", "s"], ["schedule", "delete", "s"], ["extend", "order", "--show"], ["extend", "order", "--extended"],
        ["connection", "put", "c", "connection.json"], ["connection", "list"], ["connection", "show", "c"], ["connection", "delete", "c"],
        ["audit", "verify"], ["stop", "order:j"],
    ]:
        text = states(*words, "-o", "json")
        try:
            json.loads(text)
            report.check("not-to-be-shown" not in text, lambda: f"{words}: {text}")
        except ValueError:
            report.check(False, lambda: f"{words}: {text}")
    report.equal(states("history", "order:j", "-o", "json", "--query", "events[0].type").strip(), '"ExecutionStarted"', "a query")
    report.equal(states("list", "order", "-o", "text", "--query", "executions[?name=='j'].status").strip(), "SUCCEEDED", "text")
    for line in states("audit", "export").splitlines():
        report.check("hash" in json.loads(line), lambda: line)


def watch_on_a_small_terminal():
    """A machine that is taller than the terminal: what runs is in sight, no picture is longer than the terminal, and all is shown at the end."""
    lines, cells = 12, 30
    chain = {f"State-{n:02}-with-a-name-that-is-longer-than-a-line": None for n in range(40)}
    names = list(chain)
    for n, name in enumerate(names):
        chain[name] = {"Type": "Wait", "Seconds": 2} if n == 25 else {"Type": "Pass"}
        chain[name].update({"Next": names[n + 1]} if n + 1 < len(names) else {"End": True})
    states("create", "tall", write("tall.json", chain))
    states("run", "tall", "--name", "t", "--detach")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, cells, 0, 0))
    watch = subprocess.Popen([BINARY, "states", "watch", "tall:t"], stdout=slave, stderr=slave, stdin=slave,
                             env={**os.environ, "AWS_ENDPOINT_URL": endpoint, "TERM": "xterm"})
    os.close(slave)
    shown = b""
    while True:
        try:
            more = os.read(master, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
    os.close(master)
    report.equal(watch.wait(20), 0, "it ends with the execution")
    frames = re.split(r"\x1b\[\d+A\x1b\[J", shown.decode())
    report.check(len(frames) > 2, lambda: f"{len(frames)} pictures")
    for frame in frames[:-1]:
        plain = re.sub(r"\x1b\[\d+m", "", frame).replace("\r", "").splitlines()
        report.check(len(plain) < lines, lambda: f"{len(plain)} lines: {plain}")
        report.check(all(len(line) <= cells for line in plain), lambda: f"too long: {plain}")
        report.check(any("● State-25" in line for line in plain), lambda: f"what runs is not in sight: {plain}")
        report.check(any(re.match(r"↑ \d+ more", line) for line in plain), lambda: f"{plain}")
    last = re.sub(r"\x1b\[\d+m", "", frames[-1])
    report.check(all(name in last for name in names) and "SUCCEEDED" in last, "all of it at the end")


for part in [help_teaches, nothing_says_what_to_do_next, a_first_hour, what_is_wrong_is_said, every_output_is_json, watch_on_a_small_terminal]:
    part()
report.end()
