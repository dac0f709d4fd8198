/* SPDX-License-Identifier: MIT */
#include "io/pg.h"
#include "io/pg_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "io/lost_line.h"
#include "base/random.h"

#define WHY_BYTES  256
#define STRAYS_MAX 8

/* In the order of a connection's life; drop_connection() alone goes back. */
enum state {
    PG_RESTING,    /* until retry is due */
    PG_TARGETING,  /* an errand on a pool thread reads the password and resolves names */
    PG_CONNECTING, /* PQconnectPoll() */
    PG_SETTING,    /* config.settings, as a simple query */
    PG_PREPARING,  /* all statements in one pipeline */
    PG_UP
};

struct pending {
    pg_result_fn *on_result;
    void *ctx;
    int64_t sent_ms;
    bool is_durable;
    bool is_watched;
    bool is_warned; /* a WARNING came while it was answered */
};

/* Outlives the pg when that is closed meanwhile; hence copies of its strings. */
struct errand {
    struct pg *pg; /* NULL once abandoned */
    struct arena *arena;
    struct pg_source source;
    struct pg_target target;
    char why[WHY_BYTES];
    int err;
};

struct pg {
    struct loop *loop;
    struct pg_config config;
    struct pg_handlers handlers;
    void *ctx;
    enum state state;
    unsigned generation; /* counts connections: tells after a callback whether it is still ours */
    unsigned depth;      /* of our functions on the stack; the last one out frees */
    bool is_closed;

    PGconn *conn;
    struct errand *errand;
    struct pg_target target;
    struct loop_watch watch;
    struct loop_timer timer; /* backoff, then connecting, then the oldest statement's deadline */
    struct loop_deferred broken; /* pg_send() found the connection lost */

    size_t first_address;  /* where the coming attempt begins */
    size_t tried_in_round; /* attempts since the last wait that ended in a time-out */
    int64_t answered_ms;   /* when the last answer came; boot */
    unsigned failures;     /* in a row, without one answered statement between */
    struct lost_line lost_line;
    int strays[STRAYS_MAX]; /* backends that may still run what we gave up on */
    unsigned stray_count;
    struct rng rng;

    struct pending *pending; /* ring */
    size_t mask, head, count;
    PGresult *answer;      /* of the oldest, until its sync comes */
    PGresult *error;       /* likewise */
    bool is_after_nothing; /* PQgetResult() has just returned NULL */
};

static void connect_now(void *ctx);
static void on_socket(void *ctx, int events);

static void enter(struct pg *pg)
{
    pg->depth++;
}

static void leave(struct pg *pg)
{
    if (--pg->depth > 0 || !pg->is_closed)
        return;
    free(pg->pending);
    free(pg);
}

/* ---- the end of a connection ---- */

static void drop_connection(struct pg *pg)
{
    PGconn *conn = pg->conn;

    loop_watch_stop(&pg->watch);
    loop_timer_stop(&pg->timer);
    loop_defer_cancel(pg->loop, &pg->broken);
    if (pg->errand) {
        pg->errand->pg = NULL;
        pg->errand = NULL;
    }
    PQclear(pg->answer);
    PQclear(pg->error);
    pg->answer = pg->error = NULL;
    pg->is_after_nothing = false;
    pg_target_fini(&pg->target);
    pg->conn = NULL;
    pg->generation++;
    pg->state = PG_RESTING;
    PQfinish(conn); /* the socket does not block, and what it cannot take is dropped */
}

/*
 * Everything sent and unanswered is in doubt: it may be on its way, done, or lost.  Callbacks
 * may call pg_send(), which refuses; so the ring only shrinks here.
 */
static void end_pending(struct pg *pg, const char *why)
{
    struct pg_result result = {.sqlstate = "", .message = why};

    while (pg->count) {
        struct pending *pending = &pg->pending[pg->head];

        pg->head = (pg->head + 1) & pg->mask;
        pg->count--;
        pending->on_result(pending->ctx, ERR_DOUBT, &result);
    }
}

static int64_t backoff_ms(struct pg *pg)
{
    int64_t cap = pg->config.backoff_min_ms;

    for (unsigned i = 1; i < pg->failures && cap < pg->config.backoff_max_ms; i++)
        cap *= 2;
    if (cap > pg->config.backoff_max_ms)
        cap = pg->config.backoff_max_ms;
    return (int64_t)rng_below(&pg->rng, (uint64_t)cap + 1);
}

