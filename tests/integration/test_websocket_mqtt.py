# SPDX-License-Identifier: MIT
"""tocsin-wsd before the real broker: through it a client is what it is over TCP, no more, no less."""
import json
import time

import pytest

import npm
import servers
from client import Client
from gate_broker import GateBroker
from gate_mqtt import Closed, DENIED, Peer, REFUSED
from test_gate_clients import node
from ws_raw import BINARY, Raw, frame, request

DOWN = "notify/v1/users/alice/down/inbox"


class Way:
    """A broker as those see it who come through tocsin-wsd."""

    def __init__(self, broker, edge):
        self.broker, self.edge = broker, edge
        self.port, self.ws_port, self.token = broker.port, edge.ws_port, broker.token

    def peer(self, kind, subject, device="", version=5, **more):
        made = Peer(self, version, ws=True, timeout=20)
        client = "%s/%s%s" % (kind, subject, "/" + device if device else "")
        return made.connect(client, self.token(kind, subject), subject, **more)


@pytest.fixture(scope="module", params=["unix", pytest.param("tcp", marks=pytest.mark.long)])
def way(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    with GateBroker(place / "broker", {"payload_max": "2m"}, max_packet_size=2 << 20) as broker:
        address = broker.socket if request.param == "unix" else "127.0.0.1:%d" % broker.port
        with servers.Edge(place / "edge", address) as edge:
            yield Way(broker, edge)


@pytest.mark.parametrize("version", [4, 5])
def test_the_gate_is_the_same(way, version):
    """Tokens, client ids and topics: what TCP is refused, WebSocket is refused, and the rest not."""
    token, stranger = way.token("user", "alice"), way.token("user", "alice", ttl=-1)
    cases = [("user/alice", token), ("user/alice/phone", token), ("user/bob", token),
             ("bridge/alice", token), ("service/alice", token), ("user/alice", stranger),
             ("user/alice", "nonsense"), ("user/alice", None), ("", token)]
    found = []
    for ws in (False, True):
        codes = []
        for client_id, password in cases:
            with Peer(way, version, ws=ws, timeout=20) as peer:
                codes.append(peer.try_connect(client_id, password, "alice"))
        with Peer(way, version, ws=ws, timeout=20).connect("user/alice", token, "alice") as peer:
            codes.append(peer.subscribe("notify/v1/users/alice/down/#", "#", "$SYS/#",
                                        "notify/v1/users/bob/down/#", "notify/v1/alerts/#"))
            codes.append(peer.publish("notify/v1/users/alice/up/ack"))
            if version == 5:
                codes.append(peer.publish("notify/v1/users/alice/down/inbox"))
                codes.append(peer.publish("notify/v1/services/shop/up/request"))
        found.append(codes)
    assert found[0] == found[1]
    assert found[1][:2] == [0, 0] and found[1][5] == found[1][6] == REFUSED[version]
    assert found[1][-1] == DENIED if version == 5 else True


def test_a_megabyte_each_way(way):
    payload = json.dumps({"id": "1", "text": "x" * (1 << 20)}).encode()
    with way.peer("user", "alice") as alice, way.peer("bridge", "tocsin", "big") as bridge:
        assert alice.subscribe("notify/v1/users/alice/down/#") == [1]
        bridge.publish(DOWN, payload)
        assert alice.wait(lambda m: m.topic == DOWN, 20).payload == payload


def test_packets_need_not_end_where_frames_do(way):
    """MQTT5 6: one packet in many frames, many packets in one."""
    with way.peer("user", "alice") as alice:
        send, sock = alice.send, alice.sock
        alice.send = lambda data: [sock.sendall(frame(BINARY, data[i:i + 1]))
                                   for i in range(len(data))]
        assert alice.subscribe("notify/v1/users/alice/down/#") == [1]
        alice.send = send
        alice.send(b"\xc0\x00" * 100)
        for _ in range(100):
            alice.expect(13)


def test_paho_and_keep_alive(way):
    """Another's client, and its pings."""
    alice = Client(way, "user", "alice", "paho", transport="websockets", keepalive=1)
    alice.mqtt.ws_set_options(path="/mqtt")
    alice.connect()
    try:
        alice.subscribe("down/#")
        time.sleep(2.5)  # the broker would have ended it after one and a half
        with way.peer("bridge", "tocsin", "paho") as bridge:
            bridge.publish(DOWN, b'{"id":"p"}')
        alice._wait(lambda: alice.messages, 10, "the message")
        assert alice.connects == 1
    finally:
        alice.close()


def test_mqtt_js(way):
    try:
        modules = npm.modules()
    except npm.Unavailable as why:
        pytest.skip("npm packages: %s" % why)
    url = way.edge.ws_url + "/mqtt"
    ends = int(time.time()) + 3
    seen = node(modules, "mqtt", url=url, version=5, token=way.token("user", "alice", ttl=60),
                fresh=way.token("user", "alice", exp=ends))
    assert seen["codes"][0] == 1 and all(code not in (0, 1, 2) for code in seen["codes"][1:])
    assert json.loads(seen["messages"][0][1])["rpc"] == "n1"
    assert seen["disconnect"] == 0x98  # at expiry, and with the reason
    expired = way.token("user", "alice", ttl=-1)
    assert node(modules, "refused", url=url, version=5, token=expired)["code"] == REFUSED[5]


def test_who_leaves_without_a_word_leaves_a_will_and_who_says_it_does_not(way):
    """The broker hears of an end at once, and after all that came before it."""
    with Peer(way, timeout=20).connect("bridge/tocsin/w", way.token("bridge", "tocsin"),
                                       "tocsin") as watch:
        watch.subscribe("notify/v1/presence/alice")
        alice = way.peer("user", "alice")
        watch.wait(lambda m: b'"connections":1' in m.payload, 20)
        alice.drop()
        watch.wait(lambda m: b'"connections":0' in m.payload, 20)


def is_granted(edge):
    with Raw(edge.ws_port, request()) as raw:
        assert raw.status in (101, 503)
        return raw.status == 101


def test_a_broker_that_is_killed_ends_its_clients_and_has_them_again(tmp_path):
    with GateBroker(tmp_path / "broker") as broker, \
            servers.Edge(tmp_path / "edge", broker.socket) as edge:
        way = Way(broker, edge)
        clients = [way.peer("user", "alice", "d%d" % i) for i in range(5)]
        broker.kill()
        for client in clients:
            with pytest.raises(Closed):
                while True:
                    client.read(20)
            client.drop()
        assert not is_granted(edge)
        broker.start()
        servers.wait_until(lambda: is_granted(edge), 20, "the broker to be reached again", 0.1)
        with way.peer("user", "alice") as alice:
            alice.ping()
        servers.wait_until(lambda: edge.metrics()["tocsin_wsd_connections"] == 0, 10, "their ends")


def test_limits_by_address_are_not_of_all_who_come_through_it(tmp_path):
    """Of a Unix socket the broker knows no address: its limits are for those who have one."""
    options = {"connections_per_address": "3", "failure_rate": "1", "failure_burst": "5"}
    with GateBroker(tmp_path / "broker", options) as broker, \
            servers.Edge(tmp_path / "edge", broker.socket) as edge:
        way = Way(broker, edge)
        for _ in range(10):
            with Peer(way, ws=True, timeout=20) as bad:
                assert bad.try_connect("user/x", "bad") == REFUSED[5]
        held = [way.peer("user", "alice", "d%d" % i) for i in range(5)]
        for made in held:
            made.ping()
            made.close()
