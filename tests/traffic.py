# SPDX-License-Identifier: MIT
"""Traffic that never pauses, faults at random moments, and the books that must balance.

    traffic = Traffic(stack, rate=300).start()
    Storm(stack, random.Random(7)).rounds(30)
    traffic.finish()      # stops, sends again what was not accepted, waits for every end
    traffic.audit()       # raises Unbalanced with everything that does not add up

What is compared: what the service published, which of it was `accepted` (its receipts), what
the users' devices got, and what the database says.  The service behaves as topics.md tells
services to: what was not accepted after a while is published again under the same id.
"""
import collections
import json
import random
import subprocess
import threading
import time

import servers
from client import Client

FINAL = ("sent", "delivered", "dead", "suppressed", "expired", "cancelled")


class Unbalanced(AssertionError):
    """A promise was broken; the text lists each one."""


class Traffic:
    """One service that publishes at a rate, and users who acknowledge what they get.

    `make(number, id)` returns a request without its id; by default an in-app notification
    to one of the users.
    """

    RESEND_AFTER = 3.0   # seconds without `accepted`
    BACKLOG_MAX = 4000   # not accepted; beyond this the service waits

    def __init__(self, stack, rate=300, users=8, name="traffic", make=None, batch=1):
        self.stack, self.rate, self.name, self.batch = stack, rate, name, batch
        self.make = make or self.to_one_user
        self.lock = threading.Lock()
        self.sent_at = collections.OrderedDict()  # id -> when last published; not yet accepted
        self.requests = {}                        # id -> the request as published
        self.accepted = {}                        # id -> the notification named by the receipt
        self.rejected = {}
        self.contradictions = []                  # one id, two notifications
        self.finals = collections.defaultdict(collections.Counter)
        self.inbox = collections.defaultdict(collections.Counter)  # id -> inbox id -> times
        self.resent = 0
        self.stopping = threading.Event()
        self.service = Client(stack, "service", name, "traffic", on_message=self.on_receipt)
        self.users = [Client(stack, "user", "%s-user-%d" % (name, n), "phone",
                             on_message=self.on_inbox) for n in range(users)]
        self.thread = threading.Thread(target=self.publish_on, daemon=True)

    def to_one_user(self, number, name):
        return {"type": "traffic.test", "to": {"user": self.users[number % len(self.users)].subject},
                "title": "Number %d" % number, "body": "x" * 100, "data": {"request": name}}

    # Clients' threads
    def on_receipt(self, client, message):
        client.messages.clear()  # millions of them would be kept otherwise
        if not message.topic.endswith("/receipt"):
            return
        body = message.json
        with self.lock:
            for receipt in body if isinstance(body, list) else [body]:
                self.book(receipt)

    def book(self, receipt):
        name, status = receipt.get("id"), receipt["status"]
        if status == "accepted":
            known = self.accepted.setdefault(name, receipt["notification"])
            if known != receipt["notification"]:
                self.contradictions.append((name, known, receipt["notification"]))
            self.sent_at.pop(name, None)
        elif status == "rejected":
            self.rejected[name] = receipt
            self.sent_at.pop(name, None)
        elif status in FINAL:
            self.finals[name][status] += 1

    def on_inbox(self, client, message):
        client.messages.clear()
        if not message.topic.endswith("/inbox"):
            return
        body = message.json
        with self.lock:
            self.inbox[body.get("data", {}).get("request")][body["id"]] += 1
        client.publish("up/ack", {"ids": [body["id"]]}, timeout=None)

    # Publishing
    def publish(self, names):
        now = time.monotonic()
        bodies = []
        with self.lock:
            for name in names:
                self.sent_at.pop(name, None)
                self.sent_at[name] = now
                bodies.append({"id": name, **self.requests[name]})
        for at in range(0, len(bodies), self.batch):
            part = bodies[at:at + self.batch]
            self.service.publish("up/request", part if self.batch > 1 else part[0], timeout=None)

    def fresh(self, count):
        names = []
        for _ in range(count):
            number = len(self.requests)
            name = "%s-%d" % (self.name, number)
            self.requests[name] = self.make(number, name)
            names.append(name)
        return names

    def overdue(self):
        limit = time.monotonic() - self.RESEND_AFTER
        found = []
        with self.lock:
            for name, at in self.sent_at.items():
                if at > limit or len(found) >= 500:
                    break
                found.append(name)
        return found

    def publish_on(self):
        """Runs until stop: keeps the rate, and repeats what was not accepted in time."""
        due, last = 0.0, time.monotonic()
        while not self.stopping.wait(0.01):
            now = time.monotonic()
            due = min(due + (now - last) * self.rate, self.rate)
            last = now
            if len(self.sent_at) < self.BACKLOG_MAX and due >= 1:
                self.publish(self.fresh(int(due)))
                due -= int(due)
            self.send_again()

    def send_again(self):
        late = self.overdue()
        if late:
            self.resent += len(late)
            self.publish(late)

    # For the test
    def start(self):
        self.service.connect().subscribe("down/receipt")
        for user in self.users:
            user.connect().subscribe("down/inbox")
        self.thread.start()
        return self

    def wait_accepted(self, count, timeout=30.0):
        """Until at least so many more were accepted: proof that it flows."""
        want = len(self.accepted) + count
        servers.wait_until(lambda: len(self.accepted) >= want, timeout,
                           "%d more accepted; %s" % (count, self))

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def finish(self, timeout=90.0):
        """Stops publishing, then waits until all is accepted and nothing is in flight."""
        if self.thread.is_alive():
            self.stop()

        def all_accepted():
            self.send_again()
            return not self.sent_at
        servers.wait_until(all_accepted, timeout, "every request to be accepted: %s" % self, 0.05)
        servers.wait_until(lambda: self.books()["in_flight"] == 0, timeout,
                           "every delivery to end: %s" % self, 0.2)

    def close(self):
        self.stopping.set()
        for client in [self.service] + self.users:
            client.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exc):
        self.close()

    def __str__(self):
        return "%d published, %d accepted, %d rejected, %d open, %d sent again" % (
            len(self.requests), len(self.accepted), len(self.rejected), len(self.sent_at),
            self.resent)

    # The books
    def books(self):
        return books(self.stack)

    def audit(self, receipts=True):
        """Raises Unbalanced unless every promise holds.  Call it after finish().

        receipts=False where the broker was killed: it may lose what it had for a subscriber.
        """
        faults = []
        faults += self.audit_accepted()
        faults += audit_database(self.stack)
        faults += self.audit_devices()
        if receipts:
            faults += self.audit_receipts()
        if faults:
            raise Unbalanced("\n".join(faults) + "\n" + str(self))

    def audit_accepted(self):
        rows = self.stack.postgres.sql(
            "select request, count(*), min(id::text) from notification where service = '%s' "
            "group by request" % self.name)
        stored = {request: int(count) for request, count, _ in rows}
        lost = [n for n in self.accepted if n not in stored]
        if lost:
            yield "%d accepted and not stored, as %s" % (len(lost), lost[:5])
        double = [n for n, count in stored.items() if count > 1]
        if double:
            yield "%d requests stored twice, as %s" % (len(double), double[:5])
        unknown = [n for n in stored if n not in self.requests]
        if unknown:
            yield "%d stored and never published, as %s" % (len(unknown), unknown[:5])
        if self.contradictions:
            yield "one id, two notifications: %s" % self.contradictions[:5]
        if self.rejected:
            yield "rejected: %s" % list(self.rejected.values())[:3]

    def audit_receipts(self, patience=20.0):
        """Receipts follow their commit, and those of a dead bridge its lease."""
        def lost():
            return [n for n in self.accepted if not self.finals.get(n)]
        try:
            servers.wait_until(lambda: not lost(), patience, "final receipts", 0.2)
        except TimeoutError:
            rows = self.stack.postgres.sql(
                "select n.request, n.created_at, a.at, a.epoch, a.state, a.outcome "
                "from notification n left join attempt a on a.notification = n.id "
                "where n.service = '%s' and n.request in ('%s') order by a.at" % (
                    self.name, "', '".join(lost()[:5])))
            yield "%d without a final receipt, as %s" % (len(lost()), rows)

    def audit_devices(self):
        double = [n for n, ids in self.inbox.items() if len(ids) > 1]
        if double:
            yield "%d requests shown under two ids, as %s" % (
                len(double), [(n, dict(self.inbox[n])) for n in double[:5]])

    def repeats(self):
        """How often a device got the same inbox id again: allowed after a fault, and only then."""
        return sum(sum(ids.values()) - len(ids) for ids in self.inbox.values())


