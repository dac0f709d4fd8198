/* SPDX-License-Identifier: MIT */
#include "io/pg.h"

#include <string.h>

#include "base/log.h"

#define EPOCH_US   INT64_C(946684800000000) /* Postgres counts from 2000-01-01 */
#define EPOCH_DAYS 10957

/* The object ids of the built-in types are fixed for ever. */
static int32_t type_oid(enum pg_type type)
{
    static const int32_t oids[] = {
        [PG_BOOL] = 16,   [PG_INT2] = 21,   [PG_INT4] = 23,   [PG_INT8] = 20,
        [PG_TEXT] = 25,   [PG_BYTEA] = 17,  [PG_UUID] = 2950, [PG_TIMESTAMPTZ] = 1184,
        [PG_DATE] = 1082, [PG_FLOAT8] = 701};

    return oids[type];
}

static void put_integer(struct buf *buf, int64_t value, size_t bytes)
{
    char out[8];

    for (size_t i = 0; i < bytes; i++)
        out[i] = (char)(value >> (8 * (bytes - 1 - i)));
    buf_add(buf, out, bytes);
}

static size_t integer_bytes(enum pg_type type)
{
    switch (type) {
    case PG_BOOL:
        return 1;
    case PG_INT2:
        return 2;
    case PG_INT4:
        return 4;
    case PG_INT8:
        return 8;
    default:
        panic("not an integer type");
    }
}

/*
 * A number of somebody else's may be larger than its column: the nearest that fits is stored.
 * Cut off, it would be another number.
 */
static int64_t fitting(int64_t value, size_t bytes)
{
    int64_t max = bytes == 8 ? INT64_MAX : (INT64_C(1) << (8 * bytes - 1)) - 1;

    if (value >= -max - 1 && value <= max)
        return value;
    log_error("pg.number", LOG_INT("value", value), LOG_INT("bytes", bytes),
              LOG_STR("why", "the number does not fit its column: the nearest is stored"));
    return value < 0 ? -max - 1 : max;
}

void pg_array_init(struct pg_array *array, enum pg_type type)
{
    memset(array, 0, sizeof *array);
    array->type = type;
}

void pg_array_clear(struct pg_array *array)
{
    buf_clear(&array->buf);
    array->count = 0;
    array->has_null = false;
}

void pg_array_fini(struct pg_array *array)
{
    buf_fini(&array->buf);
    array->count = 0;
}

void pg_array_add_int(struct pg_array *array, int64_t value)
{
    size_t bytes = integer_bytes(array->type);

    put_integer(&array->buf, (int64_t)bytes, 4);
    put_integer(&array->buf, fitting(value, bytes), bytes);
    array->count++;
}

void pg_array_add_bytes(struct pg_array *array, const void *bytes, size_t length)
{
    ASSERT(array->type == PG_TEXT || array->type == PG_BYTEA ||
           (array->type == PG_UUID && length == 16));
    ASSERT(length <= INT32_MAX);
    put_integer(&array->buf, (int64_t)length, 4);
    buf_add(&array->buf, bytes, length);
    array->count++;
}

void pg_array_add_text(struct pg_array *array, const char *text)
{
    if (text)
        pg_array_add_bytes(array, text, strlen(text));
    else
        pg_array_add_null(array);
}

void pg_array_add_time(struct pg_array *array, int64_t wall_us)
{
    ASSERT(array->type == PG_TIMESTAMPTZ);
    if (wall_us == INT64_MIN) {
        pg_array_add_null(array);
        return;
    }
    put_integer(&array->buf, 8, 4);
    put_integer(&array->buf, wall_us == INT64_MAX ? INT64_MAX : wall_us - EPOCH_US, 8);
    array->count++;
}

void pg_array_add_date(struct pg_array *array, int32_t days_since_1970)
{
    ASSERT(array->type == PG_DATE);
    put_integer(&array->buf, 4, 4);
    put_integer(&array->buf, days_since_1970 - EPOCH_DAYS, 4);
    array->count++;
}

void pg_array_add_null(struct pg_array *array)
{
    put_integer(&array->buf, -1, 4);
    array->count++;
    array->has_null = true;
}

void pg_params_init(struct pg_params *params)
{
    memset(params, 0, sizeof *params);
}

void pg_params_clear(struct pg_params *params)
{
    buf_clear(&params->buf);
    params->count = 0;
}

void pg_params_fini(struct pg_params *params)
{
    buf_fini(&params->buf);
    params->count = 0;
}

/* Opens the next parameter; what is added to buf up to end() is its value. */
static size_t begin(struct pg_params *params)
{
    ASSERT((size_t)params->count < sizeof params->param / sizeof *params->param);
    params->param[params->count].offset = params->buf.length;
    return params->buf.length;
}

static void end(struct pg_params *params, size_t start)
{
    ASSERT(params->buf.length - start <= INT32_MAX);
    params->param[params->count++].length = (int32_t)(params->buf.length - start);
}

static void add_integer(struct pg_params *params, int64_t value, size_t bytes)
{
    size_t start = begin(params);

    put_integer(&params->buf, value, bytes);
    end(params, start);
}

void pg_add_int2(struct pg_params *params, int16_t value)
{
    add_integer(params, value, 2);
}

void pg_add_int4(struct pg_params *params, int32_t value)
{
    add_integer(params, value, 4);
}

void pg_add_int8(struct pg_params *params, int64_t value)
{
    add_integer(params, value, 8);
}

void pg_add_bool(struct pg_params *params, bool value)
{
    add_integer(params, value, 1);
}

void pg_add_text(struct pg_params *params, const char *text)
{
    if (text)
        pg_add_bytes(params, text, strlen(text));
    else
        pg_add_null(params);
}

void pg_add_bytes(struct pg_params *params, const void *bytes, size_t length)
{
    size_t start = begin(params);

    buf_add(&params->buf, bytes, length);
    end(params, start);
}

void pg_add_time(struct pg_params *params, int64_t wall_us)
{
    if (wall_us == INT64_MIN)
        pg_add_null(params);
    else
        add_integer(params, wall_us - EPOCH_US, 8);
}

void pg_add_null(struct pg_params *params)
{
    begin(params);
    params->param[params->count++].length = -1;
}

void pg_add_array(struct pg_params *params, const struct pg_array *array)
{
    size_t start = begin(params);

    put_integer(&params->buf, array->count ? 1 : 0, 4); /* dimensions */
    put_integer(&params->buf, array->has_null, 4);
    put_integer(&params->buf, type_oid(array->type), 4);
    if (array->count) {
        put_integer(&params->buf, array->count, 4);
        put_integer(&params->buf, 1, 4); /* lower bound */
        buf_add(&params->buf, array->buf.data, array->buf.length);
    }
    end(params, start);
}
