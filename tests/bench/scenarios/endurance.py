# SPDX-License-Identifier: MIT
"""A day of churn in minutes: twenty-four "hours" of 10,000 notifications for each of `--seconds`, as fast as
they go, then half of `--seconds` at 1,000 per second; beside them 60 other requests for each of `--seconds`:
collapse keys, expiry, broadcasts, roles, SMS with the provider's reports, dead letters, requests for the next
day, and people who read, archive and delete.  For the clocks of the database, the bridge and the load each hour
is a day: after it they go on to the next, so that what an hour has stored is a day's partition, and the bridge's
own retention drops and trims it two days later, while traffic flows, as it does every day.  (Request keys are
kept for 15 days, those without a date for 7, dead letters for a day more.)  Each curve is judged by its median
slope over the last two thirds of the day, or from where it is full; what rises by more than its bound fails the
run.  Growth does not depend on what else the machine does; throughput and latency do, so these two are only
drawn, and the CPU time that a notification costs is judged in their place."""
import os
import struct
import time

import flat
import measure
import svg
from churn import Churn
from process import wait_until
from rig import Lost, Rig, number, say

from .common import at_rate, saturate

NAME = "endurance"
GOAL = "no table, index, log, process, descriptor count or cost per notification grows"
ORDER = 90
DEFAULT = False
HOURS, KEEP_DAYS, RATE = 24, 2, 1000
COUNT, OTHERS = 10000, 60  # an hour, for each of --seconds
BIG_MB, BUSY_ROWS = 1, 2000  # which are drawn
DAY_S = 86400
# The hour from which a table holds all that is kept, where it is not the keep_days alone.
FULL_FROM = {"request_key": 17, "request_key_any": 9, "dead_letter": KEEP_DAYS + 4}
FULL = KEEP_DAYS + 3
TERMS = [("retention." + key, KEEP_DAYS) for key in (
    "days", "inbox_days", "reject_days", "callback_days")]

SIZES = """SELECT regexp_replace(c.relname, '_(\\d{8}|any_\\d|default)$',
        CASE WHEN c.relname ~ '_any_' THEN '_any' ELSE '' END),
    sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)), sum(coalesce(s.n_dead_tup, 0)),
    sum(coalesce(s.n_live_tup, 0))
    FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY 1"""
SESSIONS = ("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid()")


class Aged(Rig):
    """A rig in which days pass: the database has a clock of its own, which the bridge follows."""

    def __init__(self, build, settings):
        super().__init__(build, TERMS + settings, postgres={"max_wal_size": "256MB"})
        self.clock = os.path.join(self.dir, "clock")
        with open(self.clock, "wb") as file:
            file.write(struct.pack("=q", 0))

    def prepare(self):
        self.stack.postgres.env.update(
            LD_PRELOAD=os.path.join(self.build, "tests", "chaos", "clock_shim.so"),
            TOCSIN_CLOCK_FILE=self.clock)

    def next_day(self):
        """On to the same time of the next day, and until the bridge has seen it."""
        self.ahead_s += DAY_S
        with open(self.clock, "r+b") as file:
            file.write(struct.pack("=q", self.ahead_s * 1000))
        sql = self.stack.postgres
        if abs(float(sql.value("select extract(epoch from clock_timestamp())")) - time.time()
               - self.ahead_s) > 60:
            raise Lost("the database's clock does not follow: was clock_shim.so built?")
        wait_until(lambda: sql.value("select bool_and(lease_until between clock_timestamp() and"
                                     " clock_timestamp() + interval '1 hour') from bridge") == "t",
                   60, "the bridge's next heartbeat")


def sizes(rig):
    """{table: {table_mb, index_mb, dead, rows}} with partitions counted to their parents."""
    return {name: {"table_mb": round(int(table) / 1e6, 3), "index_mb": round(int(index) / 1e6, 3),
                   "dead": int(dead), "rows": int(rows)}
            for name, table, index, dead, rows in rig.stack.postgres.sql(SIZES)}


