# SPDX-License-Identifier: MIT
"""Services and people as they are: what they ask for, how they listen, and how they leave.

A service keeps each request until it was answered and publishes it again otherwise, as
topics.md tells services to.  What is asked for is drawn from the seed; when it leaves is not.
Everything that any of them publishes or gets goes into the recording.
"""
import collections
import random
import threading
import time

from client import Client

RESEND_AFTER = 4.0
OPEN_MAX = 1500      # not answered; beyond this a service waits
TOKEN_TTL = 12 * 3600
PEOPLE = (["good"] * 6 + ["slow"] * 2 + ["vanishing"] * 3 + ["reader", "mute"])
GHOSTS = 2           # users who never connect
PRIORITIES = ("urgent", "high", "normal", "normal", "normal", "low")


def client_of(rig, kind, name, device, on_message, link=None):
    """A client with a session that outlives its connections."""
    client = Client(rig, kind, name, device, on_message=on_message, clean=False, keepalive=10,
                    token=rig.token(kind, name, ttl=TOKEN_TTL))
    if link:
        client.port = rig.port(link)
    return client


class Requests:
    """Draws requests.  make() gives (request without id, what to expect of it)."""

    def __init__(self, rig, rng, users):
        self.rng, self.users = rng, users
        info = rig.providers.info
        self.hook = rig.through(info["webhook"]["url"], "webhook")
        self.slack = rig.through(info["slack"]["webhook_url"], "slack")
        self.tokens = info["fcm"]["valid_tokens"]
        self.kinds = (
            (self.to_user, 30), (self.to_several, 4), (self.sms, 14), (self.careful_sms, 4),
            (self.bad_number, 2), (self.push, 9), (self.email, 9), (self.webhook, 9),
            (self.chat, 4), (self.everywhere, 5), (self.later, 3), (self.short_lived, 4),
            (self.invalid, 5))

    def make(self, tag):
        kinds, weights = zip(*self.kinds)
        request, expect = self.rng.choices(kinds, weights)[0](tag)
        request.setdefault("priority", self.rng.choice(PRIORITIES))
        request.setdefault("receipts", self.rng.choice(("all", "final", "final")))
        return request, {"tag": tag, "deliveries": 1, **expect}

    def base(self, tag, to, channel, **more):
        return {"type": "chaos.%s" % channel, "to": to, "channels": [channel],
                "title": "About %s" % tag, "body": "This is %s." % tag, **more}

    def to_user(self, tag, **more):
        return self.base(tag, {"user": self.rng.choice(self.users)}, "in_app", **more), {}

    def to_several(self, tag):
        users = self.rng.sample(self.users, self.rng.randint(2, 6))
        return self.base(tag, {"users": users}, "in_app"), {"deliveries": len(users)}

    def phone(self):
        return {"phone": "+1555%07d" % self.rng.randrange(10 ** 6)}

    def sms(self, tag):
        return self.base(tag, self.phone(), "sms"), {}

    def careful_sms(self, tag):
        return self.base(tag, self.phone(), "sms", type="careful"), {"once": True}

    def bad_number(self, tag):
        return self.base(tag, {"phone": "+1555666%04d" % self.rng.randrange(10 ** 4)}, "sms"), {}

    def push(self, tag):
        return self.base(tag, {"push_token": self.rng.choice(self.tokens)}, "push"), {}

    def email(self, tag):
        return self.base(tag, {"email": "p%d@example.org" % self.rng.randrange(500)}, "email"), {}

    def webhook(self, tag):
        return self.base(tag, {"url": "%s/%s" % (self.hook, tag)}, "webhook"), {}

    def chat(self, tag):
        return self.base(tag, {"url": self.slack}, "chat"), {}

    def everywhere(self, tag):
        """A user with a phone, an address and a device: one delivery on each channel."""
        request = self.base(tag, {"user": self.rng.choice(self.users)}, "in_app")
        request["channels"] = ["in_app", "sms", "email", "push"]
        return request, {"deliveries": 4}

    def later(self, tag):
        at = time.time() + self.rng.uniform(2, 20)
        request, _ = self.rng.choice((self.to_user, self.webhook))(tag)
        request["at"] = rfc3339(at)
        return request, {"not_before": at}

    def short_lived(self, tag):
        seconds = self.rng.randint(2, 8)
        request, _ = self.rng.choice((self.to_user, self.webhook))(tag)
        request["ttl"] = "%ds" % seconds
        return request, {"ttl": seconds}

    def invalid(self, tag):
        request, _ = self.to_user(tag)
        what = self.rng.choice(("field", "type", "to", "channel", "ttl", "phone"))
        if what == "field":
            request["tittle"] = "x"
        elif what == "type":
            del request["type"]
        elif what == "to":
            request["to"] = {}
        elif what == "channel":
            request["channels"] = ["pigeon"]
        elif what == "ttl":
            request["ttl"] = "soon"
        else:
            request.update(to={"phone": "call me"}, channels=["sms"])
        return request, {"reject": True, "deliveries": 0}


