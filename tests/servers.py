# SPDX-License-Identifier: MIT
"""Real servers for `./run` and for every test: Postgres, Mosquitto, providers, tocsind.

    with Stack(directory) as stack:              # everything, ready to use
        stack.broker.port, stack.broker.ws_port  # where it listens
        stack.token("user", "alice")             # a JWT for it
        stack.postgres.sql("select 1")           # [["1"]]
        stack.broker.kill(); stack.broker.start()  # same ports, same data

How a server starts, stops and fails is in process.py; all its names are here as well.
Standard library only, so that `./run` works before anything is installed.
"""
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import urllib.error
import urllib.request

import tokens
from postgres import Postgres, postgres_bin  # noqa: F401 (for those who import us)
from process import (ROOT, Ports, Server, ServerError, _alive, descendants, gone,  # noqa: F401
                     proc_stat, raise_on_signals, read_tail, signal_quietly, wait_until,
                     write_file)

PYTHON = "/usr/bin/python3"
BRIDGE_SUBJECT = "tocsin"
TOKEN_TTL = 12 * 3600


def build_dir():
    """Where the binaries are: $TOCSIN_BUILD, or the first preset that was built."""
    if os.environ.get("TOCSIN_BUILD"):
        return os.path.abspath(os.environ["TOCSIN_BUILD"])
    for preset in ("release", "debug", "asan"):
        path = os.path.join(ROOT, "build", preset)
        if os.path.exists(os.path.join(path, "bridge", "tocsind")):
            return path
    return os.path.join(ROOT, "build", "release")


# The broker

def connect_packet(client_id, username, password):
    """An MQTT 3.1.1 CONNECT, enough to ask a broker whether it lets us in."""
    def field(text):
        raw = text.encode("utf-8")
        return struct.pack("!H", len(raw)) + raw
    body = (field("MQTT") + bytes([4, 0xC2]) + struct.pack("!H", 30) + field(client_id)
            + field(username) + field(password))
    length, size = b"", len(body)
    while True:
        length += bytes([size % 128 | (0x80 if size > 127 else 0)])
        size //= 128
        if not size:
            return b"\x10" + length + body


def instrumented(path):
    """Whether a program or shared object was built with AddressSanitizer."""
    with open(path, "rb") as file:
        return b"__asan_init" in file.read()


def asan_runtime():
    return subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()


class Broker(Server):
    """Mosquitto with our plugin: TCP, WebSocket and a Unix socket."""

    name = "mosquitto"

    SETTINGS = {
        "per_listener_settings": "false", "allow_anonymous": "false",
        "allow_zero_length_clientid": "false",
        # The window of clients that state none, and the Receive Maximum offered to all: above
        # a lane's batch (1000), yet small enough to bound what one slow reader can hold.
        "max_inflight_messages": 2000,
        "max_queued_messages": 1000000, "max_packet_size": 262144, "set_tcp_nodelay": "true",
        "persistence": "true", "autosave_interval": 30, "persistent_client_expiration": "7d",
        "sys_interval": 5, "connection_messages": "true",
        "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
    }

    def __init__(self, directory, ports=None, detach=False, build=None, plugin_options=None,
                 **settings):
        super().__init__(directory, detach)
        ports = ports or Ports()
        self.port = ports.take(0)
        self.ws_port = ports.take(1)
        self.socket = os.path.join(self.dir, "mqtt.sock")
        if len(self.socket) > 100:  # sun_path holds 107
            digest = hashlib.sha256(self.dir.encode()).hexdigest()[:16]
            self.socket = os.path.join(tempfile.gettempdir(), "tocsin-%s.sock" % digest)
        self.config = os.path.join(self.dir, "mosquitto.conf")
        self.plugin = os.path.join(build or build_dir(), "plugins", "auth", "tocsin_auth.so")
        self.secret_file = os.path.join(self.dir, "jwt.secret")
        self.plugin_options = {"secret_file": self.secret_file, "issuer": tokens.ISSUER,
                               "audience": tokens.AUDIENCE, **(plugin_options or {})}
        self.settings = {**self.SETTINGS, **settings}
        if not os.path.exists(self.secret_file):
            write_file(self.secret_file, secrets.token_hex(32) + "\n")

    @property
    def url(self):
        return "mqtt://127.0.0.1:%d" % self.port

    @property
    def ws_url(self):
        return "ws://127.0.0.1:%d" % self.ws_port

    def token(self, kind, subject, roles=(), ttl=3600, **claims):
        return tokens.mint(tokens.read_secret(self.secret_file), kind, subject, roles, ttl,
                           **claims)

    def prepare(self):
        if not os.path.exists(self.plugin):
            raise ServerError("no plugin at %s: build it first (./run build)" % self.plugin)
        lines = ["# Written by tests/servers.py."]
        if os.geteuid() == 0:
            lines.append("user root")
        lines += ["%s %s" % pair for pair in self.settings.items()]
        lines += ["persistence_location %s/" % self.dir, "log_dest stderr"]
        lines += ["log_type %s" % kind for kind in ("error", "warning", "notice", "information")]
        lines += ["plugin %s" % self.plugin]
        lines += ["plugin_opt_%s %s" % (key, value)
                  for key, value in self.plugin_options.items() if value is not None]
        lines += ["listener %d 127.0.0.1" % self.port,
                  "listener %d 127.0.0.1" % self.ws_port, "protocol websockets",
                  "socket_domain ipv4",  # without it 2.0.11 binds WebSocket to every address
                  "listener 0 %s" % self.socket]
        write_file(self.config, "\n".join(lines) + "\n")
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        if instrumented(self.plugin):  # the broker is not: its runtime must be loaded first
            self.env["LD_PRELOAD"] = asan_runtime()

    def command(self):
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", self.config]

    def is_ready(self):
        packet = connect_packet("bridge/%s/probe" % BRIDGE_SUBJECT, BRIDGE_SUBJECT,
                                self.token("bridge", BRIDGE_SUBJECT))
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as conn:
                conn.settimeout(2)
                conn.sendall(packet)
                answer = conn.recv(4)
                if len(answer) == 4 and answer[3]:
                    raise ServerError("the broker refuses the bridge's token (CONNACK %d)\n%s"
                                      % (answer[3], read_tail(self.log)))
                conn.sendall(b"\xe0\x00")
        except OSError:
            return False
        return len(answer) == 4 and os.path.exists(self.socket)


