#!/usr/bin/env python3
"""Cloud Map's API through boto3, plain HTTP and the real `aws`: the whole model, its bounds, and what the model does not say."""

import copy
import json
import os
import shutil
import subprocess
import time

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

import _server
from _clients import Raw, snake
from _report import Report

report = Report()
endpoint = _server.endpoint()
model = botocore.session.get_session().get_service_model("servicediscovery")
raw = Raw(endpoint)
ACCOUNT, REGION = _server.ACCOUNT, "us-west-2"

client = boto3.client(
    "servicediscovery", endpoint_url=endpoint, region_name=REGION,
    aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
    config=botocore.config.Config(
        parameter_validation=False, retries={"total_max_attempts": 1}, inject_host_prefix=False),
)


def call(operation, **params):
    """Calls through boto3: gives the exception's name and the output, or the error's document."""
    try:
        output = getattr(client, snake(operation))(**params)
        output.pop("ResponseMetadata", None)
        conforms(output, model.operation_model(operation).output_shape, operation)
        return None, output
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response


def ok(operation, **params):
    code, output = call(operation, **params)
    report.check(code is None, lambda: f"{operation} {params}: {code} {output}")
    return output if code is None else {}


def refused(code, operation, **params):
    got, output = call(operation, **params)
    report.equal(got, code, f"{operation} {params} {output}")
    return output


