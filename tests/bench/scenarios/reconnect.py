# SPDX-License-Identifier: MIT
"""10,000 users are away while each gets ten notifications: half of them are held, half are dead letters
by then. All of them connect as fast as the broker takes them, beside a service that goes on sending 500 a
second to 1,000 others. Counted is what the users' own connections got."""
import time

import measure
import servers
from client import Client
from rig import Lost, Rig, number, say

from .common import at_rate

NAME = "reconnect"
GOAL = ("10,000 users who reconnect within 10 s have all of their 10 waiting notifications within 30 s, "
        "p95 of unrelated live traffic under 100 ms meanwhile")
ORDER = 46
USERS, EACH = 10000, 10
LIVE_PER_S = 500
PREFIX = "gone"
SETTINGS = [("types", {"bench.held": {"attempts": 1, "offline": "hold"},
                       "bench.dead": {"attempts": 1}})]


def user(number):
    return "%s-u%05d" % (PREFIX, number)


def fill(rig, users, each):
    """Everybody gets theirs while they are away."""
    with Client(rig.stack, "service", "filler") as filler:
        part = []
        for n in range(users * each):
            part.append({"id": "f%d" % n, "type": "bench.dead" if n % 2 else "bench.held",
                         "title": "While you were away", "body": "b" * 300, "receipts": "none",
                         "to": {"user": user(n // each)}})
            if len(part) == 100 or n + 1 == users * each:
                filler.publish("up/request", part, timeout=60)
                part = []
    servers.wait_until(lambda: waiting(rig) == users * each, 300, "all of it to wait", 0.5)


def waiting(rig):
    return int(rig.stack.postgres.value(
        "select (select count(*) from delivery where state = 2) "
        "+ (select count(*) from dead_letter where is_dead)"))


def run(args, build):
    users = 500 if args.quick else USERS
    with Rig(build, args.settings + SETTINGS) as rig:
        alone = at_rate(rig, LIVE_PER_S, args.seconds)
        fill(rig, users, EACH)
        say("%d users away, %d notifications wait" % (users, users * EACH))
        measure.forget_peak(rig.stack.bridge.pid)
        seconds = 8 if args.quick else 25
        live = rig.start_load("notify", users=1000, rate=LIVE_PER_S, seconds=seconds, warmup=0,
                              prefix="beside")
        time.sleep(1.5)  # its own users are there
        came = rig.start_load("reconnect", users=users, count=users * EACH,
                              prefix=PREFIX, drain=60).finish()
        beside = live.finish()
        _, peak_mb = measure.rss_mb(rig.stack.bridge.pid)
        say("connected in %.1f s, all delivered in %.1f s, %d repeats" % (
            came["connected_s"], came["delivered_s"], came["repeats"]))
        servers.wait_until(lambda: rig.stack.postgres.value(
            "select in_flight from conservation") == "0", 60, "every end", 0.5)
        if rig.stack.postgres.value("select missing from conservation") != "0":
            raise Lost("something is missing in the books")
    return {"users": users, "waiting": users * EACH, "connected_s": came["connected_s"],
            "delivered_s": came["delivered_s"], "duplicates": came["repeats"],
            "bridge_peak_mb": peak_mb,
            "phases": {"live alone": alone, "live beside the storm": beside}}


def facts(result):
    yield ("%s users connected in %s s; the last of %s waiting notifications came after %s s, %s of them "
           "twice; the bridge had at most %s MB." % (
               number(result["users"]), number(result["connected_s"]), number(result["waiting"]),
               number(result["delivered_s"]), number(result["duplicates"], 0),
               number(result["bridge_peak_mb"])))
