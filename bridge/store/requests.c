/* SPDX-License-Identifier: MIT */
#include "store/requests.h"

#include "base/alloc.h"
#include "base/panic.h"
#include "core/request.h"
#include "core/topic.h"
#include "io/digest.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

/*
 * $1 epoch; $2.. notification columns; $16.. delivery columns, of which the last two, whose the
 * address is and the head of the steps, may be empty (unnest() fills them up with nulls).  What is
 * not due yet goes to `scheduled`, where it has no inbox number; the rest is due from the moment it
 * is stored, since claims compare and order by that time.  A batch sent under an epoch that is over
 * is stored as ready: any bridge may claim it.
 */
#define INGEST(keyed, returning, more)                                                         \
    "WITH k AS ("                                                                              \
    " INSERT INTO request_key (day, key, digest, notification)"                                \
    " SELECT x.day, x.key, x.digest, x.id"                                                     \
    " FROM " keyed " ON CONFLICT DO NOTHING RETURNING notification),"                          \
    "n AS ("                                                                                   \
    " INSERT INTO notification (id, service, request, type, priority, receipts, deliveries,"   \
    "   created_at, expires_at, collapse_key, retry, content)"                                 \
    " SELECT x.id, x.service, x.request, x.type, x.priority, x.receipts, x.deliveries,"        \
    "   now(), x.expires_at, x.collapse_key, x.retry, x.content"                               \
    " FROM unnest($2::bigint[], $6::text[], $7::text[], $8::text[], $9::smallint[],"           \
    "   $10::smallint[], $11::int[], $12::timestamptz[], $13::text[], $14::text[],"            \
    "   $15::bytea[])"                                                                         \
    "   AS x(id, service, request, type, priority, receipts, deliveries, expires_at,"          \
    "   collapse_key, retry, content)"                                                         \
    " JOIN k ON k.notification = x.id" returning "),"                                          \
    "r AS ("                                                                                   \
    " SELECT x.*, x.channel = 0 AND x.kind = 0 AND x.due_at <= now() AS is_inbox"              \
    " FROM unnest($16::bigint[], $17::bigint[], $18::timestamptz[], $19::int[],"               \
    "   $20::smallint[], $21::smallint[], $22::smallint[], $23::smallint[], $24::text[],"      \
    "   $25::text[], $26::bigint[]) AS x(id, notification, due_at, destination, channel,"      \
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

const struct pg_statement store_sql_ingest = {
    .place = PG_PLACE_KEPT,
    .name = "ingest",
    .is_durable = true,
    .params = 1 + INGEST_NOTIFICATION_COLUMNS + INGEST_DELIVERY_COLUMNS,
    .sql = INGEST("unnest($2::bigint[], $3::date[], $4::uuid[], $5::bigint[])"
                  "   AS x(id, day, key, digest)",
                  "", ""),
};

/*
 * The same for a batch in which something has a collapse_key or expires, or is told to many (kind
 * 1 a role, 2 everybody), or may be stored under another key ($27, $28): most have none of that,
 * and need not pay for it.
 */
const struct pg_statement store_sql_ingest_more = {
    .place = PG_PLACE_KEPT,
    .name = "ingest_more",
    .is_durable = true,
    .params = 1 + INGEST_NOTIFICATION_COLUMNS + INGEST_DELIVERY_COLUMNS + 2,
    .sql = INGEST(
        "unnest($2::bigint[], $3::date[], $4::uuid[], $5::bigint[], $27::date[], $28::uuid[])"
        "   AS x(id, day, key, digest, other_day, other_key)"
        " WHERE (SELECT r.day FROM request_key r WHERE r.day = x.other_day"
        "   AND r.key = x.other_key LIMIT 1) IS NULL",
        " RETURNING id, service, expires_at, collapse_key",
        ",mk AS ("
        " INSERT INTO collapse (service, key, channel, recipient_kind, recipient, delivery)"
        " SELECT n.service, n.collapse_key, s.channel, s.kind, s.recipient, s.id"
        " FROM s JOIN n ON n.id = s.notification WHERE n.collapse_key IS NOT NULL),"
        "me AS ("
        " INSERT INTO inbox_expiry (expires_at, delivery) SELECT n.expires_at, s.id"
        " FROM s JOIN n ON n.id = s.notification"
        " WHERE n.expires_at IS NOT NULL AND s.channel = 0 AND s.kind = 0),"
        "ms AS (SELECT id, notification, CASE kind WHEN 1 THEN recipient ELSE '' END AS role"
        " FROM s WHERE channel = 0 AND kind IN (1, 2) AND due_at <= now())," STORE_SHARE("ms")),
};

