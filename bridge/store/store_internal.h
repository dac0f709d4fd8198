/* SPDX-License-Identifier: MIT */
/*
 * store_internal - what the files of store/ share; nobody else includes it
 */
#ifndef TOCSIN_STORE_STORE_INTERNAL_H
#define TOCSIN_STORE_STORE_INTERNAL_H
#include "io/pg.h"
#include "store/store.h"

/* STORE_DESK may be slow and may be away: it is no part of being up. */
enum {
    STORE_INTAKE,
    STORE_SETTLE,
    STORE_CONTROL,
    STORE_NEEDED,
    STORE_DESK = STORE_NEEDED,
    STORE_CONNECTIONS
};

/* In the order of the index collapse_key: a recipient may be longer than a row of an index. */
#define STORE_SAME_RECIPIENT(a, b) " left(" a ", 128) = left(" b ", 128) AND " a " = " b

/*
 * Why nothing is sent to an address: the reason, or NULL.  Each is an SQL expression.  An address
 * reaches the database in its wire form or, here, as its key (core/address.h); address_key() in
 * schemas/sql makes the key of the wire form.
 */
#define STORE_SUPPRESSED(channel, address, type)                     \
    "(SELECT w.reason FROM suppression w WHERE w.channel = " channel \
    " AND w.address = address_key(" channel ", " address ")"         \
    " AND w.scope IN ('', " type ") ORDER BY w.scope LIMIT 1)"

/*
 * Common table expressions that give numbers to what is told to many: those in `from (id,
 * notification, role)`.  Locking shared_head makes the numbers' order that of the commits.
 */
#define STORE_SHARE(from)                                                                 \
    "sh AS (UPDATE shared_head SET last_seq = last_seq + (SELECT count(*) FROM " from ")" \
    " WHERE EXISTS (SELECT FROM " from ") RETURNING last_seq),"                           \
    "sn AS (INSERT INTO shared (seq, delivery, notification, role)"                       \
    " SELECT sh.last_seq + 1 - row_number() OVER (ORDER BY x.id DESC), x.id,"             \
    "   x.notification, x.role FROM " from " x CROSS JOIN sh)"

/*
 * A common table expression that resolves the dead letters which `from (id, desk)` has brought to
 * another end than death, in the commit of that end.  Most batches have none: `desk` says which.
 */
#define STORE_RESOLVE(from)                                                           \
    "resolved AS (UPDATE dead_letter SET status = 2, changed_at = clock_timestamp()," \
    "   resolved_by = coalesce(resolved_by, 'retry')"                                 \
    " WHERE delivery = ANY (ARRAY(SELECT id FROM " from " WHERE desk <> 0))"          \
    "   AND status = 1 AND NOT is_dead)"

/*
 * What its recipient, a provider or an admin says of an address stands above what a service said:
 * the service cannot take that back.
 */
#define STORE_SUPPRESS_ABOVE_SERVICES                                                \
    " ON CONFLICT (channel, address, scope) DO UPDATE SET source = excluded.source," \
    "   reason = excluded.reason WHERE suppression.source LIKE 'service/%'"          \
    "   AND excluded.source NOT LIKE 'service/%'"

/*
 * A common table expression that writes a row of the audit; none where there is no author.  An
 * author is an admin's id or "service/" and a service's: an id has no slash.  The first seven are
 * the parameters of store_add_audited(), in order.
 */
#define STORE_AUDIT(author, action, call, params, before, after, counted, count)                 \
    "au AS (INSERT INTO audit (admin, service, action, call, params, before, after, result)"     \
    " SELECT CASE WHEN " author "::text NOT LIKE 'service/%' THEN " author "::text END,"         \
    " CASE WHEN " author "::text LIKE 'service/%' THEN substr(" author "::text, 9) END, " action \
    "::text, " call "::text, " params "::text, " before "::text, " after                         \
    "::text, '{\"' || " counted "::text || '\":' || (" count ") || '}'"                          \
    " WHERE " author "::text IS NOT NULL)"

struct store {
    struct pg *pg[STORE_CONNECTIONS];
    struct store_handlers handlers;
    void *ctx;
    unsigned up_count;
    bool was_up;
    struct pg_params params; /* reused by every call: encoded before pg_send() returns */
};

/* The statements of each connection, gathered in store.c. */
extern const struct pg_statement *const store_intake_statements[];
extern const struct pg_statement *const store_settle_statements[];
extern const struct pg_statement *const store_control_statements[];
extern const struct pg_statement *const store_desk_statements[];
/* The connections by number: what each is set to, and its statements. */
struct store_kind {
    const char *name, *settings;
    const struct pg_statement *const *statements;
};
extern const struct store_kind store_kinds[STORE_CONNECTIONS];

extern const struct pg_statement store_sql_reach, store_sql_targets_put, store_sql_targets,
    store_sql_targets_drop, store_sql_suppress, store_sql_unsuppress, store_sql_suppressions,
    store_sql_suppressed_since, store_sql_recalled_since;
