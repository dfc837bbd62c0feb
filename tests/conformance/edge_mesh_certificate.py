#!/usr/bin/env python3
"""An edge shows a certificate of the mesh's by its ARN, in both forms of its configuration, and the renewed one without a reload; clients of a
mesh's authority are let in, until their certificates are taken back."""

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

# === what was taken back: a client's certificate, and the edge's own ===
pca = boto3.client("acm-pca", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")
signer = acm.describe_certificate(CertificateArn=shop)["Certificate"]["CertificateAuthorityArn"]


def client(name):
    """A client's certificate and its key in one file, and its ARN."""
    arn = requested(name)
    exported = acm.export_certificate(CertificateArn=arn, Passphrase=b"words")
    path = form / f"{name}.pem"
    key = subprocess.run(["openssl", "pkey", "-passin", "pass:words"], input=exported["PrivateKey"], capture_output=True, text=True, check=True).stdout
    path.write_text(exported["Certificate"] + key)
    return path, arn


def let_in(port, path, version=None):
    """What somebody is answered who shows a certificate, if it comes to an answer."""
    context = ssl.create_default_context(cadata=authority)
    if path:
        context.load_cert_chain(path)
    if version:
        context.maximum_version = context.minimum_version = version
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain, server_hostname="shop.mesh.local") as session:
            session.sendall(b"GET /hello.txt HTTP/1.1\r\nhost: shop.mesh.local\r\nconnection: close\r\n\r\n")
            return session.recv(100)[9:12].decode()
    except OSError:
        return None


def taken_back(arn):
    serial = acm.describe_certificate(CertificateArn=arn)["Certificate"]["Serial"]
    pca.revoke_certificate(CertificateAuthorityArn=signer, CertificateSerial=serial, RevocationReason="KEY_COMPROMISE")


(good, _), (bad, bad_arn), (worse, worse_arn) = client("good.mesh.local"), client("bad.mesh.local"), client("worse.mesh.local")
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=stranger",
                "-keyout", f"{form}/stranger.key", "-out", f"{form}/stranger.crt"], check=True, stderr=subprocess.DEVNULL)
stranger = form / "stranger.pem"
stranger.write_text((form / "stranger.crt").read_text() + (form / "stranger.key").read_text())
plain, tls = free_ports(2)
edge = Edge(plain, f"""
server.modules += ( "mod_status" )
status.status-url = "/status"
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" mesh.certificate = "{shop}"
    ssl.verifyclient.activate = "enable" ssl.verifyclient.enforce = "enable" mesh.client-authority = "{signer}" }}
""")
(edge.home / "www/hello.txt").write_text("hello\n")
(form_tls,) = free_ports(1)
(form / "clients.toml").write_text(f"""
[[listen]]
address = "127.0.0.1:{form_tls}"
tls = "mesh"
[tls.mesh]
arn = "{shop}"
client_ca = "{signer}"
client = "require"
[[site]]
[[site.route]]
files = "{form}"
""")
process = subprocess.Popen([os.environ["SELVEDGE_BIN"], "edge", "-D", "-f", str(form / "clients.toml")])
atexit.register(end, process)
await_port(form_tls)
ports = {"lighttpd.conf": tls, "edge.toml": form_tls}
for kind, port in ports.items():
    for path in (good, bad, worse):
        report.equal(let_in(port, path), "200", f"{kind}: a client of the mesh's authority may enter: {path.name}")
    report.equal(let_in(port, stranger), None, f"{kind}: a stranger's certificate may not")
    report.equal(let_in(port, None), None, f"{kind}: nor who shows none")
# A session from before, which is not to open the door again.
session = form / "session"
words = ["openssl", "s_client", "-connect", f"127.0.0.1:{tls}", "-servername", "shop.mesh.local", "-cert", str(bad), "-key", str(bad), "-ign_eof"]
request = "GET /hello.txt HTTP/1.1\r\nhost: shop.mesh.local\r\nconnection: close\r\n\r\n"
asked = lambda *more: subprocess.run([*words, *more], input=request, capture_output=True, text=True, timeout=30).stdout
report.check("HTTP/1.1 200" in asked("-sess_out", str(session)), "a session is made")
taken_back(bad_arn)
for kind, port in ports.items():
    until(f"{kind}: a client's certificate that was taken back opens nothing", lambda: let_in(port, bad) is None)
    report.equal(let_in(port, bad, ssl.TLSVersion.TLSv1_2), None, f"{kind}: nor in TLS 1.2")
    for path in (good, worse):
        report.equal(let_in(port, path), "200", f"{kind}: others may enter: {path.name}")
report.check("HTTP/1.1 200" not in asked("-sess_in", str(session)), "nor does a session from before")
taken_back(worse_arn)
until("the next one that is taken back as well", lambda: let_in(tls, worse) is None)
report.equal(let_in(tls, bad), None, "and the first one stays out")
report.equal(let_in(tls, good), "200", "others may enter still")


def metric(name):
    with socket.create_connection(("127.0.0.1", plain), 10) as raw:
        raw.sendall(b"GET /status?prometheus HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := raw.recv(65536):
            answer += part
    return next((line.split()[-1] for line in answer.decode().splitlines() if line.startswith(f"{name} ")), None)


report.equal(metric("selvedge_edge_certificates_revoked"), "0", "nothing that is shown was taken back")
taken_back(shop)
until("a certificate of the edge's own that was taken back is counted", lambda: metric("selvedge_edge_certificates_revoked") == "1")
report.check("was taken back by its authority; it is shown until it is renewed" in edge.errors(), lambda: f"the log says so: {edge.errors()}")
report.equal(let_in(tls, good), "200", "and it is shown, as there is no other")
acm.renew_certificate(CertificateArn=shop)
until("once it is renewed nothing is counted", lambda: metric("selvedge_edge_certificates_revoked") == "0")
report.equal(let_in(tls, good), "200", "and the renewed one is shown")
end(process)
end(edge.process)

# An edge that never reached the control plane lets nobody in.
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
plain, tls = free_ports(2)
edge = Edge(plain, f"""
$SERVER["socket"] == "127.0.0.1:{tls}" {{ ssl.engine = "enable" ssl.pemfile = "{stranger}"
    ssl.verifyclient.activate = "enable" ssl.verifyclient.enforce = "enable" mesh.client-authority = "{signer}" }}
""")
authority = (form / "stranger.crt").read_text()
for path in (good, bad, stranger, None):
    report.equal(let_in(tls, path), None, f"without the control plane nobody is believed: {path}")
report.check("an authority of the mesh's cannot be fetched" in edge.errors(), lambda: f"and the log says why: {edge.errors()}")
end(edge.process)
report.end()
