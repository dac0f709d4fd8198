#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What clang-format and the compiler do not see of the house style.

Licence line, line length, tabs, file and function length, the own header first,
functions of libc that we do not use, notes without an issue.
Usage: check_style.py [ROOT]; prints one line per offence and exits 1 if there are any.
"""
import os
import re
import sys

LICENCE = "/* SPDX-License-Identifier: MIT */"
MAX_COLUMNS, MAX_FILE, MAX_FUNCTION = 100, 800, 80
MAX_TEST_FUNCTION = 160  # a table of cases is one function
BANNED = re.compile(r"\b(gets|strcpy|strcat|sprintf|vsprintf|strtok|alloca|system|popen|tmpnam"
                    r"|atoi|atol|atoll)\s*\(")
NOTE = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
TOPS = ("bridge", "plugins", "clients", "tests")


def sources(root):
    for top in TOPS:
        for place, dirs, files in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if not d.startswith(".") and d != "node_modules")
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    yield os.path.join(place, name)


def code_only(text):
    """The text with comments and strings blanked, lines kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def long_functions(lines, most):
    """(line, length) of each function whose braces stand in column 0 and span more than most."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start - 1 > most:
                yield start, number - start - 1
            start = None


def check(path, root):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    lines = text.split("\n")
    name = os.path.relpath(path, root)
    if lines[0] != LICENCE:
        yield name, 1, "the first line is not %s" % LICENCE
    if len(lines) > MAX_FILE:
        yield name, len(lines), "more than %d lines: split by concept" % MAX_FILE
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield name, number, "longer than %d columns" % MAX_COLUMNS
        if "\t" in line:
            yield name, number, "a tab"
        if line != line.rstrip():
            yield name, number, "space at the end of the line"
        if NOTE.search(line):
            yield name, number, "a note without its issue: TODO(#n)"
    is_test = name.startswith(os.path.join("tests", ""))
    for number, line in enumerate(code_only(text).split("\n"), 1):
        found = BANNED.search(line)
        if found and not is_test:
            yield name, number, "%s is not used here" % found.group(1)
    for number, length in long_functions(lines, MAX_TEST_FUNCTION if is_test else MAX_FUNCTION):
        yield name, number, "a function of %d lines" % length
    yield from own_header_first(path, name, text)


def own_header_first(path, name, text):
    if not path.endswith(".c") or not os.path.exists(path[:-2] + ".h"):
        return
    first = re.search(r'^#include\s*[<"]([^>"]+)[>"]', text, re.M)
    own = os.path.basename(path)[:-2] + ".h"
    if first and os.path.basename(first.group(1)) != own:
        yield name, text[:first.start()].count("\n") + 1, "%s is not included first" % own


def main():
    default = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = sys.argv[1] if len(sys.argv) > 1 else default
    count = faults = 0
    for path in sources(root):
        count += 1
        for name, number, what in check(path, root):
            faults += 1
            print("%s:%d: %s" % (name, number, what))
    print("style: %d files, %d offences" % (count, faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
