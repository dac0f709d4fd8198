# SPDX-License-Identifier: MIT
"""Day partitions are made and dropped one by one, conservation holds over the end of a kept day, and
a bridge needs no more of its database than to read and change rows."""
import datetime
import glob
import os
import secrets
import subprocess
import time
from urllib.parse import quote

import pytest

import servers
from client import Client
from process import wait_until

TODAY = datetime.datetime.now(datetime.timezone.utc).date()
PARENTS = ("notification", "attempt", "request_key")


def day(offset):
    return TODAY + datetime.timedelta(days=offset)


def name(parent, offset):
    return "%s_%s" % (parent, day(offset).strftime("%Y%m%d"))


def id_of(offset, ms=0):
    midnight = datetime.datetime.combine(day(offset), datetime.time(), datetime.timezone.utc)
    return int(midnight.timestamp() * 1000) + ms << 22


class Database:
    """A database of its own with our tables and no bridge."""

    def __init__(self, postgres):
        self.postgres = postgres
        self.name = "p%d" % time.monotonic_ns()
        postgres.sql("create database %s" % self.name)
        self.sql("create table schema_version (version int)")
        for path in sorted(glob.glob(os.path.join(servers.ROOT, "schemas", "sql", "*.sql"))):
            with open(path, encoding="utf-8") as file:
                self.sql(file.read())

    def sql(self, text):
        return self.postgres.sql(text, self.name)

    def value(self, text):
        return self.sql(text)[0][0]

    def has(self, table):
        return self.value("select to_regclass('%s') is not null" % table) == "t"

    def missing(self):
        return int(self.value("select missing from conservation"))


@pytest.fixture
def database(postgres):
    return Database(postgres)


def add_notification(database, number, deliveries=1):
    database.sql("insert into notification (id, service, request, type, priority, receipts, deliveries,"
                 " created_at, content) values (%d, 's', 'r', 't', 2, 1, %d, now(), '{}')"
                 % (number, deliveries))


def add_attempt(database, notification, delivery, at, state=3, outcome=0):
    database.sql("insert into attempt (at, delivery, notification, epoch, destination, status, number,"
                 " channel, outcome, reason, segments, state, recipient_kind, recipient) values"
                 " ('%s', %d, %d, 1, 1, 200, 1, 3, %d, 0, 0, %d, 4, 'x')"
                 % (at, delivery, notification, outcome, state))


def add_dead_letter(database, notification, delivery, at):
    add_attempt(database, notification, delivery, at, 5)
    database.sql("insert into dead_letter (delivery, notification, service, request, type, seq, destination,"
                 " channel, priority, attempts, reason, recipient_kind, recipient, died_at) values"
                 " (%d, %d, 's', 'r', 't', 0, 1, 3, 2, 1, 4, 4, 'x', '%s')" % (
                     delivery, notification, at))


def stamp(offset, ms):
    midnight = datetime.datetime.combine(day(offset), datetime.time(), datetime.timezone.utc)
    return (midnight + datetime.timedelta(milliseconds=ms)).isoformat()


# ---- making ----

def test_rows_in_a_default_partition_are_moved_when_their_day_is_made(database):
    for parent in PARENTS:
        database.sql("drop table %s, %s" % (name(parent, 0), name(parent, 5)))
    add_notification(database, id_of(5, 1000))
    add_attempt(database, id_of(5, 1000), id_of(5, 1001), stamp(5, 2000))
    database.sql("insert into request_key values ('%s', gen_random_uuid(), 1, %d)" % (day(5), id_of(5, 1000)))
    assert database.value("select partitions_ahead()") == "4"
    assert int(database.value("select keep_partitions_gently(1000)")) == 6
    for parent in PARENTS:
        assert database.has(name(parent, 0)) and database.has(name(parent, 5))
        assert database.value("select count(*) from " + name(parent, 5)) == "1"
        assert database.value("select count(*) from %s_default" % parent) == "0"
    assert int(database.value("select partitions_ahead()")) >= 7
    assert database.missing() == 0


