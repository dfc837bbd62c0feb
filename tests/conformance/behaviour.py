#!/usr/bin/env python3
"""What the model does not say: references, in-use rules, client tokens, tags, paging, and requests that mean no good.

Through boto3 as it comes, with its own checks and retries, and through plain sockets for what no client sends.
"""

import json
import socket
import urllib.parse
import uuid

import boto3
import botocore.session

import _server
from _clients import Raw, boto, try_boto
from _report import Report

report = Report()
endpoint = _server.endpoint()
lax, raw = boto(endpoint), Raw(endpoint)
client = boto3.client("appmesh", endpoint_url=endpoint, region_name="eu-west-1",
                      aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")
model = botocore.session.get_session().get_service_model("appmesh")
MESH = f"behaviour-{uuid.uuid4().hex[:8]}"
HTTP = {"portMapping": {"port": 8080, "protocol": "http"}}


def refused(call, code, message, what):
    """A call through boto3 that has to fail in exactly these words."""
    try:
        call()
        report.check(False, f"{what}: it succeeded")
    except client.exceptions.ClientError as error:
        got = error.response["Error"]
        report.equal((got["Code"], got["Message"]), (code, message), what)


def conforms(value, shape, path):
    """Whether a document has the model's shape: what is required is there, nothing is unknown, and types are right."""
    kinds = {"string": str, "integer": int, "long": int, "boolean": bool, "timestamp": (int, float), "list": list,
             "structure": dict}
    report.check(isinstance(value, kinds[shape.type_name]), f"{path} is a {shape.type_name}: {value!r}")
    if shape.type_name == "structure":
        report.check(set(value) <= set(shape.members), f"{path} has only known members: {list(value)}")
        report.check(set(shape.required_members) <= set(value), f"{path} has all required members: {list(value)}")
        for name in value:
            if name in shape.members:
                conforms(value[name], shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for item in value:
            conforms(item, shape.member, f"{path}[]")
    elif shape.metadata.get("enum"):
        report.check(value in shape.metadata["enum"], f"{path} is a word of its enum: {value}")


def answer(name, **params):
    """Calls by plain HTTP and checks the bare document against the model's output."""
    operation = model.operation_model(name)
    status, _, document = raw.call(operation, params)
    report.equal(status, 200, f"{name} {document}")
    payload = operation.output_shape.serialization.get("payload")
    shape = operation.output_shape.members[payload] if payload else operation.output_shape
    if status == 200:
        conforms(document, shape, name)
    return document


def resources():
    """One of each kind, in AWS's own order; each answer has the model's shape. Then down again."""
    inside = {"meshName": MESH}
    answer("CreateMesh", **inside, spec={"egressFilter": {"type": "DROP_ALL"}}, tags=[{"key": "k", "value": "v"}])
    for name in ("a", "b"):
        answer("CreateVirtualNode", **inside, virtualNodeName=name, spec={
            "listeners": [HTTP], "serviceDiscovery": {"dns": {"hostname": f"{name}.local"}}})
    answer("CreateVirtualRouter", **inside, virtualRouterName="r", spec={"listeners": [HTTP]})
    targets = [{"virtualNode": "a", "weight": 80}, {"virtualNode": "b", "weight": 20}]
    route = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}
    answer("CreateRoute", **inside, virtualRouterName="r", routeName="x", spec=route)
    provider = {"virtualRouter": {"virtualRouterName": "r"}}
    service = "name with/slash.local:80"
    answer("CreateVirtualService", **inside, virtualServiceName=service, spec={"provider": provider})
    answer("CreateVirtualService", **inside, virtualServiceName="s.local", spec={"provider": {"virtualNode": {"virtualNodeName": "b"}}})
    answer("CreateVirtualGateway", **inside, virtualGatewayName="g", spec={"listeners": [HTTP]})
    target = {"target": {"virtualService": {"virtualServiceName": "s.local"}}}
    gateway_route = {"httpRoute": {"match": {"prefix": "/"}, "action": target}}
    created = answer("CreateGatewayRoute", **inside, virtualGatewayName="g", gatewayRouteName="y", spec=gateway_route)

    items = {
        "Mesh": inside, "VirtualNode": {**inside, "virtualNodeName": "a"},
        "VirtualRouter": {**inside, "virtualRouterName": "r"},
        "Route": {**inside, "virtualRouterName": "r", "routeName": "x"},
        "VirtualService": {**inside, "virtualServiceName": service},
        "VirtualGateway": {**inside, "virtualGatewayName": "g"},
        "GatewayRoute": {**inside, "virtualGatewayName": "g", "gatewayRouteName": "y"},
    }
    for kind, who in items.items():
        shown = answer("Describe" + kind, **who)
        report.check(0 < shown["metadata"]["createdAt"] < 4e9, f"{kind}: createdAt is in seconds")
        again = answer("Update" + kind, **who, spec={k: v for k, v in shown["spec"].items()})
        report.equal(again["metadata"]["version"], 2, f"{kind}: version after an update")
        listing = "ListMeshes" if kind == "Mesh" else f"List{kind}s"
        parents = {k: v for k, v in who.items() if k in model.operation_model(listing).input_shape.members}
        answer(listing, **parents)
        answer("ListTagsForResource", resourceArn=shown["metadata"]["arn"])

    refused(lambda: client.delete_virtual_node(**inside, virtualNodeName="a"), "ResourceInUseException",
            "VirtualNode with name a cannot be deleted because it is the target of one or more routes.", "node in use")
    refused(lambda: client.delete_virtual_service(**inside, virtualServiceName="s.local"), "ResourceInUseException",
            "VirtualService s.local is being referenced in the following: GATEWAY_ROUTE: "
            f"[{created['metadata']['uid']}]", "service in use")
    refused(lambda: client.describe_virtual_node(**inside, virtualNodeName="c"), "NotFoundException",
            f"VirtualNode with name c is not present under mesh {MESH} for account {_server.ACCOUNT}", "absent node")
    refused(lambda: client.update_route(**inside, virtualRouterName="r", routeName="x", spec={
        "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": [{"virtualNode": "c", "weight": 1}]}}}),
        "NotFoundException", "VirtualNode with name c is missing", "route to an absent node")

    answer("DeleteVirtualService", **inside, virtualServiceName=service)
    for kind in ("GatewayRoute", "VirtualGateway", "Route"):
        answer("Delete" + kind, **items[kind])
    answer("DeleteVirtualService", **inside, virtualServiceName="s.local")
    answer("DeleteVirtualRouter", **items["VirtualRouter"])
    for name in ("a", "b"):
        answer("DeleteVirtualNode", **inside, virtualNodeName=name)
    answer("DeleteMesh", **inside)


