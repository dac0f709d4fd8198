/* SPDX-License-Identifier: MIT */
#include "store/requests.h"

#include "base/alloc.h"
#include "base/panic.h"
#include "core/request.h"
#include "core/topic.h"
#include "io/digest.h"
#include "store/ingest_sql.h"
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
const struct pg_statement store_sql_ingest = {
    .place = PG_PLACE_KEPT,
    .name = "ingest",
    .is_durable = true,
    .params = 1 + INGEST_NOTIFICATION_COLUMNS + INGEST_DELIVERY_COLUMNS,
    .sql = INGEST_KEYS(INGEST_KEYED, "") INGEST_DELIVERIES(INGEST_COLUMNS, ""),
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
    .sql = INGEST_KEYS(INGEST_KEYED_OTHER("$27", "$28"),
                       " RETURNING id, service, expires_at, collapse_key")
        INGEST_DELIVERIES(INGEST_COLUMNS, INGEST_MORE),
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
    pg_array_init(&rows->deferred[0], PG_INT8);
    pg_array_init(&rows->deferred[1], PG_BYTEA);
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
    for (unsigned i = 0; i < INGEST_DEFERRED_COLUMNS; i++)
        pg_array_clear(&rows->deferred[i]);
}

void ingest_rows_fini(struct ingest_rows *rows)
{
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_array_fini(&rows->notification[i]);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_array_fini(&rows->delivery[i]);
    for (unsigned i = 0; i < 2; i++)
        pg_array_fini(&rows->other[i]);
    for (unsigned i = 0; i < INGEST_DEFERRED_COLUMNS; i++)
        pg_array_fini(&rows->deferred[i]);
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

void ingest_rows_add_deferred(struct ingest_rows *rows, uint64_t next_id, const void *request,
                              size_t request_bytes)
{
    pg_array_add_int(&rows->deferred[0], (int64_t)next_id);
    pg_array_add_bytes(&rows->deferred[1], request, request_bytes);
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

int store_send_ingest(struct store *store, const struct pg_statement *statement,
                      const struct ingest_answer *answer)
{
    struct ingest_answer *call = xmalloc(sizeof(*call));
    int err;

    *call = *answer;
    err = pg_send(store->pg[STORE_INTAKE], statement, &store->params, on_ingested, call);
    if (err)
        free(call);
    return err;
}

int store_ingest(struct store *store, int64_t epoch, const struct ingest_rows *rows,
                 const struct ingest_answer *answer)
{
    struct pg_params *params = &store->params;

    pg_params_clear(params);
    pg_add_int8(params, epoch);
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_add_array(params, &rows->notification[i]);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_add_array(params, &rows->delivery[i]);
    for (unsigned i = 0; i < 2 && rows->has_more; i++)
        pg_add_array(params, &rows->other[i]);
    return store_send_ingest(store, rows->has_more ? &store_sql_ingest_more : &store_sql_ingest,
                             answer);
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
                 size_t payload_bytes, store_done_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, topic);
    pg_add_text(&store->params, why);
    pg_add_bytes(&store->params, payload, payload_bytes);
    return store_send(store, STORE_CONTROL, &store_sql_reject, &store->params, store_on_done,
                      (void (*)(void))on_done, ctx);
}
