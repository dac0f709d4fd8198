/* SPDX-License-Identifier: MIT */
#include "store/migrate.h"

#include "base/buf.h"
#include "io/pg.h"

#include <stdio.h>
#include <stdlib.h>

int store_schema_version(void)
{
    int count = 0;

    while (store_migrations[count].name)
        count++;
    return count;
}

/* The version in the database; 0 when it has none. */
static int read_version(struct pg_script *script, int *version, char *why, size_t why_bytes)
{
    char *value = NULL;
    int err = pg_script_run(script,
                            "CREATE TABLE IF NOT EXISTS schema_version ("
                            " version int PRIMARY KEY, name text NOT NULL,"
                            " applied_at timestamptz NOT NULL DEFAULT now());"
                            "SELECT coalesce(max(version), 0) FROM schema_version",
                            &value, why, why_bytes);

    if (!err)
        *version = value ? (int)strtol(value, NULL, 10) : 0;
    free(value);
    return err;
}

static int apply(struct pg_script *script, int version, char *why, size_t why_bytes)
{
    const struct migration *migration = &store_migrations[version - 1];
    struct buf sql = {0};
    char *value = NULL;
    int err;

    buf_printf(&sql, "BEGIN; SET LOCAL lock_timeout = '10s'; %s\n;", migration->sql);
    buf_printf(&sql, "INSERT INTO schema_version (version, name) VALUES (%d, '%s'); COMMIT",
               version, migration->name);
    err = pg_script_run(script, buf_text(&sql), &value, why, why_bytes);
    free(value);
    buf_fini(&sql);
    return err;
}

int store_migrate(const char *conninfo, const char *password_file, int *from, int *to, char *why,
                  size_t why_bytes)
{
    struct pg_script *script;
    char *value = NULL;
    int err = pg_script_open(conninfo, password_file, &script, why, why_bytes);

    if (err)
        return err;
    *to = store_schema_version();
    /* Held by the session: a second migration waits here and then finds nothing to do. */
    err = pg_script_run(script, "SELECT pg_advisory_lock(7406262)", &value, why, why_bytes);
    free(value);
    if (!err)
        err = read_version(script, from, why, why_bytes);
    if (!err && *from > *to) {
        snprintf(why, why_bytes,
                 "the database is at schema version %d and this program knows %d:"
                 " run the newer tocsind",
                 *from, *to);
        err = ERR_REFUSED;
    }
    for (int version = *from + 1; !err && version <= *to; version++)
        err = apply(script, version, why, why_bytes);
    pg_script_close(script);
    return err;
}
