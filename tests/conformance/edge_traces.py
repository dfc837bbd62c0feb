"""One trace from the edge through the mesh, and into a workflow: what a collector makes of it that reads OpenTelemetry's own messages."""

import base64
import http.server
import json
import os
import signal
import subprocess
import threading

import boto3
import botocore.config
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from _edge import ROOT, Backend, Threads, ask, atexit, await_port, end, folder, free_ports, until
from _report import Report

report = Report()
home = folder()
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
HERE = "127.0.0.1"
MESH = f"traced-{os.getpid()}"


def client(service):
    return boto3.client(service, endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x",
                        config=botocore.config.Config(inject_host_prefix=False, read_timeout=60, retries={"total_max_attempts": 1}))


# === a collector: what it cannot read as OpenTelemetry's message is an error ===
collected, faults = [], []


def read(kind, body):
    """The message; of JSON, whose ids are in hexadecimal digits where protobuf's own JSON has base64 (OTLP, JSON encoding)."""
    message = ExportTraceServiceRequest()
    if kind != "application/json":
        message.ParseFromString(body)
        return message
    said = json.loads(body)
    for resource in said["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(said, message)


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = self.headers["content-type"]
        try:
            if self.path != "/v1/traces":
                raise ValueError(f"nothing is collected at {self.path}")
            for resource in read(kind, body).resource_spans:
                name = {one.key: one.value.string_value for one in resource.resource.attributes}.get("service.name")
                collected.extend((name, kind, span) for scope in resource.scope_spans for span in scope.spans)
        except Exception as problem:
            faults.append(f"{kind}: {problem}: {body[:300]}")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


collector = Threads((HERE, 0), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()
COLLECTOR = f"http://{HERE}:{collector.server_address[1]}"


# === a mesh with one service, an express and a standard machine, an edge in front of all ===
def answer(method, path, headers):
    told = {name.lower(): value for name, value in headers.items()}
    return (500 if path.endswith("/broken") else 200), [("content-type", "application/json")], json.dumps(told).encode()


backend = Backend(answer)
# Before the server is started: its executions are recorded, and its tasks may call the backend, which is on loopback here.
os.environ.update(SELVEDGE_WORKFLOW_TRACES=COLLECTOR, SELVEDGE_WORKFLOW_TRACES_NAME="workflows", SELVEDGE_TASK_ALLOW=f"{HERE}:{backend.port}")

import _server

endpoint = _server.endpoint()


def spans(trace):
    return [(name, kind, span) for name, kind, span in list(collected) if span.trace_id.hex() == trace]


def attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


mesh, states = client("appmesh"), client("stepfunctions")
mesh.create_mesh(meshName=MESH)
mesh.create_virtual_node(meshName=MESH, virtualNodeName="app", spec={"listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}]})
mesh.create_virtual_service(meshName=MESH, virtualServiceName="app.local", spec={"provider": {"virtualNode": {"virtualNodeName": "app"}}})
OTLP = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{COLLECTOR}/v1/traces", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
ingress, egress, admin, port = free_ports(4)
proxy = subprocess.Popen([BINARY, "proxy"], stderr=open(home / "app.log", "wb"), env={
    **os.environ, **OTLP, "OTEL_SERVICE_NAME": "app", "APPMESH_RESOURCE_ARN": f"mesh/{MESH}/virtualNode/app",
    "APPMESH_XDS_ENDPOINT": endpoint.split("//")[1], "SELVEDGE_INTERCEPTION": "none", "SELVEDGE_INGRESS_PORT": str(ingress),
    "SELVEDGE_EGRESS_PORT": str(egress), "ENVOY_ADMIN_ACCESS_PORT": str(admin), "SELVEDGE_STATE_DIR": "none",
    "ENVOY_CONCURRENCY": "1", "SELVEDGE_APP_PORT_8080": str(backend.port)})
atexit.register(end, proxy)
ROLE = "arn:aws:iam::123456789012:role/edge"
definition = json.dumps({"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}})
MACHINE = f"traced-{os.getpid()}"
states.create_state_machine(name=MACHINE, definition=definition, roleArn=ROLE)
(home / "edge.toml").write_text(f"""
[edge]
name = "shop-edge"
gateway = "shop-gw"
[traces]
otlp = "{COLLECTOR}"
name = "shop-edge"
[[listen]]
address = "{HERE}:{port}"
[[site]]
[[site.route]]
name = "app"
path = "/app/*"
service = "app.local"
[[site.route]]
name = "start"
path = "/start"
workflow = {{ machine = "{MACHINE}", wait = "10s" }}
""")
edge = subprocess.Popen([BINARY, "edge", "-D", "-f", str(home / "edge.toml"), "--endpoint-url", endpoint, "--mesh", MESH],
                        stderr=open(home / "edge.log", "wb"), env={**os.environ, **OTLP, "OTEL_SERVICE_NAME": "shop-gw"})
atexit.register(end, edge)
await_port(port)
site = f"http://{HERE}:{port}"


def log():
    return (home / "edge.log").read_text()[-2000:]


report.check(until(lambda: ask(f"{site}/app/ready").status == 200), lambda: f"the mesh answers behind the edge: {log()}")

# === one trace, hop by hop ===
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
told = json.loads(ask(f"{site}/app/a?secret=1", headers=[("traceparent", f"00-{TRACE}-{CALLER}-01")]).body)
names = ("shop-edge", "shop-gw", "app")
found = until(lambda: {name for name, _, _ in spans(TRACE)} >= set(names) and spans(TRACE))
report.check(found, lambda: f"spans of edge, gateway and sidecar in one trace: {[(name, span.name) for name, _, span in spans(TRACE)]} {faults} {log()}")
of = {name: [span for other, _, span in found or [] if other == name] for name in names}
(own,) = of["shop-edge"]
report.equal((own.parent_span_id.hex(), own.kind, own.name), (CALLER, Span.SPAN_KIND_SERVER, "GET app"), "the edge's span is the caller's child")
said = attributes(own)
report.equal([said.get(key) for key in ("http.request.method", "url.path", "http.route", "http.response.status_code", "selvedge.service")],
             ["GET", "/app/a", "app", 200, "app.local"], "and says what was asked for, without the query")
report.check(own.start_time_unix_nano < own.end_time_unix_nano and own.status.code == Status.STATUS_CODE_UNSET, lambda: f"{own}")
report.equal({span.parent_span_id for span in of["shop-gw"]}, {own.span_id}, "the gateway's span is the edge's child")
report.check({span.parent_span_id for span in of["app"]} & {span.span_id for span in of["shop-gw"]}, lambda: f"the sidecar's is the gateway's: {found}")
known = {span.span_id.hex() for _, _, span in found or []}
report.check(told["traceparent"].split("-")[1] == TRACE and told["traceparent"].split("-")[2] in known, lambda: f"and the service goes on: {told['traceparent']}")
report.equal({kind for name, kind, _ in found or [] if name == "shop-edge"}, {"application/json"}, "the edge speaks JSON")
report.equal({kind for name, kind, _ in found or [] if name != "shop-edge"}, {"application/x-protobuf"}, "the mesh speaks protobuf")

# === an error is the span's ===
BROKEN = "1" * 32
ask(f"{site}/app/broken", headers=[("traceparent", f"00-{BROKEN}-{CALLER}-01")])
broken = until(lambda: [span for name, _, span in spans(BROKEN) if name == "shop-edge"])
report.equal([(span.status.code, attributes(span)["http.response.status_code"]) for span in broken], [(Status.STATUS_CODE_ERROR, 500)], "500 is an error")

# === a workflow is started in the trace of its request ===
STARTED = "2" * 32
report.equal(ask(f"{site}/start", headers=[("traceparent", f"00-{STARTED}-{CALLER}-01"), ("idempotency-key", "one")]).status, 200, "a workflow answers")
started = until(lambda: [span for name, _, span in spans(STARTED) if name == "shop-edge"])
machine = next(one["stateMachineArn"] for one in states.list_state_machines()["stateMachines"] if one["name"] == MACHINE)
execution = states.describe_execution(executionArn=machine.replace(":stateMachine:", ":execution:") + ":one")
report.equal(execution.get("traceHeader"), f"Root=1-{STARTED[:8]}-{STARTED[8:]};Parent={started[0].span_id.hex()};Sampled=1",
             "its execution names the trace, and the edge's span as parent")
# The same request again is another trace, and the same execution.
again = ask(f"{site}/start", headers=[("traceparent", f"00-{'3' * 32}-{CALLER}-01"), ("idempotency-key", "one")])
report.equal(again.status, 200, "a replay under another trace is the same execution")


# === and so is what the execution does: its states, and what they call ===
def called(path, **more):
    call = {"ApiEndpoint": f"http://{HERE}:{backend.port}{path}", "Method": "GET"}
    return {"Type": "Task", "Resource": "arn:aws:states:::http:invoke", "Parameters": call, "ResultPath": None, **more}


def recorded(trace):
    return [span for name, _, span in spans(trace) if name == "workflows"]


def tree(found):
    """Spans by the names on the way to them."""
    by_id = {span.span_id: span for span in found}
    def path(span):
        above = by_id.get(span.parent_span_id)
        return f"{path(above)}/{span.name}" if above else span.name
    return {path(span): span for span in found}


calls = json.dumps({"StartAt": "Fine", "States": {
    "Fine": called("/task/fine", Next="Both"),
    "Both": {"Type": "Parallel", "Branches": [{"StartAt": "One", "States": {"One": {"Type": "Pass", "End": True}}}], "ResultPath": None, "Next": "Broken"},
    "Broken": called("/task/broken", End=True, Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 1}])}})
for kind in ("STANDARD", "EXPRESS"):
    name = f"{MACHINE}-{kind.lower()}"
    arn = states.create_state_machine(name=name, definition=calls, roleArn=ROLE, type=kind, tracingConfiguration={"enabled": True})["stateMachineArn"]
    route = f"/{kind.lower()}"
    with open(home / "edge.toml", "a") as text:
        text.write(f"""
[[site.route]]
name = "{kind.lower()}"
path = "{route}"
workflow = {{ machine = "{name}", wait = "30s" }}
""")
    edge.send_signal(signal.SIGUSR1)
    report.check(until(lambda: ask(f"{site}{route}").status == 502), lambda: f"{kind}: a workflow that calls: {log()}")
    trace = ("4" if kind == "STANDARD" else "5") * 32
    backend.requests.clear()
    report.equal(ask(f"{site}{route}", headers=[("traceparent", f"00-{trace}-{CALLER}-01")]).status, 502, f"{kind}: it fails")
    found = until(lambda: len(recorded(trace)) == 8 and tree(recorded(trace))) or tree(recorded(trace))
    wanted = [name] + [f"{name}/{path}" for path in ("Both", "Both/One", "Broken", "Broken/http:invoke", "Fine", "Fine/http:invoke")]
    report.equal(sorted(found), wanted, f"{kind}: one span an execution, one a state, one a call")
    own = found.get(name)
    (edges,) = until(lambda: [span for other, _, span in spans(trace) if other == "shop-edge"])
    report.equal((own.parent_span_id, own.kind, own.status.code), (edges.span_id, Span.SPAN_KIND_SERVER, Status.STATUS_CODE_ERROR), f"{kind}: the edge's span is its parent")
    report.check(attributes(own)["selvedge.execution.status"] == "FAILED" and attributes(own)["error.type"].startswith("States.Http.StatusCode.500"), lambda: f"{own}")
    report.equal((found[f"{name}/Fine"].status.code, found[f"{name}/Broken"].status.code), (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR), f"{kind}: each state says how it ended")
    report.check(all(own.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= own.end_time_unix_nano for span in found.values()), f"{kind}: within the execution's time")
    tries = [span.span_id.hex() for span in recorded(trace) if span.name == "http:invoke"]
    heard = [headers["traceparent"].split("-") for _, path, headers in backend.requests if path.startswith("/task/")]
    report.equal(({one[1] for one in heard}, sorted(one[2] for one in heard), {one[3] for one in heard}), ({trace}, sorted(tries), {"01"}), f"{kind}: each call is told of its span")
    # Nobody says whether to record: the machine's tracingConfiguration does.
    count = len(collected)
    if kind == "STANDARD":
        states.start_execution(stateMachineArn=arn)
        fresh = until(lambda: [span for name, _, span in list(collected)[count:] if name == "workflows" and span.kind == Span.SPAN_KIND_SERVER])
        report.check(fresh and not fresh[0].parent_span_id, "a machine that asks for traces begins one")
    # A caller that records nothing is heard.
    quiet = "6" * 32 if kind == "STANDARD" else "7" * 32
    def header(trace, sampled):
        return f"Root=1-{trace[:8]}-{trace[8:]};Parent={CALLER};Sampled={sampled}"
    if kind == "STANDARD":
        one = states.start_execution(stateMachineArn=arn, traceHeader=header(quiet, 0))["executionArn"]
        until(lambda: states.describe_execution(executionArn=one)["status"] == "FAILED")
        states.start_execution(stateMachineArn=arn, traceHeader=header("8" * 32, 1))
        report.check(until(lambda: recorded("8" * 32)), "one that is started after it is recorded")
    else:
        states.start_sync_execution(stateMachineArn=arn, traceHeader=header(quiet, 0))
    report.equal(recorded(quiet), [], f"{kind}: Sampled=0 is heard")

report.equal(faults, [], "all that came could be read")
report.end()
