# SPDX-License-Identifier: MIT
"""Every end of a delivery comes as a receipt, once; also of what no bridge had in memory, and when the
bridge dies between the commit and its receipts."""
import pytest

import servers
from client import Client
from process import wait_until
from test_crash_points import has_crash_points

LATER = "2099-01-01T00:00:00Z"
PHONE, MAIL = "+15550199", "ann@example.org"


def told(shop, name, status):
    return [r for r in shop.receipts(name) if r["status"] == status]


def ask(shop, name, **more):
    shop.publish("up/request", {"id": name, "type": "t", "title": name, "body": "b",
                                "to": {"user": "ann"}, **more})
    shop.receipt(name, "accepted", 20)


@pytest.fixture(scope="module")
def shop(stack):
    with Client(stack, "service", "ends") as client:
        client.subscribe("down/#")
        client.rpc("user.upsert", {"user": "ann", "phones": [PHONE], "emails": [MAIL]})
        yield client


def test_read_clicked_and_expired_are_reported_each_once(stack, shop):
    with Client(stack, "user", "ann") as ann:
        ann.subscribe("down/inbox")
        for name in ("e-read", "e-clicked"):
            ask(shop, name, receipts="all")
            shown = ann.wait(lambda m, n=name: m.topic.endswith("/inbox") and m.json["title"] == n)
            for _ in range(2):
                ann.publish("up/ack", {"ids": [shown.json["id"]]})
            if name == "e-read":  # once: one that is repeated is told again, as after a crash
                ann.publish("up/read", {"ids": [shown.json["id"]]})
            else:
                ann.publish("up/click", {"ids": [shown.json["id"]], "url": "https://example.org/"})
        ask(shop, "e-expired", ttl="1s", to={"user": "nobody"})
        shop.receipt("e-expired", "expired", 30)
        shop.receipt("e-read", "read", 20)
        shop.receipt("e-clicked", "clicked", 20)
        ask(shop, "e-quiet", receipts="none", ttl="1s", to={"user": "nobody"})
        ask(shop, "e-last")  # its receipt comes behind all of theirs
        ann.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == "e-last")
        for name, ends in (("e-read", ["delivered", "read"]), ("e-expired", ["expired"])):
            assert [r["status"] for r in shop.receipts(name)
                    if r["status"] not in ("accepted", "retrying")] == ends, name
        assert len(told(shop, "e-clicked", "delivered")) == 1 and told(shop, "e-clicked", "clicked")
        assert not told(shop, "e-quiet", "expired")


def test_cancelled_deliveries_are_reported_each_once(shop):
    ask(shop, "c-plain", at=LATER)
    ask(shop, "c-channels", at=LATER, channels=["in_app", "sms", "email"])
    ask(shop, "c-chain", at=LATER, route="first", channels=["in_app", "sms", "email"])
    ask(shop, "c-direct", at=LATER, to={"phone": "+15550100123"})
    ask(shop, "c-all", at=LATER, to={"broadcast": True})
    ask(shop, "c-none", at=LATER, receipts="none")
    counts = {"c-plain": 1, "c-channels": 3, "c-chain": 3, "c-direct": 1, "c-all": 1, "c-none": 1}
    for name, count in counts.items():
        assert shop.rpc("request.cancel", {"id": name})["result"] == {"cancelled": count}, name
        assert shop.rpc("request.cancel", {"id": name})["result"] == {"cancelled": 0}, name
    ask(shop, "c-last")  # its receipt comes behind all of theirs
    for name, count in counts.items():
        assert len(told(shop, name, "cancelled")) == (0 if name == "c-none" else count), name
    assert {r["channel"] for r in told(shop, "c-channels", "cancelled")} == {"in_app", "sms", "email"}
    assert {r["user"] for r in told(shop, "c-channels", "cancelled")} == {"ann"}
    (direct,) = told(shop, "c-direct", "cancelled")
    assert "user" not in direct and direct["target"].endswith("23") and "5550100" not in direct["target"]
    status = shop.rpc("request.status", {"id": "c-plain"})["result"]
    assert [d["state"] for d in status["deliveries"]] == ["cancelled"]


