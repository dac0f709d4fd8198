# SPDX-License-Identifier: MIT
"""What stays behind when a client has left: bounded by principal, also across a restart."""
import os
import signal

import pytest

import servers
from gate_broker import GateBroker, peer
from gate_mqtt import DENIED, Peer, REFUSED

LIMIT = 5


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with GateBroker(tmp_path_factory.mktemp("gate"), {"sessions_per_principal": str(LIMIT)},
                    sys_interval=1) as broker:
        yield broker


def code(gate, subject, device, version=5, kind="user", **more):
    """CONNACK's code for one device; connects, and closes again."""
    made = Peer(gate, version)
    got = made.try_connect("%s/%s/%s" % (kind, subject, device), gate.token(kind, subject),
                           subject, **more)
    made.close() if got else made.disconnect()
    return got


def leave(gate, subject, count=LIMIT, version=5, first=0, **more):
    kept = {"clean": False, "expiry": 3600} if version == 5 else {"clean": False}
    return [code(gate, subject, "left%d" % n, version, **kept, **more)
            for n in range(first, first + count)]


@pytest.mark.parametrize("version", [4, 5])
def test_sessions_left_behind_are_bounded(gate, version):
    who = "bounded%d" % version
    kept = {"clean": False, "expiry": 3600} if version == 5 else {"clean": False}
    assert leave(gate, who, version=version) == [0] * LIMIT
    assert leave(gate, who, 3, version, LIMIT) == [REFUSED[version]] * 3
    assert code(gate, who, "clean", version) == REFUSED[version], "it might stay behind, too"
    assert "principal_sessions" in gate.log_text()
    assert leave(gate, who, version=version) == [0] * LIMIT, "with ids that are there already"
    assert code(gate, "neighbour%d" % version, "x", version) == 0
    assert code(gate, who, "x", version, kind="service") == 0, "another principal"
    # An id that is ended makes room for another.
    assert code(gate, who, "left0", version, clean=True) == 0
    assert servers.wait_until(lambda: code(gate, who, "new", version, **kept) == 0, 10)


def test_clients_that_leave_nothing_are_not_counted(gate):
    """A program that connects with an id of its own each time, as command line tools do."""
    for version in (4, 5):
        for n in range(4 * LIMIT):
            servers.wait_until(lambda: code(gate, "tool", "run%d.%d" % (version, n), version) == 0,
                               5)


def test_connections_are_not_sessions_left_behind(gate):
    """As many as may be connected at once; their sessions count when they go."""
    made = [peer(gate, "user", "many", "d%d" % n, clean=False, expiry=3600)
            for n in range(3 * LIMIT)]
    try:
        assert code(gate, "many", "one.more") == 0
    finally:
        for one in made:
            one.close()
    servers.wait_until(lambda: code(gate, "many", "another") == REFUSED[5], 10)
    assert code(gate, "many", "d3", clean=False, expiry=3600) == 0


def test_a_takeover_counts_once(gate):
    with peer(gate, "user", "taker", "d", clean=False, expiry=3600):
        for _ in range(2 * LIMIT):
            peer(gate, "user", "taker", "d", clean=False, expiry=3600).close()
    assert leave(gate, "taker", LIMIT - 1) == [0] * (LIMIT - 1)


def test_a_session_that_has_expired_makes_room(gate):
    kept = {"clean": False, "expiry": 1}
    assert [code(gate, "brief", "b%d" % n, **kept) for n in range(LIMIT)] == [0] * LIMIT
    servers.wait_until(lambda: code(gate, "brief", "new") == 0, 60)


