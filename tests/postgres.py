# SPDX-License-Identifier: MIT
"""A private Postgres cluster as a server (process.py)."""
import glob
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from urllib.parse import quote

from process import Ports, Server, ServerError, write_file


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


def place_of(directory, account):
    """Where the cluster of a stack lives: below its directory, or else in the temp directory.

    Elsewhere when the account cannot walk there, or the name of a Unix socket would be too long.
    """
    place = os.path.join(directory, "postgres")
    if len(place) <= 80 and (account is None or reachable(directory)):
        return place
    digest = hashlib.sha256(os.path.realpath(directory).encode()).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), "tocsin-pg-%s" % digest)


def private_place(directory, account):
    """That place, made if it is new, and proved to be nobody else's."""
    place = place_of(directory, account)
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
    ready_timeout = 90.0  # recovery syncs the whole cluster first, and the disk may be busy
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

    def session(self):
        """A connection that stays: call it with statements, and with None to end it."""
        psql = subprocess.Popen(
            [os.path.join(postgres_bin(), "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
             "-h", self.place, "-p", str(self.port), "-U", "tocsin", "-d", "tocsin"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def run(statement):
            if statement is None:
                psql.stdin.close()
                psql.stdout.close()
                return psql.wait(30)
            psql.stdin.write(statement + ";\n\\echo done\n")
            psql.stdin.flush()
            for line in psql.stdout:
                if line.strip() == "done":
                    return None
            raise ServerError("psql ended at: " + statement)
        return run

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
