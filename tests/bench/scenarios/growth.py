# SPDX-License-Identifier: MIT
"""Throughput with ever more notifications stored, all of them of this day: it must stay flat."""
import svg
from rig import Rig, say

from .common import fill, saturate

NAME = "growth"
GOAL = "the same throughput with 10 k, 100 k and 1 M rows"
ORDER = 40
SIZES = (10000, 30000, 100000, 300000, 1000000)


def run(args, build):
    phases, stored = {}, 0
    with Rig(build, args.settings) as rig:
        for size in (2000, 20000) if args.quick else SIZES:
            stored += fill(rig, size - stored)
            say("growth: %d notifications stored" % stored)
            figures = saturate(rig, args.seconds)
            figures["stored"] = stored
            stored += figures["sent"]
            phases["%d k rows" % (size // 1000)] = figures
    return {"phases": phases}


def plots(result):
    yield svg.Plot("throughput", "Throughput against what is stored", "notifications stored",
                   "settled per second",
                   [("in-app", [(p["stored"], p["settled_per_s"])
                                for p in result["phases"].values()])], log_x=True, zero_y=True)
