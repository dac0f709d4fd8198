# SPDX-License-Identifier: MIT
"""tocsin-wsd beside Mosquitto's own WebSocket listener, which it replaces.

The same bytes go to both.  What the listener grants, tocsin-wsd grants with the same subprotocol, and what comes in
frames has the same effect.  Where a standard obliges a server to refuse what the listener lets pass, the case names
the clause; everything else that differs is a fault.
"""
import re
import socket
import struct

import pytest

import npm
import servers
from gate_broker import GateBroker
from gate_mqtt import PUBLISH, connect_packet, field, packet
from test_gate_clients import node
from ws_raw import BINARY, CLOSE, CONTINUATION, HEADERS, PING, PONG, TEXT, Raw, frame, request

PINGREQ = b"\xc0\x00"
MARK = b"\x77\x77"
ANSWER = None


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    place = tmp_path_factory.mktemp("oracle")
    with GateBroker(place / "broker") as broker, \
            servers.Edge(place / "edge", broker.socket) as edge:
        yield broker, edge


def head(line="GET /mqtt HTTP/1.1", more=(), end="\r\n", **changed):
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [line] + ["%s: %s" % pair for pair in headers.items() if pair[1] is not None]
    return (end.join([*lines, *more]) + end + end).encode("latin-1")


def answer(port, sent):
    """(granted, subprotocol); whatever is no 101 is a refusal, also a close or silence."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.settimeout(1)
        got = b""
        try:
            sock.sendall(sent)
            while b"\r\n\r\n" not in got:
                more = sock.recv(4096)
                if not more:
                    break
                got += more
        except OSError:
            pass
    found = re.search(rb"(?i)\r\nsec-websocket-protocol: *([^\r]*)\r\n", got)
    is_granted = got.startswith(b"HTTP/1.1 101 ")
    return is_granted, found.group(1).decode() if is_granted and found else ""


PATHS = ["/", "/ws", "/mqtt/", "/mqtt?token=x&y", "/a/b/c", "//mqtt", "/%6dqtt", "/MQTT", "/mqtt;v=1",
         "http://example.org/mqtt", "/" + "p" * 600]
PROTOCOLS = ["mqtt", "mqttv3.1", "mqttv3.1, mqtt", "mqttv3.1,mqtt", "mqtt, mqttv3.1", "soap, mqtt",
             "soap,mqttv3.1", "mqtt,", "  mqtt  ", "soap", "MQTT", "mqttv5", "mqttv3.1.1"]
CONNECTIONS = ["Upgrade", "upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade, keep-alive",
               "keep-alive,upgrade", "Upgrade,", "close"]
ORIGINS = ["null", "https://a.example", "file://", "", "chrome-extension://abc"]
EXTRA = ["Cookie: " + "a=b; " * 200, "Authorization: Basic YTpi", "Pragma: no-cache",
         "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
         "Sec-WebSocket-Extensions: x-webkit-deflate-frame", "X-Forwarded-For: 10.0.0.1",
         "Content-Length: 0", "Sec-Fetch-Mode: websocket"]
REQUESTS = {
    **{"path " + path[:20]: head("GET %s HTTP/1.1" % path) for path in PATHS},
    **{"protocol " + word: head(Sec_WebSocket_Protocol=word) for word in PROTOCOLS},
    **{"connection " + word: head(Connection=word) for word in CONNECTIONS},
    **{"upgrade " + word: head(Upgrade=word) for word in ("websocket", "WebSocket", "WEBSOCKET")},
    **{"origin " + word: head(more=["Origin: " + word]) for word in ORIGINS},
    **{"extra " + line[:30]: head(more=[line]) for line in EXTRA},
    "two lines of protocols": head(Sec_WebSocket_Protocol="soap",
                                   more=["Sec-WebSocket-Protocol: mqtt"]),
    "two lines, both known": head(Sec_WebSocket_Protocol="mqttv3.1",
                                  more=["Sec-WebSocket-Protocol: mqtt"]),
    "names in lower case": re.sub(rb"(?m)^[\w-]+:", lambda m: m.group().lower(), head()),
    "names in upper case": re.sub(rb"(?m)^[\w-]+:", lambda m: m.group().upper(), head()),
    "no blank after the colon": head().replace(b": ", b":"),
    "sixty-four headers": head(more=["X-%d: y" % i for i in range(64)]),
    "later version of HTTP": head("GET /mqtt HTTP/1.2"),
    "no upgrade": head(Upgrade=None),
    "no connection": head(Connection=None),
    "no key": head(Sec_WebSocket_Key=None),
    "no host": head(Host=None),
    "plain HTTP": b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n",
    "MQTT without WebSocket": connect_packet("user/alice") + b"\r\n\r\n",
}
# What the listener grants and a standard refuses.
STRICTER = {
    "method": (head("POST /mqtt HTTP/1.1"), "RFC 6455 4.2.1 1"),
    "HTTP/1.0": (head("GET /mqtt HTTP/1.0"), "RFC 6455 4.2.1 1"),
    "two hosts": (head(more=["Host: b"]), "RFC 9112 3.2"),
    "two origins": (head(more=["Origin: a", "Origin: b"]), "RFC 6454 7.3"),
    "short key": (head(Sec_WebSocket_Key="short"), "RFC 6455 4.2.1 5"),
    "version 8": (head(Sec_WebSocket_Version="8"), "RFC 6455 4.2.1 6"),
    "no version": (head(Sec_WebSocket_Version=None), "RFC 6455 4.2.1 6"),
    "no protocol": (head(Sec_WebSocket_Protocol=None), "MQTT5 6: the listener never answers it"),
    "empty protocol": (head(Sec_WebSocket_Protocol=""), "MQTT5 6: the listener never answers it"),
    "bare LF": (head(end="\n"), "RFC 9112 2.2: a recipient may, and need not"),
    "blank before the colon": (head(more=["X : a"]), "RFC 9112 5.1"),
    "a body": (head(more=["Content-Length: 5"]) + b"abcde", "RFC 6455 4.1: a GET without one"),
    "chunks": (head(more=["Transfer-Encoding: chunked"]), "RFC 9112 6.1"),
    "both lengths": (head(more=["Transfer-Encoding: chunked", "Content-Length: 4"]),
                     "RFC 9112 6.3"),
    "two blanks": (head("GET  /mqtt HTTP/1.1"), "RFC 9112 3"),
}
# What a standard grants and the listener does not.
WIDER = {
    "an empty line first": (b"\r\n" + head(), "RFC 9112 2.2"),
    "two empty lines first": (b"\r\n\r\n" + head(), "RFC 9112 2.2"),
    "a list of upgrades": (head(Upgrade="h2c, websocket"), "RFC 6455 4.2.1 3"),
    "blanks at the end": (head(Upgrade="websocket  ", Connection="Upgrade \t"), "RFC 9112 5"),
    "an empty header": (head(more=["X:"]), "RFC 9112 5"),
    "a large header": (head(more=["X: " + "y" * 6000]), ""),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_granted_as_the_listener_grants_it(both, name):
    broker, edge = both
    expected = answer(broker.ws_port, REQUESTS[name])
    assert answer(edge.ws_port, REQUESTS[name]) == expected


def test_where_it_is_stricter_or_wider_a_standard_says_so(both):
    broker, edge = both
    for name, (sent, clause) in STRICTER.items():
        assert (answer(broker.ws_port, sent)[0], answer(edge.ws_port, sent)[0]) == (True, False), \
            (name, clause)
    for name, (sent, clause) in WIDER.items():
        assert (answer(broker.ws_port, sent)[0], answer(edge.ws_port, sent)[0]) == (False, True), \
            (name, clause)


def code(number):
    return struct.pack("!H", number)


def frames(connect):
    """{name: what is sent, one item a write}; ANSWER waits for what the CONNECT is answered."""
    first = frame(BINARY, connect)
    closes = (1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1011, 1015, 2999, 3000, 4999, 0)
    return {
        "one packet": [first],
        "several packets in one frame": [frame(BINARY, connect + PINGREQ * 3)],
        "a packet in many frames": [frame(BINARY, connect[i:i + 7])
                                    for i in range(0, len(connect), 7)],
        "a packet over two frames, with more": [frame(BINARY, connect + PINGREQ[:1]),
                                                frame(BINARY, PINGREQ[1:] + PINGREQ)],
        "fragments": [frame(BINARY, connect[:10], fin=False),
                      frame(CONTINUATION, connect[10:20], fin=False),
                      frame(CONTINUATION, connect[20:])],
        "a ping among fragments": [frame(BINARY, connect[:10], fin=False), frame(PING, b"x"),
                                   frame(CONTINUATION, connect[10:])],
        "an empty frame": [frame(BINARY), first],
        "an empty last fragment": [frame(BINARY, connect, fin=False), frame(CONTINUATION)],
        "a mask of zeros": [frame(BINARY, connect, mask=b"\0\0\0\0")],
        "all frames in one write": [first + frame(PING, b"a") + frame(BINARY, PINGREQ)],
        "a frame byte by byte": [bytes([byte]) for byte in first],
        "ping": [first, frame(PING, b"hello")],
        "an empty ping": [first, frame(PING)],
        "a ping of 125 bytes": [first, frame(PING, b"h" * 125)],
        "an unasked pong": [first, frame(PONG, b"x"), frame(BINARY, PINGREQ)],
        "a close without a code": [first, ANSWER, frame(CLOSE)],
        "what follows a close": [first, ANSWER, frame(CLOSE, code(1000)), frame(BINARY, PINGREQ)],
        **{"close %d" % number: [first, ANSWER, frame(CLOSE, code(number))] for number in closes},
    }


def mark(version):
    """A PUBLISH whose acknowledgement has the bytes of MARK: then all before it was answered."""
    body = field("notify/v1/users/alice/up/ack") + MARK + (b"\0" if version == 5 else b"") + b"{}"
    return frame(BINARY, packet(PUBLISH, body, 2))


def effect(port, sent, protocol="mqtt", version=4):
    """All that comes back: the MQTT bytes together, pongs, the close's payload, and the end."""
    seen = {"mqtt": b"", "pongs": [], "close": None, "end": "open"}
    with Raw(port, request(Sec_WebSocket_Protocol=protocol)) as raw:
        assert raw.status == 101, raw.head

        def read_until(is_there):
            while not is_there():
                opcode, payload = raw.read_frame()
                if opcode == CLOSE:
                    seen["close"] = payload
                elif opcode == PONG:
                    seen["pongs"].append(payload)
                else:
                    seen["mqtt"] += payload
        try:
            for part in [*sent, mark(version)]:
                if part is ANSWER:
                    read_until(lambda: seen["mqtt"])
                else:
                    raw.send(part)
            read_until(lambda: MARK in seen["mqtt"])
        except (EOFError, ConnectionError):
            seen["end"] = "closed"
    return seen


