# SPDX-License-Identifier: MIT
"""What the bridge really publishes is what schemas/json/ says it publishes."""
import json
import os
import re

import jsonschema
import pytest

from client import Client

SCHEMAS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "schemas", "json")
# The end of a topic, and the schema of what is published there.
LEAVES = {"receipt": "receipt", "reply": "reply", "inbox": "inbox", "badge": "badge",
          "changed": "changed"}


def validator(name):
    with open(os.path.join(SCHEMAS, name + ".schema.json"), encoding="utf-8") as file:
        return jsonschema.Draft202012Validator(json.load(file))


def schema_of(topic):
    if topic.startswith("notify/v1/dlq/"):
        return "dlq"
    if topic == "notify/v1/stats/queue":
        return "stats"
    if topic.startswith("notify/v1/alerts/"):
        return "alert"
    return LEAVES[topic.rsplit("/", 1)[1]]


def request(name, **more):
    return {"id": name, "type": "contract.test", "title": name, "to": {"user": "carol"}, **more}


def run_lives(stack, shop, carol, ops):
    """Requests whose receipts are of every status, an rpc of every outcome, a dead letter."""
    shop.publish("up/request", [
        request("c-good", receipts="all", data={"n": [1, 2.5, None]}, priority="high",
                group={"key": "k"}), {"id": "c-bad", "typ": 1}, 7])
    shop.publish("up/request", [
        request("c-seen", receipts="all", data={"n": [1, 2.5, None]}, priority="urgent",
                expires_at="2099-01-01T00:00:00Z",
                content={"in_app": {"title": "c-seen"}, "sms": {"body": "x"}}),
        request("c-sms", to={"phone": "+15550100123"}, body="Grüße", receipts="all"),
        request("c-dead", to={"user": "nobody"}, receipts="all",
                retry={"attempts": 2, "base": "100ms", "max": "100ms"}),
        request("c-late", to={"user": "nobody"}, ttl="1s"),
        request("c-recall", at="2099-01-01T00:00:00Z"),
        request("c-all", to={"broadcast": True})])
    shop.publish("up/request", b"{")
    message = carol.wait(lambda m: m.json.get("title") == "c-seen")
    carol.publish("up/ack", {"ids": [message.json["id"]]})
    for name, status in (("c-bad", "rejected"), ("c-seen", "delivered"), ("c-sms", "sent"),
                         ("c-dead", "dead"), ("c-late", "expired"), ("c-recall", "accepted"),
                         ("c-all", "accepted")):
        shop.receipt(name, status, 20)
    carol.wait(lambda m: m.json.get("title") == "c-all")
    shop.rpc("request.status", {"id": "c-sms"})
    shop.rpc("request.status", {"id": 7})
    shop.rpc("request.cancel", {"id": "c-recall"})
    shop.receipt("c-recall", "cancelled")
    shop.rpc("no.such.method")
    shop.publish("up/rpc/request.status", b"[]")
    shop.wait(lambda m: m.topic.endswith("/reply") and "rpc" not in m.json)
    ops.rpc("dlq.list", {"limit": 10})
    ops.rpc("dlq.list", {"limit": 0})
    ops.wait(lambda m: m.topic.startswith("notify/v1/dlq/"))
    ops.wait(lambda m: m.topic == "notify/v1/stats/queue")
    ops.wait(lambda m: m.topic.startswith("notify/v1/alerts/"))


@pytest.fixture(scope="module")
def messages(stack):
    """Everything that was published to a service, a user and an admin."""
    with Client(stack, "service", "contract") as shop, Client(stack, "user", "carol") as carol, \
            Client(stack, "admin", "ops") as ops:
        shop.subscribe("down/#")
        carol.subscribe("down/#")
        carol.subscribe("notify/v1/broadcast/#")
        ops.subscribe("down/#")
        ops.subscribe("notify/v1/dlq/#")
        ops.subscribe("notify/v1/stats/#")
        ops.subscribe("notify/v1/alerts/#")
        run_lives(stack, shop, carol, ops)
        return list(shop.messages + carol.messages + ops.messages)


@pytest.mark.parametrize("name", ("receipt", "reply", "inbox", "dlq", "stats", "alert"))
def test_every_message_is_as_published(messages, name):
    judge = validator(name)
    there = [message for message in messages if schema_of(message.topic) == name]
    assert there, "no %s was seen" % name
    for message in there:
        faults = ["%s: %s" % ("/".join(map(str, error.absolute_path)), error.message)
                  for error in judge.iter_errors(message.json)]
        assert not faults, "%s %s: %s" % (message.topic, message.json, faults)


def test_receipts_of_every_status_were_among_them(messages):
    seen = {receipt["status"] for message in messages if message.topic.endswith("/receipt")
            for receipt in (message.json if isinstance(message.json, list) else [message.json])}
    assert seen >= {"accepted", "rejected", "sent", "delivered", "retrying", "dead", "expired",
                    "cancelled"}


def test_an_inbox_message_has_what_the_request_said_and_no_more(messages):
    (message,) = [m for m in messages if m.topic.endswith("/inbox") and m.json["title"] == "c-seen"]
    assert message.json["data"] == {"n": [1, 2.5, None]}
    assert message.json["priority"] == "urgent"
    assert set(message.json) <= {"id", "seq", "type", "title", "data", "priority", "created_at",
                                 "expires_at", "replay", "key"}


def test_no_address_is_told_in_the_clear(messages):
    for message in messages:
        if "/users/" not in message.topic:
            assert "+15550100123" not in json.dumps(message.json), message


def published_methods():
    """[(kind, method)] of schemas/asyncapi.yaml."""
    with open(os.path.join(SCHEMAS, "..", "asyncapi.yaml"), encoding="utf-8") as file:
        text = file.read()
    found = re.findall(r"notify/v1/(\w+)s/\{\w+\}/up/rpc/\{method\}:\n    description: >-\n"
                       r"((?:      .*\n)+)", text)
    return [(kind, method) for kind, words in found
            for method in re.findall(r"\b[a-z]+\.[a-z]+\b(?!\.[a-z])|\bhistory\b|\bbadge\b",
                                     re.sub(r"\(.*?\)", "", words, flags=re.S))]


def test_every_method_that_is_published_is_there(stack):
    methods = published_methods()
    assert {kind for kind, _ in methods} == {"service", "user", "admin"} and len(methods) > 25
    for kind in ("service", "user", "admin"):
        with Client(stack, kind, "asks") as client:
            client.subscribe("down/reply")
            for method in (method for of, method in methods if of == kind):
                code = client.rpc(method, {}).get("error", {}).get("code")
                assert code != "unknown_method", "%s for a %s" % (method, kind)
