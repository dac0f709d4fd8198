# SPDX-License-Identifier: MIT
"""Fifty services, one of them flooding: the other 49 send 245 a second between them, alone and beside
it.  "One destination": all to the same SMS provider of 20 ms, 100 at a time, where the flood keeps
20,000 waiting.  "In-app": the flood sends to users as fast as the broker takes it, with and without
the gate's limit for services (`service_byte_rate 1m`, about 1,500 requests a second)."""
from rig import LOAD_NAP, Lost, Rig, Sink

from .common import PROVIDER_MS, SMS, USERS, at_rate

NAME = "neighbours"
GOAL = ("beside a flood to the same destination, and beside a flood that the gate limits, the others' "
        "p99 at most 100 ms above what it is alone")
ORDER = 60
RATE, SERVICES, FLOOD_WAITING = 245, 49, 20000
LIMIT = {"service_byte_rate": "1m", "service_byte_burst": "2m"}


def calm(rig, args, **options):
    return at_rate(rig, RATE, args.seconds, services=SERVICES, prefix="calm", **options)


def beside(rig, args, flood, calm_options):
    """The calm services while `flood` runs; what the gate refuses the flood does not count."""
    other = rig.start_load("notify", services=1, prefix="flood", warmup=2,
                           seconds=args.seconds + 8, drain=4, gather=LOAD_NAP, **flood)
    figures = calm(rig, args, **calm_options)
    try:
        figures["flood_per_s"] = other.finish()["settled_per_s"]
    except Lost:
        figures["flood_per_s"] = None
    return figures


def one_destination(args, build):
    sink = Sink(build, "twilio", PROVIDER_MS)
    settings = args.settings + [("destinations.twilio.concurrency", 100)]
    with Rig(build, settings, [sink]) as rig:
        alone = calm(rig, args, **SMS)
        waiting = FLOOD_WAITING // 10 if args.quick else FLOOD_WAITING
        full = beside(rig, args, {**SMS, "window": waiting, "batch": 20}, SMS)
    return {"one destination, alone": alone, "one destination, beside a flood": full}


def in_app(args, build):
    flood = {"users": USERS, "window": 20000}
    with Rig(build, args.settings) as rig:
        phases = {"in-app, alone": calm(rig, args),
                  "in-app, beside a flood": beside(rig, args, flood, {})}
    with Rig(build, args.settings, plugin_options=LIMIT) as rig:
        phases["in-app, the flood limited"] = beside(rig, args, flood, {})
    return phases


def run(args, build):
    return {"phases": {**one_destination(args, build), **in_app(args, build)}}
