# SPDX-License-Identifier: MIT
"""Whatever the vendors' published documents refuse, the provider server refuses or warns about."""

import copy
import json

import pytest

import openapi
from test_each_provider import ses
from test_providers import sendgrid_send, twilio_send

SENDGRID = {
    "personalizations": [{"to": [{"email": "a@example.org", "name": "A"}],
                          "cc": [{"email": "c@example.org"}], "subject": "s",
                          "headers": {"X-A": "1"}, "custom_args": {"k": "v"}}],
    "from": {"email": "f@example.org", "name": "F"}, "reply_to": {"email": "r@example.org"},
    "subject": "s", "content": [{"type": "text/plain", "value": "t"},
                                {"type": "text/html", "value": "<p>"}],
    "attachments": [{"content": "aGk=", "filename": "a.txt", "type": "text/plain",
                     "disposition": "attachment"}],
    "categories": ["c"], "custom_args": {"k": "v"}, "headers": {"X-B": "1"}}
SES = {
    "FromEmailAddress": "f@example.org", "ReplyToAddresses": ["r@example.org"],
    "Destination": {"ToAddresses": ["a@example.org"]}, "ConfigurationSetName": "tocsin",
    "EmailTags": [{"Name": "n", "Value": "v"}],
    "Content": {"Simple": {"Subject": {"Data": "s", "Charset": "UTF-8"},
                           "Body": {"Text": {"Data": "t"}, "Html": {"Data": "<p>"}},
                           "Headers": [{"Name": "X-A", "Value": "1"}]}}}
TWILIO = {"To": "+15005550010", "From": "+15005550006", "Body": "hello", "ValidityPeriod": "60",
          "StatusCallback": "http://127.0.0.1:1/x", "SmartEncoded": "true"}


def mutations(value, path=()):
    """(path, spoiled copy): each key left out, each value of another type, one unknown key."""
    root = value

    def put(path, change):
        made = copy.deepcopy(root)
        place = made
        for step in path[:-1]:
            place = place[step]
        change(place, path[-1])
        return path, made

    def walk(node, path):
        if isinstance(node, dict):
            yield put(path + ("unknown_key",), lambda place, key: place.__setitem__(key, "x"))
        for key in (node if isinstance(node, dict) else range(len(node))
                    if isinstance(node, list) else ()):
            here = path + (key,)
            yield put(here, lambda place, k: place.pop(k))
            for other in (17, "text", [], {}, True):
                if type(other) is not type(node[key]):
                    yield put(here, lambda place, k, o=other: place.__setitem__(k, o))
            yield from walk(node[key], here)
    yield from walk(value, path)


def documented(provider):
    try:
        return openapi.schema(provider)
    except openapi.Unavailable as reason:
        return pytest.skip(str(reason))


def compare(p, provider, good, send):
    """The document's verdict on every mutation against the server's."""
    documented(provider)
    assert openapi.faults_of_body(provider, good) == []
    assert send(good) < 300
    lenient, refused = [], 0
    for path, body in mutations(good):
        found = openapi.faults_of_body(provider, body)
        status = send(body)
        assert status != 599, (path, body)
        record = p.requests(provider, since=p.call("GET", "/requests?limit=1&since=999999999")[
            "next"] - 1)[-1]
        if found:
            refused += 1
            if status < 300 and not record["warnings"]:
                lenient.append((path, found))
    assert not lenient, lenient
    assert refused > 10


def test_sendgrid(p):
    def send(body):
        return sendgrid_send(p, raw=json.dumps(body)).status
    compare(p, "sendgrid", SENDGRID, send)


def test_ses(p):
    compare(p, "ses", SES, lambda body: ses(p, raw=body).status)


def test_twilio(p):
    documented("twilio")
    assert openapi.faults_of_body("twilio", TWILIO) == []
    assert twilio_send(p, TWILIO).status == 201
    for name, value in (("Unknown", "x"), ("ValidityPeriod", "soon"), ("To", None)):
        assert openapi.faults_of_body("twilio", {k: v for k, v in {**TWILIO, name: value}.items()
                                                 if v is not None})
        reply = twilio_send(p, {**TWILIO, name: value})
        assert reply.status == 400 or p.requests("twilio")[-1]["warnings"], name
