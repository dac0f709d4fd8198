# SPDX-License-Identifier: MIT
"""Servers as processes: groups that start, answer, stop cleanly or are killed, and never outlive us.

Each server is a process group of its own with one log file.  start() returns when the
server answers and raises ServerError with the end of its log when it does not; stop()
raises when it did not exit cleanly or its log holds a sanitizer's report.
Nothing here sleeps for luck: wait_until() polls against a deadline.  Deadlines are written for a
quiet machine; any other is given PATIENCE times as long, which costs nothing where all goes well.

Standard library only, so that `./run` works before anything is installed.
"""
import atexit
import ctypes
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SANITIZER = re.compile(
    rb"ERROR: (Address|Leak|Thread|Memory)Sanitizer|runtime error:|SUMMARY: \w+Sanitizer"
    rb"|ERROR SUMMARY: [1-9]|LEAK SUMMARY:\s+definitely lost: [1-9]")
PATIENCE = float(os.environ.get("TOCSIN_PATIENCE", "6"))
PORT_FIRST, PORT_LAST = 20000, 32000  # below the ports the kernel hands to clients
_alive = []  # everything started and not stopped, killed at exit whatever happens


# A library that calls abort() says nothing: AddressSanitizer then writes where it was.
ASAN_OPTIONS = ["handle_abort=1"]


def sanitizer_env(*more):
    """What sanitizers of a server are told: the caller's own, ASAN_OPTIONS, and then more."""
    options = [os.environ.get("ASAN_OPTIONS"), *ASAN_OPTIONS, *more]
    return {"ASAN_OPTIONS": ":".join(filter(None, options)),
            "LSAN_OPTIONS": "print_suppressions=0:suppressions="
            + os.path.join(ROOT, "tests", "lsan.txt")}


class ServerError(Exception):
    """A server did not start, did not stop cleanly, or reported a fault."""


def wait_until(predicate, timeout=10.0, what="condition", interval=0.02):
    """Polls until predicate() is true and returns its value, or raises TimeoutError.

    The timeout is in seconds of a quiet machine (PATIENCE).
    """
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError("waited %.1f s for %s" % (timeout * PATIENCE, what))
        time.sleep(interval)


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
        self.env = {**sanitizer_env(), "TOCSIN_ALLOW_CORE": "1"}  # tests look into /proc, also where they are not root
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

    def frozen_tree(self):
        """The same, with the first of them stopped, so that it has no more children meanwhile."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: (proc_stat(self.pid) or "  T")[2] in "TtZX", 10, "SIGSTOP")
        return self.tree()

    def has_logged(self, event):
        with open(self.log) as file:
            return any(" %s " % event in line for line in file)

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
        below = self.frozen_tree()
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
            code = self.process.wait(self.stop_timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError("%s did not stop within %.0f s\n%s" % (
                self.name, self.stop_timeout * PATIENCE, read_tail(self.log))) from None
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
