/* SPDX-License-Identifier: MIT */
#include "io/pg_sqlstate.h"

#include <stddef.h>
#include <string.h>

struct rule {
    const char *prefix;
    int err;
    bool must_reset;
};

/* Longer prefixes before the class that they belong to. */
static const struct rule rules[] = {
    {"0A000", ERR_CLOSED, true}, /* "cached plan must not change result type" after DDL */
    {"08", ERR_DOUBT, true},
    {"22", ERR_DATA, false},
    {"23505", ERR_COLLISION, false},
    {"25", ERR_CLOSED, true},    /* 25006: became a standby, look for the primary */
    {"26000", ERR_CLOSED, true}, /* our prepared statement was dropped */
    {"40003", ERR_DOUBT, true},  /* statement completion unknown */
    {"40", ERR_AGAIN, false},
    {"53", ERR_CLOSED, true}, /* an ERROR, unlike a FATAL, is rolled back; but wait before more */
    {"54000", ERR_DATA, false},
    {"55", ERR_AGAIN, false},
    {"57014", ERR_AGAIN, false}, /* statement_timeout */
    {"57P", ERR_DOUBT, true},
    {"57", ERR_CLOSED, true},
    {"58", ERR_CLOSED, true},
};

int pg_sqlstate_err(const struct pg_trouble *trouble, bool *must_reset)
{
    const char *sqlstate = trouble->sqlstate, *severity = trouble->severity;

    *must_reset = true;
    if (!sqlstate)
        return ERR_DOUBT;
    if (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        return ERR_DOUBT;
    *must_reset = false;
    /* A row for which there is no partition has the same code, and no constraint's name. */
    if (strcmp(sqlstate, "23514") == 0)
        return trouble->constraint && trouble->constraint[0] ? ERR_DATA : ERR_REFUSED;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (strncmp(sqlstate, rules[i].prefix, strlen(rules[i].prefix)) != 0)
            continue;
        *must_reset = rules[i].must_reset;
        return rules[i].err;
    }
    return ERR_REFUSED;
}
