/* SPDX-License-Identifier: MIT */
/*
 * pauses - destinations as admins see them, and what they have stopped
 *
 * All statements go over the desk.  A change and its line in the audit are one statement.
 */
#ifndef TOCSIN_STORE_PAUSES_H
#define TOCSIN_STORE_PAUSES_H
#include "core/channel.h"
#include "store/store.h"

/* Who stopped something, when and why; by is NULL where nobody has. */
struct pause {
    const char *by, *note;
    int64_t at_ms;
};

struct destination_row { /* strings borrowed for the callback */
    int32_t id;
    const char *name, *adapter;
    enum channel channel;
    int64_t waits_ms; /* what is left of its provider's "not now" */
    struct pause own, channels;
};

struct destinations_call {
    void (*on_row)(void *ctx, const struct destination_row *row);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* Every destination that was ever configured, by channel and name. */
NODISCARD int store_destinations(struct store *store, const struct destinations_call *call);

/* What is stopped or resumed: a destination by name, or a channel when the name is NULL. */
struct pause_change {
    const char *destination;
    enum channel channel;
    bool is_pause;
    const char *admin, *note, *method, *params, *call; /* for the audit; note may be NULL */
};
/*
 * Calls back with ERR_NOT_FOUND when there is no such destination; did_change is false when it
 * was so already.
 */
NODISCARD int store_pause_change(struct store *store, const struct pause_change *change,
                                 void (*on_done)(void *ctx, int err, bool did_change), void *ctx);

#endif
