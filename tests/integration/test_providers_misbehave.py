# SPDX-License-Identifier: MIT
"""Providers that fail, stall, lie or limit: each ends in its class, and slows only itself."""
import time

import pytest

import servers
from client import Client
from process import wait_until

SETTINGS = {
    "destinations.twilio.timeout": "1500ms", "destinations.webhook.timeout": "1500ms",
    "destinations.sendgrid.timeout": "1500ms", "destinations.twilio.shut_min": "200ms",
    "destinations.twilio.shut_max": "400ms",
    "channels.sms.retry_base": "100ms", "channels.sms.retry_max": "200ms",
    "channels.webhook.retry_base": "100ms", "channels.webhook.retry_max": "200ms",
    "channels.email.retry_base": "100ms", "channels.email.retry_max": "200ms",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with servers.Stack(tmp_path_factory.mktemp("stack"), settings=SETTINGS) as made:
        yield made
    made.remove()


@pytest.fixture
def shop(stack):
    stack.providers.control("POST", "/reset", {})
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


def script(stack, provider, **rule):
    stack.providers.control("POST", "/behaviour", {"provider": provider, **rule})


NUMBER = iter(range(1000, 9999))


def sms(shop, **more):
    number = next(NUMBER)
    name = "sms-%d" % number
    shop.publish("up/request", {"id": name, "type": "t", "title": "t", "body": "b",
                                "to": {"phone": "+1555010%04d" % number}, "channels": ["sms"],
                                "receipts": "all", **more})
    return name


def hook(stack, shop, path, **more):
    name = "hook-%s-%d" % (path, next(NUMBER))
    shop.publish("up/request", {"id": name, "type": "t", "title": "t", "body": "b",
                                "to": {"url": "%s/%s" % (stack.providers.info["webhook"]["url"],
                                                         path)},
                                "channels": ["webhook"], "receipts": "all", **more})
    return name


def statuses(shop, name):
    return [r["status"] for r in shop.receipts(name)]


@pytest.mark.parametrize("step,reason", [
    (500, "provider_unavailable"), (503, "provider_unavailable"),
    ("hang", None), ("reset", None), ("garbage", None), ("drop", None),
    ("slow_headers", None),
    ({"status": 500, "fault": "slow_body"}, None), ({"status": 500, "fault": "huge"}, None),
    ({"status": 500, "fault": "truncate"}, None),
])
def test_a_webhook_that_never_answers_well_ends_dead_within_its_budget(stack, shop, step, reason):
    memory = stack.bridge.rss_kb()
    script(stack, "webhook", target="*/bad-*", answers=[step], repeat=True)
    name = hook(stack, shop, "bad-%d" % next(NUMBER))
    good = hook(stack, shop, "good")
    assert shop.receipt(good, "delivered", 5)
    dead = shop.receipt(name, "dead", 20)
    assert dead["attempt"] == 3
    assert dead["reason"] == reason or not reason
    assert statuses(shop, name).count("retrying") == 2
    assert stack.bridge.rss_kb() - memory < 16 * 1024


def test_a_failure_that_passes_costs_one_attempt(stack, shop):
    script(stack, "twilio", answers=[500, "ok"])
    name = sms(shop)
    assert shop.receipt(name, "sent", 10)["attempt"] == 2
    assert statuses(shop, name) == ["accepted", "retrying", "sent"]


def test_retry_after_is_waited_for(stack, shop):
    script(stack, "webhook", target="*/later", answers=[{"status": 503, "retry_after": 2}, "ok"])
    started = time.monotonic()
    name = hook(stack, shop, "later")
    shop.receipt(name, "delivered", 15)
    assert time.monotonic() - started >= 2.0


def test_what_a_newer_one_replaced_while_it_was_being_sent_is_not_tried_again(stack, shop):
    script(stack, "twilio", answers=["hang", "ok", "ok"])
    old, new = sms(shop, to={"phone": "+15550109999"}, collapse_key="code"), None
    shop._wait(lambda: "accepted" in statuses(shop, old), 10, "accepted")
    servers.wait_until(lambda: len(stack.providers.control(
        "GET", "/requests?provider=twilio")["requests"]) == 1, 10, "the first attempt", 0.05)
    new = sms(shop, to={"phone": "+15550109999"}, collapse_key="code")
    shop.receipt(new, "sent", 10)
    assert shop.receipt(old, "suppressed", 20)["reason"] == "collapsed"
    assert len(stack.providers.control("GET", "/requests?provider=twilio")["requests"]) == 2


def test_throttling_costs_no_attempt(stack, shop):
    """Five refusals of a budget of three attempts, and it is sent all the same."""
    script(stack, "twilio", answers=[429, 429, 429, 429, 429, "ok"])
    name = sms(shop)
    assert shop.receipt(name, "sent", 40)["attempt"] <= 2


def test_what_can_never_succeed_dies_at_once(stack, shop):
    script(stack, "twilio", answers=["twilio:21617"])
    name = sms(shop)
    dead = shop.receipt(name, "dead", 10)
    assert statuses(shop, name) == ["accepted", "dead"]
    assert dead["attempt"] == 1


def test_a_dead_number_is_named_so(stack, shop):
    script(stack, "twilio", answers=["twilio:21211"])
    assert shop.receipt(sms(shop), "dead", 10)["reason"] == "target_invalid"


def test_a_private_address_is_refused_where_that_is_not_allowed(new_stack):
    stack = new_stack(settings={"destinations.webhook.allow_private": "false"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        name = hook(stack, shop, "private")
        dead = shop.receipt(name, "dead", 20)
        assert dead["reason"] in ("target_invalid", "content_invalid"), dead
        assert not stack.providers.control("GET", "/requests?provider=webhook")["requests"]


def test_a_hanging_provider_does_not_slow_another(stack, shop):
    script(stack, "twilio", answers=["hang"], repeat=True)
    stuck = [sms(shop, receipts="final", retry={"attempts": 1}) for _ in range(150)]
    good = [hook(stack, shop, "beside", receipts="final") for _ in range(100)]
    for name in good:
        shop.receipt(name, "delivered", 10)
    ended = [name for name in stuck if "dead" in statuses(shop, name)]
    assert len(ended) < len(stuck), "not after all those that hang"
    stack.providers.control("POST", "/reset", {})
    for name in stuck:
        shop._wait(lambda n=name: {"sent", "dead"} & set(statuses(shop, n)), 60, name)


def test_a_mail_server_that_thinks_holds_up_nobody(new_stack):
    stack = new_stack(settings={"destinations.sendgrid.types": "none"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        script(stack, "smtp", delay_ms=4000, answers=["ok"], repeat=True)
        shop.publish("up/request", [
            {"id": "mail-%d" % n, "type": "t", "title": "t", "body": "b", "channels": ["email"],
             "to": {"email": "user%d@example.org" % n}} for n in range(20)])
        wait_until(lambda: stack.postgres.sql("select count(*) from delivery where state = 1")
                   == [["20"]], 10, "the mails to be under way")
        names = [sms(shop) for _ in range(20)]
        for name in names:
            shop.receipt(name, "sent", 20)
        assert not [r for n in range(20) for r in shop.receipts("mail-%d" % n)
                    if r["status"] == "sent"]
        for n in range(20):
            shop.receipt("mail-%d" % n, "sent", 40)


def test_a_provider_that_refuses_us_keeps_the_messages_until_it_takes_us_again(stack, shop):
    """401: our credentials, not the message's fault.  The breaker opens; nothing dies."""
    script(stack, "twilio", answers=["twilio:20003"], times=3)
    names = [sms(shop, receipts="final") for _ in range(5)]
    for name in names:
        assert shop.receipt(name, "sent", 30)
    opened = [k for k in stack.bridge.metrics() if k.startswith("tocsin_destination_breaker")]
    assert opened


@pytest.mark.parametrize("before", ["20003", "20429"])
def test_a_second_outage_buries_nothing_that_waited_through_the_first(stack, shop, before):
    """One that was taken between two outages says nothing about the messages that wait."""
    script(stack, "twilio", answers=["twilio:" + before], repeat=True)
    names = [sms(shop, receipts="all") for _ in range(12)]
    for name in names:
        assert shop.receipt(name, "retrying", 30)
    script(stack, "twilio", answers=["twilio:20003"], repeat=True)
    script(stack, "twilio", answers=["ok"])  # the newest rule comes first, once
    wait_until(lambda: sum("sent" in statuses(shop, name) for name in names) >= 1, 30,
               "one that was taken")
    for name in names:
        seen = len(statuses(shop, name))
        wait_until(lambda n=name, s=seen: len(statuses(shop, n)) > s or "sent" in statuses(shop, n),
                   30, "another try of each")
    assert not any("dead" in statuses(shop, name) for name in names)
    stack.providers.control("POST", "/reset", {})
    for name in names:
        assert shop.receipt(name, "sent", 30)


def test_an_outage_ends_and_everything_is_sent(stack, shop):
    script(stack, "twilio", listen="refuse")
    names = [sms(shop, receipts="final") for _ in range(60)]
    shop.receipt(names[-1], "accepted")
    time.sleep(2)  # the outage is what is tested
    assert not any("dead" in statuses(shop, n) for n in names)
    script(stack, "twilio", listen="normal")
    for name in names:
        assert shop.receipt(name, "sent", 30)


def test_a_rate_is_kept_in_every_second(new_stack):
    stack = new_stack(settings={"destinations.twilio.rate_per_second": 20})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        began = time.time()
        names = [sms(shop, receipts="final") for _ in range(100)]
        for name in names:
            shop.receipt(name, "sent", 30)
        arrived = [r["at_ns"] / 1e9 for r in stack.providers.control(
            "GET", "/requests?provider=twilio&limit=1000&fields=at_ns")["requests"]]
        assert len(arrived) == 100
        # A provider that is held up reads late what was sent in time, but nothing early.
        for number, at in enumerate(sorted(arrived)):
            assert number <= 2 + 20 * (at - began), "%d after %.3f s" % (number, at - began)


def test_urgent_goes_before_low_and_low_does_not_starve(new_stack):
    stack = new_stack(settings={"destinations.twilio.rate_per_second": 30})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        batch = [{"id": "%s-%d" % (priority, n), "type": "t", "title": priority, "body": priority,
                  "priority": priority, "to": {"phone": "+15550%06d" % (k * 1000 + n)},
                  "channels": ["sms"]}
                 for k, priority in enumerate(("low", "urgent")) for n in range(60)]
        shop.publish("up/request", batch)
        for item in batch:
            shop.receipt(item["id"], "sent", 30)
        order = [r["body"]["Body"].split()[0] for r in stack.providers.control(
            "GET", "/requests?provider=twilio&limit=1000&fields=body")["requests"]]
        assert order[:30].count("urgent") > 20
        assert order[:45].count("low") >= 2


def arrivals(stack):
    """The numbers that Twilio was asked for, in order."""
    return [r["target"] for r in stack.providers.control(
        "GET", "/requests?provider=twilio&limit=5000&fields=target")["requests"]]


def test_a_flood_of_one_service_does_not_hold_up_another(new_stack):
    stack = new_stack(settings={"destinations.twilio.rate_per_second": 40})
    with Client(stack, "service", "flood") as flood, Client(stack, "service", "calm") as calm:
        flood.subscribe("down/#")
        calm.subscribe("down/#")
        for start in (0, 180):  # all of it fits into memory
            flood.publish("up/request", [{"id": "f%d" % n, "type": "t", "title": "t", "body": "b",
                                          "to": {"phone": "+15551%06d" % n}, "channels": ["sms"]}
                                         for n in range(start, start + 180)])
        flood.receipt("f359", "accepted")
        calm.publish("up/request", [{"id": "c%d" % n, "type": "t", "title": "t", "body": "b",
                                     "to": {"phone": "+15552%06d" % n}, "channels": ["sms"]}
                                    for n in range(10)])
        calm.receipt("c9", "accepted")
        before = len(arrivals(stack))
        for n in range(10):
            calm.receipt("c%d" % n, "sent", 30)
        order = arrivals(stack)
        last = max(n for n, number in enumerate(order) if number.startswith("+15552"))
        assert last < before + 100, "they take turns with the 360"


def test_without_a_timeout_of_its_own_a_request_ends_before_the_lease(new_stack):
    """Else another bridge could take the delivery over while the request is still out."""
    stack = new_stack(settings={"bridge.lease": "3s"})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "answers": ["hang"]})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", {"id": "one", "type": "t", "title": "t", "body": "b",
                                    "to": {"phone": "+15550000001"}, "receipts": "all"})
        shop.receipt("one", "accepted")
        assert shop.receipt("one", "retrying", 8)["attempt"] == 1  # the usual timeout is 10 s
