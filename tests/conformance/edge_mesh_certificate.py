#!/usr/bin/env python3
"""An edge shows a certificate of the mesh's by its ARN, in both forms of its configuration, and the renewed one without a reload."""

import atexit
import hashlib
import os
import socket
import ssl
import subprocess
import time

import boto3

import _server
from _edge import Edge, await_port, end, folder, free_ports
from _report import Report

report = Report()
if not os.environ.get("SELVEDGE_BIN"):
    print("skipped: it needs SELVEDGE_BIN")
    report.end()
endpoint = _server.endpoint()
acm = boto3.client("acm", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")


def requested(domain):
    return acm.request_certificate(DomainName=domain, KeyAlgorithm="EC_prime256v1")["CertificateArn"]


def in_force(arn):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(acm.get_certificate(CertificateArn=arn)["Certificate"])).hexdigest()


def shown(port, name, authority):
    """A verified handshake, as a client has it that believes the mesh's authority and asks for a name."""
    context = ssl.create_default_context(cadata=authority)
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as session:
            session.sendall(f"GET /hello.txt HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
            answer = b""
            while part := session.recv(4096):
                answer += part
            return hashlib.sha256(session.getpeercert(binary_form=True)).hexdigest(), answer


def until(what, is_so):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(0.05)
    report.check(False, f"never: {what}")


shop, other = requested("shop.mesh.local"), requested("other.mesh.local")
authority = acm.get_certificate(CertificateArn=shop)["CertificateChain"]
plain, tls = free_ports(2)
os.environ["AWS_ENDPOINT_URL"] = endpoint
edge = Edge(plain, f"""
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" mesh.certificate = "{shop}" }}
$HTTP["host"] == "other.mesh.local" {{ mesh.certificate = "{other}" }}
""")
(edge.home / "www/hello.txt").write_text("hello\n")
for name, arn in (("shop.mesh.local", shop), ("other.mesh.local", other)):
    seen, answer = shown(tls, name, authority)
    report.equal(seen, in_force(arn), f"{name}: the certificate in force, at the first handshake")
    report.check(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hello\n"), lambda: f"{name}: {answer}")
before = in_force(shop)
acm.renew_certificate(CertificateArn=shop)
report.check(in_force(shop) != before, "renewed")
until("the renewed certificate is shown", lambda: shown(tls, "shop.mesh.local", authority)[0] == in_force(shop))
report.equal(shown(tls, "other.mesh.local", authority)[0], in_force(other), "the other stays")
report.check("PRIVATE KEY" not in edge.errors(), "no key in the log")
end(edge.process)

# === who uses it: the gateway of an edge that shows it ===
mesh = boto3.client("appmesh", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")
mesh.create_mesh(meshName="shop")
plain, tls = free_ports(2)
gateway = f"""
mesh.gateway = "shop-edge"
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" mesh.certificate = "{shop}" }}
"""
host = f"""$HTTP["host"] == "other.mesh.local" {{ mesh.certificate = "{other}" }}
"""
edge = Edge(plain, gateway + host)


def users(arn):
    return acm.describe_certificate(CertificateArn=arn)["Certificate"]["InUseBy"]


def refusal(arn):
    try:
        acm.delete_certificate(CertificateArn=arn)
    except acm.exceptions.ResourceInUseException as refused:
        return refused.response["Error"]["Message"]
    return None


for arn in (shop, other):
    until("a certificate is in use by the gateway whose edge shows it", lambda: users(arn))
    report.check(users(arn)[0].endswith(":mesh/shop/virtualGateway/shop-edge"), lambda: f"by its ARN: {users(arn)}")
    report.check("shop-edge" in (refusal(arn) or ""), "and cannot be deleted")
listed = {one["CertificateArn"]: one["InUse"] for one in acm.list_certificates(Includes={"keyTypes": ["EC_prime256v1"]})["CertificateSummaryList"]}
report.check(listed[shop] and listed[other], lambda: f"the list says so: {listed}")
edge.reload(gateway, changed=lambda: "in force" in edge.errors())
until("what the configuration drops is in use no more", lambda: not users(other))
report.check(users(shop), "the other one is")
report.equal(refusal(other), None, "and can be deleted")
end(edge.process)
report.check(users(shop), "an edge that is away uses it all the same, as its gateway is there")
mesh.delete_virtual_gateway(meshName="shop", virtualGatewayName="shop-edge")
report.check(not users(shop), "and does not once the gateway is deleted")

# === the same, as edge.toml says it ===
(tls,) = free_ports(1)
form = folder()
(form / "hello.txt").write_text("hello\n")
(form / "edge.toml").write_text(f"""
[[listen]]
address = "127.0.0.1:{tls}"
tls = "mesh"
[tls.mesh]
arn = "{shop}"
[[site]]
[[site.route]]
files = "{form}"
""")
process = subprocess.Popen([os.environ["SELVEDGE_BIN"], "edge", "-D", "-f", str(form / "edge.toml")])
atexit.register(end, process)
await_port(tls)
seen, answer = shown(tls, "shop.mesh.local", authority)
report.equal(seen, in_force(shop), "edge.toml: the certificate in force, at the first handshake")
report.check(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hello\n"), lambda: f"edge.toml: {answer}")
acm.renew_certificate(CertificateArn=shop)
until("edge.toml: the renewed certificate is shown", lambda: shown(tls, "shop.mesh.local", authority)[0] == in_force(shop))
end(process)
report.end()