class Edge(Server):
    """tocsin-wsd before a broker: WebSocket that ends at its TCP listener or its Unix socket."""

    name = "tocsin-wsd"

    def __init__(self, directory, broker, *options, build=None):
        """`broker` is an address (127.0.0.1:1883, /run/b.sock); options are the command line's."""
        super().__init__(directory)
        self.build = build or build_dir()
        self.broker, self.options = broker, options
        self.ports = Ports()
        self.ws_port, self.http_port = self.ports.take(), self.ports.take()

    @property
    def ws_url(self):
        return "ws://127.0.0.1:%d" % self.ws_port

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.http_port

    def command(self):
        path = os.path.join(self.build, "bridge", "tocsin-wsd")
        if not os.path.exists(path):
            raise ServerError("no tocsin-wsd at %s: build it first (./run build)" % path)
        return [path, "--listen", "127.0.0.1:%d" % self.ws_port, "--broker", self.broker,
                "--http", "127.0.0.1:%d" % self.http_port, *self.options]

    def is_ready(self):
        try:
            return http("GET", self.url + "/healthz", timeout=2)[0] == 200
        except OSError:
            return False

    def metrics(self):
        """{`name{labels}`: value} of /metrics."""
        return parse_metrics(http("GET", self.url + "/metrics")[1])


# The providers

