/* SPDX-License-Identifier: MIT */
/*
 * err - what the world can do to us, as one small set of codes
 *
 * Functions that can fail because of the world (network, SQL, JSON, vendor)
 * return 0 or a negative enum err.  Our own bugs panic(); running out of
 * memory or failing to start is fatal() (see base/log.h, base/alloc.h).
 * What came of an attempt is a struct outcome (core/outcome.h), not an error.
 */
#ifndef TOCSIN_BASE_ERR_H
#define TOCSIN_BASE_ERR_H
#include <stdbool.h>

#define NODISCARD __attribute__((warn_unused_result))

enum err {
    ERR_OK = 0,
    ERR_INVALID = -1,   /* the input is not what it claims to be */
    ERR_TOO_LARGE = -2, /* over a documented limit */
    ERR_FULL = -3,      /* a bounded queue has no room: push back */
    ERR_CLOSED = -4,    /* the peer or we ended it; nothing is known to have happened */
    ERR_TIMEOUT = -5,   /* a deadline passed */
    ERR_REFUSED = -6,   /* the peer said no, and asking again will not help */
    ERR_IO = -7,        /* file or socket error */
    ERR_DATA = -8,      /* this row can never be stored as it is (io/pg_sqlstate.h) */
    ERR_AGAIN = -9,     /* nothing happened, harmless: try again now */
    ERR_DOUBT = -10,    /* the statement may or may not have committed */
    ERR_FENCED = -11,   /* our epoch is over */
    ERR_NOT_FOUND = -12,
    ERR_COLLISION = -13 /* a row has this key already: take another id */
};

/*
 * The database refused the statement itself: one of its rows may be the reason, so that smaller
 * statements get the others through.  Not so where the connection or the moment was the reason.
 */
static inline bool err_is_refusal(int err)
{
    return err == ERR_DATA || err == ERR_REFUSED || err == ERR_COLLISION;
}

/* The constant's name in lower case ("too_large"); never NULL. */
const char *err_name(int err);

#endif
