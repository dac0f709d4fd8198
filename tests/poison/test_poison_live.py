# SPDX-License-Identifier: MIT
"""One bad message among many good ones, on a whole stack whose broker takes 64 KiB at most.

Each case: the good ones end as they would alone, the bad one ends once and says why, and the next
good one is as quick as the first.  Queues without a server are in tests/unit (test_outbox.c, ...).
"""
import json
import socket

import pytest

import servers
from client import Client
from process import wait_until

PACKET_MAX = 65536


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A broker that takes smaller packets than the bridge can make."""
    stack = servers.Stack(tmp_path_factory.mktemp("small"),
                          broker={"max_packet_size": PACKET_MAX})
    with stack:
        yield stack
    stack.remove()


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(name, **more):
    return {"id": name, "type": "t", "title": "t", "body": "b", "to": {"user": "bob"},
            "retry": {"attempts": 1}, **more}


def webhook(name, size=0):
    """A request to a port where nobody listens; its payload is of about `size` bytes."""
    return ask(name, to={"url": "http://127.0.0.1:%d/" % closed_port()}, channels=["webhook"],
               data={"fill": "x" * size})


def assert_works(stack, shop, name):
    """A request gets its receipts, and the bridge is ready."""
    shop.publish("up/request", ask(name, to={"user": "nobody"}))
    shop.receipt(name, "accepted", 10)
    shop.receipt(name, "dead", 20)
    assert stack.bridge.is_ready()


def test_a_dead_letter_that_is_too_large_for_the_broker_goes_without_its_content(small):
    with Client(small, "service", "shop") as shop, Client(small, "admin", "root") as root:
        shop.subscribe("down/#")
        root.subscribe("notify/v1/dlq/#")
        body = webhook("large")
        body["data"]["fill"] = "x" * (PACKET_MAX - 150 - len(json.dumps(body, separators=(",", ":"))))
        shop.publish("up/request", body)
        for n in range(20):
            shop.publish("up/request", webhook("good%d" % n))
        for n in range(20):
            shop.receipt("good%d" % n, "dead", 20)
        assert shop.receipt("large", "dead", 20)["attempt"] == 1
        wait_until(lambda: {m.json["request"] for m in root.messages} >=
                   {"large", *("good%d" % n for n in range(20))} or None, 10, "the dead letters")
        letters = {m.json["request"]: m.json for m in root.messages}
        assert "content" not in letters["large"]
        assert letters["good0"]["content"]["title"] == "t"
        metrics = small.bridge.metrics()
        assert metrics["tocsin_publish_refused_total"] == 1
        log = open(small.bridge.log).read()
        assert "outbox.packet_limit" in log and "outbox.refused" in log
        assert_works(small, shop, "after large")


def test_a_reply_that_is_too_large_becomes_an_error_and_the_next_one_comes(small):
    with Client(small, "service", "shop") as shop, Client(small, "admin", "root") as root:
        shop.subscribe("down/receipt")
        root.subscribe("down/reply")
        for n in range(10):
            shop.publish("up/request", webhook("page%d" % n, 9000))
        for n in range(10):
            shop.receipt("page%d" % n, "dead", 20)
        root.publish("up/rpc/dlq.export", {"rpc": "all", "params": {}})
        reply = root.wait(lambda m: m.json.get("rpc") == "all", 10).json
        if "result" in reply:  # export is paged below the limit: then ask for one by one
            pytest.skip("no reply of dlq.export is larger than %d bytes" % PACKET_MAX)
        assert reply["error"]["code"] == "too_large"
        root.publish("up/rpc/dlq.count", {"rpc": "count", "params": {}})
        assert "result" in root.wait(lambda m: m.json.get("rpc") == "count", 10).json
        assert_works(small, shop, "after reply")


def test_nothing_bad_is_met_again_after_a_kill(small):
    """What was refused is not an unsent receipt: the next bridge finds nothing in its way."""
    with Client(small, "service", "shop") as shop:
        shop.subscribe("down/#")
        small.bridge.kill()
        small.bridge.start()
        assert_works(small, shop, "after kill")


def test_events_that_name_nothing_spoil_no_others(small):
    """Acknowledgements of ids that no notification has, id 0 and the largest among them."""
    with Client(small, "service", "shop") as shop, Client(small, "user", "bob") as bob:
        shop.subscribe("down/receipt")
        bob.subscribe("down/inbox")
        names = ["event%d" % n for n in range(20)]
        for name in names:
            shop.publish("up/request", ask(name, receipts="all"))
        wait_until(lambda: len([m for m in bob.messages if m.topic.endswith("/inbox")]) >= 20 or
                   None, 10, "the notifications")
        bad = ["0" * 16, "f" * 16, "7" + "f" * 15, "0" * 15 + "1"]
        for n, message in enumerate(m for m in bob.messages if m.topic.endswith("/inbox")):
            kind = ("ack", "read", "click", "archive")[n % 4]
            more = {"url": "https://example.org/"} if kind == "click" else {}
            bob.publish("up/" + kind, {"ids": bad, **more})
            bob.publish("up/ack", {"ids": [bad[n % 4], message.json["id"]]})
        for name in names:
            shop.receipt(name, "delivered", 20)
        assert small.bridge.is_ready()


def test_what_is_no_json_or_names_no_topic_spoils_no_others(small):
    with Client(small, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        for n in range(30):
            shop.mqtt.publish(shop.root + "/up/request", b"\xe9{\x00" * (n + 1), 1)
            shop.mqtt.publish(shop.root + "/up/rpc/%s" % ("x" * n), b"[" * 100, 1)
            shop.publish("up/request", ask("json%d" % n, to={"user": "nobody"}))
        for n in range(30):
            shop.receipt("json%d" % n, "accepted", 20)
        assert_works(small, shop, "after json")


REFUSE = """
create function refuse_poison() returns trigger language plpgsql as
  $$ begin raise exception 'on purpose' using errcode = '23514'; end $$;
create trigger refuse_poison before insert on attempt for each row
  when (new.recipient = 'poison') execute function refuse_poison();
"""


def test_an_outcome_that_the_database_refuses_holds_up_no_other_and_is_recorded_later(small):
    """One row of a statement of outcomes can never be stored, until somebody mends the database."""
    small.postgres.sql(REFUSE)
    try:
        with Client(small, "service", "shop") as shop:
            shop.subscribe("down/receipt")
            names = ["outcome%d" % n for n in range(99)]
            for place in ("first", "middle", "last"):
                if place == "middle":
                    shop.publish("up/request", [ask(n, to={"user": "u"}) for n in names[:50]])
                if place == "last":
                    shop.publish("up/request", [ask(n, to={"user": "u"}) for n in names[50:]])
                shop.publish("up/request", ask("poison-" + place, to={"user": "poison"}))
            for name in names:
                shop.receipt(name, "dead", 30)
            wait_until(lambda: "settle.refused" in open(small.bridge.log).read() or None, 10,
                       "the log to name it")
            wait_until(lambda: small.bridge.metrics()["tocsin_settle_refused"] == 3 or None, 30,
                       "the metric to count them")
            assert_works(small, shop, "after outcome")
            small.postgres.sql("drop function refuse_poison cascade")
            for place in ("first", "middle", "last"):
                shop.receipt("poison-" + place, "dead", 30)
            assert small.bridge.metrics()["tocsin_settle_refused"] == 0
    finally:
        small.postgres.sql("drop function if exists refuse_poison cascade")
    assert small.postgres.sql("select missing from conservation") == [["0"]]
