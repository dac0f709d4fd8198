# SPDX-License-Identifier: MIT
"""A user's inbox: its state on every device, its badge, and an honest answer to what was missed."""
import json
import os
import time
from datetime import datetime, timedelta, timezone

import jsonschema
import pytest

from client import Client

SCHEMAS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "schemas", "json")
BOX = 10000


def conforms(name, body):
    with open(os.path.join(SCHEMAS, name + ".schema.json"), encoding="utf-8") as file:
        jsonschema.Draft202012Validator(json.load(file)).validate(body)


@pytest.fixture
def shop(stack):
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


@pytest.fixture
def user(stack, request):
    """A user of the test's own, on its first device."""
    name = "u-" + request.node.name[-40:].strip("[]")
    with Client(stack, "user", name, "phone") as client:
        client.subscribe("down/#")
        yield client


def tell(shop, user, *titles, timeout=10.0, **more):
    """Notifications to the user, acknowledged; their ids, in the order of the titles."""
    for title in titles:
        shop.publish("up/request", {"id": "%s-%s" % (user.subject, title), "type": "inbox.test",
                                    "title": title, "to": {"user": user.subject}, **more})
    ids = [user.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == title,
                     timeout).json["id"]
           for title in titles]
    user.publish("up/ack", {"ids": ids})
    return ids


def told(client, ids, state, timeout=10.0):
    """Waits until the device was told that these are in that state."""
    def look():
        seen = set()
        for message in list(client.messages):
            if message.topic.endswith("/changed") and message.json["state"] == state:
                conforms("changed", message.json)
                seen |= set(message.json["ids"])
        return seen >= set(ids)
    client._wait(look, timeout, "changed %s %s" % (state, ids))


def badges(client):
    return [m for m in list(client.messages) if m.topic.endswith("/badge")]


def badge(client, unread, unseen, timeout=10.0):
    """Waits until the last badge says so."""
    def look():
        there = badges(client)
        return there and there[-1].json == {"unread": unread, "unseen": unseen}
    client._wait(look, timeout, "badge %d/%d" % (unread, unseen))
    conforms("badge", badges(client)[-1].json)


def history(client, **params):
    answer = client.rpc("history", params)
    conforms("reply", answer)
    assert "result" in answer, answer
    conforms("history", answer["result"])
    for item in answer["result"]["items"]:
        conforms("inbox", item)
    return answer["result"]


def every_page(client, **params):
    pages = [history(client, **params)]
    while pages[-1]["more"]:
        pages.append(history(client, **{**params, "cursor": pages[-1]["cursor"]}))
    return pages


def states(client, **params):
    return {item["title"]: item["state"] for item in history(client, **params)["items"]}


def test_two_devices_agree_through_every_change_and_a_third_catches_up(stack, shop, user):
    with Client(stack, "user", user.subject, "laptop") as laptop:
        laptop.subscribe("down/#")
        a, b, c, d = tell(shop, user, "a", "b", "c", "d")
        badge(laptop, 4, 4)
        user.publish("up/seen", {"ids": [a, b, c, d]})
        told(laptop, [a, b, c, d], "seen")
        badge(laptop, 4, 0)
        user.publish("up/read", {"ids": [a, b]})
        told(laptop, [a, b], "read")
        laptop.publish("up/unread", {"ids": [b]})
        told(user, [b], "unread")
        laptop.publish("up/archive", {"ids": [c]})
        told(user, [c], "archived")
        user.publish("up/delete", {"ids": [d]})
        told(laptop, [d], "deleted")
        for device in (user, laptop):
            badge(device, 1, 0)
            assert states(device) == {"a": "read", "b": "unread", "c": "archived"}
    with Client(stack, "user", user.subject, "tablet") as tablet:
        tablet.subscribe("down/#")
        badge(tablet, 1, 0)
        assert badges(tablet)[0].retain
        caught = history(tablet, since_seq=0)
        assert [i["title"] for i in caught["items"]] == ["a", "b", "c"]
        assert [i["state"] for i in caught["items"]] == ["read", "unread", "archived"]
        assert (caught["complete"], caught["last_seq"], caught["more"]) == (True, 4, False)
        tell(shop, tablet, "e")
        assert [i["title"] for i in history(tablet, since_seq=4)["items"]] == ["e"]
        assert tablet.rpc("badge")["result"] == {"unread": 2, "unseen": 1}


