# SPDX-License-Identifier: MIT
"""What is old is taken away while traffic flows, and what is still needed of it is not."""
import datetime
import re
import subprocess

import pytest

from client import Client
from process import wait_until
from traffic import Traffic

# The day that is dropped next: its dead letters have one day more.
OLD = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=31)
PARTITION = "_" + OLD.strftime("%Y%m%d")


def old_id(number=0):
    midnight = datetime.datetime(OLD.year, OLD.month, OLD.day, tzinfo=datetime.timezone.utc)
    return (int(midnight.timestamp() * 1000) + 3600000 + number << 22)


def partitions(stack, parent):
    return [row[0] for row in stack.postgres.sql(
        "select inhrelid::regclass::text from pg_inherits "
        "where inhparent = '%s'::regclass order by 1" % parent)]


def make_old(stack, count=3, content='{"title":"old","body":"b","priority":"normal"}'):
    """Partitions of a month ago, with notifications and attempts in them."""
    for parent in ("notification", "attempt", "request_key"):
        stack.postgres.sql("select make_partitions('%s', '%s', '%s')" % (parent, OLD, OLD))
    for number in range(count):
        stack.postgres.sql(
            "insert into notification (id, service, request, type, priority, receipts, deliveries,"
            " created_at, content) values (%d, 'shop', 'old%d', 't', 2, 1, 1, '%s 01:00Z', '%s')"
            % (old_id(number), number, OLD, content))
        stack.postgres.sql(
            "insert into attempt (at, delivery, notification, epoch, destination, status, number,"
            " channel, outcome, reason, segments, state, recipient_kind, recipient) values"
            " ('%s 01:00Z', %d, %d, 1, 1, 0, 1, 0, 0, 0, 0, 4, 0, 'x')"
            % (OLD, old_id(number) + 1, old_id(number)))


class Reader:
    """A transaction that has read the tables and does not end, as a dump's."""

    def __init__(self, stack):
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", stack.postgres.url], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.process.stdin.write("begin; select count(*) from notification; "
                                 "select count(*) from attempt; select 'reading';\n")
        self.process.stdin.flush()
        while "reading" not in self.process.stdout.readline():
            assert self.process.poll() is None

    def end(self):
        self.process.communicate("commit;\n", timeout=120)


def log_of(server):
    with open(server.log, errors="replace") as file:
        return file.read()


def test_traffic_flows_while_days_are_dropped_and_a_reader_is_in_the_way(new_stack):
    stack = new_stack(start=False)
    for server in (stack.postgres, stack.broker, stack.providers):
        server.start()
    stack.postgres.sql("alter system set log_lock_waits = on")
    stack.postgres.sql("alter system set deadlock_timeout = '400ms'")
    stack.postgres.sql("select pg_reload_conf()")
    stack.add_bridge(start=False)
    make_old(stack)
    reader = Reader(stack)
    stack.bridge.start()
    with Traffic(stack, rate=200, users=4) as traffic:
        wait_until(lambda: "retention.waits job=drop" in log_of(stack.bridge), 30,
                   "the job to find the table in use")
        traffic.wait_accepted(300)
        assert "notification" + PARTITION in partitions(stack, "notification")
        reader.end()
        wait_until(lambda: not [name for parent in ("notification", "attempt", "request_key")
                                for name in partitions(stack, parent) if PARTITION in name], 40,
                   "the days to be dropped")
        traffic.wait_accepted(300)
        traffic.finish()
        traffic.audit()
    waits = re.findall(r"still waiting for \w+Lock on relation.*", log_of(stack.postgres))
    assert not waits, "somebody waited behind the job: %s" % waits[:3]


def test_a_reader_that_cannot_be_seen_holds_others_up_for_a_moment_only(new_stack):
    """Where the sessions of others are hidden from the bridge's role, the lock's term protects."""
    stack = new_stack(start=False)
    for server in (stack.postgres, stack.broker, stack.providers):
        server.start()
    stack.postgres.sql("alter system set log_lock_waits = on")
    stack.postgres.sql("alter system set deadlock_timeout = '400ms'")
    stack.postgres.sql("select pg_reload_conf()")
    stack.add_bridge(start=False)
    stack.postgres.sql("create or replace function has_long_reader(parent text) returns boolean "
                       "language sql as 'select false'")
    make_old(stack)
    reader = Reader(stack)
    stack.bridge.start()
    with Traffic(stack, rate=200, users=4) as traffic:
        wait_until(lambda: log_of(stack.bridge).count("retention.waits job=drop") >= 2, 40,
                   "the job to give up twice")
        traffic.wait_accepted(200)
        reader.end()
        wait_until(lambda: "notification" + PARTITION not in partitions(stack, "notification"), 40)
        traffic.finish()
        traffic.audit()
    waits = re.findall(r"still waiting for \w+Lock on relation.*", log_of(stack.postgres))
    assert not waits, "somebody waited behind the job: %s" % waits[:3]


