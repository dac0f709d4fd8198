# SPDX-License-Identifier: MIT
"""A channel is an ordered list of destinations: who takes what, and who steps in."""
import collections
import time

import pytest

from client import Client
from process import wait_until

def sms(n, **more):
    return {"id": "m%d" % n, "type": "t", "title": "t", "body": "number %d" % n,
            "to": {"phone": "+1555%07d" % n}, "channels": ["sms"], **more}


def script(stack, provider, **rule):
    stack.providers.control("POST", "/behaviour", {"provider": provider, **rule})


@pytest.fixture
def stack_with(new_stack):
    """A started stack whose sms channel is twilio, then classic MessageBird."""
    def make(**settings):
        stack = new_stack(start=False, settings={"destinations.twilio.shut_min": "300ms",
                                                 "destinations.twilio.shut_max": "600ms",
                                                 "channels.sms.retry_base": "200ms", **settings})
        for server in (stack.postgres, stack.broker, stack.providers):
            server.start()
        info = stack.providers.info["messagebird"]
        stack.settings = list(stack.settings) + [
            ("destinations.messagebird.adapter", "messagebird"),
            ("destinations.messagebird.from", "Tocsin")] + [
            ("destinations.messagebird." + key, info[key])
            for key in ("base_url", "access_key_file") if key in info]
        stack.add_bridge()
        return stack
    return make


def sent_by(shop, count, timeout=40):
    """{provider: how many} of count sms; fails when one is not sent."""
    shop._wait(lambda: len([r for r in shop.receipts() if r["status"] == "sent"]) >= count,
               timeout, "%d sent" % count)
    assert not [r for r in shop.receipts() if r["status"] in ("dead", "rejected")]
    by_id = {r["id"]: r["provider"] for r in shop.receipts() if r["status"] == "sent"}
    assert len(by_id) == count
    return collections.Counter(by_id.values())


def test_when_the_first_is_out_the_next_takes_over_and_the_first_returns(stack_with):
    stack = stack_with()
    script(stack, "twilio", listen="refuse")
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        for batch in range(4):
            shop.publish("up/request", [sms(batch * 50 + n) for n in range(50)])
        by = sent_by(shop, 200)
        assert by["messagebird"] == 200
        assert stack.bridge.metrics()[
            'tocsin_destination_breaker{channel="sms",destination="twilio"}'] in (1, 2)
        script(stack, "twilio", listen="normal")

        def healed():
            healed.n += 1
            shop.publish("up/request", [sms(1000 + healed.n)])
            shop.receipt("m%d" % (1000 + healed.n), "sent", 10)
            return [r for r in shop.receipts("m%d" % (1000 + healed.n))
                    if r["status"] == "sent" and r["provider"] == "twilio"]
        healed.n = 0
        wait_until(healed, 20, "the first to be used again", 0.2)
        assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_an_outage_in_the_middle_costs_nothing(stack_with):
    stack = stack_with(**{"destinations.twilio.concurrency": 10})
    script(stack, "twilio", delay_ms=20, answers=["ok"], repeat=True)
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        total = 2000
        for start in range(0, total, 100):
            shop.publish("up/request", [sms(start + n) for n in range(100)])
            if start == 500:
                shop._wait(lambda: len([r for r in shop.receipts() if r["status"] == "sent"]) > 20,
                           20, "some to be sent")
                script(stack, "twilio", listen="refuse", close_connections=True)
        by = sent_by(shop, total, 60)
        assert by["twilio"] and by["messagebird"]


def test_country_prefix_and_type_choose(stack_with):
    stack = stack_with(**{"destinations.twilio.prefixes": "+1555",
                          "destinations.messagebird.types": "alarm.*"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", [
            sms(1), sms(2, to={"phone": "+4917012345678"}, type="alarm.fire"),
            sms(3, to={"phone": "+4917012345679"}, type="other")])
        assert shop.receipt("m1", "sent")["provider"] == "twilio"
        assert shop.receipt("m2", "sent")["provider"] == "messagebird"
        assert shop.receipt("m3", "rejected")["reason"] == "not_allowed"


def test_weights_share(stack_with):
    stack = stack_with(**{"destinations.twilio.weight": 3, "destinations.messagebird.weight": 1})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", [sms(n) for n in range(400)])
        by = sent_by(shop, 400)
        assert 240 < by["twilio"] < 360


@pytest.mark.parametrize("policy,ends", [("repeat", "sent"), ("at_most_once", "dead")])
def test_an_unknown_outcome_is_repeated_or_the_end_as_the_type_says(new_stack, policy, ends):
    stack = new_stack(settings={"types.t.unknown": policy, "channels.sms.retry_base": "100ms"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        script(stack, "twilio", answers=["drop"])
        shop.publish("up/request", sms(1))
        last = shop.receipt("m1", ends, 15)
        if ends == "dead":
            assert last["reason"] == "outcome_unknown"
        seen = stack.providers.control("GET", "/requests?provider=twilio")["requests"]
        assert len(seen) == (2 if policy == "repeat" else 1)


@pytest.mark.parametrize("policy,calls", [("repeat", 2), ("at_most_once", 1)])
def test_a_crash_while_the_request_is_out(new_stack, policy, calls):
    stack = new_stack(settings={"types.t.unknown": policy, "bridge.lease": "3s",
                                "channels.sms.retry_base": "100ms"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        script(stack, "twilio", delay_ms=3000, answers=["ok"])
        shop.publish("up/request", sms(1))
        wait_until(lambda: stack.providers.control("GET", "/stats?provider=twilio")["in_flight"]
                   or None, 10, "the call")
        stack.bridge.kill()
        stack.bridge.start()
        last = shop.receipt("m1", "sent" if policy == "repeat" else "dead", 30)
        assert last.get("reason") in (None, "outcome_unknown")
        time.sleep(1.0)  # a second call that should not come would come now
        seen = stack.providers.control("GET", "/requests?provider=twilio")["requests"]
        assert len(seen) == calls
        assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_two_bridges_share_one_rate_of_fifty_a_second(new_stack):
    stack = new_stack(bridges=2, settings={"destinations.twilio.rate_per_second": 50,
                                           "queue.active_limit": 100})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        began = time.time()
        for start in range(0, 400, 100):
            shop.publish("up/request", [sms(start + n) for n in range(100)])
        sent_by(shop, 400)
        seen = stack.providers.control(
            "GET", "/requests?provider=twilio&limit=1000&fields=at_ns")["requests"]
        at = sorted(r["at_ns"] / 1e9 for r in seen)
        assert len(at) == 400
        # A provider that is held up reads late what was sent in time, but nothing early.
        for number, moment in enumerate(at):
            assert number <= 3 + 50 * (moment - began), "%d in %.3f s" % (number, moment - began)


def test_one_bridges_pause_is_everybodys(new_stack):
    stack = new_stack(bridges=2, settings={"destinations.twilio.shut_max": "10s"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        script(stack, "twilio", answers=[{"status": 429, "retry_after": 4}])
        shop.publish("up/request", sms(1))
        shop.receipt("m1", "sent", 20)
        assert stack.postgres.sql("select paused_until > now() - interval '2 min' from destination"
                                  " where name = 'twilio'") == [["t"]]
        (first, second) = [r["at_ns"] / 1e9 for r in stack.providers.control(
            "GET", "/requests?provider=twilio&fields=at_ns")["requests"]]
        assert second - first >= 3.9
