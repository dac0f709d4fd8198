/* SPDX-License-Identifier: MIT */
#include "statements.h"

#include <stdio.h>
#include <string.h>

#include "core/delivery.h"
#include "store/store_internal.h"

#define BIT(state)  (1U << (state))
#define READY       BIT(DELIVERY_READY)
#define LEASED      BIT(DELIVERY_LEASED)
#define HELD        BIT(DELIVERY_HELD)
#define SENT        BIT(DELIVERY_SENT)
#define DELIVERED   BIT(DELIVERY_DELIVERED)
#define DEAD        BIT(DELIVERY_DEAD)
#define SUPPRESSED  BIT(DELIVERY_SUPPRESSED)
#define EXPIRED     BIT(DELIVERY_EXPIRED)
#define CANCELLED   BIT(DELIVERY_CANCELLED)
#define OURS        "d.epoch = $1::bigint AND d.state = 1"
#define LIVE        "epoch = $1::bigint AND lease_until > clock_timestamp()"
#define OF_REQUESTS "state IN (0, 2)"
enum { GUARDS = 3, MOVES = 3 };

struct moves_of {
    unsigned from, to;
};

/* guards: what its text must hold, word for word; the white space does not count. */
static const struct row {
    const struct pg_statement *statement;
    const char *guards[GUARDS];
    struct moves_of moves[MOVES];
} rows[] = {
    {&store_sql_ingest, {LIVE, "s.state = 1 AND l.is_live", "state & 2"}, {{0, 0}}},
    {&store_sql_ingest_more, {LIVE, "s.state = 1 AND l.is_live", "state & 2"}, {{0, 0}}},
    {&store_sql_expand,
     {"notification = $2::bigint AND next = $3::int", "s.state = 1 AND l.is_live", LIVE},
     {{0, 0}}},
    {&store_sql_claim, {"d.state + 0 = 0", "WHERE state = 0 AND", LIVE}, {{READY, LEASED}}},
    {&store_sql_wake,
     {OF_REQUESTS, "d.state + 0 <> 1", LIVE},
     {{READY | HELD, LEASED}, {DEAD, LEASED}}},
    {&store_sql_reconcile, {"state = 1 AND epoch = $1::bigint"}, {{LEASED, READY}}},
    {&store_sql_sweep,
     {"AND d.state = 1", "AND d.epoch = ANY (ARRAY(SELECT DISTINCT epoch FROM orphan))",
      "o.state = 1 AND NOT EXISTS (SELECT 1 FROM bridge b WHERE b.epoch = o.epoch)"},
     {{LEASED, READY}}},
    {&store_sql_leave, {"state = 1 AND epoch = $1::bigint"}, {{LEASED, READY}}},
    {&store_sql_release, {"state = 2 AND due_at <= now()", "state + 0 = 2"}, {{HELD, READY}}},
    {&store_sql_stage, {"FROM scheduled WHERE due_at <= now()"}, {{HELD, READY}}},
    {&store_sql_settle,
     {"DELETE FROM delivery d", OURS},
     {{LEASED, SENT | DELIVERED | SUPPRESSED | EXPIRED}}},
    {&store_sql_settle_steps,
     {"DELETE FROM delivery d", OURS, "DELETE FROM scheduled s"},
     {{LEASED, SENT | DELIVERED | SUPPRESSED | EXPIRED}, {HELD, CANCELLED}}},
    {&store_sql_retry, {"UPDATE delivery d", OURS}, {{LEASED, READY | HELD}}},
    {&store_sql_retry_steps, {"UPDATE delivery d", OURS}, {{LEASED, READY | HELD}}},
    {&store_sql_bury, {"DELETE FROM delivery d", OURS, "is_dead = true"}, {{LEASED, DEAD}}},
    {&store_sql_bury_steps, {"DELETE FROM delivery d", OURS, "is_dead = true"}, {{LEASED, DEAD}}},
    {&store_sql_ack,
     {"d.id = r.id AND d.recipient = r.recipient AND d.channel = 0 AND d.recipient_kind = 0"},
     {{READY | LEASED | HELD, DELIVERED}}},
    {&store_sql_ack_steps,
     {"d.id = r.id AND d.recipient = r.recipient AND d.channel = 0 AND d.recipient_kind = 0",
      "s.id <> r.id AND s." OF_REQUESTS, "DELETE FROM scheduled s"},
     {{READY | LEASED | HELD, DELIVERED}, {READY | HELD, CANCELLED}}},
    {&store_sql_cancel, {"DELETE FROM delivery", OF_REQUESTS}, {{READY | HELD, CANCELLED}}},
    {&store_sql_retract,
     {"(" OF_REQUESTS " OR channel = 0)"},
     {{READY | HELD, CANCELLED}, {LEASED, CANCELLED}}},
    {&store_sql_collapse,
     {"(" OF_REQUESTS " OR channel = 0)"},
     {{READY | HELD, SUPPRESSED}, {LEASED, SUPPRESSED}}},
    {&store_sql_dlq_feed,
     {"status = 1 AND is_dead", "UPDATE dead_letter SET is_dead = false"},
     {{DEAD, READY}}},
    /* What a message is reported to have done is told; the books hold failures and their end. */
    {&store_sql_callbacks_fold,
     {"b WHERE report = 20 AND before < 20", "before = 20", "WHERE NOT o.is_dead"},
     {{SENT, DEAD | DELIVERED}, {DEAD, DELIVERED}, {HELD, CANCELLED}}},
    /* What is over is a value: a row changed meanwhile is not judged by bridges of before. */
    {&store_sql_lanes, {"OR epoch = ANY (ARRAY("}, {{0, 0}}},
    {&store_sql_reap, {"OR teller = ANY (ARRAY("}, {{0, 0}}},
    {&store_sql_callbacks_untold, {"OR teller = ANY (ARRAY("}, {{0, 0}}},
    {&store_sql_resolve_retried,
     {"USING (delivery, died_at)", "AND status = 1 AND NOT is_dead RETURNING"},
     {{0, 0}}},
    {&store_sql_steps_sweep, {"UPDATE scheduled s SET due_at = now()", "IS NULL"}, {{0, 0}}},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* Whether text holds words; a run of white space is as good as one blank. */
static bool holds(const char *text, const char *words)
{
    for (; *text; text++) {
        const char *at = text, *want = words;

        while (*want && (*at == *want || (*at == ' ' && *want == ' '))) {
            at++;
            want++;
            while (at[0] == ' ' && at[-1] == ' ')
                at++;
        }
        if (!*want)
            return true;
    }
    return false;
}

static bool changes_deliveries(const char *sql)
{
    static const char *const words[] = {
        "INTO delivery ",  "UPDATE delivery ",  "DELETE FROM delivery ",
        "INTO scheduled ", "UPDATE scheduled ", "DELETE FROM scheduled ",
    };

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        if (holds(sql, words[i]))
            return true;
    return false;
}

static int check_row(const struct row *row)
{
    const char *name = row->statement->name;
    int wrong = 0;

    for (unsigned i = 0; i < GUARDS && row->guards[i]; i++) {
        if (holds(row->statement->sql, row->guards[i]))
            continue;
        printf("wrong: %s has no \"%s\"\n", name, row->guards[i]);
        wrong = 1;
    }
    for (unsigned i = 0; i < MOVES; i++)
        for (unsigned from = 0; from < DELIVERY_STATE_COUNT; from++)
            for (unsigned to = 0; to < DELIVERY_STATE_COUNT; to++) {
                if (!(row->moves[i].from & BIT(from)) || !(row->moves[i].to & BIT(to)))
                    continue;
                printf("statement %s %s %s\n", name, delivery_state_name((enum delivery_state)from),
                       delivery_state_name((enum delivery_state)to));
                if (delivery_can_move((enum delivery_state)from, (enum delivery_state)to))
                    continue;
                printf("wrong: %s moves where no arrow goes\n", name);
                wrong = 1;
            }
    return wrong;
}

static int check_known(const struct pg_statement *const *statements)
{
    int wrong = 0;

    for (; *statements; statements++) {
        bool is_known = false;

        for (unsigned i = 0; i < ROWS; i++)
            is_known = is_known || rows[i].statement == *statements;
        if (is_known || !changes_deliveries((*statements)->sql))
            continue;
        printf("wrong: %s changes deliveries and is not known here\n", (*statements)->name);
        wrong = 1;
    }
    return wrong;
}

int statements_check(void)
{
    int wrong = 0;

    for (unsigned i = 0; i < ROWS; i++)
        wrong |= check_row(&rows[i]);
    wrong |= check_known(store_intake_statements);
    wrong |= check_known(store_settle_statements);
    wrong |= check_known(store_control_statements);
    wrong |= check_known(store_desk_statements);
    return wrong;
}