def paging():
    client.create_mesh(meshName=MESH)
    names = [f"node-{number}" for number in range(5)]
    for name in names:
        client.create_virtual_node(meshName=MESH, virtualNodeName=name, spec={})
    pages = list(client.get_paginator("list_virtual_nodes").paginate(meshName=MESH, PaginationConfig={"PageSize": 2}))
    report.equal([len(page["virtualNodes"]) for page in pages], [2, 2, 1], "sizes of pages")
    report.equal([n["virtualNodeName"] for p in pages for n in p["virtualNodes"]], names, "names over pages")
    first = client.list_virtual_nodes(meshName=MESH, limit=2)
    rest = client.list_virtual_nodes(meshName=MESH, nextToken=first["nextToken"])
    report.equal([n["virtualNodeName"] for n in rest["virtualNodes"]], names[2:], "the rest after two")
    status, code, _ = try_boto(lax, "ListVirtualRouters", {"meshName": MESH, "nextToken": first["nextToken"]})
    report.equal((status, code), (400, "BadRequestException"), "a token of another list")
    for name in names:
        client.delete_virtual_node(meshName=MESH, virtualNodeName=name)
    client.delete_mesh(meshName=MESH)


def tags():
    arn = client.create_mesh(meshName=MESH, tags=[{"key": "a", "value": "1"}])["mesh"]["metadata"]["arn"]
    report.check(arn.startswith("arn:aws:appmesh:eu-west-1:"), f"the region of the signature is in {arn}")
    client.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": ""}])
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    report.equal(client.list_tags_for_resource(resourceArn=arn)["tags"], [{"key": "b", "value": ""}], "tags")
    many = [{"key": f"k{number}", "value": ""} for number in range(50)]
    status, code, _ = try_boto(lax, "TagResource", {"resourceArn": arn, "tags": many})
    report.equal((status, code), (400, "TooManyTagsException"), "51 tags")
    client.delete_mesh(meshName=MESH)


