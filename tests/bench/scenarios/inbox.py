# SPDX-License-Identifier: MIT
"""A user's inbox of 10,000: pages of 50 asked for by rpc, one after the other, by a Python client (which
takes part of the time), newest first, from the middle, and upwards.  Then a broadcast to 10,000 connected
users, from the service's publish to the last user's socket, and what it left in the database."""
import time

import measure
from client import Client
from crowd import Crowd
from rig import Lost, Rig, number, say

NAME = "inbox"
WITH = ("reconnect", "desk")
GOAL = ("a history of 50 from an inbox of 10,000: p95 under 10 ms; a broadcast to 10,000 connected users: "
        "the last one within 2 s, one row")
ORDER = 50
BOX, CROWD, CALLS = 10000, 10000, 400
PAGES = {"newest": {}, "middle": {"before": BOX // 2}, "upwards": {"since_seq": BOX // 2}}

# Copies the first entry and its notification, under the ids before them.
FILL = """
with n as (select * from notification where id =
      (select notification from inbox where user_id = 'reader' and seq = 1)),
  g as (select generate_series(2, %(box)d) as seq),
  i as (insert into notification select n.id - %(box)d - 1 + g.seq, n.service, n.request, n.type,
      n.priority, 2, 0, n.created_at, n.expires_at, n.collapse_key, n.retry, n.content from n, g
      returning 1),
  b as (insert into inbox (user_id, seq, delivery, notification) select 'reader', g.seq,
      n.id - %(box)d - 1 + g.seq, n.id - %(box)d - 1 + g.seq from n, g returning 1),
  u as (update inbox_user set last_seq = %(box)d, unread = %(box)d, unseen = %(box)d
      where user_id = 'reader' returning 1)
select (select count(*) from b)"""


def percentiles(took):
    took = sorted(took)
    return {**{"p%d" % p: round(took[len(took) * p // 100], 2) for p in (50, 95, 99)},
            "max": round(took[-1], 2)}


def pages(rig, shop, box, calls):
    with Client(rig.stack, "user", "reader") as reader:
        reader.subscribe("down/#")
        shop.publish("up/request", {"id": "first", "type": "bench.inbox", "title": "Hello",
                                    "body": "x" * 200, "to": {"user": "reader"}})
        reader.publish("up/ack", {"ids": [reader.wait(
            lambda m: m.topic.endswith("/inbox")).json["id"]]})
        shop.receipt("first", "delivered")
        rig.stack.postgres.sql(FILL % {"box": box})
        rig.stack.postgres.sql("analyze inbox; analyze notification; select 1")
        found = {}
        for name, params in PAGES.items():
            took = []
            for _ in range(calls):
                began = time.perf_counter()
                page = reader.rpc("history", {"limit": 50, **params})["result"]
                took.append((time.perf_counter() - began) * 1000)
                if len(page["items"]) != 50 or not page["complete"]:
                    raise Lost("a page of %d" % len(page["items"]))
                del reader.messages[:]
            found[name] = percentiles(took)
            say("history, %s: p95 %.1f ms" % (name, found[name]["p95"]))
        return found


def broadcast(rig, shop, count):
    bytes_before = rig.stored_bytes()
    with Crowd(rig.stack.broker, count, "notify/v1/broadcast/inbox") as crowd:
        measure.forget_peak(rig.stack.bridge.pid)
        began = time.monotonic()
        shop.publish("up/request", {"id": "all", "type": "bench.all", "title": "Hello",
                                    "body": "x" * 200, "to": {"broadcast": True}})
        times = [at - began for at in crowd.arrivals()]
    rows = rig.stack.postgres.sql("select (select count(*) from shared),"
                                  " (select count(*) from shared_mark)")[0]
    if rows != ["1", "0"]:
        raise Lost("a broadcast left %s rows" % rows)
    say("broadcast to %d: the last after %.2f s" % (count, times[-1]))
    return {"users": count, "first_s": round(times[0], 4), "half_s": round(times[count // 2], 3),
            "last_s": round(times[-1], 3), "bytes": rig.stored_bytes() - bytes_before,
            "bridge_peak_mb": measure.rss_mb(rig.stack.bridge.pid)[1]}


def run(args, build):
    small = args.quick
    with Rig(build, args.settings) as rig, Client(rig.stack, "service", "bench") as shop:
        shop.subscribe("down/#")
        found = pages(rig, shop, BOX, CALLS // 8 if small else CALLS)
        told = broadcast(rig, shop, CROWD // 20 if small else CROWD)
    return {"history_ms": found, "broadcast": told}


def tables(result):
    yield ("history of 50 from %s, ms" % number(BOX, 0),
           [["page", "p50", "p95", "p99", "max"]] +
           [[name] + [number(value) for value in took.values()]
            for name, took in result["history_ms"].items()])


def facts(result):
    told = result["broadcast"]
    yield ("A broadcast to %s connected users: the first had it after %s ms, half of them after %s s, "
           "the last after %s s; one row." % (
               number(told["users"], 0), number(told["first_s"] * 1000), number(told["half_s"], 2),
               number(told["last_s"], 2)))
