# SPDX-License-Identifier: MIT
"""Two and four bridges on one broker and one database: work shared, nothing attempted twice."""
import collections
import datetime

import pytest

import servers
from client import Client
from traffic import Traffic

# A small active set and a slow provider: the bridge that ingests cannot keep all of it.
SETTINGS = {"bridge.lease": "5s", "queue.active_limit": 100,
            "destinations.webhook.concurrency": 20}


def hooks(stack):
    """A maker of webhook requests, each to a URL of its own."""
    url = stack.providers.info["webhook"]["url"]

    def make(number, name):
        return {"type": "hook.test", "to": {"url": "%s/%d" % (url, number)}, "title": name,
                "body": "b", "channels": ["webhook"]}
    return make


def calls(stack):
    """{path: how often the provider was asked}."""
    seen = stack.providers.control("GET", "/requests?provider=webhook&limit=50000&fields=path")
    return collections.Counter(call["path"] for call in seen["requests"])


def epochs(stack):
    """{epoch: attempts} of everything tried so far."""
    return {int(epoch): int(count) for epoch, count in stack.postgres.sql(
        "select epoch, count(*) from attempt where number > 0 group by epoch")}


@pytest.mark.parametrize("bridges", [2, 4])
def test_work_is_shared_and_nothing_is_attempted_twice(new_stack, bridges):
    stack = new_stack(bridges=bridges, settings=SETTINGS)
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 40})
    with Traffic(stack, rate=800, users=0, make=hooks(stack), batch=10) as traffic:
        traffic.wait_accepted(3000)
        traffic.finish()
        traffic.audit()
        asked = calls(stack)
        assert len(asked) == len(traffic.accepted)
        assert [path for path, times in asked.items() if times > 1] == []
        shares = epochs(stack)
        assert len(shares) == bridges, shares
        assert min(shares.values()) > sum(shares.values()) / bridges / 10, shares


def test_what_a_killed_bridge_held_is_taken_over(new_stack):
    stack = new_stack(bridges=2, settings=SETTINGS)
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 200})
    with Traffic(stack, rate=300, users=0, make=hooks(stack)) as traffic:
        traffic.wait_accepted(600)
        victim = stack.bridges.pop(0)
        victim.kill()
        traffic.rate = 30  # enough to see it go on; the one that is left has to keep up
        held = int(stack.postgres.value("select count(*) from delivery where state = 1"))
        assert held > 0
        traffic.wait_accepted(100, 40)  # the survivor took the lanes
        traffic.finish()
        traffic.audit()
        repeated = sum(times - 1 for times in calls(stack).values())
        assert repeated <= 2 * 20, "more than the dead bridge can have had under way"


def test_a_rolling_restart_loses_and_repeats_nothing(new_stack):
    stack = new_stack(bridges=2, settings=SETTINGS)
    with Traffic(stack, rate=300, users=0, make=hooks(stack)) as traffic:
        for _ in range(2):
            for bridge in stack.bridges:
                traffic.wait_accepted(100)
                bridge.stop()  # SIGTERM: drains, hands the rest back, exits 0
                bridge.start()
        traffic.wait_accepted(100)
        traffic.finish()
        traffic.audit()
        asked = calls(stack)
        assert len(asked) == len(traffic.accepted)
        assert [path for path, times in asked.items() if times > 1] == []


def test_a_bridge_that_was_stopped_too_long_is_fenced(new_stack):
    """SIGSTOP past its lease: what it still holds is not its own any more."""
    stack = new_stack(bridges=2, settings=SETTINGS)
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 100})
    with Traffic(stack, rate=200, users=0, make=hooks(stack)) as traffic:
        traffic.wait_accepted(400)
        stack.bridges[0].pause()
        traffic.wait_accepted(400, 60)  # by the other one, which may have to take the lanes
        taken = servers.wait_until(lambda: len(epochs(stack)), 10, "epochs")
        stack.bridges[0].resume()
        traffic.wait_accepted(200, 30)
        traffic.finish()
        traffic.audit()
        stack.bridges[0].wait_ready(20)
        assert len(epochs(stack)) >= taken
        assert sum(times - 1 for times in calls(stack).values()) <= 2 * 20


def test_deliveries_that_many_crashes_left_are_tried_alone_yet_without_pause(new_stack):
    """After three crashes a delivery may be the cause, so it is sent when no other such one is.

    After six it is: dead, and not tried again.
    """
    stack = new_stack()
    url = stack.providers.info["webhook"]["url"]
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 20})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", [
            {"id": "s%d" % n, "type": "t", "title": "t", "body": "b", "channels": ["webhook"],
             "to": {"url": "%s/%d" % (url, n)}, "at": "2099-01-01T00:00:00Z",
             "priority": "low" if n % 2 else "normal"} for n in range(41)])
        shop.receipt("s40", "accepted")
        stack.bridge.stop()
        stack.postgres.sql(
            "with moved as (delete from scheduled returning *) insert into delivery"
            " select * from moved")
        stack.postgres.sql("update delivery set due_at = now(), crashes ="
                           " case when id = (select max(id) from delivery) then 6 else 3 end")
        stack.bridge.start()
        for number in range(40):
            shop.receipt("s%d" % number, "delivered", 40)
        assert shop.receipt("s40", "dead", 40)["reason"] == "poison"
    seen = stack.providers.control("GET", "/stats?provider=webhook")
    assert (seen["peak_in_flight"], seen["requests"]) == (1, 40)