def test_what_is_deleted_stays_deleted_whatever_comes(shop, user):
    a, b = tell(shop, user, "a", "b")
    user.publish("up/delete", {"ids": [a]})
    told(user, [a], "deleted")
    for event in ("read", "unread", "archive", "seen"):
        user.publish("up/" + event, {"ids": [a]})
    user.publish("up/archive", {"ids": [b]})
    told(user, [b], "archived")
    assert states(user) == {"b": "archived"}
    assert history(user, since_seq=0)["complete"]
    badge(user, 0, 0)


def test_events_count_in_their_order_also_in_one_batch(shop, user):
    (a,) = tell(shop, user, "a")
    for _ in range(20):
        user.publish("up/read", {"ids": [a]}, timeout=None)
        user.publish("up/unread", {"ids": [a]}, timeout=None)
        user.publish("up/archive", {"all": True}, timeout=None)
        user.publish("up/unread", {"ids": [a]}, timeout=None)
    user.publish("up/seen", {"ids": [a]})
    told(user, [a], "seen")  # "all" is all there is when it is read: b must come after it
    (b,) = tell(shop, user, "b")
    user.publish("up/seen", {"ids": [b]})
    told(user, [b], "seen")
    assert states(user) == {"a": "unread", "b": "unread"}
    badge(user, 2, 0)


def test_mark_all_and_mark_all_before(stack, shop, user):
    old = tell(shop, user, "old-1", "old-2")
    at = datetime.fromisoformat(history(user)["items"][0]["created_at"].replace("Z", "+00:00"))
    while datetime.now(timezone.utc) - at < timedelta(milliseconds=2):
        pass  # created_at is told in milliseconds
    later = tell(shop, user, "new")
    user.publish("up/archive", {"all": True, "before": history(user)["items"][0]["created_at"]})
    told(user, old, "archived")
    assert states(user) == {"old-1": "archived", "old-2": "archived", "new": "unread"}
    user.publish("up/read", {"all": True})
    told(user, later, "read")
    badge(user, 0, 0)
    # unread for all leaves the archive alone; by id it is the way back.
    user.publish("up/unread", {"all": True})
    told(user, later, "unread")
    assert states(user)["old-1"] == "archived"
    user.publish("up/unread", {"ids": old[:1]})
    told(user, old[:1], "unread")
    badge(user, 2, 0)
    user.publish("up/delete", {"all": True})
    told(user, old + later, "deleted")
    empty = history(user)
    assert (empty["items"], empty["complete"], empty["last_seq"]) == ([], True, 3)


def test_services_that_ask_for_all_are_told_of_reading_and_clicking(shop, user):
    (a,) = tell(shop, user, "a", receipts="all")
    (b,) = tell(shop, user, "b")
    name = user.subject + "-"
    user.publish("up/click", {"ids": [a, b], "url": "https://example.org/a"})
    clicked = shop.receipt(name + "a", "clicked")
    read = shop.receipt(name + "a", "read")
    assert clicked["detail"] == "https://example.org/a"
    assert read["user"] == clicked["user"] == user.id
    conforms("receipt", [clicked, read])
    told(user, [a, b], "read")
    assert {r["status"] for r in shop.receipts(name + "b")} == {"accepted", "delivered"}
    (c,) = tell(shop, user, "c", receipts="all")
    user.publish("up/read", {"all": True})
    shop.receipt(name + "c", "read")
    told(user, [c], "read")


def test_nobody_touches_anothers_inbox(stack, shop, user):
    (a,) = tell(shop, user, "private")
    with Client(stack, "user", "mallory") as mallory:
        mallory.subscribe("down/#")
        (own,) = tell(shop, mallory, "own")
        for event in ("read", "archive", "delete", "seen"):
            mallory.publish("up/" + event, {"ids": [a, own]})
            mallory.publish("up/" + event, {"all": True})
        mallory.publish("up/click", {"ids": [a], "url": "https://example.org/"})
        for body in ({"ids": [a], "user": user.subject}, {"all": True, "user_id": user.id}):
            mallory.publish("up/delete", body)
        told(mallory, [own], "deleted")
        for params in ({"user": user.subject}, {"user_id": user.id}):
            assert mallory.rpc("history", params)["error"]["code"] == "unknown_field"
        assert history(mallory)["items"] == []
        assert mallory.rpc("badge")["result"] == {"unread": 0, "unseen": 0}
        assert a not in json.dumps([m.json for m in mallory.messages])
    with Client(stack, "service", "spy") as spy:
        spy.subscribe("down/#")
        assert spy.rpc("history")["error"]["code"] == "unknown_method"
    assert states(user) == {"private": "unread"}
    assert user.rpc("badge")["result"] == {"unread": 1, "unseen": 1}
    assert not [m for m in user.messages if m.topic.endswith("/changed")]


