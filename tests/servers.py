# SPDX-License-Identifier: MIT
"""Real servers for `./run` and for every test: Postgres, Mosquitto, providers, tocsind.

    with Stack(directory) as stack:              # everything, ready to use
        stack.mqtt.port, stack.mqtt.ws_port      # where it listens
        stack.token("user", "alice")             # a JWT for it
        stack.postgres.sql("select 1")           # [["1"]]
        stack.broker.kill(); stack.broker.start()  # same ports, same data

Each server is a process group of its own with one log file.  start() returns when
the server answers and raises ServerError with the end of its log when it does not;
stop() raises when it did not exit cleanly or its log holds a sanitizer's report.
Nothing here sleeps for luck: wait_until() polls against a deadline.

Standard library only, so that `./run` works before anything is installed.
"""
import atexit
import ctypes
import glob
import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import quote

import tokens

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"
BRIDGE_SUBJECT = "tocsin"
TOKEN_TTL = 12 * 3600
SANITIZER = re.compile(
    rb"ERROR: (Address|Leak|Thread|Memory)Sanitizer|runtime error:|SUMMARY: \w+Sanitizer"
    rb"|ERROR SUMMARY: [1-9]|LEAK SUMMARY:\s+definitely lost: [1-9]")
PORT_FIRST, PORT_LAST = 20000, 32000  # below the ports the kernel hands to clients
_alive = []  # everything started and not stopped, killed at exit whatever happens


class ServerError(Exception):
    """A server did not start, did not stop cleanly, or reported a fault."""


def wait_until(predicate, timeout=10.0, what="condition", interval=0.02):
    """Polls until predicate() is true and returns its value, or raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError("waited %.1f s for %s" % (timeout, what))
        time.sleep(interval)


def build_dir():
    """Where the binaries are: $TOCSIN_BUILD, or the first preset that was built."""
    if os.environ.get("TOCSIN_BUILD"):
        return os.path.abspath(os.environ["TOCSIN_BUILD"])
    for preset in ("release", "debug", "asan"):
        path = os.path.join(ROOT, "build", preset)
        if os.path.exists(os.path.join(path, "bridge", "tocsind")):
            return path
    return os.path.join(ROOT, "build", "release")


def read_tail(path, size=6000):
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def write_file(path, text, mode=0o600):
    """Writes and then renames, so that no reader ever sees half a file."""
    fresh = "%s.%d" % (path, os.getpid())
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    os.chmod(fresh, mode)
    os.replace(fresh, path)
    return path


class Ports:
    """Loopback ports that no other test process picks at the same moment.

    A reservation is a bound abstract socket named after the port: the kernel frees it
    when this process ends, however it ends, and nothing is left on disk.  A server may
    therefore be killed and started again without its port being given away meanwhile.
    """

    def __init__(self, base=None):
        self.base = base
        self.locks = []

    def take(self, offset=None):
        if self.base is not None and offset is not None:
            port = self.base + offset
            if not self._reserve(port):
                raise ServerError("port %d is in use (--port-base %d)" % (port, self.base))
            return port
        for _ in range(2000):
            port = PORT_FIRST + secrets.randbelow(PORT_LAST - PORT_FIRST)
            if self._reserve(port):
                return port
        raise ServerError("no free port between %d and %d" % (PORT_FIRST, PORT_LAST))

    def _reserve(self, port):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind("\0tocsin-port-%d" % port)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            return False
        self.locks.append(lock)
        return True

    def close(self):
        while self.locks:
            self.locks.pop().close()


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def proc_stat(pid):
    """(parent, start time, state) of a process, or None when there is none."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[1]), int(fields[19]), fields[0]
    except (OSError, IndexError):
        return None


