# SPDX-License-Identifier: MIT
"""`./run chaos`: realistic traffic, faults at random, and a checker that knows only what was seen.

Two bridges, a Postgres with a synchronous standby, the broker and the providers, every
connection through a proxy of ours.  The schedule of faults is a pure function of --seed,
--minutes and --only: --plan prints it, the same arguments repeat it.  Exits non-zero when a
promise was broken; docs/reliability.md says what is promised.
"""
import argparse
import heapq
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checker  # noqa: E402
import end_state  # noqa: E402
import servers  # noqa: E402
from cluster import private_mounts  # noqa: E402
from faults import FAULTS, Missing  # noqa: E402
from progress import Progress, Sampler  # noqa: E402
from process import PATIENCE  # noqa: E402
from recording import Recording  # noqa: E402
from rig import Rig, Watch  # noqa: E402
from schedule import describe, schedule  # noqa: E402
from world import World  # noqa: E402

QUIET_S = 240.0  # for everything to be answered and to end, after the last fault
BURST = 300      # requests: the same before the faults and after them
DOWN = (servers.ServerError, OSError, IndexError, ValueError, TimeoutError,
        subprocess.TimeoutExpired)


def arguments(argv):
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, help="of faults and traffic; default: a fresh one")
    parser.add_argument("--only", action="append", metavar="FAULT", default=[],
                        help="only this fault or family (bridge, postgres.full); may be repeated")
    parser.add_argument("--rate", type=int, default=60, help="requests per second, and bursts")
    parser.add_argument("--plan", action="store_true", help="print the schedule and end")
    parser.add_argument("--preset", help="of the bridge that is tried: release, debug, asan")
    parser.add_argument("--recording", metavar="FILE", help="where to write what was observed")
    parser.add_argument("--keep", action="store_true", help="keep the stack's directory")
    return parser.parse_args(argv)


class Run:
    """One round: begins and ends faults as scheduled, and sees to what they leave behind."""

    def __init__(self, rig, world, recording, items):
        self.rig, self.world, self.recording = rig, world, recording
        order = itertools.count()
        self.due = [(item.at, next(order), "begin", item) for item in items]
        heapq.heapify(self.due)
        self.order = order
        self.missing = {}
        self.hit, self.free = set(), {}  # components under a fault; when the others may be hit again
        self.under_way = 0  # faults that have begun and not ended
        self.started = time.monotonic()

    def say(self, text):
        print("%7.1f  %-60s %s" % (time.monotonic() - self.started, text, self.world), flush=True)

    def run(self, seconds):
        while self.due or time.monotonic() - self.started < seconds:
            now = time.monotonic() - self.started
            while self.due and self.due[0][0] <= now:
                _, _, phase, item = heapq.heappop(self.due)
                getattr(self, phase)(item)
            self.rig.supervise()
            time.sleep(0.05)

    def note(self, item, phase, **more):
        self.recording.add("fault", name=item.name, component=item.component, phase=phase,
                           params=item.params, **more)

    def is_put_off(self, item):
        """Faults that took long put the schedule late: two of one component still never overlap."""
        now = time.monotonic() - self.started
        if item.component not in self.hit and now >= self.free.get(item.component, 0):
            return False
        heapq.heappush(self.due, (now + 0.1, next(self.order), "begin", item))
        return True

    def begin(self, item):
        fault = FAULTS[item.name]
        if self.is_put_off(item):
            return
        self.hit.add(item.component)
        self.under_way += 1
        self.say("%s %s" % (item.name, " ".join("%s=%s" % p for p in sorted(item.params.items()))))
        self.note(item, "begin")  # before it begins: what it causes must not come before it
        try:
            fault.begin(self.rig, **item.params)
        except Missing as why:
            self.missing[item.name] = str(why)
            self.note(item, "missing", error=str(why))
        except DOWN as error:
            self.recording.add("trouble", text="%s: %r" % (item.name, error))
            self.say("trouble: %s: %s" % (item.name, str(error)[:300]))
        lasts = item.until - item.at
        now = time.monotonic() - self.started
        heapq.heappush(self.due, (now + lasts, next(self.order), "end", item))

    def end(self, item):
        fault = FAULTS[item.name]
        if fault.end and item.name not in self.missing:
            try:
                fault.end(self.rig, **item.params)
            except DOWN as error:
                self.recording.add("trouble", text="end of %s: %r" % (item.name, error))
                self.say("trouble: end of %s: %s" % (item.name, str(error)[:300]))
        self.note(item, "end")
        self.under_way -= 1
        self.hit.discard(item.component)
        self.free[item.component] = time.monotonic() - self.started + fault.rest

    # After the last fault
    def settle(self, watch):
        """Waits until every request is answered and every delivery has ended."""
        self.world.stop()
        deadline = time.monotonic() + QUIET_S
        self.until(self.world.is_answered, deadline, "every request to be answered")
        self.until(lambda: self.in_flight() == 0, deadline, "every delivery to end")
        watch.phase = "quiet"
        self.until(self.is_tidy, time.monotonic() + 40, "the dead bridges to be taken over")
        time.sleep(3.0)  # a receipt or a repeat that is still on its way; not waited for by name

    def until(self, predicate, deadline, what):
        while time.monotonic() < deadline:
            self.rig.supervise()
            try:
                if predicate():
                    return
            except DOWN:
                pass
            time.sleep(0.2)
        self.recording.add("trouble", text="gave up waiting for " + what)
        self.say("gave up waiting for " + what)

    def rate(self, count=BURST):
        """Webhooks a second, of a burst that is alone."""
        started = time.monotonic()
        self.world.services[0].burst(count)
        self.until(self.world.is_answered, started + QUIET_S, "a burst to be answered")
        self.until(lambda: self.in_flight() == 0, started + QUIET_S, "a burst to end")
        return count / (time.monotonic() - started)

    def rate_again(self, wanted):
        """The rate once it is as wanted, else the best: the machine may be busy for a while."""
        best, until = self.rate(), time.monotonic() + QUIET_S
        while best < wanted and time.monotonic() < until:
            best = max(best, self.rate())
        return best

    def in_flight(self):
        return int(self.rig.postgres.value("select in_flight from conservation"))

    def is_tidy(self):
        return self.rig.postgres.value(
            "select (select count(*) from bridge where lease_until < now())"
            " + (select count(*) from untold)") == "0"


