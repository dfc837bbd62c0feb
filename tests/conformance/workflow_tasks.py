#!/usr/bin/env python3
"""Tasks that reach the world: HTTP with connections, functions, AWS's services by moto's server, the mesh, approvals, the trail.

boto3 starts the executions, moto's server is the other side of the SDK's calls, and botocore's signer checks our signatures.
"""

import base64
import contextlib
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session

import _server
from _ports import free_port
from _report import Report

report = Report()
REGION, ACCOUNT = "us-east-1", _server.ACCOUNT
ROLE = f"arn:aws:iam::{ACCOUNT}:role/workflow"
KEY, SECRET = "AKIDTASKS", "a-secret-that-signs"
BINARY = os.environ.get("SELVEDGE_BIN") or str(_server.ROOT / "target/debug/selvedge")
CONFIG = botocore.config.Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, read_timeout=90)


def client_of(service, url):
    return boto3.client(service, endpoint_url=url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=CONFIG)


def until(what, patience=60):
    deadline = time.monotonic() + patience
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            return found
        time.sleep(0.02)


# === the other side ===

class World(http.server.BaseHTTPRequestHandler):
    """An endpoint that remembers what it was asked, and answers as its path says."""
    protocol_version = "HTTP/1.1"
    seen, lock, tokens = [], threading.Lock(), {}
    issued = 0
    release = threading.Event()

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        # Whoever asked may have been killed.
        with contextlib.suppress(ConnectionError):
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        with World.lock:
            World.seen.append({"method": self.command, "path": path, "query": query, "headers": {name.lower(): value for name, value in self.headers.items()},
                               "body": body})
        as_json = lambda value: json.dumps(value).encode()
        if path == "/token":
            with World.lock:
                World.issued += 1
                token = f"token-{World.issued}"
            self.answer(200, as_json({"access_token": token, "token_type": "Bearer", "expires_in": 2 if "short" in self.path else 3600}), content_type="application/json")
        elif path == "/refused-token":
            # The first token that was issued is not taken.
            fine = self.headers.get("authorization") != "Bearer token-1"
            self.answer(200 if fine else 401, as_json({"fine": fine}), content_type="application/json")
        elif path.startswith("/status/"):
            self.answer(int(path[8:]), as_json({"problem": "so it is"}), content_type="application/json")
        elif path == "/redirect":
            self.answer(302, location=urllib.parse.unquote(query.split("&")[0]))
        elif path == "/loop":
            self.answer(302, location="/loop")
        elif path == "/flaky":
            # Twice it fails, then it works.
            self.answer(200 if count(path) % 3 == 0 else 503, b"{}", content_type="application/json")
        elif path == "/slow":
            World.release.wait(30)
            self.answer(200, b"late")
        elif path == "/large":
            self.answer(200, b"x" * (3 << 20), content_type="text/plain")
        elif path.startswith("/2015-03-31/functions/"):
            self.function(urllib.parse.unquote(path.split("/")[3]), body)
        else:
            self.answer(200, as_json({"path": path, "query": query, "body": body.decode("utf-8", "replace")}), content_type="application/json",
                        x_one="1")

    def function(self, name, body):
        event = json.loads(body or b"null")
        name = name.split(":")[-1]
        if name == "missing":
            self.answer(404, json.dumps({"Type": "User", "Message": f"Function not found: {name}"}).encode(),
                        content_type="application/json", x_amzn_errortype="ResourceNotFoundException")
        elif name == "broken":
            self.answer(200, json.dumps({"errorMessage": "no luck", "errorType": "LuckError", "stackTrace": []}).encode(),
                        content_type="application/json", x_amz_function_error="Unhandled", x_amz_executed_version="$LATEST")
        else:
            self.answer(200, json.dumps({"got": event}).encode(), content_type="application/json", x_amz_executed_version="$LATEST",
                        x_amzn_requestid="rid-1")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = handle_any


def serve_world():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), World)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def last(path):
    with World.lock:
        return [one for one in World.seen if one["path"] == path][-1]


def count(path):
    with World.lock:
        return sum(one["path"] == path for one in World.seen)


class Recorder(http.server.BaseHTTPRequestHandler):
    """Stands between us and moto's server: remembers requests as they came, for the signatures."""
    protocol_version = "HTTP/1.1"
    seen, target = [], 0

    def log_message(self, *_):
        pass

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        Recorder.seen.append((self.command, self.path, list(self.headers.items()), body))
        request = urllib.request.Request(f"http://127.0.0.1:{Recorder.target}{self.path}", data=body if body or self.command != "GET" else None,
                                         headers=dict(self.headers.items()), method=self.command)
        try:
            response = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            response = error
        answer = response.read()
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer) if self.command != "HEAD" else response.headers.get("content-length", 0)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any


def start_moto():
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=dict(os.environ, MOTO_ACCOUNT_ID=ACCOUNT))
    answers = lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0 or None
    report.check(until(answers, 60), lambda: "moto's server does not start")
    Recorder.target = port
    recorder = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    recorder.daemon_threads = True
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    return process, port, recorder.server_address[1]


class Server:
    """Selvedge with what its tasks need."""

    def __init__(self, folder, *options, **environment):
        self.folder, self.options, self.environment = folder, options, environment
        self.log = tempfile.TemporaryFile()
        self.start()

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment.update(self.environment)
        self.process = subprocess.Popen([BINARY, "up", "--listen", "127.0.0.1:0", "--data-dir", self.folder, *self.options],
                                        stdout=subprocess.PIPE, stderr=self.log, env=environment)
        line = self.process.stdout.readline().decode()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"the server does not start: {self.log.read().decode()}")
        self.url = line.split()[-1]
        self.states = client_of("stepfunctions", self.url)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode()

    def own(self, method, path, document=None, raw=None):
        body = raw if raw is not None else (None if document is None else json.dumps(document).encode())
        request = urllib.request.Request(f"{self.url}/selvedge/v1/{path}", data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, method, path, document=None):
        status, body = self.own(method, path, document)
        return status, json.loads(body)

    def command(self, *words, stdin=None):
        done = subprocess.run([BINARY, "states", *words, "--endpoint-url", self.url], capture_output=True, text=True, timeout=60, input=stdin)
        return done.returncode, done.stdout, done.stderr

    # === executions ===

    names = 0

    def machine(self, states, express=False):
        Server.names += 1
        definition = json.dumps({"StartAt": next(iter(states)), "States": states})
        return self.states.create_state_machine(name=f"m{Server.names}", definition=definition, roleArn=ROLE,
                                                type="EXPRESS" if express else "STANDARD")["stateMachineArn"]

    def begin(self, resource, parameters, given=None, **more):
        arn = self.machine({"T": {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True, **more}})
        return self.states.start_execution(stateMachineArn=arn, input=json.dumps(given or {}))["executionArn"]

    def ended(self, arn, patience=60):
        def look():
            found = self.states.describe_execution(executionArn=arn)
            return found if found["status"] != "RUNNING" else None
        found = until(look, patience)
        if not found:
            report.check(False, lambda: f"{arn} does not end: {self.types(arn)}")
            return {"status": "RUNNING"}
        return found

    def run(self, resource, parameters, given=None, **more):
        found = self.ended(self.begin(resource, parameters, given, **more))
        return json.loads(found["output"]) if found["status"] == "SUCCEEDED" else (found.get("error"), found.get("cause"))

    def events(self, arn):
        return self.states.get_execution_history(executionArn=arn, maxResults=1000)["events"]

    def types(self, arn):
        return [event["type"] for event in self.events(arn)]


# === parts ===