def test_the_badge_is_right_and_comes_once_a_second(shop, user):
    tell(shop, user, *["n-%d" % n for n in range(20)])
    until, changes = time.monotonic() + 2.5, 0
    while time.monotonic() < until or changes % 2 == 0:  # at the end they are read
        user.publish("up/unread" if changes % 2 else "up/read", {"all": True})
        changes += 1
        user._wait(lambda: sum(m.topic.endswith("/changed") for m in user.messages) == changes,
                   10, "the change")
    badge(user, 0, 0)
    at = [m.at for m in badges(user)]
    assert 3 <= len(at) <= at[-1] - at[0] + 2, at


def test_a_badge_that_another_bridge_has_made_untrue_is_mended(stack, shop, user):
    tell(shop, user, "a")
    badge(user, 1, 1)
    # As if the other's commit had come between our reading and our publishing.
    stack.postgres.sql("update inbox_user set unread = 7 where user_id = '%s' returning 1" % user.id)
    badge(user, 7, 1)


def test_pages_in_both_directions_meet_every_item_once(shop, user):
    titles = ["p-%02d" % n for n in range(25)]
    tell(shop, user, *titles)
    for more, order in (({"since_seq": 0}, titles), ({}, titles[::-1])):
        found, pages = [], every_page(user, limit=10, **more)
        for page in pages:
            assert page["complete"]
            found += [i["title"] for i in page["items"]]
        assert (found, len(pages)) == (order, 3)
    # The cursor of a last page is where the next visit begins.
    last = every_page(user, since_seq=0)[-1]["cursor"]
    tell(shop, user, "later")
    assert [i["title"] for i in history(user, cursor=last)["items"]] == ["later"]
    between = history(user, since_seq=5, before=9)
    assert [i["seq"] for i in between["items"]] == [6, 7, 8] and between["complete"]
    assert len(history(user, since_seq=0)["items"]) == 26
    for bad in ({"limit": 0}, {"limit": 101}, {"since_seq": -1}, {"state": "deleted"},
                {"before": True}, {"before": "yesterday"}, {"sinc_seq": 1}, {"cursor": "7"},
                {"cursor": last + "0"}, {"cursor": "d1-0000000000000000", "since_seq": 1}):
        assert user.rpc("history", bad)["error"]["field"].startswith("/params/"), bad


def test_history_by_state_and_by_type(shop, user):
    ids = tell(shop, user, "a", "b")
    tell(shop, user, "other", type="inbox.other")
    user.publish("up/read", {"ids": ids[:1]})
    told(user, ids[:1], "read")
    assert states(user, state="unread") == {"b": "unread", "other": "unread"}
    assert states(user, type="inbox.other") == {"other": "unread"}
    assert states(user, state="read", type="inbox.other", since_seq=0) == {}
    assert history(user, state="read", since_seq=0)["complete"]


def test_answers_stay_within_one_message(shop, user):
    for n in range(0, 20, 5):  # a message holds 64 KiB
        tell(shop, user, *["big-%02d" % (n + k) for k in range(5)], body="x" * 8000)
    pages = every_page(user, since_seq=0, limit=100)
    assert all(page["items"] and page["complete"] for page in pages) and len(pages) > 2
    assert max(len(m.payload) for m in user.messages) < 65536
    seen = [i["seq"] for page in pages for i in page["items"]]
    assert seen == list(range(1, 21))


