# SPDX-License-Identifier: MIT
"""Channels one after the other: the next only when the one before has failed or was not acknowledged."""
import datetime

import pytest

import servers
from client import Client
from test_away import QUICK, Person, settled, wait_for

SETTINGS = {**QUICK, "channels.sms.retry_base": "100ms", "channels.sms.attempts": 2,
            "types": {"first": {"offline": "next_channel", "channels": "in_app sms email"},
                      "first.soon": {"offline": "next_channel", "channels": "in_app sms",
                                     "escalate_after": "2s"},
                      "wait": {"offline": "hold"}}}
PHONE, MAIL = "+15550199", "ann@example.org"


@pytest.fixture
def steps(new_stack):
    """A stack, and a service; ann has a phone and a mailbox."""
    made = []

    def make(**more):
        stack = new_stack(settings={**SETTINGS, **more.pop("settings", {})}, **more)
        shop = Client(stack, "service", "shop").connect()
        shop.subscribe("down/#")
        made.append(shop)
        shop.rpc("user.upsert", {"user": "ann", "phones": [PHONE], "emails": [MAIL]})
        return stack, shop
    yield make
    for shop in made:
        shop.close()


def ask(shop, name, kind="t", **more):
    shop.publish("up/request", {"id": name, "type": kind, "title": name, "body": "b",
                                "to": {"user": "ann"}, "receipts": "all", **more})
    shop.receipt(name, "accepted")


def first(*channels, after=None):
    route = {"mode": "first", **({"escalate_after": after} if after else {})}
    return {"route": route, "channels": list(channels)}


def sms(stack):
    """How many the provider was asked for."""
    return stack.providers.control("GET", "/stats?provider=twilio")["requests"]


def states(stack, name):
    """{channel: state} of a request's deliveries that have ended."""
    names = ["in_app", "push", "sms", "email", "chat", "webhook"]
    words = {"3": "sent", "4": "delivered", "5": "dead", "7": "expired", "8": "cancelled"}
    rows = stack.postgres.sql(
        "select a.channel, a.state from attempt a join notification n on n.id = a.notification "
        "where n.request = '%s' and a.state is not null order by a.at" % name)
    return {names[int(channel)]: words[state] for channel, state in rows}


def test_who_is_here_gets_the_first_and_the_rest_is_called_off(steps):
    stack, shop = steps()
    with Person(stack, "ann") as ann:
        ask(shop, "n1", **first("in_app", "sms", "email", after="10m"))
        ann.got("n1")
        shop.receipt("n1", "delivered")
        for channel in ("sms", "email"):
            servers.wait_until(lambda: [r for r in shop.receipts("n1") if r["status"] == "cancelled"
                                        and r["channel"] == channel], 10)
        settled(stack)
        assert states(stack, "n1") == {"in_app": "delivered", "sms": "cancelled",
                                       "email": "cancelled"}
        assert sms(stack) == 0
    cancelled = [r for r in shop.receipts("n1") if r["status"] == "cancelled"]
    assert {r["user"] for r in cancelled} == {"ann"}


def test_the_next_is_told_when_the_one_before_has_failed(steps):
    """Nobody is here, the phone's provider refuses: email.  No time was named."""
    stack, shop = steps()
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "answers": [400],
                                                   "repeat": True})
    ask(shop, "n1", **first("in_app", "sms", "email"))
    assert stack.postgres.value("select count(*) from scheduled where due_at = 'infinity'") == "2"
    shop.receipt("n1", "sent", 30)
    settled(stack)
    assert states(stack, "n1") == {"in_app": "dead", "sms": "dead", "email": "sent"}


def test_a_channel_that_took_it_ends_the_search_where_no_time_was_named(steps):
    stack, shop = steps()
    ask(shop, "n1", **first("in_app", "sms", "email"))
    shop.receipt("n1", "cancelled", 30)
    settled(stack)
    assert states(stack, "n1") == {"in_app": "dead", "sms": "sent", "email": "cancelled"}
    assert sms(stack) == 1


def test_what_was_not_acknowledged_in_time_goes_on(steps):
    """Sent is not acknowledged: after each time the next, though none has failed."""
    stack, shop = steps()
    ask(shop, "n1", **first("sms", "email", after="2s"))
    shop.receipt("n1", "sent", 10)
    assert stack.postgres.value("select reached from scheduled") == "2"
    servers.wait_until(lambda: [r for r in shop.receipts("n1") if r.get("channel") == "email"
                                and r["status"] == "sent"], 20)
    settled(stack)
    gap = float(stack.postgres.value(
        "select extract(epoch from max(at) - min(at)) from attempt where state = 3"))
    assert 1.5 < gap < 6


