# SPDX-License-Identifier: MIT
"""The gate and CONNECT: who gets in under which client id and user name, and nobody else."""
import os
import socket
import struct
import time

import pytest

import servers
import tokens
from gate_broker import GateBroker, peer
from gate_mqtt import (AUTH, CONNECT, Closed, Peer, REFUSED, connect_packet, field, packet,
                       varint)

WAYS = [(4, False), (5, False), (5, True)]  # and (4, True) with --all
PARAMS = [*WAYS, pytest.param((4, True), marks=pytest.mark.long)]
NAMES = ["v4-tcp", "v5-tcp", "v5-ws", "v4-ws"]
INBOX = "notify/v1/users/alice/down/inbox"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with GateBroker(tmp_path_factory.mktemp("gate")) as broker:
        yield broker


@pytest.fixture(params=PARAMS, ids=NAMES)
def way(request):
    return request.param


def code(gate, way, client, password, username="alice", **more):
    with Peer(gate, *way) as made:
        return made.try_connect(client, password, username, **more)


def test_C01_no_credentials(gate, way):
    assert code(gate, way, "user/alice", None, None) == REFUSED[way[0]]
    assert code(gate, way, "user/alice", None, "alice") == REFUSED[way[0]]


def test_C02_password_without_user_name(gate):
    token = gate.token("user", "alice")
    for ws in (False, True):
        assert code(gate, (5, ws), "user/alice", token, None) == 0
        assert code(gate, (5, ws), "user/alice", token, "") == 0
        assert code(gate, (4, ws), "user/alice", token, "") == 0


def test_C03_user_name_of_somebody_else(gate, way):
    token = gate.token("user", "alice")
    for name in ("bob", "Alice", "alice ", "user/alice", "al", "alice2"):
        assert code(gate, way, "user/alice", token, name) == REFUSED[way[0]], name
    assert code(gate, way, "user/alice", token, "alice") == 0


def test_user_name_raw_or_encoded(gate, way):
    token = gate.token("user", "a b")
    assert code(gate, way, "user/a%20b", token, "a b") == 0
    assert code(gate, way, "user/a%20b", token, "a%20b") == 0
    assert code(gate, way, "user/a b", token, "a b") == REFUSED[way[0]]


def test_C04_junk_after_a_nul_is_not_seen(gate):
    """The broker hands passwords over as C strings: what follows a NUL never reaches us."""
    assert code(gate, (5, False), "user/alice",
                gate.token("user", "alice").encode() + b"\0junk") == 0


def test_C05_empty_password(gate, way):
    assert code(gate, way, "user/alice", "") == REFUSED[way[0]]


def test_C06_mqtt_3_1(gate):
    token = gate.token("user", "alice")
    assert code(gate, (3, False), "user/alice", token) == 0
    assert code(gate, (3, False), "user/bob", token) == REFUSED[3]


BAD_IDS = ["alice", "user/alice2", "user/alic", "user/Alice", "user/", "user", "users/alice",
           "service/alice", "admin/alice", "bridge/alice", "/user/alice", "user//alice",
           "user/alice//../bob+", "user/alice/+", "user/alice/#", "user/alice/$x",
           "user/alice/ñ", "user/alice/a b", "user/bob/alice", "user/alice%2F", "mqttjs_12ab34",
           "user/alice/" + "x" * 129, "x" * 60000, "user/alice\u200d"]


@pytest.mark.parametrize("client", BAD_IDS, ids=lambda c: ascii(c[:20]))
def test_C07_C09_client_ids_not_bound_to_the_principal(gate, client):
    token = gate.token("user", "alice")
    for way in WAYS[:2] if "alice" in client else WAYS:
        assert code(gate, way, client, token) == REFUSED[way[0]]


