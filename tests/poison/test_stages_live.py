# SPDX-License-Identifier: MIT
"""One bad item among many good ones, at each stage that takes several at once, on one stack.

Each case: the good ones end as they would alone, the bad one ends once with a reason that names it,
and nothing about it is met again.  The last test asks for the same poison after a kill.
"""
import itertools

import pytest

import servers
from client import Client
from process import wait_until

SETTINGS = {"destinations.twilio.strikes": 3, "channels.sms.attempts": 1}
REFUSED = "+15556660001"
POSITIONS = {"first": (0,), "middle": (10,), "last": (19,), "all but one": tuple(
    n for n in range(20) if n != 7)}
NUMBER = itertools.count(1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with servers.Stack(tmp_path_factory.mktemp("stack"), settings=SETTINGS) as made:
        made.providers.control("POST", "/behaviour", {
            "provider": "twilio", "target": "+1555666*", "error": "twilio:21211"})
        yield made
    made.remove()


@pytest.fixture(scope="module")
def shop(stack):
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


def ask(name, **more):
    return {"id": name, "type": "t", "title": name, "body": "b", "to": {"user": "nobody"}, **more}


def endings(shop, name, count, timeout=30):
    def those():
        return [r for r in shop.receipts(name) if r["status"] not in ("accepted", "retrying")]
    shop._wait(lambda: len(those()) >= count, timeout, "%d endings of %s" % (count, name))
    assert len(those()) == count
    return those()


BAD_ITEMS = {
    "no object": lambda name: 7,
    "a member that nothing knows": lambda name: ask(name, tittle="x"),
    "a priority that nothing knows": lambda name: ask(name, priority="whatever"),
    "a NUL": lambda name: ask(name, to={"user": "a\0b"}),
    "a number of twenty digits": lambda name: ask(name, to={"user": 10 ** 19}),
}


@pytest.mark.parametrize("where", POSITIONS)
@pytest.mark.parametrize("what", BAD_ITEMS)
def test_an_item_of_an_array_spoils_no_other(shop, what, where):
    run = next(NUMBER)
    names = ["array%d-%d" % (run, n) for n in range(20)]
    before = len(shop.receipts())
    shop.publish("up/request", [BAD_ITEMS[what](name) if n in POSITIONS[where] else ask(name)
                                for n, name in enumerate(names)])
    for n, name in enumerate(names):
        if n not in POSITIONS[where]:
            shop.receipt(name, "accepted", 20)
    rejected = len(POSITIONS[where])
    shop._wait(lambda: len([r for r in shop.receipts()[before:] if r["status"] == "rejected"]) >=
               rejected, 20, "the refusals")
    for receipt in [r for r in shop.receipts()[before:] if r["status"] == "rejected"]:
        assert receipt["reason"] and receipt["detail"], receipt
        assert receipt.get("id") in (None, *(names[n] for n in POSITIONS[where])), receipt


def phone(n):
    return "+1555010%04d" % n


@pytest.fixture(scope="module")
def people(shop):
    """u0 to u99 with a phone each; n.. has no target, r.. one that the provider refuses."""
    for n in range(100):
        assert "result" in shop.rpc("user.upsert", {"user": "u%d" % n, "phones": [phone(n)]})
    for n in range(3):
        assert "result" in shop.rpc("user.upsert", {"user": "r%d" % n, "phones": [REFUSED[:-1] +
                                                                                 str(n)]})
        assert "result" in shop.rpc("user.upsert", {"user": "n%d" % n})


@pytest.mark.parametrize("bad,reason", [("n", "no_target"), ("r", "target_invalid")])
def test_a_recipient_without_a_good_target_spoils_no_other(stack, shop, people, bad, reason):
    for n, place in enumerate((0, 50, 99)):
        name = "to-%s%d" % (bad, n)
        users = ["u%d" % k for k in range(100)]
        users[place] = "%s%d" % (bad, n)
        shop.publish("up/request", ask(name, to={"users": users}, channels=["sms"]))
        ends = endings(shop, name, 100)
        (dead,) = [r for r in ends if r["status"] != "sent"]
        assert (dead["user"], dead["status"], dead["reason"]) == (users[place], "dead", reason)
        assert sorted(r["user"] for r in ends) == sorted(users)
    # Nothing of it outlives it: no breaker opened, and the next one is sent.
    assert not [key for key, value in stack.bridge.metrics().items()
                if key.startswith("tocsin_destination_breaker{") and value]
    shop.publish("up/request", ask("after-" + bad, to={"user": "u1"}, channels=["sms"]))
    assert endings(shop, "after-" + bad, 1)[0]["status"] == "sent"


@pytest.mark.parametrize("user", ["", "x" * 300, "a\0b", 7, None, {}])
@pytest.mark.parametrize("place", [0, 50, 99])
def test_an_impossible_recipient_is_named_by_its_place(shop, user, place):
    name = "users%d" % next(NUMBER)
    users = ["u%d" % n for n in range(100)]
    users[place] = user
    shop.publish("up/request", [ask(name + "-before"), ask(name, to={"users": users}),
                                ask(name + "-behind")])
    rejected = shop.receipt(name, "rejected", 20)
    assert rejected["field"] == "/to/users/%d" % place, rejected
    for good in ("-before", "-behind"):
        shop.receipt(name + good, "accepted", 20)


BROKEN = ("x", "{", "{}}", "{\"a\":1,,}", "{\"a\":}", "{\"title\":\"x}")


def test_a_stored_row_that_cannot_be_read_spoils_no_page(stack, shop):
    """A restored dump, an older version or a hand may have written it."""
    with Client(stack, "user", "eve") as eve, Client(stack, "admin", "root") as root:
        eve.subscribe("down/#")
        root.subscribe("down/reply")
        names = ["row%d" % n for n in range(20)]
        shop.publish("up/request", [ask(name, to={"user": "eve"}) for name in names])
        eve._wait(lambda: len([m for m in eve.messages if m.topic.endswith("/inbox")]) >= 20, 20,
                  "twenty notifications")
        kept = dict(stack.postgres.sql("select request, encode(content, 'hex') from notification"
                                       " where request like 'row%'"))
        for broken in [text.encode() for text in BROKEN] + [b'{"title":"\xe9"}', b'{"a":"\0"}']:
            for place in (0, 10, 19):
                stack.postgres.sql("update notification set content = '\\x%s' where request = 'row%d'"
                                   % (broken.hex(), place))
                answer = eve.rpc("history", {"since_seq": 0, "limit": 100})
                titles = [item.get("title") for item in answer["result"]["items"]]
                assert titles == [None if n == place else name for n, name in enumerate(names)], \
                    (broken, titles)
                stack.postgres.sql("update notification set content = '\\x%s' where request = 'row%d'"
                                   % (kept["row%d" % place], place))
        assert "inbox.content" in open(stack.bridge.log).read()


def test_a_dead_letter_that_cannot_be_read_spoils_no_list(stack, shop):
    with Client(stack, "admin", "root") as root:
        root.subscribe("down/reply")
        names = ["letter%d" % n for n in range(10)]
        shop.publish("up/request", [ask(name, to={"phone": REFUSED}, channels=["sms"])
                                    for name in names])
        for name in names:
            shop.receipt(name, "dead", 30)
        for broken in (b"x", b'{"a":1,,}', b'{"title":"\xe9"}'):
            stack.postgres.sql("update notification set content = '\\x%s' where request = 'letter4'"
                               % broken.hex())
            for method in ("dlq.export", "dlq.list"):
                answer = root.rpc(method, {"limit": 100})
                letters = {i["request"]: i for i in answer["result"]["entries"]
                           if i["request"].startswith("letter")}
                assert set(letters) == set(names), (broken, method)
                if "content" in letters["letter0"]:
                    assert letters["letter0"]["content"]["title"] == "letter0"


def test_the_same_again_after_a_kill(stack, shop, people):
    stack.bridge.kill()
    stack.bridge.start()
    test_an_item_of_an_array_spoils_no_other(shop, "no object", "middle")
    shop.publish("up/request", ask("again", to={"users": ["u1", "r0", "n0", "u2"]}, channels=["sms"]))
    assert sorted((r["user"], r["status"]) for r in endings(shop, "again", 4)) == [
        ("n0", "dead"), ("r0", "dead"), ("u1", "sent"), ("u2", "sent")]
    wait_until(lambda: stack.postgres.sql("select missing from conservation") == [["0"]], 10,
               "conservation")
