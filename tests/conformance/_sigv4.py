#!/usr/bin/env python3
"""Writes core/aws/src/sigv4.json: requests and what botocore's signer makes of them, at one fixed time."""

import datetime
import json
import pathlib
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials

TARGET = pathlib.Path(__file__).resolve().parents[2] / "core/aws/src/sigv4.json"
TIME = datetime.datetime(2015, 8, 30, 12, 36, 0)
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = ("host", "example.amazonaws.com")
CASES = [
    # name, service, method, path, query, headers, body, token
    ("vanilla", "service", "GET", "/", "", [], "", None),
    ("a body", "sqs", "POST", "/", "", [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.SendMessage")], '{"a":1}', None),
    ("a token", "dynamodb", "POST", "/", "", [("x-amz-target", "DynamoDB_20120810.GetItem")], "{}", "a/token+with=signs"),
    ("a query", "service", "GET", "/", "b=2&a=1&a=0&c=", [], "", None),
    ("an encoded query", "service", "GET", "/", "k%20ey=v%2Fal%3D&%C3%A4=%F0%9F%98%80", [], "", None),
    ("spaces in headers", "service", "GET", "/", "", [("my-header", "  a   b  c ")], "", None),
    ("a form", "sns", "POST", "/", "", [("content-type", "application/x-www-form-urlencoded; charset=utf-8")], "Action=Publish&Message=h%20i", None),
    ("a function's path", "lambda", "POST", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af/invocations", "Qualifier=live", [], "{}", None),
    ("an object", "s3", "PUT", "/bucket/a%20key/with%2Bsigns/%C3%A4.txt", "", [("content-type", "text/plain")], "contents", None),
    ("an object with a query", "s3", "GET", "/bucket", "list-type=2&prefix=a%2Fb", [], "", "token"),
    ("dots in an object's path", "s3", "GET", "/bucket/a/../b/./c//d", "", [], "", None),
    ("dots in another path", "service", "GET", "/a/../b/./c//d/", "", [], "", None),
    ("characters of all kinds", "service", "POST", "/-._~/%E1%88%B4", "Action=~_-.", [("x-amz-meta", "ä")], "ä", None),
]


def vector(name, service, method, path, query, headers, body, token):
    credentials = botocore.credentials.Credentials(KEY, SECRET, token)
    signer = (botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth)(credentials, service, "us-east-1")
    headers = [HOST, *headers]
    url = f"https://example.amazonaws.com{path}" + (f"?{query}" if query else "")
    request = botocore.awsrequest.AWSRequest(method=method, url=url, headers=dict(headers), data=body.encode())
    request.context["payload_signing_enabled"] = True
    with mock.patch("botocore.auth.get_current_datetime", return_value=TIME):
        signer.add_auth(request)
    return {"name": name, "service": service, "method": method, "path": path, "query": query, "headers": headers, "body": body,
            "token": token, "authorization": request.headers["Authorization"]}


if __name__ == "__main__":
    TARGET.write_text(json.dumps([vector(*case) for case in CASES], indent=1, ensure_ascii=False) + "\n")
