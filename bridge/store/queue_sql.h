/* SPDX-License-Identifier: MIT */
/*
 * queue_sql - the statements that record outcomes, in parts: queue.c has them plain, steps.c with
 * what they do to the steps that follow; nobody else includes it
 *
 * Each part begins the statement: x is what was really ours, as it was recorded.
 */
#ifndef TOCSIN_STORE_QUEUE_SQL_H
#define TOCSIN_STORE_QUEUE_SQL_H

/*
 * What a provider says of an address, learnt in the commit that ends the delivery: outcome 6 is
 * dead_target, reasons 19 to 21 are opted_out, bounced and complained.  By ARRAY(), so that the
 * index on the address is the way in; most batches have none of them.  `due` is since when the
 * provider holds it dead, where it says so: what was registered after that is another life.
 */
#define LEARN                                                                               \
    "t AS (UPDATE target AS t SET is_active = false, changed_at = now(), reason ="          \
    "   (SELECT max(x.reason) FROM x WHERE x.outcome = 6 AND x.channel = t.channel"         \
    "     AND address_key(x.channel, x.recipient) = address_key(t.channel, t.address))"     \
    "   WHERE address_key(t.channel, t.address) = ANY (ARRAY("                              \
    "     SELECT address_key(channel, recipient) FROM x WHERE outcome = 6"                  \
    "     AND recipient_kind >= 4))"                                                        \
    "   AND t.is_active AND EXISTS (SELECT FROM x WHERE x.outcome = 6"                      \
    "     AND x.channel = t.channel"                                                        \
    "     AND address_key(x.channel, x.recipient) = address_key(t.channel, t.address)"      \
    "     AND (x.due IS NULL OR x.due >= t.last_seen))),"                                   \
    "w AS (INSERT INTO suppression (channel, address, reason, source)"                      \
    "   SELECT channel, address_key(channel, recipient), max(reason), 'provider'"           \
    "   FROM x WHERE outcome = 6"                                                           \
    "   AND reason BETWEEN 19 AND 21 AND recipient_kind >= 4 AND length(recipient) <= 2048" \
    "   GROUP BY 1, 2 ORDER BY 1, 2" STORE_SUPPRESS_ABOVE_SERVICES "),"

#define SETTLE_COLUMNS                                                                           \
    "unnest($2::bigint[], $3::smallint[], $4::smallint[], $5::smallint[], $6::timestamptz[],"    \
    " $7::smallint[], $8::smallint[], $9::int[], $10::smallint[], $11::text[], $12::text[],"     \
    " $13::text[], $14::int[]) AS r(id, to_state, tries, number, due, outcome, reason, status, " \
    "segments,"                                                                                  \
    " code, provider_id, detail, via)"
#define ATTEMPT_COLUMNS                                                                        \
    "attempt (at, delivery, notification, epoch, destination, status, number, channel,"        \
    " outcome, reason, segments, state, recipient_kind, recipient, code, provider_id, detail," \
    " user_id)"

/* $15: the destinations whose providers report later; a message of theirs is remembered. */
#define QUEUE_SETTLE                                                                            \
    "WITH x AS (DELETE FROM delivery d USING " SETTLE_COLUMNS                                   \
    " WHERE d.id = ANY ($2::bigint[]) AND d.id = r.id AND d.epoch = $1::bigint AND d.state = 1" \
    " RETURNING d.notification, d.destination, d.channel, d.recipient_kind, d.recipient,"       \
    "   d.user_id, d.head, d.desk, r.*)," STORE_RESOLVE(                                        \
        "x") "," LEARN "h AS (INSERT INTO " ATTEMPT_COLUMNS                                     \
             " SELECT clock_timestamp(), id, notification, $1::bigint, via, status, number,"    \
             " channel, outcome, reason, segments, to_state, recipient_kind, recipient, code,"  \
             " provider_id, detail, nullif(user_id, '') FROM x),"                               \
             "s AS (INSERT INTO sent (provider_id, destination, delivery, notification, at, "   \
             "number,"                                                                          \
             "   channel, recipient_kind, recipient, user_id, head)"                            \
             " SELECT provider_id, via, id, notification, clock_timestamp(), number, channel,"  \
             "   recipient_kind, recipient, nullif(user_id, ''), head FROM x"                   \
             " WHERE to_state = 3 AND provider_id IS NOT NULL AND via = ANY ($15::int[])"       \
             " ON CONFLICT (provider_id, destination) DO NOTHING)"

