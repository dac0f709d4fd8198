# SPDX-License-Identifier: MIT
"""Requests that become many deliveries: accepted at once, made in slices, at nobody else's cost."""
import concurrent.futures
import contextlib
import json
import time

import pytest

import servers
from client import Client
from process import wait_until
from test_crash_points import has_crash_points
from traffic import books

def short(number):
    """Three characters for each of 46,656: as many users as a request can name."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number // 1296 % 36] + digits[number // 36 % 36] + digits[number % 36]


def users(count, prefix=""):
    return [prefix + short(n) for n in range(count)]


def request(name, to, **more):
    return {"id": name, "type": "bulk.news", "title": "News", "to": to, "channels": ["in_app"],
            "receipts": "none", **more}


def ask(client, body):
    client.publish("up/request", json.dumps(body, separators=(",", ":")))


def count(stack, table, where="true"):
    return int(stack.postgres.value("select count(*) from %s where %s" % (table, where)))


def all_made(stack, timeout=60):
    wait_until(lambda: count(stack, "expansion") == 0, timeout, "all deliveries")


def give_targets(stack, people, each):
    """`each` email addresses for each of them, as if their services had put them there."""
    stack.postgres.sql(
        "insert into target (user_id, channel, kind, token, address) "
        "select u, 3, 4, u || '-' || n || '@example.org', u || '-' || n || '@example.org' "
        "from unnest('{%s}'::text[]) u, generate_series(1, %d) n" % (",".join(people), each))


@pytest.fixture
def shop(stack):
    with Client(stack, "service", "shop") as client:
        client.subscribe("down/#")
        yield client


def log_of(server):
    with open(server.log) as file:
        return file.read()


def test_every_recipient_of_a_large_request_is_served_once(stack, shop):
    ask(shop, request("large-1", {"users": users(9000)}))
    accepted = shop.receipt("large-1", "accepted", 30)
    all_made(stack)
    mine = "notification = x'%s'::bigint" % accepted["notification"]
    assert count(stack, "inbox", mine) == 9000
    assert int(stack.postgres.value("select count(distinct user_id) from inbox where " + mine)) == 9000
    assert stack.postgres.value("select deliveries from notification where id = x'%s'::bigint"
                                % accepted["notification"]) == "9000"
    assert books(stack)["missing"] == 0
    assert stack.bridge.metrics()["tocsin_requests_deferred_total"] >= 1


def test_a_request_with_few_users_and_many_targets_is_large_too(stack, shop):
    give_targets(stack, users(400, "m"), 16)
    ask(shop, request("targets-1", {"users": users(400, "m")},
                                       channels=["email"], at=soon(600)))
    accepted = shop.receipt("targets-1", "accepted", 30)
    all_made(stack)
    mine = "notification = x'%s'::bigint" % accepted["notification"]
    assert count(stack, "scheduled", mine) == 6400
    assert int(stack.postgres.value(
        "select count(distinct recipient) from scheduled where " + mine)) == 6400
    assert books(stack)["missing"] == 0
    assert shop.rpc("request.cancel", {"id": "targets-1"})["result"]["cancelled"] == 6400


@pytest.mark.parametrize("each, channels, priority, requests", [
    (10, ["in_app", "email", "sms", "push"], "normal", 200),
    (90, ["in_app"], "urgent", 60),
    (40, ["in_app", "email"], "low", 100)])
def test_small_requests_are_never_deferred_however_many(stack, shop, each, channels, priority,
                                                        requests):
    """More than one share of a batch in one message: groups of it, and no expansion of each."""
    assert each * len(channels) * requests > 4000
    before = stack.bridge.metrics()["tocsin_requests_deferred_total"]
    name = "small-%d" % each
    ask(shop, [request("%s-%d" % (name, n), {"users": users(each)}, channels=channels,
                       priority=priority, at=soon(600)) for n in range(requests)])
    wait_until(lambda: count(stack, "notification", "request like '%s-%%'" % name) == requests, 30,
               "all stored")
    assert stack.bridge.metrics()["tocsin_requests_deferred_total"] == before
    assert count(stack, "scheduled", "notification in (select id from notification where request "
                 "like '%s-%%')" % name) == requests * each * len(channels)


def test_what_is_urgent_is_stored_before_the_rest_of_its_batch(stack, shop):
    body = [request("row-%d" % n, {"user": "bob"}, priority="normal") for n in range(300)]
    body.append(request("row-urgent", {"user": "bob"}, priority="urgent"))
    ask(shop, body)
    wait_until(lambda: count(stack, "notification", "request like 'row-%'") == 301, 30, "all stored")
    first = stack.postgres.value(
        "select request from notification where request like 'row-%' order by id limit 1")
    assert first == "row-urgent"
    assert count(stack, "inbox", "notification in (select id from notification where request like "
                 "'row-%')") == 301


def test_what_is_more_important_is_expanded_first(stack, shop):
    """Both of one message, and for the same users: the numbers in their inboxes say the order."""
    people = users(4100, "v")
    ask(shop, [request("later-1", {"users": people}, priority="normal"),
               request("sooner-1", {"users": people}, priority="high")])
    wait_until(lambda: count(stack, "notification", "request in ('later-1', 'sooner-1')") == 2, 30,
               "both accepted")
    all_made(stack)
    assert int(stack.postgres.value(
        "select count(*) from inbox a join inbox b using (user_id) "
        "join notification n on n.id = a.notification and n.request = 'sooner-1' "
        "join notification m on m.id = b.notification and m.request = 'later-1' "
        "where a.seq < b.seq")) == 4100


def soon(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def test_more_than_a_hundred_thousand_deliveries_are_refused(stack, shop):
    give_targets(stack, users(6300, "c"), 16)
    ask(shop, request("crowd-1", {"users": users(6300, "c")},
                                       channels=["email"], at=soon(600)))
    refused = shop.receipt("crowd-1", "rejected", 30)
    assert (refused["reason"], refused["field"]) == ("too_large", "/to")
    assert count(stack, "notification", "request = 'crowd-1'") == 0


def test_a_cancelled_request_makes_no_more_deliveries(stack, shop):
    """Cancelled while it is expanded: what was made is cancelled, the rest is never made."""
    ask(shop, request("stop-1", {"users": users(9000)}, at=soon(600)))
    accepted = shop.receipt("stop-1", "accepted", 30)
    reply = shop.rpc("request.cancel", {"id": "stop-1"})
    mine = "notification = x'%s'::bigint" % accepted["notification"]
    assert count(stack, "expansion") == 0
    wait_until(lambda: count(stack, "scheduled", mine) == 0, 10, "nothing left")
    made = int(stack.postgres.value("select deliveries from notification where id = x'%s'::bigint"
                                    % accepted["notification"]))
    assert reply["result"]["cancelled"] == made
    assert books(stack)["missing"] == 0


@contextlib.contextmanager
def held_expansion(stack, shop, body):
    """Accepted, nothing made of it, and its row locked; ends the lock when it is called."""
    table, row = stack.postgres.session(), stack.postgres.session()
    try:
        table("begin")
        table("lock table %s in share mode" % ("scheduled" if "at" in body else "delivery"))
        ask(shop, body)
        accepted = shop.receipt(body["id"], "accepted", 30)
        row("begin")
        row("select from expansion where notification = x'%s'::bigint for update"
            % accepted["notification"])
        table(None)
        table = None
        yield accepted, lambda: row("commit")
    finally:
        if table:
            table(None)
        row(None)


def waits_to_drop(stack):
    """When the bridge began to wait for the row; None while it does not."""
    since = stack.postgres.value(
        "select coalesce(max(query_start)::text, 'never') from pg_stat_activity where query like '%DELETE FROM expansion%' "
        "and query like '%$1::bigint' and wait_event_type = 'Lock'")
    return None if since == "never" else since


@pytest.mark.parametrize("call", ["request.cancel", "request.retract"])
def test_a_call_waits_for_the_slice_that_holds_its_expansion(stack, shop, call):
    """For longer than one statement waits for a lock: it is tried again, and nothing is left."""
    body = request("held-" + call, {"users": users(9000)}, at=soon(600))
    with held_expansion(stack, shop, body) as (accepted, let_go), \
            concurrent.futures.ThreadPoolExecutor() as pool:
        reply = pool.submit(shop.rpc, call, {"id": body["id"]}, timeout=60)
        first = wait_until(lambda: waits_to_drop(stack), 20, "the first try")
        wait_until(lambda: (waits_to_drop(stack) or first) != first, 20, "the second try")
        let_go()
        assert reply.result()["result"]["cancelled"] == count(
            stack, "attempt", "notification = x'%s'::bigint" % accepted["notification"])
    left = "notification = x'%s'::bigint" % accepted["notification"]
    assert count(stack, "expansion", left) == count(stack, "scheduled", left) == 0
    assert books(stack)["missing"] == 0


def test_a_call_that_cannot_stop_an_expansion_is_unavailable(stack, shop):
    body = request("stuck-1", {"users": users(9000)}, at=soon(600))
    with held_expansion(stack, shop, body) as (accepted, _):
        reply = shop.rpc("request.cancel", {"id": "stuck-1"}, timeout=60)
        assert reply["error"]["code"] == "unavailable", reply
        left = "notification = x'%s'::bigint" % accepted["notification"]
        assert count(stack, "expansion", left) == 1
    assert "result" in shop.rpc("request.cancel", {"id": "stuck-1"}, timeout=60)
    assert count(stack, "expansion", left) == count(stack, "scheduled", left) == 0


def test_ids_that_are_taken_are_replaced(stack, shop):
    """As after a failover to a host whose clock is behind: rows lie ahead of the ids."""
    node = int(stack.postgres.value("select node from bridge"))
    for table, columns, values in (
            ("notification", "id, service, request, type, priority, receipts, deliveries, created_at,"
             " content", "%s, 'planted', 'p', 't', 2, 0, 0, now(), '{}'"),
            ("delivery", "id, notification, due_at, destination, channel, priority, state,"
             " recipient_kind, recipient, user_id, head",
             "%s, 1, now() + interval '1 hour', 1, 0, 2, 0, 0, 'planted', '', 0")):
        stack.postgres.sql(
            "insert into %s (%s) select %s from generate_series(0, 11999) ms" % (
                table, columns, values % (
                    "((extract(epoch from now()) * 1000)::bigint + ms << 22) | (%d << 12) | %d"
                    % (node, table == "delivery"))))
    for n in range(5):
        ask(shop, request("taken-%d" % n, {"user": "bob"}))
        shop.receipt("taken-%d" % n, "accepted", 20)
    assert "ingest.collision" in log_of(stack.bridge)
    assert "ingest.unstorable" not in log_of(stack.bridge)
    stack.postgres.sql("delete from delivery where recipient = 'planted'")
    assert int(stack.postgres.value("select count(*) - count(distinct id) from delivery")) == 0


def test_ids_of_a_node_go_on_behind_those_that_are_there(new_stack):
    stack = new_stack(settings={"bridge.node": 7})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        stack.bridge.stop()
        ahead = ("((extract(epoch from now()) * 1000)::bigint + 8000 << 22) | (7 << 12) | 1000")
        stack.postgres.sql(
            "insert into notification (id, service, request, type, priority, receipts, deliveries,"
            " created_at, content) values (%s, 'planted', 'p', 't', 2, 0, 0, now(), '{}')" % ahead)
        last = int(stack.postgres.value("select max(id) from notification"))
        stack.bridge.start()
        ask(shop, request("behind-1", {"user": "bob"}))
        accepted = shop.receipt("behind-1", "accepted", 20)
    assert int(accepted["notification"], 16) > last


def test_nodes_go_round(new_stack):
    stack = new_stack()
    nodes = []
    for _ in range(3):
        nodes.append(int(stack.postgres.value("select node from bridge")))
        stack.bridge.stop()
        stack.bridge.start()
    assert len(set(nodes)) == 3, nodes


def test_one_request_never_needs_more_than_a_deadline(new_stack):
    """40,000 deliveries take longer than the deadline: no statement has all of them."""
    stack = new_stack(settings={"postgres.deadline": "700ms"})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        ask(shop, request("slow-1", {"users": users(10000)}, at=soon(600),
                                           channels=["in_app", "email", "sms", "push"]))
        accepted = shop.receipt("slow-1", "accepted", 60)
        wait_until(lambda: count(stack, "expansion") == 0, 120, "all deliveries")
        assert count(stack, "scheduled",
                     "notification = x'%s'::bigint" % accepted["notification"]) == 40000


def test_a_service_has_a_budget_in_deliveries(new_stack):
    stack = new_stack(settings={"requests.deliveries_rate": 100})
    with Client(stack, "service", "evil") as evil, Client(stack, "service", "good") as good:
        evil.subscribe("down/#")
        good.subscribe("down/#")
        bodies = [request("much-%d" % n, {"users": users(4000)}, at=soon(600)) for n in range(4)]
        for body in bodies:
            ask(evil, body)
        refused = evil.receipt("much-3", "rejected", 30)
        assert (refused["reason"], refused["field"]) == ("rate_limited", "/to")
        ask(good, request("little", {"user": "bob"}))
        good.receipt("little", "accepted", 10)
        # One that was accepted stays so, whatever the budget says now.
        ask(evil, bodies[0])
        wait_until(lambda: len(evil.receipts("much-0")) == 2, 10, "an answer to the repeat")
        assert [r["status"] for r in evil.receipts("much-0")] == ["accepted", "accepted"]
        assert stack.bridge.metrics()["tocsin_requests_limited_total"] >= 1


def test_what_was_accepted_before_takes_nothing_from_the_budget(new_stack):
    """1,000 at once and 20 a second: 900, the same nine times again, and 90 new ones."""
    stack = new_stack(settings={"requests.deliveries_rate": 20})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        body = [request("again-%d" % n, {"users": users(90)}, at=soon(600)) for n in range(10)]
        for _ in range(9):
            ask(shop, body)
        ask(shop, body + [request("new-1", {"users": users(90)}, at=soon(600))])
        shop.receipt("new-1", "accepted", 30)
        wait_until(lambda: all(len(shop.receipts(one["id"])) == 10 for one in body), 20, "answers")
        assert {r["status"] for one in body for r in shop.receipts(one["id"])} == {"accepted"}


def test_a_batch_that_is_dropped_takes_nothing_from_the_budget(new_stack):
    """Dropped, since a lock is held, and read again: 200 at once and four a second."""
    stack = new_stack(settings={"requests.deliveries_rate": 4})
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        lock = stack.postgres.session()
        try:
            lock("begin")
            lock("lock table request_key in share mode")
            ask(shop, request("dropped-1", {"users": users(190)}, at=soon(600)))
            wait_until(lambda: log_of(stack.bridge).count("ingest.abandoned") or None, 60, "the drop")
        finally:
            lock(None)
        shop.receipt("dropped-1", "accepted", 30)
        ask(shop, request("dropped-2", {"user": "bob"}))
        shop.receipt("dropped-2", "accepted", 30)


def test_targets_of_a_deferred_request_are_paid_for_once(new_stack):
    """6,300 users may have more than 100,000 addresses, so they are counted first."""
    stack = new_stack(settings={"requests.deliveries_rate": 400})
    give_targets(stack, users(1000, "o"), 9)
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        ask(shop, request("once-1", {"users": users(6300, "o")}, channels=["email"], at=soon(600)))
        shop.receipt("once-1", "accepted", 30)
        all_made(stack)
        assert count(stack, "scheduled") == 5300 + 9000
        ask(shop, request("once-2", {"user": "bob"}))
        shop.receipt("once-2", "accepted", 30)


def test_after_a_crash_the_lane_is_read_one_by_one(new_stack):
    stack = new_stack(start=False, settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.bridge.stop()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        for n in range(40):
            ask(shop, request("one-%d" % n, {"user": "bob"}))
        stack.bridge.env["TOCSIN_CRASH_AT"] = "ingest.commit_sent:1"
        stack.bridge.start(wait=False)
        wait_until(lambda: not stack.bridge.running or None, 30, "the crash")
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        for n in range(40):
            shop.receipt("one-%d" % n, "accepted", 30)
    assert "lane.careful lane=requests crashes=1" in log_of(stack.bridge)
    wait_until(lambda: count(stack, "lane", "name = 'requests' and crashes > 0") == 0, 10, "the crash is forgotten")
    commits = stack.bridge.metrics()["tocsin_ingest_commit_seconds_count"]
    assert commits >= 40, "each message was a batch of its own"


def test_killed_while_it_expands_every_recipient_is_served_once(new_stack):
    stack = new_stack(start=False, settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.bridge.stop()
    stack.bridge.env["TOCSIN_CRASH_AT"] = "expand.made:2"
    stack.bridge.start()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        ask(shop, request("crash-1", {"users": users(10000)}))
        accepted = shop.receipt("crash-1", "accepted", 30)
        wait_until(lambda: not stack.bridge.running or None, 30, "the crash")
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        stack.bridge.start()
        wait_until(lambda: count(stack, "expansion") == 0, 60, "all deliveries")
    mine = "notification = x'%s'::bigint" % accepted["notification"]
    assert count(stack, "inbox", mine) == 10000
    assert int(stack.postgres.value("select count(distinct user_id) from inbox where " + mine)) == 10000
    assert books(stack)["missing"] == 0


@pytest.mark.parametrize("how", ["removed", "narrowed"])
def test_what_no_destination_takes_any_more_is_reported(new_stack, how):
    """Accepted with SMS; before all is made the destinations of SMS leave the configuration."""
    stack = new_stack(start=False, settings={"bridge.lease": "3s"})
    if not has_crash_points(stack.build or servers.build_dir()):
        pytest.skip("this build has no crash points: build the preset debug or asan")
    stack.start()
    stack.bridge.stop()
    stack.bridge.env["TOCSIN_CRASH_AT"] = "expand.made:1"
    stack.bridge.start()
    with Client(stack, "service", "shop") as shop:
        shop.subscribe("down/#")
        ask(shop, request("left-1", {"users": users(9000)}, at=soon(600), receipts="final",
                          channels=["in_app", "sms"]))
        accepted = shop.receipt("left-1", "accepted", 30)
        wait_until(lambda: not stack.bridge.running or None, 30, "the crash")
        assert count(stack, "expansion") == 1
        del stack.bridge.env["TOCSIN_CRASH_AT"]
        if how == "removed":
            del stack.bridge.tree_config["destinations"]["twilio"]
        else:
            stack.bridge.set("destinations.twilio.types", ["other.type"])
        stack.bridge.start()
        dead = shop.receipt("left-1", "dead", 60)
        assert dead["reason"] == "no_target" and "not made" in dead["detail"]
        all_made(stack)
        state = shop.rpc("request.status", {"id": "left-1"})["result"]
        assert "is_expanding" not in state and state["notification"] == accepted["notification"]
    made = count(stack, "scheduled", "channel = 0")
    assert made == 9000 if how == "narrowed" else 0 < made < 9000
    assert books(stack)["missing"] == 0
