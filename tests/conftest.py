# SPDX-License-Identifier: MIT
"""Fixtures for every test: real servers from servers.py, their logs shown on failure.

stack       one whole stack for a module: fast, for tests that do not kill anything
new_stack   makes stacks for one test, to be killed, stopped and reconfigured
broker      Mosquitto with the plugin alone, for a module
postgres    a cluster alone, for a module
tmp_path    (pytest's own) for everything else

A test that takes more than some 20 s is marked `long` and runs with --all.
"""
import collections
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers  # noqa: E402

LONG = "long: ./run test --all"


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the tests marked long as well")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes long; runs with --all only")
    servers.raise_on_signals()


def pytest_collection_modifyitems(config, items):
    # Files are given to workers in this order: first those whose tests start stacks of their own,
    # so that no worker is left alone with a long one at the end.
    stacks = collections.Counter(item.path for item in items if "new_stack" in item.fixturenames)
    items.sort(key=lambda item: -stacks[item.path])
    if config.getoption("--all"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason=LONG))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The end of every running server's log goes beside a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for server in list(servers._alive):
            report.sections.append(("log of %s (%s)" % (server.name, server.log),
                                    servers.read_tail(server.log, 8000)))


def _guarded(server, directory):
    """Starts, yields, stops; a fault found while stopping fails the test."""
    with server:
        yield server
    if hasattr(server, "remove"):
        server.remove()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stack")
    yield from _guarded(servers.Stack(directory), directory)


@pytest.fixture
def new_stack(tmp_path):
    """new_stack(bridges=2, settings={...}, ...) as servers.Stack; started unless start=False."""
    made = []

    def make(start=True, **more):
        fresh = servers.Stack(tmp_path / ("stack%d" % len(made)), **more)
        made.append(fresh)
        return fresh.start() if start else fresh
    yield make
    faults = []
    for fresh in made:
        try:
            fresh.stop()
            fresh.remove()
        except (servers.ServerError, TimeoutError) as error:
            fresh.kill()
            faults.append(error)
    if faults:
        raise faults[0]


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    directory = tmp_path_factory.mktemp("broker")
    yield from _guarded(servers.Broker(directory), directory)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    directory = tmp_path_factory.mktemp("postgres")
    yield from _guarded(servers.Postgres(directory), directory)
