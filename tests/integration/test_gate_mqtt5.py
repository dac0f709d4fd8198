# SPDX-License-Identifier: MIT
"""Edges of MQTT 5 at the limits of the gate: what a client may say late, twice or in another way."""
import struct

import pytest

import servers
from gate_broker import GateBroker, peer
from gate_mqtt import Closed, DENIED, DISCONNECT, Peer, SUBACK, SUBSCRIBE, field, packet, varint

LIMIT = 2
PROTOCOL_ERROR, ALIAS_INVALID = 0x82, 0x94
UP = "notify/v1/users/%s/up/ack"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with GateBroker(tmp_path_factory.mktemp("gate"), {"sessions_per_principal": str(LIMIT),
                                                      "user_subscriptions": "4"},
                    sys_interval=1) as broker:
        yield broker


def leave(made, expiry):
    """DISCONNECT with a Session Expiry Interval of its own."""
    made.send(packet(DISCONNECT, b"\0\x05\x11" + struct.pack("!I", expiry)))


def code(gate, who, device, **more):
    made = Peer(gate)
    got = made.try_connect("user/%s/%s" % (who, device), gate.token("user", who), who, **more)
    return made, got


def test_an_expiry_that_is_raised_at_disconnect_is_counted(gate):
    got = []
    for n in range(2 * LIMIT):
        made, answer = code(gate, "raise", n, clean=False, expiry=1)
        if answer == 0:
            leave(made, 0xfffffffe)
            made.wait_closed()
        made.close()
        got.append(answer)
    assert got == [0] * LIMIT + [DENIED] * LIMIT


def test_an_expiry_that_is_lowered_at_disconnect_makes_room(gate):
    for n in range(3 * LIMIT):
        def is_in(device=n):
            made, answer = code(gate, "lower", device, clean=False, expiry=3600)
            if answer == 0:
                leave(made, 0)
                made.wait_closed()
            made.close()
            return answer == 0
        servers.wait_until(is_in, 10)


def test_an_expiry_of_nothing_cannot_be_raised(gate):
    made, answer = code(gate, "nothing", "d")
    assert answer == 0
    leave(made, 3600)
    made.wait_closed()
    assert made.disconnect_code == PROTOCOL_ERROR
    with peer(gate, "user", "nothing", "d", clean=False) as again:
        assert not again.session_present


def test_takeover_upon_takeover_leaves_one_session_and_no_will(gate):
    will = (UP % "taker", b"will", 1, False, 60)
    kept = {"clean": False, "expiry": 3600}
    with peer(gate, "bridge", "tocsin") as bridge:
        assert bridge.subscribe("notify/v1/users/+/up/#") == [1]
        for _ in range(20):
            made = peer(gate, "user", "taker", "d", will=will, **kept)
        assert made.session_present
        made.disconnect()
        for n in range(LIMIT - 1):
            other, answer = code(gate, "taker", n, **kept)
            assert answer == 0
            other.disconnect()
        bridge.publish("notify/v1/users/taker/down/inbox", b"{}")
        bridge.ping()
        assert not bridge.messages


@pytest.mark.parametrize("alias, want", [(0, None), (11, ALIAS_INVALID), (65535, ALIAS_INVALID)])
def test_a_topic_alias_out_of_range_ends_its_own_connection_only(gate, alias, want):
    with peer(gate, "user", "beside") as beside:
        made = peer(gate, "user", "alias", str(alias))
        with pytest.raises(Closed):
            made.publish(UP % "alias", properties=b"\x23" + struct.pack("!H", alias))
        assert want is None or made.disconnect_code == want
        assert beside.is_open()


def test_a_subscription_identifier_neither_adds_nor_hides_a_filter(gate):
    with peer(gate, "user", "numbered") as made:
        def subscribe(number, leaf):
            mid, number = made._mid(), b"\x0b" + varint(number)
            topic = field("notify/v1/users/numbered/down/t%d" % leaf)
            made.send(packet(SUBSCRIBE, mid + varint(len(number)) + number + topic + b"\x01", 2))
            return made.expect(SUBACK, mid).body[3]
        assert [subscribe(n + 1, n) for n in range(5)] == [1] * 4 + [DENIED]
        assert [subscribe(n + 200000, n) for n in range(5)] == [1] * 4 + [DENIED]
        assert made.subscribe("$share/g/notify/v1/users/numbered/down/t0") == [DENIED]
        with pytest.raises(Closed):
            subscribe(0, 0)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("clean", [True, False])
def test_nobody_is_given_a_client_id(gate, version, clean):
    with Peer(gate, version) as made:
        assert made.try_connect("", gate.token("user", "e"), "e", clean=clean) not in (0, "closed")
