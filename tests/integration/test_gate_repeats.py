# SPDX-License-Identifier: MIT
"""A count limit is about what is added: who repeats what it has is never over it."""
import pytest

import servers
from gate_broker import GateBroker, peer
from gate_mqtt import DENIED

LIMIT = 6
REFUSED = {4: 0x80, 5: DENIED}
OWN = "notify/v1/users/%s/down/t%d"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with GateBroker(tmp_path_factory.mktemp("gate"), {"user_subscriptions": str(LIMIT),
                                                      "sessions_per_principal": "2",
                                                      "connections_per_principal": "2"}) as broker:
        yield broker


def filters(who, first=0, count=LIMIT):
    return [OWN % (who, n) for n in range(first, first + count)]


def durable(gate, who, version=5, device="d", **more):
    kept = {"clean": False, "expiry": 3600, **more} if version == 5 else {"clean": False, **more}
    return peer(gate, "user", who, device, version=version, **kept)


@pytest.mark.parametrize("version", [4, 5])
def test_a_session_at_its_limit_subscribes_again_when_its_client_is_back(gate, version):
    who = "again%d" % version
    with durable(gate, who, version) as made:
        assert made.subscribe(*filters(who)) == [1] * LIMIT
    for _ in range(3):
        with durable(gate, who, version) as made:
            assert made.session_present
            assert made.subscribe(*filters(who)) == [1] * LIMIT
            assert made.subscribe(OWN % (who, 99)) == [REFUSED[version]]
            with peer(gate, "bridge", "tocsin") as bridge:
                for n in range(LIMIT):
                    bridge.publish(OWN % (who, n), b"%d" % n)
            made.wait(lambda m: m.payload == b"%d" % (LIMIT - 1))
            assert len(made.messages) == LIMIT, "each once"
            made.ping()  # it has the acknowledgements


def test_other_options_of_the_same_filter_add_nothing(gate):
    with peer(gate, "user", "options") as made:
        assert made.subscribe(*filters("options")) == [1] * LIMIT
        assert made.subscribe(*filters("options"), qos=0) == [0] * LIMIT
        # No Local, Retain As Published, Retain Handling 2.
        assert made.subscribe(*filters("options"), qos=0x2d) == [1] * LIMIT
        assert made.subscribe(OWN % ("options", 99), qos=0x2d) == [DENIED]


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_unsubscribed_makes_room(gate, version):
    who = "room%d" % version
    with peer(gate, "user", who, version=version) as made:
        assert made.subscribe(*filters(who)) == [1] * LIMIT
        for n in range(3 * LIMIT):
            made.unsubscribe(OWN % (who, n))
            made.unsubscribe(OWN % (who, n))  # makes room once
            assert made.subscribe(OWN % (who, n + LIMIT), OWN % (who, n)) == [1, REFUSED[version]]


def test_a_takeover_keeps_the_filters_and_a_clean_start_ends_them(gate):
    with durable(gate, "taker") as first:
        assert first.subscribe(*filters("taker")) == [1] * LIMIT
        with durable(gate, "taker") as second:
            first.wait_closed()
            assert second.subscribe(*filters("taker")) == [1] * LIMIT
            assert second.subscribe(OWN % ("taker", 99)) == [DENIED]
        with durable(gate, "taker", clean=True) as third:
            others = filters("taker", LIMIT)
            assert third.subscribe(*others) == [1] * LIMIT
            assert third.subscribe(OWN % ("taker", 0)) == [DENIED]


def test_a_session_that_was_kicked_keeps_its_filters(gate):
    with durable(gate, "kicked") as made, peer(gate, "admin", "root") as root:
        assert made.subscribe(*filters("kicked")) == [1] * LIMIT
        root.publish("$CONTROL/tocsin/v1", '{"rpc":"1","method":"disconnect","params":'
                                           '{"kind":"user","id":"kicked"}}')
        made.wait_closed()
    with durable(gate, "kicked") as made:
        assert made.session_present
        assert made.subscribe(*filters("kicked")) == [1] * LIMIT
        assert made.subscribe(OWN % ("kicked", 99)) == [DENIED]


def test_a_role_that_is_lost_takes_its_subscription_along(gate):
    """Its place is free for a role that comes instead."""
    role = "notify/v1/roles/%s/#"
    with durable(gate, "roles", roles=["a"]) as made, peer(gate, "admin", "root") as root:
        assert made.subscribe(role % "a", *filters("roles")) == [1] * (LIMIT + 1)
    with durable(gate, "roles", roles=["b"]) as made, peer(gate, "admin", "root") as root:
        assert made.subscribe(role % "b") == [DENIED], "the broker still has the old one"
        root.publish("$CONTROL/tocsin/v1", '{"rpc":"1","method":"disconnect","params":'
                                           '{"kind":"user","id":"roles"}}')
        made.wait_closed()  # now the broker takes it away
    with durable(gate, "roles", roles=["b"]) as made:
        assert made.subscribe(role % "b", *filters("roles")) == [1] * (LIMIT + 1)
        assert made.subscribe(OWN % ("roles", 99)) == [DENIED]


def test_sessions_and_connections_that_come_back_are_no_additions(gate):
    """Both at their limit of two: the same ids come back, another does not."""
    for _ in range(3):
        for device in ("a", "b"):
            durable(gate, "ids", device=device).close()
    with durable(gate, "ids", device="a"), durable(gate, "ids", device="b"):
        with durable(gate, "ids", device="a") as again:
            assert again.session_present
            with pytest.raises(ConnectionError):
                durable(gate, "ids", device="c")


def test_a_restored_session_subscribes_again_and_no_more_than_doubles(tmp_path):
    options = {"user_subscriptions": str(LIMIT)}
    with GateBroker(tmp_path, options) as gate:
        with durable(gate, "alice") as made:
            assert made.subscribe(*filters("alice")) == [1] * LIMIT
        granted = LIMIT
        for start in range(1, 4):
            gate.stop()
            gate.start()
            servers.wait_until(lambda: "Reloading config" in gate.log_text(), 10)
            with durable(gate, "alice") as made:
                assert made.session_present
                if start == 1:
                    assert made.subscribe(*filters("alice")) == [1] * LIMIT
                    assert made.subscribe(OWN % ("alice", 99)) == [DENIED]
                else:
                    granted += made.subscribe(*filters("alice", 100 * start, 50)).count(1)
        assert granted <= 2 * LIMIT
