/* SPDX-License-Identifier: MIT */
#include "store/removal.h"

#include "base/alloc.h"
#include "core/delivery.h"
#include "core/id.h"
#include "core/outcome.h"
#include "store/store_internal.h"

#include <stdlib.h>

_Static_assert(DELIVERY_SUPPRESSED == 6 && OUTCOME_SUPPRESSED == 11 && REASON_COLLAPSED == 24,
               "as in store_sql_collapse");
_Static_assert(DELIVERY_CANCELLED == 8 && OUTCOME_CANCELLED == 10, "as in END_CANCELLED");
_Static_assert(REMOVAL_BITE == 1000 && SHARED_BITE == 5000, "as in the statements");

/*
 * What x (of delivery) and y (of scheduled) have removed, ended.  An in-app delivery is removed
 * even while a bridge has it: nothing that it does after this finds a row to change.
 */
#define END(state, outcome, reason)                                                                \
    "z AS (SELECT id, notification, destination, attempts, channel, recipient_kind, recipient,"    \
    "   user_id FROM x UNION ALL SELECT id, notification, destination, attempts, channel,"         \
    "   recipient_kind, recipient, user_id FROM y)," STORE_RESOLVE(                                \
        "x") ","                                                                                   \
             "h AS (INSERT INTO attempt (at, delivery, notification, epoch, destination, status, " \
             "number,"                                                                             \
             "   channel, outcome, reason, segments, state, recipient_kind, recipient, user_id)"   \
             " SELECT clock_timestamp(), id, notification, $1::bigint, destination, 0, attempts, " \
             "channel, " outcome ", " reason ", 0, " state                                         \
             ", recipient_kind, recipient, nullif(user_id, '') FROM z)"

/*
 * The entries of inboxes that belong to the deliveries of o, deleted; inbox_user first, in its
 * order, as everywhere.
 */
#define REMOVE                                                                                    \
    "u AS (SELECT user_id FROM inbox_user WHERE user_id = ANY (ARRAY(SELECT user_id FROM inbox"   \
    "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM o)) AND state < 3))"                     \
    "   ORDER BY user_id FOR UPDATE),"                                                            \
    "g AS (SELECT i.user_id, i.seq, i.delivery, i.state, i.is_seen FROM inbox i"                  \
    "   JOIN u ON u.user_id = i.user_id WHERE i.delivery = ANY (ARRAY(SELECT delivery FROM o))"   \
    "   AND i.state < 3 FOR UPDATE OF i),"                                                        \
    "v AS (UPDATE inbox i SET state = 3 FROM g WHERE i.user_id = g.user_id AND i.seq = g.seq),"   \
    "c AS (UPDATE inbox_user c SET unread = greatest(c.unread - d.unread, 0),"                    \
    "   unseen = greatest(c.unseen - d.unseen, 0) FROM (SELECT user_id,"                          \
    "     sum((state = 0)::int) AS unread, sum((NOT is_seen)::int) AS unseen FROM g"              \
    "     GROUP BY user_id) d WHERE c.user_id = d.user_id),"                                      \
    "w AS (UPDATE shared SET is_gone = true WHERE delivery = ANY (ARRAY(SELECT delivery FROM o))" \
    "   AND NOT is_gone RETURNING delivery, role)"

/*
 * Rows of kind 0 deliveries that ended, 1 entries, 2 shared ones, 3 how big the bite was, 4 what a
 * bridge may have in memory.
 */
#define TELL_ENDED                                                                               \
    "SELECT 0 AS kind, z.id AS delivery, z.notification, z.channel::int, z.recipient_kind::int," \
    " n.receipts::int, z.recipient AS name, z.user_id, n.service, n.request"                     \
    " FROM z CROSS JOIN LATERAL (SELECT receipts, service, request FROM notification"            \
    "   WHERE id = z.notification LIMIT 1) n UNION ALL "
#define TELL_REMOVED(count)                                              \
    "SELECT 1, delivery, 0, 0, 0, 0, user_id, '', '', '' FROM g"         \
    " UNION ALL SELECT 2, delivery, 0, 0, 0, 0, role, '', '', '' FROM w" \
    " UNION ALL SELECT 3, " count ", 0, 0, 0, 0, '', '', '', ''"         \
    " ORDER BY 1, 7, 2"

/* What a bridge may have in memory, and old marks, which are removed a few at a time. */
#define RECALL(reason, from)                                                    \
    "old AS (DELETE FROM recall WHERE id = ANY (ARRAY(SELECT id FROM recall"    \
    "   WHERE at < clock_timestamp() - interval '1 day' ORDER BY at LIMIT 1000" \
    "   FOR UPDATE SKIP LOCKED))),"                                             \
    "marked AS (INSERT INTO recall AS m (id, reason, at)"                       \
    "   SELECT id, " reason ", clock_timestamp() FROM " from                    \
    "   ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, at = excluded.at RETURNING id)"
#define TELL_RECALLED "SELECT 4, id, 0, 0, 0, 0, '', '', '', '' FROM marked UNION ALL "

