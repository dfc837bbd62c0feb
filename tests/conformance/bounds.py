#!/usr/bin/env python3
"""Walks botocore's appmesh model: every operation, member, bound, enum, type and required member, on a live server.

What the model allows is written through boto3 and read back; what it forbids is refused with a BadRequestException that names the field
path, and nothing is stored. boto3's own checks are off, so that the server has to make them; what boto3 cannot write at all (wrong types,
unknown members) goes as plain HTTP.
"""

import copy
import uuid

import botocore.session

import _generate as generate
import _server
from _clients import Raw, boto, try_boto
from _report import Report

report = Report()
endpoint = _server.endpoint()
client, raw = boto(endpoint), Raw(endpoint)
model = botocore.session.get_session().get_service_model("appmesh")

RUN = uuid.uuid4().hex[:8]
MESH = f"bounds-{RUN}"
ROUTER, GATEWAY = "router", "gateway"
KINDS = ["Mesh", "VirtualNode", "VirtualService", "VirtualRouter", "Route", "VirtualGateway", "GatewayRoute"]
PARENTS = {"Mesh": {}, "Route": {"virtualRouterName": ROUTER}, "GatewayRoute": {"virtualGatewayName": GATEWAY}}
NAME_OF = {kind: kind[0].lower() + kind[1:] + "Name" for kind in KINDS}
PAYLOAD_OF = {kind: kind[0].lower() + kind[1:] for kind in KINDS}
# The model leaves these free text; only the words that App Mesh documents are taken, because no other does anything.
FREE_TEXT_REFUSED = "httpRetryEvents"
LENIENT = {"intervalMillis", "timeoutMillis"}


def identity(kind, name):
    members = {NAME_OF[kind]: name, **PARENTS.get(kind, {})}
    return members if kind == "Mesh" else {"meshName": MESH, **members}


def sensible(kind, spec):
    """Adds to a spec what rules between members demand and the model does not say."""
    if not isinstance(spec, dict):
        return spec
    for listener in spec.get("listeners") or []:
        if not isinstance(listener, dict) or not isinstance(listener.get("portMapping"), dict):
            continue
        for member in ("timeout", "connectionPool"):
            choice = listener.get(member)
            if isinstance(choice, dict) and len(choice) == 1:
                listener["portMapping"]["protocol"] = next(iter(choice))
        check = listener.get("healthCheck")
        if isinstance(check, dict) and isinstance(check.get("port"), int):
            listener["portMapping"]["port"] = max(1, min(65535, check["port"]))
    if kind == "VirtualNode" and "serviceDiscovery" in spec:
        spec.setdefault("listeners", [{"portMapping": {"port": 80, "protocol": "http"}}])
    if kind == "Route" and not any(name.endswith("Route") for name in spec):
        targets = [{"virtualNode": "x", "weight": 1}]
        spec["httpRoute"] = {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}
    if kind == "GatewayRoute" and not any(name.endswith("Route") for name in spec):
        target = {"virtualService": {"virtualServiceName": "x"}}
        spec["httpRoute"] = {"match": {"prefix": "/"}, "action": {"target": target}}
    grpc = spec.get("grpcRoute")
    if isinstance(grpc, dict) and isinstance(grpc.get("match"), dict) and "methodName" in grpc["match"]:
        grpc["match"].setdefault("serviceName", "x.Y")
    return spec


def as_stored(kind, spec):
    """The spec as describe shows it: App Mesh's own few changes."""
    spec = copy.deepcopy(spec)
    for listener in spec.get("listeners", []):
        if "healthCheck" in listener:
            listener["healthCheck"].setdefault("port", listener["portMapping"]["port"])
    if kind == "VirtualNode":
        spec.setdefault("backends", [])
    return spec


def is_refusal(status, code, message, path):
    place = generate.written(path)
    return status == 400 and code == "BadRequestException" and f"'{place}" in message


def prepare():
    """A mesh with what routes and gateway routes point to, under the shortest and the longest names."""
    client.create_mesh(meshName=MESH)
    for name in ("x", "x" * 255):
        client.create_virtual_node(meshName=MESH, virtualNodeName=name, spec={})
        client.create_virtual_service(meshName=MESH, virtualServiceName=name, spec={})
    client.create_virtual_router(meshName=MESH, virtualRouterName=ROUTER, spec={})
    listeners = [{"portMapping": {"port": 80, "protocol": "http"}}]
    client.create_virtual_gateway(meshName=MESH, virtualGatewayName=GATEWAY, spec={"listeners": listeners})


