# SPDX-License-Identifier: MIT
"""From a service to a user and back: request, commit, inbox, acknowledgement, commit, receipt;
as fast as it goes, at a calm 500 per second, and at half of what it can do."""
import measure
from rig import Rig, number

from .common import RATE_CALM, at_rate, saturate

NAME = "in-app"
GOAL = "at least 10,000 settled per second; p50 under 2 ms and p95 under 5 ms at 500/s"
ORDER = 10


def run(args, build):
    with Rig(build, args.settings) as rig:
        idle, _ = measure.rss_mb(rig.stack.bridge.pid)
        full = saturate(rig, args.seconds)
        calm = at_rate(rig, RATE_CALM, args.seconds)
        half = at_rate(rig, full["settled_per_s"] / 2, args.seconds)
        memory = rig.memory()
    return {"bridge_idle_mb": idle, "memory_mb": memory,
            "phases": {"saturation": full, "%d per s" % RATE_CALM: calm, "half of saturation": half}}


def facts(result):
    yield "Bridge resident when idle: %s MB." % number(result["bridge_idle_mb"])
    memory = result["memory_mb"]
    yield "Memory after the load (shared pages counted once): %s MB in all; %s." % (
        number(sum(memory.values())), ", ".join("%s %s" % (k, number(v)) for k, v in memory.items()))
