"""Proxies for a control plane: real Envoys and our own, with and without interception, each in a network of its own where that can be had."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse

import _server
from _ports import free_port

ADMIN_PORT = 9901
# Brings up the loopback of a new network (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING), and becomes the program given.
IN_NEW_NETWORK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def envoy_binary():
    """The Envoy of this machine, if it has one."""
    given = os.environ.get("SELVEDGE_ENVOY")
    found = _server.ROOT.glob("target/venv/lib/python3*/site-packages/envoy/_bin/envoy")
    return given or next((str(path) for path in found), None) or shutil.which("envoy")


def has_networks():
    """Whether a process may have a network of its own here."""
    return shutil.which("unshare") and subprocess.run(["unshare", "-rn", "true"], stderr=subprocess.DEVNULL).returncode == 0


class Fleet:
    """Proxies of one control plane, ended together."""

    def __init__(self, endpoint, binary):
        self.binary = binary
        self.envoy = envoy_binary()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="selvedge-proxies-"))
        self.children = []
        self.bridge = Bridge(self.folder / "control.sock", endpoint)
        self.isolated = has_networks()
        if not self.envoy:
            print("skipped: Envoy's part, for there is none here")
        if not self.isolated:
            print("skipped: proxies with interception, for they need networks of their own")

    def count(self):
        return len(self.children)

    def start(self, resource):
        """Starts every sort of proxy that this machine can run, for one node or gateway."""
        for is_direct in (False, True):
            if is_direct or self.isolated:
                if self.envoy:
                    self._start(resource, is_direct, is_envoy=True)
                self._start(resource, is_direct, is_envoy=False)

    def _start(self, resource, is_direct, is_envoy):
        number = len(self.children)
        log = open(self.folder / f"{number}.log", "wb")
        environment = {**os.environ, "APPMESH_RESOURCE_ARN": resource, "APPMESH_XDS_ENDPOINT": f"unix://{self.bridge.path}"}
        environment["ENVOY_ADMIN_ACCESS_PORT"] = str(ADMIN_PORT if self.isolated else free_port())
        if is_direct:
            environment["SELVEDGE_INTERCEPTION"] = "none"
            environment["SELVEDGE_INGRESS_PORT"] = str(20000 + 2 * number if self.isolated else free_port())
            environment["SELVEDGE_EGRESS_PORT"] = str(20001 + 2 * number if self.isolated else free_port())
        command = [self.binary, "proxy"]
        if is_envoy:
            bootstrap = subprocess.run([*command, "--print-envoy-bootstrap"], env=environment, check=True, capture_output=True)
            file = self.folder / f"{number}.yaml"
            file.write_bytes(bootstrap.stdout)
            command = [self.envoy, "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
        if self.isolated:
            command = ["unshare", "-rn", "--", sys.executable, "-c", IN_NEW_NETWORK, *command]
        child = subprocess.Popen(command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.children.append(child)

    def dead(self):
        """The logs' ends of those that have ended by themselves."""
        ended = [number for number, child in enumerate(self.children) if child.poll() is not None]
        return [(self.folder / f"{number}.log").read_text(errors="replace")[-2000:] for number in ended]

    def stop(self):
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Bridge:
    """Carries connections from networks without a way out to the control plane."""

    def __init__(self, path, endpoint):
        parts = urllib.parse.urlsplit(endpoint)
        self.path, self.control = path, (parts.hostname, parts.port)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(self.control)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