def test_a_large_request_is_cancelled_in_bites_and_every_delivery_is_reported(shop):
    ask(shop, "c-large", at=LATER, to={"users": ["u%d" % n for n in range(2500)]})
    assert shop.rpc("request.cancel", {"id": "c-large"}, 30)["result"] == {"cancelled": 2500}
    ask(shop, "c-behind")
    assert len(told(shop, "c-large", "cancelled")) == 2500
    assert len({r["user"] for r in told(shop, "c-large", "cancelled")}) == 2500


# The crash point, what is done, and the receipts that must come all the same.
CRASHES = {
    "cancel": ("removal.committed", {"at": LATER, "channels": ["in_app", "sms"]},
               [("cancelled", "in_app"), ("cancelled", "sms")]),
    "retract": ("removal.committed", {"at": LATER, "channels": ["in_app", "email"]},
                [("cancelled", "in_app"), ("cancelled", "email")]),
    "collapse": ("removal.committed", {"at": LATER, "collapse_key": "k"},
                 [("suppressed", "in_app")]),
    "steps": ("settle.committed", {"route": "first", "channels": ["sms", "email"]},
              [("sent", "sms"), ("cancelled", "email")]),
    "read": ("events.pre_puback", {"receipts": "all"}, [("read", "in_app")]),
    "clicked": ("events.pre_puback", {"receipts": "all"}, [("clicked", "in_app")]),
    "expired": ("settle.committed", {"ttl": "1s", "to": {"user": "nobody"}},
                [("expired", "in_app")]),
    "ack": ("events.pre_puback", {"route": {"mode": "first", "escalate_after": "1h"},
                                  "channels": ["in_app", "sms"]},
            [("delivered", "in_app"), ("cancelled", "sms")]),
}


def act(case, shop, ann):
    """What ends the deliveries of the request, and kills the bridge behind its commit."""
    if case == "collapse":
        shop.publish("up/request", {"id": "x-newer", "type": "t", "title": "newer", "body": "b",
                                    "to": {"user": "ann"}, "at": LATER, "collapse_key": "k"})
    elif case == "ack":
        shown = ann.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == "x-ack")
        ann.publish("up/ack", {"ids": [shown.json["id"]]})
    elif case in ("read", "clicked"):
        shown = ann.wait(lambda m: m.topic.endswith("/inbox") and m.json["title"] == "x-" + case)
        more = {"url": "https://example.org/"} if case == "clicked" else {}
        ann.publish("up/" + {"read": "read", "clicked": "click"}[case],
                    {"ids": [shown.json["id"]], **more})
    elif case not in ("steps", "expired"):
        shop.publish("up/rpc/request." + case, {"rpc": "x", "params": {"id": "x-" + case}})


def test_ends_are_reported_although_the_bridge_dies_behind_their_commit(new_stack):
    """Cancelled, retracted, replaced, called off: each by a bridge that dies before its receipts."""
    stack = new_stack(settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    with Client(stack, "service", "shop", clean=False) as shop, Client(stack, "user", "ann") as ann:
        shop.subscribe("down/#")
        ann.subscribe("down/inbox")
        shop.rpc("user.upsert", {"user": "ann", "phones": [PHONE], "emails": [MAIL]})
        for case, (label, request, ends) in CRASHES.items():
            name = "x-" + case
            stack.bridge.stop()
            stack.bridge.env["TOCSIN_CRASH_AT"] = label + ":1"
            stack.bridge.start()
            if case == "steps":
                shop.publish("up/request", {"id": name, "type": "t", "title": name, "body": "b",
                                            "to": {"user": "ann"}, **request})
            else:
                ask(shop, name, **request)
            act(case, shop, ann)
            wait_until(lambda: not stack.bridge.running or None, 30, "the crash of " + case)
            del stack.bridge.env["TOCSIN_CRASH_AT"]
            stack.bridge.start()
            for status, channel in ends:
                wait_until(lambda n=name, s=status, c=channel: [
                    r for r in told(shop, n, s) if r["channel"] == c], 20,
                    "%s of %s by %s" % (status, name, channel))
