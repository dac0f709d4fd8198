# SPDX-License-Identifier: MIT
"""What waits in a bridge's memory can be called back like what waits in the database."""
import pytest

from client import Client
from process import wait_until
from test_pause import asked, hooks

COUNT = 10


def ends(shop, name):
    return [r["status"] for r in shop.receipts(name) if r["status"] != "accepted"]


@pytest.mark.parametrize("bridges", [1, 2])
def test_what_waits_in_memory_is_called_back_and_not_sent(new_stack, bridges):
    """With two bridges the call is often read by one that does not hold the deliveries."""
    stack = new_stack(bridges=bridges, settings={"destinations.webhook.concurrency": 1})
    url = hooks(stack)(0, "")["to"]["url"]
    with Client(stack, "service", "recall") as shop:
        shop.subscribe("down/#")
        shop.rpc("user.upsert", {"user": "ann", "webhooks": ["%s%d" % (url, n) for n in range(COUNT)]})
        stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 3000})
        before = 0
        for method in ("cancel", "retract"):
            shop.publish("up/request", {"id": method, "type": "t", "title": "t", "body": "b",
                                        "to": {"user": "ann"}, "channels": ["webhook"]})
            shop.receipt(method, "accepted", 20)
            wait_until(lambda n=before: sum(asked(stack).values()) > n, 20, "the first is under way")
            ended = shop.rpc("request." + method, {"id": method})["result"]["cancelled"]
            assert ended > 0 or bridges > 1
            wait_until(lambda m=method: len(ends(shop, m)) == COUNT, 40, "an end of each")
            cancelled = ends(shop, method).count("cancelled")
            assert cancelled >= COUNT - 3 and cancelled >= ended
            assert sum(asked(stack).values()) - before == COUNT - cancelled
            assert shop.rpc("request." + method, {"id": method})["result"]["cancelled"] == 0
            before = sum(asked(stack).values())


def test_a_look_for_what_was_called_back_that_fails_is_tried_again(new_stack):
    """The answer of the bridge that ends its own does not depend on it; the next look goes on."""
    stack = new_stack(settings={"destinations.webhook.concurrency": 1, "log.level": "debug"})
    url = hooks(stack)(0, "")["to"]["url"]
    with Client(stack, "service", "look") as shop:
        shop.subscribe("down/#")
        shop.rpc("user.upsert", {"user": "ann", "webhooks": ["%s%d" % (url, n) for n in range(3)]})
        stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 3000})
        stack.postgres.sql("alter table recall rename to recall_away")
        shop.publish("up/request", {"id": "look", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "ann"}, "channels": ["webhook"]})
        wait_until(lambda: "recalled.failed" in open(stack.bridge.log).read(), 20, "a look that fails")
        stack.postgres.sql("alter table recall_away rename to recall")
        wait_until(lambda: len(ends(shop, "look")) == 3, 40, "an end of each")
        assert sum(asked(stack).values()) == 3
