# SPDX-License-Identifier: MIT
"""`./run test isolation`: what the store's statements do to each other, and what the planner makes
of them.

    isolation.py [--all] [SPEC ['B2.begin B2.sweep ...']]

Without a spec: every spec, the reader of plans and the completeness of both.  With one: its merges,
or the one merge that is named.
"""
import argparse
import concurrent.futures
import itertools
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import driver  # noqa: E402
import plans  # noqa: E402
import postgres  # noqa: E402
import specs  # noqa: E402
import world  # noqa: E402

WORKERS = 2


class Cluster(postgres.Postgres):
    """Nothing here is to survive a crash."""
    SETTINGS = {**postgres.Postgres.SETTINGS, "fsync": "off", "synchronous_commit": "off",
                "full_page_writes": "off", "deadlock_timeout": "50ms"}

    def url_without_name(self):
        return "host=%s port=%d user=tocsin" % (self.place, self.port)


class Failures:
    def __init__(self):
        self.found = []

    def add(self, name, text):
        self.found.append((name, text))
        print("FAILED %s\n  %s" % (name, text.replace("\n", "\n  ")), flush=True)


def work(url, create, number, everything, only, merge):
    """One worker: its share of the specs in a database of its own; the first reads plans too."""
    statements = driver.read_statements()
    where = world.World(url, "iso%d" % number, statements)
    runner = driver.Runner(where)
    try:
        done, found = [], []
        chosen = [spec for spec in specs.all_specs(where, everything)
                  if is_chosen(spec, only)]
        for spec in chosen[number::create]:
            orders = [order for order in spec.merges() if spec.label(order) == merge] if merge \
                else spec.chosen(everything)
            done.append((spec.name, spec.is_bad) + runner.run(spec, orders))
        if not only and number == 0:
            found += plans.check(where, statements)
            found += specs.missing(where, chosen)
        return done, found
    finally:
        runner.close()
        where.close()


def run(everything=False, only=None, merge=None):
    """[(name, what is wrong)]."""
    failures, counts = Failures(), [0, 0]
    with tempfile.TemporaryDirectory() as directory, Cluster(directory) as cluster:
        for i in range(WORKERS):
            cluster.sql("create database iso%d" % i, database="postgres")
        with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
            jobs = [pool.submit(work, cluster.url_without_name(), WORKERS, i, everything, only, merge)
                    for i in range(WORKERS)]
            for job in concurrent.futures.as_completed(jobs):
                done, found = job.result()
                for one in done:
                    counts[0] += 1
                    counts[1] += one[2]
                    judge(failures, *one)
                for name, text in found:
                    failures.add(name, text)
    if not counts[0]:
        failures.add(only, "there is no such spec")
    print("%d specs, %d merges" % tuple(counts), flush=True)
    return failures.found


def judge(failures, name, is_bad, ran, bad):
    if not ran:
        failures.add(name, "none of its orders is a merge")
    elif is_bad:
        if not bad:
            failures.add(name, "is not seen")
    else:
        for label, what in bad[:3]:
            failures.add("%s '%s'" % (name, label), "\n".join(what))
        if len(bad) > 3:
            failures.add(name, "and %d more merges" % (len(bad) - 3))


def spec_and_order(words):
    """A spec's name may have blanks, quoted or not; the steps of an order have points."""
    words = " ".join(words).replace("'", "").split()
    name = list(itertools.takewhile(lambda word: "." not in word, words))
    return " ".join(name) or None, " ".join(words[len(name):]) or None


def is_chosen(spec, only):
    """A name also stands for both ends of its first transaction."""
    return only in (None, spec.name) or spec.name in ("%s commit" % only, "%s rollback" % only)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("words", nargs="*", metavar="SPEC [ORDER]")
    args = parser.parse_args()
    failed = run(args.all, *spec_and_order(args.words))
    print("%d failed" % len(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
