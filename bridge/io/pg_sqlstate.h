/* SPDX-License-Identifier: MIT */
/*
 * pg_sqlstate - what an error of Postgres says, and about whom
 *
 * Purpose:  every caller needs the same answer to one question: is this row at fault, are we, or is
 *           it the moment?  It is decided here, by SQLSTATE, in one table.
 * Strategy: the longest prefix of the SQLSTATE in the table decides.  A class that the table does
 *           not name is ours: an error that nobody foresaw never accuses a sender.
 *
 *   the row (ERR_DATA)         22 data, 23514 with a constraint's name, 54000 a value too long to
 *                              index: the same row fails every time, others do not
 *   our ids (ERR_COLLISION)    23505: a row of ours has this key; take another
 *   us (ERR_REFUSED)           23 else (also a partition that is missing: 23514 without a name),
 * 42, 54 else, XX and all others: the sender can do nothing about it the moment (ERR_AGAIN)     40,
 * 55, 57014: nothing happened, and now it may work the moment (ERR_CLOSED)    0A000, 25, 26000, 53,
 * 57, 58: nothing happened; connect again first unknown (ERR_DOUBT)        08, 40003, 57P, FATAL,
 * PANIC, or no SQLSTATE: it may be committed
 *
 * Purity:   no I/O.
 * Source:   PostgreSQL manual, appendix A.
 */
#ifndef TOCSIN_IO_PG_SQLSTATE_H
#define TOCSIN_IO_PG_SQLSTATE_H
#include "base/err.h"
#include <stdbool.h>

struct pg_trouble {
    const char *sqlstate;   /* NULL: libpq's own error */
    const char *severity;   /* not localized; may be NULL */
    const char *constraint; /* NULL where the error names none */
};

/* *must_reset: only a new connection can help. */
int pg_sqlstate_err(const struct pg_trouble *trouble, bool *must_reset);

#endif