def http_tasks():
    invoke = "arn:aws:states:::http:invoke"
    done = server.run(invoke, {"ApiEndpoint": f"{world}/hello?a=1", "Method": "POST", "Headers": {"X-Mine": "m", "X-Many": ["a", "b"]},
                               "QueryParameters": {"b": "x y", "c": ["1", "2"]}, "RequestBody": {"n": 1}})
    report.equal((done["StatusCode"], done["StatusText"], done["Headers"]["x-one"]), (200, "OK", ["1"]), "the shape of the result")
    report.equal(done["ResponseBody"], {"path": "/hello", "query": "a=1&b=x%20y&c=1&c=2", "body": '{"n":1}'}, "what arrived")
    seen = last("/hello")["headers"]
    report.equal((seen["x-mine"], seen["content-type"]), ("m", "application/json"), "headers")
    report.check(re.fullmatch(r"[0-9a-f-]{36}", seen["idempotency-key"]), lambda: str(seen))
    form = {"Transform": {"RequestBodyEncoding": "URL_ENCODED", "RequestEncodingOptions": {"ArrayFormat": "BRACKETS"}}}
    done = server.run(invoke, {"ApiEndpoint": f"{world}/form", "Method": "POST", "RequestBody": {"a": ["x", "y"], "b": "ä"}, **form})
    report.equal(done["ResponseBody"]["body"], "a%5B%5D=x&a%5B%5D=y&b=%C3%A4", "a form")
    report.equal(last("/form")["headers"]["content-type"], "application/x-www-form-urlencoded", "its type")
    error, cause = server.run(invoke, {"ApiEndpoint": f"{world}/status/404", "Method": "GET"})
    report.equal((error, json.loads(cause)["ResponseBody"]), ("States.Http.StatusCode.404", {"problem": "so it is"}), "a status is an error")
    error, cause = server.run(invoke, {"ApiEndpoint": f"http://127.0.0.1:{closed}/", "Method": "GET"})
    report.equal(error, "States.Http.Socket", f"nobody listens: {cause}")
    for name in ["Host", "Connection", "X-Forwarded-For", "X-Amz-Date", "Transfer-Encoding", "Content-Length", "X-Selvedge-Identity"]:
        error, cause = server.run(invoke, {"ApiEndpoint": f"{world}/never", "Method": "GET", "Headers": {name: "x"}})
        report.check(error == "States.Runtime" and name in cause, lambda: f"{name}: {error} {cause}")
    for parameters in [{"ApiEndpoint": "file:///etc/passwd"}, {"ApiEndpoint": "no url"}, {"ApiEndpoint": f"{world}/never", "Method": "BREW"},
                       {"ApiEndpoint": f"http://user:pass@127.0.0.1:{port}/never"}, {}, {"ApiEndpoint": f"{world}/never", "Headers": {"a": "b\r\nc: d"}},
                       {"ApiEndpoint": f"{world}/never", "Headers": {"a b": "c"}}]:
        error, _ = server.run(invoke, {"Method": "GET", **parameters})
        report.equal(error, "States.Runtime", str(parameters))
    report.equal(count("/never"), 0, "nothing of this was sent")
    # An error is caught and tried anew like any other.
    arn = server.machine({
        "T": {"Type": "Task", "Resource": invoke, "Parameters": {"ApiEndpoint": f"{world}/status/503", "Method": "GET"},
              "Retry": [{"ErrorEquals": ["States.Http.StatusCode.503"], "IntervalSeconds": 1, "MaxAttempts": 1}],
              "Catch": [{"ErrorEquals": ["States.TaskFailed"], "Next": "C"}], "End": True},
        "C": {"Type": "Pass", "Result": "caught", "End": True}})
    execution = server.states.start_execution(stateMachineArn=arn)["executionArn"]
    report.equal(server.ended(execution).get("output"), '"caught"', "caught")
    report.equal(count("/status/503"), 2, "tried anew once")
    keys = {one["headers"]["idempotency-key"] for one in World.seen if one["path"] == "/status/503"}
    report.equal(len(keys), 2, "another try has another key")
    types = server.types(execution)
    report.equal([kind for kind in types if kind.startswith("Task")],
                 ["TaskStateEntered"] + ["TaskScheduled", "TaskStarted", "TaskFailed"] * 2 + ["TaskStateExited"], "the history")
    scheduled = next(event for event in server.events(execution) if event["type"] == "TaskScheduled")["taskScheduledEventDetails"]
    report.equal((scheduled["resourceType"], scheduled["resource"], scheduled["region"]), ("http", "invoke", REGION), "as it is scheduled")


def patience():
    World.release.clear()
    # The endpoint answers when all of this is over: whoever waits for it never comes to an end.
    execution = server.begin("arn:aws:states:::http:invoke", {"ApiEndpoint": f"{world}/slow", "Method": "GET"}, TimeoutSeconds=1)
    found = server.ended(execution)
    report.equal((found["status"], found.get("error")), ("FAILED", "States.Timeout"), "the state's time is over")
    report.check("TaskTimedOut" in server.types(execution), lambda: str(server.types(execution)))
    execution = server.begin("arn:aws:states:::http:invoke", {"ApiEndpoint": f"{world}/slow", "Method": "GET"})
    report.check(until(lambda: "TaskStarted" in server.types(execution)), lambda: "it starts")
    server.states.stop_execution(executionArn=execution)
    report.equal(server.types(execution)[-1], "ExecutionAborted", "stopped while it called")
    World.release.set()


def guard():
    """SSRF: what may not be called is not, however it is written, and wherever it was redirected from."""
    invoke = "arn:aws:states:::http:invoke"
    refused = "Selvedge.Egress.Refused"
    for url in [f"http://localhost:{closed + 1}/", f"http://127.0.0.1:{closed + 1}/", f"http://[::1]:{closed}/", f"http://2130706433:{closed + 1}/",
                f"http://0x7f.1:{closed + 1}/", "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", f"http://0.0.0.0:{port}/",
                f"http://127.0.0.2:{port}/", "http://[fd00:ec2::254]/", "http://10.255.255.1:9901/", f"{server.url}/selvedge/v1/connections"]:
        error, cause = server.run(invoke, {"ApiEndpoint": url, "Method": "GET"})
        report.check(error == refused, lambda: f"{url}: {error} {cause}")
    for target in ["http://169.254.169.254/latest/meta-data/", f"http://127.0.0.2:{port}/never", f"http://localhost:{closed + 1}/never"]:
        error, cause = server.run(invoke, {"ApiEndpoint": f"{world}/redirect?{urllib.parse.quote(target, safe='')}", "Method": "GET"})
        report.check(error == refused, lambda: f"redirected to {target}: {error} {cause}")
    done = server.run(invoke, {"ApiEndpoint": f"{world}/redirect?/hello", "Method": "GET"})
    report.equal(done["ResponseBody"]["path"], "/hello", "a redirect is followed")
    error, _ = server.run(invoke, {"ApiEndpoint": f"{world}/redirect?/hello", "Method": "POST"})
    report.equal(error, "States.Http.StatusCode.302", "but not with POST")
    before = count("/loop")
    error, cause = server.run(invoke, {"ApiEndpoint": f"{world}/loop", "Method": "GET"})
    report.equal((error, count("/loop") - before), ("States.Http.Socket", 6), f"a loop ends: {cause}")
    lines = [json.loads(line) for line in server.own("GET", "audit")[1].splitlines()]
    report.check(any(line["kind"] == "EgressRefused" for line in lines), lambda: "what was refused is in the trail")


