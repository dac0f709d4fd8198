# SPDX-License-Identifier: MIT
"""What is run: the anomalies of READ COMMITTED, by hand, where the store's statements have their
shape; and every statement that changes rows against itself, or with --all against each other.
"""
import itertools

import plans
import samples
from driver import BEGIN, COMMIT, ROLLBACK, Call, Spec, Sql
from samples import ack, bury, claim, dlq_feed, dlq_mark, expand, ingest, mark, retry, settle, wake

# Statements whose pairs say nothing, and why.
ALONE = {
    "register": "two that want the same node number: one fails and asks again",
    "make_partitions": "changes the catalogue, not rows; tests/integration/test_partitions.py",
    "drop_partition": "changes the catalogue, not rows; tests/integration/test_partitions.py",
}


def bridges(*epochs):
    return "SELECT " + ", ".join("iso_bridge(%d)" % epoch for epoch in epochs)


def gate(table, where):
    """A session that queues for one row: what waits behind it keeps its snapshot meanwhile."""
    return [Sql("lock", "BEGIN; SELECT FROM %s WHERE %s FOR UPDATE" % (table, where)),
            Sql("open", "COMMIT")]


# A session that waits stands inside its next statement while the gate is shut: see world.sql.
SHUT = Sql("shut", "SELECT pg_advisory_lock(77)")
OPEN = Sql("open", "SELECT pg_advisory_unlock(77)")
WAITS = Sql("waits", "SET iso.waits = 'yes'")


def by_itself(name, setup, first, second, **more):
    """Two statements, the first in a transaction of its own, with both of its ends."""
    for end in (COMMIT, ROLLBACK):
        yield Spec("%s %s" % (name, end), setup, {"B2": [BEGIN, first, end], "B3": [second]}, **more)


# ---- the anomalies on a table of their own: that they are seen at all ----

PLAIN = ["CREATE TABLE IF NOT EXISTS iso_job (id int PRIMARY KEY, owner int)",
         "CREATE TABLE IF NOT EXISTS iso_owner (id int PRIMARY KEY)",
         "DELETE FROM iso_job; DELETE FROM iso_owner",
         "INSERT INTO iso_owner VALUES (2); INSERT INTO iso_job VALUES (1, 1)"]
TAKEN = [("taken from the living", "SELECT * FROM iso_job WHERE owner IS NULL AND EXISTS"
          " (SELECT FROM iso_answer WHERE step = 'take')")]


def shown(world):
    take = Sql("take", "UPDATE iso_job SET owner = 2 WHERE owner = 1 RETURNING id")
    anti = Sql("free", "UPDATE iso_job j SET owner = NULL WHERE NOT EXISTS"
               " (SELECT FROM iso_owner o WHERE o.id = j.owner)")
    born = Sql("take", "BEGIN; INSERT INTO iso_owner VALUES (3); UPDATE iso_job SET owner = 3"
               " WHERE owner = 1 RETURNING id")
    sub = Sql("free", "UPDATE iso_job j SET owner = NULL WHERE owner IS NOT NULL AND (owner = 0"
              " OR NOT EXISTS (SELECT FROM iso_owner o WHERE o.id = j.owner))")
    value = Sql("free", "UPDATE iso_job j SET owner = NULL WHERE owner = ANY (ARRAY(SELECT i.owner"
                " FROM iso_job i WHERE NOT EXISTS (SELECT FROM iso_owner o WHERE o.id = i.owner)))")
    del world
    yield Spec("shown: an anti join looks at the new row alone", PLAIN,
               {"B2": [BEGIN, take, COMMIT], "B3": [anti]}, TAKEN, is_bad=True)
    yield Spec("shown: a sub-plan looks with the old snapshot", PLAIN,
               {"B2": [born, COMMIT], "B3": [sub]}, TAKEN, is_bad=True)
    yield Spec("shown: values chosen before hold for the new row", PLAIN,
               {"B2": [born, COMMIT], "B3": [value]}, TAKEN)


# ---- the bridges among themselves ----

