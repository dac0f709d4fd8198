# SPDX-License-Identifier: MIT
"""Providers that answer after 20 ms (tests/bench/sink), with 100 and with 1,000 requests allowed at
once, and a provider of 500 ms kept full beside one of 20 ms."""
from rig import LOAD_NAP, Rig, Sink

from .common import HOOK, PROVIDER_MS, SLOW_MS, SMS

NAME = "http"
WITH = ("adapters",)
GOAL = ("with concurrency 100 at least 4,750/s (95 % of what 20 ms allow), with 1,000 at least "
        "8,000/s; a fast provider keeps its rate beside a slow one")
ORDER = 20


def run(args, build):
    phases = {}
    for concurrency, window in ((100, 2000), (1000, 6000)):
        sink = Sink(build, "twilio", PROVIDER_MS)
        settings = args.settings + [("destinations.twilio.concurrency", concurrency)]
        with Rig(build, settings, [sink]) as rig:
            figures = rig.notify(window=window, seconds=args.seconds, warmup=3, gather=LOAD_NAP,
                                 **SMS)
            figures.update(rig.arrived(sink, figures["sent"]))
        figures["latency_allows_per_s"] = concurrency * 1000 / PROVIDER_MS
        phases["concurrency %d" % concurrency] = figures
    phases.update(slow_beside_fast(args, build))
    return {"phases": phases}


def slow_beside_fast(args, build):
    """The rate of a fast destination alone, and with a slow one kept full beside it."""
    fast, slow = Sink(build, "twilio", PROVIDER_MS), Sink(build, "webhook", SLOW_MS, "slow sink")
    settings = args.settings + [("destinations.twilio.concurrency", 100),
                                ("destinations.webhook.concurrency", 100)]
    with Rig(build, settings, [fast, slow]) as rig:
        alone = rig.notify(window=2000, seconds=args.seconds, warmup=2, gather=LOAD_NAP, **SMS)
        hooks = {**HOOK, "target": slow.url + "/hook/#", "prefix": "slow", "window": 1000,
                 "seconds": args.seconds + 4, "warmup": 0, "drain": 60}
        other = rig.start_load("notify", **hooks)
        beside = rig.notify(window=2000, seconds=args.seconds, warmup=2, gather=LOAD_NAP, **SMS)
        slowly = other.finish()
        beside.update(rig.arrived(fast, alone["sent"] + beside["sent"]))
        slowly.update(rig.arrived(slow, slowly["sent"]))
    return {"fast alone": alone, "fast beside slow": beside, "slow": slowly}
