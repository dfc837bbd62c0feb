#!/usr/bin/env python3
"""Everything that the API accepts, real Envoys and our own proxies accept too.

Walks botocore's model as `bounds.py` does. Each member of each kind's spec, at every bound that the model allows, is written to a standing
mesh, while proxies are connected for each resource that the change can reach: a node, its caller and a gateway, each as an Envoy and as our
own proxy, with and without interception. Every one has to take the configuration; a single refusal (NACK) fails, with the proxy's words.
"""

import copy
import json
import os
import time
import urllib.request
import uuid

import botocore.session

import _generate as generate
import _proxies as proxies
import _server
from _clients import boto, try_boto
from _report import Report

report = Report()
SYNC_SECONDS = 60
# By then the control plane has looked at every change; the store's revision also counts what is no mesh's, as a replica's sign of life.
READ_SECONDS = 1
PROTOCOLS = {"httpRoute": "http", "http2Route": "http2", "grpcRoute": "grpc", "tcpRoute": "tcp"}
MESH = f"translation-{uuid.uuid4().hex[:8]}"
NODE, CALLER, GATEWAY, ROUTER, ROUTE = "subject", "caller", "door", "router", "route"
# What each kind's subject is called, beside its mesh.
SUBJECTS = {
    "Mesh": {},
    "VirtualNode": {"virtualNodeName": NODE},
    "VirtualService": {"virtualServiceName": "varied.local"},
    "VirtualRouter": {"virtualRouterName": ROUTER},
    "Route": {"virtualRouterName": ROUTER, "routeName": ROUTE},
    "VirtualGateway": {"virtualGatewayName": GATEWAY},
    "GatewayRoute": {"virtualGatewayName": GATEWAY, "gatewayRouteName": ROUTE},
}


def listener(protocol):
    return {"portMapping": {"port": 8080, "protocol": protocol}}


def route(protocol="http"):
    """A route of any protocol, to a node that is there."""
    match = {"prefix": "/"} if protocol.startswith("http") else {}
    action = {"weightedTargets": [{"virtualNode": "x", "weight": 1}]}
    return {f"{protocol}Route": {"action": action, **({"match": match} if protocol != "tcp" else {})}}


def gateway_route(protocol="http"):
    match = {"serviceName": "x.Y"} if protocol == "grpc" else {"prefix": "/"}
    action = {"target": {"virtualService": {"virtualServiceName": "x"}}}
    return {f"{protocol}Route": {"match": match, "action": action}}


