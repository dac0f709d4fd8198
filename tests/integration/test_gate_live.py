# SPDX-License-Identifier: MIT
"""The gate while connected: expiry, refresh, revocation, presence, counters, limits."""
import json
import os
import time

import jsonschema
import pytest

import servers
from gate_broker import GateBroker, peer
from gate_mqtt import DENIED, PUBLISH, Peer, REFUSED, field, packet, varint
from gate_tokens import local

CONTROL = "$CONTROL/tocsin/v1"
with open(os.path.join(servers.ROOT, "schemas", "json", "reply.schema.json")) as _file:
    REPLY = json.load(_file)
OWN = "notify/v1/users/alice"
PARAMS = [(5, False), (4, True), pytest.param((4, False), marks=pytest.mark.long),
          pytest.param((5, True), marks=pytest.mark.long)]
NAMES = ["v5-tcp", "v4-ws", "v4-tcp", "v5-ws"]


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    place = tmp_path_factory.mktemp("gate")
    listing = servers.write_file(str(place / "revoked"), "# nothing yet\n")
    with GateBroker(place, {"revocation_file": listing, "counters_interval": "1",
                            "presence_linger": "1", "control_rate": "1000",
                            "control_burst": "1000"}) as broker:
        broker.listing = listing
        yield broker


@pytest.fixture(params=PARAMS, ids=NAMES)
def way(request):
    return request.param


def ask(made, method=None, rpc="1", raw=None, **params):
    """A request on $CONTROL and its answer."""
    body = raw if raw is not None else json.dumps({"rpc": rpc, "method": method,
                                                   "params": params})
    seen = len(made.messages)
    assert made.publish(CONTROL, body) == 0
    made.wait(lambda m: m in made.messages[seen:] and m.topic.endswith("/down/reply"))
    answer = json.loads(made.messages[-1].payload)
    jsonschema.validate(answer, REPLY)
    return answer


def test_E01_E02_gone_at_exp(gate, way):
    """At exp, not before; MQTT 5 is told 0x98; the same token does not get in again."""
    version, ws = way
    ends = int(time.time()) + 3
    token = gate.token("user", "alice", exp=ends)
    made = peer(gate, "user", "alice", "e", version, ws, token=token)
    made.wait_closed()
    assert ends <= time.time()
    assert made.disconnect_code == (0x98 if version == 5 else None)
    with Peer(gate, version, ws) as again:
        assert again.try_connect("user/alice/e", token) == REFUSED[version]


def test_E03_exp_within_the_second(gate):
    token = gate.token("user", "alice", ttl=1)
    with Peer(gate) as made:
        if made.try_connect("user/alice", token) == 0:
            made.wait_closed(3)


@pytest.mark.parametrize("version, ws", [
    (5, True), pytest.param(5, False, marks=pytest.mark.long),
    pytest.param(4, False, marks=pytest.mark.long), pytest.param(4, True, marks=pytest.mark.long)])
def test_E04_refresh_keeps_the_connection(gate, version, ws):
    made = peer(gate, "user", "alice", "r", version, ws, ttl=4)
    answer = ask(made, "refresh", token=gate.token("user", "alice", ttl=60))
    assert set(answer) == {"rpc", "result"} and answer["rpc"] == "1"
    assert answer["result"]["expires"] > time.time() + 50
    time.sleep(4.5)  # beyond the first token's end
    assert made.is_open()
    made.disconnect()


def test_refresh_with_the_bare_token(gate):
    with peer(gate, "user", "alice", "r", ttl=2) as made:
        assert ask(made, raw=gate.token("user", "alice"))["rpc"] == "refresh"


def foreign(gate):
    good = gate.token("user", "alice")
    return {"foreign": gate.token("user", "bob"), "signature": good[:-3] + "abc",
            "expired": gate.token("user", "alice", ttl=-5),
            "audience": local(gate, aud="other"), "malformed": "x", "too_long": "a" * 33000,
            "kind": local(gate, kind="root")}


def test_E05_refresh_with_a_wrong_token(gate):
    """Answered with the reason; the old end stands."""
    made = peer(gate, "user", "alice", "w", ttl=4)
    for why, token in foreign(gate).items():
        assert ask(made, "refresh", token=token)["error"]["code"] == why
    assert ask(made, "refresh", token=gate.token("service", "alice"))["error"]["code"] == "foreign"
    assert made.is_open()
    made.wait_closed()