/* A try whose number is beyond those that count has cost no attempt: it was deferred. */
#define QUEUE_RETRY                                                                             \
    "WITH x AS (UPDATE delivery d SET state = r.to_state, epoch = NULL, due_at = r.due,"        \
    " destination = r.via, attempts = r.tries, last_reason = r.reason,"                         \
    " deferrals = d.deferrals + (r.number > r.tries AND d.deferrals < 30000)::int,"             \
    " is_unsure = d.is_unsure OR r.outcome = 8 FROM " SETTLE_COLUMNS                            \
    " WHERE d.id = ANY ($2::bigint[]) AND d.id = r.id AND d.epoch = $1::bigint AND d.state = 1" \
    " RETURNING d.notification, d.destination, d.channel, d.recipient_kind, d.recipient,"       \
    "   d.user_id, d.head, r.*),"                                                               \
    "h AS (INSERT INTO " ATTEMPT_COLUMNS                                                        \
    " SELECT clock_timestamp(), id, notification, $1::bigint, via, status, number,"             \
    " channel, outcome, reason, segments, NULL, recipient_kind, recipient, code,"               \
    " provider_id, detail, nullif(user_id, '') FROM x WHERE number > 0)"

#define QUEUE_BURY                                                                              \
    "WITH x AS (DELETE FROM delivery d USING " SETTLE_COLUMNS                                   \
    " WHERE d.id = ANY ($2::bigint[]) AND d.id = r.id AND d.epoch = $1::bigint AND d.state = 1" \
    " RETURNING d.notification, d.destination, d.channel, d.seq, d.priority,"                   \
    "   d.recipient_kind, d.recipient, d.user_id, d.head, r.*)," LEARN                          \
    "h AS (INSERT INTO " ATTEMPT_COLUMNS                                                        \
    " SELECT clock_timestamp(), id, notification, $1::bigint, via, status, number,"             \
    " channel, outcome, reason, segments, to_state, recipient_kind, recipient, code,"           \
    " provider_id, detail, nullif(user_id, '') FROM x),"                                        \
    "b AS (INSERT INTO dead_letter AS o (delivery, notification, service, request, type, seq,"  \
    " destination, channel, priority, attempts, reason, recipient_kind, recipient, died_at,"    \
    " code, detail, user_id)"                                                                   \
    " SELECT x.id, x.notification, n.service, n.request, n.type, x.seq, x.via,"                 \
    " x.channel, x.priority, x.tries, x.reason, x.recipient_kind, x.recipient,"                 \
    " clock_timestamp(), x.code, x.detail, nullif(x.user_id, '')"                               \
    " FROM x CROSS JOIN LATERAL"                                                                \
    " (SELECT service, request, type FROM notification WHERE id = x.notification LIMIT 1) n"    \
    " ON CONFLICT (delivery) DO UPDATE SET is_dead = true, status = 0,"                         \
    " attempts = excluded.attempts, reason = excluded.reason, died_at = excluded.died_at,"      \
    " destination = excluded.destination, code = excluded.code, detail = excluded.detail,"      \
    " resolved_by = NULL, is_pinned = false)"

#define QUEUE_ACK                                                                                  \
    "WITH x AS (DELETE FROM delivery d USING unnest($2::bigint[], $3::text[]) AS r(id, recipient)" \
    " WHERE d.id = ANY ($2::bigint[]) AND d.id = r.id AND d.recipient = r.recipient"               \
    " AND d.channel = 0 AND d.recipient_kind = 0"                                                  \
    " RETURNING d.id, d.notification, d.destination, d.attempts, d.recipient, "                    \
    "d.desk)," STORE_RESOLVE("x") ","                                                              \
                                  "h AS (INSERT INTO " ATTEMPT_COLUMNS                             \
                                  " SELECT clock_timestamp(), id, notification, $1::bigint, "      \
                                  "destination, 0, attempts + 1,"                                  \
                                  " 0, 0, 0, 0, 4, 0, recipient, NULL, NULL, NULL, NULL FROM x)"

#define QUEUE_PLAIN "SELECT id, notification, tries FROM x"

#endif
