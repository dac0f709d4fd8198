# SPDX-License-Identifier: MIT
"""One stack for all live tests of this folder, and one client of each kind."""
import pytest

import servers
from client import Client

# Of services, those that may reach people: by their ids as tokens have them, or percent-encoded.
NAMED = "contract orders:eu caf\u00e9 two%20words"
SETTINGS = {"requests.people": NAMED, "requests.roles": NAMED, "requests.broadcast": NAMED}


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
