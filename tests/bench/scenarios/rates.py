# SPDX-License-Identifier: MIT
"""The latency of in-app notifications at ever higher rates, up to what the machine can do; each
rate is offered from outside, so that a late answer makes those behind it late as well."""
import svg
from rig import Rig, say

from .common import at_rate, latency_series, saturate

NAME = "rates"
GOAL = "latency stays level until shortly before saturation"
ORDER = 15
RATES = (100, 200, 500, 1000, 2000, 4000, 6000, 8000, 10000, 12000, 14000, 16000, 18000, 20000)


def run(args, build):
    phases = {}
    with Rig(build, args.settings) as rig:
        limit = saturate(rig, args.seconds)["settled_per_s"]
        for rate in RATES[::4] if args.quick else RATES:
            if rate > 0.95 * limit and phases:
                break
            say("rates: %d per s" % rate)
            phases["%d per s" % rate] = at_rate(rig, rate, args.seconds)
    return {"saturation_per_s": limit, "phases": phases}


def plots(result):
    yield svg.Plot("latency", "In-app latency against rate", "notifications per second",
                   "ms to the final receipt", latency_series(result["phases"], "rate"),
                   log_x=True, log_y=True)
