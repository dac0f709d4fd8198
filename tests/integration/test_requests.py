# SPDX-License-Identifier: MIT
"""What a service asks for and what it is told: the lives of requests, good and bad."""
import datetime
import json
import secrets
import time

import pytest

from client import Client
from process import wait_until


def soon(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def shop(stack):
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


@pytest.fixture
def alice(stack):
    with Client(stack, "user", "alice") as client:
        client.subscribe("down/inbox")
        yield client


def request(name, **more):
    return {"id": name, "type": "order.ready", "title": "Ready", "body": "Counter 3",
            "to": {"user": "alice"}, **more}


def acknowledge(client, message):
    client.publish("up/ack", {"ids": [message.json["id"]]})


def inbox(client, title, timeout=10.0):
    return client.wait(lambda m: m.topic.endswith("/inbox") and m.json.get("title") == title,
                       timeout, "inbox %r" % title)


def test_a_user_gets_what_a_service_asked_for_and_both_ends_know(shop, alice):
    shop.publish("up/request", request("life-1", data={"order": 42}, receipts="all"))
    accepted = shop.receipt("life-1", "accepted")
    message = inbox(alice, "Ready")
    assert message.json["data"] == {"order": 42}
    assert message.json["seq"] >= 1
    acknowledge(alice, message)
    delivered = shop.receipt("life-1", "delivered")
    assert delivered["notification"] == accepted["notification"]
    assert (delivered["channel"], delivered["user"], delivered["attempt"]) == ("in_app", "alice", 1)


def test_accepted_is_told_before_the_end_also_beside_what_takes_longer(stack, shop):
    """A repeat in the same batch is looked up, an invalid one refused: neither delays its neighbour."""
    def on_message(client, message):
        if message.topic.endswith("/inbox"):
            client.publish("up/ack", {"ids": [message.json["id"]]}, timeout=None)
    shop.publish("up/request", request("order-0"))
    shop.receipt("order-0", "accepted")
    with Client(stack, "user", "quick", on_message=on_message) as quick:
        quick.subscribe("down/inbox")
        for n in range(1, 61):
            shop.publish("up/request", [request("order-%d" % n, to={"user": "quick"}),
                                        request("order-0"), request("order-x%d" % n, to={})])
        for n in range(1, 61):
            shop.receipt("order-%d" % n, "delivered", 20)
    wrong = [n for n in range(1, 61)
             if shop.receipts("order-%d" % n)[0]["status"] != "accepted"]
    assert wrong == []


def test_a_sequence_number_grows_by_one_for_each_user(shop, alice):
    for n in range(3):
        shop.publish("up/request", request("seq-%d" % n, title="seq-%d" % n))
    seqs = [inbox(alice, "seq-%d" % n).json["seq"] for n in range(3)]
    assert seqs == [seqs[0], seqs[0] + 1, seqs[0] + 2]


def test_the_same_id_again_has_no_second_effect(shop, alice):
    body = request("twice", title="once only")
    shop.publish("up/request", body)
    first = shop.receipt("twice", "accepted")
    acknowledge(alice, inbox(alice, "once only"))
    shop.receipt("twice", "delivered")
    # Another order of members and other white space are the same request.
    again = json.dumps(dict(reversed(list(body.items()))), indent=3)
    shop.publish("up/request", json.loads(again))
    second = shop.wait(lambda m: m.topic.endswith("/receipt") and json.dumps(m.json).count(
        "accepted") and m.at > time.monotonic() - 5 and len(shop.receipts("twice")) == 3)
    assert second
    assert {r["notification"] for r in shop.receipts("twice")} == {first["notification"]}
    shop.publish("up/request", request("after twice", title="after twice"))
    inbox(alice, "after twice")
    assert len([m for m in alice.messages if m.json.get("title") == "once only"]) == 1


def dated(ms):
    """A UUIDv7 of that time (RFC 9562 5.7)."""
    text = "%012x7abc8%015x" % (ms, secrets.randbits(60))
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


@pytest.mark.parametrize("edge", [8, -7], ids=["ahead", "old"])
def test_an_id_whose_date_is_at_the_edge_of_what_is_believed_is_one_id(stack, shop, edge):
    """The day an id is stored under depends on when it comes: a repeat comes later."""
    ms = int(time.time() * 1000) + edge * 86400000 + 1500
    name = dated(ms)
    shop.publish("up/request", request(name, to={"user": "edge"}))
    first = shop.receipt(name, "accepted")
    wait_until(lambda: time.time() * 1000 > ms - edge * 86400000 + 200, 10, "the edge to pass")
    shop.publish("up/request", request(name, to={"user": "edge"}))
    wait_until(lambda: len([r for r in shop.receipts(name) if r["status"] == "accepted"]) == 2, 10,
               "the repeat to be accepted")
    assert {r["notification"] for r in shop.receipts(name) if r["status"] == "accepted"} == {
        first["notification"]}
    assert stack.postgres.value("select count(*) from notification where request = '%s'" % name) == "1"
    state = shop.rpc("request.status", {"id": name})
    assert state["result"]["notification"] == first["notification"]


def test_the_same_id_for_another_request_is_refused(shop, alice):
    shop.publish("up/request", request("reused", title="a"))
    shop.receipt("reused", "accepted")
    shop.publish("up/request", request("reused", title="b"))
    assert shop.receipt("reused", "rejected")["reason"] == "id_reused"


def test_two_services_may_use_the_same_id(stack, shop, alice):
    with Client(stack, "service", "bank") as bank:
        bank.subscribe("down/receipt")
        shop.publish("up/request", request("shared", title="from shop"))
        bank.publish("up/request", request("shared", title="from bank"))
        assert (shop.receipt("shared", "accepted")["notification"]
                != bank.receipt("shared", "accepted")["notification"])
        inbox(alice, "from shop")
        inbox(alice, "from bank")


def test_one_bad_item_does_not_harm_its_neighbours(shop, alice):
    shop.publish("up/request", [request("b1", title="b1"), {"id": "b2", "typ": "x"},
                                request("b3", to={"phone": "123"}), 7,
                                request("b4", title="b4")])
    assert shop.receipt("b2", "rejected")["reason"] == "unknown_field"
    assert shop.receipt("b3", "rejected")["field"] == "/to/phone"
    shop.receipt("b1", "accepted")
    shop.receipt("b4", "accepted")
    inbox(alice, "b1")
    inbox(alice, "b4")


BAD = [
    (b"", "malformed"), (b"nonsense", "malformed"), (b"[]", "malformed"), (b"\xff\xfe", "malformed"),
    (b'{"id":"x"} trailing', "malformed"), (b"[" * 100000, "too_large"),
    (b"[" * 3000 + b"]" * 3000, "malformed"),
    (json.dumps({"id": "x", "pad": "y" * 70000}).encode(), "too_large"),
    (b'{"id":"d","id":"e","type":"t","to":{"user":"u"}}', "malformed"),
    (b"\0" * 60000, "malformed"), (b'{"id":"x"}' + b"\0" * 60000, "malformed"),
]


@pytest.mark.parametrize("payload,reason", BAD, ids=[repr(b[0][:12]) for b in BAD])
def test_what_is_not_a_request_is_answered_and_the_next_one_lives(shop, alice, payload, reason):
    before = len(shop.receipts())
    shop.mqtt.publish(shop.topic("up/request"), payload, 1)
    shop._wait(lambda: len(shop.receipts()) > before, 10, "a receipt")
    receipt = shop.receipts()[before]
    assert receipt["status"] == "rejected"
    assert receipt["reason"] in (reason, "malformed", "bad_value"), receipt
    assert receipt["detail"]
    shop.mqtt.publish(shop.topic("up/rpc/request.status"), payload, 1)
    name = "next-%d" % time.monotonic_ns()
    shop.publish("up/request", request(name, title=name))
    inbox(alice, name)
    assert "error" in shop.rpc("request.status", {"id": "no such request"})


@pytest.mark.parametrize("more,reason,field", [
    ({"template": "t", "title": None, "body": None}, "unknown_template", "/template"),
    ({"channels": ["sms", "in_app"], "to": {"email": "a@example.org"}}, "bad_value", "/channels"),
    ({"channels": ["chat"]}, "not_allowed", "/channels"),
    ({"to": {"user": "x" * 129}}, "too_large", "/to/user"),
])
def test_what_cannot_be_served_is_refused_by_field(shop, more, reason, field):
    body = {k: v for k, v in request("no-%d" % time.monotonic_ns(), **more).items() if v is not None}
    shop.publish("up/request", body)
    receipt = shop.receipt(body["id"], "rejected")
    assert (receipt["reason"], receipt["field"]) == (reason, field)


def test_ten_thousand_users_in_one_request(stack, shop, alice):
    users = ["u%d" % n for n in range(4999)] + ["alice"]
    shop.publish("up/request", request("many", title="many", to={"users": users}))
    shop.receipt("many", "accepted")
    inbox(alice, "many")
    assert stack.postgres.sql("select deliveries from notification where request = 'many'") == [
        ["5000"]]


def test_later_means_later_and_has_a_sequence_number_then(shop, alice):
    sent = time.monotonic()
    shop.publish("up/request", request("later", title="later", at=soon(2)))
    shop.receipt("later", "accepted")
    message = inbox(alice, "later")
    assert message.at - sent > 1.9
    assert message.json["seq"] >= 1


def test_what_nobody_wants_any_more_ends_as_expired(shop):
    shop.publish("up/request", request("stale", to={"user": "nobody"}, ttl="1s"))
    shop.receipt("stale", "accepted")
    shop.receipt("stale", "expired", 15)


def test_receipts_as_asked_for(shop):
    for wanted in ("none", "final", "all"):
        shop.publish("up/request", request("ask-" + wanted, to={"user": "nobody"},
                                           receipts=wanted,
                                           retry={"attempts": 2, "base": "100ms"}))
    shop.receipt("ask-all", "dead")
    shop.receipt("ask-final", "dead")
    assert [r["status"] for r in shop.receipts("ask-all")] == ["accepted", "retrying", "dead"]
    assert [r["status"] for r in shop.receipts("ask-final")] == ["accepted", "dead"]
    assert [r["status"] for r in shop.receipts("ask-none")] == ["accepted"]


def test_status_tells_every_attempt_and_hides_the_address(stack, shop):
    stack.providers.control("POST", "/behaviour", {
        "provider": "twilio", "target": "+15550100777", "answers": [503, "ok"]})
    shop.publish("up/request", request("tale", to={"phone": "+15550100777"}, channels=["sms"],
                                       retry={"base": "100ms"}))
    shop.receipt("tale", "sent")
    result = shop.rpc("request.status", {"id": "tale"})["result"]
    (delivery,) = result["deliveries"]
    assert delivery["state"] == "sent"
    assert [a["outcome"] for a in delivery["history"]] == ["retry", "accepted"]
    assert "+15550100777" not in json.dumps(result)
    assert shop.rpc("request.status", {"id": "never"})["error"]["code"] == "not_found"


def test_a_service_cannot_ask_about_anothers_request(stack, shop):
    shop.publish("up/request", request("mine", to={"user": "nobody"}))
    shop.receipt("mine", "accepted")
    with Client(stack, "service", "spy") as spy:
        spy.subscribe("down/reply")
        assert spy.rpc("request.status", {"id": "mine"})["error"]["code"] == "not_found"
        assert spy.rpc("request.cancel", {"id": "mine"})["error"]["code"] == "not_found"
        assert spy.rpc("dlq.list", {})["error"]["code"] == "unknown_method"


def test_cancel_calls_back_what_is_not_under_way(shop):
    shop.publish("up/request", request("recall", at=soon(3600)))
    shop.receipt("recall", "accepted")
    assert shop.rpc("request.cancel", {"id": "recall"})["result"] == {"cancelled": 1}
    (delivery,) = shop.rpc("request.status", {"id": "recall"})["result"]["deliveries"]
    assert delivery["state"] == "cancelled"


def test_an_ack_counts_only_from_the_user_it_was_for(stack, shop, alice):
    with Client(stack, "user", "mallory") as mallory:
        shop.publish("up/request", request("hers", title="hers", receipts="all"))
        message = inbox(alice, "hers")
        mallory.publish("up/ack", {"ids": [message.json["id"]]})
        shop.publish("up/request", request("fence", title="fence"))
        acknowledge(alice, inbox(alice, "fence"))
        shop.receipt("fence", "delivered")
        assert "delivered" not in [r["status"] for r in shop.receipts("hers")]
        acknowledge(alice, message)
        shop.receipt("hers", "delivered")


def test_dead_letters_are_announced_listed_and_brought_back(stack, shop):
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/reply")
        ops.mqtt.subscribe("notify/v1/dlq/#", 1)
        shop.publish("up/request", request("lost", type="lost.one", to={"user": "zoe"}, title="lost",
                                           retry={"attempts": 1}))
        dead = shop.receipt("lost", "dead")
        assert dead["reason"] == "user_offline"
        (entry,) = ops.rpc("dlq.list", {"type": "lost.one"})["result"]["entries"]
        assert (entry["user"], entry["reason"], entry["attempts"]) == ("zoe", "user_offline", 1)
        with Client(stack, "user", "zoe") as zoe:
            zoe.subscribe("down/inbox")
            assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"] == {
                "retried": 1, "skipped": 0}
            acknowledge(zoe, inbox(zoe, "lost"))
            shop.receipt("lost", "delivered")
        assert ops.rpc("dlq.retry", {"ids": [entry["delivery"]]})["result"] == {
            "retried": 0, "skipped": 1}
        wait_until(lambda: ops.rpc("dlq.list", {"type": "lost.one"})["result"]["entries"] == [],
                   30, "the retried to be resolved")
        assert ops.rpc("dlq.list", {"reasn": "x"})["error"]["field"] == "/params/reasn"
        assert stack.postgres.sql("select admin, action from audit order by id limit 1") == [
            ["ops", "dlq.retry"]]


def test_nothing_is_missing_in_the_end(stack, shop):
    assert stack.postgres.sql("select missing from conservation") == [["0"]]