const struct pg_statement store_sql_key_lookup = {
    .place = PG_PLACE_KEPT,
    .name = "key_lookup",
    .is_durable = true,
    .params = 3,
    .sql = "SELECT x.i, r.notification, r.digest,"
           " pg_logical_emit_message(true, 'tocsin', '') IS NULL"
           " FROM unnest($1::int[], $2::date[], $3::uuid[]) AS x(i, day, key)"
           " CROSS JOIN LATERAL (SELECT notification, digest FROM request_key"
           "   WHERE day = x.day AND key = x.key LIMIT 1) r",
};

const struct pg_statement store_sql_reject = {
    .place = PG_PLACE_KEPT,
    .name = "reject",
    .params = 3,
    .sql = "INSERT INTO ingest_reject (topic, why, payload) VALUES ($1::text, $2::text, $3::bytea)",
};

/*
 * How far a UUIDv7's own date may be from now for it to be stored under that date; the partitions
 * of request_key reach as far, and its week longer.  The answer changes while the id is remembered,
 * which is for seven days:
 *
 *   dated one to eight days ahead   it may have been stored while it was more than eight ahead,
 *                                   under the key of ids without a date
 *   seven to fourteen days old      it may have been stored under its date, which was younger then
 *
 * These have another key, which is looked at as well.
 */
#define DAY_MS        86400000LL
#define KEY_PAST_MS   (7 * DAY_MS)
#define KEY_FUTURE_MS (8 * DAY_MS)
#define REMEMBERED_MS (7 * DAY_MS)

/* The milliseconds in a UUIDv7 (RFC 9562 5.7), or -1 for any other text. */
static int64_t uuid7_ms(const char *id)
{
    int64_t ms = 0;
    unsigned digits = 0;

    if (strlen(id) != 36 || id[14] != '7' || !strchr("89abAB", id[19]))
        return -1;
    for (unsigned i = 0; i < 36; i++) {
        const char *hex = "0123456789abcdef";
        const char *at;

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (id[i] != '-')
                return -1;
            continue;
        }
        at = strchr(hex, id[i] >= 'A' && id[i] <= 'F' ? id[i] + 32 : id[i]);
        if (!at)
            return -1;
        if (digits++ < 12)
            ms = ms << 4 | (at - hex);
    }
    return ms;
}

/* Makes a key of hash that of its date. */
static void date_key(int64_t ms, int32_t *day, unsigned char key[16])
{
    *day = (int32_t)(ms / DAY_MS);
    for (unsigned i = 0; i < 6; i++)
        key[i] = (unsigned char)(ms >> (40 - 8 * i));
}

void request_key_make(const char *service, const char *id, int64_t now_wall_ms,
                      struct request_key *key)
{
    char text[TOPIC_ID_MAX + 1 + REQUEST_ID_MAX];
    unsigned char digest[DIGEST_BYTES];
    size_t service_bytes = strlen(service), id_bytes = strlen(id);
    int64_t ms = uuid7_ms(id), ahead_ms = ms - now_wall_ms;

    /* The NUL between them cannot occur in either: no two pairs give one text. */
    ASSERT(service_bytes <= TOPIC_ID_MAX && id_bytes <= REQUEST_ID_MAX);
    memcpy(text, service, service_bytes + 1);
    memcpy(text + service_bytes + 1, id, id_bytes);
    digest_sha256(text, service_bytes + 1 + id_bytes, digest);
    *key = (struct request_key){.day = 0};
    memcpy(key->key, digest, sizeof(key->key));
    memcpy(key->other_key, digest, sizeof(key->other_key));
    if (ms < 0 || ahead_ms < -KEY_PAST_MS - REMEMBERED_MS || ahead_ms > KEY_FUTURE_MS)
        return;
    if (ahead_ms < -KEY_PAST_MS) {
        key->has_other = true;
        date_key(ms, &key->other_day, key->other_key);
        return;
    }
    key->has_other = ahead_ms > KEY_FUTURE_MS - REMEMBERED_MS;
    date_key(ms, &key->day, key->key);
}