def test_E06_refresh_may_shorten(gate):
    """The newest accepted token counts, also when it ends sooner."""
    made = peer(gate, "user", "alice", "s", ttl=600)
    ask(made, "refresh", token=gate.token("user", "alice", ttl=2))
    made.wait_closed()


def test_E07_strange_refreshes(gate):
    token = gate.token("user", "alice")
    with peer(gate, "user", "alice", "x") as made:
        for raw in (b"", b"\0", b"{", b"[]", b"null", b"{}", b'{"rpc":1}', b"x" * 64000,
                    b"ey", b"eyJ\0x", b'{"rpc":"1","method":"refresh"}',
                    b'{"rpc":"1","method":"refresh","params":{"token":1}}',
                    b'{"rpc":"1","method":"refresh","params":{"token":""}}',
                    b'{"rpc":"1","method":"refresh","params":{"token":"x","more":1}}',
                    b'{"rpc":"1","rpc":"2","method":"refresh"}', b'{"rpc":"1","method":"quit"}',
                    b'{"rpc":"' + b"r" * 129 + b'","method":"refresh"}'):
            assert made.publish(CONTROL, raw) == 0
        assert made.publish(CONTROL, token, qos=0) == 0
        assert made.publish(CONTROL, token, qos=2) == DENIED
        assert made.publish(CONTROL, token, retain=True) == DENIED
        assert made.publish(CONTROL, token, dup=True) == 0
        made.ping()
        bad = [m for m in made.messages if b'"error"' in m.payload]
        assert len(bad) == 17 and all(m.topic == OWN + "/down/reply" for m in bad)
        for message in bad:
            jsonschema.validate(json.loads(message.payload), REPLY)
    with peer(gate, "admin", "root") as admin:
        assert admin.subscribe("$SYS/#") == [1]
        admin.ping()
        assert not [m for m in admin.messages if m.topic.startswith("$CONTROL")]


@pytest.mark.long
def test_E09_only_the_own_entry(gate):
    """One device's refresh does not prolong another's."""
    other = peer(gate, "user", "alice", "two", ttl=2)
    with peer(gate, "user", "alice", "one", ttl=2) as made:
        ask(made, "refresh", token=gate.token("user", "alice"))
        other.wait_closed(4)
        assert made.is_open()


def test_E10_durable_session_survives_expiry(gate, way):
    version, ws = way
    more = {"clean": False, **({"expiry": 600} if version == 5 else {})}
    device = "dur%d%d" % way
    made = peer(gate, "user", "alice", device, version, ws, ttl=1, **more)
    assert made.subscribe(OWN + "/down/#") == [1]
    made.wait_closed(4)
    with peer(gate, "bridge", "b") as bridge:
        assert bridge.publish(OWN + "/down/inbox", b"kept") == 0
    with peer(gate, "user", "alice", device, version, ws, **more) as made:
        assert made.session_present
        assert made.wait(lambda m: m.payload == b"kept")
    peer(gate, "user", "alice", device, version, ws).disconnect()


def test_E11_many_expire_in_one_second(gate):
    begin = time.monotonic()
    for i in range(30):
        peer(gate, "user", "m%d" % i).disconnect()
    ends = int(time.time() + 3 + 20 * (time.monotonic() - begin))  # they are all there by then
    many = [peer(gate, "user", "m%d" % i, token=gate.token("user", "m%d" % i, exp=ends))
            for i in range(300)]
    with peer(gate, "user", "alice") as alice:
        while any(made.is_open() for made in many[::10]):
            alice.ping()  # raises when it is not answered
            assert time.time() < ends + 60
            time.sleep(0.01)
    for made in many:
        made.wait_closed(5)
        made.close()


def test_E14_kicked_in_the_middle_of_a_burst(gate):
    made = peer(gate, "user", "alice", "burst", ttl=2)
    body = packet(PUBLISH, field(OWN + "/up/x") + varint(0) + b"x" * 100)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            made.sock.sendall(body * 100)
        except OSError:
            break
    else:
        raise AssertionError("never kicked")
    made.close()
    with peer(gate, "user", "bob") as bob:
        assert bob.is_open()


def test_E15_an_offline_session_is_never_kicked(gate):
    """Its entry went with the connection: nothing is left to expire."""
    more = {"clean": False, "expiry": 600}
    made = peer(gate, "user", "alice", "off", ttl=1, **more)
    made.subscribe(OWN + "/down/#")
    made.disconnect()
    time.sleep(2.1)
    with peer(gate, "user", "alice", "off", **more) as made:
        assert made.session_present
    peer(gate, "user", "alice", "off").disconnect()


