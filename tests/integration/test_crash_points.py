# SPDX-License-Identifier: MIT
"""Killed on this very line: at each step of a notification's life, the bridge dies once.

Needs a build with TOCSIN_CRASH_POINTS (the debug and asan presets).
"""
import os
import subprocess

import pytest

import servers
from client import Client
from process import wait_until
from traffic import Traffic

LABELS = [
    ("ingest.pre_tx", 3),        # read, not sent
    ("ingest.commit_sent", 3),   # sent, no answer
    ("ingest.pre_puback", 3),    # committed, not acknowledged
    ("ingest.told", 3),          # the receipts are written, and not sent
    ("ingest.acknowledged", 3),  # the broker has the receipts and our acknowledgements
    ("events.pre_puback", 3),    # a user's ack committed, not acknowledged
    ("settle.pre_tx", 2),        # the provider has answered, nothing recorded
    ("settle.committed", 2),     # recorded, nobody told
    ("claim.done", 1),           # claimed, not sent
]


def has_crash_points(build):
    symbols = subprocess.run(["nm", os.path.join(build, "bridge", "tocsind")],
                             stdout=subprocess.PIPE, text=True).stdout
    return " crash_point" in symbols


@pytest.mark.parametrize("label,times", LABELS, ids=[label for label, _ in LABELS])
def test_killed_at_this_step_nothing_is_lost(new_stack, label, times):
    stack = new_stack(start=False, settings={"bridge.lease": "3s", "channels.sms.retry_base": "100ms",
                                             "channels.in_app.ack_timeout": "1s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.providers.control("POST", "/behaviour", {"provider": "twilio", "share": 0.3,
                                                   "answers": [500], "repeat": True})

    def make(number, name):
        if number % 2:
            return {"type": "t", "to": {"phone": "+1555%07d" % number}, "title": name, "body": "b",
                    "channels": ["sms"], "retry": {"attempts": 8}}
        return {"type": "t", "to": {"user": "traffic-user-%d" % (number % 4)}, "title": name,
                "body": "b", "data": {"request": name}}
    stack.bridge.stop()
    stack.bridge.env["TOCSIN_CRASH_AT"] = "%s:%d" % (label, times)
    stack.bridge.start()
    with Traffic(stack, rate=100, users=4, make=make) as traffic:
        wait_until(lambda: not stack.bridge.running or None, 30, "the crash at " + label)
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        traffic.wait_accepted(50, 60)
        traffic.finish()
        traffic.audit()


@pytest.mark.parametrize("label", ["ingest.told", "ingest.acknowledged"])
def test_what_is_acknowledged_has_been_told(new_stack, label):
    """A service that publishes once gets its receipt, wherever the bridge dies."""
    stack = new_stack(start=False, settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.bridge.stop()
    stack.bridge.env["TOCSIN_CRASH_AT"] = label + ":1"
    stack.bridge.start()
    names = ["once-%d" % n for n in range(5)]
    with Client(stack, "service", "shop", clean=False) as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", [{"id": name, "type": "t", "title": "t", "body": "b",
                                     "to": {"user": "nobody"}} for name in names])
        wait_until(lambda: not stack.bridge.running or None, 30, "the crash at " + label)
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        for name in names:
            shop.receipt(name, "accepted", 30)
