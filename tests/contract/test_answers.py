# SPDX-License-Identifier: MIT
"""Every publish that the broker takes has an effect or an answer; answers go where they were asked to."""
import json

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from client import Client
from process import wait_until

KINDS = ("service", "user", "admin")
EVENTS = ("ack", "read", "unread", "archive", "delete", "click", "seen")
# Topics below up/ that name nothing: a typo, a level too many, the method missing, another kind's.
NOTHING = {
    "service": ("requests", "Request", "request/1", "ack", "read", "rpc", "red", "x/y/z"),
    "user": ("red", "acks", "read/all", "request", "rpc", "inbox", "x/y/z"),
    "admin": ("request", "ack", "rpc", "dlq.list", "x/y/z"),
}


def answer_to(client, topic, timeout=10.0):
    full = client.topic(topic)
    return client.wait(lambda m: m.topic.endswith("/down/reply") and m.json.get("topic") == full,
                       timeout, "the answer to " + topic)


@pytest.mark.parametrize("kind", KINDS)
def test_a_publish_that_names_nothing_is_answered_with_its_topic(contract, kind):
    for name in NOTHING[kind]:
        with Client(contract, kind, "typo") as client:  # a new one: answers have a rate
            client.subscribe("down/#")
            client.publish("up/" + name, {"id": "1"})
            error = answer_to(client, "up/" + name).json["error"]
            assert error["code"] == "malformed", name
            assert error["message"].startswith("nothing reads this topic"), name
            client.messages.clear()


@pytest.mark.parametrize("kind, name, meant", (
    ("service", "requests", "up/request"), ("service", "reqest", "up/request"),
    ("user", "red", "up/read"), ("user", "akc", "up/ack"), ("user", "archiv", "up/archive")))
def test_a_misspelt_topic_is_answered_with_the_one_that_is_meant(clients, kind, name, meant):
    clients[kind].publish("up/" + name, {"id": "1"})
    assert 'is "%s" meant?' % meant in answer_to(clients[kind], "up/" + name).json["error"]["message"]


def test_a_service_is_also_told_on_the_topic_that_it_waits_on(clients):
    clients["service"].publish("up/requets", {"id": "1", "type": "t", "title": "x"})
    answer_to(clients["service"], "up/requets")

    def receipts():  # comes with the answer, in either order
        return [r for r in clients["service"].receipts() if "up/requets" in r.get("detail", "")]
    wait_until(receipts, 10, "the receipt")
    (found,) = receipts()
    assert (found["status"], found["reason"]) == ("rejected", "malformed")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_that_cannot_be_read_is_answered(contract, event):
    payloads = (b"{", {"id": "x"}, {"ids": ["x"]}, {"ids": []}, {"ids": ["0" * 16], "what": 1}, [])
    with Client(contract, "user", "bad-" + event) as user:
        user.subscribe("down/reply")
        for count, payload in enumerate(payloads, 1):
            user.publish("up/" + event, payload)
            user.wait(lambda m, n=count: len(user.messages) >= n, 10, "answer %d" % count)
        for message in user.messages:
            assert message.json["topic"] == user.topic("up/" + event)
            assert message.json["error"]["code"] in (
                "malformed", "unknown_field", "missing_field", "bad_value"), message
            assert message.json["error"]["message"]


def test_answers_to_what_names_nothing_have_a_rate(contract):
    """A flood of them is counted, not answered one by one; another client has its answer."""
    with Client(contract, "user", "flood") as flood, Client(contract, "user", "calm") as calm:
        flood.subscribe("down/#")
        calm.subscribe("down/#")
        for _ in range(300):
            flood.publish("up/nothing", b"x", timeout=None)
        flood.publish("up/nothing", b"x")
        calm.publish("up/nothing", b"x")
        answer_to(calm, "up/nothing")
        assert flood.rpc("badge")["result"] is not None  # behind all of it
        assert 1 <= len([m for m in flood.messages if "topic" in m.json]) <= 150


@pytest.mark.parametrize("payload, says", (
    ({"id": "1"}, 'a call is {"rpc":"1","params":{...}}'),
    ({"rpc": "1", "id": "x"}, 'a call is {"rpc":"1","params":{...}}'),
    ({"rpc": "1", "param": {}}, 'is "params" meant?'),
    ([], 'a call is an object: {"rpc":"1","params":{...}}')))
