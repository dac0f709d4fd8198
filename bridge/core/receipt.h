/* SPDX-License-Identifier: MIT */
/*
 * receipt - what a service is told (topics.md section 3), as JSON
 *
 * Purity: builds text only.  Targets are masked by the caller (log_mask).
 */
#ifndef TOCSIN_CORE_RECEIPT_H
#define TOCSIN_CORE_RECEIPT_H
#include "base/buf.h"
#include <stdint.h>

struct receipt {
    const char *id;        /* the request's; NULL when it could not be read */
    uint64_t notification; /* 0 when there is none */
    const char *status;    /* "accepted", "delivered", ... */
    const char *user;      /* as in a topic; written as the token has it */
    const char *channel, *target, *provider, *provider_id, *reason, *detail, *field;
    int attempt;   /* 0 when not applicable */
    int segments;  /* SMS; 0 when not applicable */
    int64_t at_ms; /* wall */
};

/* Appends one JSON object; NULL and 0 members are left out, and text that is not UTF-8. */
void receipt_write(const struct receipt *receipt, struct buf *out);

#endif
