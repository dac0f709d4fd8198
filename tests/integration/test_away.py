# SPDX-License-Identifier: MIT
"""Delivery to people who are not there: repeats, dead letters, waiting, and their coming back."""
import time

import pytest

import servers
from client import Client
from traffic import audit_database, books

# Short waits: four attempts within a second.
QUICK = {"channels.in_app.retry_base": "100ms", "channels.in_app.retry_max": "400ms",
         "channels.in_app.ack_timeout": "1s", "bridge.lease": "4s", "presence.settle": "100ms",
         "types": {"wait": {"offline": "hold"}, "wait.short": {"offline": "hold"}}}


class Person(Client):
    """A user's device that acknowledges what it gets, or does not."""

    def __init__(self, stack, name, device="phone", acks=True, **more):
        super().__init__(stack, "user", name, device, on_message=self.on_inbox, **more)
        self.acks = acks

    def on_inbox(self, client, message):
        if self.acks and message.topic.endswith("/inbox"):
            client.publish("up/ack", {"ids": [message.json["id"]]}, timeout=None)

    def connect(self, timeout=10.0):
        super().connect(timeout)
        self.subscribe("down/inbox")
        return self

    def inbox(self):
        return [m.json for m in list(self.messages) if m.topic.endswith("/inbox")]

    def got(self, title, timeout=10.0):
        return self.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == title,
                         timeout, "inbox %r" % title).json


def ask(shop, name, user, kind="t", **more):
    shop.publish("up/request", {"id": name, "type": kind, "title": name, "body": "b",
                                "to": {"user": user}, "receipts": "all", **more})
    shop.receipt(name, "accepted")


def wait_for(stack, query, want, timeout=20.0):
    servers.wait_until(lambda: stack.postgres.value(query) == str(want), timeout,
                       "%s of: %s" % (want, query), 0.05)


def settled(stack):
    """Nothing in flight, and the books balance."""
    servers.wait_until(lambda: books(stack)["in_flight"] == 0, 30, "every end", 0.1)
    assert list(audit_database(stack)) == []


@pytest.fixture
def away(new_stack):
    """A stack with short waits, and a service."""
    made = []

    def make(**more):
        stack = new_stack(settings={**QUICK, **more.pop("settings", {})}, **more)
        shop = Client(stack, "service", "shop").connect()
        shop.subscribe("down/#")
        made.append(shop)
        return stack, shop
    yield make
    for shop in made:
        shop.close()


def test_online(away):
    stack, shop = away()
    with Person(stack, "ann") as ann:
        ask(shop, "n1", "ann")
        assert "replay" not in ann.got("n1")
        shop.receipt("n1", "delivered")
        settled(stack)


def test_offline_then_back_a_retry_succeeds(away):
    stack, shop = away(settings={"channels.in_app.retry_base": "10m",
                                 "channels.in_app.retry_max": "10m"})
    ask(shop, "n1", "ann")
    assert shop.receipt("n1", "retrying")["reason"] == "user_offline"
    with Person(stack, "ann") as ann:
        # Not after ten minutes: the moment they are back.
        assert ann.got("n1")["replay"] is True
        shop.receipt("n1", "delivered")
    settled(stack)


def test_the_waits_between_attempts_are_two_four_and_eight_seconds(new_stack):
    stack = new_stack()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        ask(shop, "n1", "ann")
        for attempt in (1, 2, 3):
            servers.wait_until(
                lambda: stack.postgres.value("select attempts from delivery") == str(attempt), 20,
                "attempt %d" % attempt, 0.05)
            due = stack.postgres.value(
                "select extract(epoch from d.due_at - a.at) from delivery d join attempt a "
                "on a.delivery = d.id and a.number = %d" % attempt)
            assert abs(float(due) - 2 ** attempt) < 0.5, (attempt, due)
            stack.postgres.sql("update delivery set due_at = now()")
        assert shop.receipt("n1", "dead", 20)["reason"] == "user_offline"
        assert stack.postgres.sql("select attempts, reason from dead_letter") == [["4", "1"]]


