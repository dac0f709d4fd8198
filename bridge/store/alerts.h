/* SPDX-License-Identifier: MIT */
/*
 * alerts - which alerts fire, and since when: what the bridge that speaks for all hands on
 */
#ifndef TOCSIN_STORE_ALERTS_H
#define TOCSIN_STORE_ALERTS_H
#include "core/alert.h"
#include "store/store.h"

struct alerts_call {
    /* provider: borrowed for the callback. */
    void (*on_row)(void *ctx, const struct alert *alert);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_alerts(struct store *store, const struct alerts_call *call);
/* did_change: it was not so before; false: another bridge has told it already. */
NODISCARD int store_alert_save(struct store *store, const struct alert *alert,
                               void (*on_done)(void *ctx, int err, bool did_change), void *ctx);

#endif