ONE_CRASH = ("one crash costs one", "SELECT iso_number(id), crashes FROM delivery WHERE crashes > 1")


def fleet(world):
    dead = [bridges(2, 3), "SELECT iso_accept(1, 4, 1, 1)"]
    yield Spec("sweep", dead, {
        "B2": [BEGIN, Call("sweep"), COMMIT, claim(2)], "B3": [Call("sweep")],
        "gate": gate("delivery", "id = %d" % world.id(2))}, [ONE_CRASH], most=0)
    yield Spec("sweep and what its dead say late", dead, {
        "B1": [BEGIN, settle(world, 1, [2, 3]), COMMIT], "B2": [Call("sweep"), claim(2)],
        "B3": [Call("sweep")]}, [ONE_CRASH])
    yield Spec("sweep and leave", [bridges(2, 3), "SELECT iso_accept(1, 4, 1, 2)"], {
        "B2": [BEGIN, Call("leave", 2, "now"), COMMIT], "B3": [Call("sweep"), claim(3)]},
        [("a bridge that leaves has not crashed", "SELECT iso_number(id) FROM delivery"
          " WHERE crashes > 0")])
    lanes = [bridges(3), "UPDATE lane SET epoch = 1"]
    yield Spec("lanes", lanes, {
        "B4": [Sql("join", bridges(4)), Call("lanes", 4, 0)], "B3": [WAITS, Call("lanes", 3, 0)],
        "gate": [SHUT, OPEN]},
        [("a lane is told to two", "SELECT row->>0 FROM iso_answer WHERE step = 'lanes'"
          " GROUP BY 1 HAVING count(*) > 1")], most=0)
    yield Spec("lanes and in hand", lanes, {
        "B4": [Sql("join", bridges(4)), Call("lanes", 4, 0)],
        "B1": [BEGIN, Call("lane_in_hand", 1, "requests", "\\x01"), COMMIT]},
        [("one crash counts as several", "SELECT name FROM lane WHERE in_hand_crashes > 1")], most=0)
    yield Spec("reap", [bridges(2, 3), "INSERT INTO untold VALUES (50, now(), 1)"], {
        "B4": [Sql("join", bridges(4)), Call("reap", 4, 15000, 5000, "b4")],
        "B3": [WAITS, Call("reap", 3, 15000, 5000, "b3")], "gate": [SHUT, OPEN]},
        [("what is untold is given to two", "SELECT row->>1 FROM iso_answer WHERE step = 'reap'"
          " AND row->>0 = '1' GROUP BY 1 HAVING count(*) > 1")], most=0)
    yield Spec("leave and reap", [
        "INSERT INTO bridge (epoch, node, name, host, lease_until) VALUES"
        " (2, 2, 'b2', 'h', now() - interval '1 hour')", bridges(3), "SELECT iso_accept(1, 2, 1, 2)"], {
        "B2": [BEGIN, Call("leave", 2, "now"), COMMIT],
        "B3": [BEGIN, Call("reap", 3, 15000, 5000, "b3"), COMMIT, Call("sweep")]},
        [("nothing is left behind", "SELECT iso_number(id) FROM delivery d WHERE state = 1 AND NOT EXISTS"
          " (SELECT FROM bridge WHERE epoch = d.epoch)")], most=0)
    events = [bridges(3),
              "INSERT INTO callback_event (received_at, fold_at, destination, report, reason, key,"
              " provider_id, name, raw, teller) SELECT now(), NULL, 1, 30, 0, 'k' || i, 'p' || i,"
              " 'delivered', '', 1 FROM generate_series(1, 3) i"]
    yield Spec("callbacks_untold", events, {
        "B4": [Sql("join", bridges(4)),
               Sql("take", "UPDATE callback_event SET teller = 4 WHERE teller = 1 RETURNING id")],
        "B3": [WAITS, Call("callbacks_untold", 3, False, 10)], "gate": [SHUT, OPEN]},
        [("an event has two to tell it", "SELECT id FROM callback_event WHERE teller = 3 AND id IN"
          " (SELECT (row->>0)::bigint FROM iso_answer WHERE step = 'take')")], most=0)
    yield Spec("take_slots", ["UPDATE destination SET next_slot = now() + interval '1 hour'"], {
        "B2": [Call("take_slots", 1, 5, 1000000), Call("take_slots", 1, 5, 1000000)],
        "B3": [BEGIN, Call("take_slots", 1, 10, 1000000), COMMIT]},
        [("slots are given twice", "SELECT next_slot FROM destination WHERE id = 1"
          " AND next_slot < now() + interval '1 hour 18 s'"),
         ("two begin at the same moment", "SELECT round((row->>0)::numeric / 1000000) FROM iso_answer"
          " GROUP BY 1 HAVING count(*) > 1")], most=0)
    yield Spec("forget_flows", [bridges(2), "INSERT INTO bridge_destination VALUES (1, 1, 0)"], {
        "B4": [Sql("join", bridges(4)), Call("report_flows", 4, [1], [0], [1], [1], [1], [1], [1], [1])],
        "B3": [Call("forget_flows")],
        "gate": gate("bridge_destination", "epoch = 1")},
        [("a living bridge's row", "SELECT 1 WHERE NOT EXISTS (SELECT FROM bridge_destination"
          " WHERE epoch = 4)")])