def test_roles_change_with_a_refresh(gate):
    with peer(gate, "user", "rita") as rita, peer(gate, "bridge", "b") as bridge:
        assert rita.subscribe("notify/v1/roles/ops/#") == [DENIED]
        ask(rita, "refresh", token=gate.token("user", "rita", ["ops"]))
        assert rita.subscribe("notify/v1/roles/ops/#") == [1]
        bridge.publish("notify/v1/roles/ops/x", b"one")
        rita.wait(lambda m: m.payload == b"one")
        ask(rita, "refresh", token=gate.token("user", "rita"))
        bridge.publish("notify/v1/roles/ops/x", b"two")
        rita.ping()
        assert not [m for m in rita.messages if m.payload == b"two"]


def test_refresh_survives_sighup(gate):
    """SIGHUP asks the broker's auth again with the first token, expired by now."""
    with peer(gate, "user", "alice", "hup", ttl=2) as made:
        ask(made, "refresh", token=gate.token("user", "alice"))
        time.sleep(2.2)
        gate.signal(1)
        time.sleep(0.5)
        assert made.is_open()


# Revocation

def test_revocation_by_jti(gate):
    token = gate.token("user", "alice", jti="one")
    made = peer(gate, "user", "alice", "j", token=token)
    other = peer(gate, "user", "alice", "k")
    with peer(gate, "admin", "root") as admin:
        assert ask(admin, "revoke", jti="one")["result"] == {"revoked": True, "stored": True}
        made.wait_closed()  # though its token lasts an hour
    assert other.is_open()
    with Peer(gate) as again:
        assert again.try_connect("user/alice/j", token) == REFUSED[5]
    assert "error" in ask(other, "refresh", token=token)
    other.disconnect()
    with open(gate.listing) as file:
        assert "jti one\n" in file.read()


def test_revocation_by_subject(gate):
    token = gate.token("user", "eve")
    made = peer(gate, "user", "eve", token=token)
    with peer(gate, "admin", "root") as admin:
        ask(admin, "revoke", kind="user", id="eve", until=int(time.time()))
        made.wait_closed()  # though its token lasts an hour
    with Peer(gate) as again:
        assert again.try_connect("user/eve", token) == REFUSED[5]
        later = local(gate, sub="eve", iat=int(time.time()) + 2)  # within the clock's skew
    with Peer(gate) as again:
        assert again.try_connect("user/eve", later) == 0
    with peer(gate, "service", "eve") as service:
        assert service.is_open()


def test_revocation_by_list_file(gate):
    made = peer(gate, "user", "frank", token=gate.token("user", "frank", jti="file-1"))
    with open(gate.listing, "a") as file:
        file.write("jti file-1   # lost phone\n\n# end\nsub user/nobody 1\n")
    made.wait_closed()
    with open(gate.listing, "a") as file:
        file.write("nonsense here\n")
    servers.wait_until(lambda: "revocations not reloaded, the old ones stay" in gate.log_text())
    with Peer(gate) as again:  # the list read before is still in force
        assert again.try_connect("user/frank", gate.token("user", "frank", jti="file-1")) != 0
        text = open(gate.listing).read().replace("nonsense here\n", "")
    servers.write_file(gate.listing, text)


def test_revocation_by_iat(tmp_path):
    listing = servers.write_file(str(tmp_path / "revoked"), "")
    with GateBroker(tmp_path / "b", {"revocation_file": listing}) as broker:
        old = local(broker, iat=int(time.time()) - 100)
        undated = local(broker, iat=None)
        first, second = (peer(broker, "user", "alice", d, token=t)
                         for d, t in (("a", old), ("b", undated)))
        with peer(broker, "user", "alice", "c") as fresh:
            servers.write_file(listing, "iat %d\n" % (time.time() - 50))
            first.wait_closed(4)
            second.wait_closed(4)
            assert fresh.is_open()
        with Peer(broker) as again:
            assert again.try_connect("user/alice", old) == REFUSED[5]


def test_only_admins_and_the_bridge_rule(gate):
    for kind in ("user", "service"):
        with peer(gate, kind, "alice") as made:
            for method, params in (("revoke", {"jti": "x"}), ("disconnect", {"client": "user/a"}),
                                   ("disconnect", {"kind": "user", "id": "alice"})):
                assert ask(made, method, **params)["error"]["code"] == "not_allowed"
            assert made.is_open()
    with peer(gate, "bridge", "b") as bridge:
        assert ask(bridge, "disconnect", client="user/nobody")["result"] == {"disconnected": 0}


