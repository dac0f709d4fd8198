# SPDX-License-Identifier: MIT
"""HTTP/1.1 on an asyncio transport: one request at a time, keep-alive, and every way to misbehave.

Written by hand because it must do both: answer a few thousand requests per second, and break the
protocol exactly where a script says so.
"""

import asyncio
import os
import socket
import struct
import time
from email.utils import formatdate

from wire import REASONS, Request, text_answer

HEAD_LIMIT = 64 * 1024
_date = [0, b""]


def date_line():
    now = int(time.time())
    if _date[0] != now:
        _date[:] = now, b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
    return _date[1]


def reset(transport):
    """Close by RST: what a client sees when a process dies with data unread."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Http1(asyncio.Protocol):
    def __init__(self, engine, provider, is_tls):
        self.engine = engine
        self.provider = provider
        self.is_tls = is_tls
        self.number = 0
        self.transport = None
        self.buffer = bytearray()
        self.head = None
        self.is_busy = False
        self.is_pumping = False
        self.is_closing = False
        self.wants_close = False
        self.answered = 0
        self.listener = None
        self.can_write = None
        self.task = None

    # asyncio.Protocol

    def connection_made(self, transport):
        self.transport = transport
        self.number = self.engine.link_opened(self)
        self.listener = self.engine.listeners.get(self.provider.name)

    def connection_lost(self, exc):
        self.is_closing = True
        if self.task is not None:
            self.task.cancel()
        if self.can_write is not None:
            self.can_write.set()
        self.engine.link_closed(self)

    def pause_writing(self):
        if self.can_write is None:
            self.can_write = asyncio.Event()
        self.can_write.clear()

    def resume_writing(self):
        if self.can_write is not None:
            self.can_write.set()

    def data_received(self, data):
        if not self.buffer and not self.is_busy and self.head is None:
            fault = self.engine.early_fault(self.provider)
            if fault is not None:
                reset(self.transport) if fault.startswith("reset") else self.transport.close()
                self.is_closing = True
                return
        self.buffer += data
        if not self.is_busy:
            self.pump()

    # requests

    def pump(self):
        """Hand over complete requests until one must be waited for."""
        self.is_pumping = True
        try:
            while not self.is_busy and not self.is_closing:
                if self.head is None and not self.read_head():
                    return
                body = self.read_body()
                if body is None:
                    return
                method, path, headers = self.head[:3]
                self.head = None
                self.is_busy = True
                self.engine.handle(Request(self.provider, method, path, headers, body,
                                           "HTTP/1.1", self.is_tls, time.time_ns(), self), self)
        finally:
            self.is_pumping = False

    def refuse(self, status, text):
        """A request that is not HTTP: answer once and close, as servers do."""
        self.write_answer(text_answer(status, text + "\n", [("connection", "close")]))
        self.is_closing = True
        self.transport.close()
        return False

    def read_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > HEAD_LIMIT:
                self.refuse(431, "headers too large")
            return False
        lines = bytes(self.buffer[:end]).split(b"\r\n")
        del self.buffer[:end + 4]
        first = lines[0].split(b" ")
        if len(first) != 3 or not first[2].startswith(b"HTTP/1."):
            return self.refuse(400, "not an HTTP request line")
        headers = []
        length, chunked, hosts, expects, close = None, False, 0, False, first[2] == b"HTTP/1.0"
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or name != name.strip():
                return self.refuse(400, "malformed header line")
            name, value = name.lower().decode("latin-1"), value.strip().decode("latin-1")
            headers.append((name, value))
            if name == "content-length":
                if not value.isdigit() or length is not None:
                    return self.refuse(400, "bad content-length")
                length = int(value)
            elif name == "transfer-encoding":
                chunked = value.lower() == "chunked"
                if not chunked:
                    return self.refuse(501, "unknown transfer-encoding")
            elif name == "host":
                hosts += 1
            elif name == "connection":
                close = "close" in value.lower()
            elif name == "expect":
                expects = value.lower() == "100-continue"
        if hosts != 1 and first[2] == b"HTTP/1.1":
            return self.refuse(400, "exactly one Host header is required")
        if chunked and length is not None:
            return self.refuse(400, "content-length beside transfer-encoding")
        if (length or 0) > self.provider.body_limit:
            return self.refuse(413, "body too large")
        self.head = (first[0].decode("latin-1"), first[1].decode("latin-1"), headers,
                     -1 if chunked else length or 0, close, bytearray())
        self.wants_close = close
        if expects:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def read_body(self):
        """The complete body, or None while bytes are missing."""
        length = self.head[3]
        if length >= 0:
            if len(self.buffer) < length:
                return None
            body = bytes(self.buffer[:length])
            del self.buffer[:length]
            return body
        gathered = self.head[5]
        while True:
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return None
            try:
                size = int(bytes(self.buffer[:end]).partition(b";")[0], 16)
            except ValueError:
                self.refuse(400, "bad chunk size")
                return None
            if size == 0:
                if len(self.buffer) < end + 4:
                    return None
                del self.buffer[:end + 4]
                return bytes(gathered)
            if len(gathered) + size > self.provider.body_limit:
                self.refuse(413, "body too large")
                return None
            if len(self.buffer) < end + 4 + size:
                return None
            gathered += self.buffer[end + 2:end + 2 + size]
            del self.buffer[:end + 4 + size]

    # answers

    def head_bytes(self, answer, length=None):
        out = [b"HTTP/1.1 %d %s\r\n" % (answer.status,
                                        REASONS.get(answer.status, "Status").encode()),
               date_line()]
        for name, value in answer.headers:
            out.append(f"{name}: {value}\r\n".encode("latin-1"))
        if answer.status != 204:
            out.append(b"content-length: %d\r\n" % (len(answer.body) if length is None
                                                    else length))
        out.append(b"\r\n")
        return b"".join(out)

    def write_answer(self, answer):
        self.transport.write(self.head_bytes(answer)
                             + (b"" if answer.status == 204 else answer.body))

    def reply(self, request, answer):
        """Send the answer and go on with what was pipelined."""
        if self.is_closing:
            return
        self.answered += 1
        listener = self.listener
        if listener is not None and (listener.close_every or listener.drop_every):
            if listener.close_every and self.answered >= listener.close_every:
                answer.headers.append(("connection", "close"))
                self.wants_close = True
            if listener.drop_every and self.answered >= listener.drop_every:
                self.wants_close = True
        self.write_answer(answer)
        if self.wants_close:
            self.is_closing = True
            self.transport.close()
            return
        self.is_busy = False
        if self.buffer and not self.is_pumping:
            self.pump()

    def misbehave(self, request, answer, fault, step):
        """Do what the fault says with the answer. The connection is not used again."""
        if self.is_closing:
            return
        if fault == "hang":
            return
        if fault.startswith("reset"):
            reset(self.transport)
        elif fault.startswith("drop") or fault in ("goaway", "refuse_stream"):
            self.transport.close()
        elif fault == "garbage":
            self.transport.write(b"\x00\xff\x16garbage " + os.urandom(512))
            self.transport.close()
        elif fault == "truncate":
            self.transport.write(self.head_bytes(answer, len(answer.body) + 100) + answer.body)
            self.transport.close()
        elif fault == "goaway_after":
            self.wants_close = True
            self.reply(request, answer)
            return
        else:
            self.task = asyncio.ensure_future(self.trickle(answer, fault, step))
            return
        self.is_closing = True

    async def trickle(self, answer, fault, step):
        """Answers that take very long or are very long."""
        if fault in ("endless", "huge"):
            total = step.get("bytes", 100_000_000) if fault == "huge" else 1 << 62
            self.transport.write(self.head_bytes(answer, total))
            await self.write_filler(total)
        else:
            pause = step.get("byte_ms", 1000) / 1000
            head, body = self.head_bytes(answer), answer.body
            if fault == "slow_body":
                self.transport.write(head)
                head = b""
                body = body or b" "
            for byte in head + body:
                if self.is_closing:
                    return
                self.transport.write(bytes((byte,)))
                await asyncio.sleep(pause)
        self.transport.close()

    async def write_filler(self, total):
        chunk = b"x" * 65536
        while total > 0 and not self.is_closing:
            self.transport.write(chunk[:total])
            total -= len(chunk)
            if self.can_write is not None:
                await self.can_write.wait()
            await asyncio.sleep(0)  # an event that is set does not yield, and the loop must hear

    def shut(self):
        self.transport.abort()
