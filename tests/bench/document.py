# SPDX-License-Identifier: MIT
"""Results as tables: for people on the terminal, and as docs/benchmarks.md with its plots."""
import json
import os

import scenarios
import servers
from rig import number

PAGE = os.path.join(servers.ROOT, "docs", "benchmarks.md")
PICTURES = os.path.join(servers.ROOT, "docs", "benchmarks")
HISTORY = os.path.join(PICTURES, "history.jsonl")
HEAD = ("phase", "settled/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "accepted p50",
        "inbox p50", "peak MB", "others")
COST = ("broker", "bridge", "postgres", "load")
LEGEND = ("Latencies are to the final receipt unless named. peak MB: the bridge's resident memory "
          "at its highest. others: cores that anything else on the machine used meanwhile. Cost "
          "is per million notifications: CPU seconds by process (postgres: all of its processes), "
          "and GB of write-ahead log and of tables with their indexes.")

INTRO = """# Benchmarks

Written by `./run bench --write-docs`; do not edit. Each result stays in
[benchmarks/history.jsonl](benchmarks/history.jsonl), one line of JSON for each scenario and run.

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

With `--first` stack and load generator have real-time priority, for a machine that others use at
the same time; the kernel leaves the others 5 %%. With `--repeat N` all figures are medians of N
runs, each on a new stack.

%s

Machine: %s.
"""


# Tables

def markdown(rows):
    """A Markdown table, aligned so that it reads as plain text too."""
    rows = [[str(cell) for cell in r] for r in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(r, widths)) + " |" for r in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return lines


def row(name, figures, spread):
    latency = figures["latency_ms"]
    settled = latency["settled"]
    rate = number(figures["settled_per_s"])
    if spread:
        rate += " (%s - %s)" % tuple(number(value) for value in spread)
    return [name, rate] + [
        number(settled[k], 2) for k in ("p50", "p95", "p99", "max")] + [
        number(latency["accepted"]["p50"], 2),
        number(latency["inbox"]["p50"], 2) if latency["inbox"]["count"] else "-",
        number(figures.get("bridge_peak_mb")), number(figures.get("others_cores"), 2)]


def cost_rows(phases):
    """[header, row, ...] of what a million notifications of each phase cost; [] if unknown."""
    found = [(name, figures) for name, figures in phases.items() if figures.get("cpu_per_10k")]
    sinks = sorted({k for _, figures in found for k in figures["cpu_per_10k"]} - set(COST))
    columns = list(COST) + sinks
    rows = []
    for name, figures in found:
        cpu, size = figures["cpu_per_10k"], figures.get("bytes_each") or {}
        seconds = [cpu.get(k) for k in columns]
        rows.append([name] + [number(s * 100 if s is not None else None) for s in seconds] + [
            number(size[k] / 1000 if size.get(k) is not None else None, 2)
            for k in ("wal", "stored")])
    return [["phase"] + ["%s CPU s" % c for c in columns] + ["WAL GB", "tables GB"]
            ] + rows if rows else []


def tables(result):
    """[(title, rows)] of one result: the standard ones of its phases, then its own."""
    phases, spread = result.get("phases") or {}, result.get("spread") or {}
    if phases:
        yield "", [list(HEAD)] + [row(name, figures, spread.get(name))
                                  for name, figures in phases.items()]
        cost = cost_rows(phases)
        if cost:
            yield "Cost per million notifications:", cost
    yield from ask(result, "tables")


def ask(result, what):
    """What the scenario itself has to say of a result, if anything."""
    call = getattr(scenarios.ALL[result["scenario"]], what, None)
    return list(call(result)) if call else []


# Sentences

def raw_facts(raw):
    """The machine's own limits, as a sentence."""
    return ("Raw limits in this run: %s QoS 1 messages/s through the broker to 1,000 users; "
            "Postgres %s rows/s inserted and updated in batches of 500, %s commits/s of single "
            "rows on one connection and %s on eight; one fdatasync of 8 KB takes %s ms." % (
                number(raw["mqtt_messages_per_s"]), number(raw["postgres_rows_per_s"]),
                number(raw["postgres_commits_1_per_s"]), number(raw["postgres_commits_8_per_s"]),
                number(raw["fdatasync_ms"], 3)))


def facts(result):
    """The figures that are not of one phase, as sentences."""
    yield from ask(result, "facts")
    phases = (result.get("phases") or {}).values()
    total = sum(p["sent"] for p in phases)
    if total:
        yield "Of %s notifications none was lost; %s arrived more than once." % (
            number(total), number(sum(p["duplicates"] for p in phases), 0))


def terminal(result):
    """The lines that a run prints for a scenario."""
    yield ""
    yield "%s (goal: %s)" % (result["scenario"], scenarios.ALL[result["scenario"]].GOAL)
    for title, rows in tables(result):
        if title:
            yield title
        yield from markdown(rows)
    yield from facts(result)


# The page

def remember(results):
    """Appends what is to stay to the committed history."""
    os.makedirs(PICTURES, exist_ok=True)
    with open(HISTORY, "a") as file:
        for result in results:
            file.write(json.dumps(result) + "\n")


def latest():
    """The last remembered result of each scenario that still exists, in the page's order."""
    found = {}
    if os.path.exists(HISTORY):
        with open(HISTORY) as file:
            for line in file:
                result = json.loads(line)
                found[result["scenario"]] = result
    return [found[name] for name in scenarios.ALL if name in found]


def section(result):
    module = scenarios.ALL[result["scenario"]]
    yield from ("## %s" % module.NAME, "", module.__doc__.strip(), "", "Goal: %s." % module.GOAL,
                "", "`%s`, median of %d, commit `%s`, %s." % (
                    result["command"].strip(), result["repeat"], result["machine"]["commit"],
                    result["at"][:10]), "")
    for title, rows in tables(result):
        if title:
            yield from (title, "")
        yield from markdown(rows) + [""]
    for plot in ask(result, "plots"):
        name = "%s-%s.svg" % (module.NAME, plot.name)
        with open(os.path.join(PICTURES, name), "w") as file:
            file.write(plot.svg())
        yield from ("![%s](benchmarks/%s)" % (plot.title, name), "")
    yield from ["* " + line for line in [raw_facts(result["raw"])] + list(facts(result))] + [""]


def write():
    """The page, from the last remembered result of each scenario."""
    results = latest()
    text = [INTRO % (LEGEND, ", ".join(
        "%s %s" % (k.replace("_", " "), v)
        for k, v in results[0]["machine"].items() if k != "commit"))]
    for result in results:
        text += section(result)
    with open(PAGE, "w") as file:
        file.write("\n".join(text).rstrip() + "\n")