/* The connection, or the attempt to get one, is over.  why may belong to it. */
/* The oldest one is forgotten when there are too many. */
static void remember_stray(struct pg *pg)
{
    if (!pg->conn || pg->count == 0)
        return;
    pg->stray_count -= pg->stray_count == STRAYS_MAX;
    memmove(pg->strays + 1, pg->strays, pg->stray_count * sizeof pg->strays[0]);
    pg->strays[0] = PQbackendPID(pg->conn);
    pg->stray_count++;
}

static void fail_after(struct pg *pg, const char *why, int64_t wait_ms)
{
    bool was_up = pg->state == PG_UP;
    char reason[WHY_BYTES];

    enter(pg);
    remember_stray(pg);
    snprintf(reason, sizeof reason, "%.*s", (int)strcspn(why, "\n"), why);
    drop_connection(pg);
    end_pending(pg, reason);
    if (!pg->is_closed) {
        if (lost_line_is_due(&pg->lost_line, pg->failures, reason, loop_now_ms(pg->loop)))
            log_warn("pg.lost", LOG_STR("name", pg->config.name), LOG_STR("why", reason),
                     LOG_U64("failures", pg->failures), LOG_MS("retry", wait_ms));
        loop_timer_start(pg->loop, &pg->timer, wait_ms, connect_now, pg);
    }
    if (was_up && !pg->is_closed && pg->handlers.on_down)
        pg->handlers.on_down(pg->ctx, reason);
    leave(pg);
}

static void fail(struct pg *pg, const char *why)
{
    pg->failures++;
    pg->tried_in_round = 0;
    fail_after(pg, why, backoff_ms(pg));
}

/* ---- connecting ---- */

static void watch_for(struct pg *pg, int events)
{
    loop_watch_start(pg->loop, &pg->watch, PQsocket(pg->conn), events, on_socket, pg);
}

/* libpq may have closed its socket, and the turn in which the connection ends may be the next. */
static void end_later(struct pg *pg)
{
    loop_watch_stop(&pg->watch);
    loop_defer(pg->loop, &pg->broken);
}

