# SPDX-License-Identifier: MIT
"""A call of every statement that changes or locks rows, in the standard world (world.sql).

Each meets something of iso_standard(); `bridge` is the caller's epoch.  They are run against
themselves in a short run, and each against each other with --all.
"""
from driver import Call

FOREVER = "-infinity"


def settlement(name, world, bridge, numbers, state, via=1, reason=0, outcome=0, due=None, awaited=()):
    """The arrays of SETTLE_COLUMNS."""
    many = len(numbers)
    arguments = [bridge, [world.id(n) for n in numbers], [state] * many, [1] * many, [1] * many,
                 [due] * many, [outcome] * many, [reason] * many, [200] * many, [1] * many,
                 [None] * many, ["q%d" % n for n in numbers], [None] * many, [via] * many]
    return Call(name, *arguments, *([list(awaited)] if name.startswith("settle") else []))


def settle(world, bridge, numbers, state=3, name="settle", **more):
    return settlement(name, world, bridge, numbers, state, awaited=[1], **more)


def retry(world, bridge, numbers, state=0, name="retry", **more):
    return settlement(name, world, bridge, numbers, state, due="now", reason=4, outcome=2, **more)


def bury(world, bridge, numbers, name="bury", **more):
    return settlement(name, world, bridge, numbers, 5, reason=4, outcome=5, **more)


def claim(bridge, destination=1, room=10, priority=2):
    return Call("claim", bridge, destination, [priority], [room], [FOREVER], 0, 32)


def ingest(world, bridge, number, users=(), mails=(), name="ingest", state=0, key=None, collapse=None,
           expires=None, day="1970-01-01"):
    """One notification with in-app deliveries for users and mails, with the ids after its own."""
    ids = list(range(number + 1, number + 1 + len(users) + len(mails)))
    many = len(ids)
    key = "%032x" % (key or number)
    return Call(name, bridge, [world.id(number)], [day], [key], [1], ["s"], ["r%d" % number], ["t"],
                [2], [1], [many], [expires], [collapse], [None], ["{}"],
                [world.id(n) for n in ids], [world.id(number)] * many, ["epoch"] * many,
                [7] * len(users) + [1] * len(mails), [0] * len(users) + [3] * len(mails),
                [2] * many, [state] * many, [0] * len(users) + [4] * len(mails),
                list(users) + list(mails), [], [],
                *([[None], [None]] if name == "ingest_more" else []))


def defer(world, number):
    """A request whose deliveries are made later."""
    return Call("defer", 0, [world.id(number)], ["1970-01-01"], ["%032x" % number], [1], ["s"],
                ["r%d" % number], ["t"], [2], [1], [0], [None], [None], [None], ["{}"],
                [world.id(number + 1)], ["{}"], [None], [None])


def expand(world, bridge, number, first, user, at, is_last=False):
    """The slice of one user, whose delivery is `at`."""
    return Call("expand", bridge, world.id(number), first, first + 1, world.id(at + 1), is_last, 1,
                [world.id(at)], [world.id(number)], ["epoch"], [7], [0], [2], [0], [0], [user], [], [])


def wake(bridge, *users):
    return Call("wake", bridge, list(users), 10, 100, 3, [0] * len(users), [0] * len(users))


def ack(world, bridge, pairs, name="ack"):
    return Call(name, bridge, [world.id(n) for n, _ in pairs], [user for _, user in pairs])


def mark(world, user, numbers, name="inbox_mark", state=1):
    many = len(numbers)
    arguments = [[user] * many, [world.id(n) for n in numbers], [state] * many, [state] * many,
                 [max(state, 2)] * many, [True] * many, [True] * many]
    return Call(name, *arguments, *([[""] * many] if name == "shared_mark" else []))


def mark_all(world, user, name="inbox_mark_all", roles=()):
    return Call(name, user, 2**62, 0, 1, 1, 2, True, True, 100, 1000, *roles)


NOBODY = [None] * 7
ANY = [None] * 9


def dlq_mark(admin, to, ids=None, statuses=(0, 1, 2, 3), destination=None):
    return Call("dlq_mark", ids, *[None] * 7, list(statuses), 0, 100, to, admin, None, destination, None,
                None, True, "dlq.retry", "{}", "c", "moved", True)


def dlq_feed(destination=1, room=10):
    return Call("dlq_feed", [destination], [room])