# ---- one delivery, several that want it ----

def queue(world):
    ready = [bridges(2, 3), "SELECT iso_accept(1, 4)"]
    leased = [bridges(2, 3), "SELECT iso_accept(1, 3, 1, 2)"]
    in_app = [bridges(2, 3), "SELECT iso_accept(1, 3, 1, 2, 0)"]
    here = [in_app[0], in_app[1], "UPDATE delivery SET state = 0, epoch = NULL, last_reason = 1"]
    cancel = Call("cancel", 3, world.id(1), world.id(9))
    retract = Call("retract", 3, world.id(1), world.id(9))
    twice = ("claimed by two", "SELECT row->>0 FROM iso_answer WHERE step IN ('claim', 'wake')"
             " GROUP BY 1 HAVING count(DISTINCT session) > 1")
    passed_over = ("passed over and never found", "SELECT iso_number(id) FROM delivery WHERE state = 0")
    yield Spec("claim and claim", ready, {
        "B2": [BEGIN, claim(2, room=2), COMMIT], "B3": [claim(3, room=2), claim(3)],
        "late": [Sql("end", "SELECT 1")]}, [twice])
    yield Spec("what is passed over is found", ready, {
        "B2": [BEGIN, claim(2, room=2), ROLLBACK, claim(2)], "B3": [claim(3)]}, [passed_over, twice])
    yield Spec("claim under an epoch that is over", ready, {
        "B2": [claim(2)], "B3": [BEGIN, Call("reap", 3, 15000, 5000, "b3"), COMMIT, Call("sweep")],
        "clock": [Sql("late", "UPDATE bridge SET lease_until = now() - interval '1 hour' WHERE epoch = 2")]},
        [("leased by nobody", "SELECT iso_number(id) FROM delivery d WHERE state = 1 AND NOT EXISTS"
          " (SELECT FROM bridge WHERE epoch = d.epoch)")], answers=False)
    for name, setup, first, second in [
            ("settle and cancel", leased, settle(world, 2, [2, 3]), cancel),
            ("retry and cancel", leased, retry(world, 2, [2, 3]), cancel),
            ("settle and retract", in_app, settle(world, 2, [2, 3], 4, via=7), retract),
            ("retry and retract", in_app, retry(world, 2, [2, 3], 2, via=7), retract),
            ("bury and retract", in_app, bury(world, 2, [2, 3], via=7), retract),
            ("ack and settle", in_app, ack(world, 3, [(2, "u1"), (3, "u2")]),
             settle(world, 2, [2, 3], 4, via=7)),
            ("ack and bury", in_app, ack(world, 3, [(2, "u1"), (3, "u2")]), bury(world, 2, [2, 3], via=7)),
            ("ack and retry", in_app, ack(world, 3, [(2, "u1"), (3, "u2")]), retry(world, 2, [2, 3], via=7)),
            ("ack and retract", in_app, ack(world, 2, [(2, "u1"), (3, "u2")]), retract),
            ("wake and ack", here, wake(2, "u1", "u2"), ack(world, 3, [(2, "u1"), (3, "u2")])),
            ("wake and retract", here, wake(2, "u1", "u2"), retract),
            ("wake and cancel", here, wake(2, "u1", "u2"), cancel),
            ("wake and claim", here, wake(2, "u1", "u2"), claim(3, 7)),
            ("reconcile and settle", leased, settle(world, 2, [2]), Call("reconcile", 2, [world.id(2)]))]:
        yield from by_itself(name, setup, first, second, never=[twice])
    yield Spec("claim, cancel and settle", ready, {
        "B2": [claim(2, room=2), settle(world, 2, [2, 3])], "B3": [BEGIN, cancel, COMMIT]}, [twice])
    newest = here + ["INSERT INTO collapse (service, key, channel, recipient_kind, recipient, delivery)"
                     " SELECT 's', 'k', 0, 0, 'u1', iso_id(i) FROM (VALUES (2), (3)) v(i)"]
    for first in (wake(2, "u1"), claim(2, 7), ack(world, 2, [(2, "u1")])):
        yield from by_itself("%s and collapse" % first.name, newest, first, Call("collapse", 3))


