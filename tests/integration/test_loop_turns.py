# SPDX-License-Identifier: MIT
"""An event loop that has nothing to do sleeps, whatever waits in memory; and what SIGHUP asks for
is done even when it is asked for twice."""
import signal
import socket
import time

import pytest

from client import Client
from process import wait_until

# A turn takes some 50 us: a loop that spins makes thousands of turns a second on any machine.
IDLE_TURNS = 100


def turns_per_second(bridge, seconds=2.0):
    """Measured by the bridge's own counter; a slow machine only lowers it."""
    before, begun = bridge.metrics()["tocsin_loop_turns_total"], time.monotonic()
    time.sleep(seconds)
    after = bridge.metrics()["tocsin_loop_turns_total"]
    return (after - before) / (time.monotonic() - begun)


def reload(bridge, times):
    """One SIGHUP; waits until the reload number `times` has been done."""
    bridge.prepare()
    bridge.signal(signal.SIGHUP)
    wait_until(lambda: open(bridge.log).read().count("reload.done") >= times or None, 10,
               "reload %d" % times)


@pytest.fixture(scope="module")
def slow(stack):
    """A stack whose bridge takes a reload every three seconds; the SMS provider may be slow."""
    stack.bridge.set("bridge.lease", "3s")
    stack.bridge.set("destinations.twilio.concurrency", 20)
    stack.bridge.stop()
    stack.bridge.start()
    yield stack
    stack.providers.control("POST", "/behaviour", {
        "provider": "twilio", "delay_ms": 0, "answers": ["ok"], "repeat": True})


def test_an_idle_bridge_makes_few_turns(slow):
    assert turns_per_second(slow.bridge) < IDLE_TURNS


def test_connections_that_send_nothing_cost_no_turns(slow):
    sockets = [socket.create_connection(("127.0.0.1", slow.bridge.port)) for _ in range(3)]
    try:
        sockets[1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        sockets[2].sendall(b"POST /callbacks/twilio HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        assert turns_per_second(slow.bridge) < IDLE_TURNS
    finally:
        for one in sockets:
            one.close()


def test_a_lowered_concurrency_waits_for_answers_and_not_for_time(slow):
    def texts(name, count):
        return [{"id": "%s%d" % (name, n), "type": "t", "title": "t", "body": "b",
                 "channels": ["sms"], "to": {"phone": "+1555%07d" % n}} for n in range(count)]

    def behave(delay_ms):
        slow.providers.control("POST", "/behaviour", {
            "provider": "twilio", "delay_ms": delay_ms, "answers": ["ok"], "repeat": True})

    def gauge(what):
        return slow.bridge.metrics()[
            'tocsin_destination_%s{channel="sms",destination="twilio"}' % what]
    with Client(slow, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", texts("quick", 30))  # each answer opens the window by one
        for n in range(30):
            shop.receipt("quick%d" % n, "sent", 30)
        slow.bridge.set("destinations.twilio.concurrency", 2)
        reload(slow.bridge, 1)
        behave(10000)
        shop.publish("up/request", texts("slow", 20))
        wait_until(lambda: gauge("inflight") == 2 and gauge("queued") > 0 or None, 30,
                   "two to be under way and others to wait")
        assert turns_per_second(slow.bridge) < IDLE_TURNS
        assert gauge("inflight") == 2
        behave(0)
        for n in range(20):
            shop.receipt("slow%d" % n, "sent", 60)


def test_a_second_sighup_while_the_first_is_not_over_is_remembered(slow):
    bridge = slow.bridge
    done = open(bridge.log).read().count("reload.done")
    bridge.set("channels.in_app.attempts", 2)
    reload(bridge, done + 1)
    bridge.set("channels.in_app.attempts", 1)
    reload(bridge, done + 2)
    assert "reload.deferred" in open(bridge.log).read()
    with Client(slow, "service", "shop") as shop:
        shop.subscribe("down/receipt")
        shop.publish("up/request", {"id": "nobody", "type": "t", "title": "t", "body": "b",
                                    "to": {"user": "nobody"}})
        assert shop.receipt("nobody", "dead", 20)["attempt"] == 1