def test_what_is_not_over_and_what_is_dead_keep_their_content(new_stack):
    stack = new_stack()
    stack.bridge.stop()
    make_old(stack, 4)
    # One that is due in a moment after a month, one that is dead, two that are over.
    stack.postgres.sql(
        "insert into scheduled (id, notification, due_at, destination, channel, priority, state,"
        " recipient_kind, recipient) select %d, %d, now() + interval '12 seconds', id, 0, 2, 0, 0,"
        " 'alice' from destination where name = 'in_app'" % (old_id(0) + 1, old_id(0)))
    stack.postgres.sql(
        "insert into dead_letter (delivery, notification, service, request, type, seq, destination,"
        " channel, priority, attempts, reason, recipient_kind, recipient, died_at) select %d, %d,"
        " 'shop', 'old1', 't', 1, id, 0, 2, 3, 1, 0, 'bob', now() from destination"
        " where name = 'in_app'" % (old_id(1) + 1, old_id(1)))
    stack.postgres.sql("delete from attempt where delivery = %d" % (old_id(0) + 1))
    # Of the dead one's two deliveries the other ended well, that day.
    stack.postgres.sql("update notification set deliveries = 2 where id = %d" % old_id(1))
    stack.postgres.sql("update attempt set delivery = delivery + 1 where delivery = %d"
                       % (old_id(1) + 1))
    assert stack.postgres.value("select missing from conservation") == "0"
    with Client(stack, "user", "alice") as alice, Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        stack.bridge.start()
        wait_until(lambda: "notification" + PARTITION not in partitions(stack, "notification"), 30,
                   "the day to be dropped")
        left = stack.postgres.sql("select request from notification order by 1")
        assert left == [["old0"], ["old1"]]
        wait_until(lambda: "attempt" + PARTITION not in partitions(stack, "attempt"), 30)
        assert stack.postgres.value("select missing from conservation") == "0"
        alice.subscribe("down/#")
        shown = alice.wait(lambda m: m.topic.endswith("/inbox"), 30).json
        assert shown["title"] == "old"
        alice.publish("up/ack", {"ids": [shown["id"]]})
        shop.receipt("old0", "delivered")
        # Whoever comes back gets what died for want of them.
        with Client(stack, "user", "bob") as bob:
            bob.subscribe("down/#")
            again = bob.wait(lambda m: m.topic.endswith("/inbox"), 20).json
            bob.publish("up/ack", {"ids": [again["id"]]})
            shop.receipt("old1", "delivered")


def test_an_inbox_that_was_cut_says_so_and_its_badge_is_right(new_stack):
    stack = new_stack()
    stack.bridge.stop()
    make_old(stack, 3)
    stack.postgres.sql(
        "insert into inbox (user_id, seq, delivery, notification, state) select 'carol', n + 1,"
        " %d::bigint + (n::bigint << 22) + 1, %d::bigint + (n::bigint << 22), n %% 2"
        " from generate_series(0, 2) n" % (old_id(), old_id()))
    stack.postgres.sql("insert into inbox_user (user_id, last_seq, unread, unseen)"
                       " values ('carol', 3, 2, 3)")
    stack.postgres.sql("insert into ingest_reject (at, topic, why, payload) select"
                       " now() - interval '31 days', 't', 'w', 'p' from generate_series(1, 1200)")
    stack.postgres.sql("insert into ingest_reject (topic, why, payload) values ('t', 'new', 'p')")
    with Client(stack, "user", "carol") as carol, Client(stack, "service", "shop") as shop:
        carol.subscribe("down/#")
        shop.subscribe("down/#")
        stack.bridge.start()
        wait_until(lambda: stack.postgres.value("select count(*) from inbox") == "0", 30,
                   "the entries to be trimmed")
        assert stack.postgres.sql("select last_seq, unread, unseen from inbox_user") == [
            ["3", "0", "0"]]
        badge = carol.wait(lambda m: m.topic.endswith("/badge"), 15).json
        assert badge == {"unread": 0, "unseen": 0}
        shop.publish("up/request", {"id": "new", "type": "t", "title": "new", "body": "b",
                                    "to": {"user": "carol"}})
        shown = carol.wait(lambda m: m.topic.endswith("/inbox")).json
        assert shown["seq"] == 4  # numbers go on where they were
        cut = carol.rpc("history", {"since_seq": 0})["result"]
        assert cut["complete"] is False and len(cut["items"]) == 1
        assert carol.rpc("history", {"since_seq": 3})["result"]["complete"] is True
        wait_until(lambda: stack.postgres.sql("select why from ingest_reject") == [["new"]], 60,
                   "old rejects to be trimmed in bites")
        carol.publish("up/ack", {"ids": [shown["id"]]})


