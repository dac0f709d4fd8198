/* SPDX-License-Identifier: MIT */
/*
 * pg - one asynchronous, pipelined Postgres connection (libpq)
 *
 * Statements are prepared on every connect, sent in pipeline mode with a sync after each, and
 * answered in order.  Each is its own transaction.  Each has a deadline of ours: with a stopped
 * server neither keep-alives nor tcp_user_timeout fire, so at the deadline the socket is closed
 * and everything unanswered ends as ERR_DOUBT (sent) or ERR_CLOSED (never sent).
 * A WARNING on a statement marked durable also makes it ERR_DOUBT: after a cancelled wait for a
 * synchronous standby Postgres reports success and a warning.
 *
 * Before anything is sent on a new connection, the backends of those before it are told to end:
 * what they had not committed by then they never will, so nothing of ours runs out of order.
 *
 * It reconnects by itself with full-jitter backoff; host names are resolved off the loop and
 * passed as hostaddr; several hosts and target_session_attrs work as in libpq.
 *
 * Ownership: parameters are encoded before pg_send() returns; a result lives until its callback
 *            returns.
 * Errors:    by SQLSTATE, as the table in io/pg_sqlstate.h says.  ERR_CLOSED: nothing happened, and
 *            it will not go better before the next on_up; the connection starts over by itself.
 * Order:     callbacks in the order of pg_send(); never before it returned; exactly once each.
 */
#ifndef TOCSIN_IO_PG_H
#define TOCSIN_IO_PG_H
#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Who may have how many of the places of a connection (pg_config.queue_max).  Calls are what others
 * ask for as often as they like; what is kept free of them is for what must not wait behind them.
 */
enum pg_place {
    PG_PLACE_COMMON, /* seven of eight */
    PG_PLACE_CALL,   /* three of four */
    PG_PLACE_KEPT    /* all: heartbeats, leases, batches that hold a lane */
};

struct pg_statement {
    const char *name;
    const char *sql;
    int params;      /* how many $n */
    bool is_durable; /* see above */
    bool is_watched; /* pg_oldest_ms() looks at it */
    enum pg_place place;
};

struct pg_config {
    const char *conninfo;      /* URL or keywords; borrowed */
    const char *password_file; /* borrowed, may be NULL */
    const char *name;          /* application_name suffix: "ingest", "settle"; borrowed */
    const char *settings;      /* run after connecting ("SET plan_cache_mode=..."), or NULL */
    const struct pg_statement *const *statements; /* NULL-terminated; borrowed */
    /* Per statement, from the moment it is sent or the one before it is answered. */
    int64_t deadline_ms;
    int64_t connect_ms; /* per attempt */
    int64_t backoff_min_ms, backoff_max_ms;
    size_t queue_max; /* statements under way at once */
};

struct pg;
struct pg_result;

struct pg_handlers {
    void (*on_up)(void *ctx);
    void (*on_down)(void *ctx, const char *why); /* why: server's words, for the log */
};

struct pg *pg_open(struct loop *loop, const struct pg_config *config,
                   const struct pg_handlers *handlers, void *ctx);
/* Ends now; statements under way get their callback with ERR_CLOSED or ERR_DOUBT before return. */
void pg_close(struct pg *pg);
bool pg_is_up(const struct pg *pg);
/* Statements sent and not yet answered. */
size_t pg_pending(const struct pg *pg);
/* When the oldest watched one of them was sent (boot clock); INT64_MAX: there is none. */
int64_t pg_oldest_ms(const struct pg *pg);
/* Ends the connection and connects again, as after a failure. */
void pg_reset(struct pg *pg, const char *why);

/* ---- parameters: binary, column by column ---- */
enum pg_type {
    PG_BOOL,
    PG_INT2,
    PG_INT4,
    PG_INT8,
    PG_TEXT,
    PG_BYTEA,
    PG_UUID,
    PG_TIMESTAMPTZ,
    PG_DATE,
    PG_FLOAT8
};