def test_what_retention_has_cut_is_admitted(stack, shop, user):
    tell(shop, user, *["r-%d" % n for n in range(6)])
    where = "user_id = '%s'" % user.id
    assert history(user, since_seq=0)["complete"]
    # The content of the second is gone with its day, the row is there.
    stack.postgres.sql("delete from notification where id = (select notification from inbox"
                       " where %s and seq = 2) returning 1" % where)
    gap = history(user, since_seq=0)
    assert [i["seq"] for i in gap["items"]] == [1, 3, 4, 5, 6] and not gap["complete"]
    assert history(user, since_seq=2)["complete"]
    assert not history(user, since_seq=1, limit=1)["complete"]
    # Rows that are gone altogether.
    stack.postgres.sql("delete from inbox where %s and seq <= 3 returning 1" % where)
    gap = history(user, since_seq=0)
    assert [i["seq"] for i in gap["items"]] == [4, 5, 6] and not gap["complete"]
    assert not history(user, since_seq=2, limit=1)["complete"]
    assert history(user, since_seq=3)["complete"]
    assert history(user, limit=2)["complete"]
    assert not history(user, limit=4)["complete"]
    # A number from a future that was lost.
    assert history(user, since_seq=6)["complete"]
    assert not history(user, since_seq=7)["complete"]


def test_a_large_inbox_is_read_and_marked_whole(stack, shop, user):
    tell(shop, user, "first")
    stack.postgres.sql("""
        with n as (select * from notification where id =
                   (select notification from inbox where user_id = '%(id)s' and seq = 1)),
        g as (select generate_series(2, %(count)d) as seq),
        i as (insert into notification select n.id - %(count)d - 1 + g.seq, n.service, n.request,
              n.type, n.priority, 2, 0, n.created_at, n.expires_at, n.collapse_key, n.retry,
              n.content from n, g returning 1),
        b as (insert into inbox (user_id, seq, delivery, notification) select '%(id)s', g.seq,
              n.id - %(count)d - 1 + g.seq, n.id - %(count)d - 1 + g.seq from n, g returning 1),
        u as (update inbox_user set last_seq = %(count)d, unread = %(count)d,
              unseen = %(count)d where user_id = '%(id)s' returning 1)
        select (select count(*) from b)""" % {"id": user.id, "count": BOX})
    for params in ({}, {"since_seq": 5000}, {"before": 5000}):
        page = history(user, limit=50, **params)
        assert len(page["items"]) == 50 and page["complete"] and page["more"]
    del user.messages[:]
    user.publish("up/read", {"all": True})
    user._wait(lambda: sum(len(m.json["ids"]) for m in user.messages
                           if m.topic.endswith("/changed")) == BOX, 30, "all changed")
    badge(user, 0, 0)


def test_events_outlive_the_death_of_the_bridge(new_stack):
    stack = new_stack()
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "eve") as eve:
        shop.subscribe("down/#")
        eve.subscribe("down/#")
        ids = tell(shop, eve, "a", "b")
        stack.bridges[0].kill()
        eve.publish("up/read", {"ids": ids[:1]})
        eve.publish("up/archive", {"ids": ids[1:]})
        stack.bridges[0].start()
        told(eve, ids[:1], "read", 30)
        told(eve, ids[1:], "archived", 30)
        badge(eve, 0, 0)
        assert states(eve) == {"a": "read", "b": "archived"}


def test_an_inbox_over_two_bridges_one_of_which_dies(new_stack):
    stack = new_stack(bridges=2, settings={"bridge.lease": "5s"})
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "eve") as eve:
        shop.subscribe("down/#")
        eve.subscribe("down/#")
        first = tell(shop, eve, *["a-%d" % n for n in range(10)], collapse_key="k")
        told(eve, first[:9], "deleted", 30)
        eve.publish("up/read", {"all": True})
        told(eve, first[9:], "read", 30)
        lanes = stack.postgres.sql("select b.name from lane l join bridge b using (epoch)"
                                   " where l.name = 'users'")
        reader = next(b for b in stack.bridges if lanes[0][0].endswith(":%d" % b.port))
        reader.kill()
        eve.publish("up/unread", {"ids": first[9:]})
        second = tell(shop, eve, "b", collapse_key="k", timeout=60)
        told(eve, first[9:], "deleted", 60)
        badge(eve, 1, 1, 30)
        assert [i["id"] for i in history(eve, since_seq=0)["items"]] == second