def books(stack):
    """The conservation view as a dictionary of numbers."""
    text = stack.postgres.value("select row_to_json(c)::text from conservation c")
    return json.loads(text)


def audit_database(stack):
    """What must hold in the database when nothing is in flight."""
    now = books(stack)
    if now["missing"] or now["in_flight"]:
        yield "conservation: %s" % now
    ended = stack.postgres.value(
        # The dead may come back, once for each time they died.
        "select count(*) from (select delivery from attempt where state <> 5 "
        "group by delivery having count(*) > 1) x")
    if int(ended):
        yield "%s deliveries ended twice" % ended
    both = stack.postgres.value(
        "select count(*) from dead_letter d join attempt a using (delivery) "
        "where d.is_dead and a.state in (3, 4, 6, 7, 8)")
    if int(both):
        yield "%s deliveries both dead and otherwise ended" % both
    # A lost connection costs no attempt, so a number may come again; one moment may not.
    twice = stack.postgres.sql(
        "select delivery, number, epoch, count(*), array_agg(outcome) from attempt "
        "group by delivery, number, epoch, outcome, at having count(*) > 1 limit 5")
    if twice:
        yield "attempts recorded twice: %s" % twice


class Ledger(threading.Thread):
    """Asks the conservation view again and again while everything runs: never anything missing."""

    def __init__(self, stack, interval=0.25):
        super().__init__(daemon=True)
        self.stack, self.interval = stack, interval
        self.looks, self.faults = 0, []
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(self.interval):
            try:
                now = books(self.stack)
            except (servers.ServerError, OSError, IndexError, ValueError,
                    subprocess.TimeoutExpired):
                continue  # Postgres is the one that is down
            self.looks += 1
            if now["missing"]:
                self.faults.append(now)

    def close(self):
        self.done.set()
        self.join()
        if self.faults:
            raise Unbalanced("something was missing in %d of %d looks, first %s" % (
                len(self.faults), self.looks, self.faults[0]))