@pytest.mark.parametrize("version", [4, 5])
def test_frames_have_the_effect_that_they_have_at_the_listener(both, version):
    broker, edge = both
    connect = connect_packet("user/alice", "alice", broker.token("user", "alice"), version=version)
    for name, sent in frames(connect).items():
        expected = effect(broker.ws_port, sent, version=version)
        if name == "what follows a close" and expected["close"] is None:
            # What came after the close was not read: the listener's end may be a reset, which
            # takes its answer away.  RFC 6455 5.5.1 says what the answer is.
            expected["close"] = b"\x03\xe8"
        assert {name: effect(edge.ws_port, sent, version=version)} == {name: expected}


def test_frames_that_a_standard_refuses_end_the_connection_with_its_code(both):
    """The listener lets text and frames without a mask pass."""
    broker, edge = both
    first = frame(BINARY, connect_packet("user/alice", "alice", broker.token("user", "alice"),
                                         version=4))
    for sent, expected in ((frame(TEXT, PINGREQ), 1003),           # MQTT5 6.0.0-1
                           (frame(BINARY, PINGREQ, mask=b""), 1002),  # RFC 6455 5.1
                           (frame(BINARY, PINGREQ, rsv=0x40), 1002),  # RFC 6455 5.2
                           (frame(3, b"x"), 1002)):
        seen = effect(edge.ws_port, [first, sent])
        assert (seen["close"], seen["end"]) == (code(expected), "closed")


@pytest.mark.parametrize("protocol", ["mqttv3.1", "mqtt", "mqttv3.1, mqtt"])
def test_mqtt_3_1_connects(both, protocol):
    broker, edge = both
    connect = connect_packet("user/alice", "alice", broker.token("user", "alice"), version=3)
    assert field("MQIsdp") in connect[:12]
    for port in (broker.ws_port, edge.ws_port):
        assert effect(port, [frame(BINARY, connect)], protocol)["mqtt"] == \
            b"\x20\x02\x00\x00\x40\x02" + MARK


def test_mqtt_js_connects_with_each_version_and_path(both):
    try:
        modules = npm.modules()
    except npm.Unavailable as why:
        pytest.skip("npm packages: %s" % why)
    broker, edge = both
    cases = [{"url": "ws://127.0.0.1:%d%s" % (port, path), "version": version}
             for port in (broker.ws_port, edge.ws_port) for version in (3, 4, 5)
             for path in ("", "/", "/mqtt", "/ws")]
    seen = node(modules, "connected", cases=cases, token=broker.token("user", "alice"))
    assert seen == ["connected"] * len(cases), list(zip(cases, seen))