def test_many_rows_stay_where_they_are_and_hold_up_no_other_day(database):
    for parent in PARENTS:
        database.sql("drop table %s, %s" % (name(parent, 4), name(parent, 6)))
    database.sql("insert into attempt (at, delivery, notification, epoch, destination, status, number,"
                 " channel, outcome, reason, segments, recipient_kind, recipient) select '%s', n, n, 1, 1,"
                 " 200, 1, 3, 2, 4, 0, 4, 'x' from generate_series(1, 20001) n" % stamp(4, 1000))
    assert int(database.value("select keep_partitions_gently(1000)")) == 5
    assert not database.has(name("attempt", 4)) and database.has(name("attempt", 6))
    assert database.has(name("notification", 4)) and database.has(name("request_key", 4))
    assert database.value("select count(*) from attempt_default") == "20001"


def test_a_day_that_cannot_be_made_stops_no_other(database):
    for parent in PARENTS:
        database.sql("drop table %s, %s" % (name(parent, 3), name(parent, 6)))
    database.sql("create table odd partition of attempt for values from ('%s') to ('%s')"
                 % (stamp(3, 1000), stamp(3, 2000)))
    assert database.value("select keep_partitions_gently(1000)") == "-2"
    assert not database.has(name("attempt", 3)) and database.has(name("attempt", 6))
    assert database.has(name("notification", 3)) and database.has(name("request_key", 3))
    assert database.value("select partitions_ahead()") == "2"


def test_a_table_that_is_locked_holds_up_no_other(database):
    for parent in PARENTS:
        database.sql("drop table " + name(parent, 6))
    url = "host=%s port=%d user=tocsin dbname=%s" % (database.postgres.place, database.postgres.port,
                                                     database.name)
    with subprocess.Popen(["psql", "-X", "-q", url], stdin=subprocess.PIPE, text=True) as holder:
        holder.stdin.write("begin; lock table attempt in access share mode;"
                           " lock table attempt_default in row exclusive mode;\n")
        holder.stdin.flush()
        wait_until(lambda: database.value("select count(*) from pg_locks where relation ="
                                          " 'attempt_default'::regclass and granted") != "0")
        assert database.value("select keep_partitions_gently(100)") == "-1"
        holder.stdin.close()
    assert database.has(name("notification", 6)) and database.has(name("request_key", 6))
    assert database.value("select keep_partitions_gently(1000)") == "1"


def test_a_request_id_of_a_day_without_a_partition_is_stored(database):
    database.sql("drop table " + name("request_key", 1))
    for offset in (1, 100):
        database.sql("insert into request_key values ('%s', gen_random_uuid(), 1, 1)" % day(offset))
    assert database.value("select count(*) from request_key_default") == "2"


# ---- dropping ----

def test_what_ends_on_another_day_than_it_began_is_counted_right(database):
    """Three notifications of the day that is dropped: over at once, over on the day after, dead."""
    for parent in PARENTS:
        database.sql("select make_partitions('%s', '%s', '%s')" % (parent, day(-32), day(-29)))
    first, second, third = (id_of(-30, -n) for n in (5000, 100, 50))
    for one in (first, second, third):
        add_notification(database, one, 2)
    for one, at in ((first, -4000), (second, 100)):
        add_attempt(database, one, one + 1, stamp(-30, at))
        add_attempt(database, one, one + 2, stamp(-30, at + 1))
    add_attempt(database, third, third + 1, stamp(-30, 200), 4)
    add_dead_letter(database, third, third + 2, stamp(-30, 300))
    assert database.missing() == 0
    dropped = 0
    while database.value("select drop_old_partition(30, 1000)") == "1":
        dropped += 1
        assert database.missing() == 0, "after %d partitions" % dropped
    assert dropped >= 4 and not database.has(name("notification", -31)) and database.has(name("attempt", -30))
    assert database.sql("select id from notification_default") == [[str(third)]]
    # The dead one is sent after all, and what is kept of it is trimmed before the attempt is.
    add_attempt(database, third, third + 2, "now")
    database.sql("update dead_letter set is_dead = false, status = 2")
    assert database.missing() == 0
    database.sql("delete from notification_default")
    assert database.missing() == 0


def test_an_attempt_that_is_older_than_its_id_is_counted_right(database):
    """A bridge's clock that is a second ahead makes ids of the next day."""
    for parent in PARENTS:
        database.sql("select make_partitions('%s', '%s', '%s')" % (parent, day(-31), day(-30)))
    add_notification(database, id_of(-30, 500))
    add_attempt(database, id_of(-30, 500), id_of(-30, 500) + 1, stamp(-30, -300))
    while database.value("select drop_old_partition(30, 1000)") == "1":
        assert database.missing() == 0
    assert database.has(name("notification", -30))


