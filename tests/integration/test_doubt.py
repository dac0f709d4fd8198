# SPDX-License-Identifier: MIT
"""Ends in doubt: told if they were recorded, and not if somebody else ended the delivery."""
import time

import pytest

from client import Client
from process import wait_until


def divided(new_stack, deadline):
    """Three bridges, of which one reads the requests and another the users' acknowledgements."""
    stack = new_stack(bridges=3, settings={
        "bridge.lease": "12s", "postgres.deadline": deadline,
        "channels.in_app.ack_timeout": "1500ms"})
    stack.bridges[0].stop()  # its lanes are shared out among the two that are left

    def readers():
        found = dict(stack.postgres.sql("select name, epoch from lane where epoch is not null"))
        return len(found) == 3 and found
    found = wait_until(readers, 20, "the lanes to be shared out")
    assert found["requests"] != found["users"]
    wait_until(lambda: all(bridge.is_ready() for bridge in stack.bridges[1:]), 20, "both")
    return stack


def test_an_end_is_told_although_nobody_could_be_asked_whose_it_was(new_stack):
    """Acknowledged to a bridge that does not have it: whose service to tell is a second question."""
    stack = divided(new_stack, "10s")
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "ann") as ann:
        shop.subscribe("down/receipt")
        ann.subscribe("down/inbox")
        shop.publish("up/request", {"id": "one", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "ann"}})
        shown = ann.wait(lambda m: m.topic.endswith("/inbox"))
        lock = stack.postgres.session()
        try:
            lock("begin")
            lock("lock table notification in access exclusive mode")
            ann.publish("up/ack", {"ids": [shown.json["id"]]})
            wait_until(lambda: any(bridge.has_logged("events.untold")
                                   for bridge in stack.bridges[1:]), 20, "the question to fail")
        finally:
            lock(None)
        shop.receipt("one", "delivered", 20)
    assert stack.postgres.value("select missing from conservation") == "0"


def test_an_end_in_doubt_is_told_only_if_it_was_recorded(new_stack):
    stack = divided(new_stack, "1s")
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "ann") as ann:
        shop.subscribe("down/receipt")
        ann.subscribe("down/inbox")
        shop.publish("up/request", {"id": "one", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "ann"}, "ttl": "2s"})
        shown = ann.wait(lambda m: m.topic.endswith("/inbox"))
        ann.publish("up/ack", {"ids": [shown.json["id"]]})
        shop.receipt("one", "delivered")
        # Who published it did not hear of that; it gives up now, and cannot record it.
        time.sleep(max(0, shown.at + 1.1 - time.monotonic()))
        stack.postgres.pause()  # just before it does, or the statement would not even be sent
        time.sleep(3)           # past the deadline: it is in doubt
        stack.postgres.resume()
        wait_until(lambda: all(bridge.is_ready() for bridge in stack.bridges[1:]), 20, "both")
        shop.publish("up/request", {"id": "two", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "nobody"}, "ttl": "1s"})
        shop.receipt("two", "expired", 20)
        assert {r["status"] for r in shop.receipts("one")} == {"accepted", "delivered"}
    assert stack.postgres.value("select missing from conservation") == "0"
