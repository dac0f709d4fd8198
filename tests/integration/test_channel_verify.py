# SPDX-License-Identifier: MIT
"""What our adapters send, judged by code that nobody here wrote: the vendors' own libraries for
the same message, jose, http_ece, smithy, standardwebhooks, smtp-server with mailparser, and the
vendors' OpenAPI documents."""
import base64
import http.server
import json
import os
import re
import subprocess
import threading

import pytest

import channel_probe as probe
from test_channel_providers import RICH

import npm

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "channel_verify.cjs")
DELIVERY = "0123456789abcdef"
SPEC = os.environ.get("TOCSIN_SPEC_DIR",
                      os.path.join(os.path.dirname(probe.ROOT), "shared", "spec"))
MAIL = {"title": "Your order", "body": "It is ready at counter 4.", "content": {"email": {
    "html": "<p>It is <b>ready</b>.</p>", "list_unsubscribe": "https://example.org/u/1",
    "attachments": [{"name": "a.txt", "type": "text/plain", "content": "aGk="}]}}}


def steps():
    with open(SCRIPT, encoding="utf-8") as file:
        return re.findall(r"^  async (\w+)\(\) \{", file.read(), re.M)


class Keeper(http.server.BaseHTTPRequestHandler):
    """A push service that keeps the body as it came."""

    def do_POST(self):
        self.server.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def sealed_for_a_key_of_ours(info):
    """One push to a subscription whose private key the verifier gets, byte for byte."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def url64(raw):
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(serialization.Encoding.X962,
                                          serialization.PublicFormat.UncompressedPoint)
    auth = url64(os.urandom(16))
    keeper = http.server.HTTPServer(("127.0.0.1", 0), Keeper)
    thread = threading.Thread(target=keeper.handle_request, daemon=True)
    thread.start()
    outcome = probe.one(info, "webpush", target=json.dumps({
        "endpoint": "http://127.0.0.1:%d/p" % keeper.server_address[1],
        "keys": {"p256dh": url64(point), "auth": auth}}))
    thread.join(10)
    keeper.server_close()
    assert outcome["outcome"] == "accepted", outcome
    return {"private": url64(key.private_numbers().private_value.to_bytes(32, "big")),
            "auth": auth, "raw": base64.b64encode(keeper.body).decode()}


FIELDS = "seq,op,path,headers,body,raw,verdict"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The provider server, and its record of one request of each adapter."""
    if not os.path.exists(probe.binary()):
        pytest.skip("tests/spec/probe is not built")
    with probe.ProviderServer(tmp_path_factory.mktemp("verify")) as server:
        found = {}
        for adapter in probe.ADAPTERS:
            content = MAIL if adapter in probe.EMAIL else None
            probe.one(server.info, adapter, content=content, tls=adapter == "apns")
            records = server.requests(adapter, fields=FIELDS)
            found[adapter] = [r for r in records if r["op"] == "send"][-1]
            assert found[adapter]["verdict"] == "accepted", found[adapter]
        found["fcm_token"] = [r for r in server.requests("fcm", fields=FIELDS)
                              if r["op"] == "token"][-1]
        found["webpush_own"] = sealed_for_a_key_of_ours(server.info)
        yield server, found


@pytest.fixture(scope="module")
def results(ours, tmp_path_factory):
    """What each step of channel_verify.cjs said; they share one node process."""
    server, found = ours
    try:
        modules = npm.modules()
    except npm.Unavailable as reason:
        pytest.skip(str(reason))
    place = tmp_path_factory.mktemp("node")
    given = place / "given.json"
    secrets = os.path.dirname(server.info["ca_file"])
    given.write_text(json.dumps({
        "info": server.info, "ours": found, "delivery": DELIVERY,
        "probe": {"binary": probe.binary(), "rich": RICH,
                  "password_file": str(place / "password"),
                  "tls_cert": os.path.join(secrets, "tls-good.pem"),
                  "tls_key": os.path.join(secrets, "tls-good.key")}}))
    done = subprocess.run(
        ["node", "--no-deprecation", SCRIPT, str(given)], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NODE_PATH": modules, "NODE_EXTRA_CA_CERTS": server.info["ca_file"]})
    said = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            value = json.loads(line)
            said[value["step"]] = value.get("error")
    assert done.returncode == 0 and said, done.stdout + done.stderr
    return said


@pytest.mark.parametrize("step", steps())
def test_by_code_of_others(results, step):
    assert step in results
    assert results[step] is None, results[step]


def schema_of(name, find):
    """A schema of a vendor's OpenAPI document with its references beside it."""
    path = os.path.join(SPEC, "providers", name)
    if not os.path.exists(path):
        pytest.skip("no %s (set TOCSIN_SPEC_DIR)" % name)
    with open(path) as file:
        document = json.load(file)
    return {**find(document), "components": document.get("components", {})}


def check(schema, body):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(schema).validate(body)


def body_schema(document, path, media_type):
    for name, item in document["paths"].items():
        if name.endswith(path):
            body = item["post"]["requestBody"]
            if "$ref" in body:
                body = document["components"]["requestBodies"][body["$ref"].rpartition("/")[2]]
            return body["content"][media_type]["schema"]
    raise KeyError(path)


def test_the_twilio_document_takes_our_request(ours):
    schema = schema_of("twilio_api_v2010.json", lambda document: body_schema(
        document, "/Messages.json", "application/x-www-form-urlencoded"))
    body = ours[1]["twilio"]["body"]
    check(schema, body)
    assert set(body) <= set(schema["properties"])


def test_the_sendgrid_document_takes_our_request(ours):
    schema = schema_of("sendgrid_mail_v3.json", lambda document: body_schema(
        document, "/mail/send", "application/json"))
    check(schema, json.loads(base64.b64decode(ours[1]["sendgrid"]["raw"])))


def test_the_ses_model_knows_every_member(ours):
    path = os.path.join(SPEC, "providers", "aws_sesv2_service-2.json")
    if not os.path.exists(path):
        pytest.skip("no model of SES (set TOCSIN_SPEC_DIR)")
    with open(path) as file:
        shapes = json.load(file)["shapes"]

    def walk(value, shape):
        if shape["type"] == "structure":
            assert set(value) <= set(shape["members"]), set(value) - set(shape["members"])
            assert set(shape.get("required", ())) <= set(value)
            for name, member in value.items():
                walk(member, shapes[shape["members"][name]["shape"]])
        elif shape["type"] == "list":
            for member in value:
                walk(member, shapes[shape["member"]["shape"]])
        else:
            assert isinstance(value, str)
    walk(json.loads(base64.b64decode(ours[1]["ses"]["raw"])), shapes["SendEmailRequest"])
