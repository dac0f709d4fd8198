# SPDX-License-Identifier: MIT
"""Characters with good tokens who do nothing the contract forbids, and cost as much as they can.

Each is a fault of faults.py: begin() lets it loose, end() takes it away and records what it sent
and what the bridges wrote meanwhile, how much memory they took, and how long a service and a user who
do nothing else waited for an answer: checker.py judges that as `cost.log`, `cost.memory`,
`cost.neighbour` and `cost.returns`.  They ask for no deliveries, so that the books stay those of the
world.
"""
import json
import os
import threading
import time
import urllib.error
import urllib.request

from client import Client
from process import ServerError

PAUSE_S = 0.02  # what a broker or a bridge under fault is given before the next try
TROUBLE = (OSError, TimeoutError, ServerError, ConnectionError, PermissionError, ValueError)
CANARY_PAUSE_S = 0.5


def usage(rig):
    """{name: [pid, kB of memory, descriptors]} of the bridges that run."""
    found = {}
    for bridge in rig.bridges:
        try:
            if bridge.running:
                found[bridge.name] = [bridge.pid, bridge.rss_kb(),
                                      len(rig.descriptors(bridge.pid))]
        except (OSError, IndexError, ValueError, ServerError):
            continue  # it ended while it was looked at
    return found


class Canary(threading.Thread):
    """One who calls now and then, as its own kind does, and notes how long the answer took."""

    CALLS = {"service": ("request.status", {"id": "none"}), "user": ("history", {})}

    def __init__(self, rig, kind, beside):
        super().__init__(daemon=True, name="canary-" + kind)
        self.rig, self.kind, self.beside = rig, kind, beside
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            try:
                with Client(self.rig.broker, self.kind, "canary", device=self.beside) as client:
                    client.subscribe("down/reply")
                    while not self.done.wait(CANARY_PAUSE_S):
                        self.call(client)
            except TROUBLE:
                self.done.wait(0.5)

    def call(self, client):
        begun = time.time()
        method, params = self.CALLS[self.kind]
        try:
            client.rpc(method, params)
        finally:
            self.rig.recording.add("canary", at=begun, character=self.beside, kind=self.kind,
                                   took=round(time.time() - begun, 3))

    def leave(self):
        self.done.set()


class Character(threading.Thread):
    def __init__(self, rig, kind, name):
        super().__init__(daemon=True, name="hostile-" + name)
        self.rig, self.kind, self.subject = rig, kind, name
        self.done = threading.Event()
        self.sent = 0
        self.log_before = self.log_bytes()
        self.before = usage(rig)
        self.peak = {}
        self.canaries = [Canary(rig, "service", name), Canary(rig, "user", name)]

    def log_bytes(self):
        return sum(os.path.getsize(bridge.log) for bridge in self.rig.bridges
                   if os.path.exists(bridge.log))

    def publish(self, client, tail, body):
        text = json.dumps(body)
        self.sent += len(text)
        client.publish(tail, text, timeout=None)

    def client(self):
        return Client(self.rig.broker, self.kind, self.subject, device="hostile")

    def start(self):
        for canary in self.canaries:
            canary.start()
        threading.Thread(target=self.watch, daemon=True).start()
        super().start()

    def watch(self):
        while not self.done.wait(0.2):
            for name, (pid, rss_kb, _) in usage(self.rig).items():
                if name in self.before and self.before[name][0] == pid:
                    self.peak[name] = max(self.peak.get(name, 0), rss_kb)

    def run(self):
        while not self.done.is_set():
            try:
                with self.client() as client:
                    self.act(client)
            except TROUBLE:
                self.done.wait(0.5)

    def leave(self):
        self.done.set()
        for canary in self.canaries:
            canary.leave()
        self.join(20)
        self.rig.recording.add("cost", character=self.subject, sent=self.sent,
                               log=self.log_bytes() - self.log_before, before=self.before,
                               peak=self.peak)


