/* SPDX-License-Identifier: MIT */
/*
 * pg_private - what the files of pg share and nobody else sees
 *
 * pg.c has the connection and its queue, pg_target.c where to connect (off the loop),
 * pg_params.c and pg_result.c the binary formats, pg_script.c the blocking side door.
 */
#ifndef TOCSIN_IO_PG_PRIVATE_H
#define TOCSIN_IO_PG_PRIVATE_H
#include "base/arena.h"
#include "io/pg.h"
#include <libpq-fe.h>

struct pg_result {
    const PGresult *rows; /* NULL when the connection ended before there was one */
    const char *sqlstate, *message;
};

/*
 * What an error result means to the caller.  *must_reset is set where only a new connection can
 * help: plans gone stale, a server that became read-only or ran out of something.
 */
int pg_classify(const PGresult *rows, bool *must_reset);

/*
 * Whether TLS holds bytes that libpq has not read.  It asks for what fits its buffer, 8 KiB at
 * least, and servers from 17 on send records of 16: of the rest the dry socket says nothing.
 */
bool pg_tls_holds_more(PGconn *conn);

/* Keywords and values for PQconnectStartParams(), every host name already an address. */
struct pg_target {
    struct arena *arena;    /* owns all of it */
    const char **keywords;  /* NULL-terminated */
    const char **values;    /* beside them */
    const char **addresses; /* one per address to try, as "hostaddr" (or host for a socket) */
    const char **ports;     /* beside them; "" takes the default */
    size_t address_count;
};

/* What to connect with; strings borrowed. */
struct pg_source {
    const char *conninfo, *password_file, *name;
    size_t first; /* begin with this address, modulo their number */
};

/*
 * Reads the password file and resolves names: blocks, so it runs on a pool thread.  On an error
 * why says what is wrong, without secrets.  pg_target_fini() in either case.
 */
NODISCARD int pg_target_make(struct pg_target *target, const struct pg_source *source, char *why,
                             size_t why_bytes);
void pg_target_fini(struct pg_target *target);

#endif