def rfc3339(seconds):
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return "%s.%03dZ" % (whole, int(seconds % 1 * 1000))


class Service:
    """One service: publishes, and repeats what is not answered."""

    def __init__(self, rig, recording, name, requests, rng):
        self.name, self.recording = name, recording
        self.requests, self.rng = requests, rng
        self.lock = threading.Lock()
        self.kept = {}       # id -> (request, expect)
        self.open = collections.OrderedDict()  # id -> when last published
        self.answered = []   # ids, for repeats
        self.published = collections.Counter()
        self.made = 0
        self.client = client_of(rig, "service", name, "chaos", self.on_message,
                                "services-broker")

    def on_message(self, client, message):
        if not message.topic.endswith("/receipt"):
            return
        client.messages.clear()  # they are in the recording
        body = message.json
        for receipt in body if isinstance(body, list) else [body]:
            self.recording.add("receipt", service=self.name, receipt=receipt)
            if receipt["status"] in ("accepted", "rejected"):
                with self.lock:
                    if self.open.pop(receipt["id"], None) and receipt["status"] == "accepted":
                        self.answered.append(receipt["id"])

    def fresh(self):
        with self.lock:
            self.made += 1
            tag = "zq%s%dq" % (self.name, self.made)
            self.kept[tag] = self.requests.make(tag)
        return tag

    def publish(self, ids, spoil=False):
        bodies = []
        now = time.monotonic()
        for name in ids:
            request, expect = self.kept[name]
            if spoil:
                request = {**request, "title": "Something else under the id of %s" % name}
            with self.lock:
                if not spoil:
                    self.open.pop(name, None)
                    self.open[name] = now
                self.published[name] += 1
            self.recording.add("publish", service=self.name, id=name, request=request,
                               number=self.published[name], expect=expect, spoilt=spoil)
            bodies.append({"id": name, **request})
        for at in range(0, len(bodies), 20):
            part = bodies[at:at + 20]
            self.client.publish("up/request", part if len(part) > 1 else part[0], timeout=None)

    def ask(self, count):
        if len(self.open) < OPEN_MAX:
            self.publish([self.fresh() for _ in range(count)])

    def burst(self, count):
        """Webhooks of one kind, so that the same load can be asked for again."""
        for _ in range(count):
            with self.lock:
                self.made += 1
                tag = "zq%s%dq" % (self.name, self.made)
                request, expect = self.requests.webhook(tag)
                request.update(priority="normal", receipts="final")
                self.kept[tag] = request, {"tag": tag, "deliveries": 1, **expect}
            self.publish([tag])

    def again(self):
        """Something answered long ago, once more: the same, or another under its id."""
        with self.lock:
            if not self.answered:
                return
            name = self.rng.choice(self.answered)
        self.publish([name], spoil=self.rng.random() < 0.4)

    def repeat_overdue(self):
        limit = time.monotonic() - RESEND_AFTER
        with self.lock:
            late = [name for name, at in list(self.open.items())[:200] if at < limit]
        if late:
            self.publish(late)


