/* SPDX-License-Identifier: MIT */
/*
 * cursor - how far a page of a user's history went
 *
 * A history is two lists merged by time: the user's own entries, by number, and what was told to
 * many at once, by id.  A cursor says where the page ended in both.  To clients it is opaque.
 *
 * Purity: no I/O.
 */
#ifndef TOCSIN_CORE_CURSOR_H
#define TOCSIN_CORE_CURSOR_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define CURSOR_BYTES 40

struct cursor {
    bool is_rising;  /* the page went upwards: the next one is above both */
    int64_t seq;     /* of the last own entry */
    uint64_t shared; /* of the last shared one */
};

char *cursor_write(const struct cursor *cursor, char out[CURSOR_BYTES]);
/* ERR_INVALID when the text is none of ours. */
NODISCARD int cursor_read(const char *text, struct cursor *cursor);

#endif
