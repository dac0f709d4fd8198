# SPDX-License-Identifier: MIT
"""`./run test`: every check there is, each as a step, and one closing line that counts.

    build     release and asan (fuzz with clang)     layers, style, format   the sources
    promises  every page's promises have a test       breaks  every patch of tests/breaks applies
    lint      clang-tidy, cppcheck                    unit                    ctest, sanitized
    fuzz      a short pass of every target            integration             pytest
    isolation the store's statements against each other, in every order of their steps

A step is a generator of Result; a step that raises counts as one failure.  Files that
did not change since clang-tidy and cppcheck last passed them are not looked at again.
Linters and fuzzers run beside the integration tests, which mostly wait, at low priority.
"""
import collections
import concurrent.futures
import functools
import glob
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import building
import servers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuzz"))
import fuzz  # noqa: E402

ROOT = servers.ROOT
BUILD = os.path.join(ROOT, "build")
JOBS = os.cpu_count() or 2
Result = collections.namedtuple("Result", "name outcome text")
LOW = ["nice", "-n", "15"]
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def command(name, argv, seconds=900, **more):
    """Runs one command; its exit status is the result."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, cwd=ROOT, check=False,
                              **more)
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode("utf-8", "replace")
        return Result(name, FAILED, "%s\ntook more than %d s" % (output[-8000:], seconds))
    text = done.stdout.decode("utf-8", "replace")
    return Result(name, FAILED if done.returncode else PASSED, text)


def parallel(jobs):
    """Runs functions on all cores and yields their results as they end."""
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in concurrent.futures.as_completed([pool.submit(job) for job in jobs]):
            yield future.result()


# Sources

def sources(*tops, suffixes=(".c",)):
    found = []
    for top in tops or ("bridge", "plugins", "clients", "tests"):
        for suffix in suffixes:
            found += glob.glob(os.path.join(ROOT, top, "**", "*" + suffix), recursive=True)
    return sorted(path for path in found if "/node_modules/" not in path)


def step_layers(_all):
    yield command("layers", [servers.PYTHON, "tests/check_layers.py"])


def step_style(_all):
    yield command("style", [servers.PYTHON, "tests/check_style.py"])


def step_promises(_all):
    yield command("promises", [servers.PYTHON, "tests/check_promises.py"])


def step_asserts(_all):
    yield command("asserts", [servers.PYTHON, "tests/asserts/check_asserts.py"])


def step_breaks(_all):
    """Whether they apply; `./run breaks` says whether their tests notice them."""
    yield command("breaks", [servers.PYTHON, "tests/breaks/breaks.py", "--check"])


def step_format(_all):
    files = sources(suffixes=(".c", ".h"))
    yield command("format", ["clang-format", "--dry-run", "-Werror"] + files)


def format_in_place():
    subprocess.run(["clang-format", "-i"] + sources(suffixes=(".c", ".h")), check=True)


class Cache:
    """Which files passed a checker, by everything that could change its verdict."""

    def __init__(self, checker, *inputs):
        self.path = os.path.join(BUILD, checker + ".passed")
        self.salt = hashlib.sha256()
        for path in inputs:
            with open(path, "rb") as file:
                self.salt.update(file.read())
        try:
            with open(self.path) as file:
                self.old = set(json.load(file))
        except (OSError, ValueError):
            self.old = set()
        self.new = set()

    def key(self, path):
        digest = self.salt.copy()
        for part in [path] + sorted(self.headers(path, set())):
            with open(part, "rb") as file:
                digest.update(part.encode() + b"\0" + file.read())
        return digest.hexdigest()

    def headers(self, path, seen):
        """Our own headers that path includes, directly or not."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        parts = os.path.relpath(path, ROOT).split("/")
        tops = [os.path.dirname(path), os.path.join(ROOT, "bridge"),
                os.path.join(ROOT, *parts[:2])]
        for target in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
            for top in tops:
                found = os.path.normpath(os.path.join(top, target))
                if os.path.isfile(found) and found not in seen:
                    seen.add(found)
                    self.headers(found, seen)
        return seen

    def fresh(self, paths):
        """Those whose verdict is not known yet."""
        keys = {path: self.key(path) for path in paths}
        self.new |= {keys[path] for path in paths} & self.old
        return [(path, keys[path]) for path in paths if keys[path] not in self.old]

    def save(self):
        servers.write_file(self.path, json.dumps(sorted(self.new)), 0o644)


def known_to_compiler(preset):
    with open(os.path.join(BUILD, preset, "compile_commands.json")) as file:
        return {os.path.normpath(os.path.join(entry["directory"], entry["file"]))
                for entry in json.load(file)}


