/* SPDX-License-Identifier: MIT */
/*
 * rates - what all bridges share of a destination: its moments and its pauses
 */
#ifndef TOCSIN_STORE_RATES_H
#define TOCSIN_STORE_RATES_H
#include "store/store.h"

/* Takes count moments, spacing_us apart; the first is in_us from the database's now. */
NODISCARD int store_take_slots(struct store *store, int32_t destination, unsigned count,
                               int64_t spacing_us,
                               void (*on_done)(void *ctx, int err, int64_t in_us), void *ctx);
/* The provider asks for a pause: all bridges keep it. */
NODISCARD int store_pause(struct store *store, int32_t destination, int64_t for_ms);

struct pauses_call {
    /* for_ms: what is left of the provider's pause, or 0; is_held: an admin has stopped it. */
    void (*on_row)(void *ctx, int32_t destination, int64_t for_ms, bool is_held);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* Every destination that is paused now, by its provider, or by an admin (or its channel is). */
NODISCARD int store_pauses(struct store *store, const struct pauses_call *call);

#endif
