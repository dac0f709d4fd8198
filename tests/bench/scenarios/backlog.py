# SPDX-License-Identifier: MIT
"""Requests that wait at the broker while no bridge runs, then drained."""
import threading
import time

import measure
import svg
from rig import LOAD_NAP, Rig, number

from .common import USERS

NAME = "backlog"
GOAL = "drained without memory growth; the bridge under 8 MB idle and 32 MB under load"
ORDER = 30
COUNT = 200000


def flood(rig, count):
    """Starts a load of `count` requests and returns it once the broker has them all."""
    published = threading.Event()

    def on_event(event):
        if event["event"] == "sent":
            published.set()
    load = rig.start_load("notify", on_event=on_event, users=USERS, count=count, flood=True,
                          gather=LOAD_NAP, drain=60)
    while not published.wait(0.1):
        if load.process.poll() is not None:
            load.finish()
    return load


def run(args, build):
    count = 20000 if args.quick else COUNT
    with Rig(build, args.settings) as rig:
        bridge = rig.stack.bridge
        idle, _ = measure.rss_mb(bridge.pid)
        bridge.stop()
        load = flood(rig, count)
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
    every = max(1, len(points) // 40)
    return {"count": count, "drained_s": round(took, 2), "bridge_idle_mb": idle,
            "bridge_peak_mb": peak, "broker_full_mb": round(broker_mb, 1),
            "rss_curve_mb": [[round(t, 1), round(mb, 1)] for t, mb in points[::every]],
            "phases": {"drain": {**figures, "settled_per_s": count / took}}}


def facts(result):
    yield ("%s requests waited at the broker (%s MB resident there); drained in %s s from the "
           "bridge's start, %s per second; bridge %s MB when idle, at most %s MB." % (
               number(result["count"]), number(result["broker_full_mb"]),
               number(result["drained_s"]), number(result["count"] / result["drained_s"]),
               number(result["bridge_idle_mb"]), number(result["bridge_peak_mb"])))


def plots(result):
    yield svg.Plot("memory", "The bridge's memory while it drains a backlog", "s", "MB resident",
                   [("bridge", result["rss_curve_mb"])], zero_y=True)