extern const struct pg_statement store_sql_wake, store_sql_release;
extern const struct pg_statement store_sql_settle_steps, store_sql_retry_steps,
    store_sql_bury_steps, store_sql_ack_steps, store_sql_unread, store_sql_steps_sweep;
extern const struct pg_statement store_sql_ingest, store_sql_ingest_more, store_sql_key_lookup,
    store_sql_claim, store_sql_reconcile;
extern const struct pg_statement store_sql_defer, store_sql_expand, store_sql_expansion_next,
    store_sql_expansion_drop, store_sql_reach_count, store_sql_lane_calm, store_sql_lane_in_hand;
extern const struct pg_statement store_sql_settle, store_sql_retry, store_sql_bury, store_sql_ack,
    store_sql_ended, store_sql_recorded, store_sql_start;
extern const struct pg_statement store_sql_take_slots, store_sql_pause, store_sql_pauses;
extern const struct pg_statement store_sql_destinations, store_sql_pause_destination,
    store_sql_pause_channel, store_sql_resume_destination, store_sql_resume_channel;
extern const struct pg_statement store_sql_make_partitions, store_sql_drop_partition,
    store_sql_trim_leftovers, store_sql_trim_inbox, store_sql_trim_rejects;
extern const struct pg_statement store_sql_alerts, store_sql_alert_save;
extern const struct pg_statement store_sql_report_flows, store_sql_queue_counts,
    store_sql_queue_flows, store_sql_forget_flows;
extern const struct pg_statement store_sql_register, store_sql_heartbeat, store_sql_lanes,
    store_sql_lane_drop, store_sql_reap, store_sql_sweep, store_sql_leave, store_sql_unsent,
    store_sql_told, store_sql_destination, store_sql_ids_after;
extern const struct pg_statement store_sql_stage, store_sql_purge_keys, store_sql_reject;
extern const struct pg_statement store_sql_about, store_sql_status, store_sql_status_head,
    store_sql_cancel;
extern const struct pg_statement store_sql_dlq_list, store_sql_dlq_count, store_sql_dlq_stats,
    store_sql_dlq_tries, store_sql_dlq_mark, store_sql_dlq_feed, store_sql_dlq_purge,
    store_sql_resolve_retried, store_sql_resolve_old, store_sql_audit_list;
extern const struct pg_statement store_sql_callbacks_keep, store_sql_callbacks_fold,
    store_sql_callbacks_purge, store_sql_callbacks_adopt, store_sql_unsubscribe, store_sql_heard,
    store_sql_callbacks_untold, store_sql_callbacks_told;

extern const struct pg_statement store_sql_inbox_mark, store_sql_inbox_mark_all,
    store_sql_inbox_badges, store_sql_inbox_rising, store_sql_inbox_falling;
extern const struct pg_statement store_sql_shared_rising, store_sql_shared_falling,
    store_sql_shared_mark, store_sql_shared_mark_all;
extern const struct pg_statement store_sql_trim_shared;
extern const struct pg_statement store_sql_collapse, store_sql_expire, store_sql_retract;

/* A callback kept over a statement. */
struct store_call {
    void (*fn)(void);
    void *ctx;
};
/*
 * Past the last id that a delivery of the notification can have.  A run of ids is no longer than
 * the requests' bound, and 4,096 of them take a millisecond.
 */
uint64_t store_run_end(uint64_t notification);
/* store/inbox.c: marks, for inboxes and for what was told to many; that knows of roles. */
struct inbox_mark;
struct inbox_range;
struct inbox_mark_call;
struct mark;
int store_mark_entries(struct store *store, const struct pg_statement *statement,
                       const struct inbox_mark *marks, size_t count, bool has_roles,
                       const struct inbox_mark_call *call);
int store_mark_range(struct store *store, const struct pg_statement *statement,
                     const struct inbox_range *range, const struct mark *mark, bool has_roles,
                     const struct inbox_mark_call *call);
/* store/audit.c: the seven parameters of STORE_AUDIT; NULL: nobody's. */
struct audited;
void store_add_audited(struct store *store, const struct audited *audited);
/*
 * A stored enumeration: 0 to count - 1.  Anything else, which only another version or a hand can
 * have written, is logged and read as 0: a row must not be able to stop the bridge.
 */
int store_enum(const struct pg_result *result, int row, int column, int count);
/* store/requests.c: sends store->params on `intake`, whose rows are as those of store_ingest(). */
struct ingest_answer;
int store_send_ingest(struct store *store, const struct pg_statement *statement,
                      const struct ingest_answer *answer);
/* For statements whose rows do not matter: a pg_result_fn whose ctx is a struct store_call. */
void store_on_done(void *ctx, int err, const struct pg_result *result);
/* The same for a statement that answers with one number; fn is void (void *, int, int64_t). */
void store_on_count(void *ctx, int err, const struct pg_result *result);
/* Sends, with a call that on_result frees; frees it at once when sending fails. */
int store_send(struct store *store, unsigned connection, const struct pg_statement *statement,
               const struct pg_params *params, pg_result_fn *on_result, void (*fn)(void),
               void *ctx);

#endif