def test_offline_to_dead_letter_and_back(away):
    """It dies as user_offline; when they come it is shown, and its dead letter resolves itself."""
    stack, shop = away(settings={"presence.settle": "2s"})  # once, and they are subscribed by then
    ask(shop, "n1", "ann")
    assert shop.receipt("n1", "dead", 20)["reason"] == "user_offline"
    settled(stack)
    with Person(stack, "ann") as ann:
        got = ann.got("n1")
        assert got["replay"] is True and got["seq"] == 1
        shop.receipt("n1", "delivered")
    # In the commit of the end: an admin never sees a state that is over.
    assert stack.postgres.sql("select status, resolved_by from dead_letter where not is_dead") == [
        ["2", "reconnect"]]
    settled(stack)
    assert stack.bridge.metrics()["tocsin_replayed_total"] == 1


def test_what_is_held_waits_without_dying(away):
    stack, shop = away()
    ask(shop, "n1", "ann", "wait")
    wait_for(stack, "select state from delivery", 2)
    # It rests: nobody claims it, however long one looks.
    before = stack.postgres.sql("select xmin, attempts from delivery")
    assert before[0][1] == "4"
    time.sleep(2.5)  # some rounds of every chore and poll
    assert stack.postgres.sql("select xmin, attempts from delivery") == before
    assert stack.postgres.value("select count(*) from dead_letter") == "0"
    assert [r["status"] for r in shop.receipts("n1")][-1] == "retrying"
    with Person(stack, "ann") as ann:
        assert ann.got("n1")["replay"] is True
        shop.receipt("n1", "delivered")
    settled(stack)


def test_what_is_held_expires(away):
    stack, shop = away()
    ask(shop, "n1", "ann", "wait", ttl="3s")
    wait_for(stack, "select state from delivery", 2)
    shop.receipt("n1", "expired", 20)
    settled(stack)
    with Person(stack, "ann") as ann:
        ask(shop, "n2", "ann", "wait")
        ann.got("n2")
        assert [m["title"] for m in ann.inbox()] == ["n2"]


def test_the_broker_shows_nobody_what_has_expired(away):
    """A session that was left behind gets what the broker kept for it, less what has expired."""
    stack, shop = away()
    with Person(stack, "eve", clean=False):
        pass
    ask(shop, "short", "eve", "wait", ttl="2s")
    ask(shop, "long", "eve", ttl="1h")
    shop.receipt("short", "expired", user="eve")
    time.sleep(4)  # the broker counts in whole seconds
    with Person(stack, "eve", clean=False) as eve:
        assert eve.got("long")["title"] == "long"
        assert "short" not in [message["title"] for message in eve.inbox()]


def test_a_notification_carries_what_is_left_of_its_time(away):
    stack, shop = away()
    with Person(stack, "eve") as eve:
        ask(shop, "limited", "eve", ttl="90s")
        ask(shop, "unlimited", "eve")
        eve.got("limited"), eve.got("unlimited")
        left = {m.json["title"]: m.expiry_s for m in eve.messages if m.topic.endswith("/inbox")}
    assert 60 < left["limited"] <= 90
    assert left["unlimited"] is None


def test_a_dead_letter_that_has_expired_stays_dead(away):
    stack, shop = away()
    ask(shop, "n1", "ann", ttl="4s")
    shop.receipt("n1", "dead", 20)
    ask(shop, "n2", "ann")
    shop.receipt("n2", "dead", 20)
    wait_for(stack, "select count(*) from notification where expires_at < now()", 1)
    with Person(stack, "ann") as ann:
        ann.got("n2")
        shop.receipt("n2", "delivered")
        assert [m["title"] for m in ann.inbox()] == ["n2"]
    assert stack.postgres.value("select count(*) from dead_letter where is_dead") == "1"
    settled(stack)


def test_an_acknowledgement_from_another_device_brings_it_back(away):
    """A tablet that is connected and silent; a phone acknowledges something else."""
    stack, shop = away(settings={"presence.users": 1000})
    with Person(stack, "ann", "tablet", acks=False) as tablet:
        ask(shop, "n1", "ann")
        assert shop.receipt("n1", "dead", 20)["reason"] == "ack_timeout"
        tablet.acks = True
        ask(shop, "n2", "ann")
        shop.receipt("n2", "delivered")
        shop.receipt("n1", "delivered", 20)
    settled(stack)


