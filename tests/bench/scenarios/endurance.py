# SPDX-License-Identifier: MIT
"""A day of churn in minutes: twenty-four "hours" of `--seconds` at saturation and half as long at
1,000 per second each, through partitions of notifications and attempts that are as short as half
an hour here and dropped, while traffic flows, once they are three hours old, as are the entries
of inboxes.  (Request keys are kept for days by design, and all of them are of today.)  What is
asked is whether anything but the keys grows: throughput, latency, dead rows, sizes, memory."""
import threading
import time

import measure
import svg
from rig import Rig, number, say
from servers import ServerError

from .common import at_rate, saturate

NAME = "endurance"
GOAL = "every curve is flat once the first three hours are full"
ORDER = 90
DEFAULT = False
HOURS, KEEP_HOURS, SLICES = 24, 3, 2  # SLICES: partitions an hour
RATE = 1000
TABLES = ("delivery", "scheduled", "notification", "attempt", "inbox", "inbox_user", "request_key")
BITE = 5000

SIZES = """SELECT regexp_replace(c.relname, '_(slice_)?\\d+$|_any_\\d$|_default$', ''),
    sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)), sum(coalesce(s.n_dead_tup, 0))
    FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY 1"""


class Trimmer(threading.Thread):
    """Short partitions made ahead, and dropped when they are old, as the bridge does by the day."""

    def __init__(self, postgres, slice_s, count, keep_s):
        super().__init__(daemon=True)
        self.postgres, self.slice_s, self.keep_s = postgres, slice_s, keep_s
        self.began, self.done = int(time.time()), threading.Event()
        self.left = list(range(count))
        # Detached, the day's own keep their names: the bridge sees that they have been made.
        for parent in ("notification", "attempt"):
            for (name,) in postgres.sql(
                    "select inhrelid::regclass from pg_inherits where inhparent = '%s'::regclass"
                    " and inhrelid::regclass::text ~ '_\\d{8}$'" % parent):
                postgres.sql("alter table %s detach partition %s" % (parent, name))
        for at in self.left:
            low = self.began - 60 + at * slice_s if at == 0 else self.began + at * slice_s
            high = self.began + (at + 1) * slice_s
            postgres.sql("create table notification_slice_%d partition of notification"
                         " for values from (%d) to (%d)" % (at, low * 1000 << 22, high * 1000 << 22))
            postgres.sql("create table attempt_slice_%d partition of attempt for values from"
                         " (to_timestamp(%d)) to (to_timestamp(%d))" % (at, low, high))
        self.start()

    def run(self):
        while not self.done.wait(0.5):
            old = time.time() - self.keep_s
            try:
                while self.left and self.began + (self.left[0] + 1) * self.slice_s < old:
                    for parent in ("notification", "attempt"):
                        self.postgres.sql(
                            "set lock_timeout = '100ms'; drop table if exists %s_slice_%d" % (
                                parent, self.left[0]))
                    self.left.pop(0)
                self.postgres.sql(
                    "delete from inbox where ctid = any (array(select ctid from inbox"
                    " where delivery < %d order by delivery limit %d))" % (
                        int(old * 1000) << 22, BITE))
            except ServerError:
                continue  # a lock was not to be had: later

    def stop(self):
        self.done.set()
        self.join()


def sizes(rig):
    """{table: {table_mb, index_mb, dead}} with partitions counted to their parents."""
    return {name: {"table_mb": int(table) / 1e6, "index_mb": int(index) / 1e6, "dead": int(dead)}
            for name, table, index, dead in rig.stack.postgres.sql(SIZES) if name in TABLES}


def hour(rig, args):
    full = saturate(rig, args.seconds, warmup=1)
    calm = at_rate(rig, RATE, max(1, args.seconds / 2), warmup=1)
    found = {"settled_per_s": full["settled_per_s"], "sent": full["sent"] + calm["sent"],
             "duplicates": full["duplicates"] + calm["duplicates"],
             "cpu_per_10k": full.get("cpu_per_10k"),
             "bridge_mb": measure.rss_mb(rig.stack.bridge.pid)[0],
             "broker_mb": measure.rss_mb(rig.stack.broker.pid)[0], "tables": sizes(rig)}
    found.update({"%s_ms" % k: calm["latency_ms"]["settled"][k] for k in ("p50", "p95", "p99")})
    return found


