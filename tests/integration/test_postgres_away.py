# SPDX-License-Identifier: MIT
"""Postgres stops answering, or is gone: nothing is acknowledged, nothing grows, all of it flows later."""
import os
import time

import pytest

import servers
from client import Client
from process import wait_until
from traffic import Traffic

AWAY = 6.0  # seconds; longer than every deadline on a query
RELEASE = os.path.join(servers.ROOT, "build", "release")


def memory_build():
    """Memory is measured on the release build: a sanitizer's own memory grows."""
    return RELEASE if os.path.exists(os.path.join(RELEASE, "bridge", "tocsind")) else None


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
        gone_at = time.monotonic()
        time.sleep(1.0)  # answers that were already under way
        accepted, memory = len(traffic.accepted), stack.bridge.rss_kb()
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
