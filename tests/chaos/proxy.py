# SPDX-License-Identifier: MIT
"""A network that can be slow, lossy, cut and half-open: one forwarding process for all links.

    proxy = Proxy(directory, {"bridge0-postgres": (listen_port, "127.0.0.1", port)}).start()
    proxy.set("bridge0-postgres", hold="both")     # half-open: connected, and nothing moves
    proxy.set("bridge0-postgres")                  # as a wire again; what was held moves on
    proxy.reset("bridge0-postgres")                # RST to both ends of every connection

A link's weather: delay_ms and jitter_ms (each way), loss (share of chunks that come a
retransmission later), rate (bytes per second), hold (`up`, `down`, `both`), refuse (no
connection at all; those that are open are reset).  It needs no privileges and no kernel module.
"""
import asyncio
import json
import os
import random
import socket
import struct
import sys

CHUNK = 16384
RETRANSMIT_S = (0.2, 0.9)
KEYS = ("delay_ms", "jitter_ms", "loss", "rate", "hold", "refuse")


class Link:
    """One listening port, where it leads, and its weather."""

    def __init__(self, name, port, host, to_port):
        self.name, self.port, self.to = name, port, (host, to_port)
        self.weather = {}
        self.changed = asyncio.Event()
        self.server = None
        self.writers = set()
        self.random = random.Random(name)

    async def listen(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.port,
                                                 reuse_address=True)

    async def configure(self, weather):
        self.weather = weather
        self.changed.set()
        self.changed = asyncio.Event()
        if weather.get("refuse") and self.server:
            self.server.close()
            self.server = None
            self.reset()
        elif not weather.get("refuse") and self.server is None:
            await self.listen()

    def reset(self):
        for writer in list(self.writers):
            abort(writer)

    async def accept(self, reader, writer):
        self.writers.add(writer)
        far = None
        try:
            await self.released("up")  # a SYN waits like any other packet
            far_reader, far = await asyncio.open_connection(*self.to)
            self.writers.add(far)
            without_delay(writer), without_delay(far)
            pumps = [asyncio.ensure_future(self.pump(reader, far, "up")),
                     asyncio.ensure_future(self.pump(far_reader, writer, "down"))]
            done, rest = await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            for pump in rest:
                pump.cancel()
            if any(pump.exception() for pump in done):
                abort(writer), abort(far)
        except OSError:
            abort(writer)
        finally:
            for end in (writer, far):
                if end:
                    self.writers.discard(end)
                    end.close()

    async def released(self, way):
        while self.weather.get("hold") in (way, "both"):
            await self.changed.wait()

    async def pump(self, reader, writer, way):
        """Chunks in order, each after its delay; the end of the stream comes last."""
        while True:
            chunk = await reader.read(CHUNK)
            await asyncio.sleep(self.wait_s(len(chunk)))
            await self.released(way)
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    def wait_s(self, size):
        weather = self.weather
        if not weather:
            return 0
        wait = weather.get("delay_ms", 0) + self.random.uniform(0, weather.get("jitter_ms", 0))
        wait /= 1000
        if self.random.random() < weather.get("loss", 0):
            wait += self.random.uniform(*RETRANSMIT_S)
        if weather.get("rate"):
            wait += size / weather["rate"]
        return wait


def without_delay(writer):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def abort(writer):
    """RST, whatever is still queued."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def obey(links, line):
    call = json.loads(line)
    for name in call["links"]:
        if call.get("reset"):
            links[name].reset()
        else:
            await links[name].configure({k: call[k] for k in KEYS if call.get(k)})


async def main(config):
    with open(config) as file:
        links = {name: Link(name, *where) for name, where in json.load(file).items()}
    for link in links.values():
        await link.listen()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := await commands.readline():
        await obey(links, line)
        print("done", flush=True)


class Proxy:
    """The process, seen from the harness.  `links` is {name: (listen port, host, port)}."""

    def __init__(self, directory, links):
        self.links = links
        self.config = os.path.join(directory, "proxy.json")
        self.log = os.path.join(directory, "proxy.log")
        self.process = None

    def start(self):
        import subprocess
        with open(self.config, "w") as file:
            json.dump(self.links, file)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), self.config], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.answer("ready")
        return self

    def answer(self, want):
        line = self.process.stdout.readline().strip()
        if line != want:
            with open(self.log) as log:
                raise RuntimeError("the proxy said %r: %s" % (line, log.read()[-2000:]))

    def call(self, names, **what):
        self.process.stdin.write(json.dumps({"links": names, **what}) + "\n")
        self.process.stdin.flush()
        self.answer("done")

    def set(self, *names, **weather):
        self.call(names, **weather)

    def reset(self, *names):
        self.call(names, reset=True)

    def stop(self):
        """Ends with its standard input, so it never outlives the harness."""
        if self.process:
            self.process.stdin.close()
            try:
                self.process.wait(5)
            except Exception:
                self.process.kill()
                self.process.wait()
            self.process = None


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
