# SPDX-License-Identifier: MIT
"""A retry of thousands whose bridge dies in the middle: nothing is lost, nothing is sent twice.

Needs a build with TOCSIN_CRASH_POINTS (the debug and asan presets).
"""
import subprocess

import pytest

import dead_letters
import servers
from client import Client
from process import wait_until
from traffic import books

COUNT = 7000
LABELS = [("desk.marked", 1), ("desk.marked", 3),  # a bite is accepted, and nobody was told
          ("desk.fed", 1), ("desk.fed", 4)]        # some are in the queue


def has_crash_points(build):
    symbols = subprocess.run(["nm", build + "/bridge/tocsind"], stdout=subprocess.PIPE,
                             text=True).stdout
    return " crash_point" in symbols


def retried_until_done(stack):
    """Asks until an answer comes, as an admin does whose call was lost."""
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/#")

        def ask():
            try:
                return ops.rpc("dlq.retry", {"filter": {"reason": "user_offline"}}, 1).get("result")
            except TimeoutError:
                return None
        return wait_until(ask, 90, "an answer", 0.2)


@pytest.mark.parametrize("label,times", LABELS, ids=["%s-%d" % pair for pair in LABELS])
def test_killed_here_each_retry_is_sent_once(new_stack, label, times):
    stack = new_stack(start=False, bridges=2, settings={"bridge.lease": "2s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    victim = stack.bridge
    for bridge in stack.bridges:
        bridge.stop()
    dead_letters.make(stack, COUNT)
    victim.env["TOCSIN_CRASH_AT"] = "%s:%d" % (label, times)
    victim.start()
    with Client(stack, "admin", "ops") as ops:
        ops.subscribe("down/#")
        ops.publish("up/rpc/dlq.retry", {"rpc": "1", "params": {
            "filter": {"reason": "user_offline"}}})
        wait_until(lambda: not victim.running or None, 30, "the crash at " + label)
        retried = [m for m in ops.messages if m.topic.endswith("/down/reply")]
    del victim.env["TOCSIN_CRASH_AT"]
    for bridge in stack.bridges:
        bridge.start()
    if not retried:
        retried_until_done(stack)
    wait_until(lambda: books(stack)["sent"] == COUNT or None, 120, "every retry to be sent", 0.5)
    now = books(stack)
    assert (now["missing"], now["in_flight"], now["dead"]) == (0, 0, 0), now
    twice = stack.postgres.sql("select delivery from attempt where state = 3 group by delivery "
                               "having count(*) > 1")
    assert not twice
    retries = stack.postgres.sql("select distinct retries from dead_letter")
    assert retries == [["1"]], "each was put back once"
    audited = int(stack.postgres.value("select sum((result::json->>'retried')::int) from audit"))
    assert audited == COUNT, "each is in the audit, also of the call that was cut short"


def test_a_death_that_was_recorded_and_not_told_is_told(new_stack):
    stack = new_stack(start=False, settings={"bridge.lease": "2s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.bridge.stop()
    stack.bridge.env["TOCSIN_CRASH_AT"] = "settle.committed:1"
    stack.bridge.start()
    with Client(stack, "admin", "ops") as ops, Client(stack, "service", "shop") as shop:
        ops.subscribe("notify/v1/dlq/#")
        shop.publish("up/request", [{"id": "d%d" % n, "type": "t", "title": "t%d" % n, "body": "b",
                                     "to": {"user": "nobody"}, "retry": {"attempts": 1}}
                                    for n in range(5)])
        wait_until(lambda: not stack.bridge.running or None, 30, "the crash")
        (dead,) = stack.postgres.sql("select count(*) from dead_letter")[0]
        assert int(dead) > 0 and not ops.messages
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        for n in range(5):
            message = ops.wait(lambda m, n=n: m.json["request"] == "d%d" % n, 30)
            assert message.topic == "notify/v1/dlq/in_app/user_offline"
            assert message.json["content"]["title"] == "t%d" % n
            assert (message.json["user"], message.json["attempts"]) == ("nobody", 1)