def test_an_early_failure_brings_the_later_ones_forward(steps):
    stack, shop = steps()
    ask(shop, "n1", **first("in_app", "sms", "email", after="1h"))
    shop.receipt("n1", "sent", 30)
    # email was due after two hours, and is now one hour after sms.
    left = float(stack.postgres.value(
        "select extract(epoch from due_at - now()) from scheduled"))
    assert 3500 < left < 3610
    with Person(stack, "ann") as ann:  # its dead letter comes back, and is acknowledged
        ann.got("n1")
        servers.wait_until(lambda: stack.postgres.value("select count(*) from scheduled") == "0", 10)
    settled(stack)
    assert states(stack, "n1")["email"] == "cancelled"


@pytest.mark.parametrize("event,is_all", [("ack", False), ("read", False), ("read", True)],
                         ids=["ack", "read", "read-all"])
def test_an_acknowledgement_or_reading_calls_off_what_has_not_been_sent(steps, event, is_all):
    stack, shop = steps(settings={"channels.in_app.ack_timeout": "5m", "bridge.drain": "1s"})
    with Person(stack, "ann", acks=False) as ann:
        ask(shop, "n1", **first("in_app", "sms", after="10m"))
        got = ann.got("n1")
        what = {"all": True} if is_all else {"ids": [got["id"]]}
        with Person(stack, "bob") as bob:  # it is not bob's
            bob.publish("up/" + event, what)
            ask(shop, "n2", kind="t", to={"user": "bob"})
            shop.receipt("n2", "delivered")
            assert stack.postgres.value("select count(*) from scheduled") == "1"
        ann.publish("up/" + event, what)
        shop.receipt("n1", "cancelled")
        shop.receipt("n1", "delivered")
        settled(stack)
        assert sms(stack) == 0


def test_reading_all_before_a_time_calls_off_that_alone_and_later_ones_too(steps):
    """Also what is unread and acknowledged long ago has nothing left to call off."""
    stack, shop = steps(settings={"channels.in_app.ack_timeout": "5m", "bridge.drain": "1s"})
    with Person(stack, "ann", acks=False) as ann:
        for name in ("n1", "n2"):
            ask(shop, name, **first("sms", "in_app", after="1s"))
            ann.got(name, 20)
            ask(shop, name + "-step", **first("in_app", "email", after="10m"))
            ann.got(name + "-step")
        ann.publish("up/ack", {"ids": [ann.got("n1")["id"]]})
        shop.receipt("n1", "delivered")
        ann.publish("up/read", {"all": True, "before": ann.got("n2")["created_at"]})
        shop.receipt("n1-step", "cancelled")
        assert stack.postgres.value("select count(*) from scheduled") == "1"
        assert not [r for r in shop.receipts("n2-step") if r["status"] == "delivered"]
        ann.publish("up/read", {"all": True})
        shop.receipt("n2-step", "cancelled")
        for name in ("n1-step", "n2", "n2-step"):
            shop.receipt(name, "delivered")
        settled(stack)


def test_a_step_between_two_tries_is_called_off_as_well(steps):
    """sms is on its way and fails for now; the user reads it in the app meanwhile."""
    stack, shop = steps(settings={"channels.sms.retry_base": "10m", "channels.sms.retry_max": "10m",
                                  "channels.sms.jitter": False})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "answers": [503],
                                                   "repeat": True})
    ask(shop, "n1", "first")
    wait_for(stack, "select count(*) from delivery where channel = 2 and state = 0 "
             "and attempts = 1", 1)
    with Person(stack, "ann") as ann:
        ann.got("n1")
        shop.receipt("n1", "delivered")
        settled(stack)
    assert states(stack, "n1") == {"in_app": "delivered", "sms": "cancelled", "email": "cancelled"}


def test_a_type_can_escalate_without_a_dead_letter(steps):
    """next_channel: the in-app one waits, the next is told; both are good."""
    stack, shop = steps()
    ask(shop, "n1", "first")
    shop.receipt("n1", "sent", 30)
    wait_for(stack, "select state from delivery", 2)
    assert stack.postgres.value("select count(*) from dead_letter") == "0"
    with Person(stack, "ann") as ann:
        assert ann.got("n1")["replay"] is True
        settled(stack)
    assert states(stack, "n1") == {"in_app": "delivered", "sms": "sent", "email": "cancelled"}