def test_disconnect_by_client_and_by_principal(gate):
    a, b, c = (peer(gate, "user", "gina", d) for d in "abc")
    with peer(gate, "admin", "root") as admin:
        assert ask(admin, "disconnect", client="user/gina/a")["result"] == {"disconnected": 1}
        a.wait_closed(2)
        assert b.is_open() and c.is_open()
        assert ask(admin, "disconnect", kind="user", id="gina")["result"] == {"disconnected": 2}
        b.wait_closed(2)
        c.wait_closed(2)
    peer(gate, "user", "gina").disconnect()  # kicked, not banned


# Presence

def presence(watcher, user):
    watcher.ping()
    last = [m for m in watcher.messages if m.topic == "notify/v1/presence/" + user]
    return json.loads(last[-1].payload)["connections"] if last and last[-1].payload else None


def test_presence_counts_connections(gate):
    with peer(gate, "bridge", "w") as watch:
        watch.subscribe("notify/v1/presence/#")

        def seen(count):
            return servers.wait_until(lambda: presence(watch, "pia") == count, 5) or True
        one = peer(gate, "user", "pia", "1")
        assert seen(1)
        two = peer(gate, "user", "pia", "2", ws=True, version=4)
        assert seen(2)
        again = peer(gate, "user", "pia", "1")  # takes the first one over
        one.wait_closed()
        watch.ping()
        assert seen(2)
        two.drop()
        assert seen(1)
        again.disconnect()
        servers.wait_until(lambda: presence(watch, "pia") in (0, None), 5)
        # and the retained message goes away when it has lingered
        servers.wait_until(lambda: watch.ping() and watch.messages[-1].payload == b"", 5)
        counts = [json.loads(m.payload)["connections"] for m in watch.messages
                  if m.topic.endswith("/pia") and m.payload]
        assert max(counts) == 2 and counts[-1] == 0


def test_presence_is_for_users_and_only_the_gate_writes_it(gate):
    with peer(gate, "bridge", "w") as watch:
        watch.subscribe("notify/v1/presence/#")
        with peer(gate, "service", "s"), peer(gate, "admin", "a"):
            assert watch.publish("notify/v1/presence/zoe", b'{"connections":9}',
                                 retain=True) == DENIED
            with peer(gate, "user", "zoe") as zoe:
                assert zoe.subscribe("notify/v1/presence/zoe") == [DENIED]
                servers.wait_until(lambda: presence(watch, "zoe") == 1, 5)
        topics = {m.topic.rsplit("/", 1)[1] for m in watch.messages}
        assert "s" not in topics and "a" not in topics and "w" not in topics


def test_presence_after_a_kick_and_an_expiry(gate):
    with peer(gate, "bridge", "w") as watch:
        watch.subscribe("notify/v1/presence/#")
        peer(gate, "user", "kim", ttl=1).wait_closed(4)
        servers.wait_until(lambda: presence(watch, "kim") in (0, None) and any(
            b'"connections":0' in m.payload for m in watch.messages if m.topic.endswith("kim")), 5)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_stale_presence_is_cleared_after_a_restart(tmp_path, how):
    broker = GateBroker(tmp_path, autosave_on_changes="true", autosave_interval=1)
    with broker:
        made = [peer(broker, "user", who) for who in ("old", "both")]
        with peer(broker, "bridge", "w") as watch:
            watch.subscribe("notify/v1/presence/#")
            servers.wait_until(lambda: presence(watch, "old") == presence(watch, "both") == 1)
            watch.ping()
        if how == "kill":
            servers.wait_until(lambda: os.path.exists(str(tmp_path / "mosquitto.db")))
            time.sleep(1.2)
            broker.kill()
        else:
            broker.stop()
        for each in made:
            each.close()
        broker.start()
        with peer(broker, "user", "both", "1"), peer(broker, "bridge", "w") as watch:
            watch.subscribe("notify/v1/presence/#")
            servers.wait_until(lambda: presence(watch, "both") == 1 and
                               presence(watch, "old") == 0)
            assert not [m for m in watch.messages if m.topic.endswith("/old")
                        and b'"connections":1' in m.payload], "a stale message was shown"
        with peer(broker, "admin", "a") as watch:
            watch.subscribe("notify/v1/presence/old")
            servers.wait_until(lambda: presence(watch, "old") == 0)


# Counters

