# SPDX-License-Identifier: MIT
"""The bridge under valgrind: every channel, a dead letter, Postgres killed, and a clean end."""
import os
import shutil

import pytest

import servers
from client import Client

DEBUG = os.path.join(servers.ROOT, "build", "debug")
VALGRIND = ("valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite", "--error-exitcode=9", "--num-callers=30",
            "--child-silent-after-fork=yes")


@pytest.mark.long
def test_no_error_and_no_leak_on_any_path(new_stack):
    if not shutil.which("valgrind") or not os.path.exists(DEBUG + "/bridge/tocsind"):
        pytest.skip("needs valgrind and build/debug: ./run test --all makes both")
    stack = new_stack(build=DEBUG, wrapper=VALGRIND, start=False)
    servers.Bridge.ready_timeout = 90.0
    stack.start()
    info = stack.providers.info
    ways = {"in_app": {"user": "alice"}, "sms": {"phone": "+15550100042"},
            "push": {"push_token": info["fcm"]["valid_tokens"][0]},
            "email": {"email": "alice@example.org"}, "webhook": {"url": info["webhook"]["url"]}}
    with Client(stack, "service", "shop") as shop, \
            Client(stack, "user", "alice", on_message=acknowledge) as alice:
        shop.subscribe("down/#")
        alice.subscribe("down/#")
        everything(shop, ways, "one")
        stack.providers.control("POST", "/behaviour", {
            "provider": "twilio", "target": "+15550100043", "answers": ["21211"]})
        shop.publish("up/request", request("dead", "sms", {"phone": "+15550100043"}))
        shop.receipt("dead", "dead", 60)
        shop.publish("up/request", "this is no JSON")
        shop.wait(lambda m: b"malformed" in m.payload, 60)
        stack.postgres.kill()
        stack.postgres.start()
        everything(shop, ways, "two")


def acknowledge(client, message):
    if message.topic.endswith("/inbox"):
        client.publish("up/ack", {"ids": [message.json["id"]]}, timeout=None)


def request(name, channel, to):
    return {"id": name, "type": "valgrind.test", "title": "t", "body": "b", "channels": [channel],
            "to": to}


def everything(shop, ways, name):
    for channel, to in ways.items():
        shop.publish("up/request", request("%s-%s" % (name, channel), channel, to))
    for channel in ways:
        shop.receipt("%s-%s" % (name, channel),
                     "delivered" if channel in ("in_app", "webhook") else "sent", 90)