void ingest_rows_init(struct ingest_rows *rows)
{
    static const enum pg_type notification[] = {PG_INT8,        PG_DATE, PG_UUID, PG_INT8, PG_TEXT,
                                                PG_TEXT,        PG_TEXT, PG_INT2, PG_INT2, PG_INT4,
                                                PG_TIMESTAMPTZ, PG_TEXT, PG_TEXT, PG_BYTEA};
    static const enum pg_type delivery[] = {PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_INT4,
                                            PG_INT2, PG_INT2, PG_INT2,        PG_INT2,
                                            PG_TEXT, PG_TEXT, PG_INT8};

    rows->bytes = 0;
    rows->has_more = false;
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_array_init(&rows->notification[i], notification[i]);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_array_init(&rows->delivery[i], delivery[i]);
    pg_array_init(&rows->other[0], PG_DATE);
    pg_array_init(&rows->other[1], PG_UUID);
}

void ingest_rows_clear(struct ingest_rows *rows)
{
    rows->bytes = 0;
    rows->has_more = false;
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_array_clear(&rows->notification[i]);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_array_clear(&rows->delivery[i]);
    for (unsigned i = 0; i < 2; i++)
        pg_array_clear(&rows->other[i]);
}

void ingest_rows_fini(struct ingest_rows *rows)
{
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_array_fini(&rows->notification[i]);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_array_fini(&rows->delivery[i]);
    for (unsigned i = 0; i < 2; i++)
        pg_array_fini(&rows->other[i]);
}

static int64_t time_or_null(int64_t wall_ms)
{
    return wall_ms ? wall_ms * 1000 : INT64_MIN;
}

void ingest_rows_add(struct ingest_rows *rows, const struct notification_row *row)
{
    struct pg_array *column = rows->notification;

    pg_array_add_int(&column[0], (int64_t)row->id);
    pg_array_add_date(&column[1], row->key.day);
    pg_array_add_bytes(&column[2], row->key.key, sizeof(row->key.key));
    pg_array_add_int(&column[3], (int64_t)row->digest);
    pg_array_add_text(&column[4], row->service);
    pg_array_add_text(&column[5], row->request);
    pg_array_add_text(&column[6], row->type);
    pg_array_add_int(&column[7], row->priority);
    pg_array_add_int(&column[8], row->receipts);
    pg_array_add_int(&column[9], row->deliveries);
    pg_array_add_time(&column[10], time_or_null(row->expires_ms));
    pg_array_add_text(&column[11], row->collapse_key);
    pg_array_add_text(&column[12], row->retry);
    pg_array_add_bytes(&column[13], row->content, row->content_bytes);
    rows->bytes += row->content_bytes;
    if (row->key.has_other) {
        pg_array_add_date(&rows->other[0], row->key.other_day);
        pg_array_add_bytes(&rows->other[1], row->key.other_key, sizeof(row->key.other_key));
    } else {
        pg_array_add_null(&rows->other[0]);
        pg_array_add_null(&rows->other[1]);
    }
    rows->has_more = rows->has_more || row->collapse_key || row->expires_ms || row->key.has_other;
}

/* A column that began to matter late has nulls for the rows before. */
static void catch_up(struct pg_array *column, int32_t count)
{
    while (column->count < count)
        pg_array_add_null(column);
}