class Storm:
    """Kills servers at random moments and starts them again."""

    def __init__(self, stack, rng=None, victims=("bridge", "postgres", "broker"), say=None):
        self.stack, self.victims = stack, list(victims)
        self.rng = rng or random.Random()
        self.say = say or (lambda text: None)
        self.killed = collections.Counter()
        self.bag = []

    def pick(self):
        """Every kind equally often, in a random order; one of several bridges by chance."""
        if not self.bag:
            self.bag = self.rng.sample(self.victims, len(self.victims))
        kind = self.bag.pop()
        if kind == "bridge":
            return kind, self.rng.choice(self.stack.bridges)
        return kind, getattr(self.stack, kind)

    def round(self, number, progress=None):
        """One fault: some traffic, SIGKILL, some time without it, start, and it must flow again."""
        time.sleep(self.rng.uniform(0.02, 0.8))  # the moment of the kill is the point
        kind, victim = self.pick()
        self.killed[kind] += 1
        victim.kill()
        away = self.rng.choice((0.0, 0.0, self.rng.uniform(0.05, 1.5)))
        time.sleep(away)
        victim.start(wait=kind != "bridge")
        if kind == "bridge":
            victim.wait_ready(60)
        self.say("round %d: killed %s, %.2f s away" % (number, victim.name, away))
        if progress:
            progress()

    def rounds(self, count, progress=None):
        for number in range(1, count + 1):
            self.round(number, progress)
        return self
