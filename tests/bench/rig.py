# SPDX-License-Identifier: MIT
"""One private stack with release binaries, and the load generator against it."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

import measure
import servers

STATE = os.path.join(servers.ROOT, ".tocsin", "bench")
LOAD_NAP = 500  # microseconds: under saturation only, see client.h


class Lost(Exception):
    """A notification did not arrive, or a connection failed: the run has no result."""


def say(text=""):
    print(text, flush=True)


def number(value, digits=1):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return "{:,.0f}".format(value)
    return "%.*f" % (digits, value)


class Load:
    """One run of tests/bench/load; its events go to `on_event` as they come."""

    def __init__(self, command, on_event=None):
        self.name = command[1]
        self.events, self.on_event = [], on_event
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        start_new_session=True)
        self.noise = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                self.noise.append(line)
                continue
            self.events.append(event)
            if self.on_event:
                self.on_event(event)

    def finish(self, timeout=1800):
        """The JSON object it printed; raises Lost unless everything settled."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Lost("load %s did not end within %d s" % (self.name, timeout)) from None
        self.reader.join()
        text = self.process.stdout.read()
        if self.process.returncode == 1:
            raise Lost("not everything settled: %s" % text)
        if self.process.returncode:
            raise Lost("load %s exited with %d: %s%s" % (
                self.name, self.process.returncode, text, "".join(self.noise)[-2000:]))
        return json.loads(text)


class Rig:
    """A stack in a directory of its own, removed afterwards."""

    def __init__(self, build, settings=(), sinks=(), plugin_options=None, postgres=None):
        os.makedirs(STATE, exist_ok=True)
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="stack-", dir=STATE)
        os.chmod(self.dir, 0o711)  # so that Postgres, as another user, reaches its place
        self.settings, self.sinks = list(settings), list(sinks)
        self.plugin_options, self.postgres = plugin_options, postgres
        self.beside = {}  # other processes whose CPU counts: name to pid
        self.stack, self.ahead_s = None, 0  # how far the stack's clock is ahead of the machine's

    def __enter__(self):
        try:
            for sink in self.sinks:
                sink.start()
                self.settings += sink.settings()
            self.stack = servers.Stack(self.dir, build=self.build, settings=self.settings,
                                       plugin_options=self.plugin_options,
                                       postgres=self.postgres)
            # TCP: what a Unix socket holds (some 200 requests) would bound a lane's batches.
            self.stack.settings.insert(0, ("mqtt.url", self.stack.broker.url))
            self.prepare()
            self.stack.start()
        except BaseException:
            self.close(False)
            raise
        return self

    def prepare(self):
        """What else the stack needs before it starts."""

    def __exit__(self, kind, value, trace):
        self.close(kind is None)

    def close(self, clean):
        try:
            if self.stack and clean:
                self.stack.stop()
            elif self.stack:
                self.stack.kill()
        finally:
            for sink in self.sinks:
                sink.stop()
            if clean:
                self.stack.remove()
            else:
                shutil.copytree(self.dir, os.path.join(STATE, "failed"), dirs_exist_ok=True,
                                ignore=shutil.ignore_patterns("postgres", "*.sock", "*.secret",
                                                              "*.token"))
                say("logs of the failed run: %s" % os.path.join(STATE, "failed"))
                shutil.rmtree(self.dir, ignore_errors=True)

    def pids(self):
        found = {"broker": self.stack.broker.pid, "postgres": self.stack.postgres.pid}
        if self.stack.bridges and self.stack.bridge.running:
            found["bridge"] = self.stack.bridge.pid
        for sink in self.sinks:
            found[sink.name] = sink.pid
        return {**found, **self.beside}

    def command(self, mode, **options):
        binary = os.path.join(self.build, "tests", "bench", "load")
        command = [binary, mode]
        if mode == "raw-pg":
            command += ["--postgres", self.stack.postgres.socket_url]
        else:
            command += ["--url", self.stack.broker.url,
                        "--secret-file", self.stack.broker.secret_file]
        for key, value in options.items():
            command.append("--" + key.replace("_", "-"))
            if value is not True:
                command.append(str(value))
        return command

    def start_load(self, mode, on_event=None, **options):
        if mode == "notify":
            options["progress"] = True
            if self.ahead_s:
                options["ahead"] = self.ahead_s
        return Load(self.command(mode, **options), on_event)

    def raw(self, mode, **options):
        return self.start_load(mode, **options).finish()

    def notify(self, **options):
        """Runs `load notify`; adds CPU by process and the bridge's memory to its figures."""
        meter, taken = Meter(self), {}

        def on_event(event):
            if event["event"] == "measuring":
                meter.start(event)
            elif event["event"] == "sent":
                taken.update(meter.stop(event))
        measure.forget_peak(self.stack.bridge.pid)
        figures = self.start_load("notify", on_event=on_event, **options).finish()
        figures.update(taken)
        figures["bridge_rss_mb"], figures["bridge_peak_mb"] = measure.rss_mb(self.stack.bridge.pid)
        return figures

    def arrived(self, sink, sent):
        """Holds the provider's own count against ours: none lost, and how many twice."""
        stats = sink.stats()
        if stats["distinct_bodies"] < sent:
            raise Lost("%d sent, but the provider saw %d different ones: %s" % (
                sent, stats["distinct_bodies"], stats))
        return {"provider_requests": stats["requests"],
                "provider_connections": stats["connections"],
                "provider_peak_in_flight": stats["peak_in_flight"],
                "duplicates": stats["requests"] - sent}

    def wal_bytes(self):
        """How much write-ahead log the database has written so far."""
        return int(self.stack.postgres.value(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))

    def stored_bytes(self):
        """What tables and indexes occupy."""
        return int(self.stack.postgres.value("select pg_database_size(current_database())"))

    def memory(self):
        """PSS by server, in MB."""
        return {name: round(measure.pss_mb(pid), 1) for name, pid in self.pids().items()}


