# SPDX-License-Identifier: MIT
"""HTTP/2 over python3-h2: the same requests and faults as HTTP/1.1, and those only h2 has."""

import asyncio
import os
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from http1 import date_line, reset
from wire import Request, text_answer

BEFORE_SETTINGS = 100  # streams that a client may open before it knows our limit
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
CONFIG = h2.config.H2Configuration(client_side=False, header_encoding="utf-8",
                                   validate_outbound_headers=False,
                                   normalize_outbound_headers=False)


class Advertised(h2.settings.Settings):
    """Settings whose stream limit is announced, but enforced by us: the library would close the
    whole connection where real servers refuse the one stream."""

    @property
    def max_concurrent_streams(self):
        return 1 << 31

    @max_concurrent_streams.setter
    def max_concurrent_streams(self, value):
        self[STREAMS] = value


class Stream:
    __slots__ = ("headers", "body", "request", "pending", "wake", "is_refused")

    def __init__(self, headers):
        self.headers = headers
        self.body = []
        self.request = None
        self.pending = None
        self.wake = None
        self.is_refused = False


class Http2(asyncio.Protocol):
    def __init__(self, engine, provider, is_tls):
        self.engine = engine
        self.provider = provider
        self.is_tls = is_tls
        self.number = 0
        self.transport = None
        self.streams = {}
        self.tasks = set()
        self.answered = 0
        self.is_closing = False
        self.can_write = asyncio.Event()
        self.can_write.set()
        listener = engine.listeners.get(provider.name)
        self.is_forced = listener is not None and listener.max_streams is not None
        self.limit = listener.max_streams if self.is_forced else provider.max_streams
        self.enforced = self.limit if self.is_forced else BEFORE_SETTINGS
        self.announced = [self.limit]
        self.goaway_every = listener.goaway_every if listener is not None else None
        self.h2 = h2.connection.H2Connection(CONFIG)

    def connection_made(self, transport):
        self.transport = transport
        self.number = self.engine.link_opened(self)
        self.h2.local_settings = Advertised(client=False, initial_values={
            h2.settings.SettingCodes.ENABLE_PUSH: 0, STREAMS: self.limit,
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20,
            h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65536})
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def connection_lost(self, exc):
        self.is_closing = True
        self.can_write.set()
        for task in self.tasks:
            task.cancel()
        self.engine.link_closed(self)

    def pause_writing(self):
        self.can_write.clear()

    def resume_writing(self):
        self.can_write.set()

    def flush(self):
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data):
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                self.opened(event)
            elif isinstance(event, h2.events.DataReceived):
                self.received(event)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended(event.stream_id)
            elif isinstance(event, h2.events.WindowUpdated):
                self.wake(event.stream_id)
            elif isinstance(event, h2.events.SettingsAcknowledged):
                self.acknowledged()
            elif isinstance(event, h2.events.StreamReset):
                stream = self.streams.pop(event.stream_id, None)
                if stream is not None and stream.wake is not None:
                    stream.wake.set()
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.transport.close()
        self.flush()

    def acknowledged(self):
        """A limit binds the client from its acknowledgement on, RFC 9113 6.5.3."""
        if self.announced:
            self.enforced = self.announced.pop(0)

    # requests

    def opened(self, event):
        fault = self.engine.early_fault(self.provider)
        if fault is not None:
            self.is_closing = True
            reset(self.transport) if fault.startswith("reset") else self.transport.close()
            return
        if len(self.streams) >= self.enforced:
            self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        self.streams[event.stream_id] = Stream(event.headers)

    def received(self, event):
        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        stream.body.append(event.data)
        if sum(map(len, stream.body)) > self.provider.body_limit:
            self.write_answer(event.stream_id, text_answer(413, "body too large\n"))

    def ended(self, stream_id):
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        pseudo, headers = {}, []
        for name, value in stream.headers:
            if name.startswith(":"):
                pseudo[name] = value
            else:
                headers.append((name, value))
        headers.insert(0, ("host", pseudo.get(":authority", "")))
        stream.request = Request(self.provider, pseudo.get(":method", ""),
                                 pseudo.get(":path", ""), headers, b"".join(stream.body),
                                 "HTTP/2", self.is_tls, time.time_ns(), self, stream_id)
        self.engine.handle(stream.request, self)

    def allow_streams(self, limit):
        """Raise the stream limit, unless a script has set it."""
        if not self.is_forced and limit != self.limit:
            self.limit = limit
            self.announced.append(limit)
            self.h2.update_settings({STREAMS: limit})

    # answers

    def reply(self, request, answer):
        if self.is_closing or request.stream not in self.streams:
            return
        self.write_answer(request.stream, answer)
        self.answered += 1
        if self.goaway_every and self.answered >= self.goaway_every:
            self.goaway()
        self.flush()

    def send_head(self, stream_id, answer, length=None):
        headers = [(":status", str(answer.status)),
                   ("date", date_line()[6:-2].decode())]
        headers += [(n, v) for n, v in answer.headers if n != "connection"]
        if answer.status != 204:
            headers.append(("content-length", str(len(answer.body) if length is None
                                                  else length)))
        is_last = length is None and not answer.body
        self.h2.send_headers(stream_id, headers, end_stream=is_last)
        if is_last:
            self.streams.pop(stream_id, None)

    def write_answer(self, stream_id, answer):
        self.send_head(stream_id, answer)
        if answer.body:
            if len(answer.body) <= min(self.h2.local_flow_control_window(stream_id),
                                       self.h2.max_outbound_frame_size):
                self.h2.send_data(stream_id, answer.body, end_stream=True)
                self.streams.pop(stream_id, None)
            else:
                self.start(self.write_body(stream_id, answer.body))

    def start(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def wake(self, stream_id):
        for number in [stream_id] if stream_id else list(self.streams):
            stream = self.streams.get(number)
            if stream is not None and stream.wake is not None:
                stream.wake.set()

    async def write_body(self, stream_id, body, total=None, pause=0):
        """Send a body as flow control allows; `total` repeats it up to that many bytes."""
        left = len(body) if total is None else total
        sent = 0
        stream = self.streams[stream_id]
        stream.wake = asyncio.Event()
        while left > 0 and not self.is_closing and stream_id in self.streams:
            await self.can_write.wait()
            size = min(left, self.h2.local_flow_control_window(stream_id),
                       self.h2.max_outbound_frame_size, 1 if pause else 1 << 20)
            if size <= 0:
                stream.wake.clear()
                await stream.wake.wait()
                continue
            piece = body[sent:sent + size] if total is None else b"x" * size
            sent += size
            left -= size
            self.h2.send_data(stream_id, piece, end_stream=left == 0)
            self.flush()
            await asyncio.sleep(pause)
        self.streams.pop(stream_id, None)

    async def trickle(self, stream_id, answer, pause):
        """The HEADERS frame byte by byte: the slowest thing HTTP/2 can do to a whole connection."""
        self.flush()
        self.send_head(stream_id, answer)
        if answer.body:
            self.h2.send_data(stream_id, answer.body, end_stream=True)
        self.streams.pop(stream_id, None)
        for byte in self.h2.data_to_send():
            if self.is_closing:
                return
            self.transport.write(bytes((byte,)))
            await asyncio.sleep(pause)

    def goaway(self, last=None, reason=None):
        """GOAWAY, and close as soon as the streams that it covers are answered."""
        if last is None:
            last = self.h2.highest_inbound_stream_id
        extra = ('{"reason":"%s"}' % reason).encode() if reason else None
        self.h2.close_connection(h2.errors.ErrorCodes.NO_ERROR, extra, last)
        self.flush()
        self.is_closing = True
        self.transport.close()

    def misbehave(self, request, answer, fault, step):
        stream_id = request.stream
        if self.is_closing or stream_id not in self.streams:
            return
        pause = step.get("byte_ms", 1000) / 1000
        if fault == "hang":
            return
        if fault in ("reset", "refuse_stream"):
            code = h2.errors.ErrorCodes.INTERNAL_ERROR if fault == "reset" \
                else h2.errors.ErrorCodes.REFUSED_STREAM
            self.h2.reset_stream(stream_id, code)
            self.streams.pop(stream_id, None)
        elif fault == "reset_connection":
            self.is_closing = True
            reset(self.transport)
            return
        elif fault.startswith("drop"):
            self.is_closing = True
            self.transport.close()
            return
        elif fault == "garbage":
            self.flush()
            self.transport.write(b"\x00\xff\x16garbage " + os.urandom(512))
            self.is_closing = True
            self.transport.close()
            return
        elif fault == "goaway":
            self.goaway(stream_id - 2 if stream_id > 2 else 0, step.get("text"))
            return
        elif fault == "goaway_after":
            self.write_answer(stream_id, answer)
            self.goaway(stream_id, step.get("text"))
            return
        elif fault == "truncate":
            self.send_head(stream_id, answer, len(answer.body) + 100)
            self.h2.send_data(stream_id, answer.body, end_stream=True)
            self.streams.pop(stream_id, None)
        elif fault == "slow_headers":
            self.start(self.trickle(stream_id, answer, pause))
        elif fault == "slow_body":
            answer.body = answer.body or b" "
            self.send_head(stream_id, answer)
            self.start(self.write_body(stream_id, answer.body, pause=pause))
        else:
            total = step.get("bytes", 100_000_000) if fault == "huge" else 1 << 62
            self.send_head(stream_id, answer, total)
            self.start(self.write_body(stream_id, b"", total))
        self.flush()

    def shut(self):
        self.transport.abort()
