# SPDX-License-Identifier: MIT
"""Every adapter against a provider that answers after 20 ms (tests/bench/sink). The table drives each by
itself (tests/spec/probe: the adapter, its signing and encryption, and the HTTP engine, without broker and
database), with 500 requests under way; the phases are whole: request, commit, delivery, receipt. FCM, APNs
and Web Push are HTTP/2 over TLS, the others HTTP/1.1 or SMTP in the clear, with connections kept."""
import json
import os
import sys
import tempfile

import servers
from rig import LOAD_NAP, STATE, Lost, Rig, Sink, number, say

from .common import PROVIDER_MS, USERS

sys.path.insert(0, os.path.join(servers.ROOT, "tests", "integration"))
import channel_probe as probe  # noqa: E402

NAME = "adapters"
GOAL = ("APNs and FCM at least 3,000/s each over one or few connections, Web Push with its encryption "
        "2,000/s, SMTP 1,000/s")
ORDER = 25
GOALS = {"apns": 3000, "fcm": 3000, "webpush": 2000, "smtp": 1000}
HTTP2 = ("apns", "fcm", "webpush")
CHANNELS = {"apns": "push", "fcm": "push", "webpush": "push", "smtp": "email"}
CONCURRENCY, CONNECTIONS = 500, 500


class Wire(Sink):
    """The sink with all that it speaks: HTTP/1.1, HTTP/2 over TLS, SMTP."""

    def __init__(self, build, adapter, info):
        super().__init__(build, adapter, PROVIDER_MS)
        self.info, place = info, os.path.dirname(info["ca_file"])
        self.cert = [os.path.join(place, "tls-good." + kind) for kind in ("pem", "key")]
        self.tls_port, self.smtp_port = self.ports.take(), self.ports.take()

    def command(self):
        return super().command() + [
            "--tls-port", str(self.tls_port), "--cert", self.cert[0], "--key", self.cert[1],
            "--smtp-port", str(self.smtp_port)]

    def origin(self):
        return "https://localhost:%d" % self.tls_port if self.destination in HTTP2 else self.url

    def keys(self):
        """The adapter's configuration, with this sink as its provider."""
        keys = probe.settings(self.info, self.destination)
        if "base_url" in keys:
            keys["base_url"] = self.origin()
        if self.destination == "smtp":
            keys.update(host="127.0.0.1", port=str(self.smtp_port), tls="none", username=None,
                        password_file=None)
        return keys

    def target(self):
        target, own = probe.target(self.info, self.destination), self.info[self.destination]
        return target.replace(own["base_url"], self.origin()) if "base_url" in own else target

    def settings(self):
        """This adapter as the only destination of its channel."""
        rows = [("destinations.%s.types" % other, "none")
                for other in ("fcm", "sendgrid") if other != self.destination]
        rows += [("destinations.%s.%s" % (self.destination, key), value)
                 for key, value in {**self.keys(), "adapter": self.destination,
                                    "concurrency": CONCURRENCY}.items() if value is not None]
        return rows


def alone(args, build, wire):
    """What the adapter does by itself."""
    count = 2000 if args.quick else 20000
    before = wire.stats()["connections"]
    (figures,) = probe.run(wire.info, wire.destination, keys=wire.keys(), timeout="30s",
                           target=wire.target(), count=count, concurrency=CONCURRENCY,
                           connections=CONNECTIONS, print="summary")
    good = set(figures["outcomes"]) <= {"accepted", "delivered"}
    stats = wire.stats()
    if not good or stats["requests"] < count:
        raise Lost("%s: %s, %s" % (wire.destination, figures, stats))
    return {"per_second": figures["per_second"], "cpu_us_each": figures["cpu_us_each"],
            "connections": stats["connections"] - before - 1, "repeats": stats["requests"] - count}


def spread(wire):
    """The target as the load generator writes it: inside JSON, # for the user's number."""
    target = wire.target()
    if wire.destination == "smtp":
        target = "user#@example.com"
    elif wire.destination in ("apns", "fcm"):
        target = target[:-5] + "#"
    elif wire.destination == "webpush":
        target = target.replace(" ", "")
    return json.dumps(target)[1:-1]


def whole(args, build, wire):
    """The same with everything around it."""
    with Rig(build, args.settings, [wire]) as rig:
        figures = rig.notify(channel=CHANNELS[wire.destination], target=spread(wire),
                             settled="sent,delivered", receipts="all", users=USERS, window=4000,
                             seconds=args.seconds, warmup=3, gather=LOAD_NAP)
        figures.update(rig.arrived(wire, figures["sent"]))
    return figures


def run(args, build):
    os.makedirs(STATE, exist_ok=True)
    os.environ.setdefault("TOCSIN_BUILD", build)
    found, phases = {}, {}
    with tempfile.TemporaryDirectory(dir=STATE) as place, probe.ProviderServer(place) as providers:
        for adapter in probe.ADAPTERS:
            say("adapters: %s" % adapter)
            wire = Wire(build, adapter, providers.info)
            try:
                wire.start()
                found[adapter] = alone(args, build, wire)
            finally:
                wire.stop()
        for adapter in GOALS:
            say("adapters: %s, all of it" % adapter)
            phases[adapter] = whole(args, build, Wire(build, adapter, providers.info))
    return {"adapters": found, "phases": phases}


def tables(result):
    rows = [["adapter", "deliveries/s", "goal/s", "CPU us each", "connections"]]
    for name, figures in result["adapters"].items():
        goal = GOALS.get(name)
        rows.append([name, number(figures["per_second"], 0), number(goal, 0) if goal else "",
                     number(figures["cpu_us_each"], 1), number(figures["connections"], 0)])
    yield "Each adapter by itself, CPU of the bridge's side:", rows
