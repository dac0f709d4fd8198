# SPDX-License-Identifier: MIT
"""Many connected users in one thread: MQTT 5 by hand, as much of it as it takes to wait and hear."""
import selectors
import socket
import struct
import time

AT_ONCE = 200  # connections being opened


def text(value):
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def length(count):
    out = bytearray()
    while True:
        count, digit = divmod(count, 128)
        out.append(digit | (128 if count else 0))
        if not count:
            return bytes(out)


def packet(kind, body):
    return bytes([kind]) + length(len(body)) + body


def connect(user, token):
    # Clean start, user name and password; a receive maximum and no session.
    return packet(0x10, text("MQTT") + bytes([5, 0xC2]) + struct.pack("!H", 600) + b"\x00"
                  + text("user/%s/bench" % user) + text(user) + text(token))


def subscribe(topic, qos):
    return packet(0x82, b"\x00\x01\x00" + text(topic) + bytes([qos]))


class Member:
    def __init__(self, user, sock):
        self.user, self.sock = user, sock
        self.data = b""
        self.is_ready = False

    def packets(self):
        """The whole packets that have come: (first byte, body)."""
        while len(self.data) >= 2:
            size = at = shift = 0
            for at in range(1, min(len(self.data), 5)):
                size |= (self.data[at] & 127) << shift
                shift += 7
                if not self.data[at] & 128:
                    break
            else:
                return
            end = at + 1 + size
            if len(self.data) < end:
                return
            first, body = self.data[0], self.data[at + 1:end]
            self.data = self.data[end:]
            yield first, body


class Crowd:
    """`count` users, each subscribed at QoS 0 to one topic."""

    def __init__(self, broker, count, topic):
        self.broker, self.count, self.topic = broker, count, topic
        self.selector = selectors.DefaultSelector()
        self.ready = 0

    def __enter__(self):
        pending = iter(range(self.count))
        opening = 0
        while self.ready < self.count:
            while opening - self.ready < AT_ONCE and opening < self.count:
                self.open("crowd-%d" % next(pending))
                opening += 1
            for member, first, body in self.hear(30):
                if first == 0x20 and body[1] == 0:
                    member.sock.sendall(subscribe(self.topic, 0))
                elif first == 0x90 and body[-1] < 0x80:
                    member.is_ready = True
                    self.ready += 1
                else:
                    raise ConnectionError("%s was answered %02x %r" % (member.user, first, body))
        return self

    def open(self, user):
        sock = socket.create_connection(("127.0.0.1", self.broker.port), 30)
        sock.sendall(connect(user, self.broker.token("user", user)))
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, Member(user, sock))

    def hear(self, timeout):
        ready = self.selector.select(timeout)
        if not ready:
            raise TimeoutError("nothing came for %s s" % timeout)
        for key, _ in ready:
            member = key.data
            data = member.sock.recv(65536)
            if not data:
                raise ConnectionError("%s was disconnected" % member.user)
            member.data += data
            for first, body in member.packets():
                yield member, first, body

    def arrivals(self, timeout=30):
        """Waits until everyone has a message; when each came, by the monotonic clock, in order."""
        times, heard = [], set()
        while len(heard) < self.count:
            for member, first, _ in self.hear(timeout):
                if first >> 4 == 3 and member.user not in heard:
                    heard.add(member.user)
                    times.append(time.monotonic())
        return times

    def __exit__(self, *_exc):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
