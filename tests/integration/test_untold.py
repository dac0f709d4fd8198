# SPDX-License-Identifier: MIT
"""A bridge ends while the broker is away: what it could not tell is told by who takes over."""
import time

import pytest

from client import Client
from process import wait_until

def test_what_came_back_from_the_dead_is_not_told_as_dead_again(new_stack):
    """After an absence of Postgres what was settled lately is told again: its last end alone."""
    stack = new_stack(settings={"channels.in_app.retry_base": "100ms", "bridge.lease": "4s",
                                "channels.in_app.retry_max": "200ms", "presence.settle": "100ms"})

    def told(name, status):
        return [r for r in shop.receipts(name) if r["status"] == status]
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
            stack.postgres.kill()
            stack.postgres.start()
            wait_until(lambda: len(told("one", "delivered")) > 1, 20, "it to be told again")
        assert len(told("one", "dead")) == 1


SLACK = 6.5  # seconds; a dead bridge's last moments are told again in any case


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
        stack.broker.pause()
        wait_until(lambda: stack.postgres.value("select count(*) from attempt where state = 3")
                   == "5", 20, "all to be sent and recorded")
        time.sleep(SLACK)
        getattr(stack.bridge, end)()
        stack.broker.resume()
        stack.bridge.start()
        for n in range(5):
            shop.receipt("m%d" % n, "sent", 20)
    assert len(providers.control("GET", "/requests?provider=twilio")["requests"]) == 5
