/* SPDX-License-Identifier: MIT */
/*
 * Every statement that ends a delivery is one whose receipts are sent again after a crash: it
 * writes the end into `attempt` under the epoch of its bridge, and it is watched, on a connection
 * that is.
 */
#include "store/store_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What these write or delete is no end. */
static const char *const not_ends[] = {
    "start", /* says that a request may have left */
    "stage", /* from scheduled to delivery */
};

static bool is_one_of(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool removes_deliveries(const char *sql)
{
    return strstr(sql, "DELETE FROM delivery ") || strstr(sql, "DELETE FROM scheduled ");
}

static void check(const struct pg_statement *statement, bool is_watched_connection)
{
    bool writes_end = strstr(statement->sql, "INSERT INTO attempt (") != NULL;

    if (is_one_of(not_ends, sizeof(not_ends) / sizeof(not_ends[0]), statement->name))
        return;
    if (removes_deliveries(statement->sql) && !writes_end)
        fail_msg("%s removes deliveries and writes no end", statement->name);
    if (!writes_end)
        return;
    if (!statement->is_watched)
        fail_msg("%s ends deliveries and is not watched", statement->name);
    if (!is_watched_connection)
        fail_msg("%s ends deliveries on a connection that nobody watches", statement->name);
    if (!strstr(statement->sql, "$1::bigint") && !strstr(statement->sql, "$2::bigint"))
        fail_msg("%s writes ends under no epoch", statement->name);
}

static void every_statement_that_ends_deliveries_is_watched(void **state)
{
    /* As in store_oldest_end_ms(): settle and control. */
    const struct {
        const struct pg_statement *const *statements;
        bool is_watched;
    } connections[] = {{store_intake_statements, false},
                       {store_settle_statements, true},
                       {store_control_statements, true},
                       {store_desk_statements, false}};
    unsigned watched = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(connections) / sizeof(connections[0]); i++)
        for (size_t s = 0; connections[i].statements[s]; s++) {
            check(connections[i].statements[s], connections[i].is_watched);
            watched += connections[i].statements[s]->is_watched;
        }
    assert_true(watched >= 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_statement_that_ends_deliveries_is_watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
