# SPDX-License-Identifier: MIT
"""A primary dies and its synchronous standby is promoted: nothing accepted is lost."""
import os
import shutil
import subprocess

import pytest

from client import Client
from postgres import postgres_bin, unprivileged
from process import Ports, wait_until
from traffic import Traffic


class Standby:
    """A synchronous standby of a stack's Postgres, made by pg_basebackup."""

    def __init__(self, primary, ports):
        self.primary, self.port = primary, ports.take(900)
        self.place = primary.place + "-standby"
        self.account = unprivileged()
        self.log = self.place + ".log"

    def run(self, *command, check=True):
        def drop():
            if self.account:
                os.setgid(self.account.pw_gid)
                os.setuid(self.account.pw_uid)
        return subprocess.run(command, check=check, preexec_fn=drop, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")

    def start(self):
        bin_dir = postgres_bin()
        shutil.rmtree(self.place, ignore_errors=True)
        self.run(os.path.join(bin_dir, "pg_basebackup"), "-D", self.place, "-R", "-X", "stream",
                 "-c", "fast", "-d", self.primary.socket_url + "&application_name=standby")
        with open(os.path.join(self.place, "postgresql.auto.conf"), "a") as file:
            file.write("port = %d\nunix_socket_directories = ''\n" % self.port)
        self.run(os.path.join(bin_dir, "pg_ctl"), "-D", self.place, "-l", self.log, "-w", "start")

    def promote(self):
        self.run(os.path.join(postgres_bin(), "pg_ctl"), "-D", self.place, "-w", "promote")

    def stop(self):
        self.run(os.path.join(postgres_bin(), "pg_ctl"), "-D", self.place, "-m", "immediate",
                 "stop", check=False)
        shutil.rmtree(self.place, ignore_errors=True)


@pytest.fixture
def pair(new_stack):
    stack = new_stack(start=False)
    stack.postgres.start()
    standby = Standby(stack.postgres, stack.ports)
    standby.start()
    yield stack, standby
    standby.stop()


def test_accepted_survives_the_loss_of_the_primary(pair):
    stack, standby = pair
    stack.postgres.sql("alter system set synchronous_standby_names = 'ANY 1 (standby)'")
    stack.postgres.sql("select pg_reload_conf()")
    wait_until(lambda: stack.postgres.sql(
        "select 1 from pg_stat_replication where sync_state in ('sync', 'quorum')") or None, 20,
        "a synchronous standby")
    both = stack.postgres.url.replace("127.0.0.1:%d" % stack.postgres.port,
                                      "127.0.0.1:%d,127.0.0.1:%d" % (stack.postgres.port,
                                                                     standby.port))
    both += ("&" if "?" in both else "?") + "target_session_attrs=read-write"
    stack.settings = [("postgres.url", both), ("bridge.lease", "5s")]
    for server in (stack.broker, stack.providers):
        server.start()
    stack.add_bridge()
    with Traffic(stack, rate=200) as traffic:
        traffic.wait_accepted(400)
        stack.postgres.kill()
        standby.promote()
        traffic.wait_accepted(400, 60)
        stack.postgres.sql = lambda text: query(both, text)  # whom the audit asks
        traffic.finish()
        traffic.audit()
        assert len(traffic.accepted) > 800


def query(url, text):
    import psycopg2
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return [["" if v is None else str(v) for v in row] for row in cursor.fetchall()]
    finally:
        connection.close()
