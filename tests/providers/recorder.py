# SPDX-License-Identifier: MIT
"""The memory of what arrived: the last 50,000 requests and a few counters for each provider."""

import base64
import collections



KEEP = 50_000
KEEP_BYTES = 192 * 1024 * 1024
KEEP_SECONDS = 900
FIELDS = ("seq", "provider", "op", "at_ns", "method", "path", "headers", "body", "body_kind",
          "raw", "size", "proto", "tls", "connection", "stream", "target", "dedupe", "verdict",
          "status", "why", "warnings", "extra")
DEFAULT_FIELDS = tuple(name for name in FIELDS if name != "raw")


class Recorder:
    def __init__(self):
        self.requests = collections.deque()
        self.bytes = 0
        self.last = 0

    def add(self, request):
        self.last += 1
        request.seq = self.last
        request.link = request._map = request._json = None  # what parsing left behind is large
        self.requests.append(request)
        self.bytes += request.size + 1024
        while len(self.requests) > KEEP or self.bytes > KEEP_BYTES:
            self.bytes -= self.requests.popleft().size + 1024

    def clear(self, provider=None):
        kept = [r for r in self.requests if provider is not None and r.provider.name != provider]
        self.requests = collections.deque(kept)
        self.bytes = sum(r.size + 1024 for r in kept)

    def select(self, provider=None, since=0, limit=1000, **wanted):
        """Requests after `since` in order of arrival, at most `limit`."""
        found = []
        for request in self.after(since):
            if provider is not None and request.provider.name != provider:
                continue
            if all(str(getattr(request, key)) == value for key, value in wanted.items()):
                found.append(request)
                if len(found) >= limit:
                    break
        return found

    def after(self, since):
        """Everything newer than `since`, found from the right: a poller asks for little."""
        count = 0
        for request in reversed(self.requests):
            if request.seq <= since:
                break
            count += 1
        start = len(self.requests) - count
        if start == 0:
            return self.requests
        requests = list(self.requests)
        return requests[start:]


def describe(request, fields=DEFAULT_FIELDS):
    """A recorded request as JSON; only here are bodies parsed."""
    result = {}
    kind = body = None
    if "body" in fields or "body_kind" in fields:
        kind, body = request.provider.readable_body(request)
    for name in fields:
        if name == "provider":
            result[name] = request.provider.name
        elif name == "body":
            result[name] = body
        elif name == "body_kind":
            result[name] = kind
        elif name == "raw":
            result[name] = base64.b64encode(request.body).decode()
        elif name == "headers":
            headers = {}
            for key, value in request.headers:
                headers[key] = headers[key] + ", " + value if key in headers else value
            result[name] = headers
        elif name in FIELDS:
            result[name] = getattr(request, name)
    return result


class Counters:
    """What a provider saw. `in_flight` counts requests whose answer has not left."""

    NAMES = ("requests", "accepted", "refused", "scripted", "faults", "connections",
             "open_connections", "peak_connections", "in_flight", "peak_in_flight", "warnings")

    def __init__(self):
        self.clear()

    def clear(self):
        keep = {"open_connections": getattr(self, "open_connections", 0),
                "in_flight": getattr(self, "in_flight", 0)}
        for name in self.NAMES:
            setattr(self, name, keep.get(name, 0))
        self.statuses = collections.Counter()
        self.seconds = {}
        self.peak_connections = self.open_connections

    def opened(self):
        self.connections += 1
        self.open_connections += 1
        self.peak_connections = max(self.peak_connections, self.open_connections)

    def started(self, at_ns):
        self.requests += 1
        second = at_ns // 1_000_000_000
        if second in self.seconds:
            self.seconds[second] += 1
        else:
            self.seconds[second] = 1
            if len(self.seconds) > KEEP_SECONDS:
                del self.seconds[next(iter(self.seconds))]
        self.in_flight += 1
        if self.in_flight > self.peak_in_flight:
            self.peak_in_flight = self.in_flight

    def describe(self):
        return {**{name: getattr(self, name) for name in self.NAMES},
                "statuses": {str(k): v for k, v in self.statuses.items()},
                "per_second": {str(k): v for k, v in self.seconds.items()}}
