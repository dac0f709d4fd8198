# SPDX-License-Identifier: MIT
"""A bridge ends while the broker is away: what it could not tell is told by who takes over."""
import time

import pytest

from client import Client
from process import wait_until

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
