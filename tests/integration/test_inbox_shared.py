# SPDX-License-Identifier: MIT
"""What is told to everybody or to a role: one publish, one row, and yet everybody's own inbox."""
import json

import pytest

from client import Client
from test_inbox import every_page, history, shop, told, user  # noqa: F401
from test_inbox_removal import left


@pytest.fixture(autouse=True)
def nothing_before(stack):
    stack.postgres.sql("with x as (update shared set is_gone = true) select 1")


def announce(shop, name, to, **more):
    shop.publish("up/request", {"id": name, "type": "shared.test", "title": name, "to": to, **more})
    if "at" not in more:
        shop.receipt(name, "sent")


def rows(stack, what):
    return int(stack.postgres.sql("select count(*) from " + what)[0][0])


def titles(client, **params):
    return [i["title"] for page in every_page(client, **params) for i in page["items"]]


def item(client, title):
    return next(i for i in history(client)["items"] if i["title"] == title)


def test_a_broadcast_waits_for_who_was_away_and_costs_a_row_for_who_reads_it(stack, shop):
    with Client(stack, "user", "here") as here:
        here.subscribe("down/#")
        here.subscribe("notify/v1/broadcast/#")
        inboxes, marks = rows(stack, "inbox"), rows(stack, "shared_mark")
        announce(shop, "b-all", {"broadcast": True}, receipts="all")
        live = here.wait(lambda m: m.topic == "notify/v1/broadcast/inbox").json
        assert item(here, "b-all")["id"] == live["id"]
    with Client(stack, "user", "away", "one") as one, Client(stack, "user", "away", "two") as two:
        one.subscribe("down/#")
        two.subscribe("down/#")
        got = item(one, "b-all")
        assert (got["id"], got["broadcast"], got["state"], got["seen"]) == (
            live["id"], True, "unread", False)
        assert "seq" not in got
        assert (rows(stack, "inbox"), rows(stack, "shared_mark")) == (inboxes, marks)
        one.publish("up/seen", {"ids": [live["id"]]})
        told(two, [live["id"]], "seen")
        two.publish("up/read", {"ids": [live["id"]]})
        told(one, [live["id"]], "read")
        assert item(two, "b-all")["state"] == "read"
        assert shop.receipt("b-all", "read")["user"] == "away"
        assert rows(stack, "shared_mark") == marks + 1
        two.publish("up/delete", {"ids": [live["id"]]})
        told(one, [live["id"]], "deleted")
        one.publish("up/unread", {"ids": [live["id"]]})
        one.publish("up/unread", {"all": True})
        assert titles(one) == []
    with Client(stack, "user", "here") as here:
        here.subscribe("down/#")
        assert item(here, "b-all")["state"] == "unread"


def test_a_role_is_told_to_those_whose_token_carries_it(stack, shop):
    with Client(stack, "user", "editor", roles=("editors", "a/b")) as editor, \
            Client(stack, "user", "reader") as reader:
        editor.subscribe("down/#")
        editor.subscribe("notify/v1/roles/editors/#")
        reader.subscribe("down/#")
        announce(shop, "r-one", {"role": "editors"}, receipts="all")
        announce(shop, "r-two", {"role": "a/b"})
        announce(shop, "r-other", {"role": "printers"})
        live = editor.wait(lambda m: m.topic == "notify/v1/roles/editors/inbox").json
        assert titles(editor, since_seq=0) == ["r-one", "r-two"]
        assert [i["role"] for i in history(editor, since_seq=0)["items"]] == ["editors", "a%2Fb"]
        # Whoever has not the role neither sees it nor changes anything, whatever they claim.
        marks = rows(stack, "shared_mark")
        for body in ({"ids": [live["id"]]}, {"all": True}):
            reader.publish("up/read", body)
        reader.publish("up/read", {"all": True, "roles": ["editors"]})
        assert history(reader)["items"] == []
        for params in ({"roles": ["editors"]}, {"role": "editors"}):
            assert reader.rpc("history", params)["error"]["code"] == "unknown_field"
        assert rows(stack, "shared_mark") == marks
        assert {r["status"] for r in shop.receipts("r-one")} == {"accepted", "sent"}
        editor.publish("up/read", {"all": True})
        told(editor, [live["id"]], "read")
        shop.receipt("r-one", "read")
        assert titles(editor, state="unread") == []
    # The next token has lost it.
    with Client(stack, "user", "editor", roles=("a/b",)) as editor:
        editor.subscribe("down/#")
        assert titles(editor) == ["r-two"]