def test_the_count_survives_a_restart(tmp_path):
    options = {"sessions_per_principal": str(LIMIT)}
    with GateBroker(tmp_path, options) as gate:
        assert leave(gate, "alice") == [0] * LIMIT
        gate.stop()
        gate.start()
        servers.wait_until(lambda: "Reloading config" in gate.log_text(), 10)
        servers.wait_until(lambda: code(gate, "alice", "new") == REFUSED[5], 10)
        assert leave(gate, "alice") == [0] * LIMIT
        assert code(gate, "alice", "new") == REFUSED[5]
        assert code(gate, "alice", "left0", clean=True) == 0
        servers.wait_until(lambda: code(gate, "alice", "new") == 0, 10)
        # A second reload finds those that are still restored, and counts nobody twice.
        reloads = gate.log_text().count("Reloading config")
        gate.stop()
        gate.start()
        servers.wait_until(lambda: gate.log_text().count("Reloading config") > reloads, 10)
        for _ in range(2):  # not before: a broker that has just begun to listen is killed by it
            os.kill(gate.pid, signal.SIGHUP)
        assert leave(gate, "alice") == [0] * LIMIT


def test_a_first_start_reloads_nothing(tmp_path):
    with GateBroker(tmp_path) as gate:
        with peer(gate, "user", "alice") as made:
            made.ping()
        assert "Reloading config" not in gate.log_text()


def test_a_user_has_few_subscriptions_and_one_for_each_role(gate):
    own = "notify/v1/users/sub/down/"
    roles = ["r%d" % n for n in range(10)]
    with peer(gate, "user", "sub", roles=roles) as made:
        assert made.subscribe(*["notify/v1/roles/%s/#" % role for role in roles]) == [1] * 10
        assert made.subscribe(*[own + "t%d" % n for n in range(16)]) == [1] * 16
        assert made.subscribe(own + "one.more") == [DENIED]
    with peer(gate, "service", "sub") as made:
        assert made.subscribe(*["notify/v1/services/sub/down/t%d" % n for n in range(60)]) == \
            [1] * 60


def test_answers_wait_for_sessions_left_behind_up_to_a_mebibyte(gate):
    """A user's own calls make them; what others send to the inbox is not counted."""
    own = "notify/v1/users/asker/down/"
    kept = {"clean": False, "expiry": 3600}
    with peer(gate, "user", "asker", "left", **kept) as left:
        assert left.subscribe(own + "#") == [1]
    with peer(gate, "user", "asker", "here") as here, peer(gate, "bridge", "tocsin") as bridge:
        assert here.subscribe(own + "#") == [1]
        for n in range(60):
            bridge.publish(own + ("reply" if n % 2 else "answers/7"), b"%02d" % n + b"x" * 60000)
            bridge.publish(own + "inbox", b"%02d" % n + b"y" * 60000)
        here.wait(lambda m: m.payload[:3] == b"59y")
        assert sum(b"x" in m.payload for m in here.messages) == 60, "a connection that is up gets all"
    with peer(gate, "user", "asker", "left", **kept) as left:
        left.wait(lambda m: m.payload[:3] == b"59y")
        assert sum(b"y" in m.payload for m in left.messages) == 60
        assert 10 < sum(b"x" in m.payload for m in left.messages) <= 18


def answers(bridge, topic, count=150):
    for n in range(count):
        bridge.publish(topic, b"%03d" % n + b"x" * 60000)


def waiting(gate, subject):
    """Bytes that a session which was left behind is sent when its client is back."""
    with peer(gate, "user", subject, "left", clean=False, expiry=3600) as left, \
            peer(gate, "bridge", "tocsin") as bridge:
        bridge.publish("notify/v1/users/%s/down/inbox" % subject, b"end")
        left.wait(lambda m: m.payload == b"end", 30)
        return sum(len(m.payload) for m in left.messages)


@pytest.mark.parametrize("topic", ["reply", "r", "answers/7"])
def test_any_response_topic_is_an_answer(gate, topic):
    subject = "topic-" + topic.replace("/", "-")
    own = "notify/v1/users/%s/down/" % subject
    with peer(gate, "user", subject, "left", clean=False, expiry=3600) as left:
        assert left.subscribe(own + "#") == [1]
    with peer(gate, "bridge", "tocsin") as bridge:
        answers(bridge, own + topic, 40)
    assert 10 * 60000 < waiting(gate, subject) <= 1 << 20


