# SPDX-License-Identifier: MIT
"""A bridge's own clock is wrong, or jumps: the database's counts, so nothing is early or late."""
import datetime
import time

import pytest

from client import Client
from process import wait_until

HOURS = 7200


@pytest.fixture
def stack(new_stack):
    stack = new_stack(start=False, settings={"channels.sms.retry_base": "300ms",
                                             "channels.sms.retry_max": "1s",
                                             "channels.sms.jitter": False})
    for server in (stack.postgres, stack.broker, stack.providers):
        server.start()
    stack.add_bridge(start=False)
    if not stack.bridge.own_clock():
        pytest.skip("tests/chaos/clock_shim is not built")
    return stack


def sms(name, number, **more):
    return {"id": name, "type": "t", "title": "t", "body": name, "channels": ["sms"],
            "to": {"phone": "+1555%07d" % number}, **more}


def calls(stack):
    return stack.providers.control("GET", "/requests?provider=twilio&fields=at_ns,target")["requests"]


@pytest.mark.parametrize("ahead", [HOURS, -HOURS, 30 * 86400], ids=["ahead", "behind", "a-month"])
def test_a_wrong_clock_makes_nothing_early_or_late(stack, ahead):
    stack.bridge.set_clock(ahead)
    stack.bridge.start()
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "target": "+15550000001",
                                                   "answers": [500, 500]})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        at = time.time() + 2.0
        stamp = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat()
        shop.publish("up/request", [sms("retried", 1), sms("brief", 2, ttl="5m"),
                                    sms("later", 3, at=stamp)])
        for name in ("brief", "retried", "later"):
            shop.receipt(name, "sent", 15)
        late = [call for call in calls(stack) if call["target"] == "+15550000003"]
        assert len(late) == 1 and late[0]["at_ns"] / 1e9 > at - 0.1
        created = float(stack.postgres.value(
            "select max(abs(extract(epoch from now() - to_timestamp((id >> 22) / 1000.0))))"
            " from notification"))
        assert created < 600, "ids carry the database's time"
    assert stack.postgres.value("select missing from conservation") == "0"


def test_a_clock_that_jumps_meanwhile_disturbs_nobody(stack):
    stack.bridge.start()
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "share": 0.5,
                                                   "answers": [500], "repeat": True})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        for n, ahead in enumerate((HOURS, -HOURS, 400, 0)):
            stack.bridge.set_clock(ahead)
            shop.publish("up/request", [sms("j%d-%d" % (n, k), k, ttl="5m", retry={"attempts": 20})
                                        for k in range(20)])
        for n in range(4):
            for k in range(20):
                shop.receipt("j%d-%d" % (n, k), "sent", 40)
    wait_until(lambda: stack.postgres.value("select in_flight from conservation") == "0", 10,
               "all to end")
