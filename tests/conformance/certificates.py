#!/usr/bin/env python3
"""AWS Certificate Manager and its private authorities through boto3 and the real `aws`: certificates that are issued, imported,
renewed and taken away; OpenSSL reads what comes out."""

import json
import os
import subprocess
import tempfile

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

import _server
from _clients import snake
from _report import Report

report = Report()
endpoint = _server.endpoint()
ACCOUNT, REGION = _server.ACCOUNT, "us-west-2"
config = botocore.config.Config(parameter_validation=False, retries={"total_max_attempts": 1})


def service(name):
    client = boto3.client(name, endpoint_url=endpoint, region_name=REGION, aws_access_key_id="AKIDEXAMPLE",
                          aws_secret_access_key="secret", config=config)
    model = botocore.session.get_session().get_service_model(name)

    def call(operation, **params):
        """Calls through boto3: gives the exception's name and the output, or the error's document."""
        try:
            output = getattr(client, snake(operation))(**params)
            output.pop("ResponseMetadata", None)
            conforms(output, model.operation_model(operation).output_shape, operation)
            return None, output
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"], error.response

    def ok(operation, **params):
        code, output = call(operation, **params)
        report.check(code is None, lambda: f"{operation} {params}: {code} {output}")
        return output if code is None else {}

    def refused(code, operation, **params):
        got, output = call(operation, **params)
        report.equal(got, code, f"{operation} {params} {output}")
        return output

    return client, ok, refused