def all_samples(world, bridge):
    """name -> Call, for this bridge."""
    other = 5 - bridge  # of 2 and 3
    mine = {2: [111, 112], 3: [121, 122]}[bridge]
    heads = {2: [411], 3: [421]}[bridge]
    calls = [
        ingest(world, bridge, 800 + 10 * bridge, ["u1", "u2"], ["r1@example.com"]),
        ingest(world, bridge, 850 + 10 * bridge, ["u1"], [], name="ingest_more", collapse="key",
               expires="tomorrow"),
        defer(world, 930 + 10 * bridge), expand(world, bridge, 900, 0, "u1", 900 + bridge),
        Call("expansion_drop", world.id(900)),
        claim(bridge), wake(bridge, "u1", "u2", "u3"), Call("release"), Call("steps_sweep"),
        Call("reconcile", bridge, [world.id(mine[0])]),
        settle(world, bridge, mine), retry(world, bridge, mine), bury(world, bridge, mine),
        settle(world, bridge, heads, name="settle_steps"),
        retry(world, bridge, heads, name="retry_steps", state=2),
        bury(world, bridge, heads, name="bury_steps"),
        settlement("start", world, bridge, mine, 1, outcome=8),
        ack(world, bridge, [(201, "u1"), (202, "u2"), (211, "u1"), (601, "u1")]),
        ack(world, bridge, [(201, "u1"), (211, "u1")], name="ack_steps"),
        Call("register", "n", "h", 0, 15000), Call("heartbeat", bridge, 15000, "now"),
        Call("lanes", bridge, 0), Call("lane_calm", bridge, "users"),
        Call("lane_in_hand", bridge, "requests", "\\x01"), Call("lane_drop", bridge, "admins"),
        Call("reap", bridge, 15000, 5000, "b1"), Call("sweep"), Call("leave", bridge, "now"),
        Call("told", 1, 1), Call("destination", "new", 3, "log"), Call("stage"),
        Call("purge_keys", world.id(-1)), Call("reject", "t", "w", "\\x00"),
        Call("targets_put", "u1", [3], [4], [""], ["r%d@example.com" % bridge], ["r%d@example.com" % bridge],
             [3], *NOBODY),
        Call("targets_drop", "u1", None, None, *NOBODY),
        Call("suppress", 3, "r1@example.com", "", 19, "admin", *NOBODY),
        Call("unsuppress", 3, "r9@example.com", None, None, *NOBODY),
        Call("cancel", bridge, world.id(100), world.id(109)),
        mark(world, "u1", [201, 211, 601]), mark_all(world, "u1"),
        mark(world, "u1", [701], name="shared_mark"),
        mark_all(world, "u1", "shared_mark_all", roles=["", ]),
        Call("collapse", bridge), Call("expire"), Call("retract", bridge, world.id(200), world.id(209)),
        Call("take_slots", 1, 5, 1000), Call("pause", 1, 1000),
        Call("callbacks_keep", [1], [30], [0], [None], ["k9"], ["p501"], ["opened"], [None], [""],
             [None], [False]),
        Call("callbacks_fold", 100, bridge), Call("callbacks_purge", 0, 0), Call("callbacks_adopt"),
        Call("unsubscribe", world.id(501), 3, "r1@example.com", ""),
        Call("heard", 2, True, "+1555", "x1", "now"),
        Call("callbacks_untold", bridge, False, 10), Call("callbacks_told", [1, 2, 3]),
        Call("pause_destination", "mail", "root", None, "m", "{}", None),
        Call("pause_channel", 3, "root", None, "m", "{}", None),
        Call("resume_destination", "text", "root", None, "m", "{}", None),
        Call("resume_channel", 2, "root", None, "m", "{}", None),
        Call("report_flows", bridge, [1, 7], [0, 0], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1]),
        Call("forget_flows"), dlq_mark("root", 1), dlq_feed(), Call("dlq_purge", -2),
        Call("trim_inbox", world.id(209)), Call("trim_shared", world.id(702)),
        Call("resolve_retried"), Call("resolve_old", 0),
        Call("alert_save", "a", 0, None, True, "now", 1, 1),
        Call("trim_leftovers", world.id(-1), "2020-01-01"), Call("trim_rejects", "now"),
        Call("make_partitions", 1000), Call("drop_partition", 400, 1000),
    ]
    del other
    return {call.name: call for call in calls}
