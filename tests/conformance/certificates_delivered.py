#!/usr/bin/env python3
"""Certificates of AWS Certificate Manager and trust in its private authorities, delivered by the control plane to real Envoys and to our
own proxies: mutual TLS between every pair of them, and renewals under load that lose no request."""

import hashlib
import http.client
import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

import boto3

import _server
from _ports import free_port
from _proxies import envoy_binary
from _report import Report

MESH, PATIENCE = "certified", 90
report = Report()
if not os.environ.get("SELVEDGE_BIN"):
    print("skipped: it needs SELVEDGE_BIN, for it starts proxies")
    report.end()
endpoint = _server.endpoint()


def client(name):
    return boto3.client(name, endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
                        aws_secret_access_key="secret")


acm, pca, mesh = client("acm"), client("acm-pca"), client("appmesh")
folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-certificates-"))
KINDS = ["selvedge"] + (["envoy"] if envoy_binary() else [])
if len(KINDS) == 1:
    print("skipped: Envoy's part, for there is none here")


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"it works"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


application = Server(("127.0.0.1", 0), Application)
threading.Thread(target=application.serve_forever, daemon=True).start()
PORT = application.server_port

authority = pca.create_certificate_authority(
    CertificateAuthorityType="ROOT",
    CertificateAuthorityConfiguration={"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
                                       "Subject": {"CommonName": "The shop's authority"}})["CertificateAuthorityArn"]


def requested(domain):
    return acm.request_certificate(DomainName=domain, CertificateAuthorityArn=authority, KeyAlgorithm="EC_prime256v1")["CertificateArn"]


processes = []


