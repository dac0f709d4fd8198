# SPDX-License-Identifier: MIT
"""The loads that several scenarios put on a stack."""
from rig import LOAD_NAP, Rig

USERS = 1000
RATE_CALM = 500
WINDOW = 3000         # unsettled requests at saturation
PROVIDER_MS, SLOW_MS = 20, 500
SMS = {"channel": "sms", "target": "+155501#", "settled": "sent,delivered", "receipts": "all",
       "users": USERS}
HOOK = {"channel": "webhook", "settled": "sent,delivered", "receipts": "all", "users": USERS}
PERCENTILES = ("p50", "p95", "p99")


def raw_limits(args, build):
    """What the machine can do without Tocsin, by the same client code."""
    seconds = min(args.seconds, 4)
    with Rig(build, args.settings) as rig:
        mqtt = rig.raw("raw-mqtt", users=USERS, seconds=seconds, warmup=1, gather=LOAD_NAP)
        batches = rig.raw("raw-pg", seconds=seconds, warmup=1)
        single = rig.raw("raw-pg", seconds=seconds, warmup=1, rows=1, connections=1)
        many = rig.raw("raw-pg", seconds=seconds, warmup=1, rows=1, connections=8)
    return {"mqtt_messages_per_s": mqtt["messages_per_s"],
            "postgres_rows_per_s": batches["rows_per_s"],
            "postgres_commits_1_per_s": single["statements_per_s"],
            "postgres_commits_8_per_s": many["statements_per_s"]}


def saturate(rig, seconds, **options):
    return rig.notify(**{"users": USERS, "window": WINDOW, "seconds": seconds, "warmup": 3,
                         "gather": LOAD_NAP, **options})


def at_rate(rig, rate, seconds, **options):
    return rig.notify(**{"users": USERS, "rate": round(rate), "seconds": seconds, "warmup": 2,
                         **options})


def fill(rig, count):
    """Stores `count` notifications as fast as it goes; returns how many it sent."""
    if count <= 0:
        return 0
    return rig.start_load("notify", users=USERS, window=WINDOW * 2, batch=20, count=count,
                          gather=LOAD_NAP).finish()["sent"]


def latency_series(phases, x, percentiles=PERCENTILES):
    """[(label, [(x, ms)])] of the final receipts, one line for each percentile."""
    return [(name, [(figures[x], figures["latency_ms"]["settled"][name])
                    for figures in phases.values()]) for name in percentiles]
