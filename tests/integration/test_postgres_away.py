# SPDX-License-Identifier: MIT
"""Postgres stops answering, or is gone: nothing is acknowledged, nothing grows, all of it flows later."""
import os
import time

import pytest

import servers
from client import Client
from process import wait_until
from traffic import Traffic

AWAY = 5.0  # seconds; longer than every deadline on a query
RELEASE = os.path.join(servers.ROOT, "build", "release")


def memory_build():
    """Memory is measured on the release build: a sanitizer's own memory grows."""
    return RELEASE if os.path.exists(os.path.join(RELEASE, "bridge", "tocsind")) else None


def all_that_was_under_way(stack, traffic):
    """How many are accepted, once all that the bridge accepted are told, and no more for a second."""
    seen, since = -1, 0.0

    def is_still():
        nonlocal seen, since
        told = len(traffic.accepted)
        if told != seen or told != stack.bridge.metrics()["tocsin_requests_accepted_total"]:
            seen, since = told, time.monotonic()
        return time.monotonic() > since + 1.0
    wait_until(is_still, 30, "the last answers")
    return seen


@pytest.mark.parametrize("how", ["stopped", "down"])
def test_nothing_is_acknowledged_meanwhile_and_memory_stays_flat(new_stack, how):
    stack = new_stack(build=memory_build())
    with Traffic(stack, rate=400) as traffic:
        traffic.RESEND_AFTER = 30.0  # the broker keeps what was not acknowledged
        traffic.wait_accepted(1000)
        if how == "stopped":
            stack.postgres.pause()
        else:
            stack.postgres.kill()
        accepted = all_that_was_under_way(stack, traffic)
        gone_at, memory = time.monotonic(), stack.bridge.rss_kb()
        peak = memory
        while time.monotonic() < gone_at + AWAY:  # the time without it is what is tested
            time.sleep(0.1)
            peak = max(peak, stack.bridge.rss_kb())
        assert len(traffic.accepted) == accepted
        assert stack.bridge.running
        assert servers.http("GET", stack.bridge.url + "/readyz")[0] != 200
        assert servers.http("GET", stack.bridge.url + "/healthz")[0] == 200
        assert peak - memory < 8 * 1024, "grew from %d to %d kB" % (memory, peak)
        waiting = len(traffic.sent_at)
        assert waiting > 1000
        if how == "stopped":
            stack.postgres.resume()
        else:
            stack.postgres.start()
        traffic.wait_accepted(waiting, 30)
        traffic.finish()
        traffic.audit()
        stack.bridge.wait_ready(10)


def test_urgent_notifications_are_shown_at_once(new_stack):
    """Shown from the unacknowledged batch, stored later under the same id: one effect."""
    stack = new_stack()
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "alice") as alice:
        shop.subscribe("down/receipt")
        alice.subscribe("down/inbox")
        shop.publish("up/request", {"id": "warm", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "alice"}})
        alice.wait(lambda m: m.json["title"] == "t")
        stack.postgres.kill()
        for priority in ("urgent", "normal"):
            shop.publish("up/request", {"id": priority, "type": "alarm", "title": priority,
                                        "body": "b", "to": {"user": "alice"},
                                        "priority": priority})
        shown = alice.wait(lambda m: m.json["title"] == "urgent", 5).json
        assert not shop.receipts("urgent")
        assert not [m for m in alice.messages if m.json["title"] == "normal"]
        stack.postgres.start()
        shop.receipt("urgent", "accepted", 20)
        alice.wait(lambda m: m.json["title"] == "normal", 20)
        alice.publish("up/ack", {"ids": [m.json["id"] for m in alice.messages]})
        shop.receipt("urgent", "delivered", 20)
        assert {m.json["id"] for m in alice.messages if m.json["title"] == "urgent"} == {
            shown["id"]}


