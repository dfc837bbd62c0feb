"""Sign-in by digest, by clients that are real, at Debian's lighttpd and at our edge: the same answers, after as many requests."""

import hashlib
import os
import subprocess
import urllib.error
import urllib.request

import requests
from requests.auth import HTTPDigestAuth

from _edge import ROOT, atexit, await_port, end, folder, free_ports
from _report import Report

report = Report()
home = folder()
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
(home / "www/a b").mkdir(parents=True)
for name in ("a.txt", "b.txt", "a b/c.txt"):
    (home / "www" / name).write_text(f"the text of {name}\n")
(home / "digests").write_text("".join(f"{user}:r:{hashlib.md5(f'{user}:r:{word}'.encode()).hexdigest()}\n" for user, word in (("ann", "right"), ("zoë", "grün"))))
PORTS = dict(zip(("lighttpd", "edge"), free_ports(2)))


def configuration(name, algorithm="MD5"):
    return f"""
server.document-root = "{home}/www"
server.bind = "127.0.0.1"
server.port = {PORTS[name]}
server.modules = ( "mod_auth", "mod_authn_file" )
auth.backend = "htdigest"
auth.backend.htdigest.userfile = "{home}/digests"
auth.require = ( "" => ( "method" => "digest", "realm" => "r", "require" => "valid-user", "algorithm" => "{algorithm}" ) )
"""


for name, command in (("lighttpd", ["/usr/sbin/lighttpd"]), ("edge", [BINARY, "edge"])):
    (home / f"{name}.conf").write_text(configuration(name))
    process = subprocess.Popen([*command, "-D", "-f", str(home / f"{name}.conf")], stderr=subprocess.DEVNULL)
    atexit.register(end, process)
    await_port(PORTS[name])


def curl(site, user, word, paths, *more):
    """How each request ended, with its body, and how many it took."""
    words = ["curl", "-sSv", "--max-time", "60", "--digest", "-u", f"{user}:{word}", "-w", " %{http_code}\n", *more]
    done = subprocess.run(words + [f"{site}{path}" for path in paths], capture_output=True, text=True)
    return done.stdout, done.stderr.count("\n< HTTP/1.1 ")


def by_requests(site, user, word, paths):
    with requests.Session() as session:
        session.auth = HTTPDigestAuth(user, word)
        answers = [session.get(site + path, timeout=60) for path in paths]
    return [(answer.status_code, answer.text) for answer in answers], sum(1 + len(answer.history) for answer in answers)


def by_library(site, user, word, paths):
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, site, user, word)
    challenges = []

    class Handler(urllib.request.HTTPDigestAuthHandler):
        def http_error_401(self, *words):
            challenges.append(words)
            return super().http_error_401(*words)

    opener = urllib.request.build_opener(Handler(known))

    def one(path):
        try:
            with opener.open(site + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except (urllib.error.HTTPError, ValueError) as error:
            return getattr(error, "code", "gave up"), ""

    return [one(path) for path in paths], len(challenges)


PATHS = ["/a.txt", "/b.txt", "/a%20b/c.txt?x=1&y=%2F", "/nowhere", "/a.txt"]
PEOPLE = [("ann", "right"), ("ann", "wrong"), ("eve", "right"), ("ann", ""), ("zoë", "grün")]
for what, client in (("curl", curl), ("requests", by_requests), ("Python's library", by_library)):
    for user, word in PEOPLE:
        if client is by_library and not user.isascii():
            # It writes names in Latin-1, which no file of ours is in.
            continue
        answers = {name: client(f"http://127.0.0.1:{port}", user, word, PATHS) for name, port in PORTS.items()}
        report.equal(answers["edge"], answers["lighttpd"], f"{what}: {user}:{word}: the same answers after as many requests")
edge = f"http://127.0.0.1:{PORTS['edge']}"
signed_in, count = by_requests(edge, "ann", "right", PATHS)
report.equal(([status for status, _ in signed_in], count), ([200, 200, 200, 404, 200], len(PATHS) + 1), "who is known sees what there is, and is challenged once")
posted = {name: curl(f"http://127.0.0.1:{port}", "ann", "right", ["/a.txt"], "-d", "x=1") for name, port in PORTS.items()}
report.equal(posted["edge"], posted["lighttpd"], "a body that is posted comes with the second request")
report.end()
