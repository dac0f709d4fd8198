#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes fixes out, one at a time, and requires that the tests which guard them fail.

    ./run breaks                 every patch of tests/breaks/
    ./run breaks core-01 gate    those whose names contain one of these words
    ./run breaks --check         applies nothing: every patch applies and names tests that exist

A patch is a unified diff of product files below a header and an empty line:

    fault: core 1 (one line: what goes wrong)
    kind: short name of the kind
    finds: unit test_throttle          a program of ctest
    finds: pytest tests/integration/test_x.py::test_y
    finds: run model -- words          a step of ./run test, with the words that it takes
    finds: check check_layers.py       a script of tests/
    seconds: 60

`finds` may occur several times: each must fail within `seconds`, building not included.  The work
is done in copies of the tree below build/breaks, which are kept, so that the next run compiles
only what changed.  A patch that does not apply or does not build, a test that fails without the
patch, and a test that passes with it are failures of this command.
"""
import argparse
import collections
import concurrent.futures
import glob
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PYTHON = sys.executable
HEADER = re.compile(r"^(fault|kind|finds|seconds): (.+)$")
SECONDS_MAX = 600
BASELINE_SECONDS = 900
PATIENCE = "3"  # tests/process.py: a test that waits in vain is not waited for as long as usual
SKIPPED_DIRS = {".git", "build", ".tocsin", "__pycache__", ".pytest_cache", "node_modules", ".node"}
Patch = collections.namedtuple("Patch", "name path fault kind finds seconds")
Verdict = collections.namedtuple("Verdict", "patch is_good took text")


class Fault(Exception):
    """Something is wrong with a patch or with what it names."""


# Patches

def read_patch(path):
    """The header of a patch; Fault when it is incomplete."""
    name = os.path.basename(path)[:-len(".patch")]
    found = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.strip():
                break
            match = HEADER.match(line.rstrip("\n"))
            if not match:
                raise Fault("%s: not a header line: %s" % (name, line.strip()))
            found[match.group(1)].append(match.group(2).strip())
    for key in ("fault", "kind", "finds", "seconds"):
        if not found[key] or (key != "finds" and len(found[key]) != 1):
            raise Fault("%s: needs %s: %s" % (name, "a line" if key == "finds" else "one line", key))
    if not re.fullmatch(r"\d+", found["seconds"][0]) or \
            not 0 < int(found["seconds"][0]) <= SECONDS_MAX:
        raise Fault("%s: seconds is a number from 1 to %d" % (name, SECONDS_MAX))
    return Patch(name, path, found["fault"][0], found["kind"][0], found["finds"],
                 int(found["seconds"][0]))


def patches(directory, words=()):
    paths = sorted(glob.glob(os.path.join(directory, "*.patch")))
    return [path for path in paths
            if not words or any(word in os.path.basename(path) for word in words)]


def apply(root, path, *options):
    """git apply, as if root were in no repository; returns its complaint, '' when it went well."""
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.abspath(root))}
    done = subprocess.run(["git", "apply", "--whitespace=nowarn", *options, path], cwd=root, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip() or "git apply failed" if done.returncode else ""


# What a patch names

def has_pytest(root, node):
    path, _, names = node.partition("::")
    if not os.path.isfile(os.path.join(root, path)):
        return False
    with open(os.path.join(root, path), encoding="utf-8") as file:
        text = file.read()
    return all(re.search(r"^\s*(?:def|class) %s\b" % re.escape(re.sub(r"\[.*", "", name)), text, re.M)
               for name in names.split("::") if name)


def has_unit(root, name):
    if os.path.isfile(os.path.join(root, "tests", "unit", name + ".c")):
        return True
    lists = glob.glob(os.path.join(root, "tests", "**", "CMakeLists.txt"), recursive=True)
    for path in lists + [os.path.join(root, "CMakeLists.txt")]:
        with open(path, encoding="utf-8") as file:
            if re.search(r"add_test\(NAME %s\b" % re.escape(name), file.read()):
                return True
    return False


def has_step(root, name):
    with open(os.path.join(root, "tests", "suite.py"), encoding="utf-8") as file:
        return bool(re.search(r'"%s": step_' % re.escape(name), file.read()))


def is_there(root, finds):
    """Whether what a `finds` line names exists."""
    how, _, what = finds.partition(" ")
    if how == "unit":
        return has_unit(root, what)
    if how == "pytest":
        return has_pytest(root, what)
    if how == "run":
        return has_step(root, what.split()[0])
    return how == "check" and os.path.isfile(os.path.join(root, "tests", what.split()[0]))


def check(root, path):
    """Complaints about one patch that need no build."""
    try:
        patch = read_patch(path)
    except Fault as fault:
        return [str(fault)]
    missing = ["%s: there is no %s" % (patch.name, finds) for finds in patch.finds
               if not is_there(root, finds)]
    refused = apply(root, path, "--check")
    return missing + (["%s: does not apply: %s" % (patch.name, refused)] if refused else [])


# The copy of the tree

def same(path, other):
    if not os.path.isfile(other) or os.path.getsize(path) != os.path.getsize(other):
        return False
    with open(path, "rb") as one, open(other, "rb") as two:
        return one.read() == two.read()


def files_of(root):
    for place, dirs, names in os.walk(root):
        dirs[:] = [name for name in dirs if name not in SKIPPED_DIRS]
        for name in names:
            if not name.endswith(".pyc"):
                yield os.path.relpath(os.path.join(place, name), root)


class Tree:
    """A copy of the tree with a build of its own."""

    def __init__(self, root, place):
        self.root, self.place = root, place
        self.build_dir = os.path.join(place, "build", "asan")
        self.passed = {}

    def copy(self):
        """Brings the copy up to date; what did not change keeps its time, so that nothing of it is
        compiled again."""
        wanted = set(files_of(self.root))
        for name in (set(files_of(self.place)) if os.path.isdir(self.place) else set()) - wanted:
            os.unlink(os.path.join(self.place, name))
        for name in wanted:
            source, target = os.path.join(self.root, name), os.path.join(self.place, name)
            if not same(source, target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(source, target)  # with the time of now: newer than every object
        node = os.path.join(self.root, "tests", ".node")
        if os.path.isdir(node) and not os.path.exists(os.path.join(self.place, "tests", ".node")):
            os.symlink(node, os.path.join(self.place, "tests", ".node"))

    def build(self, targets=()):
        """The sanitized build; returns the compiler's complaint, '' when it went well."""
        if not os.path.exists(os.path.join(self.build_dir, "build.ninja")):
            code, text = run(["cmake", "--preset", "asan"], self.place, BASELINE_SECONDS)
            if code:
                return text
        command = ["cmake", "--build", self.build_dir, "-j", str(os.cpu_count() or 2)]
        command += ["--target", *targets] if targets else []
        code, text = run(command, self.place, 1800)
        return text if code else ""

    def targets(self, finds):
        """What has to be built for these: [] is everything."""
        kinds = {line.split()[0] for line in finds}
        names = [line.split()[1] for line in finds if line.startswith("unit ")]
        if kinds == {"check"} or kinds == {"run"}:
            return ["help"]
        is_program = all(os.path.isfile(os.path.join(self.place, "tests", "unit", name + ".c"))
                         for name in names)
        return names if kinds <= {"unit", "check"} and is_program else []

    def test(self, finds, seconds):
        """(whether the test failed, what it said); Fault when it could not be run or hung."""
        how, _, what = finds.partition(" ")
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TOCSIN_PATIENCE": PATIENCE}
        env.pop("TOCSIN_BUILD", None)
        bad = {1}
        if how == "unit":
            command = ["ctest", "--test-dir", self.build_dir, "-R", "^%s$" % re.escape(what),
                       "--no-tests=error", "--output-on-failure"]
            bad = {8}
        elif how == "pytest":
            env["TOCSIN_BUILD"] = self.build_dir
            command = [PYTHON, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--all", what]
        elif how == "run":
            command = [PYTHON, "-B", "tests/run.py", "test", *what.split()]
        else:
            command = [PYTHON, "-B", os.path.join("tests", what.split()[0]), *what.split()[1:]]
        code, text = run(command, self.place, seconds, env)
        if code is None:
            raise Fault("%s did not end within %d s" % (finds, seconds))
        if code and code not in bad:
            raise Fault("%s ended with %d, which is no failed test\n%s" % (finds, code, text[-3000:]))
        if how == "unit" and "***Skipped" in text:
            raise Fault("%s was skipped" % finds)
        return bool(code), text


def run(command, cwd, seconds, env=None):
    """(exit status, output) of a command; None for the status when it took too long."""
    child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    try:
        output, _ = child.communicate(timeout=seconds)
        return child.returncode, output.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGTERM)  # pytest stops its servers
        try:
            output, _ = child.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
        return None, output.decode("utf-8", "replace")
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise


# One patch

def passes_without(tree, finds):
    """Fault unless the test passes in the tree as it is; each is asked once."""
    if finds not in tree.passed:
        failed, text = tree.test(finds, BASELINE_SECONDS)
        tree.passed[finds] = text if failed else ""
    if tree.passed[finds]:
        raise Fault("%s fails without the patch\n%s" % (finds, tree.passed[finds][-3000:]))


def require_notice(tree, patch):
    """Fault unless every test that the patch names fails while it is applied."""
    broken = tree.build(tree.targets(patch.finds))
    if broken:
        raise Fault("does not build\n%s" % broken[-3000:])
    unnoticed = [finds for finds in patch.finds if not tree.test(finds, patch.seconds)[0]]
    if unnoticed:
        raise Fault("; ".join("%s passes with the fault" % finds for finds in unnoticed))


def break_once(tree, path, has_baseline=True):
    started = time.monotonic()
    patch = None
    try:
        patch = read_patch(path)
        targets = tree.targets(patch.finds)
        broken = tree.build(targets)
        if broken:
            raise Fault("the tree does not build\n%s" % broken[-3000:])
        for finds in patch.finds if has_baseline else ():
            passes_without(tree, finds)
        refused = apply(tree.place, path)
        if refused:
            raise Fault("does not apply: %s" % refused)
        try:
            require_notice(tree, patch)
        finally:  # the original may have been edited meanwhile: not from there
            if apply(tree.place, path, "-R"):
                tree.copy()
        return Verdict(patch, True, time.monotonic() - started, "noticed")
    except Fault as fault:
        patch = patch or Patch(os.path.basename(path)[:-6], path, "", "", [], 0)
        return Verdict(patch, False, time.monotonic() - started, str(fault))