def test_whoever_comes_between_an_attempt_and_its_record_is_not_forgotten(away):
    """Their presence was told, and looked at, before there was anything to be found."""
    stack, shop = away(settings={"channels.in_app.retry_base": "10m",
                                 "channels.in_app.retry_max": "10m", "presence.settle": "0s"})
    lock = stack.postgres.session()
    try:
        lock("begin")
        lock("lock table attempt in exclusive mode")  # nothing can be recorded
        ask(shop, "n1", "ann")
        name = 'tocsin_attempts_total{channel="in_app",destination="in_app",outcome="retry"}'
        servers.wait_until(lambda: stack.bridge.metrics()[name] == 1, 10, "the attempt")
        with Person(stack, "ann") as ann:
            servers.wait_until(lambda: stack.bridge.metrics()["tocsin_presence_came_total"] == 1
                               and stack.bridge.metrics()["tocsin_wake_users"] == 0, 10, "a look")
            assert ann.inbox() == []
            lock("commit")
            assert ann.got("n1", 20)["replay"] is True
            shop.receipt("n1", "delivered")
        settled(stack)
    finally:
        lock(None)


@pytest.mark.parametrize("kind", ["t", "wait"])
def test_two_bridges_bring_each_back_once(away, kind):
    # What is not acknowledged in time would be brought back again, and counted.
    # Nor is one counted twice that was brought before they had subscribed: they have time for it.
    stack, shop = away(bridges=2, settings={"channels.in_app.ack_timeout": "5m",
                                            "bridge.drain": "1s", "presence.settle": "3s"})
    users = ["u%d" % n for n in range(20)]
    for user in users:
        shop.publish("up/request", [
            {"id": "%s-%d" % (user, n), "type": kind, "title": "%d" % n, "body": "b",
             "to": {"user": user}} for n in range(40)])
    state = "delivery where state = 2" if kind == "wait" else "dead_letter where is_dead"
    wait_for(stack, "select count(*) from " + state, 800, 60)
    people = [Person(stack, user).connect() for user in users]
    try:
        wait_for(stack, "select count(*) from attempt where state = 4", 800, 60)
        for person in people:
            got = [m["id"] for m in person.inbox()]
            assert len(got) == len(set(got)) == 40, "each once, all of them"
        settled(stack)
        brought = [b.metrics()["tocsin_replayed_total"] for b in stack.bridges]
        assert sum(brought) == 800, brought
    finally:
        for person in people:
            person.close()


def has_crash_points(stack):
    from test_crash_points import has_crash_points as has
    return has(stack.build or servers.build_dir())


@pytest.mark.parametrize("kind", ["t", "wait"])
def test_killed_while_bringing_back_nothing_is_lost(away, kind):
    """The bridge dies with the woken rows in its hands; whoever comes next finishes."""
    stack, shop = away()
    if not has_crash_points(stack):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    for n in range(10):
        ask(shop, "n%d" % n, "ann", kind)
    state = "delivery where state = 2" if kind == "wait" else "dead_letter where is_dead"
    wait_for(stack, "select count(*) from " + state, 10)
    stack.bridge.stop()
    stack.bridge.env["TOCSIN_CRASH_AT"] = "wake.done:1"
    stack.bridge.start()
    with Person(stack, "ann") as ann:
        servers.wait_until(lambda: not stack.bridge.running or None, 30, "the crash")
        assert stack.postgres.value("select count(*) from delivery where state = 1") == "10"
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        for n in range(10):
            assert ann.got("n%d" % n, 30)["replay"] is True
        settled(stack)


