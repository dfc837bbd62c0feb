#!/usr/bin/env python3
"""Compares the server's table of operations and shapes with botocore's model, member by member."""

import json
import urllib.request

import botocore.session

import _server
from _report import Report

# The names of shapes are not compared: several of the model's have one structure, and are one type here.
report = Report()
served = json.load(urllib.request.urlopen(_server.endpoint() + "/selvedge/v1/model"))["appmesh"]["operations"]
model = botocore.session.get_session().get_service_model("appmesh")

# A lenient server lets a health check leave these out, and says so in its table.
LENIENT = {"intervalMillis", "timeoutMillis"}


def compare(ours, theirs, path):
    kind = theirs.type_name
    if kind == "structure" and getattr(theirs, "is_tagged_union", False):
        kind = "union"
    report.equal(ours["type"], kind, f"type of {path}")
    if kind in ("structure", "union"):
        report.equal(sorted(ours["members"]), sorted(theirs.members), f"members of {path}")
        for name, shape in theirs.members.items():
            member = ours["members"].get(name)
            if member is None:
                continue
            wanted = name in theirs.required_members
            required = member.get("required", False)
            is_lenient = required == "strict" and wanted and name in LENIENT
            report.check(is_lenient or required == wanted, f"{path}.{name} required: {required}, wanted {wanted}")
            compare(member, shape, f"{path}.{name}")
    elif kind == "list":
        compare(ours["element"], theirs.member, f"{path}[]")
    for bound in ("min", "max", "enum", "pattern"):
        report.equal(ours.get(bound), theirs.metadata.get(bound) or None if bound == "enum" else theirs.metadata.get(bound),
                     f"{bound} of {path}")


report.equal(sorted(served), sorted(model.operation_names), "operations")
for name in model.operation_names:
    operation, ours = model.operation_model(name), served.get(name)
    if ours is None:
        continue
    report.equal(ours["method"], operation.http["method"], f"{name}: method")
    report.equal(ours["path"], operation.http["requestUri"], f"{name}: path")
    query = [n for n, s in operation.input_shape.members.items() if s.serialization.get("location") == "querystring"]
    report.equal(sorted(ours["query"]), sorted(query), f"{name}: query")
    report.equal(ours["payload"], operation.output_shape.serialization.get("payload"), f"{name}: payload")
    errors = {e.name: e.metadata["error"]["httpStatusCode"] for e in operation.error_shapes}
    report.equal(ours["errors"], errors, f"{name}: errors")
    tokens = operation.idempotent_members
    report.equal(ours["idempotencyToken"], tokens[0] if tokens else None, f"{name}: idempotency token")
    compare(ours["input"], operation.input_shape, f"{name} input")
    compare(ours["output"], operation.output_shape, f"{name} output")
report.end()
