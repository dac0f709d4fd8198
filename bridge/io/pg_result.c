/* SPDX-License-Identifier: MIT */
#include "io/pg.h"
#include "io/pg_private.h"
#include "io/pg_sqlstate.h"

#include <string.h>

#include "base/log.h"

#define EPOCH_US INT64_C(946684800000000)

int pg_rows(const struct pg_result *result)
{
    return result->rows ? PQntuples(result->rows) : 0;
}

static void check_cell(const struct pg_result *result, int row, int column)
{
    ASSERT(result->rows != NULL);
    ASSERT(row >= 0 && row < PQntuples(result->rows));
    ASSERT(column >= 0 && column < PQnfields(result->rows));
}

bool pg_is_null(const struct pg_result *result, int row, int column)
{
    check_cell(result, row, column);
    return PQgetisnull(result->rows, row, column) == 1;
}

int64_t pg_int(const struct pg_result *result, int row, int column)
{
    const unsigned char *bytes;
    uint64_t value = 0;
    int length;

    check_cell(result, row, column);
    length = PQgetlength(result->rows, row, column);
    if (length == 0)
        return 0; /* NULL */
    ASSERT(length == 1 || length == 2 || length == 4 || length == 8);
    bytes = (const unsigned char *)PQgetvalue(result->rows, row, column);
    if (length > 1 && bytes[0] & 0x80)
        value = UINT64_MAX; /* carry the sign */
    for (int i = 0; i < length; i++)
        value = value << 8 | bytes[i];
    return (int64_t)value;
}

double pg_float(const struct pg_result *result, int row, int column)
{
    int64_t bits;
    double value;

    check_cell(result, row, column);
    ASSERT(PQgetlength(result->rows, row, column) == 8 || pg_is_null(result, row, column));
    bits = pg_int(result, row, column);
    memcpy(&value, &bits, sizeof value);
    return value;
}

const char *pg_text(const struct pg_result *result, int row, int column)
{
    check_cell(result, row, column);
    return PQgetvalue(result->rows, row, column);
}

const void *pg_bytes(const struct pg_result *result, int row, int column, size_t *length)
{
    check_cell(result, row, column);
    *length = (size_t)PQgetlength(result->rows, row, column);
    return PQgetvalue(result->rows, row, column);
}

int64_t pg_time_us(const struct pg_result *result, int row, int column)
{
    int64_t us;

    if (pg_is_null(result, row, column))
        return INT64_MIN;
    us = pg_int(result, row, column);
    if (us == INT64_MAX || us == INT64_MIN)
        return us; /* infinity stays */
    return us + EPOCH_US;
}

const char *pg_sqlstate(const struct pg_result *result)
{
    return result->sqlstate;
}

const char *pg_message(const struct pg_result *result)
{
    return result->message;
}

int pg_classify(const PGresult *rows, bool *must_reset)
{
    struct pg_trouble trouble = {
        .sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE),
        .severity = PQresultErrorField(rows, PG_DIAG_SEVERITY_NONLOCALIZED),
        .constraint = PQresultErrorField(rows, PG_DIAG_CONSTRAINT_NAME),
    };

    return pg_sqlstate_err(&trouble, must_reset);
}

const char *pg_text_or_null(const struct pg_result *result, int row, int column)
{
    return pg_is_null(result, row, column) ? NULL : pg_text(result, row, column);
}