void ingest_rows_add_delivery(struct ingest_rows *rows, const struct delivery_row *row)
{
    struct pg_array *column = rows->delivery;

    pg_array_add_int(&column[0], (int64_t)row->id);
    pg_array_add_int(&column[1], (int64_t)row->notification);
    pg_array_add_time(&column[2],
                      row->due_ms == DELIVERY_ROW_NEVER ? INT64_MAX : row->due_ms * 1000);
    pg_array_add_int(&column[3], row->destination);
    pg_array_add_int(&column[4], row->channel);
    pg_array_add_int(&column[5], row->priority);
    pg_array_add_int(&column[6], row->state);
    pg_array_add_int(&column[7], row->recipient_kind);
    pg_array_add_text(&column[8], row->recipient);
    rows->has_more = rows->has_more || row->recipient_kind == RECIPIENT_ROLE ||
                     row->recipient_kind == RECIPIENT_BROADCAST;
    if (row->user || column[9].count) {
        catch_up(&column[9], column[8].count - 1);
        pg_array_add_text(&column[9], row->user);
    }
    if (row->head || column[10].count) {
        catch_up(&column[10], column[8].count - 1);
        pg_array_add_int(&column[10], (int64_t)row->head);
    }
}

static void on_ingested(void *ctx, int err, const struct pg_result *result)
{
    struct ingest_answer *call = ctx;
    struct ingest_answer answer = *call;

    free(call);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        uint64_t id = (uint64_t)pg_int(result, i, 1);

        if (pg_int(result, i, 0))
            answer.on_notification(answer.ctx, id);
        else
            answer.on_delivery(answer.ctx, id, pg_int(result, i, 2), pg_int(result, i, 3) != 0);
    }
    answer.on_done(answer.ctx, err);
}

int store_ingest(struct store *store, int64_t epoch, const struct ingest_rows *rows,
                 const struct ingest_answer *answer)
{
    struct pg_params *params = &store->params;
    struct ingest_answer *call = xmalloc(sizeof(*call));
    int err;

    *call = *answer;
    pg_params_clear(params);
    pg_add_int8(params, epoch);
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_add_array(params, &rows->notification[i]);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_add_array(params, &rows->delivery[i]);
    for (unsigned i = 0; i < 2 && rows->has_more; i++)
        pg_add_array(params, &rows->other[i]);
    err = pg_send(store->pg[STORE_INTAKE],
                  rows->has_more ? &store_sql_ingest_more : &store_sql_ingest, params, on_ingested,
                  call);
    if (err)
        free(call);
    return err;
}

static void on_looked_up(void *ctx, int err, const struct pg_result *result)
{
    struct key_lookup *call = ctx;
    struct key_lookup lookup = *call;

    free(call);
    for (int i = 0; !err && i < pg_rows(result); i++)
        lookup.on_row(lookup.ctx, (size_t)pg_int(result, i, 0), (uint64_t)pg_int(result, i, 1),
                      (uint64_t)pg_int(result, i, 2));
    lookup.on_done(lookup.ctx, err);
}

int store_key_lookup(struct store *store, const struct request_key *keys, size_t count,
                     const struct key_lookup *lookup)
{
    struct pg_array index, day, key;
    struct key_lookup *call = xmalloc(sizeof(*call));
    int err;

    *call = *lookup;
    pg_array_init(&index, PG_INT4);
    pg_array_init(&day, PG_DATE);
    pg_array_init(&key, PG_UUID);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_int(&index, (int64_t)i);
        pg_array_add_date(&day, keys[i].day);
        pg_array_add_bytes(&key, keys[i].key, sizeof(keys[i].key));
        if (!keys[i].has_other)
            continue;
        pg_array_add_int(&index, (int64_t)i);
        pg_array_add_date(&day, keys[i].other_day);
        pg_array_add_bytes(&key, keys[i].other_key, sizeof(keys[i].other_key));
    }
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &index);
    pg_add_array(&store->params, &day);
    pg_add_array(&store->params, &key);
    err =
        pg_send(store->pg[STORE_INTAKE], &store_sql_key_lookup, &store->params, on_looked_up, call);
    if (err)
        free(call);
    pg_array_fini(&index);
    pg_array_fini(&day);
    pg_array_fini(&key);
    return err;
}

int store_reject(struct store *store, const char *topic, const char *why, const void *payload,
                 size_t payload_bytes)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, topic);
    pg_add_text(&store->params, why);
    pg_add_bytes(&store->params, payload, payload_bytes);
    return store_send(store, STORE_CONTROL, &store_sql_reject, &store->params, store_on_done, NULL,
                      NULL);
}
