# SPDX-License-Identifier: MIT
"""One input, two readers: the probe beside this file, and somebody else's implementation.

    ask([{"op": ...}, ...])           what the probe answers to each, in order
    differences("keyword")            inputs on which the two may differ, with the reason

A difference is a failure, or a line in differences.txt; a line there that is no difference any
more is a failure, too.
"""
import base64
import json
import os
import subprocess

import servers

HERE = os.path.dirname(os.path.abspath(__file__))
PROBE = os.path.join(servers.build_dir(), "tests", "odd", "odd_probe")


def ask(questions):
    text = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([PROBE], input=text.encode(), stdout=subprocess.PIPE, check=True,
                          timeout=120)
    lines = done.stdout.decode().split("\n")[:-1]  # an address may have U+2028
    assert len(lines) == len(questions)
    return [json.loads(line) for line in lines]


def b64(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def body(request):
    return base64.b64decode(request["body64"])


def differences(kind):
    """{input: reason}; a line is: kind, input as JSON, reason, with tabs between them."""
    found = {}
    with open(os.path.join(HERE, "differences.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, text, reason = line.rstrip("\n").split("\t")
                if name == kind:
                    found[json.loads(text)] = reason
    return found


def compare(kind, pairs):
    """pairs: (input, ours, theirs).  Fails with what differs and is not listed, or is and does not."""
    known = differences(kind)
    differ = {one: (ours, theirs) for one, ours, theirs in pairs if ours != theirs}
    new = {one: both for one, both in differ.items() if one not in known}
    assert not new, "%d differ, as %r" % (len(new), list(new.items())[:5])
    stale = set(known) - set(differ)
    assert not stale, "no difference any more: %r" % sorted(stale)[:5]
