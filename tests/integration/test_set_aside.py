# SPDX-License-Identifier: MIT
"""A message at which the bridge ends each time that it reads it is set aside; its lane goes on.

Needs a build with TOCSIN_CRASH_POINTS (the debug and asan presets).
"""
import json

import pytest

import servers
from client import Client
from process import wait_until
from test_crash_points import has_crash_points

CRASHES = 3   # as CAREFUL_CRASHES_MAX
KILLER = "kill-the-bridge"


def crash_again_and_again(stack):
    """Starts the bridge until it lives; returns how often it ended."""
    crashes = 0
    while crashes <= 8:
        stack.bridge.start(wait=False)
        wait_until(lambda: not stack.bridge.running or set_aside(stack) or None, 30,
                   "the crash, or the set-aside")
        if stack.bridge.running:
            return crashes
        crashes += 1
    raise AssertionError("the bridge ends again and again")


def set_aside(stack):
    return int(stack.postgres.value(
        "select count(*) from ingest_reject where why = 'bridges end when they read it'"))


@pytest.mark.parametrize("kind,name,tail,answer", [
    ("service", "shop", "up/request", "down/receipt"),
    ("user", "bob", "up/rpc/history", "down/reply"),
    ("admin", "root", "up/rpc/service.list", "down/reply")],
    ids=["requests", "users", "admins"])
def test_a_message_that_ends_every_bridge_is_set_aside(new_stack, kind, name, tail, answer):
    stack = new_stack(start=False, settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.bridge.stop()
    with Client(stack, kind, name) as sender, Client(stack, "service", "other") as other:
        sender.subscribe(answer)
        other.subscribe("down/receipt")
        sender.publish(tail, json.dumps({"id": "x", "title": KILLER, "to": {"user": "bob"}}))
        for n in range(3):
            other.publish("up/request", json.dumps(
                {"id": "good-%d" % n, "type": "t", "title": "hello", "to": {"user": "bob"}}))
        stack.bridge.env["TOCSIN_CRASH_AT"] = "lane.message=" + KILLER
        assert crash_again_and_again(stack) == CRASHES + 1, "read with others, and alone"
        for n in range(3):
            other.receipt("good-%d" % n, "accepted", 30)
        refused = sender.wait(lambda m: b"set aside" in m.payload, 20, "the answer").json
        refused = refused[0] if isinstance(refused, list) else refused
        assert "unavailable" in (refused.get("reason"), refused.get("error", {}).get("code"))
    log = open(stack.bridge.log).read()
    assert "careful.set_aside lane=" in log and KILLER not in log
    assert set_aside(stack) == 1
    wait_until(lambda: stack.postgres.value("select count(*) from lane where in_hand is not null")
               == "0", 10, "nothing to be in hand")