def connections():
    invoke = "arn:aws:states:::http:invoke"
    secrets = ["key-hush", "basic-hush", "client-hush", "header-hush", "query-hush", "body-hush"]

    def connection(name, kind, parameters):
        status, made = server.json("PUT", f"connections/{name}", {"AuthorizationType": kind, "AuthParameters": parameters})
        report.equal(status, 201, f"{name}: {made}")
        return made["ConnectionArn"]

    def call(path, arn, **more):
        return server.run(invoke, {"ApiEndpoint": f"{world}{path}", "Method": "POST", "Authentication": {"ConnectionArn": arn}, **more})

    key = connection("by-key", "API_KEY", {"ApiKeyAuthParameters": {"ApiKeyName": "X-Api-Key", "ApiKeyValue": "key-hush"}})
    report.check(re.fullmatch(rf"arn:aws:events:{REGION}:{ACCOUNT}:connection/by-key/[0-9a-f-]{{36}}", key), lambda: key)
    call("/keyed", key)
    report.equal(last("/keyed")["headers"]["x-api-key"], "key-hush", "an API key")
    basic = connection("by-user", "BASIC", {
        "BasicAuthParameters": {"Username": "ada", "Password": "basic-hush"},
        "InvocationHttpParameters": {"HeaderParameters": [{"Key": "X-Tenant", "Value": "header-hush", "IsValueSecret": True}],
                                     "QueryStringParameters": [{"Key": "q", "Value": "query-hush", "IsValueSecret": True}],
                                     "BodyParameters": [{"Key": "b", "Value": "body-hush", "IsValueSecret": True}]}})
    call("/basic", basic, RequestBody={"a": 1})
    seen = last("/basic")
    report.equal(base64.b64decode(seen["headers"]["authorization"].split()[1]).decode(), "ada:basic-hush", "a password")
    report.equal((seen["headers"]["x-tenant"], seen["query"], json.loads(seen["body"])), ("header-hush", "q=query-hush", {"a": 1, "b": "body-hush"}),
                 "what travels besides")
    oauth = connection("by-token", "OAUTH_CLIENT_CREDENTIALS", {"OAuthParameters": {
        "AuthorizationEndpoint": f"{world}/token", "HttpMethod": "POST", "ClientParameters": {"ClientID": "me", "ClientSecret": "client-hush"},
        "OAuthHttpParameters": {"BodyParameters": [{"Key": "scope", "Value": "orders"}]}}})
    for _ in range(3):
        call("/bearer", oauth)
    report.equal(last("/bearer")["headers"]["authorization"], "Bearer token-1", "a token")
    report.equal(count("/token"), 1, "it is fetched once")
    asked = last("/token")
    report.equal(urllib.parse.parse_qs(asked["body"].decode()), {"grant_type": ["client_credentials"], "scope": ["orders"]}, "how it is asked for")
    report.equal(base64.b64decode(asked["headers"]["authorization"].split()[1]).decode(), "me:client-hush", "as whom")
    done = call("/refused-token", oauth)
    report.equal((done["ResponseBody"], count("/token")), ({"fine": True}, 2), "one that is refused is fetched anew")
    # One that is about to end is fetched anew: after half of so short a life, and not before.
    short = connection("by-short-token", "OAUTH_CLIENT_CREDENTIALS", {"OAuthParameters": {
        "AuthorizationEndpoint": f"{world}/token?short", "HttpMethod": "POST", "ClientParameters": {"ClientID": "me", "ClientSecret": "client-hush"}}})
    before = count("/token")
    call("/bearer", short)
    report.equal(count("/token"), before + 1, "a token of two seconds")
    report.check(until(lambda: call("/bearer", short) and count("/token") == before + 2), lambda: "it is never fetched anew")
    # Many at once wait for one fetch.
    server.json("PUT", "connections/by-token", {"AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": {"OAuthParameters": {
        "AuthorizationEndpoint": f"{world}/token", "ClientParameters": {"ClientID": "me", "ClientSecret": "client-hush"}}}})
    arn = server.machine({"M": {"Type": "Map", "ItemsPath": "$", "End": True, "ItemProcessor": {"StartAt": "T", "States": {"T": {
        "Type": "Task", "Resource": invoke, "End": True, "Parameters": {"ApiEndpoint": f"{world}/many", "Method": "GET", "Authentication": {"ConnectionArn": oauth}}}}}}})
    server.ended(server.states.start_execution(stateMachineArn=arn, input=json.dumps(list(range(20))))["executionArn"])
    report.equal((count("/many"), count("/token")), (20, before + 3), "twenty calls, one token")
    # A redirect to another origin carries nothing of it.
    other = f"http://127.0.0.1:{second}/elsewhere"
    server.run(invoke, {"ApiEndpoint": f"{world}/redirect?{urllib.parse.quote(other, safe='')}", "Method": "GET", "Authentication": {"ConnectionArn": basic}})
    seen = last("/elsewhere")
    report.check(not any(name in seen["headers"] for name in ("authorization", "x-tenant")) and "hush" not in str(seen), lambda: str(seen))
    server.run(invoke, {"ApiEndpoint": f"{world}/redirect?{urllib.parse.quote(other, safe='')}", "Method": "GET", "Authentication": {"ConnectionArn": key}})
    report.check("x-api-key" not in last("/elsewhere")["headers"], lambda: "the key went along")
    # In the open only where the operator allowed the address.
    error, cause = server.run(invoke, {"ApiEndpoint": "http://api.example/", "Method": "GET", "Authentication": {"ConnectionArn": key}})
    report.check(error == "States.Runtime" and "https" in cause, lambda: f"{error} {cause}")
    error, cause = call("/keyed", key.replace("by-key", "none"))
    report.equal(error, "Events.ConnectionResource.InvalidConnectionState", cause)
    status, found = server.json("PUT", "connections/bad", {"AuthorizationType": "BASIC", "AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": ["bad-hush"]}}})
    report.check(status == 400 and "AuthParameters.BasicAuthParameters.Password" in found["message"] and "hush" not in str(found), lambda: f"{status} {found}")
    # By the command line.
    code, out, err = server.command("connection", "put", "by-file", "-", stdin=json.dumps(
        {"AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X-Api-Key", "ApiKeyValue": "key-hush"}}}))
    report.equal(code, 0, err)
    code, out, err = server.command("connection", "list")
    report.check(code == 0 and "by-file" in out and "API_KEY" in out, lambda: out + err)
    report.equal(server.command("connection", "delete", "by-file")[0], 0, "deleted")
    report.equal(server.json("GET", "connections/by-file")[0], 404, "it is gone")
    # Nothing secret is anywhere.
    places = {"shown": server.own("GET", "connections")[1].decode(), "logged": server.logged(), "the trail": server.own("GET", "audit")[1].decode()}
    for machine in server.states.list_state_machines(maxResults=1000)["stateMachines"]:
        for execution in server.states.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]:
            places[execution["executionArn"]] = str(server.events(execution["executionArn"]))
    for path in pathlib.Path(server.folder).rglob("*"):
        if path.is_file() and "workflow" in str(path):
            places[str(path)] = path.read_bytes().decode("latin-1")
    for name, text in places.items():
        found = [secret for secret in secrets if secret in text]
        # An endpoint that repeats what it was sent puts it into the history itself.
        if name.startswith("arn:") or name.endswith(("/store.sqlite3", "/store.sqlite3-wal", "/store.log")):
            found = [secret for secret in found if secret not in ("query-hush", "body-hush")]
        report.check(not found, lambda: f"{name} holds {found}")
    report.check(any("secrets.key" in str(path) for path in pathlib.Path(server.folder).iterdir()), lambda: "the key has a file of its own")