# ---- what is dead, and comes back ----

def dead(world):
    died = [bridges(2, 3), "SELECT iso_accept(1, 4)", "SELECT iso_kill(i) FROM generate_series(2, 4) i"]
    marked = died + ["UPDATE dead_letter SET status = 1"]
    fed = marked + ["UPDATE dead_letter SET is_dead = false WHERE delivery = iso_id(2)",
                    "INSERT INTO delivery (id, notification, due_at, destination, channel, priority, state,"
                    " epoch, recipient_kind, recipient, desk) SELECT delivery, notification, now(), 1, 3, 0,"
                    " 1, 2, recipient_kind, recipient, 1 FROM dead_letter WHERE NOT is_dead"]
    absent = [bridges(2, 3), "SELECT iso_accept(1, 3, 0, NULL, 0)",
              "SELECT iso_kill(i, 1) FROM generate_series(2, 3) i"]
    early = ("resolved while it is in the queue", "SELECT iso_number(delivery) FROM dead_letter l"
             " JOIN delivery d ON d.id = l.delivery WHERE l.status = 2")
    over = ("retrying when it is over", "SELECT iso_number(delivery) FROM dead_letter l WHERE status = 1"
            " AND NOT is_dead AND NOT EXISTS (SELECT FROM delivery d WHERE d.id = l.delivery)")
    ended = fed + ["DELETE FROM delivery WHERE desk = 1",
                   "INSERT INTO attempt (at, delivery, notification, epoch, destination, status, number,"
                   " channel, outcome, reason, segments, state, recipient_kind, recipient)"
                   " SELECT now(), iso_id(2), iso_id(1), 1, 1, 200, 2, 3, 0, 0, 0, 3, 4, 'r'"]
    yield Spec("resolve_retried", ended, {
        "B2": [Sql("reported", "UPDATE dead_letter SET is_dead = true, status = 0, died_at ="
                   " clock_timestamp() WHERE delivery = iso_id(2); INSERT INTO attempt (at, delivery,"
                   " notification, epoch, destination, status, number, channel, outcome, reason, segments,"
                   " state, recipient_kind, recipient) SELECT now(), iso_id(2), iso_id(1), 1, 1, 200, 2, 3,"
                   " 12, 0, 0, 5, 4, 'r'"),
               dlq_mark("root", 1, ids=[world.id(2)]), dlq_feed()],
        "B3": [WAITS, Call("resolve_retried")], "gate": [SHUT, OPEN]}, [early], most=60, orders=[
            "B3.waits gate.shut B3.resolve_retried B2.reported B2.dlq_mark B2.dlq_feed gate.open"])
    yield Spec("resolve_retried and a new death", fed, {
        "B2": [BEGIN, bury(world, 2, [2]), COMMIT], "B3": [Call("resolve_retried"), dlq_feed(room=1)]}, [early])
    yield Spec("an end resolves in its commit", fed, {
        "B2": [BEGIN, settle(world, 2, [2]), COMMIT], "B3": [Call("resolve_retried")]}, [early, over])
    for call in (ack(world, 2, [(2, "u1"), (3, "u2")]), ack(world, 2, [(2, "u1"), (3, "u2")], "ack_steps"),
                 settle(world, 2, [2, 3], 4, via=7), Call("retract", 2, world.id(1), world.id(9))):
        yield Spec("who came back, and %s" % call.name, absent, {
            "B2": [wake(2, "u1", "u2"), call], "B3": [Call("resolve_retried")]}, [over])
    yield Spec("cancel resolves", fed + ["UPDATE delivery SET state = 0, epoch = NULL"], {
        "B2": [Call("cancel", 2, world.id(1), world.id(9))], "B3": [Call("resolve_retried")]}, [over])
    for name, setup, first, second in [
            ("feed and feed", marked, dlq_feed(room=2), dlq_feed()),
            ("feed and mark", marked, dlq_feed(), dlq_mark("root", 3)),
            ("mark and mark", died, dlq_mark("root", 1, statuses=[0]), dlq_mark("anna", 3, statuses=[0])),
            ("feed and purge", marked, dlq_feed(), Call("dlq_purge", -2)),
            ("resolve_old and mark", died, Call("resolve_old", 0), dlq_mark("root", 1, statuses=[0])),
            ("bury and mark", fed, bury(world, 2, [2]), dlq_mark("root", 1)),
            ("wake and wake", absent, wake(2, "u1", "u2"), wake(3, "u1", "u2")),
            ("wake and mark", absent, wake(2, "u1", "u2"), dlq_mark("root", 1)),
            ("wake and feed", absent + ["UPDATE dead_letter SET status = 1"], dlq_feed(7), wake(3, "u1", "u2"))]:
        yield from by_itself(name, setup, first, second, never=[early])


