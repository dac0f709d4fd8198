/* SPDX-License-Identifier: MIT */
#include "raw.h"

#include "client.h"
#include "report.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS         1000
#define MAX_CONNECTIONS 16

/* One connection that alternates between an insert of a batch and an update
 * of the same batch, each its own transaction, as a queue's rows live. */
struct worker {
    PGconn *conn;
    bool updating;
    uint64_t first_id; /* of the batch under way */
};

struct raw_pg {
    const struct load_options *o;
    struct worker workers[MAX_CONNECTIONS];
    uint64_t next_id, rows, statements;
    int64_t from_ns, to_ns;
    char *ids, *bodies; /* array literals, rebuilt for each statement */
    char body[8193];
};

static int check(PGconn *conn, const char *what)
{
    fprintf(stderr, "load: %s: %s", what, PQerrorMessage(conn));
    return -1;
}

static int command(PGconn *conn, const char *sql)
{
    PGresult *res = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(res);

    PQclear(res);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? 0 : check(conn, sql);
}

static int prepare(PGconn *conn, const char *name, const char *sql)
{
    PGresult *res = PQprepare(conn, name, sql, 0, NULL);
    ExecStatusType status = PQresultStatus(res);

    PQclear(res);
    return status == PGRES_COMMAND_OK ? 0 : check(conn, name);
}

static int start_batch(struct raw_pg *r, struct worker *w)
{
    const char *values[2] = {r->ids, r->bodies};
    char *at = r->ids, *body = r->bodies;
    size_t len = strlen(r->body);

    if (!w->updating) {
        w->first_id = r->next_id;
        r->next_id += r->o->rows;
    }
    *at++ = '{';
    *body++ = '{';
    for (unsigned i = 0; i < r->o->rows; i++) {
        at += snprintf(at, 22, i ? ",%" PRIu64 : "%" PRIu64, w->first_id + i);
        if (i)
            *body++ = ',';
        memcpy(body, r->body, len);
        body += len;
    }
    memcpy(at, "}", 2);
    memcpy(body, "}", 2);
    int ok = w->updating ? PQsendQueryPrepared(w->conn, "settle", 1, values, NULL, NULL, 0)
                         : PQsendQueryPrepared(w->conn, "store", 2, values, NULL, NULL, 0);
    return ok ? 0 : check(w->conn, "send");
}

static int finish_batch(struct raw_pg *r, struct worker *w)
{
    PGresult *res;
    int err = 0;

    while ((res = PQgetResult(w->conn))) {
        if (PQresultStatus(res) != PGRES_COMMAND_OK)
            err = check(w->conn, "statement");
        PQclear(res);
    }
    int64_t now_ns = clock_ns();
    if (now_ns >= r->from_ns && now_ns < r->to_ns) {
        r->rows += w->updating ? r->o->rows : 0;
        r->statements++;
    }
    w->updating = !w->updating;
    return err;
}

static int open_workers(struct raw_pg *r)
{
    for (unsigned i = 0; i < r->o->connections; i++) {
        PGconn *conn = r->workers[i].conn = PQconnectdb(r->o->postgres);

        if (PQstatus(conn) != CONNECTION_OK)
            return check(conn, "connect");
        if (!i && command(conn, "SET client_min_messages = warning; DROP TABLE IF EXISTS bench_raw;"
                                "CREATE TABLE bench_raw (id bigint PRIMARY KEY, state smallint NOT "
                                "NULL DEFAULT 0, body text NOT NULL) WITH (fillfactor = 80)"))
            return -1;
        if (prepare(conn, "store",
                    "INSERT INTO bench_raw (id, body) SELECT * FROM unnest($1::bigint[], "
                    "$2::text[])") ||
            prepare(conn, "settle", "UPDATE bench_raw SET state = 1 WHERE id = ANY ($1::bigint[])"))
            return -1;
    }
    return 0;
}

/* Keeps every connection busy until the time is over, then until all are idle. */
static int run(struct raw_pg *r)
{
    struct pollfd polls[MAX_CONNECTIONS];
    unsigned busy = r->o->connections;
    int64_t now_ns = clock_ns();

    r->from_ns = now_ns + (int64_t)(r->o->warmup_s * 1e9);
    r->to_ns = r->from_ns + (int64_t)(r->o->seconds * 1e9);
    for (unsigned i = 0; i < busy; i++) {
        if (start_batch(r, &r->workers[i]))
            return -1;
        polls[i] = (struct pollfd){.fd = PQsocket(r->workers[i].conn), .events = POLLIN};
    }
    while (busy) {
        if (poll(polls, r->o->connections, WAIT_MS) < 0)
            return -1;
        for (unsigned i = 0; i < r->o->connections; i++) {
            struct worker *w = &r->workers[i];

            if (polls[i].fd < 0 || !polls[i].revents)
                continue;
            if (!PQconsumeInput(w->conn))
                return check(w->conn, "read");
            if (PQisBusy(w->conn))
                continue;
            if (finish_batch(r, w))
                return -1;
            if (clock_ns() < r->to_ns) {
                if (start_batch(r, w))
                    return -1;
            } else {
                polls[i].fd = -1;
                busy--;
            }
        }
    }
    return 0;
}

static void close_workers(struct raw_pg *r)
{
    PGconn *first = r->workers[0].conn;

    if (first && PQstatus(first) == CONNECTION_OK)
        (void)command(first, "DROP TABLE IF EXISTS bench_raw");
    for (unsigned i = 0; i < r->o->connections; i++)
        PQfinish(r->workers[i].conn);
}

enum load_result raw_pg_run(const struct load_options *o)
{
    struct load_options bounded = *o;
    struct raw_pg r = {.o = &bounded, .next_id = 1};

    if (bounded.connections > MAX_CONNECTIONS)
        bounded.connections = MAX_CONNECTIONS;
    memset(r.body, 'b', o->body_bytes);
    r.ids = malloc((size_t)o->rows * 22 + 3);
    r.bodies = malloc((size_t)o->rows * (o->body_bytes + 1) + 3);
    int err = !r.ids || !r.bodies || open_workers(&r) || run(&r);
    close_workers(&r);
    free(r.ids);
    free(r.bodies);
    printf("{\"mode\":\"raw-pg\",\"connections\":%u,\"rows_per_statement\":%u,\"body_bytes\":%u,"
           "\"rows_per_s\":%.1f,\"statements_per_s\":%.1f,\"cpu_s\":%.3f}\n",
           bounded.connections, o->rows, o->body_bytes, (double)r.rows / o->seconds,
           (double)r.statements / o->seconds, report_cpu_s());
    return err ? LOAD_BROKEN : LOAD_OK;
}
