"""Requests made from botocore's model: the smallest that hold a member, and what a bound allows and forbids there.

A path is a tuple of member names and, for the elements of a list, zeros.
"""

import copy

# What a member must be for the request to make sense, where the model only says that it is a text.
TEXTS = {
    "certificateArn": "arn:aws:acm:us-west-2:123456789012:certificate/x",
    "certificateAuthorityArns": "arn:aws:acm-pca:us-west-2:123456789012:certificate-authority/x",
    "httpRetryEvents": "server-error",
}
# Members whose text begins with a slash.
SLASHED = {("match", "prefix"), ("path", "exact"), ("prefix", "value")}


def text(path, length):
    """A text of that length that makes sense at that path."""
    names = [step for step in path if step != 0]
    if tuple(names[-2:]) in SLASHED and length:
        return "/" + "x" * (length - 1)
    return "x" * length


def smallest(shape, path=()):
    """The smallest value that the model allows: required members only."""
    kind = shape.type_name
    if kind == "structure":
        value = {name: smallest(shape.members[name], path + (name,)) for name in shape.required_members}
        if getattr(shape, "is_tagged_union", False):
            name = next(iter(shape.members))
            value = {name: smallest(shape.members[name], path + (name,))}
        return value
    if kind == "list":
        return [smallest(shape.member, path + (0,)) for _ in range(max(shape.metadata.get("min", 0), 1))]
    if shape.metadata.get("enum"):
        return shape.metadata["enum"][0]
    if kind == "string":
        names = [step for step in path if step != 0]
        if names and names[-1] in TEXTS:
            return TEXTS[names[-1]]
        return text(path, max(shape.metadata.get("min", 1), 1))
    if kind in ("integer", "long"):
        return max(shape.metadata.get("min", 1), 1) if shape.metadata.get("max", 1) else 0
    return {"boolean": True}[kind]


def holding(shape, path, at=()):
    """The smallest value that holds the member at `path`."""
    if not path:
        return smallest(shape, at)
    step, rest = path[0], path[1:]
    if step == 0:
        return [holding(shape.member, rest, at + (0,))]
    value = {} if getattr(shape, "is_tagged_union", False) else smallest(shape, at)
    value[step] = holding(shape.members[step], rest, at + (step,))
    return value


def paths(shape, at=()):
    """Every member below a shape: its path and its shape, outer ones first."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield at + (name,), member
            yield from paths(member, at + (name,))
    elif shape.type_name == "list":
        yield at + (0,), shape.member
        yield from paths(shape.member, at + (0,))


def parent_shape(shape, path):
    for step in path[:-1]:
        shape = shape.member if step == 0 else shape.members[step]
    return shape


def get(value, path):
    for step in path:
        value = value[step]
    return value


def put(value, path, item):
    """A copy of `value` with `item` at `path`."""
    value = copy.deepcopy(value)
    get(value, path[:-1])[path[-1]] = item
    return value


def without(value, path):
    """A copy of `value` without the member at `path`."""
    value = copy.deepcopy(value)
    del get(value, path[:-1])[path[-1]]
    return value


def written(path):
    """A path as the server writes it: `spec.listeners[0].portMapping`."""
    out = ""
    for step in path:
        out += f"[{step}]" if step == 0 else ("." if out else "") + step
    return out


def allowed(shape, path):
    """Values at the edges of what the model allows, each with a name."""
    kind, meta = shape.type_name, shape.metadata
    if meta.get("enum"):
        return [(f"enum {word}", word) for word in meta["enum"]]
    if kind == "string":
        return [(f"length {meta[edge]}", text(path, meta[edge])) for edge in ("min", "max") if edge in meta]
    if kind in ("integer", "long"):
        return [(f"{edge} {meta[edge]}", meta[edge]) for edge in ("min", "max") if edge in meta]
    if kind == "list":
        item = smallest(shape.member, path + (0,))
        return [
            (f"{meta[edge]} elements", [copy.deepcopy(item) for _ in range(meta[edge])])
            for edge in ("min", "max") if meta.get(edge)
        ]
    if kind == "boolean":
        return [("true", True), ("false", False)]
    return []


def forbidden(shape, path):
    """Values just beyond what the model allows, each with a name, that boto3 can still write."""
    kind, meta = shape.type_name, shape.metadata
    out = []
    if meta.get("enum"):
        out += [("not in enum", "Nonsense"), ("wrong case", meta["enum"][0].swapcase())]
    elif kind == "string":
        if meta.get("min"):
            out.append(("too short", text(path, meta["min"] - 1)))
        if "max" in meta:
            out.append(("too long", text(path, meta["max"] + 1)))
        if "pattern" in meta:
            out.append(("against the pattern", "\u00e9"))
    elif kind in ("integer", "long"):
        if "min" in meta:
            out.append(("too small", meta["min"] - 1))
        out.append(("too large", meta.get("max", 2**31 - 1 if kind == "integer" else 2**63 - 1) + 1))
    elif kind == "list":
        item = smallest(shape.member, path + (0,))
        if meta.get("min"):
            out.append(("too few", [item] * (meta["min"] - 1)))
        if "max" in meta:
            out.append(("too many", [item] * (meta["max"] + 1)))
    return out


def mistyped(shape):
    """Values of other JSON types."""
    values = {"string": 7, "integer": "7", "long": 1.5, "boolean": "true", "list": {}, "structure": "x"}
    out = [("wrong type", values[shape.type_name])]
    if shape.type_name in ("integer", "boolean", "string"):
        out.append(("a structure", {}))
    if shape.type_name == "structure":
        out.append(("a list", []))
    return out
