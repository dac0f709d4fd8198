# SPDX-License-Identifier: MIT
"""A primary and its synchronous standby as one server of a stack, and the change of roles.

Where mounts are permitted each node lives on a small tmpfs of its own, in a mount namespace that
ends with this process: that is how a disk gets full without filling anybody's.
"""
import ctypes
import os
import shutil

import servers
from postgres import Postgres, postgres_bin

DISK_BYTES = 640 << 20
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18


def private_mounts():
    """Leaves the mount namespace of the machine; False where that is not permitted.

    To be called before any thread is started.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return (os.geteuid() == 0 and libc.unshare(CLONE_NEWNS) == 0
            and libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0)


def mount_tmpfs(path, size, account):
    libc = ctypes.CDLL(None, use_errno=True)
    options = "size=%d,mode=0700" % size
    if libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "tmpfs on %s" % path)
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)


def unmount(path):
    ctypes.CDLL(None).umount2(path.encode(), 2)  # MNT_DETACH


class Cluster:
    """Two nodes; `primary` is the one that is written to.  Looks like a Postgres to a Stack."""

    SETTINGS = {"max_wal_size": "96MB", "min_wal_size": "32MB", "wal_keep_size": "64MB",
                "shared_buffers": "64MB", "hot_standby": "on", "max_connections": 60,
                "wal_receiver_timeout": "4s", "wal_sender_timeout": "4s"}

    def __init__(self, directory, ports, small_disks=False):
        self.small_disks = small_disks
        self.nodes = [Postgres(os.path.join(directory, name), ports, **self.SETTINGS)
                      for name in ("a", "b")]
        for node, name in zip(self.nodes, ("a", "b")):
            node.name = "postgres"  # also its log's
            node.letter = name
            if small_disks:
                mount_tmpfs(node.place, DISK_BYTES, node.account)
        self.nodes[1].password = self.nodes[0].password  # the copy has its users
        self.primary, self.standby = self.nodes

    # As a Postgres
    name = "postgres"
    checked = 0

    @property
    def running(self):
        return self.primary.running

    @property
    def pid(self):
        return self.primary.pid

    @property
    def place(self):
        return self.primary.place

    @property
    def log(self):
        return self.primary.log

    @property
    def url(self):
        return self.primary.url

    @property
    def socket_url(self):
        return self.primary.socket_url

    def start(self, wait=True):
        self.primary.start(wait)
        return self

    def wait_ready(self, timeout=None):
        self.primary.wait_ready(timeout)

    def is_ready(self):
        return self.primary.is_ready()

    def sql(self, statement, database="tocsin"):
        return self.primary.sql(statement, database)

    def value(self, statement):
        return self.primary.value(statement)

    def kill(self):
        for node in self.nodes:
            node.kill()

    def stop(self, check=True):
        for node in (self.standby, self.primary):
            node.stop(check)

    def remove(self):
        for node in self.nodes:
            if self.small_disks:
                unmount(node.place)
            shutil.rmtree(node.place, ignore_errors=True)

    # Roles
    def configure(self, node, **settings):
        node.settings.update(settings)
        node.write_settings()
        node.sql("select pg_reload_conf()", "postgres")

    def attach_standby(self):
        """Copies the primary to the other node, starts it, and makes commits wait for it."""
        node = self.standby
        node.kill()
        shutil.rmtree(node.data, ignore_errors=True)
        done = node.as_account(
            os.path.join(postgres_bin(), "pg_basebackup"), "-D", node.data, "-R", "-X", "stream",
            "-c", "fast", "-d", self.primary.socket_url + "&application_name=standby")
        if done.returncode:
            raise servers.ServerError("pg_basebackup: %s" % done.stdout.decode())
        node.settings["synchronous_standby_names"] = ""
        node.start()
        self.configure(self.primary, synchronous_standby_names="*")
        self.wait_in_step()

    def wait_in_step(self, timeout=60):
        servers.wait_until(lambda: self.primary.sql(
            "select 1 from pg_stat_replication where sync_state = 'sync' and state = 'streaming'"
        ) or None, timeout, "a synchronous standby", 0.1)

    def promote(self):
        """The primary is lost for good: the standby takes its place, as an operator would do it."""
        self.primary.kill()
        self.standby.sql("select pg_promote(true, 60)", "postgres")
        self.primary, self.standby = self.standby, self.primary

    def split(self):
        """The standby is promoted while the primary only seemed gone, and is writable again.

        It waits for a standby that will not come back, so that nothing it commits is answered.
        """
        self.primary.pause()
        self.standby.sql("select pg_promote(true, 60)", "postgres")
        self.primary.resume()
        self.primary, self.standby = self.standby, self.primary

    def disk(self, node):
        """(file that fills the disk, free bytes) of a node."""
        found = os.statvfs(node.place)
        return os.path.join(node.place, "filler"), found.f_bavail * found.f_frsize
