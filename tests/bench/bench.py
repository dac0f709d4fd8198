#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""./run bench [SCENARIO ...]: what Tocsin does on this machine, and what the machine could do.

Each scenario (one file each in tests/bench/scenarios) starts a private stack (release
build, fsync on), drives it with tests/bench/load, checks that every notification arrived,
and prints tables and one JSON line.  The raw limits of disk, broker and Postgres are
measured in the same run by the same client code.  Figures of a repeated scenario are
medians.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import building  # noqa: E402
import document  # noqa: E402
import measure  # noqa: E402
import rig  # noqa: E402
import scenarios  # noqa: E402
import servers  # noqa: E402
from scenarios import common  # noqa: E402

HISTORY = os.path.join(rig.STATE, "history.jsonl")
GATE = os.path.join(HERE, "gate.py")


def with_companions(names):
    """Each once, followed by those that are measured along with it (WITH)."""
    found = []
    for name in names:
        for each in (name, *getattr(scenarios.ALL.get(name), "WITH", ())):
            if each not in found:
                found.append(each)
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="run bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO",
                        help="of %s, gate (default: %s)" % (
                            ", ".join(scenarios.ALL), ", ".join(scenarios.DEFAULT)))
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="take medians of N")
    parser.add_argument("--seconds", type=float, default=10, help="measured part of each load")
    parser.add_argument("--quick", action="store_true", help="shorter and smaller: a smoke test")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a key of the bridge's configuration")
    parser.add_argument("--first", action="store_true",
                        help="real-time priority, on a machine that others use too (root)")
    parser.add_argument("--write-docs", action="store_true",
                        help="append to the history in docs/benchmarks, and write docs/benchmarks.md:"
                        " this run, and the last one of the rest")
    args = parser.parse_args()
    for name in args.scenario:
        if name not in scenarios.ALL and name != "gate":
            parser.error("no scenario %r" % name)
    args.scenario = with_companions(args.scenario or scenarios.DEFAULT)
    if args.quick:
        args.seconds = min(args.seconds, 3)
    args.settings = [servers.parse_set(text) for text in args.set]
    return args


def build_place():
    """The release binaries: $TOCSIN_BUILD, or built now."""
    if not os.environ.get("TOCSIN_BUILD"):
        building.prepare("release")
        return os.path.join(servers.ROOT, "build", "release")
    return os.path.abspath(os.environ["TOCSIN_BUILD"])


def median(runs):
    """One figure tree out of several of the same shape: numbers by their median."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: median([run[key] for run in runs if key in run]) for key in first}
    if isinstance(first, (list, tuple)):
        length = min(len(run) for run in runs)
        return [median([run[i] for run in runs]) for i in range(length)]
    known = [run for run in runs if isinstance(run, (int, float)) and not isinstance(run, bool)]
    return statistics.median(known) if known else first


def spread(runs):
    """{phase: [least, most]} of the rate settled, over the repetitions."""
    phases = [run.get("phases", {}) for run in runs]
    rates = {name: [p[name]["settled_per_s"] for p in phases if name in p] for name in phases[0]}
    return {name: [min(found), max(found)] for name, found in rates.items() if len(found) > 1}


def repeated(call, args, build, name):
    runs = []
    for number in range(args.repeat):
        if args.repeat > 1:
            rig.say("%s: %d of %d" % (name, number + 1, args.repeat))
        runs.append(call(args, build))
    return runs


def run_scenario(name, args, build):
    runs = repeated(scenarios.ALL[name].run, args, build, name)
    return {"scenario": name, "repeat": args.repeat, "spread": spread(runs), **median(runs)}


def keep(result):
    os.makedirs(rig.STATE, exist_ok=True)
    with open(HISTORY, "a") as file:
        file.write(json.dumps(result) + "\n")


def gate(args):
    if not os.path.exists(GATE):
        rig.say("gate: tests/bench/gate.py is not there")
        return 0
    return subprocess.call([sys.executable, GATE] + (["--quick"] if args.quick else []))


def raw_limits(args, build, machine):
    raw = median(repeated(common.raw_limits, args, build, "raw limits"))
    raw["fdatasync_ms"] = machine["fdatasync_ms"]
    rig.say(document.raw_facts(raw))
    return raw


def main():
    args = arguments()
    build = build_place()
    if args.first:
        measure.go_first()
    os.makedirs(rig.STATE, exist_ok=True)
    machine = measure.describe(rig.STATE, servers.postgres_bin())
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    rig.say("machine: " + ", ".join("%s %s" % pair for pair in machine.items()))
    command, code, results = "./run bench " + " ".join(sys.argv[1:]), 0, []
    raw = raw_limits(args, build, machine) if set(args.scenario) - {"gate"} else None
    for name in args.scenario:
        if name == "gate":
            code = gate(args) or code
            continue
        try:
            result = {"at": when, "machine": machine, "command": command, "raw": raw,
                      **run_scenario(name, args, build)}
        except (rig.Lost, servers.ServerError, TimeoutError) as error:
            rig.say("%s: FAILED: %s" % (name, error))
            code = 1
            continue
        for line in document.terminal(result):
            rig.say(line)
        for line in document.ask(result, "failures"):
            rig.say("%s: FAILED: %s" % (name, line))
            code = 1
        rig.say(json.dumps(result))
        keep(result)
        results.append(result)
    if args.write_docs and not code:
        document.remember(results)
        document.write()
    rig.say(document.LEGEND)
    return code


if __name__ == "__main__":
    servers.raise_on_signals()
    sys.exit(main())
