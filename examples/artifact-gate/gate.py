#!/usr/bin/env python3
"""Asks a workflow whether a request for an artifact may go on; the edge asks this by forward-auth.

Arguments: the port to listen on, the endpoint URL of the workflow service, the ARN of the state machine.

One execution for each subject and artifact, named after both: asking again is asking about the same execution. The name also counts the
attempts, so that whoever was refused or came too late can ask anew with ?again. What was granted ends with its token's seconds; then the
next request begins a new attempt. Every decision is a line in the log.
"""

import base64
import hashlib
import http.server
import json
import sys
import time
import urllib.error
import urllib.request
import urllib.parse

PORT, ENDPOINT, MACHINE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
PREFIX = MACHINE.replace(":stateMachine:", ":execution:")
ATTEMPTS_MAX = 50


def call(operation, **body):
    """One operation of Step Functions; a refusal comes back as its name."""
    request = urllib.request.Request(ENDPOINT, json.dumps(body).encode(), {
        "content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{operation}",
        "authorization": "AWS4-HMAC-SHA256 Credential=gate/20261128/us-west-2/states/aws4_request, SignedHeaders=host, Signature=0"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return {"refused": json.load(refusal).get("__type", "").rpartition("#")[2]}


def latest(name):
    """How many attempts there were, and the last of them."""
    last = None
    for attempt in range(ATTEMPTS_MAX):
        execution = call("DescribeExecution", executionArn=f"{PREFIX}:{name}-{attempt}")
        if execution.get("refused") == "ExecutionDoesNotExist":
            return attempt, last
        last = execution
    return ATTEMPTS_MAX, last


def begin(name, attempt, told):
    """Starts an attempt, and gives the policy a moment: what it refuses is refused before anybody is asked."""
    if attempt == ATTEMPTS_MAX:
        return None
    started = call("StartExecution", stateMachineArn=MACHINE, name=f"{name}-{attempt}", input=json.dumps(told))
    for _ in range(20):
        execution = call("DescribeExecution", executionArn=started.get("executionArn", ""))
        if execution.get("status") != "RUNNING":
            return execution
        time.sleep(0.02)
    return execution


def decide(subject, groups, target, again):
    """The status, and a word for the person; the grant's token with 200."""
    digest = hashlib.sha256(f"{subject}\n{target}".encode()).digest()
    name = base64.b32encode(digest[:15]).decode()
    attempts, execution = latest(name)
    has_ended = execution is not None and execution.get("status") != "RUNNING" and (
        again if execution["status"] != "SUCCEEDED" else not is_good(execution))
    if execution is None or has_ended:
        execution = begin(name, attempts, {"subject": subject, "groups": groups, "target": target})
        attempts += 1
        if execution is None:
            return 429, "asked too often"
    status = execution.get("status")
    if status == "RUNNING":
        return 403, f"waiting for somebody's word; ask again soon (attempt {attempts})"
    if status == "SUCCEEDED" and is_good(execution):
        return 200, json.loads(execution["output"])["token"]
    if status == "TIMED_OUT":
        return 403, "expired: nobody took the question in time"
    if status in ("FAILED", "ABORTED"):
        return 403, f"{execution.get('error', status).lower()}: {execution.get('cause', '')}"
    return 503, "the workflow cannot be asked"


def is_good(execution):
    return time.time() < execution["stopDate"] + json.loads(execution["output"])["seconds"]


class Gate(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        subject = self.headers.get("x-selvedge-subject", "")
        path, _, query = self.headers.get("x-forwarded-uri", "").partition("?")
        if not subject or not path:
            status, word = 403, "nobody is signed in"
        else:
            try:
                status, word = decide(subject, self.headers.get("x-groups", ""), path, query == "again")
            except OSError as error:
                status, word = 503, f"the workflow cannot be reached: {error}"
        print(f"{time.strftime('%FT%TZ', time.gmtime())} subject={subject} target={path} status={status} {'granted' if status == 200 else word}", flush=True)
        body = b"" if status == 200 else f"{word}\n".encode()
        self.send_response(status)
        if status == 200:
            self.send_header("x-artifact-token", word)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Gate)
server.daemon_threads = True
print("ready", flush=True)
server.serve_forever()
