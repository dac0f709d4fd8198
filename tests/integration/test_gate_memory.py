# SPDX-License-Identifier: MIT
"""The stock broker with the plugin under valgrind, along the paths that corrupted it elsewhere."""
import os
import re
import shutil
import time

import pytest

import servers
from gate_broker import GateBroker, peer
from gate_mqtt import Peer
from gate_tokens import local

VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full",
            "--show-leak-kinds=definite", "--errors-for-leak-kinds=none", "--num-callers=25"]
OWN = "notify/v1/users/alice/down/#"
MORE = {"clean": False, "expiry": 2}


def bad_tokens(broker):
    good = broker.token("user", "alice")
    return [good[:-3] + "abc", "x", "a.b.c", "." * 50, "e" * 9000, local(broker, exp=1),
            local(broker, sub="a" * 200), local(broker, roles=["r"] * 50), good + ".x"]


def live_and_die(broker, round_):
    """Connections of every fate, as fast as they come."""
    kept = []
    for i in range(20):
        one = peer(broker, "user", "u%d" % i, ttl=5, **MORE)
        one.subscribe("notify/v1/users/u%d/down/#" % i)
        kept.append(one)
        if i % 4 == 0:
            one.disconnect()
        elif i % 4 == 1:
            kept.append(peer(broker, "user", "u%d" % i, ttl=5, **MORE))  # takes it over
        elif i % 4 == 2:
            one.publish("$CONTROL/tocsin/v1", broker.token("user", "u%d" % i, ttl=6))
    for token in bad_tokens(broker):
        with Peer(broker) as bad:
            bad.try_connect("user/alice", token)
    for raw in (b"\xf0\x00", b"\xf0\x02\x19\x00", b"\x10\x00", b"\xe0"):
        made = peer(broker, "user", "raw%d" % round_)
        made.send(raw)
        made.close()
    broker.signal(1)
    with peer(broker, "admin", "root") as admin, peer(broker, "bridge", "b") as bridge:
        admin.subscribe("notify/v1/presence/#", "$SYS/broker/tocsin/#")
        for i in range(20):
            bridge.publish("notify/v1/users/u%d/down/x" % i, b"x" * 500)
        admin.publish("$CONTROL/tocsin/v1",
                      '{"rpc":"1","method":"revoke","params":{"jti":"j%d"}}' % round_)
        admin.publish("$CONTROL/tocsin/v1", '{"rpc":"2","method":"disconnect","params":'
                      '{"kind":"user","id":"u3"}}')
        admin.ping()
    return kept


def left_behind(broker, who, expiry):
    """Sessions of one principal that stay, expire, are ended, and are more than there may be."""
    for i in range(40):
        made = Peer(broker)
        made.try_connect("user/%s/%d" % (who, i % 36), broker.token("user", who), who, clean=i > 36,
                         expiry=expiry)
        made.disconnect()
    for i in range(3):
        made = Peer(broker, 4)
        made.try_connect("user/%s/four%d" % (who, i), broker.token("user", who), who, clean=False)
        made.close()


@pytest.mark.long
def test_valgrind_finds_nothing(tmp_path):
    if not shutil.which("valgrind"):
        pytest.skip("no valgrind here")
    listing = servers.write_file(str(tmp_path / "revoked"), "")
    broker = GateBroker(tmp_path / "b", {"revocation_file": listing, "presence_linger": "1",
                                         "counters_interval": "1"},
                        wrapper=VALGRIND, autosave_interval=1)
    broker.ready_timeout = 60
    if servers.instrumented(broker.plugin):
        pytest.skip("valgrind and AddressSanitizer do not go together")
    kept = []
    with broker:
        for round_ in range(3):
            kept += live_and_die(broker, round_)
            time.sleep(5)  # lets tokens and sessions end, SIGHUP among them
            broker.signal(1)
        servers.write_file(broker.secret_file, "z" * 64)
        servers.wait_until(lambda: "keys reloaded" in broker.log_text(), 10)
        peer(broker, "user", "alice", clean=False, expiry=600).disconnect()
        left_behind(broker, "eve", expiry=600)
    with broker:  # and once more with sessions from disk, which the plugin has the broker ask about
        broker.signal(1)
        with peer(broker, "user", "alice", clean=False, expiry=600) as alice:
            assert alice.session_present
        left_behind(broker, "eve", expiry=600)  # some come back, and are asked about from now on
        left_behind(broker, "mallory", expiry=3)
        time.sleep(7)
        broker.signal(1)
        left_behind(broker, "mallory", expiry=3)
    for made in kept:
        made.close()
    log = broker.log_text()
    lines = [re.sub(r"^==\d+== ?", "", line) for line in log.splitlines()
             if line.startswith("==")]
    for report in "\n".join(lines).split("\n\n"):
        # The broker leaks by itself; ours must not, and nobody may touch what is gone.
        assert "tocsin_auth.so" not in report and not re.search(
            r"^(Invalid|Conditional|Use of|Mismatched|Syscall)", report, re.M), report
    assert os.path.exists(listing)