def test_what_a_dropped_notification_leaves_in_an_inbox_makes_history_incomplete(new_stack):
    """Inboxes that are kept for longer than notifications have entries without content."""
    stack = new_stack(settings={"retention.inbox_days": 90})
    stack.bridge.stop()
    make_old(stack, 2)
    stack.postgres.sql(
        "insert into inbox (user_id, seq, delivery, notification, state) select 'carol', n + 1,"
        " %d::bigint + (n::bigint << 22) + 1, %d::bigint + (n::bigint << 22), 1"
        " from generate_series(0, 1) n" % (old_id(), old_id()))
    stack.postgres.sql("insert into inbox_user (user_id, last_seq, unread, unseen)"
                       " values ('carol', 2, 0, 0)")
    with Client(stack, "user", "carol") as carol:
        carol.subscribe("down/#")
        stack.bridge.start()
        wait_until(lambda: "notification" + PARTITION not in partitions(stack, "notification"), 30)
        answer = carol.rpc("history", {"since_seq": 0})["result"]
        assert answer["complete"] is False and answer["items"] == []
        assert stack.postgres.value("select count(*) from inbox") == "2"


def test_more_than_a_bite_does_not_wait_for_the_next_turn(new_stack):
    """A turn comes once a minute: what is stored faster than a bite a minute would grow for good."""
    stack = new_stack()
    stack.bridge.stop()
    week = int((datetime.datetime.now() - datetime.timedelta(days=8)).timestamp() * 1000) << 22
    stack.postgres.sql(
        "insert into request_key (day, key, digest, notification) select '1970-01-01',"
        " md5(n::text)::uuid, n, %d + n from generate_series(1, 16000) n" % week)
    stack.postgres.sql(
        "insert into dead_letter (delivery, notification, service, request, type, seq, destination,"
        " channel, priority, attempts, reason, recipient_kind, recipient, died_at) select %d + n,"
        " %d, 'shop', 'r' || n, 't', 1, 1, 1, 2, 3, 1, 1, 'x', now() - interval '33 days'"
        " from generate_series(1, 7000) n" % (old_id() - (2 * 86400000 << 22), old_id()))
    stack.bridge.start()
    for table in ("request_key_any", "dead_letter"):
        wait_until(lambda t=table: stack.postgres.value("select count(*) from " + t) == "0", 50,
                   "all that is old in %s to go" % table)


def test_request_ids_and_flows_are_forgotten_after_their_time(new_stack):
    """An id of its own making is known for seven days; what it was asked for with has nothing else."""
    stack = new_stack()
    stack.bridge.stop()
    stack.postgres.sql(
        "insert into request_key (day, key, digest, notification) select '1970-01-01',"
        " gen_random_uuid(), n, (extract(epoch from now() - n * interval '1 day')::bigint * 1000)"
        " << 22 from unnest(array[6, 8, 9]) n")
    stack.postgres.sql(
        "insert into queue_flow (at, destination, completed, failed, other, retried, attempts, tries)"
        " select now() - n * interval '1 hour', 1, 1, 0, 0, 0, 1, 1 from unnest(array[2, 4, 5]) n")
    stack.bridge.start()
    for table, left in (("request_key", "6"), ("queue_flow", "2")):
        what = {"request_key": "select digest from request_key",
                "queue_flow": "select round(extract(epoch from now() - at) / 3600)::int"
                              " from queue_flow where completed > 0"}[table]
        wait_until(lambda: stack.postgres.sql(what) == [[left]], 30, "old rows of " + table)


@pytest.mark.long
def test_what_providers_reported_is_forgotten_after_its_days(new_stack):
    stack = new_stack(settings={"retention.callback_days": 3})
    stack.bridge.stop()
    stack.postgres.sql(
        "insert into callback_event (received_at, fold_at, destination, report, reason, key,"
        " provider_id, name, raw) select now() - n * interval '1 day', null, 1, 20, 0, n::text,"
        " n::text, 'x', '' from unnest(array[2, 4, 5]) n")
    stack.postgres.sql(
        "insert into sent (provider_id, destination, delivery, notification, at, number, channel,"
        " recipient_kind, recipient) select n::text, 1, n, n, now() - n * interval '1 day', 1, 2, 5,"
        " 'x' from unnest(array[29, 31, 32]) n")
    stack.bridge.start()
    for what, left in (("select key from callback_event", "2"),
                       ("select provider_id from sent", "29")):
        wait_until(lambda: stack.postgres.sql(what) == [[left]], 90, what)