def test_bridges_and_traffic_go_on_while_many_wait(away):
    """Restarted by SIGKILL under traffic, with people away; all of it arrives when they come."""
    stack, shop = away()
    sent = []
    with Person(stack, "here") as here:
        for n in range(60):
            user = "here" if n % 2 else "gone%d" % (n % 6)
            name = "r%d" % n
            sent.append((name, user))
            shop.publish("up/request", {"id": name, "type": "wait", "title": name, "body": "b",
                                        "to": {"user": user}})
            if n in (20, 40):
                stack.bridge.kill()
                stack.bridge.start()
        for name, user in sent:
            shop.receipt(name, "accepted", 30)
        gone = [Person(stack, "gone%d" % n).connect() for n in (0, 2, 4)]
        try:
            for name, user in sent:
                person = here if user == "here" else gone[int(user[-1]) // 2]
                person.got(name, 40)
            settled(stack)
        finally:
            for person in gone:
                person.close()




def test_what_a_user_has_deleted_does_not_come_back(away):
    stack, shop = away()
    for name in ("n1", "n2"):
        ask(shop, name, "ann")
        shop.receipt(name, "dead", 20)
    kept, gone = [int(row[0]) for row in stack.postgres.sql(
        "select delivery from dead_letter order by request desc")]
    stack.postgres.sql("update inbox set state = 3 where delivery = %d" % gone)
    with Person(stack, "ann") as ann:
        assert int(ann.got("n2")["id"], 16) == kept
        shop.receipt("n2", "delivered")
        assert [m["title"] for m in ann.inbox()] == ["n2"]


def test_clients_that_do_not_acknowledge_do_not_hold_up_those_that_do(away):
    """More of them than may be under way; somebody who comes after them is served all the same."""
    stack, shop = away(settings={"channels.in_app.ack_timeout": "5m", "bridge.drain": "1s"})
    shop.publish("up/request", [{"id": "m%d" % n, "type": "wait", "title": "m", "body": "b",
                                 "to": {"user": "mute%d" % (n // 100)}} for n in range(400)])
    ask(shop, "n1", "ann", "wait")
    wait_for(stack, "select count(*) from delivery where state = 2", 401, 60)
    mute = [Person(stack, "mute%d" % n, acks=False).connect() for n in range(4)]
    try:
        servers.wait_until(lambda: sum(len(m.inbox()) for m in mute) >= 256, 20, "many under way")
        with Person(stack, "ann") as ann:
            ann.got("n1", 15)
            shop.receipt("n1", "delivered")
        servers.wait_until(lambda: sum(len(m.inbox()) for m in mute) == 400, 30, "all of them")
    finally:
        for person in mute:
            person.close()


def test_who_never_acknowledges_is_brought_everything_once_and_not_for_ever(away):
    """More than fits into one statement: what was tried just now is not taken again."""
    stack, shop = away(settings={"channels.in_app.retry_base": "5s", "channels.in_app.retry_max": "5s",
                                 "channels.in_app.attempts": 2})
    count = 700
    for start in range(0, count, 100):
        shop.publish("up/request", [{"id": "mute-%d" % n, "type": "t", "title": "m%d" % n,
                                     "body": "b", "to": {"user": "mute"}}
                                    for n in range(start, start + 100)])
    servers.wait_until(lambda: int(books(stack)["dead"]) >= count, 60, "all to be dead", 0.2)
    with Person(stack, "mute", acks=False) as mute:
        servers.wait_until(lambda: len({m["id"] for m in mute.inbox()}) >= count, 60,
                           "each to be brought back", 0.2)
        servers.wait_until(lambda: books(stack)["in_flight"] == 0, 40, "it to end", 0.2)
        assert len(mute.inbox()) <= count * 4, "two attempts, and a second pass of what was missed"


def test_who_never_acknowledges_holds_no_more_than_a_share_of_what_all_have(away):
    """With a thousand of theirs under way they wait, and others are served; then they go on."""
    stack, shop = away(settings={"channels.in_app.ack_timeout": "5m", "bridge.drain": "1s"})
    for start in range(0, 1400, 100):
        shop.publish("up/request", [{"id": "m%d" % n, "type": "wait", "title": "m", "body": "b",
                                     "to": {"user": "mallory"}} for n in range(start, start + 100)])
    for n in range(5):
        ask(shop, "n%d" % n, "bob", "wait")
    wait_for(stack, "select count(*) from delivery where state = 2", 1405, 60)
    with Person(stack, "mallory", acks=False) as mallory:
        servers.wait_until(lambda: len(mallory.inbox()) >= 1000, 30, "a thousand of them", 0.1)
        with Person(stack, "bob") as bob:
            servers.wait_until(lambda: len(bob.inbox()) >= 5, 30, "the five")
        time.sleep(2)  # what should not come now would come now
        assert len(mallory.inbox()) < 1100
        mallory.publish("up/ack", {"ids": [m["id"] for m in mallory.inbox()[:500]]})
        mallory.publish("up/ack", {"ids": [m["id"] for m in mallory.inbox()[500:1000]]})
        servers.wait_until(lambda: len(mallory.inbox()) >= 1400, 30, "the rest", 0.1)
