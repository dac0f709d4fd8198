#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the gate costs: the same broker with and without the plugin, same client, same run.

    tests/bench/gate.py [--json] [--quick] [--only PART ...]

Parts: connect publish fanout memory live.  Rounds with and without alternate, figures are
medians; beside the rate stands the broker's own CPU time for each operation, which a busy
machine distorts less.  `./run bench gate` runs this.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "integration")]

import jwt  # noqa: E402

import gate_tokens as gt  # noqa: E402
import servers  # noqa: E402
from gate_broker import GateBroker  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
COMMON = {"persistence": "false", "connection_messages": "false", "sys_interval": "0",
          "max_inflight_messages": 2000, "max_queued_messages": 100000}
PARTS = ("connect", "publish", "fanout", "memory", "live")
WINDOW = 64  # connects under way; the broker's listen backlog is 100


class Bare(GateBroker):
    """The same broker without the plugin: everyone may do everything."""

    def __init__(self, directory, **settings):
        super().__init__(directory, allow_anonymous="true", **settings)

    def prepare(self):
        super().prepare()
        with open(self.config) as file:
            lines = [x for x in file if not x.startswith("plugin")]
        servers.write_file(self.config, "".join(lines).replace(
            "allow_anonymous false", "allow_anonymous true"))


class Load:
    """gate_load on a broker; knows what the broker spent meanwhile."""

    def __init__(self, program, broker):
        self.broker = broker
        self.process = subprocess.Popen([program, str(broker.port)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def cpu(self):
        with open("/proc/%d/stat" % self.broker.pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def do(self, command):
        begin = self.cpu()
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise SystemExit("gate_load: %s: %s" % (command, answer["error"]))
        answer["cpu"] = self.cpu() - begin
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)


class Bench:
    def __init__(self, quick):
        self.dir = tempfile.TemporaryDirectory(prefix="tocsin-gate-bench-")
        self.quick = quick
        self.idp = gt.Idp()
        self.rounds = 1 if quick else 5
        self.program = os.path.join(servers.build_dir(), "tests", "bench", "gate_load")
        if not os.path.exists(self.program):
            self.program = os.path.join(self.dir.name, "gate_load")
            subprocess.check_call(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-o", self.program,
                                   os.path.join(HERE, "gate_load.c")])

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def brokers(self, **options):
        """One with the plugin, one without, in that order."""
        limits = {"user_publish_rate": "0", "user_byte_rate": "0", **options}
        given = gt.options(self.path("with"), self.idp, **limits)
        return (GateBroker(self.path("with"), given, **COMMON),
                Bare(self.path("without"), **COMMON))

    def token(self, broker, alg, kind, who, ttl=7200):
        if alg == "HS256":
            return broker.token(kind, who, ttl=ttl)
        key, kid = self.idp.keys[alg]
        now = int(time.time())
        return jwt.encode({"iss": gt.ISSUER, "aud": gt.AUDIENCE, "sub": who, "kind": kind,
                           "iat": now, "exp": now + ttl}, key, alg, {"kid": kid})

    def clients(self, broker, alg, count, kind="user", name="u"):
        """A file of clients, each with a token of its own."""
        path = self.path("clients")
        with open(path, "w") as file:
            for i in range(count):
                who = "%s%d" % (name, i)
                file.write("%s/%s %s %s\n" % (kind, who, who, self.token(broker, alg, kind, who)))
        return path

    # Parts

    def connect(self):
        """Connects a second, by algorithm; then the same tokens again, out of the cache."""
        count = 500 if self.quick else 2000
        rates = {}
        gate, bare = self.brokers()
        with gate, bare, Load(self.program, gate) as with_, Load(self.program, bare) as without:
            for number in range(self.rounds):
                for alg in ("HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"):
                    path = self.clients(gate, alg, count, name="%s-%d-" % (alg.lower(), number))
                    for load, label in ((without, "no plugin"), (with_, alg),
                                        (with_, alg + " again")):
                        if label == "no plugin" and alg != "RS256":
                            continue
                        done = load.do("open %s %d" % (path, WINDOW))
                        assert done["up"] == count, done
                        load.do("drop")
                        rates.setdefault(label, []).append(done)
        return {label: {"per_second": round(statistics.median(
                            count / d["seconds"] for d in all_), 0),
                        "broker_us": round(statistics.median(
                            d["cpu"] / count * 1e6 for d in all_), 1)}
                for label, all_ in rates.items()}

    def compare(self, count, rounds):
        """rounds() yields ("with" | "without", seconds, cpu); the first of each is to warm up."""
        runs = {"with": [], "without": []}
        for label, seconds, cpu in rounds:
            runs[label].append((seconds, cpu))
        out = {label: {"per_second": round(statistics.median(count / s for s, _ in all_[1:])),
                       "broker_us": round(statistics.median(c / count * 1e6
                                                            for _, c in all_[1:]), 2)}
               for label, all_ in runs.items()}
        out["kept_percent"] = round(100 * out["with"]["per_second"]
                                    / out["without"]["per_second"], 1)
        return out

    def turns(self, with_, without):
        """Who is next: with and without in turns, and which comes first in turns too."""
        both = [("with", with_), ("without", without)]
        for number in range(self.rounds * 4 + 1):
            yield from both if number % 2 else reversed(both)

    def publish(self):
        """QoS 1 publishes a second of one service, 300 bytes, 100 under way, nobody listening."""
        count = 5000 if self.quick else 20000
        gate, bare = self.brokers()

        def rounds():
            path = self.clients(gate, "HS256", 1, "service", "p")
            with Load(self.program, gate) as with_, Load(self.program, bare) as without:
                for load in (with_, without):
                    load.do("open %s 1" % path)
                for label, load in self.turns(with_, without):
                    done = load.do("publish 0 notify/v1/services/p0/up/request %d 300 100 0"
                                   % count)
                    yield label, done["seconds"], done["cpu"]
        with gate, bare:
            return self.compare(count, rounds())

    def fanout(self):
        """Deliveries a second: 300 bytes to 200 subscribers of the broadcast, QoS 1."""
        messages, readers = (50, 200) if self.quick else (150, 200)
        gate, bare = self.brokers()

        def rounds():
            path = self.clients(gate, "HS256", readers, name="s")
            with open(path, "a") as file:
                file.write("bridge/b b %s\n" % gate.token("bridge", "b"))
            with Load(self.program, gate) as with_, Load(self.program, bare) as without:
                for load in (with_, without):
                    load.do("open %s %d" % (path, WINDOW))
                    load.do("subscribe notify/v1/broadcast/#")
                for label, load in self.turns(with_, without):
                    done = load.do("publish %d notify/v1/broadcast/x %d 300 20 %d"
                                   % (readers, messages, messages * (readers + 1)))
                    yield label, done["seconds"], done["cpu"]
        with gate, bare:
            return self.compare(messages * (readers + 1), rounds())

    def memory(self):
        """Resident bytes for each of many idle connections with one subscription."""
        count = 1000 if self.quick else 5000
        out = {}
        for broker, label in zip(self.brokers(cache_entries="0"), ("with", "without")):
            with broker, Load(self.program, broker) as load:
                path = self.clients(broker, "HS256", count)
                before = broker.rss_kib()
                load.do("open %s %d" % (path, WINDOW))
                load.do("subscribe notify/v1/users/%s/down/#")
                out[label] = {"idle_kib": before, "bytes_per_connection": round(
                    (broker.rss_kib() - before) * 1024 / count)}
        return out

    def live(self):
        """10,000 connections: tokens replaced on all of them, then all dropped and back again."""
        count = 1000 if self.quick else 10000
        out = {"connections": count}
        for broker, label in zip(self.brokers(), ("with", "without")):
            with broker, Load(self.program, broker) as load:
                path = self.clients(broker, "HS256", count)
                first = load.do("open %s %d" % (path, WINDOW))
                out[label] = {"first_seconds": round(first["seconds"], 2)}
                if label == "with":
                    fresh = self.path("fresh")
                    with open(fresh, "w") as file:
                        for i in range(count):
                            file.write(broker.token("user", "u%d" % i) + "\n")
                    rotated = load.do("control " + fresh)
                    out["rotate"] = {"seconds": round(rotated["seconds"], 2),
                                     "still_up": rotated["up"],
                                     "per_second": round(count / rotated["seconds"]),
                                     "broker_us": round(rotated["cpu"] / count * 1e6, 1)}
                    idle = load.cpu()
                    time.sleep(3)
                    out["idle_cpu_percent"] = round((load.cpu() - idle) / 3 * 100, 1)
                load.do("drop")
                back = load.do("reopen %d" % WINDOW)
                out[label].update(storm_seconds=round(back["seconds"], 2), back=back["up"],
                                  broker_us=round(back["cpu"] / count * 1e6, 1),
                                  rss_kib=broker.rss_kib())
        return out


def show(results):
    for part, figures in results.items():
        print("%s: %s" % (part, getattr(Bench, part).__doc__.split("\n")[0]))
        for label, value in figures.items():
            text = ", ".join("%s %s" % (k, v) for k, v in value.items()) if isinstance(
                value, dict) else value
            print("  %-16s %s" % (label, text))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    parser.add_argument("--quick", action="store_true", help="small: a smoke test")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    bench = Bench(args.quick)
    results = {part: getattr(bench, part)() for part in args.only}
    if args.json:
        print(json.dumps({"scenario": "gate", **results}))
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