def functions():
    lambda_ = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function"
    # The other side is one that boto3 takes for Lambda.
    there = client_of("lambda", world).invoke(FunctionName="f", Payload=b'{"a": 1}')
    report.equal(json.loads(there["Payload"].read()), {"got": {"a": 1}}, "boto3 takes it for Lambda")
    done = server.run("arn:aws:states:::lambda:invoke", {"FunctionName": f"{lambda_}:f", "Payload": {"a": 1}})
    report.equal((done["Payload"], done["StatusCode"], done["ExecutedVersion"], done["SdkHttpMetadata"]["HttpStatusCode"], done["SdkResponseMetadata"]),
                 ({"got": {"a": 1}}, 200, "$LATEST", 200, {"RequestId": "rid-1"}), "an invocation")
    arn = server.machine({"T": {"Type": "Task", "Resource": f"{lambda_}:f", "End": True}})
    execution = server.states.start_execution(stateMachineArn=arn, input='{"b": 2}')["executionArn"]
    report.equal(json.loads(server.ended(execution)["output"]), {"got": {"b": 2}}, "a function as the resource")
    report.equal([kind for kind in server.types(execution) if kind.startswith("Lambda")],
                 ["LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionSucceeded"], "its history")
    error, cause = server.run("arn:aws:states:::lambda:invoke", {"FunctionName": "broken", "Payload": {}})
    report.equal((error, json.loads(cause)["errorMessage"]), ("LuckError", "no luck"), "a function's own error")
    error, cause = server.run("arn:aws:states:::lambda:invoke", {"FunctionName": "missing", "Payload": {}})
    report.check(error == "Lambda.ResourceNotFoundException" and "Function not found" in cause, lambda: f"{error} {cause}")
    done = server.run("arn:aws:states:::aws-sdk:lambda:invoke", {"FunctionName": "f", "Payload": {"c": 3}})
    report.equal(json.loads(done["Payload"]), {"got": {"c": 3}}, "by the SDK")
    # A token that the function is given, and somebody sends back.
    execution = server.begin("arn:aws:states:::lambda:invoke.waitForTaskToken", {"FunctionName": "token", "Payload": {"token.$": "$$.Task.Token"}})
    report.check(until(lambda: "TaskSubmitted" in server.types(execution)), lambda: str(server.types(execution)))
    token = json.loads(last("/2015-03-31/functions/token/invocations")["body"])["token"]
    server.states.send_task_success(taskToken=token, output='"by token"')
    report.equal(server.ended(execution)["output"], '"by token"', "ended by its token")


