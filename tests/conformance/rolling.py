#!/usr/bin/env python3
"""Cloud Map and real proxies: what is registered is called, what is deregistered is drained first, and a rolling deploy
under load loses no request. Through our own sidecar and through a real Envoy."""

import http.client
import http.server
import json
import os
import pathlib
import shutil
import socketserver
import subprocess
import tempfile
import threading
import time
import urllib.request

import boto3
import botocore.config

import _server
from _ports import free_port
from _proxies import envoy_binary
from _report import Report

report = Report()
endpoint = _server.endpoint()
config = botocore.config.Config(inject_host_prefix=False, retries={"total_max_attempts": 1})
common = dict(endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x", config=config)
mesh, cloud = boto3.client("appmesh", **common), boto3.client("servicediscovery", **common)
MESH, SPACE = f"rolling-{os.getpid()}", f"rolling-{os.getpid()}.local"
PATIENCE = 60
WORKERS, ROLLS = 4, 4


class App:
    """An instance of the service: answers with its own name, after a little work, and counts."""

    def __init__(self, name, **attributes):
        self.name, self.served = name, 0
        app = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                time.sleep(0.01)
                app.served += 1
                body = app.name.encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.attributes = {"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": str(self.server.server_port), **attributes}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def register(self):
        cloud.register_instance(ServiceId=service, InstanceId=self.name, Attributes=self.attributes)

    def deregister(self):
        """Takes it away and waits for the operation's end, as a deploy does."""
        operation = cloud.deregister_instance(ServiceId=service, InstanceId=self.name)["OperationId"]
        while cloud.get_operation(OperationId=operation)["Operation"]["Status"] == "PENDING":
            time.sleep(0.1)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def sidecar(folder, is_envoy):
    """The caller's sidecar, without interception; gives the process and the port that leads out."""
    admin, egress = free_port(), free_port()
    environment = {**os.environ, "APPMESH_RESOURCE_ARN": f"mesh/{MESH}/virtualNode/caller", "APPMESH_XDS_ENDPOINT": endpoint.split("//")[1],
                   "ENVOY_ADMIN_ACCESS_PORT": str(admin), "SELVEDGE_INTERCEPTION": "none",
                   "SELVEDGE_INGRESS_PORT": str(free_port()), "SELVEDGE_EGRESS_PORT": str(egress)}
    command = [os.environ["SELVEDGE_BIN"], "proxy"]
    if is_envoy:
        bootstrap = subprocess.run([*command, "--print-envoy-bootstrap"], env=environment, check=True, capture_output=True)
        file = folder / "envoy.yaml"
        file.write_bytes(bootstrap.stdout)
        command = [envoy_binary(), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
    log = open(folder / f"sidecar-{is_envoy}.log", "wb")
    process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return process, egress


def ask(port, connection=None):
    """One request to the service by its name; gives the status and who answered."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    own.request("GET", "/", headers={"host": "web.local"})
    response = own.getresponse()
    body = response.read().decode(errors="replace")
    if connection is None:
        own.close()
    return response.status, body


def until(what, is_so):
    """Waits; gives how long it took in milliseconds."""
    started = time.monotonic()
    while True:
        try:
            if is_so():
                return (time.monotonic() - started) * 1000
        except OSError:
            pass
        if time.monotonic() > started + PATIENCE:
            report.check(False, f"never: {what}")
            return PATIENCE * 1000
        time.sleep(0.002)


def answers(port, count=12):
    return {ask(port) for _ in range(count)}


class Load:
    """Callers that ask again and again, each on a connection of its own; every answer is kept."""

    def __init__(self, port):
        self.port, self.is_over, self.answers, self.broken = port, False, [], []
        self.asked = [0] * WORKERS
        self.threads = [threading.Thread(target=self.run, args=(worker,)) for worker in range(WORKERS)]
        for thread in self.threads:
            thread.start()

    def run(self, worker):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.is_over:
            self.asked[worker] += 1
            try:
                self.answers.append(ask(self.port, connection))
            except OSError as error:
                self.broken.append(repr(error))
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def goes_on(self):
        """Waits until what each caller had asked is answered, and what it asked after that."""
        before = list(self.asked)
        until("callers go on", lambda: all(now > then + 1 for now, then in zip(self.asked, before)))

    def end(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


def follow(kind, port):
    """Registration, health, attributes and deregistration reach the sidecar."""
    first, second, other = App(f"{kind}-a", stage="live"), App(f"{kind}-b", stage="live"), App(f"{kind}-c", stage="test")
    started = len(answers(port))
    report.check(started == 1 and ask(port)[0] == 503, f"{kind}: nobody is there at first: {answers(port)}")
    first.register()
    latencies = [until(f"{kind}: the first instance is called", lambda: ask(port) == (200, first.name))]
    other.register()
    second.register()
    latencies.append(until(f"{kind}: the second one too", lambda: (200, second.name) in answers(port, 2)))
    report.check((200, other.name) not in answers(port), f"{kind}: only instances with the attribute are called")
    cloud.update_instance_custom_health_status(ServiceId=service, InstanceId=first.name, Status="UNHEALTHY")
    latencies.append(until(f"{kind}: an ill instance is left alone", lambda: answers(port, 4) == {(200, second.name)}))
    cloud.update_instance_custom_health_status(ServiceId=service, InstanceId=first.name, Status="HEALTHY")
    latencies.append(until(f"{kind}: a healthy one is called again", lambda: (200, first.name) in answers(port, 4)))
    cloud.deregister_instance(ServiceId=service, InstanceId=first.name)
    latencies.append(until(f"{kind}: a leaving one gets nothing new", lambda: answers(port, 4) == {(200, second.name)}))
    print(f"{kind}: changes seen after " + ", ".join(f"{one:.0f}" for one in latencies) + " ms")
    # A busy machine makes each of them late; what asked by the clock would be late with all.
    report.check(min(latencies) < 500, f"{kind}: in under 500 ms: {latencies}")
    for app in (second, other):
        app.deregister()
    for app in (first, second, other):
        app.stop()


def roll(kind, port):
    """Instances are replaced one by one while requests come in."""
    now = [App(f"{kind}-r0-{n}", stage="live") for n in range(2)]
    for app in now:
        app.register()
    until(f"{kind}: both answer", lambda: {(200, app.name) for app in now} <= answers(port, 6))
    load, everybody = Load(port), list(now)
    for turn in range(1, ROLLS + 1):
        replacement = App(f"{kind}-r{turn}", stage="live")
        replacement.register()
        now.append(replacement)
        everybody.append(replacement)
        called = lambda: {name for _, name in load.answers}
        until(f"{kind}: all are called, the new one too", lambda: {app.name for app in now} <= called())
        old = now.pop(0)
        old.deregister()
        # What was on its way when the operation ended may still arrive.
        load.goes_on()
        served = old.served
        load.goes_on()
        report.equal(old.served, served, f"{kind}: requests to an instance after its operation ended")
        old.stop()
    load.end()
    failed = [answer for answer in load.answers if answer[0] != 200]
    report.check(not failed and not load.broken, lambda: f"{kind}: {len(failed)} of {len(load.answers)} failed: {failed[:3]} {load.broken[:3]}")
    report.check(len(load.answers) > 50, f"{kind}: there was load: {len(load.answers)}")
    report.check({name for _, name in load.answers} == {app.name for app in everybody}, f"{kind}: everybody had a part in it")
    print(f"{kind}: {len(load.answers)} requests through {ROLLS} replacements, {len(failed) + len(load.broken)} lost")
    for app in now:
        app.deregister()
        app.stop()


operation = cloud.create_http_namespace(Name=SPACE)["OperationId"]
space = cloud.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
service = cloud.create_service(Name="web", NamespaceId=space, HealthCheckCustomConfig={})["Service"]["Id"]
listener = {"portMapping": {"port": 8080, "protocol": "http"}}
mesh.create_mesh(meshName=MESH)
mesh.create_virtual_node(meshName=MESH, virtualNodeName="web", spec={"listeners": [listener], "serviceDiscovery": {
    "awsCloudMap": {"namespaceName": SPACE, "serviceName": "web", "attributes": [{"key": "stage", "value": "live"}]}}})
mesh.create_virtual_service(meshName=MESH, virtualServiceName="web.local",
                            spec={"provider": {"virtualNode": {"virtualNodeName": "web"}}})
mesh.create_virtual_node(meshName=MESH, virtualNodeName="caller", spec={
    "backends": [{"virtualService": {"virtualServiceName": "web.local"}}]})

folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-rolling-"))
try:
    if not os.environ.get("SELVEDGE_BIN"):
        print("skipped: sidecars, for SELVEDGE_BIN names none")
    else:
        for kind, is_envoy in (("selvedge", False), ("envoy", True)):
            if is_envoy and not envoy_binary():
                print("skipped: Envoy's part, for there is none here")
                continue
            process, port = sidecar(folder, is_envoy)
            until(f"{kind}: the sidecar answers", lambda: ask(port)[0] in (503, 200))
            try:
                follow(kind, port)
                roll(kind, port)
            finally:
                process.terminate()
                process.wait(20)
finally:
    shutil.rmtree(folder, ignore_errors=True)
report.end()
