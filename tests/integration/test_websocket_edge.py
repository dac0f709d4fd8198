# SPDX-License-Identifier: MIT
"""tocsin-wsd: any bytes, any pace, any end, before a listener that is a script's."""
import os
import re
import resource
import socket
import subprocess
import threading
import time

import pytest

import servers
from ws_raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, frame, request

FLOOD = bytes(range(256)) * 4096  # a megabyte


class Upstream:
    """A TCP listener whose connections a test holds in its hands."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.taken = []

    def take(self):
        conn, _ = self.listener.accept()
        conn.settimeout(20)
        self.taken.append(conn)
        return conn

    def close(self):
        for conn in self.taken:
            conn.close()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def upstream():
    with Upstream() as made:
        yield made


@pytest.fixture
def new_edge(tmp_path, upstream):
    made = []

    def make(*options, broker=None):
        edge = servers.Edge(tmp_path / ("edge%d" % len(made)), broker or upstream.address, *options)
        made.append(edge)
        return edge.start()
    yield make
    upstream.close()  # a broker lets go of who lets go of it: nothing to drain
    for edge in made:
        edge.stop()


@pytest.fixture
def edge(new_edge):
    return new_edge()


def exactly(conn, count):
    got = b""
    while len(got) < count:
        more = conn.recv(min(1 << 20, count - len(got)))
        assert more, "it ended after %d bytes of %d" % (len(got), count)
        got += more
    return got


def memory(edge):
    """KiB that it has allocated, and touched; 0 where a sanitizer keeps what was freed."""
    if servers.instrumented(edge.command()[0]):
        return 0
    edge.metrics()  # which has a first time too
    with open("/proc/%d/status" % edge.pid) as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))


def cpu_seconds(edge):
    with open("/proc/%d/stat" % edge.pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ended(edge, reason):
    return edge.metrics()['tocsin_wsd_ended_total{reason="%s"}' % reason]


# The request

@pytest.mark.parametrize("head, status", [
    (request(), 101), (request("/other"), 404), (request(Sec_WebSocket_Version="8"), 426),
    (request(Sec_WebSocket_Protocol=None), 400), (request(Upgrade=None), 426),
    (request(Origin="https://evil.example"), 403), (request(Origin="https://a.example"), 101),
    (request().replace(b"GET", b"PUT"), 405), (request(X="y" * 9000), 431),
    (b"\x16\x03\x01\r\n\r\n", 400)], 
    ids=["good", "path", "version", "protocol", "plain", "foreign", "known", "put", "large", "tls"])
def test_answers_to_requests(new_edge, upstream, head, status):
    edge = new_edge("--origin", "https://a.example", "--path", "/mqtt")
    with Raw(edge.ws_port, head) as raw:
        assert raw.status == status
        if status != 101:
            assert raw.at_end()


def test_a_request_may_come_in_pieces_and_must_not_take_for_ever(new_edge, upstream):
    edge = new_edge("--handshake-timeout", "1s")
    with Raw(edge.ws_port) as raw:
        for byte in request():
            raw.send(bytes([byte]))
        raw.head = raw.read_head()
        assert raw.status == 101
    with Raw(edge.ws_port) as late:
        late.send(request()[:-2])
        late.head = late.read_head()
        assert late.status == 408 and late.at_end()


def test_frames_may_come_with_the_request(edge, upstream):
    with Raw(edge.ws_port, request() + frame(BINARY, b"early")) as raw:
        assert raw.status == 101
        assert exactly(upstream.take(), 5) == b"early"


# Bytes

def test_a_stream_of_bytes_both_ways(edge, upstream):
    """Fragments, pings between them, empty frames and any length: bytes in order."""
    with Raw.open(edge.ws_port) as raw:
        conn = upstream.take()
        raw.send_frame(BINARY, b"one ", fin=False).send_frame(PING, b"are you there")
        raw.send_frame(CONTINUATION, b"", fin=False).send_frame(CONTINUATION, b"two ")
        raw.send_frame(PONG, b"unasked").send_frame(BINARY, b"three")
        assert exactly(conn, 13) == b"one two three"
        assert raw.read_frame() == (PONG, b"are you there")
        writer = threading.Thread(target=raw.send_frame, args=(BINARY, FLOOD * 3))
        writer.start()
        assert exactly(conn, len(FLOOD) * 3) == FLOOD * 3
        writer.join()
        writer = threading.Thread(target=conn.sendall, args=(FLOOD * 3,))
        writer.start()
        got = bytearray()
        while len(got) < len(FLOOD) * 3:
            opcode, payload = raw.read_frame()
            assert opcode == BINARY
            got += payload
        writer.join()
        assert bytes(got) == FLOOD * 3


@pytest.mark.parametrize("bad, code", [
    (frame(TEXT, b"hello"), 1003), (frame(BINARY, b"x", mask=b""), 1002),
    (frame(BINARY, b"x", rsv=0x40), 1002), (frame(3), 1002), (frame(11), 1002),
    (frame(CONTINUATION, b"x"), 1002), (frame(PING, b"x" * 126), 1002),
    (frame(PING, fin=False), 1002), (frame(CLOSE, b"\x03\xe8"), 1000),
    (frame(CLOSE, b"\x03\xed"), 1002), (frame(CLOSE), None)],
    ids=["text", "unmasked", "rsv", "opcode3", "opcode11", "continuation", "long-ping",
         "fragmented-ping", "close", "close-1005", "close-empty"])
def test_each_end_has_its_code(edge, upstream, bad, code):
    with Raw.open(edge.ws_port) as raw:
        conn = upstream.take()
        raw.send(frame(BINARY, b"last words") + bad)
        assert raw.read_close() == code
        assert exactly(conn, 10) == b"last words"  # what came before is not lost
        assert conn.recv(1) == b""


def test_what_the_broker_says_last_is_heard(edge, upstream):
    with Raw.open(edge.ws_port) as raw:
        conn = upstream.take()
        conn.sendall(b"refused")
        conn.close()
        assert raw.read_frame() == (BINARY, b"refused")
        assert raw.read_close() == 1000
    servers.wait_until(lambda: edge.metrics()["tocsin_wsd_connections"] == 0, 10, "its end")


def test_a_client_that_vanishes_is_gone_for_the_broker(edge, upstream):
    raw = Raw.open(edge.ws_port)
    conn = upstream.take()
    raw.send_frame(BINARY, b"bye")
    raw.close()
    assert exactly(conn, 3) == b"bye"
    assert conn.recv(1) == b""
    conn.close()
    servers.wait_until(lambda: ended(edge, "client_lost") == 1, 10, "its end")


# Pace

def push(send, seconds=20):
    """Sends until nothing moves for a while: how many bytes went in."""
    sent, last = 0, time.monotonic()
    end = last + seconds
    while time.monotonic() < end and time.monotonic() - last < 0.5:
        try:
            sent += send(FLOOD)
            last = time.monotonic()
        except (BlockingIOError, TimeoutError):
            time.sleep(0.02)
    return sent


def test_a_client_that_does_not_read_holds_up_the_broker_and_no_memory(new_edge, upstream):
    edge = new_edge("--stall-timeout", "1500ms")
    before = memory(edge)
    with Raw.open(edge.ws_port, receive_buffer=4096) as raw:
        conn = upstream.take()
        conn.setblocking(False)
        push(conn.send)
        held = edge.metrics()["tocsin_wsd_held_bytes"]
        assert 0 < held < 40000
        assert memory(edge) - before < 500
        conn.settimeout(20)
        with pytest.raises(ConnectionError):  # given up, since nothing went for long
            while True:
                conn.sendall(FLOOD)
        assert raw.at_end()
    assert ended(edge, "client_stalled") == 1


@pytest.mark.long
def test_a_client_that_reads_slowly_stays(new_edge, upstream):
    edge = new_edge("--stall-timeout", "1s")
    with Raw.open(edge.ws_port, receive_buffer=4096) as raw:
        conn = upstream.take()
        writer = threading.Thread(target=conn.sendall, args=(FLOOD,))
        writer.start()
        got, ends = 0, time.monotonic() + 3
        while got < len(FLOOD):
            got += len(raw.read_frame()[1])
            if time.monotonic() < ends:
                time.sleep(0.1)
        writer.join()
    assert ended(edge, "client_stalled") == 0


def test_a_broker_that_does_not_read_holds_up_the_client(new_edge, upstream):
    edge = new_edge("--stall-timeout", "1500ms")
    before = memory(edge)
    with Raw.open(edge.ws_port) as raw:
        conn = upstream.take()
        raw.send(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0")  # a frame of a terabyte
        raw.sock.setblocking(False)
        push(raw.sock.send)
        assert 0 < edge.metrics()["tocsin_wsd_held_bytes"] < 40000
        assert memory(edge) - before < 500
        raw.sock.settimeout(20)
        assert raw.at_end()
        conn.close()
    assert ended(edge, "broker_stalled") == 1


def test_pings_of_a_client_that_does_not_read_are_bounded(edge, upstream):
    before = memory(edge)
    with Raw.open(edge.ws_port, receive_buffer=4096) as raw:
        upstream.take()
        raw.sock.setblocking(False)
        pings = frame(PING, b"p" * 125, mask=b"abcd") * 500
        rest = b""

        def send(_):
            nonlocal rest
            rest = rest or pings  # no frame is ever cut short
            sent = raw.sock.send(rest)
            rest = rest[sent:]
            return sent
        push(send)
        assert 0 < edge.metrics()["tocsin_wsd_held_bytes"] < 110000
        assert memory(edge) - before < 500


# Limits

def test_at_its_most_connections_it_lets_others_wait(new_edge, upstream):
    edge = new_edge("--max-connections", "2")
    first, second = Raw.open(edge.ws_port), Raw.open(edge.ws_port)
    with Raw(edge.ws_port) as third:
        third.send(request())
        servers.wait_until(lambda: not edge.metrics()["tocsin_wsd_accepting"], 10, "the pause")
        assert edge.metrics()["tocsin_wsd_connections"] == 2
        upstream.take(), upstream.take()
        first.close()
        upstream.taken[0].close()
        upstream.taken[1].close()
        third.head = third.read_head()
        assert third.status == 101
    second.close()


@pytest.mark.parametrize("sent", [b"", b"GET /mqtt HTTP/1.1\r\n", request("/nothing")],
                         ids=["silent", "half a request", "refused"])
def test_at_its_most_connections_what_is_no_websocket_gives_way(new_edge, upstream, sent):
    edge = new_edge("--max-connections", "3", "--path", "/mqtt", "--handshake-timeout", "1m",
                    "--close-timeout", "1m")
    first = Raw.open(edge.ws_port)
    held = [Raw(edge.ws_port).send(sent) for _ in range(6)]
    with Raw.open(edge.ws_port) as new:
        for raw in held[:5]:
            assert raw.at_end()
        new.send_frame(PING, b"x")
        assert new.read_frame() == (PONG, b"x")
    first.send_frame(PING, b"y")
    assert first.read_frame() == (PONG, b"y")
    for raw in [first, *held]:
        raw.close()


def test_connections_of_one_address(new_edge, upstream):
    edge = new_edge("--max-per-address", "2")
    first, second = Raw.open(edge.ws_port), Raw.open(edge.ws_port)
    with Raw(edge.ws_port, request()) as third:
        assert third.status == 429 and third.at_end()
    first.send_frame(CLOSE)
    assert first.read_close() is None
    first.close()
    upstream.take().close()
    servers.wait_until(lambda: edge.metrics()["tocsin_wsd_connections"] == 1, 10, "its end")
    with Raw(edge.ws_port, request()) as third:
        assert third.status == 101
    second.close()


def test_without_descriptors_it_waits_and_does_not_spin(edge, upstream):
    held = [Raw.open(edge.ws_port) for _ in range(5)]
    conns = [upstream.take() for _ in held]
    used = len(os.listdir("/proc/%d/fd" % edge.pid))
    limit = resource.prlimit(edge.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(edge.pid, resource.RLIMIT_NOFILE, (used, limit[1]))
    waiting = [Raw(edge.ws_port) for _ in range(3)]
    for raw in waiting:
        raw.send(request())
    servers.wait_until(lambda: "accept.paused" in servers.read_tail(edge.log), 10, "the pause")
    before = cpu_seconds(edge)
    time.sleep(1)
    assert cpu_seconds(edge) - before < 0.5
    for raw, conn in zip(held[:3], conns):  # each gives two back
        raw.close()
        conn.close()
    for raw in waiting:
        raw.head = raw.read_head()
        assert raw.status == 101
    for raw in held + waiting:
        raw.close()


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_idle_connections_cost_little(tmp_path, count):
    """By the growth of its heap: less than two kilobytes each, nothing held, no timer due."""
    with Upstream() as upstream:
        upstream.listener.listen(1024)
        with servers.Edge(tmp_path, upstream.address) as edge:
            for raw in [Raw.open(edge.ws_port) for _ in range(20)]:
                raw.close()
            before = memory(edge)
            raws = [Raw.open(edge.ws_port) for _ in range(count)]
            for raw in raws:
                raw.send_frame(BINARY, b"x" * 5000)  # what was held is given back
            for _ in range(count + 20):
                upstream.take()
            assert edge.metrics()["tocsin_wsd_held_bytes"] == 0
            grown = memory(edge) - before
            print("%d idle connections: %d KiB" % (count, grown))
            assert grown < 2 * count + 100
            for raw in raws:
                raw.close()
            upstream.close()


# Ends

def test_sigterm_closes_with_going_away(edge, upstream):
    raws = [Raw.open(edge.ws_port) for _ in range(20)]
    conns = [upstream.take() for _ in raws]
    half = Raw(edge.ws_port).send(b"GET ")
    conns[0].sendall(b"the last")
    assert raws[0].read_frame() == (BINARY, b"the last")
    ender = threading.Thread(target=edge.stop)
    ender.start()
    for raw, conn in zip(raws, conns):
        assert raw.read_close() == 1001
        assert conn.recv(1) == b""
        conn.close()
        raw.close()
    assert half.at_end()
    ender.join()
    with pytest.raises(ConnectionRefusedError):
        Raw(edge.ws_port)


def test_sigterm_does_not_wait_for_those_who_stay(new_edge, upstream):
    edge = new_edge("--drain", "500ms", "--close-timeout", "60s")
    with Raw.open(edge.ws_port) as raw:
        upstream.take()
        edge.stop()  # and exits with 0, although neither side has let go
        assert raw.read_close() == 1001
    assert "edge.cut" in servers.read_tail(edge.log)


def test_a_client_that_never_lets_go_is_let_go(new_edge, upstream):
    edge = new_edge("--close-timeout", "500ms")
    with Raw.open(edge.ws_port) as raw:
        raw.send_frame(TEXT)
        assert raw.read_close() == 1003
        upstream.take()
        servers.wait_until(lambda: ended(edge, "broken") == 1, 10, "the end")


def test_without_a_broker_clients_are_told(new_edge, upstream):
    edge = new_edge()
    with Raw.open(edge.ws_port):
        upstream.take()
    port = upstream.listener.getsockname()[1]
    upstream.close()
    with Raw(edge.ws_port, request()) as raw:
        assert raw.status == 503 and b"Retry-After" in raw.head and raw.at_end()
    assert servers.http("GET", edge.url + "/readyz")[0] == 503
    with socket.create_server(("127.0.0.1", port)):
        with Raw.open(edge.ws_port):
            assert servers.http("GET", edge.url + "/readyz")[0] == 200
    log = servers.read_tail(edge.log)
    assert log.count("broker.away") == 1 and log.count("broker.back") == 1


def test_a_unix_listener_with_a_full_backlog_is_asked_again(new_edge, tmp_path):
    path = str(tmp_path / "b.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    listener.settimeout(20)
    edge = new_edge("--connect-timeout", "20s", broker=path)
    raws = [Raw(edge.ws_port) for _ in range(8)]
    for raw in raws:
        raw.send(request())
    conns = [listener.accept()[0] for _ in raws]
    for raw in raws:
        raw.head = raw.read_head()
        assert raw.status == 101
        raw.close()
    for conn in conns:
        conn.close()
    listener.close()


def test_a_connection_can_be_found_in_both_logs(new_edge, upstream):
    edge = new_edge("--log-level", "debug")
    with Raw.open(edge.ws_port) as raw:
        theirs = upstream.take().getpeername()[1]
        mine = raw.sock.getsockname()[1]
    upstream.taken[0].close()
    servers.wait_until(lambda: "connection.closed" in servers.read_tail(edge.log), 10, "its line")
    for event in ("connection.opened", "connection.closed"):
        line = next(x for x in servers.read_tail(edge.log).splitlines() if event in x)
        assert "peer=127.0.0.1:%d" % mine in line and "port=%d" % theirs in line


def test_every_option_is_documented(edge):
    text = subprocess.run([edge.command()[0], "--help"], capture_output=True, text=True,
                          check=True).stdout
    with open(os.path.join(servers.ROOT, "docs", "operations.md")) as file:
        manual = file.read()
    for option in re.findall(r"^  (--[a-z-]+)", text, re.M):
        if option not in ("--help", "--version"):
            assert "`%s`" % option in manual, option