# ---- inboxes, keys, steps, reports ----

def inbox(world):
    some = [bridges(2, 3), "SELECT iso_accept(1, 2, 0, NULL, 0)", "SELECT iso_accept(11, 2, 0, NULL, 0)",
            "SELECT iso_accept(21, 1, 0, NULL, 0)",
            "DELETE FROM inbox WHERE notification = iso_id(21); UPDATE inbox_user SET last_seq = last_seq - 1,"
            " unread = unread - 1, unseen = unseen - 1 WHERE user_id = 'u1'",
            "SELECT iso_schedule(22, now() - interval '1 s')"]
    new = ingest(world, 2, 800, ["u1", "u2"])
    others = [mark(world, "u1", [2, 12]), samples.mark_all(world, "u1"), Call("trim_inbox", world.id(9)),
              Call("stage"), Call("retract", 3, world.id(1), world.id(9))]
    for other in others:
        yield from by_itself("ingest and %s" % other.name, some, new, other)
    for a, b in itertools.combinations(others, 2):
        yield Spec("%s and %s" % (a, b), some, {"B2": [BEGIN, a, COMMIT], "B3": [b]})
    yield Spec("ingest, mark and trim", some, {
        "B2": [BEGIN, new, COMMIT], "B3": [others[0]], "B4": [others[2]],
        "gate": gate("inbox_user", "user_id = 'u1'")})
    expiring = some + ["INSERT INTO inbox_expiry VALUES (now() - interval '1 s', iso_id(2))"]
    yield from by_itself("expire and mark", expiring, Call("expire"), others[0])
    shared = ["INSERT INTO notification (id, service, request, type, priority, receipts, deliveries, created_at,"
              " content) VALUES (iso_id(1), 's', 'r', 't', 2, 1, 0, now(), '{}')",
              "INSERT INTO shared (seq, delivery, notification, role) VALUES (1, iso_id(2), iso_id(1), '')",
              "UPDATE shared_head SET last_seq = 1"]
    yield from by_itself("shared_mark and trim_shared", shared, mark(world, "u1", [2], "shared_mark"),
                         Call("trim_shared", world.id(3)))