def test_what_a_connection_does_not_acknowledge_is_bounded(gate):
    """Receive Maximum 1, no PUBACK: the broker keeps what is sent, and the client leaves."""
    own = "notify/v1/users/silent/down/"
    left = peer(gate, "user", "silent", "left", clean=False, expiry=3600,
                properties=b"\x21\x00\x01")
    assert left.subscribe(own + "#") == [1]
    with peer(gate, "bridge", "tocsin") as bridge:
        answers(bridge, own + "reply")
        left.close()  # has read none of them
        answers(bridge, own + "reply")
    assert waiting(gate, "silent") < 6 << 20


@pytest.mark.parametrize("line, most", [("max_queued_bytes 1048576", (1 << 20) + 2 * 60003),
                                        ("max_queued_messages 10", 11 * 60003),
                                        ("max_queued_bytes 1048576\nmax_inflight_bytes 262144",
                                         (1 << 20) + 262144 + 2 * 60003)])
def test_the_brokers_queue_limits_bound_a_client_that_never_acknowledges(tmp_path, line, most):
    """Of what others send, for which the plugin has no budget."""
    own = "notify/v1/users/silent/down/"
    settings = dict(pair.split() for pair in line.split("\n"))
    with GateBroker(tmp_path, **settings) as broker:
        left = peer(broker, "user", "silent", "left", clean=False, expiry=3600,
                    properties=b"\x21\x00\x01")
        assert left.subscribe(own + "#") == [1]
        with peer(broker, "bridge", "tocsin") as bridge:
            answers(bridge, own + "inbox", 60)
        left.close()
        assert "Outgoing messages are being dropped" in broker.log_text()
        with peer(broker, "user", "silent", "left", clean=False, expiry=3600) as left, \
                peer(broker, "bridge", "tocsin") as bridge:
            def is_drained():  # it is dropped as long as the queue is full
                bridge.publish(own + "inbox", b"end")
                left.ping()
                return any(m.payload == b"end" for m in left.messages)
            servers.wait_until(is_drained, 10)
            assert most // 2 < sum(len(m.payload) for m in left.messages
                                  if m.payload != b"end") <= most


def test_the_budget_outlives_presence(tmp_path):
    """presence_linger is over, and what was used up is not there again."""
    own = "notify/v1/users/asker/down/"
    with GateBroker(tmp_path, {"presence_linger": "0"}) as broker:
        with peer(broker, "user", "asker", "left", clean=False, expiry=3600) as left:
            assert left.subscribe(own + "#") == [1]
        with peer(broker, "bridge", "tocsin") as bridge:
            assert bridge.subscribe("notify/v1/presence/#") == [1]
            for _ in range(3):
                answers(bridge, own + "reply", 40)
                del bridge.messages[:]
                with peer(broker, "user", "asker", "other") as other:
                    other.ping()
                bridge.wait(lambda m: b'"connections":1' in m.payload)
                bridge.wait(lambda m: m.payload == b"")  # its presence is forgotten
        assert waiting(broker, "asker") <= 1 << 20


def test_one_user_cannot_fill_the_broker(gate):
    """Session after session, each with as many and as deep filters as are granted."""
    accepted = 0
    filters = ["notify/v1/users/mallory/down/%s/%s" % ("x" * 150, "y%d" % n) for n in range(100)]
    for n in range(150):
        made = Peer(gate)
        if made.try_connect("user/mallory/%d" % n, gate.token("user", "mallory"), "mallory",
                            clean=False, expiry=86400):
            made.close()
            continue
        accepted += 1
        assert made.subscribe(*filters).count(1) == 16
        made.disconnect()
    assert accepted <= LIMIT + 1  # an end may be noticed after the next beginning