def test_counters(gate):
    with peer(gate, "admin", "root") as admin:
        admin.subscribe("$SYS/broker/tocsin/#")

        def counter(name):
            admin.ping()
            found = [m for m in admin.messages if m.topic == "$SYS/broker/tocsin/" + name]
            return int(found[-1].payload) if found else -1
        servers.wait_until(lambda: counter("keys") == 1)
        before = {n: counter(n) for n in ("refused/signature", "accepted/user", "denied/publish",
                                          "denied/subscribe", "kicked/expired")}
        with Peer(gate) as bad:
            bad.try_connect("user/x", gate.token("user", "x")[:-4] + "AAAA")
        with peer(gate, "user", "x", ttl=1) as made:
            made.publish("x")
            made.subscribe("#")
            made.wait_closed()
        for name, value in before.items():
            servers.wait_until(lambda n=name, v=value: counter(n) == v + 1, 5, name)
        assert counter("live/connections") >= 1
    with peer(gate, "user", "x") as made:
        assert made.subscribe("$SYS/broker/tocsin/#") == [DENIED]


# Limits

@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    options = {"connections_per_principal": "3", "user_publish_rate": "5",
               "user_publish_burst": "10", "user_byte_rate": "1000", "user_byte_burst": "4k",
               "payload_max": "2k", "subscriptions_per_client": "4", "subscribe_rate": "1",
               "subscribe_burst": "8", "control_rate": "1", "control_burst": "2",
               "counters_interval": "1"}
    with GateBroker(tmp_path_factory.mktemp("strict"), options) as broker:
        yield broker


def test_limit_connections_per_principal(strict):
    held = [peer(strict, "user", "ann", str(i)) for i in range(3)]
    with Peer(strict) as more:
        assert more.try_connect("user/ann/4", strict.token("user", "ann")) == REFUSED[5]
    taken = peer(strict, "user", "ann", "0")  # a takeover is not one more
    with peer(strict, "user", "ben") as ben:
        assert ben.is_open()
    held[1].disconnect()
    servers.wait_until(lambda: Peer(strict).try_connect(
        "user/ann/4", strict.token("user", "ann")) == 0)
    for made in held[2:] + [taken]:
        made.close()
    many = [peer(strict, "bridge", "b", str(i)) for i in range(5)]  # bridges are exempt
    for made in many:
        made.disconnect()


@pytest.mark.parametrize("version", [4, 5])
def test_limit_publish_rate(strict, version):
    """Beyond the burst: 0x87 or a plain ack, a word on down/reply, and only this user."""
    who = "pat%d" % version
    with peer(strict, "bridge", "w") as watch:
        watch.subscribe("notify/v1/users/+/up/#")
        with peer(strict, "user", who, version=version) as made:
            codes = [made.publish("notify/v1/users/%s/up/x" % who, b"1") for _ in range(30)]
            assert made.is_open()
            assert (codes.count(DENIED) >= 15) if version == 5 else not any(codes)
            told = [m for m in made.messages if b"rate_limited" in m.payload]
            assert told
            jsonschema.validate(json.loads(told[0].payload), REPLY)
        with peer(strict, "user", "quiet") as quiet:
            assert quiet.publish("notify/v1/users/quiet/up/x", b"2") == 0
        watch.wait(lambda m: m.payload == b"2")
        assert 10 <= len([m for m in watch.messages if m.payload == b"1"]) <= 15


def test_limit_is_shared_by_a_principal_and_survives_reconnect(strict):
    passed = 0
    for device in "ab" * 3:
        with peer(strict, "user", "una", device) as made:
            passed += [made.publish("notify/v1/users/una/up/x", b"1") < 0x80
                       for _ in range(10)].count(True)
    assert passed <= 15


def test_limit_bytes_and_payload(strict):
    with peer(strict, "user", "bea") as made:
        assert made.publish("notify/v1/users/bea/up/x", b"x" * 2049) == DENIED
        codes = [made.publish("notify/v1/users/bea/up/x", b"x" * 1500) for _ in range(4)]
        assert codes[0] < 0x80 and codes[1] < 0x80 and codes[3] == DENIED


def pair(name, value):
    return b"\x26" + b"".join(len(x).to_bytes(2, "big") + x for x in (name, value))


@pytest.mark.parametrize("properties", [
    pair(b"a", b"x" * 1500), pair(b"x" * 1500, b"a"), pair(b"a", b"x" * 100) * 14,
    b"\x03" + (1500).to_bytes(2, "big") + b"t" * 1500,    # Content Type
    b"\x09" + (1500).to_bytes(2, "big") + b"c" * 1500],   # Correlation Data
    ids=["value", "name", "many", "content-type", "correlation"])