def test_pages_have_both_in_the_order_of_time_and_each_once(shop, user):
    names = []
    for n in range(9):
        for name, to in (("own-%d" % n, {"user": user.subject}),
                         ("all-%d" % n, {"broadcast": True}),
                         ("more-%d" % n, {"broadcast": True}))[:1 + n % 3]:
            shop.publish("up/request", {"id": user.subject + name, "type": "shared.test",
                                        "title": name, "to": to})
            shop.receipt(user.subject + name, "accepted")
            names.append(name)
    user.wait(lambda m: m.json.get("title") == "own-8")
    for limit in (1, 2, 4, 7, 100):
        for params, order in (({"since_seq": 0}, names), ({}, names[::-1])):
            pages = every_page(user, limit=limit, **params)
            assert [i["title"] for page in pages for i in page["items"]] == order
            assert all(page["complete"] for page in pages)
    # The next visit begins where the last one ended.
    cursor = every_page(user, since_seq=0, limit=5)[-1]["cursor"]
    assert titles(user, cursor=cursor) == []
    announce(shop, user.subject + "later", {"broadcast": True})
    assert titles(user, cursor=cursor) == [user.subject + "later"]
    # With a number alone, what was told before it came is left out, but for the last seconds.
    assert set(titles(user, since_seq=9)) >= {user.subject + "later", "all-8", "more-8"}
    assert titles(user, since_seq=0, type="shared.test", state="read") == []
    before = history(user, before=2)
    assert [i["title"] for i in before["items"]] == ["own-0"]


def test_one_that_is_taken_back_replaced_or_late(stack, shop, user):
    user.subscribe("notify/v1/broadcast/#")
    announce(shop, user.subject + "oops", {"broadcast": True})
    announce(shop, user.subject + "v1", {"broadcast": True}, collapse_key="notice")
    ids = {i["title"][len(user.subject):]: i["id"] for i in history(user)["items"]}
    assert shop.rpc("request.retract", {"id": user.subject + "oops"})["result"] == {
        "cancelled": 0, "retracted": 1}
    left(user, [ids["oops"]], "retracted")
    announce(shop, user.subject + "v2", {"broadcast": True}, collapse_key="notice")
    left(user, [ids["v1"]], "replaced")
    announce(shop, user.subject + "short", {"broadcast": True}, ttl="1s")
    cursor = every_page(user, since_seq=0)[-1]["cursor"]
    user._wait(lambda: titles(user) == [user.subject + "v2"], 10, "the short one's end")
    # What is due later is told later, also to who has seen everything until now.
    announce(shop, user.subject + "later", {"broadcast": True}, at="2099-01-01T00:00:00Z")
    assert titles(user, cursor=cursor) == []
    stack.postgres.sql("update scheduled set due_at = now() where recipient_kind = 2 returning 1")
    shop.receipt(user.subject + "later", "sent", 20)
    assert titles(user, cursor=cursor) == [user.subject + "later"]


def test_nothing_is_said_of_them_to_others(stack, shop, user):
    announce(shop, user.subject + "b", {"broadcast": True})
    ident = history(user)["items"][0]["id"]
    with Client(stack, "user", "mallory") as mallory:
        mallory.subscribe("down/#")
        mallory.publish("up/delete", {"ids": [ident], "user": user.subject})
        mallory.publish("up/delete", {"ids": [ident]})
        told(mallory, [ident], "deleted")
        assert titles(mallory) == []
    assert titles(user) == [user.subject + "b"]
    assert ident not in json.dumps([m.json for m in user.messages if m.topic.endswith("/changed")])