def test_client_ids_bound_to_the_principal(gate, way):
    for kind in ("user", "service", "admin", "bridge"):
        token = gate.token(kind, "alice")
        for tail in ("", "/", "/a/b/c", "/" + "x" * 128) if kind == "user" else ("/x",):
            assert code(gate, way, "%s/alice%s" % (kind, tail), token) == 0


def test_C08_empty_client_id(gate, way):
    token = gate.token("user", "alice")
    for clean in (True, False):
        assert code(gate, way, "", token, clean=clean) != 0


@pytest.mark.parametrize("name", [b"\x01u:alice:", b"\x01a:root:", b"\x01", b"\x01b:x:ops"])
def test_C10_the_stored_form_cannot_be_sent(gate, name):
    """Byte 0x01 marks the broker's own re-check; from the wire it never gets in."""
    for version in (3, 4, 5):
        for ws in (False, True) if name == b"\x01" else (False,):
            for password in (None, "", "x"):
                with Peer(gate, version, ws) as made:
                    assert made.try_connect("user/alice", password, name) != 0
    made = Peer(gate, 3)
    assert made.try_connect("user/alice", gate.token("user", "alice"), name) in (
        "closed", REFUSED[3], 0)  # 3.1: the broker drops the bad name; the token is alice's own
    made.close()


def test_C11_nobody_takes_an_online_session_over(gate, way):
    with peer(gate, "user", "alice", "phone") as alice:
        assert code(gate, way, "user/alice/phone", gate.token("user", "bob"),
                    "bob") == REFUSED[way[0]]
        assert code(gate, way, "user/alice/phone", gate.token("admin", "alice")) == REFUSED[way[0]]
        assert alice.is_open()


def test_C12_nobody_takes_an_offline_session_over(gate, way):
    version, ws = way
    more = {"clean": False, **({"expiry": 3600} if version == 5 else {})}
    device = "c12-%d-%d" % way
    with peer(gate, "user", "alice", device, version, ws, **more) as alice:
        assert alice.subscribe("notify/v1/users/alice/down/#") == [1]
    with peer(gate, "bridge", "b") as bridge:
        for i in range(20):
            assert bridge.publish(INBOX, b"%d" % i) == 0
        for clean in (True, False):
            assert code(gate, way, "user/alice/" + device, gate.token("user", "bob"), "bob",
                        clean=clean) == REFUSED[version]
    with peer(gate, "user", "alice", device, version, ws, **more) as alice:
        assert alice.session_present
        alice.wait(lambda m: m.payload == b"19")
        assert [m.payload for m in alice.messages] == [b"%d" % i for i in range(20)]
    peer(gate, "user", "alice", device, version, ws, clean=True).disconnect()


@pytest.mark.parametrize("version, ws", [
    (4, False), (5, True), pytest.param(5, False, marks=pytest.mark.long),
    pytest.param(4, True, marks=pytest.mark.long)])
def test_C13_own_takeover_keeps_the_new_connection(gate, version, ws):
    """The old connection's end must not take the new one's entry along."""
    old = peer(gate, "user", "alice", "t", version, ws)
    new = peer(gate, "user", "alice", "t", version, ws, ttl=2)
    old.wait_closed()
    assert new.is_open()
    new.wait_closed()  # kicked at its own exp, so its entry was there
    old.close()
    new.close()


def test_C14_a_thousand_reconnects_leave_nothing_behind(gate):
    token = gate.token("user", "alice")
    for _ in range(1000):
        made = Peer(gate).connect("user/alice/again", token)
        made.drop()
    with peer(gate, "admin", "root") as admin:
        admin.subscribe("notify/v1/presence/alice")
        servers.wait_until(lambda: admin.ping().messages
                           and b'"connections":0' in admin.messages[-1].payload, 10)


def test_C15_sockets_without_connect(gate):
    for junk in (b"", b"\x10", b"\x00", b"\xff" * 5, b"\x10\xff\xff\xff\xff\x7f",
                 packet(CONNECT, b"\x00\x04MQTT"), os.urandom(64)):
        with socket.create_connection(("127.0.0.1", gate.port)) as sock:
            sock.sendall(junk)
    with peer(gate, "user", "alice") as alice:
        assert alice.is_open()


