"""Where the server under test is; one is started when none is given."""

import atexit
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
READY_SECONDS = 20


def endpoint():
    """The address of the server, without a trailing slash."""
    given = os.environ.get("AWS_ENDPOINT_URL")
    address = given.rstrip("/") if given else _start()
    _wait(address)
    return address


def _start():
    folder = tempfile.mkdtemp(prefix="selvedge-conformance-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    binary = os.environ.get("SELVEDGE_BIN")
    if binary:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [binary, "up", "--listen", f"127.0.0.1:{port}", "--data-dir", folder]
        _spawn(command, subprocess.DEVNULL)
        return f"http://127.0.0.1:{port}"
    command = ["cargo", "run", "--quiet", "-p", "selvedge-control", "--example", "api", "--", folder]
    process = _spawn(command, subprocess.PIPE)
    return process.stdout.readline().decode().strip()


def _spawn(command, stdout):
    process = subprocess.Popen(command, cwd=ROOT, stdout=stdout)

    def stop():
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()

    atexit.register(stop)
    return process


def _wait(address):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{address}/readyz", timeout=2).read()
            return
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"{address} is not ready: {error}")
            time.sleep(0.05)