def keys(world):
    old = [bridges(2, 3), "INSERT INTO request_key (day, key, digest, notification)"
           " SELECT '1970-01-01', md5(i::text)::uuid, 1, 5 FROM generate_series(1, 3) i"]
    stored_twice = ("one id is stored twice", "SELECT count(*) FROM notification WHERE id >= iso_id(0)"
                    " HAVING count(*) > 1")
    same = [ingest(world, 2, 800, [], ["a@example.com"], key=77), ingest(world, 3, 900, [], ["a@example.com"], key=77)]
    yield from by_itself("ingest and ingest of one id", old, *same, never=[stored_twice])
    yield from by_itself("purge_keys and ingest", old, Call("purge_keys", world.id(-1)), same[0])
    yield Spec("ingest under an epoch that is over", ["SELECT 1"], {
        "B2": [ingest(world, 2, 800, [], ["a@example.com"], state=1)], "B3": [Call("sweep"), Sql("join", bridges(3)), claim(3)]},
        [("leased by nobody", "SELECT iso_number(id) FROM delivery d WHERE state = 1 AND NOT EXISTS"
          " (SELECT FROM bridge WHERE epoch = d.epoch)")])
    leftover = ["INSERT INTO notification VALUES (5, 's', 'r', 't', 2, 1, 0, now(), NULL, NULL, NULL, '{}')"]
    yield from by_itself("trim_leftovers and dlq_purge", leftover, Call("trim_leftovers", world.id(-1), "2020-01-01"),
                         Call("dlq_purge", -2))


def expansions(world):
    large = [bridges(2, 3), "SELECT iso_defer(900)"]
    yield Spec("expand and expand", large, {
        "B2": [BEGIN, expand(world, 2, 900, 0, "u1", 901), COMMIT],
        "B3": [expand(world, 3, 900, 0, "u1", 902), expand(world, 3, 900, 1, "u2", 903, True)]},
        [("a recipient is served twice", "SELECT recipient FROM delivery GROUP BY 1 HAVING count(*) > 1")],
        most=0)
    yield Spec("expand and cancel", large, {
        "B2": [BEGIN, expand(world, 2, 900, 0, "u1", 901), COMMIT,
               expand(world, 2, 900, 1, "u2", 902, True)],
        "B3": [Call("expansion_drop", world.id(900)), Call("cancel", 3, world.id(900), world.id(909))]},
        [("what was called back is still to be done", "SELECT iso_number(id) FROM delivery"
          " WHERE EXISTS (SELECT FROM iso_answer WHERE step = 'cancel')")], most=0)