def run(args, build):
    hours = 6 if args.quick else HOURS
    hour_s = max(4, round(args.seconds * 1.5 + 6))  # with warm-up and draining
    found = []
    with Rig(build, args.settings) as rig:
        trimmer = Trimmer(rig.stack.postgres, -(-hour_s // SLICES), hours * SLICES * 3,
                          KEEP_HOURS * hour_s)
        try:
            for at in range(hours):
                found.append(hour(rig, args))
                say("endurance: hour %d: %s/s, p50 %s ms, bridge %s MB" % (
                    at + 1, number(found[-1]["settled_per_s"]), number(found[-1]["p50_ms"], 2),
                    number(found[-1]["bridge_mb"])))
        finally:
            trimmer.stop()
        missing = int(rig.stack.postgres.value(
            "select count(*) from delivery where due_at < now() - interval '1 minute'"))
    return {"hours": found, "left_behind": missing}


def curve(result, pick):
    return [(at + 1, pick(h)) for at, h in enumerate(result["hours"])]


def facts(result):
    sent = sum(h["sent"] for h in result["hours"])
    yield "%s notifications in %d hours of the run; none was lost, %s arrived more than once." % (
        number(sent), len(result["hours"]), number(sum(h["duplicates"] for h in result["hours"]), 0))
    yield "%d deliveries were left behind in the queue." % result["left_behind"]


def tables(result):
    """The first full hour, the middle and the last, side by side."""
    hours = result["hours"]
    chosen = sorted({min(KEEP_HOURS, len(hours) - 1), len(hours) // 2, len(hours) - 1})
    rows = [["", *("hour %d" % (at + 1) for at in chosen)]]

    def add(name, pick, digits=1):
        rows.append([name] + [number(pick(hours[at]), digits) for at in chosen])
    add("settled/s", lambda h: h["settled_per_s"])
    for key in ("p50_ms", "p95_ms", "p99_ms"):
        add("%s at %d/s" % (key.replace("_", " "), RATE), lambda h, k=key: h[k], 2)
    add("bridge MB", lambda h: h["bridge_mb"])
    add("broker MB", lambda h: h["broker_mb"])
    for table in TABLES:
        for key in ("table_mb", "index_mb", "dead"):
            if all(table in hours[at]["tables"] for at in chosen):
                add("%s %s" % (table, key.replace("_mb", " MB")),
                    lambda h, t=table, k=key: h["tables"][t][k], 0 if key == "dead" else 1)
    yield "", rows


def plots(result):
    yield svg.Plot("throughput", "Throughput over the day", "hour", "settled per second",
                   [("in-app", curve(result, lambda h: h["settled_per_s"]))], zero_y=True)
    yield svg.Plot("latency", "Latency at %d per second over the day" % RATE, "hour",
                   "ms to the final receipt",
                   [(k, curve(result, lambda h, k=k: h[k + "_ms"])) for k in ("p50", "p95", "p99")],
                   zero_y=True)
    yield svg.Plot("sizes", "Tables with their indexes over the day", "hour", "MB", [
        (t, curve(result, lambda h, t=t: sum(
            h["tables"][t][k] for k in ("table_mb", "index_mb")) if t in h["tables"] else None))
        for t in TABLES], zero_y=True)
    yield svg.Plot("dead", "Dead rows over the day", "hour", "rows", [
        (t, curve(result, lambda h, t=t: h["tables"][t]["dead"] if t in h["tables"] else None))
        for t in ("delivery", "inbox", "inbox_user")], zero_y=True)
    yield svg.Plot("memory", "Memory over the day", "hour", "MB resident", [
        ("bridge", curve(result, lambda h: h["bridge_mb"])),
        ("broker", curve(result, lambda h: h["broker_mb"]))], zero_y=True)