class Meter:
    """What notifications settled between two events of a load have cost.

    CPU seconds per 10,000, by process; bytes of write-ahead log and of tables and indexes per
    notification.  The load's own CPU time comes with its events: it may be gone when we look.
    """

    def __init__(self, rig):
        self.rig = rig
        self.meter = self.first = self.before = None

    def bytes(self):
        return {"wal": self.rig.wal_bytes(), "stored": self.rig.stored_bytes()}

    def start(self, event):
        self.first, self.before = event, self.bytes()
        self.meter = measure.Meter(self.rig.pids())
        self.meter.start()

    def stop(self, event):
        if not self.meter:
            return {}
        used, took = self.meter.stop()
        after = self.bytes()
        used["load"] = event["cpu_s"] - self.first["cpu_s"]
        others = max(0.0, used.pop("others") - used["load"])
        settled = event["settled"] - self.first["settled"]

        def each(value, scale, digits):
            return round(value * scale / settled, digits) if settled else None
        return {"cpu_used_s": {name: round(value, 2) for name, value in used.items()},
                "cpu_per_10k": {name: each(value, 10000, 3) for name, value in used.items()},
                "bytes_each": {name: each(after[name] - value, 1, 0)
                               for name, value in self.before.items()},
                "others_cores": round(others / took, 2),
                "cores_used": round(sum(used.values()) / took, 2)}


class Sink(servers.Server):
    """tests/bench/sink: answers a provider's HTTP API after a fixed time, and counts."""

    def __init__(self, build, destination, delay_ms, name="sink"):
        self.name = name
        self.place = tempfile.mkdtemp(prefix="sink-", dir=STATE)
        super().__init__(self.place)
        self.build, self.destination, self.delay_ms = build, destination, delay_ms
        self.ports = servers.Ports()
        self.port = self.ports.take()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def command(self):
        return [os.path.join(self.build, "tests", "bench", "sink"), "--port", str(self.port),
                "--delay-ms", str(self.delay_ms)]

    def is_ready(self):
        try:
            return servers.http("GET", self.url + "/_sink/stats", timeout=1)[0] == 200
        except OSError:
            return False

    def settings(self):
        if self.destination == "webhook":  # its requests name their own URL
            return []
        return [("destinations.%s.base_url" % self.destination, self.url)]

    def stats(self):
        return servers.http("GET", self.url + "/_sink/stats")[1]

    def stop(self, check=False):
        try:
            super().stop(check)
        except servers.ServerError as error:
            print(error, file=sys.stderr)
        self.ports.close()
        shutil.rmtree(self.place, ignore_errors=True)