def processes(rig):
    """Memory in MB and descriptors, of the bridge, the broker and the bridge's sessions."""
    postgres, found = rig.stack.postgres, {}
    for name, pid in (("bridge", rig.stack.bridge.pid), ("broker", rig.stack.broker.pid)):
        found[name + "_mb"] = measure.rss_mb(pid)[0]
        found[name + "_fds"] = measure.descriptors(pid)
    pids = [int(row[0]) for row in postgres.sql(SESSIONS)]
    found["sessions"] = len(pids)
    found["sessions_mb"] = sum(measure.own_mb(pid) for pid in pids)
    found["wal_mb"] = int(postgres.value("select sum(size) from pg_ls_waldir()")) / 1e6
    return found


def hour(rig, args, churn):
    others = churn.send(round(args.seconds * OTHERS))
    full = saturate(rig, args.seconds, warmup=1, count=round(args.seconds * COUNT))
    calm = at_rate(rig, RATE, max(1, args.seconds / 2), warmup=1)
    others.join()
    found = {"settled_per_s": full["settled_per_s"], "sent": full["sent"] + calm["sent"],
             "duplicates": full["duplicates"] + calm["duplicates"],
             "others_cores": full.get("others_cores"), "tables": sizes(rig), **processes(rig)}
    for name in ("bridge", "broker", "postgres"):
        found[name + "_cpu"] = 100 * full["cpu_per_10k"][name]
    found["wal_kb_each"] = full["bytes_each"]["wal"] / 1e3
    found.update({"%s_ms" % k: calm["latency_ms"]["settled"][k] for k in ("p50", "p95", "p99")})
    return found


def left_behind(rig):
    """How many deliveries are due and not over, when the last have had the time for it."""
    def left():
        return int(rig.stack.postgres.value("select count(*) from delivery where due_at < now()"))
    try:
        wait_until(lambda: left() == 0, 60, "the queue to run empty")
    except TimeoutError:
        return left()
    return 0


def run(args, build):
    hours = 6 if args.quick else HOURS
    found = []
    with Aged(build, args.settings) as rig:
        churn = Churn(rig.stack, lambda: rig.ahead_s)
        try:
            for at in range(hours):
                found.append(hour(rig, args, churn))
                rig.next_day()
                say("endurance: hour %d: %s/s, p50 %s ms, bridge %s MB, inbox %s rows" % (
                    at + 1, number(found[-1]["settled_per_s"]), number(found[-1]["p50_ms"], 2),
                    number(found[-1]["bridge_mb"]),
                    number(found[-1]["tables"]["inbox"]["rows"], 0)))
            left = left_behind(rig)
        finally:
            churn.close()
    return {"hours": found, "left_behind": left, "others": churn.sent}


def curve(result, pick):
    return [(at + 1, pick(h)) for at, h in enumerate(result["hours"])]


def names(result):
    """All tables, the largest of the last hour first."""
    last = result["hours"][-1]["tables"]
    return sorted(last, key=lambda t: -last[t]["table_mb"] - last[t]["index_mb"])


def verdicts(result):
    def of(name, key, bound):
        return flat.Verdict(name, curve(result, lambda h: h[key]), bound, FULL)
    for table in names(result):
        full = FULL_FROM.get(table, FULL)
        for key, name, least in (("table_mb", "table", 2), ("index_mb", "indexes", 2)):
            yield flat.Verdict("%s, %s" % (table, name),
                               curve(result, lambda h, k=key: h["tables"][table][k]),
                               flat.Bound(0.15, least, "MB"), full)
        yield flat.Verdict("%s, dead rows" % table,
                           curve(result, lambda h: h["tables"][table]["dead"]),
                           flat.Bound(0.5, 20000, "rows"), full)
    yield of("write-ahead log kept", "wal_mb", flat.Bound(0.2, 50, "MB"))
    yield of("write-ahead log of a notification", "wal_kb_each", flat.Bound(0.15, 0.1, "KB"))
    for name in ("bridge", "broker", "sessions"):
        yield of("%s, memory" % name, name + "_mb", flat.Bound(0.1, 1, "MB"))
    for name in ("bridge", "broker"):
        yield of("%s, descriptors" % name, name + "_fds", flat.Bound(0, 2))
    yield of("sessions of the bridge", "sessions", flat.Bound(0, 0.5))
    for name in ("bridge", "postgres", "broker"):
        yield of("%s, CPU of a million" % name, name + "_cpu", flat.Bound(0.25, 2, "s"))


