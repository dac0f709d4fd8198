# SPDX-License-Identifier: MIT
"""Who is here, as the broker's plugin tells it: known to admins, used when a message is routed."""
import pytest

import servers
from client import Client


@pytest.fixture
def shop(stack):
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


@pytest.fixture
def root(stack):
    with Client(stack, "admin", "root") as client:
        client.subscribe("down/reply")
        yield client


def presence(root, user):
    return root.rpc("presence.get", {"user": user})["result"]


def becomes(root, user, word, connections=None):
    """Until the bridge knows it; its answer."""
    def answer():
        try:
            found = root.rpc("presence.get", {"user": user}, timeout=0.5)["result"]
        except (TimeoutError, ConnectionError):
            return None  # asked while the broker was away
        if found["presence"] == word and connections in (None, found["connections"]):
            return found
    return servers.wait_until(answer, 20, "%s to be %s" % (user, word))


def test_an_admin_sees_who_is_here_on_how_many_devices(stack, root):
    assert presence(root, "nobody") == {"user": "nobody", "presence": "unknown"}
    with Client(stack, "user", "ann@example.org", "phone"):
        becomes(root, "ann@example.org", "here", 1)
        with Client(stack, "user", "ann@example.org", "tablet"):
            found = becomes(root, "ann@example.org", "here", 2)
            assert found["user"] == "ann@example.org" and found["at"].endswith("Z")
        becomes(root, "ann@example.org", "here", 1)
    becomes(root, "ann@example.org", "away", 0)
    counted = stack.bridge.metrics()
    assert counted['tocsin_presence_users{state="away"}'] >= 1


def test_only_admins_ask_and_what_they_ask_is_checked(stack, root, shop):
    assert shop.rpc("presence.get", {"user": "ann"})["error"]["code"] == "unknown_method"
    with Client(stack, "user", "ben") as ben:
        ben.subscribe("down/reply")
        assert ben.rpc("presence.get", {"user": "ann"})["error"]["code"] == "unknown_method"
    assert root.rpc("presence.get", {})["error"]["field"] == "/params/user"
    assert root.rpc("presence.get", {"user": "x" * 129})["error"]["field"] == "/params/user"


def test_who_was_here_before_the_bridge_is_known_to_it(new_stack):
    stack = new_stack()
    with Client(stack, "user", "early"):
        stack.bridge.kill()
        stack.bridge.start()
        with Client(stack, "admin", "root") as root:
            root.subscribe("down/reply")
            becomes(root, "early", "here", 1)
            stack.broker.stop()
            stack.broker.start()
            # What was known ended with the connection; their client reconnects by itself.
            becomes(root, "early", "here", 1)


def test_a_session_of_somebody_who_is_away_is_not_waited_for(new_stack):
    """The broker takes the message for the session, which tells nothing; presence does."""
    stack = new_stack(settings={"channels.in_app.ack_timeout": "60s",
                                "channels.in_app.attempts": 2,
                                "channels.in_app.retry_base": "100ms"})
    with Client(stack, "service", "shop") as shop, Client(stack, "admin", "root") as root:
        shop.subscribe("down/receipt")
        root.subscribe("down/reply")
        with Client(stack, "user", "kept", "phone", clean=False) as phone:
            phone.subscribe("down/inbox")
            becomes(root, "kept", "here")
        becomes(root, "kept", "away")
        shop.publish("up/request", {"id": "s1", "type": "t", "title": "kept for you", "body": "b",
                                    "to": {"user": "kept"}, "receipts": "all"})
        assert shop.receipt("s1", "dead", 20)["reason"] == "user_offline"
        with Client(stack, "user", "kept", "phone", clean=False) as phone:
            got = phone.wait(lambda m: m.topic.endswith("/inbox"), 10)
            assert got.json["title"] == "kept for you"


def test_beyond_its_bound_a_user_is_not_known_and_all_goes_on(new_stack):
    stack = new_stack(settings={"presence.users": 2})
    with Client(stack, "service", "shop") as shop, Client(stack, "admin", "root") as root, \
            Client(stack, "user", "u0") as u0, Client(stack, "user", "u1"):
        for client in (shop, root, u0):
            client.subscribe("down/#")
        becomes(root, "u0", "here")
        becomes(root, "u1", "here")
        with Client(stack, "user", "u2") as u2:
            u2.subscribe("down/inbox")
            shop.publish("up/request", {"id": "b1", "type": "t", "title": "t", "body": "b",
                                        "to": {"user": "u2"}})
            got = u2.wait(lambda m: m.topic.endswith("/inbox"), 10)
            u2.publish("up/ack", {"ids": [got.json["id"]]})
            shop.receipt("b1", "delivered")
            assert presence(root, "u2")["presence"] == "unknown"
        assert stack.bridge.metrics()["tocsin_presence_over_total"] >= 1


def test_it_can_be_turned_off(new_stack):
    stack = new_stack(settings={"presence.users": 0})
    with Client(stack, "admin", "root") as root, Client(stack, "user", "u0"):
        root.subscribe("down/reply")
        assert presence(root, "u0")["presence"] == "unknown"
