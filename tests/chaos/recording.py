# SPDX-License-Identifier: MIT
"""What was observed, in the order in which it was: the checker's only source.

One JSON object a line; `at` is the time of day in seconds, `what` is one of:

    run       seed, seconds, settings that the checker needs
    publish   service, id, number (how often now), request, expect
    receipt   service, receipt (as the service got it)
    shown     user, device, id, seq, tag, topic    acked  user, ids
    call      a request that a provider got: provider, channel, tag, target, dedupe, verdict, why,
              status, arrived, seq
    fault     name, phase (begin, end, missing), component, params, error
    exit      process, code, expected, text
    sample    process, pid, rss_kb, fds (without connections to providers), phase
    books     the conservation view at that moment
    cost      character, sent, log (bytes), before {process: [pid, rss_kb, fds]}, peak {process: kB}
    canary    character, kind, took: seconds until the answer to one who does nothing else
    alive     epochs that were alive at the end
    rows      table, rows: the end state, as dictionaries
    trouble   text: the harness could not do what it wanted
"""
import json
import threading
import time


class Recording:
    """Thread-safe; everything is written at once and kept."""

    def __init__(self, path=None):
        self.lock = threading.Lock()
        self.events = []
        self.file = open(path, "w", encoding="utf-8") if path else None

    def add(self, what, at=None, **fields):
        event = {"at": round(at if at is not None else time.time(), 6), "what": what, **fields}
        with self.lock:
            self.events.append(event)
            if self.file:
                self.file.write(json.dumps(event, separators=(",", ":")) + "\n")

    def snapshot(self):
        with self.lock:
            return list(self.events)

    def close(self):
        if self.file:
            self.file.close()


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
