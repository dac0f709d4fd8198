# SPDX-License-Identifier: MIT
"""`tocsin send` with one request among good ones that the broker never takes, in spool and batch."""
import json
import os
import sys

import pytest

import servers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))
from test_cli import Cli, spooled  # noqa: E402

LIMIT = 20000


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    stack = servers.Stack(tmp_path_factory.mktemp("narrow"), broker={"message_size_limit": LIMIT})
    with stack:
        yield stack
    stack.remove()


def request(name, size=0):
    return json.dumps({"id": name, "type": "t", "title": "t", "body": "b" * (size or 1),
                       "to": {"user": "nobody"}, "receipts": "none"})


@pytest.mark.parametrize("position", [0, 5, 9])
def test_a_request_that_is_too_large_for_the_broker_stays_before_no_other(narrow, tmp_path, position):
    cli = Cli(narrow.broker, str(tmp_path), "service", "shop%d" % position)
    spool = tmp_path / "spool"
    names = ["r%d-%d" % (position, n) for n in range(10)]
    text = "\n".join(request(name, LIMIT if n == position else 0) for n, name in enumerate(names))
    out = cli.run("send", "--spool", str(spool), "--json", text=text, want=4)
    ends = {line["id"]: (line["status"], line.get("reason")) for line in out.lines if "id" in line}
    assert ends.pop(names[position]) == ("rejected", "too_large")
    assert ends == {name: ("accepted", None) for n, name in enumerate(names) if n != position}
    assert spooled(spool) == []
    # Nothing of it is met again.
    again = cli.run("send", "--spool", str(spool), "--json", text=request("after-%d" % position))
    assert [line["status"] for line in again.lines if "id" in line] == ["accepted"]
