# SPDX-License-Identifier: MIT
"""MQTT packet by packet, for tests of the gate: sends what no client library would.

    with Peer(broker).connect("user/alice", token) as alice:       # MQTT 5 over TCP
        assert alice.subscribe("notify/v1/users/alice/down/#") == [1]
        assert alice.publish("notify/v1/users/alice/up/ack", b"{}") == 0x00

Written against the OASIS texts and shared with nothing else in this repository.
"""
import base64
import collections
import os
import select
import socket
import ssl
import struct
import time

from process import PATIENCE

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

ACCEPTED = 0
REFUSED = {3: 5, 4: 5, 5: 0x87}  # CONNACK "not authorised" by protocol version
DENIED = 0x87

Packet = collections.namedtuple("Packet", "type flags body")
Message = collections.namedtuple("Message", "topic payload qos retain")


class Closed(Exception):
    """The broker closed the connection."""


def varint(number):
    out = b""
    while True:
        out += bytes([number % 128 | (0x80 if number > 127 else 0)])
        number //= 128
        if not number:
            return out


def field(value):
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect_packet(client_id, username=None, password=None, version=5, clean=True, keepalive=60,
                   will=None, properties=b"", expiry=None):
    """`will` is (topic, payload, qos, retain[, delay]); None leaves a field out."""
    flags = 0x02 if clean else 0
    if expiry is not None and version == 5:
        properties += b"\x11" + struct.pack("!I", expiry)
    body = field(client_id)
    if will:
        topic, payload, qos, retain = will[:4]
        flags |= 0x04 | qos << 3 | (0x20 if retain else 0)
        if version == 5:
            delay = b"\x18" + struct.pack("!I", will[4]) if len(will) > 4 else b""
            body += varint(len(delay)) + delay
        body += field(topic) + field(payload)
    if username is not None:
        flags |= 0x80
        body += field(username)
    if password is not None:
        flags |= 0x40
        body += field(password)
    name = "MQIsdp" if version == 3 else "MQTT"
    head = field(name) + bytes([version, flags]) + struct.pack("!H", keepalive)
    if version == 5:
        head += varint(len(properties)) + properties
    return packet(CONNECT, head + body)


