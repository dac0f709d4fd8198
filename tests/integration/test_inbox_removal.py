# SPDX-License-Identifier: MIT
"""What leaves inboxes by itself or by its service: replaced, expired, retracted."""
import time

import pytest

from client import Client
from test_inbox import badge, conforms, history, shop, states, tell, told, user  # noqa: F401


def left(client, ids, why, timeout=10.0):
    """Waits until the device was told that these are gone, and why."""
    def look():
        return {i for m in list(client.messages) if m.topic.endswith("/changed")
                and m.json.get("why") == why for i in m.json["ids"]} >= set(ids)
    client._wait(look, timeout, "%s %s" % (why, ids))
    for message in client.messages:
        if message.topic.endswith("/changed"):
            conforms("changed", message.json)


def ask(shop, user, name, **more):
    shop.publish("up/request", {"id": "%s-%s" % (user.subject, name), "type": "removal.test",
                                "title": name, "to": {"user": user.subject}, **more})


def test_a_newer_one_replaces_what_is_shown(shop, user):
    (first,) = tell(shop, user, "10 %", collapse_key="upload")
    (other,) = tell(shop, user, "other", collapse_key="else")
    badge(user, 2, 2)
    (second,) = tell(shop, user, "90 %", collapse_key="upload")
    left(user, [first], "replaced")
    badge(user, 2, 2)
    assert states(user) == {"other": "unread", "90 %": "unread"}
    (third,) = tell(shop, user, "100 %", collapse_key="upload")
    left(user, [first, second], "replaced")
    assert [i["id"] for i in history(user, since_seq=0)["items"]] == [other, third]
    assert history(user, since_seq=0)["complete"]
    # They were delivered: nothing more is said of them.
    assert {r["status"] for r in shop.receipts(user.subject + "-10 %")} == {"accepted", "delivered"}


def test_a_newer_one_ends_what_was_not_delivered(stack, shop):
    with Client(stack, "user", "later") as later:
        shop.publish("up/request", [
            {"id": "wait-%d" % n, "type": "removal.test", "title": "%d" % n,
             "to": {"user": "later"}, "collapse_key": "k", "at": "2099-01-01T00:00:00Z"}
            for n in range(3)])
        for n in range(2):
            got = shop.receipt("wait-%d" % n, "suppressed")
            assert (got["reason"], got["user"]) == ("collapsed", "later")
        later.subscribe("down/#")
        shop.publish("up/request", [
            {"id": "now-%d" % n, "type": "removal.test", "title": "now %d" % n,
             "to": {"user": "later"}, "collapse_key": "k"} for n in range(20)])
        shop.receipt("wait-2", "suppressed")
        last = later.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == "now 19")
        later.publish("up/ack", {"ids": [last.json["id"]]})
        shop.receipt("now-19", "delivered")
        for n in range(19):
            shop.receipt("now-%d" % n, "suppressed", reason="collapsed")
        assert states(later) == {"now 19": "unread"}
        badge(later, 1, 1)
    assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_keys_are_a_services_own_and_a_users_own(stack, shop, user):
    (mine,) = tell(shop, user, "mine", collapse_key="k")
    with Client(stack, "service", "other-shop") as other, Client(stack, "user", "neighbour") as near:
        other.subscribe("down/#")
        near.subscribe("down/#")
        tell(other, user, "theirs", collapse_key="k")
        tell(shop, near, "next door", collapse_key="k")
        (newer,) = tell(shop, user, "newer", collapse_key="k")
        left(user, [mine], "replaced")
        assert states(user) == {"theirs": "unread", "newer": "unread"}
        assert states(near) == {"next door": "unread"}


def test_what_has_expired_leaves_history_and_badge(stack, shop, user):
    (stays,) = tell(shop, user, "stays", ttl="1h")
    gone = tell(shop, user, "a", "b", ttl="2s")
    user.publish("up/read", {"ids": gone[:1]})
    left(user, gone, "expired")
    badge(user, 1, 1)
    assert [i["id"] for i in history(user, since_seq=0)["items"]] == [stays]
    assert history(user, since_seq=0)["complete"]
    user.publish("up/unread", {"ids": gone})  # no way back
    user.publish("up/seen", {"ids": [stays]})
    told(user, [stays], "seen")
    badge(user, 1, 0)
    assert states(user) == {"stays": "unread"}
    # Also what expired before any sweep has seen it.
    stack.postgres.sql("update notification set expires_at = now() - interval '1 s' where id ="
                       " (select notification from inbox where delivery = %d) returning 1"
                       % int(stays, 16))
    assert states(user) == {}


