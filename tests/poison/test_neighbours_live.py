# SPDX-License-Identifier: MIT
"""One principal asks as fast as it can: the others are answered, and it learns why it is not."""
import collections
import json

from client import Client

FLOOD = 3000


def test_a_flood_of_rpc_requests_holds_up_nobody_else(stack):
    with Client(stack, "service", "flood") as flood, Client(stack, "service", "good") as good, \
            Client(stack, "user", "bob") as bob, Client(stack, "user", "eve") as eve, \
            Client(stack, "admin", "root") as root:
        for client in (flood, good, bob, eve, root):
            client.subscribe("down/#")
        good.publish("up/request", [{"id": "n%d" % n, "type": "t", "title": "t", "body": "b",
                                     "to": {"user": "bob"}} for n in range(50)])
        bob._wait(lambda: len([m for m in bob.messages if m.topic.endswith("/inbox")]) >= 50, 20,
                  "fifty notifications")
        ids = [m.json["id"] for m in bob.messages if m.topic.endswith("/inbox")]
        for n in range(FLOOD):
            flood.mqtt.publish(flood.root + "/up/rpc/user.get",
                               json.dumps({"rpc": "f%d" % n, "params": {"user": "bob"}}), 1)
            eve.mqtt.publish(eve.root + "/up/rpc/history",
                             json.dumps({"rpc": "e%d" % n, "params": {}}), 1)
            if n % 60 == 0:
                bob.publish("up/read", {"ids": [ids[n // 60]]})
            if n % 300 == 0:
                good.publish("up/rpc/user.get", {"rpc": "g%d" % n, "params": {"user": "bob"}})
                bob.publish("up/rpc/badge", {"rpc": "b%d" % n})
                root.publish("up/rpc/dlq.count", {"rpc": "r%d" % n, "params": {}})

        def replies(client):
            return [m.json for m in list(client.messages) if m.topic.endswith("/reply")]
        for client, count in ((flood, FLOOD), (eve, FLOOD), (good, 10), (bob, 10), (root, 10)):
            client._wait(lambda: len(replies(client)) >= count, 60, "%d replies to %s" % (
                count, client.id))
        for client in (good, bob, root):
            assert [r for r in replies(client) if "error" in r] == []
        for client in (flood, eve):
            errors = collections.Counter((r["error"]["code"], r["error"]["message"])
                                         for r in replies(client) if "error" in r)
            assert set(errors) <= {("busy", "too many of your own requests are under way; wait for "
                                            "their answers")}
        bob._wait(lambda: [m for m in bob.messages
                           if m.topic.endswith("/badge") and m.json["unread"] == 0], 20,
                  "all fifty to be read")
        log = open(stack.bridge.log).read()
        assert "events.abandoned" not in log and "events.down" not in log
        assert stack.bridge.is_ready()
