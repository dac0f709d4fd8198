# SPDX-License-Identifier: MIT
"""The methods that the code has and those that the contract names, read from both."""
import glob
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KINDS = ("service", "user", "admin")
ROW = re.compile(r'\{"([a-z]+(?:\.[a-z]+)?)",\s*((?:ASK_\w+(?:\s*\|\s*)?)+),')
NAMED = re.compile(r"notify/v1/(\w+)s/\{\w+\}/up/rpc/\{method\}:\n    description: >-\n"
                   r"((?:      .*\n)+)")
WORD = re.compile(r"\b[a-z]+\.[a-z]+\b(?!\.[a-z])|\bhistory\b|\bbadge\b")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def of_code():
    """{method: the flags of the kinds that may call it}"""
    found = {}
    for path in glob.glob(os.path.join(ROOT, "bridge", "services", "**", "*.c"), recursive=True):
        for name, flags in ROW.findall(read(path)):
            found[name] = set(re.findall(r"ASK_\w+", flags))
    return found


def callers(flags):
    return {kind for kind in KINDS
            if any(flag.endswith(kind.upper() + "S") for flag in flags)}


def of_contract():
    """{(kind, method)} of schemas/asyncapi.yaml."""
    return {(kind, method) for kind, words in NAMED.findall(read("schemas", "asyncapi.yaml"))
            for method in WORD.findall(re.sub(r"\(.*?\)", "", words, flags=re.S))}
