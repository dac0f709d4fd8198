/* SPDX-License-Identifier: MIT */
/*
 * audit - what admins, and services, changed: written and read, never changed (a trigger refuses)
 */
#ifndef TOCSIN_STORE_AUDIT_H
#define TOCSIN_STORE_AUDIT_H
#include "store/store.h"

/* Strings borrowed; NULL where there is none.  params, before, after and result are JSON. */
struct audit_entry {
    uint64_t id;
    int64_t at_ms;
    const char *admin, *service; /* one of them; the other NULL */
    const char *action, *call, *params, *before, *after, *result;
};

/*
 * What a statement that changes something writes beside it, in its transaction; the result is
 * {counted: how many}.  author: an admin's id, or "service/" and a service's.  Strings borrowed,
 * NULL where there is none.
 */
struct audited {
    const char *author, *action, *call, *params, *before, *after, *counted;
};

struct audit_filter { /* 0 or NULL: any */
    const char *admin, *service, *action;
    int64_t since_ms, until_ms;
    uint64_t before; /* only what was written before this one */
    int limit;
};
struct audit_call {
    void (*on_entry)(void *ctx, const struct audit_entry *entry); /* the latest first */
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_audit_list(struct store *store, const struct audit_filter *filter,
                               const struct audit_call *call);

#endif
