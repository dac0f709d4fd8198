# SPDX-License-Identifier: MIT
"""A provider is away in the middle of 10,000 messages: with another that steps in, and without."""
import collections

import pytest

from client import Client
from process import wait_until

TOTAL = 10000
BATCH = 100
CONCURRENCY = 50
SETTINGS = {"channels.sms.retry_base": "200ms", "channels.sms.retry_max": "1s",
            "channels.sms.attempts": 5}


def destination(info, adapter, **more):
    """Settings of a destination named like its adapter."""
    keys = {"bird": ("base_url", "api_key_file"), "twilio": ()}[adapter]
    found = {key: info[adapter][key] for key in keys}
    if adapter == "bird":
        found.update(adapter="bird", **{"from": "Tocsin"})
    found.update({"concurrency": CONCURRENCY, "shut_min": "300ms", "shut_max": "600ms", **more})
    return [("destinations.%s.%s" % (adapter, key), value) for key, value in found.items()]


@pytest.fixture
def start(new_stack):
    """start("bird", "twilio"): a stack whose sms channel is these, in this order."""
    def make(*order, **more):
        stack = new_stack(bridges=0, settings={**SETTINGS, **more})
        for adapter in order:
            stack.settings += destination(stack.providers.info, adapter)
        bridge = stack.add_bridge(start=False)
        tree = bridge.tree_config["destinations"]
        for name in list(tree):  # the order of the file is the order of choice
            if name in order or name == "twilio":
                tree.pop(name)
        fresh = stack.bridge_config()["destinations"]
        tree.update({name: fresh[name] for name in order})
        bridge.start()
        return stack
    return make


def script(stack, provider, **rule):
    stack.providers.control("POST", "/behaviour", {"provider": provider, **rule})


def stats(stack, provider):
    return stack.providers.control("GET", "/stats?provider=" + provider)


def publish(stack):
    with Client(stack, "service", "shop") as shop:
        for start in range(0, TOTAL, BATCH):
            shop.publish("up/request", [
                {"id": "m%d" % n, "type": "t", "title": "t", "body": "number %d" % n,
                 "to": {"phone": "+1555%07d" % n}, "channels": ["sms"], "receipts": "none"}
                for n in range(start, start + BATCH)])


