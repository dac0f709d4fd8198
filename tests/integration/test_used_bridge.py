# SPDX-License-Identifier: MIT
"""A bridge that has worked for a while works as a fresh one does: what a wave of retries or a
neighbour's death leaves behind makes nothing slow, and nothing passes what waited before it."""
import time

import pytest

from client import Client
from process import wait_until

BURST = 900
SETTINGS = {"queue.active_limit": 150, "channels.webhook.attempts": 6, "channels.webhook.retry_base": "500ms",
            "channels.webhook.retry_max": "500ms", "channels.webhook.jitter": False,
            "destinations.webhook.strikes": 10000}


def hooks(stack, name, count, **more):
    url = stack.providers.info["webhook"]["url"]
    return [{"id": "%s%d" % (name, n), "type": "t", "title": "t", "body": "b", "channels": ["webhook"],
             "to": {"url": "%s/%s/%d" % (url, name, n)}, **more} for n in range(count)]


def drained(stack, shop, requests, seconds=240):
    """Publishes and returns how long it took until nothing of it was left."""
    started = time.monotonic()
    for at in range(0, len(requests), 100):
        shop.publish("up/request", requests[at:at + 100])
    for last in (requests[0], requests[-1]):
        shop.receipt(last["id"], "accepted", 60)
    wait_until(lambda: stack.postgres.value("select count(*) from delivery") == "0", seconds,
               "the burst to be delivered", 0.1)
    return time.monotonic() - started


@pytest.fixture
def shop(new_stack):
    stack = new_stack(settings=SETTINGS)
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield stack, client


def as_quick(used, fresh):
    """A loaded machine is slow in both; what is passed over takes minutes."""
    return used < max(2 * fresh, fresh + 10)


def test_a_burst_after_a_wave_of_retries_is_as_quick_as_on_a_fresh_bridge(shop):
    stack, shop = shop
    fresh = drained(stack, shop, hooks(stack, "fresh", BURST))
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "answers": [503] * 600})
    drained(stack, shop, hooks(stack, "wave", 600))
    assert stack.postgres.value("select count(*) from attempt where outcome = 2") != "0"
    assert as_quick(drained(stack, shop, hooks(stack, "used", BURST)), fresh)
    # What becomes ready with an older time than what was claimed last, as a dead bridge's deliveries.
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 300})
    for at in range(0, BURST, 100):
        shop.publish("up/request", hooks(stack, "old", BURST)[at:at + 100])
    shop.receipt("old%d" % (BURST - 1), "accepted", 60)
    started = time.monotonic()
    wait_until(lambda: stack.postgres.value("select count(*) < %d from delivery" % (BURST - 250)) == "t", 60)
    stack.postgres.sql("update delivery set due_at = due_at - interval '1 hour' where id in"
                       " (select id from delivery where state = 0 order by id desc limit 400)")
    stack.providers.control("DELETE", "/behaviour?provider=webhook")
    wait_until(lambda: stack.postgres.value("select count(*) from delivery") == "0", 240,
               "what is older to be delivered", 0.1)
    assert time.monotonic() - started < max(2 * fresh, fresh + 45)
    assert stack.postgres.value("select missing from conservation") == "0"


def test_what_waits_is_due_since_it_was_accepted(shop):
    """Claims go by that time: what is to be repeated takes its turn among what waits for its first try."""
    stack, shop = shop
    stack.providers.control("POST", "/behaviour", {"provider": "webhook", "delay_ms": 100})
    for at in range(0, BURST, 100):
        shop.publish("up/request", hooks(stack, "many", BURST)[at:at + 100])
    shop.receipt("many%d" % (BURST - 1), "accepted", 60)
    waiting, late = stack.postgres.sql(
        "select count(*), count(*) filter (where abs(extract(epoch from d.due_at - n.created_at)) > 5)"
        " from delivery d join notification n on n.id = d.notification where d.attempts = 0")[0]
    assert int(waiting) > 0 and late == "0"


def test_a_repeat_after_a_crash_stays_with_its_idempotent_provider(new_stack):
    """Also one that has waited for long: the time counts from its claim, and not from when it was due."""
    stack = new_stack(start=False)
    for server in (stack.postgres, stack.broker, stack.providers):
        server.start()
    stack.settings = list(stack.settings) + [
        ("destinations.other.adapter", "webhook"), ("destinations.other.allow_private", True),
        ("destinations.other.secret_file", stack.providers.info["webhook"]["secret_file"]),
        ("destinations.other.weight", 50), ("destinations.webhook.weight", 1)]
    stack.add_bridge()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", hooks(stack, "crashed", 20, at="2099-01-01T00:00:00Z"))
        shop.receipt("crashed19", "accepted")
        stack.bridge.stop()
        stack.postgres.sql(
            "with moved as (delete from scheduled returning *) insert into delivery"
            " (id, notification, due_at, destination, channel, priority, state, crashes, recipient_kind,"
            " recipient) select id, notification, now() - interval '1 hour', (select id from destination"
            " where name = 'webhook'), channel, priority, 0, 1, recipient_kind, recipient from moved")
        stack.bridge.start()
        for number in range(20):
            assert shop.receipt("crashed%d" % number, "delivered", 30)["provider"] == "webhook"