class Peer:
    """One connection.  Everything published to it is kept, in order, in `messages`.

    Timeouts are in seconds of a quiet machine (process.PATIENCE); only read() takes them as they are.
    """

    def __init__(self, broker, version=5, ws=False, timeout=5.0, port=None, ca_file=None,
                 cert=None):
        self.version, self.timeout = version, timeout * PATIENCE
        self.messages = []
        self.replies = []  # packets that nobody has asked for yet
        self.raw = self.buffer = b""
        self.next_id = 0
        self.session_present = None
        self.disconnect_code = None
        self.ws, self.is_closing = ws, False
        port = port or (broker.ws_port if ws else broker.port)
        self.sock = socket.create_connection(("127.0.0.1", port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca_file:
            context = ssl.create_default_context(cafile=ca_file)
            if cert:
                context.load_cert_chain(*cert)
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        if ws:
            self._upgrade(port)

    def _upgrade(self, port):
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall((
            "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: mqtt\r\n\r\n" % (port, key)).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            got = self.sock.recv(4096)
            if not got:
                raise Closed("during the WebSocket handshake")
            answer += got
        head, self.raw = answer.split(b"\r\n\r\n", 1)
        assert b" 101 " in head.split(b"\r\n")[0], head
        self._unframe()

    # Bytes

    def send(self, data):
        if self.ws:
            size = len(data)
            if size < 126:
                head = bytes([0x82, 0x80 | size])
            elif size < 65536:
                head = bytes([0x82, 0x80 | 126]) + struct.pack("!H", size)
            else:
                head = bytes([0x82, 0x80 | 127]) + struct.pack("!Q", size)
            data = head + b"\0\0\0\0" + data  # masked with zeroes
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the next read says so
        return self

    def _unframe(self):
        while len(self.raw) >= 2:
            opcode, size, at = self.raw[0] & 15, self.raw[1] & 127, 2
            if size == 126:
                size, at = struct.unpack("!H", self.raw[2:4])[0], 4
            elif size == 127:
                size, at = struct.unpack("!Q", self.raw[2:10])[0], 10
            if len(self.raw) < at + size:
                return
            if opcode == 8:
                self.is_closing = True  # after what came before
                return
            if opcode in (0, 2):
                self.buffer += self.raw[at:at + size]
            self.raw = self.raw[at + size:]

    def _more(self, deadline):
        if self.is_closing:
            raise Closed("WebSocket close")
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.sock], [], [], left)[0]:
            raise TimeoutError("nothing from the broker")
        try:
            got = self.sock.recv(65536)
        except ConnectionResetError:
            got = b""
        if not got:
            raise Closed("end of stream")
        if self.ws:
            self.raw += got
            self._unframe()
        else:
            self.buffer += got

    def read(self, timeout=None):
        """The next packet of any type."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            size, shift, at = 0, 0, 1
            while at < len(self.buffer):
                size |= (self.buffer[at] & 127) << shift
                shift += 7
                at += 1
                if not self.buffer[at - 1] & 0x80:
                    break
            else:
                self._more(deadline)
                continue
            if len(self.buffer) < at + size:
                self._more(deadline)
                continue
            first, body = self.buffer[0], self.buffer[at:at + size]
            self.buffer = self.buffer[at + size:]
            return Packet(first >> 4, first & 15, body)

    def _take(self, got):
        """Deals with what comes unasked; true when that was all."""
        if got.type == PUBLISH:
            size = struct.unpack("!H", got.body[:2])[0]
            topic, rest = got.body[2:2 + size].decode(), got.body[2 + size:]
            qos = got.flags >> 1 & 3
            if qos:
                mid, rest = rest[:2], rest[2:]
                self.send(packet(PUBACK if qos == 1 else PUBREC, mid))
            if self.version == 5:
                assert rest[0] < 128
                rest = rest[1 + rest[0]:]
            self.messages.append(Message(topic, rest, qos, bool(got.flags & 1)))
        elif got.type == PUBREL:
            self.send(packet(PUBCOMP, got.body[:2]))
        elif got.type == DISCONNECT:
            self.disconnect_code = got.body[0] if got.body else 0
        elif got.type != PINGRESP:
            return False
        return True

    def expect(self, kind, mid=None):
        """The next packet of this type (and with this id); others wait for whoever asks."""
        for got in self.replies:
            if got.type == kind and (mid is None or got.body[:2] == mid):
                self.replies.remove(got)
                return got
        deadline = time.monotonic() + self.timeout
        while True:
            got = self.read(deadline - time.monotonic())
            if got.type == kind and (mid is None or got.body[:2] == mid):
                return got
            if not self._take(got):
                self.replies.append(got)

    # Packets

    def try_connect(self, client_id, password, username="", **more):
        """CONNECT; the CONNACK's code, or "closed"."""
        if self.version < 5 and password is None and username == "":
            username = None
        try:
            self.send(connect_packet(client_id, username, password, self.version, **more))
            got = self.expect(CONNACK)
        except Closed:
            return "closed"
        self.session_present = bool(got.body[0] & 1)
        return got.body[1]

    def connect(self, client_id, password, username="", **more):
        code = self.try_connect(client_id, password, username, **more)
        if code != ACCEPTED:
            raise ConnectionError("CONNECT as %s: %s" % (client_id, code))
        return self

    def _mid(self):
        self.next_id = self.next_id % 60000 + 1
        return struct.pack("!H", self.next_id)

    def subscribe(self, *filters, qos=1):
        """The SUBACK's codes, one per filter."""
        mid = self._mid()
        body = b"".join(field(f) + bytes([qos]) for f in filters)
        self.send(packet(SUBSCRIBE, mid + (b"\0" if self.version == 5 else b"") + body, 2))
        answer = self.expect(SUBACK, mid).body[2:]
        return list(answer[1 + answer[0]:] if self.version == 5 else answer)

    def unsubscribe(self, *filters):
        mid = self._mid()
        body = b"".join(field(f) for f in filters)
        self.send(packet(UNSUBSCRIBE, mid + (b"\0" if self.version == 5 else b"") + body, 2))
        answer = self.expect(UNSUBACK, mid).body[2:]
        return list(answer[1 + answer[0]:]) if self.version == 5 else []

    def publish(self, topic, payload=b"{}", qos=1, retain=False, properties=b"", dup=False):
        """The reason code of the PUBACK or PUBREC (0 where the version has none)."""
        mid = self._mid() if qos else b""
        body = field(topic) + mid
        if self.version == 5:
            body += varint(len(properties)) + properties
        raw = payload.encode() if isinstance(payload, str) else payload
        self.send(packet(PUBLISH, body + raw, qos << 1 | retain | (8 if dup else 0)))
        if not qos:
            return 0
        answer = self.expect(PUBACK if qos == 1 else PUBREC, mid).body
        code = answer[2] if len(answer) > 2 else 0
        if qos == 2 and code < 0x80:
            self.send(packet(PUBREL, mid, 2))
            self.expect(PUBCOMP, mid)
        return code

    def ping(self):
        """A round trip: everything that was on its way before is here afterwards."""
        self.send(packet(PINGREQ))
        deadline = time.monotonic() + self.timeout
        while True:
            got = self.read(deadline - time.monotonic())
            if got.type == PINGRESP:
                return self
            if not self._take(got):
                self.replies.append(got)

    def wait(self, match, timeout=5.0):
        """The first message kept, or still to come, for which match(message) is true."""
        deadline = time.monotonic() + timeout * PATIENCE
        seen = 0
        while True:
            while seen < len(self.messages):
                if match(self.messages[seen]):
                    return self.messages[seen]
                seen += 1
            got = self.read(deadline - time.monotonic())
            if not self._take(got):
                self.replies.append(got)

    def wait_closed(self, timeout=5.0):
        """Reads until the broker closes; how long that took."""
        begin = time.monotonic()
        deadline = begin + timeout * PATIENCE
        try:
            while True:
                got = self.read(deadline - time.monotonic())
                if not self._take(got):
                    self.replies.append(got)
        except Closed:
            return time.monotonic() - begin

    def is_open(self):
        try:
            self.ping()
            return True
        except Closed:
            return False

    def disconnect(self):
        self.send(packet(DISCONNECT))
        self.close()

    def close(self):
        self.sock.close()

    def drop(self):
        """Vanishes without DISCONNECT, so that the will is due."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.disconnect()