def descendants(pid):
    """All processes below pid, nearest first."""
    children = {}
    for name in os.listdir("/proc"):
        found = proc_stat(int(name)) if name.isdigit() else None
        if found:
            children.setdefault(found[0], []).append(int(name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def signal_quietly(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Server:
    """One process group, one log file.  Subclasses say how to start and when it is ready."""

    name = "server"
    ready_timeout = 30.0
    stop_signal = signal.SIGTERM
    stop_timeout = 40.0

    def __init__(self, directory, detach=False):
        self.dir = os.path.abspath(directory)
        os.makedirs(self.dir, exist_ok=True)
        self.log = os.path.join(self.dir, self.name + ".log")
        self.detach = detach
        self.process = None
        self.env = {"LSAN_OPTIONS": "print_suppressions=0:suppressions="
                    + os.path.join(ROOT, "tests", "lsan.txt")}
        self.account = None  # the passwd entry to run as, when not our own
        self.exit_codes = {0}
        self.checked = 0  # bytes of the log already searched for reports

    # What a subclass provides.
    def prepare(self):
        """Writes configuration; called before every start."""

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        raise NotImplementedError

    # What everyone uses.
    @property
    def pid(self):
        return self.process.pid if self.process else None

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self, wait=True):
        if self.running:
            raise ServerError("%s is already running" % self.name)
        self.prepare()
        extra = {}
        if self.account:
            extra = {"user": self.account.pw_uid, "group": self.account.pw_gid,
                     "extra_groups": []}
        if not self.detach and threading.current_thread() is threading.main_thread():
            extra["preexec_fn"] = _die_with_parent
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd="/", env={**os.environ, **self.env}, **extra)
        _alive.append(self)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=None):
        def ready():
            if not self.running:
                raise ServerError("%s exited with %s at its start\n%s" % (
                    self.name, self.process.returncode, read_tail(self.log)))
            return self.is_ready()
        try:
            wait_until(ready, timeout or self.ready_timeout, "%s to be ready" % self.name)
        except TimeoutError as error:
            raise ServerError("%s\n%s" % (error, read_tail(self.log))) from None

    def tree(self):
        return [self.process.pid] + descendants(self.process.pid) if self.process else []

    def signal(self, number):
        """Sends to the process itself."""
        signal_quietly(self.process.pid, number)

    def pause(self):
        """SIGSTOP: alive, silent, connections open."""
        self.signal(signal.SIGSTOP)
        for pid in self.tree():
            signal_quietly(pid, signal.SIGSTOP)

    def resume(self):
        for pid in reversed(self.tree()):
            signal_quietly(pid, signal.SIGCONT)

    def kill(self):
        """SIGKILL to it and everything below it, and waits until they are gone."""
        if not self.process:
            return
        below = self.tree()
        for pid in below:
            signal_quietly(pid, signal.SIGKILL)
        self.process.wait()
        for pid in below[1:]:
            wait_until(lambda: gone(pid), 10, "process %d of %s to end" % (pid, self.name))
        self._forget()
        self.check_log()

    def stop(self, check=True):
        """Asks politely, waits, and raises when the end was not clean."""
        if not self.process:
            return
        if self.running:
            self.resume()
            self.signal(self.stop_signal)
        try:
            code = self.process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError("%s did not stop within %.0f s\n%s" % (
                self.name, self.stop_timeout, read_tail(self.log))) from None
        self._forget()
        if check:
            self.check_log()
            if code not in self.exit_codes:
                raise ServerError("%s exited with %d\n%s" % (self.name, code,
                                                            read_tail(self.log)))

    def restart(self):
        self.stop()
        return self.start()

    def _forget(self):
        if self in _alive:
            _alive.remove(self)
        self.process = None

    def check_log(self):
        """Raises when a sanitizer reported something since the last look."""
        with open(self.log, "rb") as file:
            file.seek(self.checked)
            fresh = file.read()
        self.checked += len(fresh)
        found = SANITIZER.search(fresh)
        if found:
            at = max(0, found.start() - 400)
            raise ServerError("%s: a sanitizer report in %s\n%s" % (
                self.name, self.log, fresh[at:at + 8000].decode("utf-8", "replace")))

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop(check=kind is None)


def gone(pid):
    found = proc_stat(pid)
    return found is None or found[2] == "Z"


@atexit.register
def kill_all():
    """The last resort at the end of this process: no server outlives it unasked."""
    for server in list(reversed(_alive)):
        if not server.detach:
            try:
                server.kill()
            except (ServerError, TimeoutError, OSError) as error:
                print(error, file=sys.stderr)


def raise_on_signals():
    """Makes SIGTERM and SIGHUP end the program as Ctrl-C does, so that servers are stopped."""
    def handler(number, _frame):
        raise SystemExit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


# Postgres

def postgres_bin():
    """The directory with initdb, newest version first."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if found:
        newest = max(found, key=lambda p: float(re.search(r"postgresql/([\d.]+)/", p).group(1)))
        return os.path.dirname(newest)
    path = shutil.which("initdb")
    if path:
        return os.path.dirname(os.path.realpath(path))
    raise ServerError("initdb not found: install the package postgresql")


def unprivileged():
    """The account for servers that refuse to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("neither a user `postgres` nor `nobody` exists")


def reachable(path):
    """Whether another user can walk down to path."""
    path = os.path.realpath(path)
    while True:
        if os.path.exists(path) and not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def private_place(directory, account):
    """A directory that only `account` can use, near `directory` or else in the temp directory.

    Also chosen elsewhere when the path is too long for the name of a Unix socket.
    """
    place = os.path.join(directory, "postgres")
    if len(place) > 80 or (account and not reachable(directory)):
        digest = hashlib.sha256(os.path.realpath(directory).encode()).hexdigest()[:16]
        place = os.path.join(tempfile.gettempdir(), "tocsin-pg-%s" % digest)
    owner = account.pw_uid if account else os.geteuid()
    try:
        os.mkdir(place, 0o700)
        if account:
            os.chown(place, account.pw_uid, account.pw_gid)
    except FileExistsError:
        found = os.lstat(place)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise ServerError("%s exists and is not ours" % place) from None
    return place


