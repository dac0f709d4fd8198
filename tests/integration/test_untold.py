# SPDX-License-Identifier: MIT
"""What a bridge could not tell before its end, or does not know to be committed, is told later.

Each exactly as far as it may be untold: what was told, and had its acknowledgement from the broker
before the last heartbeat, does not come again.
"""
import time

import pytest

import servers
from client import Client
from process import wait_until
from test_crash_points import has_crash_points


def ask(shop, count):
    shop.subscribe("down/receipt")
    shop.publish("up/request", [{"id": "m%d" % n, "type": "t", "title": "t", "body": "b",
                                 "to": {"phone": "+1555000%04d" % n}} for n in range(count)])


def told(shop, name, status):
    return [r for r in shop.receipts(name) if r["status"] == status]


def has_told_all(stack):
    return wait_until(lambda: stack.postgres.value("select count(*) from untold") == "0", 30,
                      "nothing to be left untold", 0.1)


def test_what_came_back_from_the_dead_is_not_told_as_dead_again(new_stack):
    """Of what a dead bridge settled since its last heartbeat, the last end alone."""
    stack = new_stack(settings={"channels.in_app.retry_base": "100ms", "bridge.lease": "300s",
                                "channels.in_app.retry_max": "200ms", "presence.settle": "100ms"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", {"id": "one", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "ann"}})
        shop.receipt("one", "dead", 20)
        with Client(stack, "user", "ann") as ann:
            ann.subscribe("down/inbox")
            shown = ann.wait(lambda m: m.topic.endswith("/inbox"))
            ann.publish("up/ack", {"ids": [shown.json["id"]]})
            shop.receipt("one", "delivered")
            stack.bridge.kill()
            stack.bridge.start()
            wait_until(lambda: len(told(shop, "one", "delivered")) > 1, 20, "it to be told again")
        assert len(told(shop, "one", "dead")) == 1


def test_what_was_told_before_postgres_went_away_is_not_told_again(new_stack):
    stack = new_stack(settings={"bridge.lease": "5s"})
    with Client(stack, "service", "shop") as shop:
        ask(shop, 20)
        for n in range(20):
            shop.receipt("m%d" % n, "sent", 20)
        wait_until(lambda: stack.postgres.value(
            "select clock_timestamp() - max(at) > interval '3 seconds' from attempt") == "t", 20,
            "the loop to turn, and no clock to be unsure")
        stack.postgres.kill()
        stack.postgres.start()
        wait_until(lambda: stack.bridge.has_logged("untold.doubt"), 30, "the doubt to be resolved")
        shop.publish("up/request", {"id": "last", "type": "t", "title": "t", "body": "b",
                                    "to": {"phone": "+15550009999"}})
        shop.receipt("last", "sent", 20)  # behind all that came again
        assert [len(told(shop, "m%d" % n, "sent")) for n in range(20)] == [1] * 20


@pytest.fixture
def untold(new_stack):
    """A bridge that was killed with five ends that nobody was told, while the broker is away."""
    stack = new_stack(settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "delay_ms": 2000,
                                                   "answers": ["ok"], "repeat": True})
    with Client(stack, "service", "shop", clean=False) as shop:
        ask(shop, 5)
        shop.receipt("m4", "accepted")
        stack.broker.stop()  # not paused: it would read on in the sockets of the dead
        wait_until(lambda: stack.postgres.value("select count(*) from attempt where state = 3")
                   == "5", 20, "all to be sent and recorded")
        stack.bridge.kill()
        yield stack, shop


@pytest.mark.parametrize("label", ["membership.reaped", "untold.said"])
def test_the_duty_to_tell_for_the_dead_outlives_who_took_it_over(untold, label):
    """The successor dies as well: when it has ended the epoch, when all is in its outbox."""
    stack, shop = untold
    stack.bridge.env["TOCSIN_CRASH_AT"] = label + ":1"
    stack.bridge.start(wait=False)
    wait_until(lambda: not stack.bridge.running or None, 30, "the crash at " + label)
    del stack.bridge.env["TOCSIN_CRASH_AT"]
    stack.broker.start()
    stack.bridge.start()
    for n in range(5):
        shop.receipt("m%d" % n, "sent", 30)
    has_told_all(stack)


def test_many_that_died_with_much_to_tell_are_all_told_for(new_stack):
    """More of them than fit into memory, and of one more than a page."""
    stack = new_stack(settings={"bridge.lease": "2s"})
    with Client(stack, "service", "shop") as shop:
        ask(shop, 100)
        for n in range(100):
            shop.receipt("m%d" % n, "sent", 20)
        stack.bridge.stop()
        stack.postgres.sql(
            "with a as (select *, row_number() over (order by delivery) as k from attempt),"
            " u as (update attempt t set epoch = a.k from a where a.delivery = t.delivery)"
            " insert into untold (epoch, since, teller)"
            " select k, now() - interval '1 minute', 1 + k % 3 from a")
        columns = stack.postgres.value(
            "select string_agg(attname, ',') from pg_attribute where attrelid = 'attempt'::regclass"
            " and attnum > 0 and attname not in ('delivery', 'at')")
        stack.postgres.sql(
            "insert into attempt (at, delivery, %s) select at - k * interval '1 millisecond',"
            " k, %s from attempt, generate_series(1, 2500) k where epoch = 1" % (columns, columns))
        before = len(shop.receipts())
        stack.bridge.start()
        has_told_all(stack)
        wait_until(lambda: len(shop.receipts()) >= before + 2600, 30, "all receipts")
        assert len(shop.receipts()) == before + 2600
        assert min(len(told(shop, "m%d" % n, "sent")) for n in range(100)) == 2


PAST = 2.0  # seconds; past a heartbeat, after which only what was not told comes again


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_settled_while_the_broker_was_away_is_told_after_the_bridges_end(new_stack, end):
    stack = new_stack(settings={"bridge.lease": "3s"})
    providers = stack.providers
    providers.control("POST", "/behaviour", {"provider": "twilio", "delay_ms": 2000,
                                             "answers": ["ok"], "repeat": True})
    with Client(stack, "service", "shop", clean=False) as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", [{"id": "m%d" % n, "type": "t", "title": "t", "body": "b",
                                     "to": {"phone": "+1555000000%d" % n}} for n in range(5)])
        shop.receipt("m4", "accepted")
        stack.broker.stop()  # not paused: it would read on in the sockets of the dead
        wait_until(lambda: stack.postgres.value("select count(*) from attempt where state = 3")
                   == "5", 20, "all to be sent and recorded")
        time.sleep(PAST)
        getattr(stack.bridge, end)()
        stack.broker.start()
        stack.bridge.start()
        for n in range(5):
            shop.receipt("m%d" % n, "sent", 20)
    assert len(providers.control("GET", "/requests?provider=twilio")["requests"]) == 5


