/* SPDX-License-Identifier: MIT */
/*
 * ingest_sql - the parts that the statements of requests.c and expansion.c have in common
 */
#ifndef TOCSIN_STORE_INGEST_SQL_H
#define TOCSIN_STORE_INGEST_SQL_H
#include "store/store_internal.h"

#define INGEST_KEYED                                             \
    "unnest($2::bigint[], $3::date[], $4::uuid[], $5::bigint[])" \
    "   AS x(id, day, key, digest)"

/* The same but for those that were seen under their other key. */
#define INGEST_KEYED_OTHER(days, keys)                                                   \
    "unnest($2::bigint[], $3::date[], $4::uuid[], $5::bigint[], " days "::date[], " keys \
    "::uuid[])"                                                                          \
    "   AS x(id, day, key, digest, other_day, other_key)"                                \
    " WHERE (SELECT r.day FROM request_key r WHERE r.day = x.other_day"                  \
    "   AND r.key = x.other_key LIMIT 1) IS NULL"

/* $2.. notification columns: keys that were not seen before (`k`), and their notifications. */
#define INGEST_KEYS(keyed, returning)                                                        \
    "WITH k AS ("                                                                            \
    " INSERT INTO request_key (day, key, digest, notification)"                              \
    " SELECT x.day, x.key, x.digest, x.id"                                                   \
    " FROM " keyed " ON CONFLICT DO NOTHING RETURNING notification),"                        \
    "n AS ("                                                                                 \
    " INSERT INTO notification (id, service, request, type, priority, receipts, deliveries," \
    "   created_at, expires_at, collapse_key, retry, content)"                               \
    " SELECT x.id, x.service, x.request, x.type, x.priority, x.receipts, x.deliveries,"      \
    "   now(), x.expires_at, x.collapse_key, x.retry, x.content"                             \
    " FROM unnest($2::bigint[], $6::text[], $7::text[], $8::text[], $9::smallint[],"         \
    "   $10::smallint[], $11::int[], $12::timestamptz[], $13::text[], $14::text[],"          \
    "   $15::bytea[])"                                                                       \
    "   AS x(id, service, request, type, priority, receipts, deliveries, expires_at,"        \
    "   collapse_key, retry, content)"                                                       \
    " JOIN k ON k.notification = x.id" returning "),"

#define INGEST_COLUMNS                                                               \
    "$16::bigint[], $17::bigint[], $18::timestamptz[], $19::int[], $20::smallint[]," \
    " $21::smallint[], $22::smallint[], $23::smallint[], $24::text[], $25::text[],"  \
    " $26::bigint[]"

/* The deliveries of the notifications in `k`.  `n` is the notification where more looks at it. */
#define INGEST_DELIVERIES(columns, more)                                                       \
    "r AS ("                                                                                   \
    " SELECT x.*, x.channel = 0 AND x.kind = 0 AND x.due_at <= now() AS is_inbox"              \
    " FROM unnest(" columns ") AS x(id, notification, due_at, destination, channel,"           \
    "   priority, state, kind, recipient, user_id, head)"                                      \
    " JOIN k ON k.notification = x.notification),"                                             \
    "u AS ("                                                                                   \
    " INSERT INTO inbox_user AS c (user_id, last_seq, unread, unseen)"                         \
    " SELECT recipient, count(*), count(*), count(*) FROM r WHERE is_inbox"                    \
    " GROUP BY recipient ORDER BY recipient"                                                   \
    " ON CONFLICT (user_id) DO UPDATE SET last_seq = c.last_seq + excluded.last_seq,"          \
    "   unread = c.unread + excluded.unread, unseen = c.unseen + excluded.unseen"              \
    " RETURNING user_id, last_seq),"                                                           \
    "s AS ("                                                                                   \
    " SELECT r.*, CASE WHEN r.is_inbox THEN u.last_seq + 1 - row_number() OVER"                \
    "   (PARTITION BY r.is_inbox, r.recipient ORDER BY r.id DESC) ELSE 0 END AS seq"           \
    " FROM r LEFT JOIN u ON r.is_inbox AND u.user_id = r.recipient),"                          \
    "i AS ("                                                                                   \
    " INSERT INTO inbox (user_id, seq, delivery, notification)"                                \
    " SELECT recipient, seq, id, notification FROM s WHERE is_inbox),"                         \
    "l AS ("                                                                                   \
    " SELECT count(*) = 1 AS is_live FROM bridge"                                              \
    " WHERE epoch = $1::bigint AND lease_until > clock_timestamp()),"                          \
    "d AS ("                                                                                   \
    " INSERT INTO delivery (id, notification, due_at, epoch, seq, destination, channel,"       \
    "   priority, state, recipient_kind, recipient, user_id, head)"                            \
    " SELECT s.id, s.notification, statement_timestamp(),"                                     \
    "   CASE WHEN s.state = 1 AND l.is_live THEN $1::bigint END,"                              \
    "   s.seq, s.destination, s.channel, s.priority,"                                          \
    "   CASE WHEN s.state = 1 AND l.is_live THEN 1 ELSE 0 END, s.kind, s.recipient,"           \
    "   coalesce(s.user_id, ''), coalesce(s.head, 0)"                                          \
    " FROM s, l WHERE s.due_at <= now()),"                                                     \
    "e AS ("                                                                                   \
    " INSERT INTO scheduled (id, notification, due_at, destination, channel, priority, state," \
    "   recipient_kind, recipient, user_id, head)"                                             \
    " SELECT id, notification, due_at, destination, channel, priority, state & 2, kind,"       \
    "   recipient, coalesce(user_id, ''), coalesce(head, 0)"                                   \
    " FROM s WHERE due_at > now())" more "SELECT true, notification, 0::bigint, false FROM k"  \
    " UNION ALL SELECT false, s.id, s.seq, s.state = 1 AND l.is_live AND s.due_at <= now()"    \
    " FROM s, l"

#define INGEST_MORE                                                                       \
    ",mk AS ("                                                                            \
    " INSERT INTO collapse (service, key, channel, recipient_kind, recipient, delivery)"  \
    " SELECT n.service, n.collapse_key, s.channel, s.kind,"                               \
    "   address_key(s.channel, s.recipient), s.id"                                        \
    " FROM s JOIN n ON n.id = s.notification WHERE n.collapse_key IS NOT NULL),"          \
    "me AS ("                                                                             \
    " INSERT INTO inbox_expiry (expires_at, delivery) SELECT n.expires_at, s.id"          \
    " FROM s JOIN n ON n.id = s.notification"                                             \
    " WHERE n.expires_at IS NOT NULL AND s.channel = 0 AND s.kind = 0),"                  \
    "ms AS (SELECT id, notification, CASE kind WHEN 1 THEN recipient ELSE '' END AS role" \
    " FROM s WHERE channel = 0 AND kind IN (1, 2) AND due_at <= now())," STORE_SHARE("ms")

#endif