def clean_up():
    for name in ("x", "x" * 255):
        client.delete_virtual_service(meshName=MESH, virtualServiceName=name)
        client.delete_virtual_node(meshName=MESH, virtualNodeName=name)
    client.delete_virtual_router(meshName=MESH, virtualRouterName=ROUTER)
    client.delete_virtual_gateway(meshName=MESH, virtualGatewayName=GATEWAY)
    client.delete_mesh(meshName=MESH)


def walk_spec(kind):
    """Every member of a kind's spec: on a fresh resource for each value allowed, by update for each that is not."""
    create, update = model.operation_model("Create" + kind), model.operation_model("Update" + kind)
    shape = create.input_shape.members["spec"]
    standing = identity(kind, f"standing-{RUN}")
    base = sensible(kind, generate.smallest(shape, ("spec",)))
    status, code, output = try_boto(client, create.name, {**standing, "spec": base})
    report.equal((status, code), (200, None), f"Create{kind} with the smallest spec ({output})")
    version = output[PAYLOAD_OF[kind]]["metadata"]["version"] if status == 200 else 0

    for path, member in generate.paths(shape):
        whole = ("spec",) + path
        spec = sensible(kind, generate.holding(shape, path, ("spec",)))
        what = f"{kind} {generate.written(whole)}"
        values = generate.allowed(member, whole) or [("present", generate.get(spec, path))]
        for case, value in values:
            accept(kind, sensible(kind, generate.put(spec, path, value)), f"{what}: {case}", member, path)
        for case, value in generate.forbidden(member, whole):
            body = generate.put(spec, path, value)
            for operation, name in ((update, standing), (create, identity(kind, f"never-{RUN}"))):
                status, code, output = try_boto(client, operation.name, {**name, "spec": body})
                report.check(is_refusal(status, code, output.get("message", ""), whole),
                             lambda: f"{operation.name} {what}: {case}: {status} {code} {output}")
        refuse_raw(kind, update, standing, shape, spec, path, member, what)

    status, code, output = try_boto(client, "Describe" + kind, standing)
    shown = output.get(PAYLOAD_OF[kind], {})
    report.equal(shown.get("metadata", {}).get("version"), version, f"{kind}: version after refusals only")
    report.equal(shown.get("spec"), as_stored(kind, base), f"{kind}: spec after refusals only")
    status, code, _ = try_boto(client, "Describe" + kind, identity(kind, f"never-{RUN}"))
    report.equal((status, code), (404, "NotFoundException"), f"{kind}: what was refused is not there")
    try_boto(client, "Delete" + kind, standing)


def accept(kind, spec, what, member, path):
    """A value that the model allows is taken by create and by update, and read back."""
    is_event = FREE_TEXT_REFUSED in path and member.type_name == "string"
    name = identity(kind, f"fresh-{uuid.uuid4().hex[:12]}")
    status, code, output = try_boto(client, "Create" + kind, {**name, "spec": spec})
    if is_event:
        report.equal((status, code), (400, "BadRequestException"), f"{what}: a word that does nothing")
        return
    report.equal((status, code), (200, None), lambda: f"{what} ({output})")
    if status != 200:
        return
    wanted = as_stored(kind, spec)
    _, _, output = try_boto(client, "Describe" + kind, name)
    report.equal(output.get(PAYLOAD_OF[kind], {}).get("spec"), wanted, f"{what}: read back")
    status, _, output = try_boto(client, "Update" + kind, {**name, "spec": spec})
    version = output.get(PAYLOAD_OF[kind], {}).get("metadata", {}).get("version")
    report.equal((status, version), (200, 2), f"{what}: by update")
    status, _, output = try_boto(client, "Delete" + kind, name)
    deleted = output.get(PAYLOAD_OF[kind], {}).get("status")
    report.equal((status, deleted), (200, {"status": "DELETED"}), f"{what}: deleted")