def steps(world):
    chain = [bridges(2, 3), "SELECT iso_accept(1, 4, 1, 2, 0)",
             "UPDATE delivery SET recipient = 'u1', epoch = CASE id WHEN iso_id(2) THEN 2 ELSE 3 END,"
             " head = iso_id(2)",
             "SELECT iso_schedule(4, 'infinity', 2, iso_id(2)), iso_schedule(5, 'infinity', 2, iso_id(2))",
             "DELETE FROM inbox; DELETE FROM inbox_user",
             "UPDATE scheduled SET channel = 3, destination = 1, recipient_kind = 4, user_id = 'u1'"]
    both = [("nobody releases the next step", "SELECT iso_number(min(id)) FROM scheduled WHERE"
             " NOT EXISTS (SELECT FROM delivery) HAVING min(due_at) = 'infinity'")]
    yield Spec("two end the last two at once", chain, {
        "B2": [BEGIN, bury(world, 2, [2], name="bury_steps", via=7), COMMIT],
        "B3": [BEGIN, bury(world, 3, [3], name="bury_steps", via=7), COMMIT]},
        both, after=[Call("steps_sweep")])
    acked = ack(world, 3, [(2, "u1")], "ack_steps")
    for name, first, second in [
            ("bury_steps and ack_steps", bury(world, 2, [2], name="bury_steps", via=7), acked),
            ("settle_steps and ack_steps", settle(world, 2, [2], name="settle_steps", via=7), acked),
            ("retry_steps and ack_steps", retry(world, 2, [2], 2, name="retry_steps", via=7), acked),
            ("steps_sweep and ack_steps", Call("steps_sweep"), acked),
            ("settle_steps and settle_steps", settle(world, 2, [2], name="settle_steps", via=7),
             settle(world, 3, [3], name="settle_steps", via=7))]:
        yield from by_itself(name, chain, first, second)
    twice = [bridges(2, 3), "SELECT iso_accept(1, 2)",
             "INSERT INTO scheduled (id, notification, due_at, destination, channel, priority, state,"
             " recipient_kind, recipient) SELECT id, notification, now() - interval '1 s', destination, channel,"
             " priority, 0, recipient_kind, recipient FROM delivery WHERE id = iso_id(2)",
             "SELECT iso_schedule(3, now() - interval '1 s')"]
    yield Spec("one that is in the queue already stops no other", twice, {
        "B2": [Call("stage")], "B3": [claim(3)]},
        [("left behind", "SELECT iso_number(id) FROM scheduled")])
    due = chain + ["UPDATE scheduled SET due_at = now() - interval '1 s' WHERE id = iso_id(4)"]
    yield from by_itself("stage and ack_steps", due, Call("stage"), acked)
    yield from by_itself("stage and stage", due, Call("stage"), Call("stage"))


def reports(world):
    sent = ["SELECT iso_standard()"]
    yield from by_itself("callbacks_fold and callbacks_fold", sent, Call("callbacks_fold", 1, 2),
                         Call("callbacks_fold", 100, 3))
    yield from by_itself("callbacks_fold and callbacks_purge", sent, Call("callbacks_fold", 100, 2),
                         Call("callbacks_purge", 0, 0))
    yield from by_itself("callbacks_fold and dlq_mark", sent, Call("callbacks_fold", 100, 2), dlq_mark("root", 1))
    yield from by_itself("heard and unsuppress", sent, Call("heard", 2, True, "+1555", "x1", "now"),
                         Call("unsuppress", 2, "+1555", None, None, *samples.NOBODY))


# ---- all with all ----

def pairs(world, everything):
    """Each with itself; with `everything` each with each that changes a table of its own, too."""
    two, three = samples.all_samples(world, 2), samples.all_samples(world, 3)
    names = [name for name in sorted(two) if name not in ALONE and name in world.statements
             and two[name].count(world) == 0]
    tables = {name: plans.changed(world, world.statements[name]) for name in names}
    setup = ["SELECT iso_standard()"]
    for a, b in itertools.product(names, names) if everything else zip(names, names):
        for end in (COMMIT, ROLLBACK) if everything else (COMMIT,):
            if tables[a] & tables[b]:
                yield Spec("pair %s %s %s" % (a, b, end), setup,
                           {"B2": [BEGIN, two[a], end], "B3": [three[b]]}, answers=False)


def all_specs(world, everything):
    by_hand = [spec for make in (shown, fleet, queue, dead, inbox, keys, expansions, steps,
                                           reports)
               for spec in make(world)]
    return by_hand + list(pairs(world, everything))


def missing(world, chosen):
    """Statements that change rows and that nothing here runs."""
    covered = {name for spec in chosen for name in spec.statements()} | set(ALONE)
    known = samples.all_samples(world, 2)
    for name in sorted(set(world.statements) - covered):
        if not plans.changed(world, world.statements[name]):
            continue
        yield ("completeness", "%s changes or locks rows: give it a call in samples.py, and a spec in"
               " specs.py where it meets others" % name)
    for name, call in known.items():
        if name in world.statements and call.count(world):
            yield ("completeness", "the call of %s in samples.py has %+d parameters too many" % (
                name, call.count(world)))