def test_what_the_request_says_of_its_route_wins_over_its_type(steps):
    stack, shop = steps()
    with Person(stack, "ann"):
        ask(shop, "n1", "first", route="all")
        for channel in ("in_app", "sms", "email"):
            servers.wait_until(lambda: [r for r in shop.receipts("n1") if r.get("channel") == channel
                                        and r["status"] in ("sent", "delivered")], 20)
        settled(stack)


def test_a_later_step_in_the_app_has_its_number_only_then(steps):
    stack, shop = steps()
    with Person(stack, "ann") as ann:
        ask(shop, "n1", **first("sms", "in_app", after="2s"))
        ask(shop, "n2")
        assert ann.got("n2")["seq"] == 1
        assert ann.got("n1", 20)["seq"] == 2
        settled(stack)


def test_a_request_can_be_called_back_with_all_its_steps(steps):
    stack, shop = steps()
    ask(shop, "n1", "wait", **first("in_app", "sms", "email", after="1h"))
    status = shop.rpc("request.status", {"id": "n1"})["result"]
    assert [d["state"] for d in status["deliveries"]][1:] == ["held", "held"]
    year = datetime.datetime.now(datetime.timezone.utc).year
    assert {d["due_at"][:4] for d in status["deliveries"] if "due_at" in d} <= {str(year), str(year + 1)}
    ask(shop, "n3", "wait", **first("in_app", "sms"))  # never due of itself: there is no time to tell
    assert "due_at" not in shop.rpc("request.status", {"id": "n3"})["result"]["deliveries"][1]
    ask(shop, "n2", "wait", **first("sms", "email"), at="2099-01-01T00:00:00Z")
    assert shop.rpc("request.cancel", {"id": "n2"})["result"]["cancelled"] == 2
    servers.wait_until(lambda: shop.rpc("request.cancel", {"id": "n1"})["result"]["cancelled"], 10)
    servers.wait_until(lambda: shop.rpc("request.cancel", {"id": "n3"}) and stack.postgres.value(
        "select count(*) from delivery d join notification n on n.id = d.notification"
        " where n.request = 'n3'") == "0", 10)
    settled(stack)


def test_killed_at_every_step_one_channel_follows_the_other_and_none_is_lost(steps):
    """SIGKILL under traffic of requests that escalate; the books balance, and each has an end."""
    stack, shop = steps(settings={"bridge.lease": "3s"})
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "share": 0.5,
                                                   "answers": [500], "repeat": True})
    names = []
    with Person(stack, "ann") as ann:
        for n in range(60):
            names.append("n%d" % n)
            shop.publish("up/request", {
                "id": names[-1], "type": "t", "title": names[-1], "body": "b",
                "to": {"user": "ann" if n % 3 else "gone"},
                **first("in_app", "sms", "email", after="1s" if n % 2 else None)})
            if n in (15, 30, 45):
                stack.bridge.kill()
                stack.bridge.start()
        for name in names:
            shop.receipt(name, "accepted", 30)
        assert ann
        settled(stack)
    stuck = stack.postgres.value("select count(*) from notification n where not exists "
                                 "(select 1 from attempt a where a.notification = n.id)")
    assert stuck == "0"


def test_steps_that_nobody_released_are_found(steps):
    """As when two bridges end the last two of a step at once, each seeing the other's."""
    stack, shop = steps()
    ask(shop, "n1", **first("in_app", "sms"), at="2099-01-01T00:00:00Z")
    stack.postgres.sql("delete from scheduled where due_at < 'infinity'")
    shop.receipt("n1", "sent", 30)
    stack.postgres.sql("update notification set deliveries = 1")
    settled(stack)


def test_the_bridge_that_reads_the_acknowledgement_need_not_be_the_one_that_sent(steps):
    """Two bridges: requests and users' events are read by different ones."""
    stack, shop = steps(bridges=2, settings={"channels.in_app.ack_timeout": "5m",
                                             "bridge.drain": "1s"})
    # The first has all lanes; when it comes again, both are there to share them.
    stack.bridge.kill()
    stack.bridge.start()
    servers.wait_until(lambda: stack.postgres.value(
        "select count(distinct b.epoch) from lane l join bridge b on b.epoch = l.epoch "
        "where l.name in ('requests', 'users')") == "2", 20, "the lanes to be shared")
    with Person(stack, "ann") as ann:
        for n in range(20):
            shop.publish("up/request", {"id": "n%d" % n, "type": "t", "title": "n%d" % n,
                                        "body": "b", "to": {"user": "ann"}, "receipts": "all",
                                        **first("in_app", "sms", after="10m")})
        for n in range(20):
            ann.got("n%d" % n)
            shop.receipt("n%d" % n, "cancelled", 20)
        settled(stack)
    assert sms(stack) == 0