def step_lint(_all):
    """One result for each checker, naming the files that it complains about."""
    known = known_to_compiler("asan")
    files = [path for path in sources() if path in known]
    product = [path for path in files if not path.startswith(os.path.join(ROOT, "tests"))]
    tidy = Cache("clang-tidy", os.path.join(ROOT, ".clang-tidy"))
    check = Cache("cppcheck", os.path.join(ROOT, "tests", "cppcheck.txt"))
    jobs = [lambda p=p, k=k: (tidy, k, lint_tidy(p)) for p, k in tidy.fresh(product)]
    jobs += [lambda p=p, k=k: (check, k, lint_cppcheck(p)) for p, k in check.fresh(files)]
    complaints = {tidy: [], check: []}
    for cache, key, result in parallel(jobs):
        if result.outcome == PASSED:
            cache.new.add(key)
        else:
            complaints[cache].append(result.text)
    for name, cache in (("clang-tidy", tidy), ("cppcheck", check)):
        cache.save()
        text = "".join(complaints[cache])
        yield Result(name, FAILED if text else PASSED, text)


def lint_tidy(path):
    result = command("clang-tidy", LOW + ["clang-tidy", "--quiet", "-p", os.path.join(BUILD, "asan"),
                                    path])
    text = "".join(line + "\n" for line in result.text.split("\n") if ": error: " in line)
    if result.outcome == FAILED and not text:
        text = result.text
    return result._replace(text=text)


def lint_cppcheck(path):
    parts = os.path.relpath(path, ROOT).split("/")
    return command("cppcheck", LOW + [
        "cppcheck", "--quiet", "--std=c11", "--language=c", "--error-exitcode=1",
        "--enable=warning,performance,portability", "--inline-suppr", "-D__linux__",
        "-D_GNU_SOURCE", "--suppressions-list=tests/cppcheck.txt", "-I", "bridge",
        "-I", os.path.join(*parts[:2]), "--template={file}:{line}: {id}: {message}",
        os.path.relpath(path, ROOT)])


# Programs

def ctest(preset):
    """One result for each unit test program."""
    report = os.path.join(BUILD, preset, "ctest.xml")
    if os.path.exists(report):
        os.unlink(report)
    whole = command("ctest " + preset, ["ctest", "--test-dir", os.path.join(BUILD, preset), "-j",
                                        str(JOBS), "--output-junit", report, "--timeout", "600"],
                    1800)
    if not os.path.exists(report):
        yield whole
        return
    yield from junit(report, preset)


def memcheck(preset):
    """The same programs under valgrind, one by one: a leak is a failure too."""
    listed = subprocess.run(["ctest", "--test-dir", os.path.join(BUILD, preset),
                             "--show-only=json-v1"], capture_output=True, check=True).stdout

    def run(test):
        return command("valgrind " + test["name"], [
            "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full",
            "--suppressions=tests/valgrind.supp", "--child-silent-after-fork=yes",
            *test["command"]], 600)
    yield from parallel([lambda t=t: run(t) for t in json.loads(listed)["tests"]])


def junit(report, label):
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = "%s %s" % (label, "::".join(filter(None, (case.get("classname"),
                                                         case.get("name")))))
        bad = [part for part in case if part.tag in ("failure", "error")]
        skip = [part for part in case if part.tag == "skipped"]
        if bad or case.get("status") == "fail":
            yield Result(name, FAILED, "\n".join(filter(None, (
                part.text or part.get("message") for part in case))))
        elif skip or case.get("status") in ("notrun", "disabled"):
            yield Result(name, SKIPPED, skip[0].get("message") if skip else "not run")
        else:
            yield Result(name, PASSED, "")


def step_unit(everything):
    yield from ctest("asan")
    if everything:
        yield from ctest("release")
        yield from memcheck("debug")


def step_fuzz(everything):
    """A short pass of every target, from the seeds in tests/fuzz/corpus."""
    yield from parallel([lambda n=n: fuzz_one(n, everything) for n in fuzz.targets()])


def fuzz_one(name, everything):
    seconds = 60 if name == "request" else 10
    is_good, text = fuzz.fuzz(name, seconds * (10 if everything else 1))
    return Result("fuzz_" + name, PASSED if is_good else FAILED, text)


