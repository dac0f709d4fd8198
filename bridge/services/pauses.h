/* SPDX-License-Identifier: MIT */
/*
 * pauses - provider.list, .pause, .resume and channel.pause, .resume: admins stop what sends
 *
 * What is stopped is a row in the database, which every bridge reads once a second (dispatch).
 * Not here: a provider's own "not now", and breakers, which come and go by themselves.
 */
#ifndef TOCSIN_SERVICES_PAUSES_H
#define TOCSIN_SERVICES_PAUSES_H
#include "services/asks.h"

struct pauses;

struct pauses_ops {
    /* Whether it is configured: the database also knows those that once were. */
    bool (*is_configured)(void *ctx, int32_t destination);
    void *ctx;
};

struct pauses *pauses_new(struct asks *asks, struct store *store, const struct pauses_ops *ops);
void pauses_free(struct pauses *pauses);

#endif