def parse_metrics(text):
    """{`name{labels}`: value} of what /metrics said."""
    rows = [line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#"]
    return {key: float(value) for key, _, value in rows}


def http(method, url, body=None, timeout=10.0):
    """One request; (status, decoded body: JSON if it is, else text)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"},
                                     method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, raw = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, raw = error.code, error.read()
    text = raw.decode("utf-8", "replace")
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


class Providers(Server):
    """The local stand-ins for every provider; `info` is what they say of themselves."""

    name = "providers"

    def __init__(self, directory, detach=False):
        super().__init__(directory, detach)
        self.info_file = os.path.join(self.dir, "providers.json")
        self.info = {}

    def prepare(self):
        if os.path.exists(self.info_file):
            os.unlink(self.info_file)

    def command(self):
        return [PYTHON, os.path.join(ROOT, "tests", "providers", "server.py"), "--dir", self.dir]

    def is_ready(self):
        if not os.path.exists(self.info_file):
            return False
        with open(self.info_file) as file:
            self.info = json.load(file)
        return True

    def control(self, method, path, body=None):
        """Talks to the control interface (tests/providers/README.md)."""
        status, answer = http(method, self.info["control"].rstrip("/") + path, body)
        if status >= 300:
            raise ServerError("providers: %s %s: %s %s" % (method, path, status, answer))
        return answer


# The bridge

def set_path(tree, path, value):
    """tree["a"]["b"] = value for the path `a.b`."""
    *parents, last = path.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ServerError("--set %s: %s is not a section" % (path, key))
    tree[last] = value


def parse_set(text):
    """`a.b=1` as ("a.b", 1); the value is JSON when it can be, else text."""
    path, sep, value = text.partition("=")
    if not sep or not path:
        raise ServerError("--set wants key=value, got %r" % text)
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def to_yaml(tree, indent=0):
    """Mappings in block style, all else as JSON, which is YAML too."""
    lines = []
    for key, value in tree.items():
        name = key if re.fullmatch(r"[A-Za-z_]\w*", str(key)) else json.dumps(key)
        if isinstance(value, dict) and value:
            lines.append("%s%s:\n%s" % (" " * indent, name, to_yaml(value, indent + 2)))
        else:
            lines.append("%s%s: %s\n" % (" " * indent, name, json.dumps(value)))
    return "".join(lines)


# What each provider of tests/providers offers that is a key of our configuration, and the rest.
DESTINATIONS = {
    "twilio": (("base_url", "account_sid", "auth_token_file"), {"from": "+15550100"}),
    "fcm": (("base_url", "service_account_file", "project_id"), {}),
    "sendgrid": (("base_url", "api_key_file"), {"from": "Tocsin <noreply@example.org>"}),
    "smtp": (("host", "port", "tls", "username", "password_file", "ca_file"),
             {"from": "Tocsin <noreply@example.org>"}),
    "webhook": (("secret_file",), {"allow_private": True}),
}


def destinations(info):
    """The configuration of every destination that the local providers offer."""
    return {name: {"adapter": name, **{key: info[name][key] for key in keys}, **more}
            for name, (keys, more) in DESTINATIONS.items() if name in info}


class Bridge(Server):
    """One tocsind.  `config` is the tree that becomes its YAML file."""

    stop_timeout = 60.0

    def __init__(self, directory, config, index=0, ports=None, detach=False, build=None,
                 wrapper=()):
        self.name = "tocsind" if index == 0 else "tocsind%d" % index
        super().__init__(directory, detach)
        self.index = index
        self.build = build or build_dir()
        self.port = (ports or Ports()).take(3 + index)
        self.tree_config = json.loads(json.dumps(config))
        self.tree_config["http"] = {**self.tree_config.get("http", {}),
                                    "listen": "127.0.0.1:%d" % self.port}
        self.config = os.path.join(self.dir, self.name + ".yaml")
        self.clock = None  # the file of own_clock()
        self.wrapper = list(wrapper)  # for example valgrind and its options

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def set(self, path, value):
        set_path(self.tree_config, path, value)

    def prepare(self):
        write_file(self.config, "# Written by tests/servers.py.\n" + to_yaml(self.tree_config))

    def binary(self):
        path = os.path.join(self.build, "bridge", "tocsind")
        if not os.path.exists(path):
            raise ServerError("no bridge at %s: build it first (./run build)" % path)
        return path

    def command(self):
        return self.wrapper + [self.binary(), "--config", self.config]

    def migrate(self):
        self.prepare()
        done = subprocess.run([self.binary(), "--config", self.config, "--migrate"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, **self.env},
                              timeout=120)
        if done.returncode:
            raise ServerError("tocsind --migrate exited with %d\n%s" % (
                done.returncode, done.stdout.decode("utf-8", "replace")))

    def is_ready(self):
        try:
            return http("GET", self.url + "/readyz", timeout=2)[0] == 200
        except OSError:
            return False

    def own_clock(self):
        """From its next start on, a wall clock of its own; false where the shim was not built."""
        shim = os.path.join(self.build, "tests", "chaos", "clock_shim.so")
        if not os.path.exists(shim):
            return False
        self.clock = os.path.join(self.dir, self.name + ".clock")
        with open(self.clock, "wb") as file:
            file.write(struct.pack("=q", 0))
        before = [asan_runtime()] if instrumented(self.binary()) else []
        self.env.update(LD_PRELOAD=" ".join(before + [shim]), TOCSIN_CLOCK_FILE=self.clock)
        return True

    def set_clock(self, ahead_s):
        """Moves that clock, at once, to so many seconds before the machine's."""
        with open(self.clock, "r+b") as file:
            file.write(struct.pack("=q", int(ahead_s * 1000)))

    def metrics(self):
        """{`name{labels}`: value} of /metrics."""
        return parse_metrics(http("GET", self.url + "/metrics")[1])

    def rss_kb(self):
        with open("/proc/%d/status" % self.pid) as file:
            found = re.search(r"VmRSS:\s+(\d+)", file.read())
        if not found:  # it has ended and nobody has waited for it yet
            raise ServerError("%s has ended: it has no memory" % self.name)
        return int(found.group(1))


class Stack:
    """All of it: one Postgres, one broker, the providers and any number of bridges."""

    def __init__(self, directory, bridges=1, port_base=None, settings=(), detach=False,
                 build=None, broker=None, postgres=None, plugin_options=None, wrapper=()):
        self.dir = os.path.abspath(directory)
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        self.detach = detach
        self.build = build or build_dir()
        self.ports = Ports(port_base)
        self.settings = list(settings.items() if isinstance(settings, dict) else settings)
        self.postgres = Postgres(self.dir, self.ports, detach, **(postgres or {}))
        self.broker = Broker(self.dir, self.ports, detach, self.build, plugin_options,
                             **(broker or {}))
        self.providers = Providers(self.dir, detach)
        self.bridge_count = bridges
        self.wrapper = wrapper
        self.bridges = []

    @property
    def bridge(self):
        return self.bridges[0]

    def servers(self):
        return [self.postgres, self.broker, self.providers] + self.bridges

    def token(self, kind, subject, roles=(), ttl=3600, **claims):
        return self.broker.token(kind, subject, roles, ttl, **claims)

    def bridge_config(self):
        token_file = os.path.join(self.dir, "bridge.token")
        write_file(token_file, self.token("bridge", BRIDGE_SUBJECT, ttl=TOKEN_TTL) + "\n")
        tree = {"log": {"level": "info", "format": "text"},
                "mqtt": {"url": self.broker.url, "token_file": token_file},
                "postgres": {"url": self.postgres.socket_url},
                "destinations": destinations(self.providers.info)}
        for path, value in self.settings:
            set_path(tree, path, value)
        return tree

    def start(self):
        try:
            for server in (self.postgres, self.broker, self.providers):
                server.start(wait=False)  # side by side: initdb is the slow one
            for server in (self.postgres, self.broker, self.providers):
                server.wait_ready()
            for _ in range(self.bridge_count):
                self.add_bridge()
            self.write_json()
        except BaseException:
            self.kill()
            raise
        return self

    def add_bridge(self, start=True, **more):
        """One more bridge on the same broker and database."""
        bridge = Bridge(self.dir, self.bridge_config(), len(self.bridges), self.ports,
                        self.detach, self.build, **{"wrapper": self.wrapper, **more})
        if not self.bridges:
            bridge.migrate()
            self.check_rows()
        self.bridges.append(bridge)
        if start:
            bridge.start()
        return bridge

    def check_rows(self):
        """In tests no row may hold a value that stands for none where it is compared or added to."""
        if self.detach or self.postgres.value(
                "select count(*) from pg_constraint where conname = 'due_is_a_time'") != "0":
            return
        with open(os.path.join(ROOT, "tests", "isolation", "checks.sql")) as file:
            self.postgres.sql(file.read())

    def describe(self):
        running = [s for s in self.servers() if s.running]
        pids = {"bridge" if s.name == "tocsind" else s.name.replace("tocsind", "bridge"): s.pid
                for s in running}
        return {
            "dir": self.dir, "mqtt": self.broker.url, "mqtt_socket": self.broker.socket,
            "ws": self.broker.ws_url,
            "http": self.bridges[0].url if self.bridges else None,
            "postgres": self.postgres.url,
            "providers": self.providers.info,
            "jwt": {"alg": "HS256", "secret_file": self.broker.secret_file,
                    "issuer": tokens.ISSUER, "audience": tokens.AUDIENCE},
            "bridges": [{"http": b.url, "config": b.config} for b in self.bridges],
            "pids": pids,
            "started": {name: proc_stat(pid)[1] for name, pid in pids.items() if proc_stat(pid)},
            "logs": {s.name.replace("tocsind", "bridge"): s.log for s in self.servers()},
            "postgres_place": self.postgres.place,
        }

    def write_json(self):
        return write_file(os.path.join(self.dir, "stack.json"),
                          json.dumps(self.describe(), indent=2) + "\n")

    def stop(self, check=True):
        """Stops all, bridges first; raises the first fault found, after stopping the rest."""
        faults = []
        for server in list(reversed(self.servers())):
            try:
                server.stop(check)
            except (ServerError, TimeoutError) as error:
                faults.append(error)
        self.ports.close()
        if faults:
            raise faults[0]

    def kill(self):
        for server in list(reversed(self.servers())):
            server.kill()

    def remove(self):
        """Deletes what the stack wrote, once it is stopped."""
        shutil.rmtree(self.postgres.place, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()
