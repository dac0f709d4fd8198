# SPDX-License-Identifier: MIT
"""Characters with good tokens who do nothing the contract forbids, and cost as much as they can.

Each is a fault of faults.py: begin() lets it loose, end() takes it away and records what it sent
and what the bridges wrote meanwhile, which checker.py judges (`cost.log`).  They ask for no
deliveries, so that the books stay those of the world.
"""
import json
import os
import threading
import time

from client import Client
from process import ServerError

PAUSE_S = 0.02  # what a broker or a bridge under fault is given before the next try
TROUBLE = (OSError, TimeoutError, ServerError, ConnectionError, PermissionError)


class Character(threading.Thread):
    def __init__(self, rig, kind, name):
        super().__init__(daemon=True, name="hostile-" + name)
        self.rig, self.kind, self.subject = rig, kind, name
        self.done = threading.Event()
        self.sent = 0
        self.log_before = self.log_bytes()

    def log_bytes(self):
        return sum(os.path.getsize(bridge.log) for bridge in self.rig.bridges
                   if os.path.exists(bridge.log))

    def publish(self, client, tail, body):
        text = json.dumps(body)
        self.sent += len(text)
        client.publish(tail, text, timeout=None)

    def client(self):
        return Client(self.rig.broker, self.kind, self.subject, device="hostile")

    def run(self):
        while not self.done.is_set():
            try:
                with self.client() as client:
                    self.act(client)
            except TROUBLE:
                self.done.wait(0.5)

    def leave(self):
        self.done.set()
        self.join(20)
        self.rig.recording.add("cost", character=self.subject, sent=self.sent,
                               log=self.log_bytes() - self.log_before)


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


CHARACTERS = {"mumbler": (Mumbler, "service"), "caller": (Caller, "service"),
              "flapper": (Flapper, "user")}


def come(rig, character):
    make, kind = CHARACTERS[character]
    rig.hostile = getattr(rig, "hostile", {})
    rig.hostile[character] = make(rig, kind, character)
    rig.hostile[character].start()


def go(rig, character):
    one = getattr(rig, "hostile", {}).pop(character, None)
    if one:
        one.leave()
