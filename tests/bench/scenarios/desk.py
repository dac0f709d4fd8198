# SPDX-License-Identifier: MIT
"""One admin retries 100,000 dead letters by their reason, while a service goes on sending through the
same provider (20 ms, 100 requests at once) at 500 a second.  The retry is accepted when the call is
answered: each dead letter is marked and in the audit.  Every message has a body of its own, so that the
provider's count shows what came twice."""
import time

import dead_letters
import measure
import servers
from client import Client
from rig import Lost, Rig, Sink, number, say

from .common import PROVIDER_MS, SMS, at_rate

NAME = "desk"
GOAL = ("a bulk retry of 100,000 accepted in under 10 s, nothing twice, memory bounded, p95 of live "
        "traffic through the same provider under 100 ms meanwhile")
ORDER = 45
COUNT = 100000
LIVE_PER_S = 500


def ended(rig):
    return int(rig.stack.postgres.value(
        "select count(*) from dead_letter where not is_dead and not exists "
        "(select 1 from delivery where id = dead_letter.delivery)"))


def retry(rig, count):
    """Seconds until the call was answered, which is when all of it was accepted."""
    with Client(rig.stack, "admin", "ops") as ops:
        ops.subscribe("down/#")
        began = time.monotonic()
        answer = ops.rpc("dlq.retry", {"filter": {"reason": "user_offline"}}, 120)
        if answer.get("result") != {"retried": count}:
            raise Lost("retried %s, not %d" % (answer, count))
        return time.monotonic() - began


def run(args, build):
    count = 5000 if args.quick else COUNT
    sink = Sink(build, "twilio", PROVIDER_MS)
    settings = args.settings + [("destinations.twilio.concurrency", 100)]
    with Rig(build, settings, [sink]) as rig:
        alone = at_rate(rig, LIVE_PER_S, args.seconds, **SMS)
        dead_letters.make(rig.stack, count)
        measure.forget_peak(rig.stack.bridge.pid)
        live = rig.start_load("notify", rate=LIVE_PER_S, seconds=max(args.seconds, count / 4000),
                              warmup=1, prefix="beside", drain=60, **SMS)
        began = time.monotonic()
        accepted_s = retry(rig, count)
        servers.wait_until(lambda: ended(rig) == count, 600, "the end of every retry", 0.5)
        drained_s = time.monotonic() - began
        beside = live.finish()
        _, peak_mb = measure.rss_mb(rig.stack.bridge.pid)
        say("accepted in %.1f s, all sent in %.1f s" % (accepted_s, drained_s))
        missing = rig.stack.postgres.value("select missing from conservation")
        if missing != "0":
            raise Lost("%s missing in the books" % missing)
        arrived = rig.arrived(sink, alone["sent"] + beside["sent"] + count)
    return {"count": count, "accepted_s": round(accepted_s, 2), "drained_s": round(drained_s, 2),
            "bridge_peak_mb": peak_mb, **arrived,
            "phases": {"live alone": alone, "live beside the retry": beside}}


def facts(result):
    yield ("%s dead letters: accepted in %s s, all sent in %s s; %s sent twice; the bridge had at most "
           "%s MB." % (number(result["count"]), number(result["accepted_s"]),
                       number(result["drained_s"]), number(result["duplicates"], 0),
                       number(result["bridge_peak_mb"])))