struct pg_array { /* one-dimensional array parameter, filled row by row */
    struct buf buf;
    enum pg_type type;
    int32_t count;
    bool has_null;
};
void pg_array_init(struct pg_array *array, enum pg_type type);
void pg_array_clear(struct pg_array *array); /* keeps memory and type */
void pg_array_fini(struct pg_array *array);
void pg_array_add_int(struct pg_array *array, int64_t value); /* BOOL INT2 INT4 INT8 */
/* TEXT BYTEA UUID */
void pg_array_add_bytes(struct pg_array *array, const void *bytes, size_t length);
void pg_array_add_text(struct pg_array *array, const char *text); /* NULL adds a NULL */
/* TIMESTAMPTZ; INT64_MIN adds a NULL */
void pg_array_add_time(struct pg_array *array, int64_t wall_us);
void pg_array_add_date(struct pg_array *array, int32_t days_since_1970);
void pg_array_add_null(struct pg_array *array);

struct pg_params {
    struct buf buf;
    struct {
        size_t offset;
        int32_t length; /* -1 for NULL */
    } param[40];
    int count;
};
void pg_params_init(struct pg_params *params);
void pg_params_clear(struct pg_params *params);
void pg_params_fini(struct pg_params *params);
void pg_add_int2(struct pg_params *params, int16_t value);
void pg_add_int4(struct pg_params *params, int32_t value);
void pg_add_int8(struct pg_params *params, int64_t value);
void pg_add_bool(struct pg_params *params, bool value);
void pg_add_text(struct pg_params *params, const char *text); /* NULL adds a NULL */
void pg_add_bytes(struct pg_params *params, const void *bytes, size_t length);
void pg_add_time(struct pg_params *params, int64_t wall_us); /* INT64_MIN adds a NULL */
void pg_add_null(struct pg_params *params);
void pg_add_array(struct pg_params *params, const struct pg_array *array);

typedef void pg_result_fn(void *ctx, int err, const struct pg_result *result);

/*
 * Sends one statement.  0 and one callback later, or ERR_CLOSED / ERR_FULL and none.
 * The statement is one of config.statements.
 */
NODISCARD int pg_send(struct pg *pg, const struct pg_statement *statement,
                      const struct pg_params *params, pg_result_fn *on_result, void *ctx);

/* ---- results: binary.  A NULL reads as 0, "", no bytes, or INT64_MIN for a time ---- */
int pg_rows(const struct pg_result *result);
bool pg_is_null(const struct pg_result *result, int row, int column);
int64_t pg_int(const struct pg_result *result, int row, int column); /* bool, int2, int4, int8 */
double pg_float(const struct pg_result *result, int row, int column);
const char *pg_text(const struct pg_result *result, int row, int column); /* NUL-terminated */
/* The text, or NULL for an SQL NULL. */
const char *pg_text_or_null(const struct pg_result *result, int row, int column);
const void *pg_bytes(const struct pg_result *result, int row, int column, size_t *length);
int64_t pg_time_us(const struct pg_result *result, int row, int column); /* since 1970 */
/* After an error: SQLSTATE ("" when there was none) and the server's message. */
const char *pg_sqlstate(const struct pg_result *result);
const char *pg_message(const struct pg_result *result);

/*
 * Blocking, for --migrate alone (before any loop runs): connects, runs a script as one simple
 * query, hands back the first column of the first row in *value (owned by the caller, NULL when
 * none).  why gets the server's message.
 */
struct pg_script;
NODISCARD int pg_script_open(const char *conninfo, const char *password_file,
                             struct pg_script **out, char *why, size_t why_bytes);
NODISCARD int pg_script_run(struct pg_script *script, const char *sql, char **value, char *why,
                            size_t why_bytes);
void pg_script_close(struct pg_script *script);

/* ERR_INVALID when libpq cannot make out a connection string; why does not quote it. */
NODISCARD int pg_conninfo_check(const char *conninfo, char *why, size_t why_bytes);

#endif