/* Writes what libpq holds, and asks to be told when the socket takes more. */
static void flush(struct pg *pg)
{
    int left = PQflush(pg->conn);

    if (left < 0 || PQsocket(pg->conn) < 0)
        end_later(pg);
    else
        watch_for(pg, left ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void on_notice(void *ctx, const PGresult *rows)
{
    struct pg *pg = ctx;
    const char *severity = PQresultErrorField(rows, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    if (!severity || strcmp(severity, "WARNING") != 0)
        return;
    log_warn("pg.warning", LOG_STR("name", pg->config.name),
             LOG_STR("sqlstate", sqlstate ? sqlstate : ""));
    /*
     * libpq hands notices over while it reads ahead: with the answer of the oldest statement
     * still unfetched, this one may belong to the next.  Doubting both errs on the safe side.
     */
    for (size_t i = 0; i < 2 && i < pg->count; i++)
        pg->pending[(pg->head + i) & pg->mask].is_warned = true;
}

/*
 * Which address libpq was at.  Its own connect_timeout does not work with PQconnectPoll(), so
 * the attempt that ran out of time is followed by one that begins behind that address.
 */
static size_t next_address(const struct pg *pg)
{
    const char *address = PQhostaddr(pg->conn);
    const char *port = PQport(pg->conn);

    if (!address || !address[0])
        address = PQhost(pg->conn);
    for (size_t i = 0; i < pg->target.address_count; i++)
        if (address && strcmp(pg->target.addresses[i], address) == 0 &&
            (pg->target.ports[i][0] == '\0' || strcmp(pg->target.ports[i], port) == 0))
            return (i + 1) % pg->target.address_count;
    return 0;
}

static void on_connect_timeout(void *ctx)
{
    struct pg *pg = ctx;

    if (pg->state == PG_CONNECTING)
        pg->first_address = next_address(pg);
    if (++pg->tried_in_round < pg->target.address_count) {
        fail_after(pg, "no answer from this host in time", 0);
        return;
    }
    fail(pg, "connecting took too long");
}

static void on_up(struct pg *pg)
{
    pg->state = PG_UP;
    pg->tried_in_round = 0;
    pg->stray_count = 0;
    loop_timer_stop(&pg->timer);
    if (pg->failures > 0)
        log_info("pg.up", LOG_STR("name", pg->config.name), LOG_U64("failures", pg->failures));
    if (pg->handlers.on_up)
        pg->handlers.on_up(pg->ctx);
}

static void start_preparing(struct pg *pg)
{
    const struct pg_statement *const *at = pg->config.statements;

    pg->state = PG_PREPARING;
    if (!PQenterPipelineMode(pg->conn)) {
        fail(pg, PQerrorMessage(pg->conn));
        return;
    }
    for (; at && *at; at++)
        if (!PQsendPrepare(pg->conn, (*at)->name, (*at)->sql, (*at)->params, NULL)) {
            fail(pg, PQerrorMessage(pg->conn));
            return;
        }
    if (!PQpipelineSync(pg->conn)) {
        fail(pg, PQerrorMessage(pg->conn));
        return;
    }
    flush(pg);
}

/*
 * A statement that we gave up on may still be waiting in a backend that was stopped, and would
 * run behind what we send from now on: a retry recorded late takes a delivery from us that we
 * have claimed again since.  A backend that has been told to end commits nothing more, unless
 * it is at it, and then it holds the locks for which ours wait.
 */
static void end_strays(const struct pg *pg, struct buf *sql)
{
    buf_add_text(sql, ";SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (");
    for (unsigned i = 0; i < pg->stray_count; i++)
        buf_printf(sql, "%s%d", i ? "," : "", pg->strays[i]);
    buf_add_text(sql, ") AND pid <> pg_backend_pid() AND usename = current_user"
                      " AND application_name = current_setting('application_name')");
}

static void start_session(struct pg *pg)
{
    struct buf sql = {0};

    if (PQsetnonblocking(pg->conn, 1) != 0) {
        fail(pg, PQerrorMessage(pg->conn));
        return;
    }
    if (!pg->config.settings && !pg->stray_count) {
        start_preparing(pg);
        return;
    }
    buf_add_text(&sql, pg->config.settings ? pg->config.settings : "");
    if (pg->stray_count)
        end_strays(pg, &sql);
    pg->state = PG_SETTING;
    if (PQsendQuery(pg->conn, buf_text(&sql)))
        flush(pg);
    else
        fail(pg, PQerrorMessage(pg->conn));
    buf_fini(&sql);
}

/* libpq may close its socket and open another inside: nobody watches it meanwhile. */
static void poll_connection(struct pg *pg)
{
    loop_watch_stop(&pg->watch);
    switch (PQconnectPoll(pg->conn)) {
    case PGRES_POLLING_READING:
        watch_for(pg, LOOP_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch_for(pg, LOOP_WRITE);
        break;
    case PGRES_POLLING_OK:
        start_session(pg);
        break;
    default:
        fail(pg, PQerrorMessage(pg->conn));
    }
}

static void start_connection(struct pg *pg)
{
    pg->conn = PQconnectStartParams(pg->target.keywords, pg->target.values, 0);
    if (!pg->conn || PQstatus(pg->conn) == CONNECTION_BAD) {
        fail(pg, pg->conn ? PQerrorMessage(pg->conn) : "no memory for a connection");
        return;
    }
    PQsetNoticeReceiver(pg->conn, on_notice, pg);
    pg->state = PG_CONNECTING;
    loop_timer_start(pg->loop, &pg->timer, pg->config.connect_ms, on_connect_timeout, pg);
    watch_for(pg, LOOP_WRITE); /* as the manual says, before the first PQconnectPoll() */
}

/* ---- the errand: what blocks, on a pool thread ---- */

static void run_errand(void *ctx)
{
    struct errand *errand = ctx;

    errand->err = pg_target_make(&errand->target, &errand->source, errand->why, sizeof errand->why);
}

static void on_errand_done(void *ctx)
{
    struct errand *errand = ctx;
    struct pg *pg = errand->pg;

    if (pg) {
        enter(pg);
        pg->errand = NULL;
        if (errand->err) {
            fail(pg, errand->why);
        } else {
            pg->target = errand->target;
            memset(&errand->target, 0, sizeof errand->target);
            start_connection(pg);
        }
        leave(pg);
    }
    pg_target_fini(&errand->target);
    arena_free(errand->arena);
}

static void connect_now(void *ctx)
{
    struct pg *pg = ctx;
    struct arena *arena = arena_new(0);
    struct errand *errand = arena_zalloc(arena, sizeof *errand);

    errand->arena = arena;
    errand->pg = pg;
    errand->source.conninfo = arena_strdup(arena, pg->config.conninfo);
    errand->source.name = arena_strdup(arena, pg->config.name);
    errand->source.first = pg->first_address;
    if (pg->config.password_file)
        errand->source.password_file = arena_strdup(arena, pg->config.password_file);
    pg->errand = errand;
    pg->state = PG_TARGETING;
    loop_work(pg->loop, run_errand, on_errand_done, errand);
}

/* ---- answers ---- */

static void on_deadline(void *ctx)
{
    struct pg *pg = ctx;
    int64_t since_ms, left;

    if (pg->count == 0)
        return; /* armed again by the next pg_send() */
    since_ms = pg->pending[pg->head].sent_ms;
    if (pg->answered_ms > since_ms)
        since_ms = pg->answered_ms;
    left = since_ms + pg->config.deadline_ms - loop_now_ms(pg->loop);
    if (left > 0)
        loop_timer_start(pg->loop, &pg->timer, left, on_deadline, pg);
    else
        fail(pg, "a statement was not answered before its deadline");
}

static void set_result(struct pg_result *result, const PGresult *rows)
{
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY);

    result->rows = rows;
    result->sqlstate = sqlstate ? sqlstate : "";
    result->message = message ? message : PQresultErrorMessage(rows);
}

/* The sync behind the oldest statement has come: only now is its transaction over. */
static void finish_oldest(struct pg *pg)
{
    struct pending pending = pg->pending[pg->head];
    PGresult *answer = pg->answer, *error = pg->error;
    struct pg_result result = {.sqlstate = "", .message = ""};
    unsigned generation = pg->generation;
    bool must_reset = false;
    int err = 0;

    pg->answer = pg->error = NULL;
    pg->answered_ms = loop_now_ms(pg->loop);
    pg->head = (pg->head + 1) & pg->mask;
    pg->count--;
    if (error) {
        set_result(&result, error);
        err = pg_classify(error, &must_reset);
        if (err == ERR_REFUSED) /* a fault of ours; the server's words may hold data */
            log_error("pg.refused", LOG_STR("name", pg->config.name),
                      LOG_STR("sqlstate", result.sqlstate));
    } else {
        set_result(&result, answer);
        pg->failures = 0;
        if (pending.is_durable && pending.is_warned)
            err = ERR_DOUBT;
    }
    pending.on_result(pending.ctx, err, &result);
    if (must_reset && pg->generation == generation)
        fail(pg, result.message);
    PQclear(answer);
    PQclear(error);
}

/* Keeps the first answer and the last error; a commit can fail after the answer. */
static void take_answer(struct pg *pg, PGresult *rows)
{
    switch (PQresultStatus(rows)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(rows);
        if (pg->answer || pg->error)
            finish_oldest(pg);
        else
            fail(pg, "the server ended a statement that it did not answer");
        return;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        PQclear(pg->answer);
        pg->answer = rows;
        return;
    case PGRES_FATAL_ERROR:
    case PGRES_PIPELINE_ABORTED:
        PQclear(pg->error);
        pg->error = rows;
        return;
    default: /* COPY and the like: nothing here speaks that */
        PQclear(rows);
        fail(pg, "the server answered with something that no statement asked for");
    }
}

static void take_prepared(struct pg *pg, PGresult *rows)
{
    switch (PQresultStatus(rows)) {
    case PGRES_COMMAND_OK:
        break;
    case PGRES_PIPELINE_SYNC:
        on_up(pg);
        break;
    default:
        fail(pg, PQresultErrorMessage(rows));
    }
    PQclear(rows);
}

static void take_setting(struct pg *pg, PGresult *rows)
{
    ExecStatusType status = PQresultStatus(rows);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail(pg, PQresultErrorMessage(rows));
    PQclear(rows);
}

/*
 * libpq gives up on a connection (nonsense, or its end) in the middle of PQgetResult(), and then
 * answers nothing for ever.  Nothing once is what stands between two statements.
 */
static bool has_lost_its_way(struct pg *pg, const PGresult *rows)
{
    bool is_second = !rows && pg->is_after_nothing;

    pg->is_after_nothing = !rows;
    if (PQstatus(pg->conn) != CONNECTION_BAD && !is_second)
        return false;
    fail(pg, is_second ? "the server's answers make no sense" : PQerrorMessage(pg->conn));
    return true;
}

/* False when there is nothing more to take now. */
static bool take_one(struct pg *pg)
{
    PGresult *rows;

    if (PQisBusy(pg->conn) ||
        (pg->state == PG_UP && pg->count == 0 && PQstatus(pg->conn) != CONNECTION_BAD))
        return false; /* idle, PQisBusy() has taken in what the server says of itself */
    rows = PQgetResult(pg->conn);
    if (has_lost_its_way(pg, rows)) {
        PQclear(rows);
        return false;
    }
    switch (pg->state) {
    case PG_SETTING:
        if (!rows)
            start_preparing(pg);
        else
            take_setting(pg, rows);
        return true;
    case PG_PREPARING:
        if (rows)
            take_prepared(pg, rows);
        return true;
    case PG_UP:
        if (rows)
            take_answer(pg, rows);
        return pg->state == PG_UP && pg->count > 0;
    default:
        panic("an answer without a connection");
    }
}

static void read_answers(struct pg *pg)
{
    unsigned generation = pg->generation;

    do {
        if (!PQconsumeInput(pg->conn)) {
            fail(pg, PQerrorMessage(pg->conn));
            return;
        }
        while (pg->generation == generation && take_one(pg))
            ;
    } while (pg->generation == generation && pg_tls_holds_more(pg->conn));
}

static void on_socket(void *ctx, int events)
{
    struct pg *pg = ctx;
    unsigned generation = pg->generation;

    enter(pg);
    if (events & LOOP_BROKEN) {
        fail(pg, "its socket cannot be watched");
    } else if (pg->state == PG_CONNECTING) {
        poll_connection(pg);
    } else {
        if (events & LOOP_READ)
            read_answers(pg);
        if (pg->generation == generation)
            flush(pg);
    }
    leave(pg);
}

static void on_broken(void *ctx)
{
    struct pg *pg = ctx;

    fail(pg, PQerrorMessage(pg->conn));
}

/* ---- the public face ---- */

struct pg *pg_open(struct loop *loop, const struct pg_config *config,
                   const struct pg_handlers *handlers, void *ctx)
{
    struct pg *pg = xcalloc(1, sizeof *pg);
    size_t ring = 1;
    uint64_t seed;

    ASSERT(config->queue_max > 0 && config->backoff_min_ms > 0 && config->deadline_ms > 0);
    while (ring < config->queue_max)
        ring *= 2;
    random_bytes(&seed, sizeof seed);
    rng_init(&pg->rng, seed);
    pg->loop = loop;
    pg->config = *config;
    pg->handlers = *handlers;
    pg->ctx = ctx;
    pg->broken.run = on_broken;
    pg->broken.ctx = pg;
    pg->pending = xcalloc(ring, sizeof *pg->pending);
    pg->mask = ring - 1;
    connect_now(pg);
    return pg;
}

void pg_close(struct pg *pg)
{
    if (!pg)
        return;
    enter(pg);
    pg->is_closed = true;
    drop_connection(pg);
    end_pending(pg, "closed by us");
    leave(pg);
}

bool pg_is_up(const struct pg *pg)
{
    return pg->state == PG_UP;
}

size_t pg_pending(const struct pg *pg)
{
    return pg->count;
}

int64_t pg_oldest_ms(const struct pg *pg)
{
    for (size_t i = 0; i < pg->count; i++) {
        const struct pending *pending = &pg->pending[(pg->head + i) & pg->mask];

        if (pending->is_watched)
            return pending->sent_ms;
    }
    return INT64_MAX;
}

void pg_reset(struct pg *pg, const char *why)
{
    if (pg->conn || pg->errand)
        fail(pg, why);
}

static bool send_one(struct pg *pg, const struct pg_statement *statement,
                     const struct pg_params *params)
{
    enum { MAX = sizeof params->param / sizeof *params->param };
    const char *values[MAX];
    int lengths[MAX], formats[MAX];

    for (int i = 0; i < params->count; i++) {
        bool is_null = params->param[i].length < 0;

        values[i] = is_null ? NULL : params->buf.data + params->param[i].offset;
        lengths[i] = is_null ? 0 : params->param[i].length;
        formats[i] = 1;
    }
    return PQsendQueryPrepared(pg->conn, statement->name, params->count, values, lengths, formats,
                               1) &&
           PQpipelineSync(pg->conn);
}

static size_t places_for(const struct pg *pg, enum pg_place place)
{
    size_t all = pg->config.queue_max;
    size_t kept = place == PG_PLACE_CALL ? all / 4 : place == PG_PLACE_COMMON ? all / 8 : 0;

    return all - kept;
}

int pg_send(struct pg *pg, const struct pg_statement *statement, const struct pg_params *params,
            pg_result_fn *on_result, void *ctx)
{
    struct pending *pending;

    if (pg->state != PG_UP)
        return ERR_CLOSED;
    if (pg->count >= places_for(pg, statement->place))
        return ERR_FULL;
    ASSERT(params->count == statement->params);
    if (!send_one(pg, statement, params)) {
        end_later(pg); /* without its sync nothing commits */
        return ERR_CLOSED;
    }
    pending = &pg->pending[(pg->head + pg->count++) & pg->mask];
    *pending = (struct pending){.on_result = on_result,
                                .ctx = ctx,
                                .sent_ms = loop_now_ms(pg->loop),
                                .is_durable = statement->is_durable,
                                .is_watched = statement->is_watched};
    if (!loop_timer_is_armed(&pg->timer))
        loop_timer_start(pg->loop, &pg->timer, pg->config.deadline_ms, on_deadline, pg);
    flush(pg);
    return 0;
}
