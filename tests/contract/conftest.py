# SPDX-License-Identifier: MIT
"""One stack for all live tests of this folder, and one client of each kind."""
import pytest

import servers
from client import Client

SETTINGS = {}


@pytest.fixture(scope="session")
def contract(tmp_path_factory):
    stack = servers.Stack(tmp_path_factory.mktemp("contract"), settings=SETTINGS)
    with stack:
        yield stack
    stack.remove()


@pytest.fixture(scope="session")
def clients(contract):
    """{kind: a connected client, subscribed to all of its down/}"""
    made = {kind: Client(contract, kind, "contract", device="c").connect()
            for kind in ("service", "user", "admin")}
    for client in made.values():
        client.subscribe("down/#")
    yield made
    for client in made.values():
        client.close()