def test_what_was_shown_may_come_several_times_in_the_batch_that_stores_it(new_stack):
    """As it does: services send again what is not accepted.  Two rows of one id would be refused."""
    stack = new_stack()
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "alice") as alice:
        shop.subscribe("down/receipt")
        alice.subscribe("down/inbox")
        stack.postgres.kill()
        for _ in range(4):
            for name in ("one", "two", "three"):
                shop.publish("up/request", {"id": name, "type": "alarm", "title": name, "body": "b",
                                            "to": {"user": "alice"}, "priority": "urgent"})
        shown = {name: alice.wait(lambda m: m.json["title"] == name, 10).json["id"]
                 for name in ("one", "two", "three")}
        stack.postgres.start()
        for name in shown:
            shop.receipt(name, "accepted", 20)
        wait_until(lambda: len([r for r in shop.receipts() if r["status"] == "accepted"]) == 12, 20,
                   "an answer to each")
        assert {m.json["title"]: m.json["id"] for m in alice.messages} == shown
        assert "ingest.halved" not in servers.read_tail(stack.bridge.log, 1 << 20)


def test_what_was_shown_and_is_stored_by_another_bridge_carries_the_same_key(new_stack):
    """A bridge that shows and dies leaves nobody who knows the id: the key tells the repeat."""
    stack = new_stack(settings={"bridge.lease": "3s"})
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "alice") as alice:
        shop.subscribe("down/receipt")
        alice.subscribe("down/inbox")
        stack.postgres.kill()
        for name in ("one", "two"):
            shop.publish("up/request", {"id": name, "type": "alarm", "title": name, "body": "b",
                                        "to": {"user": "alice"}, "priority": "urgent"})
            alice.wait(lambda m: m.json["title"] == name, 10)
        stack.bridge.kill()
        stack.postgres.start()
        stack.bridge.start()
        for name in ("one", "two"):
            shop.receipt(name, "accepted", 20)
            wait_until(lambda: len({m.json["id"] for m in alice.messages
                                    if m.json["title"] == name}) == 2, 20, "the stored copy")
        keys = {name: {m.json["key"] for m in alice.messages if m.json["title"] == name}
                for name in ("one", "two")}
        assert len(keys["one"]) == len(keys["two"]) == 1 and keys["one"] != keys["two"]


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE OF state ON delivery FOR EACH ROW
    WHEN (OLD.state = 0 AND NEW.state = 1) EXECUTE FUNCTION slow()"""


def test_a_server_too_slow_for_a_whole_claim_is_asked_for_less(new_stack):
    """Else each claim would be in doubt at its deadline, and the next one be as large."""
    stack = new_stack(settings={"postgres.deadline": "500ms", "channels.in_app.attempts": 1})
    stack.postgres.sql(SLOW)
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
        shop.publish("up/request", [{"id": "r%d" % n, "type": "t", "title": "t", "at": due,
                                     "to": {"broadcast": True}} for n in range(120)])
        for n in range(120):
            shop.receipt("r%d" % n, "sent", 60)
        assert "claim.failed" in open(stack.bridge.log).read()
        assert stack.postgres.sql("select missing from conservation") == [["0"]]


CRASHED = """
INSERT INTO attempt (at, delivery, notification, epoch, destination, status, number, channel,
                     outcome, reason, segments, state, recipient_kind, recipient)
SELECT now(), g, g, 1, 1, 0, 1, 2, 8 - g % 2, 0, 0, CASE g % 2 WHEN 1 THEN 4 END, 5, 'x'
FROM generate_series(1, 20000) g"""


def test_what_was_begun_is_found_by_index(stack):
    """A crash leaves thousands to be looked up, in a table that nobody has summarised yet."""
    plan = stack.postgres.sql("BEGIN; %s; SET LOCAL enable_seqscan = off; EXPLAIN SELECT destination"
                              " FROM attempt WHERE delivery = 7 AND number = 1 AND outcome = 8"
                              " AND state IS NULL" % CRASHED)
    nodes = [row[0] for row in plan if "Scan" in row[0]]
    assert nodes and all("Index Scan" in node and "delivery_idx1" in node or
                         "attempt_started" in node for node in nodes), nodes