def outage(stack, provider, until):
    """Answers are lost after the effect, then connections are refused, until until() is true."""
    wait_until(lambda: stats(stack, provider)["accepted"] > TOTAL // 5 or None, 60, "the middle")
    script(stack, provider, answers=["drop"], repeat=True)
    wait_until(lambda: breaker(stack, provider)["open"] or None, 20, "the breaker to open")
    script(stack, provider, listen="refuse", close_connections=True)
    before = breaker(stack, provider)
    wait_until(lambda: until(before) or None, 60, "the outage to be over")
    stack.providers.control("DELETE", "/behaviour?provider=" + provider)


def breaker(stack, provider):
    """{state: how often the breaker went to it}, and what it is as `now`."""
    metrics = stack.bridge.metrics()
    label = '{channel="sms",destination="%s"' % provider
    moves = {to: int(metrics['tocsin_destination_breaker_moves_total%s,to="%s"}' % (label, to)])
             for to in ("open", "half_open", "closed")}
    return {**moves, "now": int(metrics["tocsin_destination_breaker%s}" % label])}


def all_sent(stack):
    def look():
        return stack.postgres.sql("select (select count(*) from delivery), (select count(*) from"
                                  " attempt where state = 3)") == [["0", str(TOTAL)]]
    wait_until(look, 120, "all to be sent", 0.2)
    assert stack.postgres.sql("select missing from conservation") == [["0"]]
    assert stack.postgres.sql("select count(*) from dead_letter") == [["0"]]


def effects(stack, provider):
    """{number: messages it would have got}: a repeat under the same key is none."""
    found, since = collections.Counter(), 0
    while True:
        page = stack.providers.control(
            "GET", "/requests?provider=%s&limit=5000&since=%d&fields=seq,target,verdict,extra"
            % (provider, since))
        for record in page["requests"]:
            if record["verdict"] == "accepted" and not record["extra"].get("replay"):
                found[record["target"]] += 1
        if not page["requests"]:
            return found
        since = page["next"]


def the_breakers_story(stack, provider):
    """It opened, let probes through, opened again while they failed, and closed: in /metrics."""
    def healed():
        now = breaker(stack, provider)
        return now["now"] == 0 and now["closed"] and now
    story = wait_until(healed, 10, "the breaker to close")
    assert story["open"] >= 2 and story["half_open"] >= story["open"] >= story["closed"] >= 1, story
    return story


def test_another_steps_in_and_nothing_is_sent_twice(start):
    stack = start("bird", "twilio")
    publish(stack)
    outage(stack, "bird", lambda before: stats(stack, "twilio")["accepted"] > TOTAL // 5)
    all_sent(stack)
    the_breakers_story(stack, "bird")
    by_bird, by_twilio = effects(stack, "bird"), effects(stack, "twilio")
    together = by_bird + by_twilio
    assert len(together) == TOTAL and len(by_bird) > TOTAL // 5 and len(by_twilio) > TOTAL // 5
    assert [number for number, count in together.items() if count > 1] == []
    # What Bird had taken without an answer was asked of Bird again, which knew it.
    unsure = stack.postgres.sql("select count(distinct delivery) from attempt where outcome = 8")
    assert int(unsure[0][0]) >= 10
    assert breaker(stack, "twilio")["open"] == 0


def test_without_another_all_is_sent_after_it_has_healed_and_within_the_budget(start):
    stack = start("bird")
    publish(stack)
    outage(stack, "bird",
           lambda before: breaker(stack, "bird")["half_open"] >= before["half_open"] + 2)
    all_sent(stack)
    story = the_breakers_story(stack, "bird")
    by_bird = effects(stack, "bird")
    assert len(by_bird) == TOTAL and max(by_bird.values()) == 1
    # The breaker, not each message, tries whether it is back: one probe each time.
    ((tries, most),) = stack.postgres.sql(
        "select count(*), max(number) from attempt where outcome in (2, 8)")
    assert int(tries) <= 2 * CONCURRENCY + story["half_open"]
    assert int(most) < 5


def one(stack):
    with Client(stack, "service", "shop") as shop:
        shop.publish("up/request", {"id": "m0", "type": "t", "title": "t", "body": "b",
                                    "to": {"phone": "+15550000000"}, "channels": ["sms"]})


def keys_seen(stack, provider):
    return [r["dedupe"] for r in stack.providers.control(
        "GET", "/requests?provider=%s&fields=dedupe" % provider)["requests"]]


def sent(stack):
    wait_until(lambda: stack.postgres.sql("select count(*) from attempt where state = 3")
               == [["1"]], 20, "it to be sent", 0.1)


@pytest.mark.parametrize("policy", ("repeat", "at_most_once"))
def test_what_one_may_have_had_waits_for_it_though_another_could_take_it(start, policy):
    stack = start("bird", "twilio", **{"types.t.unknown": policy, "destinations.bird.strikes": 1})
    script(stack, "bird", answers=["drop"], repeat=True)
    one(stack)
    wait_until(lambda: breaker(stack, "bird")["open"] >= 2 or None, 20, "the breaker to open")
    assert keys_seen(stack, "twilio") == []
    stack.providers.control("DELETE", "/behaviour?provider=bird")
    sent(stack)
    assert len(set(keys_seen(stack, "bird"))) == 1 and len(keys_seen(stack, "bird")) >= 2
    assert keys_seen(stack, "twilio") == []
    assert effects(stack, "bird") == {"+15550000000": 1}


@pytest.mark.parametrize("policy", ("repeat", "at_most_once"))
def test_so_does_what_a_bridge_died_over(start, policy):
    stack = start("bird", "twilio", **{"types.t.unknown": policy, "bridge.lease": "3s",
                                       "destinations.bird.strikes": 1})
    script(stack, "bird", delay_ms=3000, answers=["ok"])
    one(stack)
    wait_until(lambda: stats(stack, "bird")["in_flight"] or None, 10, "the request")
    stack.bridge.kill()
    script(stack, "bird", answers=[503], times=2)
    stack.bridge.start()
    sent(stack)
    assert keys_seen(stack, "twilio") == []
    assert effects(stack, "bird") == {"+15550000000": 1}