def refuse_raw(kind, update, standing, shape, spec, path, member, what):
    """What boto3 does not write: wrong types, members that are missing or unknown."""
    whole = ("spec",) + path

    def refused(body, case, at):
        status, code, document = raw.call(update, {**standing, "spec": body})
        report.check(is_refusal(status, code, document.get("message", ""), at),
                     lambda: f"{update.name} {what}: {case}: {status} {code} {document}")

    for case, value in generate.mistyped(member):
        refused(generate.put(spec, path, value), case, whole)
    if path[-1] == 0:
        return
    parent = generate.parent_shape(shape, path)
    if path[-1] in parent.required_members and path[-1] not in LENIENT:
        refused(generate.without(spec, path), "missing", whole)
        refused(generate.put(spec, path, None), "null", whole)
    if member.type_name == "structure":
        refused(generate.put(spec, path + ("unheardOf",), 1), "unknown member", whole + ("unheardOf",))
    if getattr(member, "is_tagged_union", False):
        refused(generate.put(spec, path, {}), "empty union", whole)
        if len(member.members) > 1:
            both = {n: generate.smallest(s, whole + (n,)) for n, s in list(member.members.items())[:2]}
            refused(generate.put(spec, path, both), "two members of a union", whole)


def walk_inputs():
    """Every member beside the spec, of every operation: names, owners, limits, tokens and tags."""
    for name in model.operation_names:
        operation = model.operation_model(name)
        base = {}
        for member in operation.input_shape.required_members:
            base[member] = sensible("", generate.smallest(operation.input_shape.members[member], (member,)))
        for kind in KINDS:
            if name in ("Create" + kind, "Update" + kind):
                base["spec"] = sensible(kind, base.get("spec", {}))
        if "resourceArn" in base:
            base["resourceArn"] = f"arn:aws:appmesh:us-west-2:{_server.ACCOUNT}:mesh/{MESH}"
        for path, member in generate.paths(operation.input_shape):
            if path[0] == "spec":
                continue
            params = {**base}
            if path[0] not in params:
                params[path[0]] = generate.smallest(operation.input_shape.members[path[0]], path[:1])
            for case, value in generate.forbidden(member, path):
                if value == "" and operation.input_shape.members[path[0]].serialization.get("location") == "uri":
                    continue  # boto3 does not write an empty path segment
                status, code, output = try_boto(client, name, generate.put(params, path, value))
                report.check(is_refusal(status, code, output.get("message", ""), path),
                             lambda: f"{name} {generate.written(path)}: {case}: {status} {code} {output}")
        if operation.http["method"] == "PUT":
            unheard = {**base, "unheardOf": 1}
            status, code, document = raw.call(operation, unheard)
            report.check(is_refusal(status, code, document["message"], ("unheardOf",)),
                         lambda: f"{name}: unknown member: {status} {code} {document}")
            for member in operation.input_shape.required_members:
                if "location" in operation.input_shape.members[member].serialization:
                    continue
                status, code, document = raw.call(operation, {n: v for n, v in base.items() if n != member})
                report.check(is_refusal(status, code, document["message"], (member,)),
                             lambda: f"{name}: without {member}: {status} {code} {document}")
        path = operation.http["requestUri"].replace("{", "").replace("}", "") + "?unheardOf=1"
        status, headers, _ = raw.send(operation.http["method"], path, {} if operation.http["method"] == "PUT" else None)
        report.equal((status, headers.get("x-amzn-errortype")), (400, "BadRequestException"), f"{name}: unknown query")


def walk_names():
    """The longest and the shortest names are taken, for every kind."""
    for kind in KINDS:
        spec = sensible(kind, generate.smallest(model.operation_model("Create" + kind).input_shape.members["spec"], ("spec",)))
        for name in ("n", "n" * 255):
            who = identity(kind, name)
            status, code, output = try_boto(client, "Create" + kind, {**who, "spec": spec})
            report.equal((status, code), (200, None), f"{kind} with a name of {len(name)}")
            status, _, output = try_boto(client, "Describe" + kind, who)
            report.equal(output.get(PAYLOAD_OF[kind], {}).get(NAME_OF[kind]), name, f"{kind} by its name")
            report.equal(try_boto(client, "Delete" + kind, who)[0], 200, f"{kind} deleted by its name")


prepare()
for kind in KINDS:
    walk_spec(kind)
walk_inputs()
walk_names()
clean_up()
report.end()
