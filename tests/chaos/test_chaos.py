# SPDX-License-Identifier: MIT
"""The tools of `./run chaos`: the schedule is the seed's alone, the proxy does what it is told."""
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

import servers
from faults import FAULTS
from process import Ports
from proxy import Proxy
from schedule import schedule

CHAOS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "chaos.py")


def test_the_schedule_is_a_function_of_the_seed():
    first = schedule(3, 600, FAULTS)
    assert first == schedule(3, 600, FAULTS)
    assert first != schedule(4, 600, FAULTS)
    assert {item.name for item in first} == set(FAULTS)


def test_the_plan_can_be_printed_and_is_the_same_in_another_process():
    def plan():
        return subprocess.check_output([sys.executable, CHAOS, "--plan", "--seed", "3"])
    assert plan() == plan() != b""


def test_faults_of_one_component_never_overlap():
    for seed in range(20):
        busy = {}
        for item in schedule(seed, 900, FAULTS):
            assert item.at >= busy.get(item.component, 0), item
            busy[item.component] = item.until


def test_only_takes_a_fault_or_a_family():
    assert {item.name for item in schedule(1, 300, FAULTS, ["postgres.full"])} == {"postgres.full"}
    assert {item.name.split(".")[0] for item in schedule(1, 300, FAULTS, ["net"])} == {"net"}
    with pytest.raises(ValueError, match="no such fault"):
        schedule(1, 300, FAULTS, ["weather"])


def test_every_fault_has_its_line_in_the_matrix():
    with open(os.path.join(servers.ROOT, "docs", "reliability.md")) as file:
        text = file.read()
    assert [name for name in FAULTS if "`%s`" % name not in text] == []


class Echo(threading.Thread):
    """Sends back what it gets."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            conn, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    @staticmethod
    def serve(conn):
        try:
            while data := conn.recv(65536):
                conn.sendall(data)
        except OSError:
            pass  # reset, as the test wants it
        finally:
            conn.close()


@pytest.fixture
def wire(tmp_path):
    """(proxy, connect) of one link named `wire` to an echo."""
    ports = Ports()
    port = ports.take()
    proxy = Proxy(str(tmp_path), {"wire": (port, "127.0.0.1", Echo().port)}).start()
    yield proxy, lambda: socket.create_connection(("127.0.0.1", port), 5)
    proxy.stop()
    ports.close()


def exchange(conn, text=b"hello", timeout=60.0):
    conn.settimeout(timeout)
    conn.sendall(text)
    found = b""
    while len(found) < len(text):
        data = conn.recv(65536)
        if not data:
            raise ConnectionError("closed")
        found += data
    return found


def test_a_wire_forwards(wire):
    _, connect = wire
    with connect() as conn:
        assert exchange(conn) == b"hello"
        assert exchange(conn, b"x" * 500000) == b"x" * 500000


def test_delay_is_at_least_what_was_asked_for(wire):
    proxy, connect = wire
    with connect() as conn:
        exchange(conn)
        proxy.set("wire", delay_ms=150)
        started = time.monotonic()
        exchange(conn)
        assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_what_is_held_comes_later(wire, way):
    proxy, connect = wire
    with connect() as conn:
        exchange(conn)
        proxy.set("wire", hold=way)
        with pytest.raises(socket.timeout):
            exchange(conn, b"held", 0.3)
        proxy.set("wire")
        conn.settimeout(60)
        assert conn.recv(100) == b"held"


def test_a_refused_link_resets_what_was_open_and_takes_nothing_new(wire):
    proxy, connect = wire
    with connect() as conn:
        exchange(conn)
        proxy.set("wire", refuse=True)
        with pytest.raises(OSError):
            exchange(conn)
        with pytest.raises(OSError):
            connect()
    proxy.set("wire")
    with connect() as conn:
        assert exchange(conn) == b"hello"


def test_reset_ends_connections_and_not_the_link(wire):
    proxy, connect = wire
    with connect() as conn:
        exchange(conn)
        proxy.reset("wire")
        with pytest.raises(OSError):
            exchange(conn)
    with connect() as conn:
        assert exchange(conn) == b"hello"


def test_a_narrow_link_takes_its_time(wire):
    proxy, connect = wire
    proxy.set("wire", rate=100000)
    with connect() as conn:
        started = time.monotonic()
        exchange(conn, b"x" * 20000)
        assert time.monotonic() - started >= 0.2


def run_chaos(tmp_path, *args, timeout):
    done = subprocess.run(
        [sys.executable, CHAOS, "--recording", str(tmp_path / "recording.jsonl"), *args],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=timeout, env={**os.environ, "TOCSIN_BUILD": servers.build_dir()})
    print(done.stdout[-6000:])
    return done


def test_a_short_round_keeps_every_promise(tmp_path):
    done = run_chaos(tmp_path, "--minutes", "0.3", "--seed", "2", "--only", "bridge.kill",
                     "--only", "provider.failing", "--rate", "30", timeout=420)
    assert done.returncode == 0
    assert "every promise kept" in done.stdout


@pytest.mark.long
def test_five_minutes_of_everything(tmp_path):
    done = run_chaos(tmp_path, "--minutes", "5", "--seed", "1", timeout=1200)
    assert done.returncode == 0
