# SPDX-License-Identifier: MIT
"""One provider server for each module of tests, at the start again for each test."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from provider_server import ProviderServer, Receiver  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ProviderServer(tmp_path_factory.mktemp("providers")) as running:
        yield running
        assert "Traceback" not in running.errors(), running.errors()


@pytest.fixture()
def p(server):
    server.reset()
    return server


@pytest.fixture()
def receiver():
    running = Receiver()
    yield running
    running.server.shutdown()
    running.server.server_close()
