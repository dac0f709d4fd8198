# SPDX-License-Identifier: MIT
"""The ports of one provider, and the faults that happen before any request: at accept and in TLS.

Ports stay the same for the life of the server. `listen` is normal, refuse (connection refused),
close, reset or hang (accepted, never answered); `tls` is normal, fail (alert in the handshake),
expired, wrong_host, self_signed, or http1 (no h2 in ALPN).
"""

import asyncio
import socket
import ssl

from http1 import Http1, reset
from http2 import PREFACE, Http2

LISTEN = ("normal", "refuse", "close", "reset", "hang")
TLS = ("normal", "fail", "expired", "wrong_host", "self_signed", "http1")


class Front(asyncio.Protocol):
    """Decides by ALPN or the first bytes which HTTP a connection speaks, and steps aside."""

    def __init__(self, engine, provider, is_tls):
        self.engine, self.provider, self.is_tls = engine, provider, is_tls
        self.first = b""

    def connection_made(self, transport):
        self.transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.become(Http2 if tls.selected_alpn_protocol() == "h2" else Http1)

    def become(self, kind):
        protocol = kind(self.engine, self.provider, self.is_tls)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self.first:
            protocol.data_received(self.first)

    def data_received(self, data):
        self.first += data
        if PREFACE.startswith(self.first[:len(PREFACE)]):
            if len(self.first) >= len(PREFACE):
                self.become(Http2)
        else:
            self.become(Http1)


class Accepted(asyncio.Protocol):
    """A connection that is accepted only to be ill-treated."""

    def __init__(self, mode):
        self.mode = mode

    def connection_made(self, transport):
        if self.mode == "close":
            transport.close()
        elif self.mode == "reset":
            reset(transport)


def bound_socket(port=0):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


class Door:
    """One port: what makes its protocol, and under which TLS context."""

    def __init__(self, factory, context, backlog=4096):
        self.factory, self.context, self.backlog = factory, context, backlog
        self.socket = bound_socket()
        self.port = self.socket.getsockname()[1]
        self.server = None
        self.mode = None

    async def open(self, mode):
        if mode == self.mode:
            return
        if self.server is not None:
            self.server.close()
            self.server = None
        self.mode = mode
        if mode == "refuse":
            if self.socket is not None:
                self.socket.close()
                self.socket = None
            return
        loop = asyncio.get_running_loop()
        sock = self.socket or bound_socket(self.port)
        self.socket = None
        if mode == "normal":
            self.server = await loop.create_server(self.factory, sock=sock, ssl=self.context,
                                                   backlog=self.backlog)
        else:
            self.server = await loop.create_server(lambda: Accepted(mode), sock=sock,
                                                   backlog=self.backlog)


class Listener:
    """All doors of one provider, and the settings that new connections read."""

    def __init__(self, engine, provider, authority):
        self.engine, self.provider, self.authority = engine, provider, authority
        self.tls = "normal"
        self.max_streams = None
        self.goaway_every = self.close_every = self.drop_every = None
        self.doors = {}

    def add(self, name, factory, with_tls=False, alpn=("h2", "http/1.1")):
        context = None
        if with_tls:
            context = self.context(alpn)
        self.doors[name] = Door(factory, context)
        return self.doors[name].port

    def context(self, alpn):
        """A fresh context whose handshake looks at `self.tls` every time."""
        context = self.authority.fresh_context(alpn)

        def choose(sock, _name, _context):
            if self.tls == "fail":
                return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
            if self.tls == "http1":
                sock.context = self.authority.context("good", ("http/1.1",))
            elif self.tls != "normal":
                sock.context = self.authority.context(self.tls, alpn)
            return None
        context.sni_callback = choose
        return context

    async def configure(self, settings):
        listen = settings.get("listen")
        if listen is not None and listen not in LISTEN:
            raise ValueError(f"listen is one of {LISTEN}")
        if settings.get("tls", "normal") not in TLS:
            raise ValueError(f"tls is one of {TLS}")
        self.tls = settings.get("tls", self.tls)
        self.max_streams = settings.get("max_streams", self.max_streams)
        for name in ("goaway_every", "close_every", "drop_every"):
            setattr(self, name, settings.get(name, getattr(self, name)))
        if listen is not None:
            for door in self.doors.values():
                await door.open(listen)
        if settings.get("close_connections"):
            for link in list(self.engine.links[self.provider.name]):
                link.shut()
        return {"listen": next(iter(self.doors.values())).mode, "tls": self.tls,
                "max_streams": self.max_streams, "goaway_every": self.goaway_every,
                "close_every": self.close_every, "drop_every": self.drop_every}

    async def normal(self):
        self.tls, self.max_streams = "normal", None
        self.goaway_every = self.close_every = self.drop_every = None
        for door in self.doors.values():
            await door.open("normal")