def sidecar(node, kind, first=""):
    """A node's sidecar, without interception; gives its admin port, the port that leads in and the one that leads out."""
    admin, ingress, egress = free_port(), free_port(), free_port()
    environment = {**os.environ, "APPMESH_RESOURCE_ARN": f"mesh/{MESH}/virtualNode/{node}",
                   "APPMESH_XDS_ENDPOINT": endpoint.split("//")[1], "ENVOY_ADMIN_ACCESS_PORT": str(admin),
                   "SELVEDGE_INTERCEPTION": "none", "SELVEDGE_INGRESS_PORT": str(ingress), "SELVEDGE_EGRESS_PORT": str(egress)}
    command = [os.environ["SELVEDGE_BIN"], "proxy"]
    if kind == "envoy":
        bootstrap = subprocess.run([*command, "--print-envoy-bootstrap"], env=environment, check=True, capture_output=True)
        file = folder / f"{first}{node}.yaml"
        file.write_bytes(bootstrap.stdout)
        command = [envoy_binary(), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
    log = open(folder / f"{first}{node}-{kind}.log", "wb")
    processes.append(subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    return admin, ingress, egress


def ask(port, host, connection=None):
    """One request by a service's name; gives the status."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    own.request("GET", "/", headers={"host": host})
    response = own.getresponse()
    response.read()
    if connection is None:
        own.close()
    return response.status


def until(what, is_so):
    started = time.monotonic()
    while time.monotonic() < started + PATIENCE:
        try:
            if is_so():
                return True
        except (OSError, http.client.HTTPException, KeyError):
            pass
        time.sleep(0.02)
    report.check(False, f"never: {what}")
    return False


def shown(port, with_certificate=None):
    """The SHA-256 of the certificate that a sidecar shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if with_certificate:
        context.load_cert_chain(*with_certificate)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        with context.wrap_socket(plain, server_hostname="any") as secured:
            return hashlib.sha256(secured.getpeercert(binary_form=True)).hexdigest()


def exported(arn):
    came = acm.export_certificate(CertificateArn=arn, Passphrase=b"for this test")
    chain, key = folder / "client.pem", folder / "client.key"
    chain.write_text(came["Certificate"] + came["CertificateChain"])
    opened = subprocess.run(["openssl", "pkey", "-passin", "pass:for this test"], input=came["PrivateKey"], capture_output=True,
                            text=True, check=True)
    key.write_text(opened.stdout)
    return str(chain), str(key)


def in_force(arn):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(acm.get_certificate(CertificateArn=arn)["Certificate"])).hexdigest()


class Load(threading.Thread):
    """A caller that asks again and again, every answer kept; each tenth request on a fresh connection."""

    def __init__(self, port, host):
        super().__init__()
        self.port, self.host, self.is_over, self.answers, self.broken = port, host, False, [], []
        self.start()

    def run(self):
        connection = None
        while not self.is_over:
            if len(self.answers) % 10 == 0:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                self.answers.append(ask(self.port, self.host, connection))
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(repr(error))
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            time.sleep(0.005)


mesh.create_mesh(meshName=MESH)
callers_own = requested("caller.shop.local")
certificates = {}
for kind in KINDS:
    node, name = f"web-{kind}", f"{kind}.shop.local"
    certificates[kind] = requested(name)
    mesh.create_virtual_node(meshName=MESH, virtualNodeName=node, spec={"listeners": [{
        "portMapping": {"port": PORT, "protocol": "http"},
        "tls": {"mode": "STRICT", "certificate": {"acm": {"certificateArn": certificates[kind]}},
                "validation": {"trust": {"sds": {"secretName": authority}},
                               "subjectAlternativeNames": {"match": {"exact": ["caller.shop.local"]}}}}}]})
    mesh.create_virtual_service(meshName=MESH, virtualServiceName=name,
                                spec={"provider": {"virtualNode": {"virtualNodeName": node}}})
names = [f"{kind}.shop.local" for kind in KINDS]


def policy(authorities, accepted):
    return {"tls": {"enforce": True, "certificate": {"sds": {"secretName": callers_own}},
                    "validation": {"trust": {"acm": {"certificateAuthorityArns": authorities}},
                                   "subjectAlternativeNames": {"match": {"exact": accepted}}}}}


callers_spec = {
    "listeners": [{"portMapping": {"port": PORT, "protocol": "http"}}],
    "backends": [{"virtualService": {"virtualServiceName": name}} for name in names],
    "backendDefaults": {"clientPolicy": policy([authority], names)},
}
mesh.create_virtual_node(meshName=MESH, virtualNodeName="caller", spec=callers_spec)

servers = {kind: sidecar(f"web-{kind}", kind) for kind in KINDS}
callers = {kind: sidecar("caller", kind) for kind in KINDS}
try:
    # Every pair: whoever calls shows a certificate, whoever is called another, and each is believed for the authority.
    for caller, (_, _, egress) in callers.items():
        for name in names:
            until(f"{caller} calls {name}", lambda: ask(egress, name) == 200)
            report.equal(ask(egress, name), 200, f"{caller} calls {name}")
    for kind, (_, ingress, _) in servers.items():
        report.equal(shown(ingress, exported(callers_own)), in_force(certificates[kind]), f"{kind} shows its certificate")
        try:
            with socket.create_connection(("127.0.0.1", ingress), timeout=60) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                report.equal(plain.recv(100)[:4] == b"HTTP", False, f"{kind} is strict")
        except ConnectionError:
            pass

    # Renewed under load, servers' certificates and callers', three times: not one request fails.
    loads = [Load(egress, name) for _, _, egress in callers.values() for name in names]
    for _ in range(3):
        for arn in [*certificates.values(), callers_own]:
            acm.renew_certificate(CertificateArn=arn)
        mine = exported(callers_own)
        for kind, (_, ingress, _) in servers.items():
            wanted = in_force(certificates[kind])
            until(f"{kind} shows its renewed certificate", lambda: shown(ingress, mine) == wanted)
        seen = [len(load.answers) for load in loads]
        until("load after a renewal", lambda: all(len(load.answers) > count + 40 for load, count in zip(loads, seen)))
    for load in loads:
        load.is_over = True
    for load in loads:
        load.join()
        report.equal(load.broken, [], f"broken on {load.port} to {load.host}")
        report.equal(set(load.answers), {200}, f"answers on {load.port} from {load.host} ({len(load.answers)})")
    total = sum(len(load.answers) for load in loads)
    print(f"{total} requests over {len(loads)} pairs while 3 renewals of {len(certificates) + 1} certificates were taken up")

    # Another authority is nobody; both together are an authority that is being replaced.
    other = pca.create_certificate_authority(
        CertificateAuthorityType="ROOT",
        CertificateAuthorityConfiguration={"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
                                           "Subject": {"CommonName": "A stranger"}})["CertificateAuthorityArn"]
    callers_spec["backendDefaults"]["clientPolicy"] = policy([other], names)
    mesh.update_virtual_node(meshName=MESH, virtualNodeName="caller", spec=callers_spec)
    for caller, (_, _, egress) in callers.items():
        until(f"{caller} does not believe a stranger's", lambda: ask(egress, names[0]) == 503)
    callers_spec["backendDefaults"]["clientPolicy"] = policy([other, authority], names)
    mesh.update_virtual_node(meshName=MESH, virtualNodeName="caller", spec=callers_spec)
    for caller, (_, _, egress) in callers.items():
        until(f"{caller} believes either", lambda: ask(egress, names[0]) == 200)

    # What is taken back is believed by nobody who begins to talk: neither a caller's, nor one that a service shows.
    def answered(port, certificate):
        """The status that a caller with this certificate gets of a service's sidecar; None when it is turned away."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(*certificate)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain, server_hostname="any") as secured:
            secured.sendall(b"GET / HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n")
            return secured.recv(100)[9:12] or None

    def turned_away(port, certificate):
        try:
            return answered(port, certificate) is None
        except OSError:
            return True

    def take_back(arn):
        serial = acm.describe_certificate(CertificateArn=arn)["Certificate"]["Serial"]
        pca.revoke_certificate(CertificateAuthorityArn=authority, CertificateSerial=serial, RevocationReason="KEY_COMPROMISE")

    mine = exported(callers_own)
    for kind, (_, ingress, _) in servers.items():
        until(f"{kind} answers before", lambda: answered(ingress, mine) is not None)
    take_back(callers_own)
    for kind, (_, ingress, _) in servers.items():
        until(f"{kind} turns away whose certificate was taken back", lambda: turned_away(ingress, mine))
    acm.renew_certificate(CertificateArn=callers_own)
    mine = exported(callers_own)
    for kind, (_, ingress, _) in servers.items():
        until(f"{kind} answers the next certificate", lambda: answered(ingress, mine) is not None)
    if len(KINDS) == 2:
        # Whoever talks already may go on; so these callers are fresh.
        take_back(certificates["envoy"])
        for kind in KINDS:
            callers[f"fresh {kind}"] = sidecar("caller", kind, "fresh-")
            _, _, egress = callers[f"fresh {kind}"]
            until(f"{kind} calls a service whose certificate is good", lambda: ask(egress, "selvedge.shop.local") == 200)
            report.equal(ask(egress, "envoy.shop.local"), 503, f"{kind} does not believe one that was taken back")
        acm.renew_certificate(CertificateArn=certificates["envoy"])
        for kind in KINDS:
            _, _, egress = callers[f"fresh {kind}"]
            until(f"{kind} calls it again once it has the next", lambda: ask(egress, "envoy.shop.local") == 200)

    # No dump has a key, and no log.
    for kind, (admin, _, _) in [*servers.items(), *callers.items()]:
        dump = urllib.request.urlopen(f"http://127.0.0.1:{admin}/config_dump", timeout=60).read()
        report.check(b"PRIVATE KEY" not in dump, f"{kind}: a key in its dump")
    for log in folder.glob("*.log"):
        report.check(b"PRIVATE KEY" not in log.read_bytes(), f"{log.name}: a key in it")

    # Nothing is reported as missing, until something is.
    def told():
        with urllib.request.urlopen(f"{endpoint}/selvedge/v1/status?mesh={MESH}", timeout=60) as answer:
            return json.dumps(json.load(answer))

    report.check("CERTIFICATE_UNAVAILABLE" not in told(), told)
    nobodys = "arn:aws:acm:us-west-2:123456789012:certificate/00000000-0000-0000-0000-000000000000"
    callers_spec["listeners"][0]["tls"] = {"mode": "STRICT", "certificate": {"acm": {"certificateArn": nobodys}}}
    mesh.update_virtual_node(meshName=MESH, virtualNodeName="caller", spec=callers_spec)
    until("the missing certificate is told of", lambda: "CERTIFICATE_UNAVAILABLE" in told())
finally:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
    application.shutdown()
    if report.failed:
        for log in folder.glob("*.log"):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
    shutil.rmtree(folder, ignore_errors=True)
report.end()
