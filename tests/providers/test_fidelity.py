# SPDX-License-Identifier: MIT
"""The vendors' own libraries against the provider server, so that believing it means something."""

import json
import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import npm  # noqa: E402

SCRIPT = os.path.join(HERE, "fidelity.cjs")


def steps():
    with open(SCRIPT, encoding="utf-8") as file:
        return re.findall(r"^  async (\w+)\(\) \{", file.read(), re.M)


@pytest.fixture(scope="module")
def results(server):
    """What each step of fidelity.cjs said; they share one node process, which is slow to start."""
    try:
        modules = npm.modules()
    except npm.Unavailable as reason:
        pytest.skip(str(reason))
    done = subprocess.run(
        ["node", "--no-deprecation", SCRIPT, os.path.join(server.directory, "providers.json")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NODE_PATH": modules, "NODE_EXTRA_CA_CERTS": server.info["ca_file"]})
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            value = json.loads(line)
            found[value["step"]] = value.get("error")
    assert done.returncode == 0 and found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("step", steps())
def test_by_the_vendors_library(results, step):
    assert step in results
    assert results[step] is None, results[step]