def test_limit_bytes_counts_properties(strict, properties, request):
    who = "prop-" + request.node.callspec.id
    with peer(strict, "user", who) as made:
        topic = "notify/v1/users/%s/up/x" % who
        codes = [made.publish(topic, b"", properties=properties) for _ in range(5)]
        assert codes[0] < 0x80 and codes[1] < 0x80 and codes[4] == DENIED
        assert made.is_open()
    with peer(strict, "user", who + "-large") as made:
        assert made.publish("notify/v1/users/%s-large/up/x" % who, b"x",
                            properties=properties * 2 if properties[0] == 0x26 else
                            properties + pair(b"a", b"x" * 600)) == DENIED


@pytest.mark.parametrize("version", [4, 5])
def test_limit_bytes_counts_wills(strict, version):
    """A will comes when its connection has ended: the budget is the principal's."""
    who = "will%d" % version
    topic = "notify/v1/users/%s/up/x" % who
    with peer(strict, "bridge", "w%d" % version) as watch:
        watch.subscribe("notify/v1/users/+/up/#")
        for _ in range(12):
            peer(strict, "user", who, "d", version=version,
                 will=(topic, b"x" * 1500, 1, False)).drop()
        with peer(strict, "user", "after" + who) as made:
            assert made.publish("notify/v1/users/after%s/up/x" % who, b"end") == 0
        watch.wait(lambda m: m.payload == b"end")
        assert 1 <= sum(m.topic == topic for m in watch.messages) <= 8


def test_limit_subscriptions(strict):
    with peer(strict, "user", "sue") as made:
        codes = made.subscribe(*["notify/v1/users/sue/down/%d" % i for i in range(6)])
        assert codes == [1] * 4 + [DENIED] * 2
    with peer(strict, "user", "sid") as made:
        for _ in range(12):
            code = made.subscribe("notify/v1/users/sid/down/a")
        assert code == [DENIED]


def test_limit_subscriptions_spares_the_durable_session_when_it_is_kicked(strict):
    """The broker asks SUBSCRIBE for each while kicking; a no would take them away."""
    more = {"clean": False, "expiry": 600}
    filters = ["notify/v1/users/tom/down/%d" % i for i in range(4)]
    made = peer(strict, "user", "tom", "d", ttl=2, **more)
    assert made.subscribe(*filters) == [1] * 4
    made.wait_closed(5)
    with peer(strict, "bridge", "b") as bridge:
        for topic in filters:
            assert bridge.publish(topic, b"kept") == 0
    with peer(strict, "user", "tom", "d", **more) as made:
        assert made.session_present
        servers.wait_until(lambda: len(made.ping().messages) == 4)
    peer(strict, "user", "tom", "d").disconnect()


def test_E08_refresh_flood_is_limited(strict):
    with peer(strict, "user", "flo") as made:
        token = strict.token("user", "flo")
        for _ in range(200):
            assert made.publish(CONTROL, token) == 0
        made.ping()
        assert 2 <= len(made.messages) <= 4


def test_limit_addresses(tmp_path):
    options = {"connections_per_address": "5", "failure_rate": "1", "failure_burst": "10"}
    with GateBroker(tmp_path, options) as broker:
        held = [peer(broker, "user", "u%d" % i) for i in range(5)]
        with Peer(broker) as more:
            assert more.try_connect("user/u9", broker.token("user", "u9")) == REFUSED[5]
        held[0].disconnect()
        servers.wait_until(lambda: Peer(broker).try_connect(
            "user/u0", broker.token("user", "u0")) == 0)
        for _ in range(15):
            with Peer(broker) as bad:
                assert bad.try_connect("user/x", "bad") == REFUSED[5]
        with Peer(broker) as good:  # whoever fails that often is not even looked at
            assert good.try_connect("user/u1/x", broker.token("user", "u1")) == REFUSED[5]
        assert held[1].is_open()
        assert "failure_rate" in broker.log_text()
        for made in held:
            made.close()


def test_limit_connect_rate(tmp_path):
    with GateBroker(tmp_path, {"connect_rate": "1", "connect_burst": "10"}) as broker:
        token = broker.token("user", "a")
        codes = [Peer(broker).try_connect("user/a/%d" % i, token) for i in range(20)]
        assert 10 <= codes.count(0) <= 12 and codes[-1] == REFUSED[5]