def break_all(trees, paths, has_baseline, on_verdict):
    free = queue.Queue()
    for tree in trees:
        tree.copy()
        free.put(tree)

    def one(path):
        tree = free.get()
        try:
            return break_once(tree, path, has_baseline)
        finally:
            free.put(tree)
    with concurrent.futures.ThreadPoolExecutor(len(trees)) as pool:
        for future in concurrent.futures.as_completed([pool.submit(one, path) for path in paths]):
            on_verdict(future.result())


def show(verdict):
    print("%-7s %6.1f s  %-38s %s" % ("noticed" if verdict.is_good else "FAILED", verdict.took,
                                      verdict.patch.name, verdict.patch.fault), flush=True)
    if not verdict.is_good:
        print("        " + verdict.text.replace("\n", "\n        "), flush=True)


def main():
    parser = argparse.ArgumentParser(prog="./run breaks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only patches whose name has this")
    parser.add_argument("--check", action="store_true", help="only whether they apply and name tests")
    parser.add_argument("--list", action="store_true", help="only the list")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies of the tree (1)")
    parser.add_argument("--no-baseline", action="store_true",
                        help="trust that the named tests pass in the tree as it is")
    parser.add_argument("--root", default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    root = os.path.abspath(args.root)
    paths = patches(os.path.join(root, "tests", "breaks"), args.names)
    if not paths:
        print("breaks: no patch is named so" if args.names else "breaks: no patches")
        return 1 if args.names else 0
    faults = [fault for path in paths for fault in check(root, path)]
    for fault in faults:
        print(fault)
    if args.check or args.list or faults:
        for path in paths if args.list and not faults else ():
            patch = read_patch(path)
            print("%-38s %-28s %s" % (patch.name, patch.kind, patch.fault))
        print("breaks: %d patches, %d offences" % (len(paths), len(faults)))
        return 1 if faults else 0
    bad = []

    def on_verdict(verdict):
        show(verdict)
        bad.extend([] if verdict.is_good else [verdict.patch.name])
    trees = [Tree(root, os.path.join(root, "build", "breaks", str(n))) for n in range(args.jobs)]
    break_all(trees, paths, not args.no_baseline, on_verdict)
    print("breaks: %d patches, %d noticed%s" % (
        len(paths), len(paths) - len(bad), "; failed: " + ", ".join(sorted(bad)) if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