def amazon():
    queue = there("sqs").create_queue(QueueName="q")["QueueUrl"]
    topic = there("sns").create_topic(Name="t")["TopicArn"]
    queue_arn = there("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    there("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    there("dynamodb").create_table(TableName="orders", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                                   AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    there("s3").create_bucket(Bucket="bucket")
    there("secretsmanager").create_secret(Name="api", SecretString='{"user": "ada"}')
    there("events").create_event_bus(Name="bus")
    there("events").put_rule(Name="all", EventBusName="bus", EventPattern='{"source": ["orders"]}')
    there("events").put_targets(Rule="all", EventBusName="bus", Targets=[{"Id": "q", "Arn": queue_arn}])

    def received():
        found = until(lambda: there("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=1, MessageAttributeNames=["All"]).get("Messages"))
        if not found:
            report.check(False, lambda: "no message came")
            return {"Body": "{}"}
        there("sqs").delete_message(QueueUrl=queue, ReceiptHandle=found[0]["ReceiptHandle"])
        return found[0]

    states = "arn:aws:states:::"
    done = server.run(f"{states}sqs:sendMessage", {"QueueUrl": queue, "MessageBody": {"n": 1}, "MessageAttributes": {"k": {"DataType": "String", "StringValue": "v"}}})
    message = received()
    report.equal((message["Body"], message["MessageId"], message["MessageAttributes"]["k"]["StringValue"]), ('{"n":1}', done["MessageId"], "v"), "sqs:sendMessage")
    report.equal(done["MD5OfMessageBody"], hashlib.md5(b'{"n":1}').hexdigest(), "its digest")
    report.equal(done["SdkHttpMetadata"]["HttpStatusCode"], 200, "its metadata")
    execution = server.begin(f"{states}sqs:sendMessage.waitForTaskToken", {"QueueUrl": queue, "MessageBody": {"token.$": "$$.Task.Token"}})
    token = json.loads(received()["Body"])["token"]
    server.states.send_task_success(taskToken=token, output='{"ok": true}')
    report.equal(json.loads(server.ended(execution)["output"]), {"ok": True}, "sqs:sendMessage.waitForTaskToken")
    report.check([kind for kind in server.types(execution) if kind.startswith("Task")][1:-1] in (
        ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"], ["TaskScheduled", "TaskStarted", "TaskSucceeded"]), lambda: str(server.types(execution)))
    error, cause = server.run(f"{states}sqs:sendMessage", {"QueueUrl": queue + "-none", "MessageBody": "x"})
    report.check(error == "SQS.QueueDoesNotExistException" and "Service: AmazonSQS; Status Code: 400" in cause, lambda: f"{error} {cause}")
    fifo = there("sqs").create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    done = server.run(f"{states}sqs:sendMessage", {"QueueUrl": fifo, "MessageBody": "x", "MessageGroupId": "g"})
    report.check("SequenceNumber" in done, lambda: str(done))

    done = server.run(f"{states}sns:publish", {"TopicArn": topic, "Message": {"default": "hi"}, "Subject": "s ä&", "MessageAttributes": {"k": {"DataType": "String", "StringValue": "v"}}})
    message = received()
    report.equal((message["Body"], message["MessageAttributes"]["k"]["StringValue"]), ('{"default":"hi"}', "v"), "sns:publish")
    report.check("MessageId" in done, lambda: str(done))
    error, cause = server.run(f"{states}aws-sdk:sns:publish", {"TopicArn": topic + "-none", "Message": "x"})
    report.check(error == "Sns.NotFoundException" and "Service: Sns, Status Code: 404" in cause, lambda: f"{error} {cause}")
    topics = server.run(f"{states}aws-sdk:sns:listTopics", {})
    report.equal(topics["Topics"], [{"TopicArn": topic}], "a list by XML")

    done = server.run(f"{states}events:putEvents", {"Entries": [{"EventBusName": "bus", "Source": "orders", "DetailType": "made", "Detail": {"n": 2}}]})
    event = json.loads(received()["Body"])
    report.equal((event["detail"], event["source"]), ({"n": 2}, "orders"), "events:putEvents")
    report.check(any(":execution:" in arn for arn in event["resources"]), lambda: str(event))
    report.equal(done["FailedEntryCount"], 0, "none failed")
    execution = server.begin(f"{states}events:putEvents.waitForTaskToken", {"Entries": [{"EventBusName": "bus", "Source": "orders", "DetailType": "t", "Detail": {"token.$": "$$.Task.Token"}}]})
    server.states.send_task_success(taskToken=json.loads(received()["Body"])["detail"]["token"], output="1")
    report.equal(server.ended(execution)["output"], "1", "events:putEvents.waitForTaskToken")

    server.run(f"{states}dynamodb:putItem", {"TableName": "orders", "Item": {"id": {"S": "7"}, "Detail": {"M": {"a": {"N": "1"}}}}})
    report.equal(there("dynamodb").get_item(TableName="orders", Key={"id": {"S": "7"}})["Item"]["Detail"], {"M": {"a": {"N": "1"}}}, "dynamodb:putItem")
    done = server.run(f"{states}dynamodb:updateItem", {"TableName": "orders", "Key": {"id": {"S": "7"}}, "UpdateExpression": "SET n = :n",
                                                        "ExpressionAttributeValues": {":n": {"N": "5"}}, "ReturnValues": "ALL_NEW"})
    report.equal(done["Attributes"]["n"], {"N": "5"}, "dynamodb:updateItem")
    report.equal(server.run(f"{states}dynamodb:getItem", {"TableName": "orders", "Key": {"id": {"S": "7"}}})["Item"]["n"], {"N": "5"}, "dynamodb:getItem")
    error, cause = server.run(f"{states}dynamodb:putItem", {"TableName": "orders", "Item": {"id": {"S": "7"}}, "ConditionExpression": "attribute_not_exists(id)"})
    report.check(error == "DynamoDB.ConditionalCheckFailedException", lambda: f"{error} {cause}")
    error, cause = server.run(f"{states}aws-sdk:dynamodb:getItem", {"TableName": "none", "Key": {"id": {"S": "7"}}})
    report.check(error == "DynamoDb.ResourceNotFoundException" and "Service: DynamoDb, Status Code: 400" in cause, lambda: f"{error} {cause}")
    server.run(f"{states}dynamodb:deleteItem", {"TableName": "orders", "Key": {"id": {"S": "7"}}})
    report.check("Item" not in there("dynamodb").get_item(TableName="orders", Key={"id": {"S": "7"}}), lambda: "it is deleted")

    done = server.run(f"{states}aws-sdk:s3:putObject", {"Bucket": "bucket", "Key": "a/b ä+.json", "Body": {"x": [1]}, "ContentType": "application/json", "Metadata": {"who": "me"}})
    found = there("s3").get_object(Bucket="bucket", Key="a/b ä+.json")
    report.equal((found["Body"].read(), found["ContentType"], found["Metadata"], found["ETag"]), (b'{"x":[1]}', "application/json", {"who": "me"}, done["ETag"]), "s3:putObject")
    done = server.run(f"{states}aws-sdk:s3:getObject", {"Bucket": "bucket", "Key": "a/b ä+.json"})
    report.equal((done["Body"], done["ContentLength"], done["Metadata"]), ('{"x":[1]}', 9, {"who": "me"}), "s3:getObject")
    done = server.run(f"{states}aws-sdk:s3:listObjectsV2", {"Bucket": "bucket", "Prefix": "a/"})
    report.equal([(one["Key"], one["Size"]) for one in done["Contents"]], [("a/b ä+.json", 9)], "s3:listObjectsV2")
    server.run(f"{states}aws-sdk:s3:copyObject", {"Bucket": "bucket", "Key": "copy", "CopySource": "bucket/a/b ä+.json"})
    report.equal(there("s3").get_object(Bucket="bucket", Key="copy")["Body"].read(), b'{"x":[1]}', "s3:copyObject")
    server.run(f"{states}aws-sdk:s3:deleteObject", {"Bucket": "bucket", "Key": "copy"})
    error, cause = server.run(f"{states}aws-sdk:s3:getObject", {"Bucket": "bucket", "Key": "copy"})
    report.check(error == "S3.NoSuchKeyException" and "Service: S3, Status Code: 404" in cause, lambda: f"{error} {cause}")

    done = server.run(f"{states}aws-sdk:secretsmanager:getSecretValue", {"SecretId": "api"})
    report.equal(done["SecretString"], '{"user": "ada"}', "secretsmanager:getSecretValue")
    report.check(re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", done["CreatedDate"]), lambda: done["CreatedDate"])
    done = server.run(f"{states}aws-sdk:sts:getCallerIdentity", {})
    report.equal(done["Account"], ACCOUNT, "sts:getCallerIdentity")

    echo = server.machine({"E": {"Type": "Pass", "End": True}})
    done = server.run(f"{states}aws-sdk:sfn:startExecution", {"StateMachineArn": echo, "Input": {"z": 1}})
    report.equal(json.loads(server.ended(done["ExecutionArn"])["output"]), {"z": 1}, "aws-sdk:sfn")
    error, _ = server.run(f"{states}aws-sdk:sfn:describeExecution", {"ExecutionArn": done["ExecutionArn"] + "x"})
    report.equal(error, "Sfn.ExecutionDoesNotExistException", "its errors")
    for resource in ["aws-sdk:nothing:do", "ecs:runTask", "ecs:runTask.sync"]:
        error, cause = server.run(f"{states}{resource}", {})
        report.check(error == "States.TaskFailed" and "not offered" in cause, lambda: f"{resource}: {error} {cause}")
    # Services without jobs have no pattern that waits for one: nothing is made of such a definition.
    for resource in ["sqs:sendMessage.sync", "aws-sdk:s3:getObject.sync", "lambda:invoke.sync:2", "ecs:runTask.sync:2"]:
        try:
            server.machine({"T": {"Type": "Task", "Resource": f"{states}{resource}", "End": True}})
            report.check(False, lambda: f"{resource} is taken")
        except botocore.exceptions.ClientError as error:
            report.check(error.response["Error"]["Code"] == "InvalidDefinition"
                         and f"The resource provided {states}{resource} is not recognized" in error.response["Error"]["Message"]
                         and "at /States/T/Resource" in error.response["Error"]["Message"], lambda: f"{resource}: {error}")


def signatures():
    """botocore signs each request that came anew: the signatures are the same."""
    credentials = botocore.credentials.Credentials(KEY, SECRET)
    checked = set()
    for method, path, headers, body in Recorder.seen:
        given = {name.lower(): value for name, value in headers}
        scope = re.match(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=", given.get("authorization", ""))
        report.check(scope, lambda: f"{method} {path} is not signed: {given}")
        if not scope:
            continue
        region, service, names = scope.groups()
        kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        kept = {name: given[name] for name in names.split(";") if name not in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")}
        request = botocore.awsrequest.AWSRequest(method=method, url=f"http://{given['host']}{path}", headers=kept, data=body)
        request.context["payload_signing_enabled"] = True
        moment = datetime.datetime.strptime(given["x-amz-date"], "%Y%m%dT%H%M%SZ")
        original, botocore.auth.get_current_datetime = botocore.auth.get_current_datetime, lambda *_a, **_k: moment
        try:
            kind(credentials, service, region).add_auth(request)
        finally:
            botocore.auth.get_current_datetime = original
        report.equal(given["authorization"], request.headers["Authorization"], f"the signature of {method} {path}")
        checked.add(service)
    report.equal(checked, {"sqs", "sns", "events", "dynamodb", "s3", "secretsmanager", "sts"}, "every service was seen")


def table():
    """Our table of services beside botocore's models."""
    source = (_server.ROOT / "core/aws/src/remote.rs").read_text()
    session = botocore.session.get_session()
    named = {"sqs": "sqs", "dynamodb": "dynamodb", "eventbridge": "events", "secretsmanager": "secretsmanager", "ssm": "ssm"}
    rows = re.findall(r'json\("(\w+)", "(\w+)", "(\w+)", "(\w+)", "([\d.]+)", "(\w+)"\)', source)
    report.equal({row[0] for row in rows}, set(named), "the rows")
    rule = re.search(r"const ENDS: \[&str; \d+\] = \[([^\]]+)\]", (_server.ROOT / "core/aws/src/remote/json.rs").read_text())
    ends = re.findall(r'"(\w+)"', rule.group(1))
    is_time = lambda member: (any(member.endswith(end) for end in ends) and member != "StartedTimestamp") or member == "ExpiresAfter"
    # Known, and told in the guide: the SDK shows these with a capital letter, and they travel with a small one.
    small = {"queueUrls", "type", "weight", "field", "expression", "capacityProvider", "base", "awsvpcConfiguration"}
    for name, _, variable, host, version, target in rows:
        model = session.get_service_model(named[name])
        meta = model.metadata
        report.equal((host, version, target), (meta["endpointPrefix"], meta["jsonVersion"], meta["targetPrefix"]), name)
        report.equal(variable, meta["serviceId"].upper().replace(" ", "_"), f"{name}'s variable")
        seen, numbers = set(), {}

        def walk(shape, member, depth=0):
            if shape.type_name == "timestamp":
                report.check(is_time(member), lambda: f"{name}: the time {member} is not known by its name")
            elif shape.type_name in ("integer", "long", "double", "float"):
                report.check(not is_time(member), lambda: f"{name}: the number {member} is taken for a time")
            elif shape.type_name == "structure" and (shape.name not in seen):
                seen.add(shape.name)
                for inner, of in shape.members.items():
                    report.check(inner[:1].isupper() or inner in small, lambda: f"{name}: {inner} travels under another name")
                    walk(of, inner, depth + 1)
            elif shape.type_name == "list":
                walk(shape.member, member, depth + 1)
            elif shape.type_name == "map":
                walk(shape.value, member, depth + 1)

        for operation in model.operation_names:
            if model.operation_model(operation).output_shape is not None:
                walk(model.operation_model(operation).output_shape, operation)


def express():
    invoke = "arn:aws:states:::http:invoke"
    arn = server.machine({"P": {"Type": "Parallel", "End": True, "Branches": [
        {"StartAt": f"T{i}", "States": {f"T{i}": {"Type": "Task", "Resource": invoke, "Parameters": {"ApiEndpoint": f"{world}/express/{i}", "Method": "GET"},
                                                  "ResultSelector": {"path.$": "$.ResponseBody.path"}, "End": True}}} for i in range(3)]}}, express=True)
    found = server.states.start_sync_execution(stateMachineArn=arn)
    report.equal((found["status"], json.loads(found.get("output", "[]"))), ("SUCCEEDED", [{"path": f"/express/{i}"} for i in range(3)]), "three calls at once")
    arn = server.machine({"T": {"Type": "Task", "Resource": invoke, "Parameters": {"ApiEndpoint": f"{world}/status/418", "Method": "GET"}, "End": True}}, express=True)
    found = server.states.start_sync_execution(stateMachineArn=arn)
    report.equal((found["status"], found["error"]), ("FAILED", "States.Http.StatusCode.418"), "its errors")
    World.release.clear()
    arn = server.machine({"T": {"Type": "Task", "Resource": invoke, "TimeoutSeconds": 1, "Parameters": {"ApiEndpoint": f"{world}/slow", "Method": "GET"}, "End": True}}, express=True)
    found = server.states.start_sync_execution(stateMachineArn=arn)
    report.equal((found["status"], found["error"]), ("FAILED", "States.Timeout"), "its time-outs")
    World.release.set()
    server.states.start_execution(stateMachineArn=server.machine({"T": {"Type": "Task", "Resource": invoke, "Parameters": {
        "ApiEndpoint": f"{world}/behind", "Method": "GET"}, "End": True}}, express=True))
    report.check(until(lambda: count("/behind") == 1), lambda: "one that nobody waits for")
    echo = server.machine({"E": {"Type": "Pass", "End": True}})
    arn = server.machine({"T": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution", "Parameters": {"StateMachineArn": echo}, "End": True}}, express=True)
    found = server.states.start_sync_execution(stateMachineArn=arn)
    report.check(found["status"] == "SUCCEEDED" and ":execution:" in found["output"], lambda: str(found))


def blobs():
    states = "arn:selvedge:states:::"
    done = server.run(f"{states}blob:put", {"Value": {"a": [1, 2, 3]}})
    digest = hashlib.sha256(b'{"a":[1,2,3]}').hexdigest()
    report.equal(done, {"$ref": f"blob:sha256:{digest}", "size": 13, "type": "application/json"}, "a value is kept")
    report.equal(server.run(f"{states}blob:get", {"Ref": done}), {"a": [1, 2, 3]}, "and comes back")
    report.equal(server.own("GET", f"blobs/{digest}"), (200, b'{"a":[1,2,3]}'), "by its hash")
    invoke = "arn:aws:states:::http:invoke"
    large = server.run(invoke, {"ApiEndpoint": f"{world}/large", "Method": "GET", "Transform": {"ResponseBodyStore": "BLOB"}})["ResponseBody"]
    report.equal((large["size"], large["type"]), (3 << 20, "text/plain"), "a large answer is passed by reference")
    server.run(invoke, {"ApiEndpoint": f"{world}/upload", "Method": "POST", "Headers": {"Content-Type": "text/plain"}, "RequestBody": large,
                        "Transform": {"ResponseBodyStore": "BLOB"}})
    report.equal(len(last("/upload")["body"]), 3 << 20, "and sent by it")
    error, _ = server.run(invoke, {"ApiEndpoint": f"{world}/large", "Method": "GET"})
    report.equal(error, "States.DataLimitExceeded", "but does not fit a state")
    report.equal(server.run(f"{states}blob:get", {"Ref": large})[0], "States.DataLimitExceeded", "as it is")
    report.equal(server.run(f"{states}blob:get", {"Ref": f"blob:sha256:{'0' * 64}"})[0], "Blob.NotFound", "one that is not there")
    report.equal(server.run(f"{states}blob:get", {"Ref": "../../etc/passwd"})[0], "Blob.InvalidReference", "no reference")


def policies():
    evaluate = "arn:selvedge:states:::policy:evaluate"
    rules = {"Rules": [{"Id": "finance", "Effect": "ALLOW", "Groups": ["finance"], "Actions": ["refund"], "Claims": {"acr": "high"}},
                       {"Id": "no-eve", "Effect": "DENY", "Subjects": ["eve"]}]}
    ask = lambda identity, **more: server.run(evaluate, {"Policy": rules, "Identity": identity, "Action": "refund", "Resource": "orders/1", **more})
    report.equal(ask({"sub": "ada", "groups": ["finance"], "acr": "high"})["Rule"], "finance", "allowed")
    report.equal(ask({"sub": "ada", "groups": ["finance"], "acr": "low"})[0], "Policy.Denied", "a claim is missing")
    report.equal(ask({"sub": "eve", "groups": ["finance"], "acr": "high"}, OnDeny="RETURN"), {
        "Decision": "DENY", "Rule": "no-eve", "Reason": "rule no-eve denies it", "Subject": "eve", "Action": "refund", "Resource": "orders/1"}, "denied")
    lines = until(lambda: [line for line in map(json.loads, server.own("GET", "audit")[1].splitlines()) if line["kind"] == "PolicyDenied" and line["actor"] == "eve"])
    report.check(lines, lambda: "a denial is in the trail")


def approvals():
    ask = "arn:selvedge:states:::approval:request"
    parameters = {"Title": "Refund 7", "Description": "The parcel was lost", "Payload": {"amount": 70}, "Requester": "eve", "Assignees": ["ada"], "Groups": ["finance"],
                  "MinimumApprovals": 2, "Form": {"type": "object", "required": ["reason"], "properties": {"reason": {"type": "string", "minLength": 3}}}}

    def opened(execution):
        found = until(lambda: [task for task in server.json("GET", "tasks")[1]["tasks"] if task["execution"] == execution])
        return found[0] if found else {}

    def decide(task, decision, by, *groups, **more):
        return server.json("POST", f"tasks/{task['id']}/decision", {"decision": decision, "by": by, "groups": list(groups), **more})

    execution = server.begin(ask, parameters)
    task = opened(execution)
    report.equal((task["title"], task["status"], task["payload"], task["state"]), ("Refund 7", "OPEN", {"amount": 70}, "T"), "what is asked")
    report.equal(task["payloadHash"], hashlib.sha256(b'{"amount":70}').hexdigest(), "what it is bound to")
    form = {"form": {"reason": "lost"}}
    report.equal(decide(task, "APPROVE", "eve", "finance", **form)[0], 403, "whoever asked does not decide")
    report.equal(decide(task, "APPROVE", "mallory", "sales", **form)[0], 403, "nor does a stranger")
    report.equal(decide(task, "APPROVE", "ada", payloadHash="0" * 64, **form)[0], 403, "nor who has seen something else")
    status, found = decide(task, "APPROVE", "ada", form={"reason": "x"})
    report.check(status == 400 and "form.reason" in found["message"], lambda: str(found))
    report.equal(decide(task, "MAYBE", "ada")[0], 400, "no decision")
    code, out, err = server.command("tasks")
    report.check(code == 0 and task["id"] in out and "Refund 7" in out, lambda: out + err)
    code, out, err = server.command("approve", task["id"], "--as", "ada", "--form", '{"reason": "lost"}', "--comment", "seen the scan")
    report.equal(code, 0, out + err)
    report.equal(decide(task, "APPROVE", "ada", **form)[0], 403, "one voice each")
    # It outlives the server, killed.
    server.kill()
    server.start()
    status, found = decide(task, "APPROVE", "bob", "finance", **form)
    report.equal((status, found.get("status")), (200, "APPROVED"), str(found))
    done = json.loads(server.ended(execution)["output"])
    report.equal(([one["By"] for one in done["Decisions"]], done["Decisions"][0]["Comment"], done["Decisions"][1]["Form"]),
                 (["ada", "bob"], "seen the scan", {"reason": "lost"}), "who approved what")
    report.equal(decide(task, "APPROVE", "carl", "finance", **form)[0], 409, "it is closed")
    report.equal([kind for kind in server.types(execution) if kind.startswith("Task")][1:-1], ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"], "its history")

    execution = server.begin(ask, {"Title": "No", "Assignees": ["ada"]})
    code, out, err = server.command("approve", opened(execution)["id"], "--as", "ada", "--reject", "--comment", "too much")
    report.equal(code, 0, out + err)
    found = server.ended(execution)
    report.equal((found["error"], json.loads(found["cause"])["Decisions"][0]["Comment"]), ("Approval.Rejected", "too much"), "rejected")

    execution = server.begin(ask, {"Title": "Late", "Assignees": ["ada"], "DueSeconds": 3, "Escalations": [{"AfterSeconds": 1, "Assignees": ["boss"]}]})
    task = opened(execution)
    report.equal(decide(task, "APPROVE", "boss")[0], 403, "not yet")
    report.check(until(lambda: server.json("GET", f"tasks/{task['id']}")[1]["escalated"] == 1), lambda: "it escalates")
    report.equal(server.ended(execution)["error"], "Approval.Expired", "nobody decided in time")

    execution = server.begin(ask, {"Title": "Never mind"})
    task = opened(execution)
    server.states.stop_execution(executionArn=execution)
    report.check(until(lambda: server.json("GET", f"tasks/{task['id']}")[1]["status"] == "CANCELED"), lambda: "an execution that ends asks no more")
    report.equal(decide(task, "APPROVE", "ada")[0], 409, "it is cancelled")
    for bad in [{}, {"Title": "x", "Form": {"pattern": "a"}}, {"Title": "x", "MinimumApprovals": 0}, {"Title": "x", "DueSeconds": "soon"}, {"Title": "x", "Assignee": ["ada"]}]:
        report.equal(server.run(ask, bad)[0], "States.Runtime", str(bad))
    report.equal(server.json("GET", "tasks/../../x")[0], 404, "no such task")


def trail():
    """The audit trail, verified by our command and by nothing but SHA-256."""
    code, out, err = server.command("audit", "export")
    report.equal(code, 0, err)
    lines = out.splitlines()
    previous = "0" * 64
    for index, line in enumerate(lines):
        entry = json.loads(line)
        before, _, _ = line.rpartition(',"hash":"')
        report.equal((entry["seq"], entry["previous"], entry["hash"]), (index + 1, previous, hashlib.sha256(before.encode()).hexdigest()), f"entry {index + 1}")
        previous = entry["hash"]
    kinds = {json.loads(line)["kind"] for line in lines}
    report.check({"CreateStateMachine", "PutConnection", "DeleteConnection", "StopExecution", "ApprovalRequested", "ApprovalDecided", "ApprovalEscalated", "ApprovalExpired",
                  "ApprovalCanceled", "EgressRefused", "PolicyDenied"} <= kinds, lambda: str(kinds))
    decided = [json.loads(line) for line in lines if '"ApprovalDecided"' in line]
    report.check(any(entry["actor"] == "bob" and entry["details"]["more"]["decision"]["decision"] == "APPROVE" for entry in decided), lambda: str(decided))
    report.equal(next(json.loads(line)["actor"] for line in lines if '"CreateStateMachine"' in line), KEY, "whose key made a machine")
    code, out, err = server.command("audit", "verify")
    report.check(code == 0 and previous in out, lambda: out + err)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "trail.jsonl"

        def verify(text, *words):
            path.write_text(text)
            return subprocess.run([BINARY, "states", "audit", "verify", str(path), *words], capture_output=True, text=True, timeout=60)

        whole = "\n".join(lines) + "\n"
        anchor = f"{len(lines)}:{previous}"
        report.equal(verify(whole).returncode, 0, "an export")
        report.equal(verify(whole, "--head", anchor).returncode, 0, "with what was written down")
        for text, words in [(whole.replace('"bob"', '"eve"', 1), ()), ("\n".join(lines[:3] + lines[4:]) + "\n", ()), ("\n".join(lines[:-1]) + "\n", ("--head", anchor))]:
            done = verify(text, *words)
            report.check(done.returncode != 0 and "entr" in done.stderr + done.stdout, lambda: f"{done.returncode} {done.stdout} {done.stderr}")


def certificates(folder):
    """An authority and a certificate for either side, in files."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    for name in ("color", "workflow"):
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}.demo.local\nbasicConstraints=critical,CA:false\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext")


def mesh():
    """A service of a mesh, by its virtual service's name: through two sidecars of ours, with TLS of both sides and the route's retries."""
    folder = pathlib.Path(data) / "mesh"
    folder.mkdir()
    certificates(folder)
    api, name = client_of("appmesh", server.url), "demo"
    file = lambda of: {"file": {"certificateChain": str(folder / f"{of}.pem"), "privateKey": str(folder / f"{of}.key")}}
    trust = {"trust": {"file": {"certificateChain": str(folder / "ca.pem")}}}
    api.create_mesh(meshName=name)
    api.create_virtual_node(meshName=name, virtualNodeName="color", spec={"listeners": [{
        "portMapping": {"port": 8080, "protocol": "http"}, "tls": {"mode": "STRICT", "certificate": file("color"), "validation": trust}}]})
    api.create_virtual_router(meshName=name, virtualRouterName="color", spec={"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]})
    api.create_route(meshName=name, virtualRouterName="color", routeName="all", spec={"httpRoute": {
        "match": {"prefix": "/"}, "action": {"weightedTargets": [{"virtualNode": "color", "weight": 1}]},
        "retryPolicy": {"maxRetries": 3, "perRetryTimeout": {"unit": "s", "value": 5}, "httpRetryEvents": ["server-error"]}}})
    service = api.create_virtual_service(meshName=name, virtualServiceName="color.demo.local", spec={"provider": {"virtualRouter": {"virtualRouterName": "color"}}})
    arn = service["virtualService"]["metadata"]["arn"]
    api.create_virtual_node(meshName=name, virtualNodeName="workflow", spec={
        "listeners": [{"portMapping": {"port": 9080, "protocol": "http"}}], "backends": [{"virtualService": {"virtualServiceName": "color.demo.local"}}],
        "backendDefaults": {"clientPolicy": {"tls": {"enforce": True, "certificate": file("workflow"), "validation": trust}}}})
    children, ingress = [], free_port()
    for node, more in (("color", {"SELVEDGE_APP_PORT_8080": str(port), "SELVEDGE_EGRESS_PORT": str(free_port())}), ("workflow", {"SELVEDGE_EGRESS_PORT": str(egress)})):
        environment = {**os.environ, "APPMESH_RESOURCE_ARN": f"mesh/{name}/virtualNode/{node}", "APPMESH_XDS_ENDPOINT": server.url.split("//")[1],
                       "ENVOY_ADMIN_ACCESS_PORT": str(free_port()), "SELVEDGE_INTERCEPTION": "none", "SELVEDGE_INGRESS_PORT": str(ingress if node == "color" else free_port()), **more}
        log = open(folder / f"{node}.log", "wb")
        children.append(subprocess.Popen([BINARY, "proxy"], env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    try:
        invoke = "arn:selvedge:states:::mesh:invoke"
        ask = lambda path, **more: server.run(invoke, {"Service": "color.demo.local", "Method": "POST", "Path": path, **more})
        done = until(lambda: (lambda found: found if isinstance(found, dict) else None)(ask("/color?a=1", RequestBody={"n": 1}, QueryParameters={"b": "2"})), 30)
        report.check(done, lambda: f"the mesh does not answer: {ask('/color')} {(folder / 'workflow.log').read_text()[-800:]}")
        if done:
            report.equal(done["ResponseBody"], {"path": "/color", "query": "a=1&b=2", "body": '{"n":1}'}, "through the mesh")
            seen = last("/color")["headers"]
            report.check("x-request-id" in seen and seen["host"].split(":")[0] == "color.demo.local", lambda: str(seen))
            report.check("idempotency-key" in seen, lambda: str(seen))
        before = count("/flaky")
        done = ask("/flaky")
        report.equal((done["StatusCode"] if isinstance(done, dict) else done, count("/flaky") - before), (200, 3), "the route's retries apply")
        error, _ = ask("/status/404")
        report.equal(error, "States.Http.StatusCode.404", "a status is an error")
        found = server.ended(server.begin(arn, {"Method": "GET", "Path": "/by-arn"}))
        report.equal(found["status"], "SUCCEEDED", f"the virtual service's ARN is the resource: {found}")
        done = server.run("arn:aws:states:::lambda:invoke", {"FunctionName": arn, "Payload": {"x": 1}})
        report.equal(done["Payload"] if isinstance(done, dict) else done, {"got": {"x": 1}}, "a function behind a mesh service")
        error, cause = server.run(invoke, {"Service": "nobody.demo.local", "Method": "GET"})
        report.check(error.startswith("States.Http.StatusCode."), lambda: f"{error} {cause}")
        for parameters in [{"Service": "a@b"}, {"Service": "x y"}, {"Service": "color.demo.local", "Path": "color"}, {"Service": "color.demo.local", "Port": 0}, {}]:
            report.equal(server.run(invoke, {"Method": "GET", **parameters})[0], "States.Runtime", str(parameters))
        # In the clear nobody gets in: it was the mesh's TLS that carried all of this.
        with socket.create_connection(("127.0.0.1", ingress)) as plain:
            plain.settimeout(5)
            plain.sendall(b"GET /never HTTP/1.1\r\nhost: color.demo.local\r\n\r\n")
            with contextlib.suppress(ConnectionError, TimeoutError):
                report.check(not plain.recv(100).startswith(b"HTTP/1.1 200"), lambda: "the service is open without TLS")
        report.equal(count("/never"), 0, "nothing came through in the clear")
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(20)


def restarts():
    """What was scheduled and not finished is called again after a kill, with the same key."""
    World.release.clear()
    before = count("/slow")
    execution = server.begin("arn:aws:states:::http:invoke", {"ApiEndpoint": f"{world}/slow", "Method": "POST"})
    report.check(until(lambda: count("/slow") > before), lambda: "it is called")
    server.kill()
    World.release.set()
    server.start()
    report.equal(json.loads(server.ended(execution)["output"])["ResponseBody"], "late", "and ends after the restart")
    keys = [one["headers"]["idempotency-key"] for one in World.seen if one["path"] == "/slow"][before:]
    report.check(len(keys) == 2 and keys[0] == keys[1], lambda: str(keys))
    report.equal(server.types(execution).count("TaskStarted"), 1, "it started once")
    # A token that was handed out is good after the restart, and is not handed out again.
    execution = server.begin("arn:aws:states:::lambda:invoke.waitForTaskToken", {"FunctionName": "after", "Payload": {"token.$": "$$.Task.Token"}})
    report.check(until(lambda: "TaskSubmitted" in server.types(execution)), lambda: "it is submitted")
    server.kill()
    server.start()
    path = "/2015-03-31/functions/after/invocations"
    server.states.send_task_success(taskToken=json.loads(last(path)["body"])["token"], output='"kept"')
    report.equal((server.ended(execution)["output"], count(path)), ('"kept"', 1), "one call, one token")


def credentials():
    """Keys come from a file that is read anew when it changes."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "credentials"
        path.write_text(f"[ops]\naws_access_key_id = FIRST\naws_secret_access_key = {SECRET}\n")
        other = Server(folder + "/data", AWS_SHARED_CREDENTIALS_FILE=str(path), AWS_PROFILE="ops", AWS_ENDPOINT_URL=f"http://127.0.0.1:{recorder}")
        whose = lambda: re.search(r"Credential=([^/]+)/", dict(Recorder.seen[-1][2])["authorization"]).group(1)
        other.run("arn:aws:states:::aws-sdk:sts:getCallerIdentity", {})
        report.equal(whose(), "FIRST", "the profile's key")
        path.write_text(f"[ops]\naws_access_key_id = SECOND-ONE\naws_secret_access_key = {SECRET}\n")
        other.run("arn:aws:states:::aws-sdk:sts:getCallerIdentity", {})
        report.equal(whose(), "SECOND-ONE", "and its next one")
        path.unlink()
        error, cause = other.run("arn:aws:states:::aws-sdk:sts:getCallerIdentity", {})
        report.check(error == "Sts.SdkClientException" and "AWS_ACCESS_KEY_ID" in cause, lambda: f"{error} {cause}")
        other.kill()


port, second, closed, egress = serve_world(), serve_world(), free_port(), free_port()
world = f"http://127.0.0.1:{port}"
moto, moto_port, recorder = start_moto()
there = lambda service: client_of(service, f"http://127.0.0.1:{moto_port}")
with tempfile.TemporaryDirectory(prefix="selvedge-tasks-") as data:
    allowed = ",".join(f"127.0.0.1:{number}" for number in (port, second, closed))
    server = Server(data + "/data", "--task-allow", allowed, "--mesh-egress", f"http://127.0.0.1:{egress}", AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET,
                    AWS_ENDPOINT_URL=f"http://127.0.0.1:{recorder}", AWS_ENDPOINT_URL_LAMBDA=world)
    parts = [http_tasks, patience, guard, connections, functions, amazon, signatures, table, express, blobs, policies, approvals, trail, mesh, restarts, credentials]
    chosen = sys.argv[1:]
    try:
        for part in parts:
            if not chosen or part.__name__ in chosen:
                part()
    finally:
        server.kill()
        moto.terminate()
        moto.wait(10)
report.end()