def tokens():
    first = client.create_mesh(meshName=MESH, clientToken=MESH)["mesh"]
    report.equal(client.create_mesh(meshName=MESH, clientToken=MESH)["mesh"], first, "the same request again")
    refused(lambda: client.create_mesh(meshName=MESH, clientToken=MESH, spec={"egressFilter": {"type": "DROP_ALL"}}),
            "ConflictException", "The client token was used for an earlier request with different specifications",
            "another request with the same token")
    refused(lambda: client.create_mesh(meshName=MESH), "ConflictException", f"Mesh with name {MESH} already exists",
            "the same name")
    client.delete_mesh(meshName=MESH)


def bad_input():
    """An AWS-shaped error for each, nothing stored, and a server that goes on."""
    meshes = "/v20190125/meshes"
    nested = b'{"meshName":' + b"[" * 100000 + b"]" * 100000 + b"}"
    for what, method, path, body, status, code, part in [
        ("truncated", "PUT", meshes, b'{"meshName":"m"', 400, "BadRequestException", "ends early"),
        ("not JSON", "PUT", meshes, b"meshName=m", 400, "BadRequestException", "byte 0"),
        ("a list", "PUT", meshes, b"[]", 400, "BadRequestException", "not an object"),
        ("empty", "PUT", meshes, b"", 400, "BadRequestException", "'meshName'"),
        ("twice", "PUT", meshes, b'{"meshName":"m","spec":{"egressFilter":{"type":"DROP_ALL","type":"ALLOW_ALL"}}}',
         400, "BadRequestException", "'spec.egressFilter.type' is given twice"),
        ("short form", "PUT", meshes, b'{"meshName":"m","spec":{"egressFilter":{"allowAll":true}}}',
         400, "BadRequestException", "'spec.egressFilter.allowAll'"),
        ("not UTF-8", "PUT", meshes, b'{"meshName":"\xff"}', 400, "BadRequestException", "UTF-8"),
        ("nested", "PUT", meshes, nested, 400, "BadRequestException", "deep"),
        ("oversized", "PUT", meshes, b'{"meshName":"' + b"x" * (1 << 20) + b'"}', 413,
         "RequestEntityTooLargeException", "longer"),
        ("long name", "PUT", meshes, {"meshName": "x" * 256}, 400, "BadRequestException", "'meshName'"),
        ("slash in a name", "PUT", meshes, {"meshName": "a/b"}, 400, "BadRequestException", "'/'"),
        ("bad percent", "GET", meshes + "/%ff", None, 400, "BadRequestException", "UTF-8"),
        ("unknown path", "GET", "/v20190125/nothing", None, 404, "UnknownOperationException", "/v20190125/nothing"),
        ("unknown method", "PATCH", meshes, None, 404, "UnknownOperationException", "PATCH"),
        ("plural path", "GET", meshes + "/m/virtualRouters/r/routes", None, 404, "UnknownOperationException", ""),
        ("bad limit", "GET", meshes + "?limit=x", None, 400, "BadRequestException", "'limit'"),
        ("limit twice", "GET", meshes + "?limit=1&limit=2", None, 400, "BadRequestException", "'limit'"),
    ]:
        got, headers, text = Raw(endpoint).send(method, path, body)
        report.equal((got, headers.get("x-amzn-errortype")), (status, code), f"{what}: {text[:200]!r}")
        message = json.loads(text).get("message", "")
        report.check(part in message and len(message) < 2000, f"{what}: {message[:300]}")
        report.check(headers.get("content-type") == "application/json", f"{what}: content type")
    listed = json.loads(raw.send("GET", meshes)[2])
    report.check(not any(mesh["meshName"] == "m" for mesh in listed["meshes"]), "nothing of it is stored")

    parts = urllib.parse.urlsplit(endpoint)
    halves = [b"PUT /v20190125/mes", b"PUT /v20190125/meshes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
              b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100]
    sockets = []
    for half in halves:
        peer = socket.create_connection((parts.hostname, parts.port), timeout=5)
        peer.sendall(half)
        sockets.append(peer)
    report.equal(raw.send("GET", meshes)[0], 200, "others are served while requests are half sent")
    for peer in sockets:
        peer.close()
    report.equal(raw.send("GET", "/healthz")[0], 200, "the server goes on")


resources()
paging()
tags()
tokens()
bad_input()
report.end()
