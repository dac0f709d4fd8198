/* SPDX-License-Identifier: MIT */
#include "io/pg.h"
#include "io/pg_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

struct pg_script {
    PGconn *conn;
};

static void ignore_notice(void *ctx, const PGresult *rows)
{
    (void)ctx;
    (void)rows;
}

int pg_script_open(const char *conninfo, const char *password_file, struct pg_script **out,
                   char *why, size_t why_bytes)
{
    struct pg_source source = {
        .conninfo = conninfo, .password_file = password_file, .name = "migrate"};
    struct pg_target target;
    PGconn *conn = NULL;
    int err = pg_target_make(&target, &source, why, why_bytes);

    if (err)
        goto out;
    conn = PQconnectdbParams(target.keywords, target.values, 0);
    if (PQstatus(conn) != CONNECTION_OK) {
        snprintf(why, why_bytes, "%s", PQerrorMessage(conn));
        err = ERR_IO;
        goto out;
    }
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    *out = xcalloc(1, sizeof **out);
    (*out)->conn = conn;
    conn = NULL;
out:
    PQfinish(conn);
    pg_target_fini(&target);
    return err;
}

int pg_script_run(struct pg_script *script, const char *sql, char **value, char *why,
                  size_t why_bytes)
{
    PGresult *rows = PQexec(script->conn, sql);
    ExecStatusType status = PQresultStatus(rows);
    bool must_reset;
    int err = 0;

    if (value)
        *value = NULL;
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
        snprintf(why, why_bytes, "%s", PQerrorMessage(script->conn));
        err = pg_classify(rows, &must_reset);
    } else if (value && status == PGRES_TUPLES_OK && PQntuples(rows) > 0 && PQnfields(rows) > 0 &&
               !PQgetisnull(rows, 0, 0)) {
        *value = xstrdup(PQgetvalue(rows, 0, 0));
    }
    PQclear(rows);
    return err;
}

void pg_script_close(struct pg_script *script)
{
    if (!script)
        return;
    PQfinish(script->conn);
    free(script);
}