def test_while_the_broker_is_away_no_more_is_sent_than_can_be_kept_to_be_told(new_stack):
    """`mqtt.outbox` full of receipts, what waits stays in the database; then all of it is sent."""
    count = 600  # some 250 receipts fill the outbox
    stack = new_stack(settings={"mqtt.outbox": 65536})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        for start in range(0, count, 300):
            shop.publish("up/request", [
                {"id": "m%d" % n, "type": "t", "title": "t", "body": "b",
                 "to": {"phone": "+1555000%04d" % n}, "channels": ["sms"],
                 "at": "2099-01-01T00:00:00Z"} for n in range(start, start + 300)])
        shop.receipt("m%d" % (count - 1), "accepted", 30)
        stack.broker.stop()
        stack.postgres.sql("update scheduled set due_at = now()")
        seen = []

        def stands_still():
            seen.append(stack.providers.control("GET", "/stats?provider=twilio")["requests"])
            return seen[-1] > 0 and len(seen) > 20 and len(set(seen[-20:])) == 1
        wait_until(stands_still, 60, "what is sent to stand still", 0.1)
        assert 0 < seen[-1] < count, "an outbox of 64 KiB has no room for so many receipts"
        stack.broker.start()
        wait_until(lambda: stack.postgres.value(
            "select count(*) from attempt where state = 3") == str(count), 60, "all to be sent")
    assert stack.providers.control("GET", "/stats?provider=twilio")["requests"] == count