class Person:
    """A user with one device and a habit."""

    def __init__(self, rig, recording, name, habit, rng, later):
        self.name, self.habit, self.rng = name, habit, rng
        self.recording, self.later = recording, later
        self.client = client_of(rig, "user", name, "phone", self.on_message)

    def on_message(self, client, message):
        client.messages.clear()
        if not message.topic.endswith("/inbox"):
            return
        body = message.json
        tag = (body.get("title") or "").rpartition(" ")[2]
        self.recording.add("shown", user=self.name, device=client.client_id, id=body["id"],
                           seq=body.get("seq"), tag=tag, key=body.get("key"))
        if self.habit == "mute":
            return
        if self.habit == "slow":
            self.later(self.rng.uniform(0.2, 3), lambda: self.ack(body["id"]))
        else:
            self.ack(body["id"])
            if self.habit == "reader":
                self.later(0.5, lambda: client.publish("up/read", {"ids": [body["id"]]},
                                                       timeout=None))

    def ack(self, number):
        self.recording.add("acked", user=self.name, ids=[number])
        self.client.publish("up/ack", {"ids": [number]}, timeout=None)

    def leave(self):
        """Blinks (the connection breaks) or is gone for a while."""
        if self.rng.random() < 0.4:
            sock = self.client.mqtt.socket()
            if sock:
                try:
                    sock.shutdown(2)
                except OSError:
                    pass
            self.later(self.rng.uniform(2, 10), self.leave)
            return
        self.client.mqtt.disconnect()
        self.client.mqtt.loop_stop()
        self.later(self.rng.uniform(1, 15), self.come_back)

    def come_back(self):
        try:
            self.client.mqtt.reconnect()
        except OSError:
            self.later(1.0, self.come_back)
            return
        self.client.mqtt.loop_start()
        self.later(self.rng.uniform(3, 12), self.leave)


class World:
    """All of them, and the clock they live by."""

    SERVICES = (("shop", 0.4), ("bank", 0.3), ("news", 0.2), ("ops", 0.1))  # and shares of the rate

    def __init__(self, rig, recording, seed, rate):
        self.rig, self.recording, self.rate = rig, recording, rate
        self.rng = random.Random("world/%s" % seed)
        self.names = ["u%d" % n for n in range(len(PEOPLE))]
        ghosts = ["ghost%d" % n for n in range(GHOSTS)]
        self.requests = Requests(rig, self.rng, self.names + ghosts)
        self.services = [Service(rig, recording, name, self.requests, self.rng)
                         for name, _ in self.SERVICES]
        self.due = []
        self.lock = threading.Lock()
        self.people = [Person(rig, recording, name, habit, self.rng, self.later)
                       for name, habit in zip(self.names, PEOPLE)]
        self.everyone = self.names + ghosts
        self.stopping, self.ended = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=loop, daemon=True)
                        for loop in (self.publish_on, self.live)]

    def later(self, seconds, act):
        with self.lock:
            self.due.append((time.monotonic() + seconds, act))

    def connect(self):
        for service in self.services:
            service.client.connect().subscribe("down/#")
        shop = self.services[0].client
        for number, name in enumerate(self.everyone):
            shop.rpc("user.upsert", {
                "user": name, "phones": ["+15550001%03d" % number],
                "emails": ["%s@example.org" % name],
                "devices": [{"platform": "fcm", "token": "phone%04d:APA91bchaoschaoschaos%04d"
                             % (number, number)}]})
        for person in self.people:
            person.client.connect().subscribe("down/#")
            if person.habit == "vanishing":
                self.later(self.rng.uniform(2, 8), person.leave)
        return self

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def publish_on(self):
        """Keeps the rate, with a burst now and then, until stop()."""
        owed = collections.Counter()
        last, burst = time.monotonic(), time.monotonic() + 10
        while not self.stopping.wait(0.05):
            now = time.monotonic()
            for service, (name, share) in zip(self.services, self.SERVICES):
                owed[name] = min(owed[name] + (now - last) * self.rate * share, self.rate)
                if owed[name] >= 1:
                    service.ask(int(owed[name]))
                    owed[name] -= int(owed[name])
            last = now
            if now > burst:
                self.rng.choice(self.services).ask(4 * self.rate)
                burst = now + self.rng.uniform(8, 20)
            if self.rng.random() < 0.05:
                self.rng.choice(self.services).again()
            for service in self.services:
                service.repeat_overdue()

    def live(self):
        while not self.ended.wait(0.05):
            now = time.monotonic()
            with self.lock:
                ready = [act for at, act in self.due if at <= now]
                self.due = [(at, act) for at, act in self.due if at > now]
            for act in ready:
                try:
                    act()
                except (OSError, ValueError, RuntimeError) as error:
                    self.recording.add("trouble", text="a person: %r" % error)

    # The end
    def stop(self):
        self.stopping.set()
        self.threads[0].join()

    def is_answered(self):
        for service in self.services:
            service.repeat_overdue()
        return not any(service.open for service in self.services)

    def unanswered(self):
        return sum(len(service.open) for service in self.services)

    def close(self):
        self.stopping.set()
        self.ended.set()
        for owner in self.services + self.people:
            try:
                owner.client.close()
            except (OSError, RuntimeError, ValueError):
                pass

    def __str__(self):
        return "%d asked, %d not answered" % (
            sum(service.made for service in self.services), self.unanswered())


