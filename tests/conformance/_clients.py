"""The two ways to call the server: boto3, and plain HTTP for what boto3 would not send."""

import http.client
import json
import urllib.parse

import boto3
import botocore.config
import botocore.exceptions


def boto(endpoint):
    """A client that leaves checking to the server."""
    config = botocore.config.Config(
        parameter_validation=False, retries={"total_max_attempts": 1}, max_pool_connections=4
    )
    return boto3.client(
        "appmesh",
        endpoint_url=endpoint,
        region_name="us-west-2",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=config,
    )


def snake(name):
    """`CreateMesh` as boto3's method: `create_mesh`."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Raw:
    """One kept-alive connection."""

    def __init__(self, endpoint):
        parts = urllib.parse.urlsplit(endpoint)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)

    def send(self, method, path, body=None, headers=None):
        """Sends a request; gives status, headers and body. `body` is bytes, or something to write as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("content-type", "application/json")
        for attempt in range(2):
            try:
                self.connection.request(method, path, body, headers)
                response = self.connection.getresponse()
                return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                self.connection.close()
                if attempt:
                    raise

    def call(self, operation, params):
        """Calls an operation of botocore's model: gives status, exception name, document."""
        path = operation.http["requestUri"]
        query, body = {}, {}
        members = operation.input_shape.members if operation.input_shape else {}
        for name, value in params.items():
            location = members[name].serialization.get("location") if name in members else None
            if location == "uri":
                path = path.replace("{%s}" % name, urllib.parse.quote(str(value), safe=""))
            elif location == "querystring":
                query[name] = value
            else:
                body[name] = value
        if query:
            path += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        method = operation.http["method"]
        status, headers, text = self.send(method, path, body if method == "PUT" else None)
        document = json.loads(text) if text else {}
        return status, headers.get("x-amzn-errortype"), document


def try_boto(client, operation, params):
    """Calls through boto3: gives status, exception name, output."""
    try:
        output = getattr(client, snake(operation))(**params)
        output.pop("ResponseMetadata", None)
        return 200, None, output
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status, error.response["Error"]["Code"], {"message": error.response["Error"].get("Message", "")}
