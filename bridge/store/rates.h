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
    void (*on_row)(void *ctx, int32_t destination, int64_t for_ms);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* Every destination that is paused now. */
NODISCARD int store_pauses(struct store *store, const struct pauses_call *call);

#endif