@pytest.mark.parametrize("method", ["JWT", "SCRAM-SHA-256", "x" * 300])
def test_C16_enhanced_authentication_is_not_offered(gate, method):
    props = b"\x15" + field(method) + b"\x16" + field(b"data")
    for password in (None, gate.token("user", "alice")):
        assert code(gate, (5, False), "user/alice", password, properties=props) == 0x8C


@pytest.mark.parametrize("raw", [b"\xf0\x00", b"\xf0\x02\x19\x00", b"\xf0\x02\x18\x00",
                                 packet(AUTH, b"\x19" + varint(6) + b"\x15" + field("JWT"))])
def test_C17_auth_packets_after_login_only_close(gate, raw):
    for ws in (False, True):
        made = peer(gate, "user", "alice", ws=ws)
        made.send(raw)
        made.wait_closed()
    with peer(gate, "user", "bob") as bob:
        assert bob.is_open()


def test_C18_second_connect_closes(gate, way):
    made = peer(gate, "user", "alice", version=way[0], ws=way[1])
    made.send(connect_packet("user/alice", "alice", gate.token("user", "alice"), way[0]))
    made.wait_closed()


def test_C19_bad_tokens_do_not_slow_good_clients(gate):
    """Refused connects as fast as one client can; a good one keeps its pace."""
    token = gate.token("user", "mallory")
    bad = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    waits = []
    start = time.monotonic()
    with peer(gate, "user", "alice") as alice:
        for _ in range(40):
            batch = [Peer(gate) for _ in range(10)]
            for made in batch:
                made.send(connect_packet("user/mallory", "mallory", bad))
            begin = time.monotonic()
            alice.ping()
            waits.append(time.monotonic() - begin)
            for made in batch:
                made.close()
    took = time.monotonic() - start
    with open(gate.log, "rb") as file:
        lines = file.read().count(b': signature: ')
    assert lines < 6 * max(took, 2), (lines, took)
    assert sorted(waits)[len(waits) // 2] < 0.25, waits


def test_C20_huge_connect_on_tcp_is_closed(gate):
    with socket.create_connection(("127.0.0.1", gate.port)) as sock:
        sock.sendall(b"\x10\xff\xff\xff\x7f" + b"\0" * 10)
        sock.settimeout(60)
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            pass
    with peer(gate, "user", "alice") as alice:
        assert alice.is_open()


def test_every_kind_gets_in_on_every_listener(gate, way):
    for kind in tokens.KINDS:
        with peer(gate, kind, "x", version=way[0], ws=way[1]) as made:
            assert made.is_open()


def test_unix_socket(gate):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(gate.socket)
    sock.sendall(connect_packet("bridge/b", "b", gate.token("bridge", "b"), 4))
    assert sock.recv(4) == b"\x20\x02\x00\x00"
    sock.close()
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(gate.socket)
    sock.sendall(connect_packet("bridge/b", "b", "x", 4))
    assert sock.recv(4) == struct.pack("BBBB", 0x20, 2, 0, 5)
    sock.close()


def test_nothing_before_connect(gate):
    """Publishing or subscribing without CONNECT closes the connection."""
    for raw in (packet(8, b"\0\1\0" + field("#") + b"\0", 2),
                packet(3, field("notify/v1/users/alice/up/x") + b"\0x")):
        with Peer(gate) as made:
            made.send(raw)
            made.wait_closed()


def test_refused_client_cannot_go_on(gate):
    made = Peer(gate, 4)
    made.send(connect_packet("user/alice", "alice", "bad", 4)
              + packet(3, field("notify/v1/users/alice/up/x") + b"x"))
    with pytest.raises(Closed):
        while True:
            made.read()
