/* SPDX-License-Identifier: MIT */
#include "store/store.h"

#include "base/alloc.h"
#include "base/log.h"
#include "store/store_internal.h"

#include <stdlib.h>

/*
 * The queue tables are empty when they are analysed, so the planner must not believe what it
 * sees there: index scans always, one plan for all parameters, no time spent on compiling.  An
 * array counts as ten rows to it, for which it would compare each with each: no nested loops
 * (measured: 70 us a row with 500 of them, now 5).
 */
static const char queue_settings[] = "SET jit = off; SET enable_seqscan = off;"
                                     "SET enable_nestloop = off;"
                                     "SET plan_cache_mode = force_generic_plan;"
                                     "SET lock_timeout = '2s';"
                                     "SET idle_in_transaction_session_timeout = '10s'";
/* Planned anew each time; yet what is known of tables that grow and shrink fast is always old. */
static const char desk_settings[] = "SET jit = off; SET lock_timeout = '2s';"
                                    "SET enable_seqscan = off; SET random_page_cost = 1.1;"
                                    "SET max_parallel_workers_per_gather = 0;"
                                    "SET plan_cache_mode = force_custom_plan;"
                                    "SET statement_timeout = '55s';"
                                    "SET idle_in_transaction_session_timeout = '60s'";
#define DESK_DEADLINE_MS 60000

static const char control_settings[] = "SET jit = off; SET lock_timeout = '2s';"
                                       "SET idle_in_transaction_session_timeout = '10s'";

const struct pg_statement *const store_intake_statements[] = {
    &store_sql_ingest,         &store_sql_ingest_more, &store_sql_key_lookup,
    &store_sql_claim,          &store_sql_reconcile,   &store_sql_reach,
    &store_sql_wake,           &store_sql_release,     &store_sql_steps_sweep,
    &store_sql_ids_after,      &store_sql_defer,       &store_sql_expand,
    &store_sql_expansion_next, &store_sql_reach_count, NULL};
const struct pg_statement *const store_settle_statements[] = {
    &store_sql_settle,      &store_sql_retry,
    &store_sql_bury,        &store_sql_settle_steps,
    &store_sql_retry_steps, &store_sql_bury_steps,
    &store_sql_ack_steps,   &store_sql_ack,
    &store_sql_unread,      &store_sql_ended,
    &store_sql_recorded,    &store_sql_start,
    &store_sql_about,       NULL};
const struct pg_statement *const store_control_statements[] = {&store_sql_register,
                                                               &store_sql_heartbeat,
                                                               &store_sql_lanes,
                                                               &store_sql_lane_drop,
                                                               &store_sql_lane_calm,
                                                               &store_sql_lane_in_hand,
                                                               &store_sql_expansion_drop,
                                                               &store_sql_reap,
                                                               &store_sql_sweep,
                                                               &store_sql_leave,
                                                               &store_sql_unsent,
                                                               &store_sql_told,
                                                               &store_sql_destination,
                                                               &store_sql_stage,
                                                               &store_sql_purge_keys,
                                                               &store_sql_reject,
                                                               &store_sql_targets_put,
                                                               &store_sql_targets,
                                                               &store_sql_targets_drop,
                                                               &store_sql_suppress,
                                                               &store_sql_unsuppress,
                                                               &store_sql_suppressions,
                                                               &store_sql_suppressed_since,
                                                               &store_sql_recalled_since,
                                                               &store_sql_status,
                                                               &store_sql_status_head,
                                                               &store_sql_cancel,
                                                               &store_sql_inbox_mark,
                                                               &store_sql_inbox_mark_all,
                                                               &store_sql_inbox_badges,
                                                               &store_sql_inbox_rising,
                                                               &store_sql_inbox_falling,
                                                               &store_sql_shared_rising,
                                                               &store_sql_shared_falling,
                                                               &store_sql_shared_mark,
                                                               &store_sql_shared_mark_all,
                                                               &store_sql_collapse,
                                                               &store_sql_expire,
                                                               &store_sql_retract,
                                                               &store_sql_take_slots,
                                                               &store_sql_pause,
                                                               &store_sql_pauses,
                                                               &store_sql_callbacks_keep,
                                                               &store_sql_callbacks_fold,
                                                               &store_sql_callbacks_purge,
                                                               &store_sql_callbacks_adopt,
                                                               &store_sql_unsubscribe,
                                                               &store_sql_heard,
                                                               &store_sql_callbacks_untold,
                                                               &store_sql_callbacks_told,
                                                               NULL};

