#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when an ASSERT or panic of bridge/ has no line in asserts.txt, or a line has no ASSERT.

What comes from outside the process must not be able to end it: each line says whose input the
operand is, and what makes it true.  Usage: check_asserts.py [ROOT]
"""
import glob
import os
import re
import sys

ORIGINS = ("constant", "state", "library", "checked")
CALL = re.compile(r"\b(ASSERT|panic)\(")
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def argument(text, start):
    """The text between the bracket at start and the one that closes it, on one line."""
    depth, quoted, at = 1, False, start
    while depth:
        if text[at] == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return " ".join(text[start:at - 1].split())


def in_code(root):
    """{(file, condition)} of every ASSERT and panic below bridge/."""
    found = set()
    for path in glob.glob(os.path.join(root, "bridge", "**", "*.[ch]"), recursive=True):
        name = os.path.relpath(path, os.path.join(root, "bridge"))
        if name == "base/panic.h":
            continue
        with open(path, encoding="utf-8") as file:
            text = COMMENT.sub("", file.read())
        found |= {(name, argument(text, call.end())) for call in CALL.finditer(text)}
    return found


def in_list(root, faults):
    listed = {}
    with open(os.path.join(root, "tests", "asserts", "asserts.txt"), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = line.strip().split(" | ")
            if len(parts) != 4 or parts[2] not in ORIGINS:
                faults.append("asserts.txt:%d: file | condition | %s | guard"
                              % (number, "/".join(ORIGINS)))
                continue
            listed[parts[0], parts[1]] = number
    return listed


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
    faults = []
    listed, code = in_list(root, faults), in_code(root)
    for name, condition in sorted(code - set(listed)):
        faults.append("bridge/%s: %s: not in tests/asserts/asserts.txt; an operand that comes from "
                      "MQTT, HTTP, a file, a row or a clock is an error to return" % (name, condition))
    for name, condition in sorted(set(listed) - code):
        faults.append("asserts.txt:%d: bridge/%s has no such ASSERT or panic: %s"
                      % (listed[name, condition], name, condition))
    for fault in faults:
        print(fault)
    print("asserts: %d conditions, %d offences" % (len(code), len(faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