def conforms(value, shape, path):
    """Checks a value that came back against the model."""
    if shape is None:
        return
    if shape.type_name == "structure":
        for name in value:
            report.check(name in shape.members, f"{path}.{name} is in the model")
        for name in shape.required_members:
            report.check(name in value, f"{path}.{name} is there")
        for name, member in shape.members.items():
            if name in value:
                conforms(value[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for item in value:
            conforms(item, shape.member, f"{path}[]")
    elif shape.type_name == "map":
        for key, item in value.items():
            conforms(key, shape.key, f"{path} key")
            conforms(item, shape.value, f"{path}.{key}")
    elif shape.metadata.get("enum"):
        report.check(value in shape.metadata["enum"], f"{path} is a word of its enum: {value}")


def done(output, kind):
    """Waits until an operation has ended."""
    deadline = time.monotonic() + 30
    while True:
        operation = ok("GetOperation", OperationId=output["OperationId"])["Operation"]
        if operation["Status"] == "SUCCESS":
            report.equal(operation["Type"], kind, "type of an operation")
            return operation
        report.check(operation["Status"] == "PENDING", f"status of {operation}")
        if time.monotonic() > deadline:
            report.check(False, f"{operation} does not end")
            return operation
        time.sleep(0.1)


def namespace(name, kind="Http", **params):
    if kind != "Http":
        params.setdefault("Vpc", "vpc-1")
    output = ok(f"Create{kind}Namespace", Name=name, **params)
    return done(output, "CREATE_NAMESPACE")["Targets"]["NAMESPACE"]


# === what the model says ===

def smallest(shape, path=()):
    """The smallest value that the model allows and that makes sense."""
    kind = shape.type_name
    if kind == "structure":
        return {name: smallest(shape.members[name], path + (name,)) for name in shape.required_members}
    if kind == "list":
        return [smallest(shape.member, path + (0,))]
    if kind == "map":
        return {"k": smallest(shape.value, path + ("k",))}
    if shape.metadata.get("enum"):
        return shape.metadata["enum"][0]
    if kind == "string":
        return "x.x" if shape.name == "NamespaceNamePublic" else "x"
    if kind in ("integer", "long"):
        return max(shape.metadata.get("min", 1), 1)
    return True


def holding(shape, path, at=()):
    if not path:
        return smallest(shape, at)
    step, rest = path[0], path[1:]
    if shape.type_name == "list":
        return [holding(shape.member, rest, at + (0,))]
    if shape.type_name == "map":
        return {step: holding(shape.value, rest, at + (step,))}
    value = smallest(shape, at)
    value[step] = holding(shape.members[step], rest, at + (step,))
    return value


def paths(shape, at=()):
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield at + (name,), member
            yield from paths(member, at + (name,))
    elif shape.type_name == "list":
        yield at + (0,), shape.member
        yield from paths(shape.member, at + (0,))
    elif shape.type_name == "map":
        yield at + ("k",), shape.value


def put(value, path, item):
    value = copy.deepcopy(value)
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = item
    return value


def written(path):
    out = ""
    for step in path:
        out += f"[{step}]" if step == 0 else ("." if out else "") + step
    return out


def send(operation, params):
    """Calls by plain HTTP, for what boto3 would not write."""
    status, _, text = raw.send("POST", "/", params, {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "Route53AutoNaming_v20170314." + operation})
    return status, json.loads(text)


def beyond(shape):
    kind, meta = shape.type_name, shape.metadata
    wrong = {"string": 7, "integer": "7", "long": 1.5, "list": {}, "structure": "x", "map": []}[kind]
    yield "wrong type", wrong
    if meta.get("enum"):
        yield "not in enum", "Nonsense"
    elif kind == "string":
        if meta.get("min"):
            yield "too short", ""
        if "max" in meta:
            yield "too long", "x" * (meta["max"] + 1)
        if "pattern" in meta:
            yield "against the pattern", "\u00e9 "
    elif kind in ("integer", "long"):
        if "min" in meta:
            yield "too small", meta["min"] - 1
        yield "too large", meta.get("max", 2**31 - 1 if kind == "integer" else 2**63 - 1) + 1
    elif kind == "list" and "max" in meta:
        yield "too many", [smallest(shape.member)] * (meta["max"] + 1)


def bounds():
    """Every member of every operation: what lies beyond a bound is refused, and its path is named."""
    for name in model.operation_names:
        operation = model.operation_model(name)
        shape = operation.input_shape
        for required in shape.required_members:
            params = smallest(shape)
            del params[required]
            status, document = send(name, params)
            report.equal((status, document["__type"]), (400, "InvalidInput"), f"{name} without {required}")
            report.check(required in document["message"], f"{name} names {required}: {document['message']}")
        for path, member in paths(shape):
            base = holding(shape, path)
            for what, value in beyond(member):
                status, document = send(name, put(base, path, value))
                title = f"{name} {written(path)} {what}"
                report.equal((status, document.get("__type")), (400, "InvalidInput"), title)
                report.check(written(path) in document.get("message", ""), f"{title}: {document.get('message')}")
        status, document = send(name, {**smallest(shape), "Nonsense": 1})
        report.equal((status, document.get("__type")), (400, "InvalidInput"), f"{name} with an unknown member")


def table():
    """The server's table is the model."""
    status, _, text = raw.send("GET", "/selvedge/v1/model")
    served = json.loads(text)["servicediscovery"]["operations"]
    report.equal((status, sorted(served)), (200, sorted(model.operation_names)), "the operations")
    for name, ours in served.items():
        theirs = model.operation_model(name)
        compare(ours["input"], theirs.input_shape, name)
        if theirs.output_shape:
            compare(ours["output"], theirs.output_shape, name)
        report.equal(sorted(ours["errors"]), sorted(shape.name for shape in theirs.error_shapes), f"errors of {name}")
        report.equal([ours["idempotencyToken"]] if ours["idempotencyToken"] else [],
                     list(theirs.idempotent_members), f"token of {name}")


def compare(ours, theirs, path):
    report.equal(ours["type"], theirs.type_name, f"type of {path}")
    for bound in ("min", "max", "enum", "pattern"):
        report.equal(ours.get(bound), theirs.metadata.get(bound) or None if bound == "enum" else
                     theirs.metadata.get(bound), f"{bound} of {path}")
    if theirs.type_name == "structure":
        report.equal(sorted(ours["members"]), sorted(theirs.members), f"members of {path}")
        for name, shape in theirs.members.items():
            required = ours["members"][name].get("required", False)
            report.equal(required, name in theirs.required_members, f"{path}.{name} required")
            compare(ours["members"][name], shape, f"{path}.{name}")
    elif theirs.type_name == "list":
        compare(ours["element"], theirs.member, f"{path}[]")
    elif theirs.type_name == "map":
        compare(ours["key"], theirs.key, f"{path} keys")
        compare(ours["value"], theirs.value, f"{path} values")


# === what the model does not say ===

def namespaces():
    id = namespace("http.example", Description="first", CreatorRequestId="n-1", Tags=[{"Key": "k", "Value": "v"}])
    again = ok("CreateHttpNamespace", Name="http.example", CreatorRequestId="n-1")
    report.equal(ok("GetOperation", **again)["Operation"]["Targets"], {"NAMESPACE": id}, "sent again")
    error = refused("NamespaceAlreadyExists", "CreateHttpNamespace", Name="HTTP.example", CreatorRequestId="n-2")
    report.equal((error.get("NamespaceId"), error.get("CreatorRequestId")), (id, "n-1"), "who stands in the way")
    shown = ok("GetNamespace", Id=id)["Namespace"]
    report.equal((shown["Type"], shown["Description"], shown["ServiceCount"]), ("HTTP", "first", 0), "a namespace")
    arn = shown["Arn"]
    report.equal(arn, f"arn:aws:servicediscovery:{REGION}:{ACCOUNT}:namespace/{id}", "its ARN")
    report.equal(ok("GetNamespace", Id=arn)["Namespace"]["Id"], id, "by ARN")
    done(ok("UpdateHttpNamespace", Id=id, Namespace={"Description": "second"}), "UPDATE_NAMESPACE")
    report.equal(ok("GetNamespace", Id=id)["Namespace"]["Description"], "second", "the description")
    refused("InvalidInput", "UpdatePrivateDnsNamespace", Id=id, Namespace={"Description": "x"})
    refused("NamespaceNotFound", "UpdateHttpNamespace", Id="ns-none", Namespace={"Description": "x"})
    refused("InvalidInput", "CreatePublicDnsNamespace", Name="public.example")

    private = namespace("private.example", "PrivateDns", Properties={"DnsProperties": {"SOA": {"TTL": 77}}})
    shown = ok("GetNamespace", Id=private)["Namespace"]
    report.equal(shown["Properties"]["DnsProperties"]["SOA"]["TTL"], 77, "the SOA's TTL")
    report.check(shown["Properties"]["DnsProperties"]["HostedZoneId"].startswith("Z"), "a hosted zone")
    done(ok("UpdatePrivateDnsNamespace", Id=private, Namespace={
        "Description": "p", "Properties": {"DnsProperties": {"SOA": {"TTL": 78}}}}), "UPDATE_NAMESPACE")
    report.equal(ok("GetNamespace", Id=private)["Namespace"]["Properties"]["DnsProperties"]["SOA"]["TTL"], 78, "TTL")
    refused("InvalidInput", "CreatePrivateDnsNamespace", Name="no domain!", Vpc="v")
    refused("InvalidInput", "CreatePrivateDnsNamespace", Name="10.0.0.1", Vpc="v")

    def listed(*filters):
        return {one["Id"] for one in ok("ListNamespaces", Filters=list(filters))["Namespaces"]}
    report.check({id, private} <= listed(), "both are listed")
    for filter, expected in [
        ({"Name": "TYPE", "Values": ["DNS_PRIVATE"]}, {private}),
        ({"Name": "TYPE", "Values": ["DNS_PUBLIC"], "Condition": "EQ"}, set()),
        ({"Name": "NAME", "Values": ["http.example"]}, {id}),
        ({"Name": "HTTP_NAME", "Values": ["priv"], "Condition": "BEGINS_WITH"}, {private}),
        ({"Name": "RESOURCE_OWNER", "Values": ["SELF"]}, {id, private}),
        ({"Name": "RESOURCE_OWNER", "Values": ["OTHER_ACCOUNTS"]}, set()),
    ]:
        report.equal(listed(filter), expected, f"namespaces by {filter}")
    refused("InvalidInput", "ListNamespaces", Filters=[{"Name": "TYPE", "Values": ["HTTP", "DNS_PRIVATE"]}])
    refused("InvalidInput", "ListNamespaces", Filters=[{"Name": "TYPE", "Values": ["HTTP"], "Condition": "BETWEEN"}])

    service = ok("CreateService", Name="s", NamespaceId=id)["Service"]["Id"]
    refused("ResourceInUse", "DeleteNamespace", Id=id)
    ok("DeleteService", Id=service)
    for one in (id, private):
        done(ok("DeleteNamespace", Id=one), "DELETE_NAMESPACE")
        refused("NamespaceNotFound", "DeleteNamespace", Id=one)
        refused("NamespaceNotFound", "GetNamespace", Id=one)


def services():
    http, private = namespace("http.services"), namespace("private.services", "PrivateDns")
    created = ok("CreateService", Name="web", NamespaceId=http, Description="d", CreatorRequestId="s-1",
                 HealthCheckCustomConfig={"FailureThreshold": 3})["Service"]
    id = created["Id"]
    report.equal(created["HealthCheckCustomConfig"], {"FailureThreshold": 1}, "the threshold is always 1")
    report.equal((created["Type"], created["InstanceCount"], created["NamespaceId"]), ("HTTP", 0, http), "a service")
    again = ok("CreateService", Name="web", NamespaceId=http, CreatorRequestId="s-1")["Service"]
    report.equal(again["Id"], id, "sent again")
    error = refused("ServiceAlreadyExists", "CreateService", Name="WEB", NamespaceId=http, CreatorRequestId="s-2")
    report.equal((error.get("ServiceId"), error.get("ServiceArn")), (id, created["Arn"]), "who stands in the way")
    refused("NamespaceNotFound", "CreateService", Name="web", NamespaceId="ns-none")
    refused("InvalidInput", "CreateService", Name="web")
    record = lambda *types: {"DnsRecords": [{"Type": kind, "TTL": 10} for kind in types]}
    for config in (record(), record("A", "A"), record("A", "SRV"), record("CNAME"),
                   {**record("CNAME", "A"), "RoutingPolicy": "WEIGHTED"}):
        refused("InvalidInput", "CreateService", Name="bad", NamespaceId=private, DnsConfig=config)
    refused("InvalidInput", "CreateService", Name="bad", NamespaceId=http, DnsConfig=record("A"))
    refused("InvalidInput", "CreateService", Name="bad", NamespaceId=private, DnsConfig=record("A"), Type="HTTP")
    refused("InvalidInput", "CreateService", Name="bad", NamespaceId=http, HealthCheckConfig={"Type": "TCP"})
    refused("InvalidInput", "CreateService", Name="bad", NamespaceId=http, HealthCheckConfig={"Type": "TCP"},
            HealthCheckCustomConfig={})
    dns = ok("CreateService", Name="dns", DnsConfig={**record("A", "AAAA"), "NamespaceId": private,
             "RoutingPolicy": "WEIGHTED"})["Service"]
    report.equal((dns["Type"], dns["DnsConfig"]["RoutingPolicy"]), ("DNS_HTTP", "WEIGHTED"), "a DNS service")
    only = ok("CreateService", Name="only-http", NamespaceId=private, Type="HTTP")["Service"]
    report.equal(only["Type"], "HTTP", "an HTTP service in a DNS namespace")

    update = lambda **change: call("UpdateService", Id=dns["Id"], Service=change)
    report.equal(update(DnsConfig=record("A", "SRV"))[0], "InvalidInput", "types stay")
    changed = {"DnsRecords": [{"Type": "A", "TTL": 99}, {"Type": "AAAA", "TTL": 98}]}
    done(update(Description="new", DnsConfig=changed)[1], "UPDATE_SERVICE")
    shown = ok("GetService", Id=dns["Arn"])["Service"]
    report.equal((shown["Description"], shown["DnsConfig"]["DnsRecords"]), ("new", changed["DnsRecords"]), "the update")
    done(update(Description="none")[1], "UPDATE_SERVICE")
    report.check("DnsConfig" not in ok("GetService", Id=dns["Id"])["Service"], "what an update leaves out is deleted")
    refused("ServiceNotFound", "UpdateService", Id="srv-none", Service={"Description": "x"})

    listed = lambda *filters: {one["Id"] for one in ok("ListServices", Filters=list(filters))["Services"]}
    report.equal(listed({"Name": "NAMESPACE_ID", "Values": [private]}), {dns["Id"], only["Id"]}, "by namespace")
    arn = ok("GetNamespace", Id=http)["Namespace"]["Arn"]
    report.equal(listed({"Name": "NAMESPACE_ID", "Values": [arn], "Condition": "EQ"}), {id}, "by a namespace's ARN")

    attributes = {f"k{n}": "v" for n in range(30)}
    ok("UpdateServiceAttributes", ServiceId=id, Attributes=attributes)
    refused("ServiceAttributesLimitExceededException", "UpdateServiceAttributes", ServiceId=id, Attributes={"one": "more"})
    ok("DeleteServiceAttributes", ServiceId=id, Attributes=list(attributes)[1:])
    shown = ok("GetServiceAttributes", ServiceId=id)["ServiceAttributes"]
    report.equal((shown["Attributes"], shown["ServiceArn"]), ({"k0": "v"}, created["Arn"]), "attributes")
    refused("ServiceNotFound", "GetServiceAttributes", ServiceId="srv-none")

    done(ok("RegisterInstance", ServiceId=id, InstanceId="i", Attributes={"a": "1"}), "REGISTER_INSTANCE")
    report.equal(ok("GetService", Id=id)["Service"]["InstanceCount"], 1, "its instances")
    refused("ResourceInUse", "DeleteService", Id=id)
    ok("DeregisterInstance", ServiceId=id, InstanceId="i")
    for one in (id, dns["Id"], only["Id"]):
        ok("DeleteService", Id=one)
        refused("ServiceNotFound", "DeleteService", Id=one)
    for one in (http, private):
        ok("DeleteNamespace", Id=one)


def instances():
    space = namespace("instances.example", "PrivateDns")
    service = ok("CreateService", Name="web", NamespaceId=space, HealthCheckCustomConfig={},
                 DnsConfig={"DnsRecords": [{"Type": "SRV", "TTL": 10}]})["Service"]["Id"]
    where = {"NamespaceName": "instances.example", "ServiceName": "web"}
    good = {"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80"}
    for attributes in ({}, {"AWS_INSTANCE_PORT": "80"}, {"AWS_INSTANCE_IPV4": "10.0.0.1"},
                       {**good, "AWS_INSTANCE_PORT": "0"}, {**good, "AWS_INSTANCE_IPV4": "10.0.0"},
                       {**good, "AWS_INSTANCE_IPV4": "169.254.169.254"}, {**good, "AWS_INSTANCE_IPV4": "224.0.0.1"},
                       {**good, "AWS_INSTANCE_IPV6": "fe80::1"}, {**good, "AWS_INSTANCE_IPV6": "::ffff:169.254.169.254"},
                       {**good, "AWS_INSTANCE_IPV4": "0.0.0.0"}, {**good, "AWS_EC2_INSTANCE_ID": "i-1"},
                       {**good, "AWS_INIT_HEALTH_STATUS": "SICK"}, {f"k{n}": "" for n in range(31)},
                       {**good, **{f"k{n}": "x" * 1000 for n in range(5)}}):
        refused("InvalidInput", "RegisterInstance", ServiceId=service, InstanceId="bad", Attributes=attributes)
    refused("ServiceNotFound", "RegisterInstance", ServiceId="srv-none", InstanceId="i", Attributes=good)
    before = ok("DiscoverInstancesRevision", **where)["InstancesRevision"]
    first = ok("RegisterInstance", ServiceId=service, InstanceId="i-1", CreatorRequestId="c", Attributes=good)
    again = ok("RegisterInstance", ServiceId=service, InstanceId="i-1", CreatorRequestId="c", Attributes=good)
    report.equal(again, first, "sent again")
    error = refused("DuplicateRequest", "RegisterInstance", ServiceId=service, InstanceId="i-1", CreatorRequestId="c",
                    Attributes={**good, "more": "1"})
    report.equal(error.get("DuplicateOperationId"), first["OperationId"], "the earlier operation")
    for n, version in ((2, "1"), (3, "2")):
        ok("RegisterInstance", ServiceId=service, InstanceId=f"i-{n}", Attributes={
            "AWS_INSTANCE_IPV4": f"10.0.0.{n}", "AWS_INSTANCE_PORT": "80", "version": version})
    ok("RegisterInstance", ServiceId=service, InstanceId="task/odd:1@x", Attributes={
        **good, "version": "2", "AWS_INIT_HEALTH_STATUS": "UNHEALTHY"})
    after = ok("DiscoverInstances", **where)
    report.check(after["InstancesRevision"] > before, "the revision grew")

    found = lambda **params: sorted(one["InstanceId"] for one in ok("DiscoverInstances", **where, **params)["Instances"])
    odd = "task/odd:1@x"
    for params, expected in [
        ({}, ["i-1", "i-2", "i-3"]), ({"HealthStatus": "HEALTHY"}, ["i-1", "i-2", "i-3"]),
        ({"HealthStatus": "UNHEALTHY"}, [odd]), ({"HealthStatus": "ALL"}, ["i-1", "i-2", "i-3", odd]),
        ({"HealthStatus": "HEALTHY_OR_ELSE_ALL"}, ["i-1", "i-2", "i-3"]),
        ({"QueryParameters": {"version": "2"}}, ["i-3"]),
        ({"QueryParameters": {"version": "2", "AWS_INSTANCE_IPV4": "10.0.0.1"}, "HealthStatus": "HEALTHY_OR_ELSE_ALL"}, [odd]),
        ({"OptionalParameters": {"version": "1"}}, ["i-2"]), ({"OptionalParameters": {"version": "9"}}, ["i-1", "i-2", "i-3"]),
    ]:
        report.equal(found(**params), expected, f"found by {params}")
    report.equal(len(found(MaxResults=2)), 2, "at most two")
    report.equal(len({tuple(found(MaxResults=1)) for _ in range(60)}), 3, "and not always the same")
    refused("NamespaceNotFound", "DiscoverInstances", NamespaceName="none", ServiceName="web")
    refused("ServiceNotFound", "DiscoverInstances", NamespaceName="instances.example", ServiceName="none")
    refused("NamespaceNotFound", "DiscoverInstances", **where, OwnerAccount="000000000000")

    status = lambda **params: ok("GetInstancesHealthStatus", ServiceId=service, **params)["Status"]
    report.equal(status(Instances=["i-1", odd]), {"i-1": "HEALTHY", odd: "UNHEALTHY"}, "health")
    refused("InstanceNotFound", "GetInstancesHealthStatus", ServiceId=service, Instances=["none"])
    ok("UpdateInstanceCustomHealthStatus", ServiceId=service, InstanceId="i-1", Status="UNHEALTHY")
    report.equal((status()["i-1"], found()), ("UNHEALTHY", ["i-2", "i-3"]), "health that changed")
    refused("InstanceNotFound", "UpdateInstanceCustomHealthStatus", ServiceId=service, InstanceId="none", Status="HEALTHY")
    ok("UpdateInstanceCustomHealthStatus", ServiceId=service, InstanceId="i-1", Status="HEALTHY")
    plain = ok("CreateService", Name="plain", NamespaceId=space, Type="HTTP")["Service"]["Id"]
    ok("RegisterInstance", ServiceId=plain, InstanceId="i", Attributes={"any": "thing"})
    refused("CustomHealthNotFound", "UpdateInstanceCustomHealthStatus", ServiceId=plain, InstanceId="i", Status="HEALTHY")
    refused("InvalidInput", "RegisterInstance", ServiceId=plain, InstanceId="i", Attributes={"AWS_INIT_HEALTH_STATUS": "HEALTHY"})
    unchecked = ok("DiscoverInstances", NamespaceName="instances.example", ServiceName="plain", HealthStatus="UNHEALTHY")
    report.equal([one["HealthStatus"] for one in unchecked["Instances"]], ["UNKNOWN"], "nobody checks")

    shown = ok("GetInstance", ServiceId=service, InstanceId="i-1")["Instance"]
    report.equal((shown["Attributes"], shown["CreatorRequestId"]), (good, "c"), "an instance")
    refused("InstanceNotFound", "GetInstance", ServiceId=service, InstanceId="none")
    pages, token = [], {}
    while True:
        page = ok("ListInstances", ServiceId=service, MaxResults=3, **token)
        pages.append([one["Id"] for one in page["Instances"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    report.equal(pages, [["i-1", "i-2", "i-3"], [odd]], "pages")
    refused("InvalidInput", "ListInstances", ServiceId=plain, MaxResults=3, **token)
    refused("InvalidInput", "ListInstances", ServiceId=service, NextToken="made-up")

    gone = ok("DeregisterInstance", ServiceId=service, InstanceId="i-2")
    report.equal(ok("GetOperation", **gone)["Operation"]["Status"], "PENDING", "it drains")
    report.equal(found(), ["i-1", "i-3"], "nobody finds it any more")
    refused("InstanceNotFound", "GetInstance", ServiceId=service, InstanceId="i-2")
    error = refused("DuplicateRequest", "DeregisterInstance", ServiceId=service, InstanceId="i-2")
    report.equal(error.get("DuplicateOperationId"), gone["OperationId"], "the operation under way")
    operation = done(gone, "DEREGISTER_INSTANCE")
    report.equal(operation["Targets"], {"SERVICE": service, "INSTANCE": "i-2"}, "targets")
    refused("InstanceNotFound", "DeregisterInstance", ServiceId=service, InstanceId="i-2")
    back = ok("DeregisterInstance", ServiceId=service, InstanceId="i-3")
    ok("RegisterInstance", ServiceId=service, InstanceId="i-3", Attributes=good)
    report.equal(ok("GetOperation", **back)["Operation"]["Status"], "SUCCESS", "registered anew while it drained")
    report.check("i-3" in found(), "and is back")

    def operations(*filters):
        return [one["Id"] for one in ok("ListOperations", Filters=list(filters), MaxResults=100)["Operations"]]
    now = int(time.time())
    by_service = {"Name": "SERVICE_ID", "Values": [service]}
    report.equal(operations(by_service, {"Name": "TYPE", "Values": ["DEREGISTER_INSTANCE"]}),
                 sorted([gone["OperationId"], back["OperationId"]]), "operations by service and type")
    report.check(first["OperationId"] in operations(by_service, {
        "Name": "STATUS", "Values": ["SUCCESS", "FAIL"], "Condition": "IN"}), "by status")
    report.check(first["OperationId"] in operations(by_service, {
        "Name": "UPDATE_DATE", "Values": [str(now - 600), str(now + 600)], "Condition": "BETWEEN"}), "by date")
    report.equal(operations(by_service, {"Name": "UPDATE_DATE", "Values": ["1", "2"], "Condition": "BETWEEN"}), [], "long ago")
    report.check(len(operations({"Name": "NAMESPACE_ID", "Values": [space]})) == 1, "by namespace")
    refused("OperationNotFound", "GetOperation", OperationId="none")

    allowed = ok("GetNamespace", Id=space)["Namespace"]["Arn"]
    ok("TagResource", ResourceARN=allowed, Tags=[{"Key": "selvedge:addresses", "Value": "10.1.0.0/16 2001:db8::/32"}])
    refused("InvalidInput", "RegisterInstance", ServiceId=service, InstanceId="x", Attributes=good)
    ok("RegisterInstance", ServiceId=service, InstanceId="x", Attributes={**good, "AWS_INSTANCE_IPV4": "10.1.0.1"})
    refused("InvalidInput", "TagResource", ResourceARN=allowed, Tags=[{"Key": "selvedge:addresses", "Value": "nonsense"}])
    for one in ("i-1", "i-3", odd, "x"):
        ok("DeregisterInstance", ServiceId=service, InstanceId=one)
    ok("DeregisterInstance", ServiceId=plain, InstanceId="i")
    for one in (service, plain):
        ok("DeleteService", Id=one)
    ok("DeleteNamespace", Id=space)


def tags():
    id = namespace("tags.example", Tags=[{"Key": "a", "Value": "1"}])
    arn = ok("GetNamespace", Id=id)["Namespace"]["Arn"]
    ok("TagResource", ResourceARN=arn, Tags=[{"Key": "b", "Value": ""}, {"Key": "a", "Value": "2"}])
    shown = lambda: {one["Key"]: one["Value"] for one in ok("ListTagsForResource", ResourceARN=arn)["Tags"]}
    report.equal(shown(), {"a": "2", "b": ""}, "tags")
    ok("UntagResource", ResourceARN=arn, TagKeys=["a", "none"])
    report.equal(shown(), {"b": ""}, "tags that stayed")
    refused("TooManyTagsException", "TagResource", ResourceARN=arn, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    refused("InvalidInput", "TagResource", ResourceARN=arn, Tags=[{"Key": "AWS:x", "Value": ""}])
    refused("InvalidInput", "TagResource", ResourceARN=arn, Tags=[{"Key": "x", "Value": ""}] * 2)
    for other in (arn + "x", arn.replace(ACCOUNT, "000000000000"), arn.replace("namespace", "service")):
        refused("ResourceNotFoundException", "ListTagsForResource", ResourceARN=other)
    refused("InvalidInput", "ListTagsForResource", ResourceARN="no arn")
    ok("DeleteNamespace", Id=id)
    refused("ResourceNotFoundException", "ListTagsForResource", ResourceARN=arn)


def protocols():
    """The other wire formats, and the host name with `data-` before it."""
    namespace("wire.example")
    for host in ("data-servicediscovery.us-west-2.amazonaws.com", "data-127.0.0.1:7070", "servicediscovery.us-west-2.amazonaws.com"):
        status, _, text = raw.send("POST", "/", {"NamespaceName": "wire.example", "ServiceName": "x"}, {
            "host": host, "content-type": "application/x-amz-json-1.1",
            "x-amz-target": "Route53AutoNaming_v20170314.DiscoverInstances"})
        report.equal((status, json.loads(text)["__type"]), (400, "ServiceNotFound"), host)
    status, _, text = raw.send("POST", "/", b"Action=ListNamespaces&Version=2017-03-14", {
        "content-type": "application/x-www-form-urlencoded"})
    report.check(status == 200 and b"<Name>wire.example</Name>" in text, f"a form: {status} {text}")
    # A map with one entry: {"MaxResults": 100}.
    status, headers, text = raw.send("POST", "/service/Route53AutoNaming_v20170314/operation/ListNamespaces",
                                     b"\xa1jMaxResults\x18\x64", {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"})
    report.check(status == 200 and b"wire.example" in text, f"CBOR: {status} {text}")


def command_line():
    """The real aws, both where it puts `data-` before the host's name and where it does not."""
    aws = shutil.which("aws") or str(_server.ROOT / "target/venv/bin/aws")
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": REGION,
                   "AWS_ENDPOINT_URL_SERVICEDISCOVERY": endpoint, "AWS_DISABLE_HOST_PREFIX_INJECTION": "true", "AWS_PAGER": ""}

    def run(*arguments, **extra):
        done = subprocess.run([aws, "servicediscovery", *arguments], env={**environment, **extra}, capture_output=True, text=True)
        report.equal(done.returncode, 0, f"aws {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    operation = run("create-private-dns-namespace", "--name", "cli.example", "--vpc", "vpc-1")["OperationId"]
    id = run("get-operation", "--operation-id", operation)["Operation"]["Targets"]["NAMESPACE"]
    service = run("create-service", "--name", "web", "--namespace-id", id, "--dns-config",
                  "DnsRecords=[{Type=A,TTL=10}]", "--health-check-custom-config", "FailureThreshold=1")["Service"]["Id"]
    run("register-instance", "--service-id", service, "--instance-id", "i-1",
        "--attributes", "AWS_INSTANCE_IPV4=10.0.0.9,stage=beta")
    where = ("--namespace-name", "cli.example", "--service-name", "web")
    found = run("discover-instances", *where, "--query-parameters", "stage=beta")["Instances"]
    report.equal([one["InstanceId"] for one in found], ["i-1"], "found by the command line")
    report.check(run("discover-instances-revision", *where)["InstancesRevision"] > 0, "a revision")
    # The prefix stays, and the name that it makes leads here.
    proxied = run("discover-instances", *where, AWS_DISABLE_HOST_PREFIX_INJECTION="false",
                  AWS_ENDPOINT_URL_SERVICEDISCOVERY="http://servicediscovery.us-west-2.amazonaws.com", HTTP_PROXY=endpoint,
                  http_proxy=endpoint)["Instances"]
    report.equal([one["InstanceId"] for one in proxied], ["i-1"], "found under data-")
    run("update-instance-custom-health-status", "--service-id", service, "--instance-id", "i-1", "--status", "UNHEALTHY")
    report.equal(run("get-instances-health-status", "--service-id", service)["Status"], {"i-1": "UNHEALTHY"}, "health")
    report.equal(len(run("list-instances", "--service-id", service)["Instances"]), 1, "instances")
    run("deregister-instance", "--service-id", service, "--instance-id", "i-1")
    run("delete-service", "--id", service)
    run("delete-namespace", "--id", id)


table()
bounds()
namespaces()
services()
instances()
tags()
protocols()
command_line()
report.end()