const struct pg_statement *const store_desk_statements[] = {
    &store_sql_destinations,    &store_sql_pause_destination,
    &store_sql_pause_channel,   &store_sql_resume_destination,
    &store_sql_resume_channel,  &store_sql_report_flows,
    &store_sql_queue_counts,    &store_sql_queue_flows,
    &store_sql_forget_flows,    &store_sql_dlq_list,
    &store_sql_dlq_count,       &store_sql_dlq_stats,
    &store_sql_dlq_tries,       &store_sql_dlq_mark,
    &store_sql_dlq_feed,        &store_sql_dlq_purge,
    &store_sql_trim_inbox,      &store_sql_trim_shared,
    &store_sql_resolve_retried, &store_sql_resolve_old,
    &store_sql_alerts,          &store_sql_alert_save,
    &store_sql_make_partitions, &store_sql_drop_partition,
    &store_sql_trim_leftovers,  &store_sql_trim_rejects,
    &store_sql_audit_list,      NULL};

const struct store_kind store_kinds[STORE_CONNECTIONS] = {
    {"intake", queue_settings, store_intake_statements},
    {"settle", queue_settings, store_settle_statements},
    {"control", control_settings, store_control_statements},
    {"desk", desk_settings, store_desk_statements},
};

static void on_up(void *ctx)
{
    struct store *store = ctx;

    store->up_count++;
    if (store->up_count == STORE_NEEDED) {
        store->was_up = true;
        store->handlers.on_up(store->ctx);
    }
}

static void on_down(void *ctx, const char *why)
{
    struct store *store = ctx;

    store->up_count--;
    if (!store->was_up)
        return;
    store->was_up = false;
    store->handlers.on_down(store->ctx, why);
}

/* The desk comes and goes by itself: io/pg logs nothing, and nobody waits for it. */
static void on_desk_up(void *ctx)
{
    (void)ctx;
}

static void on_desk_down(void *ctx, const char *why)
{
    (void)ctx;
    log_warn("store.desk_down", LOG_STR("why", why));
}

struct store *store_open(struct loop *loop, const struct store_config *config,
                         const struct store_handlers *handlers, void *ctx)
{
    struct store *store = xcalloc(1, sizeof(*store));
    struct pg_handlers needed = {on_up, on_down}, desk = {on_desk_up, on_desk_down};

    store->handlers = *handlers;
    store->ctx = ctx;
    pg_params_init(&store->params);
    for (unsigned i = 0; i < STORE_CONNECTIONS; i++) {
        struct pg_config pg = {
            .conninfo = config->conninfo,
            .password_file = config->password_file,
            .name = store_kinds[i].name,
            .settings = store_kinds[i].settings,
            .statements = store_kinds[i].statements,
            .deadline_ms = i == STORE_DESK ? DESK_DEADLINE_MS : config->deadline_ms,
            .connect_ms = config->connect_ms,
            .backoff_min_ms = config->backoff_min_ms,
            .backoff_max_ms = config->backoff_max_ms,
            .queue_max = 64,
        };

        store->pg[i] = pg_open(loop, &pg, i == STORE_DESK ? &desk : &needed, store);
    }
    return store;
}

void store_close(struct store *store)
{
    store->was_up = false;
    for (unsigned i = 0; i < STORE_CONNECTIONS; i++)
        pg_close(store->pg[i]);
    pg_params_fini(&store->params);
    free(store);
}

bool store_is_up(const struct store *store)
{
    return store->was_up;
}

size_t store_pending(const struct store *store)
{
    size_t pending = 0;

    for (unsigned i = 0; i < STORE_NEEDED; i++)
        pending += pg_pending(store->pg[i]);
    return pending;
}

int64_t store_oldest_end_ms(const struct store *store)
{
    int64_t settle_ms = pg_oldest_ms(store->pg[STORE_SETTLE]);
    int64_t control_ms = pg_oldest_ms(store->pg[STORE_CONTROL]);

    return settle_ms < control_ms ? settle_ms : control_ms;
}

bool store_intake_is_idle(const struct store *store)
{
    return pg_pending(store->pg[STORE_INTAKE]) == 0;
}

int store_enum(const struct pg_result *result, int row, int column, int count)
{
    int64_t value = pg_int(result, row, column);

    if (value >= 0 && value < count)
        return (int)value;
    log_error("store.value", LOG_INT("column", column), LOG_INT("value", value),
              LOG_STR("why", "no such value in this version: the row is read as if it were 0"));
    return 0;
}

void store_on_done(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *call = ctx;
    struct store_call copy = *call;

    (void)result;
    free(call);
    if (copy.fn)
        ((store_done_fn *)copy.fn)(copy.ctx, err);
}

void store_on_count(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *call = ctx;
    struct store_call copy = *call;

    free(call);
    ((void (*)(void *, int, int64_t))copy.fn)(copy.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

int store_send(struct store *store, unsigned connection, const struct pg_statement *statement,
               const struct pg_params *params, pg_result_fn *on_result, void (*fn)(void), void *ctx)
{
    struct store_call *call = xmalloc(sizeof(*call));
    int err;

    call->fn = fn;
    call->ctx = ctx;
    err = pg_send(store->pg[connection], statement, params, on_result, call);
    if (err)
        free(call);
    return err;
}