def test_a_partition_that_cannot_be_dropped_holds_up_no_other(database):
    for parent in PARENTS:
        database.sql("select make_partitions('%s', '%s', '%s')" % (parent, day(-40), day(-38)))
    database.sql("create view mine as select * from " + name("attempt", -40))
    answers = [database.value("select drop_old_partition(30, 1000)") for _ in range(9)]
    assert answers == ["1"] * 8 + ["-2"]
    left = database.value("select count(*) from pg_class where relname ~ '_%s$'" % day(-39).strftime("%Y%m%d"))
    assert database.has(name("attempt", -40)) and left == "0"


# ---- a bridge's own role ----

class Restricted:
    """A stack whose bridge may change rows and nothing else."""

    def __init__(self, stack):
        self.stack = stack
        self.password = secrets.token_urlsafe(12)
        for server in (stack.postgres, stack.broker, stack.providers):
            server.start(wait=False)
        for server in (stack.postgres, stack.broker, stack.providers):
            server.wait_ready()
        stack.add_bridge(start=False)
        stack.postgres.sql("create role bridge_app login password '%s'; select grant_bridge('bridge_app')"
                           % self.password)
        self.url = "postgresql://bridge_app:%s@127.0.0.1:%d/tocsin" % (
            quote(self.password), stack.postgres.port)
        stack.bridge.set("postgres.url", self.url)

    def try_as_bridge(self, statement):
        """What the server answers the bridge's role."""
        done = subprocess.run(["psql", "-X", "-q", self.url, "-c", statement], capture_output=True,
                              text=True, timeout=60, check=False)
        return done.stderr


def test_a_bridge_that_may_only_change_rows_works_and_cannot_touch_the_audit(new_stack):
    stack = new_stack(start=False, settings={"alerts.after": "1s", "alerts.clear": "1s"})
    restricted = Restricted(stack)
    # One day to be made, one to be dropped, both by the bridge; and one that nobody can make.
    for parent in PARENTS:
        stack.postgres.sql("select make_partitions('%s', '%s', '%s'); drop table %s" % (
            parent, day(-31), day(-31), name(parent, 6)))
    stack.postgres.sql("drop table %s; create table odd partition of attempt for values from ('%s') to ('%s')"
                       % (name("attempt", 2), stamp(2, 1000), stamp(2, 2000)))
    stack.bridge.start()
    with Client(stack, "service", "shop") as shop, Client(stack, "user", "alice") as alice, \
            Client(stack, "admin", "root") as admin:
        shop.subscribe("down/#")
        alice.subscribe("down/#")
        admin.subscribe("down/#")
        shop.publish("up/request", [
            {"id": "one", "type": "t", "title": "t", "body": "b", "to": {"user": "alice"}},
            {"id": "two", "type": "t", "title": "t", "body": "b", "channels": ["sms"],
             "to": {"phone": "+15550000001"}}])
        alice.publish("up/ack", {"ids": [alice.wait(lambda m: m.topic.endswith("/inbox")).json["id"]]})
        shop.receipt("one", "delivered")
        shop.receipt("two", "sent")
        assert "result" in admin.rpc("provider.pause", {"provider": "twilio"})
        wait_until(lambda: all(table_is(stack, parent, 6, True) and table_is(stack, parent, -31, False)
                               for parent in PARENTS), 40, "a day to be made and one to be dropped")
        wait_until(lambda: stack.postgres.value("select count(*) from alert where name = 'partitions'"
                                                " and is_firing") == "1", 30,
                   "the alert that partitions are made for one day only")
    assert stack.postgres.value("select count(*) from audit") == "1"
    for statement in ("delete from audit", "update audit set result = ''", "truncate audit",
                      "alter table audit disable trigger audit_is_final", "drop table audit",
                      "alter table delivery add column x int", "select grant_bridge('bridge_app')",
                      "create table mine (x int)", "insert into schema_version values (999, 'x')"):
        assert "permission denied" in restricted.try_as_bridge(statement) or \
            "must be owner" in restricted.try_as_bridge(statement), statement
    assert stack.postgres.value("select count(*) from audit") == "1"
    assert stack.postgres.value("select missing from conservation") == "0"


def table_is(stack, parent, offset, there):
    return (stack.postgres.value("select to_regclass('%s') is not null" % name(parent, offset)) == "t") == there