class Mumbler(Character):
    """Valid JSON that means nothing: unknown topics and calls."""

    def act(self, client):
        for n in range(10 ** 9):
            if self.done.is_set():
                return
            self.publish(client, "up/mumble%d" % n, {"note": "x" * 200, "n": n})
            self.publish(client, "up/rpc/no.such%d" % n, {"id": str(n), "note": "x" * 200})
            time.sleep(PAUSE_S)


class Caller(Character):
    """Every call of its kind, faster than they are answered."""

    CALLS = (("user.get", {"user": "nobody"}), ("suppression.list", {}),
             ("request.status", {"id": "none"}))

    def act(self, client):
        client.subscribe("down/#")
        for n in range(10 ** 9):
            if self.done.is_set():
                return
            for method, params in self.CALLS:
                self.publish(client, "up/rpc/" + method, {"id": str(n), "params": params})
            client.messages.clear()
            time.sleep(PAUSE_S)


class Flapper(Character):
    """Comes, asks for its history, and goes, twice a second; acknowledges nothing."""

    def act(self, client):
        client.subscribe("down/#")
        self.publish(client, "up/rpc/history", {"id": "1", "params": {}})
        self.done.wait(0.5)


class Hoarder(Character):
    """Leaves one session behind after the other, each of which the broker is to keep."""

    def act(self, client):
        for n in range(10 ** 9):
            if self.done.is_set():
                return
            with Client(self.rig.broker, self.kind, self.subject, device="d%d" % n,
                        clean=False) as one:
                one.subscribe("down/#")
                self.publish(one, "up/rpc/history", {"rpc": str(n), "params": {}})
            self.done.wait(0.1)


class Multiplier(Character):
    """64 KiB that become hundreds of answers: arrays of requests of which each is refused."""

    def act(self, client):
        client.subscribe("down/#")
        for n in range(10 ** 9):
            if self.done.is_set():
                return
            self.publish(client, "up/request", [
                {"id": "m%d-%d" % (n, i), "type": "t", "to": {"nobody": i}} for i in range(500)])
            client.messages.clear()
            self.done.wait(0.2)


class Tarpit(Character):
    """Asks for much, and does not read what it is sent."""

    def act(self, client):
        client.subscribe("down/#")
        client.mqtt.loop_stop()
        for n in range(10 ** 9):
            if self.done.is_set():
                return
            self.publish(client, "up/rpc/history", {"rpc": str(n), "params": {"limit": 100}})
            client.mqtt.loop_write()
            time.sleep(PAUSE_S)


class Collector(Character):
    """Subscribes to as many filters as it gets."""

    def act(self, client):
        for n in range(10 ** 9):
            if self.done.is_set():
                return
            client.mqtt.subscribe([(client.topic("down/c%d-%d/#" % (n, i)), 1)
                                   for i in range(50)])
            self.sent += 2000
            time.sleep(0.1)


class Outsider(Character):
    """Has no token, and the bridge's HTTP port: unknown paths, forged callbacks."""

    def run(self):
        paths = ("/callbacks/twilio", "/callbacks/nobody", "/t/o/forged", "/nothing")
        for n in range(10 ** 9):
            if self.done.wait(PAUSE_S):
                return
            bridge = self.rig.bridges[n % len(self.rig.bridges)]
            body = b"x" * 2000
            self.sent += len(body)
            try:
                urllib.request.urlopen(bridge.url + paths[n % len(paths)], body, 5).close()
            except (urllib.error.URLError, OSError, ValueError):
                continue  # refused, as it should be, or the bridge is down


CHARACTERS = {"mumbler": (Mumbler, "service"), "caller": (Caller, "service"),
              "flapper": (Flapper, "user"), "hoarder": (Hoarder, "user"),
              "multiplier": (Multiplier, "service"), "tarpit": (Tarpit, "user"),
              "collector": (Collector, "user"), "outsider": (Outsider, "user")}


def come(rig, character):
    make, kind = CHARACTERS[character]
    rig.hostile = getattr(rig, "hostile", {})
    rig.hostile[character] = make(rig, kind, character)
    rig.hostile[character].start()


def go(rig, character):
    one = getattr(rig, "hostile", {}).pop(character, None)
    if one:
        one.leave()
