#!/usr/bin/env python3
"""`selvedge register` with real processes: health by HTTP, gRPC and TCP, leases that end with their holder, and holders that follow one another."""

import atexit
import concurrent.futures
import http.server
import os
import pathlib
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

import boto3
import botocore.config

try:
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
except ImportError:
    grpc = None

import _server
from _report import Report

report = Report()
endpoint = _server.endpoint()
cloud = boto3.client("servicediscovery", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="x",
                     aws_secret_access_key="x", config=botocore.config.Config(inject_host_prefix=False))
SPACE = f"register-{os.getpid()}.local"
PATIENCE = 60


class App:
    """Answers 200, or 503 when it is ill."""

    def __init__(self):
        app = self
        self.is_well = True

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if app.is_well and self.path == "/healthz" else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def register(*arguments):
    command = [os.environ["SELVEDGE_BIN"], "register", "--endpoint-url", endpoint, "--service", f"{SPACE}/web", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def found(health="HEALTHY"):
    instances = cloud.discover_instances(NamespaceName=SPACE, ServiceName="web", HealthStatus=health)["Instances"]
    return {one["InstanceId"]: one["Attributes"] for one in instances}


def until(what, is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            return report.check(False, f"never: {what}: {found('ALL')}")
        time.sleep(0.05)
    report.check(True, what)


def ended(process, code):
    report.equal(process.wait(PATIENCE), code, f"how it ended: {process.stderr.read()}")


def lives_and_is_well():
    app = App()
    process = register("--instance", "http", "--port", str(app.port), "--attribute", "version=1", "--health", "http:/healthz", "--health-interval", "1")
    until("it is healthy", lambda: "http" in found())
    attributes = {"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": str(app.port), "version": "1"}
    report.equal(found()["http"], attributes, "what it says of itself")
    app.is_well = False
    until("it is ill", lambda: "http" not in found() and "http" in found("ALL"))
    app.is_well = True
    until("it is well again", lambda: "http" in found())
    process.send_signal(signal.SIGTERM)
    until("it is deregistered", lambda: not found("ALL"))
    ended(process, 0)


def program():
    """A program beside it: its end is the registration's end, and its code is passed on."""
    app = App()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-register-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    over = folder / "over"
    process = register("--instance", "program", "--port", str(app.port), "--health", "tcp", "--health-interval", "1", "--", "sh", "-c", f"while ! [ -e {over} ]; do sleep 0.1; done; exit 7")
    until("it is registered", lambda: "program" in found())
    over.touch()
    ended(process, 7)
    until("and gone with it", lambda: not found("ALL"))
    script = "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(0)); time.sleep(60)"
    process = register("--instance", "stopped", "--port", str(app.port), "--", sys.executable, "-c", script)
    until("it is registered", lambda: "stopped" in found())
    process.send_signal(signal.SIGTERM)
    until("it leaves first", lambda: not found("ALL"))
    report.equal(process.poll(), None, "the program runs on while it is drained")
    ended(process, 0)


class GrpcApp:
    """A gRPC server with the standard health service, which knows the whole server and one service."""

    def __init__(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        self.health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def say(self, service, status):
        self.health.set(service, getattr(health_pb2.HealthCheckResponse, status))


def by_grpc():
    """What the standard health service says of the server, or of one of its services."""
    app = GrpcApp()
    app.say("", "SERVING")
    app.say("shop.Api", "NOT_SERVING")
    whole = register("--instance", "whole", "--port", str(app.port), "--health", "grpc", "--health-interval", "1")
    one = register("--instance", "one-service", "--port", str(app.port), "--health", "grpc:shop.Api", "--health-interval", "1")
    unknown = register("--instance", "unknown", "--port", str(app.port), "--health", "grpc:shop.Nothing", "--health-interval", "1")
    until("the server is healthy", lambda: "whole" in found())
    until("the others are registered", lambda: set(found("ALL")) == {"whole", "one-service", "unknown"})
    until("a service that does not serve, and one that there is not, are ill", lambda: set(found()) == {"whole"})
    app.say("shop.Api", "SERVING")
    until("the service is well", lambda: set(found()) == {"whole", "one-service"})
    app.say("", "NOT_SERVING")
    until("the server is ill and the service is not", lambda: set(found()) == {"one-service"})
    app.server.stop(None).wait()
    until("nobody answers", lambda: not found())
    for process in (whole, one, unknown):
        process.send_signal(signal.SIGTERM)
        ended(process, 0)
    until("all are gone", lambda: not found("ALL"))


def without_goodbye():
    app = App()
    process = register("--instance", "killed", "--port", str(app.port), "--ttl", "5")
    until("it is registered", lambda: "killed" in found())
    # The time passes in which it would have ended.
    time.sleep(6)
    report.check("killed" in found(), "the lease is renewed")
    process.kill()
    process.wait()
    until("the lease has ended", lambda: not found("ALL"))


def one_after_another():
    app = App()
    first = register("--instance", "one", "--port", str(app.port), "--ttl", "3")
    until("the first is registered", lambda: "one" in found())
    second = register("--instance", "one", "--port", str(app.port), "--ttl", "3", "--attribute", "holder=second")
    until("the second took it over", lambda: found().get("one", {}).get("holder") == "second")
    ended(first, 254)
    report.equal(found()["one"]["holder"], "second", "the first took nothing away")
    second.send_signal(signal.SIGINT)
    ended(second, 0)
    until("the second did", lambda: not found("ALL"))


def refused():
    process = register("--instance", "metadata", "--port", "80", "--address", "169.254.169.254")
    ended(process, 254)
    process = subprocess.run([os.environ["SELVEDGE_BIN"], "register", "--endpoint-url", endpoint, "--service", "none/web", "--instance", "x", "--port", "80"],
                             capture_output=True, text=True)
    report.check(process.returncode == 254 and "none/web" in process.stderr, f"no such service: {process.stderr}")


if not os.environ.get("SELVEDGE_BIN"):
    print("skipped: SELVEDGE_BIN names no binary")
else:
    operation = cloud.create_http_namespace(Name=SPACE)["OperationId"]
    space = cloud.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    cloud.create_service(Name="web", NamespaceId=space)
    lives_and_is_well()
    program()
    by_grpc() if grpc else print("skipped: gRPC, for Python has no grpcio-health-checking")
    without_goodbye()
    one_after_another()
    refused()
report.end()