class Walk:
    def __init__(self, endpoint, binary):
        self.endpoint, self.client = endpoint, boto(endpoint)
        self.model = botocore.session.get_session().get_service_model("appmesh")
        self.standing = {}
        self.last = {}
        self.prepare()
        self.proxies = proxies.Fleet(endpoint, binary)
        for kind, name in (("virtualNode", NODE), ("virtualNode", CALLER), ("virtualGateway", GATEWAY)):
            self.proxies.start(f"mesh/{MESH}/{kind}/{name}")
        self.settled("the proxies' first configuration")

    def prepare(self):
        """A caller of services that lead to the node by both ways, and a gateway to them."""
        self.client.create_mesh(meshName=MESH)
        dns = {"dns": {"hostname": "localhost"}}
        for name in ("x", "x" * 255, NODE):
            spec = {"listeners": [listener("http")], "serviceDiscovery": dns}
            self.client.create_virtual_node(meshName=MESH, virtualNodeName=name, spec=spec)
        routed = {"provider": {"virtualRouter": {"virtualRouterName": ROUTER}}}
        direct = {"provider": {"virtualNode": {"virtualNodeName": NODE}}}
        services = {"routed.local": routed, "direct.local": direct, "varied.local": direct, "x": direct, "x" * 255: direct}
        for name, spec in services.items():
            self.client.create_virtual_service(meshName=MESH, virtualServiceName=name, spec=spec)
        backends = [{"virtualService": {"virtualServiceName": name}} for name in services]
        self.client.create_virtual_node(
            meshName=MESH, virtualNodeName=CALLER, spec={"listeners": [listener("http")], "serviceDiscovery": dns, "backends": backends}
        )
        self.standing = {
            "Mesh": {},
            "VirtualNode": {"listeners": [listener("http")], "serviceDiscovery": dns},
            "VirtualService": direct,
            "VirtualRouter": {"listeners": [listener("http")]},
            "Route": route(),
            "VirtualGateway": {"listeners": [listener("http")]},
            "GatewayRoute": gateway_route(),
        }
        for kind in ("VirtualRouter", "Route", "VirtualGateway", "GatewayRoute"):
            self.write("Create", kind, self.standing[kind])
        self.last = {kind: self.standing[kind] for kind in SUBJECTS}

    def write(self, verb, kind, spec):
        return try_boto(self.client, verb + kind, {"meshName": MESH, **SUBJECTS[kind], "spec": spec})

    def put(self, kind, spec, what):
        """Writes a subject, if it is not so already; whether that was taken."""
        if self.last.get(kind) == spec:
            return True
        status, code, output = self.write("Update", kind, spec)
        report.check(status == 200, lambda: f"{what}: {code} {output}")
        self.last[kind] = copy.deepcopy(spec) if status == 200 else None
        return status == 200

    def kind(self, kind):
        """Writes each value of each member, and sees what the proxies say."""
        shape = self.model.operation_model("Create" + kind).input_shape.members["spec"]
        for path, member in generate.paths(shape):
            whole = ("spec",) + path
            held = self.served(kind, generate.holding(shape, path, ("spec",)))
            values = generate.allowed(member, whole) or [("present", generate.get(held, path))]
            for case, value in values:
                if "httpRetryEvents" in path and member.type_name == "string":
                    continue  # the model calls any word a retry event; only App Mesh's own are taken
                what = f"{kind} {generate.written(whole)}: {case}"
                spec = self.served(kind, generate.put(held, path, value))
                if names_a_certificate(spec):
                    continue
                if self.surroundings(kind, spec, what) and self.put(kind, spec, what):
                    self.settled(what)
        what = f"{kind} as it was"
        self.surroundings(kind, self.standing[kind], what)
        self.put(kind, self.standing[kind], what)

    def surroundings(self, kind, spec, what):
        """Gives a route a router, and a gateway route a gateway, of its protocol, which neither changes while it has another's."""
        if kind == "VirtualRouter":
            return self.router(spec, what)
        around = {"Route": "VirtualRouter", "GatewayRoute": "VirtualGateway"}.get(kind)
        if around is None:
            return True
        protocol = next(PROTOCOLS[name] for name in spec if name in PROTOCOLS)
        wanted = {"listeners": [listener(protocol)]}
        if self.last[around] == wanted:
            return True
        try_boto(self.client, "Delete" + kind, {"meshName": MESH, **SUBJECTS[kind]})
        self.put(around, wanted, f"{what}: its surroundings")
        status, code, output = self.write("Create", kind, spec)
        report.check(status == 200, lambda: f"{what}: created: {code} {output}")
        self.last[kind] = copy.deepcopy(spec)
        return status == 200

    def router(self, spec, what):
        """Gives a router that changes its protocol a route of the new one."""
        protocol = spec["listeners"][0]["portMapping"]["protocol"] if spec.get("listeners") else "http"
        wanted = route(protocol)
        if self.last["Route"] != wanted:
            try_boto(self.client, "DeleteRoute", {"meshName": MESH, **SUBJECTS["Route"]})
            self.put("VirtualRouter", spec, what)
            status, code, output = self.write("Create", "Route", wanted)
            report.check(status == 200, lambda: f"{what}: its route: {code} {output}")
            self.last["Route"] = wanted
        return True

    def served(self, kind, spec):
        """Adds to a spec what rules between members demand, and what it takes to reach a proxy."""
        for place in spec.get("listeners") or []:
            for choice in (place.get("timeout"), place.get("connectionPool")):
                if isinstance(choice, dict) and len(choice) == 1:
                    place["portMapping"]["protocol"] = next(iter(choice))
            check = place.get("healthCheck")
            if check and "port" in check:
                place["portMapping"]["port"] = max(1, check["port"])
        if kind == "VirtualNode":
            spec.setdefault("listeners", [listener("http")])
            spec.setdefault("serviceDiscovery", {"dns": {"hostname": "localhost"}})
        if kind == "VirtualGateway":
            spec.setdefault("listeners", [listener("http")])
        if kind == "Route" and not any(name in PROTOCOLS for name in spec):
            spec.update(route())
        if kind == "GatewayRoute" and not any(name in PROTOCOLS for name in spec):
            spec.update(gateway_route())
        match = spec.get("grpcRoute", {}).get("match", {})
        if "methodName" in match:
            match.setdefault("serviceName", "x.Y")
        return spec

    def settled(self, what):
        """Waits until every proxy has taken the present revision, and none has refused a part of it."""
        started = time.monotonic()
        written, _ = self.status()
        while True:
            waited = time.monotonic() - started
            revision = written if waited < READ_SECONDS else 0
            _, mesh = self.status()
            refused = list(conditions(mesh, "REJECTED"))
            behind = [f"{name} {proxy}" for name, proxy in connected(mesh) if not proxy["upToDate"] or (proxy["revision"] or 0) < revision]
            missing = self.proxies.count() - len(list(connected(mesh)))
            if refused or not (behind or missing) or waited > SYNC_SECONDS:
                break
            time.sleep(0.005)
        missing = missing or self.proxies.dead()
        report.check(not (refused or behind or missing), lambda: f"{what}: refused {refused}, behind {behind}, missing {missing}")

    def status(self):
        with urllib.request.urlopen(f"{self.endpoint}/selvedge/v1/status?mesh={MESH}", timeout=10) as answer:
            document = json.load(answer)
        return document["revision"], document["meshes"][0]


def names_a_certificate(value):
    """Whether a part of a spec needs a certificate beside the proxy; real ones are `services/control/tests/envoy`'s part."""
    if isinstance(value, list):
        return any(names_a_certificate(item) for item in value)
    if not isinstance(value, dict):
        return False
    return "certificateChain" in value or "secretName" in value or any(names_a_certificate(item) for item in value.values())


def below(resource):
    yield resource
    for child in resource.get("children", []):
        yield from below(child)


def connected(mesh):
    return ((resource["name"], proxy) for resource in below(mesh) for proxy in resource.get("proxies", []))


def conditions(mesh, condition):
    return (f"{r['kind']} {r['name']}: {r.get('reasons')}" for r in below(mesh) if r["condition"] == condition)


binary = os.environ.get("SELVEDGE_BIN")
if not binary:
    print("skipped: SELVEDGE_BIN does not say which binary's proxies to start")
    report.end()
walk = Walk(_server.endpoint(), binary)
try:
    for kind in SUBJECTS:
        walk.kind(kind)
finally:
    walk.proxies.stop()
report.end()
