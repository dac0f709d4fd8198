#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""./run fuzz [TARGET ...]: every parser that faces somebody else's bytes, under libFuzzer.

A target is tests/fuzz/fuzz_<name>.c; its seeds, which are also the regression tests of what it
once found, are in tests/fuzz/corpus/<name>.  Built by clang with AddressSanitizer and
UndefinedBehaviorSanitizer, leaks on.  What a run discovers stays in build/fuzz/work/<name> and is
where the next run goes on; --keep adds to the seeds what reaches code that they do not reach.
An input that breaks something is printed with the command that repeats it, and fails the run.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import building  # noqa: E402
from building import ROOT, say  # noqa: E402

BUILT = os.path.join(ROOT, "build", "fuzz", "tests", "fuzz")
WORK = os.path.join(ROOT, "build", "fuzz", "work")
LOW = ["nice", "-n", "15"]
# The most that one input may take; by the clock on the wall, and others use this machine as well.
INPUT_SECONDS, MEMORY_MB = 60, 2048


def targets():
    """The names of all targets there are, built or not."""
    return sorted(os.path.basename(path)[len("fuzz_"):-len(".c")]
                  for path in glob.glob(os.path.join(HERE, "fuzz_*.c")))


def seeds(name):
    return os.path.join(HERE, "corpus", name)


def findings(name):
    """What once broke something and may still do so."""
    return sorted(path for kind in ("crash", "leak", "timeout", "oom")
                  for path in glob.glob(os.path.join(WORK, name, kind + "-*")))


def command(name, seconds):
    """The libFuzzer command line for one pass."""
    work = os.path.join(WORK, name)
    os.makedirs(work, exist_ok=True)
    words = os.path.join(HERE, name + ".dict")
    return (LOW + [os.path.join(BUILT, "fuzz_" + name), "-max_total_time=%d" % seconds,
                   "-timeout=%d" % INPUT_SECONDS, "-rss_limit_mb=%d" % MEMORY_MB,
                   "-print_final_stats=1", "-artifact_prefix=%s/" % work]
            + (["-dict=" + words] if os.path.exists(words) else []) + [work, seeds(name)])


def fuzz(name, seconds):
    """One pass; (whether all went well, what to tell of it)."""
    if not (os.path.isdir(seeds(name)) and os.listdir(seeds(name))):
        return False, "%s has no seeds in tests/fuzz/corpus/%s" % (name, name)
    try:
        done = subprocess.run(command(name, seconds), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
                              timeout=seconds * 2 + 600, check=False)
    except subprocess.TimeoutExpired:
        return False, "%s: did not end in time" % name
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        again = [os.path.join(BUILT, "fuzz_" + name)] + findings(name)[-1:]
        return False, "%s\nagain: %s" % (text[-9000:], " ".join(map(shlex.quote, again)))
    return True, summary(name, text)


def summary(name, text):
    """One line out of libFuzzer's many."""
    def last(pattern):
        found = re.findall(pattern, text)
        return int(found[-1]) if found else 0
    return "%-16s %10s runs %8s/s %6d edges %5d inputs, %d of them seeds" % (
        name, "{:,}".format(last(r"number_of_executed_units: (\d+)")),
        "{:,}".format(last(r"average_exec_per_sec: +(\d+)")), last(r" cov: (\d+)"),
        last(r" corp: (\d+)"), len(os.listdir(seeds(name))))


def keep(name):
    """Adds to the seeds what covers more than they do; returns how many inputs that was."""
    before = len(os.listdir(seeds(name)))
    subprocess.run(LOW + [os.path.join(BUILT, "fuzz_" + name), "-merge=1",
                          "-timeout=%d" % INPUT_SECONDS, seeds(name), os.path.join(WORK, name)],
                   cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return len(os.listdir(seeds(name))) - before


def arguments():
    parser = argparse.ArgumentParser(prog="run fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*", metavar="TARGET",
                        help="of %s (default: all)" % ", ".join(targets()))
    parser.add_argument("--minutes", type=float, default=1, metavar="N", help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="how many targets at a time")
    parser.add_argument("--keep", action="store_true", help="add to tests/fuzz/corpus what was new")
    args = parser.parse_args()
    for name in args.target:
        if name not in targets():
            parser.error("no target %r" % name)
    return args


def main():
    args = arguments()
    building.build("fuzz")
    names, failed = args.target or targets(), []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        futures = {pool.submit(fuzz, name, round(args.minutes * 60)): name for name in names}
        for future in concurrent.futures.as_completed(futures):
            is_good, text = future.result()
            say(text)
            if not is_good:
                failed.append(futures[future])
    if args.keep:
        for name in names:
            say("%-16s %d new seeds" % (name, keep(name)))
    if failed:
        say("FAILED: " + ", ".join(sorted(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except building.Failure as error:
        say("run: %s" % error)
        sys.exit(1)
