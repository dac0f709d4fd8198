# SPDX-License-Identifier: MIT
"""All that the plain load is not, at a gentle pace: what fills and empties the other tables.

Collapse keys, notifications that expire, broadcasts and roles, several users at once, providers
that report later, dead letters, requests for tomorrow, ids without a date; and people who read,
archive and delete some of what they get.
"""
import datetime
import random
import threading
import time
import uuid

from client import Client

PEOPLE, KEYS, PER_S = 10, 50, 40


class Churn:
    """One service and a few people; send() makes some requests, in a thread of its own."""

    def __init__(self, stack, ahead_s):
        self.stack, self.ahead_s = stack, ahead_s  # ahead_s(): how far the database's clock is
        self.rng = random.Random(6)
        self.people = [self.person("reader%d" % n) for n in range(PEOPLE)]
        self.service = Client(stack, "service", "churn", on_message=forget)
        self.clients = self.people + [self.service]
        for client in self.clients:
            client.connect()
            client.subscribe("down/#")
        for client in self.people:
            client.subscribe("notify/v1/broadcast/#")
        self.kinds = ((self.collapsed, 30), (self.short_lived, 15), (self.announced, 5),
                      (self.to_role, 2), (self.to_several, 8), (self.sms, 20), (self.bad_sms, 10),
                      (self.tomorrow, 10))
        self.done, self.sent = threading.Event(), 0
        stack.providers.control("POST", "/behaviour", {
            "provider": "twilio", "target": "+1555666*", "error": "twilio:21211"})
        stack.providers.control("POST", "/behaviour", {
            "provider": "twilio", "target": "+1555777*", "callbacks": ["sent", "delivered"],
            "callback_url": stack.bridge.url + "/callbacks/twilio"})

    def person(self, name):
        return Client(self.stack, "user", name, roles=("staff",), on_message=self.on_told)

    def on_told(self, client, message):
        """Acknowledges, and does something with most of it."""
        client.messages.clear()
        if not message.topic.endswith("/inbox"):
            return
        ids = [message.json["id"]]
        client.publish("up/ack", {"ids": ids}, timeout=None)
        for verb in self.rng.choice(((), ("read",), ("seen",), ("read", "archive"), ("delete",))):
            client.publish("up/" + verb, {"ids": ids}, timeout=None)

    # The kinds of requests
    def one(self):
        return {"user": "reader%d" % self.rng.randrange(PEOPLE)}

    def collapsed(self):
        return {"to": self.one(), "collapse_key": "k%d" % self.rng.randrange(KEYS)}

    def short_lived(self):
        return {"to": self.one(), "ttl": "5s"}

    def announced(self):
        return {"to": {"broadcast": True}}

    def to_role(self):
        return {"to": {"role": "staff"}}

    def to_several(self):
        return {"to": {"users": ["reader%d" % n for n in self.rng.sample(range(PEOPLE), 4)]}}

    def sms(self):
        return {"to": {"phone": "+1555777%04d" % self.rng.randrange(10000)}, "channels": ["sms"]}

    def bad_sms(self):
        return {"to": {"phone": "+1555666%04d" % self.rng.randrange(10000)}, "channels": ["sms"]}

    def tomorrow(self):
        """Due in a quarter of an hour: when the clocks have gone to the next day."""
        at = datetime.datetime.fromtimestamp(time.time() + self.ahead_s() + 900,
                                             datetime.timezone.utc)
        return {"to": self.one(), "at": at.isoformat(timespec="milliseconds").replace(
            "+00:00", "Z")}

    def request(self):
        kinds, weights = zip(*self.kinds)
        return {"id": str(uuid.UUID(int=self.rng.getrandbits(128), version=4)),
                "type": "bench.churn", "title": "Churn", "body": "x" * 200,
                **self.rng.choices(kinds, weights)[0]()}

    def send(self, count):
        """Begins to make so many; join() what it returns."""
        thread = threading.Thread(target=self.run, args=(count,), daemon=True)
        thread.start()
        return thread

    def run(self, count):
        for _ in range(count):
            if self.done.wait(1 / PER_S):
                return
            self.service.publish("up/request", self.request(), timeout=None)
            self.sent += 1

    def close(self):
        self.done.set()
        for client in self.clients:
            client.close()


def forget(client, _message):
    client.messages.clear()
