# SPDX-License-Identifier: MIT
"""WebSocket frame by frame, for tests of tocsin-wsd: sends what no client library would.

Written against RFC 6455 and shared with nothing else in this repository.
"""
import os
import re
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HEADERS = {"Host": "example.org", "Upgrade": "websocket", "Connection": "Upgrade",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Protocol": "mqtt"}


def request(path="/mqtt", **changed):
    """The head of a request; a header of None is left out."""
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return ("GET %s HTTP/1.1\r\n" % path
            + "".join("%s: %s\r\n" % pair for pair in headers.items() if pair[1] is not None)
            + "\r\n").encode()


def masked(payload, mask):
    key = (mask * (len(payload) // 4 + 1))[:len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(
        len(payload), "big")


def frame(opcode, payload=b"", fin=True, mask=None, rsv=0):
    """A client's frame; mask=b"" leaves the mask out."""
    mask = os.urandom(4) if mask is None else mask
    size, bit = len(payload), 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    return head + mask + (masked(payload, mask) if mask else payload)


class Raw:
    """One connection; `head` is the answer to the request."""

    def __init__(self, port, head=None, timeout=20.0, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(("127.0.0.1", port))
        self.buffer = b""
        self.head = b""
        if head is not None:
            self.send(head)
            self.head = self.read_head()

    @classmethod
    def open(cls, port, **more):
        raw = cls(port, request(), **more)
        assert raw.status == 101, raw.head
        return raw

    def send(self, data):
        self.sock.sendall(data)
        return self

    def send_frame(self, *args, **more):
        return self.send(frame(*args, **more))

    def _more(self):
        got = self.sock.recv(65536)
        self.buffer += got
        return bool(got)

    def _take(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise EOFError
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                raise EOFError
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    @property
    def status(self):
        return int(re.match(rb"HTTP/1\.1 (\d+) ", self.head).group(1))

    def read_frame(self):
        """(opcode, payload) of the next frame, which is whole and not masked."""
        first, size = self._take(2)
        assert first & 0xf0 == 0x80 and size < 128, (first, size)
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        return first & 15, self._take(size)

    def read_close(self):
        """The code of the close frame that comes, after what lies before it; then the end."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                code = struct.unpack("!H", payload)[0] if payload else None
                assert not self._more(), "there was more after the close frame"
                return code

    def at_end(self):
        """Whether the other side has ended it, cleanly or not."""
        try:
            while self._more():
                self.buffer = b""
        except ConnectionError:
            pass
        return True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
