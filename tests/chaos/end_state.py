# SPDX-License-Identifier: MIT
"""The end state of the database, as rows of the recording; only SQL, and no judgement."""

import json

TABLES = {
    "notification": "select id, service, request, deliveries, extract(epoch from created_at) as"
                    " created, extract(epoch from expires_at) as expires from notification",
    "attempt": "select delivery, notification, epoch, number, channel, outcome, state, reason,"
               " recipient, extract(epoch from at) as at from attempt",
    "dead_letter": "select delivery, notification, channel, recipient, reason, is_dead, status,"
                   " extract(epoch from died_at) as died from dead_letter",
    "delivery": "select id, notification, state, epoch, channel, recipient, attempts, crashes,"
                " extract(epoch from due_at) as due from delivery",
    "scheduled": "select id, notification, extract(epoch from due_at) as due from scheduled",
    "request_key": "select count(*) as keys, count(distinct notification) as notifications"
                   " from request_key",
    "inbox": "select user_id, seq, delivery from inbox",
    "untold": "select epoch, teller from untold",
    "lane": "select name, epoch from lane",
    "bridge": "select epoch, name, node, lease_until > now() as is_alive from bridge",
    "conservation": "select * from conservation",
    "sessions": "select application_name, state, count(*) as count from pg_stat_activity where"
                " application_name like 'tocsin%' and backend_type = 'client backend'"
                " group by 1, 2",
    "prepared": "select gid from pg_prepared_xacts",
}


def record(postgres, recording):
    for table, query in TABLES.items():
        text = postgres.value("select coalesce(json_agg(t), '[]')::text from (%s) t" % query)
        recording.add("rows", table=table, rows=json.loads(text))