def go(args, seed, items, directory):
    recording = Recording(args.recording or os.path.join(directory, "recording.jsonl"))
    small_disks = private_mounts()
    build = os.path.join(servers.ROOT, "build", args.preset) if args.preset else None
    if build:
        os.environ["TOCSIN_BUILD"] = build
    rig = Rig(directory, recording, small_disks)
    recording.add("run", seed=seed, minutes=args.minutes, only=args.only, rate=args.rate,
                  sanitized=rig.is_sanitized)
    with rig:
        for provider in ("twilio",):
            rig.standing_rules(provider)
        world = World(rig, recording, seed, args.rate).connect()
        watch = Watch(rig, recording)
        watch.start()
        run = Run(rig, world, recording, items)
        fresh = run.rate()
        world.start()
        run.started = time.monotonic()
        sampler = Sampler(rig, lambda: run.under_way > 0, Progress(PATIENCE))
        sampler.start()
        run.run(args.minutes * 60)
        run.settle(watch)
        used = run.rate_again(fresh / 2)
        sampler.progress.rates(time.monotonic(), "webhooks alone", fresh, used)
        run.say("webhooks a second, alone: %.0f before the faults, %.0f after" % (fresh, used))
        run.stood = sampler.close()
        end_state.record(rig.postgres, recording)
        watch.close()
        world.close()
        try:
            rig.stop()
        except (servers.ServerError, TimeoutError) as error:
            recording.add("exit", process="at the end", code=None, expected=False,
                          text=str(error))
    recording.close()
    return rig, run, recording


def main(argv=None):
    args = arguments(argv)
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    items = schedule(seed, args.minutes * 60, FAULTS, args.only)
    if args.plan:
        print(describe(items))
        return 0
    print("chaos: --seed %d --minutes %g%s: %d faults" % (
        seed, args.minutes, "".join(" --only " + name for name in args.only), len(items)),
        flush=True)
    servers.raise_on_signals()
    directory = tempfile.mkdtemp(prefix="tocsin-chaos-")
    rig, run, recording = go(args, seed, items, directory)
    report = checker.check(recording.snapshot())
    report.findings.extend(checker.Finding("nothing stands", text, 1, ()) for text in run.stood)
    for name, why in sorted(run.missing.items()):
        print("not available here: %s: %s" % (name, why))
    print(report)
    print("chaos: --seed %d: %s" % (seed, "%d promises broken; see %s" % (
        len(report.findings), directory) if report.findings else "every promise kept"))
    if not report.findings and not args.keep:
        rig.remove()
    return 1 if report.findings else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
