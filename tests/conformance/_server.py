"""Where the server under test is; one is started when none is given."""

import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
READY_SECONDS = 60


def endpoint():
    """The address of the server, without a trailing slash."""
    given = os.environ.get("AWS_ENDPOINT_URL")
    address = given.rstrip("/") if given else _start()
    _wait(address)
    return address


def started(*words):
    """The address of a server of the script's own, which is told more; it needs `SELVEDGE_BIN`."""
    address = _start(*words)
    _wait(address)
    return address


def _start(*words):
    folder = tempfile.mkdtemp(prefix="selvedge-conformance-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    binary = os.environ.get("SELVEDGE_BIN")
    if binary:
        command = [binary, "up", "--listen", "127.0.0.1:0", "--data-dir", folder, *words]
    elif words:
        raise SystemExit("SELVEDGE_BIN says which server is told " + " ".join(words))
    else:
        command = ["cargo", "run", "--quiet", "-p", "selvedge-control", "--example", "api", "--", folder]
    # Both say where they listen at the end of their first line.
    line = _spawn(command).stdout.readline().decode()
    if not line:
        raise SystemExit(f"{command[0]} ended without saying where it listens")
    return line.split()[-1]


def _spawn(command):
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)

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
