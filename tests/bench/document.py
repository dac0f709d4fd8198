# SPDX-License-Identifier: MIT
"""Results as tables: for people on the terminal, and as docs/benchmarks.md."""
import os

import servers

PAGE = os.path.join(servers.ROOT, "docs", "benchmarks.md")
HEAD = ("phase", "settled/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "accepted p50",
        "inbox p50", "broker", "bridge", "postgres", "load", "sinks", "peak MB", "others")
LEGEND = ("Latencies are to the final receipt unless named. broker .. sinks: CPU seconds per "
          "10,000 notifications. peak MB: the bridge's resident memory at its highest. others: "
          "cores that anything else on the machine used meanwhile.")

GOALS = {
    "in-app": "at least 10,000 settled per second; p50 under 2 ms and p95 under 5 ms at 500/s",
    "http": "with concurrency 100 at least 4,750/s (95 % of what 20 ms allow), with 1,000 at "
            "least 8,000/s; a fast provider keeps its rate beside a slow one",
    "backlog": "drained without memory growth; the bridge under 8 MB idle and 32 MB under load",
    "growth": "the same throughput with 10 k, 100 k and 1 M rows",
}

INTRO = """# Benchmarks

Written by `./run bench --write-docs`; do not edit.

What is measured: `tests/bench/load`, one process with its own MQTT client, plays the services
and the users. A service publishes a request of 300 body bytes (QoS 1); the bridge commits it to
Postgres (`fsync` and `synchronous_commit` on) and answers `accepted`; the notification reaches
the user's inbox; the user acknowledges (QoS 1); the bridge commits that and sends the final
receipt. A notification counts as settled with that receipt, and latencies run from the moment the
request was due to be sent (at a fixed rate) or was sent (at saturation) to that receipt. A
notification that is lost fails the run. Everything, the load generator included, shares the one
machine; CPU seconds are of whole process trees, from `/proc`. The bridge reaches the broker by TCP:
a Unix socket holds some 200 requests, which keeps a lane's batches, and the throughput, a quarter
smaller.

At saturation the load generator sleeps 0.5 ms before each wait for messages, so that it handles
more at once: that costs latency, and spares the broker from waking it for each message. The raw
broker figure is taken in the same way.

In the tables, latencies are in ms to the final receipt unless named; broker to sinks are CPU
seconds per 10,000 notifications; peak MB is the bridge's resident memory at its highest; others
are the cores that anything else on the machine used meanwhile.

With `--first` stack and load generator have real-time priority, for a machine that others use at
the same time; the kernel leaves the others 5 %%.

Machine: %s.
"""


def number(value, digits=1):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return "{:,.0f}".format(value)
    return "%.*f" % (digits, value)


def row(name, figures):
    latency = figures["latency_ms"]
    settled, cpu = latency["settled"], figures.get("cpu_per_10k") or {}
    sinks = [cpu[k] for k in ("sink", "slow sink") if cpu.get(k) is not None]
    return [name, number(figures["settled_per_s"])] + [
        number(settled[k], 2) for k in ("p50", "p95", "p99", "max")] + [
        number(latency["accepted"]["p50"], 2),
        number(latency["inbox"]["p50"], 2) if latency["inbox"]["count"] else "-"] + [
        number(cpu.get(k), 2) for k in ("broker", "bridge", "postgres", "load")] + [
        number(sum(sinks), 2) if sinks else "-",
        number(figures.get("bridge_peak_mb")), number(figures.get("others_cores"), 2)]


def markdown(rows):
    """A Markdown table, aligned so that it reads as plain text too."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(r, widths)) + " |" for r in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return lines


def facts(result):
    """The figures that are not of one phase, as sentences."""
    raw = result.get("raw")
    if raw:
        yield ("Raw limits in this run: %s QoS 1 messages/s through the broker to 1,000 users; "
               "%s rows/s inserted and updated in batches in Postgres." % (
                   number(raw["mqtt_messages_per_s"]), number(raw["postgres_rows_per_s"])))
    if "bridge_idle_mb" in result:
        yield "Bridge resident when idle: %s MB." % number(result["bridge_idle_mb"])
    if "memory_mb" in result:
        yield "Memory after the load (shared pages counted once): %s MB in all; %s." % (
            number(sum(result["memory_mb"].values())),
            ", ".join("%s %s" % (k, number(v)) for k, v in result["memory_mb"].items()))
    if "drained_s" in result:
        yield ("%s requests waited at the broker (%s MB resident there); drained in %s s from the "
               "bridge's start, %s per second; bridge at most %s MB." % (
                   number(result["count"]), number(result["broker_full_mb"]),
                   number(result["drained_s"]), number(result["settled_per_s"]),
                   number(result["bridge_peak_mb"])))
        yield "Bridge memory over time (s: MB): " + ", ".join(
            "%s: %s" % (number(t), number(mb)) for t, mb in result["rss_curve_mb"])
    doubled = sum(p["duplicates"] for p in result["phases"].values())
    total = sum(p["sent"] for p in result["phases"].values())
    yield "Of %s notifications none was lost; %s arrived more than once." % (
        number(total), number(doubled, 0))


def table(result):
    rows = [list(HEAD)] + [row(name, figures) for name, figures in result["phases"].items()]
    return ["", "%s (goal: %s)" % (result["scenario"], GOALS[result["scenario"]])] + \
        markdown(rows) + [LEGEND] + list(facts(result))


def write(results):
    """The page, from one result of each scenario."""
    text = [INTRO % ", ".join("%s %s" % (k.replace("_", " "), v)
                              for k, v in results[0]["machine"].items() if k != "commit")]
    for result in results:
        text += ["## %s" % result["scenario"], "",
                 "Goal: %s." % GOALS[result["scenario"]], "",
                 "`%s`, median of %d, commit `%s`, %s." % (
                     result["command"].strip(), result["repeat"], result["machine"]["commit"],
                     result["at"][:10]), ""]
        rows = [list(HEAD)] + [row(n, f) for n, f in result["phases"].items()]
        text += markdown(rows) + [""]
        text += ["* " + line for line in facts(result)] + [""]
    os.makedirs(os.path.dirname(PAGE), exist_ok=True)
    with open(PAGE, "w") as file:
        file.write("\n".join(text).rstrip() + "\n")