class Postgres(Server):
    """A private cluster: trust on its 0700 Unix socket, password on loopback TCP."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": disconnects clients and checkpoints

    SETTINGS = {
        "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
        "listen_addresses": "127.0.0.1", "max_connections": 100,
        "shared_buffers": "128MB", "max_wal_size": "2GB", "wal_compression": "lz4",
        "autovacuum_naptime": "5s", "jit": "off", "timezone": "UTC", "lc_messages": "C",
        "log_line_prefix": "%m [%p] %a ", "log_lock_waits": "on", "deadlock_timeout": "1s",
        "log_autovacuum_min_duration": "-1", "log_checkpoints": "off",
    }

    def __init__(self, directory, ports=None, detach=False, **settings):
        super().__init__(directory, detach)
        self.account = unprivileged()
        self.place = private_place(self.dir, self.account)
        self.data = os.path.join(self.place, "data")
        self.settings = {**self.SETTINGS, **settings}
        self.port = (ports or Ports()).take(2)
        self.password_file = os.path.join(self.dir, "postgres.password")
        if not os.path.exists(self.password_file):
            write_file(self.password_file, secrets.token_urlsafe(18))
        with open(self.password_file) as file:
            self.password = file.read()

    @property
    def url(self):
        """For everyone on this machine who may read it: TCP and a password."""
        return "postgresql://tocsin:%s@127.0.0.1:%d/tocsin" % (self.password, self.port)

    @property
    def socket_url(self):
        return "postgresql://tocsin@/tocsin?host=%s&port=%d" % (quote(self.place, safe=""),
                                                               self.port)

    def give(self, path):
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def as_account(self, *command):
        who = {}
        if self.account:
            who = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **who)

    def prepare(self):
        if os.path.exists(os.path.join(self.data, "tocsin.conf")):
            self.write_settings()
            return
        shutil.rmtree(self.data, ignore_errors=True)
        password = write_file(os.path.join(self.place, "password"), self.password)
        self.give(password)
        done = self.as_account(
            os.path.join(postgres_bin(), "initdb"), "-D", self.data, "-U", "tocsin", "-E",
            "UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256",
            "--pwfile=" + password, "--no-sync", "--no-instructions")
        os.unlink(password)
        if done.returncode:
            raise ServerError("initdb failed:\n%s" % done.stdout.decode("utf-8", "replace"))
        with open(os.path.join(self.data, "postgresql.conf"), "a") as file:
            file.write("include 'tocsin.conf'\n")
        self.write_settings()

    def write_settings(self):
        settings = {**self.settings, "port": self.port, "unix_socket_directories": self.place}
        text = "".join("%s = '%s'\n" % pair for pair in settings.items())
        self.give(write_file(os.path.join(self.data, "tocsin.conf"), text))

    def command(self):
        return [os.path.join(postgres_bin(), "postgres"), "-D", self.data]

    def is_ready(self):
        if self._psql("postgres", "select 1").returncode:
            return False
        if self._psql("tocsin", "select 1").returncode:
            self._psql("postgres", "create database tocsin")
            return False
        return True

    def _psql(self, database, statement):
        return subprocess.run(
            [os.path.join(postgres_bin(), "psql"), "-X", "-q", "-A", "-t", "-F", "\x1f", "-R",
             "\x1e", "-v", "ON_ERROR_STOP=1", "-h", self.place, "-p", str(self.port), "-U",
             "tocsin", "-d", database, "-c", statement],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PGCONNECT_TIMEOUT": "3"}, timeout=120)

    def sql(self, statement, database="tocsin"):
        """Runs one statement and returns its rows as lists of strings."""
        done = self._psql(database, statement)
        if done.returncode:
            raise ServerError("psql: %s" % done.stderr.decode("utf-8", "replace"))
        text = done.stdout.decode("utf-8").rstrip("\n")
        return [row.split("\x1f") for row in text.split("\x1e")] if text else []

    def value(self, statement):
        """The single value of a query, as a string."""
        return self.sql(statement)[0][0]


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
    """Whether a shared object was built with AddressSanitizer."""
    with open(path, "rb") as file:
        return b"__asan_init" in file.read()


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
            self.env["LD_PRELOAD"] = subprocess.check_output(
                ["gcc", "-print-file-name=libasan.so"], text=True).strip()
            # The broker has no frame pointers: only the slow unwinder can name its own leaks.
            self.env["ASAN_OPTIONS"] = "fast_unwind_on_malloc=0"

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


# The providers

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

    def metrics(self):
        """{`name{labels}`: value} of /metrics."""
        found = {}
        for line in http("GET", self.url + "/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                key, _, value = line.rpartition(" ")
                found[key] = float(value)
        return found

    def rss_kb(self):
        with open("/proc/%d/status" % self.pid) as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


class Stack:
    """All of it: one Postgres, one broker, the providers and any number of bridges."""

    def __init__(self, directory, bridges=1, port_base=None, settings=(), detach=False,
                 build=None, broker=None, postgres=None, plugin_options=None):
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
                "mqtt": {"url": "unix:" + self.broker.socket, "token_file": token_file},
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
                        self.detach, self.build, **more)
        if not self.bridges:
            bridge.migrate()
        self.bridges.append(bridge)
        if start:
            bridge.start()
        return bridge

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