def step_integration(everything):
    report = os.path.join(BUILD, "pytest.xml")
    if os.path.exists(report):
        os.unlink(report)
    argv = [servers.PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15",
            "--junitxml", report, "tests"] + (["--all"] if everything else [])
    if importlib.util.find_spec("xdist"):  # they mostly wait, so more of them than cores
        argv += ["-n", str(3 * JOBS), "--dist", "loadfile"]
    env = {**os.environ, "TOCSIN_BUILD": os.path.join(BUILD, "asan"),
           "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, cwd=ROOT, env=env, check=False)
    if not os.path.exists(report):
        yield Result("pytest", FAILED, "pytest exited with %d" % done.returncode)
        return
    results = list(junit(report, "pytest"))
    yield from (r._replace(text="shown above") if r.outcome == FAILED else r for r in results)
    if done.returncode not in (0, 5) and all(r.outcome != FAILED for r in results):
        yield Result("pytest", FAILED, "pytest exited with %d" % done.returncode)


def step_isolation(everything, words=()):
    """What the store's statements do to each other; `words`: one spec, and one order of its steps."""
    yield command("isolation", [servers.PYTHON, "-B", "tests/isolation/isolation.py"]
                  + (["--all"] if everything else []) + list(words), 1800,
                  env={**os.environ, "TOCSIN_BUILD": os.path.join(BUILD, "asan")})


STEPS = {"layers": step_layers, "style": step_style, "promises": step_promises,
         "breaks": step_breaks, "asserts": step_asserts,
         "format": step_format, "unit": step_unit, "isolation": step_isolation,
         "integration": step_integration, "lint": step_lint, "fuzz": step_fuzz}
BESIDE = ("lint", "fuzz")
BUILDS = {"unit": ["asan"], "isolation": ["asan"], "lint": ["asan"], "fuzz": ["fuzz"],
          "integration": ["release", "asan"]}


def show(results):
    """Failures in full, what was skipped by reason."""
    for result in results:
        if result.outcome == FAILED:
            print("FAILED %s\n%s" % (result.name, result.text[-12000:].rstrip()), flush=True)
    reasons = collections.Counter(r.text for r in results if r.outcome == SKIPPED)
    for reason, count in reasons.most_common():
        print("skipped %d: %s" % (count, reason), flush=True)


def build_for(names, everything):
    """All that the steps need, before anything is timed or runs beside anything else."""
    wanted = [preset for name in names for preset in BUILDS.get(name, [])]
    if everything and {"unit", "integration"} & set(names):
        wanted += ["debug", "release"]
    for preset in dict.fromkeys(wanted):
        try:
            building.build(preset)
        except building.Failure as error:
            yield Result("build " + preset, FAILED, str(error))


def run_step(name, everything):
    """(results, seconds) of one step; whatever breaks in it, the others still count."""
    started = time.monotonic()
    results = []
    try:
        results += STEPS[name](everything)
    except Exception as error:
        results.append(Result(name, FAILED, "%s: %s" % (type(error).__name__, error)))
    return name, results, time.monotonic() - started


def report(name, results, seconds):
    show(results)
    count = collections.Counter(r.outcome for r in results)
    print("%-12s %4d passed %3d failed %3d skipped %6.1f s" % (
        name, count[PASSED], count[FAILED], count[SKIPPED], seconds), flush=True)
    return results


def run_steps(names, everything):
    beside = [name for name in names if name in BESIDE and "integration" in names]
    results = report("build", *timed(lambda: list(build_for(names, everything))))
    with concurrent.futures.ThreadPoolExecutor(len(BESIDE)) as pool:
        quiet = []
        for name in names:
            if name == "integration":
                quiet = [pool.submit(run_step, other, everything) for other in beside]
            if name not in beside:
                results += report(*run_step(name, everything))
        for done in quiet:
            results += report(*done.result())
    return results


def timed(call):
    started = time.monotonic()
    return call(), time.monotonic() - started


def with_words(only):
    """`isolation -- sweep ...`: the step alone, with the words that follow it."""
    if only[:1] == ["isolation"] and only[1:] and only[1] not in STEPS:
        STEPS["isolation"] = functools.partial(step_isolation, words=only[1:])
        return only[:1]
    return only


def run_all(everything, only):
    only = with_words(only)
    unknown = [name for name in only if name not in STEPS]
    if unknown:
        raise building.Failure("no step %s; there are %s" % (", ".join(unknown), ", ".join(STEPS)))
    os.makedirs(BUILD, exist_ok=True)
    results = run_steps(only or list(STEPS), everything)
    count = collections.Counter(r.outcome for r in results)
    for result in results:
        if result.outcome == FAILED:
            print("failed: %s" % result.name)
    print("%d passed, %d failed, %d skipped" % (count[PASSED], count[FAILED], count[SKIPPED]),
          flush=True)
    return 1 if count[FAILED] or not count[PASSED] else 0