def conforms(value, shape, path):
    """Checks a value that came back against the model."""
    if shape is None:
        return
    if shape.type_name == "structure":
        report.check(set(value) <= set(shape.members), f"{path}: members {sorted(set(value) - set(shape.members))}")
        for name, member in shape.members.items():
            if name in value:
                conforms(value[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for one in value:
            conforms(one, shape.member, f"{path}[]")
    elif shape.type_name == "string" and shape.metadata.get("enum"):
        report.check(value in shape.metadata["enum"], f"{path}: {value}")


def openssl(*arguments, text=None):
    return subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True, check=False)


folder = tempfile.TemporaryDirectory()


def file(name, text):
    path = os.path.join(folder.name, name)
    with open(path, "w", encoding="ascii") as out:
        out.write(text)
    return path


client, ok, refused = service("acm")

# Requested without an authority: issued at once by the mesh's own.
arn = ok("RequestCertificate", DomainName="web.shop.local", SubjectAlternativeNames=["*.shop.local"],
         KeyAlgorithm="EC_prime256v1", Tags=[{"Key": "team", "Value": "web"}])["CertificateArn"]
report.check(arn.startswith(f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/"), arn)
client.get_waiter("certificate_validated").wait(CertificateArn=arn, WaiterConfig={"Delay": 1, "MaxAttempts": 2})
detail = ok("DescribeCertificate", CertificateArn=arn)["Certificate"]
report.equal((detail["Status"], detail["Type"], detail["InUseBy"]), ("ISSUED", "PRIVATE", []), "as described")
report.equal(detail["SubjectAlternativeNames"], ["web.shop.local", "*.shop.local"], "names")
report.check(detail["CertificateAuthorityArn"].startswith("arn:aws:acm-pca:"), detail["CertificateAuthorityArn"])
shown = ok("GetCertificate", CertificateArn=arn)
leaf, root = file("leaf.pem", shown["Certificate"]), file("root.pem", shown["CertificateChain"])
verified = openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", root, leaf)
report.equal(verified.stdout.strip(), f"{leaf}: OK", verified.stderr)
text = openssl("x509", "-in", leaf, "-noout", "-text").stdout
for part in ("CN = web.shop.local", "DNS:*.shop.local", "TLS Web Server Authentication", "CA:FALSE", "Digital Signature"):
    report.check(part in text, lambda: f"{part} in {text}")
serial = openssl("x509", "-in", leaf, "-noout", "-serial").stdout.strip().removeprefix("serial=").lower()
report.equal(detail["Serial"].replace(":", ""), serial, "serial")

# The key comes out behind the passphrase alone, as OpenSSL reads it.
exported = ok("ExportCertificate", CertificateArn=arn, Passphrase=b"correct horse battery")
sealed = file("sealed.pem", exported["PrivateKey"])
opened = openssl("pkey", "-in", sealed, "-passin", "pass:correct horse battery", "-pubout")
report.equal(opened.stdout, openssl("x509", "-in", leaf, "-noout", "-pubkey").stdout, opened.stderr)
report.check(openssl("pkey", "-in", sealed, "-passin", "pass:another").returncode != 0, "another passphrase")
key = openssl("pkey", "-in", sealed, "-passin", "pass:correct horse battery").stdout

# RSA, which is what AWS makes unless told otherwise.
rsa = ok("RequestCertificate", DomainName="rsa.shop.local")["CertificateArn"]
report.equal(ok("DescribeCertificate", CertificateArn=rsa)["Certificate"]["KeyAlgorithm"], "RSA_2048", "by default")

# Imported, and imported again under the same ARN; a key that is another's is refused.
imported = ok("ImportCertificate", Certificate=shown["Certificate"], PrivateKey=key,
              CertificateChain=shown["CertificateChain"])["CertificateArn"]
report.equal(ok("ImportCertificate", CertificateArn=imported, Certificate=shown["Certificate"], PrivateKey=key,
                CertificateChain=shown["CertificateChain"])["CertificateArn"], imported, "again")
other = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").stdout
refused("ValidationException", "ImportCertificate", Certificate=shown["Certificate"], PrivateKey=other)
old = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout").stdout
self_signed = openssl("req", "-x509", "-key", file("sec1.pem", old), "-subj", "/CN=own.shop.local", "-days", "2",
               "-addext", "subjectAltName=DNS:own.shop.local").stdout
own = ok("ImportCertificate", Certificate=self_signed, PrivateKey=old)["CertificateArn"]
report.equal(ok("DescribeCertificate", CertificateArn=own)["Certificate"]["DomainName"], "own.shop.local", "SEC 1, no chain")
refused("ValidationException", "RenewCertificate", CertificateArn=own)

# Lists in pages, by filters.
pages = client.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": 1})
listed = [one["CertificateArn"] for page in pages for one in page["CertificateSummaryList"]]
report.equal(sorted(listed), sorted([arn, rsa, imported, own]), "all, one a page")
newest = client.list_certificates(SortBy="CREATED_AT", SortOrder="DESCENDING")["CertificateSummaryList"]
report.equal(newest[0]["CertificateArn"], own, "the newest first")
by_type = ok("ListCertificates", Includes={"keyTypes": ["RSA_2048"]})["CertificateSummaryList"]
report.equal([one["CertificateArn"] for one in by_type], [rsa], "by its key")
report.equal(ok("ListCertificates", CertificateStatuses=["EXPIRED"])["CertificateSummaryList"], [], "by status")

# Renewed at once because somebody says so: another certificate, another key, the same ARN.
ok("RenewCertificate", CertificateArn=arn)
after = ok("GetCertificate", CertificateArn=arn)
report.check(after["Certificate"] != shown["Certificate"], "another certificate")
report.equal(after["CertificateChain"], shown["CertificateChain"], "of the same authority")
report.equal(ok("DescribeCertificate", CertificateArn=arn)["Certificate"]["RenewalSummary"]["RenewalStatus"], "SUCCESS", "renewed")

# Tags.
ok("AddTagsToCertificate", CertificateArn=arn, Tags=[{"Key": "stage", "Value": "live"}])
ok("RemoveTagsFromCertificate", CertificateArn=arn, Tags=[{"Key": "stage", "Value": "other"}, {"Key": "team"}])
report.equal(ok("ListTagsForCertificate", CertificateArn=arn)["Tags"], [{"Key": "stage", "Value": "live"}], "tags")

# In use as long as a specification names it.
mesh = boto3.client("appmesh", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="AKIDEXAMPLE",
                    aws_secret_access_key="secret")
mesh.create_mesh(meshName="certified")
node = mesh.create_virtual_node(meshName="certified", virtualNodeName="web", spec={
    "listeners": [{"portMapping": {"port": 8443, "protocol": "http"},
                   "tls": {"mode": "STRICT", "certificate": {"acm": {"certificateArn": arn}}}}],
    "serviceDiscovery": {"dns": {"hostname": "web.shop.local"}},
})["virtualNode"]["metadata"]["arn"]
report.equal(ok("DescribeCertificate", CertificateArn=arn)["Certificate"]["InUseBy"], [node], "in use")
refused("ResourceInUseException", "DeleteCertificate", CertificateArn=arn)
mesh.delete_virtual_node(meshName="certified", virtualNodeName="web")
mesh.delete_mesh(meshName="certified")
for one in (arn, rsa, imported, own):
    ok("DeleteCertificate", CertificateArn=one)
refused("ResourceNotFoundException", "DescribeCertificate", CertificateArn=arn)

# Authorities: a root is active at once; AWS's own order leads to the same place.
_, ok_pca, refused_pca = service("acm-pca")
configuration = {"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
                 "Subject": {"Organization": "Shop", "CommonName": "Shop root"}}
root = ok_pca("CreateCertificateAuthority", CertificateAuthorityType="ROOT", CertificateAuthorityConfiguration=configuration,
              IdempotencyToken="t1", Tags=[{"Key": "team", "Value": "sec"}])["CertificateAuthorityArn"]
report.equal(ok_pca("CreateCertificateAuthority", CertificateAuthorityType="ROOT", CertificateAuthorityConfiguration=configuration,
                    IdempotencyToken="t1")["CertificateAuthorityArn"], root, "by its token")
described = ok_pca("DescribeCertificateAuthority", CertificateAuthorityArn=root)["CertificateAuthority"]
report.equal((described["Status"], described["Type"], described["OwnerAccount"]), ("ACTIVE", "ROOT", ACCOUNT), "a root")
first = ok_pca("GetCertificateAuthorityCertificate", CertificateAuthorityArn=root)["Certificate"]
csr = ok_pca("GetCertificateAuthorityCsr", CertificateAuthorityArn=root)["Csr"]
asked = openssl("req", "-noout", "-verify", "-subject", text=csr)
report.check("Shop root" in asked.stdout and "OK" in asked.stdout + asked.stderr, asked.stderr)
own = ok_pca("IssueCertificate", CertificateAuthorityArn=root, Csr=csr, SigningAlgorithm="SHA256WITHECDSA",
             TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1", Validity={"Type": "YEARS", "Value": 5})["CertificateArn"]
own = ok_pca("GetCertificate", CertificateAuthorityArn=root, CertificateArn=own)["Certificate"]
ok_pca("ImportCertificateAuthorityCertificate", CertificateAuthorityArn=root, Certificate=own)
second = ok_pca("GetCertificateAuthorityCertificate", CertificateAuthorityArn=root)["Certificate"]
report.equal((second == own, second == first), (True, False), "imported")
made = ok("RequestCertificate", DomainName="a.shop.local", CertificateAuthorityArn=root, KeyAlgorithm="EC_secp384r1")["CertificateArn"]
leaf = ok("GetCertificate", CertificateArn=made)
for authority in (first, second):
    verified = openssl("verify", "-x509_strict", "-CAfile", file("ca.pem", authority), file("leaf.pem", leaf["Certificate"]))
    report.check(verified.returncode == 0, verified.stderr)

# A signing request of somebody's own.
key = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048").stdout
csr = openssl("req", "-new", "-key", file("own.key", key), "-subj", "/CN=own.shop.local", "-addext",
              "subjectAltName=DNS:own.shop.local,URI:spiffe://shop/own").stdout
issued = ok_pca("IssueCertificate", CertificateAuthorityArn=root, Csr=csr, SigningAlgorithm="SHA256WITHECDSA",
                Validity={"Type": "DAYS", "Value": 7})["CertificateArn"]
came = ok_pca("GetCertificate", CertificateAuthorityArn=root, CertificateArn=issued)
verified = openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", file("ca.pem", came["CertificateChain"]),
                   file("leaf.pem", came["Certificate"]))
report.check(verified.returncode == 0, verified.stderr)
text = openssl("x509", "-noout", "-text", text=came["Certificate"]).stdout
report.check("URI:spiffe://shop/own" in text and "CA:FALSE" in text, text)
asks = openssl("req", "-new", "-key", file("own.key", key), "-subj", "/CN=evil", "-addext", "basicConstraints=critical,CA:TRUE").stdout
for csr_given, code in ((asks, "MalformedCSRException"), ("nothing", "MalformedCSRException")):
    refused_pca(code, "IssueCertificate", CertificateAuthorityArn=root, Csr=csr_given, SigningAlgorithm="SHA256WITHECDSA",
                Validity={"Type": "DAYS", "Value": 7})
refused_pca("InvalidArgsException", "IssueCertificate", CertificateAuthorityArn=root, Csr=csr, SigningAlgorithm="SHA256WITHECDSA",
            Validity={"Type": "YEARS", "Value": 50})
refused_pca("InvalidArgsException", "IssueCertificate", CertificateAuthorityArn=root, Csr=csr, SigningAlgorithm="SHA256WITHRSA",
            Validity={"Type": "DAYS", "Value": 7})

# What is taken back: by the number that OpenSSL reads, with colons and without, and what ACM issued as well as what was asked for.
serial = openssl("x509", "-noout", "-serial", text=came["Certificate"]).stdout.strip().partition("=")[2]
acms = ok("DescribeCertificate", CertificateArn=made)["Certificate"]["Serial"]
revoke = dict(CertificateAuthorityArn=root, RevocationReason="KEY_COMPROMISE")
refused_pca("ResourceNotFoundException", "RevokeCertificate", **{**revoke, "CertificateSerial": "aa:bb"})
refused_pca("InvalidArgsException", "RevokeCertificate", **{**revoke, "CertificateSerial": "nothing"})
refused_pca("InvalidRequestException", "RevokeCertificate", **{**revoke, "CertificateSerial": openssl(
    "x509", "-noout", "-serial", text=second).stdout.strip().partition("=")[2]})
for one in (serial, acms):
    ok_pca("RevokeCertificate", **{**revoke, "CertificateSerial": one})
    refused_pca("RequestAlreadyProcessedException", "RevokeCertificate", **{**revoke, "CertificateSerial": one})
lists = {"CrlConfiguration": {"Enabled": True, "ExpirationInDays": 7}}
described = lambda: ok_pca("DescribeCertificateAuthority", CertificateAuthorityArn=root)["CertificateAuthority"]["RevocationConfiguration"]
report.equal(described(), {"CrlConfiguration": {"Enabled": False}}, "no lists unless something was taken back")
ok_pca("UpdateCertificateAuthority", CertificateAuthorityArn=root, RevocationConfiguration=lists)
report.equal(described(), lists, "the configuration is echoed")
for given in ({"OcspConfiguration": {"Enabled": True}}, {"CrlConfiguration": {"Enabled": True, "S3BucketName": "lists"}}):
    refused_pca("InvalidArgsException", "UpdateCertificateAuthority", CertificateAuthorityArn=root, RevocationConfiguration=given)
report.equal(described(), lists, "what is refused changes nothing")
refused_pca("InvalidArgsException", "CreateCertificateAuthority", CertificateAuthorityType="ROOT",
            CertificateAuthorityConfiguration={**configuration, "KeyAlgorithm": "SM2", "SigningAlgorithm": "SM3WITHSM2"})

# A subordinate one, signed by OpenSSL's hand.
below = ok_pca("CreateCertificateAuthority", CertificateAuthorityType="SUBORDINATE",
               CertificateAuthorityConfiguration={**configuration, "Subject": {"CommonName": "Below"}})["CertificateAuthorityArn"]
refused("InvalidParameterException", "RequestCertificate", DomainName="b.shop.local", CertificateAuthorityArn=below)
above_key = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout").stdout
above = openssl("req", "-x509", "-key", file("above.key", above_key), "-subj", "/CN=Above", "-days", "30").stdout
csr = ok_pca("GetCertificateAuthorityCsr", CertificateAuthorityArn=below)["Csr"]
signed = openssl("x509", "-req", "-in", file("below.csr", csr), "-CA", file("above.pem", above), "-CAkey", file("above.key", above_key),
                 "-days", "20", "-extfile", file("ca.cnf", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")).stdout
refused_pca("MalformedCertificateException", "ImportCertificateAuthorityCertificate", CertificateAuthorityArn=below, Certificate=signed,
            CertificateChain=first)
refused_pca("CertificateMismatchException", "ImportCertificateAuthorityCertificate", CertificateAuthorityArn=below, Certificate=above,
            CertificateChain=above)
ok_pca("ImportCertificateAuthorityCertificate", CertificateAuthorityArn=below, Certificate=signed, CertificateChain=above)
arn = ok("RequestCertificate", DomainName="b.shop.local", CertificateAuthorityArn=below)["CertificateArn"]
came = ok("GetCertificate", CertificateArn=arn)
verified = openssl("verify", "-CAfile", file("above.pem", above), "-untrusted", file("chain.pem", came["CertificateChain"]),
                   file("leaf.pem", came["Certificate"]))
report.check(verified.returncode == 0, verified.stderr)
life = ok("DescribeCertificate", CertificateArn=arn)["Certificate"]
until = ok_pca("DescribeCertificateAuthority", CertificateAuthorityArn=below)["CertificateAuthority"]["NotAfter"]
report.equal(life["NotAfter"], until, "it does not outlive its authority")

# Lists, tags, and the end.
pages = [ok_pca("ListCertificateAuthorities", MaxResults=1)]
while "NextToken" in pages[-1]:
    pages.append(ok_pca("ListCertificateAuthorities", MaxResults=1, NextToken=pages[-1]["NextToken"]))
listed = [one["Arn"] for page in pages for one in page["CertificateAuthorities"]]
report.check({root, below} <= set(listed) and len(listed) == 3, listed)
ok_pca("TagCertificateAuthority", CertificateAuthorityArn=root, Tags=[{"Key": "stage", "Value": "live"}])
ok_pca("UntagCertificateAuthority", CertificateAuthorityArn=root, Tags=[{"Key": "team"}])
report.equal(ok_pca("ListTags", CertificateAuthorityArn=root)["Tags"], [{"Key": "stage", "Value": "live"}], "tags of an authority")
refused_pca("InvalidStateException", "DeleteCertificateAuthority", CertificateAuthorityArn=root)
ok_pca("UpdateCertificateAuthority", CertificateAuthorityArn=root, Status="DISABLED")
refused("InvalidParameterException", "RequestCertificate", DomainName="c.shop.local", CertificateAuthorityArn=root)
ok_pca("DeleteCertificateAuthority", CertificateAuthorityArn=root, PermanentDeletionTimeInDays=7)
report.equal(ok_pca("DescribeCertificateAuthority", CertificateAuthorityArn=root)["CertificateAuthority"]["Status"], "DELETED", "deleted")
ok_pca("RestoreCertificateAuthority", CertificateAuthorityArn=root)
report.equal(ok_pca("DescribeCertificateAuthority", CertificateAuthorityArn=root)["CertificateAuthority"]["Status"], "DISABLED", "restored")
refused_pca("ResourceNotFoundException", "DescribeCertificateAuthority", CertificateAuthorityArn=root[:-1] + "x")
for one in (made, arn):
    ok("DeleteCertificate", CertificateArn=one)

# The real command line.
environment = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
               "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": endpoint}


def aws(*arguments):
    done = subprocess.run(["aws", *arguments, "--output", "json"], env=environment, capture_output=True, text=True, check=False)
    report.equal(done.returncode, 0, f"aws {arguments}: {done.stderr}")
    return json.loads(done.stdout or "{}")


arn = aws("acm", "request-certificate", "--domain-name", "cli.shop.local")["CertificateArn"]
report.equal(aws("acm", "describe-certificate", "--certificate-arn", arn)["Certificate"]["Status"], "ISSUED", "by the command line")
report.equal(len(aws("acm", "list-certificates")["CertificateSummaryList"]), 1, "listed by the command line")
passphrase = file("passphrase", "correct horse battery")
came = aws("acm", "export-certificate", "--certificate-arn", arn, "--passphrase", f"fileb://{passphrase}")
report.check("ENCRYPTED PRIVATE KEY" in came["PrivateKey"], "exported by the command line")
came = aws("acm", "import-certificate", "--certificate", "fileb://" + file("own.pem", self_signed),
           "--private-key", "fileb://" + file("own.key", old))
aws("acm", "delete-certificate", "--certificate-arn", came["CertificateArn"])
aws("acm", "delete-certificate", "--certificate-arn", arn)
made = aws("acm-pca", "create-certificate-authority", "--certificate-authority-type", "ROOT", "--certificate-authority-configuration",
           json.dumps(configuration))["CertificateAuthorityArn"]
shown = aws("acm-pca", "describe-certificate-authority", "--certificate-authority-arn", made)["CertificateAuthority"]
report.equal(shown["Status"], "ACTIVE", "an authority by the command line")

folder.cleanup()
report.end()