def test_a_call_that_cannot_be_read_is_answered_with_what_a_call_looks_like(clients, payload, says):
    admin = clients["admin"]
    before = len(admin.messages)
    admin.publish("up/rpc/audit.list", payload)
    admin.wait(lambda m: len(admin.messages) > before and "error" in m.json
               and says in m.json["error"]["message"], 10, says)


@pytest.mark.parametrize("kind, method, meant", (
    ("service", "request.cancle", "request.cancel"), ("user", "histroy", "history"),
    ("admin", "dlq.lst", "dlq.list")))
def test_a_misspelt_method_is_answered_with_the_one_that_is_meant(clients, kind, method, meant):
    error = clients[kind].rpc(method)["error"]
    assert error["code"] == "unknown_method" and 'is "%s" meant?' % meant in error["message"]


# Response Topic and Correlation Data

CALLS = {"service": "request.status", "user": "badge", "admin": "audit.list"}
DATA = b"\x00\x01c\xff"


class Reader(Client):
    """Keeps the Correlation Data of what comes."""

    def _on_message(self, client, data, raw):
        self.correlated = getattr(self, "correlated", [])
        self.correlated.append((raw.topic, getattr(raw.properties, "CorrelationData", None)))
        super()._on_message(client, data, raw)

    def ask(self, topic, payload, response_topic, data):
        properties = Properties(PacketTypes.PUBLISH)
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if data is not None:
            properties.CorrelationData = data
        self.mqtt.publish(self.topic(topic), json.dumps(payload), 1,
                          properties=properties).wait_for_publish(60)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_go_to_the_own_response_topic_with_the_correlation_data(contract, kind):
    with Reader(contract, kind, "carl") as carl:
        carl.subscribe("down/#")
        for tail in ("down/answers/7", "down/answers", "down/reply"):
            carl.ask("up/rpc/" + CALLS[kind], {"rpc": tail}, carl.topic(tail), DATA)
            message = carl.wait(lambda m, t=tail: m.json.get("rpc") == t, 10, tail)
            assert message.topic == carl.topic(tail)
            assert (message.topic, DATA) in carl.correlated
        carl.ask("up/rpc/no.such", {"rpc": "e"}, carl.topic("down/errors"), DATA)
        assert carl.wait(lambda m: m.json.get("rpc") == "e").topic == carl.topic("down/errors")
        carl.ask("up/nothing", {}, carl.topic("down/errors"), b"n")
        carl.wait(lambda m: m.topic == carl.topic("down/errors") and "topic" in m.json)
        assert (carl.topic("down/errors"), b"n") in carl.correlated


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_topic_that_is_not_ones_own_is_not_used(contract, kind):
    other = "notify/v1/%ss/dora/down/answers/7" % kind
    with Reader(contract, kind, "carl") as carl, Client(contract, kind, "dora") as dora:
        carl.subscribe("down/#")
        dora.subscribe("down/#")
        topics = [other, other.replace("dora", "carl2"), carl.topic("up/rpc/" + CALLS[kind]),
                  carl.topic("down"), carl.topic("down/a/b/c"), "notify/v1/broadcast/x",
                  "notify/v1/users/dora/down/inbox", "$SYS/x", "x"]
        for n, topic in enumerate(topics):
            carl.ask("up/rpc/" + CALLS[kind], {"rpc": str(n)}, topic, b"%d" % n)
            message = carl.wait(lambda m, n=n: m.json.get("rpc") == str(n), 10, topic)
            assert message.topic == carl.topic("down/reply"), topic
            assert (message.topic, b"%d" % n) in carl.correlated
        assert not dora.messages


def test_correlation_data_without_a_response_topic_comes_back_and_has_a_limit(contract):
    with Reader(contract, "user", "carl") as carl:
        carl.subscribe("down/#")
        carl.ask("up/rpc/badge", {"rpc": "n"}, None, b"x" * 1024)
        assert "result" in carl.wait(lambda m: m.json.get("rpc") == "n").json
        assert (carl.topic("down/reply"), b"x" * 1024) in carl.correlated
        carl.ask("up/rpc/badge", {"rpc": "n+1"}, carl.topic("down/a"), b"x" * 1025)
        error = carl.wait(lambda m: m.json.get("rpc") == "n+1").json["error"]
        assert error["code"] == "too_large"
