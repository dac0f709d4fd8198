#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a page is not in docs/promises.md, or a test that is named there does not exist.

Also: every line of a table there names a test, a benchmark or a check; every test file that
docs/reliability.md names is there; every case of docs/security.md is one in the gate's tests.
Usage: check_promises.py [ROOT]; prints one line per offence and exits 1 if there are any.
"""
import glob
import os
import re
import sys

MATRIX = "docs/promises.md"
PAGES = ("README.md", "docs/*.md", "docs/providers/*.md", "bridge/README.md",
         "schemas/asyncapi.yaml", "mosquitto-conf/README.md")
NAMED = re.compile(r"`((?:tests/[\w/]*)?(?:test|check)_?\w*\.(?:py|c))(?:::(\w+))?`")
OTHER = re.compile(r"`(?:\./run (?:bench|chaos)[^`]*|fuzz_\w+)`")
CASE = re.compile(r"\b([TCAER])(\d\d)(?:(?:-| to )\1(\d\d))?(?!\d)")


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def test_files(root):
    """{name, and path: [the paths of the files that it means]}"""
    found = {}
    for place, dirs, files in os.walk(os.path.join(root, "tests")):
        dirs[:] = [name for name in dirs if name != "node_modules"]
        for name in files:
            path = os.path.relpath(os.path.join(place, name), root)
            found.setdefault(name, []).append(path)
            found.setdefault(path, []).append(path)
    return found


def scenarios(root):
    texts = [read(root, path)
             for path in glob.glob("tests/bench/scenarios/*.py", root_dir=root)]
    return {"gate", *re.findall(r'^NAME = "([\w-]+)"', "".join(texts), re.M)}


def has_test(root, paths, name):
    """Whether a file of these defines it and, where it is C, also runs it."""
    for path in paths:
        text = read(root, path)
        if path.endswith(".py") and re.search(r"^def %s\(" % name, text, re.M):
            return True
        if path.endswith(".c") and re.search(r"cmocka_unit_test\w*\(\s*%s\b" % name, text):
            return True
    return False


def check_named(root, page, files):
    """Every test and fuzz target that a page names."""
    for number, line in enumerate(read(root, page).split("\n"), 1):
        for path, name in NAMED.findall(line):
            if path not in files:
                yield page, number, "there is no %s" % path
            elif name and not has_test(root, files[path], name):
                yield page, number, "%s has no %s" % (path, name)
        for target in re.findall(r"`(fuzz_\w+)`", line):
            if target + ".c" not in files:
                yield page, number, "there is no target %s" % target
        for scenario in re.findall(r"`\./run bench ([\w-]+)`", line):
            if scenario not in scenarios(root):
                yield page, number, "there is no benchmark %s" % scenario


def check_lines(root):
    """Every line of the matrix says where it is shown."""
    for number, line in enumerate(read(root, MATRIX).split("\n"), 1):
        cells = line.strip("| ").split(" | ")
        if not line.startswith("| ") or line in ("| promise | shown by |", "| --- | --- |"):
            continue
        if len(cells) != 2 or not (NAMED.search(cells[1]) or OTHER.search(cells[1])):
            yield MATRIX, number, "names nothing that shows it"


def check_pages(root):
    text = read(root, MATRIX)
    for pattern in PAGES:
        for page in sorted(glob.glob(pattern, root_dir=root)):
            link = "(%s)" % os.path.relpath(page, "docs")
            if page != MATRIX and not re.search(r"^## .*%s" % re.escape(page), text, re.M) \
                    and link not in text:
                yield MATRIX, 1, "says nothing of %s" % page


def cases(text):
    found = set()
    for kind, first, last in CASE.findall(text):
        found |= {"%s%02d" % (kind, n) for n in range(int(first), int(last or first) + 1)}
    return found


def check_cases(root):
    tests = "".join(read(root, path).replace("_", " ") for path in sorted(
        glob.glob("tests/integration/test_gate_*.py", root_dir=root)))
    for missing in sorted(cases(read(root, "docs/security.md")) - cases(tests)):
        yield "docs/security.md", 1, "%s is in no test of the gate" % missing


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                           os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    files = test_files(root)
    faults = [*check_named(root, MATRIX, files), *check_named(root, "docs/reliability.md", files),
              *check_lines(root), *check_pages(root), *check_cases(root)]
    for page, number, what in faults:
        print("%s:%d: %s" % (page, number, what))
    promises = len(re.findall(r"^\| (?!---|promise)", read(root, MATRIX), re.M))
    print("promises: %d lines, %d offences" % (promises, len(faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