def failures(result):
    """Sentences: what grows, and what was forgotten."""
    for verdict in verdicts(result):
        if not verdict.is_flat:
            yield "%s grows: %s" % (verdict.name, ", ".join(verdict.row()[1:-1]))
    if result["left_behind"]:
        yield "%d deliveries were left behind in the queue" % result["left_behind"]


def facts(result):
    hours = result["hours"]
    yield ("%s notifications in %d hours of the run, and %s other requests; none was lost, %s arrived "
           "more than once; %d deliveries were left behind in the queue." % (
               number(sum(h["sent"] for h in hours)), len(hours), number(result["others"], 0),
               number(sum(h["duplicates"] for h in hours), 0), result["left_behind"]))
    yield "Others used %s of the machine's cores (median of the hours)." % number(flat.median(
        curve(result, lambda h: h["others_cores"])), 2)


def tables(result):
    """The verdicts, small tables left out where they are flat; then some hours side by side."""
    found = list(verdicts(result))
    small = {"%s, %s" % (t, what) for t, s in result["hours"][-1]["tables"].items()
             if s["table_mb"] < 0.1 for what in ("table", "indexes", "dead rows")}
    yield "What was judged (tables of less than 0.1 MB that are flat are left out):", [
        flat.HEAD] + [v.row() for v in found if not v.is_flat or v.name not in small]
    hours = result["hours"]
    chosen = sorted({min(FULL, len(hours)) - 1, len(hours) // 2, len(hours) - 1})
    rows = [["", *("hour %d" % (at + 1) for at in chosen)]]
    for name, key, digits in (("settled/s", "settled_per_s", 0), ("p50 ms", "p50_ms", 2),
                              ("p95 ms", "p95_ms", 2), ("p99 ms", "p99_ms", 2),
                              ("others' cores", "others_cores", 2)):
        rows.append([name] + [number(hours[at][key], digits) for at in chosen])
    yield "Throughput, and latency at %s per second:" % number(RATE), rows


def plots(result):
    hours = [h["tables"] for h in result["hours"]]
    big = [t for t in names(result) if hours[-1][t]["table_mb"] >= BIG_MB]
    busy = [t for t in names(result) if max(h[t]["dead"] for h in hours) >= BUSY_ROWS]

    def plot(name, title, unit, keys):
        return svg.Plot(name, title + " over the day", "hour", unit, [
            (label, curve(result, lambda h, k=key: h[k])) for label, key in keys], zero_y=True)
    yield svg.Plot("sizes", "Tables with their indexes over the day", "hour", "MB", [
        (t, curve(result, lambda h, t=t: h["tables"][t]["table_mb"] + h["tables"][t]["index_mb"]))
        for t in big], zero_y=True)
    yield svg.Plot("dead", "Dead rows over the day", "hour", "rows", [
        (t, curve(result, lambda h, t=t: h["tables"][t]["dead"])) for t in busy], zero_y=True)
    yield plot("memory", "Memory", "MB", (
        ("bridge", "bridge_mb"), ("broker", "broker_mb"), ("sessions", "sessions_mb")))
    yield plot("descriptors", "Descriptors and sessions", "count", (
        ("bridge", "bridge_fds"), ("sessions", "sessions")))
    yield plot("cost", "CPU time of a million notifications", "seconds", (
        ("postgres", "postgres_cpu"), ("bridge", "bridge_cpu"), ("broker", "broker_cpu")))
    yield plot("throughput", "Throughput", "settled per second", (("in-app", "settled_per_s"),))
    yield plot("others", "What others used of the machine", "cores", (("others", "others_cores"),))
    yield plot("latency", "Latency at %d per second" % RATE, "ms to the final receipt", (
        ("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms")))
