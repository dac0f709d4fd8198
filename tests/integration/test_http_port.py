# SPDX-License-Identifier: MIT
"""The bridge's HTTP port before clients that hold what they can: places, memory, time."""
import socket
import time

import pytest

import servers
from process import wait_until

BODY = 1000 * 1000


@pytest.fixture(scope="module")
def port(stack):
    return int(stack.bridge.url.rsplit(":", 1)[1])


class Held:
    """Connections that a test holds open."""

    def __init__(self, port):
        self.port, self.socks = port, []

    def open(self, count, sent=b""):
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            try:
                sock.sendall(sent)
            except ConnectionError:
                pass  # it has been refused, and closed
            self.socks.append(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in self.socks:
            sock.close()


def head(path, size):
    return ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, size)).encode()


def resident(bridge):
    """KiB that the process has in memory."""
    with open("/proc/%d/status" % bridge.pid) as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmRSS")))


@pytest.mark.parametrize("sent", [b"", b"GET /half", head("/callbacks/twilio", BODY) + b"half"],
                         ids=["silent", "half a head", "half a body"])
def test_the_health_of_the_bridge_is_told_however_many_connections_are_held(stack, port, sent):
    """A probe waits for nobody; at 30 s of a request's time it would be given up on long before."""
    with Held(port) as held:
        held.open(300, sent)
        for _ in range(3):
            assert servers.http("GET", stack.bridge.url + "/healthz", timeout=5)[0] == 200


@pytest.mark.parametrize("path", ["/callbacks/nobody", "/callbacks/twilio", "/nothing"])
def test_bodies_that_never_end_take_no_more_memory_than_their_bound(stack, port, path):
    before = resident(stack.bridge)
    with Held(port) as held:
        held.open(120, head(path, BODY + 1) + b"x" * BODY)
        time.sleep(0.5)  # so that what is going to be read has been read
        after = resident(stack.bridge)
        assert servers.http("GET", stack.bridge.url + "/healthz", timeout=5)[0] == 200
        small = servers.http("POST", stack.bridge.url + "/callbacks/twilio", {"a": 1}, timeout=5)
        assert small[0] == 401  # read and judged: nothing large is in the way of what is small
    if not servers.instrumented(stack.bridge.command()[0]):
        assert after - before < 40 * 1024, (before, after)


def test_an_unknown_path_is_refused_at_its_headers(port):
    with Held(port) as held:
        held.open(1, head("/callbacks/nobody", BODY))
        answer = b""
        wait_until(lambda: held.socks[0].recv(65536, socket.MSG_PEEK), 10, "an answer")
        answer = held.socks[0].recv(65536)
        assert answer.startswith(b"HTTP/1.1 404 ") and b"Connection: close" in answer


@pytest.mark.parametrize("headers", [
    "Content-Length: 4\r\nTransfer-Encoding: chunked", "Content-Length: 0\r\nContent-Length: 44",
    "Transfer-Encoding: chun\r\n ked", "Content-Length : 44", "Host: y"],
    ids=["both", "two lengths", "folded", "blank before the colon", "two hosts"])
def test_a_request_that_can_be_read_in_two_ways_is_refused(port, headers):
    hidden = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = ("POST /callbacks/twilio HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n0\r\n\r\n" % headers).encode()
    with Held(port) as held:
        held.open(1, sent + hidden)
        answer = b""
        try:
            while True:
                more = held.socks[0].recv(65536)
                if not more:
                    break
                answer += more
        except ConnectionResetError:
            pass
        assert answer.startswith(b"HTTP/1.1 400 ") and b"tocsin_" not in answer