def test_a_service_takes_back_what_is_shown_and_what_waits(stack, shop, user):
    with Client(stack, "user", "second") as second:
        second.subscribe("down/#")
        shop.publish("up/request", {
            "id": "oops", "type": "removal.test", "title": "oops", "receipts": "all",
            "to": {"users": [user.subject, "second", "nobody-there"]}})
        ids = [u.wait(lambda m: m.topic.endswith("/inbox")).json["id"] for u in (user, second)]
        user.publish("up/ack", {"ids": ids[:1]})
        shop.receipt("oops", "delivered")
        answer = shop.rpc("request.retract", {"id": "oops"})
        assert answer["result"] == {"cancelled": 2, "retracted": 3}, answer
        left(user, ids[:1], "retracted")
        left(second, ids[1:], "retracted")
        badge(user, 0, 0)
        badge(second, 0, 0)
        assert states(user) == states(second) == {}
        second.publish("up/ack", {"ids": ids[1:]})  # too late: it is over
        assert shop.rpc("request.retract", {"id": "oops"})["result"] == {
            "cancelled": 0, "retracted": 0}
    with Client(stack, "service", "stranger") as stranger:
        stranger.subscribe("down/#")
        assert stranger.rpc("request.retract", {"id": "oops"})["error"]["code"] == "not_found"
    assert {r["status"] for r in shop.receipts("oops")} >= {"accepted", "delivered", "cancelled"}
    assert stack.postgres.sql("select missing from conservation") == [["0"]]


def test_what_is_too_large_for_a_client_is_refused_by_name(shop, user):
    ask(shop, user, "large", body="x" * 10240)
    got = shop.receipt(user.subject + "-large", "rejected")
    assert got["reason"] == "too_large"
    ask(shop, user, "reference", data={"url": "https://example.org/large"})
    item = user.wait(lambda m: m.topic.endswith("/inbox"))
    assert item.json["data"] == {"url": "https://example.org/large"}


def test_a_crash_between_storing_and_replacing_replaces_all_the_same(new_stack):
    stack = new_stack()
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "u") as user:
        shop.subscribe("down/#")
        user.subscribe("down/#")
        (old,) = tell(shop, user, "old", collapse_key="k")
        stack.postgres.sql("create function stop() returns trigger language plpgsql as"
                           " $$ begin raise exception 'not now'; end $$; select 1")
        stack.postgres.sql("create trigger t before delete on collapse for each row"
                           " execute function stop(); select 1")
        (new,) = tell(shop, user, "new", collapse_key="k")
        stack.bridges[0].kill()
        stack.postgres.sql("drop trigger t on collapse; select 1")
        stack.bridges[0].start()
        left(user, [old], "replaced", 60)
        assert [i["id"] for i in history(user)["items"]] == [new]


@pytest.mark.long
def test_retention_trims_entries_and_what_counted_them(stack, shop, user):
    tell(shop, user, "a", "b", "c")
    user.publish("up/delete", {"ids": [history(user)["items"][0]["id"]]})
    badge(user, 2, 2)
    # The oldest two are of a day that retention has left behind; the chore itself takes a minute.
    day = (int(time.time()) - 400 * 86400) * 1000 << 22
    stack.postgres.sql("update inbox set delivery = %d + seq where user_id = '%s' and seq < 3"
                       " returning 1" % (day, user.id))
    user._wait(lambda: stack.postgres.sql("select count(*) from inbox where user_id = '%s'"
                                          % user.id) == [["1"]], 90, "the chore")
    assert stack.postgres.sql("select unread, unseen from inbox_user where user_id = '%s'"
                              % user.id) == [["0", "0"]]
    assert not history(user, since_seq=0)["complete"]
