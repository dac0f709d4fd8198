# SPDX-License-Identifier: MIT
"""Whether anything stands while it should go on: asked of the bridges' own numbers twice a second.

    (a) a queue has something in it, and nothing has left it for QUIET_S, while another queue of the
        same bridge went on; not during a fault, nor within GRACE_S after one
    (b) the oldest in a queue is older than its bound, where the bridge says how old it is
    (c) the rate after the faults is less than half of what the same load had before them
    (d) a bridge is not ready for UNREADY_S without a fault

Progress judges samples and does no I/O, so that its own test can feed it; Sampler takes them.
"""
import threading
import time

import servers

QUIET_S = 5.0
GRACE_S = 20.0
UNREADY_S = 30.0
# Queues whose head may wait longer by design: a settlement that the database refuses by itself.
QUIET_OF = {"settle": 15.0, "rpc": 60.0}
# Seconds: a message over which connections were lost waits aside for up to half a minute, and twice.
OLDEST = {"outbox": 90.0}


class Progress:
    """Fed with samples in the order of time; `findings` says what stood."""

    def __init__(self, patience=1.0, oldest=None):
        self.patience = patience
        self.oldest = dict(OLDEST if oldest is None else oldest)  # queue: seconds
        self.findings = []
        self.moved = {}    # (bridge, queue): when it was empty, or something left it, for the last time
        self.taken = {}    # (bridge, queue): how much has left it
        self.unready = {}  # bridge: since when
        self.told = set()
        self.fault_until = float("-inf")

    def find(self, at, key, text):
        if key not in self.told:
            self.told.add(key)
            self.findings.append("%.1f %s" % (at, text))

    def fault(self, at):
        """Something is being done to the parts at this moment."""
        self.fault_until = max(self.fault_until, at + GRACE_S * self.patience)

    def sample(self, at, bridge, ready, queues):
        """queues: {name: (depth, taken) or (depth, taken, age of the oldest in seconds)}"""
        covered = at < self.fault_until
        went_on = set()
        for name, (depth, taken, *_) in queues.items():
            key = bridge, name
            if depth == 0 or taken != self.taken.get(key) or covered:
                if taken != self.taken.get(key) and not covered:
                    went_on.add(name)
                self.moved[key] = at
                self.told.discard(key)
            self.taken[key] = taken
        for name, (depth, _, *age) in queues.items():
            stood = at - self.moved[bridge, name]
            if stood >= QUIET_OF.get(name, QUIET_S) * self.patience and went_on - {name}:
                self.find(at, (bridge, name), "%s: queue %s stands with %d in it for %.1f s, while %s "
                          "went on" % (bridge, name, depth, stood, ", ".join(sorted(went_on))))
            bound = self.oldest.get(name)
            if age and bound is not None and not covered and age[0] > bound * self.patience:
                self.find(at, (bridge, name, "age"), "%s: the oldest of queue %s is %.1f s old, more "
                          "than %.1f s" % (bridge, name, age[0], bound))
        if ready or covered:
            self.unready[bridge] = None
        elif self.unready.get(bridge) is None:
            self.unready[bridge] = at
        elif at - self.unready[bridge] >= UNREADY_S * self.patience:
            self.find(at, (bridge, "ready"), "%s: not ready for %.0f s without a fault" % (
                bridge, at - self.unready[bridge]))

    def rates(self, at, what, before, after):
        """The same load on a bridge that has seen nothing yet, and on one that has."""
        if before > 0 and after < before / 2:
            self.find(at, ("rate", what), "%s: %.1f a second before, %.1f after" % (
                what, before, after))


def queues_of(metrics):
    """{queue: (depth, taken) or (depth, taken, age of the oldest in seconds)} of what /metrics said."""
    found = {}
    for key, depth in metrics.items():
        if key.startswith("tocsin_queue_depth{"):
            labels = key[len("tocsin_queue_depth"):]
            name = labels.split('queue="', 1)[1].split('"', 1)[0]
            age = metrics.get("tocsin_queue_oldest_seconds" + labels)
            found[name] = (depth, metrics.get("tocsin_queue_taken_total" + labels, 0.0),
                           *(() if age is None else (age,)))
    return found


class Sampler(threading.Thread):
    """Samples the bridges of a stack until it is closed; is_faulty() says that a fault is under way."""

    def __init__(self, stack, is_faulty, progress=None, every=0.5):
        super().__init__(daemon=True)
        self.stack, self.is_faulty, self.every = stack, is_faulty, every
        self.progress = progress or Progress()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self.every):
            now = time.monotonic()
            if self.is_faulty():
                self.progress.fault(now)
            for bridge in list(self.stack.bridges):
                try:
                    queues = queues_of(servers.parse_metrics(
                        servers.http("GET", bridge.url + "/metrics", timeout=2)[1]))
                    ready = bridge.is_ready()
                except (OSError, ValueError, AttributeError):
                    queues, ready = {}, False
                self.progress.sample(now, bridge.name, ready, queues)

    def close(self):
        self.over.set()
        self.join(10)
        return self.progress.findings
