"""The published JSON Schema of edge.toml, held by a validator to what `selvedge edge check` takes and refuses: a file that an editor
calls right is of the form, and one that is not of the form an editor calls wrong."""

import copy
import json
import os
import pathlib
import re
import subprocess
import tomllib

import jsonschema

from _edge import ROOT, folder
from _report import Report

report = Report()
BINARY = os.environ.get("SELVEDGE_BIN") or str(ROOT / "target/debug/selvedge")
home = folder()
schema = json.loads((ROOT / "docs/guide/edge.schema.json").read_text())
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
printed = subprocess.run([BINARY, "edge", "schema"], capture_output=True, text=True, check=True).stdout
report.equal(json.loads(printed), schema, "what is published is what is printed")


def toml(value):
    """A value as TOML has it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def checked(document):
    """Whether the edge takes a file, and what it says."""
    file = home / "edge.toml"
    file.write_text("".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in document.items()))
    done = subprocess.run([BINARY, "edge", "check", str(file)], capture_output=True, text=True)
    return done.returncode == 0, done.stdout


# === every file of ours is right ===
texts = {"core/site/tests/edge.toml": (ROOT / "core/site/tests/edge.toml").read_text()}
for page in sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), ROOT / "README.md"]):
    for number, block in enumerate(re.findall(r"^(?:```toml\n|cat > \S+\.toml <<'TOML'\n)(.*?)^(?:```|TOML)$", page.read_text(), re.S | re.M)):
        texts[f"{page.relative_to(ROOT)} {number}"] = block
for file in (ROOT / "examples").rglob("*.toml"):
    texts[str(file.relative_to(ROOT))] = file.read_text()
whole = {}
for name, text in texts.items():
    document = tomllib.loads(text)
    # A document may show a part: whatever stands beside it, somewhere is listened.
    document.setdefault("listen", [{"address": ":80"}])
    if not set(document) <= set(schema["properties"]):
        continue
    whole[name] = document
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    report.equal(found, [], f"{name} is right by the schema")
report.check({"core/site/tests/edge.toml", "docs/guide/edge.md 0"} <= set(whole), lambda: f"there are files to look at: {list(whole)}")
converted = sorted((ROOT / "examples/lighttpd").glob("*.conf"))
for file in converted:
    environment = {**os.environ, "SITE": str(home), "PORT": "8080", "TLS_PORT": "8443", "BACKEND_PORT": "9000"}
    made = subprocess.run([BINARY, "edge", "convert", str(file)], capture_output=True, text=True, check=True, env=environment).stdout
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(tomllib.loads(made))]
    report.equal(found, [], f"{file.name} is converted to what is right by the schema")
report.check(len(converted) >= 6, "the examples are converted")


# === what is not of the form is refused by both ===
def places(value, path=()):
    """Every place of a file: what it is in, and under which key."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def wrong(document):
    """Files with one thing that the form does not have, and what it is."""
    for path in places(document):
        value = at(document, path)
        if isinstance(value, dict) and not open_table(path):
            changed = copy.deepcopy(document)
            at(changed, path)["no_such_key"] = 1
            yield f"{path}: a key that there is not", changed
        if not path:
            continue
        replaced = {str: 7, int: "seven", bool: "yes", list: {"a": 1}, dict: "a"}[type(value)]
        if isinstance(value, list) and value and isinstance(value[0], dict):
            replaced = "a"
        changed = copy.deepcopy(document)
        at(changed, path[:-1])[path[-1]] = replaced
        yield f"{path} = {replaced!r}", changed
        if isinstance(value, str):
            for other in ("10", "10 parsecs", "", "-1s", "1.5s"):
                changed = copy.deepcopy(document)
                at(changed, path[:-1])[path[-1]] = other
                yield f"{path} = {other!r}", changed
        if isinstance(value, dict):
            continue
        parent = at(document, path[:-1])
        if isinstance(parent, dict):
            changed = copy.deepcopy(document)
            del at(changed, path[:-1])[path[-1]]
            yield f"without {path}", changed


def open_table(path):
    """Whether a table takes any key."""
    here = schema
    for key in path:
        here = here.get("items", here) if isinstance(key, int) else here.get("properties", {}).get(key) or here.get("additionalProperties")
        if not isinstance(here, dict):
            return True
    return "properties" not in here


EXAMPLE = tomllib.loads(texts["core/site/tests/edge.toml"])
# What is said of a value's shape, and not of what it leads to.
SHAPE = re.compile(r"error: (unknown key|.* should be |.* is missing)")
taken = refused = 0
for what, document in wrong(EXAMPLE):
    is_taken, said = checked(document)
    is_of_form = not SHAPE.search(said)
    is_right = validator.is_valid(document)
    report.equal(is_right, is_of_form, f"{what}: {said}")
    taken, refused = taken + is_of_form, refused + (not is_of_form)
report.check(refused > 150 and taken > 20, lambda: f"{refused} files are refused, {taken} are not")
described = [key for key in re.findall(r'"description": "(.*?)"', json.dumps(schema))]
report.check(len(described) > 100 and all(described), "keys are described, for editors")
report.end()
