# SPDX-License-Identifier: MIT
"""The scenarios of `./run bench`.  Each takes (args, build) and returns a tree of figures.

A load that loses a notification, or whose connections fail, raises rig.Lost.
"""
import threading
import time

import measure
from rig import LOAD_NAP, Rig, Sink, say

USERS = 1000
WINDOW = 3000         # unsettled requests at saturation
RATE = 500
BACKLOG = 200000
GROWTH = (10000, 100000, 1000000)
PROVIDER_MS, SLOW_MS = 20, 500
SMS = {"channel": "sms", "target": "+155501#", "settled": "sent,delivered", "receipts": "all",
       "users": 1000}
HOOK = {"channel": "webhook", "settled": "sent,delivered", "receipts": "all", "users": 1000}


def raw_limits(rig, seconds):
    """What the machine can do without Tocsin, by the same client code."""
    mqtt = rig.raw("raw-mqtt", users=USERS, seconds=seconds, warmup=1, gather=LOAD_NAP)
    postgres = rig.raw("raw-pg", seconds=seconds, warmup=1)
    return {"mqtt_messages_per_s": mqtt["messages_per_s"],
            "postgres_rows_per_s": postgres["rows_per_s"]}


def saturate(rig, seconds, **options):
    return rig.notify(**{"users": USERS, "window": WINDOW, "seconds": seconds, "warmup": 3,
                         "gather": LOAD_NAP, **options})


def at_rate(rig, rate, seconds, **options):
    return rig.notify(**{"users": USERS, "rate": round(rate), "seconds": seconds, "warmup": 2,
                         **options})


def in_app(args, build):
    """Service to user and back: request, commit, inbox, ack, settled, receipt."""
    with Rig(build, args.settings) as rig:
        raw = raw_limits(rig, min(args.seconds, 5))
        idle, _ = measure.rss_mb(rig.stack.bridge.pid)
        full = saturate(rig, args.seconds)
        calm = at_rate(rig, RATE, args.seconds)
        half = at_rate(rig, full["settled_per_s"] / 2, args.seconds)
        memory = rig.memory()
    return {"raw": raw, "bridge_idle_mb": idle, "memory_mb": memory,
            "phases": {"saturation": full, "500 per s": calm, "half of saturation": half}}


def http(args, build):
    """Providers that answer after 20 ms, and a slow one beside a fast one."""
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


def backlog(args, build):
    """Requests that wait at the broker while no bridge runs, then drained."""
    count = 20000 if args.quick else BACKLOG
    with Rig(build, args.settings) as rig:
        bridge = rig.stack.bridge
        idle, _ = measure.rss_mb(bridge.pid)
        bridge.stop()
        published = threading.Event()

        def on_event(event):
            if event["event"] == "sent":
                published.set()
        load = rig.start_load("notify", on_event=on_event, users=USERS, count=count, flood=True,
                              gather=LOAD_NAP, drain=60)
        while not published.wait(0.1):
            if load.process.poll() is not None:
                load.finish()
        published_cpu_s = load.events[-1]["cpu_s"]
        broker_mb, _ = measure.rss_mb(rig.stack.broker.pid)
        meter = measure.Meter(rig.pids())
        meter.start()
        began = time.monotonic()
        bridge.start()
        curve = measure.Curve(lambda: measure.rss_mb(bridge.pid)[0])
        figures = load.finish()
        took = time.monotonic() - began
        used, spent = meter.stop()
        points = curve.stop()
        used["bridge"] = measure.cpu_seconds(bridge.pid)
        used["load"] = figures["cpu_s"] - published_cpu_s
        _, peak = measure.rss_mb(bridge.pid)
    figures["others_cores"] = round(
        max(0.0, used.pop("others") - used["bridge"] - used["load"]) / spent, 2)
    figures["bridge_peak_mb"] = peak
    figures["cpu_per_10k"] = {k: round(v * 10000 / count, 3) for k, v in used.items()}
    every = max(1, len(points) // 20)
    return {"count": count, "drained_s": round(took, 2), "settled_per_s": round(count / took, 1),
            "bridge_idle_mb": idle, "bridge_peak_mb": peak, "broker_full_mb": round(broker_mb, 1),
            "rss_curve_mb": [[round(t, 1), round(mb, 1)] for t, mb in points[::every]],
            "phases": {"drain": {**figures, "settled_per_s": count / took}}}


def growth(args, build):
    """Throughput with ever more rows in the tables: it must stay flat."""
    phases, sent = {}, 0
    sizes = (2000, 20000) if args.quick else GROWTH
    with Rig(build, args.settings) as rig:
        for size in sizes:
            if size > sent:
                filled = rig.start_load("notify", users=USERS, window=WINDOW * 2, batch=20,
                                        count=size - sent, gather=LOAD_NAP).finish()
                sent += filled["sent"]
            say("growth: %d notifications stored" % sent)
            figures = saturate(rig, args.seconds)
            sent += figures["sent"]
            phases["%d k rows" % (size // 1000)] = figures
    return {"phases": phases}


ALL = {"in-app": in_app, "http": http, "backlog": backlog, "growth": growth}