#define OF_KEY                                                          \
    "c.service = k.service AND c.key = k.key AND c.channel = k.channel" \
    " AND c.recipient_kind = k.recipient_kind"                          \
    " AND " STORE_SAME_RECIPIENT("c.recipient", "k.recipient")
#define NEWEST                                                            \
    "(SELECT max(m.delivery) FROM collapse m WHERE m.service = k.service" \
    "   AND m.key = k.key AND m.channel = k.channel"                      \
    "   AND m.recipient_kind = k.recipient_kind"                          \
    "   AND " STORE_SAME_RECIPIENT("m.recipient", "k.recipient") ")"
#define END_COLLAPSED  END("6", "11", "24")
#define END_CANCELLED  END("8", "10", "0")
#define TELL_COLLAPSED TELL_ENDED TELL_RECALLED TELL_REMOVED("(SELECT count(*) FROM t)")
#define TELL_EXPIRED   TELL_REMOVED("(SELECT count(*) FROM o)")

const struct pg_statement store_sql_collapse = {
    .name = "collapse",
    .params = 1,
    .is_watched = true,
    .sql = "WITH l AS (SELECT pg_try_advisory_xact_lock(7406265) AS is_ours),"
           "t AS (SELECT service, key, channel, recipient_kind, recipient, delivery"
           "   FROM collapse WHERE is_new AND (SELECT is_ours FROM l)"
           "   ORDER BY delivery LIMIT 1000),"
           "k AS (SELECT DISTINCT service, key, channel, recipient_kind, recipient FROM t),"
           "o AS (DELETE FROM collapse c USING k WHERE " OF_KEY " AND c.delivery < " NEWEST
           "   RETURNING c.delivery),"
           "f AS (UPDATE collapse c SET is_new = false FROM k WHERE " OF_KEY
           "   AND c.delivery = " NEWEST " AND c.is_new),"
           "x AS (DELETE FROM delivery WHERE id = ANY (ARRAY(SELECT delivery FROM o))"
           "   AND (state IN (0, 2) OR channel = 0) RETURNING *),"
           "y AS (DELETE FROM scheduled WHERE id = ANY (ARRAY(SELECT delivery FROM o))"
           "   RETURNING *)," END_COLLAPSED
           "," RECALL("24", "delivery WHERE id = ANY (ARRAY(SELECT delivery FROM o)) AND state = 1"
                            " AND channel <> 0") "," REMOVE TELL_COLLAPSED,
};

const struct pg_statement store_sql_expire = {
    .name = "expire",
    .params = 0,
    .sql = "WITH l AS (SELECT pg_try_advisory_xact_lock(7406266) AS is_ours),"
           "o AS (DELETE FROM inbox_expiry WHERE (expires_at, delivery) IN ("
           "   SELECT expires_at, delivery FROM inbox_expiry"
           "   WHERE expires_at <= clock_timestamp() AND (SELECT is_ours FROM l)"
           "   ORDER BY expires_at LIMIT 1000) RETURNING delivery)," REMOVE TELL_EXPIRED,
};

/*
 * $2 the notification, $3 past the last id that its deliveries can have.  A bite is chosen first
 * (waiting, to_come); the state is looked at again while it is deleted (x, y), since a row may have
 * waited for its lock.
 */
#define TAKE_BACK(is_ours)                                                                   \
    "waiting AS (SELECT id FROM delivery WHERE id > $2::bigint AND id < $3::bigint"          \
    "   AND notification = $2::bigint AND " is_ours " ORDER BY id LIMIT 1000),"              \
    "to_come AS (SELECT id FROM scheduled WHERE id > $2::bigint AND id < $3::bigint"         \
    "   AND notification = $2::bigint ORDER BY id LIMIT 1000),"                              \
    "x AS (DELETE FROM delivery WHERE id = ANY (ARRAY(SELECT id FROM waiting)) AND " is_ours \
    "   RETURNING *),"                                                                       \
    "y AS (DELETE FROM scheduled WHERE id = ANY (ARRAY(SELECT id FROM to_come)) RETURNING "  \
    "*)," END_CANCELLED
#define RECALL_NOTIFICATION RECALL("0", "(SELECT $2::bigint AS id) AS n")
#define NOT_STARTED         "state IN (0, 2)"
#define NOT_SENT            "(state IN (0, 2) OR channel = 0)"
#define BITE                "(SELECT count(*) FROM waiting), (SELECT count(*) FROM to_come)"
#define TELL_RETRACTED \
    TELL_ENDED TELL_RECALLED TELL_REMOVED("greatest(" BITE ", (SELECT count(*) FROM b))")

const struct pg_statement store_sql_cancel = {
    .place = PG_PLACE_CALL,
    .name = "cancel",
    .params = 3,
    .is_watched = true,
    .sql = "WITH " TAKE_BACK(NOT_STARTED) "," RECALL_NOTIFICATION TELL_ENDED TELL_RECALLED
                                          "SELECT 3, greatest(" BITE
                                          "), 0, 0, 0, 0, '', '', '', '' ORDER BY 1, 7, 2",
};

