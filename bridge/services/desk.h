/* SPDX-License-Identifier: MIT */
/*
 * desk - dlq.*: admins look at what died, and bring it back
 */
#ifndef TOCSIN_SERVICES_DESK_H
#define TOCSIN_SERVICES_DESK_H
#include "services/asks.h"

struct desk;

struct desk_ops {
    void (*poke)(void *ctx); /* something became ready */
    void *ctx;
};

struct desk *desk_new(struct asks *asks, struct store *store, const struct desk_ops *ops);
void desk_free(struct desk *desk);

#endif