const struct pg_statement store_sql_retract = {
    .place = PG_PLACE_CALL,
    .name = "retract",
    .params = 3,
    .is_watched = true,
    .sql = "WITH " TAKE_BACK(
        NOT_SENT) "," RECALL_NOTIFICATION ","
                  "b AS (SELECT delivery FROM inbox WHERE delivery > $2::bigint AND delivery < "
                  "$3::bigint"
                  "   AND notification = $2::bigint AND state < 3 LIMIT 1000),"
                  "o AS (SELECT delivery FROM b UNION ALL SELECT delivery FROM shared"
                  "   WHERE delivery > $2::bigint AND delivery < $3::bigint"
                  "   AND notification = $2::bigint)," REMOVE TELL_RETRACTED,
};

/* Marks follow the numbers that were cut before: one broadcast may have a million of them. */
const struct pg_statement store_sql_trim_shared = {
    .name = "trim_shared",
    .params = 1,
    .sql = "WITH x AS (DELETE FROM shared WHERE seq IN (SELECT seq FROM shared"
           "   WHERE notification < $1::bigint ORDER BY seq LIMIT 5000) RETURNING seq, shown_at),"
           "h AS (UPDATE shared_head SET cut_seq = greatest(cut_seq, (SELECT max(seq) FROM x)),"
           "   cut_at = greatest(cut_at, (SELECT max(shown_at) FROM x))"
           "   WHERE EXISTS (SELECT FROM x)),"
           "m AS (DELETE FROM shared_mark WHERE (user_id, seq) IN (SELECT user_id, seq"
           "   FROM shared_mark WHERE seq <= (SELECT cut_seq FROM shared_head)"
           "   ORDER BY seq LIMIT 5000) RETURNING 1),"
           "k AS (DELETE FROM collapse WHERE ctid = ANY (ARRAY(SELECT ctid FROM collapse"
           "   WHERE NOT is_new AND delivery < $1::bigint LIMIT 5000)) RETURNING 1)"
           "SELECT greatest((SELECT count(*) FROM x), (SELECT count(*) FROM m),"
           "   (SELECT count(*) FROM k))",
};

static void on_removed(void *ctx, int err, const struct pg_result *result)
{
    struct removal_call *held = ctx;
    struct removal_call call = *held;
    bool is_more = false;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        uint64_t delivery = (uint64_t)pg_int(result, i, 1);
        struct removed_delivery row = {
            .delivery = delivery,
            .notification = (uint64_t)pg_int(result, i, 2),
            .channel = (enum channel)store_enum(result, i, 3, CHANNEL_COUNT),
            .recipient_kind = (int)pg_int(result, i, 4),
            .receipts = (int)pg_int(result, i, 5),
            .recipient = pg_text(result, i, 6),
            .user = pg_text(result, i, 7),
            .service = pg_text(result, i, 8),
            .request = pg_text(result, i, 9),
        };

        switch (pg_int(result, i, 0)) {
        case 0:
            call.on_delivery(call.ctx, &row);
            break;
        case 1:
            call.on_entry(call.ctx, row.recipient, delivery);
            break;
        case 2:
            call.on_shared(call.ctx, row.recipient, delivery);
            break;
        case 4:
            call.on_recalled(call.ctx, delivery);
            break;
        default:
            is_more = delivery == REMOVAL_BITE;
        }
    }
    call.on_done(call.ctx, err, is_more);
}

static int send(struct store *store, const struct pg_statement *statement,
                const struct removal_call *call)
{
    struct removal_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    err = pg_send(store->pg[STORE_CONTROL], statement, &store->params, on_removed, held);
    if (err)
        free(held);
    return err;
}

int store_collapse(struct store *store, int64_t epoch, const struct removal_call *call)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    return send(store, &store_sql_collapse, call);
}

int store_expire(struct store *store, const struct removal_call *call)
{
    pg_params_clear(&store->params);
    return send(store, &store_sql_expire, call);
}

static int take_back(struct store *store, const struct pg_statement *statement, int64_t epoch,
                     uint64_t notification, const struct removal_call *call)
{
    if (!epoch)
        return ERR_CLOSED;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, (int64_t)notification);
    pg_add_int8(&store->params, (int64_t)store_run_end(notification));
    return send(store, statement, call);
}

int store_cancel(struct store *store, int64_t epoch, uint64_t notification,
                 const struct removal_call *call)
{
    return take_back(store, &store_sql_cancel, epoch, notification, call);
}

int store_retract(struct store *store, int64_t epoch, uint64_t notification,
                  const struct removal_call *call)
{
    return take_back(store, &store_sql_retract, epoch, notification, call);
}

/* ---- retention ---- */

static void on_trimmed(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    ((store_count_fn *)call.fn)(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

int store_trim_shared(struct store *store, int64_t before_ms, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)id_first_of(before_ms));
    return store_send(store, STORE_DESK, &store_sql_trim_shared, &store->params, on_trimmed,
                      (void (*)(void))on_done, ctx);
}
